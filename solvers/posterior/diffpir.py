"""Half-quadratic splitting along a reverse diffusion (Zhu et al., arXiv 2305.08995)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sciml._checks import number
from sciml.prior import levels_of
from sciml.problem import InverseProblem
from sciml.sampler import Sampler

from ._base import Annealed, Draw, Noise, karras, need_linear

__all__ = ["DiffPIR"]


class _Tools(NamedTuple):
    problem: InverseProblem
    noise: Noise
    solve: Draw


@dataclass(frozen=True, kw_only=True)
class DiffPIR(Sampler):
    """Denoise, solve the data step exactly, add noise: draws narrower than p(x | y).

    Algorithm 1, with the noise of the data in place of its hand-set weight:
    x̂0 = argmin ½ ||S^-1/2 (y − A x)||² + weight / (2 sigma²) ||x − D(x_t)||², by CG.

    Args:
        weight: λ of the paper; 1 is that of a prior as wide as sigma.
        fresh: ζ, the share of noise that is drawn anew at each level.
    """

    weight: float = 1.0
    fresh: float = 0.3

    def __post_init__(self) -> None:
        number(self.weight, "weight", least=1e-9)
        if not 0 <= number(self.fresh, "fresh") <= 1:
            raise ValueError(f"expected fresh from 0 to 1, got {self.fresh}")

    def check(self, problem: InverseProblem) -> None:
        need_linear(problem, self.name)

    def init(
        self, problem: InverseProblem, n: int, budget: int, rng: np.random.Generator
    ) -> Annealed:
        least, most = levels_of(problem.prior)
        noise = Noise(problem, n, rng)
        x = most * noise.of(problem.domain)
        tools = _Tools(problem, noise, Draw.of(problem))
        return Annealed(x, x, 0, karras(budget, most, least), tools)

    def advance(self, state: Annealed) -> Annealed:
        problem, noise, solve = state.tools
        sigma, x_t = state.levels[state.step], state.noisy
        D = problem.prior.denoise(x_t, sigma)  # line 3
        x0 = solve(D, sigma / self.weight**0.5)  # line 4
        step = state.step + 1
        if step < len(state.levels):
            old = (x_t - x0) / sigma  # line 5
            new = noise.of(problem.domain)
            mixed = (1 - self.fresh) ** 0.5 * old + self.fresh**0.5 * new
            x_t = x0 + state.levels[step] * mixed  # line 6
        return Annealed(x0, x_t, step, state.levels, state.tools)
