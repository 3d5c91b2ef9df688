# SPDX-License-Identifier: GPL-3.0-or-later
"""Where networks run, and in which precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def pick_device(device: str = "auto") -> str:
    """Name of a torch device: ``"auto"`` takes CUDA, then Apple's MPS, then the CPU.

    Raises
    ------
    ValueError
        If torch knows no such device, or this machine has none.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        raise ValueError(
            f"'device' is {device!r}, which cannot be used here ({str(error).splitlines()[0]}); "
            "expected 'auto', 'cpu', 'cuda', 'cuda:1', 'mps'"
        ) from error
    return str(chosen)


def has_bfloat16(device: str) -> bool:
    """Whether bfloat16 is native there: elsewhere it is emulated, and far slower than float32."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return kind == "cpu" and torch.cpu._is_avx512_bf16_supported()


@contextmanager
def without_denormals() -> Iterator[None]:
    """Products of far-away Gaussians are denormal numbers, which processors handle a hundred times slower."""
    kept = np.float64(5e-324) * 1.0 > 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        if kept:
            torch.set_flush_denormal(False)
