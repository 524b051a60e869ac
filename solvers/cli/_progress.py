"""A line on the terminal that shows that work goes on, for what takes over two seconds."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

from sciml import Look

_PATIENCE = 2.0
_REFRESH = 0.2


class Spinner:
    """A spinner with a text, on stderr, from two seconds on, and only on a terminal.

    Args:
        wanted: False never shows it.
    """

    def __init__(self, wanted: bool = True) -> None:
        self.text = "starting"
        self._wanted = wanted and on_terminal()
        self._lock = threading.Lock()
        self._over = False
        self._status: Any = None
        self._timer = threading.Timer(_PATIENCE, self._start)
        self._timer.daemon = True
        self._next = 0.0

    def __enter__(self) -> Spinner:
        if self._wanted:
            self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        with self._lock:
            self._over = True
            if self._status is not None:
                self._status.stop()

    def tell(self, text: str) -> None:
        """What is being done now."""
        self.text = text
        if self._status is not None:
            self._status.update(text)

    def look(self, look: Look) -> None:
        """For `observe`: the iteration and the estimated residual, a few times a second."""
        now = time.perf_counter()
        if self._wanted and now >= self._next:
            self._next = now + _REFRESH
            self.tell(f"iteration {look.iteration:,}, residual {float(look.estimate):.1e}")

    def _start(self) -> None:
        from rich.console import Console

        console = Console(stderr=True, markup=False, highlight=False)
        with self._lock:
            if not self._over:
                self._status = console.status(self.text)
                self._status.start()


@contextlib.contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on stderr as a function (done, total) -> None; None where that is no terminal."""
    if not on_terminal():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def on_terminal() -> bool:
    """Whether somebody may be watching standard error."""
    return sys.stderr is not None and sys.stderr.isatty()
