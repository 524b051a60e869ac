"""The picture of the benchmark of physics-informed networks: error against time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .picture import COLOURS
from .pinn_methods import METHODS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .pinn_report import PinnReport

__all__ = ["draw_errors"]

_COLUMNS = 4


def draw_errors(report: PinnReport) -> Figure:
    """A panel a case: the median of the longest runs, quartiles shaded."""
    from matplotlib.figure import Figure

    cases = report.cases
    columns = min(_COLUMNS, len(cases))
    rows = math.ceil(len(cases) / columns)
    figure = Figure(figsize=(4.2 * columns + 0.6, 3.4 * rows + 0.8), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    lines: dict[str, Any] = {}
    for axes, case in zip(panels.flat, cases, strict=False):
        for method in report.methods:
            line = _curve(axes, report, case, method)
            if line is not None:
                lines[method] = line
        axes.set_title(case, fontsize=12)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.grid(alpha=0.3)
    for axes in list(panels.flat)[len(cases) :]:
        axes.set_axis_off()
    figure.supxlabel("seconds of processor time, set-up included", fontsize=12)
    figure.supylabel("relative L2 error", fontsize=12)
    figure.legend(lines.values(), lines.keys(), loc="outside upper center", ncols=len(lines))
    return figure


def _curve(axes: Any, report: PinnReport, case: str, method: str) -> Any:
    lengths = {r.seconds for r in report.rows if (r.case, r.method) == (case, method)}
    if not lengths:
        return None
    runs = [row.trained for row in report.of(case, method, max(lengths))]
    low, median, high = np.quantile([t.errors for t in runs], [0.25, 0.5, 0.75], axis=0)
    colour = COLOURS[list(METHODS).index(method) % len(COLOURS)]
    (line,) = axes.plot(runs[0].times, median, color=colour)
    axes.fill_between(runs[0].times, low, high, color=colour, alpha=0.2, linewidth=0)
    return line
