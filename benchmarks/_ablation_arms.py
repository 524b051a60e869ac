"""The arms of the ablation of learned directions: each changes one thing of its base."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sciml.networks import Multilevel, Pretrained, SingleLevel, Stencil
from sciml.training import Plan
from solvers.neural.objective import Loss
from solvers.neural.systems import Batch, Boxes, Fields
from solvers.neural.train import Course, course

__all__ = ["ARMS", "BASES", "Arm"]

_WINDOW = 8  # steps over which iterations to a tenth are counted


@dataclass(frozen=True)
class Arm:
    """One training.

    Attributes:
        name: its own. base: the arm that it is compared with, itself for a base.
        change: the one thing in which it differs. course: how it is trained; the plan's steps
            are set by the time that it gets.
        fields: whether it is measured where k varies, too.
    """

    name: str
    base: str
    change: str
    course: Callable[[], Course]
    fields: bool = False


@dataclass(frozen=True)
class Mixture:
    """Batches of boxes with obstacles and of fields, in equal shares."""

    parts: tuple[Boxes | Fields, ...]

    def __call__(self, rng: np.random.Generator) -> Batch:
        return self.parts[int(rng.integers(len(self.parts)))](rng)


class BlindGates(Multilevel):
    """Gates that see nothing: the same filters everywhere, with A itself between them."""

    def features(self, stencil: Stencil, level: int) -> Tensor:
        return torch.zeros_like(stencil.features())


class Blind(Multilevel):
    """A network that takes every system for an empty box with constant k and u = 0 around."""

    def prepare(self, stencil: Stencil | None) -> Any:
        if stencil is None:
            return super().prepare(None)
        axes = range(stencil.ndim)
        longer = [tuple(n + (a == i) for i, n in enumerate(stencil.shape)) for a in axes]
        count = stencil.extra.shape[:2]
        return super().prepare(Stencil.build(tuple(torch.ones(*count, *s) for s in longer)))


class Absolute(Multilevel):
    """Gates that see the coefficients themselves and not their shares of the diagonal.

    Training brings the mean diagonal to 1. `factor` says by how much that of a system is larger,
    which the network would see if nothing divided by the mean.
    """

    factor = 1.0

    def features(self, stencil: Stencil, level: int) -> Tensor:
        unit = self.factor * 4**level  # c / h² on a grid of h = 2^level
        sides = [stencil.extra]
        for axis, c in enumerate(stencil.faces):
            n = stencil.shape[axis]
            sides += [c.narrow(2 + axis, 0, n), c.narrow(2 + axis, 1, n)]
        return torch.cat([*(unit * c for c in sides), stencil.fluid], 1)


def _single() -> Course:
    """As dcdm-2d is trained."""
    return course(Pretrained.DCDM_2D)


def _published() -> Course:
    return course(Pretrained.DCDM_2D, published=True)


def _published_data() -> Course:
    taught = _published()
    return replace(_single(), data=taught.data, loss=taught.loss, horizon=taught.horizon)


def _single_data(**changes: Any) -> Course:
    made = _single()
    return replace(made, data=replace(made.data, **changes))  # type: ignore[type-var]


def _wide(kind: type[Multilevel] = Multilevel, **changes: Any) -> Course:
    """Boxes half of which hold a ball, and ConDiff-like and two-phase fields."""
    boxes, fields = Boxes(2, (64, 128), members=8, solid=0.5), Fields((64, 128))
    return Course(
        partial(kind, 2),
        Mixture((replace(boxes, **changes), replace(fields, **changes))),
        Boxes(2, (128,), solid=0.5, warm=0),
        Plan(1, 2e-3, ema=0.98),
        Loss.ENERGY,
    )


_S, _M = "single level", "multilevel"
BASES = {
    _S: "SingleLevel(2) as dcdm-2d is trained: empty boxes of 64² and 128², residuals from up to 8 "
    "steps of running solves, loss ENERGY over 2 steps, start near q = r",
    _M: "Multilevel(2): boxes of 64² and 128², half of them with a ball, and fields of varying k, "
    "else likewise",
}
_ALL = (
    Arm(_S, _S, "(the base)", _single),
    Arm("published", _S, "as its authors train it: `sciml train dcdm-2d --published`", _published),
    Arm("published loss and vectors", _S, "their loss and vectors; our start and Adam's rate",
        _published_data),
    Arm("random start", _S, "random weights in place of q near r",
        lambda: replace(_single(), network=partial(SingleLevel, 2, near_identity=False))),
    Arm("residual loss", _S, "RESIDUAL in place of ENERGY",
        lambda: replace(_single(), loss=Loss.RESIDUAL)),
    Arm("single vectors", _S, "random vectors, one step; none of running solves",
        lambda: replace(_single_data(warm=0), horizon=1)),
    Arm("slow rate", _S, "Adam at a constant 1e-4, no clipping, no mean of weights",
        lambda: replace(_single(), plan=Plan(1, 1e-4, floor=1.0, clip=None))),
    Arm("one size", _S, "64² alone", lambda: _single_data(sizes=(64,))),
    Arm("larger sizes", _S, "64², 128² and 256²", lambda: _single_data(sizes=(64, 128, 256))),
    Arm("deeper residuals", _S, "up to 24 steps of running solves",
        lambda: _single_data(warm=24)),
    Arm("iterations", _S, f"ITERATIONS to a tenth within {_WINDOW} steps in place of ENERGY",
        lambda: replace(_single(), loss=Loss.ITERATIONS, horizon=_WINDOW)),
    Arm("multilevel network", _S, "Multilevel(2) in place of SingleLevel(2)",
        lambda: replace(_single(), network=partial(Multilevel, 2), bfloat16=False)),
    Arm(_M, _M, "(the base)", _wide, fields=True),
    Arm("blind gates", _M, "gates see no k, no sides and no obstacle; A is still known",
        lambda: _wide(BlindGates), fields=True),
    Arm("blind", _M, "the network takes k for constant and the box for empty",
        lambda: _wide(Blind), fields=True),
    Arm("absolute k", _M, "gates see coefficients, not shares of the diagonal",
        lambda: _wide(Absolute), fields=True),
    Arm("one size, multilevel", _M, "64² alone", lambda: _wide(sizes=(64,)), fields=True),
    Arm("residual loss, multilevel", _M, "RESIDUAL in place of ENERGY",
        lambda: replace(_wide(), loss=Loss.RESIDUAL), fields=True),
)  # fmt: skip
ARMS = {arm.name: arm for arm in _ALL}
