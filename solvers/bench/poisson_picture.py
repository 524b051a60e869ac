"""The picture of a Poisson benchmark over several grids: convergence, and time against size."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .picture import BELOW, COLOURS, in_milliseconds, method_order, system_ends

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .neural_report import NeuralReport
    from .poisson_report import PoissonReport
    from .results import Row

__all__ = ["against_size", "draw_sizes", "looks"]

_MOST_PANELS = 3
_MARKERS = ("o", "s", "D", "^", "v", "P", "X", "h", "<", ">", "p", "d")


def draw_sizes(report: PoissonReport) -> Figure:
    """The figure of a report on several grids; of more than three families the last are drawn."""
    from matplotlib.figure import Figure

    measured = [name for name in report.settings.configs if report.rows(name)]
    families = list(dict.fromkeys(report.families[name] for name in measured))[-_MOST_PANELS:]
    shown = [name for name in measured if report.families[name] in families]
    order = method_order(report, shown)
    lines = looks(order, report.ours)
    traced = bool(report.traces)  # not where the benchmark was interrupted before
    width = 6.2 * traced + 4.6 * max(2, len(families))
    figure = Figure(figsize=(width, 6.4), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08, wspace=0.03)  # type: ignore[union-attr]
    figure.suptitle(report.title, fontsize=14, fontweight="bold")
    ratios = [1.15] * traced + [1.0] * len(families)
    body: Any = figure.subfigures()
    panels = list(body.subplots(1, len(ratios), width_ratios=ratios, squeeze=False)[0])
    right = panels[traced:]
    if traced:
        _convergence(panels[0], report, lines)
    for axes in right[1:]:
        axes.sharey(right[0])
        axes.tick_params(which="both", labelleft=False)
    for axes, family in zip(right, families, strict=True):
        against_size(
            axes, report, [n for n in shown if report.families[n] == family], lines, _seconds
        )
        axes.set_title(f"k: {family}", fontsize=12)
    in_milliseconds(right[0].yaxis)  # all share it, and now all lines are drawn
    right[0].set_ylabel("milliseconds, set-up and solve", fontsize=11)
    at = report.machine
    body.supxlabel(
        f"{at.get('processor', '')}, {at.get('cores', '?')} cores, {report.date}", fontsize=10
    )
    handles: dict[str, Any] = {}
    for axes in panels:
        for line, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, line)
    named = [method for method in order if method in handles]
    body.legend(
        [handles[method] for method in named],
        named,
        loc="outside upper center",
        ncols=min(7, len(named)),
        fontsize=10.5,
        frameon=False,
        handlelength=2.8,
    )
    return figure


def looks(order: Sequence[str], ours: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Of each method's line: a colour and a marker of its own; solid and thick are ours."""
    found: dict[str, dict[str, Any]] = {}
    for i, method in enumerate(sorted(order, key=lambda name: name not in ours)):
        own = method in ours
        found[method] = {
            "color": COLOURS[i % len(COLOURS)],
            "ls": "-" if own else (0, (4, 1.5)),
            "marker": _MARKERS[i % len(_MARKERS)],
            "lw": 2.3 if own else 1.4,
            "mec": "white",
            "mew": 0.7,
        }
    return found


def _convergence(axes: Any, report: PoissonReport, looks: Mapping[str, dict[str, Any]]) -> None:
    rtol = report.settings.rtol
    bottom = rtol * BELOW
    ends = system_ends(report)
    traces = {trace.method: trace for trace in report.traces if trace.seconds}
    for method, look in looks.items():
        if method in traces:
            seconds, residual = traces[method].seconds, traces[method].residual
            axes.plot(seconds, residual, label=method, ms=4.5, markevery=[-1], **look)
        elif method in ends:
            seconds, residual = ends[method]
            axes.plot(seconds, max(residual, 2 * bottom), label=method, ms=8, **look)
    axes.axhline(rtol, color="0.35", lw=1.0, ls="--", zorder=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(bottom=bottom)
    axes.annotate(
        "asked for", (0.01, rtol), xycoords=("axes fraction", "data"), xytext=(0, 3),
        textcoords="offset points", color="0.3", fontsize=10,
    )  # fmt: skip
    in_milliseconds(axes.xaxis)
    axes.set_xlabel("milliseconds, set-up included", fontsize=11)
    axes.set_ylabel("relative residual, as the method estimates it", fontsize=11)
    where = report.traced.removesuffix(" #0")
    axes.set_title(
        f"Convergence on {where}\nsingle markers: no course shown; at the lower edge, or below",
        fontsize=12,
    )
    _plain(axes)


def _seconds(row: Row) -> float | None:
    return row.total.median if row.total else None


def against_size(
    axes: Any,
    report: PoissonReport | NeuralReport,
    configs: Sequence[str],
    looks: Mapping[str, dict[str, Any]],
    value: Callable[[Row], float | None],
) -> None:
    """A value of each row against unknowns; methods that did not solve the system are crosses.

    value: None where there is nothing to draw.
    """
    points: dict[str, list[tuple[int, float]]] = {}
    for name in configs:
        n = math.prod(report.shapes[name])
        for row in report.rows(name):
            found = value(row)
            if found is not None and row.complete:
                points.setdefault(row.method, []).append((n, found))
            elif found is not None:
                axes.plot(n, found, "x", color=looks[row.method]["color"], ms=8, mew=2)
    for method, look in looks.items():
        if method in points:
            axes.plot(*zip(*sorted(points[method]), strict=True), label=method, ms=6.5, **look)
    axes.set_xscale("log")
    axes.set_yscale("log")
    sizes = {math.prod(report.shapes[name]): name for name in configs}
    texts = [name.rpartition(", ")[2] for name in sizes.values()]
    axes.set_xticks(list(sizes), texts, fontsize=10.5)
    axes.set_xticks([], minor=True)
    axes.set_xlabel("grid", fontsize=11)
    _plain(axes)


def _plain(axes: Any) -> None:
    axes.grid(True, which="major", color="0.9", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
