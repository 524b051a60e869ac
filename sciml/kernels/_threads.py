"""When a kernel may run on several threads, and how many.

numba's threading layers differ. `tbb` and `omp` may be entered from several Python threads at once;
`workqueue`, the fallback, aborts the process when two threads do, so launches take turns there. GNU
OpenMP does not survive a fork: a child that enters it is terminated. A child forked after the first
parallel launch therefore runs every kernel serially (a data loader's worker, for instance).
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from types import TracebackType
from typing import Any

import numba
from numba.np.ufunc.parallel import threading_layer

__all__ = ["in_threads", "launch", "parallel_section", "start", "threads"]

# Launching costs some 10 µs, what one thread needs for about this many entries.
_WORTH_IT = 1 << 15
_CONCURRENT = ("tbb", "omp")
# Starting a thread of Python costs some 50 µs.
_WORTH_A_THREAD = 1 << 19


class _Section:
    """Entered around each parallel launch; one launch at a time where the layer needs it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held = threading.local()
        self._concurrent = False
        self.owner: int | None = None  # the process whose thread pool was started

    def __enter__(self) -> None:
        self._held.lock = not self._concurrent
        if self._held.lock:
            self._lock.acquire()
            self.owner = os.getpid()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._held.lock:
            if error is None:  # the layer is known once a parallel kernel has run
                self._concurrent = threading_layer() in _CONCURRENT
            self._lock.release()


_SECTION = _Section()


def parallel_section() -> _Section:
    """A context to launch one parallel kernel in: safe from any number of Python threads."""
    return _SECTION


@cache
def start() -> None:
    """Start numba's threads, and leave torch its own number.

    numba's OpenMP layer sets the number of threads for the whole process, where torch, told to take
    one, would take as many as there are cores from then on.
    """
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else None
    numba.get_num_threads()  # which starts them
    if torch:
        torch.set_num_threads(before)


def threads(work: int) -> int:
    """Threads to use for a kernel over `work` entries: 1 where more would not pay or not be safe.

    `numba.set_num_threads` and NUMBA_NUM_THREADS set the upper limit.
    """
    if work < _WORTH_IT or _SECTION.owner not in (None, os.getpid()):
        return 1
    start()
    return numba.get_num_threads()


def launch(
    serial: Callable[..., None],
    parallel: Callable[..., None],
    work: int,
    args: tuple[Any, ...],
    *,
    rows: int | None = None,
) -> None:
    """serial(0, rows, *args) on one thread, parallel(pieces, *args) on as many as `work` is worth.

    rows: most pieces; None for kernels that take the number of a piece, and of all, for rows.
    """
    pieces = threads(work) if rows is None else min(threads(work), rows)
    if pieces == 1:
        serial(0, 1 if rows is None else rows, *args)
    else:
        with parallel_section():
            parallel(pieces, *args)


def in_threads(kernel: Callable[..., None], count: int, work: int, args: tuple[Any, ...]) -> None:
    """kernel(start, stop, *args) over the pieces of 0..count, in threads of Python.

    For kernels that take turns with SciPy's transforms: OpenMP's threads go on spinning for some
    milliseconds after a launch, on the cores that the transform then wants.
    """
    chunks = max(1, min(threads(work), work // _WORTH_A_THREAD, count))
    if chunks == 1:
        kernel(0, count, *args)
        return
    (first, *others) = pairwise(t * count // chunks for t in range(chunks + 1))
    with ThreadPoolExecutor(chunks - 1) as pool:
        running = [pool.submit(kernel, *piece, *args) for piece in others]
        kernel(*first, *args)
        for one in running:
            one.result()
