"""In which precision a training calculates."""

import contextlib

import pytest

torch = pytest.importorskip("torch")

from rtstyle.export import precision  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def asked_anew():
    precision.bfloat16_pays.cache_clear()
    yield
    precision.bfloat16_pays.cache_clear()


def has(monkeypatch, *, amx, avx512):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)


@pytest.mark.parametrize(("share", "expected"), [(0.6, "bf16"), (0.9, "fp32"), (2.0, "fp32")])
def test_avx512_is_tried(monkeypatch, share, expected):
    has(monkeypatch, amx=False, avx512=True)
    seconds = {torch.float32: 1.0, torch.bfloat16: share}
    monkeypatch.setattr(precision, "convolution_seconds", seconds.__getitem__)
    assert precision.chosen("auto", CPU) == expected


def test_nothing_is_tried_where_the_answer_is_known(monkeypatch):
    monkeypatch.setattr(precision, "convolution_seconds", None)
    has(monkeypatch, amx=True, avx512=True)
    assert precision.chosen("auto", CPU) == "bf16"
    has(monkeypatch, amx=False, avx512=False)
    precision.bfloat16_pays.cache_clear()
    assert precision.chosen("auto", CPU) == "fp32"
    assert [precision.chosen(given, CPU) for given in ("fp32", "bf16")] == ["fp32", "bf16"]


def test_a_gpu_that_only_emulates_it_calculates_in_float32(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device", contextlib.nullcontext)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert precision.chosen("auto", torch.device("cuda")) == "fp32"


def test_a_run_that_goes_on_calculates_as_before(monkeypatch):
    monkeypatch.setattr(precision, "convolution_seconds", None)
    assert [precision.chosen("auto", CPU, earlier) for earlier in ("fp32", "bf16")] == ["fp32", "bf16"]
    assert precision.chosen("fp32", CPU, "bf16") == "fp32"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_convolution_takes_its_time(dtype):
    assert 0 < precision.convolution_seconds(dtype) < 10
