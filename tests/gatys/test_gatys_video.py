"""`rtstyle video --gatys`: every frame optimised, held to the last one's painting along the optical flow."""

import dataclasses
import itertools
import threading
import time

import cv2
import numpy as np
import pytest
from conftest import photograph, save_picture
from support.media_files import make_clip, packets, rgb_frames, timestamps

torch = pytest.importorskip("torch")

from rtstyle import stylize_video  # noqa: E402
from rtstyle.errors import RtstyleError  # noqa: E402
from rtstyle.gatys import optimize  # noqa: E402
from rtstyle.gatys import video as gatys_video  # noqa: E402
from rtstyle.gatys.objective import Objective, Past, StyleTensor  # noqa: E402
from rtstyle.gatys.video import GatysStylizer, moved, trusted_flow  # noqa: E402
from rtstyle.perceptual import vgg as perceptual  # noqa: E402

pytest_plugins = ["support.runtime_fixtures"]


@pytest.fixture
def settings(fake_vgg):
    layers = {"content_layers": {"relu2_2": 1.0}, "style_layers": {"relu1_1": 0.2, "relu2_1": 0.1}}
    return optimize.preset(vgg="vgg16", weights=fake_vgg, size=64, steps=8, device="cpu", style_weight=300.0, **layers)


@pytest.fixture
def painting(tmp_path):
    return save_picture(photograph(2, 44, 40), tmp_path / "painting.png")


def texture(height=72, width=96, seed=3):
    """Smooth noise, which optical flow can follow."""
    noise = np.random.default_rng(seed).normal(0, 1, (height, width, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    return np.clip(128 + 35 * smooth / smooth.std(), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("side", [None, 16])
def test_the_past_is_a_loss_with_its_gradient(side, settings, fake_vgg):
    vgg = perceptual.VGG("vgg16", fake_vgg)
    photo, style, past = (
        torch.from_numpy(photograph(seed, 40, 48)).permute(2, 0, 1)[None].float() for seed in (1, 2, 3)
    )
    trust = torch.rand(40, 48, generator=torch.Generator().manual_seed(0))
    without = Objective(vgg, settings, photo, [StyleTensor(style)], side)
    held = Objective(vgg, settings, photo, [StyleTensor(style)], side, Past(past, trust, 0.3))
    (plain, slope), (more, steeper) = without(photo), held(photo)
    expected = 0.3 * float((trust * (photo - past) ** 2).sum())
    assert more.past == pytest.approx(expected, rel=1e-5) and plain.past == 0
    assert more.total == pytest.approx(plain.total + expected, rel=1e-5)
    torch.testing.assert_close(
        steeper - slope, 0.6 * trust * (photo - past), rtol=1e-3, atol=1e-3 * float(slope.abs().max())
    )


def test_the_flow_is_trusted_where_it_holds():
    """A square moves right over a background that stands still: what it uncovers on its left came into sight."""
    background, square = texture(), texture(24, 24, seed=4)
    then, now = background.copy(), background.copy()
    then[20:44, 30:54], now[20:44, 36:60] = square, square
    flow, trust = trusted_flow(now, then)
    inside = flow[26:38, 42:54]
    assert np.abs(np.median(inside, (0, 1)) - [-6, 0]).max() < 0.5
    assert trust[26:38, 46:50].mean() > 0.8 and trust[:, 80:].mean() > 0.9
    assert trust[24:40, 31:35].mean() < 0.3


def test_the_start_is_the_last_painting_moved_and_the_photograph_where_that_is_unknown():
    wide = texture(72, 110)
    then, now = wide[:, :96], wide[:, 8:104]
    raw = 255 - then.astype(np.float32)
    before = moved(raw, then, now)
    known = np.s_[10:-10, 10:-20]
    assert before.trust[known].mean() > 0.9
    assert np.abs(before.picture[known] - (255 - now[known].astype(float))).mean() < 5
    unseen = np.s_[10:-10, -4:]
    assert before.trust[unseen].mean() < 0.1
    assert np.abs(before.picture[unseen] - now[unseen].astype(float)).mean() < 10


def test_what_comes_into_sight_starts_in_the_colors_of_the_painting(settings, tmp_path, monkeypatch):
    """As the first frame did, so that it does not stand out for the quarter of the iterations that it gets."""
    red = np.zeros((44, 40, 3), np.uint8) + np.array([200, 30, 10], np.uint8)
    befores, render = [], optimize.render

    def spy(content, styles, settings, callback, *, before=None, vgg=None):
        befores.append(before)
        return render(content, styles, settings, callback, before=before, vgg=vgg)

    monkeypatch.setattr(optimize, "render", spy)
    wide = texture(48, 80)
    frames = np.stack([wide[:, :64], wide[:, 5:69]])
    for start, near in (("palette", True), ("content", False)):
        befores.clear()
        plain = dataclasses.replace(settings, start=start, steps=4)
        stylizer = GatysStylizer(save_picture(red, tmp_path / "red.png"), plain)
        stylizer._cuts = lambda frame: False
        stylizer.run(frames)
        unseen = befores[1].picture[10:-10, -3:]
        assert befores[1].trust[10:-10, -3:].mean() < 0.1
        assert (np.abs(unseen - red[0, 0]).mean() < 10) == near


def test_later_frames_follow_and_a_cut_begins_anew(settings, painting, monkeypatch):
    seen, render = [], optimize.render

    def spy(content, styles, settings, callback, *, before=None, vgg=None):
        result = render(content, styles, settings, callback, before=before, vgg=vgg)
        seen.append((result.steps, before))
        return result

    monkeypatch.setattr(optimize, "render", spy)
    stylizer = GatysStylizer(painting, settings)
    wide, other = texture(48, 90), texture(48, 64, seed=9) // 3
    frames = [wide[:, i : i + 64] for i in range(3)] + [other]
    painted = stylizer.run(np.stack(frames))
    assert painted.shape == (4, 48, 64, 3) and painted.dtype == np.uint8
    assert [steps for steps, _ in seen] == [8, 2, 2, 8]
    assert [before is None for _, before in seen] == [True, False, False, True]
    assert all(np.abs(p.astype(float) - f).mean() > 2 for p, f in zip(painted, frames, strict=True))


def test_frames_hold_together(settings, painting):
    """The film stands nearer to itself, moved, than frames painted one by one do."""
    wide = texture(48, 90)
    noise = np.random.default_rng(1).normal(0, 6, (5, 48, 64, 3))
    frames = [np.clip(wide[:, i : i + 64] + noise[i], 0, 255).astype(np.uint8) for i in range(5)]

    def unsteadiness(painted):
        pairs = itertools.pairwise(painted)
        return np.mean([np.abs(a[:, 1:].astype(float) - b[:, :-1]).mean() for a, b in pairs])

    film = GatysStylizer(painting, settings).run(np.stack(frames))
    alone = [GatysStylizer(painting, settings).run(frame[None])[0] for frame in frames]
    assert unsteadiness(film) < 0.8 * unsteadiness(alone)


def test_a_film_keeps_its_frames_and_sound(settings, painting, tmp_path):
    clip, out = make_clip(tmp_path / "in.mp4", frames=4, size=(96, 64)), tmp_path / "out.mp4"
    result = stylize_video(clip, out, GatysStylizer(painting, settings), steady=False)
    assert result.frames == 4 and timestamps(out) == timestamps(clip) and packets(out) == packets(clip)
    frames, painted = rgb_frames(clip), rgb_frames(out)
    assert [frame.shape for frame in painted] == [frame.shape for frame in frames]
    assert all(np.abs(a.astype(float) - b).mean() > 2 for a, b in zip(frames, painted, strict=True))


def test_small_frames_are_not_enlarged(settings, painting):
    stylizer = GatysStylizer(painting, settings)
    assert stylizer.working_size(40, 48) == (40, 48) and stylizer.working_size(100, 128) == (50, 64)


def test_an_abandoned_frame_ends_at_the_next_iteration(settings, painting):
    stylizer = GatysStylizer(painting, dataclasses.replace(settings, steps=1_000_000))
    threading.Timer(0.5, stylizer.abandon).start()
    started = time.monotonic()
    with pytest.raises(RtstyleError, match="interrupted"):
        stylizer.run(texture(48, 64)[None])
    assert time.monotonic() - started < 20


def test_an_interrupted_film_keeps_its_frames_and_promises_nothing(settings, painting, tmp_path):
    clip, out = make_clip(tmp_path / "in.mp4", frames=4, size=(96, 64)), tmp_path / "out.mp4"

    def interrupt(progress):
        raise KeyboardInterrupt

    with pytest.raises(RtstyleError, match=r"frames are in .*out\.partial\.mp4$"):
        stylize_video(clip, out, GatysStylizer(painting, settings), steady=False, progress=interrupt)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.partial.mp4", painting.name]


def test_the_command(call, fake_vgg, painting, tmp_path, monkeypatch):
    asked = {}

    class Fake(GatysStylizer):
        def __init__(self, picture, settings):
            asked.update(picture=picture, size=settings.size, steps=settings.steps)
            raise RtstyleError("enough")

    monkeypatch.setattr(gatys_video, "GatysStylizer", Fake)
    clip, out = make_clip(tmp_path / "in.mp4", frames=2), tmp_path / "out.mp4"
    flags = ("--gatys-size", 96, "--gatys-steps", 7)
    assert call("video", clip, out, "--gatys", painting, *flags)[0] == 1
    assert asked == {"picture": str(painting), "size": 96, "steps": 7}
    for more in (("--style", "scream"), ("--resume",), ("--work-height", 32), ("--steady",), ("--model", "live")):
        code, _, err = call("video", clip, out, "--gatys", painting, *more)
        assert code == 2 and err.endswith(f"leave {more[0]} out\n"), more
    code, _, err = call("video", clip, out, "--gatys-steps", 3)
    assert code == 2 and "are for --gatys PICTURE" in err
    assert not out.exists()
