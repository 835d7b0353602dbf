"""The page in a real Chromium with its fake camera, served as `rtstyle web` serves it."""

from __future__ import annotations

import base64
import shutil
import threading
import time
from contextlib import contextmanager

import numpy as np
import onnxruntime
import pytest

from rtstyle.gallery import catalog
from rtstyle.web import site
from rtstyle.web.server import PageServer

FAKE_CAMERA = ("--use-fake-device-for-media-stream", "--no-sandbox")
SOFTWARE_GL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
SOFTWARE_GPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan")
# A canvas of WebGL can be read only while it is drawn, unless it was told to keep what it shows. The page wants it on a
# GPU only, tests have none.
KEEP_DRAWN = """{
  const get = HTMLCanvasElement.prototype.getContext;
  HTMLCanvasElement.prototype.getContext = function (kind, options) {
    const kept = { ...options, preserveDrawingBuffer: true, failIfMajorPerformanceCaveat: false };
    return get.call(this, kind, kind === "webgl2" ? kept : options);
  };
}"""
SHOWN = """(width) => {
  const canvas = document.getElementById("picture");
  const small = document.createElement("canvas");
  Object.assign(small, { width, height: Math.round((width * canvas.height) / canvas.width) });
  const context = small.getContext("2d", { willReadFrequently: true });
  context.drawImage(canvas, 0, 0, small.width, small.height);
  const pixels = context.getImageData(0, 0, small.width, small.height).data;
  let bytes = "";
  for (let i = 0; i < pixels.length; i += 4096) bytes += String.fromCharCode(...pixels.subarray(i, i + 4096));
  return [small.height, btoa(bytes), canvas.getAttribute("aria-busy") === "true"];
}"""
WIDTH = 160  # of the pictures that are compared
PATIENCE = 120.0  # seconds: machines of tests are slow, and busy


def need_browser():
    """Skip without Chromium, Playwright or the built page; returns Playwright's module and Chromium's path."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[dev]'")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("Chromium is not installed: apt install chromium")
    if not site.BUILT.is_file():
        pytest.skip("the page is not built: npm ci && npm run build in rtstyle/web")
    return playwright, path


@contextmanager
def chromium(*flags):
    """A Chromium with the fake camera and these flags."""
    playwright, path = need_browser()
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=[*FAKE_CAMERA, *flags])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def serving(files):
    """`rtstyle web` with these files; gives its address."""
    with PageServer(files, 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            thread.join()


class Tab:
    """A page that was opened, and what it complained of and asked for."""

    def __init__(self, context, url, script=None):
        self.context, self.page = context, context.new_page()
        self.page.set_default_timeout(1000 * PATIENCE)
        self.complaints, self.requests = [], []
        self.page.on("console", lambda line: line.type == "error" and self.complaints.append(line.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("requestfailed", lambda request: self.complaints.append(f"failed: {request.url}"))
        context.on("request", lambda request: self.requests.append(request.url))
        self.page.add_init_script(KEEP_DRAWN)
        if script:
            self.page.add_init_script(script)
        self.page.goto(url)

    def until(self, expression, seconds=PATIENCE):
        """Wait until an expression is true in the page; returns its value. The page forbids eval, which Playwright's
        own waiting needs."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := self.page.evaluate(expression):
                return value
            time.sleep(0.05)
        raise AssertionError(f"{expression} did not come true; the page says: {self.message!r}, {self.complaints}")

    def until_painted(self):
        self.until("performance.getEntriesByName('first-painting').length")

    @property
    def message(self):
        return self.page.evaluate("document.getElementById('message').textContent")

    def attribute(self, name, attribute="aria-pressed"):
        return self.page.get_attribute(f"#{name}", attribute)

    def picture(self):
        """What the canvas shows, shrunk, RGB [H, W, 3] from 0 to 255."""
        return self._look()[0]

    def _look(self):
        """The picture, and whether the page says that another one is being painted."""
        height, pixels, busy = self.page.evaluate(SHOWN, WIDTH)
        return np.frombuffer(base64.b64decode(pixels), np.uint8).reshape(height, WIDTH, 4)[..., :3].astype(int), busy

    def until_changed(self, before, least=2.0):
        """Wait until the picture is another one, by so many grey levels on average; returns it when it stands still."""
        return self._until_picture(lambda picture: distance(picture, before) > least, "did not change")

    def until_same(self, before, most=1.0):
        """Wait until the picture is this one."""
        return self._until_picture(lambda picture: distance(picture, before) < most, "did not come back")

    def until_moves(self, before):
        """Wait until the picture is another one, which need not stand still."""
        end = time.monotonic() + PATIENCE
        while distance(self.picture(), before) == 0:
            assert time.monotonic() < end, f"the picture stands still; the page says: {self.message!r}"

    def until_still(self):
        """Wait until the picture stands still; returns it."""
        return self._until_picture(lambda picture: True, "moves on")

    def _until_picture(self, is_it, what):
        end, last = time.monotonic() + PATIENCE, None
        while time.monotonic() < end:
            picture, busy = self._look()
            if not busy and is_it(picture) and last is not None and distance(picture, last) == 0:
                return picture
            last = picture
        raise AssertionError(f"the picture {what}; the page says: {self.message!r}, {self.complaints}")


def distance(a, b):
    """Mean difference in grey levels; pictures of other sizes are far apart."""
    return 255.0 if a.shape != b.shape else float(np.abs(a - b).mean())


DROP = """([bytes, name, type, zone]) => {
  const data = new DataTransfer();
  data.items.add(new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], name, { type }));
  const event = (kind, target) =>
    target.dispatchEvent(new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
  event("dragenter", document.body);
  const target = document.querySelector(zone);
  event("dragover", target);
  const hidden = document.getElementById("drop").hidden;
  event("drop", target);
  return hidden;
}"""

PAINT = """async ([bytes, width, height, code, backend]) => {
  const { Painter } = await import("./painter.js");
  if (!window.painter) {
    const { gpu_model: gpuModel } = await (await fetch("gallery.json")).json();
    window.painter = new Painter((sentence) => (window.said = sentence), gpuModel);
    await painter.open({ threads: 1 });
  }
  const pixels = () => Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0)).buffer;
  if (backend === "webgpu") await painter.choose("webgpu", width, height, Float32Array.from(code));
  const { painted } = await painter.paint(pixels(), width, height, Float32Array.from(code));
  return [painter.name, Array.from(new Uint8Array(painted))];
}"""


def photograph(seed=0, height=96, width=128):
    """Soft blobs and an edge, uint8 [H, W, 3]."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(y / a + x / b + c) for a, b, c in random.uniform(5, 20, (3, 3))]
    scene = 127 + 80 * np.stack(waves, -1)
    scene[:, width // 2 :] += 40
    return np.clip(scene, 0, 255).astype(np.uint8)


def painted_by_page(tab, frame, code, backend):
    height, width = frame.shape[:2]
    rgba = np.dstack([frame, np.full((height, width), 255, np.uint8)])
    arguments = [base64.b64encode(rgba.tobytes()).decode(), width, height, code.tolist(), backend]
    name, painted = tab.page.evaluate(PAINT, arguments)
    return name, np.array(painted, int).reshape(height, width, 3)


def painted_by_runtime(frame, code):
    session = onnxruntime.InferenceSession(str(catalog.model_path("live")), providers=["CPUExecutionProvider"])
    return session.run(None, {"frames": frame[None], "code": code})[0][0].astype(int)
