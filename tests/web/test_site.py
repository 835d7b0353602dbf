"""The files of the page, its server and its command, without a browser."""

import base64
import dataclasses
import hashlib
import http.client
import json
import re
import socket
import struct
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from support.helpers import wait_until

from rtstyle import OutputError, RtstyleError
from rtstyle.gallery import catalog
from rtstyle.live.controls import KEYS
from rtstyle.web import site
from rtstyle.web.server import PageServer

pytest_plugins = ["support.runtime_fixtures"]


@pytest.fixture
def built(monkeypatch):
    """As if npm had run: what is served needs none of ONNX Runtime's files."""
    monkeypatch.setattr(site, "BUILT", site.PAGE / "index.html")


@pytest.fixture
def get():
    """A function that asks a server for a path as it is written: (status, headers, body)."""
    with PageServer({"index.html": b"<p>page", "a/b.wasm": b"\0asm"}, 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()

        def ask(path, method="GET", **headers):
            connection = http.client.HTTPConnection(*server.server_address[:2], timeout=20)
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            answer = response.status, dict(response.getheaders()), response.read()
            connection.close()
            return answer

        yield ask
        server.shutdown()
        thread.join()


def test_an_unbuilt_page_says_how_to_build_it(monkeypatch, tmp_path, call):
    monkeypatch.setattr(site, "BUILT", tmp_path / "ort.mjs")
    code, out, said = call("web")
    assert code == 1 and out == "" and said.count("\n") == 1
    assert f"run npm ci && npm run build in {site.PAGE.parent}" in said
    assert (site.PAGE.parent / "package-lock.json").is_file()


def test_files(built):
    files = site.page_files()
    gallery = json.loads(files["gallery.json"])
    model = catalog.load("live")
    assert [style["name"] for style in gallery["styles"]] == [style.name for style in catalog.mixable(model)]
    code = np.frombuffer(base64.b64decode(gallery["styles"][0]["code"]), "<f4")
    assert np.array_equal(code, model.styles[0].code) and not gallery["offline"]
    for name in ("model.onnx", gallery["gpu_model"]):
        net = onnx.load_from_string(files[name])
        onnx.checker.check_model(net)
        assert [value.name for value in net.graph.input] == ["frames", "code"] and not net.metadata_props
    assert {Path(name).suffix for name in files} <= set(site.TYPES)
    assert "sw.js" not in files  # on this machine the page is there anyway
    assert b"https://" not in files["index.html"] and b"http://" not in files["index.html"]


def test_stray_files_of_systems_are_no_part_of_the_page(built, monkeypatch, tmp_path):
    for name in ("sw.js", ".DS_Store"):
        (tmp_path / name).write_bytes(b"")
    monkeypatch.setattr(site, "PAGE", tmp_path)
    assert ".DS_Store" not in site.page_files()


def test_the_page_says_the_policy_itself_for_hosts_without_headers():
    (written,) = re.findall(
        r'Content-Security-Policy" content="([^"]*)"', (site.PAGE / "index.html").read_text("utf-8")
    )
    assert written == site.POLICY.removesuffix("; frame-ancestors 'none'")  # which only a header may say
    assert "unsafe-inline" not in written and "'unsafe-eval'" not in written


def test_a_browser_that_hangs_up_is_no_error(capsys):
    with PageServer({"index.html": b"<p>page"}, 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        with socket.create_connection(server.server_address) as browser:
            browser.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
            assert browser.recv(4096).startswith(b"HTTP/1.1 200")
            wait_until(lambda: any("process_request" in thread.name for thread in threading.enumerate()))
            browser.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing resets
        wait_until(lambda: not any("process_request" in thread.name for thread in threading.enumerate()))
        server.shutdown()
        thread.join()
    assert capsys.readouterr().err == ""


def write_encoder(path, sha256):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", ["picture"], ["code"])],
        "encoder",
        [value("picture", TensorProto.UINT8, [1, "H", "W", 3])],
        [value("code", TensorProto.UINT8, [1, "H", "W", 3])],
    )
    net = helper.make_model(graph)
    helper.set_model_props(net, {"rtstyle.body_sha256": sha256})
    path.write_bytes(net.SerializeToString())


def test_an_encoder_is_served_if_it_was_made_for_the_body(tmp_path):
    model = dataclasses.replace(catalog.load("live"), path=tmp_path / "live.onnx")
    assert site.encoder_of(model) is None
    write_encoder(tmp_path / "encoder.onnx", "of another body")
    assert site.encoder_of(model) is None
    write_encoder(tmp_path / "encoder.onnx", model.body_sha256)
    assert site.encoder_of(model) == (tmp_path / "encoder.onnx").read_bytes()


def test_keys_are_those_of_cam():
    written = (site.PAGE / "keys.js").read_text("utf-8")
    found = dict(re.findall(r'label: "([^"]*)", help: "([^"]*)"', written))
    expected = {key.label: key.help for key in KEYS} | {"r": "record, stop", "q": "stop the camera"}
    for missing in ("g", "b", "tab", "q Esc"):  # the styles are always there, Escape closes what is open
        del expected[missing]
    assert len(found) >= 16 and found.items() <= expected.items()  # no key means something else here


def test_the_server_serves_only_the_files_of_the_page(get):
    status, headers, body = get("/")
    assert (status, body) == (200, b"<p>page") and headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self' 'wasm-unsafe-eval';")
    status, headers, body = get("/a/b.wasm?threads=1")
    assert (status, headers["Content-Type"], body) == (200, "application/wasm", b"\0asm")
    assert get("/a/b.wasm", **{"If-None-Match": headers["ETag"]})[0::2] == (304, b"")
    assert get("/a/b.wasm", "HEAD")[0::2] == (200, b"")
    assert get("/", "POST")[0] == 501
    for path in ("/a", "/a/", "/../site.py", "/%2e%2e/site.py", "/a/../index.html", "//etc/passwd", "/etc/passwd"):
        status, headers, body = get(path)
        assert (status, body) == (404, b"There is no such file here.\n"), path
        assert "Content-Security-Policy" in headers


def test_a_port_in_use_is_one_sentence(built, call):
    with PageServer({}, 0) as server:
        port = server.server_address[1]
        assert server.server_address[0] == "127.0.0.1"
        code, _, said = call("web", "--port", port)
    assert code == 1 and re.search(rf"port {port} is not available \(.+\): choose another --port", said)


def test_export(built, tmp_path, call):
    folder = tmp_path / "deep" / "site"
    code, out, _ = call("web", "--export", folder)
    assert code == 0 and out.startswith(f"{folder}: ")
    for name, content in site.page_files(offline=True).items():
        assert (folder / name).read_bytes() == content, name
    service_worker = (folder / "sw.js").read_text("utf-8")
    digests = json.loads(re.match(r"const FILES = (\{.*\});\nconst VERSION", service_worker)[1])
    written = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert {*digests, "sw.js", "_headers"} == set(written)
    for name, digest in digests.items():
        assert digest == base64.b64encode(hashlib.sha256(written[name]).digest()).decode(), name
    assert json.loads((folder / "gallery.json").read_bytes())["offline"]
    assert "  Cross-Origin-Embedder-Policy: require-corp\n" in (folder / "_headers").read_text("utf-8")


@pytest.mark.parametrize("options", [["--export", "site", "--open"], ["--export", "site", "--port", 8722], ["--force"]])
def test_options_that_do_not_go_together(options, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, said = call("web", *options)
    assert code == 2 and "--export" in said and not any(tmp_path.iterdir())


def test_export_replaces_nothing_without_force(built, tmp_path, call):
    (tmp_path / "index.html").write_text("mine")
    code, _, said = call("web", "--export", tmp_path)
    assert code == 1 and "is not empty" in said and "--force" in said
    assert (tmp_path / "index.html").read_text() == "mine" and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(OutputError, match="is not a folder"):
        site.export(tmp_path / "index.html", force=True)
    with pytest.raises(RtstyleError):
        site.export(tmp_path / "index.html" / "site", force=True)
    assert call("web", "--export", tmp_path, "--force")[0] == 0
    assert (tmp_path / "index.html").read_text("utf-8") != "mine"
