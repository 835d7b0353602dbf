// The same as screen.js on a plain 2D canvas, for machines without WebGL 2: paintings are enlarged without the frame's
// detail.

export class FlatScreen {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.slots = [0, 1, 2].map(() => layer({ alpha: false }));
    this.small = layer({ willReadFrequently: true });
    this.painted = layer();
    this.latest = this.taken = null;
  }

  take(picture, width, height) {
    this.taken = this.slots.find((slot) => slot !== this.latest && slot !== this.taken);
    resize(this.taken.canvas, width, height);
    this.taken.globalCompositeOperation = "copy"; // else the frame before shows through a transparent picture
    this.taken.drawImage(picture, 0, 0, width, height);
  }

  shrink(width, height) {
    resize(this.small.canvas, width, height);
    this.small.imageSmoothingQuality = "high";
    this.small.drawImage(this.taken.canvas, 0, 0, width, height);
    return { slot: this.taken, pixels: this.small.getImageData(0, 0, width, height).data.buffer, width, height };
  }

  show({ slot, width, height }, painted, look) {
    const rgb = new Uint8Array(painted);
    const image = new ImageData(width, height);
    for (let from = 0, to = 0; from < rgb.length; from += 3, to += 4) {
      image.data.set(rgb.subarray(from, from + 3), to);
      image.data[to + 3] = 255;
    }
    resize(this.painted.canvas, width, height);
    this.painted.putImageData(image, 0, 0);
    this.latest = slot;
    this.redraw(look);
  }

  redraw({ strength, keepColor, mirror, split }) {
    const { canvas, context, latest, painted } = this;
    if (!latest) return;
    const { width, height } = latest.canvas;
    resize(canvas, width, height);
    const draw = (layer, alpha = 1, blending = "source-over") => {
      Object.assign(context, { globalAlpha: alpha, globalCompositeOperation: blending, imageSmoothingQuality: "high" });
      context.setTransform(mirror ? -1 : 1, 0, 0, 1, mirror ? width : 0, 0);
      context.drawImage(layer.canvas, 0, 0, width, height);
      context.setTransform(1, 0, 0, 1, 0, 0);
    };
    draw(latest);
    const column = Math.round(width * (split ?? 0));
    context.save();
    context.beginPath();
    context.rect(column, 0, width, height);
    context.clip();
    if (strength > 0) {
      draw(painted);
      if (keepColor) draw(latest, 1, "color");
      if (strength < 1) draw(latest, 1 - strength);
    }
    context.restore();
    context.fillStyle = "white";
    if (split !== null) context.fillRect(column - width / 640, 0, width / 320, height);
  }

  showFrame(look) {
    this.latest = this.taken;
    this.redraw({ ...look, strength: 0, split: null });
  }
}

function layer(options) {
  return document.createElement("canvas").getContext("2d", options);
}

function resize(canvas, width, height) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
}
