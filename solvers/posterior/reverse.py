"""Denoising by a reverse diffusion that begins at the data (Fesl et al., IEEE WCL 13, 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sciml._checks import need
from sciml.arrays import Array, is_array, namespace
from sciml.operator import Trait
from sciml.prior import levels_of
from sciml.problem import InverseProblem
from sciml.sampler import Sampler

from ._base import Annealed, Noise, karras

__all__ = ["TruncatedReverse"]


class _Tools(NamedTuple):
    problem: InverseProblem
    noise: Noise


@dataclass(frozen=True, kw_only=True)
class TruncatedReverse(Sampler):
    """For a unitary A: A^H y is x with noise of size sigma, a state of the diffusion at that level.

    Going on from there draws from p(x | y). Deterministic, it follows the probability flow (Karras
    et al. 2022, algorithm 1): the same x for each chain, a point that p(x | y) holds typical, not
    its mean, which is the first denoised x.

    Args:
        deterministic: without noise; else ancestral steps, whose draws are p(x | y)'s as levels
            grow in number.
    """

    deterministic: bool = True

    def __post_init__(self) -> None:
        need(self.deterministic, bool, "deterministic as a bool")

    def check(self, problem: InverseProblem) -> None:
        if Trait.UNITARY not in problem.A.traits:
            raise TypeError(f"{self.name} expected a unitary A, got {problem.A!r}: try DAPS")
        if problem.noise.sigma is None or is_array(problem.noise.sigma):
            raise TypeError(
                f"{self.name} expected noise of one size, Gaussian(sigma), got another: try DAPS"
            )

    def init(
        self, problem: InverseProblem, n: int, budget: int, rng: np.random.Generator
    ) -> Annealed:
        sigma: Any = problem.noise.sigma
        least = min(levels_of(problem.prior)[0], 0.5 * float(sigma))
        # the flow takes two calls a level but the last (Heun)
        count = max(1, (budget + 1) // 2 if self.deterministic else budget)
        back = problem.A.adjoint(problem.y)
        shape = (n, *problem.batch, *problem.domain.shape)
        x = namespace(back).broadcast_to(back, shape) + 0
        levels = karras(count, float(sigma), least)
        return Annealed(x, x, 0, levels, _Tools(problem, Noise(problem, n, rng)))

    def advance(self, state: Annealed) -> Annealed:
        problem, noise = state.tools
        prior, x, step = problem.prior, state.noisy, state.step + 1
        sigma = state.levels[state.step]
        D = prior.denoise(x, sigma)
        if step == len(state.levels):
            # of what is left p(x0 | x_t) is as wide as sigma at most: not drawn
            return Annealed(D, x, step, state.levels, state.tools)
        least = state.levels[step]
        x = (
            self._flow(prior, x, D, sigma, least)
            if self.deterministic
            else _ancestral(x, D, sigma, least, noise.of(problem.domain))
        )
        return Annealed(D, x, step, state.levels, state.tools)

    def _flow(self, prior: Any, x: Array, D: Array, sigma: float, least: float) -> Array:
        """Heun's step of dx/dsigma = (x − D) / sigma."""
        slope = (x - D) / sigma
        ahead = x + (least - sigma) * slope
        there = (ahead - prior.denoise(ahead, least)) / least
        return x + (least - sigma) * (slope + there) / 2


def _ancestral(x: Array, D: Array, sigma: float, least: float, noise: Array) -> Array:
    """A draw from p(x at `least` | x at sigma), were D the clean x."""
    share = (least / sigma) ** 2
    return D + share * (x - D) + least * (1 - share) ** 0.5 * noise
