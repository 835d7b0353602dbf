"""Motion JPEG over HTTP, as network cameras send it: an answer of many parts, each a picture.

FFmpeg plays it too, but takes a part into memory however long it says it is, and cannot be woken while it waits.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator

import numpy as np
from PIL import Image

from rtstyle.errors import InputError
from rtstyle.threads import interruptible

SECONDS = 4.0  # for the first picture, and then between two bytes
MAX_BYTES = 64 << 20  # of a picture
MAX_PIXELS = 64_000_000
FORMATS = "JPEG", "PNG", "WEBP"  # of pictures: not all that Pillow opens, such as PostScript by Ghostscript
MAX_LINE, MAX_LINES = 4096, 1000  # of what stands around pictures


def open_http(address: str) -> MotionJpeg | None:
    """The motion JPEG at an http:// or https:// address, with its first picture; None if something else is there, or
    the server's certificate cannot be checked. Raises InputError, with the reason, in about SECONDS."""
    try:
        return interruptible(lambda: _open(address), "opening", SECONDS + 1, _close)
    except urllib.error.HTTPError as error:
        error.close()
        reason = f"the server answers {error.code} {error.reason}"
    except TimeoutError:
        reason = f"no picture in {SECONDS:.0f} s"
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = getattr(error, "reason", error)  # URLError wraps it
        if isinstance(cause, ssl.SSLError):
            return None
        words = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        reason = f"no answer in {SECONDS:.0f} s" if isinstance(cause, TimeoutError) else words
    raise InputError(f"the stream {address} cannot be opened ({reason}): is it running, and the address right?")


def _close(late: MotionJpeg | None) -> None:
    if late:
        late.close()


def _open(address: str) -> MotionJpeg | None:
    url = urllib.parse.urlsplit(address)
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    if url.username is not None:
        address = url._replace(netloc=url.netloc.rpartition("@")[2]).geturl()
        name, password = urllib.parse.unquote(url.username), urllib.parse.unquote(url.password or "")
        passwords.add_password(None, address, name, password)
    opener = urllib.request.build_opener(
        urllib.request.HTTPBasicAuthHandler(passwords), urllib.request.HTTPDigestAuthHandler(passwords)
    )
    answer = opener.open(urllib.request.Request(address, headers={"User-Agent": "rtstyle"}), timeout=SECONDS)
    if answer.headers.get_content_maintype() == "multipart":
        return MotionJpeg(address, answer)
    answer.close()
    return None


class MotionJpeg:
    """A LiveSource of the pictures in an answer of several parts; what is no picture is passed over.

    The first picture is read here. Raises InputError if there is none.
    """

    returns = True

    def __init__(self, address: str, answer: http.client.HTTPResponse):
        self._address, self._answer = address, answer
        self._socket = socket.socket(fileno=socket.dup(answer.fileno()))  # to wake who reads from the other
        self._pictures = self._parts()
        try:
            self._waiting = [next(self._frames())]
        except StopIteration:
            self.close()
            raise InputError(f"the stream {address} cannot be opened: it ends without a picture") from None
        except BaseException:
            self.close()
            raise

    def read(self) -> np.ndarray | None:
        """Raises InputError for a part that is too large."""
        if self._waiting:
            return self._waiting.pop()
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):  # it was lost
            return next(self._frames(), None)
        return None

    def wake(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.wake()
        self._socket.close()
        self._answer.close()

    def _frames(self) -> Iterator[np.ndarray]:
        return (rgb for data in self._pictures if (rgb := _decoded(data)) is not None)

    def _parts(self) -> Iterator[bytes]:
        """What is in every part."""
        line, others = self._line(), 0
        while line:
            if not line.startswith(b"--"):
                others += 1
                if others > MAX_LINES:
                    raise ValueError("this is no answer of several parts")
                line = self._line()
                continue
            others, length = 0, self._head()
            if length is None:
                data, after = self._until(line.strip())
            else:
                data, after = self._answer.read(length), b""
                if len(data) < length:
                    return
            yield data
            line = after or self._line()

    def _line(self) -> bytes:
        return self._answer.readline(MAX_LINE)

    def _head(self) -> int | None:
        """The length of a part, if it is said. Raises InputError if that is more than MAX_BYTES."""
        length = None
        for _ in range(MAX_LINES):
            name, _, value = self._line().strip().partition(b":")
            if not name:
                return length
            if name.lower() == b"content-length" and value.strip().isdigit():
                length = int(value)
                if length > MAX_BYTES:
                    self._refuse(length)
        return length

    def _until(self, boundary: bytes) -> tuple[bytes, bytes]:
        """(all up to a line that is the boundary, or ends all parts; that line)."""
        data, begins = bytearray(), True
        while line := self._line():
            if begins and line.strip() in (boundary, boundary + b"--"):
                break
            data += line
            begins = line.endswith(b"\n")
            if len(data) > MAX_BYTES:
                self._refuse(len(data))
        return bytes(data), line

    def _refuse(self, length: int) -> None:
        raise InputError(
            f"the stream {self._address} sends a picture of {length / 1e6:.0f} MB, and must not send more than "
            f"{MAX_BYTES / 1e6:.0f} MB"
        )


def _decoded(data: bytes) -> np.ndarray | None:
    """A picture as uint8 RGB [H, W, 3]; None if it cannot be read, or is too large."""
    with contextlib.suppress(OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
        if picture.width * picture.height <= MAX_PIXELS:
            return np.array(picture.convert("RGB"))
    return None
