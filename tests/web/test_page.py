"""The page in a real Chromium: what controls and keys do is looked for in the picture."""

import base64
import io
import json

import av
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from support.web_browser import (
    DROP,
    SOFTWARE_GL,
    Tab,
    chromium,
    distance,
    painted_by_page,
    painted_by_runtime,
    photograph,
    serving,
)

from rtstyle.gallery import catalog
from rtstyle.web import site

WITHOUT_SIMD = "WebAssembly.validate = () => false"
WITHOUT_WEBGL = """{
  const get = HTMLCanvasElement.prototype.getContext;
  HTMLCanvasElement.prototype.getContext = function (kind, options) {
    return kind === "webgl2" ? null : get.call(this, kind, options);
  };
}"""


def said(expression):
    """Whether a sentence is said that matches."""
    return f"/{expression}/.test(document.getElementById('message').textContent)"


def shows(expression):
    """What the display says, if it matches."""
    return f"(text => /{expression}/.test(text) && text)(document.getElementById('facts').textContent)"


def pressed(button, state="true"):
    return f"document.getElementById('{button}').getAttribute('aria-pressed') === '{state}'"


def until_camera(tab):
    """Wait until the camera is painted, which has another size than the photograph before it."""
    tab.until(pressed("camera-button"))
    tab.until("document.getElementById('picture').width > 1000")


def paint_small(tab):
    """Have the picture painted at 144 pixels instead of 320, which takes a fifth of the time."""
    for _ in range(8):
        tab.page.keyboard.press("-")
    tab.until(shows("^144 . 144"))


@pytest.fixture(scope="module")
def browser():
    with chromium(*SOFTWARE_GL) as browser:
        yield browser


@pytest.fixture(scope="module")
def address():
    with serving(site.page_files()) as url:
        yield url


@pytest.fixture
def open_tab(browser, address):
    """A function that opens the page, with the camera allowed if `camera`."""
    contexts = []

    def open_it(*, camera=False, url=address, script=None, **options):
        context = browser.new_context(viewport={"width": 1000, "height": 700}, accept_downloads=True, **options)
        contexts.append(context)
        if camera:
            context.grant_permissions(["camera", "microphone"])
        return Tab(context, url, script)

    yield open_it
    for context in contexts:
        context.close()


def png(array):
    Image.fromarray(array).save(file := io.BytesIO(), "PNG")
    return base64.b64encode(file.getvalue()).decode()


SLOW_PAINTER = """
const post = Worker.prototype.postMessage;
Worker.prototype.postMessage = function (...message) {
  setTimeout(() => post.apply(this, message), window.paintsLater ?? 0);
};
"""


def test_it_opens_and_paints_the_camera(open_tab, address):
    tab = open_tab(camera=True, script=SLOW_PAINTER)
    tab.until_painted()
    tab.until(pressed("camera-button", "true"))
    facts = tab.until(
        "/fps/.test(document.getElementById('facts').textContent) && document.getElementById('facts').textContent"
    )
    assert "wasm, " in facts and tab.page.evaluate("crossOriginIsolated")
    assert tab.picture().std() > 10
    first = tab.picture()
    tab.until(f"document.getElementById('facts').textContent !== {json.dumps(facts)}")
    tab.until_moves(first)  # the fake camera does
    tab.page.evaluate("window.paintsLater = 500")  # the frame that is being painted when the key comes is shown late
    tab.until_moves(tab.picture())
    tab.page.keyboard.press(" ")  # freeze
    tab.until(pressed("freeze-button", "true"))
    frozen = tab.until_still()
    tab.page.wait_for_timeout(800)
    assert distance(tab.picture(), frozen) == 0
    tab.page.evaluate("window.paintsLater = 0")
    tab.page.keyboard.press(" ")
    tab.until_moves(frozen)
    tab.page.keyboard.press("t")
    assert tab.page.is_checked("#steady")
    tab.page.keyboard.press("q")
    tab.until("!document.getElementById('welcome').hidden")
    assert tab.attribute("camera-button") == "false"
    assert tab.complaints == []
    assert {request.split("/")[2] for request in tab.requests if not request.startswith(("data:", "blob:"))} == {
        address.split("/")[2]
    }


def test_keys_change_the_picture(open_tab):
    tab = open_tab()
    tab.until_painted()
    paint_small(tab)
    key = tab.page.keyboard.press
    start = tab.until_still()
    key("c")
    tab.until_changed(start)
    assert tab.page.is_checked("#color")
    key("c")
    tab.until_same(start)
    key("a")
    assert tab.page.is_checked("#cycle")
    tab.until_changed(start)
    key("a")
    key("1")
    tab.until_same(start)
    for press, button in (("m", "mirror-button"), ("v", "split-button")):
        key(press)
        tab.until_changed(start)
        assert tab.attribute(button) == "true"
        key(press)
        tab.until_same(start)
    key("[")
    tab.until_changed(start, 0.5)
    assert tab.page.input_value("#strength") == "0.9"
    key("]")
    tab.until_same(start)
    key("Alt+[")  # as some keyboards of Macs have it
    assert tab.page.input_value("#strength") == "0.9"
    key("Alt+]")
    key("Alt+c")
    tab.until_same(start)
    key("n")
    second = tab.until_changed(start)
    key("p")
    tab.until_same(start)
    for _ in range(10):
        key("x")
    half = tab.until_changed(start)
    assert tab.page.input_value("#mix") == "0.5" and distance(half, second) > 2
    for _ in range(10):
        key("z")
    tab.until_same(start)
    key("2")
    tab.until_same(second)
    assert tab.page.text_content("#title") == catalog.load("live").styles[1].title
    key("-")
    tab.until(shows("^128 . 128"))
    key("w")
    tab.until(shows("^320 . 320"))
    key("i")
    assert tab.page.is_visible("#display")
    key("h")
    assert tab.page.is_visible("#help-dialog")
    key("Escape")
    assert not tab.page.is_visible("#help-dialog")
    key("f")
    tab.until("document.fullscreenElement?.id === 'stage'")
    key("f")
    tab.until("!document.fullscreenElement")
    with tab.page.expect_download() as download:
        key("s")
    saved = np.array(Image.open(download.value.path()))
    assert download.value.suggested_filename.endswith(".png") and saved.std() > 10 and saved.shape[0] == saved.shape[1]
    key("h")
    tab.page.uncheck("#single-keys")
    key("Escape")
    key("m")
    assert tab.attribute("mirror-button") == "false"
    assert tab.complaints == []


def test_controls_change_the_picture(open_tab):
    tab = open_tab()
    tab.until_painted()
    paint_small(tab)
    page = tab.page
    start = tab.until_still()
    page.fill("#strength", "0")
    plain = tab.until_changed(start)
    page.fill("#strength", "1")
    tab.until_same(start)
    page.select_option("#other", "3")
    page.fill("#mix", "1")
    fourth = tab.until_changed(start)
    page.fill("#mix", "0")
    tab.until_same(start)
    page.locator("#gallery input").nth(3).focus()
    page.locator("#gallery label").nth(3).click()
    tab.until_same(fourth)
    page.keyboard.press("ArrowLeft")  # radio buttons go by arrow keys
    assert page.text_content("#title") == catalog.load("live").styles[2].title
    page.locator("#gallery label").nth(0).click()
    tab.until_same(start)
    page.click("#split-button")
    page.fill("#divider", "0.9")
    compared = tab.until_changed(start)
    left = slice(None), slice(0, compared.shape[1] // 2)
    assert distance(compared[left], plain[left]) < 1  # the photograph is on the left
    page.click("#split-button")
    tab.until_same(start)
    page.keyboard.press(" ")  # the mouse was last: the space bar freezes
    assert tab.attribute("freeze-button") == "true" and tab.attribute("split-button") == "false"
    page.focus("#mirror-button")
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press(" ")  # reached by keyboard: it presses the button
    assert tab.attribute("mirror-button") == "true" and tab.attribute("freeze-button") == "true"
    named = page.evaluate(
        """[...document.querySelectorAll("button, input, select, summary, [role=img]")]
          .filter((each) => !(each.getAttribute("aria-label") || each.labels?.length))
          .filter((each) => !(each.matches("button, summary") && each.textContent.trim()))
          .map((each) => each.outerHTML)"""
    )
    assert named == [] and tab.complaints == []


READ_PICTURES = """
window.read = [];
const make = window.createImageBitmap;
window.createImageBitmap = async (file, ...more) => {
  window.read.push(file.type);
  if (file.name === "slow.png") await new Promise((resolve) => (window.goOn = resolve));
  return make(file, ...more);
};
"""


def test_dropped_pictures_and_files(open_tab):
    tab = open_tab(script=READ_PICTURES)
    tab.until_painted()
    before = tab.picture()
    assert not tab.page.evaluate(DROP, [png(photograph()), "waves.png", "image/png", "#stage"])  # zones are shown
    after = tab.until_changed(before)
    assert abs(after.shape[1] / after.shape[0] - 4 / 3) < 0.02 and not tab.page.is_visible("#welcome")
    assert not tab.page.is_visible("#drop")
    tab.page.evaluate(DROP, [base64.b64encode(b"no picture at all").decode(), "notes.mp4", "video/mp4", "#stage"])
    tab.until(said("notes.mp4 is no picture or video"))
    tab.until_same(after)
    tab.page.keyboard.press("m")  # the rest goes on
    tab.until_changed(after)
    clip = catalog.model_path("live").with_name("sample.mp4").read_bytes()
    tab.page.evaluate(DROP, [base64.b64encode(clip).decode(), "sample.mp4", "video/mp4", "#stage"])
    tab.until(shows("fps"))
    assert "video/mp4" not in tab.page.evaluate("window.read")
    assert tab.page.evaluate(
        "document.getElementById('picture').width / document.getElementById('picture').height"
    ) == pytest.approx(16 / 9, abs=0.01)


def test_a_picture_that_comes_late_is_not_shown(open_tab):
    tab = open_tab(script=READ_PICTURES)
    tab.until_painted()
    before = tab.picture()
    tab.page.evaluate(DROP, [png(photograph(1)), "slow.png", "image/png", "#stage"])
    tab.until("Boolean(window.goOn)")
    tab.page.evaluate(DROP, [png(photograph(2)), "quick.png", "image/png", "#stage"])
    quick = tab.until_changed(before)
    tab.page.evaluate("window.goOn()")
    tab.page.wait_for_timeout(500)
    tab.until_same(quick)


CLOSED_BITMAPS = """
window.closedBitmaps = 0;
const closeBitmap = ImageBitmap.prototype.close;
ImageBitmap.prototype.close = function () {
  window.closedBitmaps += 1;
  closeBitmap.call(this);
};
"""


def test_a_dropped_picture_becomes_a_style(open_tab):
    model = catalog.load("live")
    codes = np.stack([style.code for style in model.styles[:2]])
    value = helper.make_tensor_value_info
    nodes = [  # a stand-in: the darker the picture, the more of the second style
        helper.make_node("Cast", ["picture"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "scale"], ["share"]),
        helper.make_node("Mul", ["share", "change"], ["part"]),
        helper.make_node("Add", ["part", "base"], ["code"]),
    ]
    constants = {"scale": np.float32(1 / 255), "change": codes[0] - codes[1], "base": codes[1]}
    graph = helper.make_graph(
        nodes,
        "encoder",
        [value("picture", TensorProto.UINT8, [1, "H", "W", 3])],
        [value("code", TensorProto.FLOAT, [len(codes[0])])],
        [numpy_helper.from_array(np.asarray(array, np.float32), name) for name, array in constants.items()],
    )
    encoder = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17)])
    files = site.page_files() | {"encoder.onnx": encoder.SerializeToString()}
    files["gallery.json"] = json.dumps(json.loads(files["gallery.json"]) | {"encoder": True}).encode()
    with serving(files) as url:
        tab = open_tab(url=url, script=CLOSED_BITMAPS)
        tab.until_painted()
        paint_small(tab)
        closed = tab.page.evaluate("window.closedBitmaps")
        assert tab.page.is_visible("#style-button")
        start = tab.until_still()
        tab.page.keyboard.press("2")
        second = tab.until_changed(start)
        tab.page.keyboard.press("1")
        tab.until_same(start)
        black = np.zeros((40, 60, 3), np.uint8)
        tab.page.evaluate(DROP, [png(black), "night.png", "image/png", "[data-drop=style]"])
        tab.until_same(second)
        assert tab.page.text_content("#title") == "night"
        assert tab.page.locator("#gallery input").last.is_checked()
        tab.page.evaluate(DROP, [png(black[:20]), "thin.png", "image/png", "[data-drop=style]"])
        tab.until(said("at least 32 x 32"))
        assert len(tab.page.query_selector_all("#gallery input")) == len(model.styles) + 1
        assert tab.page.evaluate("window.closedBitmaps") == closed + 2
        assert tab.complaints == []


def test_the_bundled_encoder_looks_at_a_picture_in_the_browser(open_tab):
    tab = open_tab()
    tab.until_painted()
    paint_small(tab)
    start = tab.until_still()
    tab.page.evaluate(DROP, [png(photograph()[:96, :128, ::-1]), "found.png", "image/png", "[data-drop=style]"])
    tab.until_changed(start)
    assert tab.page.text_content("#title") == "found"
    assert tab.complaints == []


def test_a_picture_for_the_encoder_is_shrunk_as_sharply_as_in_training(open_tab):
    random = np.random.default_rng(7)
    for height, width, short in [(90, 133, 40), (131, 64, 63), (30, 50, 40)]:
        picture = random.integers(0, 256, (height, width, 3), np.uint8)
        shrunk = open_tab().page.evaluate(
            """async ([base64, width, height, side]) => {
              const { shrink } = await import("./shrink.js");
              const pixels = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
              const seen = shrink(pixels, width, height, side);
              return [Array.from(seen.pixels), seen.width, seen.height];
            }""",
            [base64.b64encode(picture.tobytes()).decode(), width, height, short],
        )
        scale = min(1, short / min(height, width))
        size = round(width * scale), round(height * scale)
        expected = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))
        assert (shrunk[1], shrunk[2]) == size
        np.testing.assert_allclose(np.reshape(shrunk[0], expected.shape), expected, atol=1)


def test_wasm_paints_what_onnx_runtime_paints(open_tab, address):
    tab = open_tab(url=address + "licences.txt")
    frame, code = photograph(), catalog.load("live").styles[3].code
    name, painted = painted_by_page(tab, frame, code, "wasm")
    assert name == "wasm, 1 thread"
    assert np.abs(painted - painted_by_runtime(frame, code)).max() <= 1
    left = tab.page.evaluate(
        """async () => {
          const { HeightController, step } = await import("./height.js");
          const controller = new HeightController(360, 540);
          const heights = [];
          let now = 0;
          const run = (frames, cost) => {
            for (let i = 0; i < frames; i++) {
              const seconds = 0.004 + cost * (controller.height / 360) ** 2;
              now += Math.max(seconds, 1 / 30);
              controller.next(seconds, 0.004, now, 1 / 30);
            }
            heights.push(controller.height);
          };
          run(40, 0.06); run(40, 0.9); run(3000, 0.01);
          return [heights, step(360, -1, 720), step(350, -1, 720), step(350, 1, 720), step(720, 1, 720)];
        }"""
    )
    (slow, slowest, fast), *steps = left
    assert slow == 216 and slowest == 176 and fast == 540 and steps == [320, 320, 360, 720]


def test_the_stabilizer_averages_noise_and_shows_a_change_at_once(open_tab, address):
    """Noise on a standing picture is averaged before the net, a change shows at once."""
    tab = open_tab(url=address + "licences.txt")
    noise, change = tab.page.evaluate(
        """async () => {
          const { Steady } = await import("./steady.js");
          const steady = new Steady();
          let random = 1;
          const grain = () => ((random = (random * 16807) % 2147483647) % 25) - 12;
          const frame = (level) => Uint8Array.from({ length: 64 * 48 * 3 }, () => level + grain());
          const off = (picture, level) =>
            picture.reduce((sum, value) => sum + Math.abs(value - level), 0) / picture.length;
          const results = [];
          for (const level of [100, 100, 100, 100, 100, 100, 100, 100, 180]) {
            const given = frame(level);
            const before = off(given, level);
            steady.prepare(given, 64, 48);
            const painted = given.slice();
            steady.blend(painted, 1);
            results.push([before, off(given, level), off(painted, level)]);
          }
          return [results.at(-2), results.at(-1)];
        }"""
    )
    assert noise[1] < 0.55 * noise[0] and noise[2] <= noise[1] + 0.5
    assert change[1] == pytest.approx(change[0]) and change[2] == pytest.approx(change[0])


def recorded(tab, seconds):
    """Frames uint8 [N, H, W, 3] and samples of a recording of so many seconds; nothing if there is none."""
    downloads = []
    tab.page.once("download", lambda download: downloads.append(download))
    tab.page.keyboard.press("r")
    tab.until(pressed("record-button"))
    tab.page.wait_for_timeout(1000 * seconds)
    assert tab.page.is_visible("#clock")
    tab.page.keyboard.press("r")
    tab.until(said("Saved rtstyle-|Nothing was recorded"))
    tab.until(pressed("record-button", "false"))
    tab.page.wait_for_timeout(500)
    if not downloads:
        return [], np.zeros(0)
    assert downloads[0].suggested_filename.startswith("rtstyle-")
    with av.open(str(downloads[0].path())) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with av.open(str(downloads[0].path())) as container:
        return frames, np.concatenate([frame.to_ndarray().ravel() for frame in container.decode(audio=0)])


def test_a_recording_has_picture_and_sound(open_tab):
    tab = open_tab(camera=True)
    until_camera(tab)
    for seconds in (3, 15, 60):  # on a busy machine the encoder needs time
        frames, sound = recorded(tab, seconds)
        if len(frames) >= 2:
            break
    assert len(frames) >= 2 and frames[-1].std() > 10
    assert len(sound) > 10_000 and np.abs(sound).max() > 0.01  # the fake microphone beeps


MADE_RECORDERS = """
window.made = [];
const Plain = MediaRecorder;
window.MediaRecorder = class extends Plain {
  constructor(...given) {
    super(...given);
    window.made.push(this);
  }
};
"""


def test_a_recording_that_the_browser_ends_is_reported(open_tab):
    """Of a picture: the clock runs, though nothing is painted."""
    tab = open_tab(script=MADE_RECORDERS)
    tab.until_painted()
    tab.page.keyboard.press("r")
    tab.until(pressed("record-button"))
    tab.until("/^0:0[2-9]$/.test(document.getElementById('clock').textContent)")
    assert tab.page.is_visible("#clock")
    tab.page.evaluate("window.made[0].stop()")
    tab.until(said("The browser ended the recording. (Saved rtstyle-|Nothing was recorded)"))
    assert tab.attribute("record-button") == "false" and not tab.page.is_visible("#clock")
    assert tab.complaints == []


def test_a_recording_ends_where_the_picture_has_another_size(open_tab):
    tab = open_tab(script=MADE_RECORDERS)
    tab.until_painted()
    tab.page.keyboard.press("r")
    tab.until(pressed("record-button"))
    tab.page.evaluate(DROP, [png(photograph()), "waves.png", "image/png", "#stage"])
    tab.until(said("another size now. (Saved rtstyle-|Nothing was recorded)"))
    assert tab.attribute("record-button") == "false"
    tab.page.keyboard.press("r")
    tab.until("window.made.length === 2 && window.made[1].state === 'recording'")


def test_a_recording_leaves_no_track_of_a_video_running(open_tab):
    script = """
      const capture = HTMLMediaElement.prototype.captureStream;
      HTMLMediaElement.prototype.captureStream = function () {
        const stream = capture.call(this);
        window.tracks = stream.getVideoTracks();
        return stream;
      };
    """
    tab = open_tab(script=script)
    tab.until_painted()
    clip = catalog.model_path("live").with_name("sample.mp4").read_bytes()
    tab.page.evaluate(DROP, [base64.b64encode(clip).decode(), "sample.mp4", "video/mp4", "#stage"])
    tab.until("document.getElementById('picture').width > document.getElementById('picture').height")
    tab.page.keyboard.press("r")
    tab.until(pressed("record-button"))
    assert tab.page.evaluate("window.tracks.map((track) => track.readyState)") == ["ended"]


def test_record_pressed_again_while_the_browser_asks_for_the_microphone_starts_one_recording(open_tab):
    tab = open_tab(camera=True, script=MADE_RECORDERS)
    until_camera(tab)
    tab.page.evaluate(
        """() => {
          window.asked = [];
          navigator.mediaDevices.getUserMedia = () => new Promise((_, refuse) => window.asked.push(refuse));
        }"""
    )
    tab.page.keyboard.press("r")
    tab.until("window.asked.length === 1")
    tab.page.keyboard.press("r")
    tab.page.evaluate("window.asked.forEach((refuse) => refuse(new DOMException('no', 'NotAllowedError')))")
    tab.until(pressed("record-button"))
    tab.page.wait_for_timeout(300)
    assert tab.page.evaluate("[window.made.length, window.asked.length]") == [1, 1]
    tab.page.keyboard.press("r")
    tab.until(pressed("record-button", "false"))


def test_a_recorder_that_does_not_start_can_be_tried_again(open_tab):
    tab = open_tab(camera=True)
    until_camera(tab)
    tab.page.evaluate(
        """() => {
          const { start } = MediaRecorder.prototype;
          MediaRecorder.prototype.start = function () {
            window.tracks = this.stream.getTracks();
            MediaRecorder.prototype.start = start;
            throw new DOMException("no encoder", "NotSupportedError");
          };
        }"""
    )
    tab.page.keyboard.press("r")
    tab.until(said("The recording could not be started .no encoder"))
    assert tab.attribute("record-button") == "false"
    assert tab.page.evaluate("window.tracks.length > 1 && window.tracks.every((track) => track.readyState === 'ended')")
    tab.page.keyboard.press("r")
    tab.until(pressed("record-button"))


def test_a_phone_without_full_screen_fills_the_window_and_comes_back(open_tab):
    tab = open_tab(script="Element.prototype.requestFullscreen = undefined")
    tab.until_painted()
    for leave in (lambda: tab.page.click("#leave-button"), lambda: tab.page.keyboard.press("Escape")):
        tab.page.click("#split-button")
        tab.page.click("#full-button")
        assert tab.page.evaluate("document.getElementById('stage').className") == "filled"
        assert tab.page.evaluate("document.elementFromPoint(20, 20).closest('#stage') !== null")
        leave()
        assert tab.page.evaluate("document.getElementById('stage').className") == ""
        assert not tab.page.is_visible("#leave-button")


def test_a_picture_is_painted_again_after_the_gpu_lost_it(open_tab):
    tab = open_tab()
    tab.until_painted()
    paint_small(tab)
    start = tab.until_still()
    tab.page.evaluate(
        """async () => {
          const canvas = document.getElementById("picture");
          const gone = canvas.getContext("webgl2").getExtension("WEBGL_lose_context");
          const lost = new Promise((resolve) => canvas.addEventListener("webglcontextlost", resolve));
          gone.loseContext();
          await lost;
          setTimeout(() => gone.restoreContext(), 50);
          await new Promise((resolve) => canvas.addEventListener("webglcontextrestored", resolve));
        }"""
    )
    tab.until_same(start)
    tab.page.keyboard.press("n")
    tab.until_changed(start)
    assert tab.complaints == []
    tab.page.evaluate(
        "document.getElementById('picture').getContext('webgl2').getExtension('WEBGL_lose_context').loseContext()"
    )
    tab.until(said("The GPU shows nothing any more: reload the page"))


def test_a_gpu_whose_shaders_do_not_link_is_left_for_a_plain_canvas(open_tab):
    script = """
      const get = WebGL2RenderingContext.prototype.getProgramParameter;
      WebGL2RenderingContext.prototype.getProgramParameter = function (program, name) {
        return name === this.LINK_STATUS ? false : get.call(this, program, name);
      };
    """
    tab = open_tab(script=script)
    tab.until_painted()
    paint_small(tab)
    start = tab.until_still()
    tab.page.keyboard.press("c")
    tab.until_changed(start)
    assert tab.complaints == []


HELD_PAINTER = """
window.held = [];
const post = Worker.prototype.postMessage;
Worker.prototype.postMessage = function (...message) {
  if (window.held) window.held.push(() => post.apply(this, message));
  else post.apply(this, message);
};
Object.defineProperty(navigator, "gpu", { value: undefined });
"""


def test_controls_before_the_net_is_loaded(open_tab):
    tab = open_tab(script=HELD_PAINTER)
    tab.until("window.held.length")
    tab.page.evaluate(DROP, [png(photograph()), "waves.png", "image/png", "[data-drop=style]"])
    tab.until(said("A picture can become a style once the painter is loaded"))
    tab.page.click("summary")
    tab.page.select_option("#backend", "webgpu")
    tab.page.evaluate("window.held.splice(0).forEach((send) => send()); window.held = null")
    tab.until(said("WebGPU cannot be used here .this browser has none"))  # it was tried, though later
    tab.until("document.getElementById('backend').value === 'wasm'")
    tab.until_painted()
    assert tab.complaints == []


def test_a_painter_that_dies_is_replaced_once(open_tab, address):
    tab = open_tab(url=address + "?threads=1")
    tab.until_painted()
    paint_small(tab)
    start = tab.until_still()
    die = "void setTimeout(() => { throw new Error('out of memory'); })"
    tab.page.workers[-1].evaluate(die)
    tab.until(said("The painter stopped .*out of memory.* and was started again"))
    tab.page.keyboard.press("c")
    tab.until_changed(start)
    tab.page.workers[-1].evaluate(die)
    tab.until(said("The painter stopped again .*: reload the page"))
    tab.page.keyboard.press("n")
    tab.page.wait_for_timeout(1500)
    assert "reload the page" in tab.message  # no other sentence came after it


def test_a_style_that_changes_scrolls_the_gallery_and_not_the_page(open_tab):
    tab = open_tab()
    tab.page.set_viewport_size({"width": 390, "height": 400})
    tab.until_painted()
    tab.page.keyboard.press("9")
    shown = tab.page.evaluate(
        """() => {
          const card = document.querySelector("#gallery :checked").parentElement.getBoundingClientRect();
          return [document.body.scrollHeight > innerHeight, scrollY, card.left >= 0 && card.right <= innerWidth];
        }"""
    )
    assert shown == [True, 0, True]


def test_a_frozen_frame_keeps_its_shape_when_the_phone_is_turned(open_tab, address):
    tab = open_tab(url=address + "licences.txt")
    sizes = tab.page.evaluate(
        """async () => {
          const { Loop } = await import("./loop.js");
          const sizes = [];
          const screen = { take() {}, shrink: (...size) => (sizes.push(size), {}) };
          const styles = { takeTurn() {}, fading: () => false, code() {} };
          const painter = { engine: {}, paint: async () => ({}) };
          const source = { width: 640, height: 480, moving: true, hasNew: true, take: () => 0 };
          const state = { height: 240, frozen: false };
          const loop = new Loop({ painter, screen, styles, state, referenceHeight: 320 });
          loop.setSource(source);
          loop.begin();
          state.frozen = true;
          Object.assign(source, { width: 480, height: 640 });
          for (const frozen of [true, false]) {
            state.frozen = frozen;
            loop.change();
            loop.begin();
          }
          return sizes;
        }"""
    )
    assert sizes == [[320, 240], [320, 240], [240, 320]]


def test_a_camera_that_is_allowed_late_is_closed(open_tab):
    script = """
      window.streams = [];
      window.asked = 0;
      const get = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
      navigator.mediaDevices.getUserMedia = async (what) => {
        window.asked += 1;
        await new Promise((resolve) => (window.allow = resolve));
        window.streams.push(await get(what));
        return window.streams.at(-1);
      };
    """
    tab = open_tab(camera=True, script=script)
    tab.until_painted()
    tab.until("window.asked === 1")
    tab.page.click("#camera-button")  # the second time: it stops
    tab.page.evaluate("window.allow()")
    tab.until("window.streams.length === 1 && !window.streams[0].active")
    assert tab.page.evaluate("window.asked") == 1
    before = tab.until_still()
    tab.page.click("#camera-button")
    tab.until("window.asked === 2")
    tab.page.evaluate(DROP, [png(photograph()), "waves.png", "image/png", "#stage"])
    dropped = tab.until_changed(before)
    tab.page.evaluate("window.allow()")
    tab.until("window.streams.length === 2 && !window.streams[1].active")
    tab.until_same(dropped)
    tab.page.click("#camera-button")
    tab.until("window.asked === 3")
    tab.page.evaluate("window.allow()")
    tab.until(pressed("camera-button"))
    assert tab.complaints == []


def test_one_camera_is_open_at_a_time_and_the_last_one_comes_back(open_tab):
    script = """
      window.streams = [];
      window.live = [];
      const get = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
      navigator.mediaDevices.getUserMedia = async (what) => {
        window.live.push(window.streams.filter((stream) => stream.active).length);
        if (window.refuse) {
          window.refuse = false;
          throw new DOMException("busy", "NotReadableError");
        }
        window.streams.push(await get(what));
        return window.streams.at(-1);
      };
    """
    tab = open_tab(camera=True, script=script)
    tab.until_painted()
    tab.until(pressed("camera-button", "true"))
    tab.page.evaluate("document.getElementById('device').dispatchEvent(new Event('change'))")
    tab.until("window.streams.length === 2")
    tab.until(pressed("camera-button", "true"))
    tab.page.evaluate("window.refuse = true; document.getElementById('device').dispatchEvent(new Event('change'))")
    tab.until("window.streams.length === 3")
    tab.until(said("in use by another program"))
    assert tab.page.evaluate("window.live") == [0, 0, 0, 0]
    tab.until_moves(tab.picture())
    assert tab.attribute("camera-button") == "true"


def test_offline_after_the_first_visit(open_tab, browser, tmp_path):
    """On a host that sends no headers, in a folder of it: the service worker brings files and threads."""
    files = {f"deep/{name}": content for name, content in site.export(tmp_path / "site", force=False).items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rtstyle.web.server.HEADERS", {})
        with serving(files) as url:
            tab = open_tab(url=url + "deep/index.html")
            tab.until_painted()
            assert not tab.page.evaluate("crossOriginIsolated")
            assert "wasm, 1 thread" in tab.page.evaluate("document.getElementById('facts').textContent")
            tab.until("navigator.serviceWorker.controller !== null")
    tab.page.goto(url + "deep/index.html")  # nobody answers there any more
    tab.until_painted()
    assert tab.page.evaluate("crossOriginIsolated")


def test_files_of_another_version_are_not_kept(open_tab, tmp_path):
    """As while a new version is being uploaded."""
    files = {**site.export(tmp_path / "site", force=False)}
    for changed, expected in ((b"", "installed"), (b" ", "redundant")):
        files["keys.js"] += changed
        with serving(files) as url:
            state = open_tab(url=url + "licences.txt").page.evaluate(
                """async () => {
                  const { installing } = await navigator.serviceWorker.register("sw.js");
                  await new Promise((resolve) => (installing.onstatechange = resolve));
                  return installing.state;
                }"""
            )
        assert state == expected


def test_a_refused_camera_is_explained_and_the_page_goes_on(open_tab):
    tab = open_tab()
    tab.until_painted()
    tab.page.click("#start")
    tab.until(said("The camera was refused: allow it"))
    tab.page.evaluate(
        """() => {
          navigator.mediaDevices.getUserMedia = async () => { throw new DOMException("", "NotFoundError"); };
        }"""
    )
    tab.page.click("#camera-button")
    tab.until(said("No camera was found"))
    start = tab.picture()
    tab.page.keyboard.press("m")
    tab.until_changed(start)


def test_a_browser_that_cannot_paint_shows_the_camera(open_tab):
    tab = open_tab(camera=True, script=WITHOUT_SIMD)
    tab.until(said("it lacks WebAssembly SIMD"))
    tab.until("document.getElementById('picture').width > 1000")  # the camera's, though it is not painted
    assert tab.picture().std() > 10


def test_without_webgl_keys_change_the_picture_too(open_tab):
    tab = open_tab(script=WITHOUT_WEBGL)
    tab.until_painted()
    paint_small(tab)
    start = tab.until_still()
    for key in "cmv":
        tab.page.keyboard.press(key)
        tab.until_changed(start)
        tab.page.keyboard.press(key)
        tab.until_same(start)
    assert tab.complaints == []


def test_without_webgl_nothing_shows_through_a_transparent_picture(open_tab, address):
    tab = open_tab(url=address + "licences.txt")
    shown, shrunk = tab.page.evaluate(
        """async () => {
          const { FlatScreen } = await import("./flat-screen.js");
          const [canvas, picture] = [document.createElement("canvas"), document.createElement("canvas")];
          const screen = new FlatScreen(canvas);
          let shot;
          for (const color of ["red", "red", "red", "transparent"]) {
            const context = picture.getContext("2d");
            context.clearRect(0, 0, 300, 150);
            context.fillStyle = color;
            context.fillRect(0, 0, 300, 150);
            screen.take(picture, 300, 150);
            shot = screen.shrink(30, 15);
            screen.showFrame({ mirror: false });
          }
          const pixels = canvas.getContext("2d").getImageData(0, 0, 300, 150).data;
          return [[...pixels.slice(0, 3)], [...new Uint8Array(shot.pixels).slice(0, 3)]];
        }"""
    )
    assert shown == shrunk == [0, 0, 0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(open_tab, address, scheme):
    """Contrast of WCAG 2, level AA: 4.5 to 1."""
    tab = open_tab(url=address, color_scheme=scheme)
    colors = tab.page.evaluate(
        """() => {
          const root = getComputedStyle(document.documentElement);
          const names = ["wall", "panel", "ink", "soft", "accent", "on-accent"];
          return Object.fromEntries(names.map((name) => [name, root.getPropertyValue(`--${name}`).trim()]));
        }"""
    )
    for text, ground in (
        ("ink", "wall"),
        ("ink", "panel"),
        ("soft", "wall"),
        ("soft", "panel"),
        ("accent", "panel"),
        ("on-accent", "accent"),
    ):
        assert contrast(colors[text], colors[ground]) >= 4.5, (text, ground)


def contrast(a, b):
    lights = sorted(luminance(color) for color in (a, b))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def luminance(color):
    digits = color.removeprefix("#")
    digits = digits if len(digits) == 6 else "".join(2 * digit for digit in digits)
    channels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
