"""`rtstyle lab`: every experiment at toy size, its figures computed again, and what a report holds."""

import base64
import csv
import dataclasses
import html.parser
import importlib.util
import io
import math
import re
import time

import numpy as np
import pytest
from conftest import photograph, save_picture
from PIL import Image
from support.helpers import tree

torch = pytest.importorskip("torch")
pytest.importorskip("jinja2")

from rtstyle import Stylizer  # noqa: E402
from rtstyle.errors import Interrupted, RtstyleError, UsageError  # noqa: E402
from rtstyle.export.evaluate.measures import ssim  # noqa: E402
from rtstyle.export.lab import experiments  # noqa: E402
from rtstyle.export.lab import plan as lab  # noqa: E402
from rtstyle.export.lab.report import SAVE_SECONDS, Report, Table, write_csv  # noqa: E402
from rtstyle.export.recipe import Loss, Recipe, Stage, Style  # noqa: E402
from rtstyle.export.train import Trainer  # noqa: E402
from rtstyle.gatys import optimize  # noqa: E402
from rtstyle.gatys import pictures as gatys_pictures  # noqa: E402
from rtstyle.perceptual import vgg as perceptual  # noqa: E402

pytest_plugins = ["support.runtime_fixtures"]

STYLE_LAYERS = {"relu1_1": 0.2, "relu2_1": 0.1}
WORDS = {"content_layers": "relu2_2", "style_layers": "relu1_1:0.2,relu2_1:0.1"}


@pytest.fixture
def photo(tmp_path):
    return save_picture(photograph(1, 80, 96), tmp_path / "photo.png")


@pytest.fixture
def painting(tmp_path):
    return save_picture(photograph(2, 88, 72), tmp_path / "painting.png")


@pytest.fixture
def options(photo, painting, fake_vgg):
    """Options of a toy experiment, with changes."""

    def make(**changes):
        usual = {"style": str(painting), "content": str(photo), "size": 48, "steps": "3", "device": "cpu"}
        network = {"vgg": "vgg16", "weights": fake_vgg}
        return lab.Options(**(usual | network | WORDS | changes))

    return make


@pytest.fixture
def painted(photo, painting, fake_vgg):
    """Gatys' method by itself, from the picture files as they are."""

    def paint(styles=None, **changes):
        usual = {"vgg": "vgg16", "weights": fake_vgg, "size": 48, "steps": 3, "pyramid": False, "device": "cpu"}
        layers = {"content_layers": {"relu2_2": 1.0}, "style_layers": STYLE_LAYERS}
        settings = optimize.preset(changes.pop("preset", None), **(usual | layers | changes))
        return optimize.render(read(photo), styles or [read(painting)], settings).picture

    return paint


def read(path):
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def shrunk(path, width, height):
    return np.array(Image.fromarray(read(path)).resize((width, height), Image.Resampling.LANCZOS))


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def numbers(rows, column):
    return [float(row[column]) for row in rows]


def losses_by_hand(picture, content, style, weights):
    """(content, style) of pictures uint8 by the formulas of rtstyle.gatys.settings, alpha = beta = 1."""
    vgg = perceptual.VGG("vgg16", weights)
    seen = [
        vgg(torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].float(), ["relu2_2", *STYLE_LAYERS])
        for rgb in (picture, content, style)
    ]
    far = (seen[0]["relu2_2"] - seen[1]["relu2_2"]).square().mean().item()
    grams = [{k: (m := found[k][0].flatten(1)) @ m.T / m.shape[1] for k in STYLE_LAYERS} for found in seen]
    return far, sum(w * (grams[0][k] - grams[2][k]).square().mean().item() for k, w in STYLE_LAYERS.items())


class Images(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.sources, self.others, self.captions, self.inside = [], [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.inside = tag == "figcaption"
        for name, value in attrs:
            if name in ("src", "href", "srcset", "data", "action"):
                (self.sources if (tag, name) == ("img", "src") else self.others).append(value)

    def handle_data(self, data):
        if self.inside:
            self.captions.append(data)
            self.inside = False


def check_page(folder):
    """Every picture of the folder is embedded, with a caption, and nothing is fetched from elsewhere."""
    text = (folder / "report.html").read_text(encoding="utf-8")
    page = Images(text)
    assert page.others == [] and not re.search(r"https?://|url\(|@import|<script|<link", text)
    assert len(page.captions) == len(page.sources) and all(caption.strip() for caption in page.captions)
    embedded = [base64.b64decode(source.removeprefix("data:image/png;base64,")) for source in page.sources]
    kept = [path.read_bytes() for path in (folder / "pictures").iterdir()]
    assert sorted(embedded) == sorted(kept) and kept
    for png in kept:
        Image.open(io.BytesIO(png)).verify()
    return text


def test_ratio(options, painted, photo, painting, fake_vgg, tmp_path):
    told = []
    report = experiments.run(
        "ratio", options(ratios="1,0.001,1:50"), tmp_path / "out", progress=lambda *given: told.append(given)
    )
    assert report == tmp_path / "out" / "report.html"
    rows = rows_of(tmp_path / "out" / "ratio.csv")
    assert numbers(rows, "alpha/beta") == [1, 0.001, 0.02]
    assert numbers(rows, "alpha") == [1, 1, 1] and numbers(rows, "beta") == [1, 1000, 50]
    assert [row["ended"] for row in rows] == ["done"] * 3 and [row["steps"] for row in rows] == ["3"] * 3
    content, style = shrunk(photo, 48, 40), shrunk(painting, 39, 48)
    pictures = [read(tmp_path / "out" / "pictures" / f"ratio-{n}.png") for n in (1, 2, 3)]
    for row, picture, beta in zip(rows, pictures, (1, 1000, 50), strict=True):
        np.testing.assert_array_equal(picture, painted(style_weight=float(beta)))
        far, apart = losses_by_hand(picture, content, style, fake_vgg)
        assert float(row["content"]) == pytest.approx(far, rel=1e-3)
        assert float(row["style"]) == pytest.approx(apart, rel=1e-3)
        assert float(row["total"]) == pytest.approx(float(row["content"]) + beta * float(row["style"]), rel=1e-9)
        error = np.mean((picture.astype(float) - content) ** 2)
        assert float(row["psnr"]) == pytest.approx(10 * math.log10(65025 / error))
        assert float(row["ssim"]) == pytest.approx(float(ssim(picture[None], content[None])[0]))
    assert numbers(rows, "style")[1] < numbers(rows, "style")[0]
    text = check_page(tmp_path / "out")
    for words in ("Incomplete", str(tmp_path)):
        assert words not in text
    for words in ("1 : 1,000", "photo.png", "painting.png", torch.__version__, "vgg16, oxford convention", "UTC"):
        assert words in text, words
    assert told[-1][:2] == (9, 9) and [done for done, _, _ in told] == list(range(1, 10))


def test_the_documents_ratios():
    for preset, betas in {
        "icfp": [1e-2, 1e-1, 1, 10, 100, 1e4],
        "ntu": [1000, 5000, 10000, 50000, 100000],
        "ucsd": [1e4, 1e5, 1e6, 1e7, 1e8, 1e9],
        None: [1e-3, 1e-2, 1e-1, 1, 10, 100],
    }.items():
        plan = lab.make_plan("ratio", lab.Options(style="a.png", preset=preset))
        assert [plan.settings.content_weight / ratio for ratio in plan.ratios] == pytest.approx(betas), preset
    ntu = lab.make_plan("ratio", lab.Options(style="a.png", preset="ntu"))
    assert (ntu.steps, ntu.settings.size, ntu.settings.noise) == ((500,), 512, 1.0)
    icfp = lab.make_plan("ratio", lab.Options(style="a.png", preset="icfp", quick=True))
    assert (icfp.steps, icfp.settings.size, icfp.settings.learning_rate) == ((40,), 128, 0.2)


@pytest.mark.parametrize("name", lab.EXPERIMENTS)
def test_quick_is_at_most_400_iterations_on_small_pictures(name):
    """Its aim is a look within two minutes on two cores, of which an iteration takes about a quarter of a second."""
    pair = {"names": ("scream",), "pictures": ("a.png",)} if name == "compare" else {}
    style = {} if name in ("compare", "features") else {"style": "a.png"}
    plan = lab.make_plan(name, lab.Options(quick=True, **pair, **style))
    runs = {
        "ratio": len(plan.ratios),
        "train-ratio": len(plan.weights),
        "optimizers": len(plan.optimizers),
        "features": len(plan.layers),
        "reconstruct": len(plan.layers) + len(plan.settings.style_layers),
        "compare": len(plan.pairs),
        "augment": 6,
    }
    assert plan.settings.size == 128 and 0 < runs[name] * plan.steps[-1] <= 400


def test_the_documents_optimizers():
    plan = lab.make_plan("optimizers", lab.Options(style="a.png"))
    assert plan.optimizers == (
        ("adam", 0.02), ("rmsprop", 0.02), ("rmsprop", 0.001), ("adagrad", 0.02), ("adagrad", 0.1), ("lbfgs", 1.0)
    )  # fmt: skip
    assert plan.steps == (250, 500, 2500)
    assert plan.settings == optimize.preset("mloa", size=256, steps=2500, pyramid=False, device="auto")
    named = lab.make_plan("optimizers", lab.Options(style="a.png", optimizers="adam:0.5,sgd,adagrad", steps="7,2"))
    assert named.optimizers == (("adam", 0.5), ("sgd", 0.005), ("adagrad", 0.02), ("adagrad", 0.1))
    assert named.steps == (2, 7)


def test_the_documents_weights_of_trainings():
    def pairs(**given):
        return lab.make_plan("train-ratio", lab.Options(style="a.png", **given)).weights

    assert pairs(preset="ucsd") == ((1e10, 1e6), (1e11, 1e6), (1e12, 1e6), (1e11, 1e5), (1e11, 1e7))
    assert pairs(style_weights="1,2") == ((1, 1), (2, 1)) and pairs(content_weights="3") == ((4, 3),)
    assert len(pairs()) == 9 and len(pairs(quick=True)) == 5
    with pytest.raises(UsageError, match="train-ratio knows the preset ucsd, not icfp"):
        pairs(preset="icfp")


def test_optimizers(options, painted, tmp_path):
    given = options(optimizers="adam:0.02,rmsprop:0.001,lbfgs", steps="4,2", preset="mloa")
    experiments.run("optimizers", given, tmp_path / "out")
    rows = rows_of(tmp_path / "out" / "optimizers.csv")
    found = [(row["optimizer"], float(row["learning rate"]), int(row["steps"])) for row in rows]
    tried = [("adam", 0.02), ("rmsprop", 0.001), ("lbfgs", 1.0)]
    assert found == [(*one, steps) for one in tried for steps in (2, 4)]
    for name, rate, steps in found:
        picture = read(tmp_path / "out" / "pictures" / f"{name}-{rate:g}-{steps:05}.png")
        alone = painted(preset="mloa", optimizer=name, learning_rate=rate, steps=steps)
        np.testing.assert_array_equal(picture, alone, err_msg=f"{name} {steps}")
    for row in rows:
        weighted = 1e4 * float(row["content"]) + 1e-2 * float(row["style"]) + float(row["tv"])
        assert float(row["total"]) == pytest.approx(weighted, rel=1e-9) and float(row["tv"]) > 0
    for one, two in zip(rows[::2], rows[1::2], strict=True):
        assert 0 < float(one["seconds"]) < float(two["seconds"])
        assert int(one["evaluations"]) < int(two["evaluations"])
    check_page(tmp_path / "out")
    names = {path.stem for path in (tmp_path / "out" / "pictures").iterdir()}
    assert {"thumbnails", "curve-total", "curve-content", "curve-style", "curve-seconds"} < names


def test_optimizers_are_compared_by_processor_time(options, tmp_path):
    """Whatever else the machine does: a second lost at each iteration is in no figure."""
    given = options(optimizers="adam:0.02", steps="3", preset="mloa")
    experiments.run("optimizers", given, tmp_path / "out", progress=lambda done, total, note: time.sleep(1.0))
    (row,) = rows_of(tmp_path / "out" / "optimizers.csv")
    assert 0 < float(row["seconds"]) < 2
    assert "processor time" in check_page(tmp_path / "out")


def test_a_learning_rate_too_high_is_a_cell(options, tmp_path):
    given = options(optimizers="adam:1e30,adam:0.02", steps="1,3", preset="upes")
    experiments.run("optimizers", given, tmp_path / "out")
    rows = rows_of(tmp_path / "out" / "optimizers.csv")
    assert [row["ended"] for row in rows] == ["not a number after 1"] * 2 + ["done"] * 2
    assert [math.isnan(value) for value in numbers(rows, "total")] == [True, True, False, False]
    text = check_page(tmp_path / "out")
    assert "adam 1e+30, 3 iterations: not a number after 1" in text and "Incomplete" not in text


def test_features(options, photo, fake_vgg, vgg_state, tmp_path):
    experiments.run("features", options(style=None, layers="relu1_1,conv2_2", maps=5), tmp_path / "out")
    rows = rows_of(tmp_path / "out" / "features.csv")
    content = torch.from_numpy(shrunk(photo, 48, 40)).permute(2, 0, 1)[None].float()
    found = perceptual.VGG("vgg16", fake_vgg)(content, ["relu1_1", "conv2_2"])
    for row, (layer, shape) in zip(rows, {"relu1_1": (64, 40, 48), "conv2_2": (128, 20, 24)}.items(), strict=True):
        maps = found[layer][0]
        assert (row["layer"], *(int(row[k]) for k in ("channels", "height", "width"))) == (layer, *shape)
        measured = numbers([row], "minimum") + numbers([row], "mean") + numbers([row], "maximum")
        assert measured == pytest.approx([maps.min().item(), maps.mean().item(), maps.max().item()], rel=1e-4)
        assert float(row["zeros"]) == pytest.approx((maps == 0).float().mean().item())
        silent = sum(int(channel.min() == channel.max()) for channel in maps)
        assert int(row["silent"]) == silent
    assert float(rows[0]["minimum"]) == 0 and float(rows[1]["minimum"]) < 0
    grid = read(tmp_path / "out" / "pictures" / "maps-relu1_1.png")
    assert grid.shape == (2 * 60 + 3, 3 * 72 + 2 * 3, 3)  # five maps of 72 x 60 in three columns
    fifth = Image.fromarray(scaled(found["relu1_1"][0, 4].numpy())).resize((72, 60), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(grid[63:, 75:147, 0], np.asarray(fifth))
    filters = read(tmp_path / "out" / "pictures" / "filters-conv1_1.png")
    weight = vgg_state["features.0.weight"][1].numpy()[::-1].transpose(1, 2, 0)  # the file is for BGR
    np.testing.assert_array_equal(filters[12:72:24, 75 + 12 : 75 + 72 : 24], scaled(weight))
    check_page(tmp_path / "out")


def scaled(values):
    return np.rint((values - values.min()) * (255 / (values.max() - values.min()))).astype(np.uint8)


def test_reconstruct(options, painted, tmp_path):
    experiments.run("reconstruct", options(layers="relu1_1,relu2_2", steps="12", seed=3), tmp_path / "out")
    rows = rows_of(tmp_path / "out" / "reconstruct.csv")
    assert [(row["kind"], row["layers"]) for row in rows] == [
        ("content", "relu1_1"), ("content", "relu2_2"), ("style", "relu1_1"), ("style", "relu1_1 relu2_1")
    ]  # fmt: skip
    common = {"noise": 1.0, "seed": 3, "steps": 12, "style_weight": 1.0}
    for name, layers in {
        "content-relu1_1": ({"relu1_1": 1.0}, {}),
        "style-relu2_1": ({}, STYLE_LAYERS),
    }.items():
        alone = painted(**common, content_layers=layers[0], style_layers=layers[1])
        np.testing.assert_array_equal(read(tmp_path / "out" / "pictures" / f"{name}.png"), alone)
    for row in rows:
        assert float(row["left"]) == pytest.approx(float(row["loss"]) / float(row["start"]))
        assert float(row["left"]) < 0.7
    assert float(rows[0]["psnr"]) > float(rows[2]["psnr"]) + 3  # the content comes back, the style is elsewhere
    check_page(tmp_path / "out")


def test_the_noise_is_that_of_gatys(options, painted, fake_vgg, tmp_path):
    """One step that hardly moves leaves the noise that the losses at the start are of."""
    from rtstyle.export.lab.bench import Bench

    bench = Bench(lab.make_plan("reconstruct", options(seed=5)), tmp_path / "out", lambda *given: None)
    still = painted(noise=1.0, seed=5, optimizer="adam", learning_rate=1e-6, steps=1).astype(float)
    noise = gatys_pictures.noise(bench.shape, bench.settings.seed)[0].permute(1, 2, 0).numpy()
    assert np.abs(noise - still).max() <= 0.51


def test_compare(options, painted, photo, painting, fake_vgg, tmp_path):
    other = save_picture(photograph(6, 60, 70), tmp_path / "other.png")
    given = options(style=None, names=("starry-night", "great-wave"), pictures=(str(painting), str(other)), steps="1,3")
    experiments.run("compare", given, tmp_path / "out")
    rows = rows_of(tmp_path / "out" / "compare.csv")
    assert [(row["style name"], row["method"], row["steps"]) for row in rows] == [
        (style, *method)
        for style in ("starry-night", "great-wave")
        for method in (("photograph", "0"), ("net", "0"), ("gatys", "1"), ("gatys", "3"))
    ]
    content = shrunk(photo, 48, 40)
    net = Stylizer("great-wave", device="cpu")(content)
    np.testing.assert_array_equal(read(tmp_path / "out" / "pictures" / "great-wave-net.png"), net)
    far, apart = losses_by_hand(net, content, shrunk(other, 48, 41), fake_vgg)
    assert (float(rows[5]["content"]), float(rows[5]["style"])) == pytest.approx((far, apart), rel=1e-3)
    assert float(rows[5]["total"]) == pytest.approx(far + 0.1 * apart, rel=1e-3)
    assert rows[4]["psnr"] == "inf" and float(rows[4]["content"]) == 0
    result = read(tmp_path / "out" / "pictures" / "starry-night-gatys-00003.png")
    np.testing.assert_array_equal(result, painted())
    result = read(tmp_path / "out" / "pictures" / "great-wave-gatys-00003.png")
    np.testing.assert_array_equal(result, painted([read(other)]))
    assert float(rows[3]["total"]) < float(rows[2]["total"])  # from the recolored photograph, not the photograph
    assert float(rows[1]["seconds"]) > 0
    check_page(tmp_path / "out")


def test_two_pictures_of_one_style_keep_their_pictures_apart(options, painting, tmp_path):
    other = save_picture(photograph(6, 60, 70), tmp_path / "other.png")
    pictures = (str(painting), str(other))
    experiments.run(
        "compare", options(style=None, names=("scream", "scream"), pictures=pictures, steps="1"), tmp_path / "out"
    )
    rows = rows_of(tmp_path / "out" / "compare.csv")
    assert list(dict.fromkeys(row["style name"] for row in rows)) == ["scream", "scream-2"]
    found = [read(tmp_path / "out" / "pictures" / f"{name}-style.png") for name in ("scream", "scream-2")]
    assert found[0].shape != found[1].shape or (found[0] != found[1]).any()
    check_page(tmp_path / "out")


def test_augment(options, painted, painting, tmp_path):
    experiments.run("augment", options(), tmp_path / "out")
    rows = rows_of(tmp_path / "out" / "augment.csv")
    counts = {"none": 1, "flip": 2, "crops": 5, "scales": 3, "rotations": 4, "all": 11}
    assert {row["augmentation"]: int(row["pictures"]) for row in rows} == counts
    style = shrunk(painting, 39, 48)
    turned = [np.rot90(style, n).copy() for n in range(4)]
    for name, styles in {"none": [style], "flip": [style, style[:, ::-1].copy()], "rotations": turned}.items():
        picture = read(tmp_path / "out" / "pictures" / f"augment-{name}.png")
        np.testing.assert_array_equal(picture, painted(styles))
    none, flip = (read(tmp_path / "out" / "pictures" / f"augment-{n}.png").astype(float) for n in ("none", "flip"))
    assert float(rows[1]["change"]) == pytest.approx(np.sqrt(np.mean((flip - none) ** 2))) and flip.std() > 0
    assert float(rows[0]["change"]) == 0 and min(numbers(rows[1:], "change")) > 0
    check_page(tmp_path / "out")


def test_train_ratio(options, photo, painting, photos_folder, fake_vgg, tmp_path):
    given = options(
        style_weights="1,20", photos=str(photos_folder), seed=4, content_layers="relu2_2", style_layers="relu1_2",
        vgg=None,
    )  # fmt: skip
    experiments.run("train-ratio", given, tmp_path / "out")
    rows = rows_of(tmp_path / "out" / "train-ratio.csv")
    assert numbers(rows, "style weight") == [1, 20] and numbers(rows, "content weight") == [1, 1]
    loss = Loss(content_layers=("relu2_2",), style_layers=("relu1_2",), style_weight=20, content_weight=1, tv_weight=0)
    recipe = Recipe(
        seed=4, steps=3, average=0.99, reference_height=48, loss=loss, stage=[Stage(1.0, 32, 4, 48)],
        style=[Style(name="style", file=painting.name)],
    )  # fmt: skip
    trainer = Trainer(recipe, photos_folder, painting.parent, tmp_path / "run", device="cpu", vgg=fake_vgg)
    last = [trainer.train_step() for _ in range(3)][-1]
    for part in ("total", "content", "style"):
        assert float(rows[1][part]) == pytest.approx(last[part], rel=1e-5)
    content = torch.from_numpy(shrunk(photo, 48, 40))[None]
    net = trainer.averaged_net()
    with torch.no_grad():
        expected = net.stylize(content, net.codes)[0].numpy()
    np.testing.assert_array_equal(read(tmp_path / "out" / "pictures" / "net-20-1.png"), expected)
    text = check_page(tmp_path / "out")
    assert "20 : 1" in text and {p.name for p in (tmp_path / "out").iterdir()} == {
        "report.html", "train-ratio.csv", "pictures"
    }  # fmt: skip


def test_a_training_that_fails_is_a_cell(options, photos_folder, tmp_path):
    given = options(style_weights="1e60,2", photos=str(photos_folder), vgg=None, content_layers=None,
                    style_layers="relu1_2")  # fmt: skip
    given = dataclasses.replace(given, content_layers="relu2_2")
    experiments.run("train-ratio", given, tmp_path / "out")
    rows = rows_of(tmp_path / "out" / "train-ratio.csv")
    assert [row["ended"] for row in rows] == ["not a number after 0", "done"] and rows[0]["style"] == ""
    check_page(tmp_path / "out")


def interrupted_at(step):
    def tell(done, total, note):
        if done == step:
            raise KeyboardInterrupt

    return tell


def test_ctrl_c_keeps_a_report(options, painted, tmp_path):
    with pytest.raises(Interrupted, match=r"what was done is in .*report.html") as told:
        experiments.run("ratio", options(ratios="1,0.1,0.01"), tmp_path / "out", progress=interrupted_at(5))
    assert told.value.exit_code == 130
    rows = rows_of(tmp_path / "out" / "ratio.csv")
    assert [row["ended"] for row in rows] == ["done", "interrupted after 2"]
    np.testing.assert_array_equal(
        read(tmp_path / "out" / "pictures" / "ratio-2.png"), painted(style_weight=10.0, steps=2)
    )
    assert "Incomplete: interrupted" in check_page(tmp_path / "out")


def test_ctrl_c_between_counts(options, tmp_path):
    given = options(optimizers="adam,adagrad:0.1", steps="2,4,6")
    with pytest.raises(Interrupted):
        experiments.run("optimizers", given, tmp_path / "out", progress=interrupted_at(9))
    found = [(row["optimizer"], row["steps"], row["ended"]) for row in rows_of(tmp_path / "out" / "optimizers.csv")]
    done = [("adam", steps, "done") for steps in "246"]
    assert found == [*done, ("adagrad", "2", "done"), ("adagrad", "3", "interrupted after 3")]


def test_ctrl_c_in_a_training(options, photos_folder, tmp_path):
    given = options(style_weights="1,2", photos=str(photos_folder), vgg=None, style_layers="relu1_2")
    with pytest.raises(Interrupted):
        experiments.run("train-ratio", given, tmp_path / "out", progress=interrupted_at(5))
    rows = rows_of(tmp_path / "out" / "train-ratio.csv")
    assert [(row["ended"], len(row["ssim"]) > 0) for row in rows] == [("done", True), ("interrupted after 2", True)]
    assert "Incomplete: interrupted" in check_page(tmp_path / "out")


def test_ctrl_c_before_anything_leaves_no_folder(options, tmp_path, monkeypatch):
    def interrupted(*given, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(optimize, "render", interrupted)
    with pytest.raises(Interrupted, match="before there was any result"):
        experiments.run("augment", options(), tmp_path / "out")
    assert not (tmp_path / "out" / "report.html").exists()


def test_a_report_is_not_replaced_unasked(options, tmp_path):
    given, out = options(style=None, layers="relu1_1"), tmp_path / "out"
    experiments.run("features", given, out)
    before = tree(out)
    with pytest.raises(RtstyleError, match="already holds a report: add `force=True`"):
        experiments.run("features", dataclasses.replace(given, layers="relu1_2"), out)
    assert tree(out) == before
    experiments.run("features", dataclasses.replace(given, layers="relu1_2"), out, force=True)
    assert [row["layer"] for row in rows_of(out / "features.csv")] == ["relu1_2"]


def test_folders_that_cannot_take_a_report(options, painting, tmp_path):
    given = options(style=None, layers="relu1_1")
    for out, sentence in {
        tmp_path: "already holds other files",
        painting: "is a file: the report needs a folder",
        tmp_path / "no" / "out": "the folder .*no does not exist",
    }.items():
        with pytest.raises(RtstyleError, match=sentence):
            experiments.run("features", given, out)
    with pytest.raises(RtstyleError, match=r"photo.png lies in .*, where the report goes"):
        experiments.run("features", given, tmp_path, force=True)
    assert {path.name for path in tmp_path.iterdir()} == {"photo.png", "painting.png"}


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("ratios", {}, "unknown experiment 'ratios': choose ratio, train-ratio, optimizers"),
        ("ratio", {"ratios": "1,zero"}, "`ratios` takes numbers above 0, such as 100,1,0.01: 'zero' is none"),
        ("ratio", {"ratios": "1,,2"}, "'' is none"),
        ("ratio", {"ratios": "-1"}, "'-1' is none"),
        ("ratio", {"ratios": "1:0"}, "'1:0' is none"),
        ("ratio", {"ratios": "nan"}, "'nan' is none"),
        ("ratio", {"steps": "2,3"}, "lab ratio takes one number of `steps`, not 2"),
        ("ratio", {"steps": "2.5"}, "`steps` takes whole numbers"),
        ("ratio", {"style": None}, "lab ratio needs a STYLE"),
        ("ratio", {"preset": "ucla"}, "unknown preset 'ucla'"),
        ("ratio", {"size": 8}, "size must be at least 32"),
        ("ratio", {"layers": "relu1_1"}, "`layers` goes with lab features or reconstruct, not with lab ratio"),
        ("features", {}, "`style` goes with lab ratio or train-ratio or"),
        ("features", {"style": None, "layers": "pool1"}, "'pool1' is no layer"),
        ("features", {"style": None, "maps": 0}, "`maps` needs a number from 1 on"),
        ("augment", {"photos": "x"}, "`photos` goes with lab train-ratio"),
        ("optimizers", {"optimizers": "adan"}, "unknown optimizer 'adan': choose lbfgs, adam"),
        ("optimizers", {"optimizers": "adam:fast"}, "the learning rate of adam takes numbers above 0"),
        ("compare", {"style": None}, "needs pairs of `names` and `pictures`"),
        ("compare", {"style": None, "names": ("a", "b"), "pictures": ("c",)}, "needs pairs"),
        ("train-ratio", {"style_weights": "0", "style_layers": None}, "`style_weights` takes numbers above 0"),
        ("train-ratio", {}, "have no weights of their own"),
    ],
)
def test_what_can_never_work(name, changes, sentence, options, tmp_path):
    with pytest.raises(UsageError, match=re.escape(sentence)):
        experiments.run(name, options(**changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("ratio", {"style": "nowhere.png"}, "nowhere.png does not exist"),
        ("ratio", {"content": "nowhere.png"}, "nowhere.png does not exist"),
        ("ratio", {"weights": "nowhere.pth"}, "weights nowhere.pth do not exist"),
        ("ratio", {"device": "cuda:77"}, "torch finds no device cuda:77"),
        ("features", {"style": None, "layers": "relu4_1"}, "ends before relu4_1"),
        ("compare", {"style": None, "names": ("nobody",), "pictures": ("painting.png",)}, "nobody"),
        ("compare", {"style": None, "names": ("irises",), "pictures": ("nowhere.png",)}, "nowhere.png does not exist"),
    ],
)
def test_inputs_that_are_refused(name, changes, sentence, options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RtstyleError, match=sentence):
        experiments.run(name, options(**changes), tmp_path / "out")
    assert not (tmp_path / "out" / "report.html").exists()


def test_transparent_styles_are_refused(options, tmp_path):
    rgba = np.dstack([photograph(2, 48, 48), np.full((48, 48), 200, np.uint8)])
    path = save_picture(rgba, tmp_path / "glass.png")
    with pytest.raises(RtstyleError, match=r"glass.png is transparent in places"):
        experiments.run("ratio", options(style=str(path)), tmp_path / "out")


def test_a_failure_half_way_keeps_what_was_done(options, tmp_path, monkeypatch):
    real, calls = optimize.render, []

    def failing(*given, **more):
        calls.append(given)
        if len(calls) == 2:
            raise RtstyleError("the disk is full")
        return real(*given, **more)

    monkeypatch.setattr(optimize, "render", failing)
    with pytest.raises(RtstyleError, match="the disk is full"):
        experiments.run("ratio", options(ratios="1,0.1"), tmp_path / "out")
    assert len(rows_of(tmp_path / "out" / "ratio.csv")) == 1
    assert "Incomplete: the disk is full" in check_page(tmp_path / "out")


def test_an_experiment_reports_on_the_way(tmp_path):
    now = 0.0
    report = Report("title", "method", tmp_path / "out", clock=lambda: now)
    page, grey = tmp_path / "out" / "report.html", np.zeros((9, 9, 3), np.uint8)
    table = report.table("numbers", ("a",))
    report.picture("photograph", grey, "what it is made from")
    assert not page.exists()  # no result yet
    table.add(a=1.5)
    report.picture("one", grey, "first")
    assert "Incomplete" in check_page(tmp_path / "out") and "first" in page.read_text()
    now = SAVE_SECONDS - 1
    report.picture("two", grey, "<second>")
    assert "second" not in page.read_text()
    now = 2 * SAVE_SECONDS
    table.add(a=2.5)
    report.picture("three", grey, "third")
    assert "&lt;second&gt;" in check_page(tmp_path / "out")
    assert rows_of(tmp_path / "out" / "numbers.csv") == [{"a": "1.5"}, {"a": "2.5"}]


def test_a_crash_leaves_no_half_table(tmp_path):
    class Broken(dict):
        def get(self, key):
            raise MemoryError

    write_csv(Table("t", ("a",), rows=[{"a": 1}]), tmp_path / "t.csv")
    before = tree(tmp_path)
    with pytest.raises(MemoryError):
        write_csv(Table("t", ("a",), rows=[{"a": 2}] * 9999 + [Broken()]), tmp_path / "t.csv")
    assert tree(tmp_path) == before


def test_the_command(call, photo, painting, fake_vgg, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = ("--photo", photo, "--network", "vgg16", "--vgg", fake_vgg, "--size", 48, "--steps", 2, "--device", "cpu")
    layers = ("--content-layers", "relu2_2", "--style-layers", "relu1_1")
    code, out, err = call("lab", "ratio", painting, *given, *layers, "--ratios", "1,0.1")
    assert (code, out.strip()) == (0, "lab-ratio/report.html".replace("/", re.sub("a|b", "", "a/b"))), err
    assert "4/4 steps" in err
    code, out, err = call("lab", "ratio", painting, *given, *layers)
    assert code == 1 and err.strip() == (
        "rtstyle: lab-ratio already holds a report: add --force to replace it, or give another --out"
    )
    assert call("lab", "ratio", painting, *given, *layers, "--ratios", "1", "--force", "-q")[::2] == (0, "")
    assert call("lab", "rations", painting)[0] == 2


OWN = {  # words of the options that belong to an experiment, and what they become
    "ratio": (["s.png", "--ratios", "1,2"], {"style": "s.png", "ratios": "1,2"}),
    "train-ratio": (
        ["s.png", "--style-weights", "3", "--content-weights", "4", "--photos", "p"],
        {"style": "s.png", "style_weights": "3", "content_weights": "4", "photos": "p"},
    ),
    "optimizers": (["s.png", "--optimizers", "adam"], {"style": "s.png", "optimizers": "adam"}),
    "features": (["--layers", "relu1_2", "--maps", 5], {"layers": "relu1_2", "maps": 5}),
    "reconstruct": (["s.png", "--layers", "relu1_2"], {"style": "s.png", "layers": "relu1_2"}),
    "compare": (
        ["--style", "a", "--picture", "a.png", "--style", "b", "--picture", "b.png", "--model", "m.onnx"],
        {"names": ("a", "b"), "pictures": ("a.png", "b.png"), "model": "m.onnx"},
    ),
    "augment": (["s.png"], {"style": "s.png"}),
}


@pytest.mark.parametrize("name", lab.EXPERIMENTS)
def test_every_flag_reaches_the_options(call, monkeypatch, name):
    seen = {}
    monkeypatch.setattr(experiments, "run", lambda *given, **more: seen.update(given=given, more=more))
    monkeypatch.setattr(lab, "make_plan", lambda *given: None)
    flags = {
        "content": "c.png", "preset": "icfp", "size": 64, "steps": "9", "vgg": "vgg16", "weights": "w.pth",
        "convention": "oxford", "content_layers": "relu2_2", "style_layers": "relu1_1", "seed": 8, "device": "cpu",
    }  # fmt: skip
    names = {"content": "photo", "vgg": "network", "weights": "vgg", "convention": "vgg-convention"}
    words = [w for key, v in flags.items() for w in (f"--{names.get(key, key.replace('_', '-'))}", v)]
    own, meant = OWN[name]
    code, _, err = call("lab", name, *own, *words, "--quick", "--force", "--out", "o")
    assert code == 0, err
    expected = lab.Options(**flags, **meant, quick=True)
    assert seen["given"] == (name, expected, "o") and seen["more"]["force"] is True


def test_every_option_has_a_flag():
    shared = ["content", "preset", "size", "steps", "vgg", "weights", "convention", "seed", "device", "quick"]
    shared += ["content_layers", "style_layers"]
    own = [key for _, meant in OWN.values() for key in meant]
    assert {field.name for field in dataclasses.fields(lab.Options)} == {*shared, *own}


def test_without_the_training_packages_one_sentence_says_so(call, painting, monkeypatch):
    real = importlib.util.find_spec
    gone = ("torch", "jinja2")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name in gone else real(name, *more))
    code, out, err = call("lab", "ratio", painting)
    assert (code, out) == (1, "")
    assert err.strip() == "rtstyle: rtstyle lab needs torch, jinja2: pip install '.[train]' in rtstyle's folder"
