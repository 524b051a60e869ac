"""A problem for physics-informed training, and the certificate of any answer to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .differences import Field, box

__all__ = ["Case", "Certificate", "Predict", "certificate", "relative_error"]

_SHIFTS = (5**0.5 - 1) / 2, 2**0.5 - 1
# Points (n, dim) to values (n, outputs), float64.
Predict = Callable[[np.ndarray], np.ndarray]
# The terms of each equation, which a solution makes sum up to 0, from the fields of all outputs and
# the points of the trimmed grid.
Terms = Callable[[Sequence[Field], np.ndarray], Sequence[Sequence[np.ndarray]]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A boundary or initial value problem on a box, one network and one set of points for it.

    Attributes:
        name, summary: as in `CASES`, and in a line.
        model: network and points in words, with all that they know of the solution beforehand.
        build: deepxde -> a `deepxde.Model`, not compiled, whose losses are mean squares. Call it
            inside `double_precision` and `seeded`.
        low, high: corners of the box; time is the last axis.
        reference: points -> the true values.
        known: how the reference is known.
        terms: of the equations, by finite differences.
        grid: points along each axis that the certificate looks at.
        tested: how many along each axis the error is taken over.
        fixed: (axis, end) of the faces where the solution is given; end 0 is low, 1 is high.
        periodic: axes.
        judged: the first outputs, which errors are of (a pressure is known up to a constant).
        steps: of Gauss-Newton that `train_case` takes.
        classical: solves a linear problem without a network, and how.
    """

    name: str
    summary: str
    model: str
    build: Callable[[Any], Any]
    low: tuple[float, ...]
    high: tuple[float, ...]
    reference: Predict
    known: str
    terms: Terms
    grid: tuple[int, ...]
    tested: tuple[int, ...]
    fixed: tuple[tuple[int, int], ...] = ()
    periodic: tuple[int, ...] = ()
    judged: int = 1
    steps: int = 200
    classical: tuple[str, Callable[[], Predict]] | None = None

    @property
    def evolves(self) -> bool:
        """Whether the last axis is time: its end is no face where the solution is given."""
        last = len(self.low) - 1
        return last > 0 and (last, 1) not in self.fixed

    @property
    def points(self) -> np.ndarray:
        """Those that the error is taken over, (n, dim): one a cell, none of them on `grid`.

        They are shifted by irrational shares of a cell, so that what is hidden between the
        points of the certificate is not hidden from the error.
        """
        sides = zip(self.low, self.high, self.tested, _SHIFTS, strict=False)
        axes = [a + (b - a) * (np.arange(n) + shift) / n for a, b, n, shift in sides]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(self.low))


@dataclass(frozen=True)
class Certificate:
    """How well an answer satisfies a problem.

    Attributes:
        residual: ||sum of terms|| / max ||term||, the worst equation's, by finite differences on
            the grid. 1 or more: the equation is not satisfied at all.
        conditions: the RMS by which given and periodic faces are missed, relative to the RMS of
            the reference.
        error: ||u - reference|| / ||reference|| over the tested points.
    """

    residual: float
    conditions: float
    error: float


def certificate(case: Case, predict: Predict) -> Certificate:
    """Of any function of the points: it need not be a network, and nothing is differentiated."""
    points = box(case.low, case.high, case.grid)
    dim = len(case.low)
    values = _values(case, predict, points)
    spacing = [(b - a) / (n - 1) for a, b, n in zip(case.low, case.high, case.grid, strict=True)]
    fields = [Field(values[..., k], spacing) for k in range(values.shape[-1])]
    inside = points[(slice(4, -4),) * dim]
    residual = max(_share(terms) for terms in case.terms(fields, inside))
    judged = values[..., : case.judged]
    missed = [judged.take(0, axis) - judged.take(-1, axis) for axis in case.periodic]
    for axis, end in case.fixed:
        face = _values(case, case.reference, points.take([0, -1][end], axis))
        missed.append(judged.take([0, -1][end], axis) - face[..., : case.judged])
    true = case.reference(case.points)
    scale = _rms(true[:, : case.judged])
    conditions = max((_rms(m) / scale for m in missed), default=0.0)
    return Certificate(residual, conditions, relative_error(case, predict, true))


def relative_error(case: Case, predict: Predict, true: np.ndarray | None = None) -> float:
    """||u - reference|| / ||reference|| over the tested points, whose values `true` may be."""
    points = case.points
    true = case.reference(points) if true is None else true
    found = predict(points)[:, : case.judged] - true[:, : case.judged]
    return float(np.linalg.norm(found) / np.linalg.norm(true[:, : case.judged]))


def _values(case: Case, predict: Predict, points: np.ndarray) -> np.ndarray:
    flat = points.reshape(-1, len(case.low))
    values = np.asarray(predict(flat), dtype=np.float64)
    if values.ndim != 2 or len(values) != len(flat):
        raise ValueError(
            f"expected values as ({len(flat)}, outputs), one row a point, got {values.shape}"
        )
    return values.reshape(*points.shape[:-1], -1)


def _share(terms: Sequence[np.ndarray]) -> float:
    scale = max(_rms(np.asarray(term)) for term in terms)
    # a constant makes every term 0: of nothing nothing is satisfied, the conditions tell
    return float(_rms(np.asarray(sum(terms))) / scale) if scale else 0.0


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
