# SPDX-License-Identifier: GPL-3.0-or-later
"""Denoising of atomic-resolution STEM image series inside HyperSpy, after Noise2Atom (Wang et al. 2020)."""

import lazy_loader

from n2a import accessor as accessor  # registers ``signal.n2a``

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
