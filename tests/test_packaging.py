"""The wheel: built, installed into a fresh environment, run from outside the checkout. Offline throughout."""

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from support.media_files import timestamps

pytest_plugins = ["support.runtime_fixtures"]

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, so that the checkout gets no build folder and an old one cannot leak in."""
    setuptools = pytest.importorskip("setuptools", minversion="77", reason="building offline needs setuptools 77")
    assert setuptools
    folder = tmp_path_factory.mktemp("build")
    left_out = shutil.ignore_patterns("__pycache__", "node_modules", "ort")
    for name in ("rtstyle", "export", "pretrained", "tests"):
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=left_out)
    runtime = folder / "source" / "rtstyle" / "web" / "page" / "ort" / "ort.wasm.min.mjs"  # as if npm had run
    runtime.parent.mkdir()
    runtime.write_text("// in place of ONNX Runtime")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    subprocess.run([*build, "--wheel-dir", folder, folder / "source"], check=True, timeout=300)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A fresh environment that has the wheel, and borrows the packages it needs from this one."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / ("python.exe" if os.name == "nt" else "python")
    ask = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip())
    # a .pth line adds a folder, but not the editable rtstyle, which hangs on a .pth file inside that folder
    borrowed = [folder for folder in sys.path if Path(folder).name in ("site-packages", "dist-packages")]
    (packages / "borrowed.pth").write_text("\n".join(borrowed))
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*install, "--ignore-installed", wheel], check=True, timeout=300)
    return scripts


def test_the_wheel_holds_what_runs_and_no_tests(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "rtstyle/__init__.py",
        "rtstyle/py.typed",
        "rtstyle/media/camera.py",
        "rtstyle/export/networks.py",
        "rtstyle/export/recipes/live.toml",
        "rtstyle/pretrained/photographs/astronaut.jpg",
        "rtstyle/pretrained/encoder.onnx",
        "rtstyle/pretrained/encoder-polish.onnx",
        "rtstyle/pretrained/live.onnx",
        "rtstyle/pretrained/studio.onnx",
        "rtstyle/pretrained/sample.mp4",
        "rtstyle/web/page/index.html",
        "rtstyle/web/page/sw.js",
        "rtstyle/web/page/ort/ort.wasm.min.mjs",
        "rtstyle/web/package-lock.json",
        "rtstyle/web/build.mjs",
    } <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert [name for name in names if "test" in name.lower() or "__pycache__" in name] == []
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"rtstyle"}


def test_everything_of_the_checkout_is_in_the_wheel(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, place in (("rtstyle", "rtstyle"), ("export", "rtstyle/export")):
        for path in (ROOT / folder).rglob("*.py"):
            assert f"{place}/{path.relative_to(ROOT / folder).as_posix()}" in names


def run(installed, tmp_path, *arguments):
    done = subprocess.run(
        [installed / "rtstyle", *map(str, arguments)], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_installed_package_is_the_one_that_runs(installed, tmp_path):
    program = "import rtstyle, rtstyle.export; print(rtstyle.__file__); print(rtstyle.export.__file__)"
    output = subprocess.run(
        [installed / "python", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout.split()
    for path in output:
        assert installed.parent in Path(path).parents


def test_the_installed_command_lists_the_styles(installed, tmp_path):
    names = [info["name"] for info in json.loads(run(installed, tmp_path, "styles", "--json"))]
    assert {"starry-night", "irises", "great-wave", "scream"} <= set(names)


def test_the_installed_command_paints_a_video(installed, tmp_path, clip):
    run(installed, tmp_path, "video", clip, "out.mp4", "--style", "great-wave", "--device", "cpu")
    assert timestamps(tmp_path / "out.mp4") == timestamps(clip)
