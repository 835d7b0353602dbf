"""Styles by name, mix and file."""

import dataclasses
import itertools
import shutil
import sys

import numpy as np
import onnx
import pytest
from PIL import Image

from rtstyle import RtstyleError, Stylizer, UsageError
from rtstyle.gallery import catalog, model_file

pytest_plugins = ["support.runtime_fixtures"]

NAMED = ["starry-night", "irises", "great-wave", "scream"]


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    """An empty folder of the user's own styles."""
    folder = tmp_path / "own"
    folder.mkdir()
    monkeypatch.setattr(catalog, "user_folder", lambda: folder)
    return folder


def test_both_bundled_models_have_the_whole_gallery():
    """The same paintings under the same names, described in the same words, whichever body paints them."""
    live, studio = (catalog.load(name).styles for name in ("live", "studio"))
    assert len(live) >= 16

    def description(style):
        return style.name, style.title, style.artist, style.year, style.licence

    assert [description(style) for style in live] == [description(style) for style in studio]


def test_an_installation_without_a_model_says_so(monkeypatch):
    monkeypatch.setattr(catalog, "BUNDLED", ("live", "huge"))
    with pytest.raises(RtstyleError, match="no pretrained huge model: use `model='live'`"):
        catalog.model_path("huge")


def test_the_gallery_is_there_and_credited(own_folder):
    result = {style.name: style for style in catalog.styles()}
    assert set(NAMED) < set(result)
    assert len(result) >= 6
    for style in result.values():
        assert all((style.title, style.artist, style.year, style.licence)), style
    assert "Gogh" in result["starry-night"].artist and result["starry-night"].year == "1889"
    assert "Hokusai" in result["great-wave"].artist


def test_codes_are_small_and_differ(own_folder):
    codes = np.stack([style.code for style in catalog.styles()])
    assert codes.dtype == np.float32 and np.isfinite(codes).all()
    assert codes[0].nbytes < 16_000
    assert len({code.tobytes() for code in codes}) == len(codes)


def test_the_info_is_everything_but_the_code(own_folder):
    info = catalog.styles()[0].info()
    assert set(info) == {"name", "title", "artist", "year", "licence", "source", "model"}
    assert info["model"] == "live"


def test_no_style_is_the_first(own_folder):
    assert catalog.resolve(None).label == catalog.styles()[0].name


@pytest.mark.parametrize("text", ["Great-Wave", " great-wave", "great-wave:1", "great-wave:0.2"])
def test_names_are_read_kindly(own_folder, text):
    assert (catalog.resolve(text).code == catalog.resolve("great-wave").code).all()


@pytest.mark.parametrize(
    ("mix", "weights"),
    [
        ("starry-night:0.7,great-wave:0.3", (0.7, 0.3)),
        ("starry-night:7, great-wave:3", (0.7, 0.3)),
        ("starry-night,great-wave", (0.5, 0.5)),
        ("starry-night:0,great-wave:2", (0, 1)),
    ],
)
def test_a_mix_is_the_weighted_sum_of_codes(own_folder, mix, weights):
    codes = [catalog.resolve(name).code for name in ("starry-night", "great-wave")]
    chosen = catalog.resolve(mix)
    np.testing.assert_allclose(chosen.code, weights[0] * codes[0] + weights[1] * codes[1], atol=1e-5)
    assert chosen.code.dtype == np.float32
    assert chosen.label == mix


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stary-night", "did you mean starry-night"),
        ("wave", "great-wave"),
        ("SCREEM", "scream"),
        ("qqqq", "there are .*starry-night"),
        ("irises:x", "cannot read the style 'irises:x'"),
        (":0.5", "cannot read"),
        ("irises:nan", "cannot read"),
        ("irises,", "cannot read"),
        ("irises:0", "must be positive"),
    ],
)
def test_what_cannot_be_read_is_said_with_a_remedy(own_folder, text, said):
    with pytest.raises(UsageError, match=said) as error:
        catalog.resolve(text)
    assert error.value.exit_code == 2


def test_a_file_and_one_of_its_styles_can_be_named(own_folder, tmp_path):
    path = shutil.copy(catalog.model_path("live"), tmp_path / "mine.onnx")
    assert catalog.resolve(str(path)).label == catalog.styles()[0].name
    chosen = catalog.resolve(f"{path}#scream")
    assert chosen.label == "scream" and chosen.model.path.name == "mine.onnx"
    with pytest.raises(UsageError, match="scream"):
        catalog.resolve(f"{path}#screem")


def renamed_copy(path, name, body_sha256=None):
    """The live model with one style, under another name, perhaps as another body's."""
    import base64
    import json

    model = onnx.load(catalog.model_path("live"))
    props = {prop.key: prop for prop in model.metadata_props}
    infos = json.loads(props["rtstyle.styles"].value)
    props["rtstyle.styles"].value = json.dumps([{**infos[1], "name": name}])
    codes = np.frombuffer(base64.b64decode(props["rtstyle.codes"].value), "<f4").reshape(len(infos), -1)
    props["rtstyle.codes"].value = base64.b64encode(codes[1].tobytes()).decode()
    if body_sha256:
        props["rtstyle.body_sha256"].value = body_sha256
    onnx.save(model, path)


def test_the_users_own_styles_are_found_by_name(own_folder):
    renamed_copy(own_folder / "mine.onnx", "grandmas-quilt")
    assert catalog.styles()[-1].name == "grandmas-quilt"
    assert catalog.resolve("grandmas-quilt").model.path == (own_folder / "mine.onnx").resolve()
    assert catalog.resolve("starry-night,grandmas-quilt").label == "starry-night,grandmas-quilt"
    stylizer = Stylizer("grandmas-quilt", device="cpu", threads=1)
    assert stylizer(np.zeros((32, 32, 3), np.uint8)).shape == (32, 32, 3)


def test_a_file_mixes_with_the_shipped_styles_of_its_body(own_folder, tmp_path):
    renamed_copy(tmp_path / "mine.onnx", "grandmas-quilt")
    quilt = catalog.resolve(str(tmp_path / "mine.onnx")).code
    scream = catalog.resolve("scream").code
    for mix in (f"{tmp_path / 'mine.onnx'}:3,scream", f"scream:1, {tmp_path / 'mine.onnx'}#grandmas-quilt:3"):
        np.testing.assert_allclose(catalog.resolve(mix).code, 0.75 * quilt + 0.25 * scream, atol=1e-5)
    names = [style.name for style in catalog.mixable(catalog.load(str(tmp_path / "mine.onnx")))]
    assert names == ["grandmas-quilt", *(style.name for style in catalog.styles())]
    with pytest.raises(RtstyleError, match=r"lost\.onnx does not exist"):
        catalog.resolve("scream,lost.onnx:2")


def test_styles_are_added_and_removed(own_folder, tmp_path, call):
    renamed_copy(tmp_path / "My Quilt.onnx", "grandmas-quilt")
    code, out, err = call("styles", "add", tmp_path / "My Quilt.onnx")
    assert (code, out, err) == (0, "grandmas-quilt: mixes with the shipped styles\n", "")
    assert [path.name for path in own_folder.iterdir()] == ["my-quilt.onnx"]
    assert catalog.resolve("grandmas-quilt").label == "grandmas-quilt"
    code, _, err = call("styles", "add", tmp_path / "My Quilt.onnx")
    assert code == 1 and "there is a style grandmas-quilt already (in my-quilt)" in err
    code, out, err = call("styles", "remove", "Grandmas-Quilt")
    assert code == 0 and out.startswith("deleted ") and list(own_folder.iterdir()) == []
    code, _, err = call("styles", "remove", "grandmas-quilt")
    assert code == 2 and "you have added none" in err


def test_a_style_whose_name_has_capitals_is_found_and_removed(own_folder, tmp_path, call):
    renamed_copy(tmp_path / "quilt.onnx", "Grandmas Quilt")
    assert call("styles", "add", tmp_path / "quilt.onnx")[:2] == (0, "Grandmas Quilt: mixes with the shipped styles\n")
    assert catalog.resolve("grandmas quilt").label == "Grandmas Quilt"
    assert call("styles", "remove", "Grandmas Quilt")[0] == 0 and not list(own_folder.iterdir())


def test_what_cannot_be_added_or_removed_is_said(own_folder, tmp_path, call):
    (tmp_path / "broken.onnx").write_text("not a net")
    code, _, err = call("styles", "add", tmp_path / "broken.onnx")
    assert code == 1 and "is not an ONNX model" in err and not list(own_folder.iterdir())
    code, _, err = call("styles", "add", catalog.model_path("live"))
    assert code == 1 and "already (in live)" in err
    renamed_copy(own_folder / "mine.onnx", "grandmas-quilt")
    code, _, err = call("styles", "remove", "scream")
    assert code == 2 and "scream is not one of your own styles: yours are grandmas-quilt" in err
    assert (own_folder / "mine.onnx").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_of_a_link_only_the_link_is_removed(own_folder, tmp_path, call):
    renamed_copy(tmp_path / "quilt.onnx", "grandmas-quilt")
    (own_folder / "linked.onnx").symlink_to(tmp_path / "quilt.onnx")
    code, out, _ = call("styles", "remove", "grandmas-quilt")
    assert (code, out.strip()) == (0, f"deleted {own_folder / 'linked.onnx'}")
    assert not list(own_folder.iterdir()) and (tmp_path / "quilt.onnx").exists()


def test_a_name_that_differs_in_capitals_only_is_taken(own_folder, tmp_path):
    renamed_copy(tmp_path / "quilt.onnx", "Great-Wave")
    with pytest.raises(RtstyleError, match=r"there is a style Great-Wave already \(in live\)"):
        catalog.add(tmp_path / "quilt.onnx")


def test_a_model_whose_weights_lie_in_another_file_is_not_added(own_folder, tmp_path):
    renamed_copy(tmp_path / "quilt.onnx", "quilt")
    onnx.save(
        onnx.load(tmp_path / "quilt.onnx"), tmp_path / "two.onnx", save_as_external_data=True, location="two.data"
    )
    assert catalog.load(str(tmp_path / "two.onnx")).styles[0].name == "quilt"
    with pytest.raises(RtstyleError, match=r"two\.onnx keeps its weights in another file .* single file"):
        catalog.add(tmp_path / "two.onnx")
    assert not list(own_folder.iterdir())


def test_a_file_that_the_folder_would_not_list_is_not_added(own_folder, tmp_path, monkeypatch):
    renamed_copy(tmp_path / "quilt.onnx", "quilt")
    monkeypatch.setattr(catalog, "MAX_OWN_BYTES", 1000)
    with pytest.raises(RtstyleError, match=r"quilt\.onnx is larger than 0 MB: name it by its path"):
        catalog.add(tmp_path / "quilt.onnx")
    assert not list(own_folder.iterdir())


def test_a_style_that_cannot_be_named_is_not_kept(own_folder, tmp_path):
    renamed_copy(tmp_path / "quilt.onnx", "one:two")
    with pytest.raises(UsageError, match="cannot read the style 'one:two'"):
        catalog.add(tmp_path / "quilt.onnx")
    assert not list(own_folder.iterdir())


def test_a_style_of_another_body_stands_alone(own_folder, tmp_path, call):
    renamed_copy(tmp_path / "foreign.onnx", "foreign", body_sha256="0" * 64)
    code, out, _ = call("styles", "add", tmp_path / "foreign.onnx")
    assert (code, out) == (0, "foreign: stands alone, mixes with none\n")


def test_the_contact_sheet_shows_every_style(own_folder, tmp_path, call):
    code, _, err = call("styles", "--sheet", tmp_path / "gallery.png")
    assert (code, err) == (0, "")
    with Image.open(tmp_path / "gallery.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    count, columns = len(catalog.styles()) + 1, 6
    width, height = (pixels.shape[1] + 4) // columns, 320 + 20 + 4
    assert pixels.shape[0] == -(-count // columns) * height - 4
    cells = [
        pixels[n // columns * height + 20 :, n % columns * width :][:320, : width - 4].astype(int) for n in range(count)
    ]
    for i, j in itertools.combinations(range(count), 2):
        assert np.abs(cells[i] - cells[j]).mean() > 4
    code, _, err = call("styles", "--sheet", tmp_path / "gallery.png")
    assert code == 1 and "already exists" in err
    code, _, err = call("styles", "--sheet", tmp_path / "gallery.jpg")
    assert code == 2 and "name it .png" in err


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Blue Dancers (1897)", "blue-dancers-1897"),
        ("Cézanne", "cezanne"),
        ("IMG_0001", "img-0001"),
        ("日本", "日本"),
        ("?!", "style"),
    ],
)
def test_names_that_can_be_typed(text, name):
    assert model_file.typeable(text) == name


def test_a_broken_file_of_the_user_does_not_stop_the_others(own_folder):
    (own_folder / "broken.onnx").write_text("not a net")
    assert {style.name for style in catalog.styles()} >= set(NAMED)
    assert catalog.resolve("scream").label == "scream"


def test_styles_of_another_body_do_not_mix(own_folder):
    renamed_copy(own_folder / "foreign.onnx", "foreign", body_sha256="0" * 64)
    with pytest.raises(UsageError, match="foreign was made for another body"):
        catalog.resolve("starry-night,foreign")
    stylizer = Stylizer("starry-night", device="cpu", threads=1)
    with pytest.raises(UsageError, match="foreign was made for another body"):
        stylizer.style = "foreign"


def test_a_file_that_changed_is_read_again(own_folder, tmp_path):
    import os

    path = tmp_path / "changing.onnx"
    renamed_copy(path, "before")
    assert catalog.load(str(path)).styles[0].name == "before"
    renamed_copy(path, "after")
    os.utime(path, (1, 1))
    assert catalog.load(str(path)).styles[0].name == "after"


def test_a_newer_format_asks_for_an_update(tmp_path):
    model = onnx.load(catalog.model_path("live"))
    next(prop for prop in model.metadata_props if prop.key == "rtstyle.format").value = "9"
    onnx.save(model, tmp_path / "future.onnx")
    with pytest.raises(RtstyleError, match=r"has format 9.*update"):
        catalog.load(str(tmp_path / "future.onnx"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rtstyle.codes", "AAAA"),
        ("rtstyle.styles", "not json"),
        ("rtstyle.styles", "[1, 2]"),
        ("rtstyle.styles", "[]"),
        ("rtstyle.reference_height", "tall"),
        ("rtstyle.body_sha256", None),
    ],
)
def test_broken_metadata_is_one_sentence(tmp_path, key, value):
    model = onnx.load(catalog.model_path("live"))
    prop = next(prop for prop in model.metadata_props if prop.key == key)
    if value is None:
        model.metadata_props.remove(prop)
    else:
        prop.value = value
    onnx.save(model, tmp_path / "broken.onnx")
    with pytest.raises(RtstyleError, match="incomplete rtstyle metadata"):
        catalog.load(str(tmp_path / "broken.onnx"))


def names(result):
    return [style.name for style in result]


def test_mixable_are_the_models_own_styles_and_the_users_of_the_same_body(own_folder):
    model = catalog.load("live")
    assert names(catalog.mixable(model)) == names(model.styles)
    renamed_copy(own_folder / "quilt.onnx", "quilt")
    renamed_copy(own_folder / "carpet.onnx", "carpet")
    renamed_copy(own_folder / "foreign.onnx", "foreign", body_sha256="0" * 64)
    (own_folder / "broken.onnx").write_text("not a net")
    result = catalog.mixable(model)
    assert names(result) == [*names(model.styles), "carpet", "quilt"]
    assert {style.code.shape for style in result} == {model.styles[0].code.shape}


def test_a_model_in_the_users_folder_is_not_listed_twice(own_folder):
    renamed_copy(own_folder / "quilt.onnx", "quilt")
    renamed_copy(own_folder / "carpet.onnx", "carpet")
    own = catalog.load(str(own_folder / "quilt.onnx"))
    assert names(catalog.mixable(own)) == ["quilt", *names(catalog.load("live").styles), "carpet"]


def test_a_model_without_a_code_mixes_with_nothing(own_folder):
    renamed_copy(own_folder / "quilt.onnx", "quilt")
    model = dataclasses.replace(catalog.load("live"), takes_code=False)
    assert names(catalog.mixable(model)) == names(model.styles)
