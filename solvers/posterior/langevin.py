"""Annealed Langevin dynamics (Song and Ermon 2019; for inverse problems Jalal et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sciml._checks import integer, number
from sciml.prior import levels_of
from sciml.problem import InverseProblem
from sciml.sampler import Sampler

from ._base import Annealed, Noise, karras, need_linear

__all__ = ["AnnealedLangevin"]


class _Tools(NamedTuple):
    problem: InverseProblem
    noise: Noise
    curvature: float  # ||A^H S^-1 A||


@dataclass(frozen=True, kw_only=True)
class AnnealedLangevin(Sampler):
    """x <- x + α (s(x, sigma) + A^H S^-1 (y − A x) / (1 + sigma² L)) + √(2α) n, sigma going down.

    Algorithm 1 of Song and Ermon (arXiv 1907.05600) with α = step · sigma², the data term annealed
    as in equation 5 of Jalal et al. (arXiv 2108.01368): noise of size sigma in x is noise of up to
    sigma² ||A||² in the data, L = ||A^H S^-1 A||. After half of the budget the chains stay at the
    last level, where their states are draws.

    Args:
        step: in units of sigma²; below 1, where the dynamics become unstable.
        each: steps at a level on the way down.
    """

    step: float = 0.3
    each: int = 3
    independent = False

    def __post_init__(self) -> None:
        number(self.step, "step", least=1e-6)
        integer(self.each, "each", 1)

    def check(self, problem: InverseProblem) -> None:
        need_linear(problem, self.name)

    def init(
        self, problem: InverseProblem, n: int, budget: int, rng: np.random.Generator
    ) -> Annealed:
        least, most = levels_of(problem.prior)
        down = karras(max(1, budget // (2 * self.each)), most, least)
        levels = [s for s in down for _ in range(self.each)][:budget]
        levels += [levels[-1]] * (budget - len(levels))
        noise = Noise(problem, n, rng)
        x = most * noise.of(problem.domain)
        return Annealed(x, x, 0, levels, _Tools(problem, noise, 1 / problem.step))

    def advance(self, state: Annealed) -> Annealed:
        problem, noise, curvature = state.tools
        sigma, x = state.levels[state.step], state.x
        alpha = self.step * sigma**2
        pull = problem.descent(x) / (1 + sigma**2 * curvature)
        x = x + alpha * (problem.prior.score(x, sigma) + pull)
        x = x + (2 * alpha) ** 0.5 * noise.of(problem.domain)
        return Annealed(x, x, state.step + 1, state.levels, state.tools, sigma == state.levels[-1])
