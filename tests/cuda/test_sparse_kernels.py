"""Kernels of sparse matrices and AMG, run block by block on the host, against SciPy and numba."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sciml import LinearSystem, Stop, Trait, solve
from sciml.kernels import cuda
from sciml.kernels.cuda import amg as device_amg
from sciml.kernels.cuda.sparse import Plan
from sciml.operators import Diffusion, GriddedNUFFT, Sparse
from sciml.testing import check_operator
from solvers import AMG, CG, Coarsening, from_pyamg
from tests.cuda._shim import COMPILER, Host, Syncs
from tests.cuda.conftest import ORDERS

DTYPES = [np.float32, np.float64, np.complex64, np.complex128]
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no g++ to run CUDA on the host")


def _numbers(rng, shape, dtype):
    values = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * rng.standard_normal(shape)
    return values.astype(dtype)


def _matrix(rng, shape, share, dtype):
    """With rows that are empty, in canonical CSR form."""
    A = sp.random_array(shape, density=share, rng=rng, format="csr")
    A.data = _numbers(rng, A.nnz, dtype)
    A.sum_duplicates()
    return A


def _product(host, A, x, base=None):
    plan = Plan.of(host, A.indptr, A.indices, A.shape, A.data.dtype)
    return plan.product(host, plan.values(host, A.data), x, base), plan


def _close(found, expected, dtype):
    assert found.dtype == dtype and found.shape == expected.shape
    eps = np.finfo(dtype).eps
    scale = np.abs(expected).max(initial=1)
    assert np.abs(found - expected).max(initial=0) <= 32 * eps * scale


# -- products ------------------------------------------------------------------------------------


@needs_compiler
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    rows=st.integers(1, 70), columns=st.integers(1, 70), members=st.integers(1, 9),
    share=st.sampled_from([0.0, 0.02, 0.2, 1.0]), dtype=st.sampled_from(DTYPES),
    order=st.sampled_from(ORDERS), based=st.booleans(), seed=st.integers(0, 1000),
)  # fmt: skip
def test_products_are_those_of_scipy(rows, columns, members, share, dtype, order, based, seed):
    rng, host = np.random.default_rng(seed), Host(order)
    A = _matrix(rng, (rows, columns), share, dtype)
    x = _numbers(rng, (members, columns), dtype)
    base = _numbers(rng, (members, rows), dtype) if based else None
    wide = np.result_type(dtype, np.float64)
    expected = (A.astype(wide) @ x.T.astype(wide)).T + (base if based else 0)
    found, _ = _product(host, A, x, base)
    _close(found, expected.astype(dtype), dtype)


@pytest.mark.parametrize("length", [1, 2, 3, 6, 11, 21, 70])
def test_rows_are_divided_among_as_many_lanes_as_they_keep_busy(host, length, rng):
    most = np.ones((1, 200))
    A = sp.vstack([_matrix(rng, (300, 200), length / 200, np.float64), most]).tocsr()
    x = rng.standard_normal((2, 200))
    found, plan = _product(host, A, x)
    assert plan.lanes == {1: 1, 2: 2, 3: 2, 6: 4, 11: 8, 21: 16, 70: 32}[length]
    _close(found, (A @ x.T).T, np.float64)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_nearly_one_length_go_by_columns(host, dtype, rng):
    A = sp.diags_array([_numbers(rng, 301, dtype) for _ in range(5)], offsets=[-20, -1, 0, 1, 20],
                       shape=(301, 301)).tocsr()  # fmt: skip
    x, base = _numbers(rng, (7, 301), dtype), _numbers(rng, (7, 301), dtype)
    x[:, 0] = np.inf  # which padding must not spread
    with np.errstate(invalid="ignore"):
        found, plan = _product(host, A, x, base)
    assert plan.lanes == 0 and plan.width == 5
    _close(found[:, 21:], (base + (A @ x.T).T)[:, 21:], dtype)
    assert np.isfinite(found[:, 21:]).all()


@pytest.mark.parametrize("stored", [np.float32, np.float64])
@pytest.mark.parametrize("real", [np.float32, np.float64])
def test_values_may_be_of_another_precision(host, real, stored, rng):
    for share in (0.1, 1.0):
        A = _matrix(rng, (40, 30), share, stored)
        x = _numbers(rng, (3, 30), real)
        expected = (A.astype(np.float64) @ x.T.astype(np.float64)).T
        _close(_product(host, A, x)[0], expected.astype(real), real)


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_indices_of_eight_bytes_and_rows_that_begin_anywhere(host, dtype, rng):
    A = _matrix(rng, (50, 40), 0.1, dtype)
    before = _matrix(rng, (3, 40), 0.5, dtype)
    data = np.concatenate([before.data, A.data])
    indices = np.concatenate([before.indices, A.indices]).astype(np.int64)
    ends = A.indptr.astype(np.int64) + before.nnz
    x = _numbers(rng, (2, 40), dtype)
    short = Plan.of(host, ends, indices, A.shape, data.dtype)
    assert short.lanes and short.ends.dtype == short.indices.dtype == np.int32
    long = Plan(A.shape, short.lanes, 0, ends, short.indices)  # as with 2^31 entries
    for plan in (short, long):
        _close(plan.product(host, plan.values(host, data), x), (A @ x.T).T, dtype)
    assert host.launched[-1].endswith("_long")


def test_members_do_not_change_what_one_gets(host, rng):
    A = _matrix(rng, (90, 60), 0.2, np.float32)
    x = _numbers(rng, (6, 60), np.float32)
    together, _ = _product(host, A, x)
    for m in range(6):
        assert np.array_equal(_product(host, A, x[m : m + 1])[0][0], together[m])


# -- through the operators, as on a GPU ------------------------------------------------------------


def _torch(A):
    return A.to(xp=torch)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(9, 9), (7, 12), (1, 5)], ids=str)
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)], ids=str)
def test_sparse_keeps_its_laws_by_kernels(rehearsal, dtype, shape, batch, rng):
    matrix = _matrix(rng, shape, 0.4, dtype)
    values = _numbers(rng, (*batch, matrix.nnz), dtype)
    A = Sparse(matrix, values=values)
    check_operator(_torch(A), like=torch.zeros(1), rng=rng)
    assert rehearsal.launched
    x, y = _numbers(rng, (*batch, shape[1]), dtype), _numbers(rng, (*batch, shape[0]), dtype)
    _close(_torch(A)(torch.from_numpy(x)).numpy(), A(x), dtype)
    _close(_torch(A).adjoint(torch.from_numpy(y)).numpy(), A.adjoint(y), dtype)


def test_plans_are_made_once_and_values_followed(rehearsal, rng):
    A = _torch(Sparse(_matrix(rng, (8, 8), 1.0, np.complex128)))
    x = torch.from_numpy(_numbers(rng, 8, np.complex128))
    for _ in range(3):
        first = A(x), A.adjoint(x)
    # indices and values are laid out twice each, for A and for A^H
    assert sorted(rehearsal.launched) == ["ell_complex"] * 6 + ["fill_complex"] * 4
    A.data.mul_(2)
    for before, now in zip(first, (A(x), A.adjoint(x)), strict=True):
        assert torch.equal(now, 2 * before)
    B = A.to(dtype=np.complex64)
    assert torch.allclose(B(x.to(torch.complex64)).to(x.dtype), A(x), rtol=1e-5)


def test_what_products_lay_out_is_counted(rehearsal, rng):
    A = _torch(Sparse(_matrix(rng, (8, 8), 1.0, np.float64)))
    x = torch.from_numpy(rng.standard_normal(8))
    bare = A.nbytes
    A(x)
    forward = A.nbytes
    A.adjoint(x)
    # ELL: the 64 values again and as many indices of four bytes; ends of rows may be A's own
    least = 64 * (8 + 4)
    assert bare + least <= forward <= bare + least + 9 * 8
    # of A^H besides the order of its entries
    assert forward + least + 64 * 4 <= A.nbytes <= forward + least + 64 * 8 + 9 * 8


def test_other_layouts_and_no_members(rehearsal, rng):
    A = _torch(Sparse(_matrix(rng, (6, 5), 0.5, np.float64)))
    x = torch.from_numpy(rng.standard_normal((5, 4)))
    assert torch.allclose(A(x.T), torch.from_numpy(A.assemble() @ x.numpy()).T)
    count = len(rehearsal.launched)
    assert A(x.T[:0]).shape == (0, 6) and len(rehearsal.launched) == count


def test_gradients_go_the_differentiable_way(rehearsal, rng):
    A = _torch(Sparse(_matrix(rng, (6, 6), 0.5, np.float64)))
    A.data.requires_grad_()
    assert A(torch.ones(6, dtype=torch.float64)).requires_grad and not rehearsal.launched


def test_gridding_runs_on_these_products(rehearsal, rng):
    coords = rng.uniform(-0.5, 0.5, (40, 2))
    expected = GriddedNUFFT(coords, (8, 9), dtype=np.complex128)
    A = GriddedNUFFT(torch.from_numpy(coords), (8, 9), dtype=np.complex128)
    x = _numbers(rng, (3, 8, 9), np.complex128)
    y = _numbers(rng, (3, 40), np.complex128)
    np.testing.assert_allclose(A(torch.from_numpy(x)).numpy(), expected(x), atol=1e-12)
    back = A.adjoint(torch.from_numpy(y)).numpy()
    np.testing.assert_allclose(back, expected.adjoint(y), atol=1e-12)
    assert rehearsal.launched.count("ell_complex") + rehearsal.launched.count("csr_complex") == 2


# -- AMG -----------------------------------------------------------------------------------------


def _poisson(rng, shape, dtype=np.float64):
    k = np.exp(rng.standard_normal(shape))
    return Sparse(Diffusion(k, ndim=len(shape)).assemble().astype(dtype), traits={Trait.POSITIVE})


def _complex_one(rng, shape):
    """A Poisson matrix whose unknowns were turned, Hermitian and positive."""
    A = _poisson(rng, shape).assemble()
    turns = sp.diags_array(np.exp(2j * np.pi * rng.random(A.shape[0])))
    return Sparse((turns.conj() @ A @ turns).tocsr(), traits={Trait.POSITIVE})


@pytest.fixture
def small_blocks(monkeypatch):
    """Fewer fibers for the shim to run."""
    monkeypatch.setattr(device_amg, "_TAIL_THREADS", 64)


def _cycle(host, M):
    arrays = (M.indptr, M.indices, M.data, M.coarsest)
    return cuda.amg.Cycle.of(host, M.structure.layout, M.structure.indptr, M.domain.size, arrays)


@pytest.mark.parametrize("most", [0, 600, 1 << 15], ids=["no tail", "a tail", "a tail alone"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_cycle_is_that_of_the_cpu(host, dtype, most, rng, monkeypatch):
    monkeypatch.setattr(device_amg, "_TAIL", most)
    A = _poisson(rng, (17, 19))
    M = AMG(dtype=dtype)(A)
    x = rng.standard_normal((3, A.domain.size))
    x *= np.array([[1.0], [1e-200], [1e200]]) if dtype == np.float32 else 1
    run = _cycle(host, M)
    expected = M(x)
    found = run(host, M.scale, x)
    scale = np.abs(expected).max(axis=1, keepdims=True)
    assert np.abs((found - expected) / scale).max() <= 16 * np.finfo(dtype).eps
    levels = len(M.structure.layout)
    assert {0: levels, 600: 1, 1 << 15: 0}[most] <= len(run.large) <= {1 << 15: 0}.get(most, levels)
    assert host.launched.count("tail") == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_complex_cycles(host, small_blocks, dtype, rng, monkeypatch):
    pytest.importorskip("pyamg")
    monkeypatch.setattr(device_amg, "_TAIL", 300)
    A = _complex_one(rng, (13, 12))
    M = AMG(Coarsening.SMOOTHED_AGGREGATION, dtype=dtype)(A)
    x = _numbers(rng, (2, A.domain.size), np.complex128)
    found, expected = _cycle(host, M)(host, M.scale, x), M(x)
    assert np.abs(found - expected).max() <= 16 * np.finfo(dtype).eps * np.abs(expected).max()
    assert "tail_complex" in host.launched


def test_zeros_infinities_and_the_smallest_numbers(host, rng):
    A = _poisson(rng, (4, 5))  # a single level
    M = AMG(dtype=np.float32)(A)
    x = np.zeros((4, 20))
    x[1, 3], x[2, 3], x[3] = np.inf, 5e-324, 1.0
    with np.errstate(all="ignore"):
        found = _cycle(host, M)(host, M.scale, x)
    assert not found[0].any() and not np.isfinite(found[1]).all()
    assert np.isfinite(found[2:]).all()
    np.testing.assert_allclose(found[3], M(x[3]), rtol=1e-5)


@pytest.mark.parametrize("members", [None, 3])
@pytest.mark.parametrize("dtype", [None, np.float64])
def test_amg_cg_of_a_matrix_on_the_device(
    rehearsal, small_blocks, dtype, members, rng, monkeypatch
):
    monkeypatch.setattr(device_amg, "_TAIL", 600)
    A = _poisson(rng, (15, 16))
    b = rng.standard_normal((A.domain.size,) if members is None else (members, A.domain.size))
    stop = Stop(rtol=1e-9, check_every=1)
    solver = CG(M=AMG(dtype=dtype))
    expected = solve(LinearSystem(A, b), solver, stop=stop)
    assert not rehearsal.launched
    found = solve(LinearSystem(_torch(A), torch.from_numpy(b)), solver, stop=stop)
    assert np.all(found.ok) and isinstance(found.x, torch.Tensor)
    assert np.all(abs(np.subtract(found.iterations, expected.iterations)) <= 1)
    np.testing.assert_allclose(found.x.numpy(), expected.x, rtol=1e-6, atol=1e-7)
    residual = b - (A.assemble() @ found.x.numpy().T).T
    assert np.linalg.norm(residual, axis=-1).max() <= 1e-9 * np.linalg.norm(b, axis=-1).max()
    counts = {k: rehearsal.launched.count(k) for k in set(rehearsal.launched)}
    assert counts["tail"] == counts["enter"] == counts["leave"] >= np.max(found.iterations)
    assert counts.get("sizes", 0) == (counts["tail"] if dtype is None else 0)


def test_a_cycle_set_up_on_the_host_is_moved_and_updated(rehearsal, small_blocks, rng):
    A = _poisson(rng, (9, 10))
    M, x = AMG()(A), rng.standard_normal((2, 90))
    there = torch.from_numpy(x)
    with pytest.raises(TypeError, match=r"move this one there with M\.to"):
        M(there)
    moved = M.to(xp=torch, device="cpu")
    np.testing.assert_allclose(moved(there).numpy(), M(x), rtol=1e-5, atol=1e-8)
    twice = Sparse(2 * A.assemble(), traits={Trait.POSITIVE})
    renewed = AMG()(_torch(A)).update(_torch(twice))
    np.testing.assert_allclose(2 * renewed(there).numpy(), M(x), rtol=1e-5, atol=1e-8)
    check_operator(AMG(dtype=np.float64)(_torch(A)), like=torch.zeros(1), rng=rng)


def test_a_hierarchy_of_pyamg_is_moved(rehearsal, small_blocks, rng, monkeypatch):
    pyamg = pytest.importorskip("pyamg")
    monkeypatch.setattr(device_amg, "_TAIL", 600)
    ml = pyamg.ruge_stuben_solver(pyamg.gallery.poisson((15, 16), format="csr"))
    A = Sparse(ml.levels[0].A, traits={Trait.POSITIVE})
    M, b = from_pyamg(ml), rng.standard_normal(240)
    stop = Stop(rtol=1e-9, check_every=1)
    expected = solve(LinearSystem(A, b), CG(M=M), stop=stop)
    assert not rehearsal.launched
    moved = CG(M=M.to(xp=torch, device="cpu"))
    found = solve(LinearSystem(_torch(A), torch.from_numpy(b)), moved, stop=stop)
    assert found.ok and abs(found.iterations - expected.iterations) <= 1
    np.testing.assert_allclose(found.x.numpy(), expected.x, rtol=1e-6, atol=1e-7)
    assert rehearsal.launched.count("tail") >= found.iterations


def test_without_kernels_the_array_library_does_it(rehearsal, rng, monkeypatch):
    A = _poisson(rng, (9, 10))
    M, x = AMG()(A), rng.standard_normal((2, 90))
    monkeypatch.setattr(cuda, "device_of", lambda *_: None)
    found = M.to(xp=torch)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, M(x), rtol=1e-5, atol=1e-8)
    assert not rehearsal.launched


def test_no_step_between_looks_waits_for_the_device(rehearsal, small_blocks, rng):
    A = _torch(_poisson(rng, (7, 8)))
    problem = LinearSystem(A, torch.from_numpy(rng.standard_normal(56)))
    solver = CG(M=AMG()).prepare(problem)
    state = solver.advance(solver.init(problem, None), 1)  # plans are made at the first product
    with Syncs() as syncs:
        solver.advance(state, 8)
    assert syncs.count == 0
