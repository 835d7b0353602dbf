"""The losses against plain loops over the papers' equations, and the weight files against what they say."""

import hashlib
import shutil
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402

from rtstyle.errors import RtstyleError  # noqa: E402
from rtstyle.perceptual import vgg as perceptual  # noqa: E402

# torchvision's own configurations D and E: numbers are convolutions (each with its ReLU), M is a pooling.
TORCHVISION = {
    "vgg16": [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"],
    "vgg19": [64] * 2 + ["M"] + [128] * 2 + ["M"] + [256] * 4 + ["M"] + [512] * 4 + ["M"] + [512] * 4 + ["M"],
}


def some(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_gram(features):
    """Johnson, eq. 3, one sample [C, H, W], as written: a sum over positions for each pair of channels."""
    c, h, w = features.shape
    out = np.zeros((c, c))
    for i in range(c):
        for j in range(c):
            for y in range(h):
                for x in range(w):
                    out[i, j] += features[i, y, x] * features[j, y, x]
    return out / (c * h * w)


def test_gram_is_johnsons_equation_3():
    features = some(2, 3, 4, 5)
    got = perceptual.gram(features)
    for sample in range(2):
        np.testing.assert_allclose(got[sample].numpy(), slow_gram(features[sample].numpy()), rtol=1e-12)


def test_grams_gradient_is_that_of_the_products():
    features = torch.rand(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(perceptual.gram, features)


@pytest.mark.parametrize(("dy", "dx"), ((0, 0), (1, 0), (0, 2), (2, 3)))
def test_shifted_gram_correlates_with_a_distance(dy, dx):
    features = some(2, 3, 5, 6)
    got = perceptual.shifted_gram(features, dy, dx).numpy()
    n, c, h, w = features.shape
    expected = np.zeros((n, c, c))
    for y in range(h - dy):
        for x in range(w - dx):
            expected += np.einsum("ni,nj->nij", features[:, :, y, x], features[:, :, y + dy, x + dx])
    np.testing.assert_allclose(got, expected / (c * (h - dy) * (w - dx)), rtol=1e-12, atol=1e-15)


def test_shifted_gram_sees_what_a_gram_matrix_cannot():
    """Stripes and the same pixels in another order have one Gram matrix; only stripes repeat."""
    stripes = torch.tensor([1.0, -1.0]).repeat(32)[None, None, None].expand(1, 1, 8, 64)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    mixed = stripes[..., order]
    torch.testing.assert_close(perceptual.gram(stripes), perceptual.gram(mixed))
    assert perceptual.shifted_gram(stripes, 0, 2).item() == pytest.approx(1)
    assert abs(perceptual.shifted_gram(mixed, 0, 2).item()) < 0.6


def test_content_loss_is_johnsons_equation_2_and_gatys_equation_1():
    result, expected = some(2, 3, 4, 5), some(2, 3, 4, 5, seed=1)
    got = perceptual.content_loss(result, expected)
    for sample in range(2):
        total = 0.0
        for a, b in zip(result[sample].flatten().tolist(), expected[sample].flatten().tolist(), strict=True):
            total += (a - b) ** 2
        assert got[sample].item() == pytest.approx(total / (3 * 4 * 5), rel=1e-12)
        gatys = 0.5 * total
        assert got[sample].item() * (3 * 4 * 5) / 2 == pytest.approx(gatys, rel=1e-12)


def test_style_loss_is_johnsons_equation_4():
    result, expected = some(2, 3, 4, 5), some(2, 3, 6, 7, seed=1)  # Gram matrices forget the size
    got = perceptual.style_loss(perceptual.gram(result), perceptual.gram(expected))
    for sample in range(2):
        difference = slow_gram(result[sample].numpy()) - slow_gram(expected[sample].numpy())
        assert got[sample].item() == pytest.approx(sum(d * d for d in difference.flatten()), rel=1e-12)


def test_gatys_equations_4_and_5_are_a_quarter_of_the_style_loss():
    """E_l = 1/(4 N^2 M^2) sum (G - A)^2 on sums that are not divided; L_style = sum of w_l E_l."""
    layers = [(some(1, 3, 4, 5), some(1, 3, 4, 5, seed=1)), (some(1, 6, 2, 3, seed=2), some(1, 6, 2, 3, seed=3))]
    weights = (0.5, 0.2)
    gatys = ours = 0.0
    for weight, (result, expected) in zip(weights, layers, strict=True):
        _, n, h, w = result.shape
        m = h * w
        g, a = (slow_gram(f[0].numpy()) * (n * m) for f in (result, expected))
        gatys += weight * ((g - a) ** 2).sum() / (4 * n**2 * m**2)
        ours += weight * perceptual.style_loss(perceptual.gram(result), perceptual.gram(expected)).item() / 4
    assert ours == pytest.approx(gatys, rel=1e-12)


def gradient(loss, x):
    x = x.clone().requires_grad_()
    loss(x).sum().backward()
    return x.grad


def test_content_gradient_is_gatys_equation_2():
    result, expected = some(1, 3, 4, 5), some(1, 3, 4, 5, seed=1)
    got = gradient(lambda x: perceptual.content_loss(x, expected), result) * (3 * 4 * 5) / 2
    torch.testing.assert_close(got, result - expected, rtol=1e-12, atol=1e-14)


def test_style_gradient_is_gatys_equation_6():
    """dE_l/dF = 1/(N^2 M^2) (F^T (G - A))^T with F [N, M], G and A not divided."""
    result, expected = some(1, 3, 4, 5), some(1, 3, 4, 5, seed=1)
    n, m = 3, 20
    got = gradient(lambda x: perceptual.style_loss(perceptual.gram(x), perceptual.gram(expected)) / 4, result)
    f, p = result.reshape(n, m).numpy(), expected.reshape(n, m).numpy()
    by_hand = (f.T @ (f @ f.T - p @ p.T)).T / (n**2 * m**2)
    np.testing.assert_allclose(got.reshape(n, m).numpy(), by_hand, rtol=1e-11)


def test_shifted_gram_has_the_gradient_of_finite_differences():
    target = perceptual.shifted_gram(some(1, 2, 4, 5, seed=1), 1, 2)
    x = some(1, 2, 4, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: perceptual.style_loss(perceptual.shifted_gram(x, 1, 2), target), (x,))


def slow_total_variation(x):
    """Mean of squared differences down plus mean of squared differences across, in units of the full range."""
    c, h, w = x.shape
    down = [(x[i, y + 1, z] - x[i, y, z]) ** 2 for i in range(c) for y in range(h - 1) for z in range(w)]
    across = [(x[i, y, z + 1] - x[i, y, z]) ** 2 for i in range(c) for y in range(h) for z in range(w - 1)]
    return (sum(down) / len(down) + sum(across) / len(across)) / 255**2


def test_total_variation_and_its_gradient():
    x = 40 * some(2, 3, 5, 7)
    got = perceptual.total_variation(x)
    for sample in range(2):
        assert got[sample].item() == pytest.approx(slow_total_variation(x[sample].numpy()), rel=1e-12)
    grad, step = gradient(perceptual.total_variation, x), 1e-3
    for place in ((0, 0, 0), (1, 2, 3), (2, 4, 6)):
        up, down = x[0].numpy().copy(), x[0].numpy().copy()
        up[place] += step
        down[place] -= step
        slope = (slow_total_variation(up) - slow_total_variation(down)) / (2 * step)
        assert grad[0][place].item() == pytest.approx(slope, rel=1e-6)


def test_total_variation_of_a_ramp():
    ramp = torch.arange(0, 100, 10.0).view(1, 1, 1, 10).expand(1, 3, 8, 10)
    assert perceptual.total_variation(ramp).item() == pytest.approx((10 / 255) ** 2)
    assert perceptual.total_variation(torch.full((1, 3, 8, 8), 70.0)).item() == 0


def test_relative_losses_are_zero_for_the_target_and_one_for_nothing():
    target = 3 * some(2, 4, 5, 6)
    zero, one = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    grams = perceptual.gram(target)
    for scale in (1, 1000):  # whatever the size of the numbers
        torch.testing.assert_close(perceptual.relative_content_loss(scale * target, scale * target), zero)
        torch.testing.assert_close(perceptual.relative_content_loss(0 * target, scale * target), one)
        torch.testing.assert_close(perceptual.relative_style_loss(scale * grams, scale * grams), zero)
        torch.testing.assert_close(perceptual.relative_style_loss(0 * grams, scale * grams), one)


def test_symmetric_style_loss_wants_the_artwork_s_strength_whatever_the_angle():
    """r + 1/r - 2 cos for matrices r times as long: smallest at r = 1; the relative loss at r = cos."""
    artwork, other = perceptual.gram(some(1, 4, 5, 6)), perceptual.gram(some(1, 4, 5, 6, seed=1))
    other = other * artwork.norm() / other.norm()
    cosine = float((artwork * other).sum() / artwork.square().sum())
    assert 0.5 < cosine < 0.95
    for ratio in (0.3, cosine, 1.0, 2.0):
        result = float(perceptual.symmetric_style_loss(ratio * other, artwork))
        assert result == pytest.approx(ratio + 1 / ratio - 2 * cosine, rel=1e-6)
        grams = (ratio * other).requires_grad_()
        perceptual.symmetric_style_loss(grams, artwork).sum().backward()
        longer = float((grams.grad * other).sum())
        assert longer == pytest.approx(0, abs=1e-6) if ratio == 1 else (longer > 0) == (ratio > 1)
    assert float(perceptual.symmetric_style_loss(artwork, artwork)) == pytest.approx(0, abs=1e-12)
    grams = (cosine * other).requires_grad_()
    perceptual.relative_style_loss(grams, artwork).sum().backward()
    assert float((grams.grad * other).sum()) == pytest.approx(0, abs=1e-6)


def test_relative_losses_of_nothing_are_finite():
    empty = torch.zeros(1, 2, 3, 3)
    assert torch.isfinite(perceptual.relative_content_loss(empty + 1, empty)).all()
    nothing, something = perceptual.gram(empty), perceptual.gram(empty + 1)
    assert torch.isfinite(perceptual.relative_style_loss(something, nothing)).all()
    assert torch.isfinite(perceptual.symmetric_style_loss(something, nothing)).all()
    assert torch.isfinite(perceptual.symmetric_style_loss(nothing, something)).all()


def test_palette_counts_colours_not_places_nor_grain():
    picture = 255 * some(1, 3, 32, 48).abs().clamp(0, 1)
    squares = picture.unfold(2, 4, 4).unfold(3, 4, 4).flatten(2, 3)  # [1, 3, 96, 4, 4]
    turned = squares[:, :, torch.randperm(96, generator=torch.Generator().manual_seed(0))].unflatten(2, (8, 12))
    turned = turned.permute(0, 1, 2, 4, 3, 5).reshape(picture.shape)
    expected = perceptual.palette(picture)
    assert expected.shape == (1, 13, 1024)
    assert float(perceptual.palette_loss(perceptual.palette(turned), expected)) == pytest.approx(0, abs=1e-9)
    checks = 40 * (-1.0) ** torch.arange(48)
    assert float(perceptual.palette_loss(perceptual.palette(picture + checks), expected)) == pytest.approx(0, abs=1e-9)
    larger = picture.repeat_interleave(2, 2).repeat_interleave(2, 3)  # the same shares of the same colours
    flat = F.avg_pool2d(picture, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert float(perceptual.palette_loss(perceptual.palette(flat), expected)) == pytest.approx(0, abs=1e-9)
    assert float(perceptual.palette_loss(perceptual.palette(larger), expected)) > 1e-5  # means of half as much


@pytest.mark.parametrize(
    ("change", "chroma"), [((30.0, 30.0, 30.0), 1), ((30.0, -30.0, 0.0), 2), ((20.0, -10.0, -10.0), 2)]
)
def test_palette_loss_of_one_colour_moved_is_its_length(change, chroma):
    """13 directions see a third of a vector's squared length in the mean, as the three axes do; hues count twice."""
    moved = torch.tensor(change)[None, :, None, None]
    picture = 255 * some(1, 3, 16, 16).abs().clamp(0, 1)
    result = float(perceptual.palette_loss(perceptual.palette(picture + moved), perceptual.palette(picture)))
    assert result == pytest.approx((chroma * moved / 255).square().sum().item() / 3, rel=1e-4)


def test_palette_loss_draws_colours_to_the_artwork_s():
    artwork = torch.tensor([200.0, 150.0, 30.0])[None, :, None, None].expand(1, 3, 16, 16)
    expected = perceptual.palette(artwork)
    picture = torch.full((2, 3, 16, 24), 90.0, requires_grad=True)
    loss = perceptual.palette_loss(perceptual.palette(picture), expected)
    assert loss.shape == (2,)
    loss.sum().backward()
    assert (picture.grad[:, 0] < 0).all() and (picture.grad[:, 2] > 0).all()  # redder, less blue
    with torch.no_grad():
        assert perceptual.palette_loss(perceptual.palette(picture - 1e5 * picture.grad), expected).max() < loss.max()


def test_narrow_features_give_float32_losses():
    features = some(1, 4, 8, 8).to(torch.bfloat16)
    assert perceptual.gram(features).dtype == perceptual.shifted_gram(features, 1, 0).dtype == torch.float32
    assert perceptual.content_loss(features, features).dtype == torch.float32
    exact = perceptual.gram(features.double())
    torch.testing.assert_close(perceptual.gram(features).double(), exact, rtol=0.02, atol=2e-3)


def names_of(arch):
    """(name, position in torchvision's `features`) of every convolution and ReLU, from the configuration."""
    index, stage, number = 0, 1, 0
    for item in TORCHVISION[arch]:
        if item == "M":
            index, stage, number = index + 1, stage + 1, 0
        else:
            number += 1
            yield f"conv{stage}_{number}", index
            yield f"relu{stage}_{number}", index + 1
            index += 2


@pytest.mark.parametrize("arch", TORCHVISION)
def test_layer_index_follows_torchvision(arch):
    for name, position in names_of(arch):
        assert perceptual.layer_index(arch, name) == position, name


def test_layer_index_of_well_known_layers():
    known = {("vgg16", "relu3_3"): 15, ("vgg16", "relu4_3"): 22, ("vgg19", "conv4_2"): 21, ("vgg19", "conv5_1"): 28}
    assert {key: perceptual.layer_index(*key) for key in known} == known


@pytest.mark.parametrize("layer", ("conv3_4", "conv6_1", "conv0_1", "conv1_0", "pool1_1", "relu", "conv1", "conv1_1_1"))
def test_layer_that_is_not_there_is_refused(layer):
    with pytest.raises(RtstyleError, match=r"vgg16 has no layer .*relu5_3"):
        perceptual.layer_index("vgg16", layer)


def plain_vgg(state, x, arch, last, pooling):
    """Features of every layer up to `last`, walking through torchvision's configuration."""
    result = {}
    names = iter(list(names_of(arch)))
    for item in TORCHVISION[arch]:
        if item == "M":
            x = pooling(x, 2)
            continue
        name, index = next(names)
        x = F.conv2d(x, state[f"features.{index}.weight"].float(), state[f"features.{index}.bias"].float(), padding=1)
        result[name] = x
        x = torch.relu(x)
        result[next(names)[0]] = x
        if last in result:
            return result


def oxford_input(x):
    """Grey levels RGB to what the Oxford release wants, without the code under test."""
    return x[:, [2, 1, 0]] - torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)


def grey_levels(*shape, seed=0):
    return 255 * torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("pooling", "plain"), (("max", F.max_pool2d), ("average", F.avg_pool2d)))
def test_features_are_those_of_a_plain_vgg(fake_vgg, vgg_state, pooling, plain):
    x = grey_levels(2, 3, 18, 23)
    layers = ("relu1_2", "conv2_1", "relu2_2", "conv1_1")
    result = perceptual.VGG("vgg16", fake_vgg, pooling=pooling)(x, layers)
    expected = plain_vgg(vgg_state, oxford_input(x), "vgg16", "relu2_2", plain)
    assert set(result) == set(layers)
    for layer in layers:
        torch.testing.assert_close(result[layer], expected[layer], rtol=1e-4, atol=1e-4)
    assert result["conv2_1"].min() < 0 <= result["relu2_2"].min()  # conv is before its ReLU


def test_poolings_differ_only_behind_the_first_pooling(fake_vgg):
    x = grey_levels(1, 3, 16, 16)
    a, b = (perceptual.VGG("vgg16", fake_vgg, pooling=p)(x, ("relu1_2", "conv2_1")) for p in ("max", "average"))
    assert torch.equal(a["relu1_2"], b["relu1_2"])
    assert (a["conv2_1"] - b["conv2_1"]).abs().max() > 0.1


def test_gradient_reaches_the_picture_and_weights_are_frozen(fake_vgg):
    vgg = perceptual.VGG("vgg16", fake_vgg)
    x = grey_levels(1, 3, 16, 16).requires_grad_()
    vgg(x, ("relu2_2",))["relu2_2"].sum().backward()
    assert x.grad.abs().sum() > 0
    assert not any(t.requires_grad for pair in vgg._convs.values() for t in pair)


def test_preprocessing_of_a_known_pixel(write_vgg):
    pixel = torch.tensor([255.0, 128.0, 0.0]).view(1, 3, 1, 1)
    path = write_vgg("silent_pixel.safetensors", metadata=None)
    oxford = perceptual.VGG("vgg16", path, convention="oxford").preprocess(pixel).flatten().tolist()
    assert oxford == pytest.approx([0 - 103.939, 128 - 116.779, 255 - 123.68], abs=1e-4)
    torchvision = perceptual.VGG("vgg16", path, convention="torchvision").preprocess(pixel).flatten().tolist()
    # the numbers of torchvision's documentation, on 0 to 1
    expected = [(1 - 0.485) / 0.229, (128 / 255 - 0.456) / 0.224, (0 - 0.406) / 0.225]
    assert torchvision == pytest.approx(expected, abs=1e-4)


def test_convention_is_read_from_the_metadata(fake_vgg, write_vgg):
    assert perceptual.VGG("vgg16", fake_vgg).convention == "oxford"
    rgb = {"channel_order": "RGB", "mean_rgb": "0.485,0.456,0.406", "input_range": "0-1"}
    assert perceptual.VGG("vgg16", write_vgg("rgb.safetensors", rgb)).convention == "torchvision"


@pytest.mark.parametrize(
    "metadata",
    (
        None,
        {"channel_order": "BGR"},
        {"channel_order": "BGR", "mean_bgr": "103.939,116.779,123.68", "input_range": "0-1"},
        {"channel_order": "RGB", "mean_rgb": "0.5,0.5,0.5", "input_range": "0-1"},
    ),
)
def test_unknown_convention_is_never_guessed(write_vgg, metadata):
    path = write_vgg("unknown.safetensors", metadata)
    with pytest.raises(RtstyleError, match="`vgg_convention='torchvision'`"):
        perceptual.VGG("vgg16", path)
    assert perceptual.VGG("vgg16", path, convention="torchvision").convention == "torchvision"


def test_option_that_contradicts_the_file_is_refused(fake_vgg):
    with pytest.raises(RtstyleError, match="follows the oxford convention, not torchvision"):
        perceptual.VGG("vgg16", fake_vgg, convention="torchvision")
    assert perceptual.VGG("vgg16", fake_vgg, convention="oxford").convention == "oxford"


def test_unknown_words_are_refused(fake_vgg):
    with pytest.raises(RtstyleError, match="choose torchvision or oxford"):
        perceptual.VGG("vgg16", fake_vgg, convention="caffe")
    with pytest.raises(RtstyleError, match="choose vgg16 or vgg19"):
        perceptual.VGG("vgg11", fake_vgg)


def test_pth_files_with_a_classifier_are_read(tmp_path, vgg_state, fake_vgg):
    path = tmp_path / "vgg16-own.pth"
    torch.save(vgg_state | {"classifier.0.weight": torch.zeros(4, 4)}, path)
    x = grey_levels(1, 3, 16, 16)
    got = perceptual.VGG("vgg16", path, convention="oxford")(x, ("relu2_2",))["relu2_2"]
    assert torch.equal(got, perceptual.VGG("vgg16", fake_vgg)(x, ("relu2_2",))["relu2_2"])


def test_layer_behind_the_cut_says_so(fake_vgg):
    with pytest.raises(RtstyleError, match=r"fake_vgg16\.safetensors ends before relu3_1"):
        perceptual.VGG("vgg16", fake_vgg)(grey_levels(1, 3, 16, 16), ("relu1_1", "relu3_1"))


def test_vgg19_is_not_taken_for_vgg16(write_vgg):
    """Both begin alike; from conv3_4 on a VGG-19 has weights where VGG-16 has a pooling."""
    widths = [(64, 3), (64, 64), (128, 64), (128, 128), (256, 128), (256, 256), (256, 256), (256, 256)]
    path = write_vgg(
        "vgg19_to_conv3_4.safetensors", shapes=dict(zip((0, 2, 5, 7, 10, 12, 14, 16), widths, strict=True))
    )
    assert perceptual.VGG("vgg19", path).arch == "vgg19"
    with pytest.raises(RtstyleError, match="is not vgg16"):
        perceptual.VGG("vgg16", path)


def test_other_shapes_are_refused(write_vgg):
    path = write_vgg("thin.safetensors", shapes={0: (64, 3), 2: (32, 64)})
    with pytest.raises(RtstyleError, match=r"thin.safetensors is not vgg16: conv1_2 has shape \(32, 64, 3, 3\)"):
        perceptual.VGG("vgg16", path)


def test_weights_that_are_not_numbers_are_refused(write_vgg, vgg_state):
    broken = {name: weight.clone() for name, weight in vgg_state.items()}
    broken["features.5.weight"][0, 0, 0, 0] = float("nan")
    path = write_vgg("nan.safetensors", state=broken)
    with pytest.raises(RtstyleError, match=r"nan\.safetensors is damaged: conv2_1"):
        perceptual.VGG("vgg16", path)


@pytest.mark.parametrize("kept", (0.5, 0.0001))
def test_truncated_file_is_refused_by_name(tmp_path, fake_vgg, kept):
    path = tmp_path / "short.safetensors"
    shutil.copy(fake_vgg, path)
    with open(path, "r+b") as file:
        file.truncate(int(path.stat().st_size * kept))
    with pytest.raises(RtstyleError, match=r"short\.safetensors is not a readable weight file"):
        perceptual.VGG("vgg16", path)


@pytest.mark.parametrize("name", ("page.safetensors", "page.pth"))
@pytest.mark.parametrize("content", ("<html>404 not found</html>\n" * 40, ""))
def test_text_and_empty_files_are_refused(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(RtstyleError, match=rf"{name} is not a readable weight file") as caught:
        perceptual.VGG("vgg16", path)
    assert "\n" not in str(caught.value)


def test_other_networks_are_refused(tmp_path):
    path = tmp_path / "resnet.pth"
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, path)
    with pytest.raises(RtstyleError, match="holds no VGG features"):
        perceptual.VGG("vgg16", path)


def test_missing_paths_say_where_they_came_from(tmp_path, monkeypatch):
    with pytest.raises(RtstyleError, match=r"nowhere\.pth do not exist") as caught:
        perceptual.VGG("vgg16", tmp_path / "nowhere.pth")
    assert "RTSTYLE" not in str(caught.value)
    monkeypatch.setenv("RTSTYLE_VGG19", str(tmp_path / "gone.pth"))
    with pytest.raises(RtstyleError, match=r"gone\.pth \(from RTSTYLE_VGG19\) do not exist"):
        perceptual.VGG("vgg19")


def test_environment_variable_finds_the_weights(fake_vgg, tmp_path, monkeypatch):
    monkeypatch.setenv("RTSTYLE_VGG16", str(fake_vgg))
    assert perceptual.VGG("vgg16").path == fake_vgg
    # a path that is given counts more
    other = tmp_path / "other.safetensors"
    shutil.copy(fake_vgg, other)
    assert perceptual.VGG("vgg16", other).path == other


def test_without_weights_and_torchvision_the_error_names_the_remedy(monkeypatch):
    monkeypatch.delenv("RTSTYLE_VGG16", raising=False)
    monkeypatch.setitem(sys.modules, "torchvision.models", None)  # as if it were not installed
    with pytest.raises(RtstyleError, match="`vgg` or RTSTYLE_VGG16"):
        perceptual.VGG("vgg16")


def test_sha256_is_that_of_the_file(fake_vgg):
    assert perceptual.VGG("vgg16", fake_vgg).sha256 == hashlib.sha256(fake_vgg.read_bytes()).hexdigest()


def known_by_digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest() in perceptual.KNOWN


@pytest.mark.parametrize(("arch", "last"), (("vgg16", "relu4_3"), ("vgg19", "conv5_1")))
def test_real_weights(arch, last, request, tmp_path):
    path = request.getfixturevalue(f"{arch}_path")
    if not known_by_digest(path):
        pytest.skip(f"{path.name} is none of the files known by digest")
    other = {"vgg16": "vgg19", "vgg19": "vgg16"}[arch]
    with pytest.raises(RtstyleError, match=f"is {arch}, but {other} is needed"):
        perceptual.VGG(other, path)
    vgg = perceptual.VGG(arch, path)
    if vgg.convention == "oxford":
        with pytest.raises(RtstyleError, match="leave `vgg_convention` out"):
            perceptual.VGG(arch, path, convention="torchvision")
        x = grey_levels(1, 3, 32, 40)
        state, _, _ = perceptual.read_weights(path, arch)
        expected = plain_vgg(state, oxford_input(x), arch, last, F.max_pool2d)[last]
        got = vgg(x, (last,))[last]
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())


def test_digest_alone_identifies_a_real_file(vgg16_path, tmp_path, monkeypatch):
    """Without what the metadata say, the digest still tells the convention."""
    if not known_by_digest(vgg16_path):
        pytest.skip("not one of the files known by digest")
    monkeypatch.setattr(perceptual, "stated_convention", lambda metadata: None)
    link = tmp_path / "renamed.safetensors"
    link.symlink_to(vgg16_path.resolve())
    assert perceptual.VGG("vgg16", link).convention == "oxford"
