"""Networks as guesses, coarse spaces and certified answers; deflation; reduced bases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import diags_array

import solvers
from sciml import LinearSystem, SolveError, Status, Stop, Trait, solve
from sciml.operators import Dense, Diffusion, Identity, NodalDiffusion, Sparse
from sciml.testing import check_operator
from solvers import CG, GMRES, IC0, Deflation, FlexibleCG, Jacobi, Multigrid
from solvers.pinn.deepxde import load_deepxde
from solvers.pinn.guess import Given, certify, coarse_space, fitted, initial_guess
from solvers.reduced import galerkin, principal
from tests.numerics._pinns import F64, tanh_network


def _nodes(n: int) -> np.ndarray:
    x = np.arange(1, n + 1) / (n + 1)
    return np.stack(np.meshgrid(x, x, indexing="ij"), -1)


class _Sine(torch.nn.Module):
    """sin(pi x) sin(pi y) / scale: discretised, an eigenvector of Laplace's operator."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.last = torch.nn.Linear(1, 1, dtype=F64)
        with torch.no_grad():
            self.last.weight.fill_(1 / scale)
            self.last.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.sin(torch.pi * x[:, :2]).prod(1, keepdim=True))


def _eigen(n: int, batch: int | None = None) -> LinearSystem:
    """Laplace's operator with the right-hand side whose solution is `_Sine`."""
    A = NodalDiffusion(np.ones((n + 1, n + 1)))
    x = np.sin(np.pi * _nodes(n)).prod(-1)
    return LinearSystem(A, A(x if batch is None else np.stack([x] * batch)))


def _varying(n: int, seed: int = 0) -> LinearSystem:
    rng = np.random.default_rng(seed)
    x = (np.arange(n + 1) + 0.5) / (n + 1)
    wave = np.outer(np.cos(np.pi * x), np.cos(2 * np.pi * x))
    return LinearSystem(NodalDiffusion(np.exp(wave)), rng.standard_normal((n, n)))


# -- guesses --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fit", [False, True])
def test_an_exact_network_leaves_nothing_to_iterate(fit):
    system = _eigen(31)
    x0 = initial_guess(_Sine(), _nodes(31), system, fit=fit)
    found = solve(system, CG(), x0=x0, stop=Stop(rtol=1e-10))
    assert found.iterations == 0 and found.residual < 1e-12
    assert solve(system, CG(M=Jacobi()), stop=Stop(rtol=1e-10)).iterations > 0


def test_a_network_that_is_wrong_by_a_factor_is_fitted():
    system = _eigen(15)
    raw = initial_guess(_Sine(1e-300), _nodes(15), system, fit=False)
    assert raw.max() > 1e299
    fitted = initial_guess(_Sine(1e-300), _nodes(15), system)
    np.testing.assert_allclose(fitted, np.sin(np.pi * _nodes(15)).prod(-1), rtol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_a_fitted_guess_is_never_farther_than_zero(seed):
    """In the energy norm, and where A is not positive in that of the residual."""
    rng = np.random.default_rng(seed)
    points = rng.random((20, 2))
    matrix = rng.standard_normal((20, 20))
    positive = LinearSystem(
        Dense(matrix @ matrix.T, traits={Trait.POSITIVE}), rng.standard_normal(20)
    )
    general = LinearSystem(Dense(matrix), rng.standard_normal(20))
    network = tanh_network(2, 5, 1, seed=seed)
    x, b = initial_guess(network, points, positive), positive.b
    solution = np.linalg.solve(matrix @ matrix.T, b)
    energy = lambda e: e @ (matrix @ (matrix.T @ e))  # noqa: E731
    assert energy(solution - x) <= energy(solution)
    np.testing.assert_allclose(fitted(3 * x, positive), x)
    y = initial_guess(network, points, general)
    assert np.linalg.norm(general.residual(y)) <= np.linalg.norm(general.b)


def test_a_terrible_guess_costs_little_and_never_a_wrong_answer():
    """Noise, 1e8 times too large: fitted it costs 3 iterations at most, else as many as the bound
    of CG asks for so many further digits."""
    system, stop = _varying(24), Stop(rtol=1e-8)
    points = np.random.default_rng(1).standard_normal((24, 24, 2))

    def noise(x: torch.Tensor) -> torch.Tensor:
        return 1e8 * torch.sin(1e6 * x[:, :1])

    plain = solve(system, CG(M=IC0()), stop=stop)
    fitted = solve(system, CG(M=IC0()), x0=initial_guess(noise, points, system), stop=stop)
    raw = initial_guess(noise, points, system, fit=False)
    unfitted = solve(system, CG(M=IC0()), x0=raw, stop=stop)
    for found in (plain, fitted, unfitted):
        measured = np.linalg.norm(system.b - system.A(found.x)) / np.linalg.norm(system.b)
        assert found.status is Status.CONVERGED and measured <= 1.01e-8
    assert fitted.iterations <= plain.iterations + 3
    assert unfitted.iterations <= 3.5 * plain.iterations


def test_fitted_refuses_what_does_not_fit():
    system = _eigen(4, batch=2)
    with pytest.raises(ValueError, match=r"x of batch \(2,\), got \(4, 4\)"):
        fitted(np.ones((4, 4)), system)
    with pytest.raises(TypeError, match="dtype float64, got float32"):
        fitted(np.ones((2, 4, 4), "f4"), system)
    assert not fitted(np.zeros((2, 4, 4)), system).any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_guesses_are_in_the_problem_s_library_and_dtype_for_batches_too(library, dtype):
    """Two parameters, two systems: a batch of matrices, and a network told of the parameter."""
    k = np.ones((2, 13, 13), dtype)
    k[1] *= 4
    points = np.concatenate(
        [np.stack([_nodes(12)] * 2), np.broadcast_to([[[[1.0]]], [[[4.0]]]], (2, 12, 12, 1))], -1
    )
    move = torch.from_numpy if library == "torch" else (lambda a: a)
    A = NodalDiffusion(move(k), ndim=2)
    x = np.sin(np.pi * _nodes(12)).prod(-1)
    b = A(move(np.stack([x, x / 4]).astype(dtype)))
    system = LinearSystem(A, b)

    class Member(_Sine):
        def forward(self, x):
            return super().forward(x) / x[:, 2:]

    x0 = initial_guess(Member(), move(points), system)
    assert type(x0) is type(b) and x0.dtype == b.dtype and x0.shape == b.shape
    tol = 1e-4 if dtype == "float32" else 1e-10
    found = solve(system, CG(), x0=x0, stop=Stop(rtol=tol))
    assert (found.iterations == 0).all()


def test_complex_systems_and_single_networks():
    rng = np.random.default_rng(0)
    m = rng.standard_normal((9, 9)) + 1j * rng.standard_normal((9, 9))
    system = LinearSystem(Dense(m @ m.conj().T, traits={Trait.POSITIVE}), m @ np.ones(9, complex))
    network = tanh_network(1, 4, 1).float()
    x0 = initial_guess(network, np.linspace(0, 1, 9)[:, None], system)
    assert x0.dtype == np.complex128
    assert solve(system, CG(), x0=x0, stop=Stop(rtol=1e-8)).ok


@pytest.mark.parametrize(
    ("network", "error", "match"),
    [
        (lambda x: x[:, :1] / 0, ValueError, r"NaN or Inf at 16 of 16 points, the first at \[0.2"),
        (lambda x: torch.where(x[:, :1] > 0.7, x[:, :1], torch.nan), ValueError, "at 12 of 16"),
        (lambda x: x[:3, :1], ValueError, r"to give \(16, outputs\)"),
        (lambda x: x[:, 0], ValueError, r"got \(16,\)"),
        (lambda x: x[:, :0], ValueError, r"output 0 among them, got \(16, 0\)"),
        (lambda x: x.long(), TypeError, "real floating tensor from the network, got torch.int64"),
        (lambda x: x.to(torch.complex128), TypeError, "got torch.complex128"),
        (lambda x: x.numpy(), TypeError, "real floating tensor"),
        (tanh_network(3, 4, 1), ValueError, r"network of points \(rows, 2\)"),
        (7, TypeError, "expected a network, a deepxde.Model or a function, got 7"),
    ],
)
def test_bad_networks_are_refused(network, error, match):
    with pytest.raises(error, match=match):
        initial_guess(network, _nodes(4), _eigen(4))


def test_bad_points_and_problems_are_refused():
    system, network = _eigen(4), _Sine()
    with pytest.raises(ValueError, match=r"points of shape \(4, 4, d\).* got \(5, 5, 2\)"):
        initial_guess(network, _nodes(5), system)
    with pytest.raises(TypeError, match="real floating dtype, got int64"):
        initial_guess(network, np.ones((4, 4, 2), int), system)
    with pytest.raises(ValueError, match="finite points"):
        initial_guess(network, np.full((4, 4, 2), np.nan), system)
    with pytest.raises(TypeError, match="points as an array"):
        initial_guess(network, [[1.0]], system)
    with pytest.raises(TypeError, match="expected a LinearSystem"):
        initial_guess(network, _nodes(4), system.A)
    with pytest.raises(ValueError, match="output"):
        initial_guess(network, _nodes(4), system, output=-1)
    small = LinearSystem(NodalDiffusion(np.ones((5, 5), "f4")), np.ones((4, 4), "f4"))
    with pytest.raises(ValueError, match="fit into float32"):
        initial_guess(_Sine(1e-60), _nodes(4), small, fit=False)


def test_the_network_is_left_as_it_was():
    network = torch.nn.Sequential(
        tanh_network(2, 8, 8), torch.nn.Dropout(), torch.nn.Linear(8, 1)
    ).double()
    network[0].eval()
    before = [m.training for m in network.modules()]
    system = _eigen(5)
    one, two = (initial_guess(network, _nodes(5), system) for _ in range(2))
    coarse_space(network, _nodes(5))
    assert (one == two).all()
    assert [m.training for m in network.modules()] == before
    assert not any(m._forward_hooks for m in network.modules())


# -- certified answers ----------------------------------------------------------------------------


def test_a_certificate_is_the_true_residual_of_what_the_network_says():
    system = _varying(12)
    network = tanh_network(2, 6, 1)
    found = certify(network, _nodes(12), system, stop=Stop(rtol=1e-3))
    with torch.no_grad():
        said = network(torch.from_numpy(_nodes(12).reshape(-1, 2))).numpy().reshape(12, 12)
    np.testing.assert_array_equal(found.x, said)
    true = np.linalg.norm(system.b - system.A(said)) / np.linalg.norm(system.b)
    assert found.residual == pytest.approx(true, rel=1e-12)
    assert found.status is Status.STAGNATED and found.iterations == 0
    assert "Sequential as it is" in found.explain() and "Nothing was iterated" in found.explain()


def test_an_exact_network_is_certified_and_members_apart():
    good = certify(_Sine(), _nodes(15), _eigen(15), stop=Stop(rtol=1e-10))
    assert good.ok and good.iterations == 0
    system = _eigen(15, batch=2)
    points = np.stack([_nodes(15), _nodes(15) / 2])
    both = certify(_Sine(), points, system, stop=Stop(rtol=1e-10))
    assert list(both.status) == [Status.CONVERGED, Status.STAGNATED]
    assert both.residual[1] > 1e-2


def test_given_without_x0_is_zero():
    found = solve(_eigen(4), Given(), throw=False)
    assert found.residual == 1 and not found.x.any()
    with pytest.raises(SolveError):
        solve(_eigen(4), Given())


# -- coarse spaces --------------------------------------------------------------------------------


def test_the_coarse_space_holds_the_network_whatever_its_last_weights():
    """Hard boundaries included: all of it vanishes where the network does."""

    class Hard(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = tanh_network(2, 9, 6, 1)

        def forward(self, x):
            return (x * (1 - x)).prod(1, keepdim=True) * self.inner(x)

    network = Hard()
    points = np.stack(np.meshgrid(*[np.linspace(0, 1, 14)] * 2, indexing="ij"), -1)
    W = coarse_space(network, points)
    flat = W.reshape(len(W), -1)
    assert len(W) == 7  # six features and the bias
    np.testing.assert_allclose(flat @ flat.T, np.eye(7), atol=1e-12)
    assert max(abs(W[:, 0]).max(), abs(W[:, :, -1]).max()) < 1e-11
    with torch.no_grad():
        network.inner[-1].weight.copy_(torch.arange(6.0)[None])
        said = network(torch.from_numpy(points.reshape(-1, 2))).numpy().ravel()
    np.testing.assert_allclose(flat.T @ (flat @ said), said, atol=1e-12)
    assert len(coarse_space(network, points, most=3)) == 3


def test_the_coarse_space_is_rank_revealing():
    network = tanh_network(2, 5, 1)
    with torch.no_grad():  # two features alike, and one that is constant as the bias is
        network[0].weight[1], network[0].bias[1] = network[0].weight[0], network[0].bias[0]
        network[0].weight[2] = 0
    assert len(coarse_space(network, _nodes(9))) == 4


def test_coarse_spaces_refuse_what_they_cannot_be_made_of():
    network, points = tanh_network(2, 5, 1), _nodes(4)
    with pytest.raises(TypeError, match=r"torch\.nn\.Module or a deepxde\.Model"):
        coarse_space(lambda x: x, points)
    with pytest.raises(TypeError, match=r"with a torch\.nn\.Linear"):
        coarse_space(torch.nn.Tanh(), points)
    with pytest.raises(ValueError, match="output 1 of a layer with 1"):
        coarse_space(network, points, output=1)
    with pytest.raises(ValueError, match="one that the network runs"):
        coarse_space(network, points, layer=torch.nn.Linear(5, 1))
    with pytest.raises(ValueError, match="affine"):
        coarse_space(torch.nn.Sequential(network, torch.nn.Softplus()), points)
    with torch.no_grad():
        network[0].weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN or Inf"):
        coarse_space(network, points)


def test_deepxde_models_are_taken_with_their_transforms():
    try:
        dde = load_deepxde()
    except ImportError:
        pytest.skip("DeepXDE is not installed")
    data = dde.data.PDE(
        dde.geometry.Rectangle([0, 0], [1, 1]), lambda x, y: y, [], num_domain=4, num_test=4
    )
    with torch.random.fork_rng():
        net = dde.nn.FNN([2, 7, 1], "tanh", "Glorot normal")
    net.apply_output_transform(lambda x, y: (x * (1 - x)).prod(1, keepdim=True) * y)
    model = dde.Model(data, net)
    model.compile("adam", lr=1e-3)
    system, points = _varying(8), _nodes(8)
    x0 = initial_guess(model, points, system, fit=False)
    said = model.predict(points.reshape(-1, 2).astype("f4")).reshape(8, 8)
    np.testing.assert_allclose(x0, said, rtol=1e-4, atol=1e-6)
    W = coarse_space(model, points).reshape(-1, 64)
    rest = said.ravel() - W.T @ (W @ said.ravel())
    assert np.linalg.norm(rest) < 1e-5 * np.linalg.norm(said)


# -- deflation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("M", [IC0(), Jacobi(), Multigrid()])
def test_with_the_solution_in_the_space_one_step_is_enough(M):
    system = _varying(16)
    exact = solve(system, solvers.Direct()).x
    W = np.stack([np.ones((16, 16)), exact])
    found = solve(system, CG(M=Deflation(W, M=M)), stop=Stop(rtol=1e-9))
    assert found.iterations <= 1
    x0 = galerkin(W, system)
    assert solve(system, CG(), x0=x0, stop=Stop(rtol=1e-9)).iterations == 0


def _line(n: int) -> tuple[Sparse, np.ndarray, np.ndarray]:
    """The 1-D Laplacian with its eigenvalues and eigenvectors (in rows), in closed form."""
    matrix = diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(n, n)).tocsr()
    k = np.arange(1, n + 1)
    angle = np.pi * k / (n + 1)
    vectors = np.sin(np.outer(angle, k)) * np.sqrt(2 / (n + 1))
    return Sparse(matrix, traits={Trait.POSITIVE}), 2 - 2 * np.cos(angle), vectors


def _plain(A):
    return Identity(A.domain)


@pytest.mark.parametrize("m", [1, 4, 12])
def test_deflated_eigenvalues_become_one_and_the_rest_stays(m):
    A, values, vectors = _line(40)
    M = Deflation(vectors[:m], M=_plain)(A)
    dense = np.stack([M(A(e)) for e in np.eye(40)], 1)
    wanted = np.sort(np.concatenate([np.ones(m), values[m:]]))
    np.testing.assert_allclose(np.sort(np.linalg.eigvals(dense).real), wanted, atol=1e-10)


def test_cg_converges_as_the_effective_condition_number_says():
    """Within 2 ((√κ − 1) / (√κ + 1))^i with κ of what is left, and faster the more is deflated."""
    n = 400
    A, values, vectors = _line(n)
    b = np.random.default_rng(0).standard_normal(n)
    solution = vectors.T @ ((vectors @ b) / values)
    energy = lambda e: np.sqrt(e @ A(e))  # noqa: E731
    counts = []
    for m in (1, 5, 20, 60):
        W = vectors[:m]
        system = LinearSystem(A, b)
        x0 = galerkin(W, system)
        method = CG(M=Deflation(W, M=_plain)).prepare(system)
        state, errors = method.init(system, x0), []
        while state.estimate > 1e-8 * np.linalg.norm(b):
            errors.append(energy(solution - state.x))
            state = method.advance(state, 1)
        kappa = np.sqrt(values[-1] / values[m])
        i = np.arange(len(errors))
        bound = 2 * ((kappa - 1) / (kappa + 1)) ** i * energy(solution - x0)
        assert (np.array(errors) <= bound * (1 + 1e-6) + 1e-9).all()
        counts.append(len(errors))
    assert counts == sorted(counts, reverse=True) and counts[-1] < 0.25 * counts[0]


def test_deflation_does_not_depend_on_the_basis_of_its_space():
    A, _, vectors = _line(30)
    rng = np.random.default_rng(0)
    W = vectors[:3]
    mixed = np.concatenate([rng.standard_normal((3, 3)) @ W * 1e6, W[:1], np.zeros((1, 30))])
    r = rng.standard_normal((5, 30))
    one, two = Deflation(W)(A)(r), Deflation(mixed)(A)(r)
    np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-9 * abs(one).max())


def test_deflation_keeps_the_laws_of_operators_and_serves_flexible_methods():
    system = _varying(9)
    W = np.random.default_rng(0).standard_normal((3, 9, 9))
    check_operator(Deflation(W)(system.A))
    tensors = LinearSystem(
        NodalDiffusion(torch.from_numpy(np.asarray(system.A.k))), torch.from_numpy(system.b)
    )
    for method in (FlexibleCG, GMRES, CG):
        stop = Stop(rtol=1e-8)
        host = solve(system, method(M=Deflation(W)), stop=stop)
        found = solve(tensors, method(M=Deflation(torch.from_numpy(W))), stop=stop)
        np.testing.assert_allclose(found.x.numpy(), host.x, atol=1e-7 * abs(host.x).max())
    assert host.solver.name == "CG with deflated IC0"


def test_a_batch_of_right_hand_sides_is_deflated_at_once():
    one = _varying(10)
    b = np.random.default_rng(3).standard_normal((4, 10, 10))
    W = np.random.default_rng(0).standard_normal((2, 10, 10))
    many = LinearSystem(one.A, b)
    found = solve(many, CG(M=Deflation(W)), x0=galerkin(W, many), stop=Stop(rtol=1e-10))
    for i in range(4):
        alone = solve(LinearSystem(one.A, b[i]), CG(M=Deflation(W)), stop=Stop(rtol=1e-10))
        np.testing.assert_allclose(found.x[i], alone.x, atol=1e-9 * abs(alone.x).max())


def test_deflation_refuses_what_it_cannot_use():
    A, _, vectors = _line(10)
    with pytest.raises(ValueError, match=r"W of shape \(m, 10\) with m >= 1, got \(10,\)"):
        Deflation(vectors[0])(A)
    with pytest.raises(ValueError, match="finite W"):
        Deflation(np.full((2, 10), np.nan))(A)
    with pytest.raises(TypeError, match="dtype like A's"):
        Deflation(vectors.astype(complex))(A)
    with pytest.raises(TypeError, match="W as an array"):
        Deflation([1.0])
    with pytest.raises(TypeError, match="M as a recipe"):
        Deflation(M=Identity(A.domain))
    with pytest.raises(ValueError, match="blocks"):
        Deflation(blocks=0)
    with pytest.raises(TypeError, match="HERMITIAN"):
        Deflation(vectors)(Dense(np.triu(np.ones((10, 10)))))
    with pytest.raises(TypeError, match="take its members one by one"):
        Deflation(np.ones((1, 4, 4)), M=Jacobi())(Diffusion(np.ones((2, 4, 4)), ndim=2))
    indefinite = Dense(np.diag([1.0, -1.0, 2.0]), traits={Trait.HERMITIAN})
    found = solve(
        LinearSystem(indefinite, np.ones(3)),
        CG(M=Deflation(np.eye(3)[:2], M=Jacobi())), throw=False,
    )  # fmt: skip
    assert found.status is Status.BREAKDOWN and "not definite" in found.explain()


# -- reduced bases --------------------------------------------------------------------------------


def test_principal_vectors_are_those_of_the_svd():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((5, 4, 6)) * np.array([9, 5, 3, 2, 1.0])[:, None, None]
    found = principal(rows, most=2).reshape(2, 24)
    _, _, vh = np.linalg.svd(rows.reshape(5, 24), full_matrices=False)
    np.testing.assert_allclose(abs(found @ vh[:2].T), np.eye(2), atol=1e-12)
    assert len(principal(np.concatenate([rows, rows[:2]]))) == 5
    for bad, error in ((np.zeros((2, 3)), ValueError), (np.full((2, 3), np.nan), ValueError)):
        with pytest.raises(error):
            principal(bad)
    with pytest.raises(TypeError, match="snapshots"):
        principal([1.0])


def test_galerkin_is_the_best_guess_of_its_space():
    system = _varying(8)
    W = np.random.default_rng(0).standard_normal((5, 8, 8))
    exact = solve(system, solvers.Direct(), stop=Stop(rtol=1e-12)).x
    error = exact - galerkin(W, system)
    assert abs((W * system.A(error)).sum((1, 2))).max() < 1e-9 * abs(system.b).max() * 8
    with pytest.raises(TypeError, match="LinearSystem with Hermitian A"):
        galerkin(W, system.A)
