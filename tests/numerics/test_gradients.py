"""Gradients through a certified solve, against torch.autograd.gradcheck and dense autograd."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import solvers
from sciml import LinearSystem, Operator, SolveError, Solver, Space, Stop, Trait, solve
from sciml.operators import Dense, Diagonal, Sparse

STOP = Stop(rtol=1e-13, max_iters=500)
DTYPES = {"real": torch.float64, "complex": torch.complex128}


def _matrix(n: int, dtype: torch.dtype, hermitian: bool, batch: tuple[int, ...] = ()) -> Any:
    generator = torch.Generator().manual_seed(7)
    m = torch.randn(*batch, n, n, dtype=dtype, generator=generator)
    if hermitian:
        return m @ m.mH / n + torch.eye(n, dtype=dtype)
    return 0.3 * m + 2 * torch.eye(n, dtype=dtype)


@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize(
    ("solver", "hermitian"),
    [(solvers.CG(), True), (solvers.MINRES(), True), (solvers.GMRES(), False),
     (solvers.BiCGStab(), False), (solvers.LSQR(), False), (solvers.Direct(), False),
     (solvers.CG(M=solvers.Jacobi()), True), (solvers.Auto(), False)],
    ids=lambda v: getattr(v, "name", str(v)),
)  # fmt: skip
def test_gradcheck_in_b_and_in_the_matrix(kind: str, solver: Solver, hermitian: bool) -> None:
    dtype = DTYPES[kind]
    A = _matrix(5, dtype, hermitian).requires_grad_()
    b = torch.arange(1.0, 6.0, dtype=torch.float64).to(dtype).requires_grad_()
    traits = {Trait.POSITIVE} if hermitian else {Trait.LINEAR}

    def x_of(A: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if hermitian:  # stay Hermitian under gradcheck's one-sided steps
            A = (A + A.mH) / 2
        return solve(LinearSystem(Dense(A, traits=traits), b), solver, stop=STOP).x

    assert torch.autograd.gradcheck(x_of, (A, b), eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", DTYPES)
def test_gradient_equals_that_of_a_dense_solve(kind: str) -> None:
    dtype = DTYPES[kind]
    A0, b0 = _matrix(6, dtype, False, (3,)), torch.randn(3, 6, dtype=dtype)
    weights = torch.randn(3, 6, dtype=dtype)

    def slopes(solve_for: Any) -> tuple[torch.Tensor, ...]:
        A, b = A0.clone().requires_grad_(), b0.clone().requires_grad_()
        loss = (solve_for(A, b) * weights).abs().square().sum()
        return torch.autograd.grad(loss, (A, b))

    ours = slopes(lambda A, b: solve(LinearSystem(Dense(A), b), solvers.GMRES(), stop=STOP).x)
    theirs = slopes(torch.linalg.solve)
    for got, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


def test_broadcast_right_hand_sides_and_parameters_sum_their_gradients() -> None:
    A = _matrix(4, torch.float64, True, (3,)).requires_grad_()
    b = torch.randn(1, 4, dtype=torch.float64).requires_grad_()

    def x_of(A: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return solve(LinearSystem(Dense(A, traits={Trait.HERMITIAN}), b), solvers.GMRES(),
                     stop=STOP).x  # fmt: skip

    assert x_of(A, b).shape == (3, 4)
    assert torch.autograd.gradcheck(x_of, (A, b), atol=1e-6)


def test_sparse_values_and_diagonals_are_differentiated() -> None:
    dense = _matrix(6, torch.float64, True)
    dense[abs(dense) < 0.15] = 0
    values = dense.to_sparse_csr().values().clone().requires_grad_()
    d = torch.rand(6, dtype=torch.float64).requires_grad_()
    b = torch.randn(6, dtype=torch.float64)

    def x_of(values: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
        A = Sparse(dense.to_sparse_csr(), values=values) + Diagonal(d)
        return solve(LinearSystem(A, b), solvers.GMRES(), stop=STOP).x

    assert torch.autograd.gradcheck(x_of, (values, d), atol=1e-6)


def test_the_backward_solve_is_certified_too() -> None:
    """A backward pass that cannot reach the tolerance raises; it never returns a wrong gradient."""
    n = 40
    A = torch.diag(torch.logspace(0, 4, n, dtype=torch.float64))
    A[0, 1] = 1.0
    b = torch.zeros(n, dtype=torch.float64)
    b[0] = 1  # one step forwards, many backwards
    b.requires_grad_()
    x = solve(LinearSystem(Dense(A), b), solvers.GMRES(), stop=Stop(rtol=1e-10, max_iters=3)).x
    with pytest.raises(SolveError):
        x.sum().backward()


def test_a_second_backward_reuses_the_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[int] = []
    original = solvers.SuperLU.__call__

    def count(self: solvers.SuperLU, A: Operator) -> Operator:
        built.append(1)
        return original(self, A)

    monkeypatch.setattr(solvers.SuperLU, "__call__", count)
    A = _matrix(5, torch.float64, False)
    b = torch.randn(5, dtype=torch.float64).requires_grad_()
    x = solve(LinearSystem(Dense(A), b), solvers.Direct(), stop=STOP).x
    x.sum().backward()
    assert len(built) == 1
    torch.testing.assert_close(b.grad, torch.linalg.solve(A.T, torch.ones(5, dtype=A.dtype)))


class _Detaching(Operator):
    """Multiplies by a tensor behind autograd's back, as a foreign kernel would."""

    param_names = ("d",)

    def __init__(self, d: torch.Tensor) -> None:
        self.d = d
        super().__init__(Space(tuple(d.shape)), traits={Trait.POSITIVE})

    def _apply(self, x: torch.Tensor) -> torch.Tensor:
        return self.d.detach() * x

    _adjoint = _apply


def test_an_operator_that_detaches_its_parameters_is_refused() -> None:
    d = torch.rand(4, dtype=torch.float64).add(1).requires_grad_()
    x = solve(LinearSystem(_Detaching(d), torch.ones(4, dtype=torch.float64)), solvers.CG()).x
    with pytest.raises(TypeError, match="define vjp_params"):
        x.sum().backward()


def test_nothing_is_recorded_without_a_gradient() -> None:
    A = _matrix(4, torch.float64, True)
    x = solve(LinearSystem(Dense(A, traits={Trait.POSITIVE}), torch.ones(4).double()),
              solvers.CG()).x  # fmt: skip
    assert not x.requires_grad


@pytest.mark.parametrize("kind", DTYPES)
def test_as_torch_of_a_numpy_operator_is_differentiable_twice(kind: str) -> None:
    dtype = DTYPES[kind]
    matrix = _matrix(4, dtype, False).numpy()
    act = Dense(matrix).as_torch()
    x = torch.randn(3, 4, dtype=dtype, requires_grad=True)
    assert torch.autograd.gradcheck(act, (x,))
    assert torch.autograd.gradgradcheck(act, (x,))
    np.testing.assert_allclose(act(x).detach().numpy(), x.detach().numpy() @ matrix.T)


def test_as_torch_differentiates_tensor_parameters() -> None:
    m = _matrix(4, torch.float64, False).requires_grad_()
    x = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m, x: Dense(m).as_torch()(x), (m, x))


def test_an_absolute_tolerance_does_not_silence_the_gradient() -> None:
    """atol is in the units of b; the incoming gradient may be far smaller."""
    k = torch.linspace(1, 2, 6, dtype=torch.float64).requires_grad_()
    b = torch.full((6,), 100.0, dtype=torch.float64)
    x = solve(LinearSystem(Diagonal(k), b), solvers.CG(), stop=Stop(rtol=0.0, atol=1e-2)).x
    (1e-4 * x.square()).mean().backward()
    wanted = -2e-4 / 6 * (b / k) * (b / k**2)
    torch.testing.assert_close(k.grad, wanted.detach(), rtol=1e-3, atol=0.0)


def test_second_derivatives_are_refused_rather_than_wrong() -> None:
    k = torch.tensor([2.0, 3.0], dtype=torch.float64, requires_grad=True)
    b = torch.ones(2, dtype=torch.float64)
    x = solve(LinearSystem(Diagonal(k), b), solvers.CG(), stop=STOP).x
    (slope,) = torch.autograd.grad(x.square().sum(), k, create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(slope.sum(), k)
    with pytest.raises(RuntimeError, match="expected first derivatives"):
        torch.autograd.grad(Diagonal(k).as_torch()(b).square().sum(), k, create_graph=True)
