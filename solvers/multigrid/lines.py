"""The storage of the factors of the lines that levels relax."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sciml.kernels.box import factor2d

from .cycle import Lines

if TYPE_CHECKING:
    from .plans import Plan

__all__ = ["Factors"]


class Factors:
    """Factors of the lines of every level, in one flat array; see `factor2d.factor`.

    Args:
        lines: of the levels from the finest on; the last entry is that of all coarser ones. Empty:
            points everywhere.
    """

    def __init__(
        self,
        plans: Sequence[Plan],
        lines: Sequence[Lines],
        rings: tuple[bool, ...],
        lanes: int,
        dtype: Any,
    ) -> None:
        self.lines = [
            lines[min(level, len(lines) - 1)] if lines and level < len(plans) - 1 else Lines.POINTS
            for level in range(len(plans))
        ]
        self.shapes, self.at = [], [0]
        for plan, kind in zip(plans, self.lines, strict=True):
            rows, width = plan.padded[0], plan.width
            groups = factor2d.blocks(rows, 0, lanes) + factor2d.blocks(rows, 1, lanes)
            wide = width if lanes > 1 else width * factor2d.GROUP
            x = (2 + rings[-1], groups if kind & Lines.ROWS else 0, 2, wide)
            y = (2 + rings[0], rows if kind & Lines.COLUMNS else 0, 2, width)
            self.shapes += [x, y]
            self.at += [self.at[-1] + math.prod(x), self.at[-1] + math.prod(x) + math.prod(y)]
        self.flat = np.zeros(self.at[-1], dtype)
        # Of what a level's sweep along columns needs besides.
        sizes = [math.prod(p.split) for p, kind in zip(plans, self.lines, strict=True) if kind]
        self.scratch = max(sizes, default=0)

    def __getitem__(self, level: int) -> tuple[np.ndarray, np.ndarray]:
        """(along rows, along columns) of a level; one that is not relaxed is empty."""
        x, y = (
            self.flat[self.at[i] : self.at[i + 1]].reshape(self.shapes[i])
            for i in (2 * level, 2 * level + 1)
        )
        return x, y

    @property
    def table(self) -> list[tuple[int, ...]]:
        """For each level: kind, where its arrays begin, and the first one's two last lengths."""
        return [
            (
                int(kind),
                self.at[2 * i],
                self.at[2 * i + 1],
                self.shapes[2 * i][1],
                self.shapes[2 * i][3],
            )
            for i, kind in enumerate(self.lines)
        ]
