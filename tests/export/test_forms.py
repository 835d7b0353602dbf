"""`rtstyle export` from models, to float16, and from weights of pytorch/examples' fast_neural_style."""

import base64
import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from rtstyle import RtstyleError, Stylizer, UsageError
from rtstyle.gallery import catalog

torch = pytest.importorskip("torch")
import torch.nn.functional as F  # noqa: E402

from rtstyle.export import forms, to_onnx  # noqa: E402
from rtstyle.export.forms import export_model  # noqa: E402
from rtstyle.export.to_onnx import from_onnx, picture_like, write_onnx  # noqa: E402

pytest_plugins = ["support.runtime_fixtures"]

NAMES = ("waves", "bricks")


def describe(names=NAMES):
    infos = [{"name": name, "title": name.title(), "artist": "N. Umpy"} for name in names]
    return {"styles": infos, "reference_height": 64, "training": {"steps": 7}}


def pictures(n, h, w, seed=0):
    return picture_like(np.random.default_rng(seed), n, h, w)


def difference(a, b):
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def props_of(path):
    return {prop.key: prop.value for prop in onnx.load(path).metadata_props}


@pytest.fixture(params=["live", "studio"])
def gallery(make_body, tmp_path, request):
    path = tmp_path / "gallery.onnx"
    write_onnx(make_body(request.param, styles=2), describe(), path)
    return path


def painted(path, frames, style=None):
    chosen = f"{path}#{style}" if style else str(path)
    return Stylizer(chosen, device="cpu", threads=1)(frames)


def painted_in_all_styles(path, frames):
    """{style: the frames in it}, by one session."""
    stylizer, result = Stylizer(str(path), device="cpu", threads=1), {}
    for style in stylizer.model.styles:
        stylizer.style = style.name
        result[style.name] = stylizer(frames)
    return result


# --- from a model


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
def test_one_style_of_a_model(gallery, tmp_path, half):
    export_model(gallery, tmp_path / "one.onnx", style="bricks", half=half)
    model = onnx.load(tmp_path / "one.onnx")
    assert [value.name for value in model.graph.input] == ["frames"]
    frames = pictures(2, 37, 53)
    levels = difference(painted(tmp_path / "one.onnx", frames), painted(gallery, frames, "bricks"))
    assert levels <= (2 if half else 1)  # runtimes fold constant scales into filters, which rounds otherwise
    assert difference(painted(tmp_path / "one.onnx", frames), painted(gallery, frames, "waves")) > 10
    was, now = props_of(gallery), props_of(tmp_path / "one.onnx")
    (info,) = json.loads(now["rtstyle.styles"])
    assert info == describe()["styles"][1] | {"thumbnail": info["thumbnail"]}
    assert now["rtstyle.codes"] != was["rtstyle.codes"]
    for kept in ("body", "body_sha256", "body_config", "reference_height", "training"):
        assert now[f"rtstyle.{kept}"] == was[f"rtstyle.{kept}"], kept


def test_a_file_that_somebody_wrote_meanwhile_stays(gallery, tmp_path):
    out = tmp_path / "one.onnx"
    out.write_bytes(b"theirs")
    with pytest.raises(RtstyleError, match=r"one\.onnx was written by somebody else .*result is .*one\.partial\.onnx$"):
        export_model(gallery, out, style="bricks", force=False)
    assert out.read_bytes() == b"theirs"
    assert len(onnx.load(tmp_path / "one.partial.onnx").graph.input) == 1


def test_float16_halves_the_weights_and_keeps_the_gallery(gallery, tmp_path):
    export_model(gallery, tmp_path / "half.onnx", half=True)
    model = onnx.load(tmp_path / "half.onnx")
    filters = [t for t in model.graph.initializer if len(t.dims) == 4]
    assert filters and all(t.data_type == onnx.TensorProto.FLOAT16 for t in filters)
    assert props_of(tmp_path / "half.onnx") == props_of(gallery)
    frames = pictures(1, 61, 90)
    for name in NAMES:
        assert difference(painted(tmp_path / "half.onnx", frames, name), painted(gallery, frames, name)) <= 2
    with pytest.raises(RtstyleError, match=r"half\.onnx were rounded to float16: take the model"):
        export_model(tmp_path / "half.onnx", tmp_path / "again.onnx")


@pytest.mark.parametrize("name", catalog.BUNDLED)
def test_the_bundled_models_in_float16(name, tmp_path):
    export_model(name, tmp_path / "half.onnx", half=True)
    sizes = [
        sum(len(tensor.SerializeToString()) for tensor in onnx.load(path).graph.initializer)
        for path in (tmp_path / "half.onnx", catalog.model_path(name))
    ]
    assert sizes[0] < 0.56 * sizes[1]
    # large and contrasty: sums of squares beyond float16
    size = (270, 480) if name == "live" else (90, 160)  # the large body takes its time
    frames = np.concatenate([pictures(1, *size), 255 * (pictures(1, *size, seed=1) > 127).astype(np.uint8)])
    half, full = (painted_in_all_styles(path, frames) for path in (tmp_path / "half.onnx", catalog.model_path(name)))
    assert half.keys() == full.keys() == {style.name for style in catalog.load(name).styles}
    for style, pictures_in_it in full.items():
        assert difference(half[style], pictures_in_it) <= 2, style


@pytest.mark.parametrize(  # the canvas repeats after 512 pixels
    ("name", "size"), [("live", (128, 640)), ("live", (101, 75)), ("studio", (144, 192)), ("studio", (101, 75))]
)
def test_the_bundled_models_paint_the_same_on_flat_frames_of_any_grey(name, size):
    """Black frames, test pictures, a covered lens: the texture of the style, whatever the level."""
    frames = np.stack([np.full((*size, 3), level, np.uint8) for level in (0, 90, 255)])
    for style, result in painted_in_all_styles(catalog.model_path(name), frames).items():
        assert difference(result, result[:1]) <= 2, style


def test_filters_too_large_for_float16_stay(make_body, tmp_path):
    body = make_body("studio", styles=2)
    with torch.no_grad():
        body.stem.weight[0, 0, 0, 0] = 1e5
    model = to_onnx.to_model(body)
    to_onnx.halve(model)
    kinds = {t.name: t.data_type for t in model.graph.initializer}
    assert kinds["stem.weight"] == onnx.TensorProto.FLOAT and kinds["down4.weight"] == onnx.TensorProto.FLOAT16


def test_float16_that_shows_is_not_written(gallery, tmp_path, monkeypatch):
    def spoil(model):
        tensor = next(t for t in model.graph.initializer if len(t.dims) == 4)
        values = onnx.numpy_helper.to_array(tensor)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values + 0.5, tensor.name))

    monkeypatch.setattr(to_onnx, "halve", spoil)
    out = tmp_path / "out.onnx"
    out.write_bytes(b"what was here before")
    with pytest.raises(RtstyleError, match="was not written"):
        export_model(gallery, out, half=True)
    assert out.read_bytes() == b"what was here before"
    assert {path.name for path in tmp_path.iterdir()} == {"gallery.onnx", "out.onnx"}


# --- fast_neural_style, written from its description: not a line of it is theirs


def reference(state, x, blocks=5, padded=False):
    """TransformerNet on float [N, 3, H, W] in grey levels, clamped to 0 to 255; `padded` if x has the borders that
    its first filter needs."""

    def conv(name, x, stride=1):
        weight = state[f"{name}.conv2d.weight"]
        if not (padded and name == "conv1"):
            x = F.pad(x, [weight.shape[-1] // 2] * 4, mode="reflect")
        return F.conv2d(x, weight, state[f"{name}.conv2d.bias"], stride)

    def norm(name, x):
        return F.instance_norm(x, weight=state[f"{name}.weight"], bias=state[f"{name}.bias"], eps=1e-5)

    def double(x):
        return F.interpolate(x, scale_factor=2, mode="nearest")

    for i, stride in ((1, 1), (2, 2), (3, 2)):
        x = F.relu(norm(f"in{i}", conv(f"conv{i}", x, stride)))
    for i in range(1, blocks + 1):
        y = F.relu(norm(f"res{i}.in1", conv(f"res{i}.conv1", x)))
        x = x + norm(f"res{i}.in2", conv(f"res{i}.conv2", y))
    x = F.relu(norm("in4", conv("deconv1", double(x))))
    x = F.relu(norm("in5", conv("deconv2", double(x))))
    return conv("deconv3", x).clamp(0, 255)


def theirs(state, frames, blocks=5, padded=False):
    """The same on uint8 [N, H, W, 3], to float [N, H, W, 3]."""
    with torch.no_grad():
        y = reference(state, torch.from_numpy(frames).permute(0, 3, 1, 2).float(), blocks, padded)
    return y.permute(0, 2, 3, 1).numpy()


def random_state(widths=(32, 64, 128), blocks=5, seed=0, old=False):
    """Random weights under their names; `old` with what old versions of torch saved as well."""
    generator = torch.Generator().manual_seed(seed)
    a, b, c = widths
    state = {}

    def conv(name, cin, cout, kernel):
        deviation = (2 / (cin * kernel**2)) ** 0.5
        state[f"{name}.conv2d.weight"] = torch.randn(cout, cin, kernel, kernel, generator=generator) * deviation
        state[f"{name}.conv2d.bias"] = 0.3 * torch.randn(cout, generator=generator)

    def norm(name, channels):
        state[f"{name}.weight"] = 1 + 0.3 * torch.randn(channels, generator=generator)
        state[f"{name}.bias"] = 0.3 * torch.randn(channels, generator=generator)
        if old:
            state[f"{name}.running_mean"] = torch.randn(channels, generator=generator)
            state[f"{name}.running_var"] = torch.rand(channels, generator=generator)

    for i, (cin, cout, kernel) in enumerate(((3, a, 9), (a, b, 3), (b, c, 3)), 1):
        conv(f"conv{i}", cin, cout, kernel)
        norm(f"in{i}", cout)
    for i in range(1, blocks + 1):
        for j in (1, 2):
            conv(f"res{i}.conv{j}", c, c, 3)
            norm(f"res{i}.in{j}", c)
    conv("deconv1", c, b, 3)
    norm("in4", b)
    conv("deconv2", b, a, 3)
    norm("in5", a)
    conv("deconv3", a, 3, 9)
    state["deconv3.conv2d.weight"] *= 40
    state["deconv3.conv2d.bias"] += 120
    return state


SMALL = {"widths": (8, 12, 16), "blocks": 2}


@pytest.fixture
def weights(tmp_path):
    """A function that saves a state dict and returns its path."""

    def save(state, name="Udnie (Picabia).pth", **options):
        torch.save(state, tmp_path / name, **options)
        return tmp_path / name

    return save


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
def test_their_net_paints_as_theirs(weights, tmp_path, half):
    state = random_state()
    export_model(weights(state), tmp_path / "out.onnx", half=half)
    for n, h, w in ((1, 64, 96), (2, 40, 52), (1, 16, 16)):
        frames = pictures(n, h, w, seed=h)
        expected = theirs(state, frames)
        assert expected.std() > 20
        got = painted(tmp_path / "out.onnx", frames)
        assert np.abs(got - expected).max() <= (2 if half else 1)


@pytest.mark.parametrize(("h", "w"), [(37, 53), (61, 47), (17, 18), (66, 99)])
def test_sizes_off_their_stride(weights, tmp_path, h, w):
    """Where theirs gives a larger picture, ours is theirs of the frame reflected to a multiple of 4, cropped.

    The reflection for their first filter then shows the frame itself, not the reflected frame once more.
    """
    state = random_state(**SMALL)
    export_model(weights(state), tmp_path / "out.onnx")
    frames = pictures(2, h, w)
    got = painted(tmp_path / "out.onnx", frames)
    assert got.shape == frames.shape
    padded = np.pad(frames, ((0, 0), (4, 4 + -h % 4), (4, 4 + -w % 4), (0, 0)), "reflect")
    assert np.abs(got - theirs(state, padded, 2, padded=True)[:, :h, :w]).max() <= 1


@pytest.mark.parametrize("zipped", [True, False])
def test_old_files_convert_too(weights, tmp_path, zipped):
    """.model files with statistics that were never used, in the format of torch before 1.6."""
    state = random_state(**SMALL, old=True)
    path = weights(state, "mosaic.model", _use_new_zipfile_serialization=zipped)
    export_model(path, tmp_path / "out.onnx")
    frames = pictures(1, 64, 48)
    assert np.abs(painted(tmp_path / "out.onnx", frames) - theirs(state, frames, 2)).max() <= 1


def test_what_the_file_says_of_itself(weights, tmp_path):
    path = weights(random_state(**SMALL))
    export_model(path, tmp_path / "out.onnx")
    model = onnx.load(tmp_path / "out.onnx")
    assert [value.name for value in model.graph.input] == ["frames"]
    onnx.checker.check_model(model, full_check=True)
    props = props_of(tmp_path / "out.onnx")
    assert props["rtstyle.format"] == "1" and props["rtstyle.body"] == "johnson"
    body, (info,) = from_onnx(tmp_path / "out.onnx")
    assert props["rtstyle.body_sha256"] == body.body_sha256()
    assert info["name"] == "udnie-picabia" and info["source"] == "Udnie (Picabia).pth"
    assert len(base64.b64decode(props["rtstyle.codes"])) == 4 * body.code_length
    assert int(props["rtstyle.reference_height"]) == 256
    assert len(json.loads(props["rtstyle.training"])["weights_sha256"]) == 64
    result = catalog.resolve(str(tmp_path / "out.onnx"))
    assert result.label == "udnie-picabia" and result.code is None

    export_model(tmp_path / "out.onnx", tmp_path / "again.onnx", style="udnie-picabia")
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "out.onnx").read_bytes()


def test_the_card_can_be_given(weights, tmp_path, call):
    path, out = weights(random_state(**SMALL)), tmp_path / "out.onnx"
    info = ("--name", "udnie", "--title", "Udnie, jeune fille américaine", "--artist", "Francis Picabia")
    assert call("export", path, out, *info)[:2] == (0, f"{out}\n")
    (style,) = catalog.load(str(out)).styles
    assert (style.name, style.title, style.artist) == ("udnie", info[3], info[5])


def without(key):
    return {name: weight for name, weight in random_state(**SMALL).items() if name != key}


BROKEN = {
    "missing": (lambda: without("res2.in1.weight"), "it has no 'res2.in1.weight'"),
    "no-head": (lambda: without("deconv3.conv2d.bias"), r"it has no 'deconv3\.conv2d\.bias'"),
    "more": (lambda: random_state(**SMALL) | {"extra.weight": torch.ones(3)}, r"it also has extra\.weight"),
    "shape": (lambda: random_state(**SMALL) | {"in2.weight": torch.ones(5)}, "other shapes"),
    "filter": (lambda: random_state(**SMALL) | {"conv2.conv2d.weight": torch.ones(12, 8, 5, 5)}, "other shapes"),
    "text": (lambda: random_state(**SMALL) | {"conv2.conv2d.weight": "text"}, "other shapes"),
    "nan": (lambda: random_state(**SMALL) | {"in2.weight": torch.full((12,), torch.nan)}, "not finite"),
    "another": (lambda: {"features.0.weight": torch.ones(3)}, r"holds features\.0\.weight.*expected a checkpoint"),
    "list": (lambda: [torch.ones(3)], "holds a list: expected a checkpoint"),
}


@pytest.mark.parametrize(("make", "said"), BROKEN.values(), ids=BROKEN)
def test_weights_of_another_net_are_refused(weights, tmp_path, make, said):
    path, out = weights(make()), tmp_path / "out.onnx"
    out.write_bytes(b"what was here before")
    with pytest.raises(RtstyleError, match=said) as error:
        export_model(path, out)
    assert "\n" not in str(error.value) and path.name in str(error.value)
    assert out.read_bytes() == b"what was here before"
    assert len(list(tmp_path.iterdir())) == 2


class Evil:
    def __reduce__(self):
        return (print, ("run",))


def test_code_in_a_file_is_not_run(weights, tmp_path, capsys):
    with pytest.raises(RtstyleError, match=r"cannot be read \(UnpicklingError\): expected"):
        export_model(weights({"conv1.conv2d.weight": Evil()}), tmp_path / "out.onnx")
    assert "run" not in capsys.readouterr().out


def test_options_that_do_not_fit_are_refused(gallery, weights, tmp_path):
    path, out = weights(random_state(**SMALL)), tmp_path / "out.onnx"
    for source, options, said in (
        (path, {"style": "udnie"}, "holds a single style"),
        (path, {"name": "Two words"}, "try two-words"),
        (gallery, {"title": "Waves"}, "are for bare weights"),
    ):
        with pytest.raises(UsageError, match=said):
            export_model(source, out, **options)
    with pytest.raises(RtstyleError, match=r"no style 'starry': give one of waves, bricks"):
        export_model(gallery, out, style="starry")
    with pytest.raises(RtstyleError, match="does not exist"):
        export_model(tmp_path / "gone.pth", out)
    with pytest.raises(RtstyleError, match=r"gone\.onnx does not exist"):
        export_model(tmp_path / "gone.onnx", out)
    assert not out.exists()


def test_the_command(gallery, tmp_path, call):
    out = tmp_path / "one.onnx"
    assert call("export", gallery, out, "--style", "waves", "--fp16")[:2] == (0, f"{out}\n")
    before = out.read_bytes()
    code, _, said = call("export", gallery, out)
    assert code == 1 and "--force" in said and out.read_bytes() == before
    code, _, said = call("export", gallery, gallery, "--force")
    assert code == 1 and "is the input" in said
    assert call("export", gallery, out, "--force")[0] == 0 and out.read_bytes() != before


def test_a_checkpoint_still_goes_through(weights, make_body, tmp_path, monkeypatch):
    path = weights({"net": {}, "average": {}, "description": {}}, "checkpoint.pt")
    monkeypatch.setattr(forms, "from_checkpoint", lambda source: (make_body("live", styles=2), describe()))
    export_model(path, tmp_path / "out.onnx", style="waves", half=True)
    model = onnx.load(tmp_path / "out.onnx")
    assert [value.name for value in model.graph.input] == ["frames"]
    assert TensorProto.FLOAT16 in {tensor.data_type for tensor in model.graph.initializer}
