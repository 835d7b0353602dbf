"""Which device paints: chosen, verified, explained."""

import sys

import pytest
from support.helpers import run_python

from rtstyle import RtstyleError, UsageError
from rtstyle.gallery.catalog import model_path
from rtstyle.runtime import devices

no_cuda = pytest.mark.skipif(devices.cuda_problem() is None, reason="CUDA is there")


@pytest.mark.parametrize(
    ("name", "kind", "index"),
    [
        *(("cpu", "cpu", ""), ("CUDA", "cuda", ""), ("cuda:3", "cuda", "3"), ("tensorrt:1", "tensorrt", "1")),
        *(("auto", "auto", ""), ("openvino", "openvino", ""), ("OpenVINO:GPU.1", "openvino", "gpu.1")),
    ],
)
def test_names_are_read(name, kind, index):
    assert devices.parse(name) == (kind, index)


@pytest.fixture(autouse=True)
def no_device_in_the_environment(monkeypatch):
    monkeypatch.delenv("RTSTYLE_DEVICE", raising=False)


@pytest.mark.parametrize(
    "name", ["", "gpu", "cuda:x", "cuda:-1", "cpu:0", "auto:1", "cuda:1:2", "coreml:0", "openvino:0", "openvino:gpu."]
)
def test_other_names_are_refused_with_the_choices(name):
    with pytest.raises(UsageError, match="choose auto, cpu, cuda"):
        devices.parse(name)


def test_the_cpu_is_there():
    device = devices.choose("cpu")
    assert (device.name, device.kind, device.providers) == ("cpu", "cpu", ["CPUExecutionProvider"])


@no_cuda
def test_auto_takes_the_cpu_and_says_why():
    device = devices.choose("auto")
    assert device.name == "cpu"
    assert device.why == f"auto: {devices.cuda_problem()}"
    assert devices.cuda_problem()


@no_cuda
@pytest.mark.parametrize("name", ["cuda", "cuda:1", "tensorrt", "coreml", "directml"])
def test_a_device_asked_for_by_name_is_never_replaced(name):
    kind = name.partition(":")[0]
    if devices.NAMES[kind] in devices.ort.get_available_providers() and kind != "cuda":
        pytest.skip(f"{kind} is there")
    with pytest.raises(RtstyleError, match=rf"^{name} is not available: .*; .*`device='cpu'`") as error:
        devices.choose(name)
    assert error.value.exit_code == 1


@pytest.mark.parametrize(
    ("version", "sentence"),
    [
        (None, r"OpenVINO is not installed; install it with: pip install '\.\[openvino\]' in rtstyle's folder, or use"),
        ("2023.3.0", r"OpenVINO 2023\.3\.0 is too old; update it with: pip install 'openvino>=2025', or use"),
    ],
)
def test_openvino_that_is_missing_or_too_old_is_one_sentence(monkeypatch, version, sentence):
    def installed(name):
        if version is None:
            raise devices.metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(devices.metadata, "version", installed)
    with pytest.raises(RtstyleError, match=rf"^openvino is not available: {sentence} `device='cpu'`$"):
        devices.choose("openvino")


def test_the_environment_says_what_auto_takes(monkeypatch):
    monkeypatch.setenv("RTSTYLE_DEVICE", "cpu")
    assert (devices.choose("auto").name, devices.choose("auto").why) == ("cpu", "named by RTSTYLE_DEVICE")
    assert devices.choose("cpu").why == "asked for"
    monkeypatch.setenv("RTSTYLE_DEVICE", "abacus")
    with pytest.raises(UsageError, match="unknown device 'abacus'"):
        devices.choose("auto")


def test_a_session_runs_where_it_was_asked_to():
    session = devices.open_session(str(model_path("live")), devices.choose("cpu"), threads=1)
    assert session.get_providers() == ["CPUExecutionProvider"]
    assert session.get_session_options().intra_op_num_threads == 1


AGAIN_AND_AGAIN = """
import numpy as np
from rtstyle.diagnose import machine
from rtstyle.gallery import catalog
from rtstyle.runtime import devices
from rtstyle.runtime.session import OrtSession

model = catalog.load("live")
session = OrtSession(model.path, devices.choose("cpu"), threads=1)
for _ in range(3):
    machine.forget_peak()
    before = machine.peak_memory()
    session.run(np.zeros((1, 720, 1280, 3), np.uint8), model.styles[0].code)
    print(None if before is None else machine.peak_memory() - before)
"""


def test_the_second_frame_of_a_size_takes_no_more_memory_than_the_first():
    done = run_python("-c", AGAIN_AND_AGAIN)
    assert done.returncode == 0, done.stderr
    if "None" in done.stdout:
        pytest.skip("this system does not tell")
    first, *later = map(float, done.stdout.split())
    assert first > 20 and max(later) < 10


@no_cuda
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_does_not_start_is_an_error_and_not_the_cpu():
    """ONNX Runtime itself would go on with the CPU and one printed line."""
    device = devices.Device("cuda:0", devices._providers("cuda", 0), "for the test")
    with pytest.raises(RtstyleError, match="cuda:0") as error:
        devices.open_session(str(model_path("live")), device)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["missing.onnx", "text.onnx"])
def test_a_file_that_is_no_model_is_one_sentence(tmp_path, name):
    (tmp_path / "text.onnx").write_text("not a net")
    with pytest.raises(RtstyleError, match=name) as error:
        devices.open_session(str(tmp_path / name), devices.choose("cpu"))
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("installed", "said"),
    [
        (["onnxruntime"], None),
        (["onnxruntime-gpu"], None),
        (["onnxruntime", "onnxruntime-gpu"], "pip uninstall -y onnxruntime onnxruntime-gpu, then pip install "),
    ],
)
def test_two_packages_that_overwrite_each_other_are_noticed(monkeypatch, installed, said):
    def version(name):
        if name not in installed:
            raise devices.metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(devices.metadata, "version", version)
    result = devices.conflicting_packages()
    assert result is None if said is None else said + "onnxruntime-gpu" in result


@pytest.fixture
def machine(monkeypatch):
    """What a machine has: a driver with its cards, libraries by name, and the providers of its ONNX Runtime."""

    class Machine:
        def __init__(self):
            self.driver = ["GPU 0", "GPU 1"], 13000
            self.loads, self.providers = set(), ["CPUExecutionProvider"]

        def everything(self, kind):
            self.loads |= set(devices.libraries(kind))
            self.providers += [devices.NAMES[kind], devices.NAMES["cuda"]]

    machine = Machine()
    monkeypatch.setattr(devices, "driver", lambda: machine.driver)
    monkeypatch.setattr(devices, "loads", lambda library: library in machine.loads)
    monkeypatch.setattr(devices.ort, "get_available_providers", lambda: machine.providers)
    monkeypatch.setattr(devices, "conflicting_packages", lambda: None)
    return machine


def test_without_a_driver_no_package_is_recommended(machine):
    machine.everything("tensorrt")
    machine.driver = None
    for name in ("cuda", "tensorrt"):
        with pytest.raises(RtstyleError, match="no NVIDIA driver was found; install a recent one from") as error:
            devices.choose(name)
        assert "pip" not in str(error.value) and str(error.value).endswith(", or use `device='cpu'`")
    assert devices.choose("auto").why == "auto: no NVIDIA driver was found"


def test_a_wheel_without_cuda_is_named(machine):
    with pytest.raises(RtstyleError, match=r"built without CUDA; install onnxruntime-gpu .* pip install '\.\[cuda\]'"):
        devices.choose("cuda")


def test_conflicting_packages_are_the_reason_and_have_their_own_remedy(machine, monkeypatch):
    monkeypatch.setattr(devices, "conflicting_packages", lambda: "a and b: pip uninstall a, then pip install b")
    with pytest.raises(
        RtstyleError, match=r"^cuda is not available: a and b: .* pip install b, or use `device='cpu'`$"
    ):
        devices.choose("cuda")


def test_missing_libraries_are_named(machine):
    machine.everything("cuda")
    assert devices.choose("cuda:1").name == "cuda:1"
    assert devices.choose("auto").why == "auto: CUDA is there"
    gone = [name for name in devices.libraries("cuda") if "cudnn" in name or "cublasLt" in name]
    machine.loads -= set(gone)
    with pytest.raises(RtstyleError, match=f"missing: {gone[0]}, {gone[1]}; install .* '..cuda.'"):
        devices.choose("cuda")
    assert devices.choose("auto").name == "cpu"
    assert gone[1] in devices.choose("auto").why


def test_tensorrt_needs_its_own_libraries_too(machine):
    machine.everything("cuda")
    with pytest.raises(RtstyleError, match=r"missing: .*nvinfer.*nvonnxparser.*; .*'tensorrt-cu13>=10,<11'"):
        devices.choose("tensorrt")
    machine.everything("tensorrt")
    device = devices.choose("tensorrt:1")
    assert [name if isinstance(name, str) else name[0] for name in device.providers] == [
        "TensorrtExecutionProvider",
        "CUDAExecutionProvider",
        "CPUExecutionProvider",
    ]
    assert all(options["device_id"] == "1" for _, options in device.providers[:2])


@pytest.mark.parametrize(
    ("windows", "expected"),
    [
        (False, "libcudart.so.13 libcublasLt.so.13 libcublas.so.13 libcurand.so.10 libcudnn.so.9 libnvinfer.so.10"),
        (True, "cudart64_13.dll cublasLt64_13.dll cublas64_13.dll cudnn64_9.dll nvinfer_10.dll"),
    ],
)
def test_libraries_follow_the_cuda_that_onnx_runtime_was_built_for(monkeypatch, windows, expected):
    monkeypatch.setattr(devices, "WINDOWS", windows)
    monkeypatch.setattr(devices.ort, "cuda_version", "13.0", raising=False)
    assert devices.libraries("tensorrt")[:-1] == expected.split()
    monkeypatch.setattr(devices.ort, "cuda_version", "12.8", raising=False)
    assert devices.libraries("cuda") == [name.replace("13", "12") for name in expected.split()[:-1]]


def test_libraries_are_found_in_nvidias_packages(monkeypatch, tmp_path):
    """Also where ONNX Runtime is installed in another folder than they."""
    real = sys.modules["onnxruntime.capi.onnxruntime_pybind11_state"].__file__  # a library that loads for sure
    folder = tmp_path / "nvidia" / "cudnn" / "lib"
    folder.mkdir(parents=True)
    assert not devices.loads("libof-a-test.so.9")
    (folder / "libof-a-test.so.9").symlink_to(real)
    monkeypatch.syspath_prepend(tmp_path)
    assert devices.loads("libof-a-test.so.9")


def test_nothing_is_printed_while_libraries_are_looked_for(capfd, monkeypatch):
    monkeypatch.setattr(devices.ort, "preload_dlls", lambda: print("Failed to load libcublas"), raising=False)
    devices.missing_libraries("cuda")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (([], 13000), "the NVIDIA driver finds no GPU; install"),
        ((["GPU 0"], 12040), r"the NVIDIA driver is made for CUDA 12\.4, this ONNX Runtime for CUDA 13; install"),
        ((["GPU 0"], 13020), "cuda:1 does not exist; available GPUs: 0: GPU 0"),
    ],
)
def test_what_the_driver_cannot_do_is_said(machine, monkeypatch, answer, said):
    machine.everything("cuda")
    monkeypatch.setattr(devices.ort, "cuda_version", "13.0", raising=False)
    machine.driver = answer
    with pytest.raises(RtstyleError, match=said):
        devices.choose("cuda:1")


def test_the_driver_is_asked_for_its_cards(monkeypatch):
    class Driver:
        def cuDriverGetVersion(self, version):
            version._obj.value = 13010
            return 0

        def cuInit(self, flags):
            return 0

        def cuDeviceGetCount(self, count):
            count._obj.value = 2
            return 0

        def cuDeviceGetName(self, name, length, gpu):
            name.value = f"GPU {gpu}".encode()
            return 0

    monkeypatch.setattr(devices.ctypes, "CDLL", lambda name: Driver())
    assert devices.driver() == (["GPU 0", "GPU 1"], 13010)
    Driver.cuInit = lambda *_: 100  # no device
    assert devices.driver() == ([], 13010)
    monkeypatch.setattr(devices.ctypes, "CDLL", lambda name: object())
    assert devices.driver() == ([], 0)


def test_why_a_provider_does_not_load_is_said(monkeypatch, tmp_path):
    """ONNX Runtime itself would go on with the CPU."""
    (tmp_path / "capi").mkdir()
    for part in ("shared", "cuda"):
        (tmp_path / "capi" / f"libonnxruntime_providers_{part}.so").write_bytes(b"no library")
    monkeypatch.setattr(devices.ort, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(devices, "WINDOWS", False)
    assert "libonnxruntime_providers_shared.so: " in devices._load_error("cuda")
    assert devices._load_error("directml") == ""


def test_sizes_are_fixed_by_name():
    session = devices.open_session(str(model_path("live")), devices.choose("cpu"), 1, {"N": 2, "H": 40, "W": 56})
    assert session.get_inputs()[0].shape == [2, 40, 56, 3]
