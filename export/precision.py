"""The precision in which a training calculates."""

from __future__ import annotations

import functools
import time

import torch
import torch.nn.functional as F

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
FASTER = 0.8  # the share of float32's time below which bfloat16 pays for what it loses
TRIES = 3


def chosen(precision: str, device: torch.device, earlier: str | None = None) -> str:
    """`fp32` or `bf16`; for `auto` that of the `earlier` run that is gone on with, or else bf16 where it pays."""
    if precision != "auto":
        return precision
    return earlier or ("bf16" if bfloat16_pays(device) else "fp32")


@functools.cache
def bfloat16_pays(device: torch.device) -> bool:
    """Whether bf16 convolutions are fast on this device: on CUDA, on CPUs with AMX, and on those with AVX-512 BF16 if a
    trial says so, as it nearly doubles the speed of some and halves that of others."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if _supported("_is_amx_tile_supported"):
        return True
    if not _supported("_is_avx512_bf16_supported"):
        return False
    narrow, wide = (convolution_seconds(dtype) for dtype in (torch.bfloat16, torch.float32))
    return narrow < FASTER * wide


def _supported(name: str) -> bool:
    question = getattr(torch.cpu, name, None)  # private until torch offers it openly
    return bool(question and question())


def convolution_seconds(dtype: torch.dtype) -> float:
    """What a convolution like those of VGG takes on the CPU, forward and back: the shortest of a few times."""
    x = torch.ones(2, 64, 96, 96, dtype=dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
    weight = torch.full((64, 64, 3, 3), 0.01, dtype=dtype)
    seconds = []
    for _ in range(TRIES + 1):  # the first prepares what the others find
        begun = time.perf_counter()
        F.conv2d(x, weight, padding=1).sum().backward()
        seconds.append(time.perf_counter() - begun)
    return min(seconds[1:])
