# SPDX-License-Identifier: GPL-3.0-or-later
"""The microscope between the atoms and the file: film, scan, counting, read-out. Torch arrays, any device."""

from __future__ import annotations

import torch


def random_field(
    shape: tuple[int, int, int],
    length: torch.Tensor,
    shifts: torch.Tensor,
    generator: torch.Generator,
    device="cpu",
) -> torch.Tensor:
    """Gaussian random fields (b, t, h, w) of zero mean and unit variance that move over time.

    `shape` is (b, h, w); `length` (b,) is the correlation length in pixels: the standard deviation of the
    Gaussian that smooths white noise; `shifts` (b, t, 2) are displacements (y, x) in pixels, periodic.
    """
    _, height, width = shape
    noise = torch.randn(shape, generator=generator, device=device)
    ky = torch.fft.fftfreq(height, device=device)[:, None]
    kx = torch.fft.rfftfreq(width, device=device)[None]
    filters = torch.exp(-2 * (torch.pi * length[:, None, None]) ** 2 * (ky**2 + kx**2))
    filters[:, 0, 0] = 0.0
    phase = ky * shifts[..., 0, None, None] + kx * shifts[..., 1, None, None]
    spectrum = (torch.fft.rfft2(noise) * filters)[:, None] * torch.exp(-2j * torch.pi * phase)
    field = torch.fft.irfft2(spectrum, s=(height, width))
    return field / field.std(dim=(1, 2, 3), keepdim=True).clamp_min(1e-12)


def shift_rows(images: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
    """Move each scan line along x: images (..., h, w), shifts (..., h) in pixels, linear interpolation."""
    width = images.shape[-1]
    x = torch.arange(width, device=images.device, dtype=images.dtype) - shifts[..., None]
    low = x.floor()
    part = x - low
    low = low.long()
    left = images.gather(-1, low.clamp(0, width - 1))
    right = images.gather(-1, (low + 1).clamp(0, width - 1))
    return left + (right - left) * part


def afterglow(counts: torch.Tensor, fraction: torch.Tensor, decay: torch.Tensor) -> torch.Tensor:
    """Detector decay along the fast axis: a `fraction` of each signal leaks into the following pixels.

    counts (..., h, w); `fraction` (...,) in 0..1 and `decay` (...,) in pixels. The sum is kept, but for
    what leaves at the end of a line; the line's first pixel is taken to have been exposed before.
    """
    reach = counts.shape[-1]
    lags = torch.arange(reach, device=counts.device, dtype=counts.dtype)
    tail = torch.exp(-lags / decay[..., None]) * (lags > 0)
    kernel = fraction[..., None] * tail / tail.sum(-1, keepdim=True)
    kernel[..., 0] += 1 - fraction
    size = 2 * reach
    before = counts[..., :1].expand(*counts.shape[:-1], reach)
    padded = torch.cat([before, counts], -1)
    spectrum = torch.fft.rfft(padded) * torch.fft.rfft(kernel, n=size)[..., None, :]
    return torch.fft.irfft(spectrum, n=size)[..., reach:]


def line_noise(
    shape: tuple[int, ...], decay: torch.Tensor, generator: torch.Generator, device="cpu"
) -> torch.Tensor:
    """Unit-variance noise (..., h, w) that is correlated along x over `decay` (...,) pixels, white along y."""
    width = shape[-1]
    noise = torch.randn(shape, generator=generator, device=device)
    k = torch.fft.rfftfreq(width, device=device)
    spectrum = 1 / torch.sqrt(1 + (2 * torch.pi * k * decay[..., None]) ** 2)
    full = torch.cat([spectrum, spectrum[..., 1 : (width + 1) // 2].flip(-1)], -1)
    spectrum = spectrum / full.square().mean(-1, keepdim=True).sqrt()
    return torch.fft.irfft(torch.fft.rfft(noise) * spectrum[..., None, :], n=width)


def count(rate: torch.Tensor, read_noise: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Poisson counts of `rate` plus Gaussian read-out noise; both in counts, `read_noise` broadcast."""
    counts = torch.poisson(rate.clamp_min(0), generator=generator)
    noise = torch.randn(rate.shape, generator=generator, device=rate.device)
    return counts + read_noise * noise


def defects(
    frames: torch.Tensor, fraction: torch.Tensor, high: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Set a `fraction` (b,) of the pixels of frames (b, t, h, w) to 0 or to `high` (b,), per frame."""
    draw = torch.rand(frames.shape, generator=generator, device=frames.device)
    fraction = fraction[:, None, None, None] / 2
    frames = torch.where(draw < fraction, torch.zeros_like(frames), frames)
    return torch.where(draw > 1 - fraction, high[:, None, None, None].expand_as(frames), frames)


def acquire_counts(
    rate: torch.Tensor,
    generator: torch.Generator,
    *,
    support: float,
    texture: float,
    texture_length: float,
    slope: float,
    path: torch.Tensor,
    read_noise: float,
    row_jitter: float,
    afterglow_fraction: float,
    afterglow_decay: float,
    line: float,
    line_decay: float,
    defective: float,
    hot: float,
) -> torch.Tensor:
    """Counts of one series with mean `rate` (t, h, w) of the atoms; parameters in counts and pixels.

    The film (mean `support`) moves along `path` (t, 2) with the atoms. See :func:`n2a.acquire`.
    """
    height, width = rate.shape[1:]
    one = torch.ones(1, device=rate.device)
    if support:
        film = random_field(
            (1, height, width), one * texture_length, path[None], generator, rate.device
        )[0]
        ramp = torch.linspace(-0.5, 0.5, width, device=rate.device)
        rate = rate + support * (1 + texture * film + slope * ramp).clamp_min(0)
    if row_jitter:
        rows = torch.randn(rate.shape[:2], generator=generator, device=rate.device)
        rate = shift_rows(rate, row_jitter * rows)
    counts = count(rate, read_noise * one, generator)
    if afterglow_fraction:
        counts = afterglow(counts, one * afterglow_fraction, one * afterglow_decay)
    if line:
        counts = counts + line * line_noise(counts.shape, one * line_decay, generator, rate.device)
    if defective:
        counts = defects(counts[None], one * defective, one * hot, generator)[0]
    return counts
