"""Painting files: video and image."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from rtstyle.cli.flags import Command
from rtstyle.cli.options import (
    Painting,
    gathered,
    needs_training,
    option,
    output_options,
    painting_options,
    polish_option,
    progress_option,
    read_duration,
    read_memory,
    read_style_at,
    read_time,
    say_device,
    steady_option,
)
from rtstyle.cli.progress import progress_bar, say
from rtstyle.errors import InputError, Interrupted, RtstyleError, UsageError

if TYPE_CHECKING:
    from rtstyle.media.encoding import Encoding
    from rtstyle.media.pipe import Pipe
    from rtstyle.paint.painter import FramePainter
    from rtstyle.video.convert import Progress, Result


@dataclasses.dataclass(frozen=True)
class Optimized:
    """--gatys and its options."""

    gatys: str | None
    gatys_size: int | None
    gatys_steps: int | None

    def check(self, videos: int) -> None:
        """Raises UsageError for what it cannot do."""
        if not self.gatys:
            if self.gatys_size or self.gatys_steps:
                raise UsageError("--gatys-size and --gatys-steps are for --gatys PICTURE")
            return
        if videos > 1:
            raise UsageError("--gatys paints one video at a time")
        source = click.get_current_context().get_parameter_source
        for name in ("style", "polish", "model", "style_at", "work_height", "stroke_size", "steady", "resume", "ray"):
            if source(name) is ParameterSource.COMMANDLINE:
                raise UsageError(
                    f"--gatys paints after its picture, every frame, from the start: leave --{name.replace('_', '-')} "
                    "out"
                )

    def stylizer(self, device: str) -> FramePainter:
        """What optimises every frame."""
        needs_training("video --gatys")
        from rtstyle.gatys.optimize import Settings
        from rtstyle.gatys.video import GatysStylizer

        settings = Settings(size=self.gatys_size or 512, steps=self.gatys_steps or 200, device=device)
        return GatysStylizer(str(self.gatys), settings)


@dataclasses.dataclass(frozen=True)
class Machines:
    """--ray and its option."""

    ray: str | None
    gpus_per_segment: float | None

    def check(self) -> None:
        """Raises UsageError for one without the other, and for an address that is IN or OUT."""
        if self.ray not in (None, "local", "auto") and Path(self.ray).exists():
            raise UsageError(f"--ray took {self.ray} for the address of a cluster: write it last, or as --ray=local")
        if self.gpus_per_segment and not self.ray:
            raise UsageError("--gpus-per-segment is for --ray")


@dataclasses.dataclass(frozen=True)
class Run:
    """What is there already, and what is said."""

    resume: bool
    force: bool
    quiet: bool
    progress_kind: str

    @property
    def as_json(self) -> bool:
        """Whether progress is for programs."""
        return self.progress_kind == "json"


@click.command(cls=Command)
@click.argument("paths", nargs=-1, required=True, metavar="IN OUT")
@option(
    "--out-dir",
    type=click.Path(),
    metavar="DIR",
    help="Paint all IN (files, or folders of videos) into this folder, under the same names.",
)
@painting_options
@polish_option
@steady_option
@option("--style-at", multiple=True, type=read_style_at, metavar="TIME=STYLE", help="Change the style there.")
@option("--start", type=read_time, metavar="TIME", help="Begin there: seconds, or 1:30.")
@option("--duration", type=read_duration, metavar="TIME", help="End after so long.")
@option(
    "--codec",
    metavar="NAME",
    help="h264, hevc, av1, vp9, prores, ffv1, auto (a hardware encoder if one works), or one such as h264_nvenc "
    "[default: by OUT and the source's depth].",
)
@option("--crf", type=int, help="Constant quality, in the codec's own numbers: lower is better and larger.")
@option("--quality", type=int, metavar="1-100", help="Instead of --crf: the same for every codec, 100 is best.")
@option("--encoder-preset", "preset", old=["--preset"], metavar="NAME", help="Speed of the encoder, in its own words.")
@option("--container", metavar="KIND", help="mp4, mov, mkv, webm or gif [default: OUT's ending].")
@option("--audio-codec", default="copy", show_default=True, help="copy, or aac, opus, flac, ...")
@option("--fps", type=click.FloatRange(0.1, 1000), help="Frame rate of a folder of pictures [default: 25].")
@option("--resume", is_flag=True, help="Go on with an interrupted run.")
@option(
    "--ray",
    is_flag=False,
    flag_value="local",
    metavar="[ADDRESS]",
    help="Paint on all machines of the Ray cluster at ADDRESS, or in worker processes on this one. Write it last.",
)
@option(
    "--gpus-per-segment",
    type=click.FloatRange(0, min_open=True),
    metavar="N",
    help="With --ray: of a GPU, for each of the segments that are painted at once [default: 1 where GPUs paint].",
)
@option("--gatys", metavar="PICTURE", help="Optimise every frame in the style of PICTURE: minutes each on CPUs.")
@option("--gatys-size", type=click.IntRange(32), metavar="PX", help="Long side of such frames [default: 512].")
@option("--gatys-steps", type=click.IntRange(1), metavar="N", help="For the first of a scene [default: 200].")
@progress_option("frame")
@output_options
@gathered("encoding", dict, ("codec", "crf", "quality", "preset", "container", "audio_codec"))
@gathered("optimized", Optimized)
@gathered("machines", Machines)
@gathered("run", Run)
def video(
    *,
    paths: tuple[str, ...],
    out_dir: str | None,
    painting: Painting,
    polish: float | None,
    steady: bool,
    style_at: tuple[tuple[float, str], ...],
    start: float | None,
    duration: float | None,
    encoding: dict[str, Any],
    fps: float | None,
    optimized: Optimized,
    machines: Machines,
    run: Run,
) -> None:
    """Paint a video: same frames, size and time stamps; sound and all other streams copied.

    IN may be a folder of numbered pictures, OUT a folder for them (with a slash at its end); - is standard input or
    output.
    """
    from rtstyle.media.encoding import Encoding
    from rtstyle.media.pipe import is_pipe
    from rtstyle.media.remuxer import TimeRange
    from rtstyle.video.inputs import opened_pipe, pair_up

    machines.check()
    pairs = pair_up(paths, out_dir, encoding["container"])
    pipes = {source for source, _ in pairs if is_pipe(source)}
    if (run.resume or machines.ray) and (pipes or any(out == "-" for _, out in pairs)):
        what = "painted by Ray: leave --ray" if machines.ray else "resumed: leave `resume`"
        raise UsageError(f"a job through a pipe cannot be {what} out")
    if polish and run.resume and not optimized.gatys:
        raise UsageError(
            "what --polish SECONDS comes to is a little different every time and cannot be resumed: begin anew, or "
            "without --polish, which is the same every time"
        )
    optimized.check(len(pairs))
    options: dict[str, Any] = {
        **painting.look,
        "steady": steady and not optimized.gatys,
        "style_at": style_at,
        "encoding": Encoding(**encoding),
        "time_range": TimeRange(start, None if duration is None else (start or 0.0) + duration),
        "fps": fps,
    }
    if len(pairs) == 1:  # of several, each is checked at its turn
        check_files(*pairs[0], force=run.force)
    with ExitStack() as stack:
        files = {pipe: stack.enter_context(opened_pipe(pipe)) for pipe in pipes}
        stylizer = (
            optimized.stylizer(painting.device)
            if optimized.gatys
            else painting.stylizer_for_files(polish=polish, quiet=run.quiet or run.as_json)
        )
        if machines.ray:
            failed = _paint_by_ray(pairs, stylizer, machines, options, run)
        else:
            failed = _paint_here(pairs, stylizer, files, options, run)
    if failed:
        raise RtstyleError(f"{failed} of {len(pairs)} videos could not be painted")


def check_files(source: str, out: str, *, force: bool) -> None:
    """What painting itself checks only after the style was learned. Raises RtstyleError if the source is not there, or
    the file may not be written."""
    from rtstyle.files import check_output

    if source != "-" and not Path(source).exists():
        raise InputError(f"{source} does not exist")
    if out != "-" and not out.endswith(("/", os.sep)):
        check_output(out, force=force, inputs=[source])


def _paint_here(
    pairs: Sequence[tuple[str, str]],
    stylizer: FramePainter,
    files: Mapping[str, Pipe],
    options: Mapping[str, Any],
    run: Run,
) -> int:
    """One video after another; how many failed. Raises the error of one that is alone."""
    failed = 0
    for source, out in pairs:
        try:
            how: dict[str, Any] = {"resume": run.resume, "force": run.force, "quiet": run.quiet, "as_json": run.as_json}
            paint_video(source, out, stylizer, pipe=files.get(source), **how, **options)
        except RtstyleError as error:
            if len(pairs) == 1 or error.exit_code == Interrupted.exit_code:
                raise
            failed += 1
            say(f"{source}: {error}")
    return failed


def _paint_by_ray(
    pairs: Sequence[tuple[str, str]],
    stylizer: FramePainter,
    machines: Machines,
    options: Mapping[str, Any],
    run: Run,
) -> int:
    """All videos at once; as `_paint_here`."""
    from rtstyle.paint.stylizer import Stylizer
    from rtstyle.video.convert import Options
    from rtstyle.video.farm import stylize_videos

    if not isinstance(stylizer, Stylizer):
        raise UsageError("--gatys paints every frame after the one before it, which Ray cannot: leave --ray out")
    errors: list[RtstyleError] = []

    def finished(source: str, out: str, result: Result | RtstyleError) -> None:
        if isinstance(result, RtstyleError):
            errors.append(result)
            if len(pairs) > 1:
                say(f"{source}: {result}")
        else:
            _say_result(source, out, result, run.quiet)

    def show(p: Progress) -> None:
        if run.as_json:
            say(json.dumps(dataclasses.asdict(p)))
        else:
            update(p.done, p.total, _note(p), p.machines)

    name = Path(pairs[0][0]).name if len(pairs) == 1 else f"{len(pairs)} videos"
    with progress_bar(name, unit="frames", quiet=run.quiet or run.as_json) as update:
        stylize_videos(
            pairs,
            stylizer,
            Options(**options),
            address=machines.ray or "local",
            gpus_per_segment=machines.gpus_per_segment,
            resume=run.resume,
            force=run.force,
            progress=show,
            finished=finished,
        )
    if errors and len(pairs) == 1:
        raise errors[0]
    return len(errors)


def paint_video(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    stylizer: FramePainter,
    *,
    quiet: bool,
    as_json: bool = False,
    pipe: Pipe | None = None,
    encoding: Encoding | None = None,
    **options: Any,
) -> None:
    """Paint one video with a progress bar and say what came of it. `pipe` is the one that `source` names,
    `options` are those of `stylize_video`."""
    from rtstyle.video.convert import stylize_video
    from rtstyle.video.inputs import sent_to_stdout

    started = False

    def show(p: Progress) -> None:
        nonlocal started
        if not started and not quiet:
            say_device(stylizer)
        started = True
        if as_json:
            say(json.dumps(dataclasses.asdict(p)))
        else:
            update(p.done, p.total, _note(p))

    with ExitStack() as stack:
        update = stack.enter_context(progress_bar(Path(source).name, unit="frames", quiet=quiet or as_json))
        container = (encoding and encoding.container) or "mkv"
        target = stack.enter_context(sent_to_stdout(container)) if out == "-" else out
        result = stylize_video(pipe or source, target, stylizer, encoding=encoding, progress=show, **options)
    _say_result(source, out, result, quiet)


def _say_result(source: str | os.PathLike[str], out: str | os.PathLike[str], result: Result, quiet: bool) -> None:
    if result.damaged:
        say(f"warning: {result.damaged} frames of {source} are damaged: they were left out or patched up")
    if quiet:
        return
    for note in result.notes:
        say(f"note: {note}")
    new = result.frames - result.resumed
    resumed = f", {result.resumed} of them from the interrupted run" if result.resumed else ""
    say(f"{out}: {result.frames} frames{resumed} in {result.seconds:.1f} s ({new / result.seconds:.1f} fps)")


def _note(p: Progress) -> str:
    """Speed, what is written so far once that shows, and on wide terminals how busy the stages are."""
    rate = p.done / max(p.seconds, 1e-6)
    note = f"{rate:.1f} fps" if rate > 0.5 else f"{1 / rate:.0f} s a frame" if rate else "no frame yet"
    if p.bytes >= 50_000:
        note += f" {p.bytes / 1e6:.1f} MB"
    if shutil.get_terminal_size().columns >= 120:
        note += "".join(f" {name} {share:.0%}" for name, share in p.loads.items())
    return note


@click.command(cls=Command)
@click.argument("source", metavar="IN")
@click.argument("out", metavar="OUT")
@painting_options
@polish_option
@option(
    "--max-memory",
    type=read_memory,
    metavar="3G",
    help="Refuse pictures that take more [default: half of the machine's].",
)
@output_options
def image(
    *, source: str, out: str, painting: Painting, polish: float | None, max_memory: int | None, force: bool, quiet: bool
) -> None:
    """Paint a picture file, or every picture of a folder."""
    from rtstyle.image import stylize_folder, stylize_image
    from rtstyle.media.images import check_suffix

    is_folder = Path(source).is_dir()
    if not is_folder:
        check_files(source, out, force=force)
        check_suffix(out)
    begin = painting.stylizer_for_files if is_folder else painting.stylizer
    stylizer = begin(polish=polish, quiet=quiet)
    how: dict[str, Any] = {**painting.look, "max_memory": max_memory, "force": force}
    if not is_folder:
        stylize_image(source, out, stylizer, **how)
        if not quiet:
            say_device(stylizer)
        return
    with progress_bar(source, unit="pictures", quiet=quiet) as update:
        done, skipped = stylize_folder(source, out, stylizer, progress=update, **how)
    for sentence in skipped:
        say(f"skipped: {sentence}")
    if not quiet:
        say_device(stylizer)
        say(f"{out}: {done} pictures painted, {len(skipped)} skipped")
