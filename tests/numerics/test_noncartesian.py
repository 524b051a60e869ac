"""Multi-coil imaging along any trajectory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sciml import Space
from sciml.operators import SENSE, NonCartesianSENSE

TIGHT = {"complex64": 1e-6, "complex128": 1e-10}
REAL_TRAJECTORY = Path("../shared/data/mri_kspace/projection_coord.npy")


def gap(got: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


def matrix_of(maps: np.ndarray, coords: np.ndarray) -> np.ndarray:
    """(coil, samples, pixels): the sum with its sensitivities."""
    shape = maps.shape[1:]
    places = np.stack(np.meshgrid(*(np.arange(n) - n // 2 for n in shape), indexing="ij"), axis=-1)
    angles = coords.reshape(-1, len(shape)) @ places.reshape(-1, len(shape)).T
    fourier = np.exp(-2j * np.pi * angles) / np.sqrt(np.prod(shape))
    return fourier[None] * maps.reshape(len(maps), 1, -1)


@pytest.mark.parametrize("dtype", TIGHT)
@pytest.mark.parametrize("shape", [(9, 8), (5, 4, 6)])
def test_samples_and_normal_are_the_sum(shape: tuple, dtype: str, rng: np.random.Generator) -> None:
    maps = Space((3, *shape), dtype).random(rng)
    coords, w = rng.uniform(-0.5, 0.5, (6, 25, len(shape))), rng.random((6, 25))
    A = NonCartesianSENSE(maps, coords, weights=w)
    x, M = A.domain.random(rng), matrix_of(maps.astype(complex), coords)
    y = (M @ x.reshape(-1)).reshape(3, 6, 25)
    assert A.range.shape == (3, 6, 25)
    assert gap(A(x), np.sqrt(w) * y) < TIGHT[dtype]
    assert gap(A.weighted(y.astype(dtype)), np.sqrt(w) * y) < TIGHT[dtype]
    backwards = np.einsum("csn,cs->n", M.conj(), (w * y).reshape(3, -1)).reshape(shape)
    assert gap(A.normal(x), backwards) < TIGHT[dtype]
    power = np.einsum("csn,s,csn->n", M.conj(), w.reshape(-1), M).reshape(shape)
    assert gap(A.normal.diagonal(), power) < TIGHT[dtype]


def test_on_a_grid_it_is_cartesian_sense(rng: np.random.Generator) -> None:
    shape = (8, 10)
    coords = np.stack(
        np.meshgrid(*((np.arange(n) - n // 2) / n for n in shape), indexing="ij"), axis=-1
    )
    maps = Space((4, *shape), np.complex128).random(rng)
    A, B = NonCartesianSENSE(maps, coords), SENSE(maps)
    x = A.domain.random(rng, (2,))
    assert gap(A(x), B(x)) < 1e-11
    assert gap(A.normal(x), B.normal(x)) < 1e-11


def test_normal_is_adjoint_after_forward_per_member(rng: np.random.Generator) -> None:
    maps = Space((2, 3, 6, 7), np.complex128).random(rng)
    A = NonCartesianSENSE(maps, rng.uniform(-0.5, 0.5, (80, 2)))
    x = A.domain.random(rng, (5, 2))
    assert gap(A.normal(x), A.adjoint(A(x))) < 1e-11


def test_the_bits_of_normal_do_not_depend_on_threads(rng: np.random.Generator) -> None:
    maps = Space((5, 96, 96), np.complex64).random(rng)
    N = NonCartesianSENSE(maps, rng.uniform(-0.5, 0.5, (400, 2))).normal
    x = N.domain.random(rng)
    most, found = torch.get_num_threads(), []
    for count in (1, 2, most):
        torch.set_num_threads(count)
        try:
            found.append(N(x).tobytes())
        finally:
            torch.set_num_threads(most)
    assert found[0] == found[1] == found[2]


def test_torch_gives_what_numpy_gives(rng: np.random.Generator) -> None:
    maps, coords = Space((3, 12, 12), np.complex64).random(rng), rng.uniform(-0.5, 0.5, (90, 2))
    A = NonCartesianSENSE(maps, coords)
    B = NonCartesianSENSE(torch.from_numpy(maps), torch.from_numpy(coords))
    x = A.domain.random(rng)
    expected = A.normal(x)
    found = B.normal(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    assert gap(B(torch.from_numpy(x)).numpy(), A(x)) < 1e-6


def test_torch_differentiates_image_maps_and_coordinates(rng: np.random.Generator) -> None:
    def leaf(x: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(x).requires_grad_()

    x = leaf(Space((5, 4), np.complex128).random(rng))
    maps = leaf(Space((2, 5, 4), np.complex128).random(rng))
    coords = leaf(rng.uniform(-0.4, 0.4, (6, 2)))

    def forward(x: torch.Tensor, maps: torch.Tensor, coords: torch.Tensor) -> torch.Tensor:
        return NonCartesianSENSE(maps, coords)(x)

    def normal(x: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        return NonCartesianSENSE(maps, coords.detach()).normal(x)

    assert torch.autograd.gradcheck(forward, (x, maps, coords), atol=1e-6)
    assert torch.autograd.gradcheck(normal, (x, maps), atol=1e-6)


def test_a_real_trajectory(rng: np.random.Generator) -> None:
    """96 measured spokes; coordinates come in cycles per field of view."""
    if not REAL_TRAJECTORY.exists():
        pytest.skip(f"{REAL_TRAJECTORY} is not here")
    coords = np.load(REAL_TRAJECTORY).reshape(-1, 2) / 256  # of an image of 256
    maps = Space((2, 32, 32), np.complex64).random(rng)
    A = NonCartesianSENSE(maps, coords)
    x = A.domain.random(rng)
    some = rng.choice(len(coords), 200, replace=False)
    expected = matrix_of(maps.astype(complex), coords[some]) @ x.reshape(-1)
    assert gap(A(x)[:, some], expected) < 1e-6
    assert gap(A.normal(x), A.adjoint(A(x))) < 1e-6


@pytest.mark.parametrize(
    ("maps", "coords", "how", "message"),
    [
        (np.ones((3, 8, 8)), np.zeros((4, 2)), {}, "expected complex maps"),
        (np.ones((8, 8), complex), np.zeros((4, 2)), {}, "give one coil an axis"),
        (np.ones((3, 8, 8), complex), np.full((4, 2), 2.0), {}, "from -1/2 to 1/2"),
        (np.ones((3, 8, 8), complex), np.zeros((4, 2)), {"weights": -np.ones(4)}, ">= 0"),
        (np.ones((3, 8, 8), complex), np.zeros((4, 2)), {"rtol": 0.0}, "expected rtol"),
    ],
)
def test_bad_input_is_refused(
    maps: np.ndarray, coords: np.ndarray, how: dict, message: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        NonCartesianSENSE(maps, coords, **how)
