"""TemporalStabilizer: noise does not boil, strokes move along, change shows at once and nothing is left behind."""

import importlib.resources
import itertools

import cv2
import numpy as np
import pytest

from rtstyle import styles
from rtstyle.paint.painter import Painter
from rtstyle.paint.stabilizer import TemporalStabilizer

pytest_plugins = ["support.runtime_fixtures"]

SIZE = 240, 144
STEPS = {  # where a pixel was one frame before
    "pan": [[1, 0, 2.7], [0, 1, 1.2]],
    "zoom": [[0.985, 0, 1.8], [0, 0.985, 1.1]],
    "turn": [[0.9998, -0.0175, 1.3], [0.0175, 0.9998, -2.1]],
}


@pytest.fixture(scope="module")
def photographs():
    """A portrait and a cat from the bundled clip, uint8 RGB [225, 400, 3]."""
    with importlib.resources.as_file(importlib.resources.files("rtstyle.pretrained") / "sample.mp4") as path:
        clip = cv2.VideoCapture(str(path))
        frames = [frame for good, frame in iter(clip.read, (False, None)) if good]
    pair = frames[0], frames[-1]
    return [cv2.cvtColor(cv2.resize(p, (400, 225), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB) for p in pair]


@pytest.fixture(scope="module")
def portrait(photographs):
    return np.ascontiguousarray(photographs[0][20 : 20 + SIZE[1], 80 : 80 + SIZE[0]])


def noisy(picture, seed, sigma=3.0):
    noise = np.random.default_rng(seed).normal(0, sigma, picture.shape)
    return np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)


class Steady(TemporalStabilizer):
    """Called with a frame and with what paints it."""

    def __call__(self, frame, paint, **options):
        prepared = self.prepare(frame)
        return self.blend(prepared, paint(prepared.frame), **options)


def same(frame):
    return frame


def twice(frame):
    """A net that doubles all contrast, noise included."""
    return np.clip(2 * frame.astype(int) - 128, 0, 255).astype(np.uint8)


def distance(a, b):
    return np.abs(a.astype(float) - b).mean()


def seen_moving(photograph, step, count=10, sigma=2.0):
    """Frames of a photograph that moves by `step`, and the map by which each follows from the one before."""
    step = np.array([*step, [0, 0, 1]], float)
    window = np.array([[1, 0, 60], [0, 1, 30], [0, 0, 1]], float) @ np.linalg.matrix_power(np.linalg.inv(step), 3)
    frames = []
    for i in range(count):
        shown = window @ np.linalg.matrix_power(step, i)
        frame = cv2.warpAffine(photograph, shown[:2], SIZE, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
        frames.append(noisy(frame, i, sigma))
    x, y = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    return frames, np.stack([step[i, 0] * x + step[i, 1] * y + step[i, 2] for i in range(2)], -1).astype(np.float32)


def warping_error(painted, origin):
    """e_stab of ReCoNet (Gao et al. 2018) with the true flow, without the first frames and the rim."""
    errors = []
    for last, new in itertools.pairwise(painted[2:]):
        warped = cv2.remap(last.astype(np.float32), origin, None, cv2.INTER_CUBIC)
        errors.append(np.square(new - warped)[8:-8, 8:-8].mean())
    return np.sqrt(np.mean(errors))


def sharpness(painted):
    """Energy of the Laplacian."""
    grey = [cv2.cvtColor(p, cv2.COLOR_RGB2GRAY).astype(np.float32) for p in painted[3:]]
    return np.mean([np.square(cv2.Laplacian(g, cv2.CV_32F)).mean() for g in grey])


@pytest.mark.parametrize("style", styles(), ids=lambda style: style.name)
def test_noise_of_the_sensor_does_not_boil(stylizer, portrait, style):
    still = portrait[:96, 40:200]

    def flicker(paint):
        return np.std([paint(noisy(still, i)) for i in range(32)][8:], axis=0).mean()

    def net(frame):
        return stylizer(frame, style.code)

    steady = Steady()
    assert flicker(lambda frame: steady(frame, net)) <= flicker(net) / 3


@pytest.mark.parametrize("where", ["region", "everywhere"])
@pytest.mark.parametrize("paint", [same, twice])
def test_ten_grey_levels_show_within_three_frames(portrait, where, paint):
    """Averaged over what changed, that is exact; with the real net, whose norms take a change of the whole frame out,
    see the next test."""
    before = (75 + portrait * 0.35).astype(np.uint8)
    changed = np.s_[48:96, 80:160] if where == "region" else np.s_[:]
    after = before.copy()
    after[changed] += 10
    steady = Steady()
    past = [steady(noisy(before, i), paint) for i in range(20)][-1]
    shown = [steady(noisy(after, 100 + i), paint)[changed].mean() - past[changed].mean() for i in range(3)]
    full = 10 if paint is same else 20
    assert shown[2] >= 0.9 * full and shown[0] >= 0.8 * full
    assert max(shown) <= 1.1 * full


def test_a_change_shows_within_three_frames_of_the_real_net(stylizer, photographs):
    """The mean of several runs, and the part of it that lies in the direction of the full effect. The frame is as large
    as those that the net is for: of a thumbnail it paints noise anew every time, with or without steadiness."""
    height, width = 270, round(270 * photographs[0].shape[1] / photographs[0].shape[0])
    before = (20 + 0.8 * cv2.resize(photographs[0], (width, height), interpolation=cv2.INTER_AREA)).astype(np.uint8)
    after = before.copy()
    after[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3] += 10
    runs = []
    for seed in range(4):
        steady = Steady()
        frames = [noisy(before if i < 14 else after, 1000 * seed + i) for i in range(32)]
        runs.append([cv2.GaussianBlur(steady(frame, stylizer).astype(np.float32), (0, 0), 3) for frame in frames])
    run = np.mean(runs, axis=0)
    past, final = run[8:14].mean(0), run[24:].mean(0)
    effect = final - past
    assert np.abs(effect).mean() > 0.5
    assert ((run[16] - past) * effect).sum() >= 0.9 * np.square(effect).sum()


@pytest.mark.parametrize("motion", STEPS)
def test_strokes_move_along_and_stay_sharp(stylizer, photographs, motion):
    frames, origin = seen_moving(photographs[1], STEPS[motion])
    steady = Steady()
    plain, steadied = [stylizer(f) for f in frames], [steady(f, stylizer) for f in frames]
    assert warping_error(steadied, origin) <= 0.75 * warping_error(plain, origin)
    assert 0.8 <= sharpness(steadied) / sharpness(plain) <= 1.2


def test_a_moving_thing_leaves_no_trail(portrait):
    """A bright square crosses the picture: wherever it is or was, the frame itself is what comes out."""
    steady = Steady()
    for i in range(14):
        frame = portrait.copy()
        frame[60:100, 11 * i : 11 * i + 40] = (240, 200, 90)
        wrong = np.abs(cv2.blur(steady(frame, same), (4, 4)).astype(int) - cv2.blur(frame, (4, 4)))[50:110]
        assert np.percentile(wrong, 99) <= 2 and wrong.max() <= 10


def test_a_slow_pan_is_not_left_behind(photographs):
    frames, _ = seen_moving(photographs[0], [[1, 0, 0.15], [0, 1, 0]], count=40, sigma=0.0)
    steady = Steady()
    shown = [steady(frame, same) for frame in frames]
    assert distance(shown[-1], frames[-1]) < 0.5 * distance(frames[-5], frames[-1])


def test_a_slow_change_of_light_is_not_left_behind(portrait):
    steady = Steady()
    for i in range(50):
        frame = noisy(np.clip(portrait * 0.7 + 0.5 * i, 0, 255), i)
        shown = steady(frame, same)
    assert abs(shown.mean() - frame.mean()) < 3


def test_after_a_cut_nothing_of_the_old_scene_is_left(stylizer, photographs):
    """Pale pictures: here and there the new scene agrees with the old one by accident."""
    portrait, cat = ((115 + 0.1 * p[:144, :240]).astype(np.uint8) for p in photographs)
    steady = Steady()
    for i in range(6):
        steady(noisy(portrait, i), stylizer)
    frame = noisy(cat, 6)
    assert (steady(frame, stylizer) == stylizer(frame)).all()
    steady(noisy(cat, 7), stylizer)
    assert (steady(noisy(portrait, 8), stylizer) == stylizer(noisy(portrait, 8))).all()


def test_after_a_cut_the_mean_begins_anew(photographs):
    portrait, cat = ((60 + 0.5 * p[:144, :240]).astype(np.uint8) for p in photographs)
    steady = Steady(keep=0)
    for i in range(20):
        steady(noisy(portrait, i), same)
    for i in range(8):
        shown = steady(noisy(cat, 100 + i), same)
    assert np.std(shown - cat.astype(float)) == pytest.approx(3 / np.sqrt(8), rel=0.2)


def test_a_flash_leaves_nothing(portrait):
    steady = Steady()
    dim = (portrait * 0.6).astype(np.uint8)
    for _ in range(6):
        steady(dim, same)
    flash = dim + 80
    assert (steady(flash, same) == flash).all()
    assert (steady(dim, same) == dim).all()


def test_after_reset_and_for_a_new_size_the_past_is_forgotten(stylizer, portrait):
    steady = Steady()
    for i in range(5):
        steady(noisy(portrait, i), stylizer)
    frame = noisy(portrait, 5)
    assert (steady(frame, stylizer) != stylizer(frame)).any()
    steady.reset()
    assert (steady(frame, stylizer) == stylizer(frame)).all()
    narrow = np.ascontiguousarray(noisy(portrait, 6)[:, :200])
    assert (steady(narrow, stylizer) == stylizer(narrow)).all()
    assert (steady(frame, stylizer) == stylizer(frame)).all()


def test_the_weight_of_history_scales_how_much_of_the_last_output_stays(portrait):
    """As in a change of style: the same frame, another painting."""
    left = []
    for weight in (0.0, 0.4, 1.0):
        steady = Steady(detail=0)
        for _ in range(4):
            steady(portrait, lambda frame: np.full_like(frame, 100))
        shown = steady(portrait, lambda frame: np.full_like(frame, 200), history_weight=weight)
        left.append((200 - shown.mean()) / 100)
    assert left == pytest.approx([0, 0.4 * steady.keep, steady.keep], abs=0.01)


def test_without_history_only_the_input_is_averaged(stylizer, portrait):
    steady, seen = Steady(), []

    def net(frame):
        seen.append(frame)
        return stylizer(frame)

    for i in range(8):
        shown = steady(noisy(portrait, i), net, history_weight=0)
        assert (shown == stylizer(seen[-1])).all()
    assert distance(seen[0], portrait) > 2 > 1.3 > distance(seen[-1], portrait)


@pytest.mark.parametrize("frames", [1, 4, 16])
def test_the_input_is_a_mean_of_so_many_frames(portrait, frames):
    """A recursive mean with weight 1/n of the new frame leaves 1 / sqrt(2 n - 1) of the noise."""
    still, steady = (60 + portrait * 0.5).astype(np.uint8), Steady(frames=frames, keep=0)
    for i in range(60):
        shown = steady(noisy(still, i), same)
    assert np.std(shown - still.astype(float)) == pytest.approx(3 / np.sqrt(2 * frames - 1), rel=0.2)


def test_detail_stays_between_black_and_white():
    """Stripes that come and go lose contrast, and the gain that this asks for also meets the lasting ones beside."""
    lasting = np.zeros((64, 64, 3), np.uint8)
    lasting[:, ::2] = 255
    steady = Steady()
    for i in range(12):
        painted = lasting.copy()
        painted[:, :24] = np.roll(painted[:, :24], i % 2, axis=1)
        shown = steady(np.full_like(lasting, 90), lambda frame, painted=painted: painted)
    assert (shown[:, 32:] == lasting[:, 32:]).all()


def test_what_goes_in_and_out_is_the_callers(portrait):
    """Frames are not written to, and writing to what came out does not change what comes next."""
    frames = [noisy(portrait, i) for i in range(6)]
    ours, theirs = Steady(), Steady()
    for frame in frames:
        before = frame.copy()
        kept = ours(frame, same)
        spoilt = theirs(frame.copy(), lambda seen: seen.copy())
        assert (frame == before).all() and (kept == spoilt).all()
        spoilt[:] = 0


def test_the_same_frames_give_the_same_output(stylizer, photographs):
    frames, _ = seen_moving(photographs[0], STEPS["pan"], count=5)
    one, other = Steady(), Steady()
    for frame in frames:
        assert (one(frame, stylizer) == other(frame, stylizer)).all()


@pytest.mark.parametrize("shape", [(16, 16), (17, 31), (47, 90), (49, 61), (16, 400)])
def test_any_size(shape):
    still = np.random.default_rng(0).integers(60, 200, (*shape, 3)).astype(np.uint8)
    steady = Steady()
    for i in range(20):
        shown = steady(noisy(still, i), same)
        assert shown.shape == still.shape and shown.dtype == np.uint8
    assert distance(shown, still) < 0.5 * distance(noisy(still, 19), still)


def test_other_memory_orders(portrait):
    defaults, mirrored = Steady(), Steady()
    for i in range(3):
        frame = noisy(portrait, i)
        shown = defaults(np.ascontiguousarray(frame[:, ::-1]), same)
        assert (mirrored(frame[:, ::-1], lambda seen: np.asfortranarray(seen)) == shown).all()


def test_after_a_failure_of_the_net_the_past_is_forgotten(stylizer, portrait, monkeypatch):
    painter = Painter(stylizer, steady=True)
    for i in range(3):
        painter(noisy(portrait, i))
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="no memory left"):
        patch.setattr(stylizer, "run", broken)
        painter(noisy(portrait, 3))
    frame = noisy(portrait, 4)
    assert (painter(frame) == stylizer(frame)).all()


def broken(*_):
    raise RuntimeError("no memory left")


def test_impossible_arguments_are_refused(portrait):
    steady = Steady()
    with pytest.raises(ValueError, match=r"uint8 \[H, W, 3\], found float32 \[144, 240, 3\]"):
        steady(portrait.astype(np.float32), same)
    with pytest.raises(ValueError, match=r"uint8 \[H, W, 3\], found uint8 \[144, 240\]"):
        steady(portrait[..., 0], same)
    with pytest.raises(ValueError, match=r"uint8 \[144, 240, 3\], found uint8 \[72, 240, 3\]"):
        steady(portrait, lambda frame: frame[::2])
    steady(portrait, same)
    with pytest.raises(ValueError, match=r"uint8 \[144, 240, 3\], found float64 \[144, 240, 3\]"):
        steady(portrait, lambda frame: frame / 2)
    for weight in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="history_weight must be between 0 and 1, found"):
            steady(portrait, same, history_weight=weight)
    for wrong in ({"frames": 0}, {"keep": 1}, {"keep": -0.1}, {"detail": -1}):
        with pytest.raises(ValueError, match=f"found .*{next(iter(wrong))}="):
            Steady(**wrong)
