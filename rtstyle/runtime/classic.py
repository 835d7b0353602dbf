"""Classic ONNX style nets, the kind that people already have: one style, floats in and out, often of one fixed size.

`examine` finds out what kind of net a session holds, `ClassicSession` runs it as if it kept rtstyle's contract. What
the file does not say is found by painting two small pictures, mid-grey and a random one, while it is loaded:

- *Range.* `Image.NominalPixelRange` of ONNX's metadata decides where it is given. Otherwise the pictures go in
  between 0 and 1, and what comes out tells: normalising nets (nearly all of them) paint the same whatever the scale
  of their input. Within about 0 to 1 means 0 to 1, as far below zero as above means -1 to 1, anything else 0 to 255.
  A net that neither normalises nor bounds its output can be misread; the metadata puts that right.
- *Multiple.* Nets that halve and double give another size than they got unless it is a multiple of 4, 8, 16 or 32:
  the least at which the sizes agree is taken. Frames are reflected up to it, and the painting is cropped.

Nets of a fixed size want the whole frame resized to it, which is the painter's work. Frames go in one by one: a graph
exported for one frame often holds that number in places where its inputs do not show it.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from rtstyle.errors import ModelError
from rtstyle.runtime import devices
from rtstyle.runtime.bounds import Runs
from rtstyle.runtime.session import Code, Frames, Run, share_out

log = logging.getLogger("rtstyle")

Image = npt.NDArray[np.floating[Any]]

FLOATS: dict[str, type[np.floating[Any]]] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
MULTIPLES = (4, 8, 16, 32)
MAX_SIDE = 4096  # pixels that a net may fix: a trial of more would take gigabytes
TRIAL_SIDE = 64  # pixels a side, and a multiple: a net that needs more of them than 4 fails at 68
NOMINAL = {"nominalrange_0_255": (0.0, 255.0), "normalized_0_1": (0.0, 1.0), "normalized_1_1": (-1.0, 1.0)}
SLACK = 0.5  # how far unclamped outputs may leave their range
CHECKED = 8  # first frames in which NaN is looked for
FLAT = 0.05  # spread below which an output tells nothing, where 1 is the whole range


@dataclasses.dataclass(frozen=True)
class Form:
    """How a classic net takes its pictures. A side of `size` (height, width) is None where it is free; colours lie
    between `low` and `high`; `multiple` is what free sides have to be a multiple of."""

    input: str
    dtype: type[np.floating[Any]]
    planar: bool  # [N, 3, H, W], otherwise [N, H, W, 3]
    planar_out: bool
    size: tuple[int | None, int | None]
    low: float
    high: float
    multiple: int = 1
    bgr: bool = False

    def fitting(self, height: int, width: int) -> tuple[int, int]:
        """The size (height, width) at which the net sees a frame."""
        return (
            self.size[0] or height + -height % self.multiple,
            self.size[1] or width + -width % self.multiple,
        )

    @property
    def fixed(self) -> bool:
        """Whether frames are resized for this net."""
        return any(self.size)


def examine(session: ort.InferenceSession, path: Path) -> Form:
    """The form of a net with one float image in and one out. Runs it a few times on small pictures, or on two of its
    fixed size.

    Raises ModelError if it fails on them or does not give a picture of three colours and the same size.
    """
    image = session.get_inputs()[0]
    props = {key.lower(): value.lower() for key, value in session.get_modelmeta().custom_metadata_map.items()}
    planar = image.shape[1] == 3
    sides = image.shape[2:] if planar else image.shape[1:3]
    tall, wide = (side if isinstance(side, int) and side > 0 else None for side in sides)
    if max(tall or 0, wide or 0) > MAX_SIDE:
        raise ModelError(
            f"{path} cannot be adapted: expected pictures of at most {MAX_SIDE} pixels a side; found a fixed size of "
            f"{wide or 'any'} x {tall or 'any'}"
        )
    pixels, nominal = props.get("image.bitmappixelformat", "rgb8"), props.get("image.nominalpixelrange")
    if pixels not in ("rgb8", "bgr8") or (nominal is not None and nominal not in NOMINAL):
        raise ModelError(
            f"{path} cannot be adapted: expected pixels Rgb8 or Bgr8 and a range of {', '.join(NOMINAL)}; "
            f"found {pixels} and {nominal or 'no range'}"
        )
    form = Form(image.name, FLOATS[image.type], planar, planar, (tall, wide), 0.0, 1.0, bgr=pixels == "bgr8")
    form, outputs = _try(session, form, path)
    low, high = NOMINAL[nominal] if nominal else _range(outputs)
    return dataclasses.replace(form, low=low, high=high)


def _try(session: ort.InferenceSession, form: Form, path: Path) -> tuple[Form, list[Image]]:
    """The form with its multiple and the layout of its output, and what it gave for mid-grey and a random picture."""
    result, runs = "nothing", Runs(path.name, limited=True)
    for multiple in MULTIPLES if None in form.size else (1,):
        tried = dataclasses.replace(form, multiple=multiple)
        height, width = (fixed or TRIAL_SIDE + multiple for fixed in form.size)
        grey = np.full((height, width, 3), 0.5, np.float32)
        coarse = np.random.default_rng(0).random((8, 8, 3), np.float32)
        try:
            pictures = grey, np.asarray(cv2.resize(coarse, (width, height)), np.float32)
            outputs = [_run(session, tried, picture, runs) for picture in pictures]
        except ModelError:  # it takes too long
            raise
        except Exception as error:  # ONNX Runtime's own kinds
            result = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            continue
        for planar_out in (form.planar, not form.planar):
            shape = (1, 3, height, width) if planar_out else (1, height, width, 3)
            if all(output.shape == shape for output in outputs):
                return dataclasses.replace(tried, planar_out=planar_out), outputs
        result = f"{list(outputs[0].shape)} for a picture of {width}x{height}"
    raise ModelError(f"{path} cannot be adapted: expected a painted picture of the size given; found {result}")


def _range(outputs: list[Image]) -> tuple[float, float]:
    """The range of colours (low, high) that a net works in, from what it gave for pictures between 0 and 1."""
    low, high = np.percentile(np.concatenate([output.ravel() for output in outputs]), (1, 99))
    spread = np.subtract(*np.percentile(outputs[1], (98, 2)))
    if spread > FLAT and low >= -SLACK and high <= 1 + SLACK:
        return 0.0, 1.0
    if spread > 2 * FLAT and low >= -1 - SLACK and high <= 1 + SLACK:
        return -1.0, 1.0
    return 0.0, 255.0


def _run(session: ort.InferenceSession, form: Form, image: Image, runs: Runs) -> Image:
    """A picture float32 [H, W, 3] in the net's range, to what the net gives, float [1, 3, H, W] or [1, H, W, 3]."""
    shape = (1, *image.shape)
    image = image[..., ::-1] if form.bgr else image
    image = image.transpose(2, 0, 1) if form.planar else image
    feed = {form.input: np.ascontiguousarray(image[None], form.dtype)}
    return runs.run(lambda options: session.run(None, feed, options)[0], shape)


class ClassicSession:
    """A classic net that takes and gives what rtstyle's own models do; any thread may use it.

    `threads` limits the CPU threads. Raises RtstyleError if the device does not start or the file is not a model.
    """

    half = False

    def __init__(
        self, path: Path, device: devices.Device, form: Form, threads: int | None = None, *, runs: Runs | None = None
    ):
        self.device, self.form = device, form
        self._path, self._threads = path, threads
        self._session = devices.open_session(str(path), device, threads)
        self._runs = runs or Runs(path.name, limited=device.kind == "cpu")
        self.abandon = self._runs.abandon
        self._unchecked = CHECKED

    def run(self, frames: Frames, code: Code | None = None) -> Frames:
        """uint8 RGB [N, H, W, 3] to the same; there is one style, so `code` is None. Raises ValueError where a side is
        fixed and the frames have another: `form.fitting` gives the size."""
        sides = frames.shape[1:3]
        if any(fixed not in (None, side) for fixed, side in zip(self.form.size, sides, strict=True)):
            raise ValueError(f"this net takes {self.form.size} (height, width), not {sides}")
        return np.stack([self._paint(frame) for frame in frames])

    def for_throughput(self) -> tuple[Run, int]:
        workers, threads = share_out(self.device, self._threads)
        if workers == 1:
            return self.run, 1
        return ClassicSession(self._path, self.device, self.form, threads, runs=self._runs).run, workers

    def _paint(self, frame: Frames) -> Frames:
        form, (height, width) = self.form, frame.shape[:2]
        tall, wide = form.fitting(height, width)
        padded = cv2.copyMakeBorder(frame, 0, tall - height, 0, wide - width, cv2.BORDER_REFLECT_101)
        span = form.high - form.low
        image = padded.astype(np.float32) * np.float32(span / 255) + np.float32(form.low)
        painted = _run(self._session, form, image, self._runs)[0].astype(np.float32)
        painted = painted.transpose(1, 2, 0) if form.planar_out else painted
        painted = painted[..., ::-1] if form.bgr else painted
        painted = (painted - form.low) * (255 / span)
        if self._unchecked:
            self._unchecked -= 1
            if np.isnan(painted).any():
                log.warning(f"{self._path.name} paints pixels that are not a number: they are black")
                self._unchecked = 0
        whole = np.clip(np.nan_to_num(painted) + 0.5, 0, 255).astype(np.uint8)
        return np.ascontiguousarray(whole[:height, :width])
