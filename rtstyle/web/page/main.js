// Starts the page: loads the gallery and the net, binds the controls, paints.

import { $, App } from "./app.js";
import { FlatScreen } from "./flat-screen.js";
import { KEYS, listen } from "./keys.js";
import { Loop } from "./loop.js";
import { Painter } from "./painter.js";
import { Screen } from "./screen.js";
import { readGallery, StyleChooser } from "./styles.js";

const SETTLED = 12; // frames that are painted before WebGPU is tried, so that the first ones come soon

async function load(file) {
  const response = await fetch(file);
  if (!response.ok) throw new Error(`The page is not complete (${file}: ${response.status}): write it again.`);
  return response;
}

function makeScreen() {
  const canvas = $("picture");
  try {
    return new Screen(canvas);
  } catch {
    const another = canvas.cloneNode(); // a canvas that has a context of WebGL already gives no other one
    canvas.replaceWith(another);
    return new FlatScreen(another);
  }
}

async function start() {
  const [gallery, photograph] = await Promise.all([
    load("gallery.json").then(async (response) => readGallery(await response.json())),
    load("photograph.jpg").then((response) => response.blob()),
  ]);
  const styles = new StyleChooser(gallery.styles);
  const painter = new Painter((sentence) => {
    app.say(sentence);
    app.loop.change(); // something else paints now
    app.sync();
  }, gallery.gpu_model);
  const screen = makeScreen(); // first: it may replace the canvas
  const app = new App({ painter, styles, gallery, photograph });
  app.loop = new Loop({ painter, styles, screen, state: app.state, referenceHeight: gallery.reference_height, say: (sentence) => app.say(sentence) });
  screen.onrestored = () => app.loop.takeAgain();
  screen.ongone = () => app.say("The GPU shows nothing any more: reload the page.");
  app.loop.onstyle = () => app.sync();
  app.loop.onpainted = () => painted(app);
  app.addCards();
  bind(app);
  await app.showPhotograph();
  await startPainting(app);
  const granted = await navigator.permissions?.query({ name: "camera" }).catch(() => null);
  if (granted?.state === "granted" && app.requests === 1) app.startCamera(); // unless more than the photograph was asked for
  if (gallery.offline) navigator.serviceWorker?.register("sw.js").catch(() => {}); // private windows have none
}

async function startPainting(app) {
  const query = new URLSearchParams(location.search);
  try {
    await app.painter.open({ threads: Number(query.get("threads")) || undefined });
  } catch (error) {
    showUnpainted(app);
    app.say(error.message);
    $("loading").textContent = error.message;
    return;
  }
  $("loading").textContent = "";
  app.loop.run();
  const choice = app.painter.choice === "auto" ? query.get("backend") : app.painter.choice; // it may be chosen meanwhile
  if (choice) app.setBackend(choice);
}

/** Frames as they are, where the net cannot run. */
function showUnpainted(app) {
  const { loop, state } = app;
  const { screen } = loop;
  state.strength = 0;
  const show = () => {
    const { source } = loop;
    if (source?.width && (source.moving ? source.hasNew : loop.dirty)) {
      screen.take(source.element, source.width, source.height);
      source.take();
      loop.dirty = false;
    }
    if (source?.width) screen.showFrame(state);
    app.syncShape();
    requestAnimationFrame(show);
  };
  show();
}

function painted(app) {
  const { loop, painter } = app;
  app.tick();
  if (loop.painted === 1) app.sync();
  if (loop.painted >= SETTLED && loop.source.moving && !app.compared) {
    app.compared = true;
    if (painter.choice === "auto" && !new URLSearchParams(location.search).has("backend")) app.setBackend("auto");
  }
}

function bind(app) {
  const { gallery } = app;
  const clicks = {
    start: () => app.startCamera(),
    choose: () => $("file").click(),
    "camera-button": () => app.toggleCamera(),
    "flip-button": () => app.flipCamera(),
    "open-button": () => $("file").click(),
    "split-button": () => app.toggleSplit(),
    "snapshot-button": () => app.takeSnapshot(),
    "record-button": () => app.toggleRecording(),
    "mirror-button": () => app.toggleMirror(),
    "freeze-button": () => app.toggleFreeze(),
    "full-button": () => app.toggleFullScreen(),
    "help-button": () => app.toggleText("h"),
    "style-button": () => $("style-file").click(),
  };
  for (const [id, action] of Object.entries(clicks)) $(id).addEventListener("click", action);
  const values = {
    strength: (value) => app.setLook({ strength: Number(value) }),
    mix: (value) => app.setMix(Number(value)),
    divider: () => app.setLook({ split: linePosition() }),
  };
  for (const [id, action] of Object.entries(values)) $(id).addEventListener("input", ({ target }) => action(target.value));
  const changes = {
    other: ({ value }) => app.chooseOther(Number(value)),
    height: ({ value }) => app.setHeight(value === "auto" ? value : Number(value)),
    backend: ({ value }) => app.setBackend(value),
    device: ({ value }) => app.startCamera({ deviceId: value }),
    color: () => app.toggleColor(),
    steady: () => app.toggleSteady(),
    cycle: () => app.toggleCycle(),
    "show-display": () => app.toggleText("i"),
    file: (input) => input.files[0] && app.openFile(input.files[0]),
    "style-file": (input) => input.files[0] && app.addStyle(input.files[0]),
  };
  for (const [id, action] of Object.entries(changes)) {
    $(id).addEventListener("change", ({ target }) => {
      action(target);
      if (target.type === "file") target.value = "";
    });
  }
  $("style-button").hidden = !gallery.encoder;
  $("keys").replaceChildren(...KEYS.map(({ label, help }) => row(label, help)));
  listen(app, () => $("single-keys").checked);
  document.addEventListener("fullscreenchange", () => app.sync());
  $("picture").addEventListener("click", () => app.isFull && app.toggleFullScreen());
  $("leave-button").addEventListener("click", () => app.toggleFullScreen());
  document.addEventListener("keydown", ({ key }) => key === "Escape" && app.isFull && app.toggleFullScreen());
  bindDrops(app);
}

/** Where the thumb of the divider stands, as a share of the picture's width. */
function linePosition() {
  const { value, clientWidth } = $("divider");
  const thumb = 44 / clientWidth; // as wide as in style.css
  return thumb / 2 + Number(value) * (1 - thumb);
}

function row(label, help) {
  const line = document.createElement("tr");
  const [keys, text] = [document.createElement("th"), document.createElement("td")];
  keys.scope = "row";
  for (const each of label.split(" ")) keys.append(Object.assign(document.createElement("kbd"), { textContent: each }), " ");
  text.textContent = help;
  line.append(keys, text);
  return line;
}

function bindDrops(app) {
  const zones = $("drop");
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  let depth = 0;
  const show = (event, by) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    depth += by;
    zones.hidden = depth <= 0;
    const [item] = event.dataTransfer.items;
    zones.lastElementChild.hidden = !app.gallery.encoder || Boolean(item?.type.startsWith("video/"));
  };
  window.addEventListener("dragenter", (event) => show(event, 1));
  window.addEventListener("dragleave", (event) => show(event, -1));
  window.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    for (const zone of zones.children) zone.classList.toggle("over", zone.contains(event.target));
  });
  window.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    depth = 0;
    zones.hidden = true;
    const [file] = event.dataTransfer.files;
    if (!file) return;
    if (event.target.closest?.("[data-drop=style]")) app.addStyle(file);
    else app.openFile(file);
  });
}

start().catch((error) => {
  $("loading").textContent = error.message;
});
