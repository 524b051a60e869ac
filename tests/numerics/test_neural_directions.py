"""Neural conjugate directions: the published steps, the safeguard, and hostile networks."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from sciml import LinearSystem, Operator, Space, Status, Stop, Trait, solve
from sciml.networks import DirectionNetwork, Multilevel, SingleLevel
from sciml.operators import Dense, Diffusion, Identity, NodalDiffusion, Side
from solvers import CG, FGMRES, FlexibleCG, NeuralDirections, learned

TIGHT = Stop(rtol=1e-8, max_iters=5_000)


class Says(DirectionNetwork):
    """A network that says what a function says: r (batch, 1, *shape) -> q."""

    def __init__(self, ndim: int, what: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        calls: list[int] = []
        self.ndim, self.what, self.count = ndim, what, lambda: len(calls)
        self.call = lambda: calls.append(1)  # shared with the copy that a solver makes

    def forward(self, r, system=None):
        self.call()
        return self.what(r)


def _noise(r: torch.Tensor) -> torch.Tensor:
    return torch.randn(r.shape, generator=torch.Generator().manual_seed(1))


HOSTILE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "noise": _noise,
    "zero": torch.zeros_like,
    "NaN": lambda r: r * float("nan"),
    "infinite": lambda r: r * float("inf"),
    "constant": torch.ones_like,
    "uphill": lambda r: -r,
    "one cell": lambda r: torch.where(torch.arange(r.numel()).reshape(r.shape) == 7, 1.0, 0.0),
    "one NaN": lambda r: torch.where(torch.arange(r.numel()).reshape(r.shape) == 7, math.nan, r),
    "huge": lambda r: 1e30 * r,
    "rough": lambda r: r.sign(),
}


def _untrained(kind: type[DirectionNetwork] = Multilevel, ndim: int = 2) -> DirectionNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(ndim).eval()  # type: ignore[call-arg]


def _system(rng: np.random.Generator, n: int = 14, **how) -> LinearSystem:
    A = Diffusion(np.exp(rng.standard_normal((n, n + 3))), **how)
    b = rng.standard_normal(A.domain.shape)
    if "solid" in how:
        b[how["solid"]] = 0
    return LinearSystem(A, A.consistent(b - b.mean() * (A.k > 0)) if A.singular else b)


def _energies(problem: LinearSystem, solver: NeuralDirections, steps: int) -> np.ndarray:
    """‖x* − x‖²_A after 0, 1, ..., `steps` steps, with x* from LAPACK."""
    matrix = problem.A.dense()
    exact = np.linalg.lstsq(matrix, problem.b.ravel(), rcond=None)[0]
    state = solver.prepare(problem).init(problem, None)
    found = []
    for _ in range(steps + 1):
        error = exact - state.x.ravel()
        found.append(error @ matrix @ error)
        state = solver.prepare(problem).advance(state, 1)
    return np.array(found)


def test_the_steps_are_those_of_the_paper(rng: np.random.Generator) -> None:
    """Algorithm 1 of Kaneda et al., written anew with dense matrices."""
    problem = _system(rng)
    A, b = problem.A.dense(), problem.b.ravel()
    network = Says(2, lambda r: r + 0.5 * torch.roll(r, 1, -1) + r.abs())
    x, past = np.zeros_like(b), []
    for _ in range(8):
        r = b - A @ x
        unit = (r / np.linalg.norm(r)).astype(np.float32).reshape(1, 1, *problem.b.shape)
        q = network(torch.from_numpy(unit)).numpy().astype(float).ravel()
        q = q - sum(p * (q @ A @ p) / (p @ A @ p) for p in past[-2:])
        x = x + q * (q @ r) / (q @ A @ q)
        past.append(q)
    solver = NeuralDirections(network, safeguard=False).prepare(problem)
    state = solver.advance(solver.init(problem, None), 8)
    np.testing.assert_allclose(state.x.ravel(), x, rtol=1e-4, atol=1e-6 * abs(x).max())


def test_a_network_that_is_the_inverse_needs_a_step(rng: np.random.Generator) -> None:
    problem = _system(rng)
    inverse = torch.from_numpy(np.linalg.inv(problem.A.dense())).float()
    network = Says(2, lambda r: (inverse @ r.flatten()).reshape(r.shape))
    result = solve(problem, NeuralDirections(network), stop=Stop(rtol=1e-5))
    assert result.iterations == 1 and result.applies.fallbacks == 0 and result.applies.M == 1


@pytest.mark.parametrize("said", HOSTILE)
@pytest.mark.parametrize("side", [Side.DIRICHLET, Side.NEUMANN])
def test_hostile_networks_cost_no_more_than_a_constant(
    said: str, side: Side, rng: np.random.Generator
) -> None:
    problem = _system(rng, boundary=side)
    plain = solve(problem, CG(), stop=TIGHT).iterations
    window = 4
    network = Says(2, HOSTILE[said])
    result = solve(problem, NeuralDirections(network, window=window), stop=TIGHT)
    true = np.linalg.norm(problem.b - problem.A(result.x)) / np.linalg.norm(problem.b)
    assert result.status == Status.CONVERGED and true <= 1e-8 * (1 + 1e-6)
    assert result.iterations <= 2.5 * plain + window * math.log2(1e8)
    assert result.applies.fallbacks > 0 and network.count() == result.applies.M
    if said in ("zero", "NaN", "infinite", "one NaN"):
        assert network.count() <= 2 + math.log2(result.iterations)
        assert result.applies.fallbacks == result.iterations


@pytest.mark.parametrize("said", [*HOSTILE, "Multilevel", "SingleLevel"])
def test_the_error_falls_in_the_norm_of_A(said: str, rng: np.random.Generator) -> None:
    own = {"Multilevel": _untrained(), "SingleLevel": _untrained(SingleLevel)}
    network = own.get(said) or Says(2, HOSTILE[said])
    energies = _energies(_system(rng), NeuralDirections(network), 25)
    assert (np.diff(energies) <= 1e-12 * energies[0]).all()
    assert energies[-1] < energies[0] * 0.9


@pytest.mark.parametrize("said", HOSTILE)
def test_no_step_is_worse_than_the_classical_one(said: str, rng: np.random.Generator) -> None:
    """The first step of CG is the steepest descent, by its formula."""
    problem = _system(rng)
    matrix, b = problem.A.dense(), problem.b.ravel()
    left = b @ np.linalg.solve(matrix, b) - (b @ b) ** 2 / (b @ matrix @ b)
    found = _energies(problem, NeuralDirections(Says(2, HOSTILE[said])), 1)[1]
    assert found <= left * (1 + 1e-9)


def test_a_network_that_is_slow_is_refused(rng: np.random.Generator) -> None:
    """One that is a little better than classical in each step, and does not halve ‖r‖ in it."""
    problem = _system(rng)
    inverse = torch.from_numpy(np.linalg.inv(problem.A.dense())).float()

    def slow(r: torch.Tensor) -> torch.Tensor:
        e = (inverse @ r.flatten()).reshape(r.shape)
        return r + 0.1 * e / e.norm()

    counts = [
        solve(problem, NeuralDirections(Says(2, slow), window=w), stop=TIGHT).applies.fallbacks
        for w in (1, 10_000)
    ]
    assert counts[0] > 2 * counts[1]


@pytest.mark.parametrize(("n", "window"), [(100, 16), (256, 16), (400, 25)])
def test_large_grids_give_the_network_more_time(n: int, window: int) -> None:
    """A network that never halves ‖r‖ is first refused after a sixteenth of the grid's length."""
    A = Dense(2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1), traits={Trait.POSITIVE})
    problem = LinearSystem(A, np.ones(n))  # CG takes n / 2 steps from the ends to the middle
    inverse = torch.from_numpy(np.linalg.inv(A.dense())).float()

    def little(r: torch.Tensor) -> torch.Tensor:
        e = (inverse @ r.flatten()).reshape(r.shape)
        return r + 1e-3 * e / e.norm()

    near = Says(1, little)

    def fallbacks(steps: int, **how: int) -> int:
        stop = Stop(rtol=1e-12, max_iters=steps)
        return solve(
            problem, NeuralDirections(near, **how), stop=stop, throw=False
        ).applies.fallbacks

    assert fallbacks(window) == 0 < fallbacks(window + 1)
    assert fallbacks(5, window=4) > 0


@pytest.mark.parametrize("bfloat16", [False, True])
def test_the_bits_do_not_depend_on_threads(bfloat16: bool, rng: np.random.Generator) -> None:
    problem = LinearSystem(Diffusion(np.ones((70, 90))), rng.standard_normal((70, 90)))
    solver = NeuralDirections(_untrained(SingleLevel), bfloat16=bfloat16)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            result = solve(problem, solver, stop=Stop(rtol=0.0, max_iters=8), throw=False)
            found.append(result.x.tobytes())
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert found[0] == found[1]


def test_a_fine_network_is_not_doubted(rng: np.random.Generator) -> None:
    problem = _system(rng, 40)
    result = solve(problem, NeuralDirections(_untrained()), stop=TIGHT)
    assert result.applies.fallbacks == 0 and result.iterations == result.applies.M
    assert 4 * result.iterations < solve(problem, CG(), stop=TIGHT).iterations
    assert "classical" not in result.explain()
    useless = solve(problem, NeuralDirections(Says(2, torch.zeros_like)), stop=TIGHT)
    assert f"{useless.iterations} steps were classical ones" in useless.explain()


@pytest.mark.parametrize("shape", [(18, 23), (9, 8, 10)])
def test_pressure_systems_around_solids(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    """No flux anywhere: singular, with cells that take no part."""
    solid = np.zeros(shape, bool)
    solid[(slice(3, 6),) * len(shape)] = True
    A = Diffusion(np.ones(shape), ndim=len(shape), boundary=Side.NEUMANN, solid=solid)
    b = rng.standard_normal(shape) * ~solid
    b -= b[~solid].mean() * ~solid
    for network in (_untrained(ndim=len(shape)), _untrained(SingleLevel, len(shape))):
        result = solve(LinearSystem(A, b), NeuralDirections(network), stop=TIGHT)
        assert result.status == Status.CONVERGED
        assert np.linalg.norm(b - A(result.x)) <= 1e-8 * np.linalg.norm(b) * (1 + 1e-6)
        assert not result.x[solid].any()


def test_an_inconsistent_system_is_told(rng: np.random.Generator) -> None:
    A = Diffusion(np.ones((10, 10)), boundary=Side.NEUMANN)
    problem = LinearSystem(A, 1 + rng.standard_normal((10, 10)))
    result = solve(problem, NeuralDirections(_untrained()), stop=Stop(max_iters=300), throw=False)
    assert result.status not in (Status.CONVERGED, Status.MAX_ITERS)


def test_an_indefinite_operator_is_told(rng: np.random.Generator) -> None:
    grid = Space((6, 5), np.float64)

    class OnGrid(Operator):
        def __init__(self, matrix: np.ndarray) -> None:
            self.matrix = matrix
            super().__init__(grid, traits={Trait.HERMITIAN})

        def _apply(self, x):
            return (x.reshape(*x.shape[:-2], -1) @ self.matrix).reshape(x.shape)

    for network in (_untrained(SingleLevel), Says(2, _noise)):
        basis = np.linalg.qr(rng.standard_normal((30, 30)))[0]
        A = OnGrid(basis @ np.diag([*np.linspace(1, 2, 27), -1, -2, -3]) @ basis.T)
        problem = LinearSystem(A, rng.standard_normal(grid.shape))
        result = solve(problem, NeuralDirections(network), throw=False)
        assert result.status == Status.INDEFINITE


def test_nan_without_a_safeguard_is_told(rng: np.random.Generator) -> None:
    solver = NeuralDirections(Says(2, HOSTILE["NaN"]), safeguard=False)
    result = solve(_system(rng), solver, throw=False)
    assert result.status == Status.NONFINITE_OUTPUT and np.isfinite(result.x).all()


@pytest.mark.parametrize("kind", [Diffusion, NodalDiffusion])
def test_a_batch_of_operators_is_as_its_members(kind, rng: np.random.Generator) -> None:
    k = np.exp(rng.standard_normal((3, 17, 16)))
    A = kind(k, ndim=2)
    b = rng.standard_normal((3, *A.domain.shape))
    solver = NeuralDirections(_untrained())
    together = solve(LinearSystem(A, b), solver, stop=TIGHT)
    for i in range(3):
        alone = solve(LinearSystem(kind(k[i]), b[i]), solver, stop=TIGHT)
        assert abs(int(together.iterations[i]) - int(alone.iterations)) <= 1
        np.testing.assert_allclose(together.x[i], alone.x, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_torch_tensors_take_the_same_steps(dtype, rng: np.random.Generator) -> None:
    k, b = np.exp(rng.standard_normal((12, 12))), rng.standard_normal((12, 12))
    k, b = k.astype(dtype), b.astype(dtype)
    stop = Stop(rtol=1e-4)
    solver = NeuralDirections(_untrained())
    mine = solve(LinearSystem(Diffusion(k), b), solver, stop=stop)
    theirs = solve(
        LinearSystem(Diffusion(torch.from_numpy(k)), torch.from_numpy(b)), solver, stop=stop
    )
    assert isinstance(theirs.x, torch.Tensor) and theirs.x.numpy().dtype == dtype
    assert mine.iterations == theirs.iterations
    np.testing.assert_allclose(theirs.x.numpy(), mine.x, rtol=1e-3, atol=1e-4)


def test_flexible_methods_take_a_network_and_CG_refuses_it(rng: np.random.Generator) -> None:
    problem = _system(rng, 30)
    M = learned(problem.A, _untrained())
    assert Trait.LINEAR not in M.traits
    for method in (FlexibleCG(M=M), FGMRES(M=M)):
        result = solve(problem, method, stop=TIGHT)
        assert 4 * result.iterations < solve(problem, CG(), stop=TIGHT).iterations
    with pytest.raises(TypeError, match="use FlexibleCG or FGMRES"):
        solve(problem, CG(M=M))
    r = rng.standard_normal(problem.b.shape)
    for scale in (1e-200, 1e200):
        np.testing.assert_allclose(M(scale * r) / scale, M(r), rtol=1e-4, atol=1e-6)
    assert not M(0 * r).any()


def test_an_operator_that_cannot_be_read_still_converges(rng: np.random.Generator) -> None:
    A = Diffusion(np.exp(rng.standard_normal((20, 20))))
    both = A + Diffusion(np.ones((20, 20)))
    problem = LinearSystem(both, rng.standard_normal((20, 20)))
    result = solve(problem, NeuralDirections(_untrained()), stop=TIGHT)
    assert result.ok and any("takes k for constant" in note for note in result.notes)


@pytest.mark.parametrize("mass", [1e-2, 1.0, 1e2])
def test_a_mass_is_told(mass: float, rng: np.random.Generator) -> None:
    """Of an implicit time step: no more steps than without it, in solid cells none at all."""
    solid = np.zeros((40, 40), bool)
    solid[12:20, 15:30] = True
    A = Diffusion(np.exp(rng.standard_normal((40, 40))), boundary=Side.NEUMANN, solid=solid)
    b = np.where(solid, 0, rng.standard_normal((40, 40)))
    b[~solid] -= b[~solid].mean()
    shifted = 3.0 * A + mass * float(A.diagonal().mean()) * Identity(A.domain)
    found = [
        solve(LinearSystem(B, b), NeuralDirections(_untrained()), stop=TIGHT) for B in (A, shifted)
    ]
    assert found[1].ok and not found[1].notes and not found[1].x[solid].any()
    assert found[1].iterations <= found[0].iterations + 1
    assert found[1].applies.fallbacks == 0


@pytest.mark.parametrize(
    "what",
    [lambda r: r[..., :-1], lambda r: r[0], lambda r: r * 1j, lambda r: r.numpy()],
    ids=["short", "axis", "complex", "numpy"],
)
def test_what_is_no_direction_is_refused(what, rng: np.random.Generator) -> None:
    with pytest.raises(TypeError, match="expected a real tensor"):
        solve(_system(rng), NeuralDirections(Says(2, what)), stop=TIGHT)


@pytest.mark.parametrize(("dtype", "scale"), [(np.float64, 2.0**498), (np.float32, 2.0**50)])
def test_a_large_operator_is_not_taken_for_infinite(dtype, scale, rng: np.random.Generator) -> None:
    """‖A q‖² overflows, A q does not. Powers of 2 change no rounding."""
    k, b = np.exp(rng.standard_normal((14, 17))).astype(dtype), rng.standard_normal((14, 17))
    counts = []
    for factor in (1.0, scale):
        problem = LinearSystem(Diffusion(k * dtype(factor)), b.astype(dtype))
        solver = NeuralDirections(Says(2, lambda r: 1e4 * r))
        result = solve(problem, solver, stop=Stop(rtol=1e-5, max_iters=500))
        assert result.ok
        counts.append(result.iterations)
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("dtype", "power"), [(np.float64, 498), (np.float64, -498), (np.float32, 98), (np.float32, -98)]
)
def test_flexible_gmres_knows_no_units(dtype, power, rng: np.random.Generator) -> None:
    k, b = np.exp(rng.standard_normal((14, 17))).astype(dtype), rng.standard_normal((14, 17))
    network, counts = Says(2, lambda r: 1e4 * r), []
    for factor in (1.0, 2.0**power):
        A = Diffusion(k * dtype(factor))
        solver = FGMRES(M=lambda A: learned(A, network))
        found = solve(LinearSystem(A, b.astype(dtype)), solver, stop=Stop(rtol=1e-4))
        counts.append(found.iterations)
    assert abs(counts[0] - counts[1]) <= 1


def test_a_singular_system_without_solution_is_named(rng: np.random.Generator) -> None:
    A = Diffusion(np.ones((12, 12)), boundary=Side.NEUMANN)
    problem = LinearSystem(A, rng.standard_normal((12, 12)) + 1)
    result = solve(problem, NeuralDirections(_untrained()), stop=TIGHT, throw=False)
    assert not result.ok and "lies along the null space" in result.explain()


def test_bad_calls_are_refused(rng: np.random.Generator) -> None:
    net = _untrained()
    good = _system(rng)
    general = Dense(np.eye(4))
    prepared = NeuralDirections(net).prepare(good)
    calls: list[Callable[[], object]] = [
        lambda: NeuralDirections(torch.nn.Linear(1, 1)),  # type: ignore[arg-type]
        lambda: NeuralDirections(net, window=0),
        lambda: NeuralDirections(net, safeguard=1),  # type: ignore[arg-type]
        lambda: solve(good, NeuralDirections(_untrained(ndim=3))),
        lambda: solve(LinearSystem(general, np.ones(4)), NeuralDirections(net)),
        lambda: solve(_system(rng, 11), prepared),
        lambda: learned(good.A, None),  # type: ignore[arg-type]
        lambda: learned(Dense(np.ones((4, 3))), net),
        lambda: learned(general, net),
    ]
    for call in calls:
        with pytest.raises((TypeError, ValueError), match=r"expected .* got"):
            call()
