// What buttons, sliders and keys do, and the state that they change; the page follows it in `sync`.

import { seconds } from "./loop.js";
import { fileName, Recorder, save } from "./recorder.js";
import { listCameras, openCamera, openFile, readPicture } from "./source.js";

const MIX_STEP = 0.05;
const MESSAGE_SECONDS = 5;
const STYLE_SIDE = 1792; // pixels, the long side of a picture that becomes a style: much more than the encoder looks at
const THUMBNAIL = 128;
const HEIGHTS = [176, 240, 288, 360, 480, 720];

export const $ = (id) => document.getElementById(id);

export class App {
  constructor({ painter, styles, gallery, photograph }) {
    Object.assign(this, { painter, styles, gallery, photograph });
    this.state = { strength: 1, keepColor: false, steady: false, mirror: false, split: null, frozen: false, height: "auto" };
    this.display = false;
    this.recorder = new Recorder($("picture"));
    this.turn = Promise.resolve(); // cameras are opened one after the other
    this.requests = 0; // sources that were asked for: each has its number
    this.shown = 0; // the number of the one that is shown, or at which the camera was stopped
    this.opening = 0; // the number of the camera that is being opened
  }

  // -- sources

  /** Open a camera, after what is asked for already. */
  startCamera(which) {
    const request = (this.opening = ++this.requests);
    this.turn = this.turn.then(() => this.changeCamera(which, request));
    return this.turn;
  }

  async changeCamera(which, request) {
    if (this.isLate(request)) return;
    const before = this.camera;
    before?.close(); // many phones open no camera while another one is open
    try {
      await this.useCamera(which, request);
    } catch (error) {
      if (this.isLate(request)) return;
      this.say(error.message);
      if (before) await this.useCamera({ deviceId: before.deviceId }, request).catch(() => this.isLate(request) || this.showPhotograph());
    } finally {
      if (this.opening === request) this.opening = 0;
      this.sync();
    }
  }

  async useCamera(which, request) {
    const source = await openCamera(which, () => {
      this.say("The camera went away: connect it and press Camera.");
      this.stopCamera();
    });
    if (!this.setSource(source, request)) return;
    this.state.mirror = source.facing !== "environment";
    this.cameras = await listCameras();
  }

  stopCamera() {
    this.shown = ++this.requests; // what is still being opened comes too late
    this.stopRecording();
    if (this.loop.source?.kind === "picture") return;
    this.showPhotograph();
  }

  toggleCamera() {
    if (this.camera || this.opening > this.shown) this.stopCamera();
    else this.startCamera();
  }

  /** The next of several cameras. */
  flipCamera() {
    const now = this.cameras.findIndex(({ deviceId }) => deviceId === this.camera?.deviceId);
    this.startCamera({ deviceId: this.cameras[(now + 1) % this.cameras.length].deviceId });
  }

  get camera() {
    return this.loop.source?.kind === "camera" ? this.loop.source : null;
  }

  /** Show a picture or a video; returns whether it is shown. */
  async openFile(file) {
    const request = ++this.requests;
    try {
      if (!this.setSource(await openFile(file), request)) return false;
      this.state.mirror = false;
      this.sync();
      return true;
    } catch (error) {
      this.say(error.message);
      return false;
    }
  }

  async showPhotograph() {
    if (await this.openFile(this.photograph)) $("welcome").hidden = false;
  }

  /** Whether something that was asked for later is shown already, or the camera was stopped since. */
  isLate(request) {
    return request < this.shown;
  }

  /** Show a source, or close it if it comes too late; returns whether it is shown. */
  setSource(source, request) {
    if (this.isLate(request)) {
      source.close();
      return false;
    }
    this.shown = request;
    $("welcome").hidden = true;
    this.state.frozen = false;
    this.loop.setSource(source);
    return true;
  }

  /** A picture becomes a style, by the encoder. */
  async addStyle(file) {
    let bitmap;
    try {
      bitmap = await readPicture(file, STYLE_SIDE).catch(() => {
        throw new Error(`${file.name || "The file"} is no picture that this browser can show.`);
      });
      const { width, height } = bitmap;
      if (Math.min(width, height) < 32) throw new Error("A picture that becomes a style must be at least 32 x 32 pixels.");
      this.say("Looking at the picture …");
      const pixels = draw(bitmap, width, height).getImageData(0, 0, width, height).data.buffer;
      const code = Float32Array.from(await this.painter.encode(pixels, width, height));
      if (code.length !== this.gallery.styles[0].code.length || !code.every(Number.isFinite)) throw new Error("The encoder does not fit the model.");
      const number = this.styles.styles.filter((style) => style.own).length + 1;
      const title = (file.name || "").replace(/\.\w+$/, "") || `Picture ${number}`;
      const thumbnail = draw(bitmap, THUMBNAIL, THUMBNAIL).canvas.toDataURL("image/jpeg", 0.8);
      this.styles.add({ own: true, name: `own-${number}`, title, artist: "your picture", year: "", code, thumbnail }, seconds());
      this.addCards();
      this.styleChanged();
      this.say(`${title} is a style now.`);
    } catch (error) {
      this.say(error.message);
    } finally {
      bitmap?.close();
    }
  }

  // -- styles

  choose(index) {
    this.styles.choose(index, seconds());
    this.styleChanged();
  }

  chooseByKey(key) {
    this.choose((Number(key) + 9) % 10);
  }

  stepStyle(key) {
    this.styles.step(key === "n" ? 1 : -1, seconds());
    this.styleChanged();
  }

  chooseOther(index) {
    this.styles.chooseOther(index, seconds());
    this.styleChanged();
  }

  setMix(mix) {
    this.styles.setMix(mix, seconds());
    this.styleChanged();
  }

  moveMix(key) {
    this.styles.moveMix(key === "x" ? MIX_STEP : -MIX_STEP, seconds());
    this.styleChanged();
  }

  toggleCycle() {
    this.styles.toggleCycle(seconds());
    this.loop.wake();
    this.sync();
  }

  styleChanged() {
    this.loop.change();
    this.sync();
  }

  // -- look

  setLook(change) {
    Object.assign(this.state, change);
    this.loop.redraw();
    this.sync();
  }

  stepStrength(key) {
    const strength = Math.round(10 * this.state.strength + (key === "]" ? 1 : -1)) / 10;
    this.setLook({ strength: Math.min(1, Math.max(0, strength)) });
  }

  toggleColor() {
    this.setLook({ keepColor: !this.state.keepColor });
  }

  toggleMirror() {
    this.setLook({ mirror: !this.state.mirror });
  }

  toggleSplit() {
    this.setLook({ split: this.state.split === null ? 0.5 : null });
    $("divider").value = 0.5;
  }

  toggleSteady() {
    this.setLook({ steady: !this.state.steady });
  }

  toggleFreeze() {
    this.state.frozen = !this.state.frozen;
    this.loop.wake();
    this.sync();
  }

  setHeight(height) {
    this.state.height = height;
    this.loop.restart();
    this.sync();
  }

  stepHeight(key) {
    if (key === "w") return this.setHeight("auto");
    this.loop.stepHeight("+=".includes(key) ? 1 : -1);
    this.sync();
  }

  async setBackend(choice) {
    const [width, height] = this.loop.workingSize();
    await this.painter.choose(choice, width, height, this.styles.code(seconds()));
    this.loop.restart();
    this.sync();
  }

  // -- files

  takeSnapshot() {
    this.loop.redraw(); // a canvas of WebGL can be read only while it is drawn
    $("picture").toBlob((blob) => this.say(`Saved ${save(blob, `${fileName(this.styles.style.name)}.png`)}`), "image/png");
  }

  async toggleRecording() {
    if (!Recorder.possible) return this.say("This browser cannot record.");
    if (this.recorder.starting) return;
    if (this.recorder.recorder) return this.stopRecording();
    try {
      const { source } = this.loop;
      const trouble = await this.recorder.start(fileName(this.styles.style.name), {
        microphone: $("sound").checked && source.kind !== "video",
        video: source.kind === "video" && $("sound").checked ? source.element : null,
      });
      this.say(trouble ?? "Recording: press Record again to save it.");
      this.reportRecording();
      this.loop.redraw();
    } catch (error) {
      this.say(`The recording could not be started (${error.message}).`);
    }
    this.sync();
  }

  /** Say what became of the recording when it has ended, by whatever. */
  async reportRecording() {
    this.ending = "The browser ended the recording. ";
    try {
      const name = await this.recorder.saved;
      this.say(`${this.ending}Saved ${name}`);
    } catch (error) {
      this.say(this.ending + error.message);
    }
    this.sync();
  }

  /** End the recording, if there is one; `reason` is a sentence where the user did not ask for it. */
  stopRecording(reason = "") {
    if (this.recorder.stop()) this.ending = reason;
  }

  // -- the page

  get isFull() {
    return Boolean(document.fullscreenElement) || $("stage").classList.contains("filled");
  }

  /** Fill the screen with the picture, or leave that; a click on the picture leaves it too. */
  async toggleFullScreen() {
    const stage = $("stage");
    if (document.fullscreenElement) await document.exitFullscreen();
    else if (stage.requestFullscreen && !this.isFull) await stage.requestFullscreen().catch(() => stage.classList.add("filled"));
    else stage.classList.toggle("filled"); // phones of Apple
    this.sync();
  }

  toggleText(key) {
    if (key === "h") return $("help-dialog").open ? $("help-dialog").close() : $("help-dialog").showModal();
    this.display = !this.display;
    this.sync();
  }

  say(sentence) {
    const message = $("message");
    message.textContent = sentence;
    message.classList.add("shown");
    clearTimeout(this.silence);
    this.silence = setTimeout(() => message.classList.remove("shown"), 1000 * MESSAGE_SECONDS);
  }

  /** Cards and entries for the styles that have none yet. */
  addCards() {
    const cards = $("gallery");
    for (const [index, style] of this.styles.styles.entries()) {
      if (index < cards.querySelectorAll("label").length) continue;
      const card = $("style-card").content.cloneNode(true);
      const [radio, image, name] = ["input", "img", "span"].map((tag) => card.querySelector(tag));
      Object.assign(radio, { value: style.name, onchange: () => this.choose(index) });
      radio.setAttribute("aria-label", [style.title, style.artist].filter(Boolean).join(", "));
      if (style.thumbnail.startsWith("data:image/")) image.src = style.thumbnail;
      name.textContent = style.title;
      cards.insertBefore(card, $("style-button"));
      $("other").append(new Option(style.title, index));
    }
  }

  /** Make the page say what is. */
  sync() {
    const { state, styles, loop, camera } = this;
    const { style } = styles;
    const radios = $("gallery").querySelectorAll("input");
    if (!radios[styles.index].checked) reveal(radios[styles.index].parentElement);
    radios[styles.index].checked = true;
    $("title").textContent = styles.label;
    $("artist").textContent = [style.artist, style.year].filter(Boolean).join(", ");
    $("picture").setAttribute("aria-label", `Painted in the style of ${styles.label}`);
    $("other").value = styles.other;
    $("mix").value = styles.mix;
    $("picture").setAttribute("aria-busy", loop.busy);
    $("strength").value = state.strength;
    const checked = { color: state.keepColor, steady: state.steady, cycle: styles.cycle, "show-display": this.display };
    for (const [id, value] of Object.entries(checked)) $(id).checked = value;
    const pressed = { camera: Boolean(camera), split: state.split !== null, mirror: state.mirror, freeze: state.frozen, record: Boolean(this.recorder.recorder), full: this.isFull };
    for (const [name, value] of Object.entries(pressed)) $(`${name}-button`).setAttribute("aria-pressed", value);
    $("divider").hidden = state.split === null;
    $("leave-button").hidden = !$("stage").classList.contains("filled");
    $("flip-button").hidden = !camera || this.cameras?.length < 2;
    $("display").hidden = !this.display;
    this.syncFields();
    this.syncShape();
    this.syncClock();
  }

  /** A phone that is turned gives pictures of another shape. A recording cannot change its own: it ends. */
  syncShape() {
    const { width, height } = $("picture");
    if (this.shape === `${width} x ${height}`) return;
    this.shape = `${width} x ${height}`;
    $("stage").style.setProperty("--ratio", width / height);
    this.stopRecording("The recording ended, as the picture has another size now. ");
  }

  /** How long the recording is, every second while there is one. */
  syncClock() {
    const { seconds: recorded } = this.recorder;
    clearTimeout(this.nextSecond);
    $("clock").hidden = recorded === null;
    if (recorded === null) return;
    $("clock").lastChild.textContent = `${Math.floor(recorded / 60)}:${String(Math.floor(recorded % 60)).padStart(2, "0")}`;
    this.nextSecond = setTimeout(() => this.syncClock(), 1000 * (1 - (recorded % 1)));
  }

  syncFields() {
    const { state, camera, cameras } = this;
    const heights = [...new Set([...HEIGHTS, ...(state.height === "auto" ? [] : [state.height])])].sort((a, b) => a - b);
    fill($("height"), [["automatic: 30 fps", "auto"], ...heights.map((height) => [`${height} pixels`, height])], state.height);
    const devices = camera && cameras?.length ? cameras : [{ deviceId: "", label: "starts with the button" }];
    fill($("device"), devices.map(({ label, deviceId }, i) => [label || `Camera ${i + 1}`, deviceId]), camera?.deviceId ?? "");
    $("device").disabled = !camera;
    $("backend").value = this.painter.choice;
  }

  /** What changes with every frame. */
  tick() {
    const { facts, busy } = this.loop;
    $("picture").setAttribute("aria-busy", busy);
    this.syncShape();
    $("display").textContent = facts;
    $("facts").textContent = facts;
  }
}

function fill(select, entries, value) {
  const key = JSON.stringify(entries);
  if (select.dataset.entries !== key) select.replaceChildren(...entries.map(([text, entry]) => new Option(text, entry)));
  select.dataset.entries = key;
  select.value = value;
}

/** Scroll a card into view in the gallery, which scrolls across on phones, down in wide windows. scrollIntoView would scroll
 * the page too. */
function reveal(card) {
  for (const scroller of [$("gallery"), $("styles")]) {
    const [inner, outer] = [card, scroller].map((each) => each.getBoundingClientRect());
    if (inner.left < outer.left || inner.right > outer.right) scroller.scrollLeft += (inner.left + inner.right - outer.left - outer.right) / 2;
    if (inner.top < outer.top || inner.bottom > outer.bottom) scroller.scrollTop += (inner.top + inner.bottom - outer.top - outer.bottom) / 2;
  }
}

/** A context with the middle of a bitmap in these proportions. */
function draw(bitmap, width, height) {
  const context = Object.assign(document.createElement("canvas"), { width, height }).getContext("2d");
  const scale = Math.max(width / bitmap.width, height / bitmap.height);
  const [w, h] = [bitmap.width * scale, bitmap.height * scale];
  context.drawImage(bitmap, (width - w) / 2, (height - h) / 2, w, h);
  return context;
}
