"""Coil kernels, run block by block on the host, against NumPy and the operators on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sciml import LinearSystem, Stop, solve
from sciml.kernels.cuda import coils
from sciml.operators import NUFFT, SENSE, Coils, NonCartesianSENSE, Toeplitz
from sciml.testing import check_operator
from solvers import CG
from tests.cuda._shim import COMPILER, Host
from tests.cuda.conftest import ORDERS

DTYPES = [np.complex64, np.complex128]
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no g++ to run CUDA on the host")


def _numbers(rng, shape, dtype=np.complex128):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)


def _close(found, expected, dtype):
    assert found.dtype == dtype and found.shape == expected.shape
    bound = 16 * np.finfo(dtype).eps * max(1.0, np.abs(expected).max())
    assert np.abs(found - expected).max() <= bound


@needs_compiler
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    shape=st.lists(st.integers(1, 24), min_size=1, max_size=3).map(tuple),
    coil=st.one_of(st.none(), st.integers(1, 5)), lead=st.sampled_from([(), (3,), (2, 3)]),
    own=st.integers(0, 2), turned=st.integers(0, 7), dtype=st.sampled_from(DTYPES),
    stored=st.sampled_from(DTYPES), order=st.sampled_from(ORDERS), seed=st.integers(0, 1000),
)  # fmt: skip
def test_coils_are_those_of_numpy(
    shape, coil, lead, own, turned, dtype, stored, order, seed
):  # fmt: skip
    rng, host, ndim = np.random.default_rng(seed), Host(order), len(shape)
    maps = None
    batch = lead[len(lead) - min(own, len(lead)) :]  # that maps have of their own
    if coil is not None:
        maps = _numbers(rng, (*batch, coil, *shape), stored)
        assert coils.serves(maps, lead, ndim)
    odd = tuple(turned >> a & 1 for a in range(ndim))
    axes = [np.exp(1j * rng.standard_normal(n)) for n in shape]
    turns = np.concatenate(axes).astype(dtype)
    turn = np.ones(shape, complex)
    for a, vector in enumerate(axes):
        if odd[a]:
            turn *= vector.reshape(-1, *(1,) * (ndim - a - 1))
    x = _numbers(rng, (*lead, *shape), dtype)
    found = coils.spread(host, maps, x, ndim, turns, odd)
    seen = x * turn if maps is None else maps * np.expand_dims(x * turn, -1 - ndim)
    _close(found, seen, dtype)

    y, to = _numbers(rng, seen.shape, dtype), _numbers(rng, x.shape, dtype)
    back = y if maps is None else (maps.conj() * y).sum(axis=-1 - ndim)
    back = turn.conj() * back
    _close(coils.gather(host, maps, y, ndim, turns, odd), back, dtype)
    _close(coils.gather(host, maps, y, ndim, turns, odd, to.copy()), to + back, dtype)


@pytest.mark.parametrize("rows", [(), (1,), (3,)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_samples_are_weighed_in_place(host, dtype, rows, rng):
    y, w = _numbers(rng, (2, 3, 17, 19), dtype), rng.random((*rows, 17, 19))
    expected = 0.5 * w * y
    coils.weigh(host, y, w, 2, 0.5)
    _close(y, expected, dtype)


def test_maps_that_kernels_do_not_take(rng):
    maps = _numbers(rng, (2, 4, 6, 5))
    assert coils.serves(maps, (2,), 2) and coils.serves(maps, (7, 2), 2)
    for batch in ((), (3,), (2, 7), (0, 2)):
        assert not coils.serves(maps, batch, 2)
    assert not coils.serves(maps.swapaxes(-1, -2), (2,), 2)
    assert not coils.serves(_numbers(rng, (1, 2, 2, 2, 2)), (), 4)


# -- through the operators, as on a GPU ------------------------------------------------------------


def _torch(A):
    return A.to(xp=torch)


def _there(x):
    return torch.from_numpy(x)


MASKS = {
    "rows": lambda rng: (rng.random((9, 1)) < 0.5).astype(float),
    "columns": lambda rng: (rng.random((1, 8)) < 0.5).astype(float),
    "points": lambda rng: (rng.random((9, 8)) < 0.5).astype(float),
    "coils": lambda rng: (rng.random((3, 9, 1)) < 0.5).astype(float),
    "none": lambda rng: None,
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("batch", [(), (2,)], ids=str)
def test_sense_and_its_normal_operator(rehearsal, batch, mask, dtype, rng):
    A = SENSE(_numbers(rng, (*batch, 3, 9, 8), dtype), MASKS[mask](rng))
    there = _torch(A)
    check_operator(there, like=torch.zeros(1), rng=rng)
    x, y = _numbers(rng, (4, *batch, 9, 8), dtype), _numbers(rng, (4, *batch, 3, 9, 8), dtype)
    _close(there(_there(x)).numpy(), A(x), dtype)
    _close(there.adjoint(_there(y)).numpy(), A.adjoint(y), dtype)
    rehearsal.launched.clear()
    found = there.normal(_there(x)).numpy()
    assert rehearsal.launched == ["coils_spread", "coils_weigh", "coils_gather"]
    _close(found, A.normal(x), dtype)


def test_coils(rehearsal, rng):
    A = Coils(_numbers(rng, (2, 3, 5, 4, 3)), ndim=3)
    check_operator(_torch(A), like=torch.zeros(1), rng=rng)
    assert {"coils_spread", "coils_gather"} <= set(rehearsal.launched)


@pytest.mark.parametrize("shape", [(8,), (6, 7), (4, 3, 5)], ids=str)
def test_toeplitz(rehearsal, shape, rng):
    A = Toeplitz(rng.uniform(-0.5, 0.5, (30, len(shape))), shape, dtype=np.complex128)
    x = _numbers(rng, (2, *shape))
    expected = A(x)
    assert not rehearsal.launched
    _close(_torch(A)(_there(x)).numpy(), expected, np.complex128)
    parts = 1 << len(shape)  # the even frequencies of all axes need no turns
    assert rehearsal.launched.count("coils_weigh") == parts
    assert rehearsal.launched.count("coils_spread") == parts - 1
    check_operator(_torch(A), like=torch.zeros(1), rng=rng)


def _radial(rng, spokes, samples):
    angle = np.pi * np.arange(spokes)[:, None] / spokes + rng.random()
    radius = np.arange(samples) / samples - 0.5
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1).reshape(-1, 2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_normal_operator_of_any_trajectory(rehearsal, dtype, rng):
    A = NonCartesianSENSE(_numbers(rng, (3, 8, 9), dtype), _radial(rng, 7, 12))
    normal, x = A.normal, _numbers(rng, (2, 8, 9), dtype)
    expected = normal(x)
    assert not rehearsal.launched
    found = _torch(normal)(_there(x)).numpy()
    _close(found, expected, dtype)
    assert rehearsal.launched == ["coils_spread", "coils_weigh", "coils_gather"] * 4


def test_reconstruction_by_kernels_is_certified(rehearsal, rng):
    truth = _numbers(rng, (4, 12, 10))
    maps = _numbers(rng, (4, 5, 12, 10))
    A = SENSE(maps, (rng.random((12, 1)) < 0.6).astype(float))
    stop, y = Stop(rtol=1e-10), A(truth)
    expected = solve(LinearSystem(A.normal, A.adjoint(y)), CG(), stop=stop)
    assert not rehearsal.launched
    there = _torch(A)
    problem = LinearSystem(there.normal, there.adjoint(_there(y)))
    found = solve(problem, CG(), stop=stop)
    assert np.all(found.ok) and isinstance(found.x, torch.Tensor)
    np.testing.assert_allclose(found.x.numpy(), truth, atol=1e-8)
    assert np.all(abs(np.subtract(found.iterations, expected.iterations)) <= 16)
    assert rehearsal.launched.count("coils_gather") >= np.max(found.iterations)


def test_gradients_go_the_differentiable_way(rehearsal, rng):
    maps = _there(_numbers(rng, (3, 6, 5))).requires_grad_()
    A = SENSE(maps)
    x = _there(_numbers(rng, (6, 5)))
    assert A(x).requires_grad and A.normal(x).requires_grad and not rehearsal.launched
    slopes = A.vjp_params(x, A(x).detach())
    assert slopes["maps"].shape == maps.shape


def test_the_finer_transform_of_one_image(rehearsal, rng):
    coords = rng.uniform(-0.5, 0.5, (20, 2))
    normal = NUFFT(coords, (6, 5), dtype=np.complex128).normal
    x = _numbers(rng, (6, 5))
    _close(_torch(normal)(_there(x)).numpy(), normal(x), np.complex128)
