"""The picture of the regression track: one system of each set, and what was predicted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .regression_report import RegressionReport

__all__ = ["draw"]


def draw(report: RegressionReport) -> Figure:
    """A row for each set: log k, x, the best network's x̂, its error and that of the k-blind guess.

    The errors share one colour scale, in shares of max |x|. Without a network, the competitor of
    the smallest error stands in its place.
    """
    from matplotlib.figure import Figure

    shown = [c for c in report.configs if c in report.examples and report.standings(c)]
    figure = Figure(figsize=(16, 3.6 * max(1, len(shown))), layout="constrained")
    if not shown:
        return figure
    panels: Any = figure.subplots(len(shown), 5, squeeze=False)
    for row, config in zip(panels, shown, strict=True):
        example, standings = report.examples[config], report.standings(config)
        learned = [s for s in standings if s.trained_on is not None] or standings
        best = next((s.entry for s in learned if s.entry in example.answers), None)
        top = float(np.abs(example.x).max())
        images = [(np.log(example.k), f"{config}: log k", None), (example.x, "x", top)]
        if best is not None:
            images.append((example.answers[best], f"x̂, {best}", top))
        blind = example.answers.get("poisson")
        own = [("error of poisson", blind)] if blind is not None else []
        own += [(f"error of {best}", example.answers[best])] if best is not None else []
        errors = [(title, answer - example.x) for title, answer in own]
        widest = max((float(np.abs(e).max()) for _, e in errors), default=top)
        size = np.linalg.norm(example.x)
        images += [
            (e, f"{title}: {100 * np.linalg.norm(e) / size:.1f} %", widest) for title, e in errors
        ]
        for axis, (image, title, limit) in zip(row, images, strict=False):
            scale = {} if limit is None else {"vmin": -limit, "vmax": limit}
            cmap = "viridis" if limit is None else "RdBu_r"
            # axis 0 of the arrays runs to the right, as x does in the formulas
            drawn = axis.imshow(image.T, origin="lower", cmap=cmap, **scale)
            figure.colorbar(drawn, ax=axis, fraction=0.046, pad=0.03)
            axis.set_title(title, fontsize=10)
        for axis in row:
            axis.axis("off")
    return figure
