"""Proximal methods do what is proven of them, for any prior with a proximal operator."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

import sciml.priors.proximal as proximal
import solvers.proximal
from sciml import Gaussian, InverseProblem, Operator, Space, Status, Stop, solve
from sciml.mri import brain
from sciml.networks import ConvexNetwork, PretrainedProximal, load_proximal
from sciml.operators import SENSE, Blur, Boundary, Dense, Wavelet, gaussian_kernel
from sciml.priors import L1, L1Wavelet, LearnedProximal, Tikhonov, TotalVariation
from solvers import ADMM, CG, FISTA, PlugAndPlayADMM, PrimalDual
from solvers.proximal import Watch
from solvers.proximal._base import Watchable

MEMBERS, N = 50, 8


@cache
def network(name: PretrainedProximal) -> ConvexNetwork:
    return load_proximal(name)


def learned(name: PretrainedProximal, **options: Any) -> Callable[[Space], LearnedProximal]:
    return lambda space: LearnedProximal(network(name), space, solver=CG(), **options)


# prior, sigma of the noise (learned: such that the native step is below 1 / L), rows of A
POSED: dict[str, tuple[Callable[[Space], Any], float, int]] = {
    "lpn-laplace": (learned(PretrainedProximal.LPN_LAPLACE), 1.2, N + 6),
    "lpn-mixture": (learned(PretrainedProximal.LPN_MIXTURE), 0.6, N - 2),
    "L1": (lambda space: L1(0.5, space), 1.0, N + 4),
    "wavelets": (lambda space: L1Wavelet(0.5, Wavelet(space, "haar", levels=2)), 1.0, N + 4),
    "total variation": (lambda space: TotalVariation(0.5, space), 1.0, N - 1),
}
METHODS = {"PGD": FISTA(momentum=False), "ADMM": PlugAndPlayADMM()}


class Lying(Dense):
    """A matrix that says its norm is what it is told to say."""

    said = 1.0

    @property
    def norm_bound(self) -> float:
        return self.said


def matrices(rng: np.random.Generator, members: int, rows: int = N - 1) -> np.ndarray:
    M = rng.standard_normal((members, rows, N))
    return M / (np.linalg.norm(M, 2, axis=(1, 2)) * rng.uniform(1, 1.5, members))[:, None, None]


def posed(
    name: str, rng: np.random.Generator, members: int = MEMBERS, A: Operator | None = None, **other
) -> InverseProblem:
    make, sigma, rows = POSED[name]
    sigma = other.get("sigma", sigma)
    A = Dense(matrices(rng, members, rows)) if A is None else A
    y = A(2 * rng.laplace(size=(members, N)))
    return InverseProblem(A, y + sigma * rng.standard_normal(y.shape), Gaussian(sigma),
                          make(A.domain))  # fmt: skip


def watched(problem: InverseProblem, solver: Watchable, max_iters: int, rtol: float = 1e-6) -> Any:
    watch = Watch(problem, solver)
    stop = Stop(rtol=rtol, max_iters=max_iters)
    return watch.certify(solve(problem, solver, observe=watch, stop=stop, throw=False))


def test_every_method_with_a_theory_is_here() -> None:
    public = {getattr(solvers.proximal, n) for n in solvers.proximal.__all__}
    assert {c for c in public if issubclass(c, Watchable)} == {type(m) for m in METHODS.values()}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", POSED)
def test_fifty_problems_fall_in_every_step(name: str, method: str, rng) -> None:
    """By as much as is proven, to a fixed point: f + g, or the augmented Lagrangian."""
    problem = posed(name, rng)
    exact = name != "total variation"  # its proximal operator is iterated, to 1e-3
    found = watched(problem, METHODS[method], 1_500, rtol=5e-6 if exact else 1e-2)
    assert found.theory.proven is True
    assert (
        np.isfinite(found.merit).all()
        and found.watched >= found.result.iterations.max() - found.result.restarts
    )
    assert not found.rises.any() and not found.short.any()
    if exact:
        assert found.ok, found.explain()
    assert np.max(found.result.residual) <= (5e-6 if exact else 1.1e-2)
    last = found.fixed_point[np.isfinite(found.fixed_point).all(axis=1)][-1]
    assert last.max() <= (1e-5 if exact else 1e-2)
    assert (found.objective[-1] < found.objective[0]).all()  # else nothing was tested


def images_fall(name: PretrainedProximal, method: str, side: int, count: int, sigma: float) -> None:
    """From A^H y: images blurred, or with half of their k-space (complex); s_m just below sigma."""
    space = Space((side, side), np.dtype("c16" if name is PretrainedProximal.LPN_MRI else "f8"))
    rng = np.random.default_rng(side)
    truth = np.stack([brain(space.shape, rng=rng) for _ in range(count)]).astype(space.dtype)
    if space.is_complex:
        truth = truth * np.exp(2j * np.pi * rng.random((count, 1, 1)))
        middle = np.hypot(*(np.mgrid[:side, :side] - side // 2)) < side / 4
        mask = middle | (rng.random(space.shape) < 0.4)
        A: Operator = SENSE(np.ones((1, *space.shape), space.dtype), mask)
    else:
        A = Blur(gaussian_kernel(0.6), space, boundary=Boundary.CIRCULAR)
    noise = space.random(rng, (count,))
    y = A(truth) + sigma * (A(noise) if space.is_complex else noise)
    prior = LearnedProximal(network(name), space, sigma=0.95 * sigma, solver=CG())
    problem = InverseProblem(A, y, Gaussian(sigma), prior)
    assert prior.native_step < 1 / problem.curvature[1]
    watch, solver = Watch(problem, METHODS[method], start=False), METHODS[method]
    stop = Stop(rtol=1e-5, max_iters=3_000)
    result = solve(problem, solver, x0=A.adjoint(y), observe=watch, stop=stop, throw=False)
    found = watch.certify(result)
    assert found.ok, found.explain()
    assert found.watched >= result.iterations.max() - result.restarts - 1 > 5
    assert np.isfinite(found.objective).all() and not found.rises.any()
    assert (found.objective[-1] < found.objective[0]).all()
    if method == "PGD":  # the objective itself, to rounding
        assert (np.diff(found.objective, axis=0) <= 1e-9 * abs(found.objective[1:])).all()
    last = found.fixed_point[np.isfinite(found.fixed_point).all(axis=1)][-1]
    assert last.max() <= 1e-5, last


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", [PretrainedProximal.LPN_NATURAL, PretrainedProximal.LPN_MRI])
def test_an_image_falls_in_every_step(name: PretrainedProximal, method: str) -> None:
    images_fall(name, method, side=16, count=1, sigma=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", [PretrainedProximal.LPN_NATURAL, PretrainedProximal.LPN_MRI])
def test_images_fall_in_every_step(name: PretrainedProximal, method: str) -> None:
    for sigma in (0.2, 0.1, 0.05):
        images_fall(name, method, side=24, count=3, sigma=sigma)


def test_steps_that_are_not_native_fall_too(rng) -> None:
    """Where the data are better than the denoiser: 1 / L below the native step."""
    problem = posed("lpn-laplace", rng, 10, sigma=0.5)
    assert problem.step < 0.3 * problem.prior.native_step
    for solver in (FISTA(momentum=False), PlugAndPlayADMM(rho=1.0)):
        found = watched(problem, solver, 8)
        assert found.theory.proven is True and found.watched == 8
        assert not found.rises.any() and not found.short.any()


@pytest.mark.parametrize("name", ["lpn-laplace", "lpn-mixture"])
def test_the_native_step_bounds_the_residual_of_shorter_ones(name: str, rng) -> None:
    """One evaluation of f in place of its inversion, whatever g: also far from the minimum."""
    problem = posed(name, rng, 10, sigma=0.25)
    assert problem.step < 0.5 * problem.prior.native_step
    found = solve(problem, METHODS["ADMM"], stop=Stop(rtol=1e-6, max_iters=3_000), throw=False).x
    for size in (3.0, 0.1, 1e-3, 0.0):
        x = found + size * problem.domain.random(rng, (10,))
        true, bound = problem.norm(problem.residual(x)), problem.distance(x)
        assert bound is not None
        begun = problem.measure(x, problem.scale)[0]  # as a solve begins
        np.testing.assert_array_equal(begun, bound)
        assert (true <= bound + 1e-8 * problem.scale).all()
        assert (bound <= 1e3 * true + 1e-6 * problem.scale).all()  # it says something
    assert posed("L1", rng, 2).distance(np.zeros((2, N))) is None


def test_both_methods_find_the_same(rng) -> None:
    problem = posed("wavelets", rng, 5)
    a, b = (solve(problem, m, stop=Stop(rtol=1e-8, max_iters=20_000)) for m in METHODS.values())
    np.testing.assert_allclose(a.x, b.x, atol=1e-6)


def test_one_step_of_each_in_words_of_the_other(rng, monkeypatch) -> None:
    """z = prox(x − ∇f(x) / rho), and x moves by (I + H / rho)^-1 (z − x)."""
    monkeypatch.setattr("solvers.proximal.pnp._INEXACT", 0.0)
    problem = posed("L1", rng, 3)
    solver = PlugAndPlayADMM(rho=0.5, inner=N)
    x = problem.domain.random(rng, (3,))
    state = solver.advance(solver.init(problem, x, None), 1)
    step = problem.step / 0.5
    z = problem.prior.prox(x + step * problem.descent(x), step)
    np.testing.assert_allclose(state.x, z, atol=1e-12)
    H = np.eye(N) + step * np.einsum("bij,bik->bjk", problem.A.matrix, problem.A.matrix)
    moved = np.linalg.solve(H, (z - x)[..., None])[..., 0]
    np.testing.assert_allclose(state.smooth - x, moved, atol=1e-10)
    np.testing.assert_allclose(state.u, -step * problem.descent(state.smooth), atol=1e-10)


def test_the_data_step_is_as_exact_as_it_says(rng) -> None:
    """What it leaves, and so what u is off, is a twentieth of rho ||z − x||."""
    problem = posed("L1", rng, 3)
    x = problem.domain.random(rng, (3,))
    off = []
    for inner in (1, 50):
        solver = PlugAndPlayADMM(rho=0.01, inner=inner)
        state = solver.advance(solver.init(problem, x, None), 1)
        wanted = -100 * problem.step * problem.descent(state.smooth)
        off.append(np.linalg.norm(state.u - wanted, axis=-1))
    moved = np.linalg.norm(state.z - x, axis=-1)
    assert (off[1] <= 0.05 * moved).all() and (off[0] > off[1]).any()


def test_the_answer_is_what_the_estimate_is_of(rng, monkeypatch) -> None:
    """At the native step: x of the data step, at which z of the next step is the proximal one."""
    monkeypatch.setattr("solvers.proximal.pnp._INEXACT", 0.0)
    problem = posed("lpn-laplace", rng, 3, sigma=0.5)
    assert problem.step < problem.prior.native_step
    solver = PlugAndPlayADMM(inner=5 * N)
    state = solver.advance(solver.init(problem, problem.domain.random(rng, (3,)), None), 3)
    ahead = solver.advance(state, 1)
    np.testing.assert_allclose(ahead.estimate.ravel(), problem.distance(state.x), rtol=1e-6)


def test_a_solve_that_is_cut_short_inverts_nothing(rng, monkeypatch) -> None:
    """Its residual is the bound, which is no less than the true one."""
    problem = posed("lpn-mixture", rng, 3, sigma=0.2)
    assert problem.step < problem.prior.native_step
    calls = []
    blended = proximal.blended
    monkeypatch.setattr(proximal, "blended", lambda *a: calls.append(1) or blended(*a))
    stop = Stop(rtol=1e-9, max_iters=3)
    result = solve(problem, PlugAndPlayADMM(), stop=stop, throw=False)
    assert (result.status == Status.MAX_ITERS).all() and not calls
    true = np.linalg.norm(problem.residual(result.x), axis=-1)
    assert calls and (result.residual * problem.scale >= true * (1 - 1e-9)).all()


# -- what must not pass -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["L1", "lpn-mixture"])
def test_a_step_that_is_too_long_is_caught(name: str, rng) -> None:
    problem = posed(name, rng, 4, sigma=1.0 if name == "L1" else 0.25)
    least, most = problem.curvature
    long = 3 / least if name == "L1" else problem.prior.native_step
    far = watched(problem, FISTA(momentum=False, step=long), 30)
    assert far.theory.proven is False and not far.ok
    assert far.rises.any(), far.explain()
    told = far.explain()
    assert "Would be proven: " in told and "they do not hold." in told and ": NO." in told
    assert "Proven: " not in told
    # convex g: below 2 / L it falls, and with momentum there is no theorem above 1 / L
    if name == "L1":
        near = watched(problem, FISTA(momentum=False, step=1.5 / most), 5_000)
        assert near.theory.proven is True and near.ok and not near.short.any()
        assert Watch(problem, FISTA(step=1.5 / most)).theory.proven is False
    else:
        with pytest.raises(ValueError, match="expected a step up to"):
            solve(problem, FISTA(momentum=False, step=1.01 * problem.prior.native_step))


def test_rho_below_the_threshold_is_told(rng) -> None:
    problem = posed("lpn-laplace", rng, 10, sigma=0.5)
    found = watched(problem, PlugAndPlayADMM(), 40)  # native: 1 / rho is four times 1 / L
    assert found.theory.proven is False and not found.ok and found.rises.any()
    convex = Watch(posed("L1", rng, 2), PlugAndPlayADMM(rho=0.1)).theory
    assert convex.proven is True and not convex.falls  # any rho converges, nothing falls


@pytest.mark.parametrize("method", METHODS)
def test_an_operator_that_lies_of_its_norm_is_caught(method: str, rng) -> None:
    M = matrices(rng, 4)
    true = np.linalg.norm(M, 2, axis=(1, 2)).max()
    for said, ok in ((1.001 * true, True), (0.95 * true, False), (0.3 * true, False)):
        A = type("Told", (Lying,), {"said": said})(M)
        problem = posed("L1", np.random.default_rng(1), 4, A)
        # convex g: steps below 2 / L are proven, as is any rho
        proven = bool(said**2 > 0.5 * true**2 or method == "ADMM")
        found = watched(problem, METHODS[method], 400 if proven else 30)
        assert ("which is not so" in found.explain()) == (not ok)
        assert found.theory.proven is proven and found.ok is proven, found.explain()
        assert found.rises.any() == (not proven)


def test_the_largest_eigenvalue_is_between_its_bounds(rng) -> None:
    for size, complex_, members in ((1, False, 3), (5, True, 2), (300, False, 1), (200, True, 4)):
        M = rng.standard_normal((members, size, size)) * rng.uniform(0.1, 1, (members, 1, size))
        if complex_:
            M = M + 1j * rng.standard_normal(M.shape)
        scale = 10.0 ** rng.uniform(-60, 60)
        problem = InverseProblem(
            Dense(scale * M), scale * M[..., 0], Gaussian(2 * scale), L1(1.0, Space((size,)))
        )
        least, most = problem.curvature
        true = (np.linalg.norm(M, 2, axis=(1, 2)) ** 2).max() / 4
        assert least * (1 - 1e-12) <= true <= most
        assert least >= 0.99 * true and most <= 1.3 * true
    tensor = InverseProblem(
        Dense(torch.eye(4)), torch.ones(4), Gaussian(1.0), L1(1.0, Space((4,), np.dtype("f4")))
    )
    assert tensor.curvature[0] == pytest.approx(1, rel=1e-6)
    silent = InverseProblem(Dense(np.zeros((3, 4))), np.ones(3), Gaussian(1.0))
    assert silent.curvature == (0, 0)


def test_noise_that_differs_counts_in_the_curvature(rng) -> None:
    M, sigma = matrices(rng, 1)[0], rng.uniform(0.2, 2, (3, N - 1))
    y = rng.standard_normal((3, N - 1))
    problem = InverseProblem(Dense(M), y, Gaussian(sigma), L1(0.5, Space((N,))))
    true = max(np.linalg.norm(M / s[:, None], 2) ** 2 for s in sigma)
    least, most = problem.curvature
    assert 0.999 * true <= least <= 1.001 * true <= most
    found = watched(problem, PlugAndPlayADMM(), 3_000, 1e-5)
    assert found.ok and not found.short.any()


# -- the record ---------------------------------------------------------------------------------


def test_what_is_not_known_is_not_claimed(rng) -> None:
    problem = posed("lpn-mixture", rng, 3)
    momentum = watched(problem, FISTA(), 20)
    assert momentum.theory.proven is False and "No theorem" in momentum.explain()
    assert np.isnan(momentum.merit).all() and np.isfinite(momentum.objective).all()

    class Unsaid:
        def prox(self, x: np.ndarray, step: float) -> np.ndarray:
            return x / (1 + step)

    plain = InverseProblem(problem.A, problem.y, problem.noise, Unsaid())
    for method in METHODS.values():
        found = watched(plain, method, 2_000)
        assert found.result.ok and not found.ok and np.isnan(found.objective).all()
        assert "does not say how far from convex" in found.explain()
    smooth = InverseProblem(problem.A, problem.y, problem.noise, Tikhonov(1.0, problem.domain))
    assert Watch(smooth, METHODS["PGD"]).theory.proven is True


@pytest.mark.parametrize("method", METHODS)
def test_what_was_not_seen_is_not_ok(method: str, rng) -> None:
    problem, solver = posed("L1", rng, 2), METHODS[method]
    for options, every in (({"values": False}, 1), ({}, 4), ({}, 1)):
        watch, stop = Watch(problem, solver, **options), Stop(rtol=1e-5, check_every=every)
        found = watch.certify(solve(problem, solver, observe=watch, stop=stop))
        assert found.result.ok and found.theory.proven is True
        if options or every > 1:
            assert found.watched == 0 and found.seen is None and not found.ok
            assert "was not seen" in found.explain()
        else:
            assert found.watched and found.seen is True and found.ok
    watch, stop = Watch(problem, solver, values=False), Stop(rtol=1e-4)
    begun = solve(problem, solver, x0=found.result.x, observe=watch, stop=stop)
    assert not begun.iterations.any() and watch.certify(begun).ok  # nothing to see
    watch = Watch(problem, FISTA())  # proven of the limit, not of steps
    found = watch.certify(solve(problem, FISTA(), observe=watch))
    assert found.ok and "nothing was compared" in found.explain()


@pytest.mark.parametrize("method", [*METHODS, "momentum"])
def test_a_false_lipschitz_constant_is_caught(method: str, rng, monkeypatch) -> None:
    solver = METHODS.get(method, FISTA())
    plain = posed("lpn-mixture", rng, 3)

    def found(lipschitz: float) -> Any:
        prior = learned(PretrainedProximal.LPN_MIXTURE, lipschitz=lipschitz)(plain.domain)
        problem = InverseProblem(plain.A, plain.y, plain.noise, prior)
        return watched(problem, solver, 500, rtol=1e-4)

    true = found(2.5)
    assert true.ok == (method != "momentum"), true.explain()
    assert "L of f = 2.5 was told, not measured" in true.explain()
    with pytest.raises(ValueError, match=r"expected lipschitz=L of f, at least 2\.3.*got 1"):
        found(1.0)
    monkeypatch.setattr(LearnedProximal, "_need_lipschitz", lambda self, seen: None)
    false = found(1.0)
    assert false.theory.proven is False and not false.ok
    assert "L of f <= 1 (seen: " in false.explain() and false.result.ok


def test_strides_and_new_rounds_are_not_compared(rng) -> None:
    problem = posed("L1", rng, 2)
    watch = Watch(problem, METHODS["PGD"])
    stop = Stop(check_every=4, max_iters=12, rtol=0.0)
    result = solve(problem, METHODS["PGD"], observe=watch, stop=stop, throw=False)
    found = watch.certify(result)
    assert found.watched == 0 and np.isnan(found.fixed_point).all()
    assert list(found.iterations) == [0, 4, 8, 12]


def test_watching_changes_nothing_and_libraries_agree(rng) -> None:
    problem = posed("lpn-laplace", rng, 3)
    alone = solve(problem, METHODS["PGD"], stop=Stop(max_iters=30), throw=False)
    seen = watched(problem, METHODS["PGD"], 30)
    np.testing.assert_array_equal(alone.x, seen.result.x)
    A = Dense(torch.from_numpy(problem.A.matrix).float())
    y = torch.from_numpy(problem.y).float()
    prior = problem.prior.to(dtype=np.float32)
    single = watched(InverseProblem(A, y, problem.noise, prior), METHODS["PGD"], 30)
    assert single.theory.proven is True and not single.rises.any() and not single.short.any()
    assert single.rtol == 32 * np.finfo(np.float32).eps
    k = min(len(seen.objective), len(single.objective), 20)
    np.testing.assert_allclose(single.objective[1:k], seen.objective[1:k], rtol=1e-4)


def test_bad_calls_are_refused(rng) -> None:
    problem = posed("L1", rng, 2)
    bad: list[Callable[[], Any]] = [
        lambda: Watch(problem, CG()),
        lambda: Watch(problem, ADMM()),
        lambda: Watch(problem, PrimalDual()),
        lambda: Watch(InverseProblem(problem.A, problem.y, problem.noise), METHODS["PGD"]),
        lambda: Watch("problem", METHODS["PGD"]),
        lambda: Watch(problem, METHODS["PGD"], rtol=-1.0),
        lambda: FISTA(step=0.0),
        lambda: FISTA(step=float("nan")),
        lambda: PlugAndPlayADMM(rho=0.0),
        lambda: PlugAndPlayADMM(inner=0),
        lambda: Watch(problem, METHODS["PGD"]).certify(
            solve(problem, METHODS["PGD"], stop=Stop(max_iters=1), throw=False)
        ),
        lambda: Watch(problem, METHODS["PGD"]).certify("result"),
    ]
    for call in bad:
        with pytest.raises((TypeError, ValueError), match=r"expected .*got"):
            call()


def test_the_native_step_is_the_problem_s(rng) -> None:
    """One evaluation of f a step: no solver is needed, neither to solve nor to certify."""
    sigma = POSED["lpn-laplace"][1]
    whole = posed("lpn-laplace", rng, 4)
    prior = LearnedProximal(network(PretrainedProximal.LPN_LAPLACE), whole.domain)
    problem = InverseProblem(whole.A, whole.y, Gaussian(sigma), prior)
    assert problem.step == prior.native_step < 1 / problem.curvature[1]
    for method in METHODS.values():
        result = solve(problem, method, stop=Stop(rtol=1e-5, max_iters=3_000))
        assert (result.status == Status.CONVERGED).all()
    known = LearnedProximal(network(PretrainedProximal.LPN_LAPLACE), whole.domain, lipschitz=2.5)
    assert known.weakness == pytest.approx(0.6) and prior.weakness == 1.0
