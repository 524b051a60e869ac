"""What a sampler found: draws from a posterior, their certificate, and words for a person."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ._checks import number, told
from .arrays import Array, dtype_of, to_numpy
from .result import Status

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["SampleError", "SampleInterrupted", "Samples", "radius_of"]


@dataclass(frozen=True)
class Samples:
    """Draws from p(x | y) and what is known of them. Per member of a batch where there is one.

    Attributes:
        samples: (n, *batch, *shape), of the input's dtype, library and device.
        mean: (*batch, *shape), their average.
        std: (*batch, *shape), real: of an entry, √E|x − E x|² for complex x.
        mean_error: (*batch, *shape), real: standard error of `mean` for so few draws. NaN for one
            mirrored pair, which cannot tell.
        degrees: how many independent draws' worth of spread `std` is made of: n − 1, of mirrored
            draws n / 2; 0 of a deterministic sampler.
        status: a Status, or a host array of Status (*batch) for a batched problem.
        misfit: ||S^-1/2 (y − A x)||² / m averaged over the draws: m measured entries, counting real
            and imaginary part as one. Entries of y that are exactly 0 count as not measured.
        band: (least, most) misfit of SAMPLED. Under the true prior m · misfit of a draw is
            distributed as the noise's own square; the band is 4 standard deviations of that and a
            tenth.
        rhat: of chains that go on at the last level, split R-hat (Gelman et al., Bayesian Data
            Analysis, 3rd ed., section 11.4), the worst of 16 random projections. None of
            independent runs, which have no mixing that could fail.
        ess: of such chains, effective sample size by their autocorrelation (section 11.5), the
            least over the projections; else None.
        widened: of a sampler that looks (DAPS): how many times the prior's variance the data ask
            for, in the median over the levels; 1 where they never contradict it. Else None.
        widened_limit: the most of SAMPLED, 2.
        excess: of such a sampler: how many times the squared residual ||S^-1/2 (y − A D(x_t))||²
            that was found the prior expects, at the level where that is most; 1 where chance may
            explain it. A prior that is far too wide has much; nothing is made narrower. Else None.
        excess_limit: the most of SAMPLED, 10.
        rhat_limit, ess_limit: the most R-hat and the least effective sample size of SAMPLED, for
            such chains: 1.05, and 5 for each half of a chain.
        calls: of the denoiser for each chain; its Jacobian's counts as one more.
        seconds: wall clock. history: noise level at each step.
        sampler: the record that drew them. notes: further findings in words.
    """

    samples: Array
    mean: Array
    std: Array
    mean_error: Array
    degrees: int
    status: Any
    misfit: Any
    band: tuple[float, float]
    rhat: Any
    ess: Any
    rhat_limit: float
    ess_limit: float
    widened: Any
    widened_limit: float
    excess: Any
    excess_limit: float
    calls: int
    seconds: float
    history: np.ndarray
    sampler: Any
    notes: tuple[str, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether every member was SAMPLED."""
        return bool(np.all(np.asarray(self.status) == Status.SAMPLED))

    @property
    def worst(self) -> Status:
        """The status of the unbatched problem, or the first of a batch that is not SAMPLED."""
        statuses = [Status(int(s)) for s in np.asarray(self.status).reshape(-1)]
        return next((s for s in statuses if s != Status.SAMPLED), Status.SAMPLED)

    def radius(self, probability: float) -> Array:
        """How far from `mean` x is at most, entry by entry, with this probability.

        Of a disc for complex x, of an interval for real x, for Gaussian p(x | y). It allows for how
        little few draws tell of the deviation: see `radius_of`. 0.9 and four mirrored draws: discs
        1.4 times as wide as for many.

        Returns:
            (*batch, *shape), real.

        Raises:
            TypeError, ValueError: no probability between 0 and 1, or draws that tell no deviation:
                one mirrored pair, or draws that are all the same.
        """
        if self.degrees < 1 or self.samples.shape[0] < (4 if self.sampler.mirrored else 2):
            raise ValueError(
                "expected draws that tell a deviation, two or more (mirrored: two pairs), got "
                f"{self.samples.shape[0]} of {self.sampler.name}: draw more, or by another sampler"
            )
        spread = (self.std**2 + self.mean_error**2) ** 0.5
        circular = dtype_of(self.mean).kind == "c"
        return spread * radius_of(probability, degrees=self.degrees, circular=circular)

    @property
    def error_share(self) -> Any:
        """Root mean square of `mean_error` over that of `std`: (*batch), on the host."""
        batch = np.ndim(self.status)
        error, std = (
            np.mean(np.asarray(to_numpy(a), float) ** 2, axis=tuple(range(batch, np.ndim(a))))
            for a in (self.mean_error, self.std)
        )
        return np.sqrt(error / np.where(std > 0, std, 1.0))

    def explain(self) -> str:
        """A paragraph for a person: what was found, what was checked and what was not."""
        name, n = self.sampler.name, self.samples.shape[0]
        statuses = np.asarray(self.status).reshape(-1)
        if statuses.size == 0:
            return f"{name}: the batch is empty, so there was nothing to draw."
        if np.ndim(self.status) == 0:
            head = f"{name} ended with {self.worst.name}: {n} draws."
        else:
            counts = {Status(s).name: int((statuses == s).sum()) for s in np.unique(statuses)}
            each = ", ".join(f"{k} {status}" for status, k in counts.items())
            head = f"{name} on {statuses.size} problems, {n} draws each: {each}."
        parts = [head]
        if not self.ok:
            parts.append(self.worst.advice)
        low, high = self.band
        checked = (
            f"Checked: data misfit {_span(self.misfit)} (asked for {low:.2f} to {high:.2f}; 1 is "
            "the noise's)"
        )
        if self.widened is not None:
            checked += (
                f"; the data ask for {_span(self.widened, '.3g')} times the prior's variance (at "
                f"most {self.widened_limit:g})"
            )
        if self.excess is not None:
            checked += (
                f"; it expects {_span(self.excess, '.3g')} times the residual that was found "
                f"(at most {self.excess_limit:g})"
            )
            if (np.asarray(self.excess) > self.excess_limit).any():
                parts.append(self._too_wide())
        if self.rhat is None:
            parts.append(
                f"{checked}. The draws are independent runs, so that R-hat does not apply; "
                f"{self._error_told()}. Not checked: an error that all runs share, from the prior "
                "or the sampler, where the data do not see it; a prior that is a little too wide; "
                "a sigma of the noise that is off by so little that the prior can make up for it."
            )
        else:
            parts.append(
                f"{checked}; R-hat {_span(self.rhat)} (at most {self.rhat_limit:.2f}); effective "
                f"sample size {_span(self.ess, '.0f')} (at least {self.ess_limit:.0f}). Not "
                "checked: parts of the posterior that no chain came to, and the prior where the "
                "data do not see it."
            )
        parts.append(f"Cost: {self.calls} calls of the denoiser a chain, {self.seconds:.3g} s.")
        return " ".join([*parts, *self.notes])

    def _too_wide(self) -> str:
        return (
            "The prior is far too wide: expected the squared residual that it foretells, or "
            f"1 / {self.excess_limit:g} of it, got 1 / {np.nanmax(self.excess):.3g} at one level: "
            "give it the scale of x, or take another."
        )

    def _error_told(self) -> str:
        share = np.asarray(self.error_share)
        if self.degrees < 1:
            return "they are all the same, and tell no deviation"
        if not np.isfinite(share).all():
            return "what the mean's error is for so few draws is unknown"
        return f"for so few draws the mean is off by {_span(share, '.2g')} of the deviation"

    def plot(self, ax: Any = None) -> np.ndarray:
        """Mean and standard deviation (moduli): images of 2-D x, else lines with a band.

        Args:
            ax: two axes of matplotlib; made if not given. Of a batch the first member is shown.
        """
        import matplotlib.pyplot as plt

        axes: np.ndarray = np.asarray(plt.subplots(1, 2)[1] if ax is None else ax).reshape(-1)
        batch = np.ndim(self.status)
        first = (0,) * batch
        mean = np.abs(np.asarray(to_numpy(self.mean))[first])
        std = np.asarray(to_numpy(self.std))[first]
        panels: list[tuple[Axes, np.ndarray, str]] = [
            (axes[0], mean, "|mean|"),
            (axes[-1], std, "standard deviation"),
        ]
        for panel, values, title in panels:
            if values.ndim >= 2:
                panel.imshow(values.reshape(-1, *values.shape[-2:])[0])
            else:
                panel.plot(values)
            panel.set_title(title)
        return axes


def radius_of(probability: float, *, degrees: float = math.inf, circular: bool = True) -> float:
    """What holds x of mean 0 with this probability, over its deviation √E|x|².

    A disc for circular complex x, an interval for real x. Where the variance v is estimated from k
    independent draws ("degrees"), |x|² / v follows F with 2 and 2 k degrees of freedom (of real x
    with 1 and k, Student's t): the radius is √(k ((1 − p)^(−1 / k) − 1)), and for known v
    √(−log(1 − p)).

    Args:
        probability: p, between 0 and 1. degrees: k > 0. circular: x is complex.

    Raises:
        TypeError, ValueError: others.
    """
    p = number(probability, "probability")
    if not 0 < p < 1:
        raise ValueError(f"expected a probability between 0 and 1, got {told(probability)}")
    if not degrees > 0:
        raise ValueError(f"expected degrees > 0, got {told(degrees)}")
    if circular:
        log = -math.log1p(-p)
        return math.sqrt(log if degrees == math.inf else degrees * math.expm1(log / degrees))
    from scipy.stats import norm, t

    half = (1 + p) / 2
    return float(norm.ppf(half) if degrees == math.inf else t.ppf(half, degrees))


class SampleError(RuntimeError):
    """Draws without a certificate. `.result` holds what was found."""

    def __init__(self, result: Samples) -> None:
        super().__init__(result.explain())
        self.result = result


class SampleInterrupted(SampleError, KeyboardInterrupt):
    """Sampling stopped by Ctrl-C. `.result.samples` is what the chains had reached."""


def _span(values: Any, form: str = ".3g") -> str:
    flat = np.asarray(values, dtype=float).reshape(-1)
    known = flat[~np.isnan(flat)]  # of members with bad input nothing is known: see the counts
    flat = known if known.size else flat
    low, high = flat.min(), flat.max()
    same = f"{low:{form}}" == f"{high:{form}}" or flat.size == 1
    return f"{low:{form}}" if same else f"{low:{form}} to {high:{form}}"
