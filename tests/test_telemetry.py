"""ONNX Runtime's telemetry is off, in every process, unless the user says otherwise; OpenVINO's is."""

import os
import subprocess
import sys

import pytest
from PIL import Image

PAINT = "import sys; from rtstyle import stylize_image, Stylizer; stylize_image(*sys.argv[1:], Stylizer(device='cpu'))"


@pytest.fixture
def run(tmp_path):
    """Python in a process whose home and temporary folder are its own: (exit code, the files it left there)."""
    places = {name: tmp_path / name for name in ("HOME", "TMPDIR")}
    for folder in places.values():
        folder.mkdir()

    def run(*arguments, **extra):
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "ORT_"))}
        environment |= {key: str(folder) for key, folder in places.items()} | extra
        done = subprocess.run([sys.executable, *map(str, arguments)], env=environment, capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout, [path for folder in places.values() for path in folder.rglob("*") if path.is_file()]

    return run


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep such files elsewhere")
def test_painting_with_openvino_leaves_no_file_but_ours(run, tmp_path):
    """Its package writes an identity into the home folder before it reports anything."""
    pytest.importorskip("openvino_telemetry")
    Image.new("RGB", (32, 24), "olive").save(tmp_path / "photo.png")
    program = PAINT.replace("'cpu'", "'openvino'") + "; print('openvino_telemetry' in sys.modules, end='')"
    out, left = run("-c", program, tmp_path / "photo.png", tmp_path / "out.png")
    assert out == b"False" and (tmp_path / "out.png").exists()
    assert [path for path in left if path.parts[-4:-2] != (".cache", "rtstyle")] == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep such files elsewhere")
@pytest.mark.parametrize(
    "program", [["-c", PAINT], ["-m", "rtstyle", "image", "--device", "cpu"]], ids=["api", "command"]
)
def test_painting_leaves_no_file_elsewhere(run, tmp_path, program):
    Image.new("RGB", (32, 24), "olive").save(tmp_path / "photo.png")
    _, left = run(*program, tmp_path / "photo.png", tmp_path / "out.png")
    assert (tmp_path / "out.png").exists() and left == []


def test_the_user_may_want_it(run):
    program = "import os, rtstyle; print(os.environ['ORT_DISABLE_TELEMETRY'], end='')"
    assert run("-c", program)[0] == b"1"
    assert run("-c", program, ORT_DISABLE_TELEMETRY="0")[0] == b"0"
