// Frames and a code to paintings, by a worker on wasm and, where that is faster, by another on WebGPU.

const START_SECONDS = 20; // from loaded to ready. Threads have hung on some systems: after so long, one starts over
const TRIALS = 6; // paintings that a backend is timed by, after one that does not count

/** A worker with the net on one backend. */
class Engine {
  constructor(on) {
    this.on = on;
    this.waiting = new Map();
    this.count = 0;
    this.worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data }) => {
      if (data.loaded) return this.onloaded?.();
      if (data.lost) return this.onlost?.(data.lost);
      const { resolve, reject } = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      if (data.error) reject(new Error(data.error));
      else resolve(data);
    };
    this.worker.onerror = ({ message }) => {
      this.close(message || "the painter could not be loaded");
      this.ondied?.(message || "no reason given");
    };
  }

  ask(kind, message, transfer = []) {
    return new Promise((resolve, reject) => {
      if (!this.worker) return reject(new Error("the painter was closed"));
      this.waiting.set(++this.count, { resolve, reject });
      this.worker.postMessage({ id: this.count, kind, ...message }, transfer);
    });
  }

  close(reason) {
    this.worker?.terminate();
    this.worker = null;
    for (const { reject } of this.waiting.values()) reject(new Error(reason));
    this.waiting.clear();
  }

  /** "wasm, 2 threads" */
  get name() {
    if (this.on === "webgpu") return "WebGPU";
    return `wasm, ${this.threads} thread${this.threads === 1 ? "" : "s"}`;
  }
}

async function open(on, threads, model) {
  const engine = new Engine(on);
  let late;
  engine.onloaded = () => {
    if (threads > 1) late = setTimeout(() => engine.close("it did not start in time"), START_SECONDS * 1000);
  };
  try {
    engine.threads = (await engine.ask("open", { on, threads, model })).threads;
    return engine;
  } catch (error) {
    engine.close("closed");
    throw error;
  } finally {
    clearTimeout(late);
  }
}

function hasSimd() {
  // (module (func (result v128) i32.const 0 i8x16.splat i8x16.popcnt))
  const probe = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];
  return WebAssembly.validate(new Uint8Array(probe));
}

/** Whether WebGPU is worth a trial. iOS is left out: its Safari crashes after some hundreds of runs
 * (microsoft/onnxruntime#27584). */
async function hasGpu() {
  if (/iPhone|iPad|Macintosh.*Mobile/.test(navigator.userAgent) || (navigator.maxTouchPoints > 1 && /Mac/.test(navigator.platform))) return false;
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  return Boolean(adapter) && !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter);
}

export class Painter {
  /** `say` gets sentences for the user; `gpuModel` is the file of the net for WebGPU. */
  constructor(say = () => {}, gpuModel = "") {
    this.say = say;
    this.gpuModel = gpuModel;
    this.engine = null; // what paints; none until `open` is done, nor while a worker that died is replaced
    this.wasm = null;
    this.choice = "auto";
  }

  /** Open the net on wasm; throws an Error with a sentence where that is impossible. */
  async open({ threads } = {}) {
    if (!hasSimd()) throw new Error("This browser cannot paint: it lacks WebAssembly SIMD. Update it, or try another one.");
    const cores = navigator.hardwareConcurrency || 1;
    threads ??= cores > 2 ? Math.min(4, cores - 1) : cores;
    try {
      this.wasm = await open("wasm", threads, "model.onnx");
    } catch (error) {
      if (threads === 1 || error.message.includes("could not be loaded")) throw new Error(`The painter could not be loaded (${error.message}): reload the page.`);
      return this.open({ threads: 1 });
    }
    this.wasm.ondied = (reason) => this.replaceWasm(reason);
    this.engine ??= this.wasm;
    this.loaded = true;
  }

  /** Open the net on wasm again after its worker died, but only once. */
  async replaceWasm(reason) {
    if (this.engine === this.wasm) this.engine = null;
    this.wasm = null;
    try {
      if (this.replaced) throw new Error(`The painter stopped again (${reason}): reload the page.`);
      this.replaced = true;
      await this.open({ threads: 1 });
      this.say(`The painter stopped (${reason}) and was started again.`);
    } catch (error) {
      this.say(error.message);
    }
  }

  get name() {
    return this.engine?.name ?? "";
  }

  /** A frame, RGBA in a buffer (which is given away), to {painted: RGB in a buffer, seconds}. A backend that fails is
   * left for wasm. */
  async paint(pixels, width, height, code, history = null) {
    const { engine } = this;
    const spare = engine.on === "webgpu" ? pixels.slice(0) : null;
    try {
      return await engine.ask("paint", { pixels, width, height, code, history }, [pixels]);
    } catch (error) {
      if (spare) this.leaveGpu(error.message);
      if (!spare || !this.engine) throw new Error(`A frame could not be painted (${error.message}).`);
      return this.paint(spare, width, height, code, history);
    }
  }

  /** A picture, RGBA in a buffer, to the code of its style, Float32Array. */
  async encode(pixels, width, height) {
    if (!this.wasm) throw new Error("A picture can become a style once the painter is loaded.");
    return (await this.wasm.ask("encode", { pixels, width, height }, [pixels])).code;
  }

  /** Use "wasm", "webgpu" or "auto": the faster one for frames of this size. Resolves when it is in use. Before `open` is
   * done it is only noted. */
  async choose(choice, width, height, code) {
    this.choice = choice;
    if (!this.loaded) return;
    if (choice === "wasm" || (choice === "auto" && !(await hasGpu()))) {
      this.engine = this.wasm;
      return;
    }
    try {
      if (!navigator.gpu) throw new Error("this browser has none");
      await (this.opening ??= this.openGpu());
      const seconds = [];
      if (choice === "auto") for (const engine of [this.gpu, this.wasm]) seconds.push(await timed(engine, width, height, code));
      if (this.choice === choice && this.gpu) this.engine = choice === "webgpu" || seconds[0] < seconds[1] ? this.gpu : this.wasm;
    } catch (error) {
      this.gpu?.close("closed");
      this.forgetGpu();
      if (choice === "webgpu") this.say(`WebGPU cannot be used here (${error.message}): painting goes on by wasm.`);
    }
  }

  async openGpu() {
    const gpu = await open("webgpu", 1, this.gpuModel);
    gpu.onlost = (reason) => this.leaveGpu(reason);
    this.gpu = gpu;
  }

  leaveGpu(reason) {
    if (!this.gpu) return;
    const used = this.engine === this.gpu;
    const gpu = this.gpu;
    this.forgetGpu();
    gpu.close(reason);
    if (used) this.say("The GPU went away: painting goes on by wasm.");
  }

  forgetGpu() {
    this.gpu = this.opening = null;
    this.engine = this.wasm;
    if (this.choice === "webgpu") this.choice = "wasm";
  }
}

/** Seconds that a painting takes in the worker, the median of TRIALS. */
async function timed(engine, width, height, code) {
  const seconds = [];
  for (let i = 0; i <= TRIALS; i++) {
    const pixels = new Uint8Array(4 * width * height).fill(128).buffer;
    const answer = await engine.ask("paint", { pixels, width, height, code, history: null }, [pixels]);
    if (i) seconds.push(answer.seconds);
  }
  return seconds.sort((a, b) => a - b)[TRIALS >> 1];
}
