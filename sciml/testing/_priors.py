"""Laws of priors with a denoiser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import Array, dtype_of, from_host, namespace, to_numpy
from ..prior import Denoising, Pullback, Scored
from ..space import Space
from ._refusals import check_refused

__all__ = ["PRIOR_LAWS", "PriorCase", "check_prior"]


@dataclass(frozen=True)
class PriorCase:
    """A prior with denoise(x, sigma), and where it is tested.

    Attributes:
        prior: of elements of `space`. sigmas: noise levels to test at.
        like: an array of the library to use; NumPy if None.
        rtol: of identities; 1e-9, or 1e-3 in single precision, if not given.
    """

    prior: Any
    space: Space
    sigmas: tuple[float, ...] = (0.1, 1.0, 10.0)
    like: Array | None = None
    rtol: float | None = None

    @property
    def tolerance(self) -> float:
        if self.rtol is not None:
            return self.rtol
        return 1e-3 if np.finfo(self.space.dtype).eps > 1e-10 else 1e-9

    def draw(self, rng: np.random.Generator, batch: tuple[int, ...] = (), size: float = 1) -> Array:
        """White x of this size, (*batch, *shape)."""
        like = np.zeros(1) if self.like is None else self.like
        return from_host(size * self.space.random(rng, batch), like, self.space.dtype)


Law = Callable[[PriorCase, np.random.Generator], None]


def check_prior(
    prior: Any, space: Space | None = None, *, rng: np.random.Generator | None = None
) -> None:
    """Test every law of `PRIOR_LAWS`.

    Args:
        prior: a PriorCase, or a prior with denoise(x, sigma) of elements of `space`.
        rng: draws what it is tested on; a fixed seed if not given.

    Raises:
        AssertionError: a law does not hold; the message names it.
    """
    if not isinstance(prior, PriorCase):
        if space is None:
            raise TypeError("expected the space of the prior, got None: check_prior(prior, space)")
        prior = PriorCase(prior, space)
    for name, law in PRIOR_LAWS.items():
        try:
            law(prior, np.random.default_rng(0) if rng is None else rng)
        except Exception as error:
            kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
            told = f"{prior.prior!r} breaks the law '{name}': {kind}{error}"
            raise AssertionError(told) from error


def _near(found: Array, wanted: Any, rtol: float, what: str) -> None:
    a, b = np.asarray(to_numpy(found)), np.asarray(to_numpy(wanted))
    size = max(float(np.linalg.norm(b)), float(np.finfo(a.dtype).tiny))
    gap = float(np.linalg.norm(a - b)) / size
    assert gap <= rtol, f"{what}: off by {gap:.1e}, expected {rtol:.0e} at most"


def tweedie(case: PriorCase, rng: np.random.Generator) -> None:
    """score = (denoise − x) / sigma², where the prior has both."""
    if not (isinstance(case.prior, Denoising) and isinstance(case.prior, Scored)):
        return
    for sigma in case.sigmas:
        x = case.draw(rng, (2,), sigma)
        D, s = case.prior.denoise(x, sigma), case.prior.score(x, sigma)
        _near(x + sigma**2 * s, D, case.tolerance, f"sigma {sigma:g}")


def score_is_the_gradient(case: PriorCase, rng: np.random.Generator) -> None:
    """log p_sigma rises along v by Re <v, s> (twice that for complex x), where it is known."""
    if not (hasattr(case.prior, "log_density") and isinstance(case.prior, Scored)):
        return
    factor = 2 if case.space.is_complex else 1
    single = np.finfo(case.space.dtype).eps > 1e-10
    for sigma in case.sigmas:
        x, v = case.draw(rng, size=sigma), case.draw(rng)
        step = (1e-2 if single else 1e-4) * sigma
        density: Any = case.prior.log_density  # pyright: ignore[reportAttributeAccessIssue]
        ends = (density(x + t * v, sigma) for t in (step, -step))
        slope = float(next(ends) - next(ends)) / (2 * step)
        s = case.prior.score(x, sigma)
        wanted = factor * float(to_numpy(case.space.inner_real(v, s)))
        size = float(to_numpy(case.space.norm(v) * case.space.norm(s)))
        gap = abs(slope - wanted) / size
        assert gap <= (1e-1 if single else 1e-5), f"sigma {sigma:g}: off by {gap:.1e}"


def pullback_is_the_derivative(case: PriorCase, rng: np.random.Generator) -> None:
    """Re <v, D(x + t u)> changes by t Re <u, J^T v>, and J is symmetric."""
    if not isinstance(case.prior, Pullback):
        return
    single = np.finfo(case.space.dtype).eps > 1e-10
    for sigma in case.sigmas:
        x, u, v = case.draw(rng, size=sigma), case.draw(rng), case.draw(rng)
        D, Jv = case.prior.denoise_vjp(x, sigma, v)
        _near(D, case.prior.denoise(x, sigma), case.tolerance, "the denoised x beside it")
        step = (1e-2 if single else 1e-4) * sigma
        moved = case.prior.denoise(x + step * u, sigma) - case.prior.denoise(x - step * u, sigma)
        inner = case.space.inner_real
        size = float(to_numpy(case.space.norm(u) * case.space.norm(v)))
        found, wanted = (float(to_numpy(i)) for i in (inner(v, moved) / (2 * step), inner(u, Jv)))
        gap = abs(found - wanted) / size
        assert gap <= (1e-2 if single else 1e-6), f"sigma {sigma:g}: off by {gap:.1e}"


def batch_is_loop(case: PriorCase, rng: np.random.Generator) -> None:
    """Members, each with a noise level of its own, are denoised as they are alone."""
    x = case.draw(rng, (2, 3))
    sigma = np.array([[0.1, 0.5, 1.0], [2.0, 5.0, 0.2]])
    like = case.draw(rng)
    together = case.prior.denoise(x, from_host(sigma, like))
    again = case.prior.denoise(x, sigma)
    _near(again, together, case.tolerance, "sigma as a NumPy array")
    empty = case.prior.denoise(x[:0, ...], 1.0)
    assert tuple(empty.shape) == (0, 3, *case.space.shape), "empty batch"
    for i in range(2):
        for j in range(3):
            alone = case.prior.denoise(x[i, j, ...], float(sigma[i, j]))
            _near(together[i, j, ...], alone, case.tolerance, f"member {i}, {j}")


def keeps_dtype_and_input(case: PriorCase, rng: np.random.Generator) -> None:
    """x keeps its bytes; results are of its shape, dtype and library."""
    x = case.draw(rng, (2,))
    before = to_numpy(x).tobytes()
    acts = [case.prior.denoise] if isinstance(case.prior, Denoising) else []
    acts += [case.prior.score] if isinstance(case.prior, Scored) else []
    for act in acts:
        y = act(x, 0.7)
        assert dtype_of(y) == case.space.dtype, f"expected {case.space.dtype}, got {dtype_of(y)}"
        assert tuple(y.shape) == tuple(x.shape), f"expected {tuple(x.shape)}, got {tuple(y.shape)}"
        assert namespace(y) is namespace(x), "expected a result in the library of x"
    assert to_numpy(x).tobytes() == before, "x was modified"


def denoises(case: PriorCase, rng: np.random.Generator) -> None:
    """Little noise changes little."""
    least = getattr(case.prior, "sigma_range", (1e-2, 1))[0]
    x = case.draw(rng)
    moved = float(to_numpy(case.space.norm(case.prior.denoise(x, 1e-3 * least) - x)))
    assert moved <= 0.1 * float(to_numpy(case.space.norm(x))), f"moved by {moved:.2g} at no noise"


def refuses_bad_calls(case: PriorCase, rng: np.random.Generator) -> None:
    """Wrong shapes and noise levels raise TypeError or ValueError with expected and got."""
    x = case.draw(rng, (2,))
    denoise = case.prior.denoise
    bad: list[Callable[[], object]] = [
        lambda: denoise(x, 0.0),
        lambda: denoise(x, -1.0),
        lambda: denoise(x, float("nan")),
        lambda: denoise(x, 1j),
        lambda: denoise(x, np.ones(3)),
        lambda: denoise(x, "much"),
        lambda: denoise([0.0], 1.0),
        lambda: denoise(x[..., :0], 1.0),
    ]
    check_refused(bad)


PRIOR_LAWS: dict[str, Law] = {
    law.__name__: law
    for law in (
        tweedie,
        score_is_the_gradient,
        pullback_is_the_derivative,
        batch_is_loop,
        keeps_dtype_and_input,
        denoises,
        refuses_bad_calls,
    )
}
