"""Self-validation: samples that were measured, and are hidden from a reconstruction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sciml._checks import Argument, ArgumentError, number

__all__ = ["NothingToHide", "Search", "hold_out", "search"]

# Steps between the weights of the first walk.
_COARSE = 2


class NothingToHide(ArgumentError):
    """There are no samples outside the calibration region to validate by."""


def hold_out(
    mask: np.ndarray, kept: tuple[slice, ...], share: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(mask of the samples to reconstruct from, mask of those to compare with).

    Whole lines are hidden where the mask is made of lines (it is constant along an axis), since
    samples of one line would give each other away; single samples otherwise.

    Args:
        mask: bool, (*shape). kept: the calibration region, of which nothing is hidden.
        share: of the samples outside it.

    Raises:
        NothingToHide: a ValueError.
    """
    share = number(share, "share")
    outside = mask.copy()
    outside[kept] = False
    lines = tuple(a for a, n in enumerate(mask.shape) if n > 1 and _constant(mask, a))
    choice = outside.any(axis=lines, keepdims=True) if lines else outside
    places = np.flatnonzero(choice)
    count = round(share * len(places))
    if not 0 < count < len(places):
        raise NothingToHide(
            f"expected samples outside the calibration region to hide {share:.0%} of, got "
            f"{len(places)}: give the ",
            Argument("weight"),
            " yourself",
        )
    held = np.zeros(choice.shape, bool)
    held.reshape(-1)[rng.choice(places, count, replace=False)] = True
    held = held & outside
    return mask & ~held, held


def _constant(mask: np.ndarray, axis: int) -> bool:
    return bool((mask == mask.take([0], axis)).all())


@dataclass(frozen=True)
class Search:
    """What came of a search for a weight.

    Attributes:
        weight: the best one, between those that were tried.
        weights, errors: all that were tried, from the largest on, and their errors on hidden
            samples, relative to these.
    """

    weight: float
    weights: tuple[float, ...]
    errors: tuple[float, ...]

    @property
    def at_end(self) -> bool:
        """Whether the smallest weight that was tried is the best: smaller ones may be better."""
        return int(np.argmin(self.errors)) == len(self.errors) - 1


def search(
    weights: Sequence[float],
    fit: Callable[[float, np.ndarray | None], np.ndarray],
    error: Callable[[np.ndarray], float],
    *,
    start: int,
    x0: np.ndarray | None = None,
) -> Search:
    """The weight whose reconstruction predicts hidden samples best.

    Downhill in steps of two, then one step to either side of the lowest.

    Args:
        weights: from the largest on.
        fit: (weight, a reconstruction to start from or None) -> a reconstruction.
        error: of a reconstruction, on the hidden samples.
        start: place of the first weight to try. x0: to start the first reconstruction from.
    """
    errors: dict[int, float] = {}
    lowest, best = np.inf, x0

    def better(at: int) -> bool:
        """Whether the weight at a place is better than all before; equal ones are, too."""
        nonlocal lowest, best
        if at in errors or not 0 <= at < len(weights):
            return False
        x = fit(weights[at], best)
        errors[at] = error(x)
        if errors[at] > lowest:
            return False
        lowest, best = errors[at], x
        return True

    better(at := start)
    # Smaller weights first: where one blots out the image, so do the larger ones.
    for step in (_COARSE, -_COARSE):
        while better(at + step):
            at += step
        if at != start:
            break
    better(at + 1)
    better(at - 1)
    tried = sorted(errors)
    found = [weights[i] for i in tried], [errors[i] for i in tried]
    return Search(_lowest(*found), *map(tuple, found))


def _lowest(weights: Sequence[float], errors: Sequence[float]) -> float:
    """Where a parabola over log(weight), through the lowest point and its neighbours, is lowest."""
    best = int(np.argmin(errors))
    if not 0 < best < len(errors) - 1:
        return weights[best]
    x = np.log(weights[best - 1 : best + 2])
    a, b, _ = np.polyfit(x - x[1], errors[best - 1 : best + 2], 2)
    return float(np.exp(x[1] - b / (2 * a))) if a > 0 else weights[best]
