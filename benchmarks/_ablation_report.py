"""Tables of the ablation of learned directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from _ablation_arms import ARMS, BASES

from solvers.bench.report import environment_text, markdown_table, three_digits

__all__ = ["ablation_markdown", "against_base"]

_TOLERANCES = ("1e-04", "1e-08")
_NOTES = (
    "An arm changes one thing of its base and has the same processor time of training, from the "
    "same seed, on one thread. Systems are those of `sciml bench neural`: no training has seen "
    "their right-hand sides and obstacles. Of several systems of a kind, medians.",
    "Steps to 1e-4 / 1e-8 of the residual, and in brackets how many of them were classical. A "
    "solve without the safeguard ends after 250 calls, 100 on grids above 256²; a dash says that "
    "it did. The safeguard's window is 16 steps on every grid.",
    "Against the base: the geometric mean, over all kinds and grids, of an arm's steps over those "
    "of its base of the same seed. A solve that ended early counts as ended at the limit: such a "
    "ratio is closer to 1 than it should be.",
)


def ablation_markdown(found: Mapping[str, Any]) -> str:
    """All tables of results/neural_ablations.md."""
    lines = ["# Learned directions, one change at a time", ""]
    if "date" in found:
        lines += [environment_text(found["machine"], found["versions"], found["date"]), ""]
    lines += [f"- {note}" for note in _NOTES] + [""]
    records = [found["arms"][key] for key in sorted(found["arms"], key=_place)]
    for base, what in BASES.items():
        own = [r for r in records if ARMS[r["arm"]].base == base]
        if own:
            lines += [f"## {base.capitalize()}", "", f"The base: {what}.", ""]
            lines += [*markdown_table([_summary(r, found["arms"]) for r in own]), ""]
            cases = dict.fromkeys(c for r in own for c in r["cases"])
            for family in dict.fromkeys(map(_family, cases)):
                sizes = sorted(
                    {c.rsplit(", ", 1)[1] for c in cases if _family(c) == family}, key=int
                )
                rows = [_row(r, family, sizes) for r in own]
                lines += [f"### {family}", "", *markdown_table(rows), ""]
    scales = [_scales(r) for r in records if r["scales"]]
    if scales:
        lines += ["## Solving s·A", "", "Unguarded steps to 1e-4 / 1e-8 at 128².", ""]
        lines += [*markdown_table(scales), ""]
    if found["inference"]:
        lines += ["## Layout, precision and compilation", ""]
        lines += [*markdown_table(list(found["inference"].values())), ""]
    return "\n".join(lines).rstrip() + "\n"


def against_base(record: Mapping[str, Any], arms: Mapping[str, Any], way: str, rtol: str) -> float:
    """Geometric mean of the steps over those of the base; NaN without a base of that seed."""
    base = arms.get(f"{ARMS[record['arm']].base}, seed {record['seed']}")
    shared = [c for c in record["cases"] if base and c in base["cases"]]
    if base is None or not shared:
        return float("nan")
    ratios = [
        _steps(record["cases"][c], way, rtol, cut=True)
        / _steps(base["cases"][c], way, rtol, cut=True)
        for c in shared
    ]
    return float(np.exp(np.mean(np.log(ratios))))


def _summary(record: Mapping[str, Any], arms: Mapping[str, Any]) -> dict[str, Any]:
    training = record["training"]
    ratios = {
        f"{way}, {rtol.replace('e-0', 'e-')}": three_digits(against_base(record, arms, way, rtol))
        for way in ("guarded", "unguarded")
        for rtol in _TOLERANCES
    }
    runs = [run["guarded"] for rows in record["cases"].values() for run in rows]
    steps = sum(run["1e-08"] or run["most"] for run in runs)
    classical = sum(run["fallbacks"] for run in runs) / steps
    return {
        "arm": _name(record),
        "what differs": ARMS[record["arm"]].change,
        "training": f"{training['steps']} steps, {training['seconds']:.0f} s",
        **ratios,
        "classical steps": f"{classical:.0%}",
    }


def _row(record: Mapping[str, Any], family: str, sizes: Sequence[str]) -> dict[str, Any]:
    cells: dict[str, Any] = {"arm": _name(record)}
    for way in ("guarded", "unguarded"):
        for size in sizes:
            rows = record["cases"].get(f"{family}, {size}")
            if rows is None:
                cells[_column(size, way)] = "not measured"
                continue
            text = " / ".join(_told(_steps(rows, way, rtol)) for rtol in _TOLERANCES)
            if way == "guarded":
                text += f" ({np.median([run[way]['fallbacks'] for run in rows]):.0f})"
            cells[_column(size, way)] = text
    return cells


def _column(size: str, way: str) -> str:
    return f"{size}²" if way == "guarded" else f"{size}², {way}"


def _scales(record: Mapping[str, Any]) -> dict[str, Any]:
    cells = {"arm": _name(record)}
    for name, run in record["scales"].items():
        cells[name] = " / ".join(_told(run[t] or np.inf) for t in _TOLERANCES)
    return cells


def _steps(rows: Sequence[Mapping[str, Any]], way: str, rtol: str, cut: bool = False) -> float:
    """The median over systems; infinite, or the limit if `cut`, where they are not reached."""
    found = [run[way][rtol] or (run[way]["most"] if cut else np.inf) for run in rows]
    return float(np.median(found))


def _told(steps: float) -> str:
    return f"{steps:.0f}" if np.isfinite(steps) else "–"


def _name(record: Mapping[str, Any]) -> str:
    return record["arm"] + (f", seed {record['seed']}" if record["seed"] else "")


def _family(name: str) -> str:
    return name.rsplit(", ", 1)[0]


def _place(key: str) -> tuple[int, str]:
    name, seed = key.rsplit(", seed ", 1)
    return list(ARMS).index(name), seed
