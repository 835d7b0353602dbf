"""Any picture as a style: the bundled encoder, wherever a style is named."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rtstyle import InputError, RtstyleError, Stylizer, UsageError
from rtstyle.gallery import catalog, encoder
from rtstyle.media.contact_sheet import bundled_photograph

pytest_plugins = ["support.runtime_fixtures"]


@pytest.fixture
def picture(tmp_path):
    """A photograph of coffee, as a style picture."""
    return str(shutil.copy(bundled_photograph("coffee"), tmp_path / "coffee.jpg"))


@pytest.fixture
def own_pictures_folder(tmp_path, monkeypatch):
    """An empty folder of the user's own styles."""
    monkeypatch.setattr(catalog, "user_folder", lambda: tmp_path / "own")
    return tmp_path / "own"


def frame():
    with Image.open(bundled_photograph()) as photograph:
        return np.asarray(photograph.convert("RGB").resize((320, 180)))


def test_the_encoder_was_made_for_the_bundled_body():
    assert encoder.writes_for(catalog.load("live").body_sha256)
    assert not encoder.writes_for(catalog.load("studio").body_sha256)
    assert encoder.encoder_path().stat().st_size < 6_000_000


def test_a_picture_paints_in_its_own_colors(picture, tmp_path):
    """A blue picture and an orange one make a blue and an orange painting of one photograph."""
    random = np.random.default_rng(0)
    paintings = {}
    for name, color in (("blue", (30, 60, 200)), ("orange", (230, 130, 30))):
        strokes = np.clip(np.array(color) + random.normal(0, 40, (40, 60, 1)), 0, 255).astype(np.uint8)
        Image.fromarray(strokes.repeat(8, 0).repeat(8, 1)).save(tmp_path / f"{name}.png")
        stylizer = Stylizer(str(tmp_path / f"{name}.png"), device="cpu")
        paintings[name] = stylizer(frame()).mean((0, 1))
        assert stylizer.style == name
    assert paintings["blue"][2] > paintings["blue"][0] + 30
    assert paintings["orange"][0] > paintings["orange"][2] + 30


def test_a_large_picture_is_seen_as_sharply_as_those_of_training(tmp_path):
    large = Image.fromarray(np.random.default_rng(0).integers(0, 256, (1100, 1300, 3), np.uint8))
    large.save(tmp_path / "large.png")
    large.resize((529, 448), Image.Resampling.LANCZOS).save(tmp_path / "small.png")  # style_pictures.resized
    codes = [encoder.code_of(tmp_path / name) for name in ("large.png", "small.png")]
    np.testing.assert_allclose(*codes, atol=1e-6)


def test_a_picture_with_a_comma_in_its_name_is_no_mix(picture, tmp_path):
    comma = shutil.copy(picture, tmp_path / "Coffee, black.jpg")
    assert encoder.is_one_picture(str(comma)) and not encoder.is_one_picture(f"{picture}:0.5,{picture}")
    assert (catalog.resolve(str(comma)).code == catalog.resolve(picture).code).all()


def test_a_picture_mixes_with_styles(picture):
    code = catalog.resolve(picture).code
    other = catalog.resolve("great-wave").code
    mix = catalog.resolve(f"{picture}:3,great-wave:1").code
    assert np.allclose(mix, 0.75 * code + 0.25 * other, atol=1e-6)
    stylizer = Stylizer("great-wave", device="cpu")
    stylizer.style = picture
    assert np.array_equal(stylizer.code, code)


def test_one_picture_gives_one_code_and_a_changed_file_another(picture):
    first = catalog.resolve(picture).code
    assert np.array_equal(catalog.resolve(picture).code, first)
    shutil.copy(bundled_photograph("grass"), picture)
    os.utime(picture, (1, 1))
    assert not np.allclose(catalog.resolve(picture).code, first, atol=1e-3)


def kept(image, tmp_path, name, **options):
    image.save(tmp_path / name, **options)
    return str(tmp_path / name)


@pytest.mark.parametrize("kind", ["cmyk", "16 bit", "animated", "transparent", "rotated", "small", "long", "grey"])
def test_pictures_of_every_kind_are_styles(tmp_path, kind):
    random = np.random.default_rng(1)
    rgb = Image.fromarray(random.integers(0, 256, (60, 90, 3), np.uint8)).resize((180, 120))
    make = {
        "cmyk": lambda: kept(rgb.convert("CMYK"), tmp_path, "p.jpg"),
        "16 bit": lambda: kept(Image.fromarray(random.integers(0, 65536, (64, 64), np.uint16)), tmp_path, "p.png"),
        "animated": lambda: kept(rgb, tmp_path, "p.webp", save_all=True, append_images=[rgb.rotate(90)]),
        "transparent": lambda: kept(rgb.convert("RGBA"), tmp_path, "p.png"),
        "rotated": lambda: kept(rgb, tmp_path, "p.jpg", exif=turned()),
        "small": lambda: kept(rgb.resize((32, 33)), tmp_path, "p.png"),
        "long": lambda: kept(rgb.resize((3000, 40)), tmp_path, "p.png"),
        "grey": lambda: kept(rgb.convert("L"), tmp_path, "p.png"),
    }
    code = catalog.resolve(make[kind]()).code
    assert code.dtype == np.float32 and code.shape == catalog.resolve("great-wave").code.shape
    assert np.isfinite(code).all()


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"hello\n", "not a readable picture"),
        (b"", "not a readable picture"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_is_no_picture_is_explained(tmp_path, content, reason):
    path = tmp_path / "picture.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=reason):
        catalog.resolve(str(path))


def test_a_tiny_picture_is_refused(tmp_path):
    Image.new("RGB", (200, 31)).save(tmp_path / "p.png")
    with pytest.raises(InputError, match="200x31: it must be at least 32 pixels"):
        catalog.resolve(str(tmp_path / "p.png"))


def test_another_body_is_refused(picture):
    with pytest.raises(UsageError, match="made for the bundled live model"):
        catalog.resolve(picture, "studio")
    one_style = dataclasses.replace(catalog.load("live"), takes_code=False)
    with pytest.raises(UsageError, match="one style built in"):
        encoder.style_of(picture, one_style)


def test_an_installation_without_encoder_says_so(picture, monkeypatch, tmp_path):
    (tmp_path / "other.jpg").write_bytes(Path(picture).read_bytes())
    monkeypatch.setattr(encoder, "encoder_path", lambda: tmp_path / "encoder.onnx")
    with pytest.raises(RtstyleError, match="no encoder"):
        catalog.resolve(str(tmp_path / "other.jpg"))


def test_a_picture_is_kept_by_name(picture, own_pictures_folder):
    kept = catalog.add(picture, name="My Coffee")
    assert [style.name for style in kept] == ["my-coffee"]
    found = catalog.resolve("my-coffee:0.5,scream:0.5")
    assert found.model.path == catalog.load("live").path
    assert np.array_equal(catalog.resolve("my-coffee").code, catalog.resolve(picture).code)
    with pytest.raises(RtstyleError, match="there is a style my-coffee already"):
        catalog.add(picture, name="my-coffee")
    assert not catalog.remove("my-coffee").exists()
    with pytest.raises(UsageError, match="a name goes with a picture"):
        catalog.add(catalog.load("live").path, name="x")


def test_pictures_as_styles_need_no_torch(picture):
    """In an environment where torch cannot be imported."""
    script = "import sys; sys.modules['torch'] = None; import rtstyle; print(rtstyle.Stylizer(sys.argv[1]).style)"
    done = subprocess.run([sys.executable, "-c", script, picture], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "coffee"), done.stderr
