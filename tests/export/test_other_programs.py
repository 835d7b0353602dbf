"""`rtstyle export --form web` and `--form ffmpeg`: their form, and that they paint what the portable model paints."""

import re

import numpy as np
import onnx
import onnxruntime
import pytest

from rtstyle import Stylizer, UsageError

torch = pytest.importorskip("torch")

from rtstyle.export.forms import export_model  # noqa: E402
from rtstyle.export.to_onnx import picture_like, write_onnx  # noqa: E402
from rtstyle.runtime.web_form import web_form  # noqa: E402

pytest_plugins = ["support.runtime_fixtures"]

SHAPE_ARITHMETIC = {"Shape", "Mod", "Neg", "Max", "Sub", "Div"}


@pytest.fixture(params=["live", "johnson"])
def portable(make_body, tmp_path, request):
    """A model of two styles, in two kinds of bodies: with a canvas and a folded head, and without."""
    config = {"widths": [4, 6, 8], "blocks": [1]} if request.param == "johnson" else None
    path = tmp_path / "gallery.onnx"
    cards = [{"name": name, "title": name.title(), "artist": "N. Umpy"} for name in ("waves", "bricks")]
    description = {"styles": cards, "reference_height": 64, "training": {"steps": 7}}
    write_onnx(make_body(request.param, styles=2, config=config), description, path)
    return path


def session_of(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def painted(path, frames, style):
    return Stylizer(f"{path}#{style}", device="cpu", threads=1)(frames)


def code_of(path, style):
    return Stylizer(f"{path}#{style}", device="cpu", threads=1).code


def sides(value):
    return [side.dim_value or side.dim_param for side in value.type.tensor_type.shape.dim]


def max_difference(a, b):
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
def test_web_form(portable, tmp_path, half):
    out = tmp_path / "web.onnx"
    export_model(portable, out, form="web", size=(96, 64), half=half)
    model = onnx.load(out)
    graph = model.graph
    assert {value.name: sides(value)[:4] for value in graph.input}["frames"] == [1, 64, 96, 3]
    assert [value.name for value in graph.input] == ["frames", "code"] and sides(graph.output[0]) == [1, 64, 96, 3]
    assert not SHAPE_ARITHMETIC & {node.op_type for node in graph.node}
    assert max(len(node.output) for node in graph.node) <= 9  # more storage buffers than WebGPU has
    stored = {tensor.name for tensor in graph.initializer}
    assert all(node.input[1] in stored for node in graph.node if node.op_type in ("Pad", "Reshape"))
    assert graph.node[-1].op_type == "Cast" and [d.domain for d in model.opset_import] == [""]
    frames = picture_like(np.random.default_rng(1), 1, 64, 96)
    for style in ("waves", "bricks"):
        (got,) = session_of(str(out)).run(None, {"frames": frames, "code": code_of(portable, style)})
        assert max_difference(got, painted(portable, frames, style)) <= (2 if half else 1)


def test_web_form_of_one_style_has_no_code(portable, tmp_path):
    out = tmp_path / "web.onnx"
    export_model(portable, out, form="web", size=(32, 48), style="bricks")
    frames = picture_like(np.random.default_rng(2), 1, 48, 32)
    (got,) = session_of(str(out)).run(None, {"frames": frames})
    assert max_difference(got, painted(portable, frames, "bricks")) <= 1


def test_ffmpeg_form(portable, tmp_path):
    out = tmp_path / "ffmpeg.onnx"
    export_model(portable, out, form="ffmpeg", style="bricks")
    (frames,), (stylized,) = onnx.load(out).graph.input, onnx.load(out).graph.output
    for value in (frames, stylized):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT and sides(value) == [1, 3, "H", "W"]
    for height, width in ((64, 96), (37, 53), (16, 16)):
        picture = picture_like(np.random.default_rng(3), 1, height, width)
        (got,) = session_of(str(out)).run(None, {"frames": (picture.transpose(0, 3, 1, 2) / 255).astype(np.float32)})
        assert got.min() >= 0 and got.max() <= 1
        assert max_difference(np.rint(255 * got.transpose(0, 2, 3, 1)), painted(portable, picture, "bricks")) <= 1


def test_ffmpeg_form_of_one_size(portable, tmp_path):
    out = tmp_path / "ffmpeg.onnx"
    export_model(portable, out, form="ffmpeg", style="waves", size=(96, 64))
    graph = onnx.load(out).graph
    assert sides(graph.input[0]) == sides(graph.output[0]) == [1, 3, 64, 96]
    assert not {"Shape", "Mod", "Neg", "Max"} & {node.op_type for node in graph.node}
    picture = picture_like(np.random.default_rng(4), 1, 64, 96)
    assert (
        max_difference(Stylizer(str(out), device="cpu", threads=1)(picture), painted(portable, picture, "waves")) <= 1
    )


def test_what_cannot_be_is_refused(portable, tmp_path):
    out = tmp_path / "out.onnx"
    for options, said in (
        ({"form": "tflite"}, "unknown form 'tflite': choose portable, web, ffmpeg"),
        ({"form": "web", "size": (98, 64)}, "multiples of 4, from 16 pixels, not 98x64"),
        ({"form": "web", "size": (12, 64)}, "multiples of 4, from 16 pixels, not 12x64"),
        ({"form": "ffmpeg"}, "name one `style`"),
        ({"size": (96, 64)}, "a portable model paints any size"),
    ):
        with pytest.raises(UsageError, match=re.escape(said)):
            export_model(portable, out, **options)
    with pytest.raises(UsageError, match="from 20 pixels, not 16x16"):  # what its reflections need
        export_model("studio", out, form="web", size=(16, 16))
    assert not out.exists()


def test_the_command(portable, tmp_path, call):
    out = tmp_path / "web.onnx"
    assert call("export", portable, out, "--form", "web", "--size", "32x16")[:2] == (0, f"{out}\n")
    assert sides(onnx.load(out).graph.input[0]) == [1, 16, 32, 3]
    code, _, said = call("export", portable, tmp_path / "f.onnx", "--form", "ffmpeg")
    assert code == 2 and "--style" in said
    code, _, said = call("export", portable, tmp_path / "f.bin")
    assert code == 2 and "must be named .onnx, not f.bin" in said


def test_layers_of_the_web_form_share_an_epsilon(portable):
    """ONNX Runtime for browsers calculates two layers of one width with the epsilon of the first on WebGPU."""
    form = onnx.load_from_string(web_form(portable.read_bytes()))
    found = {
        onnx.helper.get_node_attr_value(node, "epsilon")
        for node in form.graph.node
        if node.op_type == "InstanceNormalization"
    }
    assert len(found) == 1
    frames = picture_like(np.random.default_rng(5), 2, 37, 53)
    code = code_of(portable, "waves")
    (got,) = session_of(form.SerializeToString()).run(None, {"frames": frames, "code": code})
    assert max_difference(got, painted(portable, frames, "waves")) <= 1
