"""SENSE against the composition of its parts, and its normal operator's short cuts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sciml import Space
from sciml.operators import FFT, SENSE, Coils, Sampling

SHAPES = ((8, 9), (7, 6), (5, 4, 6), (1, 7))


def maps_for(shape: tuple[int, ...], rng: np.random.Generator, coils: int = 5) -> np.ndarray:
    return Space((coils, *shape), np.complex128).random(rng)


def masks(shape: tuple[int, ...], rng: np.random.Generator) -> dict[str, np.ndarray]:
    full = rng.random(shape) < 0.5
    full.flat[0] = True
    found = {"scattered": full, "everything": np.ones(shape, bool)}
    for axis in range(len(shape)):
        lines = full.any(axis=axis, keepdims=True) & (rng.random() < 2)
        found[f"lines along {axis}"] = np.broadcast_to(lines, shape)
        found[f"lines along {axis}, short"] = lines
    found["one for each coil"] = rng.random((5, *shape)) < 0.7
    return found


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_is_the_composition(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    maps = maps_for(shape, rng)
    ndim = len(shape)
    for name, mask in masks(shape, rng).items():
        A = SENSE(maps, mask, ndim=ndim)
        C = Coils(maps, ndim=ndim)
        parts = Sampling(mask, C.range) @ FFT(C.range, axes=ndim, centred=True) @ C
        x, y = A.domain.random(rng), A.range.random(rng)
        np.testing.assert_allclose(A(x), parts(x), atol=1e-12, err_msg=name)
        np.testing.assert_allclose(A.adjoint(y), parts.adjoint(y), atol=1e-12, err_msg=name)
        np.testing.assert_allclose(A.normal(x), parts.adjoint(parts(x)), atol=1e-12, err_msg=name)
        expected = parts.normal.dense() if x.size < 80 else None
        if expected is not None:
            np.testing.assert_allclose(
                A.normal.diagonal().reshape(-1), np.diag(expected), atol=1e-12
            )
        bound = np.linalg.norm(parts.dense(), 2) if x.size < 80 else 0
        assert bound <= A.norm_bound * (1 + 1e-12)


def test_axes_on_which_the_mask_is_constant_are_not_transformed(
    rng: np.random.Generator,
) -> None:
    maps = maps_for((6, 5), rng)
    rows: Any = SENSE(maps, (np.arange(5) % 2 == 0)[None, :]).normal
    assert rows.axes == (-1,)
    lines: Any = SENSE(maps, (np.arange(6) % 2 == 0)[:, None]).normal
    assert lines.axes == (-1,)
    assert lines.spectrum.shape == (1, 1, 6)
    everything: Any = SENSE(maps).normal
    assert everything.axes == ()


def test_threads_do_not_change_a_bit(rng: np.random.Generator) -> None:
    maps = maps_for((160, 150), rng, coils=7).astype(np.complex64)
    A = SENSE(maps, rng.random((160, 150)) < 0.4)
    x = A.domain.random(rng)
    most, found = torch.get_num_threads(), []
    for count in (1, 2, most):
        torch.set_num_threads(count)
        try:
            found.append((A.normal(x).tobytes(), A(x).tobytes()))
        finally:
            torch.set_num_threads(most)
    assert found[0] == found[1] == found[2]


def test_bad_arguments_are_refused(rng: np.random.Generator) -> None:
    maps = maps_for((6, 5), rng)
    with pytest.raises(ValueError, match="nothing was measured"):
        SENSE(maps, np.zeros((6, 5), bool))
    with pytest.raises(ValueError, match="broadcasts against k-space"):
        SENSE(maps, np.ones((5, 6), bool))
    with pytest.raises(ValueError, match="0 and 1"):
        SENSE(maps, np.full((6, 5), 0.5))
    with pytest.raises(TypeError, match="complex maps"):
        SENSE(maps.real)
    with pytest.raises(ValueError, match="coil"):
        Coils(maps[0])


def test_arrays_that_run_backwards_are_taken(rng: np.random.Generator) -> None:
    maps = maps_for((192, 192), rng, coils=2)[:, ::-1]
    A = SENSE(maps, rng.random((192, 192))[::-1] < 0.5)
    x = A.domain.random(rng)[::-1]
    np.testing.assert_allclose(A.normal(x), A.adjoint(A(x)), atol=1e-10)
