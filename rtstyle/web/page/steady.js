// Strokes hold still where the picture does: a small cousin of rtstyle.paint.stabilizer, without optical flow.
//
// Blocks of 4 x 4 pixels are compared with the mean of their past. Where they agree, the frame is averaged over up to
// FRAMES frames before the net, so that noise does not make flat areas boil, and KEEP of the last painting stays after
// it. Where they do not, frame and painting are as they come.

const BLOCK = 4;
const FRAMES = 16;
const KEEP = 0.65;
const TOLERANCE = 4; // grey levels of a block's mean

export class Steady {
  forget() {
    this.mean = null;
  }

  /** Average what stands still, in place. `frame`: RGB bytes. */
  prepare(frame, width, height) {
    const size = width * height * 3;
    this.fresh = this.mean?.length !== size || this.width !== width;
    if (this.fresh) {
      this.mean = Float32Array.from(frame);
      this.last = new Float32Array(size);
      this.width = width;
      this.across = Math.ceil(width / BLOCK);
      this.down = Math.ceil(height / BLOCK);
      this.age = new Float32Array(this.across * this.down).fill(1);
      this.agreement = new Float32Array(this.across * this.down);
      return;
    }
    this.compare(frame);
    const { mean, age, agreement } = this;
    for (let i = 0; i < age.length; i++) age[i] = Math.min(FRAMES, age[i] * agreement[i] + 1);
    this.everywhere((at, block) => {
      mean[at] += (frame[at] - mean[at]) / age[block];
      frame[at] = mean[at] + 0.5;
    });
  }

  /** Keep of the last painting what still holds, in place. `weight`: 0 to 1, less while the style changes. */
  blend(painted, weight) {
    const { last, agreement } = this;
    if (this.fresh) return void last.set(painted);
    this.everywhere((at, block) => {
      last[at] = painted[at] + KEEP * weight * agreement[block] * (last[at] - painted[at]);
      painted[at] = last[at] + 0.5;
    });
  }

  /** How far each block agrees with its past, 0 to 1; no more than its neighbours do. */
  compare(frame) {
    const { mean, across, down, agreement } = this;
    const sums = new Float32Array(3 * across * down);
    this.everywhere((at, block, color) => {
      sums[3 * block + color] += frame[at] - mean[at];
    });
    const alike = agreement.map((_, block) => {
      const [r, g, b] = sums.subarray(3 * block, 3 * block + 3);
      const distance = (Math.abs(r) + Math.abs(g) + Math.abs(b)) / (3 * BLOCK * BLOCK);
      return Math.exp(-((distance / TOLERANCE) ** 2));
    });
    for (let y = 0; y < down; y++) {
      for (let x = 0; x < across; x++) {
        let least = 1;
        for (let v = Math.max(0, y - 1); v <= Math.min(down - 1, y + 1); v++) {
          for (let u = Math.max(0, x - 1); u <= Math.min(across - 1, x + 1); u++) least = Math.min(least, alike[v * across + u]);
        }
        agreement[y * across + x] = least;
      }
    }
  }

  /** Call work(index of a byte, index of its block, 0 for red to 2 for blue) for every byte. */
  everywhere(work) {
    const { width, across } = this;
    const rows = this.mean.length / (3 * width);
    for (let y = 0, at = 0; y < rows; y++) {
      const row = ((y / BLOCK) | 0) * across;
      for (let x = 0; x < width; x++) {
        const block = row + ((x / BLOCK) | 0);
        for (let color = 0; color < 3; color++, at++) work(at, block, color);
      }
    }
  }
}
