"""Virtual coils against closed forms and the definitions of the papers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sciml import Space
from sciml.mri import Compression, compress
from sciml.operators import FFT, CoilCompression

SHAPE = (12, 10, 8)


def sensitivities(coils: int, shape: tuple[int, ...]) -> np.ndarray:
    """Smooth, each coil near another place around the object."""
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    maps = []
    for c in range(coils):
        angle, height = 2 * np.pi * c / coils, (-1.0) ** c / 2
        centre = (1.3 * np.cos(angle), 1.3 * np.sin(angle), height)[: len(shape)]
        square = sum((g - p) ** 2 for g, p in zip(grid, centre, strict=True))
        maps.append(np.exp(1j * (angle + grid[0])) / (0.3 + square))
    return np.stack(maps)


def scan(rng: np.random.Generator, coils: int = 8, dtype: str = "complex128") -> np.ndarray:
    """k-space (coil, *SHAPE) of random spins."""
    seen = sensitivities(coils, SHAPE) * Space(SHAPE, np.complex128).random(rng)
    return FFT(Space(seen.shape, np.complex128), axes=3, centred=True)(seen).astype(dtype)


def test_svd_keeps_the_energy_of_the_singular_values(rng: np.random.Generator) -> None:
    kspace = scan(rng)
    values = np.linalg.svd(kspace.reshape(8, -1), compute_uv=False) ** 2
    for coils in (1, 3, 8):
        found = compress(kspace, coils)
        virtual = found.operator(kspace)
        assert found.energy == pytest.approx(values[:coils].sum() / values.sum(), rel=1e-10)
        assert np.linalg.norm(virtual) ** 2 == pytest.approx(values[:coils].sum(), rel=1e-10)
        each = (abs(virtual) ** 2).sum(axis=(1, 2, 3))
        np.testing.assert_allclose(each, values[:coils], rtol=1e-8)  # of most energy first


@pytest.mark.parametrize("readout", [None, -1, -2, -3])
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_rows_are_orthonormal(readout: int | None, dtype: str, rng: np.random.Generator) -> None:
    method = Compression.SVD if readout is None else Compression.GEOMETRIC
    found = compress(scan(rng, dtype=dtype), 3, method=method, readout=readout)
    matrix = found.matrix
    assert matrix.dtype == dtype
    gram = matrix @ matrix.conj().swapaxes(-1, -2)
    assert abs(gram - np.eye(3)).max() < (1e-6 if dtype == "complex64" else 1e-12)


@pytest.mark.parametrize("readout", [None, -1, -3])
def test_white_noise_stays_white(readout: int | None, rng: np.random.Generator) -> None:
    method = Compression.SVD if readout is None else Compression.GEOMETRIC
    A = compress(scan(rng), 3, method=method, readout=readout).operator
    noise = A(A.domain.random(rng, (40,)))
    flat = np.moveaxis(noise, 1, 0).reshape(3, -1)
    covariance = flat @ flat.conj().T / flat.shape[1]
    assert abs(covariance - np.eye(3)).max() < 5 / np.sqrt(flat.shape[1])


@pytest.mark.parametrize("readout", [-1, -2, -3])
def test_geometric_keeps_what_each_position_holds(readout: int, rng: np.random.Generator) -> None:
    """Alignment turns virtual coils among themselves: the energies are those of the SVDs."""
    kspace = scan(rng)
    found = compress(kspace, 3, method=Compression.GEOMETRIC, readout=readout)
    image = FFT(Space(kspace.shape, np.complex128), axes=3, centred=True).adjoint(kspace)
    values = [
        np.linalg.svd(np.moveaxis(image, readout, 0)[x].reshape(8, -1), compute_uv=False) ** 2
        for x in range(SHAPE[readout])
    ]
    best = sum(v[:3].sum() for v in values) / sum(v.sum() for v in values)
    assert found.energy == pytest.approx(best, rel=1e-10)
    virtual = found.operator(kspace)
    assert np.linalg.norm(virtual) ** 2 == pytest.approx(
        best * np.linalg.norm(kspace) ** 2, rel=1e-10
    )
    assert found.energy > compress(kspace, 3).energy


def test_alignment_makes_virtual_coils_smooth(rng: np.random.Generator) -> None:
    """Neighbouring matrices differ by less than those of the separate SVDs, nearest possible."""
    kspace = scan(rng)
    A = compress(kspace, 3, method=Compression.GEOMETRIC, readout=-3).matrix
    steps = np.linalg.norm(np.diff(A, axis=0), axis=(1, 2))
    for x, step in enumerate(steps):
        # no unitary turn brings two row spaces nearer than the cosines between them allow
        cosines = np.linalg.svd(A[x + 1] @ A[x].conj().T, compute_uv=False)
        assert step**2 == pytest.approx(2 * (3 - cosines.sum()), abs=1e-10)
    assert steps.max() < 0.7


def test_coils_that_depend_on_each_other_are_found(rng: np.random.Generator) -> None:
    """Eight coils of which five are mixtures of three: three virtual ones hold everything."""
    mixing = rng.standard_normal((8, 3)) + 1j * rng.standard_normal((8, 3))
    kspace = np.einsum("ab,b...->a...", mixing, scan(rng, 3))
    found = compress(kspace, 3)
    back = found.operator.adjoint(found.operator(kspace))
    assert found.energy == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(back, kspace, rtol=0, atol=1e-10 * abs(kspace).max())


def test_as_many_virtual_coils_lose_nothing(rng: np.random.Generator) -> None:
    kspace = scan(rng)
    found = compress(kspace, 8, method=Compression.GEOMETRIC, readout=-2)
    back = found.operator.adjoint(found.operator(kspace))
    np.testing.assert_allclose(back, kspace, rtol=0, atol=1e-11 * abs(kspace).max())


def test_samples_that_were_not_taken_stay_so(rng: np.random.Generator) -> None:
    """Undersampled across the read-out, compressed along it."""
    kspace = scan(rng)
    kspace[:, :, ::2] = 0
    for how in ({}, {"method": Compression.GEOMETRIC, "readout": -1}):
        assert not compress(kspace, 4, **how).operator(kspace)[:, :, ::2].any()


def test_torch_in_torch_out(rng: np.random.Generator) -> None:
    kspace = scan(rng, dtype="complex64")
    ours = compress(kspace, 3).operator(kspace)
    theirs = compress(torch.from_numpy(kspace), 3).operator(torch.from_numpy(kspace))
    assert theirs.dtype == torch.complex64
    np.testing.assert_allclose(theirs.numpy(), ours, atol=1e-5 * abs(ours).max())


KSPACE = np.ones((4, 6, 5), complex)
BAD = [
    (KSPACE.real, 2, {}, "expected complex k-space"),
    (KSPACE[0, 0], 2, {}, r"expected k-space \(coil"),
    (KSPACE * np.nan, 2, {}, "finite k-space"),
    (KSPACE * 0, 2, {}, "zeros alone"),
    (KSPACE, 5, {}, "at most 4 virtual coils"),
    (KSPACE, 0, {}, "expected coils"),
    (KSPACE, 2, {"readout": -1}, "for that alone"),
    (KSPACE, 2, {"method": Compression.GEOMETRIC}, "for that alone"),
    (KSPACE, 2, {"method": Compression.GEOMETRIC, "readout": -3}, "expected readout from -2"),
    (KSPACE, 2, {"method": Compression.GEOMETRIC, "readout": 1}, "expected readout from -2"),
    (KSPACE, 2, {"method": "svd"}, "Compression.SVD"),
]


@pytest.mark.parametrize(("kspace", "coils", "how", "message"), BAD)
def test_bad_input_is_refused(kspace: np.ndarray, coils: int, how: dict, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        compress(kspace, coils, **how)


@pytest.mark.parametrize(
    ("matrix", "readout", "message"),
    [
        (np.ones((2, 4)), None, "expected a complex matrix"),
        (np.ones((3, 2, 4), complex), None, "and a readout axis"),
        (np.ones((2, 4), complex), -1, "and a readout axis"),
        (np.ones((3, 2, 4), complex), -1, "a matrix for each of 5"),
        (np.ones((3, 2, 4), complex), 0, "expected readout"),
    ],
)
def test_matrices_that_do_not_fit_are_refused(
    matrix: np.ndarray, readout: int | None, message: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        CoilCompression(matrix, (6, 5), readout=readout)
