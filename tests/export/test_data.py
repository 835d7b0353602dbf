import struct

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from PIL import Image, ImageCms  # noqa: E402

from rtstyle.errors import RtstyleError  # noqa: E402
from rtstyle.export import data  # noqa: E402
from rtstyle.export.data import (  # noqa: E402
    Photos,
    evenly,
    list_pictures,
    read_picture,
    synthetic_motion,
    warp,
    whole_shifts,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def halves(height, width, left=(250, 10, 20), right=(10, 20, 250)):
    """A picture with one colour on the left and another on the right."""
    picture = np.empty((height, width, 3), np.uint8)
    picture[:, : width // 2], picture[:, width // 2 :] = left, right
    return Image.fromarray(picture)


def test_picture_is_rgb_bytes_of_its_own_size(photos_folder):
    path = photos_folder / "photo0.png"
    got = read_picture(path)
    assert got.dtype == torch.uint8 and got.shape == (3, 64, 96) and got.is_contiguous()
    np.testing.assert_array_equal(got.permute(1, 2, 0).numpy(), np.asarray(Image.open(path)))


@pytest.mark.parametrize(("size", "expected"), (((64, 96), (32, 48)), ((96, 64), (48, 32)), ((40, 50), (32, 40))))
def test_short_side_is_scaled(tmp_path, size, expected):
    halves(*size).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png", 32).shape == (3, *expected)


def test_enlarging_is_a_choice(tmp_path):
    halves(40, 50).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png", 80).shape == (3, 80, 100)
    assert read_picture(tmp_path / "a.png", 80, enlarge=False).shape == (3, 40, 50)


def test_long_jpeg_keeps_its_short_side(tmp_path):
    """A JPEG is decoded smaller where that is enough; a panorama must not lose its short side by it."""
    halves(80, 1600).save(tmp_path / "a.jpg")
    assert read_picture(tmp_path / "a.jpg", 64).shape == (3, 64, 1280)


# EXIF orientation to where the left half of the stored picture belongs
@pytest.mark.parametrize(
    ("orientation", "size", "where"),
    (
        (1, (40, 60), (20, 5)),
        (3, (40, 60), (20, 55)),
        (6, (60, 40), (5, 20)),
        (8, (60, 40), (55, 20)),
    ),
)
@pytest.mark.parametrize("suffix", ("jpg", "png"))
def test_exif_rotation_is_undone(tmp_path, orientation, size, where, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{suffix}"
    halves(40, 60).save(path, exif=exif, **({"quality": 95} if suffix == "jpg" else {}))
    got = read_picture(path)
    assert got.shape == (3, *size)
    red, _, blue = got[:, where[0], where[1]].tolist()
    assert red > 200 and blue < 60


@pytest.mark.parametrize(
    ("mode", "suffix", "colour"),
    (
        ("L", "png", (90, 90, 90)),
        ("L", "jpg", (90, 90, 90)),
        ("LA", "png", (90, 90, 90)),
        ("RGBA", "png", (200, 90, 30)),
        ("P", "png", (200, 90, 30)),
        ("1", "png", (255, 255, 255)),
        ("CMYK", "jpg", (200, 90, 30)),
        ("CMYK", "tif", (200, 90, 30)),
    ),
)
def test_every_kind_of_picture_gives_three_channels(tmp_path, mode, suffix, colour):
    path = tmp_path / f"a.{suffix}"
    rgb = Image.new("RGB", (40, 36), colour)
    if mode in ("L", "LA", "RGBA", "CMYK"):
        rgb.convert(mode).save(path)
    else:
        rgb.quantize(4).save(path) if mode == "P" else rgb.convert("1").save(path)
    got = read_picture(path)
    assert got.shape == (3, 36, 40) and got.dtype == torch.uint8
    assert (got.float() - torch.tensor(colour).view(3, 1, 1)).abs().max() <= 4


def test_deep_grey_pictures_keep_their_greys(tmp_path):
    """A 16-bit grey ramp spans dark to light; cutting its numbers at 255 would make it white."""
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16)[None].repeat(40, 0)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    got = read_picture(tmp_path / "deep.png")[0, 20].float()
    assert (got - torch.linspace(0, 255, 64)).abs().max() < 2


# Display P3's primaries, adapted to D50 as profiles have them, by column
DISPLAY_P3 = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])


def display_p3():
    """sRGB's profile with the primaries of Display P3."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for i in range(struct.unpack_from(">I", profile, 128)[0]):
        name, start, _ = struct.unpack_from(">4sII", profile, 132 + 12 * i)
        if name in (b"rXYZ", b"gXYZ", b"bXYZ"):
            column = DISPLAY_P3[:, b"rgb".index(name[:1])]
            struct.pack_into(">3i", profile, start + 8, *(round(value * 65536) for value in column))
    return bytes(profile)


def shown_in_srgb(colour):
    """What a colour of Display P3, 0 to 255, looks like: its levels in sRGB, by the formulas."""
    level = np.array(colour) / 255
    light = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    light = (np.linalg.inv(SRGB) @ DISPLAY_P3 @ light).clip(0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_wide_gamut_is_learned_in_the_colours_that_are_shown(tmp_path, suffix):
    """Phones save Display P3: read without its profile, a painting would be learned paler than it is seen."""
    colour, path = (200, 90, 60), tmp_path / f"phone.{suffix}"
    Image.new("RGB", (96, 80), colour).save(
        path, icc_profile=display_p3(), **({"quality": 95} if suffix == "jpg" else {})
    )
    expected = shown_in_srgb(colour)
    assert expected[0] > 210 and expected[2] < 50
    photos = Photos(tmp_path, 64)
    for picture in (read_picture(path), read_picture(path, 40), photos.pictures[0]):
        assert np.abs(picture.flatten(1).float().mean(1).numpy() - expected).max() < 3


@pytest.mark.parametrize("size", ((31, 200), (200, 31), (1, 1)))
def test_tiny_pictures_are_refused(tmp_path, size):
    halves(*size).save(tmp_path / "tiny.png")
    with pytest.raises(RtstyleError, match=rf"tiny\.png is too small \({size[1]}x{size[0]}\)"):
        read_picture(tmp_path / "tiny.png", 256)


def test_smallest_picture_is_taken(tmp_path):
    halves(32, 32).save(tmp_path / "small.png")
    assert read_picture(tmp_path / "small.png").shape == (3, 32, 32)


def test_missing_and_broken_files_are_refused_by_name(tmp_path, photos_folder):
    with pytest.raises(RtstyleError, match=r"gone\.png does not exist"):
        read_picture(tmp_path / "gone.png")
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(RtstyleError, match=r"text\.jpg is not a readable picture"):
        read_picture(tmp_path / "text.jpg")
    whole = (photos_folder / "photo0.png").read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RtstyleError, match=r"half\.png is not a readable picture"):
        read_picture(tmp_path / "half.png")
    with pytest.raises(RtstyleError, match="is a folder"):
        read_picture(tmp_path)


def test_folder_is_listed_with_subfolders_in_order(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("c.PNG", "b/a.jpg", "a.webp", "notes.txt"):
        (tmp_path / name).touch()
    assert [p.relative_to(tmp_path).as_posix() for p in list_pictures(tmp_path)] == ["a.webp", "b/a.jpg", "c.PNG"]


def test_folder_without_pictures_is_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(RtstyleError, match=r"holds no pictures \(.*\.jpg"):
        Photos(tmp_path)
    with pytest.raises(RtstyleError, match=r"the folder .*nowhere does not exist"):
        Photos(tmp_path / "nowhere")


def test_broken_file_among_good_ones_is_skipped_and_counted(tmp_path, caplog):
    for name in ("a", "c", "d"):
        halves(40, 50).save(tmp_path / f"{name}.png")
    (tmp_path / "b.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut off")
    halves(20, 50).save(tmp_path / "e.png")
    photos = Photos(tmp_path)
    assert len(photos) == 3 and len(photos.skipped) == 2
    assert "b.jpg" in photos.skipped[0] and "e.png" in photos.skipped[1]
    (warning,) = caplog.messages
    assert "2 of 5 photographs skipped" in warning and "b.jpg" in warning


def test_only_broken_files_are_refused(tmp_path):
    (tmp_path / "a.jpg").write_text("nothing")
    (tmp_path / "b.png").write_text("nothing")
    with pytest.raises(RtstyleError, match=r"none of the 2 pictures .*a\.jpg"):
        Photos(tmp_path)


def test_photos_are_shrunk_once_and_never_enlarged(photos_folder):
    assert sorted(min(p.shape[1:]) for p in Photos(photos_folder, 64).pictures) == [48, 64, 64, 64, 64, 64]


@pytest.mark.parametrize(("count", "crop"), ((1, 32), (5, 48), (3, 128)))
def test_batches_have_their_shape_and_range(photos_folder, count, crop):
    batch = Photos(photos_folder).batch(count, crop, generator())
    assert batch.shape == (count, 3, crop, crop) and batch.dtype == torch.float32
    assert batch.min() >= 0 and batch.max() <= 255 and batch.max() > 100


def test_equal_generator_states_give_equal_batches(photos_folder):
    photos, again = Photos(photos_folder), Photos(photos_folder)
    one, two = generator(5), generator(5)
    for _ in range(3):
        assert torch.equal(photos.batch(4, 32, one), again.batch(4, 32, two))
    state = one.get_state()
    later = photos.batch(4, 32, one)
    assert not torch.equal(later, photos.batch(4, 32, one))
    one.set_state(state)
    assert torch.equal(later, photos.batch(4, 32, one))


def test_batches_do_not_touch_torchs_own_randomness(photos_folder):
    before = torch.random.get_rng_state()
    Photos(photos_folder).batch(2, 32, generator())
    assert torch.equal(before, torch.random.get_rng_state())


def test_crops_vary_in_picture_place_and_zoom_and_half_are_mirrored(tmp_path):
    halves(64, 64).save(tmp_path / "a.png")
    halves(64, 64, (10, 250, 10), (250, 250, 10)).save(tmp_path / "b.png")
    photos = Photos(tmp_path)
    crops = photos.batch(200, 32, generator(1))
    green = crops[:, 1].mean((1, 2)) > 125
    assert 0.3 < green.float().mean() < 0.7
    # where both halves are seen, the red one stands on the left unless the crop is mirrored
    red = crops[~green][:, 0].mean(1)
    both = (red.max(1).values > 200) & (red.min(1).values < 60)
    mirrored = red[both][:, -1] > red[both][:, 0]
    assert both.sum() > 30 and 0.3 < mirrored.float().mean() < 0.7
    # and its share of the width varies with place and zoom
    assert (red[both] > 125).float().mean(1).std() > 0.1


def test_small_pictures_are_enlarged_by_half_at_most(tmp_path):
    """A ramp of 8 grey levels a pixel: the levels that a crop spans tell how many of its pixels were taken."""
    ramp = np.broadcast_to((np.arange(32, dtype=np.uint8) * 8)[None, :, None], (32, 32, 3))
    Image.fromarray(np.ascontiguousarray(ramp)).save(tmp_path / "a.png")
    crops = Photos(tmp_path).batch(100, 32, generator(2))
    taken = (crops.amax((1, 2, 3)) - crops.amin((1, 2, 3))) / 8 + 1
    assert taken.min() >= 21 - 0.5 and taken.max() <= 32
    assert taken.min() < 23 and taken.max() > 30


def test_crops_reach_every_border(photos_folder, monkeypatch):
    """The first and the last row and column of a photograph must be drawn as often as chance has it."""
    monkeypatch.setattr(data, "GREY", 0.0)
    column = torch.arange(40).to(torch.uint8)
    photos = Photos(photos_folder)
    photos.pictures = [torch.stack([column[None].expand(36, 40), column[:36, None].expand(36, 40)] * 2)[:3]]
    crops = torch.cat([photos.batch(20, 32, generator(s)) for s in range(10)])
    assert crops[:, 0].min() == 0 and crops[:, 0].max() == 39
    assert crops[:, 1].min() == 0 and crops[:, 1].max() == 35


def test_whole_shifts_need_no_interpolation():
    pictures = torch.rand(16, 3, 40, 40, generator=generator()) * 255
    grid = whole_shifts(16, 40, generator())
    moved, seen = warp(pictures, grid), set()
    for picture, after, places in zip(pictures, moved, grid, strict=True):
        dx, dy = ((places[20, 20] - (2 * 20 + 1) / 40 + 1) * 20).round().int().tolist()
        assert abs(dx) <= 8 and abs(dy) <= 8
        same = picture[:, 12 + dy : 28 + dy, 12 + dx : 28 + dx]
        torch.testing.assert_close(after[:, 12:28, 12:28], same, rtol=0, atol=0.01)
        seen.add((dx, dy))
    assert len(seen) > 10


def test_synthetic_motion_is_smooth_and_never_folds():
    grid = synthetic_motion(8, 64, generator())
    assert grid.shape == (8, 64, 64, 2)
    assert torch.equal(grid, synthetic_motion(8, 64, generator()))
    assert not torch.equal(grid[0], grid[1])
    right, down = grid[:, :, 1:] - grid[:, :, :-1], grid[:, 1:] - grid[:, :-1]
    turning = right[:, :-1, :, 0] * down[:, :, :-1, 1] - right[:, :-1, :, 1] * down[:, :, :-1, 0]
    assert (turning > 0).all(), "the motion folds"
    still = torch.nn.functional.affine_grid(torch.eye(2, 3)[None], (1, 3, 64, 64), align_corners=False)
    pixels = (grid - still).abs().max() * 32
    assert 2 < pixels < 20


def test_warp_follows_the_grid():
    picture = torch.arange(16.0).expand(1, 1, 16, 16)
    still = torch.nn.functional.affine_grid(torch.eye(2, 3)[None], (1, 1, 16, 16), align_corners=False)
    torch.testing.assert_close(warp(picture, still), picture)
    moved = warp(picture, still + torch.tensor([2 * 3 / 16, 0.0]))  # three pixels from the right
    torch.testing.assert_close(moved[..., :13], picture[..., 3:])


def test_a_tenth_of_the_crops_has_no_colour(photos_folder):
    crops = Photos(photos_folder, 64).batch(400, 16, generator())
    grey = (crops.amax(1) - crops.amin(1)).flatten(1).amax(1) < 1e-3
    assert 15 <= grey.sum() <= 75


def test_evenly_spreads_over_the_whole_list(photos_folder):
    assert evenly(range(10), 4) == [0, 2, 5, 7]
    assert evenly(range(3), 9) == [0, 1, 2] == evenly(range(3), None)
    assert len(Photos(photos_folder, limit=2)) == 2 < len(Photos(photos_folder))
