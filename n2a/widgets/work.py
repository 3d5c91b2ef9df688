# SPDX-License-Identifier: GPL-3.0-or-later
"""Work in the background, so that a panel stays alive and the kernel stays free."""

from __future__ import annotations

import atexit
import logging
import threading
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from dask.callbacks import Callback

_logger = logging.getLogger(__name__)


class Stopped(Exception):
    """The user has asked for an end of the work."""


class Worker:
    """Does one thing after the other in a thread of its own.

    Parameters
    ----------
    failed
        Called with what a task raises, in the thread of the worker.
    end
        Asks the task that runs to come to an end; called when the interpreter is left.
    """

    def __init__(self, failed: Callable[[Exception], None], end: Callable[[], None] = lambda: None):
        self._failed, self._end = failed, end
        self._tasks: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def submit(self, task: Callable[[], None]) -> None:
        """Do a task when those before it are done."""
        with self._lock:
            self._tasks.append(task)
            if self._thread is None:
                # A daemon: a kernel that is shut down does not wait for ever.
                _workers.add(self)
                self._thread = threading.Thread(target=self._run, name="n2a panel", daemon=True)
                self._thread.start()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until nothing is left to do; False if that took longer than `seconds`."""
        thread = self._thread
        if thread is not None:
            thread.join(seconds)
        return self._thread is None

    def leave(self, seconds: float) -> None:
        """End what runs and what waits, as far as that comes to an end within the time."""
        with self._lock:
            self._tasks.clear()
        self._end()
        self.wait(seconds)

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._tasks:
                    self._thread = None
                    return
                task = self._tasks.popleft()
            try:
                task()
            except Exception as error:
                _logger.debug("A task of a panel failed", exc_info=True)
                self._failed(error)


_workers: weakref.WeakSet[Worker] = weakref.WeakSet()


@atexit.register
def _leave() -> None:
    # An interpreter that goes away under PyTorch's feet is aborted.
    for worker in list(_workers):
        worker.leave(10)


class Caught:
    """Warnings to the user, from the beginning of the context to its end or to `close`, as one text."""

    def __init__(self):
        self._stack = ExitStack()
        self._caught: list[warnings.WarningMessage] = []

    def __enter__(self) -> Caught:
        self._caught = self._stack.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always", UserWarning)
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def close(self) -> None:
        """Catch no more: other threads' warnings would be caught, too."""
        self._stack.close()

    @property
    def text(self) -> str:
        """What was warned of; empty if nothing was."""
        return "; ".join(str(one.message) for one in self._caught)


@contextmanager
def quiet_here(name: str) -> Iterator[None]:
    """Keep what a logger says in this thread from the page, where the panel says it."""
    own, logger = threading.get_ident(), logging.getLogger(name)

    def from_elsewhere(record: logging.LogRecord) -> bool:
        return record.thread != own

    logger.addFilter(from_elsewhere)
    try:
        yield
    finally:
        logger.removeFilter(from_elsewhere)


class Blocks(Callback):
    """Tells the share of dask's tasks that are done, in computations of this thread while the context lasts.

    Parameters
    ----------
    told
        Called with a number from 0 to 1; what it raises ends the computation.
    """

    def __init__(self, told: Callable[[float], None]):
        super().__init__()
        self._told, self._own = told, threading.get_ident()

    def _posttask(self, key, result, dsk, state, worker_id):
        # dask tells every callback of all computations, whoever began them.
        if threading.get_ident() == self._own:
            left = sum(len(state[name]) for name in ("waiting", "ready", "running"))
            self._told(len(state["finished"]) / (len(state["finished"]) + left))


def in_words(error: Exception) -> str:
    """What went wrong, for a panel."""
    text = str(error).strip()
    if isinstance(error, MemoryError):
        return f"There is not enough memory{f': {text}' if text else ''}. Take fewer frames, or load the file lazily."
    if isinstance(error, (ValueError, OSError, ImportError)) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
