# SPDX-License-Identifier: GPL-3.0-or-later
"""One window of frames through a generator: padding, precision, device."""

from __future__ import annotations

import threading

import numpy as np
import torch

from n2a.devices import has_bfloat16
from n2a.generator import Generator
from n2a.normalization import atoms_above, linearise

_device_lock = threading.Lock()


def infer(
    generator: Generator,
    frames: np.ndarray,
    valid: np.ndarray,
    curvature: float,
    device: str = "cpu",
) -> np.ndarray:
    """Atoms and background (2, y, x), stabilised, float32, of one window.

    Parameters
    ----------
    generator
        Moved to `device`, where it stays.
    frames, valid
        (t, y, x), stabilised values, and how many frames each is the mean of: 0 where nothing was measured.
    curvature
        Of the normalisation.
    device
        As PyTorch writes it.
    """
    height, width = frames.shape[1:]
    pad = ((0, 0), (0, -height % generator.multiple), (0, -width % generator.multiple))
    if np.any(pad):
        frames, valid = (np.pad(a, pad, mode="reflect") for a in (frames, valid))
    # Faster where the processor has bfloat16; its rounding lies below the noise of the frames.
    fast = has_bfloat16(device)
    dtype = torch.bfloat16 if fast else torch.float32
    # One network at a time per process: it uses all cores (or the whole GPU) by itself.
    with _device_lock, torch.inference_mode():
        generator.to(device, memory_format=torch.channels_last)
        inputs = [
            torch.from_numpy(a)[None].to(device, dtype, memory_format=torch.channels_last)
            for a in (frames, valid)
        ]
        with torch.autocast(torch.device(device).type, torch.bfloat16, fast):
            output = generator(*inputs, torch.tensor([curvature], device=device))
        return output[0, :, :height, :width].float().cpu().numpy()


def restore(
    generator: Generator, frames: np.ndarray, valid: np.ndarray, curvature: float
) -> tuple[np.ndarray, np.ndarray]:
    """Atoms and background (y, x), linear, in units of the noise, on the device that the generator is on."""
    device = str(next(generator.parameters()).device)
    found, under = infer(generator, frames, valid, curvature, device)
    return atoms_above(np.maximum(found, 0), under, curvature), linearise(under, curvature)
