"""What `run_pinn` found: errors at equal times, ratios, targets, certificates."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sciml.io import FileError, atomic_file, write_json

from ..pinn.problems import CASES, Certificate, certificate
from .pinn_methods import ADAM, BEYOND, METHODS, OURS, SECOND_ORDER, Trained
from .report import Spread, environment_text, markdown_table, seconds_text

__all__ = ["TARGETS", "Choice", "Classical", "PinnReport", "Row", "current", "read_rows"]

# How many times below Adam, and below the best second-order rival, the error is meant to be.
TARGETS: Mapping[str, tuple[float, float | None]] = {
    **{name: (100.0, 10.0) for name in CASES
       if name.startswith(("poisson", "advection")) or name in ("heat", "burgers")},
    "allen-cahn": (10.0, None),
    "kdv": (10.0, None),
}  # fmt: skip
_NOTES = (
    "Every method trains the same network from the same weights on the same points in float64, "
    "full batch. Time is processor time on one thread, from the building of the model on; it "
    "stands while errors are evaluated. What counts at a time is the state after the last step "
    "that had ended by then. Schedules are shares of a run's length, so that each table is of runs "
    "of exactly that length; errors on the way are in the pictures alone: pinn.png against time, "
    "pinn-iterations.png against steps of each method's own kind.",
    "Rivals' settings are chosen by the error against the reference, for each case and length: "
    "from a seed that is not counted, each setting gets a tenth of the time; the best of these and "
    "the usual setting then get the whole time from seed 0, and the better is taken for all seeds. "
    "None of this is counted. Runs of 300 s take the settings of 60 s. Gauss-Newton has none to "
    "choose. Ratios are to the better of both Adams. `asked of`: the factors that were aimed at "
    "before anything was measured, by which each rival's error should exceed ours; `met`: whether "
    "they are.",
    "L-BFGS is DeepXDE's (memory 100, strong Wolfe), on 1e8 times the loss, since it drops small "
    "curvatures; where it ends it begins anew without memory, then on 1e12 and 1e4 times the loss. "
    "It is looked at after each 30 steps, so that up to 29 finished ones do not count at a mark: "
    "0.8 s of the cavity at most. "
    "`ended`: when none of these brought 30 steps, and the rest of the time was left.",
    "SSBroyden (Al-Baali and Khalfan 2005; for PINNs Urbán, Stefanou and Pons 2025) is the "
    "strongest rival that was tried: a dense inverse Hessian, SciPy's strong Wolfe search. DeepXDE "
    "has none, so that no target names it. Not tried: SSBFGS, SOAP, natural gradients of others.",
    "NNCG has rank 60, 50 CG steps at most (1,000 in its paper, which would take most runs for a "
    "step or two). Its damping, its tolerance and its sketch's shift are "
    "absolute: the loss is scaled so that the Hessian's largest eigenvalue is 1e-3, and damping is "
    "relative to it. 0 NNCG: no step of it ended in the time. Where it raises an error since the "
    "Hessian is indefinite, L-BFGS goes on.",
    "residual: of the equation by finite differences on a fine grid, relative to its largest term; "
    "the worst equation's. conditions: by how much given and periodic faces are missed (RMS), "
    "relative to the solution. of the reference: the residual of the reference itself, which is "
    "what those differences leave: one near it says nothing.",
    "Networks have 481 to 1,401 weights, for which a step with J as a matrix is cheap: see "
    "pinn_steps.md for 1e3 to 1e5.",
    "Linear problems are solved without a network in milliseconds, to more digits: that is what to "
    "take for them. They are here since their conditioning is understood.",
)


@dataclass(frozen=True)
class Row:
    """One training of a case by a method, `seconds` long."""

    case: str
    method: str
    seed: int
    seconds: float
    trained: Trained

    @property
    def key(self) -> tuple[str, str, int, float]:
        return self.case, self.method, self.seed, self.seconds


@dataclass(frozen=True)
class Choice:
    """What settings of a method came to, for runs `seconds` long.

    Attributes:
        settings: the usual one first. errors: of each, from the spare seed in a tenth of the time.
        whole: (setting, error) of those that were trained for the whole time, from seed 0.
    """

    case: str
    method: str
    seconds: float
    settings: tuple[float, ...]
    errors: tuple[float, ...]
    whole: tuple[tuple[float, float], ...] = ()

    @property
    def key(self) -> tuple[str, str, float]:
        return self.case, self.method, self.seconds

    @property
    def early(self) -> float:
        """The setting of the least error in a tenth of the time, the first of equals."""
        return self.settings[self.errors.index(min(self.errors))]

    @property
    def best(self) -> float:
        """The setting of the least error in the whole time; the early one while none is known."""
        return min(self.whole, key=lambda pair: pair[1])[0] if self.whole else self.early


@dataclass(frozen=True)
class Classical:
    """A linear case without a network: seconds for everything."""

    case: str
    how: str
    seconds: float
    error: float


@dataclass(frozen=True, eq=False)
class PinnReport:
    """All trainings, and which settings they have. interrupted: whether some are missing."""

    rows: tuple[Row, ...]
    classical: tuple[Classical, ...]
    environment: dict[str, Any]
    interrupted: bool = False
    choices: tuple[Choice, ...] = ()

    @property
    def cases(self) -> list[str]:
        there = {row.case for row in self.rows}
        return [name for name in CASES if name in there]

    @property
    def methods(self) -> list[str]:
        there = {row.method for row in self.rows}
        return [name for name in METHODS if name in there]

    @property
    def times(self) -> list[float]:
        """At which errors are told: the runs' own ends."""
        return sorted({row.seconds for row in self.rows})

    def lengths(self, case: str, method: str) -> set[float]:
        """Seconds of a method's runs on a case."""
        return {row.seconds for row in self.rows if (row.case, row.method) == (case, method)}

    def of(self, case: str, method: str, seconds: float) -> list[Row]:
        """Rows of runs of this length, one a seed."""
        wanted = case, method, seconds
        return [row for row in self.rows if (row.case, row.method, row.seconds) == wanted]

    def errors(self, case: str, method: str, time: float) -> Spread | None:
        """Over the seeds, of runs of exactly this length: a longer one's schedule is stretched."""
        found = [row.trained.errors[-1] for row in self.of(case, method, time)]
        return _spread(found) if found else None

    def best(self, case: str, methods: Sequence[str], time: float) -> float | None:
        """The least median error of some methods."""
        found = [s.median for m in methods if (s := self.errors(case, m, time)) is not None]
        return min(found, default=None)

    # -- tables ------------------------------------------------------------------------------

    def table(self, time: float) -> list[dict[str, str]]:
        """A row a case, a column a method: median error and quartiles over the seeds."""
        rows = []
        for case in self.cases:
            spreads = {m: self.errors(case, m, time) for m in self.methods}
            if any(spreads.values()):
                rows.append({"case": case, **{m: _cell(s) for m, s in spreads.items()}})
        return rows

    def ratios(self, time: float) -> list[dict[str, str]]:
        """How many times larger the best rivals' median error is, and whether that was asked."""
        rows = []
        for case in self.cases:
            own = self.best(case, [OURS], time)
            if own is None:
                continue
            row = {"case": case}
            asked = TARGETS.get(case, (None, None))
            kinds = (("Adam", ADAM), ("second order", SECOND_ORDER))
            for (kind, methods), target in zip(kinds, asked, strict=True):
                other = self.best(case, methods, time)
                ratio = None if other is None else other / own
                row[f"{kind} / ours"] = "" if ratio is None else f"{ratio:.3g}"
                row[f"asked of {kind}"] = "" if target is None else f"{target:g}"
                if target is None or ratio is None:
                    row[f"{kind}: met"] = ""
                else:
                    row[f"{kind}: met"] = "yes" if ratio >= target else "NO"
            beyond = self.best(case, BEYOND, time)
            row["SSBroyden / ours"] = "" if beyond is None else f"{beyond / own:.3g}"
            rows.append(row)
        return rows

    def ends(self) -> list[dict[str, str]]:
        """Certificates at the end of the longest runs, and what a step costs: medians."""
        rows = []
        for case in self.cases:
            floor = certificate(CASES[case], CASES[case].reference).residual
            for method in self.methods:
                lengths = self.lengths(case, method)
                if not lengths:
                    continue
                runs = [row.trained for row in self.of(case, method, max(lengths))]
                middle = lambda get, runs=runs: _spread([get(t) for t in runs]).median  # noqa: E731
                each = {
                    name: middle(lambda t, name=name: t.steps.get(name, 0))
                    for name in dict.fromkeys(name for t in runs for name in t.steps)
                }
                alone = middle(lambda t: t.seconds) / max(*each.values(), 1)
                early = [t.seconds for t in runs if t.ended]
                rows.append(
                    {
                        "case": case,
                        "method": method,
                        "seconds": f"{max(lengths):g}",
                        "error": f"{middle(lambda t: t.certificate.error):.1e}",
                        "residual": f"{middle(lambda t: t.certificate.residual):.1e}",
                        "of the reference": f"{floor:.1e}",
                        "conditions": f"{middle(lambda t: t.certificate.conditions):.1e}",
                        "steps": ", ".join(f"{n:.0f} {name}" for name, n in each.items()),
                        "a step": seconds_text(alone) if len(each) == 1 else "",
                        "ended": f"at {min(early):.3g} s" if early else "",
                        "weights": str(runs[0].parameters),
                    }
                )
        return rows

    def settings(self) -> list[dict[str, str]]:
        """Which were tried, what they came to, and which one was taken."""
        return [
            {
                "case": c.case,
                "method": c.method,
                "seconds": f"{c.seconds:g}",
                "setting": METHODS[c.method].setting,
                "taken": f"{c.best:g}",
                "errors after a tenth": _pairs(zip(c.settings, c.errors, strict=True)),
                "after all": _pairs(c.whole),
            }
            for c in sorted(self.choices, key=lambda c: (list(CASES).index(c.case), c.seconds))
        ]

    def without_network(self) -> list[dict[str, str]]:
        return [
            {
                "case": c.case,
                "how": c.how,
                "time": seconds_text(c.seconds),
                "error": f"{c.error:.1e}",
            }
            for c in self.classical
        ]

    def markdown(self) -> str:
        e = self.environment
        where = environment_text(e["machine"], e["versions"], e["date"])
        counts = {len(self.of(r.case, r.method, r.seconds)) for r in self.rows}
        few, many = min(counts, default=0), max(counts, default=0)
        seeds = f"{few}" if few == many else f"{few} to {many}"
        lines = ["# Physics-informed networks", "", where, ""]
        lines += [
            f"- `{name}`: {CASES[name].summary}. The network: {CASES[name].model}."
            for name in self.cases
        ]
        lines += ["", *(f"- `{name}`: {METHODS[name].told}." for name in self.methods)]
        lines += ["", f"Relative L2 errors, medians of {seeds} seeds (quartiles).", ""]
        if self.interrupted:
            lines += ["Interrupted: what was complete is here.", ""]
        for time in self.times:
            lines += [f"## After {time:g} s", "", *markdown_table(self.table(time)), ""]
            if ratios := self.ratios(time):
                lines += [*markdown_table(ratios), ""]
        lines += ["## Certificates at the end", "", *markdown_table(self.ends()), ""]
        if self.choices:
            lines += ["## Settings of rivals", "", *markdown_table(self.settings()), ""]
        if self.classical:
            lines += ["## Without a network", "", *markdown_table(self.without_network()), ""]
        lines += [f"- {note}" for note in _NOTES]
        return "\n".join(lines).rstrip() + "\n"

    # -- files -------------------------------------------------------------------------------

    def record(self) -> dict[str, Any]:
        """Everything, for JSON; errors that are not finite are null."""
        return {
            "title": "Physics-informed networks",
            "interrupted": self.interrupted,
            "notes": list(_NOTES),
            "models": {name: CASES[name].model for name in self.cases},
            "rows": [_finite(asdict(row)) for row in self.rows],
            "choices": [_finite(asdict(choice)) for choice in self.choices],
            "classical": [asdict(c) for c in self.classical],
            **self.environment,
        }

    def write(self, folder: Path, stem: str = "pinn") -> list[Path]:
        """STEM.json, .md and .png, and STEM-iterations.png, in `folder`, made if missing."""
        folder.mkdir(parents=True, exist_ok=True)
        names = (f"{stem}.json", f"{stem}.md", f"{stem}.png", f"{stem}-iterations.png")
        paths = [folder / name for name in names]
        write_json(paths[0], self.record())
        with atomic_file(paths[1], text=True) as handle:
            handle.write(self.markdown())
        if not self.rows:
            return paths[:2]
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        from .pinn_picture import draw_errors, draw_steps

        for path, figure in zip(paths[2:], (draw_errors(self), draw_steps(self)), strict=True):
            canvas = FigureCanvasAgg(figure)
            with atomic_file(path) as handle:
                canvas.print_png(handle)
        return paths


def current(rows: Iterable[Row], choices: Iterable[Choice]) -> list[Row]:
    """Without the rows of settings that were not taken in the end."""
    taken = {c.key: c.best for c in choices}
    usual = lambda row: taken.get((row.case, row.method, row.seconds), row.trained.setting)  # noqa: E731
    return [row for row in rows if row.trained.setting == usual(row)]


def read_rows(path: Path) -> tuple[list[Row], list[Choice]]:
    """Rows and choices of a report that was written before; none where there is no file.

    Raises:
        FileError: it is no such report.
    """
    if not path.exists():
        return [], []
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        rows = [_row(entry) for entry in record["rows"]]
        return rows, [_choice(entry) for entry in record["choices"]]
    except (ValueError, KeyError, TypeError) as error:
        raise FileError(
            path, "expected a report of this benchmark, got something else: move it away"
        ) from error


def _row(entry: Mapping[str, Any]) -> Row:
    trained = {**entry["trained"]}
    for name in ("times", "errors", "iterations"):
        trained[name] = _numbers(trained[name])
    known = {k: math.inf if v is None else v for k, v in trained["certificate"].items()}
    trained["certificate"] = Certificate(**known)
    return Row(entry["case"], entry["method"], entry["seed"], entry["seconds"], Trained(**trained))


def _choice(entry: Mapping[str, Any]) -> Choice:
    lists = {name: _numbers(entry[name]) for name in ("settings", "errors")}
    whole = tuple((pair[0], _numbers(pair)[1]) for pair in entry.get("whole", ()))
    return Choice(**{**entry, **lists, "whole": whole})


def _numbers(values: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(math.inf if v is None else v for v in values)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _spread(values: Sequence[float]) -> Spread:
    # NaN is as far off as can be
    found = Spread.of(math.inf if math.isnan(v) else v for v in values)
    assert found is not None
    return replace(found, low=np.nan_to_num(found.low, nan=math.inf))


def _pairs(pairs: Iterable[tuple[float, float]]) -> str:
    return ", ".join(f"{setting:g}: {error:.1e}" for setting, error in pairs)


def _cell(spread: Spread | None) -> str:
    if spread is None:
        return ""
    if spread.count == 1:
        return f"{spread.median:.1e}"
    return f"{spread.median:.1e} ({spread.low:.1e} to {spread.high:.1e})"
