import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from rtstyle.export import networks  # noqa: E402

BODIES = ("live", "studio")

# Channels of every normalisation, counted by hand from the shape of the body.
NORMALISED = {
    "live": 16 + 48 + 1 * 48 + 112 + 5 * 112 + 2 * 48 + 16,
    "studio": 32 + 64 + 128 + 5 * 2 * 128 + 64 + 32,
}


def frames_like(*shape, seed=0):
    return torch.randint(0, 256, (*shape, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


@pytest.mark.parametrize("name", BODIES)
def test_code_length_is_twice_the_normalised_channels(name):
    body = networks.build(name, styles=3)
    assert body.code_length == 2 * NORMALISED[name] == 2 * sum(body.norm_channels())
    assert body.codes.shape == (3, body.code_length)


@pytest.mark.parametrize("name", BODIES)
def test_every_number_of_a_code_is_used(name, make_body):
    body = make_body(name)
    code = body.codes[0].detach().clone().requires_grad_()
    ops = networks.TorchOps(code, body.stride, body.least)
    body.paint(ops, frames_like(1, 32, 40).permute(0, 3, 1, 2).float()).square().sum().backward()
    assert ops.at == body.code_length
    # a relu may switch one channel off, never a whole layer
    for scale, shift in networks.unpack(body, code.grad):
        assert scale.count_nonzero() > 0 and shift.count_nonzero() > 0


def test_sizes_of_the_bodies():
    count = {name: sum(w.numel() for w in networks.build(name).body_weights().values()) for name in BODIES}
    assert 50_000 < count["live"] < 150_000
    assert count["studio"] == pytest.approx(1.68e6, rel=0.01)


def test_unknown_body_is_refused():
    with pytest.raises(ValueError, match="choose live or studio"):
        networks.build("huge")


@pytest.mark.parametrize("name", BODIES)
def test_pack_undoes_unpack(name, make_body):
    body = make_body(name)
    code = torch.arange(body.code_length, dtype=torch.float32)
    layers = networks.unpack(body, code)
    assert [len(scale) for scale, _ in layers] == [len(shift) for _, shift in layers] == body.norm_channels()
    assert torch.equal(networks.pack(layers), code)
    first = body.norm_channels()[0]
    assert layers[0][0].tolist() == list(range(first)) and layers[0][1].tolist() == list(range(first, 2 * first))


@pytest.mark.parametrize("change", (-1, 1))
def test_unpack_refuses_a_wrong_length(change, make_body):
    body = make_body()
    with pytest.raises(ValueError, match=f"has {body.code_length} numbers"):
        networks.unpack(body, torch.zeros(body.code_length + change))


def test_unpack_refuses_a_whole_code_book(make_body):
    body = make_body(styles=2)
    with pytest.raises(ValueError, match="numbers"):
        networks.unpack(body, body.codes)


def test_norm_scales_and_shifts_as_the_code_says():
    generator = torch.Generator().manual_seed(1)
    x = 5 + 3 * torch.randn(2, 4, 7, 9, generator=generator)
    layers = [(torch.randn(4, generator=generator), torch.randn(4, generator=generator)) for _ in range(2)]
    ops = networks.TorchOps(networks.pack(layers), stride=8, least=24)
    for scale, shift in layers:
        mean, var = x.mean((2, 3), keepdim=True), x.var((2, 3), keepdim=True, unbiased=False)
        wanted = scale.view(1, 4, 1, 1) * (x - mean) / (var + networks.EPS).sqrt() + shift.view(1, 4, 1, 1)
        torch.testing.assert_close(ops.norm(x, 4), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("codes", (1, 3))
@pytest.mark.parametrize("layout", (torch.contiguous_format, torch.channels_last))
def test_instance_norm_is_that_of_torch(codes, layout):
    """Values and gradients, one code for all pictures or one for each."""
    generator = torch.Generator().manual_seed(1)
    x = (40 + 3 * torch.randn(3, 4, 7, 9, generator=generator)).contiguous(memory_format=layout).requires_grad_()
    scale, shift = (torch.randn(codes, 4, 1, 1, generator=generator, requires_grad=True) for _ in range(2))
    got = networks.InstanceNorm.apply(x, scale, shift, 0.1)
    wanted = F.instance_norm(x, eps=0.1) * scale + shift
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
    weights = torch.randn(got.shape, generator=generator)
    ours = torch.autograd.grad((got * weights).sum(), (x, scale, shift))
    theirs = torch.autograd.grad((wanted * weights).sum(), (x, scale, shift))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    doubled = [t.detach().double().requires_grad_() for t in (x, scale, shift)]
    assert torch.autograd.gradcheck(lambda *t: networks.InstanceNorm.apply(*t, 0.1), doubled)


def test_instance_norm_keeps_bf16_and_sums_in_float32():
    x = (100 + torch.randn(1, 2, 64, 64, generator=torch.Generator().manual_seed(1))).bfloat16()
    scale, shift = torch.ones(1, 2, 1, 1), torch.zeros(1, 2, 1, 1)
    with torch.autocast("cpu", torch.bfloat16):
        got = networks.InstanceNorm.apply(x, scale, shift, 1e-3)
    wanted = F.instance_norm(x.float(), eps=1e-3)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), wanted, rtol=0.01, atol=0.01)


def test_peaks_are_what_goes_far_beyond_the_rest():
    """One pixel of 1600 that differs from all others is 40 standard deviations away; waves are not even two."""
    calm = torch.sin(torch.arange(40.0))[:, None].expand(2, 4, 40, 40)
    spike = torch.zeros(2, 4, 40, 40)
    spike[1, 2, 5, 6] = 1000
    peaks = []
    code = networks.pack([(torch.ones(4), torch.zeros(4))] * 2)
    ops = networks.TorchOps(code, stride=8, least=24, peaks=peaks)
    ops.active(calm.contiguous(), 4)
    ops.active(spike, 4)
    assert not peaks[0].any()
    wanted = (1599**0.5 - networks.PEAK) ** 2 / (4 * 1600)
    torch.testing.assert_close(peaks[1], torch.tensor([0.0, wanted]), rtol=1e-3, atol=1e-6)


def test_scaling_keeps_the_contrast_and_gives_a_flat_frame_nothing_or_the_ground_of_the_style():
    code = torch.tensor([2.0, 0.5, 0.3, -0.2])
    x = torch.randn(1, 2, 5, 6, generator=torch.Generator().manual_seed(0))
    wanted = F.relu(x * code[:2, None, None] + code[2:, None, None])
    ground = F.relu(code[2:])[:, None, None]
    for zero in (True, False):
        found = networks.TorchOps(code, 8, 8).scaled(x, 2, zero=zero)
        torch.testing.assert_close(found, wanted - ground if zero else wanted)
        flat = networks.TorchOps(code, 8, 8).scaled(0 * x, 2, zero=zero)
        torch.testing.assert_close(flat, torch.zeros_like(x) if zero else ground.expand_as(x))


@pytest.mark.parametrize(("name", "last"), (("live", 3), ("studio", 2), ("johnson", 0)))
def test_the_layers_behind_the_innermost_blocks_keep_their_contrast(name, last):
    """Normalised there, one patch far out turned everything else down: blots in smooth skies."""
    body = networks.build(name)
    assert body.normalised_layers() == len(body.norm_channels()) - last
    ground = {"live": 1, "studio": 1, "johnson": len(body.norm_channels())}  # how many are not: the last, or all
    assert body.floored_layers() == len(body.norm_channels()) - ground[name]


@pytest.mark.parametrize("name", BODIES)
def test_a_body_tells_its_peaks(name, make_body):
    body, peaks = make_body(name), []
    x = frames_like(3, 32, 40).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        body.codes *= 10
        torch.testing.assert_close(body(x, body.codes[0], peaks), body(x, body.codes[0]))
    assert len(peaks) == body.normalised_layers() > 0
    assert torch.stack(peaks).shape[1] == 3 and torch.stack(peaks).sum() > 0


@pytest.mark.parametrize(("height", "width"), ((3, 3), (5, 8), (9, 4)))
def test_folded_head_is_nearest_resize_then_convolution(height, width):
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(3, 6, 5, 5, generator=generator, dtype=torch.float64)
    x = torch.randn(2, 6, height, width, generator=generator, dtype=torch.float64)
    folded = F.pixel_shuffle(F.conv2d(x, networks.fold_resize(weight)), 2)
    # one pixel of margin in the small grid is two in the large one, where the 5x5 filter needs just these two
    plain = F.conv2d(F.interpolate(F.pad(x, [1] * 4), scale_factor=2, mode="nearest"), weight)
    wanted = plain[:, :, 2:-2, 2:-2]
    assert folded.shape == (2, 3, 2 * (height - 2), 2 * (width - 2)) == wanted.shape
    torch.testing.assert_close(folded, wanted, rtol=1e-12, atol=1e-12)


def test_resize_head_is_in_grey_levels_and_biased():
    generator = torch.Generator().manual_seed(3)
    module = nn.Conv2d(6, 3, 5)
    with torch.no_grad():
        module.weight.normal_(0, 0.1, generator=generator)
        module.bias.normal_(0, 0.5, generator=generator)
        x = torch.randn(1, 6, 8, 10, generator=generator)
        got = networks.TorchOps(torch.zeros(1), 8, 24).resize_head(module, x)
        wanted = F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), module.weight, module.bias)
    torch.testing.assert_close(got, (wanted * 127.5 + 127.5), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", BODIES)
def test_codes_of_a_batch_act_sample_by_sample(name, make_body):
    body = make_body(name, styles=3)
    x = frames_like(3, 40, 48).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        together = body(x, body.codes)
        alone = torch.cat([body(x[i : i + 1], body.codes[i]) for i in range(3)])
        swapped = body(x, body.codes.flip(0))
    torch.testing.assert_close(together, alone, rtol=0, atol=0.05)
    assert (together[0] - swapped[0]).abs().max() > 5


def test_one_code_serves_a_whole_batch(make_body):
    body = make_body(styles=2)
    frames = frames_like(3, 24, 32)
    each = body.codes[1].expand(3, -1)
    assert torch.equal(body.stylize(frames, body.codes[1]), body.stylize(frames, each))


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("size", ((16, 16), (17, 31), (37, 53), (63, 18), (64, 64)))
def test_output_is_as_large_as_the_input(name, size, make_body):
    body = make_body(name)
    painted = body.stylize(frames_like(2, *size), body.codes[0])
    assert painted.shape == (2, *size, 3) and painted.dtype == torch.uint8
    assert painted.float().std() > 1


@pytest.mark.parametrize("name", BODIES)
def test_painted_bytes_are_rounded_and_clamped(name, make_body):
    body = make_body(name)
    frames = frames_like(1, 40, 48)
    with torch.no_grad():
        exact = body(frames.permute(0, 3, 1, 2).float(), body.codes[0]).permute(0, 2, 3, 1)
    painted = body.stylize(frames, body.codes[0]).float()
    assert (exact < 0).any() or (exact > 255).any()
    assert (painted - exact.clamp(0, 255)).abs().max() < 0.501


class Calm(networks.TorchOps):
    """TorchOps that never amplify: the true epsilon multiplies rounding errors of a flat layer by 300, layer after
    layer, and would hide what the padding and the resizing do."""

    def norm(self, x, channels, eps=networks.EPS):
        return super().norm(x, channels, 1.0)


class ZeroPadded(Calm):
    def reflect(self, x, pad):
        return F.pad(x, [pad] * 4)


def paint_flat(body, height, width, ops=Calm):
    """Float planes [3, H', W'] of a painted flat frame."""
    body = body.double()
    frame = torch.full((1, 3, height, width), 90.0, dtype=torch.float64)
    with torch.no_grad():
        return body.paint(ops(body.codes[0], body.stride, body.least), frame)[0]


def unevenness(painted):
    """Largest distance from the colour of the middle, in grey levels."""
    middle = painted[:, painted.shape[1] // 2, painted.shape[2] // 2]
    assert 1 < middle.std() < 100, "the code should colour a flat frame, or this test sees nothing"
    return float((painted - middle.view(3, 1, 1)).abs().max())


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("size", ((16, 16), (96, 128), (101, 75)))
def test_flat_frame_stays_flat_to_its_borders(name, size, make_body):
    assert unevenness(paint_flat(make_body(name, seed=4), *size)) < 1e-6


@pytest.mark.parametrize("name", BODIES)
def test_rounding_does_not_wake_a_flat_frame(name, make_body, monkeypatch):
    """float32 and the true epsilon: what rounding leaves of a flat frame at the stem would be a picture at the end."""
    body = make_body(name, seed=4)
    frames = torch.stack([torch.full((75, 101, 3), level, dtype=torch.uint8) for level in (0, 37, 90, 255)])
    with torch.no_grad():
        body.codes += 0.5 * torch.randn(body.codes.shape, generator=torch.Generator().manual_seed(0))
        assert body.stylize(frames, body.codes[0]).float().std((1, 2)).max() == 0
        monkeypatch.setattr(networks.TorchOps, "from_first", lambda self, x: x)
        assert body.stylize(frames, body.codes[0]).float().std((1, 2)).max() > 1


def test_zero_padding_would_paint_a_frame(make_body):
    """Where what is padded is not zero on a flat frame: before the head of `live`."""
    assert unevenness(paint_flat(make_body("live", seed=4), 96, 128, ZeroPadded)) > 1


def nyquist_share(painted):
    """Largest share of the mean that changes sign from pixel to pixel, over columns, rows and both."""
    height, width = painted.shape[-2:]
    rows, columns = (-1.0) ** torch.arange(height)[:, None], (-1.0) ** torch.arange(width)[None]
    waves = [(painted * wave).mean((-2, -1)).abs() for wave in (rows, columns, rows * columns)]
    return float((torch.stack(waves) / painted.mean((-2, -1)).abs()).max())


@pytest.mark.parametrize("name", BODIES)
def test_flat_frame_gets_no_checkerboard(name, make_body):
    for seed in range(3):
        assert nyquist_share(paint_flat(make_body(name, seed=seed), 96, 96)) < 1e-8


def test_free_subpixel_head_would_fail_the_checkerboard_test(make_body, monkeypatch):
    free = 0.2 * torch.randn(12, 8, 3, 3, generator=torch.Generator().manual_seed(5))
    monkeypatch.setattr(networks, "fold_resize", lambda weight: free.to(weight))
    assert nyquist_share(paint_flat(make_body(), 96, 96)) > 0.01


@pytest.mark.parametrize("name", BODIES)
def test_almost_flat_frame_is_not_blown_up(name, make_body):
    """Noise of one grey level must enter the body as about nothing: the first epsilon is in grey levels."""
    body = make_body(name)
    seen = []

    class Watch(networks.TorchOps):
        def norm(self, x, channels, eps=networks.EPS):
            seen.append(eps)
            return super().norm(x, channels, eps)

        def active(self, x, channels, eps=networks.EPS):
            seen.append(eps)
            return super().active(x, channels, eps)

    with torch.no_grad():
        body.paint(Watch(body.codes[0], body.stride, body.least), torch.full((1, 3, 32, 32), 90.0))
    assert seen[0] == pytest.approx(networks.EPS * 127.5**2)
    assert set(seen[1:]) == {networks.EPS}


def test_digest_names_the_body_and_not_its_styles(make_body):
    body, same = make_body(styles=1, seed=7), make_body(styles=1, seed=7)
    digest = body.body_sha256()
    with torch.no_grad():
        same.codes.add_(1)
    assert same.body_sha256() == digest
    with torch.no_grad():
        same.head.bias[0] += 1e-3
    assert same.body_sha256() != digest
    assert make_body(seed=8).body_sha256() != digest


def test_fresh_codes_follow_the_generator_and_differ():
    books = [networks.build("live", 3, generator=torch.Generator().manual_seed(s)).codes for s in (0, 0, 1)]
    assert torch.equal(books[0], books[1]) and not torch.equal(books[0], books[2])
    assert not torch.equal(books[0][0], books[0][1])
