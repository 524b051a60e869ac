"""What every benchmark shares: interleaved timing, and results as JSON and Markdown.

Rivals are timed in turns, so that a busy moment of the machine meets all of them, and only ratios
of one run are meant to be compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sciml.io import atomic_file, write_json
from solvers.bench.report import environment_text, machine, markdown_table, today, versions

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True)
class Timing:
    """Seconds of repeated runs: median, the fastest, quartiles and their number."""

    median: float
    best: float
    low: float
    high: float
    repeats: int


def time_in_turns(
    cases: Mapping[str, Callable[[], object]],
    *,
    repeats: int = 15,
    warm_up: int = 2,
    settle: float = 0.0,
) -> dict[str, Timing]:
    """Time each case `repeats` times, one of each in every round, after `warm_up` rounds.

    settle: seconds to wait before each: OpenMP's idle threads spin for some milliseconds, on the
        cores that another library's threads then want.
    """
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(warm_up + repeats):
        for name, run in cases.items():
            time.sleep(settle)
            began = time.perf_counter()
            run()
            if turn >= warm_up:
                seconds[name].append(time.perf_counter() - began)
    return {name: _timing(found) for name, found in seconds.items()}


def _timing(seconds: Sequence[float]) -> Timing:
    low, median, high = np.quantile(seconds, [0.25, 0.5, 0.75])
    return Timing(float(median), min(seconds), float(low), float(high), len(seconds))


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
        "date": today(),
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
    where = environment_text(record["machine"], record["versions"], record["date"])
    lines = [f"# {record['title']}", "", where, "", *markdown_table(record["rows"]), ""]
    return "\n".join([*lines, *(f"- {note}" for note in record["notes"])]).rstrip() + "\n"
