"""Diffusion posterior sampling (Chung et al., arXiv 2209.14687)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sciml._checks import number
from sciml.arrays import Array, namespace
from sciml.prior import levels_of
from sciml.problem import InverseProblem
from sciml.sampler import Sampler

from ._base import Annealed, Noise, aligned, karras, need_linear, need_pullback

__all__ = ["DPS"]


class _Tools(NamedTuple):
    problem: InverseProblem
    noise: Noise
    unit: Array  # size of an entry of x, over ||S^-1/2 A||, for each member


@dataclass(frozen=True, kw_only=True)
class DPS(Sampler):
    """A reverse diffusion step, then one down the gradient of ||S^-1/2 (y − A D(x_t))||.

    Algorithm 1 in terms of noise levels (Karras et al. 2022), with whitened data and steps in units
    of an entry of x, ||S^-1/2 y|| / (√m ||S^-1/2 A||), where the paper has images from −1 to 1. The
    prior has to offer denoise_vjp; each level costs three calls.

    Args:
        step: ζ of the paper.
    """

    step: float = 1.0

    def __post_init__(self) -> None:
        number(self.step, "step")

    def check(self, problem: InverseProblem) -> None:
        need_linear(problem, self.name)
        need_pullback(problem, self.name)

    def init(
        self, problem: InverseProblem, n: int, budget: int, rng: np.random.Generator
    ) -> Annealed:
        least, most = levels_of(problem.prior)
        noise, space = Noise(problem, n, rng), problem.A.range
        x = most * noise.of(problem.domain)
        levels = karras(max(1, budget // 3), most, least)
        size = aligned(space.norm(problem.noise.whiten(problem.y)), problem, problem.domain)
        unit = problem.step * size / space.size**0.5
        return Annealed(x, x, 0, levels, _Tools(problem, noise, unit))

    def advance(self, state: Annealed) -> Annealed:
        problem, noise, unit = state.tools
        A, sigma, x = problem.A, state.levels[state.step], state.noisy
        step = state.step + 1
        least = state.levels[step] if step < len(state.levels) else 0.0
        # The gradient of the norm is J^T A^H S^-1 (A D − y) / ||.||: D comes before its pullback.
        D = problem.prior.denoise(x, sigma)  # line 4
        size = aligned(
            A.range.norm(problem.noise.whiten(problem.y - A(D))), problem, problem.domain, x
        )
        xp = namespace(size)
        pull = problem.descent(D) / xp.where(size > 0, size, xp.ones_like(size))
        _, slope = problem.prior.denoise_vjp(x, sigma, pull)
        share = (least / sigma) ** 2
        x = D + share * (x - D) + least * (1 - share) ** 0.5 * noise.of(problem.domain)  # line 6
        x = x + self.step * unit * slope  # line 7
        return Annealed(x if least == 0 else D, x, step, state.levels, state.tools)
