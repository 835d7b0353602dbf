"""The file by which a code is polished without torch: one step's loss and its gradient, in ONNX.

photograph   uint8 [1, 2 PATCH, 2 PATCH, 3]   four patches of photographs, side by side
code         float32 [K]                      with which it is painted, by the body that the file holds
colors, grams, lengths                        what the encoder sees of the picture: outputs of its file
loss         float32 [1, 1]                   how far the painting is from the picture, and from the photograph
gradient     float32 [K]                      of the loss with respect to the code

It sees by the small net of the encoder, which sees nearly what VGG does: style is the distance of Gram matrices
relative to both, as in `perceptual.symmetric_style_loss`, content that of the deepest components (Johnson et al. 2016,
section 3.2).
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from PIL import Image

from rtstyle.export import gradient, to_onnx
from rtstyle.export.encoder import PATCH, Encoder, Seen, Trial
from rtstyle.export.encoder_file import OPSET, SEEN, Writer, belongs_to, rounded, seen_values
from rtstyle.export.onnx_graph import cpu_session, folded, save_checked

CONTENT_WEIGHT = 0.08
COLOR_WEIGHT = 5.0
EPS = 1e-4
GRADIENT_DIFFERENCE = 0.02  # between ONNX Runtime and torch, of the length of the gradient


def beside(encoder: str | os.PathLike[str]) -> Path:
    """Where the file is that goes with an encoder's."""
    path = Path(encoder)
    return path.with_name(f"{path.stem}-polish{path.suffix}")


def loss(encoder: Encoder, trial: Trial, target: Seen, photograph: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
    """What the file computes, in torch: a photograph uint8 [1, s, s, 3] and a code [1, K] to a single number."""
    frames = photograph.permute(0, 3, 1, 2).float()
    painted = trial.body(frames, code).clamp(0, 255)
    painted = painted + (painted.round() - painted).detach()  # what is rounded has the gradient of what is not
    shrink = shrinking(trial)
    seen, shown = (shrink @ x @ shrink.T for x in (painted, frames))
    painting = encoder.look(seen)
    off = (target.grams - painting.grams).square()
    distances = torch.zeros_like(target.lengths).index_add(1, encoder.matrix, off) / (target.lengths * painting.lengths)
    content = (_centered(encoder.vgg(seen)[-1]) - _centered(encoder.vgg(shown)[-1])).square().mean()
    colors = (target.colors - painting.colors).square().sum()
    return distances.mean() + CONTENT_WEIGHT * content + COLOR_WEIGHT * colors


def shrinking(trial: Trial) -> torch.Tensor:
    """The matrix that shrinks a side of a painting to what there is to see of it, by the filter by which pictures are
    shrunk for the encoder: through another, less or more of the strokes would be left of one than of the other."""
    each = Image.fromarray(np.eye(2 * PATCH, dtype=np.float32))
    return torch.from_numpy(np.array(each.resize((2 * PATCH, trial.seen_side), Image.Resampling.LANCZOS)))


def _centered(maps: torch.Tensor) -> torch.Tensor:
    """Maps [N, C, H, W] without the mean of each channel, as shares of their root mean square."""
    off = maps - maps.mean((2, 3), keepdim=True)
    return off / (off.square().mean((1, 2, 3), keepdim=True) + EPS).sqrt()


def to_model(encoder: Encoder, trial: Trial) -> onnx.ModelProto:
    """The ONNX graph of `loss` and its gradient. No metadata yet."""
    written = _LossWriter(encoder, trial)
    side = 2 * PATCH
    model = helper.make_model(
        helper.make_graph(
            written.nodes,
            "rtstyle-polish",
            [
                helper.make_tensor_value_info("photograph", TensorProto.UINT8, [1, side, side, 3]),
                helper.make_tensor_value_info("code", TensorProto.FLOAT, [encoder.config["code_length"]]),
                *seen_values(encoder),
            ],
            [helper.make_tensor_value_info("loss", TensorProto.FLOAT, [1, 1])],
            list(written.initializers.values()),
        ),
        producer_name="rtstyle",
        ir_version=9,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    model = folded(model)
    gradient.add_gradient(model, "loss", "code")
    to_onnx.halve(model)
    return model


class _LossWriter(Writer):
    def __init__(self, encoder: Encoder, trial: Trial):
        super().__init__(encoder)
        shrink = shrinking(trial).numpy()
        self.rows, self.columns = self.constant("rows", shrink), self.constant("columns", shrink.T)
        seen = self.shrunk(self.painted(trial.body, "photograph", "code"))
        painting = self.look(seen)
        off = self.node("Sub", "grams", painting.grams)
        matrix = encoder.matrix.cpu().numpy()
        which = self.constant("which", (matrix[:, None] == np.arange(matrix.max() + 1)).astype(np.float32))
        distances = self.node("MatMul", self.node("Mul", off, off), which)
        distances = self.node("Div", distances, self.node("Mul", "lengths", painting.lengths))
        style = self.node("ReduceMean", distances, self.constant("in_a_row", [1]), keepdims=1)
        content = self.squares(self.centered(seen), self.centered(self.shrunk("photograph")), mean=True)
        colors = self.squares("colors", painting.colors, mean=False)
        content = self.node("Mul", self.as_row(content), self.constant("content_weight", CONTENT_WEIGHT))
        colors = self.node("Mul", self.as_row(colors), self.constant("color_weight", COLOR_WEIGHT))
        total = self.node("Add", self.node("Add", style, content), colors)
        self.nodes.append(helper.make_node("Identity", [total], ["loss"], "loss"))

    def shrunk(self, frames: str) -> str:
        """uint8 [1, s, s, 3] to what there is to see of it, float [1, 3, seen_side, seen_side]."""
        planes = self.node("Cast", self.node("Transpose", frames, perm=[0, 3, 1, 2]), to=TensorProto.FLOAT)
        return self.node("MatMul", self.node("MatMul", self.rows, planes), self.columns)

    def centered(self, seen: str) -> str:
        maps, _ = self.small_vgg(seen)[-1]
        off = self.node("Sub", maps, self.node("ReduceMean", maps, self.places(), keepdims=1))
        power = self.node("ReduceMean", self.node("Mul", off, off), self.all_but_the_first(), keepdims=1)
        return self.node("Div", off, self.node("Sqrt", self.node("Add", power, self.constant("polish_eps", EPS))))

    def squares(self, a: str, b: str, *, mean: bool) -> str:
        off = self.node("Sub", a, b)
        return self.node("ReduceMean" if mean else "ReduceSum", self.node("Mul", off, off), keepdims=0)

    def as_row(self, number: str) -> str:
        return self.node("Reshape", number, self.constant("one_one", [1, 1]))

    def all_but_the_first(self) -> str:
        return self.constant("all_but_the_first", [1, 2, 3])


def write_polisher(encoder: Encoder, trial: Trial, out: str | os.PathLike[str], *, force: bool = False) -> None:
    """Write the file that goes with an encoder's, after a comparison with torch. Nothing is written where they
    disagree; without `force` no file is replaced. Raises RtstyleError otherwise."""
    encoder = rounded(encoder)
    model = to_model(encoder, trial)
    helper.set_model_props(model, belongs_to(encoder, trial))
    difference = functools.partial(compare, encoder=encoder, trial=trial)
    save_checked(model, "gradient", difference, GRADIENT_DIFFERENCE, out, force=force)


def compare(model: onnx.ModelProto, encoder: Encoder, trial: Trial) -> float:
    """How far the gradient of ONNX Runtime is from that of torch, as a share of its length: for a picture of noise and
    the mean of the body's codes."""
    session = cpu_session(model)
    picture = torch.rand((1, 3, 480, 500), generator=torch.Generator().manual_seed(0)).mul(255).round()
    with torch.no_grad():
        target = encoder.look(picture)
    code = encoder.mean.detach().clone()[None].requires_grad_()
    value = loss(encoder, trial, target, trial.photograph, code)
    (expected,) = torch.autograd.grad(value.sum(), code)
    seen = {name: getattr(target, name).numpy() for name in SEEN}
    given = {"photograph": trial.photograph.numpy(), "code": code.detach()[0].numpy(), **seen}
    _, got = session.run(["loss", "gradient"], given)
    return float((torch.from_numpy(got) - expected[0]).norm() / expected.norm())
