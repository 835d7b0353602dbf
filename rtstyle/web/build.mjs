// Copies ONNX Runtime for browsers from node_modules to page/ort: npm ci && npm run build
//
// Three builds of it: wasm paints everywhere; two have WebGPU too, jspi for browsers where a wasm function can wait for a
// promise, asyncify, which is larger, for the others.
import { copyFileSync, mkdirSync, rmSync } from "node:fs";

const from = new URL("node_modules/onnxruntime-web/dist/", import.meta.url);
const to = new URL("page/ort/", import.meta.url);
const files = [
  "ort.wasm.min.mjs",
  "ort-wasm-simd-threaded.mjs",
  "ort-wasm-simd-threaded.wasm",
  "ort.jspi.min.mjs",
  "ort-wasm-simd-threaded.jspi.mjs",
  "ort-wasm-simd-threaded.jspi.wasm",
  "ort.webgpu.min.mjs",
  "ort-wasm-simd-threaded.asyncify.mjs",
  "ort-wasm-simd-threaded.asyncify.wasm",
];

rmSync(to, { recursive: true, force: true });
mkdirSync(to, { recursive: true });
for (const file of files) copyFileSync(new URL(file, from), new URL(file, to));
