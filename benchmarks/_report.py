"""What every benchmark shares: interleaved timing, and results as JSON and Markdown.

Rivals are timed in turns, so that a busy moment of the machine meets all of them, and only ratios
of one run are meant to be compared.
"""

from __future__ import annotations

import datetime
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from sciml.io import atomic_file, write_json

RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("sciml-solvers", "numpy", "scipy", "numba", "torch")


@dataclass(frozen=True)
class Timing:
    """Seconds of repeated runs: median, the fastest, quartiles and their number."""

    median: float
    best: float
    low: float
    high: float
    repeats: int


def time_in_turns(
    cases: Mapping[str, Callable[[], object]], *, repeats: int = 15, warm_up: int = 2
) -> dict[str, Timing]:
    """Time each case `repeats` times, one of each in every round, after `warm_up` rounds."""
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(warm_up + repeats):
        for name, run in cases.items():
            began = time.perf_counter()
            run()
            if turn >= warm_up:
                seconds[name].append(time.perf_counter() - began)
    return {name: _timing(found) for name, found in seconds.items()}


def _timing(seconds: Sequence[float]) -> Timing:
    low, median, high = np.quantile(seconds, [0.25, 0.5, 0.75])
    return Timing(float(median), min(seconds), float(low), float(high), len(seconds))


def machine() -> dict[str, Any]:
    """Processor, cores this process may use, system and threads asked for."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": {n: v for n, v in os.environ.items() if n.endswith("_NUM_THREADS")},
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def versions(packages: Sequence[str] = ()) -> dict[str, str]:
    """Python's version and those of the installed packages among ours and `packages`."""
    found = {"python": platform.python_version()}
    for name in (*PACKAGES, *packages):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def write_results(
    name: str,
    title: str,
    rows: Sequence[Mapping[str, Any]],
    *,
    notes: Sequence[str] = (),
    packages: Sequence[str] = (),
) -> Path:
    """Write results/<name>.json and .md: one table of `rows`, with machine, versions and date.

    Args:
        rows: mappings with the same keys, of strings and finite numbers.
        notes: sentences printed below the table.
        packages: further packages whose versions matter.
    """
    record = {
        "title": title,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(),
        "versions": versions(packages),
        "rows": [dict(row) for row in rows],
        "notes": list(notes),
    }
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / f"{name}.json", record)
    path = RESULTS / f"{name}.md"
    with atomic_file(path, text=True) as handle:
        handle.write(_markdown(record))
    return path


def _markdown(record: Mapping[str, Any]) -> str:
    at, rows = record["machine"], record["rows"]
    threads = ", ".join(f"{n}={v}" for n, v in at["threads"].items()) or "default threads"
    lines = [f"# {record['title']}", ""]
    lines += [f"{record['date']}. {at['processor']}, {at['cores']} cores ({threads})."]
    lines += [", ".join(f"{n} {v}" for n, v in record["versions"].items()) + ".", ""]
    if rows:
        lines += ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
        lines += ["| " + " | ".join(map(_cell, row.values())) + " |" for row in rows]
        lines += [""]
    return "\n".join([*lines, *(f"- {note}" for note in record["notes"])]).rstrip() + "\n"


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
