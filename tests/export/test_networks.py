import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402

from rtstyle.export import networks, operations  # noqa: E402

BODIES = ("live", "studio")

# Channels of every normalisation, counted by hand from the shape of the body.
NORMALISED = {
    "live": 16 + 32 + 32 + 6 * 32 + 2 * 16 + 3,
    "studio": 24 + 64 + 64 + 12 * 64 + 2 * 24 + 3,
    "johnson": 32 + 64 + 128 + 5 * 2 * 128 + 64 + 32,
}


def frames_like(*shape, seed=0):
    return torch.randint(0, 256, (*shape, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def planes_like(*shape, seed=0):
    return frames_like(*shape, seed=seed).permute(0, 3, 1, 2).float()


def layers_of(body, code):
    """(scale, shift) of every normalisation, in the order of `norm_channels`."""
    parts = code.split([c for c in body.norm_channels() for _ in range(2)])
    return list(zip(parts[::2], parts[1::2], strict=True))


CANVAS_LAYER = 2  # after the stem and the step to a quarter


def without_canvas(body):
    """The body with a canvas that paints nothing in any style."""
    with torch.no_grad():
        for code in body.codes:
            for part in layers_of(body, code)[CANVAS_LAYER]:
                part.zero_()
    return body


@pytest.mark.parametrize("name", NORMALISED)
def test_code_length_is_twice_the_normalised_channels(name):
    body = networks.build(name, styles=3)
    assert body.code_length == 2 * NORMALISED[name] == 2 * sum(body.norm_channels())
    assert body.codes.shape == (3, body.code_length)


@pytest.mark.parametrize("name", BODIES)
def test_every_number_of_a_code_is_used(name, make_body):
    body = make_body(name)
    code = body.codes[0].detach().clone().requires_grad_()
    ops = operations.TorchOps(code, body.stride, body.min_size)
    painted = body.paint(ops, planes_like(1, 32, 40))
    (painted * torch.randn(painted.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
    assert ops.code_index == body.code_length
    # a relu may switch one channel off, never a whole layer
    for scale, shift in layers_of(body, code.grad):
        assert scale.count_nonzero() > 0 and shift.count_nonzero() > 0


def test_sizes_of_the_bodies():
    """Without the canvas, which costs no time: runtimes make it once, at load."""
    count = {
        name: sum(w.numel() for key, w in networks.build(name).body_weights().items() if key != "canvas.tile")
        for name in NORMALISED
    }
    assert 50_000 < count["live"] < 150_000
    assert count["studio"] == pytest.approx(0.48e6, rel=0.01)
    assert count["johnson"] == pytest.approx(1.68e6, rel=0.01)


def test_every_body_paints():
    """With the weights that a fresh body has, of its usual size."""
    for name in NORMALISED:
        body = networks.build(name, generator=torch.Generator().manual_seed(0))
        assert body.stylize(frames_like(1, 17, 30), body.codes[0]).shape == (1, 17, 30, 3)


def test_unknown_body_is_refused():
    with pytest.raises(ValueError, match="choose live or studio"):
        networks.build("huge")


def test_pack_is_the_order_in_which_a_code_lists_its_layers(make_body):
    body = make_body()
    code = torch.arange(body.code_length, dtype=torch.float32)
    layers = layers_of(body, code)
    assert torch.equal(networks.pack(layers), code)
    first = body.norm_channels()[0]
    assert layers[0][0].tolist() == list(range(first)) and layers[0][1].tolist() == list(range(first, 2 * first))


def test_norm_scales_and_shifts_as_the_code_says():
    generator = torch.Generator().manual_seed(1)
    x = 5 + 3 * torch.randn(2, 4, 7, 9, generator=generator)
    layers = [(torch.randn(4, generator=generator), torch.randn(4, generator=generator)) for _ in range(2)]
    ops = operations.TorchOps(networks.pack(layers), stride=8, min_size=24)
    for scale, shift in layers:
        mean, var = x.mean((2, 3), keepdim=True), x.var((2, 3), keepdim=True, unbiased=False)
        expected = scale.view(1, 4, 1, 1) * (x - mean) / (var + operations.EPS).sqrt() + shift.view(1, 4, 1, 1)
        torch.testing.assert_close(ops.norm(x, 4), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("codes", (1, 3))
@pytest.mark.parametrize("layout", (torch.contiguous_format, torch.channels_last))
def test_instance_norm_is_that_of_torch(codes, layout):
    """Values and gradients, one code for all pictures or one for each."""
    generator = torch.Generator().manual_seed(1)
    x = (40 + 3 * torch.randn(3, 4, 7, 9, generator=generator)).contiguous(memory_format=layout).requires_grad_()
    scale, shift = (torch.randn(codes, 4, 1, 1, generator=generator, requires_grad=True) for _ in range(2))
    got = operations.InstanceNorm.apply(x, scale, shift, 0.1)
    expected = F.instance_norm(x, eps=0.1) * scale + shift
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    weights = torch.randn(got.shape, generator=generator)
    ours = torch.autograd.grad((got * weights).sum(), (x, scale, shift))
    theirs = torch.autograd.grad((expected * weights).sum(), (x, scale, shift))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    doubled = [t.detach().double().requires_grad_() for t in (x, scale, shift)]
    assert torch.autograd.gradcheck(lambda *t: operations.InstanceNorm.apply(*t, 0.1), doubled)


def test_instance_norm_keeps_bf16_and_sums_in_float32():
    x = (100 + torch.randn(1, 2, 64, 64, generator=torch.Generator().manual_seed(1))).bfloat16()
    scale, shift = torch.ones(1, 2, 1, 1), torch.zeros(1, 2, 1, 1)
    with torch.autocast("cpu", torch.bfloat16):
        got = operations.InstanceNorm.apply(x, scale, shift, 1e-3)
    expected = F.instance_norm(x.float(), eps=1e-3)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), expected, rtol=0.01, atol=0.01)


@pytest.mark.parametrize(("height", "width"), ((3, 3), (5, 8), (9, 4)))
def test_folded_head_is_nearest_resize_then_convolution(height, width):
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(3, 6, 5, 5, generator=generator, dtype=torch.float64)
    x = torch.randn(2, 6, height, width, generator=generator, dtype=torch.float64)
    folded = F.pixel_shuffle(F.conv2d(x, operations.fold_resize(weight)), 2)
    # one pixel of margin in the small grid is two in the large one, where the 5x5 filter needs just these two
    plain = F.conv2d(F.interpolate(F.pad(x, [1] * 4), scale_factor=2, mode="nearest"), weight)
    expected = plain[:, :, 2:-2, 2:-2]
    assert folded.shape == (2, 3, 2 * (height - 2), 2 * (width - 2)) == expected.shape
    torch.testing.assert_close(folded, expected, rtol=1e-12, atol=1e-12)


def test_resize_head_is_normalised_and_in_grey_levels():
    generator = torch.Generator().manual_seed(3)
    module = networks.conv(6, 3, 5)
    with torch.no_grad():
        module.weight.normal_(0, 0.1, generator=generator)
        x = torch.randn(2, 6, 8, 10, generator=generator)
        code = torch.tensor([0.5, 1.0, 2.0, -0.3, 0.0, 0.2])
        ops = operations.TorchOps(code, 8, 24)
        got = ops.resize_head(module, x)
        plain = F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), module.weight)
        expected = F.instance_norm(plain, eps=operations.EPS) * code[:3, None, None] + code[3:, None, None]
    assert ops.code_index == 6
    torch.testing.assert_close(got, expected * 127.5 + 127.5, rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize("name", BODIES)
def test_the_end_of_a_code_is_mean_and_contrast_of_the_painting(name, make_body):
    """Shift and scale of the three colors, whatever the net does before: up to the epsilon, which matters the less the
    more the head has to say."""
    body = without_canvas(make_body(name, seed=2))
    scale, shift = layers_of(body, body.codes[0].detach())[-1]
    assert len(shift) == 3 and shift.std() > 0.05 and scale.min() > 0.1
    x = planes_like(2, 32, 40)
    with torch.no_grad():
        painted = body(x, body.codes[0])
        body.head.weight *= 30
        strong = body(x, body.codes[0])
        body.head.weight.zero_()
        nothing = body(x, body.codes[0])
    for result in (painted, strong, nothing):
        torch.testing.assert_close(result.mean((2, 3)), (shift * 127.5 + 127.5).expand(2, -1), rtol=0, atol=0.01)
    assert (painted.std((2, 3), unbiased=False) < scale * 127.5 * 1.0001).all()
    torch.testing.assert_close(strong.std((2, 3), unbiased=False), (scale * 127.5).expand(2, -1), rtol=1e-3, atol=0)
    assert nothing.std((2, 3)).max() < 1e-3


@pytest.mark.parametrize("name", BODIES)
def test_a_fresh_body_can_begin_with_colors(name):
    body = networks.build(name, 2, generator=torch.Generator().manual_seed(0))
    before = body.codes.detach().clone()
    means = torch.tensor([[30.0, 90.0, 200.0], [128.0, 60.0, 10.0]])
    body.start_colors(means, torch.tensor([[20.0, 30.0, 40.0], [50.0, 60.0, 70.0]]))
    assert torch.equal(body.codes[:, :-6], before[:, :-6]) and body.codes.requires_grad
    with torch.no_grad():
        painted = body(planes_like(2, 48, 64), body.codes)
    torch.testing.assert_close(painted.mean((2, 3)), means, rtol=0, atol=0.01)
    assert (body.codes[:, -6:-3] * 127.5).tolist() == [pytest.approx(d) for d in ((20, 30, 40), (50, 60, 70))]


def test_a_body_that_does_not_normalise_its_colors_begins_as_it_is():
    body = networks.build("johnson", 1)
    before = body.codes.detach().clone()
    body.start_colors(torch.full((1, 3), 30.0), torch.full((1, 3), 20.0))
    assert torch.equal(body.codes, before)


def stem_and_pictures():
    generator = torch.Generator().manual_seed(4)
    module = networks.conv(3, 8, 6, 2)
    with torch.no_grad():
        module.weight.normal_(0, 0.14, generator=generator)
    return module, torch.randint(90, 166, (2, 3, 40, 48), generator=generator).float()


def test_centered_is_the_convolution_of_grey_levels_less_their_middle():
    module, x = stem_and_pictures()
    with torch.no_grad():
        got = operations.TorchOps(torch.zeros(1), 4, 12).centered(module, x)
        expected = F.conv2d((x - 127.5).double(), module.weight.double(), stride=2).float()
    assert expected.std() > 10
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=2e-3)


def test_centered_is_more_exact_in_bf16():
    """Than where a normalisation has to take the middle off, after the sums were rounded."""
    module, x = stem_and_pictures()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        ops = operations.TorchOps(torch.zeros(1), 4, 12)
        result = [ops.centered(module, x), ops.conv(module, x)]
    exact = F.conv2d(x.double() - 127.5, module.weight.detach().bfloat16().double(), stride=2)
    assert all(y.dtype == torch.bfloat16 for y in result)

    def error(y):  # what a normalisation leaves of it
        difference = y.double() - exact
        return float((difference - difference.mean((2, 3), keepdim=True)).square().mean().sqrt())

    centered, plain = map(error, result)
    assert centered < 0.3 * plain


@pytest.mark.parametrize("name", BODIES)
def test_codes_of_a_batch_act_sample_by_sample(name, make_body):
    body = make_body(name, styles=3)
    x = planes_like(3, 40, 48)
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


class Calm(operations.TorchOps):
    """TorchOps that never amplify: the true epsilon multiplies rounding errors of a flat layer by 300, layer after
    layer, and would hide what the padding and the resizing do."""

    def norm(self, x, channels, eps=operations.EPS):
        return super().norm(x, channels, 1.0)


class ZeroPadded(Calm):
    def reflect(self, x, pad):
        return F.pad(x, [pad] * 4)


def paint_flat(body, height, width, ops=Calm, level=90.0):
    """Float planes [3, H', W'] of a painted flat frame."""
    body = body.double()
    frame = torch.full((1, 3, height, width), level, dtype=torch.float64)
    with torch.no_grad():
        return body.paint(ops(body.codes[0], body.stride, body.min_size), frame)[0]


def unevenness(painted):
    """Largest distance from the colour of the middle, in grey levels."""
    middle = painted[:, painted.shape[1] // 2, painted.shape[2] // 2]
    assert 1 < middle.std() < 100, "the code should colour a flat frame, or this test sees nothing"
    return float((painted - middle.view(3, 1, 1)).abs().max())


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("size", ((16, 16), (96, 128), (101, 75)))
def test_flat_frame_without_a_canvas_is_flat_to_its_borders(name, size, make_body):
    assert unevenness(paint_flat(without_canvas(make_body(name, seed=4)), *size)) < 1e-6


@pytest.mark.parametrize("name", BODIES)
def test_zero_padding_would_paint_a_frame(name, make_body):
    assert unevenness(paint_flat(without_canvas(make_body(name, seed=4)), 96, 128, ZeroPadded)) > 1


def nyquist_share(painted):
    """Largest share of the mean that changes sign from pixel to pixel, over columns, rows and both."""
    height, width = painted.shape[-2:]
    rows, columns = (-1.0) ** torch.arange(height)[:, None], (-1.0) ** torch.arange(width)[None]
    waves = [(painted * wave).mean((-2, -1)).abs() for wave in (rows, columns, rows * columns)]
    return float((torch.stack(waves) / painted.mean((-2, -1)).abs()).max())


@pytest.mark.parametrize("name", BODIES)
def test_flat_frame_gets_no_checkerboard(name, make_body):
    for seed in range(3):
        assert nyquist_share(paint_flat(without_canvas(make_body(name, seed=seed)), 96, 96)) < 1e-8


def test_free_subpixel_head_would_fail_the_checkerboard_test(make_body, monkeypatch):
    free = 0.2 * torch.randn(12, 8, 3, 3, generator=torch.Generator().manual_seed(5))
    monkeypatch.setattr(operations, "fold_resize", lambda weight: free.to(weight))
    assert nyquist_share(paint_flat(without_canvas(make_body()), 96, 96)) > 0.01


@pytest.mark.parametrize("name", BODIES)
def test_almost_flat_frame_is_not_blown_up(name, make_body):
    """Noise of one grey level must enter the body as about nothing: the first epsilon is in grey levels."""
    body = make_body(name)
    seen = []

    class Watch(operations.TorchOps):
        def norm(self, x, channels, eps=operations.EPS):
            seen.append(eps)
            return super().norm(x, channels, eps)

    with torch.no_grad():
        body.paint(Watch(body.codes[0], body.stride, body.min_size), torch.full((1, 3, 32, 32), 90.0))
    assert seen[0] == pytest.approx(operations.EPS * 127.5**2)
    assert set(seen[1:]) == {operations.EPS}


def test_digest_names_the_body_and_not_its_styles(make_body):
    body, same = make_body(styles=1, seed=7), make_body(styles=1, seed=7)
    digest = body.body_sha256()
    with torch.no_grad():
        same.codes.add_(1)
    assert same.body_sha256() == digest
    with torch.no_grad():
        same.head.weight[0, 0, 0, 0] += 1e-3
    assert same.body_sha256() != digest
    assert make_body(seed=8).body_sha256() != digest


def test_fresh_codes_follow_the_generator_and_differ():
    books = [networks.build("live", 3, generator=torch.Generator().manual_seed(s)).codes for s in (0, 0, 1)]
    assert torch.equal(books[0], books[1]) and not torch.equal(books[0], books[2])
    assert not torch.equal(books[0][0], books[0][1])
