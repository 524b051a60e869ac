"""The demonstration: all methods on generated systems, easy to hard, in under a minute."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .results import BenchReport
from .run import run_condiff

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["demo"]

_SETS = ("cubic0.1_grid64", "exponential1.0_grid64", "gaussian2.0_grid64")
_SAMPLES = 3
# What the slowest methods may take: they count as not converged, and the minute is kept.
_MAX_SECONDS = 1.0


def demo(
    out_dir: str | os.PathLike[str] = "out/demo",
    *,
    seed: int = 0,
    console: Console | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Generate ConDiff systems, benchmark every method that is installed, print the table.

    Writes condiff.json, condiff.md and condiff.png into `out_dir` and returns their paths; the
    folder is made if missing. After Ctrl-C it shows and writes what was done.
    """
    from rich.console import Console

    from sciml.datasets import ConDiffConfig

    configs = [ConDiffConfig.from_name(name) for name in _SETS]
    report = run_condiff(
        configs, samples=_SAMPLES, seed=seed, max_seconds=_MAX_SECONDS, progress=progress
    )
    show(report, console or Console())
    return report.write(out_dir)


def show(report: BenchReport, console: Console) -> None:
    """Print the table and what must be known to read it."""
    console.print(report.table())
    for sentence in [*report.summary(), *report.failures()]:
        console.print(sentence, markup=False, highlight=False)
