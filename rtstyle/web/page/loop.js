// The road of a frame: take, shrink, paint, show. The newest frame is always the one that is painted; what cannot be painted
// in time is dropped.

import { HeightController, step, TARGET } from "./height.js";

const WHILE_FADING = 0.3; // of the steadied past, while the style itself changes

export const seconds = () => performance.now() / 1000;

export class Loop {
  /** `state` has the look and what else keys change; `say` gets sentences for the user. */
  constructor({ painter, screen, styles, state, referenceHeight, say }) {
    Object.assign(this, { painter, screen, styles, state, referenceHeight, say });
    this.source = null;
    this.wake = () => {};
    this.dirty = this.faded = this.underway = false;
    this.painted = 0;
    this.dropped = 0;
    this.shown = []; // when the frames of the last second were shown
    setInterval(() => this.styles.cycle && this.wake(), 100);
  }

  /** Paint a source from now on; the one before is closed. */
  setSource(source) {
    this.source?.close();
    this.source = source;
    if (source.moving) source.onframe = () => this.wake();
    this.held = null;
    this.dropped = 0;
    this.restart();
  }

  /** The rate is to be held anew: another source, or another backend. */
  restart() {
    this.controller = null;
    this.change();
  }

  /** Paint again, though it is the same frame: the style or the working height changed. */
  change() {
    this.dirty = true;
    this.wake();
  }

  /** Whether the painting is not yet what was asked for: another is on its way, or the style is changing. */
  get busy() {
    return this.dirty || this.faded || (this.underway && !this.live) || this.styles.fading(seconds());
  }

  /** Whether each new frame is to be painted. */
  get live() {
    return Boolean(this.source?.moving) && !this.state.frozen;
  }

  /** Take the frame anew: the screen lost the one that it had. */
  takeAgain() {
    this.held = null;
    this.change();
  }

  /** Show the painting in its changed look. */
  redraw() {
    this.screen.redraw(this.state);
  }

  async run() {
    let job = null;
    for (;;) {
      try {
        const { shot, answer, source, began, taking } = job ?? (await this.ready());
        job = null;
        const { painted } = await answer;
        if (this.live && source === this.source) job = this.begin(); // the worker paints on while this one is shown
        const showing = seconds();
        this.screen.show(shot, painted, this.state);
        this.underway = job !== null;
        this.note(source, began, taking + seconds() - showing, showing);
      } catch (error) {
        this.underway = job !== null;
        if (this.painter.engine) this.say(error.message); // else the painter says itself what became of it
        await new Promise((resolve) => setTimeout(resolve, 1000));
      }
    }
  }

  async ready() {
    for (;;) {
      const job = this.begin();
      if (job) return job;
      await new Promise((resolve) => (this.wake = resolve));
    }
  }

  /** Take the newest frame and have it painted; null if there is nothing to paint. */
  begin() {
    const { source, screen, styles, state, painter, live } = this;
    if (!source?.width || !painter.engine) return null;
    const began = seconds();
    if (styles.takeTurn(began)) this.onstyle?.();
    const fading = styles.fading(began);
    if (live ? !source.hasNew : !(this.dirty || fading || this.faded)) return null;
    this.faded = fading; // once more when the fade has ended
    this.dirty = false;
    if (live || !this.held) {
      screen.take(source.element, source.width, source.height);
      this.dropped += source.take();
      this.held = { width: source.width, height: source.height };
    }
    const shot = screen.shrink(...this.workingSize());
    const history = state.steady && live ? (fading ? WHILE_FADING : 1) : null;
    const answer = painter.paint(shot.pixels, shot.width, shot.height, styles.code(began), history);
    answer.catch(() => {}); // it is awaited later
    this.underway = true;
    return { shot, answer, source, began, taking: seconds() - began };
  }

  /** What has the size of the frame that is painted: the source, or the held frame, as a phone may be turned meanwhile. */
  get frame() {
    return (!this.live && this.held) || this.source;
  }

  /** The height at which the net runs, the frame's short side, in pixels. */
  get height() {
    const { frame, source, state, referenceHeight } = this;
    const short = frame ? Math.min(frame.width, frame.height) : referenceHeight;
    if (state.height !== "auto") return Math.min(state.height, short);
    if (!source?.moving) return Math.min(referenceHeight, short);
    this.controller ??= new HeightController(referenceHeight, Math.min(short, Math.floor(1.5 * referenceHeight)));
    return this.controller.height;
  }

  /** [width, height], multiples of 4. */
  workingSize() {
    const { width, height } = this.frame;
    const scale = this.height / Math.min(width, height);
    return [width, height].map((side) => Math.max(16, 4 * Math.round((side * scale) / 4)));
  }

  stepHeight(by) {
    const short = Math.min(this.frame.width, this.frame.height);
    this.state.height = step(this.height, by, short);
    this.change();
  }

  note(source, began, rest, now) {
    this.painted++;
    if (this.painted === 1) performance.mark("first-painting");
    this.shown = [...this.shown.filter((time) => time > now - 1), now];
    if (source.moving && this.state.height === "auto" && source === this.source && this.controller) {
      const budget = Math.max(1 / TARGET, 0.97 / (source.rate || TARGET));
      this.controller.next(seconds() - began, rest, now, budget);
    }
    this.onpainted?.();
  }

  /** What the display says. */
  get facts() {
    const { source, shown, painter } = this;
    if (!source?.width) return "";
    const size = this.workingSize().join(" × ");
    if (!this.live) return `${size} · ${painter.name}`;
    const recent = shown.filter((time) => time > seconds() - 1);
    return `${recent.length} fps · ${size} · ${painter.name} · ${this.dropped} dropped`;
  }
}
