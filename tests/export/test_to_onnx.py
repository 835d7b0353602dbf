"""The ONNX contract of DESIGN, section 2, on models with random weights, run by ONNX Runtime on the CPU."""

import base64
import dataclasses
import io
import json

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")
import onnxruntime  # noqa: E402
from PIL import Image  # noqa: E402

from rtstyle.errors import RtstyleError  # noqa: E402
from rtstyle.export import operations  # noqa: E402
from rtstyle.export.forms import export_model  # noqa: E402
from rtstyle.export.to_onnx import CHECKED_SHAPES, OnnxOps, from_onnx, to_model, write_onnx  # noqa: E402

pytest_plugins = ["support.training_fixtures"]

BODIES = ("live", "studio")
# Sizes off the stride, the smallest one, wide and tall; with 1 to 3 frames. The last two are larger than the tile of
# the canvas, which covers 512 pixels.
SHAPES = ((1, 16, 16), (2, 17, 23), (3, 33, 50), (1, 45, 131), (2, 90, 19), (1, 24, 16), (1, 16, 600), (2, 530, 40))


def describe(names=("waves", "bricks")):
    return {
        "body": "live",
        "styles": [
            {"name": n, "title": n.title(), "artist": "Øystein", "year": "", "licence": "CC0", "source": ""}
            for n in names
        ],
        "reference_height": 360,
        "training": {"seed": 3, "steps": 5, "versions": {"torch": "2"}},
    }


def pictures(*shape, seed=0):
    """Frames with soft shapes and grain, uint8 [N, H, W, 3]."""
    random = np.random.default_rng(seed)
    n, h, w = shape
    y, x = np.mgrid[0:h, 0:w]
    waves = [np.sin(y / a + x / b + c) for a, b, c in random.uniform(3, 20, (n * 3, 3))]
    grain = random.normal(0, 10, (n, h, w, 3))
    return np.clip(127 + 90 * np.stack(waves, -1).reshape(h, w, n, 3).transpose(2, 0, 1, 3) + grain, 0, 255).astype(
        "u1"
    )


def open_session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def in_torch(body, frames, code):
    return body.stylize(torch.from_numpy(frames), torch.as_tensor(code)).numpy()


def levels_apart(a, b):
    assert a.shape == b.shape and a.dtype == b.dtype == np.uint8
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.fixture(scope="module", params=BODIES)
def exported(request, make_body, tmp_path_factory):
    """(body with two styles, path of its model)."""
    body = make_body(request.param, styles=2, seed=11)
    path = tmp_path_factory.mktemp("models") / f"{request.param}.onnx"
    write_onnx(body, describe(), path)
    return body, path


@pytest.mark.parametrize("shape", SHAPES)
def test_model_agrees_with_torch(exported, shape):
    assert shape not in CHECKED_SHAPES or shape == (1, 16, 16)
    body, path = exported
    session = open_session(path)
    frames = pictures(*shape)
    for code in body.codes.detach():
        got = session.run(["stylized"], {"frames": frames, "code": code.numpy()})[0]
        assert levels_apart(got, in_torch(body, frames, code)) <= 1
        assert got.std() > 5


def test_the_canvas_goes_on_beyond_its_tile(exported):
    """Flat frames, so that there is nothing but the canvas; a tile that did not repeat would end in a plain wall."""
    body, path = exported
    frames = np.full((1, 48, 1100, 3), 90, np.uint8)
    code = body.codes[0].detach()
    got = open_session(path).run(None, {"frames": frames, "code": code.numpy()})[0]
    assert levels_apart(got, in_torch(body, frames, code)) <= 1
    assert got.std((1, 2)).min() > 5
    assert levels_apart(got[:, :, 560:1040], got[:, :, 48:528]) <= 1  # 512 pixels on


def test_codes_are_cut_by_slices(exported):
    """A Split with more than nine outputs does not run on WebGPU, which lends a shader ten buffers."""
    body, path = exported
    nodes = onnx.load(path).graph.node
    assert max((len(node.output) for node in nodes if node.op_type == "Split"), default=0) <= 9
    takers = [node for node in nodes if "code" in node.input]
    assert {node.op_type for node in takers} == {"Slice"} and len(takers) == 2 * len(body.norm_channels())


def test_frames_of_a_batch_do_not_mix(exported):
    body, path = exported
    session, code = open_session(path), body.codes[0].detach().numpy()
    frames = pictures(3, 30, 41)
    together = session.run(None, {"frames": frames, "code": code})[0]
    for i in range(3):
        assert levels_apart(session.run(None, {"frames": frames[i : i + 1], "code": code})[0], together[i : i + 1]) <= 1


def test_one_session_takes_any_size_after_any_other(exported):
    body, path = exported
    session, code = open_session(path), body.codes[0].detach().numpy()
    first = session.run(None, {"frames": pictures(1, 40, 40), "code": code})[0]
    session.run(None, {"frames": pictures(2, 19, 57), "code": code})
    assert np.array_equal(session.run(None, {"frames": pictures(1, 40, 40), "code": code})[0], first)


def signature(values):
    return [
        (v.name, v.type.tensor_type.elem_type, [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim])
        for v in values
    ]


def test_names_types_and_dimensions_follow_the_contract(exported):
    body, path = exported
    model = onnx.load(path)
    uint8, float32 = onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT
    assert signature(model.graph.input) == [
        ("frames", uint8, ["N", "H", "W", 3]),
        ("code", float32, [body.code_length]),
    ]
    assert signature(model.graph.output) == [("stylized", uint8, ["N", "H", "W", 3])]
    assert [(o.domain, o.version >= 17) for o in model.opset_import] == [("", True)]
    onnx.checker.check_model(model, full_check=True)


def test_weights_are_in_the_file_under_their_torch_names(exported):
    body, path = exported
    stored = {t.name: t for t in onnx.load(path).graph.initializer}
    for name, weight in body.body_weights().items():
        assert stored[name].data_type == onnx.TensorProto.FLOAT
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(stored[name]), weight.numpy())


def test_metadata_are_complete(exported):
    body, path = exported
    props = {p.key: p.value for p in onnx.load(path).metadata_props}
    assert props["rtstyle.format"] == "1"
    assert props["rtstyle.body"] == body.name
    assert json.loads(props["rtstyle.body_config"]) == body.config
    assert props["rtstyle.body_sha256"] == body.body_sha256()
    infos = json.loads(props["rtstyle.styles"])
    thumbnails = [base64.b64decode(info.pop("thumbnail").removeprefix("data:image/jpeg;base64,")) for info in infos]
    assert infos == describe()["styles"]
    pictures = [np.asarray(Image.open(io.BytesIO(content))).astype(int) for content in thumbnails]
    assert [picture.shape for picture in pictures] == [(128, 128, 3)] * 2
    assert np.abs(pictures[0] - pictures[1]).mean() > 2  # each in its own style
    assert json.loads(props["rtstyle.training"]) == describe()["training"]
    assert int(props["rtstyle.reference_height"]) == 360
    codes = np.frombuffer(base64.b64decode(props["rtstyle.codes"], validate=True), "<f4").reshape(2, -1)
    np.testing.assert_array_equal(codes, body.codes.detach().numpy())
    # the runtime hands the same to a program that has no onnx
    assert open_session(path).get_modelmeta().custom_metadata_map == props


def test_code_mixes_inside_the_network(exported):
    """A weighted sum of codes is a code: the session paints it as torch does, between the two styles."""
    body, path = exported
    session, frames = open_session(path), pictures(1, 40, 52)
    one, two = body.codes.detach().numpy()
    painted = []
    for share in (1.0, 0.7, 0.3, 0.0):
        code = np.float32(share) * one + np.float32(1 - share) * two
        painted.append(session.run(None, {"frames": frames, "code": code})[0])
        assert levels_apart(painted[-1], in_torch(body, frames, code)) <= 1
    distance = [np.abs(p.astype(float) - painted[0]).mean() for p in painted]
    assert 0 == distance[0] < distance[1] < distance[2] and distance[1] < distance[3]
    assert levels_apart(painted[1], painted[3]) > 10


def test_code_of_another_length_is_refused(exported):
    body, path = exported
    with pytest.raises(Exception, match=r"code|Got invalid dimensions"):
        open_session(path).run(None, {"frames": pictures(1, 16, 16), "code": np.ones(body.code_length - 2, np.float32)})


def test_extreme_colours_saturate(make_body):
    """Outputs far out of range clamp to 0 and 255 instead of wrapping round."""
    body = make_body("live", seed=2)
    with torch.no_grad():
        body.codes[:, -6:-3] *= 8
    frames, code = pictures(1, 32, 32), body.codes[0].detach()
    with torch.no_grad():
        raw = body(torch.from_numpy(frames).permute(0, 3, 1, 2).float(), code).permute(0, 2, 3, 1).numpy()
    got = open_session(to_model(body)).run(None, {"frames": frames, "code": code.numpy()})[0]
    assert (raw < -50).any() and (raw > 300).any()
    assert set(got[raw < -1].tolist()) == {0} and set(got[raw > 256].tolist()) == {255}


def test_model_rounds_and_does_not_cut_off(exported):
    """Cutting off the fraction would darken every frame by half a grey level."""
    body, path = exported
    frames, code = pictures(1, 64, 64), body.codes[0].detach()
    with torch.no_grad():
        exact = body(torch.from_numpy(frames).permute(0, 3, 1, 2).float(), code).permute(0, 2, 3, 1).numpy()
    got = open_session(path).run(None, {"frames": frames, "code": code.numpy()})[0]
    inside = (exact > 1) & (exact < 254)
    assert inside.mean() > 0.3
    assert abs((got - exact)[inside].mean()) < 0.05


@pytest.mark.parametrize("name", BODIES)
def test_full_size_bodies_agree_with_torch(name, make_body):
    body = make_body(name, seed=3, config={})
    model = to_model(body)
    frames, code = pictures(1, 41, 54), body.codes[0].detach()
    got = open_session(model).run(None, {"frames": frames, "code": code.numpy()})[0]
    assert levels_apart(got, in_torch(body, frames, code)) <= 1


# --- one style


def test_one_style_model_has_no_code_and_paints_as_the_gallery_does(exported, tmp_path):
    body, path = exported
    single = tmp_path / "bricks.onnx"
    write_onnx(body, describe(), single, style="bricks")
    model = onnx.load(single)
    assert [v.name for v in model.graph.input] == ["frames"]
    props = {p.key: p.value for p in model.metadata_props}
    assert [info["name"] for info in json.loads(props["rtstyle.styles"])] == ["bricks"]
    assert props["rtstyle.body_sha256"] == body.body_sha256()
    codes = np.frombuffer(base64.b64decode(props["rtstyle.codes"]), "<f4")
    np.testing.assert_array_equal(codes, body.codes[1].detach().numpy())

    frames = pictures(2, 37, 29)
    gallery = open_session(path)
    with_code = [gallery.run(None, {"frames": frames, "code": c.numpy()})[0] for c in body.codes.detach()]
    got = open_session(single).run(None, {"frames": frames})[0]
    assert levels_apart(got, with_code[1]) <= 1
    assert levels_apart(got, with_code[0]) > 10


def test_unknown_style_is_refused(exported, tmp_path):
    body, _ = exported
    with pytest.raises(RtstyleError, match=r"no style 'starry': give one of waves, bricks"):
        write_onnx(body, describe(), tmp_path / "a.onnx", style="starry")
    assert list(tmp_path.iterdir()) == []


# --- never a wrong file


def nearest_up(self, x):
    """The mistake that is easily made: another interpolation than torch's."""
    scales = self.constant("double", np.array([1, 1, 2, 2], np.float32))
    return self.node("Resize", x, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric")


def edge_padding(self, x, pad):
    """Another: borders that are repeated where torch reflects them. Only a few pixels differ."""
    return self.node("Pad", x, self.constant(f"reflect{pad}", [0, 0, pad, pad] * 2), mode="edge")


@pytest.mark.parametrize(("part", "wrong"), (("up", nearest_up), ("reflect", edge_padding)))
@pytest.mark.parametrize("existing", (False, True))
def test_model_that_differs_from_torch_is_not_written(make_body, tmp_path, monkeypatch, part, wrong, existing):
    out = tmp_path / "out.onnx"
    if existing:
        out.write_bytes(b"what was here before")
    monkeypatch.setattr(OnnxOps, part, wrong)
    body = make_body("live", styles=2)
    with pytest.raises(RtstyleError, match=r"differs from torch by \d+ grey levels: .*out\.onnx was not written"):
        write_onnx(body, describe(), out)
    assert [p.name for p in tmp_path.iterdir()] == (["out.onnx"] if existing else [])
    if existing:
        assert out.read_bytes() == b"what was here before"


def test_export_replaces_an_older_model(make_body, tmp_path):
    out = tmp_path / "out.onnx"
    out.write_bytes(b"old")
    body = make_body("live", styles=2)
    with pytest.raises(RtstyleError, match="stays"):
        write_onnx(body, describe(), out)
    assert out.read_bytes() == b"old"
    (tmp_path / "out.partial.onnx").unlink()
    write_onnx(body, describe(), out, force=True)
    assert from_onnx(out)[0].body_sha256() == body.body_sha256()
    assert [p.name for p in tmp_path.iterdir()] == ["out.onnx"]


def test_missing_folder_is_said(make_body, tmp_path):
    with pytest.raises(RtstyleError, match="could not write"):
        write_onnx(make_body("live", styles=2), describe(), tmp_path / "nowhere" / "out.onnx")


def test_equal_bodies_give_equal_files(make_body, tmp_path):
    for name in ("a.onnx", "b.onnx"):
        write_onnx(make_body("live", styles=2, seed=5), describe(), tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


# --- and back


def test_round_trip_gives_the_body_back(exported):
    body, path = exported
    again, infos = from_onnx(path)
    assert type(again) is type(body) and again.config == body.config
    assert infos == describe()["styles"]
    assert again.body_sha256() == body.body_sha256()
    for name, weight in body.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight), name
    assert again.codes.requires_grad


def test_one_style_model_comes_back_too(exported, tmp_path):
    body, _ = exported
    write_onnx(body, describe(), tmp_path / "a.onnx", style="waves")
    again, infos = from_onnx(tmp_path / "a.onnx")
    assert again.body_sha256() == body.body_sha256() and [c["name"] for c in infos] == ["waves"]
    assert torch.equal(again.codes, body.codes[:1])


def edited(path, out, edit):
    model = onnx.load(path)
    edit(model, {p.key: p for p in model.metadata_props})
    onnx.save(model, out)
    return out


def change_a_weight(model, props):
    tensor = next(t for t in model.graph.initializer if t.name == "head.weight")
    values = onnx.numpy_helper.to_array(tensor).copy()
    values[0, 0, 0, 0] += 0.01
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, "head.weight"))


def drop_a_weight(model, props):
    model.graph.initializer.remove(next(t for t in model.graph.initializer if t.name == "head.weight"))


def drop_codes(model, props):
    model.metadata_props.remove(props["rtstyle.codes"])


def shorten_codes(model, props):
    props["rtstyle.codes"].value = props["rtstyle.codes"].value[:-8]


def break_styles(model, props):
    props["rtstyle.styles"].value = "[{"


def change_config(model, props):
    props["rtstyle.body_config"].value = '{"widths": [8, 24], "dilations": [1]}'


def earlier_config(model, props):
    props["rtstyle.body_config"].value = '{"widths": [16, 48, 112], "blocks": [1, 5, 2]}'


def foreign_format(model, props):
    props["rtstyle.format"].value = "99"


def no_metadata(model, props):
    del model.metadata_props[:]


@pytest.mark.parametrize(
    ("edit", "message"),
    (
        (change_a_weight, "is damaged: its weights do not match"),
        (drop_a_weight, "is damaged"),
        (drop_codes, "is damaged"),
        (shorten_codes, "is damaged"),
        (break_styles, "is damaged"),
        (change_config, "is damaged"),
        (earlier_config, "is damaged, or holds a body that this version of rtstyle cannot train"),
        (foreign_format, "was not written by rtstyle"),
        (no_metadata, "was not written by rtstyle"),
    ),
)
def test_damaged_or_foreign_models_are_refused(exported, tmp_path, edit, message):
    path = edited(exported[1], tmp_path / "odd.onnx", edit)
    with pytest.raises(RtstyleError, match=rf"odd\.onnx {message}") as caught:
        from_onnx(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ("cut", "text", "empty"))
def test_files_that_are_no_models_are_refused(exported, tmp_path, damage):
    whole = exported[1].read_bytes()
    content = {"cut": whole[: len(whole) // 2], "text": b"<html>404 not found</html>\n" * 9, "empty": b""}
    path = tmp_path / "odd.onnx"
    path.write_bytes(content[damage])
    with pytest.raises(RtstyleError, match=r"odd\.onnx (is not a readable ONNX file|was not written)") as caught:
        from_onnx(path)
    assert "\n" not in str(caught.value)


def test_missing_model_is_said(tmp_path):
    with pytest.raises(RtstyleError, match=r"gone\.onnx does not exist"):
        from_onnx(tmp_path / "gone.onnx")


# --- from a run to a model and on to the next run


@pytest.fixture
def brief_recipe(recipe):
    return dataclasses.replace(recipe, steps=2)


def test_checkpoint_becomes_a_model_of_the_averaged_weights(trainer_in, brief_recipe, tmp_path):
    trainer = trainer_in("run", brief_recipe)
    trainer.run()
    out = tmp_path / "model.onnx"
    export_model(trainer.checkpoint, out)
    body, infos = from_onnx(out)
    assert [info["name"] for info in infos] == ["waves", "bricks"] and infos[0]["artist"] == "N. Umpy"
    for name, weight in trainer.average.items():
        assert torch.equal(body.state_dict()[name], weight), name
    props = {p.key: p.value for p in onnx.load(out).metadata_props}
    training = json.loads(props["rtstyle.training"])
    assert training["steps"] == 2 and training["recipe_sha256"] == trainer.recipe.digest()
    assert props["rtstyle.reference_height"] == "64"
    with pytest.raises(RtstyleError, match=r"losses\.csv cannot be read"):
        export_model(trainer.run_dir / "losses.csv", tmp_path / "other.onnx")


def test_training_goes_on_from_a_model(trainer_in, brief_recipe, make_body, tmp_path):
    """The body and the code of a style of the same name go on; a new style starts from the nearest code."""
    body = make_body("live", styles=2, seed=21)
    path = tmp_path / "start.onnx"
    write_onnx(body, describe(("bricks", "tiles")), path)
    trainer = trainer_in("run", brief_recipe, init=path)
    assert trainer.net.body_sha256() == body.body_sha256()
    fresh = trainer_in("fresh", brief_recipe)
    waves, bricks = trainer.net.codes.detach()
    assert torch.equal(bricks, body.codes[0]) and any(torch.equal(waves, code) for code in body.codes)
    assert not torch.equal(fresh.net.stem.weight, body.stem.weight)
    for name, weight in trainer.net.state_dict().items():
        assert torch.equal(trainer.average[name], weight), name
    trainer.run()
    assert trainer.net.body_sha256() != body.body_sha256()


def test_studio_grows_from_a_smaller_body(trainer_in, brief_recipe, make_body, tmp_path):
    """It begins with pictures close to the small body's, in the styles of the same names, and every filter learns."""
    small = make_body("live", styles=2, seed=21)
    write_onnx(small, describe(("waves", "bricks")), tmp_path / "small.onnx")
    config = {"widths": [12, 20], "dilations": [1, 2, 2, 1]}
    recipe = dataclasses.replace(brief_recipe, body="studio", config=config)
    trainer = trainer_in("run", recipe, init=tmp_path / "small.onnx")
    frames = torch.randint(0, 256, (1, 48, 64, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for own, code in zip(small.codes, trainer.net.codes, strict=True):
        expected, other = (small.stylize(frames, c).float() for c in (own, own.flip(0)))
        got = trainer.net.stylize(frames, code).float()
        assert (got - expected).abs().mean() < 0.1 * (other - expected).abs().mean()
    before = {name: weight.clone() for name, weight in trainer.net.state_dict().items()}
    trainer.run()
    for name, weight in trainer.net.state_dict().items():
        assert not torch.equal(weight, before[name]), name
        assert "blocks" not in name or not torch.equal(weight[12:], before[name][12:]), name


@pytest.mark.parametrize("config", ({"widths": [8, 8], "dilations": [1, 2]}, {"widths": [8, 20], "dilations": [2, 1]}))
def test_studio_grows_from_no_body_that_it_does_not_extend(trainer_in, brief_recipe, make_body, tmp_path, config):
    write_onnx(make_body("live", styles=2), describe(), tmp_path / "small.onnx")
    recipe = dataclasses.replace(brief_recipe, body="studio", config=config)
    with pytest.raises(RtstyleError, match=r"small\.onnx is a live body .* the recipe wants studio"):
        trainer_in("run", recipe, init=tmp_path / "small.onnx")


def test_start_from_another_body_is_refused(trainer_in, brief_recipe, make_body, tmp_path):
    write_onnx(make_body("studio", styles=2), describe(), tmp_path / "studio.onnx")
    with pytest.raises(RtstyleError, match=r"studio\.onnx is a studio body .* the recipe wants live"):
        trainer_in("run", brief_recipe, init=tmp_path / "studio.onnx")
    wider = {"widths": [8, 24], "dilations": [1, 2]}
    write_onnx(make_body("live", styles=2, config=wider), describe(), tmp_path / "wider.onnx")
    with pytest.raises(RtstyleError, match=r"wider\.onnx is a live body .*24.* the recipe wants live"):
        trainer_in("run", brief_recipe, init=tmp_path / "wider.onnx")


def test_start_from_something_else_is_refused(trainer_in, brief_recipe, photos_folder):
    with pytest.raises(RtstyleError, match=r"photo0\.png is not a readable ONNX file"):
        trainer_in("run", brief_recipe, init=photos_folder / "photo0.png")


def test_every_operation_of_a_body_is_written_down():
    """OnnxOps must know each operation that TorchOps has: a body may use any of them."""
    known = {name for name in vars(operations.TorchOps) if not name.startswith("_")}
    assert known <= set(vars(OnnxOps))
