"""Channel estimation under a learned prior: the mean of draws from the posterior."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from sciml import Gaussian, InverseProblem, sample
from sciml._checks import need
from sciml.operators import Pilots
from sciml.priors import ScorePrior

from ..posterior import DAPS
from .estimate import ChannelEstimate, checked, finished

if TYPE_CHECKING:
    from sciml.networks import Denoiser
    from sciml.sample import SampleLook
    from sciml.sampler import Sampler

__all__ = ["score"]


def score(
    Y: np.ndarray,
    P: np.ndarray,
    sigma2: float,
    network: Denoiser | None = None,
    *,
    sampler: Sampler | None = None,
    n: int = 4,
    budget: int = 30,
    rng: np.random.Generator | None = None,
    observe: Callable[[SampleLook], None] | None = None,
) -> ChannelEstimate:
    """Mean and deviation of draws from p(H | Y), the prior a denoiser's, certified by `sample`.

    The least mean square error of all estimators, if the prior is the channels' own. `result` has
    the draws, their status, misfit and calls. It is SAMPLED if the draws explain Y as well as the
    noise allows: that tells a prior which contradicts the pilots, not one that is wrong where they
    do not look. The deviation comes out of n / 2 independent pairs, unbiased but rough:
    `ChannelEstimate.radius` makes discs wider for that.

    The prior is for channels of mean power 1. Where the data's power contradicts that, by more than
    a factor 2 (a channel fades) and four standard deviations of that power, the prior is scaled to
    it, for all members together: E|y|² = power · ||p||² + σ², ||p||² the mean over columns of P.

    Args:
        Y: (*batch, Nr, Np). P: (Nt, Np). sigma2: E|n|² per complex entry of Y.
        network: the prior's denoiser, see `sciml.networks.load_denoiser`; without,
            `PretrainedDenoiser.SCORE_MIMO`, for CDL-C between 64 and 16 antennas.
        sampler: DAPS() without.
        n: draws. budget: calls of the network for each; 10 do as well where channels are Gaussian.
        rng, observe: as of `sample`.

    Raises:
        TypeError, ValueError: bad arrays or numbers, or other antennas than the network's.
    """
    from sciml.networks import Denoiser, PretrainedDenoiser, load_denoiser

    began = time.perf_counter()
    Y, P, sigma2 = checked(Y, P, sigma2)
    network = load_denoiser(PretrainedDenoiser.SCORE_MIMO) if network is None else network
    need(network, Denoiser, "a Denoiser", "see sciml.networks.load_denoiser")
    nr, nt = Y.shape[-2], len(P)
    if network.shape not in (None, (nr, nt)):
        rows, columns = network.shape
        raise ValueError(
            f"expected channels between {columns} transmitting and {rows} receiving antennas, "
            f"which the prior was trained on, got {nt} and {nr}: train one for them, or use "
            "another method"
        )
    size = math.sqrt(_power(Y, P, sigma2))
    prior = ScorePrior(network, scale=size)
    problem = InverseProblem(Pilots(P, nr), Y, Gaussian(math.sqrt(sigma2)), prior)
    sampler = DAPS() if sampler is None else sampler
    found = sample(problem, sampler, n=n, budget=budget, rng=rng, observe=observe, throw=False)
    note = "" if size == 1 else f"channels taken {20 * math.log10(size):+.1f} dB off mean power 1"
    return finished(found.mean, Y, P, sigma2, began, std=found.std, result=found, note=note)


def _power(Y: np.ndarray, P: np.ndarray, sigma2: float) -> float:
    """Mean power of an entry of H: 1, unless Y contradicts it."""
    seen = float(np.mean(np.sum(np.abs(P.astype(np.complex128)) ** 2, axis=0)))
    if Y.size == 0 or seen == 0:
        return 1.0
    whole = float(np.mean(np.abs(Y.astype(np.complex128)) ** 2))
    power = (whole - sigma2) / seen
    # |y|² of a complex Gaussian deviates by its mean.
    doubt = max(whole, sigma2) / seen / math.sqrt(Y.size)
    if power + 4 * doubt >= 0.5 and power - 4 * doubt <= 2.0:
        return 1.0
    return max(power, doubt)
