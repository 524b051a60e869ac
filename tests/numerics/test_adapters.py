"""Ways in and out: SciPy, PyLops, deepinv."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as spl
import torch

import solvers
from sciml import LinearSystem, Space, Trait, solve
from sciml.adapters import as_pylops, as_scipy, from_deepinv, from_pylops, from_scipy
from sciml.operators import FFT, Dense, Sparse
from sciml.testing import check_operator


def _laplacian(n: int) -> sp.csr_array:
    return sp.csr_array(sp.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(n, n)))


def test_scipy_solves_with_our_operator(rng: np.random.Generator) -> None:
    A = Dense(_laplacian(30).toarray(), traits={Trait.POSITIVE})
    b = rng.standard_normal(30)
    x, info = spl.cg(A.as_scipy(), b, rtol=1e-10)
    assert info == 0
    np.testing.assert_allclose(x, np.linalg.solve(_laplacian(30).toarray(), b), rtol=1e-7)


def test_as_scipy_ravels_and_has_the_adjoint(rng: np.random.Generator) -> None:
    F = FFT(Space((3, 4), np.complex128))
    L = as_scipy(F)
    x = F.domain.random(rng)
    np.testing.assert_allclose(L @ x.reshape(-1), np.fft.fft2(x, norm="ortho").reshape(-1))
    np.testing.assert_allclose(L.H @ (L @ x.reshape(-1)), x.reshape(-1))


def test_from_scipy_linear_operator_keeps_the_laws() -> None:
    check_operator(from_scipy(spl.aslinearoperator(_laplacian(7)), traits={Trait.POSITIVE}))


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "dia", "lil", "dok"])
@pytest.mark.parametrize("kind", [sp.csr_array, sp.csr_matrix], ids=["array", "matrix"])
def test_every_scipy_format_is_taken(form: str, kind: type, rng: np.random.Generator) -> None:
    dense = rng.standard_normal((5, 4)) * (rng.random((5, 4)) < 0.5)
    A = from_scipy(kind(dense).asformat(form))
    x = rng.standard_normal(4)
    np.testing.assert_allclose(A(x), dense @ x)


def test_duplicates_are_summed_and_the_users_matrix_stays_as_it_is() -> None:
    rows, columns = np.array([0, 0, 1]), np.array([1, 1, 0])
    coo = sp.coo_array((np.array([1.0, 2.0, 4.0]), (rows, columns)), shape=(2, 2))
    np.testing.assert_array_equal(from_scipy(coo)(np.array([1.0, 10.0])), [30.0, 4.0])
    assert coo.nnz == 3
    csr = sp.csr_array((np.array([1.0, 2.0]), np.array([1, 1]), np.array([0, 2, 2])), shape=(2, 2))
    before = csr.data.copy(), csr.indices.copy()
    Sparse(csr)
    assert np.array_equal(csr.data, before[0]) and np.array_equal(csr.indices, before[1])


def test_hermitian_is_found_up_to_the_rounding_of_an_assembly(rng: np.random.Generator) -> None:
    A = _laplacian(20)
    assert Trait.HERMITIAN in from_scipy(A).traits
    noisy = A.copy()
    noisy.data *= 1 + 1e-15 * rng.standard_normal(noisy.nnz)
    assert Trait.HERMITIAN in from_scipy(noisy).traits
    wrong = A.copy()
    wrong.data[1] *= 1 + 1e-9
    assert Trait.HERMITIAN not in from_scipy(wrong).traits
    assert Trait.HERMITIAN in from_scipy(A + 1j * (A * 0)).traits
    assert Trait.HERMITIAN not in from_scipy(A * 1j).traits
    assert Trait.HERMITIAN in from_scipy(A.toarray()).traits


def test_small_asymmetric_blocks_are_not_taken_for_rounding() -> None:
    """A block of size 1e-20 beside entries of 1: its asymmetry is large for its own rows."""
    block = np.array([[2.0, -1.0], [0.5, 2.0]]) * 1e-20
    A = sp.csr_array(sp.block_diag([np.eye(2), block]))
    assert Trait.HERMITIAN not in from_scipy(A).traits


def test_anything_else_is_refused() -> None:
    for bad in (None, 3.0, "matrix", [[1.0]], object()):
        with pytest.raises(TypeError, match=r"expected .* got"):
            from_scipy(bad)
    with pytest.raises(TypeError, match=r"expected .* got"):
        from_scipy(np.eye(3, dtype=int))


def test_pylops_both_ways(rng: np.random.Generator) -> None:
    import pylops

    D = pylops.SecondDerivative((6, 5), axis=0, dtype="float64")
    A = from_pylops(D)
    assert (A.domain.shape, A.range.shape) == ((6, 5), (6, 5))
    check_operator(A)
    x = rng.standard_normal((6, 5))
    np.testing.assert_allclose(A(x), D @ x)
    back = as_pylops(FFT(Space((4, 3), np.complex128)))
    assert pylops.utils.dottest(back, 12, 12, complexflag=3)
    z = rng.standard_normal((4, 3)) + 0j
    np.testing.assert_allclose(back @ z, np.fft.fft2(z, norm="ortho"))


class _Blur:
    """What deepinv's LinearPhysics offers, on (batch, channel, y, x) tensors."""

    def A(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.roll(x, 1, -1)

    def A_adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return y + torch.roll(y, -1, -1)


def test_a_deepinv_physics_keeps_the_laws_and_is_solved() -> None:
    A = from_deepinv(_Blur(), Space((1, 4, 5), np.float32))
    check_operator(A, like=torch.zeros(1))
    b = torch.randn(1, 4, 5)
    result = solve(LinearSystem(A, b), solvers.LSQR())
    torch.testing.assert_close(A(result.x), b, rtol=1e-4, atol=1e-4)


def test_deepinv_itself_where_it_is_installed() -> None:
    deepinv = pytest.importorskip("deepinv", reason="deepinv is not installed")
    physics = deepinv.physics.Inpainting(img_size=(1, 8, 8), mask=0.5)
    check_operator(from_deepinv(physics, Space((1, 8, 8), np.float32)), like=torch.zeros(1))
