"""Every posterior sampler keeps every law; those that claim to be exact reproduce closed forms."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import sciml
import solvers
from sciml import (
    Gaussian,
    Identity,
    InverseProblem,
    SampleError,
    SampleInterrupted,
    SampleLook,
    Sampler,
    Samples,
    Space,
    Status,
    sample,
)
from sciml.arrays import dtype_of, from_host, namespace, to_numpy
from sciml.operators import FFT, Dense
from sciml.priors import GaussianPrior, MixturePrior
from sciml.samples import radius_of
from sciml.testing import check_calibration
from solvers import DAPS, DPS, AnnealedLangevin, Covariance, DiffPIR, TruncatedReverse
from tests.laws.registry import COMPLEX, LIKE, NUMPY, REAL, STRICT, TORCH

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


def test_the_registry_holds_every_public_sampler() -> None:
    public = {getattr(solvers, n) for n in solvers.__all__}
    classes = {c for c in public if isinstance(c, type) and issubclass(c, Sampler)}
    assert classes == {type(case.sampler) for case in SAMPLERS.values()}


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


KINDS = [(NUMPY, d) for d in REAL + COMPLEX] + [(TORCH, "complex64"), (STRICT, "complex128")]


@pytest.mark.parametrize(("library", "dtype"), KINDS)
@pytest.mark.parametrize("name", SAMPLERS)
def test_dtype_library_and_shapes_are_kept(
    name: str, dtype: str, library: str, rng: np.random.Generator
) -> None:
    problem = posed(name, rng, dtype=dtype, library=library, batch=(2,))
    before = to_numpy(problem.y).tobytes()
    found = draw(problem, name, budget=8)
    assert to_numpy(problem.y).tobytes() == before
    assert namespace(found.samples) is namespace(problem.y)
    assert dtype_of(found.samples) == dtype_of(found.mean) == np.dtype(dtype)
    assert dtype_of(found.std) == problem.domain.real_dtype
    assert tuple(found.samples.shape) == (8, 2, N)
    assert tuple(found.mean.shape) == tuple(found.std.shape) == (2, N)
    assert tuple(found.mean_error.shape) == (2, N)
    assert dtype_of(found.mean_error) == problem.domain.real_dtype
    assert np.shape(found.status) == np.shape(found.misfit) == np.shape(found.error_share) == (2,)
    assert np.isfinite(to_numpy(found.samples)).all()


@pytest.mark.parametrize("name", SAMPLERS)
def test_calls_are_counted_and_within_the_budget(name: str, rng: np.random.Generator) -> None:
    problem = posed(name, rng)
    for budget in (1, 2, 3, 7, 24):
        prior = Watched(problem.prior)
        seen: list[SampleLook] = []
        watched = InverseProblem(problem.A, problem.y, problem.noise, prior)
        found = draw(watched, name, budget=budget, observe=seen.append)
        assert found.calls == prior.calls <= max(budget, 3)
        assert [look.calls for look in seen][-1:] in ([found.calls], [])
        assert len(found.history) == len(seen)
        assert all(prior.batch == (8,) for _ in seen)


class Watched:
    """A prior that counts, and breaks at a call."""

    def __init__(self, inner: Any, at: int = -1, error: BaseException | None = None) -> None:
        self.inner, self.at, self.error, self.calls = inner, at, error, 0
        self.sigma_range = inner.sigma_range
        self.batch: tuple[int, ...] = ()

    def denoise(self, x: Any, sigma: Any) -> Any:
        self._count(x)
        found = self.inner.denoise(x, sigma)
        return found * float("nan") if self.calls == self.at else found

    def denoise_vjp(self, x: Any, sigma: Any, v: Any) -> Any:
        self._count(x)
        self._count(x)
        D, back = self.inner.denoise_vjp(x, sigma, v)
        bad = self.at in (self.calls, self.calls - 1)
        return (D, back * float("nan")) if bad else (D, back)

    def _count(self, x: Any) -> None:
        self.calls += 1
        self.batch = tuple(x.shape[:-1])
        if self.calls == self.at and self.error is not None:
            raise self.error


@pytest.mark.parametrize("name", SAMPLERS)
def test_same_seed_same_draws(name: str, rng: np.random.Generator) -> None:
    problem = posed(name, rng)
    state = np.random.get_state()[1].tobytes()  # type: ignore[union-attr]
    first, second = (draw(problem, name) for _ in range(2))
    assert first.samples.tobytes() == second.samples.tobytes()
    assert np.random.get_state()[1].tobytes() == state  # type: ignore[union-attr]
    if name == "TruncatedReverse":  # deterministic
        return
    other = draw(problem, name, rng=np.random.default_rng(2))
    assert np.abs(other.samples - first.samples).max() > 0


@pytest.mark.parametrize("name", SAMPLERS)
def test_units_do_not_matter(name: str, rng: np.random.Generator) -> None:
    base = draw(posed(name, np.random.default_rng(5)), name)
    for scale in (1e-6, 1e6):
        found = draw(posed(name, np.random.default_rng(5), scale=scale), name)
        gap = np.abs(found.samples / scale - base.samples).max() / np.abs(base.samples).max()
        assert gap <= 1e-2 and found.status == base.status


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_bad_member_spoils_no_other(name: str, rng: np.random.Generator) -> None:
    problem = posed(name, rng, batch=(3,))
    y = problem.y.copy()
    y[1] = np.nan
    bad = InverseProblem(problem.A, y, problem.noise, problem.prior)
    found, sound = draw(bad, name), draw(problem, name)
    assert found.status[1] == Status.NONFINITE_INPUT
    assert any("Input y" in note for note in found.notes)
    assert np.isfinite(found.samples).all()
    assert "misfit nan" not in found.explain()
    assert list(found.status[[0, 2]]) == list(sound.status[[0, 2]])
    np.testing.assert_allclose(
        found.samples[:, [0, 2]], sound.samples[:, [0, 2]], atol=1e-3 * np.abs(y[0]).max()
    )


@pytest.mark.parametrize("name", SAMPLERS)
def test_nonfinite_input_costs_no_call(name: str, rng: np.random.Generator) -> None:
    problem = posed(name, rng)
    prior = Watched(problem.prior)
    bad = InverseProblem(problem.A, problem.y * np.nan, problem.noise, prior)
    found = draw(bad, name)
    assert found.status == Status.NONFINITE_INPUT and prior.calls == 0
    with pytest.raises(SampleError, match="NaN or Inf"):
        draw(bad, name, throw=True)


@pytest.mark.parametrize("at", [1, 2, 9])
@pytest.mark.parametrize("name", SAMPLERS)
def test_nan_from_the_network_is_caught(name: str, at: int, rng: np.random.Generator) -> None:
    problem = posed(name, rng)
    prior = Watched(problem.prior, at)
    found = draw(InverseProblem(problem.A, problem.y, problem.noise, prior), name)
    assert found.status == Status.NONFINITE_OUTPUT
    assert np.isfinite(found.samples).all() and prior.calls <= at + 4


@pytest.mark.parametrize("name", SAMPLERS)
def test_ctrl_c_keeps_what_is_done(name: str, rng: np.random.Generator) -> None:
    problem = posed(name, rng)
    for at in (1, 2, 9):
        prior = Watched(problem.prior, at, KeyboardInterrupt())
        with pytest.raises(SampleInterrupted) as caught:
            draw(InverseProblem(problem.A, problem.y, problem.noise, prior), name, throw=True)
        assert isinstance(caught.value, KeyboardInterrupt)
        found = caught.value.result
        assert found.status == Status.INTERRUPTED and np.isfinite(found.samples).all()
    prior = Watched(problem.prior, 2, MemoryError("no room"))
    with pytest.raises(MemoryError, match="no room"):
        draw(InverseProblem(problem.A, problem.y, problem.noise, prior), name)


@pytest.mark.parametrize("name", SAMPLERS)
def test_empty_batches(name: str, rng: np.random.Generator) -> None:
    found = draw(posed(name, rng, batch=(0,)), name, throw=True)
    assert found.samples.shape == (8, 0, N) and found.ok and "nothing" in found.explain()


@pytest.mark.parametrize("name", SAMPLERS)
def test_words_and_picture(name: str, rng: np.random.Generator) -> None:
    import matplotlib

    matplotlib.use("Agg")
    for batch in ((), (2,)):
        found = draw(posed(name, rng, batch=batch), name)
        text = found.explain()
        assert SAMPLERS[name].sampler.name in text and f"{found.calls} calls" in text
        assert len(found.plot()) == 2


def moments(found: Samples, post: GaussianPrior) -> tuple[float, float]:
    """Relative errors of mean and covariance."""
    S = post.dense()
    d = found.samples - post.mean
    mean = np.linalg.norm(found.mean - post.mean) / np.linalg.norm(post.mean)
    return float(mean), float(np.linalg.norm(d.T @ d.conj() / len(d) - S) / np.linalg.norm(S))


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("name", EXACT)
def test_gaussian_posteriors_are_reproduced(
    name: str, dtype: str, rng: np.random.Generator
) -> None:
    problem = posed(name, rng, dtype=dtype)
    post = problem.prior.posterior(problem.A, problem.y, problem.noise)
    for budget in (8, 20):
        found = draw(problem, name, n=2000, budget=budget, throw=True)
        mean, covariance = moments(found, post)
        assert mean <= 0.02 and covariance <= 0.1
        each = np.abs(found.std / np.sqrt(np.diag(post.dense()).real) - 1)
        assert each.max() <= 0.1


def test_unit_normal_prior_and_noise(rng: np.random.Generator) -> None:
    """CN(0, 1) under CN(0, 1): the posterior is CN(y / 2, 1 / 2). Every factor of two shows."""
    prior = GaussianPrior(np.zeros(4, complex), variance=1.0)
    y = np.array([1.0, 1j, -2.0, 0.5 - 0.5j])
    problem = InverseProblem(Identity(Space((4,), np.complex128)), y, Gaussian(1.0), prior)
    for name, case in SAMPLERS.items():
        if name in ("DiffPIR", "DPS", "TruncatedReverse"):
            continue  # approximate by design, or deterministic
        budget = 30 if case.exact else 300
        found = draw(problem, name, n=800, budget=budget)
        np.testing.assert_allclose(found.mean, y / 2, atol=0.06, err_msg=name)
        np.testing.assert_allclose(found.std**2, 0.5, atol=0.08, err_msg=name)


@pytest.mark.parametrize("kind", ["Gaussian", "mixture"])
def test_calibrated_on_closed_forms(kind: str, rng: np.random.Generator) -> None:
    space = Space((6,), np.complex128)
    wide = GaussianPrior(space.zeros(np.zeros(1)), variance=np.logspace(0, -2, 6))
    prior: Any = wide
    if kind == "mixture":
        away = GaussianPrior(2 * np.ones(6) + 0j, variance=0.05)
        prior = MixturePrior([0.5, 0.5], [wide, away])
    A = Dense(Space((4, 6), space.dtype).random(rng))
    truth, noise = prior.random(rng, (160,)), Gaussian(0.3)
    y = A(truth)
    problem = InverseProblem(A, y + noise.draw(y, rng), noise, prior)
    for name in EXACT:
        if SAMPLERS[name].sampler.mirrored:
            continue
        found = draw(problem, name, n=24, budget=20)
        check_calibration(truth, found.samples)
        with pytest.raises(AssertionError, match="too narrow"):
            check_calibration(truth, found.mean + 0.6 * (found.samples - found.mean))
        with pytest.raises(AssertionError, match="too wide"):
            check_calibration(truth, found.mean + 1.6 * (found.samples - found.mean))


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("n", [2, 4, 8])
def test_what_was_not_checked_is_not_claimed(name: str, n: int, rng: np.random.Generator) -> None:
    found = draw(posed(name, rng, batch=(2,)), name, n=n)
    told, sampler = found.explain(), SAMPLERS[name].sampler
    assert "Checked: data misfit" in told and "Not checked: " in told
    if not sampler.independent:
        assert np.shape(found.rhat) == np.shape(found.ess) == (2,) and "R-hat" in told
        return
    assert found.rhat is None and found.ess is None and "R-hat does not apply" in told
    lone, still = sampler.mirrored and n == 2, name == "TruncatedReverse"
    if lone or still:
        assert ("unknown" in told) == lone and ("all the same" in told) == still
        assert np.isnan(found.mean_error).all() == lone
        with pytest.raises(ValueError, match="expected draws that tell a deviation"):
            found.radius(0.9)
    else:
        assert "of the deviation" in told and (found.mean_error >= 0).all()
        assert (found.radius(0.9) > found.radius(0.5)).all()


class Walk(Sampler):
    """Chains that go on: x <- keep · x + noise, white in the long run; `apart` shifts each."""

    independent = False

    def __init__(self, steps: int, keep: float = 0.0, apart: float = 0.0) -> None:
        self.steps, self.keep, self.apart = steps, keep, apart

    def init(self, problem: InverseProblem, n: int, budget: int, rng: np.random.Generator) -> Any:
        shift = self.apart * np.arange(n)[:, None]
        return Walked(self, problem, rng, rng.standard_normal((n, N)), shift, 0)

    def advance(self, state: Any) -> Any:
        state.problem.prior.denoise(state.x, 1.0)
        x = self.keep * state.white + (1 - self.keep**2) ** 0.5 * state.rng.standard_normal(
            state.white.shape
        )
        return Walked(self, state.problem, state.rng, x, state.shift, state.step + 1)


@dataclass(frozen=True)
class Walked:
    walk: Walk
    problem: InverseProblem
    rng: np.random.Generator
    white: np.ndarray
    shift: np.ndarray
    step: int
    sigma: float = 1.0
    settled: bool = True

    @property
    def x(self) -> np.ndarray:
        return self.white + self.shift

    @property
    def done(self) -> bool:
        return self.step >= self.walk.steps


@pytest.mark.parametrize(
    ("walk", "status"),
    [
        (Walk(200), Status.SAMPLED),
        (Walk(200, apart=1.0), Status.UNMIXED),  # chains disagree
        (Walk(200, keep=0.99), Status.UNMIXED),  # they hardly move
        (Walk(3), Status.UNMIXED),  # nothing to compare
        (Walk(8), Status.UNMIXED),  # few draws
    ],
)
def test_chains_that_go_on_are_asked_whether_they_mixed(walk: Walk, status: Status) -> None:
    prior = GaussianPrior(np.zeros(N), variance=1.0)
    blind = InverseProblem(Dense(1e-9 * np.ones((40, N))), np.ones(40), Gaussian(1.0), prior)
    found = sample(blind, walk, n=4, budget=500, throw=False)
    assert found.status == status, found.explain()
    fine = found.rhat <= found.rhat_limit and found.ess >= found.ess_limit == 40
    assert fine == (status == Status.SAMPLED)


class Greedy(Walk):
    """Takes three calls at a step, whatever its budget."""

    def advance(self, state: Any) -> Any:
        for _ in range(2):
            state.problem.prior.denoise(state.x, 1.0)
        return super().advance(state)


def test_a_plan_that_was_cut_short_is_no_success() -> None:
    prior = GaussianPrior(np.zeros(N), variance=1.0)
    blind = InverseProblem(Dense(1e-9 * np.ones((40, N))), np.ones(40), Gaussian(1.0), prior)
    assert sample(blind, Walk(200), n=4, budget=200, throw=False).ok
    cut = sample(blind, Walk(200), n=4, budget=190, throw=False)
    assert cut.status == Status.UNMIXED and cut.rhat <= cut.rhat_limit
    over = sample(blind, Greedy(200), n=4, budget=599, throw=False)
    assert over.status == Status.UNMIXED and over.calls == 600
    assert any("more than its budget" in note for note in over.notes)


@pytest.mark.parametrize("name", ["split_rhat", "effective_size"])
def test_nan_passes_no_check(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = sys.modules["sciml.sample"]
    monkeypatch.setattr(driver, name, lambda draws: np.full(draws.shape[2:], np.nan))
    prior = GaussianPrior(np.zeros(N), variance=1.0)
    blind = InverseProblem(Dense(1e-9 * np.ones((40, N))), np.ones(40), Gaussian(1.0), prior)
    assert sample(blind, Walk(200), n=4, budget=500, throw=False).status == Status.UNMIXED


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize(
    ("sampler", "n"),
    [(DAPS(), 4), (DAPS(), 8), (DAPS(antithetic=False), 2), (DAPS(antithetic=False), 5)],
)
@pytest.mark.parametrize("kind", ["Gaussian", "mixture"])
def test_radius_and_error_hold_for_few_draws(
    kind: str, sampler: DAPS, n: int, dtype: str, rng: np.random.Generator
) -> None:
    """Discs and intervals hold the truth as often as they say, and the mean is off as told."""
    space, runs = Space((6,), np.dtype(dtype)), 600
    wide = GaussianPrior(space.zeros(np.zeros(1)), variance=np.logspace(0, -2, 6))
    prior: Any = wide
    if kind == "mixture":
        away = GaussianPrior((2 * np.ones(6)).astype(dtype), variance=0.05)
        prior = MixturePrior([0.5, 0.5], [wide, away])
    A, noise = Dense(Space((4, 6), space.dtype).random(rng)), Gaussian(0.3)
    truth = prior.random(rng, (runs,))
    y = A(truth)
    problem = InverseProblem(A, y + noise.draw(y, rng), noise, prior)
    found = sample(problem, sampler, n=n, budget=20, rng=rng, throw=False)
    inside = {p: float(np.mean(np.abs(found.mean - truth) <= found.radius(p))) for p in (0.5, 0.9)}
    if kind == "mixture":  # of two modes a disc about the mean is too wide, if anything
        assert 0.85 <= inside[0.9] <= 0.98, inside
        return
    assert abs(inside[0.5] - 0.5) <= 0.05 and abs(inside[0.9] - 0.9) <= 0.05, inside
    some = [prior.posterior(A, one, noise).mean for one in problem.y[:100]]
    off = np.sqrt(np.mean(np.abs(found.mean[:100] - np.stack(some)) ** 2))
    error, rounding = np.sqrt(np.mean(found.mean_error**2)), 0.02 * np.sqrt(np.mean(found.std**2))
    assert 0.9 * error - rounding <= off <= 1.1 * error + rounding


def test_radius_is_that_of_f_and_t() -> None:
    from scipy.stats import f, t

    for p in (0.5, 0.9, 0.99):
        for k in (1, 2, 7):
            assert radius_of(p, degrees=k) == pytest.approx(f.ppf(p, 2, 2 * k) ** 0.5)
            assert radius_of(p, degrees=k, circular=False) == pytest.approx(t.ppf((1 + p) / 2, k))
        assert radius_of(p) == pytest.approx(radius_of(p, degrees=1e9), rel=1e-6)
        assert radius_of(p, circular=False) == pytest.approx(
            radius_of(p, degrees=1e9, circular=False), rel=1e-6
        )


def test_wrong_noise_is_a_misfit(rng: np.random.Generator) -> None:
    space = Space((400,), np.complex128)
    prior = GaussianPrior(np.zeros(400, complex), variance=1.0)
    y = 3 * space.random(rng)
    for sigma, status in ((0.2, Status.SAMPLED), (2.9, Status.SAMPLED)):
        # an identity explains anything, unless the noise is too small for the prior to bend
        found = sample(
            InverseProblem(Identity(space), y, Gaussian(sigma), prior),
            DAPS(),
            budget=10,
            throw=False,
        )
        assert (found.status == status) == (found.band[0] <= found.misfit <= found.band[1])
    blind = Dense(np.zeros((400, 400), complex))
    found = sample(InverseProblem(blind, y, Gaussian(1.0), prior), DAPS(), budget=10, throw=False)
    assert found.status == Status.MISFIT and found.misfit == pytest.approx(9, rel=0.2)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_a_prior_that_the_data_contradict_is_told(dtype: str, rng: np.random.Generator) -> None:
    """Draws explain the data all the same; of 300 problems that the prior fits, none is accused."""
    space = Space((200,), np.dtype(dtype))
    A, noise = Dense(Space((150, 200), space.dtype).random(rng) / 200**0.5), Gaussian(0.1)
    x = space.random(rng)
    y = A(x) + noise.draw(A(x), rng)

    def drawn(variance: float) -> Samples:
        prior = GaussianPrior(np.zeros(200, space.dtype), variance=variance)
        return sample(InverseProblem(A, y, noise, prior), DAPS(), budget=20, throw=False)

    right, narrow = drawn(1.0), drawn(0.01)
    assert right.ok and right.widened == 1
    assert narrow.status == Status.MISFIT and narrow.widened > 20
    assert narrow.band[0] < narrow.misfit < narrow.band[1]
    far = np.linalg.norm(narrow.mean - x) / np.linalg.norm(right.mean - x)
    assert far < 1.1  # the prior alone would shrink it to a hundredth
    assert "times the prior's variance" in narrow.explain()
    assert (draw(posed("DAPS", rng, dtype=dtype, batch=(300,)), "DAPS").widened == 1).all()


def test_levels_go_where_draws_still_change(rng: np.random.Generator) -> None:
    problem = posed("DAPS", rng)
    least, most = problem.prior.sigma_range
    levels = draw(problem, "DAPS", budget=24).history
    assert levels[0] == pytest.approx(most) and (np.diff(levels) < 0).all()
    spread = np.sqrt(np.trace(problem.prior.posterior(
        problem.A, problem.y, problem.noise).dense()).real / N)  # fmt: skip
    assert np.sum((levels < 4 * spread) & (levels > spread / 16)) >= 8
    assert levels[-1] > 4 * least
    pair = sample(problem, DAPS(antithetic=False), n=2, budget=24, throw=False).history
    assert pair[0] == pytest.approx(most) and pair[-1] >= 0.99 * least


def test_a_prior_may_pool_what_a_probe_says_of_the_jacobian(rng: np.random.Generator) -> None:
    problem = posed("DAPS", rng)
    shapes = []

    class Pooling:
        """What one has learned of a coefficient is given to others."""

        def __init__(self, factor: float) -> None:
            self.factor, self.prior = factor, problem.prior
            self.basis, self.sigma_range = problem.prior.basis, problem.prior.sigma_range

        def denoise(self, x: np.ndarray, sigma: float) -> np.ndarray:
            return self.prior.denoise(x, sigma)

        def pooled(self, diagonal: np.ndarray) -> np.ndarray:
            shapes.append(diagonal.shape)
            return self.factor * diagonal

    def drawn(prior: object, y: np.ndarray) -> np.ndarray:
        asked = InverseProblem(problem.A, y, problem.noise, prior)
        return sample(asked, DAPS(), n=4, budget=10, throw=False).samples

    y = problem.y
    np.testing.assert_array_equal(drawn(Pooling(1.0), y), drawn(problem.prior, y))
    assert set(shapes) == {(1, N)} and len(shapes) == 5
    # without any uncertainty the data say nothing
    np.testing.assert_allclose(drawn(Pooling(0.0), y), drawn(Pooling(0.0), 2 * y))
    assert not np.allclose(drawn(problem.prior, y), drawn(problem.prior, 2 * y), rtol=0.1)


def test_entries_that_were_not_measured_do_not_count(rng: np.random.Generator) -> None:
    space = Space((20, 20), np.complex128)
    mask = rng.random((20, 20)) < 0.3
    from sciml.operators import Sampling

    A = Sampling(mask.astype(float), space) @ FFT(space)
    prior = GaussianPrior(np.zeros((20, 20), complex), variance=1.0, basis=FFT(space))
    noise = Gaussian(0.5)
    x = prior.random(rng)
    y = (A(x) + noise.draw(x, rng)) * mask
    found = sample(InverseProblem(A, y, noise, prior), DAPS())
    assert found.status == Status.SAMPLED and abs(found.misfit - 1) < 0.3


def test_chains_that_disagree_are_unmixed(rng: np.random.Generator) -> None:
    """Two far modes that no chain leaves; half of the chains in each."""
    parts = [GaussianPrior(m * np.ones(2), variance=1e-2) for m in (-5.0, 5.0)]
    prior = MixturePrior([0.5, 0.5], parts)
    problem = InverseProblem(Identity(Space((2,))), np.zeros(2), Gaussian(20.0), prior)
    found = sample(problem, AnnealedLangevin(), budget=200, n=16, throw=False)
    assert found.rhat > 1.05 and found.status in (Status.UNMIXED, Status.MISFIT)


def test_bad_calls_are_refused(rng: np.random.Generator) -> None:
    problem = posed("DAPS", rng)
    bare = InverseProblem(problem.A, problem.y, problem.noise)
    calls: list[Callable[[], object]] = [
        lambda: sample(problem.A, DAPS()),  # type: ignore[arg-type]
        lambda: sample(problem, DAPS),  # type: ignore[arg-type]
        lambda: sample(problem, solvers.CG()),  # type: ignore[arg-type]
        lambda: sample(bare, DAPS()),
        lambda: sample(problem, DAPS(), n=1),
        lambda: sample(problem, DAPS(), n=7),
        lambda: sample(problem, DAPS(), n=2.0),  # type: ignore[arg-type]
        lambda: sample(problem, DAPS(), budget=0),
        lambda: sample(problem, DAPS(), rng=3),  # type: ignore[arg-type]
        lambda: sample(problem, DAPS(), observe=3),  # type: ignore[arg-type]
        lambda: DAPS(covariance="probed"),  # type: ignore[arg-type]
        lambda: DAPS(rho=0.0),
        lambda: DiffPIR(fresh=1.5),
        lambda: DiffPIR(weight=-1.0),
        lambda: AnnealedLangevin(step=0.0),
        lambda: AnnealedLangevin(each=0),
        lambda: radius_of(1.0),
        lambda: radius_of(0.9, degrees=0),
        lambda: check_calibration(np.ones(30), np.ones((5, 31))),
        lambda: check_calibration(np.ones(5), np.ones((5, 5))),
        lambda: check_calibration(np.ones(30), np.ones((5, 30)), probabilities=(1.5,)),
    ]
    for i, call in enumerate(calls):
        with pytest.raises((TypeError, ValueError), match="expected") as caught:
            call()
        assert "got" in str(caught.value), i


@pytest.mark.parametrize(
    "wrong",
    [lambda D: None, lambda D: D[..., :3], lambda D: D.real, lambda D: D.astype(np.complex64)],
)
def test_a_prior_that_does_not_keep_shape_and_dtype_is_named(
    wrong: Callable[[np.ndarray], Any], rng: np.random.Generator
) -> None:
    problem = posed("DAPS", rng)

    class Own:
        def denoise(self, x: np.ndarray, sigma: Any) -> Any:
            return wrong(problem.prior.denoise(x, sigma))

    own = InverseProblem(problem.A, problem.y, problem.noise, Own())
    with pytest.raises(TypeError, match=r"expected denoise\(x, sigma\) of the prior Own .* got"):
        sample(own, DAPS(), budget=4)


def test_the_package_offers_it() -> None:
    assert sciml.sample is sample
