"""The operations that bodies consist of: what they are (`Ops`), and how they are done on torch tensors (`TorchOps`).

`rtstyle.export.to_onnx.OnnxOps` writes the same down as an ONNX graph.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import nn

EPS = 5e-3  # large enough that an almost flat frame stays flat: its noise is not blown up to full contrast
# Frames enter in grey levels (0 to 255). The first normalisation undoes that scale exactly, so only its
# epsilon has to follow: otherwise the noise of an almost flat frame would be blown up to full contrast.
EPS_GREY = EPS * 127.5**2

CANVAS_SIDE = 128  # positions at a quarter of the picture's size, after which the canvas repeats


X = TypeVar("X")  # what operations work on: tensors [N, C, H, W], or names in a graph


class Ops(Protocol[X]):
    """What a body may consist of. Sizes change in no other way than is said."""

    def image(self, x: X, margin: int) -> X:
        """Frames as they come in; borders reflected: `margin` on every side, below and to the right also up to a
        multiple of the body's stride and to its smallest size."""

    def conv(self, module: nn.Conv2d, x: X) -> X: ...

    def centered(self, module: nn.Conv2d, x: X) -> X:
        """The convolution of x - 127.5, for grey levels."""

    def norm(self, x: X, channels: int, eps: float = EPS) -> X:
        """Instance normalisation, with the code's next scale and shift."""

    def active(self, x: X, channels: int, eps: float = EPS) -> X:
        """relu(norm(x))"""

    def relu(self, x: X) -> X: ...

    def add(self, a: X, b: X) -> X: ...

    def up(self, x: X) -> X:
        """Twice the size, bilinear."""

    def repeat(self, x: X) -> X:
        """Every pixel twice in each direction."""

    def reflect(self, x: X, pad: int) -> X: ...

    def canvas(self, canvas: Canvas, x: X, channels: int) -> X:
        """x plus the tile, normalised over itself, scaled and shifted by the code, where the gate is open."""

    def head(self, module: nn.Conv2d, x: X) -> X:
        """The last convolution: colours in grey levels."""

    def resize_head(self, module: nn.Conv2d, x: X) -> X:
        """Nearest-resize by 2, then a 5x5 convolution; then the colours are normalised, so that the code sets their
        mean and contrast."""


class TorchOps:
    """The operations of `paint` on float tensors [N, C, H, W]; `code` is [K] or one row a sample [N, K]. `offsets`
    are the (row, column) of the canvas that each sample gets in its corner, (0, 0) by default."""

    def __init__(
        self,
        code: torch.Tensor,
        stride: int,
        min_size: int,
        offsets: torch.Tensor | None = None,
    ):
        self.code = code if code.dim() == 2 else code[None]
        self.stride, self.min_size = stride, min_size
        self.code_index = 0
        self.offsets = offsets

    def image(self, x: torch.Tensor, margin: int) -> torch.Tensor:
        below, right = (margin + max(-size % self.stride, self.min_size - size) for size in x.shape[2:])
        return F.pad(x, [margin, right, margin, below], mode="reflect")

    def conv(self, module: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, module.weight, module.bias, module.stride, dilation=module.dilation)

    def centered(self, module: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
        # The middle is taken off within the convolution, so that its sums are small before they are rounded
        return F.conv2d(x, module.weight, -127.5 * module.weight.sum((1, 2, 3)), module.stride)

    def norm(self, x: torch.Tensor, channels: int, eps: float = EPS) -> torch.Tensor:
        scale, shift = self._next(channels)
        normalised: torch.Tensor = InstanceNorm.apply(x, scale, shift, eps)
        return normalised

    def active(self, x: torch.Tensor, channels: int, eps: float = EPS) -> torch.Tensor:
        return F.relu(self.norm(x, channels, eps))

    def _next(self, channels: int) -> tuple[torch.Tensor, torch.Tensor]:
        scale, shift = (
            self.code[:, self.code_index : self.code_index + 2 * channels].unflatten(1, (2, channels, 1, 1)).unbind(1)
        )
        self.code_index += 2 * channels
        return scale, shift

    def relu(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x)

    def add(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a + b

    def up(self, x: torch.Tensor) -> torch.Tensor:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

    def repeat(self, x: torch.Tensor) -> torch.Tensor:
        return F.interpolate(x, scale_factor=2, mode="nearest")

    def reflect(self, x: torch.Tensor, pad: int) -> torch.Tensor:
        return F.pad(x, [pad] * 4, mode="reflect")

    def canvas(self, canvas: Canvas, x: torch.Tensor, channels: int) -> torch.Tensor:
        scale, shift = self._next(channels)
        ground = F.instance_norm(F.conv2d(canvas.tile.to(x.dtype), canvas.mix.weight.to(x.dtype)).float(), eps=EPS)[0]
        side, (height, width) = ground.shape[-1], x.shape[2:]
        starts = [(0, 0)] if self.offsets is None else [(top, left) for top, left in self.offsets.tolist()]
        bottom, right = (max(start) for start in zip(*starts, strict=True))
        tiled = ground.repeat(1, -(-(bottom + height) // side), -(-(right + width) // side))
        places = list(dict.fromkeys(starts))  # samples may share theirs
        parts = torch.stack([tiled[:, top : top + height, left : left + width] for top, left in places])
        if len(places) < len(starts):
            parts = parts.index_select(0, torch.tensor([places.index(start) for start in starts], device=x.device))
        gate = torch.sigmoid(self.conv(canvas.gate, x))
        return x + ((parts * scale + shift) * gate).to(x.dtype)

    def head(self, module: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
        return self.conv(module, x) * 127.5 + 127.5

    def resize_head(self, module: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
        # As one 3x3 convolution and a pixel shuffle
        y = F.pixel_shuffle(F.conv2d(x, fold_resize(module.weight)), 2).float()
        return self.norm(y, module.out_channels) * 127.5 + 127.5


class InstanceNorm(torch.autograd.Function):
    """(x - mean) / sqrt(var + eps) * scale + shift of each channel of each picture, x [N, C, H, W], scale and shift
    [N or 1, C, 1, 1]. What `F.instance_norm` computes, without its copies from channels-last order and back, which
    cost a third of a training step of `studio`; sums in float32."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor, eps: float) -> torch.Tensor:
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
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
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


class Canvas(nn.Module):
    """Something to paint on where the photograph is empty: a tile of features, added to those of the photograph.

    Convolutions have nothing to work on in a flat wall but its noise, which they amplify to the same wave everywhere
    and to another one in the next frame. The tile is learned from smooth noise of several scales on; the style code
    says how much of each of its features a style wants; the gate, which sees the photograph's features, closes over
    detail. It repeats after CANVAS_SIDE positions.
    """

    def __init__(self, width: int, depth: int = 16, generator: torch.Generator | None = None):
        super().__init__()
        self.tile = nn.Parameter(smooth_noise(depth, CANVAS_SIDE, generator))
        self.mix = nn.Conv2d(depth, width, 1, bias=False)
        self.gate = nn.Conv2d(width, 1, 1)


def smooth_noise(depth: int, side: int, generator: torch.Generator | None = None) -> torch.Tensor:
    """[1, depth, side, side]: the sum of Gaussian noise smoothed over 2, 4, 8 and 16 positions, each with deviation 1.
    It continues over its borders."""
    total = torch.zeros(1, depth, side, side)
    for scale in (2, 4, 8, 16):
        noise = torch.randn(1, depth, side, side, generator=generator)
        reach = 2 * scale
        line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / (scale / 2)) ** 2)
        for shape, pad in (((-1, 1), [0, 0, reach, reach]), ((1, -1), [reach, reach, 0, 0])):
            kernel = line.view(1, 1, *shape).expand(depth, 1, -1, -1)
            noise = F.conv2d(F.pad(noise, pad, mode="circular"), kernel, groups=depth)
        total += noise / noise.std((2, 3), keepdim=True)
    return total / 2
