"""The canvas: what the bodies paint on where the photograph is empty."""

import pytest

torch = pytest.importorskip("torch")

from rtstyle.export import networks, operations  # noqa: E402

BODIES = ("live", "studio")
SIDE = operations.CANVAS_SIDE
DEPTH, WIDTH = 3, 4


@pytest.fixture
def canvas():
    """A small one, its gate half open everywhere."""
    generator = torch.Generator().manual_seed(1)
    canvas = operations.Canvas(WIDTH, DEPTH, generator)
    with torch.no_grad():
        canvas.mix.weight.normal_(0, 0.5, generator=generator)
        canvas.gate.weight.zero_()
        canvas.gate.bias.zero_()
    return canvas


def code_like(rows=1):
    return torch.randn(rows, 2 * WIDTH, generator=torch.Generator().manual_seed(2))


def painted_on(canvas, x, code, offsets=None):
    ops = operations.TorchOps(code, 4, 12, offsets=offsets)
    with torch.no_grad():
        result = ops.canvas(canvas, x, WIDTH)
    assert ops.code_index == 2 * WIDTH
    return result


def ground_of(canvas):
    """The mixed tile, every feature with mean 0 and deviation 1 (up to the epsilon): [width, side, side]."""
    mixed = torch.einsum("oc,cyx->oyx", canvas.mix.weight[:, :, 0, 0], canvas.tile[0]).detach()
    difference = mixed - mixed.mean((1, 2), keepdim=True)
    return difference / (difference.square().mean((1, 2), keepdim=True) + operations.EPS).sqrt()


def layer_of(code):
    scale, shift = code.view(-1, 2, WIDTH, 1, 1).unbind(1)
    return scale, shift


def test_the_tile_repeats_over_the_features_from_their_corner(canvas):
    x, code = torch.randn(2, WIDTH, SIDE + 12, 2 * SIDE + 5, generator=torch.Generator().manual_seed(3)), code_like()
    scale, shift = layer_of(code)
    covered = ground_of(canvas).repeat(1, 2, 3)[:, : SIDE + 12, : 2 * SIDE + 5]
    torch.testing.assert_close(painted_on(canvas, x, code), x + 0.5 * (covered * scale + shift), rtol=1e-4, atol=1e-4)
    corner = torch.zeros(2, 2, dtype=torch.long)
    assert torch.equal(painted_on(canvas, x, code, corner), painted_on(canvas, x, code))


def test_offsets_shift_the_canvas_sample_by_sample(canvas):
    """Also where some of them share a place."""
    x, code = torch.zeros(4, WIDTH, 20, 30), code_like(4)
    offsets = torch.tensor([[0, 0], [5, 120], [127, 64], [5, 120]])
    scale, shift = layer_of(code)
    ground = torch.stack([ground_of(canvas).roll((-top, -left), (1, 2)) for top, left in offsets.tolist()])
    expected = 0.5 * (ground[:, :, :20, :30] * scale + shift)
    torch.testing.assert_close(painted_on(canvas, x, code, offsets), expected, rtol=1e-4, atol=1e-4)


def test_the_gate_hides_the_canvas_where_the_photograph_has_content(canvas):
    x, code = torch.zeros(1, WIDTH, 8, 9), code_like()
    x[:, 1, :, 4:] = 1.0  # a feature that the gate closes for
    with torch.no_grad():
        canvas.gate.weight[0, 1] = -60
        canvas.gate.bias += 30
    result = painted_on(canvas, x, code) - x
    scale, shift = layer_of(code)
    torch.testing.assert_close(
        result[..., :4], (ground_of(canvas)[None, :, :8, :4] * scale + shift), rtol=1e-4, atol=1e-4
    )
    assert result[..., 4:].abs().max() < 1e-6


def test_a_code_of_zeros_hides_the_canvas(canvas):
    x = torch.randn(1, WIDTH, 8, 9)
    assert torch.equal(painted_on(canvas, x, torch.zeros(1, 2 * WIDTH)), x)


def test_smooth_noise_continues_over_its_borders():
    noise = operations.smooth_noise(64, SIDE, torch.Generator().manual_seed(0))[0]
    assert noise.shape == (64, SIDE, SIDE)
    for axis in (1, 2):
        steps = (noise - noise.roll(1, axis)).movedim(axis, 0)  # the first is the step over the border
        inner = steps[1:].square().mean().sqrt()
        assert steps[0].square().mean().sqrt() < 1.1 * inner < 0.5 * noise.std()


def test_smooth_noise_has_structure_of_several_scales_and_follows_its_generator():
    noise = operations.smooth_noise(64, SIDE, torch.Generator().manual_seed(0))
    assert float(noise.std()) == pytest.approx(1, abs=0.1)
    assert noise.mean().abs() < 0.1
    alike = [float((noise * noise.roll(shift, 3)).mean() / noise.square().mean()) for shift in (1, 4, 16, 48)]
    assert alike[0] > 0.8 and 0.25 < alike[1] < 0.75 and 0.02 < alike[2] < 0.4 and abs(alike[3]) < 0.1
    again, other = (operations.smooth_noise(64, SIDE, torch.Generator().manual_seed(s)) for s in (0, 1))
    assert torch.equal(noise, again) and not torch.equal(noise, other)


def test_a_new_body_begins_with_a_faint_canvas():
    body = networks.build("live", 2, generator=torch.Generator().manual_seed(0))
    scales = body.codes.detach().split([c for c in body.norm_channels() for _ in range(2)], 1)[::2]
    means = [float(scale.mean()) for scale in scales]
    assert means[2] == pytest.approx(0.3, abs=0.02)
    assert means[:2] + means[3:] == pytest.approx([1] * (len(means) - 1), abs=0.1)


def paint_flat(body, height, width, level, offsets=None):
    """Float64 planes [3, H', W'] of a painted flat frame."""
    frame = torch.full((1, 3, height, width), level, dtype=torch.float64)
    with torch.no_grad():
        return body.double()(frame, body.codes[0], offsets=offsets)[0]


@pytest.mark.parametrize("name", BODIES)
def test_a_flat_frame_gets_the_same_texture_whatever_its_grey(name, make_body):
    """Of no more than the contrast of the style, and not grey itself: nothing is left of the frame's level."""
    body = make_body(name, seed=4)
    result = [paint_flat(body, 72, 96, level) for level in (0.0, 93.0, 255.0)]
    scale = body.codes[0, -6:-3].detach().abs() * 127.5
    deviation = result[0].std((1, 2), unbiased=False)
    assert (deviation > 0.2 * scale).all() and (deviation <= scale * 1.0001).all()
    for other in result[1:]:
        assert (other - result[0]).abs().max() < 0.01


@pytest.mark.parametrize("name", BODIES)
def test_painted_bytes_of_flat_frames_are_the_same_too(name, make_body):
    body = make_body(name, seed=4)
    frames = torch.stack([torch.full((75, 101, 3), level, dtype=torch.uint8) for level in (0, 37, 90, 255)])
    painted = body.stylize(frames, body.codes[0]).int()
    assert (painted - painted[:1]).abs().max() <= 1 and painted[0].float().std() > 5


def test_texture_on_flat_frames_repeats_with_the_tile(make_body):
    body, period, border = make_body(seed=4), 4 * SIDE, 40
    painted = paint_flat(body, period + 128, 96, 90.0)
    inner, again = painted[:, border:88, border:-border], painted[:, period + border : period + 88, border:-border]
    torch.testing.assert_close(again, inner, rtol=0, atol=1e-6)
    assert (painted[:, 1 + border : 89] - painted[:, border:88]).abs().max() > 1  # it does vary
    assert (painted[:, period // 2 + border : period // 2 + 88] - painted[:, border:88]).abs().max() > 5


def test_offsets_move_the_texture_of_flat_frames(make_body):
    """By four pixels for each place of the canvas."""
    body, border = make_body(seed=4), 40
    still = paint_flat(body, 4 * SIDE, 120, 90.0)
    moved = paint_flat(body, 4 * SIDE, 120, 90.0, offsets=torch.tensor([[3, 0]]))
    # means and deviations of features over the whole frame hardly change, the borders do
    inner, shifted = moved[:, border : -border - 12, border:-border], still[:, border + 12 : -border, border:-border]
    assert (inner - shifted).square().mean().sqrt() < 0.2 * (inner - inner.mean((1, 2), keepdim=True)).std()
    assert (inner - still[:, border : -border - 12, border:-border]).square().mean().sqrt() > 3
