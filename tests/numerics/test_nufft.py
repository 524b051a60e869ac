"""The non-uniform transform against its sum, and its normal operator against both."""

from __future__ import annotations

import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from types import SimpleNamespace

import numba
import numpy as np
import pytest
import torch

from sciml import Space
from sciml.operators import FFT, NUFFT, GriddedNUFFT, Toeplitz, _plans

TIGHT = {"complex64": 1e-6, "complex128": 1e-10}
SHAPES = [(40,), (12, 15), (64, 48), (7, 8, 9)]


def direct(x: np.ndarray, coords: np.ndarray) -> np.ndarray:
    """1/sqrt(N) Σ_n x_n exp(-2πi k·(n - c)), term by term, for x (*shape)."""
    places = np.stack(
        np.meshgrid(*(np.arange(n) - n // 2 for n in x.shape), indexing="ij"), axis=-1
    )
    angles = coords.reshape(-1, x.ndim) @ places.reshape(-1, x.ndim).T
    y = np.exp(-2j * np.pi * angles) @ x.reshape(-1).astype(np.complex128)
    return y.reshape(coords.shape[:-1]) / np.sqrt(x.size)


def radial(spokes: int, samples: int) -> np.ndarray:
    """(spokes, samples, 2) in cycles per pixel."""
    angle = np.pi * np.arange(spokes)[:, None] / spokes
    radius = (np.arange(samples) - samples // 2) / samples
    return np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=-1)


def gap(got: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("dtype", TIGHT)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_transform_is_its_sum(shape: tuple, dtype: str, rng: np.random.Generator) -> None:
    coords = rng.uniform(-0.5, 0.5, (11, 13, len(shape)))
    A = NUFFT(coords, shape, dtype=dtype)
    x = A.domain.random(rng)
    assert gap(A(x), direct(x, coords)) < TIGHT[dtype]


@pytest.mark.parametrize("dtype", TIGHT)
def test_single_precision_holds_on_a_large_grid(dtype: str, rng: np.random.Generator) -> None:
    """Where positions in single precision would cost 1e-5."""
    coords = rng.uniform(-0.5, 0.5, (50, 2))
    A = NUFFT(coords, (512, 384), dtype=dtype)
    x = A.domain.random(rng)
    assert gap(A(x), direct(x, coords)) < TIGHT[dtype]


@pytest.mark.parametrize(("rtol", "at_most"), [(1e-2, 2e-2), (1e-4, 1e-4)])
def test_a_looser_tolerance_is_kept(rtol: float, at_most: float, rng: np.random.Generator) -> None:
    coords = rng.uniform(-0.5, 0.5, (300, 2))
    A = NUFFT(coords, (64, 64), rtol=rtol)
    x = A.domain.random(rng)
    assert 1e-7 < gap(A(x), direct(x, coords)) < at_most


@pytest.mark.parametrize("shape", [(8, 9), (5, 6, 4)])
def test_on_a_grid_it_is_the_centred_fft(shape: tuple, rng: np.random.Generator) -> None:
    axes = [(np.arange(n) - n // 2) / n for n in shape]
    coords = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    A = NUFFT(coords, shape, dtype=np.complex128)
    x = A.domain.random(rng, (2,))
    expected = FFT(Space(shape, np.complex128), centred=True)(x)
    assert A.range.shape == shape
    assert gap(A(x), expected) < 1e-11


@pytest.mark.parametrize("dtype", TIGHT)
def test_normal_is_the_weighted_sum(dtype: str, rng: np.random.Generator) -> None:
    """Against the matrix of the sum, weights and all."""
    shape, coords, w = (5, 6), rng.uniform(-0.5, 0.5, (40, 2)), rng.random(40)
    matrix = np.stack([direct(e.reshape(shape), coords) for e in np.eye(30)], axis=-1)
    x = Space(shape, dtype).random(rng)
    expected = (matrix.conj().T @ (w * (matrix @ x.reshape(-1)))).reshape(shape)
    T = NUFFT(coords, shape, dtype=dtype).toeplitz(w)
    assert gap(T(x), expected) < TIGHT[dtype]
    assert (
        gap(T.diagonal(), np.einsum("jn,j,jn->n", matrix.conj(), w, matrix).reshape(shape))
        < (TIGHT[dtype])
    )


@pytest.mark.parametrize("shape", [(33,), (32, 30), (8, 7, 6)])
def test_normal_is_adjoint_after_forward(shape: tuple, rng: np.random.Generator) -> None:
    A = NUFFT(rng.uniform(-0.5, 0.5, (500, len(shape))), shape, dtype=np.complex128)
    x = A.domain.random(rng, (2,))
    assert isinstance(A.normal, Toeplitz)
    assert gap(A.normal(x), A.adjoint(A(x))) < 1e-11


def test_the_bits_do_not_depend_on_threads(rng: np.random.Generator) -> None:
    coords = radial(30, 64)
    A = NUFFT(coords, (48, 48))
    x, y = A.domain.random(rng, (5,)), A.range.random(rng, (5,))
    most = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        one = A(x), A.adjoint(y), A.normal(x)
    finally:
        numba.set_num_threads(most)
    for got, expected in zip((A(x), A.adjoint(y), A.normal(x)), one, strict=True):
        assert np.array_equal(got, expected)


def test_many_threads_may_use_one_operator(rng: np.random.Generator) -> None:
    A = NUFFT(radial(20, 64), (32, 32))
    images = A.domain.random(rng, (24,))
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(A, images))
    for got, image in zip(together, images, strict=True):
        assert np.array_equal(got, A(image))


def test_a_pickled_operator_is_the_same(rng: np.random.Generator) -> None:
    A = NUFFT(radial(5, 16), (8, 8))
    x = A.domain.random(rng)
    y = A(x)
    assert np.array_equal(pickle.loads(pickle.dumps(A))(x), y)


def test_torch_differentiates_image_and_coordinates(rng: np.random.Generator) -> None:
    coords = torch.from_numpy(rng.uniform(-0.4, 0.4, (9, 2))).requires_grad_()
    x = torch.from_numpy(Space((5, 4), np.complex128).random(rng)).requires_grad_()

    def transform(x: torch.Tensor, coords: torch.Tensor) -> torch.Tensor:
        return NUFFT(coords, (5, 4), dtype=np.complex128)(x)

    def normal(x: torch.Tensor, coords: torch.Tensor) -> torch.Tensor:
        return NUFFT(coords, (5, 4), dtype=np.complex128).normal(x)

    assert torch.autograd.gradcheck(transform, (x, coords), eps=1e-6, atol=1e-6)
    assert torch.autograd.gradcheck(normal, (x, coords), eps=1e-6, atol=1e-6)


def test_torch_shares_memory_and_bits(rng: np.random.Generator) -> None:
    coords = radial(7, 16)
    x = Space((12, 12), np.complex64).random(rng)
    A, B = NUFFT(coords, (12, 12)), NUFFT(torch.from_numpy(coords), (12, 12))
    assert np.array_equal(A(x), B(torch.from_numpy(x)).numpy())


BAD = {
    "beyond a half": (np.array([[0.0, 0.6]]), (8, 8), {}, "divide cycles per field of view"),
    "radians": (np.array([[3.0, 0.0]]), (8, 8), {}, "radians per pixel by 2π"),
    "not finite": (np.array([[np.nan, 0.0]]), (8, 8), {}, "NaN"),
    "of other axes": (np.zeros((4, 3)), (8, 8), {}, "expected an image of 1, 2 or 3 axes"),
    "four axes": (np.zeros((4, 4)), (2, 2, 2, 2), {}, "expected an image of 1, 2 or 3 axes"),
    "none": (np.zeros((0, 2)), (8, 8), {}, "coordinates"),
    "complex": (np.zeros((4, 2), complex), (8, 8), {}, "expected real coordinates"),
    "whole numbers": (np.zeros((4, 2), int), (8, 8), {}, "expected coordinates of dtype"),
    "a real image": (np.zeros((4, 2)), (8, 8), {"dtype": np.float32}, "complex dtype"),
    "no tolerance": (np.zeros((4, 2)), (8, 8), {"rtol": 0.0}, "expected rtol"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_coordinates_are_refused(what: str) -> None:
    coords, shape, how, message = BAD[what]
    with pytest.raises((TypeError, ValueError), match=message):
        NUFFT(coords, shape, **how)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (-np.ones(4), "weights >= 0"),
        (np.full(4, np.inf), "finite weights"),
        (np.ones(3), "broadcast against samples"),
        (np.ones((2, 4)), "broadcast against samples"),
        (np.ones(4, complex), "expected real weights"),
    ],
)
def test_bad_weights_are_refused(weights: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Toeplitz(np.zeros((4, 2)), (8, 8), weights=weights)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("oversampling", "dtype", "at_most"),
    [
        (2.0, "complex64", 1e-6),
        (2.0, "complex128", 1e-10),
        (1.5, "complex64", 2e-6),
        (1.5, "complex128", 1e-10),
        (1.25, "complex64", 5e-5),
        (1.25, "complex128", 1e-8),
    ],
)
def test_gridding_is_the_sum(
    shape: tuple, oversampling: float, dtype: str, at_most: float, rng: np.random.Generator
) -> None:
    coords = rng.uniform(-0.5, 0.5, (11, 13, len(shape)))
    A = GriddedNUFFT(coords, shape, dtype=dtype, oversampling=oversampling)
    x = A.domain.random(rng)
    assert gap(A(x), direct(x, coords)) < at_most


def test_gridding_and_finufft_agree_on_a_radial_scan(rng: np.random.Generator) -> None:
    """Both ways, spokes through the edge of k-space among the samples."""
    coords, shape = radial(31, 96), (48, 44)
    A = NUFFT(coords, shape, dtype=np.complex128)
    B = GriddedNUFFT(coords, shape, dtype=np.complex128)
    x, y = A.domain.random(rng, (2,)), A.range.random(rng, (2,))
    assert gap(B(x), A(x)) < 1e-10
    assert gap(B.adjoint(y), A.adjoint(y)) < 1e-10


def test_a_wider_kernel_aliases_less(rng: np.random.Generator) -> None:
    """By exp(-π W sqrt(1 - 1/α)) a cell: 1e-2 for two cells at twice the grid."""
    coords = rng.uniform(-0.5, 0.5, (200, 2))
    x = Space((32, 32), np.complex128).random(rng)
    errors = [
        gap(GriddedNUFFT(coords, (32, 32), dtype=np.complex128, width=w)(x), direct(x, coords))
        for w in (3, 5, 7, 9)
    ]
    falls = [b / a for a, b in pairwise(errors)]
    assert all(3e-3 < fall < 3e-2 for fall in falls), errors


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"oversampling": 1.1}, "expected oversampling"),
        ({"oversampling": 3.0}, "expected oversampling"),
        ({"width": 1}, "expected width"),
        ({"rtol": -1.0}, "expected rtol"),
    ],
)
def test_bad_gridding_is_refused(how: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GriddedNUFFT(np.zeros((4, 2)), (8, 8), **how)


def test_what_cufinufft_is_asked_for(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in with its signature, made of sums: the arguments mean the transform of the host."""
    places: list[tuple[int, int]] = []

    class Plan:
        def __init__(
            self, kind: int, n_modes: tuple, *, n_trans: int, eps: float, isign: int, dtype: str,
            gpu_device_id: int = 0, gpu_stream: int = 0,
        ) -> None:  # fmt: skip
            places.append((gpu_device_id, gpu_stream))
            self.kind, self.n_modes, self.n_trans, self.isign = kind, n_modes, n_trans, isign
            self.dtype = dtype

        def setpts(self, x: np.ndarray, y: np.ndarray) -> None:
            assert x.flags.c_contiguous and y.flags.c_contiguous
            assert np.finfo(x.dtype).eps == np.finfo(self.dtype).eps
            m, n = (np.arange(size) - size // 2 for size in self.n_modes)
            angles = x[:, None, None] * m[:, None] + y[:, None, None] * n
            self.matrix = np.exp(1j * self.isign * angles).reshape(len(x), -1)

        def execute(self, data: np.ndarray) -> np.ndarray:
            assert data.dtype == self.dtype and data.shape[0] == self.n_trans
            flat, shape = data.reshape(self.n_trans, -1), (self.n_trans, *self.n_modes)
            return flat @ self.matrix.T if self.kind == 2 else (flat @ self.matrix).reshape(shape)

    monkeypatch.setitem(sys.modules, "cufinufft", SimpleNamespace(Plan=Plan))
    A = NUFFT(rng.uniform(-0.5, 0.5, (9, 2)), (5, 6), dtype=np.complex128)
    for count in (1, 3, 1):
        x, y = A.domain.random(rng, (count,)), A.range.random(rng, (count,))
        assert gap(A._plans.on_device(x, adjoint=False) / np.sqrt(30), A(x)) < 1e-11
        assert gap(A._plans.on_device(y, adjoint=True) / np.sqrt(30), A.adjoint(y)) < 1e-11
    made, x = len(places), A.domain.random(rng, (1,))
    assert set(places) == {(0, 0)}
    for stream in (7, 7, 9):  # a plan is of the stream that the arrays are made on
        monkeypatch.setattr(_plans, "stream_of", lambda x, s=stream: (1, s))
        A._plans.on_device(x, adjoint=False)
    assert places[made:] == [(1, 7), (1, 9)]


def test_without_finufft_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "finufft", None)
    A = NUFFT(radial(5, 16), (8, 8))
    with pytest.raises(ModuleNotFoundError, match=r"install sciml-solvers\[mri\]"):
        A(np.ones((8, 8), np.complex64))
