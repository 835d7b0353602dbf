// Which style is painted: one of the gallery, or a mix of two; and the crossfade there, a straight line between codes.

const FADE = 0.5; // seconds
const MIX_FADE = 0.12;
const TURN = 8; // seconds of a style's turn when styles change by themselves ...
const TURN_FADE = 1.5; // ... and of the change

/** The gallery of gallery.json; codes as Float32Array. */
export function readGallery(gallery) {
  return {
    ...gallery,
    styles: gallery.styles.map((style) => ({ ...style, code: floats(style.code) })),
  };
}

function floats(base64) {
  return new Float32Array(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)).buffer);
}

export class StyleChooser {
  constructor(styles) {
    this.styles = styles;
    this.index = 0;
    this.other = Math.min(1, styles.length - 1);
    this.mix = 0;
    this.cycle = false;
    this.nextTurn = 0;
    this.fade = { begin: styles[0].code, end: styles[0].code, start: -Infinity, seconds: 0 };
  }

  get style() {
    return this.styles[this.index];
  }

  get otherStyle() {
    return this.styles[this.other];
  }

  /** What is painted, in words. */
  get label() {
    if (!this.mix) return this.style.title;
    const share = Math.round(100 * this.mix);
    return `${this.style.title} ${100 - share} %, ${this.otherStyle.title} ${share} %`;
  }

  choose(index, now, seconds = FADE) {
    if (index >= this.styles.length) return;
    this.index = index;
    if (this.other === index || !this.otherChosen) this.other = (index + 1) % this.styles.length;
    this.mix = 0;
    this.go(now, seconds);
  }

  step(by, now, seconds = FADE) {
    this.choose((this.index + by + this.styles.length) % this.styles.length, now, seconds);
  }

  /** The style at the other end of the mix. */
  chooseOther(index, now) {
    this.other = index;
    this.otherChosen = true;
    this.go(now, FADE);
  }

  setMix(mix, now) {
    this.mix = mix;
    this.go(now, MIX_FADE);
  }

  /** A step towards the next style, or back; at the end of the way it is the style. */
  moveMix(by, now) {
    const count = this.styles.length;
    let mix = Math.round(100 * (this.mix + by)) / 100;
    if (mix >= 1) {
      [this.index, mix] = [this.other, mix - 1];
      this.otherChosen = false;
    } else if (mix < 0) {
      [this.index, mix] = [(this.index - 1 + count) % count, mix + 1];
      this.otherChosen = false;
    }
    if (!this.otherChosen) this.other = (this.index + 1) % count;
    this.setMix(Math.max(0, mix), now);
  }

  add(style, now) {
    this.styles.push(style);
    this.choose(this.styles.length - 1, now);
  }

  toggleCycle(now) {
    this.cycle = !this.cycle;
    this.nextTurn = now;
  }

  /** Go on to the next style where styles take turns and it is time; whether it was. */
  takeTurn(now) {
    if (!this.cycle || now < this.nextTurn) return false;
    this.nextTurn = now + TURN;
    this.step(1, now, TURN_FADE);
    return true;
  }

  /** Whether the code is on its way, at a time. */
  fading(now) {
    return now < this.fade.start + this.fade.seconds;
  }

  /** The code to paint with, at a time. */
  code(now) {
    const { begin, end, start, seconds } = this.fade;
    if (!this.fading(now)) return end;
    const t = Math.max(0, (now - start) / seconds);
    return blend(begin, end, t * t * (3 - 2 * t));
  }

  go(now, seconds) {
    const end = this.mix ? blend(this.style.code, this.otherStyle.code, this.mix) : this.style.code;
    this.fade = { begin: this.code(now), end, start: now, seconds };
  }
}

function blend(a, b, share) {
  return a.map((value, i) => value + share * (b[i] - value));
}
