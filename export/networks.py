"""The bodies: transformer nets whose style is a vector.

A *body* holds every convolution and is shared by all styles. A *style code* is the scale and shift of
each instance normalisation, flattened to one vector of K floats (conditional instance normalisation,
Dumoulin, Shlens and Kudlur, "A Learned Representation For Artistic Style", ICLR 2017, eq. 5):

    z = gamma_s * (x - mean(x)) / sqrt(var(x) + eps) + beta_s

Each body describes itself once, in `paint`, in terms of a few operations. `rtstyle.export.operations.TorchOps`
carries them out for training; `rtstyle.export.to_onnx.OnnxOps` writes them down as an ONNX graph.

Borders are reflected in every layer, because zeros would paint a frame around the picture.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import nn

from rtstyle.export.operations import EPS_GREY, Canvas, Ops, TorchOps, X


def conv(cin: int, cout: int, kernel: int, stride: int = 1, dilation: int = 1, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(cin, cout, kernel, stride, dilation=dilation, bias=bias)


def same(op: Ops[X], module: nn.Conv2d, x: X) -> X:
    """A convolution that keeps the size (or halves it): its borders are reflected, because zeros there show up
    as a painted frame around the picture."""
    return op.conv(module, op.reflect(x, module.kernel_size[0] // 2 * module.dilation[0]))


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

    name: str
    stride: int
    min_size: int  # sides that the innermost reflection needs, in pixels
    config: dict[str, Any]
    code_length: int
    codes: nn.Parameter
    head: nn.Conv2d

    def paint(self, op: Ops[X], x: X) -> X:
        """Frames to paintings, by the operations of `op`."""
        raise NotImplementedError

    def start_codes(self, styles: int, generator: torch.Generator | None = None) -> None:
        """New codes: scale near 1, shift 0; noise tells the styles apart from the first step, so that they get strokes
        of their own."""
        channels = self.norm_channels()
        self.code_length = 2 * sum(channels)
        rows = []
        for _ in range(styles):
            parts = []
            for c in channels:
                parts += [1 + 0.2 * torch.randn(c, generator=generator), torch.zeros(c)]
            rows.append(torch.cat(parts))
        self.codes = nn.Parameter(torch.stack(rows))

    def start_colors(self, means: torch.Tensor, deviations: torch.Tensor) -> None:
        """Begin with these colours of the styles, [S, 3] each, in grey levels; nothing where a body does not normalise
        its colours."""

    def norm_channels(self) -> list[int]:
        """Channels of every layer with scale and shift, in the order in which a code lists them."""
        spy = _NormSpy()
        self.paint(cast(Ops[None], spy), None)
        return spy.channels

    def forward(self, x: torch.Tensor, code: torch.Tensor, offsets: torch.Tensor | None = None) -> torch.Tensor:
        return self.paint(TorchOps(code, self.stride, self.min_size, offsets), x)

    @torch.no_grad()
    def stylize(self, frames: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        """uint8 [N, H, W, 3] to uint8 [N, H, W, 3]: what the exported model must compute, in torch."""
        h, w = frames.shape[1:3]
        y = self.forward(frames.permute(0, 3, 1, 2).float(), code)[:, :, :h, :w]
        return (y + 0.5).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)

    def body_weights(self) -> dict[str, torch.Tensor]:
        """Everything but the codes, by torch name."""
        return {k: v for k, v in self.state_dict().items() if k != "codes"}

    def body_sha256(self) -> str:
        """Identity of the body: codes learned on one body mean nothing on another."""
        return weights_sha256(self.body_weights())


def weights_sha256(weights: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of weights with their names and shapes, whatever their order."""
    digest = hashlib.sha256()
    for name, weight in sorted(weights.items()):
        digest.update(name.encode() + str(tuple(weight.shape)).encode())
        digest.update(weight.detach().cpu().float().numpy().astype("<f4").tobytes())
    return digest.hexdigest()


class _NormSpy:
    """Walks through `paint` without computing anything and notes the normalisations."""

    def __init__(self) -> None:
        self.channels: list[int] = []

    def norm(self, x: None, channels: int, *args: float) -> None:
        self.channels.append(channels)

    active = norm

    def canvas(self, canvas: Canvas, x: None, channels: int) -> None:
        self.channels.append(channels)

    def resize_head(self, module: nn.Conv2d, x: None) -> None:
        self.channels.append(module.out_channels)

    def __getattr__(self, name: str) -> Any:
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

    def __init__(
        self,
        styles: int = 1,
        widths: Sequence[int] = (16, 32),
        dilations: Sequence[int] = (1, 2, 3, 3, 2, 1),
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        self.config = {"widths": list(widths), "dilations": list(dilations)}
        half, quarter = self.widths = tuple(widths)
        if not all(isinstance(d, int) and d >= 1 for d in dilations):
            raise ValueError(f"dilations are whole numbers from 1, not {list(dilations)}")
        self.min_size = 4 * (max(dilations) + 1)  # positions at a quarter that the innermost reflection needs
        self.stem = conv(3, half, 6, 2)
        self.down4 = conv(half, quarter, 3, 2)
        self.canvas = Canvas(quarter, generator=generator)
        self.blocks = nn.ModuleList(conv(quarter, quarter, 3, dilation=d) for d in dilations)
        self.narrow = conv(quarter, half, 3)
        self.up2 = conv(half, half, 3)
        self.head = conv(half, 3, 5)
        self.start_codes(styles, generator)
        with torch.no_grad():
            start = 2 * (half + quarter)
            self.codes[:, start : start + quarter] *= 0.3  # the canvas: a hint of it

    @torch.no_grad()
    def start_colors(self, means: torch.Tensor, deviations: torch.Tensor) -> None:
        self.codes[:, -6:-3] = deviations / 127.5
        self.codes[:, -3:] = means / 127.5 - 1

    def paint(self, op: Ops[X], x: X) -> X:
        half, quarter = self.widths
        # Borders are reflected where that is cheapest: what each convolution eats was put around the layer before
        x = op.active(op.centered(self.stem, op.image(x, 4)), half, EPS_GREY)
        x = op.active(op.conv(self.down4, x), quarter)
        x = op.canvas(self.canvas, x, quarter)
        for block in self.blocks:
            x = op.add(x, op.active(same(op, cast(nn.Conv2d, block), x), quarter))
        x = op.active(same(op, self.narrow, x), half)
        x = op.active(op.conv(self.up2, op.up(op.reflect(x, 1))), half)
        return op.resize_head(self.head, x)


class Studio(Live):
    """The same, wider and deeper, for stills and GPUs."""

    name = "studio"

    def __init__(
        self,
        styles: int = 1,
        widths: Sequence[int] = (24, 64),
        dilations: Sequence[int] = (1, 2, 3, 3, 2, 1, 1, 2, 4, 4, 2, 1),
        generator: torch.Generator | None = None,
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
    min_size = 16
    eps = 1e-5

    def __init__(
        self,
        styles: int = 1,
        widths: Sequence[int] = (32, 64, 128),
        blocks: Sequence[int] = (5,),
        generator: torch.Generator | None = None,
    ):
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

    def paint(self, op: Ops[X], x: X) -> X:
        full, half, quarter = self.widths
        x = op.relu(op.norm(op.conv(self.conv1, op.image(x, 4)), full, self.eps))
        x = op.relu(op.norm(same(op, self.conv2, x), half, self.eps))
        x = op.relu(op.norm(same(op, self.conv3, x), quarter, self.eps))
        for block in cast("Sequence[Residual]", self.residuals):
            y = op.relu(op.norm(same(op, block.conv1, x), quarter, self.eps))
            x = op.add(x, op.norm(same(op, block.conv2, y), quarter, self.eps))
        x = op.relu(op.norm(same(op, self.up2, op.repeat(x)), half, self.eps))
        x = op.relu(op.norm(same(op, self.up1, op.repeat(x)), full, self.eps))
        return op.head(self.head, op.reflect(x, 4))


BODIES: dict[str, type[Live | Johnson]] = {"live": Live, "studio": Studio, "johnson": Johnson}


def build(
    name: str, styles: int = 1, config: dict[str, Any] | None = None, generator: torch.Generator | None = None
) -> Body:
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
