"""`rtstyle lab`: every experiment at toy size, its figures computed again."""

import dataclasses
import math
import time

import numpy as np
import pytest
from conftest import photograph, save_picture
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("jinja2")

from support.lab_fixtures import STYLE_LAYERS, check_page, losses_by_hand, numbers, read, rows_of, shrunk  # noqa: E402

from rtstyle import Stylizer  # noqa: E402
from rtstyle.export.evaluate.measures import ssim  # noqa: E402
from rtstyle.export.lab import experiments  # noqa: E402
from rtstyle.export.lab import plan as lab  # noqa: E402
from rtstyle.export.recipe import Loss, Recipe, Stage, Style  # noqa: E402
from rtstyle.export.train import Trainer  # noqa: E402
from rtstyle.gatys import pictures as gatys_pictures  # noqa: E402
from rtstyle.perceptual import vgg as perceptual  # noqa: E402

pytest_plugins = ["support.lab_fixtures"]


def test_ratio(lab_options, gatys_painted, lab_photo, lab_painting, fake_vgg, tmp_path):
    reports = []
    report = experiments.run(
        "ratio", lab_options(ratios="1,0.001,1:50"), tmp_path / "out", progress=lambda *given: reports.append(given)
    )
    assert report == tmp_path / "out" / "report.html"
    rows = rows_of(tmp_path / "out" / "ratio.csv")
    assert numbers(rows, "alpha/beta") == [1, 0.001, 0.02]
    assert numbers(rows, "alpha") == [1, 1, 1] and numbers(rows, "beta") == [1, 1000, 50]
    assert [row["ended"] for row in rows] == ["done"] * 3 and [row["steps"] for row in rows] == ["3"] * 3
    content, style = shrunk(lab_photo, 48, 40), shrunk(lab_painting, 39, 48)
    pictures = [read(tmp_path / "out" / "pictures" / f"ratio-{n}.png") for n in (1, 2, 3)]
    for row, picture, beta in zip(rows, pictures, (1, 1000, 50), strict=True):
        np.testing.assert_array_equal(picture, gatys_painted(style_weight=float(beta)))
        far, difference = losses_by_hand(picture, content, style, fake_vgg)
        assert float(row["content"]) == pytest.approx(far, rel=1e-3)
        assert float(row["style"]) == pytest.approx(difference, rel=1e-3)
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
    assert reports[-1][:2] == (9, 9) and [done for done, _, _ in reports] == list(range(1, 10))


def test_optimizers(lab_options, gatys_painted, tmp_path):
    given = lab_options(optimizers="adam:0.02,rmsprop:0.001,lbfgs", steps="4,2", preset="mloa")
    experiments.run("optimizers", given, tmp_path / "out")
    rows = rows_of(tmp_path / "out" / "optimizers.csv")
    result = [(row["optimizer"], float(row["learning rate"]), int(row["steps"])) for row in rows]
    tried = [("adam", 0.02), ("rmsprop", 0.001), ("lbfgs", 1.0)]
    assert result == [(*one, steps) for one in tried for steps in (2, 4)]
    for name, rate, steps in result:
        picture = read(tmp_path / "out" / "pictures" / f"{name}-{rate:g}-{steps:05}.png")
        alone = gatys_painted(preset="mloa", optimizer=name, learning_rate=rate, steps=steps)
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


def test_optimizers_are_compared_by_processor_time(lab_options, tmp_path):
    """Whatever else the machine does: a second lost at each iteration is in no figure."""
    given = lab_options(optimizers="adam:0.02", steps="3", preset="mloa")
    experiments.run("optimizers", given, tmp_path / "out", progress=lambda done, total, note: time.sleep(1.0))
    (row,) = rows_of(tmp_path / "out" / "optimizers.csv")
    assert 0 < float(row["seconds"]) < 2
    assert "processor time" in check_page(tmp_path / "out")


def test_a_learning_rate_too_high_is_a_cell(lab_options, tmp_path):
    given = lab_options(optimizers="adam:1e30,adam:0.02", steps="1,3", preset="upes")
    experiments.run("optimizers", given, tmp_path / "out")
    rows = rows_of(tmp_path / "out" / "optimizers.csv")
    assert [row["ended"] for row in rows] == ["not a number after 1"] * 2 + ["done"] * 2
    assert [math.isnan(value) for value in numbers(rows, "total")] == [True, True, False, False]
    text = check_page(tmp_path / "out")
    assert "adam 1e+30, 3 iterations: not a number after 1" in text and "Incomplete" not in text


def test_features(lab_options, lab_photo, fake_vgg, vgg_state, tmp_path):
    experiments.run("features", lab_options(for_features=True, layers="relu1_1,conv2_2", maps=5), tmp_path / "out")
    rows = rows_of(tmp_path / "out" / "features.csv")
    content = torch.from_numpy(shrunk(lab_photo, 48, 40)).permute(2, 0, 1)[None].float()
    result = perceptual.VGG("vgg16", fake_vgg)(content, ["relu1_1", "conv2_2"])
    for row, (layer, shape) in zip(rows, {"relu1_1": (64, 40, 48), "conv2_2": (128, 20, 24)}.items(), strict=True):
        maps = result[layer][0]
        assert (row["layer"], *(int(row[k]) for k in ("channels", "height", "width"))) == (layer, *shape)
        measured = numbers([row], "minimum") + numbers([row], "mean") + numbers([row], "maximum")
        assert measured == pytest.approx([maps.min().item(), maps.mean().item(), maps.max().item()], rel=1e-4)
        assert float(row["zeros"]) == pytest.approx((maps == 0).float().mean().item())
        silent = sum(int(channel.min() == channel.max()) for channel in maps)
        assert int(row["silent"]) == silent
    assert float(rows[0]["minimum"]) == 0 and float(rows[1]["minimum"]) < 0
    grid = read(tmp_path / "out" / "pictures" / "maps-relu1_1.png")
    assert grid.shape == (2 * 60 + 3, 3 * 72 + 2 * 3, 3)  # five maps of 72 x 60 in three columns
    fifth = Image.fromarray(scaled(result["relu1_1"][0, 4].numpy())).resize((72, 60), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(grid[63:, 75:147, 0], np.asarray(fifth))
    filters = read(tmp_path / "out" / "pictures" / "filters-conv1_1.png")
    weight = vgg_state["features.0.weight"][1].numpy()[::-1].transpose(1, 2, 0)  # the file is for BGR
    np.testing.assert_array_equal(filters[12:72:24, 75 + 12 : 75 + 72 : 24], scaled(weight))
    check_page(tmp_path / "out")


def scaled(values):
    return np.rint((values - values.min()) * (255 / (values.max() - values.min()))).astype(np.uint8)


def test_reconstruct(lab_options, gatys_painted, tmp_path):
    experiments.run(
        "reconstruct", lab_options(content_layers=None, layers="relu1_1,relu2_2", steps="12", seed=3), tmp_path / "out"
    )
    rows = rows_of(tmp_path / "out" / "reconstruct.csv")
    assert [(row["kind"], row["layers"]) for row in rows] == [
        ("content", "relu1_1"), ("content", "relu2_2"), ("style", "relu1_1"), ("style", "relu1_1 relu2_1")
    ]  # fmt: skip
    common = {"noise": 1.0, "seed": 3, "steps": 12, "style_weight": 1.0}
    for name, layers in {
        "content-relu1_1": ({"relu1_1": 1.0}, {}),
        "style-relu2_1": ({}, STYLE_LAYERS),
    }.items():
        alone = gatys_painted(**common, content_layers=layers[0], style_layers=layers[1])
        np.testing.assert_array_equal(read(tmp_path / "out" / "pictures" / f"{name}.png"), alone)
    for row in rows:
        assert float(row["left"]) == pytest.approx(float(row["loss"]) / float(row["start"]))
        assert float(row["left"]) < 0.7
    assert float(rows[0]["psnr"]) > float(rows[2]["psnr"]) + 3  # the content comes back, the style is elsewhere
    check_page(tmp_path / "out")


def test_the_noise_is_that_of_gatys(lab_options, gatys_painted, fake_vgg, tmp_path):
    """One step that hardly moves leaves the noise that the losses at the start are of."""
    from rtstyle.export.lab.bench import Bench

    bench = Bench(
        lab.make_plan("reconstruct", lab_options(content_layers=None, seed=5)), tmp_path / "out", lambda *given: None
    )
    still = gatys_painted(noise=1.0, seed=5, optimizer="adam", learning_rate=1e-6, steps=1).astype(float)
    noise = gatys_pictures.noise(bench.shape, bench.settings.seed)[0].permute(1, 2, 0).numpy()
    assert np.abs(noise - still).max() <= 0.51


def test_compare(lab_options, gatys_painted, lab_photo, lab_painting, fake_vgg, tmp_path):
    other = save_picture(photograph(6, 60, 70), tmp_path / "other.png")
    given = lab_options(
        style=None, names=("starry-night", "great-wave"), pictures=(str(lab_painting), str(other)), steps="1,3"
    )
    experiments.run("compare", given, tmp_path / "out")
    rows = rows_of(tmp_path / "out" / "compare.csv")
    assert [(row["style name"], row["method"], row["steps"]) for row in rows] == [
        (style, *method)
        for style in ("starry-night", "great-wave")
        for method in (("photograph", "0"), ("net", "0"), ("gatys", "1"), ("gatys", "3"))
    ]
    content = shrunk(lab_photo, 48, 40)
    net = Stylizer("great-wave", device="cpu")(content)
    np.testing.assert_array_equal(read(tmp_path / "out" / "pictures" / "great-wave-net.png"), net)
    far, difference = losses_by_hand(net, content, shrunk(other, 48, 41), fake_vgg)
    assert (float(rows[5]["content"]), float(rows[5]["style"])) == pytest.approx((far, difference), rel=1e-3)
    assert float(rows[5]["total"]) == pytest.approx(far + 0.1 * difference, rel=1e-3)
    assert rows[4]["psnr"] == "inf" and float(rows[4]["content"]) == 0
    result = read(tmp_path / "out" / "pictures" / "starry-night-gatys-00003.png")
    np.testing.assert_array_equal(result, gatys_painted())
    result = read(tmp_path / "out" / "pictures" / "great-wave-gatys-00003.png")
    np.testing.assert_array_equal(result, gatys_painted([read(other)]))
    assert float(rows[3]["total"]) < float(rows[2]["total"])  # from the recolored photograph, not the photograph
    assert float(rows[1]["seconds"]) > 0
    check_page(tmp_path / "out")


def test_two_pictures_for_one_style_get_results_of_their_own(lab_options, lab_painting, tmp_path):
    other = save_picture(photograph(6, 60, 70), tmp_path / "other.png")
    pictures = (str(lab_painting), str(other))
    experiments.run(
        "compare", lab_options(style=None, names=("scream", "scream"), pictures=pictures, steps="1"), tmp_path / "out"
    )
    rows = rows_of(tmp_path / "out" / "compare.csv")
    assert list(dict.fromkeys(row["style name"] for row in rows)) == ["scream", "scream-2"]
    result = [read(tmp_path / "out" / "pictures" / f"{name}-style.png") for name in ("scream", "scream-2")]
    assert result[0].shape != result[1].shape or (result[0] != result[1]).any()
    check_page(tmp_path / "out")


def test_augment(lab_options, gatys_painted, lab_painting, tmp_path):
    experiments.run("augment", lab_options(), tmp_path / "out")
    rows = rows_of(tmp_path / "out" / "augment.csv")
    counts = {"none": 1, "flip": 2, "crops": 5, "scales": 3, "rotations": 4, "all": 11}
    assert {row["augmentation"]: int(row["pictures"]) for row in rows} == counts
    style = shrunk(lab_painting, 39, 48)
    turned = [np.rot90(style, n).copy() for n in range(4)]
    for name, styles in {"none": [style], "flip": [style, style[:, ::-1].copy()], "rotations": turned}.items():
        picture = read(tmp_path / "out" / "pictures" / f"augment-{name}.png")
        np.testing.assert_array_equal(picture, gatys_painted(styles))
    none, flip = (read(tmp_path / "out" / "pictures" / f"augment-{n}.png").astype(float) for n in ("none", "flip"))
    assert float(rows[1]["change"]) == pytest.approx(np.sqrt(np.mean((flip - none) ** 2))) and flip.std() > 0
    assert float(rows[0]["change"]) == 0 and min(numbers(rows[1:], "change")) > 0
    check_page(tmp_path / "out")


def test_train_ratio(lab_options, lab_photo, lab_painting, photos_folder, fake_vgg, tmp_path):
    given = lab_options(
        style_weights="1,20", photos=str(photos_folder), seed=4, content_layers="relu2_2", style_layers="relu1_2",
        vgg=None,
    )  # fmt: skip
    experiments.run("train-ratio", given, tmp_path / "out")
    rows = rows_of(tmp_path / "out" / "train-ratio.csv")
    assert numbers(rows, "style weight") == [1, 20] and numbers(rows, "content weight") == [1, 1]
    loss = Loss(content_layers=("relu2_2",), style_layers=("relu1_2",), style_weight=20, content_weight=1, tv_weight=0)
    recipe = Recipe(
        seed=4, steps=3, average=0.99, reference_height=48, loss=loss, stage=[Stage(1.0, 32, 4, 48)],
        style=[Style(name="style", file=lab_painting.name)],
    )  # fmt: skip
    trainer = Trainer(recipe, photos_folder, lab_painting.parent, tmp_path / "run", device="cpu", vgg=fake_vgg)
    last = [trainer.train_step() for _ in range(3)][-1]
    for part in ("total", "content", "style"):
        assert float(rows[1][part]) == pytest.approx(last[part], rel=1e-5)
    content = torch.from_numpy(shrunk(lab_photo, 48, 40))[None]
    net = trainer.averaged_net()
    with torch.no_grad():
        expected = net.stylize(content, net.codes)[0].numpy()
    np.testing.assert_array_equal(read(tmp_path / "out" / "pictures" / "net-20-1.png"), expected)
    text = check_page(tmp_path / "out")
    assert "20 : 1" in text and {p.name for p in (tmp_path / "out").iterdir()} == {
        "report.html", "train-ratio.csv", "pictures"
    }  # fmt: skip


def test_a_training_that_fails_is_a_cell(lab_options, photos_folder, tmp_path):
    given = lab_options(style_weights="1e60,2", photos=str(photos_folder), vgg=None, content_layers=None,
                    style_layers="relu1_2")  # fmt: skip
    given = dataclasses.replace(given, content_layers="relu2_2")
    experiments.run("train-ratio", given, tmp_path / "out")
    rows = rows_of(tmp_path / "out" / "train-ratio.csv")
    assert [row["ended"] for row in rows] == ["not a number after 0", "done"] and rows[0]["style"] == ""
    check_page(tmp_path / "out")
