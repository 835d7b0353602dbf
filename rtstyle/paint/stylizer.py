"""Frames in, painted frames out: a session of a model and the code of a style."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from rtstyle.errors import DeviceError, ModelError, RtstyleError, UsageError
from rtstyle.gallery import catalog
from rtstyle.gallery.model_file import Style
from rtstyle.paint.painter import Painter
from rtstyle.runtime import devices
from rtstyle.runtime.opening import open_model
from rtstyle.runtime.session import Code, Frames, Run

MIN_SIDE = 16
MIN_STROKE, MAX_STROKE = 0.25, 4.0  # times the size of the training
CHECKED = 8  # first frames that are looked at for being painted in one colour

log = logging.getLogger("rtstyle")


class Stylizer:
    """Paints frames in a style.

        stylizer = Stylizer("starry-night")
        painted = stylizer(frame)                 # uint8 RGB [H, W, 3] or [N, H, W, 3]
        stylizer.style = "great-wave"             # a small vector changes: no model is loaded

    `style` is a name, a mix such as `starry-night:0.7,great-wave:0.3` a picture or a path to an .onnx file; None takes
    the model's first. `model` is `live`, `studio` or a path. `device` is `auto`, `cpu`, `cuda`, `cuda:1`, `tensorrt`,
    `openvino`, `openvino:gpu`, `webgpu`, `coreml` or `directml`; `self.device` says which it became and why.
    `work_height` is the height at which the net runs: in pixels (less is faster and gives larger strokes), `full` for
    the frame's own, or `auto` for the one at which strokes have the size of their training, times `stroke_size` (0.25
    to 4), but never above the frame's. `threads` limits the CPU threads of the net.

    Raises RtstyleError (a UsageError for impossible arguments) with a sentence that says what to do.
    """

    resumable = True

    def __init__(
        self,
        style: str | None = None,
        *,
        model: str = "live",
        device: str = "auto",
        work_height: int | Literal["auto", "full"] = "auto",
        stroke_size: float = 1.0,
        threads: int | None = None,
    ):
        if work_height not in ("auto", "full") and not (isinstance(work_height, int) and work_height >= MIN_SIDE):
            raise UsageError(f"the work height must be auto, full or at least {MIN_SIDE} pixels, not {work_height}")
        if not MIN_STROKE <= stroke_size <= MAX_STROKE:  # also refuses nan
            raise UsageError(f"the stroke size must be between {MIN_STROKE} and {MAX_STROKE:g}, not {stroke_size:g}")
        choice = catalog.resolve(style, model)
        self.model = choice.model
        self.work_height: int | Literal["auto", "full"] = work_height
        self.stroke_size, self.threads = stroke_size, threads
        self.code, self._label, self._picture = choice.code, choice.label, choice.picture
        codes = [code for code in (self.code, *(style.code for style in self.model.styles)) if code is not None]
        self._session = open_model(self.model.path, device, form=self.model.classic, codes=codes, threads=threads)
        self._unchecked = CHECKED

    @property
    def device(self) -> devices.Device:
        """What paints, and why: on a GPU also how, which may change when a size is painted for the first time."""
        return self._session.device

    @property
    def half(self) -> bool:
        """Whether it calculates in float16."""
        return self._session.half

    @property
    def path(self) -> Path:
        """The model's file."""
        return self.model.path

    @property
    def reference_height(self) -> int:
        """The height, in pixels, at which strokes have the size of their training times `stroke_size`."""
        return max(MIN_SIDE, round(self.model.reference_height / self.stroke_size))

    @property
    def style(self) -> str:
        """What is being painted, as it was asked for."""
        return self._label

    @style.setter
    def style(self, style: str) -> None:
        choice = catalog.resolve(style, str(self.model.path))
        if choice.model.path != self.model.path and not self._takes(choice):
            raise UsageError(f"{style} was made for another body: make a new Stylizer for it")
        self.code, self._label, self._picture = choice.code, choice.label, choice.picture

    def gallery(self) -> Sequence[Style]:
        """The styles whose codes this model takes, of all that are there, and that of the picture that it was given."""
        return [*catalog.mixable(self.model), *([self._picture] if self._picture else [])]

    def code_of(self, style: str) -> Code:
        """The code of a style, a mix or a file, float32 [K]. Raises UsageError if it was made for another body."""
        choice = catalog.resolve(style, str(self.model.path))
        if choice.code is None or not self._takes(choice):
            raise UsageError(f"{style} was made for another body: it cannot follow {self.style}")
        return choice.code

    def _takes(self, choice: catalog.Choice) -> bool:
        same = choice.model.body_sha256 == self.model.body_sha256
        return same and choice.code is not None and self.code is not None

    def __call__(self, frames: Frames, code: Code | None = None) -> Frames:
        """Paint uint8 RGB [H, W, 3] or [N, H, W, 3], both sides at least 16; same shape out.

        `code` (float32 [K]) replaces the style for this call. Raises ValueError for other types or shapes.
        """
        frames = np.asarray(frames)
        if frames.dtype != np.uint8 or frames.ndim not in (3, 4) or frames.shape[-1] != 3:
            raise ValueError(
                f"frames must be uint8 [H, W, 3] or [N, H, W, 3], these are {frames.dtype} {list(frames.shape)}"
            )
        height, width = frames.shape[-3:-1]
        if min(height, width) < MIN_SIDE:
            raise ValueError(f"frames must be at least {MIN_SIDE} pixels a side, these are {width}x{height}")
        painter = Painter(self)
        if frames.ndim == 3:
            return painter(frames, code)
        if len(frames) == 0:
            return frames
        prepared = [painter.prepare(frame) for frame in frames]
        return np.stack([painter.finish(*pair) for pair in zip(prepared, painter.run(prepared, code), strict=True)])

    def working_size(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) at which the net runs for frames of this size, if the net leaves the choice."""
        form = self.model.classic
        if form and form.fixed:
            return form.fitting(height, width)
        if self.work_height == "full":
            scale = 1.0
        elif self.work_height == "auto":  # by the short side, so that a portrait has the strokes of a landscape
            scale = min(1.0, self.reference_height / min(height, width))
        else:
            scale = self.work_height / height
        return max(MIN_SIDE, round(height * scale)), max(MIN_SIDE, round(width * scale))

    def run(self, frames: Frames, code: Code | None = None) -> Frames:
        """The net alone: uint8 RGB [N, h, w, 3] to the same, at the size given.

        `code` (float32 [K]) replaces the style for this call. Raises RtstyleError if the net fails, ValueError for a
        code that it does not take.
        """
        return self._run_by(self._session.run, frames, code)

    def for_throughput(self) -> tuple[Run, int]:
        """(a `run` with the most frames a second, how many threads should call it at once)."""
        run, workers = self._session.for_throughput()
        return functools.partial(self._run_by, run), workers

    def abandon(self) -> None:
        """End what is being painted, in any thread, however long it would take: it raises RtstyleError."""
        self._session.abandon()

    def _run_by(self, run: Run, frames: Frames, code: Code | None = None) -> Frames:
        if code is None:
            code = self.code
        elif self.code is None:
            raise ValueError(f"{self.model.path.name} has one style built in and takes no code")
        if code is not None and self.code is not None:
            code = np.ascontiguousarray(code, np.float32)
            if code.shape != self.code.shape:
                raise ValueError(f"a code of this model has shape {self.code.shape}, this one {code.shape}")
        try:
            painted = run(np.ascontiguousarray(frames), code)
        except RtstyleError:
            raise
        except Exception as error:  # ONNX Runtime's own kinds: out of memory, a lost device
            raise DeviceError(
                f"painting a frame of {frames.shape[2]}x{frames.shape[1]} on {self.device.name} failed "
                f"({devices.first_sentence(error)}): try a smaller `work_height` or another `device`"
            ) from None
        if painted.shape != frames.shape or painted.dtype != np.uint8:
            raise ModelError(
                f"{self.path} is not a working style model: for frames {list(frames.shape)} it gives {painted.dtype} "
                f"{list(painted.shape)}"
            )
        if self._unchecked:
            self._check(frames, painted)
        return painted

    def _check(self, frames: Frames, painted: Frames) -> None:
        """Say so if the painting has one colour and its photograph more."""
        self._unchecked -= 1
        if (painted == painted[0, 0, 0]).all() and (frames != frames[0, 0, 0]).any():
            log.warning(f"{self.path.name} paints everything in one colour")
            self._unchecked = 0
