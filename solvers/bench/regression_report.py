"""What `run_regression` found, and the ways to show it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sciml.io import atomic_file, write_json

from .report import Spread, environment_text, markdown_table, seconds_text, three_digits

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Group

__all__ = ["PUBLISHED", "Example", "Forecast", "RegressionReport", "Standing", "Start"]

# Mean and standard deviation of the relative error, in the outputs of the authors' notebooks
# (github.com/condiff-dataset/ConDiff, e3111fc); their networks see k transposed.
PUBLISHED: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "cubic0.1_grid64": {"DilResNet": (0.071, 0.020), "SNO": (0.090, 0.025)}
}


@dataclass(frozen=True)
class Forecast:
    """One prediction: relative error and residual, both in the 2-norm, and seconds."""

    config: str
    sample: int
    entry: str
    error: float
    residual: float
    seconds: float


@dataclass(frozen=True)
class Start:
    """One solve to rtol, from the prediction of `entry`, or from 0 where that is None."""

    config: str
    sample: int
    entry: str | None
    solver: str
    iterations: int
    solved: bool
    seconds: float


@dataclass(frozen=True, eq=False)
class Example:
    """A system to look at, and what was predicted for it."""

    k: np.ndarray
    b: np.ndarray
    x: np.ndarray
    answers: dict[str, np.ndarray]


@dataclass(frozen=True)
class Standing:
    """One competitor on one set.

    Attributes:
        error, deviation: mean and standard deviation of the relative error over test systems.
        residual: median of ‖b − A x̂‖ / ‖b‖; 1 is what x̂ = 0 has.
        seconds: of one prediction, median.
        iterations: solver -> medians (from 0, from the prediction).
        saved: solver -> median seconds from 0 less those from the prediction, its own included.
        repaid: solver -> systems after which the training has paid; None for never.
    """

    config: str
    entry: str
    trained_on: str | None
    training: float | None
    error: float
    deviation: float
    residual: float
    seconds: Spread
    iterations: dict[str, tuple[float, float]]
    saved: dict[str, float]
    repaid: dict[str, float | None]


@dataclass(frozen=True, eq=False)
class RegressionReport:
    """The outcome of `run_regression`.

    Attributes:
        entries: name -> (the set it was trained on, seconds of training), None where unknown.
        floors: config -> mean relative error of the best constant times the solution for k = 1.
        forecasts, starts: every prediction and every solve. failures: entry -> what went wrong.
        examples: config -> its first system. Other fields as in `run_regression`.
    """

    configs: tuple[str, ...]
    entries: Mapping[str, tuple[str | None, float | None]]
    samples: int
    solves: int
    rtol: float
    seed: int
    floors: Mapping[str, float]
    forecasts: tuple[Forecast, ...]
    starts: tuple[Start, ...]
    failures: Mapping[str, str]
    examples: Mapping[str, Example]
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    date: str
    interrupted: bool = False

    def standings(self, config: str) -> list[Standing]:
        """All competitors on a set, the smallest error first."""
        found = [self._standing(config, name) for name in self.entries]
        return sorted((s for s in found if s is not None), key=lambda s: s.error)

    def _standing(self, config: str, name: str) -> Standing | None:
        mine = [f for f in self.forecasts if (f.config, f.entry) == (config, name)]
        seconds = Spread.of(f.seconds for f in mine)
        if seconds is None:
            return None
        trained_on, training = self.entries[name]
        errors = [f.error for f in mine]
        spent = {f.sample: f.seconds for f in mine}
        iterations, saved = {}, {}
        for label in dict.fromkeys(s.solver for s in self.starts):
            here = [s for s in self.starts if (s.config, s.solver) == (config, label)]
            zero = {s.sample: s for s in here if s.entry is None}
            warm = [s for s in here if s.entry == name and s.sample in zero]
            if warm and all(s.solved and zero[s.sample].solved for s in warm):
                pairs = [(zero[s.sample], s) for s in warm]
                iterations[label] = tuple(
                    float(np.median([p[i].iterations for p in pairs])) for i in (0, 1)
                )
                gains = [z.seconds - s.seconds - spent[s.sample] for z, s in pairs]
                saved[label] = float(np.median(gains))
        repaid = {
            label: (training or 0.0) / gain if gain > 0 else None for label, gain in saved.items()
        }
        residual = float(np.median([f.residual for f in mine]))
        error, deviation = float(np.mean(errors)), float(np.std(errors))
        return Standing(
            config, name, trained_on, training, error, deviation, residual, seconds,
            iterations, saved, repaid,
        )  # fmt: skip

    def summary(self) -> list[str]:
        """Sentences on what was measured and how, and what came of it."""
        lines = [
            f"{self.samples} test systems of each set (seed {self.seed}), of which {self.solves} "
            f"are solved to a relative residual of {self.rtol:g}. Error is ‖x̂ − x‖ / ‖x‖ in the "
            "2-norm, mean and standard deviation. A prediction is timed alone, one system at a "
            "time, its transforms included.",
            "Iterations are medians from 0 and from the prediction as x0. Saved is the median of "
            "seconds from 0, less those from x0, less those of the prediction; set-up of the "
            "solver counts in both. Repaid is the number of systems after which the training has "
            "paid for itself.",
        ]
        for config in self.configs:
            if config in self.floors:
                lines.append(f"{config}: {self._verdict(config)}")
        lines += [f"{name} is out: {why}." for name, why in self.failures.items()]
        if self.interrupted:
            lines.append("The benchmark was interrupted: only what was done counts.")
        return lines

    def _verdict(self, config: str) -> str:
        floor, standings = self.floors[config], self.standings(config)
        text = f"ignoring k errs by {_percent(floor)}"
        for name, (mean, deviation) in PUBLISHED.get(config, {}).items():
            text += f"; {name} as published by {_percent(mean)} ± {_percent(deviation)}"
        learned = [s for s in standings if s.trained_on is not None]
        if learned:
            text += f"; the best network, {learned[0].entry}, by {_percent(learned[0].error)}"
        gains = [
            f"{s.entry} for {label}" for s in learned for label, gain in s.saved.items() if gain > 0
        ]
        if learned and any(s.saved for s in learned):
            text += (
                f". As x0 it pays: {', '.join(gains)}"
                if gains
                else (". As x0 no network pays: it costs more seconds than the iterations it saves")
            )
        return text + "."

    def rows(self, config: str) -> list[dict[str, str]]:
        """The table of one set."""
        return [_cells(s) for s in self.standings(config)]

    def to_markdown(self) -> str:
        """One table for each set, a row for each competitor."""
        lines = ["# ConDiff, regression track", ""]
        lines += [environment_text(self.machine, self.versions, self.date), ""]
        lines += [f"{sentence}\n" for sentence in self.summary()]
        for config in self.configs:
            rows = self.rows(config)
            if rows:
                lines += [f"## {config}", "", *markdown_table(rows), ""]
        return "\n".join(lines).rstrip() + "\n"

    def table(self) -> Group:
        """For rich: a table for each set."""
        from rich import box
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        made = []
        for config in self.configs:
            table = Table(title=config, title_justify="left", box=box.SIMPLE_HEAD, padding=0)
            rows = [_short_cells(s) for s in self.standings(config)]
            for heading in rows[0] if rows else ():
                justify = "left" if heading == "prediction" else "right"
                table.add_column(heading, justify=justify, no_wrap=True)
            for row in rows:
                table.add_row(*row.values())
            made.append(table)
        return Group(
            *made, Text("cg, +mg: iterations from 0 and from x0. saves: ms.", style="italic")
        )

    def to_json(self) -> dict[str, Any]:
        """Everything but the pictures' fields."""
        names = ("configs", "samples", "solves", "rtol", "seed", "date", "interrupted")
        record = {name: getattr(self, name) for name in names}
        record |= {name: dict(getattr(self, name)) for name in ("machine", "versions", "failures")}
        return {
            "format": 1,
            "benchmark": "condiff-regression",
            **record,
            "floors": dict(self.floors),
            "published": {c: dict(v) for c, v in PUBLISHED.items() if c in self.configs},
            "standings": [asdict(s) for c in self.configs for s in self.standings(c)],
            "forecasts": _columns(self.forecasts, ("config", "entry")),
            "starts": _columns(self.starts, ("config", "entry", "solver")),
        }

    def figure(self) -> Figure:
        """For each set: log k, x, then the k-blind guess's and the best network's error."""
        from .regression_picture import draw

        return draw(self)

    def write(self, out_dir: str | os.PathLike[str]) -> list[Path]:
        """condiff-regression.json, .md and .png in `out_dir`, which is made if missing."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        folder = Path(out_dir)
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"condiff-regression.{ext}" for ext in ("json", "md", "png")]
        write_json(paths[0], self.to_json())
        with atomic_file(paths[1], text=True) as handle:
            handle.write(self.to_markdown())
        figure = self.figure()
        FigureCanvasAgg(figure)
        with atomic_file(paths[2]) as handle:
            figure.savefig(handle, format="png", dpi=130, metadata={"Software": "sciml"})
        return paths


def _columns(records: Sequence[Any], by: tuple[str, ...]) -> list[dict[str, Any]]:
    """Records with the same `by` as one, whose other fields are lists."""
    found: dict[tuple, dict[str, Any]] = {}
    for record in records:
        fields = asdict(record)
        key = tuple(fields.pop(name) for name in by)
        made = found.setdefault(key, dict(zip(by, key, strict=True)))
        for name, value in fields.items():
            short = float(f"{value:.6g}") if isinstance(value, float) else value
            made.setdefault(name, []).append(short)
    return list(found.values())


def _cells(s: Standing) -> dict[str, str]:
    cells = {
        "prediction": s.entry,
        "trained on": s.trained_on or "–",
        "error": f"{_percent(s.error)} ± {_percent(s.deviation)}",
        "residual": f"{s.residual:.2g}",
        "seconds": seconds_text(s.seconds.median),
    }
    for label, (cold, warm) in s.iterations.items():
        gain = s.saved[label]
        sign = "−" if gain < 0 else ""
        cells[f"{label}, iterations"] = f"{cold:g} → {warm:g}"
        cells[f"{label}, saved"] = sign + seconds_text(abs(gain))
        cells[f"{label}, repaid"] = _repaid(s, s.repaid[label])
    return cells


def _repaid(s: Standing, systems: float | None) -> str:
    if systems is None:
        return "never"
    if s.training is not None:
        return f"{systems:.0f}"
    return "at once" if s.trained_on is None else "unknown"


def _short_cells(s: Standing) -> dict[str, str]:
    """For a terminal of 80 columns."""
    cells = {
        "prediction": s.entry,
        "error": f"{_percent(s.error)} ± {_percent(s.deviation)}",
        "ms": three_digits(1e3 * s.seconds.median),
    }
    for label, (cold, warm) in s.iterations.items():
        cells["cg" if label == "cg" else "+mg"] = f"{cold:.0f}→{warm:.0f}"
        cells["saves" if label == "cg" else "saves "] = f"{1e3 * s.saved[label]:.1f}"
    return cells


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
