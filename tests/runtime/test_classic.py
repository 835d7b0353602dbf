"""Classic ONNX style nets: every layout, range and kind of size, painted as if they kept rtstyle's contract."""

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.media_files import make_clip, picture

from rtstyle import RtstyleError, Stylizer
from rtstyle.gallery import catalog

pytest_plugins = ["support.runtime_fixtures"]

SWAP = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]], np.float32)  # red takes blue, green red, blue green


def swapped(frames):
    """What the nets below paint."""
    return frames[..., [2, 0, 1]]


def write_net(
    path, *, planar=True, planar_out=None, size=("H", "W"), n=1, high=255.0, low=0.0, halvings=0, props=None, half=False
):
    """A net that swaps the colours of its picture, as floats between `low` and `high`, clamped to that range.

    `halvings` times it halves and then doubles its size, which takes sizes that are not a multiple to other ones.
    """
    planar_out = planar if planar_out is None else planar_out
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    dtype = np.float16 if half else np.float32
    constants = {
        "swap": SWAP[..., None, None].astype(dtype),
        "low": np.array(low, dtype),
        "high": np.array(high, dtype),
        "half": np.ones((3, 1, 2, 2), dtype) / 4,
        "double": np.array([1, 1, 2, 2], np.float32),
    }
    nodes, x = [], "image"

    def node(op, *inputs, **attributes):
        nodes.append(helper.make_node(op, list(inputs), [f"x{len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    if not planar:
        x = node("Transpose", x, perm=[0, 3, 1, 2])
    for _ in range(halvings):
        x = node("Conv", x, "half", strides=[2, 2], group=3, auto_pad="SAME_UPPER")
    for _ in range(halvings):
        x = node("Resize", x, "", "double", mode="nearest")
    x = node("Clip", node("Conv", x, "swap"), "low", "high")
    if not planar_out:
        x = node("Transpose", x, perm=[0, 2, 3, 1])
    nodes[-1].output[0] = "painted"
    shapes = {True: [n, 3, *size], False: [n, *size, 3]}
    out = {True: [n, 3, "h", "w"], False: [n, "h", "w", 3]}[planar_out]
    graph = helper.make_graph(
        nodes,
        "swap",
        [helper.make_tensor_value_info("image", kind, shapes[planar])],
        [helper.make_tensor_value_info("painted", kind, out)],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    helper.set_model_props(model, props or {})
    onnx.save(model, path)
    return str(path)


def stylizer_of(path, **options):
    return Stylizer(path, device="cpu", threads=1, **options)


@pytest.fixture
def frames():
    return np.stack([picture(i, 60, 84) for i in range(3)])


@pytest.mark.parametrize("planar", [True, False], ids=["NCHW", "NHWC"])
@pytest.mark.parametrize(("low", "high"), [(0, 255), (0, 1), (-1, 1)])
@pytest.mark.parametrize("n", [1, "N"])
def test_layouts_ranges_and_batches(tmp_path, frames, planar, low, high, n):
    nominal = {(0, 255): "NominalRange_0_255", (0, 1): "Normalized_0_1", (-1, 1): "Normalized_1_1"}[low, high]
    path = write_net(
        tmp_path / "net.onnx", planar=planar, low=low, high=high, n=n, props={"Image.NominalPixelRange": nominal}
    )
    painted = stylizer_of(path)(frames)
    assert painted.dtype == np.uint8 and painted.flags.c_contiguous
    assert np.abs(painted.astype(int) - swapped(frames)).max() <= 1


def probe_net(path, low, high):
    """A net that normalises what comes in, as nearly all do, and paints between `low` and `high`."""
    ones, zeros = np.ones(3, np.float32), np.zeros(3, np.float32)
    middle, reach = (low + high) / 2, (high - low) / 2
    graph = helper.make_graph(
        [
            helper.make_node("InstanceNormalization", ["image", "ones", "zeros"], ["normal"]),
            helper.make_node("Tanh", ["normal"], ["bounded"]),
            helper.make_node("Mul", ["bounded", "reach"], ["scaled"]),
            helper.make_node("Add", ["scaled", "middle"], ["painted"]),
        ],
        "probe",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [helper.make_tensor_value_info("painted", TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [
            numpy_helper.from_array(np.asarray(values, np.float32), name)
            for name, values in {"ones": ones, "zeros": zeros, "reach": reach, "middle": middle}.items()
        ],
    )
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), path)
    return str(path)


@pytest.mark.parametrize(("low", "high"), [(0, 255), (0, 1), (-1, 1), (20, 200), (0.2, 0.9)])
def test_the_range_is_found_by_painting(tmp_path, frames, low, high):
    form = catalog.load(probe_net(tmp_path / "net.onnx", low, high)).classic
    expected = (0, 255) if high > 2 else (-1, 1) if low < 0 else (0, 1)
    assert (form.low, form.high) == expected
    painted = stylizer_of(str(tmp_path / "net.onnx"))(frames[0])
    assert painted.std() > 20, "flat: the wrong range"


def test_metadata_wins_over_the_painting(tmp_path):
    path = write_net(tmp_path / "net.onnx", high=1.0, props={"image.nominalpixelrange": "nominalrange_0_255"})
    assert catalog.load(path).classic.high == 255


def test_blue_first_is_turned_round(tmp_path, frames):
    path = write_net(tmp_path / "net.onnx", props={"Image.BitmapPixelFormat": "Bgr8"})
    expected = swapped(frames[..., ::-1])[..., ::-1]
    assert np.abs(stylizer_of(path)(frames).astype(int) - expected).max() <= 1


def test_another_layout_out_and_half_floats(tmp_path, frames):
    path = write_net(tmp_path / "net.onnx", planar=False, planar_out=True)
    assert np.abs(stylizer_of(path)(frames).astype(int) - swapped(frames)).max() <= 1
    path = write_net(tmp_path / "half.onnx", half=True)
    assert np.abs(stylizer_of(path)(frames).astype(int) - swapped(frames)).max() <= 1


@pytest.mark.parametrize(("halvings", "multiple"), [(0, 4), (2, 4), (3, 8), (5, 32)])
def test_nets_that_need_a_multiple_get_it(tmp_path, halvings, multiple):
    path = write_net(tmp_path / "net.onnx", halvings=halvings)
    assert catalog.load(path).classic.multiple == multiple
    stylizer = stylizer_of(path)
    for height, width in ((16, 16), (61, 97), (64, 96), (33, 200)):
        frame = picture(0, height, width)
        painted = stylizer(frame)
        assert painted.shape == frame.shape
        soft = cv2.blur(swapped(frame), (2**halvings,) * 2).astype(float)
        assert np.abs(painted - soft).mean() < 30


def test_a_fixed_size_is_met_by_resizing(tmp_path, frames):
    """The form of the ONNX model zoo: float [1, 3, 224, 224], 0 to 255."""
    path = write_net(tmp_path / "candy-9.onnx", size=(224, 224))
    stylizer = stylizer_of(path)
    assert stylizer.style == "candy-9" and stylizer.model.reference_height == 224
    assert stylizer.working_size(60, 84) == (224, 224)
    for batch in (frames, np.stack([picture(0, 480, 640)])):
        painted = stylizer(batch)
        assert painted.shape == batch.shape and painted.dtype == np.uint8
        assert np.abs(painted.astype(int) - swapped(batch)).mean() < 12
    with pytest.raises(RtstyleError, match="84x60"):
        stylizer.run(frames)  # the net alone takes its own size only
    small = stylizer_of(path, work_height=48)
    assert (small(frames) == stylizer(frames)).all(), "the size of the net is not for choosing"


def test_one_fixed_side(tmp_path, frames):
    path = write_net(tmp_path / "net.onnx", size=(64, "W"))
    assert catalog.load(path).classic.fitting(60, 85) == (64, 88)
    assert stylizer_of(path)(frames).shape == frames.shape


def test_a_free_size_follows_the_work_height(tmp_path, frames):
    stylizer = stylizer_of(write_net(tmp_path / "net.onnx"), work_height=30)
    assert stylizer.working_size(60, 84) == (30, 42)
    assert stylizer(frames).shape == frames.shape


def test_frames_beside_one_another_are_painted_alike(tmp_path, frames):
    stylizer = Stylizer(write_net(tmp_path / "net.onnx"), device="cpu", threads=2)
    run, workers = stylizer.for_throughput()
    assert workers == 2
    assert (run(frames) == stylizer.run(frames)).all()


def test_the_catalog_gives_it_one_style_named_after_its_file(tmp_path, monkeypatch):
    folder = tmp_path / "own"
    folder.mkdir()
    monkeypatch.setattr(catalog, "user_folder", lambda: folder)
    path = write_net(folder / "Rain Princess_v2.onnx")
    for choice in (catalog.resolve(path), catalog.resolve("rain-princess-v2"), catalog.resolve(None, path)):
        assert choice.label == "rain-princess-v2" and choice.code is None
        assert choice.model.body == "classic" and len(choice.model.body_sha256) == 64
    assert catalog.styles()[-1].name == "rain-princess-v2"
    assert catalog.mixable(choice.model) == list(choice.model.styles)
    with pytest.raises(RtstyleError, match="another body"):
        catalog.resolve("starry-night:0.5,rain-princess-v2:0.5")
    with pytest.raises(ValueError, match="takes no code"):
        stylizer_of(path)(picture(0, 32, 32), np.zeros(4, np.float32))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"n": 4}, r"not a style model.*expected.*one float image.*found image tensor\(float\) \[4, 3, 'H', 'W'\]"),
        ({"halvings": 6}, "cannot be adapted: expected a painted picture of the size given; found"),
        ({"props": {"Image.NominalPixelRange": "NominalRange_16_235"}}, "expected pixels .*found rgb8 and nominal"),
        ({"props": {"Image.BitmapPixelFormat": "Gray8"}}, "expected pixels .*found gray8"),
        ({"size": (20000, 20000)}, "at most 4096 pixels a side; found a fixed size of 20000 x 20000"),
        ({"size": ("H", 2**40)}, "found a fixed size of 1099511627776 x any"),
    ],
    ids=["batch", "multiple", "range", "grey", "huge", "one huge side"],
)
def test_what_cannot_be_adapted_is_refused_in_one_sentence(tmp_path, options, said):
    path = write_net(tmp_path / "net.onnx", **options)
    with pytest.raises(RtstyleError, match=said) as error:
        catalog.load(path)
    assert "\n" not in str(error.value) and "net.onnx" in str(error.value)


@pytest.mark.parametrize("option", ["--style", "--model"])
def test_the_commands_paint_with_it(tmp_path, call, option):
    net = write_net(tmp_path / "candy.onnx", size=(64, 64))
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), picture(0, 60, 84)[..., ::-1])
    code, _, said = call("image", photo, tmp_path / "out.png", option, net, "--device", "cpu")
    assert code == 0 and "painting candy" in said, said
    assert cv2.imread(str(tmp_path / "out.png")).shape == (60, 84, 3)
    clip = make_clip(tmp_path / "clip.mp4", frames=5)
    code, _, said = call("video", clip, tmp_path / "out.mp4", option, net, "--device", "cpu")
    assert code == 0 and "5 frames" in said, said
    code, _, said = call(
        "cam", "--source", clip, "--headless", "--record", tmp_path / "cam.mp4", option, net, "--device", "cpu"
    )
    assert code == 0, said
    assert (tmp_path / "cam.mp4").stat().st_size > 0
