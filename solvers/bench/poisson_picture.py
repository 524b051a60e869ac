"""The picture of a Poisson benchmark over several grids: convergence, and time against size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .growth import against_size, looks, plain
from .picture import BELOW, in_milliseconds, method_order, system_ends

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .poisson_report import PoissonReport
    from .results import Row

__all__ = ["draw_sizes"]

_MOST_PANELS = 3


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
    plain(axes)


def _seconds(row: Row) -> float | None:
    return row.total.median if row.total else None
