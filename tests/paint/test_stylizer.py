"""The ONNX contract as seen from Python: shapes, types, batches, styles, mixes, work height."""

import numpy as np
import onnx
import pytest
from support.media_files import picture, psnr

from rtstyle import RtstyleError, Stylizer, UsageError, styles
from rtstyle.gallery.catalog import resolve

pytest_plugins = ["support.runtime_fixtures"]


@pytest.fixture(scope="module")
def photograph():
    return picture(3, 96, 160)


@pytest.mark.parametrize("shape", [(96, 160), (61, 97), (16, 16), (17, 31), (16, 200), (90, 33)])
def test_any_size_comes_back_painted(stylizer, shape):
    frame = picture(0, *shape)
    original = frame.copy()
    painted = stylizer(frame)
    assert painted.shape == frame.shape and painted.dtype == np.uint8
    assert (frame == original).all(), "the input was written to"
    assert np.abs(painted.astype(int) - frame).mean() > 10, "hardly painted"
    assert painted.std() > 5, "a flat picture"


def test_a_batch_is_its_frames_one_by_one(stylizer):
    batch = np.stack([picture(i, 60, 84) for i in range(3)])
    together = stylizer(batch)
    assert together.shape == batch.shape
    for frame, painted in zip(batch, together, strict=True):
        assert np.abs(stylizer(frame).astype(int) - painted).max() <= 1


def test_an_empty_batch_is_empty(stylizer):
    assert stylizer(np.zeros((0, 32, 32, 3), np.uint8)).shape == (0, 32, 32, 3)


def test_views_and_other_memory_orders_are_painted_alike(stylizer, photograph):
    expected = stylizer(photograph)
    mirrored = np.ascontiguousarray(photograph[:, ::-1])[:, ::-1]
    assert not mirrored.flags.c_contiguous
    assert (stylizer(mirrored) == expected).all()
    assert (stylizer(np.asfortranarray(photograph)) == expected).all()


def test_the_same_frame_is_painted_the_same(stylizer, photograph):
    assert (stylizer(photograph) == stylizer(photograph)).all()


def test_every_style_paints_differently(stylizer, photograph):
    painted = {style.name: stylizer(photograph, style.code).astype(int) for style in styles()}
    assert len(painted) >= 6
    names = list(painted)
    for i, a in enumerate(names):
        for b in names[:i]:
            assert np.abs(painted[a] - painted[b]).mean() > 3, (a, b)


def test_switching_style_needs_no_new_session(other_stylizer, photograph):
    session = other_stylizer._session
    first = other_stylizer(photograph)
    other_stylizer.style = "great-wave"
    assert other_stylizer.style == "great-wave"
    assert other_stylizer._session is session
    wave = other_stylizer(photograph)
    assert (wave == Stylizer("great-wave", device="cpu", threads=1)(photograph)).all()
    assert np.abs(wave.astype(int) - first).mean() > 3
    other_stylizer.style = "starry-night"
    assert (other_stylizer(photograph) == first).all()


def test_an_unknown_style_leaves_the_old_one(other_stylizer, photograph):
    before = other_stylizer(photograph)
    with pytest.raises(UsageError, match="great-wave"):
        other_stylizer.style = "great-wafe"
    assert other_stylizer.style == "starry-night"
    assert (other_stylizer(photograph) == before).all()


def test_a_mix_lies_between_its_styles(stylizer, photograph):
    ends = [stylizer(photograph, resolve(name).code) for name in ("starry-night", "great-wave")]
    difference = psnr(*ends)
    mixed = stylizer(photograph, resolve("starry-night:0.5,great-wave:0.5").code)
    assert psnr(mixed, ends[0]) > difference + 1
    assert psnr(mixed, ends[1]) > difference + 1


def test_a_code_for_one_call_is_forgotten(stylizer, photograph):
    before = stylizer(photograph)
    other = stylizer(photograph, resolve("scream").code)
    assert (other != before).any()
    assert (stylizer(photograph) == before).all()


@pytest.mark.parametrize("height", [48, 144])
def test_work_height_changes_the_strokes_not_the_size(stylizer, photograph, height):
    painted = Stylizer("starry-night", device="cpu", threads=1, work_height=height)(photograph)
    assert painted.shape == photograph.shape
    assert psnr(painted, stylizer(photograph)) < 30, "the net ran at the same height"
    assert psnr(painted, stylizer(photograph)) > psnr(painted, 255 - stylizer(photograph))


def test_the_frames_own_work_height_changes_nothing(stylizer, photograph):
    assert (Stylizer(device="cpu", threads=1, work_height=96, style="starry-night")(photograph)
            == stylizer(photograph)).all()  # fmt: skip


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        (np.zeros((32, 32, 3), np.float32), "float32"),
        (np.zeros((32, 32), np.uint8), r"\[32, 32\]"),
        (np.zeros((32, 32, 4), np.uint8), r"\[32, 32, 4\]"),
        (np.zeros((3, 32, 32), np.uint8), r"\[3, 32, 32\]"),
        (np.zeros((15, 32, 3), np.uint8), "32x15"),
        (np.zeros((2, 32, 8, 3), np.uint8), "8x32"),
    ],
    ids=["float", "grey", "rgba", "planar", "low", "narrow"],
)
def test_frames_of_another_kind_are_refused(stylizer, frames, said):
    with pytest.raises(ValueError, match=said):
        stylizer(frames)


def test_a_code_of_another_length_is_refused(stylizer, photograph):
    with pytest.raises(ValueError, match="shape"):
        stylizer(photograph, np.zeros(7, np.float32))


def test_the_device_says_what_and_why(stylizer, monkeypatch):
    assert stylizer.device.name == "cpu"
    assert stylizer.device.why == "asked for"
    assert Stylizer(threads=1).device.why == "named by RTSTYLE_DEVICE"
    monkeypatch.delenv("RTSTYLE_DEVICE")
    monkeypatch.setattr("rtstyle.runtime.devices.openvino_problem", lambda: "OpenVINO is not installed")
    automatic = Stylizer(threads=1)
    assert automatic.device.why.startswith("auto: ")
    assert "CPUExecutionProvider" in automatic.device.providers


@pytest.mark.parametrize("height", [15, 0, -5, "tall", None])
def test_an_impossible_work_height_is_refused(height):
    with pytest.raises(UsageError, match=f"not {height}"):
        Stylizer(work_height=height)


@pytest.mark.parametrize("size", [0.2, 4.1, float("nan")])
def test_an_impossible_stroke_size_is_refused(size):
    with pytest.raises(UsageError, match=r"stroke size must be between 0\.25 and 4, not"):
        Stylizer(stroke_size=size)


@pytest.mark.parametrize(
    ("options", "frame", "works"),
    [
        ({}, (1080, 1920), (360, 640)),
        ({}, (240, 320), (240, 320)),  # never above the frame's own
        ({}, (1920, 1080), (640, 360)),  # a portrait: by its short side
        ({"stroke_size": 1.5}, (1080, 1920), (240, 427)),
        ({"stroke_size": 0.5}, (1080, 1920), (720, 1280)),
        ({"stroke_size": 0.25}, (1080, 1920), (1080, 1920)),
        ({"work_height": "full"}, (1080, 1920), (1080, 1920)),
        ({"work_height": 540, "stroke_size": 2}, (1080, 1920), (540, 960)),
        ({"work_height": 2160}, (1080, 1920), (2160, 3840)),
        ({}, (4000, 40), (4000, 40)),
    ],
)
def test_the_net_runs_at_the_size_for_which_it_was_trained(options, frame, works):
    assert Stylizer(device="cpu", threads=1, **options).working_size(*frame) == works


def test_a_large_frame_is_painted_as_at_the_height_of_the_training(photograph):
    large = np.repeat(np.repeat(photograph, 6, 0), 6, 1)
    painted = {height: Stylizer("irises", device="cpu", work_height=height)(large) for height in ("auto", 360, "full")}
    assert large.shape[0] > 400 and (painted["auto"] == painted[360]).all()
    assert psnr(painted["auto"], painted["full"]) < 30


def one_style_model(path):
    """The live model with one code made a constant: a net without code input."""
    import base64
    import json

    model = onnx.load(resolve().model.path)
    style = resolve("scream").model.styles[[s.name for s in styles()].index("scream")]
    model.graph.input.remove(next(i for i in model.graph.input if i.name == "code"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(style.code), "code"))
    for prop in model.metadata_props:
        if prop.key == "rtstyle.styles":
            prop.value = json.dumps([info for info in json.loads(prop.value) if info["name"] == "scream"])
        if prop.key == "rtstyle.codes":
            prop.value = base64.b64encode(np.asarray(style.code, "<f4").tobytes()).decode()
    onnx.save(model, path)
    return path


def test_a_one_style_model_paints_without_a_code(tmp_path, stylizer, photograph):
    single = Stylizer(str(one_style_model(tmp_path / "single.onnx")), device="cpu", threads=1)
    assert single.style == "scream"
    assert np.abs(single(photograph).astype(int) - stylizer(photograph, resolve("scream").code)).max() <= 1
    with pytest.raises(ValueError, match="takes no code"):
        single(photograph, resolve("scream").code)


def test_a_failing_run_is_a_sentence(stylizer):
    class Full:
        device, half = stylizer.device, False

        def run(self, *_):
            raise RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory\nmore")

    broken = Stylizer(device="cpu", threads=1)
    broken._session = Full()
    with pytest.raises(RtstyleError, match=r"32x48.*Failed to allocate memory.*`work_height`") as error:
        broken(np.zeros((48, 32, 3), np.uint8))
    assert "\n" not in str(error.value)
