"""The picture of an answer beside the reference, and their difference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .problems import Case, Predict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_solution"]


def draw_solution(case: Case, predict: Predict) -> Figure:
    """Answer, reference and |difference| of the first output; curves in one dimension."""
    from matplotlib.figure import Figure

    points = case.points
    u, true = (f(points)[:, 0].reshape(case.tested) for f in (predict, case.reference))
    figure = Figure(figsize=(12.0, 3.6), layout="constrained")
    figure.suptitle(case.summary)
    panels = figure.subplots(1, 3)
    titles = ("network", f"reference: {case.known}", "|difference|")
    for axes, title, values in zip(panels, titles, (u, true, abs(u - true)), strict=True):
        axes.set_title(title, fontsize=10)
        if values.ndim == 1:
            axes.plot(points[:, 0], values)
            if title == titles[2]:
                axes.set_yscale("log")
            axes.set_xlabel("x")
            continue
        range_: dict[str, Any] = {}
        if title != titles[2]:
            range_ = {"vmin": float(true.min()), "vmax": float(true.max())}
        extent = (case.low[0], case.high[0], case.low[1], case.high[1])
        image = axes.imshow(
            np.flipud(values.T), extent=extent, aspect="auto", cmap="viridis", **range_
        )
        figure.colorbar(image, ax=axes)
        axes.set_xlabel("x")
        axes.set_ylabel("t" if case.evolves else "y")
    return figure
