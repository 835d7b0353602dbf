"""Recipes: what is read, what is refused, and what follows from it step by step."""

import dataclasses

import pytest

torch = pytest.importorskip("torch")

from support.helpers import with_loss  # noqa: E402

from rtstyle.errors import RtstyleError  # noqa: E402
from rtstyle.export import networks  # noqa: E402
from rtstyle.export.encoder_recipe import EncoderRecipe, is_encoder_recipe  # noqa: E402
from rtstyle.export.recipe import Loss, Recipe, Stage  # noqa: E402

pytest_plugins = ["support.training_fixtures"]


@pytest.mark.parametrize("change", [{"balance": -1.0}, {"balance": 5.0, "absolute": True}])
def test_a_balance_out_of_range_is_refused(recipe, change):
    with pytest.raises(RtstyleError, match="balance"):
        with_loss(recipe, **change).check("it")


def test_style_scales_go_to_a_32nd_of_the_smallest_crop(recipe):
    large = dataclasses.replace(recipe, stage=[dataclasses.replace(recipe.stage[0], crop=crop) for crop in (128, 96)])
    with_loss(large, style_scales=(1, 2, 3)).check("it")
    with pytest.raises(RtstyleError, match="style_scales out of range"):
        with_loss(large, style_scales=(1, 4)).check("it")


def test_recipe_is_read(recipe):
    assert (recipe.body, recipe.seed, recipe.steps, recipe.reference_height) == ("live", 3, 30, 64)
    assert [stage.crop for stage in recipe.stage] == [32, 40]
    assert [(style.name, style.weight) for style in recipe.style] == [("waves", None), ("bricks", 5.0)]
    assert recipe.style[0].info() == {
        "name": "waves",
        "title": "Waves",
        "artist": "N. Umpy",
        "year": "2024",
        "licence": "public domain",
        "source": "",
    }


def changed(old, new):
    def change(text):
        assert old in text
        return text.replace(old, new, 1)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    (
        (changed("seed = 3", "sed = 3"), "not understood.*sed"),
        (changed("tv_weight", "tvweight"), "not understood.*tvweight"),
        (changed("batch = 2", "batches = 2"), "not understood.*batches"),
        (changed('file = "bricks.png"', 'file = "bricks.png"\nage = 3'), "not understood.*age"),
        (changed('file = "bricks.png"', ""), "not understood.*file"),
        (changed('file = "bricks.png"', 'file = "bricks.png"\nstructure_factor = 0'), "structure_factor out of range"),
        (changed('file = "bricks.png"', 'file = "bricks.png"\nlight_factor = -1'), "light_factor a number from 0"),
        (lambda text: text[: text.index("[[style]]")], r"names no \[\[style\]\]"),
        (changed('name = "bricks"', 'name = "waves"'), "two styles the same name"),
        (changed('name = "bricks"', 'name = "Red Bricks"'), "'Red Bricks', which cannot be typed .*try red-bricks"),
        (changed("[loss]", "[[loss]]"), r"not understood.*\[loss\], in single brackets"),
        (changed("crop = 32", "crop = 36"), "crop a multiple of 8 from 32"),
        (changed("crop = 32", "crop = 24"), "crop a multiple of 8 from 32"),
        (changed("batch = 2", "batch = 0"), "batch from 1"),
        (changed("share = 0.5", "share = 0"), "share above 0"),
        (changed("share = 0.5", "share = 0.5\nstructure_goal = 0"), "structure_goal above 0"),
        (changed("share = 0.5", "share = 0.5\nstructure_goal = 0.8"), "structure_goal .* without a structure_weight"),
        (changed("style_size = 48", "style_size = 16"), "style_size from 32"),
        (changed("style_size = 48", "style_size = [64, 16]"), "style_size from 32"),
        (changed("style_size = 48", "style_size = []"), "style_size from 32"),
        (changed("style_size = 48", 'style_size = "large"'), "style_size from 32"),
        (changed("[loss]", "[loss]\nidentity_weight = 1.0"), "not understood.*identity_weight"),
        (changed("[loss]", "[loss]\nsymmetric = true"), "not understood.*symmetric"),
        (changed("[loss]", "[loss]\nstyle_scales = [1, 2]"), "style_scales out of range"),  # crops of 32
        (changed("[loss]", "[loss]\nstyle_scales = [0, 1]"), "style_scales out of range"),
        (changed("[loss]", "[loss]\nstyle_scales = []"), "style_scales out of range"),
        (changed("[loss]", "[loss]\nstyle_scales = 2"), "style_scales out of range"),
        (changed("crop = 32", "crop = 32\nstyle_factor = 0"), "style_factor, learning_rate and structure_goal above 0"),
        (
            changed("crop = 32", "crop = 32\nlearning_rate = -1e-3"),
            "learning_rate a number from 0, not -0.001",
        ),
        (
            changed("crop = 32", "crop = 32\nlearning_rate = 0"),
            "style_factor, learning_rate and structure_goal above 0",
        ),
        (changed("crop = 32", 'crop = 32\nstyle_factor = "more"'), "style_factor a number from 0"),
        (changed("[[stage]]", '[teacher]\nmodel = "studio"\n\n[[stage]]'), "not understood.*teacher"),
        (changed("steps = 30", "steps = 0"), "needs steps"),
        (changed("learning_rate = 3e-3", "learning_rate = 0"), "needs steps, a learning rate"),
        (changed('body = "live"', 'body = "huge"'), "choose from live, studio, johnson"),
        (changed("steps = 30", 'steps = "many"'), "steps a whole number from 0, not 'many'"),
        (changed("crop = 32", 'crop = "large"'), "crop a whole number from 0"),
        (changed("weight = 5.0", "weight = -3"), "weight a number from 0, not -3"),
        (changed("weight = 5.0", "weight = 0"), "a weight that is not above 0"),
        (changed("[loss]", "[loss]\npalette_weight = true"), "palette_weight a number from 0, not True"),
        (changed('vgg = "vgg16"', 'vgg = "vgg13"'), "vgg 'vgg13': choose from vgg16, vgg19"),
        (changed('repeat_layer = "relu2_2"', 'repeat_layer = "relu9_9"'), "vgg16 has no layer 'relu9_9'"),
        (changed("reference_height = 64", "reference_height = 0"), "a reference_height from 16"),
        (changed('content_layers = ["relu2_2"]', "content_layers = []"), "at least one of content_layers"),
        (
            changed("reference_height = 64", "reference_height = 64.0"),
            "reference_height a whole number from 0, not 64.0",
        ),
        (changed("seed = 3", "seed = 1.5"), "seed a whole number"),
        (changed("average = 0.9", "average = nan"), "average a number from 0, not nan"),
        (changed("style_size = 48", "style_size = [48, 50.5]"), "style_size from 32"),
        (changed("repeat_shifts = [2]", "repeat_shifts = 2"), "repeat_shifts out of range"),
        (changed("repeat_shifts = [2]", "repeat_shifts = [16]"), "from 1 to below 16"),
        (changed("repeat_shifts = [2]", "repeat_shifts = [2]\nstyle_scales = [1, 1.5]"), "style_scales out of range"),
        (changed("dilations = [1, 2]", "dilations = [1, 8]"), "a crop of 32 pixels: its body needs 36"),
        (changed("seed = 3", "seed = "), "not readable TOML"),
        (changed("[[stage]]", "[[stage"), "not readable TOML"),
    ),
)
def test_recipe_that_makes_no_sense_is_refused(tmp_path, toy_recipe_text, change, message):
    path = tmp_path / "odd.toml"
    path.write_text(change(toy_recipe_text))
    with pytest.raises(RtstyleError, match=rf"the recipe .*odd\.toml .*{message}") as caught:
        Recipe.read(path)
    assert "\n" not in str(caught.value)


def test_recipe_that_is_missing_or_no_text_is_refused(tmp_path):
    with pytest.raises(RtstyleError, match=r"the recipe .*gone\.toml does not exist"):
        Recipe.read(tmp_path / "gone.toml")
    (tmp_path / "noise.toml").write_bytes(bytes(range(256)))
    with pytest.raises(RtstyleError, match=r"noise\.toml is not readable TOML"):
        Recipe.read(tmp_path / "noise.toml")
    with pytest.raises(RtstyleError, match="is not readable TOML"):
        Recipe.read(tmp_path)


@pytest.mark.parametrize(
    "config",
    (
        "{ widths = [8] }",
        "{ widths = [8, 16, 16] }",
        "{ width = [8, 16] }",
        '{ widths = ["a", 8] }',
        "{ dilations = [] }",
        '{ dilations = ["far"] }',
        "{ blocks = [1, 5, 2] }",
    ),
)
def test_config_that_builds_no_body_is_refused(tmp_path, toy_recipe_text, config):
    path = tmp_path / "odd.toml"
    path.write_text(changed("{ widths = [8, 12], dilations = [1, 2] }", config)(toy_recipe_text))
    with pytest.raises(RtstyleError, match=r"odd\.toml has a config that makes no live body"):
        Recipe.read(path)


def test_digest_ignores_comments_and_order(tmp_path, toy_recipe_text, recipe):
    path = tmp_path / "same.toml"
    path.write_text("# a comment\n" + toy_recipe_text.replace("seed = 3\nsteps = 30", "steps = 30\nseed = 3"))
    assert Recipe.read(path).digest() == recipe.digest()
    path.write_text(toy_recipe_text.replace("seed = 3", "seed = 4"))
    assert Recipe.read(path).digest() != recipe.digest()


def test_stages_share_the_steps(recipe):
    crops = [recipe.stage_at(step).crop for step in range(recipe.steps)]
    assert crops == [32] * 15 + [40] * 15
    odd = dataclasses.replace(recipe, steps=7, stage=[dataclasses.replace(s, share=1) for s in recipe.stage * 2])
    assert [odd.stage_at(step).crop for step in range(7)] == [32, 32, 40, 40, 32, 32, 40]


def test_learning_rate_warms_up_and_falls():
    recipe = Recipe(steps=1000, learning_rate=2e-3)
    rates = [recipe.learning_rate_at(step) for step in range(1000)]
    assert rates[0] == pytest.approx(2e-3 / 20) and max(rates) == pytest.approx(2e-3)
    peak = rates.index(max(rates))
    assert 15 <= peak <= 21 and rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] == pytest.approx(0.02 * 2e-3, rel=0.05)


def test_a_stage_with_a_learning_rate_of_its_own_has_a_cosine_of_its_own():
    """The stages without one go on as if all of it were theirs; the warm-up is that of the first steps."""
    stages = [Stage(share=0.6), Stage(share=0.3, learning_rate=1e-3), Stage(share=0.1)]
    plain = Recipe(steps=1000, learning_rate=2e-3)
    rates = [dataclasses.replace(plain, stage=stages).learning_rate_at(step) for step in range(1000)]
    defaults = [plain.learning_rate_at(step) for step in range(1000)]
    assert rates[:600] == defaults[:600] and rates[900:] == defaults[900:]
    own = rates[600:900]
    assert own[0] == pytest.approx(1e-3) and own == sorted(own, reverse=True)
    assert own[150] == pytest.approx(1e-3 * (0.02 + 0.98 / 2))
    assert own[-1] == pytest.approx(0.02 * 1e-3, rel=0.05)
    first = dataclasses.replace(plain, stage=[Stage(learning_rate=1e-3)])
    assert [first.learning_rate_at(step) for step in (0, 9, 20)] == pytest.approx([1e-3 / 20, 1e-3 / 2, 1e-3], rel=2e-3)


def test_every_shipped_recipe_is_valid():
    from importlib.resources import files

    shipped = [entry for entry in files("rtstyle.export.recipes").iterdir() if entry.name.endswith(".toml")]
    encoders = [entry for entry in shipped if is_encoder_recipe(entry)]
    assert len(shipped) > len(encoders) == 1
    EncoderRecipe.read(encoders[0])
    for entry in shipped:
        if entry in encoders:
            continue
        recipe = Recipe.read(entry)
        assert networks.build(recipe.body, 1, recipe.config).code_length > 0


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_an_auxiliary_share_out_of_range(share, tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(f'auxiliary_share = {share}\n[[style]]\nname = "a"\nfile = "a.png"\n')
    with pytest.raises(RtstyleError, match="auxiliary_share"):
        Recipe.read(path)


def test_auxiliary_and_other_styles_share_their_names(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text('[[style]]\nname = "a"\nfile = "a.png"\n[[auxiliary]]\nname = "a"\nfile = "b.png"\n')
    with pytest.raises(RtstyleError, match="same name"):
        Recipe.read(path)


def test_earlier_names_of_keys_are_read_and_make_the_same_recipe(tmp_path):
    """A checkpoint knows its recipe by the digest, which the renaming of keys must not change."""
    recipes = []
    for number, auxiliary in enumerate(["practice", "auxiliary"]):
        path = tmp_path / f"{number}.toml"
        path.write_text(
            f'{auxiliary}_share = 0.5\n[[style]]\nname = "a"\nfile = "a.png"\n'
            f'[[{auxiliary}]]\nname = "b"\nfile = "b.png"\n'
        )
        recipes.append(Recipe.read(path))
    old, new = recipes
    assert old == new and new.auxiliary[0].name == "b" and new.auxiliary_share == 0.5
    assert new.digest() == "66e789d1200dbf54e75b0fb779f274c08c3833d40f429b525b2cbbfa0adc0a50"  # as by the earlier names
    assert Loss.from_metadata({"outlier_weight": 7.0, "tv_weight": 2}) == Loss(tv_weight=2), "what has gone is left out"


def test_a_later_key_makes_another_recipe_only_where_it_is_used(recipe):
    plain = recipe.digest()
    for key in ("lattice_weight", "light_weight"):
        setattr(recipe.loss, key, 1.0)
        assert recipe.digest() != plain
        setattr(recipe.loss, key, 0.0)
    assert recipe.digest() == plain
