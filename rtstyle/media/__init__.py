"""Where frames come from and go to. Frames are uint8 RGB [H, W, 3] everywhere.

On Linux OpenCV's window hangs when `av` was imported before `cv2` (their bundled xcb libraries clash), so
this package imports them in the order that works, before any of its modules can do otherwise.
"""

import cv2  # noqa: F401, I001
import av  # noqa: F401
