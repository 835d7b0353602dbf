"""The bodies: transformer nets whose style is a vector.

A *body* holds every convolution and is shared by all styles. A *style code* is the scale and shift of
each instance normalisation, flattened to one vector of K floats (conditional instance normalisation,
Dumoulin, Shlens and Kudlur, "A Learned Representation For Artistic Style", ICLR 2017, eq. 5):

    z = gamma_s * (x - mean(x)) / sqrt(var(x) + eps) + beta_s

Each body describes itself once, in `paint`, in terms of a few operations. `TorchOps` below carries them
out for training; `rtstyle.export.to_onnx.OnnxOps` writes them down as an ONNX graph.
"""

from __future__ import annotations

import hashlib

import torch
import torch.nn.functional as F
from torch import nn

EPS = 5e-3  # large enough that an almost flat frame stays flat: its noise is not blown up to full contrast
# Frames enter in grey levels (0 to 255). The first normalisation undoes that scale exactly, so only its
# epsilon has to follow: otherwise the noise of an almost flat frame would be blown up to full contrast.
EPS_GREY = EPS * 127.5**2

# A net can put one small patch far out in a channel, so that the normalisation after it turns everything else down; the
# patch shows as a blot (the droplets of Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN").
# Edges of photographs rarely reach this many standard deviations, blots go to 15 and more.
PEAK = 6.0


class TorchOps:
    """The operations of `paint` on float tensors [N, C, H, W]; `code` is [K] or one row a sample [N, K]. `peaks` is a
    list to which `active` adds how far its values go beyond PEAK, one tensor [N] a layer."""

    def __init__(self, code: torch.Tensor, stride: int, least: int, peaks: list[torch.Tensor] | None = None):
        self.code = code if code.dim() == 2 else code[None]
        self.stride, self.least = stride, least
        self.at = 0
        self.peaks = peaks

    def image(self, x, margin: int):
        """Reflect the borders: `margin` on every side; below and to the right also up to a multiple of the
        stride and to at least `least` pixels."""
        below, right = (margin + max(-size % self.stride, self.least - size) for size in x.shape[2:])
        return F.pad(x, [margin, right, margin, below], mode="reflect")

    def conv(self, module: nn.Conv2d, x, zeros: int = 0):
        """`zeros` many of them on every side first."""
        return F.conv2d(x, module.weight, module.bias, module.stride, zeros, groups=module.groups)

    def norm(self, x, channels: int, eps: float = EPS):
        scale, shift = self._next(channels)
        return InstanceNorm.apply(x, scale, shift, eps)

    def active(self, x, channels: int, eps: float = EPS):
        """relu(norm(x)) less its value where x is at its mean: zero on a flat frame, so that zeros around it are no
        border. What a channel loses everywhere, the next normalisation would take away all the same."""
        scale, shift = self._next(channels)
        y = InstanceNorm.apply(x, scale, shift, eps)
        if self.peaks is not None:
            self.peaks.append(F.relu(y.abs() - PEAK).square().mean(dim=(1, 2, 3)))
        return F.relu(y) - F.relu(shift)

    def scaled(self, x, channels: int, zero: bool = True):
        """`active` without the normalisation: the contrast of x stays. Without `zero` a flat frame becomes relu(shift),
        a ground of the style's own."""
        scale, shift = self._next(channels)
        y = F.relu(x * scale + shift)
        return y - F.relu(shift) if zero else y

    def _next(self, channels: int):
        scale, shift = self.code[:, self.at : self.at + 2 * channels].unflatten(1, (2, channels, 1, 1)).unbind(1)
        self.at += 2 * channels
        return scale, shift

    def relu(self, x):
        return F.relu(x)

    def add(self, a, b):
        return a + b

    def up(self, x):
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

    def repeat(self, x):
        """Every pixel twice in each direction."""
        return F.interpolate(x, scale_factor=2, mode="nearest")

    def from_first(self, x):
        """Less its first pixel: nothing to a normalised convolution, but a flat frame is then zero exactly, and stays
        so. Rounding would leave traces of it that a dozen normalisations blow up to a picture."""
        return x - x[:, :, :1, :1]

    def reflect(self, x, pad: int):
        return F.pad(x, [pad] * 4, mode="reflect")

    def head(self, module: nn.Conv2d, x):
        """The last convolution: colours in grey levels, not yet clamped."""
        return self.conv(module, x) * 127.5 + 127.5

    def resize_head(self, module: nn.Conv2d, x):
        """Nearest-resize by 2, then a 5x5 convolution, as one 3x3 convolution and a pixel shuffle."""
        weight, bias = fold_resize(module.weight), module.bias.repeat_interleave(4)
        return F.pixel_shuffle(F.conv2d(x, weight, bias), 2) * 127.5 + 127.5


class InstanceNorm(torch.autograd.Function):
    """(x - mean) / sqrt(var + eps) * scale + shift of each channel of each picture, x [N, C, H, W], scale and shift
    [N or 1, C, 1, 1]. What `F.instance_norm` computes, without its copies from channels-last order and back, which
    cost a third of a training step of `studio`; sums in float32."""

    @staticmethod
    def forward(ctx, x, scale, shift, eps):
        n, c, h, w = x.shape
        wide = torch.promote_types(x.dtype, torch.float32)
        rows = x.permute(0, 2, 3, 1).reshape(n, h * w, c).to(wide)
        rows = rows - rows.mean(1, keepdim=True)
        inverse = torch.rsqrt(rows.square().mean(1, keepdim=True) + eps)
        rows *= inverse
        scale, shift = scale.reshape(-1, 1, c), shift.reshape(-1, 1, c)
        ctx.save_for_backward(rows, inverse, scale)
        return torch.addcmul(shift, rows, scale).to(x.dtype).view(n, h, w, c).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx, grad):
        rows, inverse, scale = ctx.saved_tensors
        n, c, h, w = grad.shape
        g = grad.permute(0, 2, 3, 1).reshape(n, h * w, c).to(rows.dtype)
        to_shift, to_scale = g.sum(1, keepdim=True), (g * rows).sum(1, keepdim=True)
        gx = g - to_shift / (h * w)
        gx = gx.addcmul_(rows, to_scale / (h * w), value=-1).mul_(inverse * scale)
        gx = gx.to(grad.dtype).view(n, h, w, c).permute(0, 3, 1, 2)
        if len(scale) < n:
            to_scale, to_shift = to_scale.sum(0, keepdim=True), to_shift.sum(0, keepdim=True)
        return gx, to_scale.view(-1, c, 1, 1), to_shift.view(-1, c, 1, 1), None


# A nearest-resize by 2 repeats each pixel, so of the five taps of a 5-tap filter on the large grid several
# fall on the same small pixel. FOLD[phase, small tap, large tap] says which: the large filter becomes one
# 3-tap filter for even and one for odd positions. This is exact; because the phases share the one large
# filter it cannot learn the checkerboard of a free sub-pixel convolution (distill.pub, Odena et al. 2016).
FOLD = torch.tensor(
    [
        [[1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1]],
        [[1, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 1]],
    ],
    dtype=torch.float32,
)


def fold_matrix() -> torch.Tensor:
    """[25, 36]: a flattened 5x5 filter to its (2 x 2 phases) x (3x3) filters."""
    return torch.einsum("piu,qjv->uvpqij", FOLD, FOLD).reshape(25, 36)


def fold_resize(weight: torch.Tensor) -> torch.Tensor:
    """[O, C, 5, 5] for the resized grid to [4 O, C, 3, 3] for the small one, in pixel-shuffle order."""
    out, channels = weight.shape[:2]
    folded = weight.reshape(out * channels, 25) @ fold_matrix().to(weight)
    return folded.reshape(out, channels, 4, 3, 3).transpose(1, 2).reshape(out * 4, channels, 3, 3)


def conv(cin: int, cout: int, kernel: int, stride: int = 1, groups: int = 1, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(cin, cout, kernel, stride, groups=groups, bias=bias)


def same(op, module: nn.Conv2d, x):
    """A convolution that keeps the size (or halves it): its borders are reflected, because zeros there show up
    as a painted frame around the picture."""
    return op.conv(module, op.reflect(x, module.kernel_size[0] // 2))


def inner(op, module: nn.Conv2d, x):
    """The same with zeros around, for what `active` gives: runtimes pad with zeros inside the convolution, and
    reflecting costs a copy."""
    return op.conv(module, x, zeros=module.kernel_size[0] // 2)


class Separable(nn.Module):
    """Depthwise and pointwise convolution: cheap mixing of space and channels."""

    def __init__(self, cin: int, cout: int, stride: int = 1, kernel: int = 3):
        super().__init__()
        self.depthwise = conv(cin, cin, kernel, stride, groups=cin)
        self.pointwise = conv(cin, cout, 1)

    def paint(self, op, x, normalised: bool = True):
        x = op.conv(self.pointwise, inner(op, self.depthwise, x))
        return (op.active if normalised else op.scaled)(x, self.pointwise.out_channels)


class Residual(nn.Module):
    """Johnson's residual block: two 3x3 convolutions."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1, self.conv2 = conv(width, width, 3), conv(width, width, 3)


class Body(nn.Module):
    """What the bodies share: the code book and the way in and out.

    `codes` is a parameter [S, K], one row a style. `forward` takes and gives float [N, 3, H, W] in grey
    levels (0 to 255, RGB, output not clamped); the output is rounded up to multiples of `stride`.
    """

    stride: int
    least: int  # sides that the innermost reflection needs, in pixels
    dense: bool  # made of full convolutions, which gain by bf16 on a CPU too; depthwise ones do not
    config: dict

    def start_codes(self, styles: int, generator: torch.Generator | None = None) -> None:
        """New codes: scale near 1, shift 0; a little noise tells the styles apart from the first step."""
        channels = self.norm_channels()
        self.code_length = 2 * sum(channels)
        rows = []
        for _ in range(styles):
            parts = []
            for c in channels:
                parts += [1 + 0.05 * torch.randn(c, generator=generator), torch.zeros(c)]
            rows.append(torch.cat(parts))
        self.codes = nn.Parameter(torch.stack(rows))

    def norm_channels(self) -> list[int]:
        """Channels of every layer with scale and shift, in the order in which a code lists them."""
        return self._spied().channels

    def normalised_layers(self) -> int:
        """How many of those layers normalise, too."""
        return self._spied().normalised

    def floored_layers(self) -> int:
        """How many of those layers turn into nothing on a flat frame: the rest end in a ground of the style's own."""
        return self._spied().floored

    def _spied(self) -> _NormSpy:
        spy = _NormSpy()
        self.paint(spy, None)
        return spy

    def forward(self, x: torch.Tensor, code: torch.Tensor, peaks: list[torch.Tensor] | None = None) -> torch.Tensor:
        return self.paint(TorchOps(code, self.stride, self.least, peaks), x)

    @torch.no_grad()
    def stylize(self, frames: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        """uint8 [N, H, W, 3] to uint8 [N, H, W, 3]: what the exported model must compute, in torch."""
        h, w = frames.shape[1:3]
        y = self(frames.permute(0, 3, 1, 2).float(), code)[:, :, :h, :w]
        return (y + 0.5).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)

    def body_weights(self) -> dict[str, torch.Tensor]:
        """Everything but the codes, by torch name."""
        return {k: v for k, v in self.state_dict().items() if k != "codes"}

    def body_sha256(self) -> str:
        """Identity of the body: codes learned on one body mean nothing on another."""
        digest = hashlib.sha256()
        for name, weight in sorted(self.body_weights().items()):
            digest.update(name.encode() + str(tuple(weight.shape)).encode())
            digest.update(weight.detach().cpu().float().numpy().astype("<f4").tobytes())
        return digest.hexdigest()


class _NormSpy:
    """Walks through `paint` without computing anything and notes the normalisations."""

    def __init__(self):
        self.channels: list[int] = []
        self.normalised = self.floored = 0

    def norm(self, x, channels, *args, **kwargs):
        self.channels.append(channels)
        self.normalised += 1

    def active(self, x, channels, *args, **kwargs):
        self.norm(x, channels)
        self.floored += 1

    def scaled(self, x, channels, zero: bool = True):
        self.channels.append(channels)
        self.floored += zero

    def __getattr__(self, name):
        return lambda *args, **kwargs: None


class Live(Body):
    """The small body for CPUs, laptops and browsers: about 0.1 M parameters.

    Almost nothing happens at full size: a strided stem goes to half size at once, the work is done by
    depthwise-separable blocks at a quarter and an eighth, and the head leaves half size for full size by
    a folded resize-convolution. Behind the blocks at an eighth nothing is normalised any more: see PEAK.
    """

    name = "live"
    stride = 8
    least = 24  # three positions at an eighth, for 5x5 filters
    dense = False

    def __init__(self, styles: int = 1, widths=(16, 48, 112), blocks=(1, 5, 2), generator=None):
        super().__init__()
        self.config = {"widths": list(widths), "blocks": list(blocks)}
        half, quarter, eighth = widths
        self.widths = tuple(widths)
        self.stem = conv(3, half, 6, 2)
        self.down4 = conv(half, quarter, 3, 2)
        self.quarter_in = nn.ModuleList(Separable(quarter, quarter) for _ in range(blocks[0]))
        self.down8 = Separable(quarter, eighth, 2)
        # 3x3 filters amplify the shortest wave of their grid most of all, which paints wallpaper; 5x5 ones need not
        self.eighth = nn.ModuleList(Separable(eighth, eighth, kernel=5) for _ in range(blocks[1]))
        self.up4 = conv(eighth, quarter, 1)
        self.quarter_out = nn.ModuleList(Separable(quarter, quarter) for _ in range(blocks[2]))
        self.up2 = conv(quarter, half, 1)
        self.merge2 = conv(half, half, 3)
        self.head = conv(half, 3, 5, bias=True)
        self.start_codes(styles, generator)

    def paint(self, op, x):
        half, quarter, _ = self.widths
        a = op.active(op.conv(self.stem, op.from_first(op.image(x, 2))), half, EPS_GREY)
        b = op.active(inner(op, self.down4, a), quarter)
        for block in self.quarter_in:
            b = op.add(b, block.paint(op, b))
        c = self.down8.paint(op, b)
        for block in self.eighth:
            c = op.add(c, block.paint(op, c))
        b = op.add(b, op.up(op.conv(self.up4, c)))
        for block in self.quarter_out:
            b = block.paint(op, b, normalised=False)
        a = op.add(a, op.up(op.conv(self.up2, b)))
        a = op.scaled(inner(op, self.merge2, a), half, zero=False)
        return op.resize_head(self.head, op.reflect(a, 1))


class Johnson(Body):
    """Johnson, Alahi and Fei-Fei's net (ECCV 2016, supplementary) as pytorch/examples' fast_neural_style has it, for
    weights that people already have: see `rtstyle.export.forms`. 1.7 M parameters; it grows by repeating pixels, and
    its normalisations have PyTorch's epsilon."""

    name = "johnson"
    stride = 4
    least = 16
    dense = True
    eps = 1e-5

    def __init__(self, styles: int = 1, widths=(32, 64, 128), blocks=(5,), generator=None):
        super().__init__()
        self.config = {"widths": list(widths), "blocks": list(blocks)}
        self.widths = (full, half, quarter) = tuple(widths)
        self.conv1 = conv(3, full, 9)
        self.conv2 = conv(full, half, 3, 2)
        self.conv3 = conv(half, quarter, 3, 2)
        self.residuals = nn.ModuleList(Residual(quarter) for _ in range(blocks[0]))
        self.up2 = conv(quarter, half, 3)
        self.up1 = conv(half, full, 3)
        self.head = conv(full, 3, 9, bias=True)
        self.start_codes(styles, generator)

    def paint(self, op, x):
        full, half, quarter = self.widths
        x = op.relu(op.norm(op.conv(self.conv1, op.image(x, 4)), full, self.eps))
        x = op.relu(op.norm(same(op, self.conv2, x), half, self.eps))
        x = op.relu(op.norm(same(op, self.conv3, x), quarter, self.eps))
        for block in self.residuals:
            y = op.relu(op.norm(same(op, block.conv1, x), quarter, self.eps))
            x = op.add(x, op.norm(same(op, block.conv2, y), quarter, self.eps))
        x = op.relu(op.norm(same(op, self.up2, op.repeat(x)), half, self.eps))
        x = op.relu(op.norm(same(op, self.up1, op.repeat(x)), full, self.eps))
        return op.head(self.head, op.reflect(x, 4))


class Studio(Johnson):
    """Johnson's net, built like `Live`: a flat frame is zero throughout, so that it stays flat and zeros do for
    borders, and it grows smoothly."""

    name = "studio"

    def paint(self, op, x):
        full, half, quarter = self.widths
        x = op.active(op.conv(self.conv1, op.from_first(op.image(x, 4))), full, EPS_GREY)
        x = op.active(inner(op, self.conv2, x), half)
        x = op.active(inner(op, self.conv3, x), quarter)
        for block in self.residuals:
            y = op.active(inner(op, block.conv1, x), quarter)
            x = op.add(x, op.active(inner(op, block.conv2, y), quarter))
        x = op.scaled(inner(op, self.up2, op.up(x)), half)
        x = op.scaled(inner(op, self.up1, op.up(x)), full, zero=False)
        return op.head(self.head, op.reflect(x, 4))


BODIES = {"live": Live, "studio": Studio, "johnson": Johnson}


def build(name: str, styles: int = 1, config: dict | None = None, generator=None) -> Body:
    """A body by name with fresh weights; `config` may change `widths` and `blocks`."""
    if name not in BODIES:
        raise ValueError(f"unknown body {name!r}: choose {' or '.join(BODIES)}")
    return BODIES[name](styles, generator=generator, **(config or {}))


def pack(layers: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """(scale [C], shift [C]) of every normalisation to one code [K]."""
    return torch.cat([part for layer in layers for part in layer])


def unpack(body: Body, code: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """One code [K] to (scale [C], shift [C]) of every normalisation. Raises ValueError on a wrong length."""
    if code.shape != (body.code_length,):
        raise ValueError(f"a code of {body.name} has {body.code_length} numbers, this one {tuple(code.shape)}")
    layers, at = [], 0
    for c in body.norm_channels():
        layers.append((code[at : at + c], code[at + c : at + 2 * c]))
        at += 2 * c
    return layers
