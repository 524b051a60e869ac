"""The record of a linear benchmark as JSON, Markdown and a picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from _linear_case import Row

from sciml.io import atomic_file, write_json
from solvers.bench.report import (
    environment_text,
    machine,
    markdown_table,
    seconds_text,
    today,
    versions,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which all kinds of colour vision tell apart.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "D", "^", "v", "P", "X", "h")
_NOTHING = "–"
_AUTO, _NEAR = "Auto", 1.3


@dataclass(frozen=True)
class Report:
    """What was measured.

    Attributes:
        rows, batches: single systems, and batches. threads: of methods of one process.
        assembly: family and grid -> seconds to assemble the matrix, on nobody's clock.
        absent: method -> why it did not take part.
        rivals: package -> version.
    """

    rows: Sequence[Row]
    batches: Sequence[Row]
    threads: int
    assembly: dict[str, float]
    absent: dict[str, str]
    rivals: dict[str, str]

    def write(self, folder: Path, name: str) -> list[Path]:
        """folder/name.json and .md, and a picture for each target: name.png, name-RHS-RTOL.png."""
        folder.mkdir(exist_ok=True)
        paths = [folder / f"{name}.{kind}" for kind in ("json", "md")]
        at, found, date = machine(), {**versions(), **self.rivals}, today()
        record = {"date": date, "machine": at, "versions": found, "threads": self.threads}
        record |= {"assembly seconds": self.assembly, "absent": self.absent}
        record |= {"rows": [_plain(row) for row in self.rows]}
        record |= {"batches": [_plain(row) for row in self.batches]}
        write_json(paths[0], record)
        text = self._markdown(environment_text(at, found, date))
        with atomic_file(paths[1], text=True) as handle:
            handle.write(text)
        for i, (target, rows) in enumerate(_by_target(self.rows)):
            suffix = f"-{target[0]}-{target[1]:.0e}" if i else ""
            paths.append(folder / f"{name}{suffix}.png")
            draw(rows).savefig(paths[-1], dpi=110)
        return paths

    def _markdown(self, environment: str) -> str:
        lines = ["# Linear systems: −∇·(k∇u) = f", "", environment, "", *self._method(), ""]
        if self.absent:
            absent = (f"{name} ({why})" for name, why in self.absent.items())
            lines += ["**Absent**: " + "; ".join(absent) + ".", ""]
        if self.rows:
            lines += ["## Against the fastest rival", "", *markdown_table(summary(self.rows)), ""]
            lines += _auto(self.rows)
        for (family, grid), found in groupby(self.rows, key=lambda row: (row.family, row.grid)):
            rows = list(found)
            seconds = seconds_text(self.assembly[f"{family} {grid}"])
            lines += [f"## {family}, {grid}", "", f"Assembly of the matrix: {seconds}.", ""]
            for (rhs, rtol), same in _by_target(rows):
                lines += [f"### {rhs} right-hand side, to {rtol:g}", "", *table(same), ""]
        for family, same in groupby(self.batches, key=lambda row: row.family):
            rows = list(same)
            count = rows[0].unknowns
            lines += [f"## Batch: {count} systems of {family}", "", *batch_table(rows), ""]
        return "\n".join(lines)

    def _method(self) -> list[str]:
        return [
            f"Methods of one process have {self.threads} threads, MPI ranks and processes of a "
            "batch one each. Every method runs in processes of its own; in each round each has one "
            "run, in rotating order. Times are medians over undisturbed runs, with quartiles in "
            "brackets; a run is disturbed when other processes took part of the cores (n is "
            "undisturbed/all; without any undisturbed one all count). Each timed run follows one "
            "that nobody looks at, and so finds its memory there: fresh memory may cost more than "
            "the solve on a virtual machine.",
            "",
            "Rivals are handed the assembled matrix; its assembly is on nobody's clock but ours, "
            "which start from k. The residual is ‖b − Ax‖/‖b‖ of the answer, computed in float64 "
            "by the same outside function for all. A rival whose own test is looser was handed the "
            "loosest tolerance with which that residual is met; direct methods refine, three times "
            "at most. The × column is the total against that of the fastest rival that met the "
            "tolerance. CPU is the processor time of all threads and processes, in the run that "
            "took least: with --threads 1 it can be compared on a busy machine too, with more it "
            "counts waiting threads. B/unknown is what a set-up and a solve add at their peak to "
            "processes that hold the system.",
        ]


def summary(rows: Sequence[Row]) -> list[dict[str, str]]:
    """The fastest rival and our fastest for each system and target."""
    lines = []
    for (family, grid), found in groupby(rows, key=lambda row: (row.family, row.grid)):
        for (rhs, rtol), same in _by_target(list(found)):
            rival, ours = _fastest(same, ours=False), _fastest(same, ours=True)
            line = {"k": family, "grid": grid, "b": rhs, "rtol": f"{rtol:g}"}
            least = min((row.residual for row in same if row.residual is not None), default=1.0)
            none = f"none met it (least {least:.0e})"
            line |= {"fastest rival": rival.method if rival else none}
            line |= {"its total": seconds_text(rival.seconds) if rival else _NOTHING}
            line |= {"ours": ours.method if ours else none}
            line |= {"our total": seconds_text(ours.seconds) if ours else _NOTHING}
            ratio = f"{rival.seconds / ours.seconds:.2f}" if rival and ours else _NOTHING
            line |= {"rival / ours": ratio}
            lines.append(line)
    return lines


def choices(rows: Sequence[Row]) -> list[dict[str, str]]:
    """Auto against the fastest of our methods for each system and target."""
    lines = []
    for (family, grid), found in groupby(rows, key=lambda row: (row.family, row.grid)):
        for (rhs, rtol), same in _by_target(list(found)):
            auto = next((row for row in same if row.method == _AUTO), None)
            best = _fastest((row for row in same if row.method != _AUTO), ours=True)
            if auto is None or best is None:
                continue
            line = {"k": family, "grid": grid, "b": rhs, "rtol": f"{rtol:g}"}
            line |= {"best": best.method, "its total": seconds_text(best.seconds)}
            met = auto.reached and math.isfinite(auto.seconds)
            line |= {"Auto's total": seconds_text(auto.seconds) if met else "not met"}
            line |= {"Auto / best": f"{auto.seconds / best.seconds:.2f}" if met else "inf"}
            lines.append(line)
    return lines


def _auto(rows: Sequence[Row]) -> list[str]:
    lines = choices(rows)
    if not lines:
        return []
    near = sum(float(line["Auto / best"]) <= _NEAR for line in lines)
    told = f"Within {_NEAR} times of it on {near} of {len(lines)} ({near / len(lines):.0%})."
    return ["## Auto against the best fixed choice", "", told, "", *markdown_table(lines), ""]


def table(rows: Sequence[Row]) -> list[str]:
    """Lines of Markdown: the methods on one system for one target, fastest first."""
    best, lines = _fastest(rows, ours=False), []
    for row in sorted(rows, key=lambda row: (not row.reached, row.seconds)):
        timed = len(row.counted) > 0
        setup, solve = np.median(row.counted, axis=0) if timed else (math.nan, math.nan)
        low, high = np.quantile(row.counted.sum(axis=1), [0.25, 0.75]) if timed else (0, 0)
        ratio = row.seconds / best.seconds if best else math.inf
        spread = f"{seconds_text(row.seconds)} [{seconds_text(low)}, {seconds_text(high)}]"
        residual = _NOTHING if row.residual is None else f"{row.residual:.1e}"
        lines.append(
            {
                "method": f"**{row.method}**" if row.ours else row.method,
                "set-up": seconds_text(setup) if timed else _NOTHING,
                "solve": seconds_text(solve) if timed else _NOTHING,
                "total": spread if timed else _NOTHING,
                "× fastest rival": f"{ratio:.2f}" if timed and row.reached else _NOTHING,
                "CPU": seconds_text(min(row.cpus)) if timed else _NOTHING,
                "iterations": _NOTHING if row.iterations is None else str(row.iterations),
                "residual": residual + ("" if row.reached or not timed else ", not met"),
                "B/unknown": _NOTHING if row.peak is None else f"{row.peak:.0f}",
                "n": f"{row.calm}/{len(row.disturbed)}",
            }
        )
    why = "; ".join(f"{row.method} ({row.note})" for row in rows if row.note)
    return [*markdown_table(lines), *(["", f"Without an answer: {why}."] if why else [])]


def batch_table(rows: Sequence[Row]) -> list[str]:
    """Lines of Markdown: the methods on one batch."""
    best, lines = _fastest(rows, ours=False), []
    for row in sorted(rows, key=lambda row: row.seconds):
        timed = len(row.counted) > 0
        ratio = best.seconds / row.seconds if best else math.inf
        lines.append(
            {
                "method": f"**{row.method}**" if row.ours else row.method,
                "systems/s": f"{row.unknowns / row.seconds:.0f}" if timed else row.note,
                "of the fastest rival": f"{ratio:.2f}" if timed and row.reached else _NOTHING,
                "worst residual": _NOTHING if row.residual is None else f"{row.residual:.1e}",
                "n": f"{row.calm}/{len(row.disturbed)}",
            }
        )
    return markdown_table(lines)


def draw(rows: Sequence[Row]) -> Figure:
    """Time against size for one target, a panel for each family."""
    from matplotlib.figure import Figure

    families = list(dict.fromkeys(row.family for row in rows))
    methods = list(dict.fromkeys(row.method for row in rows))
    columns = min(3, len(families))
    lines = -(-len(families) // columns)
    figure = Figure(figsize=(5 * columns, 3.8 * lines + 1.2), layout="constrained")
    panels: Any = figure.subplots(lines, columns, squeeze=False)
    for panel in panels.flat[len(families) :]:
        panel.set_axis_off()
    for panel, family in zip(panels.flat, families, strict=False):
        for i, method in enumerate(methods):
            own = [row for row in rows if (row.family, row.method) == (family, method)]
            for solid in (False, True):
                part = [r for r in own if r.grid.endswith("³") == solid and r.reached]
                points = sorted((r.unknowns, r.seconds) for r in part if math.isfinite(r.seconds))
                if points:
                    panel.loglog(*zip(*points, strict=True), **_style(i, own[0].ours, solid))
        grids: dict[int, str] = {}
        for n, grid in dict.fromkeys((r.unknowns, r.grid) for r in rows if r.family == family):
            flat = "" if grid.endswith("³") else grid
            grids[n] = grids.get(n, "") + (flat or f"\n{grid}")
        panel.set_xticks(list(grids), list(grids.values()))
        panel.set_xticks([], minor=True)
        panel.set_title(family)
        panel.set_ylabel("set-up and solve, s")
        panel.grid(True, color="0.92")
    handles = {}
    for panel in panels.flat:
        for handle in panel.get_lines():
            method = methods[int(handle.get_gid())]
            handles.setdefault(method, handle)
    figure.legend(
        handles.values(),
        handles,
        loc="outside lower center",
        ncols=max(2, 2 * columns - 1),
        frameon=False,
    )
    figure.suptitle(f"{rows[0].rhs} right-hand side, to {rows[0].rtol:g}; dashed: three dimensions")
    return figure


def _style(i: int, ours: bool, solid: bool) -> dict[str, Any]:
    return {
        "color": _COLOURS[i % len(_COLOURS)],
        "marker": _MARKERS[i % len(_MARKERS)],
        "lw": 2.4 if ours else 1.1,
        "ls": "--" if solid else "-",
        "ms": 5,
        "gid": str(i),
    }


def _fastest(rows: Iterable[Row], *, ours: bool) -> Row | None:
    timed = [r for r in rows if r.ours == ours and r.reached and math.isfinite(r.seconds)]
    return min(timed, key=lambda row: row.seconds, default=None)


def _by_target(rows: Sequence[Row]) -> list[tuple[tuple[str, float], list[Row]]]:
    targets = dict.fromkeys((row.rhs, row.rtol) for row in rows)
    return [(t, [row for row in rows if (row.rhs, row.rtol) == t]) for t in targets]


def _plain(row: Row) -> dict[str, Any]:
    found = asdict(row)
    found["cpus"] = [cpu for cpu in row.cpus if math.isfinite(cpu)]  # a batch has none
    seconds = row.seconds if math.isfinite(row.seconds) else None
    return {**found, "median seconds": seconds, "met": row.reached}
