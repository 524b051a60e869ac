"""Factorisations of many matrices of one pattern."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import solvers
from sciml import LinearSystem, Stop, Trait, solve
from sciml.operators import Diffusion, Sparse
from sciml.testing import check_operator
from solvers.precond import Recipe


def spd(seed: int, dtype: Any = np.float64, n: int = 12) -> sp.csr_array:
    """Diffusion with a random coefficient; turned by random phases if complex."""
    rng = np.random.default_rng(seed)
    A = sp.csr_array(Diffusion(np.exp(rng.standard_normal((n, n)))).assemble())
    if np.dtype(dtype).kind == "c":
        phase = sp.diags_array(np.exp(1j * np.arange(n * n)))
        A = sp.csr_array(phase @ A @ phase.conj())
    A.sort_indices()
    return A.astype(dtype)


def general(seed: int, dtype: Any = np.float64) -> sp.csr_array:
    """A non-symmetric matrix that needs row exchanges."""
    A = spd(seed, dtype)
    A.data = A.data * np.random.default_rng(seed).standard_normal(A.nnz)
    return A


def indefinite(seed: int, dtype: Any = np.float64) -> sp.csr_array:
    """Hermitian, with a positive diagonal and eigenvalues of both signs."""
    A = spd(seed, dtype)
    A.setdiag(0.6 * A.diagonal())
    return A


MAKES = {
    "positive": (spd, {Trait.POSITIVE}),
    "hermitian": (indefinite, {Trait.HERMITIAN}),
    "general": (general, {Trait.LINEAR}),
}


@pytest.fixture(params=["SuperLU", "Cholesky"])
def recipe(request: pytest.FixtureRequest) -> Recipe:
    if request.param == "Cholesky":
        pytest.importorskip("sksparse", reason="scikit-sparse is not installed")
        return solvers.Cholesky()
    return solvers.SuperLU()


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("kind", MAKES)
def test_update_inverts_the_other_matrix(kind: str, dtype: str, rng: np.random.Generator) -> None:
    make, traits = MAKES[kind]
    first, second, third = (Sparse(make(seed, dtype), traits=traits) for seed in range(3))
    M = solvers.SuperLU()(first)
    b = first.range.random(rng, (3,))
    before = M(b)
    for A in (second, third):  # an update of an update too
        M = M.update(A)
        check_operator(M)
        x, y = M(b).T, M.adjoint(b).T
        matrix = A.assemble().toarray()
        size = np.linalg.cond(matrix) * np.finfo(dtype).eps * 50
        for got, op in ((x, matrix), (y, matrix.conj().T)):
            expected = np.linalg.solve(op, b.T)
            assert np.linalg.norm(got - expected) < size * np.linalg.norm(expected)
    np.testing.assert_array_equal(solvers.SuperLU()(first)(b), before)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_cholmod_updates(dtype: str, rng: np.random.Generator) -> None:
    pytest.importorskip("sksparse", reason="scikit-sparse is not installed")
    A, B = (Sparse(spd(seed, dtype), traits={Trait.POSITIVE}) for seed in (0, 1))
    old = solvers.Cholesky()(A)
    M = old.update(B)
    check_operator(M)
    b = A.range.random(rng, (2,))
    for op, inverse in ((A, old), (B, M)):
        np.testing.assert_allclose(op(inverse(b)), b, atol=1e-10)
    assert M.nbytes == old.nbytes
    with pytest.raises(np.linalg.LinAlgError, match="CHOLMOD"):
        old.update(Sparse(indefinite(2, dtype), traits={Trait.POSITIVE}))


def test_the_fill_is_that_of_the_first_factorisation() -> None:
    """The column order is kept, so the factors are as sparse as those that found it."""
    A, B = (Sparse(spd(seed, n=40), traits={Trait.POSITIVE}) for seed in (0, 1))
    M = solvers.SuperLU()(A)
    alone = M.nbytes
    renewed = M.update(B)
    assert renewed.factors.nnz == M.factors.nnz
    np.testing.assert_array_equal(renewed.factors.perm_c, np.arange(1600))
    assert renewed.nbytes == M.nbytes == alone + sum(a.nbytes for a in renewed.known)
    assert renewed.update(A).known is renewed.known
    natural = sp.linalg.splu(B.assemble().tocsc(), permc_spec="NATURAL")
    assert renewed.factors.nnz < 0.7 * natural.nnz


def test_another_kind_of_matrix_is_ordered_anew(rng: np.random.Generator) -> None:
    """A negative diagonal calls for partial pivoting, for which another order is right."""
    A = Sparse(spd(0), traits={Trait.HERMITIAN})
    B = Sparse(-1.0 * spd(1), traits={Trait.HERMITIAN})
    M = solvers.SuperLU()(A).update(B)
    assert M.known is None
    b = rng.standard_normal(144)
    np.testing.assert_allclose(B(M(b)), b, atol=1e-10)


def test_other_patterns_are_refused(recipe: Recipe) -> None:
    A = Sparse(spd(0), traits={Trait.POSITIVE})
    M: Any = recipe(A)
    moved = spd(0).tolil()
    moved[0, 5] = moved[5, 0] = -1e-3
    for bad, kind in (
        (Sparse(sp.csr_array(moved), traits={Trait.POSITIVE}), ValueError),
        (Sparse(spd(0, n=13), traits={Trait.POSITIVE}), ValueError),
        (Sparse(spd(0, np.float32), traits={Trait.POSITIVE}), ValueError),
        (Sparse(sp.csr_array(np.ones((144, 100)))), TypeError),
        (None, TypeError),
    ):
        with pytest.raises(kind, match="expected"):
            M.update(bad)
    singular = spd(1)
    singular.data[:] = 0
    with pytest.raises(np.linalg.LinAlgError):
        M.update(Sparse(singular, traits={Trait.POSITIVE}))


def test_a_batch_of_matrices_is_factored_member_by_member(
    recipe: Recipe, rng: np.random.Generator
) -> None:
    matrices = [spd(seed) for seed in range(6)]
    values = np.stack([m.data for m in matrices]).reshape(2, 3, -1)
    A = Sparse(matrices[0], values=values, traits={Trait.POSITIVE})
    M = recipe(A)
    check_operator(M)
    assert M.batch_shape == (2, 3) and len(M.parts) == 6
    b = rng.standard_normal((2, 3, 144))
    x = M(b)
    for i, matrix in enumerate(matrices):
        np.testing.assert_allclose(matrix @ x.reshape(6, -1)[i], b.reshape(6, -1)[i], atol=1e-10)
    result = solve(LinearSystem(A, b), solvers.CG(M=recipe), stop=Stop(rtol=1e-10))
    assert (result.iterations == 1).all()
    again = solve(LinearSystem(A, b), solvers.Direct(M=M))
    np.testing.assert_allclose(again.x, x)
    swapped = Sparse(matrices[0], values=values[::-1].copy(), traits={Trait.POSITIVE})
    np.testing.assert_allclose(M.update(swapped)(b[::-1]), x[::-1], atol=1e-10)
    with pytest.raises(ValueError, match=r"expected matrices of batch \(2, 3\)"):
        M.update(Sparse(matrices[0], values=values[0], traits={Trait.POSITIVE}))


def test_batches_without_stored_matrices_are_refused(recipe: Recipe) -> None:
    k = np.exp(np.random.default_rng(0).standard_normal((3, 8, 8)))
    with pytest.raises(TypeError, match=r"expected Sparse\(matrix, values=\.\.\.\)"):
        recipe(Diffusion(k, ndim=2))


def test_an_empty_batch(recipe: Recipe) -> None:
    matrix = spd(0)
    A = Sparse(matrix, values=np.zeros((0, matrix.nnz)), traits={Trait.POSITIVE})
    M = recipe(A)
    assert M(np.zeros((0, 144))).shape == (0, 144)
