"""Do intervals of posterior draws hold the truth as often as they say?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._checks import integer, number
from ..arrays import Array, to_numpy

__all__ = ["Calibration", "calibration", "check_calibration"]

# A bin of the histogram may be off by so many standard errors: one in 100,000 by chance.
_SURE = 4.5


@dataclass(frozen=True)
class Calibration:
    """How often draws enclosed the truth.

    Attributes:
        coverage: {probability: share of entries whose truth lay in the central interval of that
            probability}.
        histogram: (bins,), share of entries whose truth ranked in each part of the draws, times
            bins: 1 everywhere if calibrated; high ends say that draws are too narrow, a high first
            bin that they lie too high.
        errors: (bins,), standard errors of the histogram, from run to run.
        runs, n: problems, and draws for each.
    """

    coverage: dict[float, float]
    histogram: np.ndarray
    errors: np.ndarray
    runs: int
    n: int


def calibration(
    truth: Array, samples: Array, *, probabilities: tuple[float, ...] = (0.5, 0.9), bins: int = 10
) -> Calibration:
    """Coverage and rank histogram (Talts et al., arXiv 1804.06788, algorithm 1).

    For x* from the prior, y from p(y | x*) and n independent draws from p(x | y) the rank of an
    entry of x* among those of the draws is uniform. Real and imaginary parts are entries of their
    own.

    Args:
        truth: (runs, *shape), each from the prior.
        samples: (n, runs, *shape), draws given the data of each. Mirrored chains are not
            independent: draw with antithetic=False.
        probabilities: of central intervals. bins: of the histogram.

    Raises:
        ValueError: shapes do not fit, fewer than 20 runs, or probabilities beyond 0 to 1.
    """
    x, draws = np.asarray(to_numpy(truth)), np.asarray(to_numpy(samples))
    if x.ndim < 1 or draws.shape[1:] != x.shape or not draws.size:
        raise ValueError(
            f"expected truth (runs, *shape) and samples (n, runs, *shape), got {x.shape} and "
            f"{draws.shape}"
        )
    runs, n = integer(x.shape[0], "the number of runs", 20), draws.shape[0]
    integer(bins, "bins", 2)
    for p in probabilities:
        if not 0 < number(p, "a probability") < 1:
            raise ValueError(f"expected probabilities between 0 and 1, got {p}")
    x, draws = _parts(x, 0), _parts(draws, 1)
    below = (draws < x).sum(axis=0) + 0.5 * (draws == x).sum(axis=0)
    # A rank of n + 1 possible ones, spread evenly over its share of (0, 1): uniform for any n.
    spread = np.random.default_rng(0).random(below.shape)
    place = (below + spread) / (n + 1)
    inside = np.abs(place - 0.5)
    coverage = {float(p): float((inside <= p / 2).mean()) for p in probabilities}
    which = np.minimum((place * bins).astype(int), bins - 1)
    share = np.stack([(which == b).mean(axis=1) for b in range(bins)]) * bins
    return Calibration(
        coverage=coverage,
        histogram=share.mean(axis=1),
        errors=share.std(axis=1, ddof=1) / runs**0.5,
        runs=runs,
        n=n,
    )


def check_calibration(
    truth: Array,
    samples: Array,
    *,
    probabilities: tuple[float, ...] = (0.5, 0.9),
    room: float = 0.05,
    bins: int = 10,
) -> Calibration:
    """Raise AssertionError unless intervals cover what they say, and ranks are spread evenly.

    Args:
        truth, samples, probabilities, bins: as in `calibration`.
        room: how far a coverage may be from its probability, and beside 4.5 standard errors a bin
            from what is even (times bins).

    Returns:
        what was found.

    Raises:
        AssertionError: with what was expected and what was found.
        ValueError: as `calibration`.
    """
    found = calibration(truth, samples, probabilities=probabilities, bins=bins)
    for p, covered in found.coverage.items():
        low, high = max(0.0, p - room), min(1.0, p + room)
        reason = "narrow or off centre" if covered < p else "wide"
        assert low <= covered <= high, (
            f"{p:.0%} intervals hold {covered:.1%} of the truth, expected {low:.0%} to {high:.0%} "
            f"({found.runs} runs, {found.n} draws each): the draws are too {reason}"
        )
    off = np.abs(found.histogram - 1)
    bad = off > room * bins + _SURE * found.errors
    told = " ".join(f"{h:.2f}" for h in found.histogram)
    assert not bad.any(), (
        f"ranks of the truth among {found.n} draws are not spread evenly over {found.runs} runs: "
        f"expected 1 in every bin, got {told}"
    )
    return found


def _parts(x: np.ndarray, axis: int) -> np.ndarray:
    """Real entries (..., runs, entries), `axis` being that of the runs."""
    flat = x.reshape(*x.shape[: axis + 1], -1)
    if flat.dtype.kind != "c":
        return flat
    return np.concatenate([np.real(flat), np.imag(flat)], axis=-1)
