"""What pictures of several grids share: a value of each method against the number of unknowns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .picture import COLOURS

if TYPE_CHECKING:
    from .neural_report import NeuralReport
    from .poisson_report import PoissonReport
    from .results import Row

__all__ = ["against_size", "looks", "plain"]

_MARKERS = ("o", "s", "D", "^", "v", "P", "X", "h", "<", ">", "p", "d")


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
    plain(axes)


def plain(axes: Any) -> None:
    """A light grid and no frame above and on the right."""
    axes.grid(True, which="major", color="0.9", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
