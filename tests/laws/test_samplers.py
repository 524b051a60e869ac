"""Every posterior sampler keeps every law."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import sciml
import solvers
from sciml import (
    InverseProblem,
    SampleError,
    SampleInterrupted,
    SampleLook,
    Sampler,
    Status,
    sample,
)
from sciml.arrays import dtype_of, namespace, to_numpy
from sciml.samples import radius_of
from sciml.testing import check_calibration
from solvers import DAPS, AnnealedLangevin, DiffPIR
from tests.laws.cases import COMPLEX, NUMPY, REAL, STRICT, TORCH
from tests.laws.samplers import SAMPLERS, N, draw, posed


def test_the_registry_holds_every_public_sampler() -> None:
    public = {getattr(solvers, n) for n in solvers.__all__}
    classes = {c for c in public if isinstance(c, type) and issubclass(c, Sampler)}
    assert classes == {type(case.sampler) for case in SAMPLERS.values()}


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
