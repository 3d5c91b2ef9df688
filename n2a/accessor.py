# SPDX-License-Identifier: GPL-3.0-or-later
"""`signal.n2a`: the functions of the package as methods of every HyperSpy signal of images.

Importing this module registers it; a second time does no harm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperspy.signal import BaseSignal

from n2a.signals import unsuitable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    from hyperspy.api.signals import Signal1D, Signal2D

    from n2a.atoms import AtomMap
    from n2a.comparison import Comparison
    from n2a.model import Noise2Atom
    from n2a.reporting import Report
    from n2a.runs import Entry
    from n2a.widgets import Panel


class Accessor:
    """Noise2Atom for the images of a signal: ``signal.n2a.denoise()``, ``signal.n2a.css()``.

    It keeps nothing but the signal, and is made anew at every access: HyperSpy copies attributes
    of a signal shallowly, so that a kept one would point to another signal's data.

    Raises
    ------
    AttributeError
        If the signal holds no real 2D images; the message says what to do.
    """

    __slots__ = ("_signal",)

    def __init__(self, signal: BaseSignal):
        if problem := unsuitable(signal):
            raise AttributeError(problem)
        self._signal = signal

    def __repr__(self) -> str:
        return f"<n2a of {self._signal!r}: denoise, css, report, atom_map, uncertainty, gui, compare, simulate_like>"

    def denoise(
        self,
        model: Noise2Atom | str | Path | None = None,
        *,
        background: bool = False,
        contrast: str = "auto",
        atom_width: float | None = None,
        time_axis="auto",
        dtype: str | np.dtype | None = "float32",
        inplace: bool = False,
        out: BaseSignal | None = None,
        lazy_output: bool | None = None,
        device: str = "auto",
        show_progressbar: bool | None = None,
        num_workers: int | None = None,
    ) -> BaseSignal | None:
        """Denoise the images: atoms on a flat background, in the units of the input.

        Parameters
        ----------
        model
            A `Noise2Atom` model, the path of a saved one, or the name of weights in the box.
            Default: the weights in the box.
        background
            If True, the estimated background is added back. Default: intensity above the
            background.
        contrast
            "bright" or "dark" atoms, or "auto": told from the series.
        atom_width
            Standard deviation of an atom in pixels. Default: measured.
        time_axis
            Navigation axis along which frames follow each other: a name, an index, an axis,
            "auto", or None for every frame on its own.
        dtype
            Data type of the result. None: that of the signal, rounded and clipped for integers.
        inplace
            If True, the signal itself receives the result and nothing is returned.
        out
            Signal of the same shape that receives the result; nothing is returned then.
        lazy_output
            Whether the result is lazy. Default: as the signal, or as `out`.
        device
            Where the network runs: "auto", "cpu", "cuda", "cuda:1", "mps".
        show_progressbar
            Default: HyperSpy's preference.
        num_workers
            Number of dask threads that read and write. Default: dask's.

        Returns
        -------
        hyperspy.api.signals.BaseSignal or None
            Signal of the same class, axes and metadata; ``metadata.n2a.denoising`` says what was
            done.

        See Also
        --------
        n2a.denoise : The same for any signal, with all details.

        Examples
        --------
        >>> import n2a
        >>> noisy = n2a.acquire(n2a.simulate(shape=(64, 64), frames=3, seed=1), dose=20, seed=1)
        >>> denoised = noisy.n2a.denoise(show_progressbar=False)
        """
        from n2a.denoising import denoise

        return denoise(
            self._signal,
            model,
            background=background,
            contrast=contrast,
            atom_width=atom_width,
            time_axis=time_axis,
            dtype=dtype,
            inplace=inplace,
            out=out,
            lazy_output=lazy_output,
            device=device,
            show_progressbar=show_progressbar,
            num_workers=num_workers,
        )

    def css(
        self,
        *,
        lag: int = 1,
        data_range: float | None = None,
        time_axis="auto",
        show_progressbar: bool | None = None,
        num_workers: int | None = None,
    ) -> Signal1D:
        """Consecutive structural similarity: SSIM of each frame and the one `lag` frames before it.

        Parameters
        ----------
        lag
            Distance in frames of the two frames compared, 1 or more.
        data_range
            Intensity range of SSIM's constants, in the units of the signal. Default: from the 0.1
            to the 99.9 percentile of frames spread over the series.
        time_axis
            Navigation axis along which frames follow each other: a name, an index, an axis, or
            "auto".
        show_progressbar
            Default: HyperSpy's preference.
        num_workers
            Number of dask threads. Default: dask's.

        Returns
        -------
        hyperspy.api.signals.Signal1D
            One value for each pair over the time axis; the mean is in ``metadata.n2a.css.mean``.

        See Also
        --------
        n2a.css : The same for any signal, with all details.

        Examples
        --------
        >>> import n2a
        >>> noisy = n2a.acquire(n2a.simulate(shape=(64, 64), frames=3, seed=1), dose=20, seed=1)
        >>> noisy.n2a.css(show_progressbar=False).data.shape
        (2,)
        """
        from n2a.similarity import css

        return css(
            self._signal,
            lag=lag,
            data_range=data_range,
            time_axis=time_axis,
            show_progressbar=show_progressbar,
            num_workers=num_workers,
        )

    def report(
        self,
        denoised: BaseSignal,
        model: Noise2Atom | str | Path | Callable | None = None,
        truth: BaseSignal | None = None,
        *,
        time_axis="auto",
    ) -> Report:
        """Say whether a denoised version of this series may be believed, and why.

        Parameters
        ----------
        denoised
            The result for this series.
        model
            The method itself: a model, its path, or a function of frames (n, y, x). Default: the weights in the box, if
            the result names them.
        truth
            The scene, where it is known.
        time_axis
            Navigation axis along which frames follow each other.

        Returns
        -------
        Report
            Verdicts in short, lines with sources and blind spots, one figure.

        See Also
        --------
        n2a.report : The same for any signal or array, with all details.

        Examples
        --------
        >>> import n2a
        >>> noisy = n2a.acquire(n2a.simulate(structure="2d", frames=8, seed=1), dose=20, seed=1)
        >>> noisy.n2a.report(noisy.n2a.denoise(show_progressbar=False)).verdicts
        ['fine']
        """
        from n2a.reporting import report

        return report(self._signal, denoised, model, truth, time_axis=time_axis)

    def atom_map(
        self,
        raw: BaseSignal | None = None,
        threshold: float | None = None,
        *,
        atom_width: float | None = None,
        contrast: str = "auto",
        background: bool | None = None,
        neighbours: int = 0,
        false_rate: float = 0.05,
        unseen: bool = False,
        time_axis="auto",
        show_progressbar: bool | None = None,
        num_workers: int | None = None,
    ) -> AtomMap:
        """Find the atoms of these denoised images, and what the raw counts say of each.

        Parameters
        ----------
        raw
            The frames as recorded. Default: the support by the counts is left out.
        threshold
            Least height of an atom above its background. Default: 0.15 of the usual height, and with `raw` above
            what noise makes.
        atom_width
            Standard deviation of an atom in px. Default: recorded by the denoising, or measured.
        contrast
            "bright" or "dark" atoms in `raw`, or "auto".
        background
            Whether these images have their background. Default: as recorded by the denoising, else True.
        neighbours
            Raw frames before and after that may speak for an atom as well.
        false_rate
            Expected part of noise among the supported atoms of a frame.
        unseen
            True when the denoised images were not computed from `raw`.
        time_axis
            Navigation axis of the `neighbours`.
        show_progressbar
            Default: HyperSpy's preference.
        num_workers
            Number of dask threads. Default: dask's.

        Returns
        -------
        AtomMap
            A table with a row per atom, positions as atomap takes them, and an overlay.

        See Also
        --------
        n2a.atom_map : The same for any signal or array, with all details.

        Examples
        --------
        >>> import n2a
        >>> noisy = n2a.acquire(n2a.simulate(shape=(64, 64), frames=3, seed=1), dose=20, seed=1)
        >>> denoised = noisy.n2a.denoise(show_progressbar=False)
        >>> atoms = denoised.n2a.atom_map(noisy, show_progressbar=False)
        """
        from n2a.atoms import atom_map

        return atom_map(
            self._signal,
            raw,
            threshold,
            atom_width=atom_width,
            contrast=contrast,
            background=background,
            neighbours=neighbours,
            false_rate=false_rate,
            unseen=unseen,
            time_axis=time_axis,
            show_progressbar=show_progressbar,
            num_workers=num_workers,
        )

    def gui(
        self,
        panel: str | None = None,
        *,
        model: Noise2Atom | str | Path | None = None,
        display: bool = True,
        **options,
    ) -> Panel:
        """Show panels to work with in a notebook (extra ``gui``).

        Parameters
        ----------
        panel
            "denoise", "train" or "compare". Default: all of them, in tabs.
        model
            To begin with: a `Noise2Atom` model, the path of a saved one, or the name of weights in the box. Default:
            the weights in the box.
        display
            Whether to show it; if False it is only returned.
        **options
            ``atom_width``, ``time_axis`` and ``device`` of :func:`n2a.denoise`; for "train" and "compare" anything
            that :func:`n2a.train` or :func:`n2a.compare` takes.

        Returns
        -------
        Panel
            Its `result` is the denoised signal, its `model` the trained one, and its `comparison` what was compared,
            each as soon as there is one.

        Raises
        ------
        ImportError
            If ipywidgets is not installed.
        ValueError
            If `panel` or an option is none of those named above.

        Examples
        --------
        >>> import n2a
        >>> noisy = n2a.acquire(n2a.simulate(shape=(64, 64), frames=3, seed=1), dose=20, seed=1)
        >>> panel = noisy.n2a.gui(display=False)
        """
        from n2a.widgets import make_panel

        made = make_panel(self._signal, panel, model=model, **options)
        if display:
            made.show()
        return made

    def uncertainty(
        self,
        model: Noise2Atom | str | Path | None = None,
        draws: int = 8,
        *,
        method: str = "noise",
        background: bool = False,
        contrast: str = "auto",
        atom_width: float | None = None,
        time_axis="auto",
        seed: int = 0,
        lazy_output: bool | None = None,
        device: str = "auto",
        show_progressbar: bool | None = None,
        num_workers: int | None = None,
    ) -> BaseSignal:
        """Standard deviation of the denoised intensity of every pixel, for other noise on the same scene.

        Parameters
        ----------
        model
            A `Noise2Atom` model, the path of a saved one, or the name of weights in the box.
            Default: the weights in the box.
        draws
            How often the series is denoised again.
        method
            "noise": with noise drawn anew; "flips": mirrored and turned.
        background, contrast, atom_width, time_axis
            As for `denoise`: which result the uncertainty is that of.
        seed
            The same seed gives the same result.
        lazy_output
            Whether the result is lazy. Default: as the signal.
        device
            Where the network runs: "auto", "cpu", "cuda", "cuda:1", "mps".
        show_progressbar
            Default: HyperSpy's preference.
        num_workers
            Number of dask threads. Default: dask's.

        Returns
        -------
        hyperspy.api.signals.BaseSignal
            float32, in the units of the signal. Scatter only: what is always wrong in the same way is not in it.

        See Also
        --------
        n2a.uncertainty : The same for any signal, with all details.

        Examples
        --------
        >>> import n2a
        >>> noisy = n2a.acquire(n2a.simulate(shape=(64, 64), frames=2, seed=1), dose=20, seed=1)
        >>> spread = noisy.n2a.uncertainty(draws=2, show_progressbar=False)
        """
        from n2a.spread import uncertainty

        return uncertainty(
            self._signal,
            model,
            draws,
            method=method,
            background=background,
            contrast=contrast,
            atom_width=atom_width,
            time_axis=time_axis,
            seed=seed,
            lazy_output=lazy_output,
            device=device,
            show_progressbar=show_progressbar,
            num_workers=num_workers,
        )

    def compare(
        self,
        methods=("gaussian", "svd", "n2a"),
        truth: BaseSignal | np.ndarray | None = None,
        *,
        names: Sequence[str] | None = None,
        rerun: bool = True,
        max_time: float = 600.0,
        time_axis="auto",
        seed: int = 0,
        show_progressbar: bool | None = None,
        watch: Callable[[Entry], bool | None] | None = None,
    ) -> Comparison:
        """Denoise the series by several methods, and judge all of them alike.

        Parameters
        ----------
        methods
            Names ("gaussian", "bm3d", "noise2void", "n2a", "n2a-trained", ...), models, functions, finished signals;
            a mapping gives them names.
        truth
            The scene, where it is known.
        names
            Names for the table, one for each method.
        rerun
            Whether the reports may run each method again on parts of the data.
        max_time
            Budget in seconds of each training.
        time_axis
            As for `denoise`.
        seed
            Of everything random.
        show_progressbar
            Default: HyperSpy's preference.
        watch
            Called with each method's entry as soon as it is judged; True leaves out the methods after it.

        Returns
        -------
        Comparison
            Table and figure, the best first; ``comparison["gaussian"]`` is a signal.

        See Also
        --------
        n2a.compare : The same for any signal, with all details.

        Examples
        --------
        >>> import n2a
        >>> noisy = n2a.acquire(n2a.simulate(shape=(64, 64), frames=4, seed=1), dose=20, seed=1)
        >>> list(noisy.n2a.compare("gaussian", show_progressbar=False))
        ['gaussian']
        """
        from n2a.comparison import compare

        return compare(
            self._signal,
            methods,
            truth,
            names=names,
            rerun=rerun,
            max_time=max_time,
            time_axis=time_axis,
            seed=seed,
            show_progressbar=show_progressbar,
            watch=watch,
        )

    def simulate_like(
        self, mode: str = "physical", structure: str = "cluster", **parameters
    ) -> Signal2D:
        """Simulate a clear series with the size, scale, atom width, spacing and density of this one.

        Parameters
        ----------
        mode, structure, **parameters
            As in `n2a.simulate`; they go before what is measured.

        Returns
        -------
        hyperspy.api.signals.Signal2D
            Atoms on a background of zero; `n2a.acquire` makes a recording of them.

        See Also
        --------
        n2a.simulate_like : The same for any signal, with all details.

        Examples
        --------
        >>> import n2a
        >>> noisy = n2a.acquire(n2a.simulate(shape=(64, 64), frames=3, seed=1), dose=20, seed=1)
        >>> noisy.n2a.simulate_like(structure="2d").axes_manager.signal_shape
        (64, 64)
        """
        from n2a.simulator import simulate_like

        return simulate_like(self._signal, mode, structure, **parameters)


class _AccessorProperty:
    """Descriptor: the class gives `Accessor`, a signal gives its accessor."""

    __doc__ = Accessor.__doc__

    def __get__(self, signal: BaseSignal | None, owner: type | None = None):
        return Accessor if signal is None else Accessor(signal)


BaseSignal.n2a = _AccessorProperty()
