"""Which device paints: chosen, verified, explained."""

import pytest

from rtstyle import RtstyleError, UsageError, providers
from rtstyle.catalog import model_path

no_cuda = pytest.mark.skipif(providers.cuda_problem() is None, reason="CUDA is there")


@pytest.mark.parametrize(
    ("name", "kind", "index"),
    [("cpu", "cpu", 0), ("CUDA", "cuda", 0), ("cuda:3", "cuda", 3), ("tensorrt:1", "tensorrt", 1), ("auto", "auto", 0)],
)
def test_names_are_read(name, kind, index):
    assert providers.parse(name) == (kind, index)


@pytest.mark.parametrize("name", ["", "gpu", "cuda:x", "cuda:-1", "cpu:0", "auto:1", "cuda:1:2", "coreml:0"])
def test_other_names_are_refused_with_the_choices(name):
    with pytest.raises(UsageError, match="choose auto, cpu, cuda"):
        providers.parse(name)


def test_the_cpu_is_there():
    device = providers.choose("cpu")
    assert (device.name, device.kind, device.providers) == ("cpu", "cpu", ["CPUExecutionProvider"])


@no_cuda
def test_auto_takes_the_cpu_and_says_why():
    device = providers.choose("auto")
    assert device.name == "cpu"
    assert device.why == f"auto: {providers.cuda_problem()}"
    assert providers.cuda_problem()


@no_cuda
@pytest.mark.parametrize("name", ["cuda", "cuda:1", "tensorrt", "coreml", "directml"])
def test_a_device_asked_for_by_name_is_never_replaced(name):
    kind = name.partition(":")[0]
    if providers.NAMES[kind] in providers.ort.get_available_providers() and kind != "cuda":
        pytest.skip(f"{kind} is there")
    with pytest.raises(RtstyleError, match=rf"^{name} is not available: .*; .*--device cpu") as told:
        providers.choose(name)
    assert told.value.exit_code == 1


def test_a_session_runs_where_it_was_asked_to():
    session = providers.open_session(str(model_path("live")), providers.choose("cpu"), threads=1)
    assert session.get_providers() == ["CPUExecutionProvider"]
    assert session.get_session_options().intra_op_num_threads == 1


@no_cuda
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_does_not_start_is_an_error_and_not_the_cpu():
    """ONNX Runtime itself would go on with the CPU and one printed line."""
    device = providers.Device("cuda:0", providers._providers("cuda", 0), "for the test")
    with pytest.raises(RtstyleError, match="cuda:0") as told:
        providers.open_session(str(model_path("live")), device)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["missing.onnx", "text.onnx"])
def test_a_file_that_is_no_model_is_one_sentence(tmp_path, name):
    (tmp_path / "text.onnx").write_text("not a net")
    with pytest.raises(RtstyleError, match=name) as told:
        providers.open_session(str(tmp_path / name), providers.choose("cpu"))
    assert "\n" not in str(told.value) and len(str(told.value)) < 500


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
            raise providers.metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(providers.metadata, "version", version)
    found = providers.conflicting_packages()
    assert found is None if said is None else said + "onnxruntime-gpu" in found
