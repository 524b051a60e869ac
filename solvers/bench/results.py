"""What a benchmark found: every run, the medians over them, and the ways to show it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from sciml.io import atomic_file, write_json

from .report import Spread, environment_text, markdown_table, seconds_text, three_digits

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Group
    from rich.table import Table

__all__ = ["BenchReport", "Outcome", "Row", "Run", "Settings", "Trace"]

_FORMAT = 1


class Outcome(Enum):
    """How one method did on one system."""

    SOLVED = "solved"  # claimed success, and the true residual is within rtol
    NOT_CONVERGED = "not converged"  # said so itself
    FALSE_SUCCESS = "false success"  # claimed success with a true residual above rtol
    EXCEPTION = "exception"


@dataclass(frozen=True)
class Settings:
    """What was asked for. configs: names; methods: names; the rest as in `run_condiff`."""

    configs: tuple[str, ...]
    methods: tuple[str, ...]
    samples: int
    rtol: float
    seed: int
    max_seconds: float | None


@dataclass(frozen=True)
class Run:
    """One method on one system.

    Attributes:
        config, sample, method: which.
        outcome: an Outcome.
        iterations: None where the method does not count any.
        setup, solve: wall-clock seconds.
        residual: true relative residual of the answer, None if there is no finite answer.
        error: relative distance from the solution, likewise.
        detail: the exception, the status, or what an automatic solver chose.
        calls, fallbacks: applications of the preconditioner or network, and steps in which a
            learned method took a classical direction; 0 for rivals from outside.
    """

    config: str
    sample: int
    method: str
    outcome: Outcome
    iterations: int | None
    setup: float
    solve: float
    residual: float | None
    error: float | None
    detail: str = ""
    calls: int = 0
    fallbacks: int = 0

    @property
    def total(self) -> float:
        """Seconds from the coefficient to the answer."""
        return self.setup + self.solve


@dataclass(frozen=True)
class Trace:
    """The course of one method on one system.

    Attributes:
        seconds: since the start of set-up. residual: relative, as the method estimates it.
        true_residual: relative, of the answer; None if that is not finite.
    """

    method: str
    seconds: tuple[float, ...]
    residual: tuple[float, ...]
    true_residual: float | None


@dataclass(frozen=True)
class Row:
    """One method on all systems of one config.

    Attributes:
        runs: systems. solved, false, failed, exceptions: how many of them ended so.
        iterations: median, None if not counted.
        setup, solve, total: seconds over all runs without an exception, None if there are none.
        residual: the largest true residual, None if an answer is missing.
        ratio: median total over that of the fastest method that solved every system; None where
            this one did not.
    """

    config: str
    method: str
    runs: int
    solved: int
    false: int
    failed: int
    exceptions: int
    iterations: float | None
    setup: Spread | None
    solve: Spread | None
    total: Spread | None
    residual: float | None
    ratio: float | None = None

    @property
    def complete(self) -> bool:
        """Whether every system was solved."""
        return self.solved == self.runs


@dataclass(frozen=True)
class BenchReport:
    """The outcome of a benchmark; `Run`s of an interrupted one are those that were done.

    Attributes:
        settings, date, machine, versions: what was run, when and on what.
        runs: in the order in which they were timed.
        warmup: seconds of each method's first, untimed run, in which kernels are compiled.
        traced, traces: name of the system whose convergence is drawn, and each method's course.
        floors: per config, the mean relative error of the best constant times the solution for
            k = 1, which knows nothing of k.
        skipped: method, and where, to reason.
        interrupted: whether it was stopped before the end.
    """

    kind: ClassVar[str] = "condiff"
    heading: ClassVar[str] = "Solvers on ConDiff systems"

    settings: Settings
    date: str
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    runs: tuple[Run, ...]
    warmup: Mapping[str, float]
    traced: str
    traces: tuple[Trace, ...]
    floors: Mapping[str, float]
    skipped: Mapping[str, str]
    interrupted: bool = False

    @property
    def title(self) -> str:
        """Of the picture."""
        count = f"{self.settings.samples} system{'s' if self.settings.samples > 1 else ''} each"
        return f"Diffusion systems of ConDiff, {count}, to a relative residual of {self.told}"

    @property
    def told(self) -> str:
        """rtol as 1e-6, and whether the benchmark was interrupted."""
        exponent = f"{self.settings.rtol:.0e}".replace("e-0", "e-")
        return f"{exponent}{', interrupted' if self.interrupted else ''}"

    # -- what is compared ----------------------------------------------------------------------

    @property
    def compared(self) -> tuple[Run, ...]:
        """The runs on systems that every method was given; all runs if there is no such system."""
        methods = {run.method for run in self.runs}
        seen: dict[tuple[str, int], set[str]] = {}
        for run in self.runs:
            seen.setdefault((run.config, run.sample), set()).add(run.method)
        whole = {system for system, by in seen.items() if by == methods}
        return tuple(run for run in self.runs if (run.config, run.sample) in whole) or self.runs

    def rows(self, config: str | None = None) -> list[Row]:
        """Rows of one config or of all, each config's fastest first, unsolved ones last."""
        runs, found = self.compared, []
        for name in self.settings.configs:
            if config in (None, name):
                mine = [run for run in runs if run.config == name]
                found += _ranked([_row(name, m, mine) for m in self.settings.methods])
        return found

    # -- ways out --------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """Everything, in what JSON can hold."""
        record = {"format": _FORMAT, "benchmark": self.kind, **asdict(self)}
        for run in record["runs"]:
            run["outcome"] = run["outcome"].value
        return json.loads(json.dumps(record, allow_nan=False))

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """The report that `to_json` wrote.

        Raises:
            ValueError: the record is of another format, or lacks a part.
        """
        if record.get("format") != _FORMAT or record.get("benchmark") != cls.kind:
            raise ValueError(
                f"expected a {cls.kind} benchmark of format {_FORMAT}, got "
                f"{record.get('benchmark')!r} of format {record.get('format')!r}: run it again"
            )
        parts = {name: part for name, part in record.items() if name not in ("format", "benchmark")}
        try:
            settings = dict(parts["settings"])
            for name in ("configs", "methods"):
                settings[name] = tuple(settings[name])
            parts["settings"] = Settings(**settings)
            parts["runs"] = tuple(
                Run(**{**run, "outcome": Outcome(run["outcome"])}) for run in parts["runs"]
            )
            parts["traces"] = tuple(
                Trace(**{**t, "seconds": tuple(t["seconds"]), "residual": tuple(t["residual"])})
                for t in parts["traces"]
            )
            return cls(**parts)
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"expected a whole {cls.kind} benchmark, got one with {error}"
            ) from None

    def summary(self) -> list[str]:
        """Sentences on what was measured and how."""
        s = self.settings
        limit = "" if s.max_seconds is None else f", at most {s.max_seconds:g} s of iteration"
        lines = [
            f"{s.samples} systems of each set (seed {s.seed}), to a relative residual of "
            f"{s.rtol:g}{limit}. "
            "Every method got the same systems, in the same run, in an order that rotates. "
            "The true residual of every answer was computed by the same float64 code.",
            "Times are medians over systems, with quartiles in brackets. Total is set-up and "
            "solve. Methods of this package start from k and assemble what they need on the "
            "clock; SciPy's and PyAMG's own are handed the assembled matrix.",
        ]
        if self.warmup:
            lines.append(
                "Compiling and first runs are not in the times: "
                f"{seconds_text(sum(self.warmup.values()))} for all methods."
            )
        if self.floors:
            told = ", ".join(
                f"{100 * floor:.1f} % on {name}" for name, floor in self.floors.items()
            )
            lines.append(f"For scale, a prediction that ignores k errs by {told}.")
        lines += [f"{name} was left out: {why}." for name, why in self.skipped.items()]
        if self.interrupted:
            lines.append("The benchmark was interrupted: only systems that all methods got count.")
        return lines

    def failures(self) -> list[str]:
        """A line for each config and kind of failure, naming the methods."""
        told: dict[tuple[str, str], dict[str, int]] = {}
        for run in self.compared:
            if run.outcome is not Outcome.SOLVED:
                kind = told.setdefault((run.config, f"{run.outcome.value} ({run.detail})"), {})
                kind[run.method] = kind.get(run.method, 0) + 1
        lines = []
        for (config, kind), methods in told.items():
            named = (m if n == 1 else f"{m} ({n} systems)" for m, n in methods.items())
            lines.append(f"{config}, {kind}: {', '.join(named)}.")
        return lines

    def to_markdown(self) -> str:
        """One table for each config, a row for each method."""
        lines = [f"# {self.heading}", ""]
        lines += [environment_text(self.machine, self.versions, self.date), ""]
        lines += [f"{sentence}\n" for sentence in self.summary()]
        for name in self.settings.configs:
            cells = [self.cells(row) for row in self.rows(name)]
            lines += [f"## {name}", "", *markdown_table(cells), ""]
        unsolved = self.failures()
        if unsolved:
            lines += ["## Not solved", "", *(f"- {line}" for line in unsolved), ""]
        return "\n".join(lines).rstrip() + "\n"

    def cells(self, row: Row) -> dict[str, Any]:
        """A line of the Markdown tables, by heading."""
        return _cells(row)

    def table(self) -> Group:
        """For rich: a table of 80 columns for each config, a row for each method."""
        from rich.console import Group
        from rich.text import Text

        note = "Times in ms: medians, quartiles in brackets. ×: total over the fastest."
        tables = (_table(name, self.rows(name)) for name in self.settings.configs)
        return Group(*tables, Text(note, style="italic"))

    def figure(self) -> Figure:
        """Convergence on one system at the left, times for each config at the right."""
        from .picture import draw

        return draw(self)

    def plot(self, path: str | os.PathLike[str]) -> Path:
        """Write `figure()` as a PNG, atomically."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        figure = self.figure()
        FigureCanvasAgg(figure)
        with atomic_file(path) as handle:
            figure.savefig(handle, format="png", dpi=130, metadata={"Software": "sciml"})
        return Path(path)

    def write(self, out_dir: str | os.PathLike[str], stem: str | None = None) -> list[Path]:
        """Write <stem>.json, .md and .png into `out_dir`, which is made if missing.

        stem: the benchmark's name if None.
        """
        folder = Path(out_dir)
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{stem or self.kind}.{ext}" for ext in ("json", "md", "png")]
        write_json(paths[0], self.to_json())
        with atomic_file(paths[1], text=True) as handle:
            handle.write(self.to_markdown())
        self.plot(paths[2])
        return paths


def _row(config: str, method: str, runs: Sequence[Run]) -> Row:
    mine = [run for run in runs if run.method == method]
    count = {outcome: sum(run.outcome is outcome for run in mine) for outcome in Outcome}
    timed = [run for run in mine if run.outcome is not Outcome.EXCEPTION]
    steps = Spread.of(run.iterations for run in mine if run.iterations is not None)
    residuals = [run.residual for run in mine if run.residual is not None]
    return Row(
        config,
        method,
        runs=len(mine),
        solved=count[Outcome.SOLVED],
        false=count[Outcome.FALSE_SUCCESS],
        failed=count[Outcome.NOT_CONVERGED],
        exceptions=count[Outcome.EXCEPTION],
        iterations=None if steps is None else steps.median,
        setup=Spread.of(run.setup for run in timed),
        solve=Spread.of(run.solve for run in timed),
        total=Spread.of(run.total for run in timed),
        residual=max(residuals) if residuals and len(residuals) == len(mine) else None,
    )


def _ranked(rows: list[Row]) -> list[Row]:
    def key(row: Row) -> tuple[bool, float]:
        return not (row.complete and row.total), row.total.median if row.total else float("inf")

    rows = sorted(rows, key=key)
    best = rows[0].total if rows and rows[0].complete else None
    if best is None:
        return rows
    return [
        Row(**{**vars(row), "ratio": row.total.median / best.median})
        if row.total and row.complete
        else row
        for row in rows
    ]


_SHORT = {
    "method": 16,
    "solved": 6,
    "false": 5,
    "iters": 5,
    "set-up": 6,
    "solve": 5,
    "total": 17,
    "×": 4,
    "resid.": 7,
}


def _table(title: str, rows: Sequence[Row]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(f"\n{title}", style="bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=0,
    )
    for heading, width in _SHORT.items():
        justify = "left" if heading == "method" else "right"
        table.add_column(heading, justify=justify, no_wrap=True, min_width=width)
    for row in rows:
        style = "" if row.complete else "red" if row.false or row.exceptions else "yellow"
        table.add_row(*map(Text, _short_cells(row)), style=style)
    return table


def _short_cells(row: Row) -> tuple[str, ...]:
    total = "–"
    if row.total is not None:
        total = _ms(row.total.median)
        if row.total.count > 1:
            total += f" [{_ms(row.total.low)}–{_ms(row.total.high)}]"
    return (
        row.method,
        f"{row.solved}/{row.runs}",
        str(row.false),
        _number(row.iterations, ".0f"),
        _ms(row.setup.median) if row.setup else "–",
        _ms(row.solve.median) if row.solve else "–",
        total,
        "–" if row.ratio is None else three_digits(row.ratio),
        _number(row.residual, ".1e"),
    )


def _cells(row: Row) -> dict[str, Any]:
    total = "–"
    if row.total is not None:
        low, high = seconds_text(row.total.low), seconds_text(row.total.high)
        total = f"{seconds_text(row.total.median)} [{low}, {high}]"
    return {
        "method": row.method,
        "solved": f"{row.solved}/{row.runs}",
        "false success": row.false,
        "not converged": row.failed,
        "exceptions": row.exceptions,
        "iterations": _number(row.iterations, "g"),
        "set-up": seconds_text(row.setup.median) if row.setup else "–",
        "solve": seconds_text(row.solve.median) if row.solve else "–",
        "total": total,
        "× fastest": _number(row.ratio, ".2f"),
        "worst residual": _number(row.residual, ".1e"),
    }


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _ms(seconds: float) -> str:
    return three_digits(1e3 * seconds)
