"""Between what a video holds and the 8-bit RGB that is painted: depth, HDR curves, dither."""

from __future__ import annotations

import functools

import numpy as np

PQ, HLG = 16, 18  # FFmpeg's numbers of the transfer characteristics (ITU-T H.273)
REFERENCE_WHITE = 203.0  # nits of diffuse white in HDR (ITU-R BT.2408)
PEAK = 1000.0  # nits that become the brightest 8-bit value; what lies above is cut off


def is_hdr(transfer: int) -> bool:
    """Whether a transfer characteristic is PQ (SMPTE ST 2084) or HLG (ARIB STD-B67)."""
    return transfer in (PQ, HLG)


def _pq_to_nits(code: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084, equation 4.1: code value 0 to 1 to nits."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    power = code ** (1 / m2)
    return 10000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)


def _hlg_to_nits(code: np.ndarray) -> np.ndarray:
    """ITU-R BT.2100, table 5: inverse OETF, then a system gamma of 1.2 for a peak of 1,000 nits, by channel."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    linear = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
    return 1000 * linear**1.2


@functools.cache
def to_8_bits(transfer: int) -> np.ndarray:
    """uint8 [65536]: 16-bit code values of an HDR channel to 8-bit SDR ones.

    A curve by channel that can be inverted: extended Reinhard tone mapping (Reinhard et al. 2002, equation 4)
    from light in units of reference white, then a gamma of 2.2.
    """
    code = np.arange(65536) / 65535
    nits = _pq_to_nits(code) if transfer == PQ else _hlg_to_nits(code)
    light, peak = nits / REFERENCE_WHITE, PEAK / REFERENCE_WHITE
    display = light * (1 + light / peak**2) / (1 + light)
    return np.rint(255 * np.clip(display, 0, 1) ** (1 / 2.2)).astype(np.uint8)


@functools.cache
def from_8_bits(transfer: int) -> np.ndarray:
    """float64 [257]: the 16-bit code value at the middle of what `to_8_bits` maps to each 8-bit one; one more at
    the end, so that differences give steps. Other transfers: 257 times the value."""
    if not is_hdr(transfer):
        return np.arange(257) * 257.0
    table = to_8_bits(transfer).astype(int)
    middles = np.interp(np.arange(256), *_middles(table))
    return np.append(middles, 2 * middles[-1] - middles[-2])


def _middles(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values, first = np.unique(table, return_index=True)
    last = np.append(first[1:], np.searchsorted(table, 255) + 1) - 1
    return values, (first + last) / 2


@functools.cache
def _bayer() -> np.ndarray:
    """An 8x8 ordered dither pattern (Bayer 1973), -0.5 to 0.5."""
    pattern = np.zeros((1, 1))
    for _ in range(3):
        pattern = np.block([[4 * pattern, 4 * pattern + 2], [4 * pattern + 3, 4 * pattern + 1]])
    return (pattern + 0.5) / 64 - 0.5


def deepen(rgb: np.ndarray, transfer: int) -> np.ndarray:
    """uint8 RGB [H, W, 3] to uint16 with HDR's curve undone and an ordered dither of one 8-bit step, so that
    gradients of the 8-bit painting do not band. The pattern stands still: it costs the encoder little."""
    height, width = rgb.shape[:2]
    table = from_8_bits(transfer)
    step = np.diff(table).astype(np.float32)
    pattern = np.tile(_bayer(), (-(-height // 8), -(-width // 8)))[:height, :width, None].astype(np.float32)
    deep = table[:256].astype(np.float32)[rgb] + pattern * step[rgb]
    deep_16: np.ndarray = np.clip(np.rint(deep), 0, 65535).astype(np.uint16)
    return deep_16
