// Holding a frame rate: the height at which the net runs follows the time that painting takes. The method and its numbers
// are those of rtstyle.live.frame_rate. A height is the frame's short side, in pixels.

const LADDER = [96, 112, 128, 144, 160, 176, 192, 216, 240, 264, 288, 320, 360, 400, 440, 480, 528, 576, 640, 720, 808, 896, 1000, 1080];
export const TARGET = 30; // frames a second
const MIN_HEIGHT = 176;
const FULL = 0.85; // share of a frame's time that painting may take after a change ...
const SETTLE = 3; // frames that a change is given before they count
const FRAMES = 10; // frames that a decision rests on, or three where they take a second
const CALM = 3; // seconds for which there must have been room before going up
const RETRY = 20; // seconds after a step up that failed; doubled each time
const LONGEST_RETRY = 300;

/** The height `by` steps up the ladder, or down; at most `limit`. */
export function step(height, by, limit) {
  const ladder = [...LADDER.filter((rung) => rung < limit), limit];
  const found = ladder.findLastIndex((rung) => rung <= height);
  const between = by < 0 && ladder[found] < height ? 1 : 0;
  return ladder[Math.min(ladder.length - 1, Math.max(0, found + by + between))];
}

export class HeightController {
  constructor(height, limit) {
    this.height = Math.min(height, limit);
    this.limit = limit;
    this.minimum = Math.min(MIN_HEIGHT, this.height);
    this.times = [];
    this.skip = SETTLE;
    this.calmSince = null;
    this.raisedAt = this.blockedUntil = -Infinity;
    this.retry = RETRY;
  }

  /** A frame took `seconds` at the time `now`, of which `rest` does not depend on the height; `budget` is the time that
   * there is for a frame. Returns the height for the next. */
  next(seconds, rest, now, budget) {
    if (this.skip) {
      this.skip--;
      return this.height;
    }
    this.times.push([seconds, rest]);
    const spent = this.times.reduce((sum, [all]) => sum + all, 0);
    if (this.times.length < FRAMES && !(this.times.length >= 3 && spent > 1)) return this.height;
    this.times = this.times.slice(-FRAMES);
    const typical = median(this.times.map(([all]) => all));
    const fixed = Math.min(median(this.times.map(([, part]) => part)), 0.9 * typical);
    const room = Math.max(budget, 1.5 * fixed);
    if (typical > room) this.lower(typical, fixed, now, room);
    else if (this.hasRoom(typical, fixed, room)) {
      this.calmSince ??= now;
      if (now - this.calmSince > CALM && now > this.blockedUntil) {
        this.raisedAt = now;
        this.change(step(this.height, 1, this.limit));
      }
    } else this.calmSince = null;
    return this.height;
  }

  hasRoom(typical, fixed, room) {
    const above = step(this.height, 1, this.limit);
    return above > this.height && fixed + (typical - fixed) * (above / this.height) ** 2 <= FULL * room;
  }

  lower(typical, fixed, now, room) {
    if (now - this.raisedAt < RETRY / 2) {
      this.blockedUntil = now + this.retry;
      this.retry = Math.min(2 * this.retry, LONGEST_RETRY);
    }
    const fitting = this.height * Math.sqrt((FULL * room - fixed) / (typical - fixed));
    let below = this.height;
    while (below > Math.max(fitting, this.minimum)) below = Math.max(step(below, -1, this.limit), this.minimum);
    this.change(below);
  }

  change(height) {
    if (height !== this.height) [this.height, this.skip] = [height, SETTLE];
    this.times = [];
    this.calmSince = null;
  }
}

function median(values) {
  return values.sort((a, b) => a - b)[values.length >> 1];
}
