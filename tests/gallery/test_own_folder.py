"""Other people's files in the user's folder: nothing in them is run, whatever they are, and one is said to be broken
once."""

import json
import os
import sys
import time

import onnx
import onnxruntime as ort
import pytest

from rtstyle.errors import ModelError
from rtstyle.gallery import catalog
from rtstyle.gallery.model_file import model_of, read_model

pytest_plugins = ["support.runtime_fixtures"]

value = onnx.helper.make_tensor_value_info


def save_classic(path, nodes, height="H", width="W", props=None):
    image = value("image", onnx.TensorProto.FLOAT, [1, 3, height, width])
    painted = value("painted", onnx.TensorProto.FLOAT, [1, 3, height, width])
    trip = onnx.helper.make_tensor("trip", onnx.TensorProto.INT64, [], [2**62])
    go = onnx.helper.make_tensor("go", onnx.TensorProto.BOOL, [], [True])
    graph = onnx.helper.make_graph(nodes, "net", [image], [painted], [trip, go])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.helper.set_model_props(model, props or {})
    path.write_bytes(model.SerializeToString())


def save_endless(path):
    """A loop of 2^62 rounds."""
    body = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Identity", ["on"], ["on_too"]),
            onnx.helper.make_node("Identity", ["x"], ["y"]),
        ],
        "body",
        [
            value("round", onnx.TensorProto.INT64, []),
            value("on", onnx.TensorProto.BOOL, []),
            value("x", onnx.TensorProto.FLOAT, None),
        ],
        [value("on_too", onnx.TensorProto.BOOL, []), value("y", onnx.TensorProto.FLOAT, None)],
    )
    save_classic(path, [onnx.helper.make_node("Loop", ["trip", "go", "image"], ["painted"], body=body)])


def save_nested(path):
    """The live model with a list in a list in a list ..., 100,000 times, for its styles."""
    model = onnx.load(catalog.model_path("live"))
    next(prop for prop in model.metadata_props if prop.key == "rtstyle.styles").value = "[" * 100_000 + "]" * 100_000
    path.write_bytes(model.SerializeToString())


COPY = [onnx.helper.make_node("Identity", ["image"], ["painted"])]
READ = {  # files that are listed, as they look like classic nets
    "endless.onnx": save_endless,
    "wide.onnx": lambda path: save_classic(path, COPY, 2**31, 2**31),
    "large.onnx": lambda path: save_classic(path, COPY, 60_000, 60_000),
}
BROKEN = {  # files that are not, and why
    "nested.onnx": (save_nested, "incomplete rtstyle metadata .*RecursionError"),
    "text.onnx": (lambda path: path.write_text("not a net"), "is not an ONNX model"),
    "empty.onnx": (lambda path: path.touch(), "is not an ONNX model .it holds no graph"),
    "folder.onnx": (lambda path: path.mkdir(), "is not a file"),
    "huge.onnx": (lambda path: (path.touch(), os.truncate(path, 300_000_000)), "is larger than 256 MB"),
}
if sys.platform != "win32":
    BROKEN["pipe.onnx"] = (lambda path: os.mkfifo(path), "is not a file")
    BROKEN["dangling.onnx"] = (lambda path: path.symlink_to("nowhere"), "is not a file")


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "user_folder", lambda: tmp_path)
    return tmp_path


@pytest.fixture
def nothing_runs(monkeypatch):
    catalog.load("live")
    monkeypatch.setattr(ort, "InferenceSession", lambda *_, **__: pytest.fail("a file of the folder was run"))


@pytest.mark.parametrize("name", READ)
def test_a_file_is_listed_without_being_run(own_folder, nothing_runs, name):
    READ[name](own_folder / name)
    started = time.perf_counter()
    (style,) = catalog.own_styles()
    assert style.name == name.removesuffix(".onnx") and time.perf_counter() - started < 5
    assert catalog.resolve("scream").label == "scream"
    assert not catalog.own_models()[1]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_skipped_with_one_warning(own_folder, nothing_runs, name, caplog):
    make, why = BROKEN[name]
    make(own_folder / name)
    started = time.perf_counter()
    for _ in range(3):
        assert catalog.own_styles() == [] and catalog.resolve("scream").label == "scream"
    assert time.perf_counter() - started < 5
    (warning,) = caplog.messages
    assert name in warning and "rtstyle doctor" in warning
    models, (error,) = catalog.own_models()
    assert models == [] and isinstance(error, ModelError)
    with pytest.raises(ModelError, match=why):
        raise error


def test_the_command_says_so_and_doctor_names_it(call, own_folder):
    BROKEN["text.onnx"][0](own_folder / "text.onnx")
    code, out, err = call("styles")
    assert code == 0 and "great-wave" in out
    assert err.startswith("warning: ") and "text.onnx is not an ONNX model" in err and len(err.splitlines()) == 1
    problems = json.loads(call("doctor", "--json")[1])["problems"]
    assert any("text.onnx is not an ONNX model" in problem for problem in problems)


def test_a_model_says_the_same_as_its_session():
    """What is read from the file is what ONNX Runtime finds in it."""
    path = catalog.model_path("live")
    model = read_model(path)
    assert model == model_of(ort.InferenceSession(path, providers=["CPUExecutionProvider"]), path)
    assert model.takes_code and model.keeps_contract and len(model.styles) == 23
