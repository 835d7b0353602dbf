"""Quality measures: known answers on known pictures, and the whole run on toy models.

Whatever needs layers up to relu4_3 needs the real VGG-16 (RTSTYLE_VGG16).
"""

import dataclasses
import io
import json
from importlib import resources

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

torch = pytest.importorskip("torch")

from rtstyle.errors import ModelError, RtstyleError, UsageError  # noqa: E402
from rtstyle.export.data import read_picture  # noqa: E402
from rtstyle.export.evaluate import evaluation as evaluate  # noqa: E402
from rtstyle.export.evaluate import measures  # noqa: E402
from rtstyle.export.evaluate.judge import STYLE_LAYERS, Judge, features, layer_distances  # noqa: E402
from rtstyle.export.evaluate.report import MAX_RATIO, MIN_PAINT, MIN_RECOGNITION, Evaluation, Score  # noqa: E402
from rtstyle.export.to_onnx import write_onnx  # noqa: E402
from rtstyle.gallery import catalog, model_file  # noqa: E402
from rtstyle.perceptual import vgg as perceptual  # noqa: E402

pytest_plugins = ["support.runtime_fixtures"]

SIZE = 64


def write_model(make_body, path, names, *, style=None, training=None, height=64):
    """A toy model with random weights whose styles have these names."""
    infos = [{"name": name, "title": name.title(), "artist": "nobody"} for name in names]
    training = {"steps": 7, "stages": [{"crop": 32, "style_size": 64}]} if training is None else training
    description = {"styles": infos, "reference_height": height, "training": training}
    write_onnx(make_body(styles=len(names)), description, path, style=style)
    return path


@pytest.fixture(scope="module")
def toy_model(make_body, tmp_path_factory):
    return write_model(make_body, tmp_path_factory.mktemp("model") / "toy.onnx", ["waves", "bricks"])


@pytest.fixture(scope="module")
def vgg(vgg16_path):
    return perceptual.VGG("vgg16", vgg16_path)


@pytest.fixture(scope="module")
def photos(photos_folder):
    """Landscape, portrait and square."""
    return [evaluate.as_frame(read_picture(p, SIZE)) for p in sorted(photos_folder.iterdir())[:3]]


@pytest.fixture(scope="module")
def artworks(paintings_folder):
    return [evaluate.as_frame(read_picture(paintings_folder / f"{n}.png", SIZE)) for n in ("waves", "bricks")]


@pytest.fixture(scope="module")
def judge(vgg, photos, artworks):
    return Judge(vgg, artworks, photos)


@pytest.fixture
def run(toy_model, photos_folder, paintings_folder, toy_recipe_path, vgg16_path):
    """Evaluate the toy model; options replace the defaults."""

    def evaluation(model=toy_model, **options):
        options = {"recipe": toy_recipe_path, "vgg": vgg16_path, "size": SIZE} | options
        return evaluate.evaluate_model(model, photos_folder, paintings_folder, **options)

    return evaluation


def styles(*names):
    return [model_file.Style(name, "", "", "", "", "", "toy", np.zeros(1, np.float32)) for name in names]


# Known answers


def test_unpainted_photographs_are_not_painted_and_wholly_recognised(judge, photos):
    result = []
    for p, photo in enumerate(photos):
        result.append(judge.measure(p, np.stack([photo, photo])) | {"milliseconds": np.ones(2)})
    for score in evaluate.summarize(styles("waves", "bricks"), result):
        assert score.paint == pytest.approx(0, abs=1e-6)
        assert score.recognition == pytest.approx(1, abs=1e-3)
        assert score.recognized == 1
        assert score.light == pytest.approx(1)
        assert score.ratio == pytest.approx(1, rel=1e-3)
        assert score.subject == pytest.approx(1, rel=1e-3)
        assert score.palette == pytest.approx(1, rel=1e-5)
        assert score.style_layers == pytest.approx(score.photo_layers, rel=1e-3)
        assert score.ssim == pytest.approx(1)


def test_the_artwork_itself_is_at_distance_zero_and_recognised(judge, vgg, artworks):
    for s, artwork in enumerate(artworks):
        grams = judge.grams(features(vgg, artwork[None], STYLE_LAYERS))
        distances = layer_distances(grams, judge.targets)
        assert distances[:, 0, s].tolist() == pytest.approx([0] * 4, abs=1e-6)
        assert distances[:, 0, 1 - s].mean() > 0.1


def test_artworks_painted_over_the_photograph_lose_it(judge, photos, artworks):
    """The other end of the scale: all style, no photograph."""
    h, w = photos[0].shape[:2]
    crops = np.stack([np.tile(a, (2, 3, 1))[:h, :w] for a in artworks])
    painted = [judge.measure(p, crops) for p, photo in enumerate(photos) if photo.shape == photos[0].shape]
    assert all((m["paint"] > 0.9).all() and (m["recognition"] < 0.5).all() for m in painted)
    assert all((m["style_distance"] < m["photo_distance"] / 2).all() for m in painted)
    assert all((m["palette"] < m["photo_palette"] / 2).all() for m in painted)
    assert all((m["ssim"] < 0.6).all() for m in painted)


def test_another_photograph_is_not_recognised(vgg, photos, artworks):
    squares = [np.ascontiguousarray(photo[:SIZE, :SIZE]) for photo in photos[:3]]
    judge = Judge(vgg, artworks, squares)
    taken = judge.measure(0, np.stack([squares[1], squares[0]]))
    assert taken["recognized"].tolist() == [0, 1]
    assert taken["recognition"][0] < 0.7 and taken["recognition"][1] == pytest.approx(1, abs=1e-3)
    assert taken["paint"][0] > 0.5 and taken["paint"][1] == pytest.approx(0, abs=1e-6)


def test_artworks_swapped_between_styles_are_noticed(vgg, artworks):
    both = [np.ascontiguousarray(a[:SIZE, :SIZE]) for a in artworks]
    judge = Judge(vgg, artworks, both)
    right, swapped = judge.measure(0, np.stack(both)), judge.measure(0, np.stack(both[::-1]))
    assert (right["style_distance"] < 0.1 * swapped["style_distance"]).all()


def test_subject_is_above_one_where_only_the_surroundings_are_painted(vgg, photos, artworks):
    """The artwork on the empty half of the photograph, and on its busy half."""
    photo = photos[0]
    cover = np.tile(artworks[0], (2, 3, 1))[: photo.shape[0], : photo.shape[1]]
    judge = Judge(vgg, [artworks[0]] * 2, [photo])
    busy = measures.busy_half(photo)[..., None] > 0
    result = judge.measure(0, np.stack([np.where(busy, photo, cover), np.where(busy, cover, photo)]))
    (around, subject) = evaluate.summarize(styles("around", "subject"), [result | {"milliseconds": np.ones(2)}])
    assert around.subject > 1.2 and subject.subject < 0.8


def test_masked_gram_matrices_are_those_of_what_the_mask_shows():
    maps = {"a": torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(0))}
    mask = torch.zeros(8, 12)
    mask[:, 6:] = 1
    result = Judge.grams(maps, mask)["a"]
    torch.testing.assert_close(result, perceptual.gram(maps["a"][..., 3:]))
    torch.testing.assert_close(Judge.grams(maps, torch.ones(8, 12))["a"], perceptual.gram(maps["a"]))


def test_style_distances_by_layer_by_hand():
    grams = {"a": torch.tensor([[[3.0]]]), "b": torch.tensor([[[1.0]]])}
    targets = {"a": torch.tensor([[[1.0]], [[3.0]]]), "b": torch.tensor([[[2.0]], [[1.0]]])}
    torch.testing.assert_close(layer_distances(grams, targets), torch.tensor([[[4.0, 0.0]], [[0.25, 0.0]]]))


def test_summary_is_a_ratio_of_means_not_a_mean_of_ratios():
    layers = dict.fromkeys(("style_layers", "photo_layers"), np.ones((1, 4)))
    rows = [
        dict.fromkeys(("paint", "recognition", "recognized", "light", "ssim"), np.ones(1))
        | layers
        | {"style_distance": np.array([y]), "photo_distance": np.array([c])}
        | {"subject_distance": np.array([3 * y]), "photo_subject": np.array([c])}
        | {"palette": np.array([y / 2]), "photo_palette": np.array([c])}
        for y, c in ((1.0, 1.0), (1.0, 9.0))
    ]
    rows = [row | {"milliseconds": np.array([ms])} for row, ms in zip(rows, (2.0, 4.0), strict=True)]
    (score,) = evaluate.summarize(styles("only"), rows)
    assert score.ratio == pytest.approx(2 / 10)
    assert score.subject == pytest.approx(3)
    assert score.palette == pytest.approx(1 / 10)
    assert score.milliseconds == 3
    assert score.recognized == 1
    assert score.style_layers == dict.fromkeys(STYLE_LAYERS, 1)
    (alone,) = evaluate.summarize(styles("only"), rows[:1])
    assert alone.recognized is None  # one photograph: nothing to choose from


def a_score(name, **changes):
    layers = dict.fromkeys(STYLE_LAYERS, 1.0)
    defaults = {
        **{"paint": 0.7, "recognition": 0.65, "recognized": 0.9, "light": 0.8, "ratio": 0.2, "subject": 1.1},
        "palette": 0.1,
        **{"style_distance": 1.0, "photo_distance": 5.0, "ssim": 0.3, "milliseconds": 9.5, "warp": 4.0, "flicker": 3.0},
    }
    return Score(name, "", "", style_layers=layers, photo_layers=layers, **defaults | changes)


def an_evaluation(scores, **changes):
    defaults = {
        **{"model": "live.onnx", "model_sha256": "0", "body": "live", "body_sha256": "0", "steps": 6000, "rows": []},
        **{"photographs": 300, "size": 360, "style_size": 512, "vgg_sha256": "0", "clip": None, "artworks": []},
        "noise": {"warp": 2.5, "flicker": 3.0},
    }
    return Evaluation(scores=scores, **defaults | changes)


def printed(table, width, **options):
    console = Console(width=width, record=True, file=io.StringIO(), color_system="truecolor", force_terminal=True)
    console.print(table)
    return console.export_text(**options)


def test_the_table_is_readable_in_80_columns():
    """With the longest name that is shipped and the widest numbers that come up."""
    names = [style.name for body in ("live", "studio") for style in shipped(body).style]
    wide = {"recognized": 1.0, "subject": 12.34, "palette": 10.25, "warp": 100.5, "flicker": 88.75}
    scores = [a_score(name, **wide) for name in names]
    text = printed(an_evaluation(scores).table(), 80)
    assert "…" not in text and max(map(len, text.splitlines())) <= 80
    lines = [line.split() for line in text.splitlines()]
    headings = ["style", "paint", "recog", "top-1", "light", "ratio", "subject", "palette", "warp", "flicker"]
    assert headings in lines
    cells = ["0.70", "0.65", "100%", "0.80", "0.20", "12.34", "10.25", "100.5", "88.8"]
    for name in (*names, "mean"):
        assert [name, *cells] in lines


def shipped(body):
    from rtstyle.export.recipe import Recipe

    return Recipe.read(resources.files("rtstyle.export.recipes") / f"{body}.toml")


def test_what_misses_a_goal_is_red():
    goals = {"paint": MIN_PAINT, "recognition": MIN_RECOGNITION, "ratio": MAX_RATIO}
    good = printed(an_evaluation([a_score("fine", **goals)]).table(), 80, styles=True)
    bad = {"paint": goals["paint"] - 0.01, "recognition": goals["recognition"] - 0.01, "ratio": goals["ratio"] + 0.01}
    red = "\x1b[31m"
    assert red not in good and good.count("\x1b[32m") == 2 * 3  # the style and the mean
    for name, value in bad.items():
        text = printed(an_evaluation([a_score("poor", **goals | {name: value})]).table(), 80, styles=True)
        assert text.count(red) == 2 and f"{red}{value:.2f}" in text


def test_overall_has_means_and_the_worst_styles():
    one = a_score("one", paint=0.5, recognition=0.7, ratio=0.1, recognized=None)
    two = a_score("two", paint=0.9, recognition=0.6, ratio=0.4, warp=None)
    result = an_evaluation([one, two])
    overall = result.overall()
    assert (overall["paint"], overall["recognition"], overall["ratio"]) == pytest.approx((0.7, 0.65, 0.25))
    assert (overall["least_paint"], overall["least_recognition"], overall["worst_ratio"]) == (0.5, 0.6, 0.4)
    assert overall["styles"] == 2 and overall["recognized"] is None and overall["warp"] is None
    plain = result.to_json()
    assert plain["goals"] == {"paint": 0.58, "recognition": 0.58, "ratio": 0.3}
    assert plain["overall"]["least_paint"] == 0.5 and [style["name"] for style in plain["styles"]] == ["one", "two"]
    assert "-" in printed(result.table(), 80)


# The whole run


def test_evaluation_of_a_model(run):
    reports = []
    result = run(limit=2, style_size=80, progress=lambda *args: reports.append(args))
    assert [score.name for score in result.scores] == ["waves", "bricks"]
    assert (result.photographs, result.size, result.style_size, result.steps) == (2, SIZE, 80, 7)
    assert reports[-1] == ("motion and artefacts", 2, 2)
    assert ("painted photographs", 2, 2) in reports and ("photographs", 1, 2) in reports
    for score in result.scores:
        assert score.ratio == pytest.approx(score.style_distance / score.photo_distance)
        assert score.milliseconds > 0 and -1 <= score.ssim <= 1
        assert np.mean(list(score.style_layers.values())) == pytest.approx(score.style_distance)
        assert 0 < score.paint <= 1 and -1 <= score.recognition <= 1 and score.subject > 0
        assert score.warp > 0 and score.warp_clean > 0 and score.flicker > 0
        assert score.warp_clip is None and score.lbfgs is None
        assert score.artefacts.keys() == {"checkerboard", "checkerboard_levels", "seam", "calm", "grain"}
        assert score.recognized in (0, 0.5, 1)
    again = run(limit=2, style_size=80)
    assert again.to_json()["styles"][0]["ratio"] == result.to_json()["styles"][0]["ratio"]  # repeatable

    text = printed(result.table(), 80)
    assert "waves" in text and "bricks" in text and f"{result.scores[0].ratio:.2f}" in text
    assert "warp" in text and "flicker" in text and "…" not in text


def test_the_command(call, toy_model, photos_folder, paintings_folder, toy_recipe_path, vgg16_path, tmp_path):
    folders = ("--photos", photos_folder, "--pictures", paintings_folder, "--recipe", toy_recipe_path)
    small = ("--vgg", vgg16_path, "--size", SIZE, "--style-size", 64, "--limit", 1)
    sheet = tmp_path / "sheet.png"
    code, out, err = call("evaluate", toy_model, *folders, *small, "--sheet", sheet, "--json")
    assert code == 0, err
    report = json.loads(out)
    assert [style["name"] for style in report["styles"]] == ["waves", "bricks"] and report["photographs"] == 1
    with Image.open(sheet) as picture:
        assert picture.format == "PNG" and picture.width > 3 * SIZE
    code, out, err = call("evaluate", toy_model, *folders, *small, "--sheet", sheet)
    assert code == 1 and "already exists" in err and out == ""
    code, out, err = call("evaluate", toy_model, *folders, *small)
    assert code == 0 and "waves" in out and "bricks" in out
    code, _, err = call("evaluate", toy_model, *folders, *small, "--device", "cdua")
    assert code == 1 and "cdua" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(("asked", "size"), [(None, 80), (96, 96)])
def test_photographs_are_measured_at_the_height_that_the_model_is_meant_for(run, make_body, tmp_path, asked, size):
    model = write_model(make_body, tmp_path / "toy.onnx", ["waves"], height=80)
    result = run(model, limit=1, size=asked)
    assert result.size == size and min(result.rows[0][0].shape[:2]) == size


def test_evaluation_with_a_clip_and_the_lbfgs_reference(run, make_body, toy_recipe_path, tmp_path):
    from rtstyle.export.recipe import Recipe

    loss = dataclasses.asdict(Recipe.read(toy_recipe_path).loss)
    training = {"steps": 7, "loss": loss, "stages": [{"style_size": 64}], "style_weights": {"waves": 2.5}}
    model = write_model(make_body, tmp_path / "toy.onnx", ["waves", "bricks"], training=training)
    clip = resources.files("rtstyle.pretrained") / "sample.mp4"
    reports = []
    result = run(
        model, limit=1, clip=clip, iterations=[3, 1], device="cpu", progress=lambda *args: reports.append(args)
    )
    assert reports[-1] == ("L-BFGS reference", 2, 2)
    plain = result.to_json()
    assert plain["clip"]["frames"] == 40 and 0 < plain["clip"]["unpainted"] < 20
    assert [score.lbfgs.style_weight for score in result.scores] == [2.5, 5.0]  # the training's, the recipe's
    for style in plain["styles"]:
        assert style["warp_clip"] > 0
        reference = style["lbfgs"]
        assert [reached["iterations"] for reached in reference["gatys"]] == [1, 3]
        first, last = reference["gatys"]
        assert reference["photograph"]["total"] > first["total"] > last["total"]
        assert reference["ratios"]["3"] == pytest.approx(reference["net"]["total"] / last["total"])
    ratios = [style["lbfgs"]["ratios"]["3"] for style in plain["styles"]]
    assert plain["overall"]["lbfgs_ratios"]["3"] == pytest.approx(np.mean(ratios))
    assert "palette" in plain["lbfgs_left_out"]

    text = printed(result.lbfgs_table(), 100)
    assert "3 iterations" in text and f"({result.overall()['lbfgs_ratios'][3]:.2f})" in text


def test_style_weights_are_those_of_the_last_stage(toy_model, toy_recipe_path):
    training = {"style_weights": {"waves": 2.5}}
    entries = evaluate.styles_of(catalog.load(str(toy_model)), training, toy_recipe_path)
    assert evaluate.style_weights(entries, training, 3.0) == [2.5, 5.0]  # the training's, the recipe's
    training["stages"] = [{"style_factor": 1.0}, {"style_factor": 4.0}]
    assert evaluate.style_weights(entries, training, 3.0) == [10.0, 20.0]


def test_json_goes_to_standard_output(capsys):
    result = an_evaluation([a_score("one"), a_score("two")])
    result.print_json()
    assert json.loads(capsys.readouterr().out) == result.to_json()


def test_sheet_holds_artworks_photographs_and_paintings(run, photos, tmp_path):
    result = run(limit=2)
    result.save_sheet(tmp_path / "sheet.png", height=50)
    with Image.open(tmp_path / "sheet.png") as sheet:
        sheet.load()
        assert sheet.format == "PNG"
        width = max(round(row[0].shape[1] * 50 / row[0].shape[0]) for row in result.rows)
        assert sheet.size == (3 * width + 2 * 4, 20 + 3 * (50 + 4))  # gaps and labels of draw_grid
        pixels = np.asarray(sheet).astype(float)
    assert (pixels[22:68, 2:width] == 255).all()  # nothing above the photographs
    assert pixels[22:68, width + 4 :].std() > 10  # artworks beside it
    photo = Image.fromarray(result.rows[0][0])
    photo = photo.resize((round(photo.width * 50 / photo.height), 50), Image.LANCZOS)
    np.testing.assert_array_equal(pixels[74:124, : photo.width], np.asarray(photo))


def test_a_one_style_model_takes_no_code(run, make_body, tmp_path):
    model = write_model(make_body, tmp_path / "one.onnx", ["waves", "bricks"], style="bricks")
    result = run(model, limit=2)
    assert [score.name for score in result.scores] == ["bricks"]
    assert result.overall()["ratio"] == result.scores[0].ratio and result.overall()["styles"] == 1


@pytest.mark.parametrize(
    "training, expected",
    [
        ({"stages": [{"style_size": 96}, {"style_size": 80}]}, 80),
        ({"stages": [{"style_size": 96}, {"style_size": [72, 80]}]}, 80),
        ({"stages": [{"crop": 32}], "loss": {"style_size": 72}}, 72),
        ({}, 288),
    ],
)
def test_size_of_the_artworks_comes_from_the_training(
    make_body, paintings_folder, toy_recipe_path, tmp_path, training, expected
):
    model = write_model(make_body, tmp_path / "toy.onnx", ["waves", "bricks"], training=training)

    def style_size(asked=None):
        return evaluate.open_subject(model, paintings_folder, toy_recipe_path, SIZE, asked).style_size

    assert style_size() == expected and style_size(64) == 64


# What is refused (none of it gets as far as VGG)


def test_a_style_that_the_recipe_lacks_is_refused(
    make_body, tmp_path, photos_folder, paintings_folder, toy_recipe_path
):
    model = write_model(make_body, tmp_path / "other.onnx", ["waves", "clouds"])
    with pytest.raises(RtstyleError, match=r"toy\.toml does not list clouds of other\.onnx.*`recipe`"):
        evaluate.evaluate_model(model, photos_folder, paintings_folder, recipe=toy_recipe_path, size=SIZE)


def test_a_body_without_a_packaged_recipe_is_refused(toy_model):
    model = dataclasses.replace(catalog.load(str(toy_model)), body="nobody")
    with pytest.raises(RtstyleError, match="no recipe is packaged for the body nobody"):
        evaluate.styles_of(model, {})


def test_a_model_says_which_pictures_it_was_trained_on(toy_model):
    """So that `evaluate mine.onnx` needs no recipe; one that is given counts more."""
    model = catalog.load(str(toy_model))
    training = {"pictures": {style.name: f"{style.name}-own.png" for style in model.styles}}
    result = evaluate.styles_of(model, training)
    assert [style.file for style in result] == [f"{style.name}-own.png" for style in model.styles]


def test_the_packaged_recipe_is_the_default(toy_model):
    base = catalog.load(str(toy_model))
    model = dataclasses.replace(base, styles=tuple(styles("starry-night")))
    for training in ({}, {"pictures": {"another": "another.png"}}):
        assert [style.file for style in evaluate.styles_of(model, training)] == ["vangogh_the_starry_night.jpg"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"encoder": True, "iterations": [5]}, "`iterations` goes with styles that were learned, not with `encoder`"),
        ({"encoder": True, "recipe": "nowhere.toml"}, "`recipe` says which artwork belongs to which style"),
        ({"device": "cdua", "recipe": "toy"}, "cdua"),
    ],
)
def test_what_cannot_be_measured_together_is_refused(
    toy_model, photos_folder, paintings_folder, toy_recipe_path, options, sentence
):
    if options.get("recipe") == "toy":
        options |= {"recipe": toy_recipe_path}
    with pytest.raises(RtstyleError, match=sentence):
        evaluate.evaluate_model(toy_model, photos_folder, paintings_folder, size=SIZE, **options)


def test_forms_for_other_programs_are_refused(toy_model, photos_folder, paintings_folder, tmp_path):
    from rtstyle.export.forms import export_model

    for form, sentence in {"web": "paints frames of 64x48 only", "ffmpeg": "is a net for other programs"}.items():
        export_model(toy_model, tmp_path / f"{form}.onnx", form=form, style="waves", size=(64, 48))
        with pytest.raises(ModelError, match=sentence):
            evaluate.evaluate_model(tmp_path / f"{form}.onnx", photos_folder, paintings_folder, size=SIZE)


def test_a_missing_artwork_is_named(toy_model, photos_folder, tmp_path, toy_recipe_path):
    with pytest.raises(RtstyleError, match=r"waves\.png does not exist"):
        evaluate.evaluate_model(toy_model, photos_folder, tmp_path, recipe=toy_recipe_path)


@pytest.mark.parametrize("options", [{"size": 32}, {"style_size": 10}, {"limit": 0}, {"iterations": [50, 0]}])
def test_sizes_and_limits_out_of_range_are_refused(toy_model, photos_folder, paintings_folder, options):
    with pytest.raises(UsageError):
        evaluate.evaluate_model(toy_model, photos_folder, paintings_folder, **options)


def test_the_lbfgs_reference_needs_the_losses_of_the_training(
    toy_model, photos_folder, paintings_folder, toy_recipe_path
):
    with pytest.raises(RtstyleError, match="does not say how it was trained"):
        evaluate.evaluate_model(
            toy_model, photos_folder, paintings_folder, recipe=toy_recipe_path, size=SIZE, iterations=[5]
        )


def test_the_pictures_of_a_folder_are_measured_as_the_encoder_sees_them(paintings_folder):
    with pytest.raises(RtstyleError, match="itself holds no picture"):
        evaluate.open_subject("live", paintings_folder.parent, None, None, 64, encoder=True)
    subject = evaluate.open_subject("live", paintings_folder, None, None, 64, encoder=True)
    files = sorted(path.name for path in paintings_folder.iterdir())
    assert [entry.file for entry in subject.entries] == files
    assert len(subject.painters) == len(subject.artworks(64)) == len(files)
    code = catalog.resolve(str(paintings_folder / files[0])).code
    assert np.array_equal(subject.model.styles[0].code, code)
