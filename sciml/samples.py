"""What a sampler found: draws from a posterior, their certificate, and words for a person."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import Array, to_numpy
from .result import Status

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["SampleError", "SampleInterrupted", "Samples"]


@dataclass(frozen=True)
class Samples:
    """Draws from p(x | y) and what is known of them. Per member of a batch where there is one.

    Attributes:
        samples: (n, *batch, *shape), of the input's dtype, library and device.
        mean: (*batch, *shape), their average.
        std: (*batch, *shape), real: of an entry, √E|x − E x|² for complex x.
        status: a Status, or a host array of Status (*batch) for a batched problem.
        misfit: ||S^-1/2 (y − A x)||² / m averaged over the draws: m measured entries, counting real
            and imaginary part as one. Entries of y that are exactly 0 count as not measured.
        band: (least, most) misfit of SAMPLED. Under the true prior m · misfit of a draw is
            distributed as the noise's own square; the band is 4 standard deviations of that and a
            tenth.
        rhat: split R-hat (Gelman et al., Bayesian Data Analysis, 3rd ed., section 11.4), the worst
            of 16 random projections of the draws. Of independent runs it compares two halves of
            them: it says how well n draws pin down mean and variance, and cannot see an error that
            all runs share.
        rhat_limit: 1.05; of independent runs, if that is more, what one of 10,000 sets of n
            independent draws exceeds.
        ess: effective sample size, the least over the projections: of chains by their
            autocorrelation (section 11.5); of independent runs n.
        calls: of the denoiser for each chain; its Jacobian's counts as one more.
        seconds: wall clock. history: noise level at each step.
        sampler: the record that drew them. notes: further findings in words.
    """

    samples: Array
    mean: Array
    std: Array
    status: Any
    misfit: Any
    band: tuple[float, float]
    rhat: Any
    rhat_limit: float
    ess: Any
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

    def explain(self) -> str:
        """A paragraph for a person."""
        name, n = self.sampler.name, self.samples.shape[0]
        statuses = np.asarray(self.status).reshape(-1)
        if statuses.size == 0:
            return f"{name}: the batch is empty, so there was nothing to draw."
        if np.ndim(self.status) == 0:
            head = f"{name} ended with {self.worst.name}: {n} draws."
        else:
            counts = {Status(s).name: int((statuses == s).sum()) for s in np.unique(statuses)}
            told = ", ".join(f"{k} {status}" for status, k in counts.items())
            head = f"{name} on {statuses.size} problems, {n} draws each: {told}."
        parts = [head]
        if not self.ok:
            parts.append(self.worst.advice)
        low, high = self.band
        parts.append(
            f"Data misfit {_span(self.misfit)} (asked for {low:.2f} to {high:.2f}; 1 is the "
            f"noise's), R-hat {_span(self.rhat)} (at most {self.rhat_limit:.2f}), effective sample "
            f"size {_span(self.ess, '.0f')}."
        )
        if self.sampler.independent:
            parts.append(
                "The draws are independent runs: R-hat tells whether they are enough, not whether "
                "they share an error."
            )
        parts.append(f"Cost: {self.calls} calls of the denoiser a chain, {self.seconds:.3g} s.")
        return " ".join([*parts, *self.notes])

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


class SampleError(RuntimeError):
    """Draws without a certificate. `.result` holds what was found."""

    def __init__(self, result: Samples) -> None:
        super().__init__(result.explain())
        self.result = result


class SampleInterrupted(SampleError, KeyboardInterrupt):
    """Sampling stopped by Ctrl-C. `.result.samples` is what the chains had reached."""


def _span(values: Any, form: str = ".3g") -> str:
    flat = np.asarray(values, dtype=float).reshape(-1)
    low, high = flat.min(), flat.max()
    same = f"{low:{form}}" == f"{high:{form}}" or flat.size == 1
    return f"{low:{form}}" if same else f"{low:{form}} to {high:{form}}"
