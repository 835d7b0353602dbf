"""Changes of style, and the batches that end at them."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from support.media_files import make_clip, packets, picture, rgb_frames

from rtstyle import UsageError, stylize_video
from rtstyle.media.encoding import Encoding
from rtstyle.paint.scene_cuts import CutDetector
from rtstyle.paint.stylizer import Stylizer
from rtstyle.runtime.devices import Device
from rtstyle.video.stages import batch_size, batches

pytest_plugins = ["support.runtime_fixtures"]


def still_clip(path, frames=36, cut_at=None):
    """The same picture again and again; from `cut_at` on another one."""

    def draw(index, height, width):
        drawn = picture(0, height, width)
        return drawn if cut_at is None or index < cut_at else np.ascontiguousarray(255 - drawn)

    return make_clip(path, frames=frames, tracks=0, draw=draw, crf=4)


def test_a_style_changes_with_a_crossfade(tmp_path, stylizer):
    source = still_clip(tmp_path / "in.mp4")
    options = {"encoding": Encoding("ffv1"), "steady": False}
    stylize_video(source, tmp_path / "out.mkv", stylizer, style_at=[(0.5, "scream")], **options)
    stylize_video(source, tmp_path / "one.mkv", stylizer, **options)
    stylize_video(source, tmp_path / "two.mkv", Stylizer("scream", device="cpu", threads=1), **options)
    out, one, two = (rgb_frames(tmp_path / f"{name}.mkv").astype(int) for name in ("out", "one", "two"))
    assert np.abs(out[:12] - one[:12]).max() <= 2
    assert np.abs(out[25:] - two[25:]).max() <= 2
    away = [np.abs(frame - one[0]).mean() for frame in out[12:25]]
    assert all(b >= a - 0.3 for a, b in itertools.pairwise(away)) and 0 < away[5] < away[-1]


def test_a_cut_ends_the_crossfade(tmp_path, stylizer):
    source = still_clip(tmp_path / "in.mp4", cut_at=15)
    options = {"encoding": Encoding("ffv1"), "steady": False}
    stylize_video(source, tmp_path / "out.mkv", stylizer, style_at=[(0.5, "scream")], **options)
    stylize_video(source, tmp_path / "two.mkv", Stylizer("scream", device="cpu", threads=1), **options)
    out, two = (rgb_frames(tmp_path / f"{name}.mkv").astype(int) for name in ("out", "two"))
    assert np.abs(out[15:] - two[15:]).max() <= 2
    assert np.abs(out[14] - two[14]).mean() > 5


def test_cuts_are_told_from_motion():
    detector = CutDetector()
    moving = [detector(picture(i, 96, 160)) for i in range(20)]
    assert not any(moving)
    assert detector(np.ascontiguousarray(255 - picture(20, 96, 160)))
    assert not detector(np.ascontiguousarray(255 - picture(21, 96, 160)))


def test_changes_of_style_need_styles(tmp_path, clip, stylizer):
    with pytest.raises(UsageError, match="unknown style"):
        stylize_video(clip, tmp_path / "out.mp4", stylizer, style_at=[(1.0, "nobody")])


class Batching(Stylizer):
    """A stylizer that takes batches as on a GPU; `ran` are the sizes of those that it was given."""

    device = Device("cuda", [], "as if there were a GPU")

    def __init__(self):
        super().__init__("starry-night", device="cpu", threads=1)
        self.ran = []

    def for_throughput(self):
        return self.run, 1

    def run(self, batch, code=None):
        self.ran.append(len(batch))
        return super().run(batch, code)


def test_batches_give_the_same_packets(tmp_path, stylizer):
    """What GPUs are given: several frames in one run of the net, also across a change of style."""
    source, batching = still_clip(tmp_path / "in.mp4", frames=23), Batching()
    for name, painter in (("one.mp4", stylizer), ("eight.mp4", batching)):
        stylize_video(source, tmp_path / name, painter, style_at=[(0.2, "scream")])
    assert packets(tmp_path / "one.mp4", 0, "video") == packets(tmp_path / "eight.mp4", 0, "video")
    assert sum(batching.ran) == 23 and max(batching.ran) > 3


def test_batches_hold_neighbours_of_one_style():
    codes = [object(), object()]
    works = [SimpleNamespace(code=codes[i in (3, 4)], number=i) for i in range(9)]
    numbers = [[work.number for work in batch] for batch in batches(works, 3)]
    assert numbers == [[0, 1, 2], [3, 4], [5, 6, 7], [8]]


@pytest.mark.parametrize(("size", "most"), [((640, 360), 8), ((1920, 1080), 8), ((3840, 2160), 2), ((8192, 8192), 1)])
def test_batches_for_a_gpu_fit_its_memory(size, most):
    gpu = SimpleNamespace(device=Device("cuda", [], "as if there were a GPU"))
    assert batch_size(gpu, size) == most
