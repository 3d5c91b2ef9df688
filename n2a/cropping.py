# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of large images that is looked at."""

from __future__ import annotations


def middle_part(shape: tuple[int, ...], edge: int) -> tuple[slice, ...]:
    """The middle of an image, at most `edge` pixels along each axis.

    Examples
    --------
    >>> from n2a.cropping import middle_part
    >>> middle_part((10, 4), 6)
    (slice(2, 8, None), slice(0, 4, None))
    """
    lengths = [min(n, edge) for n in shape]
    return tuple(slice((n - k) // 2, (n - k) // 2 + k) for n, k in zip(shape, lengths, strict=True))
