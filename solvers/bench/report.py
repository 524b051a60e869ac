"""What every benchmark report says: medians with their spread, the machine, versions, the date.

No host name, user name or path goes into a report.
"""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "Spread",
    "machine",
    "markdown_table",
    "seconds_text",
    "text_table",
    "three_digits",
    "today",
    "versions",
]

_PACKAGES = ("sciml-solvers", "numpy", "scipy", "numba", "torch", "pyamg", "scikit-sparse")


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of repeated measurements, and how many there were."""

    median: float
    low: float
    high: float
    count: int

    @staticmethod
    def of(values: Iterable[float]) -> Spread | None:
        """The spread of `values`; None if there are none."""
        found = np.asarray(list(values), dtype=float)
        if found.size == 0:
            return None
        low, median, high = np.quantile(found, [0.25, 0.5, 0.75])
        return Spread(float(median), float(low), float(high), int(found.size))


def machine() -> dict[str, Any]:
    """Processor, cores this process may use, system, and the threads asked for."""
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "processor": _processor(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": {n: v for n, v in sorted(os.environ.items()) if n.endswith("_NUM_THREADS")},
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def versions(packages: Sequence[str] = ()) -> dict[str, str]:
    """Python's version and those of the installed packages among the usual ones and `packages`."""
    found = {"python": platform.python_version()}
    for name in dict.fromkeys((*_PACKAGES, *packages)):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def today() -> str:
    """The date in UTC, as 2025-01-31."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def environment_text(at: Mapping[str, Any], found: Mapping[str, str], date: str) -> str:
    """Date, machine and versions in two sentences."""
    threads = ", ".join(f"{n}={v}" for n, v in at["threads"].items()) or "default threads"
    used = ", ".join(f"{n} {v}" for n, v in found.items())
    return f"{date}. {at['processor']}, {at['cores']} cores, {at['system']} ({threads}). {used}."


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines of a Markdown table; every row has the keys of the first, which are the headings, in
    any order."""
    if not rows:
        return []
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    return [*lines, *("| " + " | ".join(_cell(row[k]) for k in rows[0]) + " |" for row in rows)]


def text_table(rows: Sequence[Mapping[str, str]], words: Collection[str]) -> list[str]:
    """Lines for a terminal, the headings first; columns of `words` on the left, others right."""
    columns = [(name, [row[name] for row in rows]) for name in (rows[0] if rows else ())]
    placed = []
    for name, cells in columns:
        width = max(map(len, (name, *cells)))
        side = "<" if name in words else ">"
        placed.append([f"{cell:{side}{width}}" for cell in (name, *cells)])
    return ["  ".join(line).rstrip() for line in zip(*placed, strict=True)]


def _cell(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def seconds_text(seconds: float) -> str:
    """Three digits and a unit: 812 µs, 3.20 ms, 1.25 s."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= 0.9995 * size:
            return f"{three_digits(seconds / size)} {unit}"
    return f"{three_digits(seconds / 1e-6)} µs"


def three_digits(value: float) -> str:
    """At least three significant digits, without an exponent: 8.12, 81.2, 812, 8123."""
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f}"
