"""Gatys mode on files: pictures and masks in; the painting, its history and its curves out."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import itertools
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from rtstyle.errors import InputError, Interrupted, OutputError, RtstyleError, UsageError
from rtstyle.files import check_output, partial_name, written_beside
from rtstyle.gatys.objective import cut
from rtstyle.gatys.optimize import Iteration, Progress, Result, Settings, expected, render
from rtstyle.gatys.pictures import StylePicture, check_pictures, resize
from rtstyle.media.chart import chart
from rtstyle.media.contact_sheet import draw_grid
from rtstyle.media.images import Picture, check_side, check_suffix, fit, read_image, write_image
from rtstyle.media.stream import local_file
from rtstyle.perceptual import vgg as perceptual

log = logging.getLogger("rtstyle")

FPS = 25  # of a time-lapse
FRAMES = 250  # a time-lapse skips iterations beyond so many
LAST = 25  # frames for which it shows the result
NONE = "-"  # no mask for this style


@dataclasses.dataclass(frozen=True)
class Extras:
    """What to write besides the picture: loss curves (PNG), losses (CSV), a time-lapse (MP4), a contact sheet (PNG),
    and the picture after every so many iterations, beside it."""

    plot: str | os.PathLike[str] | None = None
    log: str | os.PathLike[str] | None = None
    timelapse: str | os.PathLike[str] | None = None
    grid: str | os.PathLike[str] | None = None
    every: int | None = None


def paint_file(
    content: str | os.PathLike[str],
    styles: Sequence[str],
    out: str | os.PathLike[str],
    settings: Settings,
    *,
    masks: Sequence[str] = (),
    style_masks: Sequence[str] = (),
    extras: Extras | None = None,
    force: bool = False,
    callback: Callable[[Progress], None] | None = None,
) -> Result:
    """Paint a picture file in the style of others (`FILE` or `FILE:WEIGHT`). The n-th mask says where the n-th style
    is painted, the n-th style mask which parts of its picture count; white is yes, `-` is none. Transparent parts of
    style pictures do not count; the photograph's transparency and EXIF data stay.

    Raises RtstyleError if an input cannot be read or an output may not be written, Interrupted after Ctrl-C, and
    RtstyleError if memory runs out or the losses stop being numbers; the picture so far is then kept beside `out`. What
    goes wrong with one of the `extras` is raised at the end, when the painting is written.
    """
    extras, settings, out = extras or Extras(), settings.check(), Path(out)
    weighted = [split_weight(style) for style in styles]
    sources = [content, *(path for path, _ in weighted), *masks, *style_masks]
    _check_outputs(out, extras, settings, force, [source for source in sources if source != NONE])
    photograph = read_image(content, max_memory=settings.max_memory)
    pictures = _read_styles(weighted, masks, style_masks, settings.max_memory)
    check_pictures(photograph.rgb, pictures)
    shape = expected(photograph.rgb.shape[:2], settings)[0][-1]
    check_side(out, *shape)
    log.info(_plan_in_words(photograph.rgb, settings))

    def finish(painted: np.ndarray) -> Picture:
        alpha = None if photograph.alpha is None else resize(photograph.alpha, painted.shape[:2])
        return Picture(painted, alpha, photograph.exif)

    failed: list[RtstyleError] = []  # extras
    result: Result | None = None
    try:
        with time_lapse(extras.timelapse, shape, force=force) as film:

            def tell(progress: Progress) -> None:
                if film and progress.step % max(1, progress.steps // FRAMES) == 0:
                    film(progress.picture())
                if extras.every and progress.step % extras.every == 0:
                    try:
                        write_image(snapshot_name(out, progress.step), finish(progress.picture()), force=force)
                    except RtstyleError as error:
                        failed.append(error)
                if callback:
                    callback(progress)

            result = render(photograph.rgb, pictures, settings, tell)
            lost = _save(result, settings, out, finish(result.picture), force=force)
            if film:
                for _ in range(LAST):
                    film(result.picture)
        if result.log:
            _write_extras(extras, photograph.rgb, pictures, result, force=force)
    except RtstyleError as error:
        if result is None:
            raise
        failed.append(error)
    if lost:
        raise lost
    if failed:
        raise OutputError(f"{failed[0]}; the painting is {out}")
    _mind_the_end(result, settings)
    return result


def in_short(progress: Iteration, width: int = 120) -> str:
    """The losses in a few words, fewer on a terminal of less than 120 columns."""

    def brief(value: float) -> str:
        return f"{value:.1e}".replace("e+0", "e").replace("e-0", "e-") if value else "0"

    losses = {"total": progress.total, "content": progress.content, "style": progress.style, "tv": progress.tv}
    if width >= 120:
        return " ".join(f"{name} {brief(value)}" for name, value in losses.items())
    return " ".join(
        [brief(losses.pop("total")), *(f"{name} {brief(value)}" for name, value in losses.items() if value)]
    )


def _check_outputs(
    out: Path, extras: Extras, settings: Settings, force: bool, inputs: Sequence[str | os.PathLike[str]]
) -> None:
    """Every file that will be written may be, before the work begins."""
    check_suffix(out)
    names = {"": out, "plot": extras.plot, "log": extras.log, "timelapse": extras.timelapse}
    given = {option: Path(path) for option, path in (names | {"grid": extras.grid}).items() if path}
    endings = {"plot": ".png", "log": ".csv", "timelapse": ".mp4", "grid": ".png"}
    for option, path in given.items():
        if option and path.suffix.lower() != endings[option]:
            raise UsageError(f"`{option}` writes a {endings[option]} file: {path.name} does not end like one")
        if option and any(path.absolute() == other.absolute() for key, other in given.items() if key != option):
            raise UsageError(f"{path} is asked for twice: give each result a name of its own")
        check_output(path, force=force, inputs=[source for source in inputs if Path(source).exists()])
    if extras.every is not None:
        if extras.every < 1:
            raise UsageError("`every` needs a number of iterations from 1 on")
        for step in range(extras.every, settings.steps + 1, extras.every):
            check_output(snapshot_name(out, step), force=force, inputs=inputs)


def snapshot_name(out: Path, step: int) -> Path:
    return out.with_name(f"{out.stem}-{step:05}{out.suffix}")


def split_weight(text: str | os.PathLike[str]) -> tuple[str, float]:
    """`FILE` or `FILE:WEIGHT` as (file, weight); a file that has such a name wins. Raises UsageError."""
    text = os.fspath(text)
    name, colon, weight = text.rpartition(":")
    if not colon or not name or Path(text).exists():
        return text, 1.0
    try:
        number = float(weight)
    except ValueError:
        return text, 1.0  # as C:\picture.png
    if not 0 < number < float("inf"):
        raise UsageError(f"the weight of {name} must be above 0, not {weight}")
    return name, number


def _read_styles(
    weighted: Sequence[tuple[str, float]], masks: Sequence[str], style_masks: Sequence[str], max_memory: int | None
) -> list[StylePicture]:
    for option, given in (("masks", masks), ("style_masks", style_masks)):
        if given and len(given) != len(weighted):
            raise UsageError(
                f"{len(given)} `{option}` for {len(weighted)} style pictures: give one for each, in their order "
                f"({NONE} for none)"
            )
    pictures = []
    for number, (path, weight) in enumerate(weighted):
        style = read_image(path, max_memory=max_memory)
        own = read_mask(style_masks[number], max_memory) if style_masks else None
        if style.alpha is not None and (style.alpha < 255).any():
            if not style.alpha.any():
                raise InputError(f"{path} is all transparent: there is no style in it")
            visible = style.alpha
            own = visible if own is None else np.minimum(resize(own, visible.shape), visible)
        pictures.append(StylePicture(style.rgb, weight, read_mask(masks[number], max_memory) if masks else None, own))
    return pictures


def read_mask(path: str, max_memory: int | None = None) -> np.ndarray | None:
    """A mask file as uint8 [H, W], by its luma; transparent is black. None for `-`. `max_memory` as `read_image` takes
    it. Raises RtstyleError."""
    if path == NONE:
        return None
    picture = read_image(path, max_memory=max_memory)
    luma: np.ndarray = picture.rgb @ np.array([0.299, 0.587, 0.114])
    if picture.alpha is not None:
        luma = luma * (picture.alpha / 255)
    if luma.max() < 1:
        raise InputError(f"the mask {path} is all black: white is what counts")
    mask: np.ndarray = np.rint(luma).astype(np.uint8)
    return mask


def _plan_in_words(rgb: np.ndarray, settings: Settings) -> str:
    shapes, fits = expected(rgb.shape[:2], settings)
    (height, width), stages = shapes[-1], f" in {len(shapes)} sizes" if len(shapes) > 1 else ""
    how = f", in {len(cut(height, width, fits.side, 0))} tiles" if fits.side else ""
    device = perceptual.pick_device(settings.device)
    return f"{width} x {height} pixels{stages} on {device}: needs about {fits.needed / 1e9:.1f} GB of memory{how}"


def _mind_the_end(result: Result, settings: Settings) -> None:
    """A warning about descents that went up."""
    last = [p for p in result.log if (p.width, p.height) == (result.log[-1].width, result.log[-1].height)]
    if len(last) > 1 and result.losses.total > last[0].total:
        log.warning(f"the total loss rose: try a `learning_rate` below {settings.rate:g}")


def _save(result: Result, settings: Settings, out: Path, picture: Picture, *, force: bool) -> RtstyleError | None:
    """Write what there is: the painting, or the picture so far beside `out`. What went wrong is returned."""
    try:
        if result.ended == "done":
            write_image(out, picture, force=force)
            return None
        return _ended_early(result, settings, out, picture)
    except RtstyleError as error:
        return error


def _ended_early(result: Result, settings: Settings, out: Path, picture: Picture) -> RtstyleError:
    """Keep the picture so far, and the error that says where."""
    kept = "there is no picture yet"
    if result.steps:
        name = partial_name(out)
        write_image(name, picture)
        kept = f"the picture so far is {name}"
    if result.ended == "interrupted":
        return Interrupted(f"interrupted after {result.steps} iterations: {kept}")
    if result.ended == "out of memory":
        return RtstyleError(
            f"there was not enough memory after {result.steps} iterations: give a `max_memory` below "
            f"{result.plan.needed / 1e9:.1f}G, to work in smaller tiles, or a smaller `size`; {kept}"
        )
    advice = f"lower the `learning_rate` ({settings.rate:g} now)"
    if settings.optimizer == "lbfgs":
        advice = "lower the `learning_rate` or leave `line_search=False` out"
        if settings.line_search:
            advice = "lower `content_weight` and `style_weight` (their proportion is what matters)"
    return RtstyleError(f"the loss became NaN or infinite after {result.steps} iterations: {advice}; {kept}")


def _write_extras(
    extras: Extras, photograph: np.ndarray, styles: Sequence[StylePicture], result: Result, *, force: bool
) -> None:
    if extras.log:
        with written_beside(extras.log, force=force) as part:
            _write_log(part, result.log)
    if extras.plot:
        draw_losses(result.log, extras.plot, force=force)
    if extras.grid:
        height = min(512, result.picture.shape[0])
        titles = ["content", *(f"style {n}" for n in range(1, len(styles) + 1)), "result"]
        titles = ["content", "style", "result"] if len(styles) == 1 else titles
        row = [photograph, *(style.rgb for style in styles), result.picture]
        draw_grid([row], titles, extras.grid, height, force=force)


def _write_log(path: Path, log: Sequence[Iteration]) -> None:
    columns = [field.name for field in dataclasses.fields(Iteration)]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([getattr(row, name) for name in columns] for row in log)


def draw_losses(log: Sequence[Iteration], out: str | os.PathLike[str], *, force: bool = False) -> None:
    """Weighted losses over iterations, logarithmic, as a PNG; dotted lines where the size changes."""
    with chart(out, "iteration", "loss, weighted", force=force) as axes:
        steps = [row.step for row in log]
        for name in ("total", "content", "style", "tv"):
            values = [getattr(row, name) for row in log]
            if any(value > 0 for value in values):
                label = {"tv": "total variation"}.get(name, name)
                axes.plot(steps, values, label=label, linewidth=2 if name == "total" else 1.2)
        for before, row in itertools.pairwise(log):
            if (before.width, before.height) != (row.width, row.height):
                axes.axvline(row.step, color="grey", linestyle=":", linewidth=1)
                words = f" {row.width} px"
                axes.text(row.step, 0.99, words, transform=axes.get_xaxis_transform(), va="top", fontsize=8)


@contextlib.contextmanager
def time_lapse(
    out: str | os.PathLike[str] | None, shape: tuple[int, int], *, force: bool = False
) -> Iterator[Callable[[np.ndarray], None] | None]:
    """A function that adds a picture uint8 [H, W, 3] of any size to an H.264 film of (height, width); the file takes
    its name when the block ends well. What goes wrong is raised at the end of the block only. None without `out`."""
    if out is None:
        yield None
        return
    import av

    height, width = (side - side % 2 for side in shape)  # halved colour planes
    with written_beside(out, force=force) as part:
        try:
            with av.open(local_file(part), "w", options={"movflags": "faststart"}) as container:
                stream = container.add_stream("libx264", rate=FPS, options={"crf": "16", "preset": "medium"})
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                stream.codec_context.time_base = Fraction(1, FPS)
                stream.codec_context.thread_count = 1  # the same bytes on every machine
                codec = stream.codec_context
                codec.color_range, codec.colorspace = av.video.reformatter.ColorRange.MPEG, 6
                codec.color_primaries, codec.color_trc = 6, 6
                count = 0
                broken: av.FFmpegError | None = None

                def add(rgb: np.ndarray) -> None:
                    nonlocal count, broken
                    if broken:
                        return
                    rgb = fit(resize(rgb, shape), width, height)
                    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
                    frame = frame.reformat(format="yuv420p", dst_colorspace="ITU601", dst_color_range="MPEG")
                    frame.pts, frame.time_base = count, Fraction(1, FPS)
                    count += 1
                    try:
                        container.mux(stream.encode(frame))
                    except av.FFmpegError as error:
                        broken = error

                yield add
                if broken:
                    raise broken
                container.mux(stream.encode(None))
        except av.FFmpegError as error:
            raise OutputError(f"could not write {out}: {error.strerror or error}") from None
