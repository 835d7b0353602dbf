"""OpenVINO: that it paints what ONNX Runtime's CPU paints, in which precision, and when `auto` takes it."""

import json
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from support.media_files import picture

from rtstyle import Stylizer
from rtstyle.errors import DeviceError, ModelError
from rtstyle.gallery import catalog
from rtstyle.runtime import cache, devices, opening, openvino
from rtstyle.runtime.classic import Form
from rtstyle.runtime.openvino import OpenvinoSession

pytest.importorskip("openvino")

LIVE = catalog.load("live")
CODES = [style.code for style in LIVE.styles]


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    """What is found out is remembered here."""
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_, **__: str(tmp_path / "cache"))
    return tmp_path / "cache" / "openvino"


@pytest.mark.parametrize("model", catalog.BUNDLED)
def test_every_style_is_painted_as_by_onnx_runtime(model):
    """In float32 to a grey level; in the precision that this processor gets, as near as half precision must be."""
    theirs, ours = (Stylizer(model=model, device=name, work_height="full") for name in ("cpu", "openvino"))
    exact = OpenvinoSession(theirs.path, devices.choose("openvino"), precision="f32")
    frames = picture(7, 90, 120)[None]
    for style in theirs.model.styles:
        expected = theirs.run(frames, style.code)
        assert np.abs(exact.run(frames, style.code).astype(int) - expected).max() <= 1, style.name
        assert openvino.passes(expected, ours.run(frames, style.code)), style.name


def test_sizes_and_batches_are_free():
    """In float32 to a grey level, in the precision that this processor gets as near as that must be."""
    ours, theirs = (Stylizer(device=name, work_height="full") for name in ("openvino", "cpu"))
    exact, code = OpenvinoSession(theirs.path, devices.choose("openvino"), precision="f32"), theirs.model.styles[0].code
    for shape in ((1, 64, 96, 3), (3, 45, 33, 3), (1, 64, 96, 3)):
        frames = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
        expected = theirs.run(frames)
        assert np.abs(exact.run(frames, code).astype(int) - expected).max() <= 1
        assert openvino.passes(expected, ours.run(frames))


def test_a_painting_is_the_callers_own():
    stylizer = Stylizer(device="openvino")
    first = stylizer(picture(0, 48, 64))
    kept = first.copy()
    stylizer(picture(9, 48, 64))
    assert (first == kept).all()


def test_threads_paint_at_the_same_time():
    stylizer = Stylizer(device="openvino")
    run, workers = stylizer.for_throughput()
    frames = [picture(i, 48, 64)[None] for i in range(4)]
    expected = [stylizer.run(frame) for frame in frames]
    alone = [run(frame) for frame in frames]
    results = {}

    def paint(index):
        for _ in range(3):
            results[index] = run(frames[index])

    threads = [threading.Thread(target=paint, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert workers >= 1
    for index, frame in enumerate(expected):
        np.testing.assert_array_equal(results[index], alone[index])
        np.testing.assert_allclose(results[index].astype(int), frame, atol=2)  # sums in bfloat16 depend on the threads


def test_a_device_that_is_not_there_is_one_sentence():
    with pytest.raises(
        DeviceError, match=r"^openvino:gpu\.7 does not exist; OpenVINO finds CPU.* here: install"
    ) as error:
        Stylizer(device="openvino:gpu.7")
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_model_is_one_sentence(tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"not a net")
    with pytest.raises(ModelError, match=r"broken\.onnx cannot be loaded on openvino: Unable to read") as error:
        OpenvinoSession(tmp_path / "broken.onnx", devices.choose("openvino"))
    assert "\n" not in str(error.value)


def test_other_programs_nets_are_refused():
    form = Form("image", np.float32, True, True, (None, None), 0.0, 255.0)
    with pytest.raises(DeviceError, match=r"openvino paints models of rtstyle only, and live\.onnx is none"):
        opening.open_model(LIVE.path, "openvino", form=form)


# -- half precision


def test_half_precision_must_be_within_two_levels_and_forty_decibels():
    exact = picture(3, 60, 80)[None]
    room = np.clip(exact, 10, 245)
    assert openvino.passes(room, room) and openvino.passes(room, room + 2)
    assert not openvino.passes(room, room + 3), "the mean"
    spots = room.copy()
    spots[:, ::10, ::10] += 10
    assert np.abs(spots.astype(int) - room).mean() < 0.2 and openvino.passes(room, spots)
    spots[:, ::4, ::4] = 255 - spots[:, ::4, ::4]
    assert not openvino.passes(room, spots), "the decibels"


class Able:
    """OpenVINO on a processor with bfloat16, whose paintings in it are off by so many levels."""

    def __init__(self, monkeypatch, levels):
        self.levels, self.tried, real = levels, [], openvino.core()
        self.available_devices = real.available_devices

        def session(path, device, codes=(), threads=None, precision=None):
            self.tried.append(precision)
            return self

        monkeypatch.setattr(openvino, "core", lambda: self)
        monkeypatch.setattr(openvino, "OpenvinoSession", session)

    def get_property(self, name, what):
        assert (name, what) == ("CPU", "OPTIMIZATION_CAPABILITIES")
        return ["FP32", "BF16", "INT8"]

    def run(self, frames, code=None):
        count = self.tried.count("bf16")
        self.calls = getattr(self, "calls", 0) + 1
        return np.clip(frames, 20, 230) + (self.levels if count and self.calls % 2 == 0 else 0)


@pytest.mark.parametrize(("levels", "expected"), [(1, "bf16"), (4, "f32")])
def test_a_processor_with_bfloat16_uses_it_if_the_pictures_pass(monkeypatch, cache_folder, levels, expected):
    able = Able(monkeypatch, levels)
    device = devices.choose("openvino")
    for _ in range(2):
        assert openvino.precision_for(LIVE.path, device, CODES) == expected
    assert able.tried == ["f32", "bf16"], "it was found out once"
    (kept,) = cache_folder.iterdir()
    assert json.loads(kept.read_text())["answer"] == {"precision": expected}
    assert openvino.precision_for(LIVE.path, device, CODES[:1]) == expected
    assert len(able.tried) == 4, "for other styles it is another question"


def test_a_processor_without_is_not_asked(monkeypatch, cache_folder):
    if set(openvino.PRECISIONS) & set(openvino.core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")):
        pytest.skip("this processor has half precision")
    assert Stylizer(device="openvino").device.why == "asked for (float32)"
    assert not cache_folder.exists()


# -- what `auto` takes


@pytest.fixture
def auto(monkeypatch):
    """`auto` without RTSTYLE_DEVICE and without a GPU; a function that makes OpenVINO take so many ms, the other 10."""
    monkeypatch.delenv("RTSTYLE_DEVICE")
    monkeypatch.setattr(devices, "driver", lambda: None)
    now = [0.0]

    class Timed:
        def __init__(self, milliseconds):
            self.milliseconds = milliseconds

        def run(self, frames, code=None):
            now[0] += self.milliseconds / 1e3
            return frames

    def takes(milliseconds):
        real, counted = openvino.faster, []

        def faster(path, codes, threads):
            counted.append(path)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(openvino, "OpenvinoSession", lambda *_: Timed(milliseconds))
                patch.setattr(openvino, "OrtSession", lambda *_: Timed(10.0))
                patch.setattr(openvino, "time", SimpleNamespace(perf_counter=lambda: now[0]))
                return real(path, codes, threads)

        monkeypatch.setattr(openvino, "faster", faster)
        return counted

    return takes


def test_auto_takes_the_faster_engine_and_remembers(auto, cache_folder):
    auto(8.0)
    assert Stylizer().device.name == "openvino"
    assert Stylizer().device.why.startswith("auto: 8.0 ms a frame, ONNX Runtime 10.0 (")
    (kept,) = (path for path in cache_folder.iterdir() if "onnxruntime" in json.loads(path.read_text())["answer"])
    assert json.loads(kept.read_text())["answer"] == pytest.approx({"openvino": 8.0, "onnxruntime": 10.0})
    kept.write_text("not JSON")
    assert Stylizer().device.name == "openvino", "a broken file counts as none"


@pytest.mark.parametrize("milliseconds", [9.5, 30.0])
def test_auto_stays_where_little_is_gained(auto, milliseconds):
    auto(milliseconds)
    assert (Stylizer().device.name, Stylizer().device.why) == ("cpu", "auto: no NVIDIA driver was found")


def test_auto_never_ends_in_an_error_because_of_an_engine(auto, monkeypatch):
    def broken(*_):
        raise RuntimeError("libtbb.so.12 is missing\nand more")

    monkeypatch.setattr(openvino, "faster", broken)
    device = Stylizer().device
    assert device.name == "cpu"
    assert device.why == "auto: no NVIDIA driver was found; OpenVINO fails: libtbb.so.12 is missing"


def test_auto_without_openvino_does_not_ask(auto, monkeypatch):
    asked = auto(1.0)
    monkeypatch.setattr(devices, "openvino_problem", lambda: "OpenVINO is not installed")
    assert Stylizer().device.name == "cpu" and asked == []


def test_the_environment_names_what_auto_takes(monkeypatch):
    monkeypatch.setenv("RTSTYLE_DEVICE", "openvino")
    assert Stylizer().device.name == "openvino"
    assert Stylizer().device.why.startswith("named by RTSTYLE_DEVICE")
    assert Stylizer(device="cpu").device.why == "asked for"
    monkeypatch.setenv("RTSTYLE_DEVICE", "openvino:gpu.7")
    with pytest.raises(DeviceError, match=r"openvino:gpu\.7 does not exist"):
        opening.open_model(LIVE.path, "auto", codes=CODES)


# -- what is remembered


def test_an_answer_is_computed_again_where_nothing_can_be_cached(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_, **__: str(tmp_path / "file"))
    answers = iter([{"a": 1}, {"a": 2}])
    assert [cache.remembered("kind", {"q": 1}, lambda: next(answers)) for _ in range(2)] == [{"a": 1}, {"a": 2}]
