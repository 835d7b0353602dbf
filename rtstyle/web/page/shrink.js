// Pictures made smaller as sharply as those that the encoder learned from: by Lanczos filters, as Pillow does. What browsers call
// a high quality leaves strokes paler.

const LOBES = 3;

/** RGB pixels whose short side becomes `side` pixels, if it is longer: {pixels, width, height}. */
export function shrink(pixels, width, height, side) {
  const scale = side / Math.min(width, height);
  if (scale >= 1) return { pixels, width, height };
  const [toWidth, toHeight] = [width, height].map((length) => Math.max(side, Math.round(length * scale)));
  const rows = lines(pixels, height, width, toWidth, 3 * width, 3, 3 * toWidth, 3);
  return { pixels: lines(rows, toWidth, height, toHeight, 3, 3 * toWidth, 3, 3 * toWidth), width: toWidth, height: toHeight };
}

/** `count` lines of `from` pixels to as many of `to`; of what comes in and goes out: how far lines lie apart, and pixels of a line. */
function lines(pixels, count, from, to, inLine, inPixel, outLine, outPixel) {
  const out = new Uint8ClampedArray(3 * count * to); // rounds
  const scale = from / to;
  for (let i = 0; i < to; i++) {
    const center = (i + 0.5) * scale;
    const first = Math.max(0, Math.floor(center - LOBES * scale + 0.5));
    const end = Math.min(from, Math.floor(center + LOBES * scale + 0.5));
    const weights = Float64Array.from({ length: end - first }, (_, k) => lanczos((first + k + 0.5 - center) / scale));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    for (let line = 0; line < count; line++) {
      let [red, green, blue] = [0, 0, 0];
      for (let k = 0, at = line * inLine + first * inPixel; k < weights.length; k++, at += inPixel) {
        red += weights[k] * pixels[at];
        green += weights[k] * pixels[at + 1];
        blue += weights[k] * pixels[at + 2];
      }
      const at = line * outLine + i * outPixel;
      out[at] = red / sum;
      out[at + 1] = green / sum;
      out[at + 2] = blue / sum;
    }
  }
  return out;
}

function lanczos(x) {
  if (x === 0) return 1;
  if (Math.abs(x) >= LOBES) return 0;
  const [a, b] = [Math.PI * x, (Math.PI * x) / LOBES];
  return (Math.sin(a) / a) * (Math.sin(b) / b);
}
