"""The bodies: transformer nets whose style is a vector.

A *body* holds every convolution and is shared by all styles. A *style code* is the scale and shift of
each instance normalisation, flattened to one vector of K floats (conditional instance normalisation,
Dumoulin, Shlens and Kudlur, "A Learned Representation For Artistic Style", ICLR 2017, eq. 5):

    z = gamma_s * (x - mean(x)) / sqrt(var(x) + eps) + beta_s

Each body describes itself once, in `paint`, in terms of a few operations. `TorchOps` below carries them
out for training; `rtstyle.export.to_onnx.OnnxOps` writes them down as an ONNX graph.

Borders are reflected in every layer, because zeros would paint a frame around the picture.
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
CANVAS_SIDE = 128  # positions at a quarter of the picture's size, after which the canvas repeats


class TorchOps:
    """The operations of `paint` on float tensors [N, C, H, W]; `code` is [K] or one row a sample [N, K]. `peaks` is a
    list to which `active` adds how far its values go beyond PEAK, one tensor [N] a layer. `offsets` are the (row,
    column) of the canvas that each sample gets in its corner, (0, 0) by default."""

    def __init__(
        self,
        code: torch.Tensor,
        stride: int,
        least: int,
        peaks: list[torch.Tensor] | None = None,
        offsets: torch.Tensor | None = None,
    ):
        self.code = code if code.dim() == 2 else code[None]
        self.stride, self.least = stride, least
        self.at = 0
        self.peaks, self.offsets = peaks, offsets

    def image(self, x, margin: int):
        """Reflect the borders: `margin` on every side; below and to the right also up to a multiple of the
        stride and to at least `least` pixels."""
        below, right = (margin + max(-size % self.stride, self.least - size) for size in x.shape[2:])
        return F.pad(x, [margin, right, margin, below], mode="reflect")

    def conv(self, module: nn.Conv2d, x):
        return F.conv2d(x, module.weight, module.bias, module.stride, dilation=module.dilation)

    def centered(self, module: nn.Conv2d, x):
        """The convolution of x - 127.5, for grey levels. The middle is taken off within the convolution, so that its
        sums are small before they are rounded."""
        return F.conv2d(x, module.weight, -127.5 * module.weight.sum((1, 2, 3)), module.stride)

    def norm(self, x, channels: int, eps: float = EPS):
        scale, shift = self._next(channels)
        return InstanceNorm.apply(x, scale, shift, eps)

    def active(self, x, channels: int, eps: float = EPS):
        """relu(norm(x))"""
        y = self.norm(x, channels, eps)
        if self.peaks is not None:
            self.peaks.append(F.relu(y.abs() - PEAK).square().mean(dim=(1, 2, 3)))
        return F.relu(y)

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

    def reflect(self, x, pad: int):
        return F.pad(x, [pad] * 4, mode="reflect")

    def canvas(self, canvas: Canvas, x, channels: int):
        """x plus the tile, normalised over itself, scaled and shifted by the code, where the gate is open."""
        scale, shift = self._next(channels)
        ground = F.instance_norm(F.conv2d(canvas.tile.to(x.dtype), canvas.mix.weight.to(x.dtype)).float(), eps=EPS)[0]
        side, (height, width) = ground.shape[-1], x.shape[2:]
        starts = [(0, 0)] if self.offsets is None else self.offsets.tolist()
        parts = []
        for top, left in starts:
            rows = (torch.arange(height, device=x.device) + top) % side
            columns = (torch.arange(width, device=x.device) + left) % side
            parts.append(ground[:, rows][:, :, columns])
        gate = torch.sigmoid(self.conv(canvas.gate, x))
        return x + ((torch.stack(parts) * scale + shift) * gate).to(x.dtype)

    def head(self, module: nn.Conv2d, x):
        """The last convolution: colours in grey levels, not yet clamped."""
        return self.conv(module, x) * 127.5 + 127.5

    def resize_head(self, module: nn.Conv2d, x):
        """Nearest-resize by 2, then a 5x5 convolution, as one 3x3 convolution and a pixel shuffle; then the colours
        are normalised, so that the code sets their mean and contrast."""
        y = F.pixel_shuffle(F.conv2d(x, fold_resize(module.weight)), 2).float()
        return self.norm(y, module.out_channels) * 127.5 + 127.5


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


def conv(cin: int, cout: int, kernel: int, stride: int = 1, dilation: int = 1, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(cin, cout, kernel, stride, dilation=dilation, bias=bias)


def same(op, module: nn.Conv2d, x):
    """A convolution that keeps the size (or halves it): its borders are reflected, because zeros there show up
    as a painted frame around the picture."""
    return op.conv(module, op.reflect(x, module.kernel_size[0] // 2 * module.dilation[0]))


class Residual(nn.Module):
    """Johnson's residual block: two 3x3 convolutions."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1, self.conv2 = conv(width, width, 3), conv(width, width, 3)


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
        self.mix = conv(depth, width, 1)
        self.gate = conv(width, 1, 1, bias=True)


def smooth_noise(depth: int, side: int, generator: torch.Generator | None = None) -> torch.Tensor:
    """[1, depth, side, side]: the sum of Gaussian noise smoothed over 2, 4, 8 and 16 positions, each with deviation 1.
    It continues over its borders."""
    total = torch.zeros(1, depth, side, side)
    for scale in (2, 4, 8, 16):
        noise = torch.randn(1, depth, side, side, generator=generator)
        reach = 2 * scale
        line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / (scale / 2)) ** 2)
        for shape in ((-1, 1), (1, -1)):
            kernel = line.view(1, 1, *shape).expand(depth, 1, -1, -1)
            pad = [reach, reach, 0, 0] if shape[0] == 1 else [0, 0, reach, reach]
            noise = F.conv2d(F.pad(noise, pad, mode="circular"), kernel, groups=depth)
        total += noise / noise.std((2, 3), keepdim=True)
    return total / 2


class Body(nn.Module):
    """What the bodies share: the code book and the way in and out.

    `codes` is a parameter [S, K], one row a style. `forward` takes and gives float [N, 3, H, W] in grey
    levels (0 to 255, RGB, output not clamped); the output is rounded up to multiples of `stride`.
    """

    stride: int
    least: int  # sides that the innermost reflection needs, in pixels
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

    def start_colors(self, means: torch.Tensor, deviations: torch.Tensor) -> None:
        """Begin with these colours of the styles, [S, 3] each, in grey levels; nothing where a body does not normalise
        its colours."""

    def norm_channels(self) -> list[int]:
        """Channels of every layer with scale and shift, in the order in which a code lists them."""
        spy = _NormSpy()
        self.paint(spy, None)
        return spy.channels

    def forward(
        self,
        x: torch.Tensor,
        code: torch.Tensor,
        peaks: list[torch.Tensor] | None = None,
        offsets: torch.Tensor | None = None,
    ) -> torch.Tensor:
        return self.paint(TorchOps(code, self.stride, self.least, peaks, offsets), x)

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

    def norm(self, x, channels, *args):
        self.channels.append(channels)

    active = norm

    def canvas(self, canvas, x, channels):
        self.channels.append(channels)

    def resize_head(self, module, x):
        self.channels.append(module.out_channels)

    def __getattr__(self, name):
        return lambda *args, **kwargs: None


class Live(Body):
    """The small body for CPUs, laptops and browsers: about 0.1 M parameters, and the canvas.

    Nothing happens at full size: a strided stem goes to half size at once, the work is done by residual 3x3
    convolutions at a quarter, and the head leaves half size for full size by a folded resize-convolution. No skips
    from before the blocks to behind them: they let the photograph through, and the net then only hatches it. The
    blocks are dilated for long strokes, up and down again by ones, which leaves no gaps (Wang et al. 2018,
    "Understanding Convolution for Semantic Segmentation"): ending with a dilated one may leave a lattice of its step.
    Every layer is normalised, the three output channels too, which gives each style its palette and contrast.
    """

    name = "live"
    stride = 4

    def __init__(self, styles: int = 1, widths=(16, 32), dilations=(1, 2, 3, 3, 2, 1), generator=None):
        super().__init__()
        self.config = {"widths": list(widths), "dilations": list(dilations)}
        half, quarter = self.widths = tuple(widths)
        if not all(isinstance(d, int) and d >= 1 for d in dilations):
            raise ValueError(f"dilations are whole numbers from 1, not {list(dilations)}")
        self.least = 4 * (max(dilations) + 1)  # positions at a quarter that the innermost reflection needs
        self.stem = conv(3, half, 6, 2)
        self.down4 = conv(half, quarter, 3, 2)
        self.canvas = Canvas(quarter, generator=generator)
        self.blocks = nn.ModuleList(conv(quarter, quarter, 3, dilation=d) for d in dilations)
        self.narrow = conv(quarter, half, 3)
        self.up2 = conv(half, half, 3)
        self.head = conv(half, 3, 5)
        self.start_codes(styles, generator)
        with torch.no_grad():
            at = 2 * (half + quarter)
            self.codes[:, at : at + quarter] *= 0.3  # the canvas: a hint of it

    @torch.no_grad()
    def start_colors(self, means, deviations):
        self.codes[:, -6:-3] = deviations / 127.5
        self.codes[:, -3:] = means / 127.5 - 1

    def paint(self, op, x):
        half, quarter = self.widths
        # Borders are reflected where that is cheapest: what each convolution eats was put around the layer before
        x = op.active(op.centered(self.stem, op.image(x, 4)), half, EPS_GREY)
        x = op.active(op.conv(self.down4, x), quarter)
        x = op.canvas(self.canvas, x, quarter)
        for block in self.blocks:
            x = op.add(x, op.active(same(op, block, x), quarter))
        x = op.active(same(op, self.narrow, x), half)
        x = op.active(op.conv(self.up2, op.up(op.reflect(x, 1))), half)
        return op.resize_head(self.head, x)


class Studio(Live):
    """The same, wider and deeper, for stills and GPUs."""

    name = "studio"

    def __init__(
        self, styles: int = 1, widths=(24, 64), dilations=(1, 2, 3, 3, 2, 1, 1, 2, 4, 4, 2, 1), generator=None
    ):
        super().__init__(styles, widths, dilations, generator)

    @torch.no_grad()
    def grow_from(self, small: Live) -> torch.Tensor:
        """Begin as a smaller body, and return its codes [S, K] for this one, with which it paints almost as that does:
        new channels are not listened to yet, new blocks only whisper (Chen, Goodfellow and Shlens 2016, "Net2Net").
        Raises ValueError if the small body is none that this one could have grown from."""
        (half, quarter), (old_half, old_quarter) = self.widths, small.widths
        dilations, old = (body.config["dilations"] for body in (self, small))
        if half < old_half or quarter < old_quarter or dilations[: len(old)] != old:
            raise ValueError(f"{self.config} does not extend {small.config}")
        modules = dict(small.named_modules())
        for name, module in self.named_modules():
            if not isinstance(module, nn.Conv2d) or name not in modules:
                continue
            weight = modules[name].weight
            out, channels = weight.shape[:2]
            module.weight[:out].zero_()
            module.weight[:out, :channels] = weight
            if module.bias is not None:
                module.bias[:out] = modules[name].bias
        self.canvas.tile.copy_(small.canvas.tile)
        codes = self.codes[:1].repeat(len(small.codes), 1)
        own, theirs = split_codes(codes, self.norm_channels()), split_codes(small.codes, small.norm_channels())
        new = slice(3 + len(old), 3 + len(dilations))  # behind stem, down4, canvas and the old blocks
        for scale, _ in own[new]:
            scale *= 0.1
        del own[new]
        for parts, small_parts in zip(own, theirs, strict=True):
            for part, small_part in zip(parts, small_parts, strict=True):
                part[:, : small_part.shape[1]] = small_part
        return codes


class Johnson(Body):
    """Johnson, Alahi and Fei-Fei's net (ECCV 2016, supplementary) as pytorch/examples' fast_neural_style has it, for
    weights that people already have: see `rtstyle.export.forms`. 1.7 M parameters; it grows by repeating pixels, and
    its normalisations have PyTorch's epsilon."""

    name = "johnson"
    stride = 4
    least = 16
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


BODIES = {"live": Live, "studio": Studio, "johnson": Johnson}


def build(name: str, styles: int = 1, config: dict | None = None, generator=None) -> Body:
    """A body by name with fresh weights; `config` may change its widths and its blocks."""
    if name not in BODIES:
        raise ValueError(f"unknown body {name!r}: choose {' or '.join(BODIES)}")
    return BODIES[name](styles, generator=generator, **(config or {}))


def split_codes(codes: torch.Tensor, channels: list[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Codes [S, K] to views of their (scale [S, C], shift [S, C]) by normalisation."""
    parts = codes.split([c for c in channels for _ in range(2)], dim=1)
    return list(zip(parts[::2], parts[1::2], strict=True))


def pack(layers: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """(scale [C], shift [C]) of every normalisation to one code [K]."""
    return torch.cat([part for layer in layers for part in layer])
