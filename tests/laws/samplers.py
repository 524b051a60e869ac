"""The samplers that obey the laws, and the small problems that they are asked with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sciml import Gaussian, Identity, InverseProblem, Sampler, Samples, Space, sample
from sciml.arrays import from_host
from sciml.operators import Dense
from sciml.priors import GaussianPrior
from solvers import DAPS, DPS, AnnealedLangevin, Covariance, DiffPIR, TruncatedReverse
from tests.laws.cases import LIKE, NUMPY

__all__ = ["EXACT", "SAMPLERS", "N", "Registered", "draw", "posed"]

N = 10


@dataclass(frozen=True)
class Registered:
    """exact: draws from the posterior of a Gaussian prior, at 150 calls."""

    sampler: Sampler
    exact: bool = False
    unitary: bool = False  # takes a unitary A only


SAMPLERS: dict[str, Registered] = {
    "DAPS": Registered(DAPS(), exact=True),
    "DAPS, plain": Registered(DAPS(antithetic=False), exact=True),
    "DAPS, isotropic": Registered(DAPS(covariance=Covariance.ISOTROPIC)),
    "DiffPIR": Registered(DiffPIR()),
    "AnnealedLangevin": Registered(AnnealedLangevin()),
    "DPS": Registered(DPS()),
    "TruncatedReverse": Registered(TruncatedReverse(), unitary=True),
    "TruncatedReverse, ancestral": Registered(TruncatedReverse(deterministic=False), unitary=True),
}

EXACT = [name for name, case in SAMPLERS.items() if case.exact]


def posed(
    name: str,
    rng: np.random.Generator,
    *,
    dtype: str = "complex128",
    library: str = NUMPY,
    batch: tuple[int, ...] = (),
    scale: float = 1.0,
) -> InverseProblem:
    """A small problem with a Gaussian prior, of condition 100."""
    space = Space((N,), np.dtype(dtype))
    wide = Space((N, N), np.complex128 if space.is_complex else np.float64)
    Q = np.linalg.qr(wide.random(rng))[0]
    C = (Q * np.logspace(0, -2, N)) @ Q.conj().T * scale**2
    prior = GaussianPrior(scale * space.random(rng), covariance=C)
    like = LIKE[library]
    M = Space((6, N), space.dtype).random(rng)
    A: Any = Dense(from_host(M, like, space.dtype))
    if SAMPLERS[name].unitary:
        A = Identity(space)
    x = from_host(prior.random(rng, batch), like, space.dtype)
    noise = Gaussian(0.3 * scale)
    n = noise.draw(A(x), rng)
    return InverseProblem(A, A(x) + n, noise, prior)


def draw(problem: InverseProblem, name: str, **how: Any) -> Samples:
    how = {"rng": np.random.default_rng(1), "throw": False, "n": 8, "budget": 24, **how}
    return sample(problem, SAMPLERS[name].sampler, **how)
