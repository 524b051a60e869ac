"""What `run_poisson` found: a `BenchReport` over kinds of coefficients and grids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

from .report import seconds_text
from .results import BenchReport, Outcome, Row, Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PoissonReport"]


@dataclass(frozen=True)
class PoissonReport(BenchReport):
    """The outcome of `run_poisson`: a config is a kind of coefficient on a grid, a sample a repeat.

    Attributes:
        rhs: the right-hand side's name. families, shapes: of each config.
        ours: methods that are solvers of this package's kind.
        given: "method on config" -> the tolerance it was handed so that its true residual met rtol.
    """

    kind: ClassVar[str] = "poisson"
    heading: ClassVar[str] = "Diffusion: −∇·(k∇u) = f"

    rhs: str = "white"
    families: Mapping[str, str] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    ours: tuple[str, ...] = ()
    given: Mapping[str, float] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return f"−∇·(k∇u) = f, {self.rhs} right-hand side, to a relative residual of {self.told}"

    @property
    def compared(self) -> tuple[Run, ...]:
        """All runs: not every method is for every grid."""
        return self.runs

    def rows(self, config: str | None = None) -> list[Row]:
        """As in BenchReport, without methods that had no run."""
        return [row for row in super().rows(config) if row.runs]

    def summary(self) -> list[str]:
        s = self.settings
        limit = "" if s.max_seconds is None else f" and at most {s.max_seconds:g} s of iteration"
        lines = [
            f"To a relative residual of {s.rtol:g}, {self.rhs} right-hand side. {s.samples} timed "
            f"runs of each method, in turns{limit}; one run of those that are slow or fail. The "
            "true residual of every answer was computed by the same float64 code.",
            "Times are medians, with quartiles in brackets. Total is set-up and solve. Methods of "
            "this package start from k and assemble what they need on the clock; peers are handed "
            "the assembled matrix. All run in one process, so that PETSc is on one rank and one "
            "core here; benchmarks/linear.py gives it all cores.",
        ]
        if self.warmup:
            spent = seconds_text(sum(self.warmup.values()))
            lines.append(f"Compiling and first runs are not in the times: {spent} for all methods.")
        lines += [f"auto on {where}: {choice}" for choice, where in self._choices().items()]
        if self.given:
            told = ", ".join(f"{name} {rtol:.1e}" for name, rtol in self.given.items())
            lines.append(f"Handed a smaller tolerance, for their own test is looser: {told}.")
        lines += [f"{name} was left out: {why}." for name, why in self.skipped.items()]
        if self.interrupted:
            lines.append("The benchmark was interrupted: what was done by then is here.")
        return lines

    def _choices(self) -> dict[str, str]:
        """What auto says that it chose -> on which systems."""
        found: dict[str, list[str]] = {}
        for run in self.runs:
            if run.method == "auto" and run.sample == 0 and run.outcome is Outcome.SOLVED:
                found.setdefault(run.detail, []).append(run.config)
        return {choice: "; ".join(configs) for choice, configs in found.items()}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """As in BenchReport."""
        shapes = {name: tuple(shape) for name, shape in record.get("shapes", {}).items()}
        ours = tuple(record.get("ours", ()))
        return super().from_json({**record, "shapes": shapes, "ours": ours})

    def figure(self) -> Figure:
        """Convergence on the last grid, and time against size; bars where there is one size."""
        from .picture import draw
        from .poisson_picture import draw_sizes

        measured = [name for name in self.settings.configs if self.rows(name)]
        families = {self.families[name] for name in measured}
        return draw_sizes(self) if len(measured) > len(families) else draw(self)
