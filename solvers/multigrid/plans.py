"""The levels of a hierarchy on a box, where their arrays lie, and the order they are visited in."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from sciml.kernels.box import steps2d

from .boxes import BOXES
from .cycle import Cycle

__all__ = ["COARSEST", "Plan", "Step", "plans", "schedule"]

Step = tuple[int, int] | np.ndarray  # (step, level), or rows of them that one call runs

# Unknowns of the coarsest level, which is solved by its dense inverse.
COARSEST = 20


class Plan(NamedTuple):
    """One level: its grid, and where its arrays begin in the flat storage."""

    shape: tuple[int, ...]  # of its unknowns
    padded: tuple[int, ...]  # with one more along periodic axes of odd length
    width: int  # of a split row: (half + 2) lanes
    links: int  # how many links an unknown stores
    at_links: int
    at_split: int  # inv, mass, u
    at_weights: int
    at_natural: int  # f, z, kept

    @property
    def row(self) -> tuple[int, ...]:
        """As the kernels' tables have it."""
        if len(self.shape) == 2:
            return (self.padded[0], self.shape[1], self.shape[0], *self[2:])
        return (*self.padded[:2], *self.shape, *self[2:])

    @property
    def split(self) -> tuple[int, ...]:
        return (*self.padded[:-1], 2, self.width)

    @property
    def halo(self) -> tuple[int, ...]:
        return (self.links, *(n + 2 for n in self.padded[:-1]), 2, self.width)

    @property
    def coarse(self) -> tuple[int, ...]:
        return tuple((n + 1) // 2 for n in self.padded)

    @property
    def weights(self) -> tuple[int, ...]:
        count = BOXES[len(self.shape)].weights
        return (count, *(n + 1 for n in self.coarse[:-1]), self.width)


def plans(shape: tuple[int, ...], rings: tuple[bool, ...], lanes: int) -> tuple[list[Plan], Plan]:
    """The levels from `shape` down, and a last entry that holds the sizes of the flat arrays."""
    made: list[Plan] = []
    at = [0, 0, 0, 0]
    links = len(shape)
    while True:
        last = math.prod(shape) <= COARSEST
        even = (
            shape if last else tuple(n + (r and n % 2) for n, r in zip(shape, rings, strict=True))
        )
        width = ((even[-1] + 1) // 2 + 2) * lanes
        plan = Plan(shape, even, width, links, *at)
        made.append(plan)
        natural = math.prod(shape) * lanes
        for i, n in enumerate((plan.halo, plan.split, plan.weights, (natural,))):
            at[i] += math.prod(n)
        if last:
            return made, Plan(shape, even, 0, 0, *at)
        shape, links = plan.coarse, BOXES[len(shape)].links


def schedule(levels: int, cycle: Cycle, twice: int = 1, first: int = 0) -> list[tuple[int, int]]:
    """Steps (step, level) of one cycle from `first` down that visits levels from `twice` on more
    than once."""
    steps: list[tuple[int, int]] = []

    def visit(level: int, kind: Cycle) -> None:
        if level == levels - 1:
            steps.append((steps2d.SOLVE, level))
            return
        steps.append((steps2d.DOWN, level))
        visit(level + 1, kind)
        if kind is not Cycle.V and twice <= level + 1 < levels - 1:
            steps.append((steps2d.RESIDUAL, level + 1))
            visit(level + 1, Cycle.V if kind is Cycle.F else kind)
            steps.append((steps2d.ADD, level + 1))
        steps.append((steps2d.UP, level))

    visit(first, cycle)
    return steps
