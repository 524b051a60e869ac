"""Pictures of the benchmark of physics-informed networks: error against time and steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .picture import COLOURS
from .pinn_methods import METHODS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .pinn_methods import Trained
    from .pinn_report import PinnReport

__all__ = ["draw_errors", "draw_steps"]

_COLUMNS = 4
_SPREAD = 3  # seeds that a curve should have

# The runs of one method -> where its errors are drawn.
_Along = Callable[[Sequence["Trained"]], np.ndarray]


def draw_errors(report: PinnReport) -> Figure:
    """Errors against time: a panel a case, medians, with quartiles shaded.

    A method's runs are the longest ones of at least three seeds, or else the longest ones.
    """
    times: _Along = lambda runs: np.array(runs[0].times)  # noqa: E731
    return _panels(report, times, "seconds of processor time, set-up included")


def draw_steps(report: PinnReport) -> Figure:
    """The same errors against the steps that were taken by then, whatever a step costs."""
    steps: _Along = lambda runs: np.median([t.iterations for t in runs], axis=0)  # noqa: E731
    return _panels(report, steps, "steps, of each method's own kind")


def _panels(report: PinnReport, along: _Along, label: str) -> Figure:
    from matplotlib.figure import Figure

    cases = report.cases
    columns = min(_COLUMNS, len(cases))
    rows = math.ceil(len(cases) / columns)
    figure = Figure(figsize=(4.2 * columns + 0.6, 3.4 * rows + 0.8), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    lines: dict[str, Any] = {}
    for axes, case in zip(panels.flat, cases, strict=False):
        axes.set_xscale("log")
        axes.set_yscale("log")
        for method in report.methods:
            line = _curve(axes, report, case, method, along)
            if line is not None:
                lines[method] = line
        axes.set_title(case, fontsize=12)
        axes.grid(alpha=0.3)
    for axes in list(panels.flat)[len(cases) :]:
        axes.set_axis_off()
    figure.supxlabel(label, fontsize=12)
    figure.supylabel("relative L2 error", fontsize=12)
    figure.legend(lines.values(), lines.keys(), loc="outside upper center", ncols=len(lines))
    return figure


def _curve(axes: Any, report: PinnReport, case: str, method: str, along: _Along) -> Any:
    lengths = report.lengths(case, method)
    if not lengths:
        return None
    several = {n for n in lengths if len(report.of(case, method, n)) >= _SPREAD}
    runs = [row.trained for row in report.of(case, method, max(several or lengths))]
    low, median, high = np.quantile([t.errors for t in runs], [0.25, 0.5, 0.75], axis=0)
    x = along(runs)
    shown = x > 0  # before the first step
    colour = COLOURS[list(METHODS).index(method) % len(COLOURS)]
    (line,) = axes.plot(x[shown], median[shown], color=colour)
    axes.fill_between(x[shown], low[shown], high[shown], color=colour, alpha=0.2, linewidth=0)
    return line
