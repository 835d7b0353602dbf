// The net, away from the page's own thread: ONNX Runtime on wasm or on WebGPU, and the encoder of pictures.
//
// Messages come in as {id, kind, ...} and are answered in their order by {id, ...} or {id, error}. {loaded} says that
// everything is here and starts now, {lost} that the GPU went away.

import { shrink } from "./shrink.js";
import { Steady } from "./steady.js";

const ENCODER_SIDE = 448; // pixels, the short side of a picture that the encoder looks at

const JSPI = typeof WebAssembly.Suspending === "function"; // a wasm function can wait for a promise
const BUILDS = { wasm: ["wasm", ""], jspi: ["jspi", ".jspi"], asyncify: ["webgpu", ".asyncify"] };
let ort, net, encoder;
const steady = new Steady();

const kinds = {
  /** Load the net, a file `model`; `threads` is for wasm. Answers with how many threads it has. */
  async open({ on, threads, model }) {
    const [build, suffix] = BUILDS[on === "wasm" ? "wasm" : JSPI ? "jspi" : "asyncify"];
    const files = [`ort/ort-wasm-simd-threaded${suffix}.wasm`, model].map(load);
    ort = await import(`./ort/ort.${build}.min.mjs`);
    const [wasmBinary, bytes] = await Promise.all(files);
    postMessage({ loaded: true });
    ort.env.logLevel = "error";
    Object.assign(ort.env.wasm, { wasmBinary, wasmPaths: new URL("./ort/", import.meta.url).href });
    ort.env.wasm.numThreads = on === "wasm" && self.crossOriginIsolated ? threads : 1;
    net = await session(bytes, on);
    if (on === "webgpu") {
      self.gpuDevice = await ort.env.webgpu.device;
      self.gpuDevice.lost.then(({ message }) => postMessage({ lost: message || "no reason given" }));
    }
    return { threads: ort.env.wasm.numThreads };
  },

  /** A frame, RGBA in a buffer, to its painting, RGB in a buffer. `history`: how much of the steadied past may stay,
   * null for none at all. */
  async paint({ pixels, width, height, code, history }) {
    const began = performance.now();
    const frame = withoutAlpha(new Uint8Array(pixels));
    if (history === null) steady.forget();
    else steady.prepare(frame, width, height);
    const feeds = { frames: new ort.Tensor("uint8", frame, [1, height, width, 3]), code: new ort.Tensor("float32", code, [code.length]) };
    const { stylized } = await net.run(feeds);
    const painted = stylized.data;
    if (history !== null) steady.blend(painted, history);
    return { painted: painted.buffer, seconds: (performance.now() - began) / 1000, transfer: [painted.buffer] };
  },

  /** A picture, RGBA in a buffer, to the code of its style. */
  async encode({ pixels, width, height }) {
    encoder ??= await session(await load("encoder.onnx"), "wasm");
    const seen = shrink(withoutAlpha(new Uint8Array(pixels)), width, height, ENCODER_SIDE);
    const picture = new ort.Tensor("uint8", new Uint8Array(seen.pixels.buffer), [1, seen.height, seen.width, 3]);
    return { code: (await encoder.run({ picture })).code.data };
  },
};

async function load(file) {
  const response = await fetch(new URL(file, import.meta.url));
  if (!response.ok) throw new Error(`${file} could not be loaded (${response.status})`);
  return response.arrayBuffer();
}

function session(bytes, provider) {
  return ort.InferenceSession.create(bytes, { executionProviders: [provider] });
}

function withoutAlpha(rgba) {
  const rgb = new Uint8Array((rgba.length / 4) * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4, to += 3) {
    rgb[to] = rgba[from];
    rgb[to + 1] = rgba[from + 1];
    rgb[to + 2] = rgba[from + 2];
  }
  return rgb;
}

let turn = Promise.resolve(); // sessions run one thing at a time

self.onmessage = ({ data: { id, kind, ...message } }) => {
  turn = turn.then(async () => {
    try {
      const { transfer = [], ...answer } = await kinds[kind](message);
      postMessage({ id, ...answer }, transfer);
    } catch (error) {
      postMessage({ id, error: String(error?.message ?? error) });
    }
  });
};
