"""rtstyle paints a webcam or a video in the style of a picture, in real time.

    import rtstyle

    stylizer = rtstyle.Stylizer("starry-night")
    painted = stylizer(frame)                      # uint8 RGB [H, W, 3] or [N, H, W, 3]
    rtstyle.stylize_image("in.jpg", "out.jpg", stylizer)
    rtstyle.stylize_video("in.mp4", "out.mp4", stylizer, progress=print)
    [style.name for style in rtstyle.styles()]

Everything is loaded on first use: `import rtstyle` alone imports neither numpy nor OpenCV.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

from rtstyle.errors import (
    DeviceError,
    InputError,
    Interrupted,
    ModelError,
    OutputError,
    RtstyleError,
    UsageError,
)

# ONNX Runtime writes a device id and a database, and looks for a server, unless this is set before it is loaded
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from rtstyle.gallery.catalog import styles
    from rtstyle.image import stylize_image
    from rtstyle.media.encoding import Encoding
    from rtstyle.media.remuxer import TimeRange
    from rtstyle.paint.stylizer import Stylizer
    from rtstyle.video.convert import stylize_video

__version__ = "0.2.0.dev0"
__all__ = [
    "DeviceError",
    "Encoding",
    "InputError",
    "Interrupted",
    "ModelError",
    "OutputError",
    "RtstyleError",
    "Stylizer",
    "TimeRange",
    "UsageError",
    "__version__",
    "styles",
    "stylize_image",
    "stylize_video",
]

_WHERE = {
    "Encoding": "rtstyle.media.encoding",
    "TimeRange": "rtstyle.media.remuxer",
    "Stylizer": "rtstyle.paint.stylizer",
    "styles": "rtstyle.gallery.catalog",
    "stylize_image": "rtstyle.image",
    "stylize_video": "rtstyle.video.convert",
}


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module 'rtstyle' has no attribute {name!r}")
    value = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
