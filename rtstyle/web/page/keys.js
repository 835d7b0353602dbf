// The one table of keys: what they are, what the help says of them, and the action of app.js that they call. They are those
// of rtstyle cam.

export const KEYS = [
  { keys: "1234567890", label: "1-9 0", help: "style by number", action: "chooseByKey" },
  { keys: "np", label: "n p", help: "next, previous style", action: "stepStyle" },
  { keys: "xz", label: "x z", help: "hold: mix with the next style, and back", action: "moveMix" },
  { keys: "a", label: "a", help: "change styles automatically", action: "toggleCycle" },
  { keys: "[]", label: "[ ]", help: "strength", action: "stepStrength" },
  { keys: "c", label: "c", help: "keep the camera's colours", action: "toggleColor" },
  { keys: "t", label: "t", help: "steadiness", action: "toggleSteady" },
  { keys: "+=-_w", label: "+ -", help: "working height (w: automatic again)", action: "stepHeight" },
  { keys: " ", label: "space", help: "freeze", action: "toggleFreeze" },
  { keys: "m", label: "m", help: "mirror", action: "toggleMirror" },
  { keys: "v", label: "v", help: "before and after; drag the line", action: "toggleSplit" },
  { keys: "s", label: "s", help: "snapshot (PNG)", action: "takeSnapshot" },
  { keys: "r", label: "r", help: "record, stop", action: "toggleRecording" },
  { keys: "f", label: "f", help: "full screen", action: "toggleFullScreen" },
  { keys: "ih", label: "i h", help: "display, this help", action: "toggleText" },
  { keys: "q", label: "q", help: "stop the camera", action: "stopCamera" },
];

/** Call actions[action](key) for the keys that are pressed while `listening()`. */
export function listen(actions, listening) {
  let space = false; // whether it was taken when it went down: some browsers press a button when it comes up
  let walking = true; // from control to control by keyboard, not mouse: the space bar is for the one with the focus
  document.addEventListener("pointerdown", () => (walking = false), true);
  document.addEventListener("keydown", (event) => {
    if (/^(Tab|Arrow)/.test(event.key)) walking = true;
    const alt = event.altKey && !"[]".includes(event.key); // some keyboards of Macs have these with Option only
    if (event.ctrlKey || event.metaKey || alt || !listening()) return;
    const { target } = event;
    if (target.closest("select") || (event.key === " " && target.closest("dialog"))) return;
    if (event.key === " " && walking && target.matches("button, input, summary")) return;
    const key = event.key.toLowerCase();
    const entry = KEYS.find(({ keys }) => key.length === 1 && keys.includes(key));
    if (!entry) return;
    event.preventDefault();
    space ||= key === " ";
    if (!event.repeat || "xz[]+-=_np".includes(key)) actions[entry.action](key);
  });
  document.addEventListener("keyup", (event) => {
    if (event.key !== " ") return;
    if (space) event.preventDefault();
    space = false;
  });
}
