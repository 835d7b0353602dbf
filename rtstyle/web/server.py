"""A server for the page, for this machine alone."""

from __future__ import annotations

import contextlib
import hashlib
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from rtstyle.errors import DeviceError
from rtstyle.web.site import HEADERS, TYPES, Files

HOST = "127.0.0.1"  # browsers give the camera to https and to this machine only


class PageServer(ThreadingHTTPServer):
    """Serves files from memory on 127.0.0.1: what is not among them does not exist. Port 0 is any free one.

    Raises DeviceError if the port is not available.
    """

    daemon_threads = True

    def __init__(self, files: Files, port: int):
        self.files = files
        self.tags = {name: f'"{hashlib.sha256(content).hexdigest()[:20]}"' for name, content in files.items()}
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise DeviceError(f"port {port} is not available ({error.strerror}): choose another `port`") from None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing where the browser hung up."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_address[1]}/"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: PageServer

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        name = urlsplit(self.path).path.removeprefix("/") or "index.html"
        content = self.server.files.get(name)
        if content is None:
            name, content, status = "404.txt", b"There is no such file here.\n", HTTPStatus.NOT_FOUND
        elif self.headers.get("If-None-Match") == self.server.tags[name]:
            content, status = b"", HTTPStatus.NOT_MODIFIED
        else:
            status = HTTPStatus.OK
        self.send_response(status)
        for header, value in HEADERS.items():
            self.send_header(header, value)
        if status != HTTPStatus.NOT_FOUND:
            self.send_header("ETag", self.server.tags[name])
        self.send_header("Cache-Control", "no-cache")
        if status != HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Type", TYPES[PurePosixPath(name).suffix])
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if with_body:
            with contextlib.suppress(ConnectionError):  # the browser no longer wants it
                self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the browser shows what it could not load."""
