"""The files of the page: its own, ONNX Runtime for browsers, and what they paint with."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import onnx

from rtstyle.errors import ModelError, OutputError
from rtstyle.files import written_beside
from rtstyle.gallery import catalog
from rtstyle.gallery.encoder import FILE as ENCODER
from rtstyle.gallery.model_file import Model
from rtstyle.media.contact_sheet import bundled_photograph
from rtstyle.runtime.web_form import web_form

PAGE = Path(__file__).parent / "page"
BUILT = PAGE / "ort" / "ort.wasm.min.mjs"

# Nothing but what the page brings along is run or asked for, and threads of wasm get the isolation that they need.
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; style-src 'self'; manifest-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".onnx": "application/octet-stream",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
}
Files: TypeAlias = Mapping[str, bytes]


def page_files(*, offline: bool = False) -> dict[str, bytes]:
    """Everything that the page consists of, by its path below the page. With `offline` a service worker keeps it in the
    browser after the first visit. Raises ModelError if the page was not built, or the model is none for it."""
    if not BUILT.is_file():
        raise ModelError(
            f"the page is not built: run npm ci && npm run build in {PAGE.parent} (npm comes with Node.js)"
        )
    paths = [path for path in PAGE.rglob("*") if path.is_file() and not path.name.startswith(".")]
    files = {path.relative_to(PAGE).as_posix(): path.read_bytes() for path in paths}
    service_worker = files.pop("sw.js")
    model = catalog.load("live")
    encoder = encoder_of(model)
    for_gpu = bare(web_form(model.path.read_bytes()))
    # loaded late, when the host may have another version already: that has another name
    gpu_name = f"model-gpu-{hashlib.sha256(for_gpu).hexdigest()[:12]}.onnx"
    known = gallery(model, encoder=encoder is not None, offline=offline) | {"gpu_model": gpu_name}
    files |= {
        "gallery.json": json.dumps(known).encode(),
        "model.onnx": bare(model.path.read_bytes()),
        gpu_name: for_gpu,
        "photograph.jpg": bundled_photograph().read_bytes(),
    }
    if encoder is not None:
        files[ENCODER] = encoder
    if offline:
        files["sw.js"] = listed(files) + service_worker
    return files


def gallery(model: Model, *, encoder: bool, offline: bool) -> dict[str, Any]:
    """What the page knows of the model: its styles with their codes (base64 float32), and what else is there."""
    keys = ("name", "title", "artist", "year", "thumbnail")
    return {
        "reference_height": model.reference_height,
        "styles": [
            {key: getattr(style, key) for key in keys}
            | {"code": base64.b64encode(style.code.astype("<f4").tobytes()).decode()}
            for style in catalog.mixable(model)
        ],
        "encoder": encoder,
        "offline": offline,
    }


def encoder_of(model: Model) -> bytes | None:
    """The net that makes codes of pictures, if one lies beside the model and was made for its body."""
    path = model.path.with_name(ENCODER)
    if not path.is_file():
        return None
    net = path.read_bytes()
    props = {prop.key: prop.value for prop in onnx.load_from_string(net).metadata_props}
    return net if props.get("rtstyle.body_sha256") == model.body_sha256 else None


def bare(model: bytes) -> bytes:
    """A model without its metadata, which gallery.json has."""
    net = onnx.load_from_string(model)
    net.ClearField("metadata_props")
    return bytes(net.SerializeToString())


def listed(files: Files) -> bytes:
    """The digests of files by their names, and one of them all, for the service worker."""
    digests = {name: base64.b64encode(hashlib.sha256(files[name]).digest()).decode() for name in sorted(files)}
    known = json.dumps(digests)
    version = hashlib.sha256(known.encode()).hexdigest()[:16]
    return f'const FILES = {known};\nconst VERSION = "{version}";\n'.encode()


def export(folder: Path, *, force: bool) -> Files:
    """Write the page into a folder, for any static host; returns its files. Without `force` the folder must be new or
    empty. `_headers` is for hosts that read it (Netlify, Cloudflare Pages). Raises OutputError."""
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is not a folder: choose another name")
    if not force and folder.is_dir() and any(folder.iterdir()):
        raise OutputError(f"{folder} is not empty: choose another folder, or add `force=True` to replace what is in it")
    headers = "".join(f"  {name}: {value}\n" for name, value in HEADERS.items())
    files = page_files(offline=True) | {"_headers": f"/*\n{headers}".encode()}
    try:
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with written_beside(path, force=force) as part:
                part.write_bytes(content)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written ({error.strerror})") from None
    return files
