"""A video file in, the painted video file out."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rtstyle import look
from rtstyle.errors import Interrupted, RtstyleError
from rtstyle.files import check_output, part_name, partial_name
from rtstyle.media.files import Frame, VideoReader, VideoWriter
from rtstyle.pipeline import run_stages
from rtstyle.stylizer import MIN_SIDE, Stylizer

if TYPE_CHECKING:
    import av  # not at run time: cv2 must come before it, and rtstyle.media sees to that


@dataclasses.dataclass
class Progress:
    """How far a video is: frames written, frames expected (None if unknown), seconds since the start."""

    done: int
    total: int | None
    seconds: float


@dataclasses.dataclass
class Result:
    """What came of it: frames written, damaged ones left out or patched up, seconds, and notes for the user."""

    frames: int
    damaged: int
    seconds: float
    notes: list[str]


def stylize_video(
    source: str | os.PathLike,
    out: str | os.PathLike,
    stylizer: Stylizer,
    *,
    strength: float = 1.0,
    keep_color: bool = False,
    force: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Result:
    """Paint every frame of `source` into `out` (H.264), at its own time stamp, with the other streams copied.

    Decoding, painting and encoding overlap in threads of their own. `out` appears only when it is complete;
    after Ctrl-C what is done so far is kept beside it under a name that says `partial`, and Interrupted is
    raised. Raises RtstyleError for anything the user can put right; then `out` is as it was.
    """
    look.check_strength(strength)
    if Path(source).exists():  # a missing source is the reader's to report
        out = check_output(out, force=force, inputs=[source])
    with VideoReader(source) as reader:
        if min(reader.stream.width, reader.stream.height) < MIN_SIDE:
            raise RtstyleError(f"{source} is smaller than {MIN_SIDE} pixels: too small to paint")
        part = part_name(out)
        try:
            return _paint_into(part, out, reader, stylizer, strength, keep_color, progress)
        except OSError as error:  # av's errors are OSErrors too
            raise RtstyleError(
                f"{out} could not be written ({error.strerror or error}): nothing was changed"
            ) from error
        finally:
            part.unlink(missing_ok=True)


def _paint_into(part, out, reader, stylizer, strength, keep_color, progress) -> Result:
    def paint(item: Frame | av.Packet) -> Frame | av.Packet:
        if isinstance(item, Frame):
            item.rgb = look.apply(item.rgb, stylizer(item.rgb), strength=strength, keep_colors=keep_color)
        return item

    started, done, total = time.monotonic(), 0, reader.frame_count
    writer, waiting, interrupted = None, [], False

    def write(item: Frame | av.Packet) -> int | None:
        """The last stage: how many frames are written, or None for a packet. It has a thread of its own because
        Ctrl-C strikes the main one anywhere, even between encoding a frame and writing what the encoder gave."""
        nonlocal writer, done
        if not isinstance(item, Frame):
            if writer:
                writer.copy(item)
            else:
                waiting.append(item)
            return None
        if writer is None:
            writer = VideoWriter(part, reader, item)
            for packet in waiting:
                writer.copy(packet)
        writer.write(item)
        done += 1
        return done

    items = run_stages(reader, paint, write)
    try:
        try:
            for written in items:
                if progress and written:
                    progress(Progress(written, total, time.monotonic() - started))
        finally:
            items.close()  # the threads have ended when this returns: the writer is ours again
    except KeyboardInterrupt:
        interrupted = True
    except BaseException:
        if writer:
            writer.abandon()
        raise
    if writer is None:
        if interrupted:
            raise Interrupted("interrupted before the first frame: nothing was written")
        raise RtstyleError(f"{reader.path} holds no frame that can be decoded")
    writer.finish()
    if interrupted:
        kept = partial_name(out)
        os.replace(part, kept)
        raise Interrupted(f"interrupted: the first {done} frames are in {kept}")
    os.replace(part, out)
    return Result(done, reader.damaged, time.monotonic() - started, writer.notes)
