"""`rtstyle gatys`: files of every kind in, the picture and its history out, and what is said when it cannot be."""

import builtins
import csv
import dataclasses
import importlib.util
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import photograph, save_picture
from PIL import Image
from support.helpers import tree
from support.media_files import rgb_frames

torch = pytest.importorskip("torch")

from rtstyle.errors import Interrupted, RtstyleError, UsageError  # noqa: E402
from rtstyle.gatys import files as gatys_files  # noqa: E402
from rtstyle.gatys import optimize  # noqa: E402
from rtstyle.gatys.files import Extras, paint_file, split_weight  # noqa: E402
from rtstyle.gatys.pictures import grey  # noqa: E402

pytest_plugins = ["support.runtime_fixtures"]

LAYERS = ("--content-layers", "relu2_2", "--style-layers", "relu1_1,relu2_1")
FIELDS = ["step", "steps", "width", "height", "total", "content", "style", "tv", "evaluations", "seconds"]


@pytest.fixture
def small(fake_vgg):
    def settings(**changes):
        defaults = {"vgg": "vgg16", "weights": fake_vgg, "size": 48, "steps": 4, "device": "cpu", "style_weight": 1.0}
        layers = {"content_layers": {"relu2_2": 1.0}, "style_layers": {"relu1_1": 0.2, "relu2_1": 0.1}}
        return optimize.preset(**(defaults | layers | changes))

    return settings


@pytest.fixture
def photo(tmp_path):
    return save_picture(photograph(1, 40, 48), tmp_path / "photo.png")


@pytest.fixture
def painting(tmp_path):
    return save_picture(photograph(2, 44, 40), tmp_path / "painting.png")


@pytest.fixture
def gatys_call(call, fake_vgg):
    """Runs `rtstyle gatys` at toy size with the fake weights."""

    def run(*arguments):
        given = ("--network", "vgg16", "--vgg", fake_vgg, "--size", 48, "--steps", 4, "--device", "cpu")
        return call("gatys", *arguments, *given, *LAYERS)

    return run


def read(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_the_command_paints(gatys_call, photo, painting, tmp_path):
    code, out, err = gatys_call(photo, painting, tmp_path / "out.png")
    assert (code, out.strip()) == (0, str(tmp_path / "out.png")), err
    first = err.splitlines()[0]
    assert first.startswith("48 x 40 pixels on cpu: needs about ") and first.endswith(" GB of memory")
    assert "4/4 steps" in err and re.search(r"content \d\.\de-?\d style \d\.\de-?\d", err)
    assert read(tmp_path / "out.png").shape == (40, 48, 3)
    assert set(tree(tmp_path)) == {"photo.png", "painting.png", "out.png"}


def test_tiles_are_mentioned(small):
    settings = small(size=1024, max_memory=int(1.6e9))
    text = gatys_files._plan_in_words(np.zeros((768, 1024, 3), np.uint8), settings)
    assert re.fullmatch(r"1024 x 768 pixels in 5 sizes on cpu: needs about 1\.[3456] GB of memory, in \d+ tiles", text)


def test_quiet_says_nothing(gatys_call, photo, painting, tmp_path):
    code, _, err = gatys_call(photo, painting, tmp_path / "out.png", "-q")
    assert (code, err) == (0, "")


def test_every_flag_reaches_the_settings(call, photo, painting, tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(gatys_files, "paint_file", lambda *given, **more: seen.update(given=given, more=more))
    flags = [
        *("--size", 700, "--steps", 9, "--no-pyramid", "--alpha", 2, "--ratio", 0.5, "--tv-weight", 3),
        *("--content-layers", "conv4_2", "--style-layers", "relu1_1:4", "--network", "vgg16", "--pooling", "average"),
        *("--optimizer", "adam", "--learning-rate", 0.3, "--no-line-search", "--start", 0.4, "--style-scale", 1.5),
        *("--match-color", "--seed", 8, "--device", "cpu", "--max-memory", "2G", "--vgg", "x.pth"),
        *("--vgg-convention", "oxford", "--mask", "-", "--mask", "m.png", "--style-mask", "-", "--style-mask", "n.png"),
        *("--plot", "p.png", "--log", "l.csv", "--timelapse", "t.mp4", "--every", 3, "--grid", "g.png", "--force"),
    ]
    code, _, err = call("gatys", photo, f"{painting}:0.7", painting, tmp_path / "out.png", *flags)
    assert code == 0, err
    content, styles, out, settings = seen["given"]
    assert (content, styles, out) == (
        str(photo),
        (f"{painting}:0.7", str(painting)),
        str(tmp_path / "out.png"),
    )
    assert settings == optimize.Settings(
        vgg="vgg16", weights="x.pth", convention="oxford", pooling="average", content_layers={"conv4_2": 1.0},
        style_layers={"relu1_1": 4.0}, content_weight=2.0, style_weight=4.0, tv_weight=3.0, size=700, pyramid=False,
        style_scale=1.5, noise=0.4, seed=8, optimizer="adam", learning_rate=0.3, line_search=False, steps=9,
        match_color=True, device="cpu", max_memory=2 * 10**9,
    )  # fmt: skip
    more = seen["more"]
    assert more["extras"] == Extras("p.png", "l.csv", "t.mp4", "g.png", 3)
    assert (more["masks"], more["style_masks"], more["force"]) == (("-", "m.png"), ("-", "n.png"), True)


@pytest.mark.parametrize("name", optimize.PRESETS)
def test_presets_by_name(name, call, photo, painting, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(gatys_files, "paint_file", lambda *given, **more: seen.append(given[3]))
    assert call("gatys", photo, painting, tmp_path / "out.png", "--preset", name)[0] == 0
    assert call("gatys", photo, painting, tmp_path / "out.png", "--preset", name, "--steps", 7)[0] == 0
    assert seen == [optimize.PRESETS[name], dataclasses.replace(optimize.PRESETS[name], steps=7)]


def test_without_the_training_packages_one_sentence_says_so(call, photo, painting, tmp_path, monkeypatch):
    real_find, real_import = importlib.util.find_spec, builtins.__import__

    def no_torch(name, *more):
        assert name.split(".")[0] != "torch", "imported without being there"
        return real_import(name, *more)

    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "torch" else real_find(name))
    monkeypatch.setattr(builtins, "__import__", no_torch)
    code, out, err = call("gatys", photo, painting, tmp_path / "out.png")
    assert (code, out) == (1, "")
    assert err.strip() == "rtstyle: rtstyle gatys needs torch: pip install '.[train]' in rtstyle's folder"


def test_what_people_see(small, photo, painting, tmp_path):
    extras = Extras(
        plot=tmp_path / "p.png", log=tmp_path / "l.csv", timelapse=tmp_path / "t.mp4", grid=tmp_path / "g.png", every=4
    )
    result = paint_file(photo, [str(painting)], tmp_path / "out.png", small(steps=9, tv_weight=1.0), extras=extras)
    with open(tmp_path / "l.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == FIELDS and [int(row["step"]) for row in rows] == list(range(1, 10))
    assert float(rows[-1]["total"]) == result.log[-1].total
    frames = rgb_frames(tmp_path / "t.mp4")
    assert len(frames) == 9 + gatys_files.LAST and frames[0].shape == (40, 48, 3)
    last, expected = (grey(rgb).astype(int) for rgb in (frames[-1], result.picture))  # films halve the colours
    assert np.abs(last - expected).mean() < 3
    assert read(tmp_path / "p.png").std() > 5 and read(tmp_path / "g.png").std() > 20
    assert (tmp_path / "out-00004.png").exists() and (tmp_path / "out-00008.png").exists()
    names = {"photo.png", "painting.png", "out.png", "out-00004.png", "out-00008.png", "p.png", "l.csv", "t.mp4"}
    assert set(tree(tmp_path)) == names | {"g.png"}


def test_a_time_lapse_of_a_pyramid_with_odd_sides(small, photo, painting, tmp_path, monkeypatch):
    monkeypatch.setattr(optimize, "FIRST_SIZE", 48)
    extras = Extras(timelapse=tmp_path / "t.mp4", plot=tmp_path / "p.png")
    paint_file(photo, [str(painting)], tmp_path / "out.png", small(size=69, steps=5), extras=extras)
    frames = rgb_frames(tmp_path / "t.mp4")
    assert len(frames) == 5 + gatys_files.LAST and {frame.shape for frame in frames} == {(58, 68, 3)}


def test_a_long_run_makes_a_short_film(small, photo, painting, tmp_path, monkeypatch):
    monkeypatch.setattr(gatys_files, "FRAMES", 5)
    paint_file(
        photo, [str(painting)], tmp_path / "out.png", small(steps=20), extras=Extras(timelapse=tmp_path / "t.mp4")
    )
    assert len(rgb_frames(tmp_path / "t.mp4")) == 5 + gatys_files.LAST


def test_same_seed_same_bytes(small, photo, painting, tmp_path):
    for name in ("a", "b"):
        extras = Extras(timelapse=tmp_path / f"{name}.mp4")
        paint_file(photo, [str(painting)], tmp_path / f"{name}.png", small(noise=0.5), extras=extras)
    for ending in (".png", ".mp4"):
        assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()


def test_split_weight(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert split_weight("a.png:0.7") == ("a.png", 0.7)
    assert split_weight("a.png") == ("a.png", 1.0)
    assert split_weight(r"C:\a.png") == (r"C:\a.png", 1.0)
    if os.name != "nt":
        (tmp_path / "b:2").touch()
        assert split_weight("b:2") == ("b:2", 1.0)
    with pytest.raises(UsageError, match=r"weight of a.png must be above 0, not -1"):
        split_weight("a.png:-1")


def test_several_styles(gatys_call, photo, painting, tmp_path):
    save_picture(photograph(5, 50, 50), tmp_path / "other.png")
    for name, styles in {
        "first": [painting],
        "both": [f"{painting}:0.5", f"{tmp_path / 'other.png'}:0.5"],
        "mostly": [f"{painting}:1000", tmp_path / "other.png"],
    }.items():
        assert gatys_call(photo, *styles, tmp_path / f"{name}.png")[0] == 0
    first, both, mostly = (read(tmp_path / f"{name}.png").astype(int) for name in ("first", "both", "mostly"))
    assert np.abs(first - mostly).mean() < np.abs(first - both).mean()


def test_masks_from_files(small, photo, painting, tmp_path):
    mask = np.zeros((40, 48), np.uint8)
    mask[:, 24:] = 255
    save_picture(mask, tmp_path / "mask.png")
    masks = {"masks": [str(tmp_path / "mask.png")], "style_masks": ["-"]}
    result = paint_file(photo, [str(painting)], tmp_path / "out.png", small(style_weight=100.0), **masks)
    np.testing.assert_array_equal(result.picture[:, :20], read(photo)[:, :20])
    assert (result.picture[:, 28:] != read(photo)[:, 28:]).mean() > 0.5


@pytest.mark.parametrize(
    ("masks", "sentence"),
    [
        (["a.png", "b.png"], "2 `masks` for 1 style pictures"),
        (["nowhere.png"], "nowhere.png does not exist"),
        (["black.png"], "black.png is all black"),
    ],
)
def test_masks_that_cannot_work(masks, sentence, small, photo, painting, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_picture(np.zeros((9, 9), np.uint8), tmp_path / "black.png")
    with pytest.raises(RtstyleError, match=sentence):
        paint_file(photo, [str(painting)], tmp_path / "out.png", small(), masks=masks)


def kinds(folder):
    """One picture in every form that a file can have."""
    rgb = photograph(1, 40, 48)
    image = Image.fromarray(rgb)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to look at it
    image.convert("L").save(folder / "grey.png")
    image.convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(folder / "deep.png")
    image.convert("RGBA").save(folder / "alpha.png")
    image.convert("P").save(folder / "palette.png")
    image.save(folder / "turned.jpg", exif=exif, quality=95)
    image.convert("1").save(folder / "bits.png")
    return {name: (40, 48) for name in ("grey.png", "cmyk.jpg", "deep.png", "alpha.png", "palette.png", "bits.png")} | {
        "turned.jpg": (48, 40)
    }


@pytest.mark.parametrize("role", ["content", "style"])
def test_pictures_of_every_kind(role, small, photo, painting, tmp_path):
    (tmp_path / "in").mkdir()
    for name, shape in kinds(tmp_path / "in").items():
        content, style = (tmp_path / "in" / name, painting) if role == "content" else (photo, tmp_path / "in" / name)
        result = paint_file(content, [str(style)], tmp_path / "out.png", small(steps=2), force=True)
        assert result.picture.shape[:2] == (shape if role == "content" else (40, 48)), name
        assert result.ended == "done", name


def test_transparency_of_the_photograph_stays(small, painting, tmp_path):
    rgba = np.dstack([photograph(1, 80, 96), np.full((80, 96), 255, np.uint8)])
    rgba[:40, :, 3] = 0
    save_picture(rgba, tmp_path / "in.png")
    paint_file(tmp_path / "in.png", [str(painting)], tmp_path / "out.png", small())
    with Image.open(tmp_path / "out.png") as image:
        alpha = np.asarray(image)[..., 3]
    assert alpha.shape == (40, 48) and alpha[:18].max() < 5 and alpha[22:].min() > 250


def test_transparent_parts_of_a_style_do_not_count(small, photo, tmp_path):
    results = []
    for colour in (0, 255):
        rgba = np.dstack([photograph(2, 48, 48), np.full((48, 48), 255, np.uint8)])
        rgba[32:, :, 3] = 0
        rgba[33:, :, :3] = colour
        path = save_picture(rgba, tmp_path / f"style{colour}.png")
        settings = small(style_layers={"relu1_1": 1.0})
        results.append(paint_file(photo, [str(path)], tmp_path / f"out{colour}.png", settings).picture.astype(int))
    assert np.abs(results[0] - results[1]).mean() < 0.5
    save_picture(rgba * np.array([1, 1, 1, 0], np.uint8), tmp_path / "nothing.png")
    with pytest.raises(RtstyleError, match=r"nothing.png is all transparent"):
        paint_file(photo, [str(tmp_path / "nothing.png")], tmp_path / "out.png", small())


@pytest.mark.parametrize("role", ["content", "style"])
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("missing.png", "missing.png does not exist"),
        ("broken.png", "broken.png is not a readable picture"),
        ("text.jpg", "text.jpg is not a readable picture"),
        ("tiny.png", "has 20 x 12 pixels: it must be at least 32 x 32"),
        ("in", "is a folder"),
    ],
)
def test_inputs_that_are_refused(role, name, sentence, gatys_call, photo, painting, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "broken.png").write_bytes(painting.read_bytes()[:300])
    (tmp_path / "text.jpg").write_text("no picture")
    save_picture(photograph(1, 12, 20), tmp_path / "tiny.png")
    before = tree(tmp_path)
    pair = (tmp_path / name, painting) if role == "content" else (photo, tmp_path / name)
    code, out, err = gatys_call(*pair, tmp_path / "out.png")
    assert (code, out) == (1, "")
    lines = err.strip().splitlines()
    assert sentence in lines[-1] and lines[-1].startswith("rtstyle: ") and "a bug" not in err
    assert tree(tmp_path) == before


def test_a_run_that_fails_leaves_nothing(small, photo, painting, tmp_path):
    before = tree(tmp_path)
    extras = Extras(timelapse=tmp_path / "t.mp4", plot=tmp_path / "p.png", grid=tmp_path / "g.png")
    with pytest.raises(RtstyleError, match="ends before"):
        paint_file(photo, [str(painting)], tmp_path / "out.png", small(content_layers={"relu4_2": 1}), extras=extras)
    assert tree(tmp_path) == before


def test_nothing_is_overwritten_without_force(gatys_call, photo, painting, tmp_path):
    for option, name in {
        "": "out.png",
        "--plot": "p.png",
        "--log": "l.csv",
        "--timelapse": "t.mp4",
        "--grid": "g.png",
        "--every": "new-00002.png",
    }.items():
        (tmp_path / name).write_text("mine")
        given = [tmp_path / "out.png"] if not option else [tmp_path / "new.png", option, tmp_path / name]
        if option == "--every":
            given[-1] = 2
        code, _, err = gatys_call(photo, painting, *given)
        assert code == 1 and f"{name} already exists: add --force to replace it" in err, option
        assert (tmp_path / name).read_text() == "mine"
    assert gatys_call(photo, painting, tmp_path / "out.png", "--force")[0] == 0
    assert read(tmp_path / "out.png").shape == (40, 48, 3)


@pytest.mark.parametrize("name", ["out.png", "p.png", "l.csv", "t.mp4", "g.png", "out-00002.png"])
def test_what_somebody_wrote_meanwhile_stays(small, photo, painting, tmp_path, name):
    names = {"plot": "p.png", "log": "l.csv", "timelapse": "t.mp4", "grid": "g.png"}
    extras = Extras(**{option: tmp_path / of for option, of in names.items() if of == name}, every=2)

    def meanwhile(progress):
        (tmp_path / name).write_text("theirs")

    with pytest.raises(RtstyleError, match=rf"{name} was written by somebody else meanwhile and stays"):
        paint_file(photo, [str(painting)], tmp_path / "out.png", small(), extras=extras, callback=meanwhile)
    assert (tmp_path / name).read_text() == "theirs"
    if name != "out.png":
        assert read(tmp_path / "out.png").shape == (40, 48, 3), "what goes wrong beside it does not cost the painting"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_disk_that_is_full_for_the_film_does_not_cost_the_painting(small, photo, painting, tmp_path, monkeypatch):
    (tmp_path / "full.mp4").symlink_to("/dev/full")
    monkeypatch.setattr(gatys_files, "local_file", lambda part: str(tmp_path / "full.mp4"))
    extras = Extras(timelapse=tmp_path / "t.mp4")
    with pytest.raises(RtstyleError, match=r"could not write .*t\.mp4: No space left.*; the painting is .*out\.png"):
        paint_file(photo, [str(painting)], tmp_path / "out.png", small(), extras=extras)
    assert read(tmp_path / "out.png").shape == (40, 48, 3)
    assert not (tmp_path / "t.mp4").exists()


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (["--plot", "p.txt"], 2, "--plot writes a .png file"),
        (["--timelapse", "t.avi"], 2, "--timelapse writes a .mp4 file"),
        (["--plot", "x.png", "--grid", "x.png"], 2, "x.png is asked for twice"),
        (["--every", "0"], 2, "--every needs a number of iterations"),
        (["--grid", "nowhere/g.png"], 1, "the folder nowhere does not exist"),
        (["--grid", "photo.png", "--force"], 1, "the output photo.png is the input"),
        (["--preset", "mit"], 2, "unknown preset 'mit'"),
        (["--max-memory", "much"], 2, "invalid memory size"),
        (["--max-memory", "1M"], 1, "raise --max-memory, or ask for a smaller --size"),
        (["--keep-color", "--match-color"], 2, "give --keep-color or --match-color, not both"),
        (["--preset", "upes", "--style-scale", "3"], 2, "--style-scale does nothing where"),
        (["--seed", "18446744073709551616"], 2, "seed must be from -2^63 to 2^64 - 1"),
    ],
)
def test_options_that_cannot_work(options, code, sentence, gatys_call, photo, painting, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = tree(tmp_path)
    result, _, err = gatys_call("photo.png", "painting.png", "out.png", *options)
    assert result == code and sentence in err and len(err.strip().splitlines()) == 1, err
    assert tree(tmp_path) == before


def test_the_output_must_be_a_picture(gatys_call, photo, painting, tmp_path):
    code, _, err = gatys_call(photo, painting, tmp_path / "out.mp3")
    assert code == 1 and "cannot write a picture named out.mp3" in err


def test_ctrl_c_keeps_the_picture_beside_out(small, photo, painting, tmp_path):
    def interrupt(progress):
        if progress.step == 2:
            raise KeyboardInterrupt

    extras = Extras(timelapse=tmp_path / "t.mp4", log=tmp_path / "l.csv", plot=tmp_path / "p.png")
    with pytest.raises(Interrupted, match=r"interrupted after 2 iterations: the picture so far is .*out\.partial\.png"):
        paint_file(photo, [str(painting)], tmp_path / "out.png", small(), extras=extras, callback=interrupt)
    assert not (tmp_path / "out.png").exists()
    assert read(tmp_path / "out.partial.png").shape == (40, 48, 3)
    assert len(rgb_frames(tmp_path / "t.mp4")) == 2 + gatys_files.LAST
    assert (tmp_path / "l.csv").exists() and (tmp_path / "p.png").exists()


@pytest.mark.skipif(os.name == "nt", reason="signals to a process alone are POSIX")
def test_ctrl_c_from_outside(fake_vgg, photo, painting, tmp_path):
    command = [sys.executable, "-m", "rtstyle", "gatys", photo, painting, tmp_path / "out.png", "--every", "1"]
    command += ["--network", "vgg16", "--vgg", fake_vgg, "--size", "48", "--steps", "20000", "--device", "cpu", *LAYERS]
    with subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True) as process:
        try:
            until = time.monotonic() + 60
            while not (tmp_path / "out-00003.png").exists() and time.monotonic() < until:
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130, err
    assert "the picture so far is" in err and "Traceback" not in err
    assert read(tmp_path / "out.partial.png").shape == (40, 48, 3)


def test_a_lack_of_memory_keeps_the_picture_beside_out(small, photo, painting, tmp_path):
    def full(progress):
        if progress.step == 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    with pytest.raises(
        RtstyleError,
        match=r"not enough memory after 2 iterations: give a `max_memory` below \d\.\dG.*so far is .*out\.partial\.png",
    ):
        paint_file(photo, [str(painting)], tmp_path / "out.png", small(), callback=full)
    assert read(tmp_path / "out.partial.png").shape == (40, 48, 3) and not (tmp_path / "out.png").exists()


def test_a_size_that_the_format_does_not_have_is_refused_first(small, photo, painting, tmp_path, monkeypatch):
    monkeypatch.setattr(gatys_files, "render", lambda *_: pytest.fail("it paints first"))
    with pytest.raises(RtstyleError, match=r"out\.webp cannot be written: 17000x14167 is more than the 16383 pixels"):
        paint_file(photo, [str(painting)], tmp_path / "out.webp", small(size=17_000, max_memory=10**15))


def test_a_loss_of_nan_is_reported_with_advice(small, photo, painting, tmp_path):
    settings = small(optimizer="adam", learning_rate=1e30, clamp="none", steps=9, start="content")
    with pytest.raises(
        RtstyleError, match=r"loss became NaN or infinite after 1 iterations: lower the `learning_rate`"
    ) as error:
        paint_file(photo, [str(painting)], tmp_path / "out.png", settings)
    assert error.value.exit_code == 1 and "the picture so far is" in str(error.value)
    np.testing.assert_array_equal(read(tmp_path / "out.partial.png"), read(photo))
    assert not (tmp_path / "out.png").exists()


def test_a_loss_that_rose_is_mentioned(small, photo, painting, tmp_path, caplog):
    settings = small(optimizer="adam", learning_rate=5.0, steps=6)
    paint_file(photo, [str(painting)], tmp_path / "out.png", settings)
    assert caplog.messages[-1] == "the total loss rose: try a `learning_rate` below 5"


def test_weights_that_do_not_say_their_convention(write_vgg, call, photo, painting, tmp_path):
    path = write_vgg("silent_gatys.safetensors", metadata={})
    given = ("--network", "vgg16", "--vgg", path, "--size", 48, "--steps", 2, "--device", "cpu", *LAYERS)
    code, _, err = call("gatys", photo, painting, tmp_path / "out.png", *given)
    assert code == 1 and "--vgg-convention" in err
    assert call("gatys", photo, painting, tmp_path / "out.png", *given, "--vgg-convention", "oxford")[0] == 0
