"""A video file, painted: sound copied, the style changing on the way, progress by a function of one's own.

python examples/video.py pretrained/sample.mp4 painted.mp4 --duration 4
"""

import argparse

import rtstyle
from rtstyle.video.convert import Progress

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("video")
parser.add_argument("out")
parser.add_argument("--duration", type=float, help="seconds from the beginning; by default the whole of it")
arguments = parser.parse_args()

stylizer = rtstyle.Stylizer("starry-night", work_height=240)


def show(progress: Progress) -> None:
    """Called in this thread after every frame that was written."""
    total = f" of {progress.total}" if progress.total else ""
    if progress.done % 30 == 0:
        print(f"{progress.done} frames{total}, {progress.done / max(progress.seconds, 1e-3):.0f} a second")


try:
    result = rtstyle.stylize_video(
        arguments.video,
        arguments.out,
        stylizer,
        style_at=[(1.0, "great-wave"), (2.0, "irises")],  # seconds of the video; each a crossfade of half a second
        keep_color=False,
        steady=True,  # against flicker
        encoding=rtstyle.Encoding(codec="h264", quality=70),
        time_range=rtstyle.TimeRange(0, arguments.duration),
        force=True,  # replace an older result
        progress=show,
    )
except rtstyle.RtstyleError as error:  # what the user can put right, in one sentence; `out` is as it was
    parser.exit(1, f"{error}\n")

for note in result.notes:  # what was converted or could not be kept
    print(note)
print(f"wrote {arguments.out}: {result.frames} frames in {result.seconds:.1f} s, {result.damaged} of them damaged")
