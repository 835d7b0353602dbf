"""Steady strokes on video: what stands still stays, what moves takes its strokes along, what changes shows at once."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from rtstyle.paint.warping import grid, warp

SHRINK = 4  # motion is looked for in a picture so many times smaller
MIN_FLOW_SIDE = 12  # pixels a side that DIS asks for: a smaller small picture is taken to stand still
MARGIN = 0.15  # grey levels: what stands still explains as well as motion does, to this, stands still
TOLERANCE = 4.0  # grey levels by which past and present may differ
MAX_CHANGED = 0.6  # the share of a frame that may disagree with the past: beyond it, a new scene begins
MAX_GAIN = 2.0  # of contrast: where old and new strokes have nothing in common, more would only show the seams


class TemporalStabilizer:
    """Makes the strokes hold still in the painted frames of one video.

        stabilizer = TemporalStabilizer()
        for frame in video:                               # uint8 RGB [H, W, 3]
            prepared = stabilizer.prepare(frame)
            show(stabilizer.blend(prepared, stylizer(prepared.frame)))

    Each frame is compared with what the past leads to expect. Where the two agree, and only there,

    - before the net, what stands still is averaged over up to `frames` frames: sensor noise makes flat areas boil,
      and here it goes without blurring a stroke. What moves is left as it is;
    - after the net, the last output, warped along the optical flow of the input, makes up `keep` (0 to 1) of the
      new one (Ruder et al. 2016, "Artistic Style Transfer for Videos", sections 4.1 and 4.2, as a recursive filter).
      Strokes that do not quite meet come out pale from such a blend, so it gets back the local contrast of the new
      painting: `detail` times the gain that this takes, for the finest detail (the idea is the variance-preserving
      blending of Heitz and Neyret 2018; here the variance is measured, as the two are not independent).

    Agreement is exp(-(d / TOLERANCE)^2); d is the mean difference of the three channels, in grey levels, at a
    quarter of the size. When more than MAX_CHANGED of the frame agrees by less than a half, when the size changes or
    after `reset`, the past is forgotten and the frame is painted as it is.
    """

    def __init__(self, *, frames: int = 16, keep: float = 0.65, detail: float = 1.3):
        if not (frames >= 1 and 0 <= keep < 1 and detail >= 0):
            raise ValueError(
                "expected frames >= 1, 0 <= keep < 1 and detail >= 0, "
                f"found frames={frames}, keep={keep}, detail={detail}"
            )
        self.frames, self.keep, self.detail = frames, keep, detail
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._dis.setFinestScale(0)  # the preset stops at a quarter of the small picture: too coarse for limbs
        self._dis.setPatchStride(6)  # these two pay for it
        self._dis.setGradientDescentIterations(6)
        self._shape: tuple[int, ...] | None = None
        self._strokes: _Strokes | None = None
        self.reset()

    def reset(self) -> None:
        """Forget the past: the next frame is painted as it is."""
        self._small_mean: np.ndarray | None = None

    def prepare(self, frame: np.ndarray) -> StabilizedInput:
        """What comes before the net, for the next frame, uint8 RGB [H, W, 3]. The net's paintings of such frames go to
        `blend` in the same order; the two halves share nothing that changes, so each may run in a thread of its own.

        Raises ValueError for other types or shapes.
        """
        frame = np.ascontiguousarray(frame)
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or min(frame.shape) < 2:
            raise ValueError(f"the frame must be uint8 [H, W, 3], found {frame.dtype} {list(frame.shape)}")
        if frame.shape != self._shape:
            self._start(frame.shape)
        small = self._shrink(frame)
        past = self._small_mean
        match = None if past is None else self._match(small, past)
        if past is None or match is None:
            self._age = np.ones(small.shape[:2], np.float32)  # how many frames are in the mean
            self._small_mean = small
            np.copyto(self._mean, frame)
            return StabilizedInput(frame)
        flow, still, agreement = match
        return StabilizedInput(self._average(frame, small, past, still * agreement), flow, agreement)

    def blend(self, prepared: StabilizedInput, painted: np.ndarray, *, history_weight: float = 1.0) -> np.ndarray:
        """What comes after the net: the painting of `prepared.frame` to the one to show, both uint8 [H, W, 3].

        `history_weight` (0 to 1) scales `keep` for this frame: pass less while the painting changes though the frame
        does not, as in a crossfade of styles. Raises ValueError for other types, shapes or values.
        """
        if not 0 <= history_weight <= 1:
            raise ValueError(f"history_weight must be between 0 and 1, found {history_weight}")
        painted = _checked(painted, prepared.frame)
        if self._strokes is None or prepared.flow is None or prepared.agreement is None:
            self._strokes = _Strokes(painted, self.detail)
            return painted
        return self._strokes.blend(painted, prepared.flow, self.keep * history_weight * prepared.agreement)

    def _start(self, shape: tuple[int, ...]) -> None:
        """Buffers for frames of this shape: fresh memory in every step would double the time."""
        self.reset()
        self._shape, (height, width) = shape, shape[:2]
        self._small_size = max(1, width // SHRINK), max(1, height // SHRINK)
        self._small_grid = grid(*self._small_size)
        self._mean, self._mix = np.empty(shape, np.float32), _Mix(shape)

    def _shrink(self, frame: np.ndarray) -> np.ndarray:
        """The frame at a quarter of its size, float32, smooth enough to be warped without a residue."""
        half = cv2.resize(frame, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)  # twice a half is fast
        small = cv2.resize(half, self._small_size, interpolation=cv2.INTER_AREA)
        return cv2.GaussianBlur(small, (5, 5), 0.9).astype(np.float32)

    def _match(self, small: np.ndarray, past: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Where the small frame comes from (flow, small pixels), what of it stands still and what agrees (0 to 1,
        [h, w]); None at a cut. All of it is measured against `past`, the mean and not the last frame: half of the noise
        is out of that, and small errors of the flow do not add up to a drift.

        A flat wall beside a moving hand has no motion of its own and DIS lends it the hand's: hence the preference
        for standing still, where that explains a neighbourhood as well.
        """
        flow = self._flow(small, past)
        stands, moves = _difference(small, past), _difference(small, warp(past, self._small_grid + flow))
        stands = cv2.blur(stands, (7, 7)) <= cv2.blur(moves, (7, 7)) + MARGIN
        still = cv2.blur(stands.astype(np.float32), (5, 5))
        flow *= 1 - still[..., None]
        distance = _difference(small, warp(past, self._small_grid + flow))
        agreement = np.exp(-((distance / TOLERANCE) ** 2))
        if np.count_nonzero(agreement < 0.5) > MAX_CHANGED * agreement.size:
            return None
        return flow, still, cv2.erode(agreement, np.ones((3, 3), np.uint8))

    def _flow(self, small: np.ndarray, past: np.ndarray) -> np.ndarray:
        """small(x) is about past(x + flow(x)); float32 [h, w, 2] (DIS, Kroeger et al. 2016)."""
        if min(self._small_size) < MIN_FLOW_SIDE:
            return np.zeros((*small.shape[:2], 2), np.float32)
        now, then = (cv2.cvtColor(cv2.convertScaleAbs(p), cv2.COLOR_RGB2GRAY) for p in (small, past))
        flow: np.ndarray = self._dis.calc(now, then, None)  # type: ignore[call-overload]  # takes no flow to begin with
        return flow

    def _average(
        self, frame: np.ndarray, small: np.ndarray, small_mean: np.ndarray, agreement: np.ndarray
    ) -> np.ndarray:
        """What the net should see: each pixel's mean since it last changed or moved, over `frames` at most."""
        self._age = np.minimum(self._age * agreement + 1, self.frames)
        past = 1 - 1 / self._age
        self._small_mean = cv2.blendLinear(small_mean, small, past, 1 - past)
        return cv2.convertScaleAbs(self._mix(self._mean, frame, past, self._mean))


@dataclasses.dataclass(frozen=True)
class StabilizedInput:
    """A frame as the net should see it, uint8 [H, W, 3]; where it comes from (flow in small pixels [h, w, 2], None if
    it has no past) and how far the past agrees (0 to 1, [h, w])."""

    frame: np.ndarray
    flow: np.ndarray | None = None
    agreement: np.ndarray | None = None


class _Strokes:
    """The last output, float32 [H, W, 3], carried along."""

    def __init__(self, painted: np.ndarray, detail: float):
        height, width = painted.shape[:2]
        self._last, self._detail = painted.astype(np.float32, order="C"), detail
        self._warped, self._map = np.empty(painted.shape, np.float32), np.empty((height, width, 2), np.float32)
        self._fine_old, self._fine_new, self._one = (np.empty((height, width), np.float32) for _ in range(3))
        self._grid, self._mix = grid(width, height), _Mix(painted.shape)

    def blend(self, painted: np.ndarray, flow: np.ndarray, past: np.ndarray) -> np.ndarray:
        """The new painting with `past` [h, w] of the last output, warped; uint8."""
        size, small_size = painted.shape[1::-1], past.shape[::-1]
        flow = flow * np.divide(size, small_size).astype(np.float32)
        cv2.add(cv2.resize(flow, size, dst=self._map), self._grid, dst=self._map)
        warp(self._last, self._map, self._warped)
        blend = self._mix(self._warped, painted, past, self._last)
        if self._detail:
            fine = self._fine(blend, self._fine_old)
            new = self._fine(self._mix.new, self._fine_new)
            gain = np.sqrt(self._variance(new, small_size) / self._variance(fine, small_size))
            gain = self._detail * (np.clip(gain, 1, MAX_GAIN) - 1)
            cv2.multiply(fine, cv2.resize(gain, size, dst=self._one), dst=fine)
            cv2.add(blend, cv2.cvtColor(fine, cv2.COLOR_GRAY2RGB, dst=self._warped), dst=blend)
        self._last = cv2.max(blend, 0, dst=blend)  # type: ignore[call-overload]  # takes numbers
        return cv2.convertScaleAbs(self._last)

    def _fine(self, picture: np.ndarray, out: np.ndarray) -> np.ndarray:
        """What a small blur takes out of the light and dark of a picture, float32 [H, W]."""
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY, dst=self._one)
        return cv2.subtract(grey, cv2.GaussianBlur(grey, (3, 3), 0, dst=out), dst=out)

    def _variance(self, fine: np.ndarray, small_size: tuple[int, int]) -> np.ndarray:
        """Local variance, [h, w] of the small size; never quite zero, so that what is flat stays flat."""
        square = cv2.multiply(fine, fine, dst=self._one)
        return cv2.blur(cv2.resize(square, small_size, interpolation=cv2.INTER_AREA), (9, 9)) + 0.5


class _Mix:
    """past old + (1 - past) new, with `past` [h, w] of a smaller size; `new` as float32 remains in `self.new`."""

    def __init__(self, shape: tuple[int, ...]):
        self.new = np.empty(shape, np.float32)
        self._past, self._rest = (np.empty(shape[:2], np.float32) for _ in range(2))

    def __call__(self, old: np.ndarray, new: np.ndarray, past: np.ndarray, out: np.ndarray) -> np.ndarray:
        np.copyto(self.new, new)
        past = cv2.resize(past, new.shape[1::-1], dst=self._past)
        return cv2.blendLinear(old, self.new, past, np.subtract(1, past, out=self._rest), dst=out)


def _checked(painted: np.ndarray, frame: np.ndarray) -> np.ndarray:
    painted = np.asarray(painted)
    if painted.dtype != np.uint8 or painted.shape != frame.shape:
        raise ValueError(
            f"expected a painting of uint8 {list(frame.shape)}, found {painted.dtype} {list(painted.shape)}"
        )
    return painted


def _difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The mean absolute difference of the channels, [h, w]."""
    return cv2.transform(cv2.absdiff(a, b), np.full((1, 3), 1 / 3, np.float32))
