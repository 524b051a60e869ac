"""What `run_neural` found: a `BenchReport` that counts training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from .neural_methods import Training
from .report import markdown_table, seconds_text, three_digits
from .results import BenchReport, Row, Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["NeuralReport", "pays_after"]


def pays_after(fixed: float, gain: float) -> int | None:
    """The least number of solves N >= 1 with N·gain > fixed seconds; None if there is none.

    fixed: what is spent once, less what the rival spends once. gain: saved by each solve.
    """
    if gain > fixed:
        return 1
    return math.floor(fixed / gain) + 1 if gain > 0 else None


@dataclass(frozen=True)
class NeuralReport(BenchReport):
    """The outcome of `run_neural`: a config is a kind of system on a grid.

    Attributes:
        families: config -> its name without the size. shapes: config -> its grid.
        training: learned method -> what its network cost.
        products: config -> median seconds of a product with A.
    """

    kind: ClassVar[str] = "neural"
    heading: ClassVar[str] = "Learned directions and classical methods"

    families: Mapping[str, str] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    training: Mapping[str, Training] = field(default_factory=dict)
    products: Mapping[str, float] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return f"Learned directions and classical methods, to a relative residual of {self.told}"

    @property
    def compared(self) -> tuple[Run, ...]:
        """Of each config, the runs on right-hand sides that all its methods got; all if none."""
        found: list[Run] = []
        for config in self.settings.configs:
            mine = [run for run in self.runs if run.config == config]
            methods = {run.method for run in mine}
            by = {run.sample: {r.method for r in mine if r.sample == run.sample} for run in mine}
            whole = [run for run in mine if by[run.sample] == methods]
            found += whole or mine
        return tuple(found)

    def rows(self, config: str | None = None) -> list[Row]:
        """As in BenchReport, without methods that had no run."""
        return [row for row in super().rows(config) if row.runs]

    def solves_until_paid(self, config: str) -> list[dict[str, Any]]:
        """After how many solves the training of each learned method has paid against each rival.

        Each entry has `method`, `rival`, `new`: solves of systems that each need a set-up, and
        `same`: right-hand sides of one system. None stands for never, also where the method does
        not solve every system; rivals that do not are left out.
        """
        found = []
        rows = self.rows(config)
        rivals = [row for row in rows if row.method not in self.training and row.complete]
        for row in rows:
            if row.method not in self.training:
                continue
            cost = self.training[row.method].seconds
            for rival in rivals:
                new = same = None
                if row.complete:
                    (s, x), (s0, x0) = _once_and_each(row), _once_and_each(rival)
                    new = pays_after(cost, s0 + x0 - s - x)
                    same = pays_after(cost + s - s0, x0 - x)
                found.append(
                    {"method": row.method, "rival": rival.method, "new": new, "same": same}
                )
        return found

    def cells(self, row: Row) -> dict[str, Any]:
        """As in BenchReport, with what a learned method costs."""
        mine = [r for r in self.compared if (r.config, r.method) == (row.config, row.method)]
        training = self.training.get(row.method)
        once = "–"
        if row.iterations and row.solve and self.products.get(row.config):
            once = three_digits(row.solve.median / row.iterations / self.products[row.config])
        told = {
            "network calls": f"{np.median([r.calls for r in mine]):g}" if training else "–",
            "classical steps": f"{np.median([r.fallbacks for r in mine]):g}" if training else "–",
            "iteration / product": once,
            "training": "0" if training is None else seconds_text(training.seconds),
        }
        dropped = ("false success", "not converged", "exceptions")  # told under "Not solved"
        return {k: v for k, v in super().cells(row).items() if k not in dropped} | told

    def summary(self) -> list[str]:
        s = self.settings
        limit = "" if s.max_seconds is None else f", at most {s.max_seconds:g} s of iteration"
        lines = [
            f"{s.samples} right-hand sides of each kind (seed {s.seed}), none of them used in "
            f"training, to a relative residual of {s.rtol:g}{limit}. Every method got the same "
            "systems, in the same run, in an order that rotates. The true residual of every answer "
            "was computed by the same float64 code.",
            "Times are medians, with quartiles in brackets. Total is set-up and solve; training is "
            "not in it. An iteration's time is in products with A, measured in the same run.",
        ]
        networks = {t.network: t for t in self.training.values()}
        lines += [
            f"{t.network}: {t.parameters:,} parameters, trained in {seconds_text(t.seconds)} on "
            f"{t.device}."
            for t in networks.values()
        ]
        if self.warmup:
            spent = seconds_text(sum(self.warmup.values()))
            lines.append(f"Compiling and first runs are not in the times: {spent} for all methods.")
        lines += [f"{name} was left out: {why}." for name, why in self.skipped.items()]
        if self.interrupted:
            lines.append(
                "The benchmark was interrupted: of each kind of system only right-hand sides that "
                "all its methods got count."
            )
        return lines

    def to_markdown(self) -> str:
        """As in BenchReport, then iterations against size, and when training has paid."""
        lines = [super().to_markdown()]
        for family in dict.fromkeys(self.families.values()):
            table = self._growth(family)
            if table:
                lines += [f"## Iterations, {family}", "", *markdown_table(table), ""]
        for config in self.settings.configs:
            table = self._paid(config)
            if table:
                lines += [
                    f"## Solves after which training has paid, {config}", "",
                    "Systems that each need a set-up / right-hand sides of one system.", "",
                    *markdown_table(table), "",
                ]  # fmt: skip
        return "\n".join(lines).rstrip() + "\n"

    def _growth(self, family: str) -> list[dict[str, Any]]:
        configs = [c for c in self.settings.configs if self.families[c] == family and self.rows(c)]
        by = {config: {row.method: row for row in self.rows(config)} for config in configs}
        methods = [m for m in self.settings.methods if any(m in rows for rows in by.values())]
        return [
            {"method": m} | {c.rpartition(", ")[2]: _steps(by[c].get(m)) for c in configs}
            for m in methods
        ]

    def _paid(self, config: str) -> list[dict[str, Any]]:
        table: dict[str, dict[str, Any]] = {}
        for entry in self.solves_until_paid(config):
            row = table.setdefault(entry["method"], {"method": entry["method"]})
            counts = (entry["new"], entry["same"])
            told = ["never" if count is None else f"{count:,}" for count in counts]
            row[entry["rival"]] = told[0] if told[0] == told[1] else " / ".join(told)
        return list(table.values())

    def to_json(self) -> dict[str, Any]:
        """As in BenchReport, with the solves after which training has paid."""
        paid = {config: self.solves_until_paid(config) for config in self.settings.configs}
        return super().to_json() | {"paid": paid}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """As in BenchReport."""
        parts = {name: part for name, part in record.items() if name != "paid"}  # follows
        shapes = {name: tuple(shape) for name, shape in record.get("shapes", {}).items()}
        training = {name: Training(**t) for name, t in record.get("training", {}).items()}
        return super().from_json({**parts, "shapes": shapes, "training": training})

    def figure(self) -> Figure:
        """Iterations above, and time below, against size; a column for each kind of system."""
        from .neural_picture import draw_growth

        return draw_growth(self)


def _once_and_each(row: Row) -> tuple[float, float]:
    """Median seconds of set-up and of a solve; a complete row has both."""
    assert row.setup is not None and row.solve is not None
    return row.setup.median, row.solve.median


def _steps(row: Row | None) -> str:
    if row is None or row.iterations is None:
        return "–"
    return f"{row.iterations:g}" if row.complete else f"{row.solved}/{row.runs} solved"
