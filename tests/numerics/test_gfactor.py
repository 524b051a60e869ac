"""Noise amplification against explicit inverses, closed forms and drawn noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sciml.mri import combine
from sciml.operators import SENSE
from solvers.mri import gfactor, gfactor_by_replicas, grappa
from tests.numerics._coils import disc, smooth_coils, to_kspace


def lattice(shape, *, step=(1, 2), shear=0, start=0):
    i, j = np.indices(shape)
    return (i % step[0] == 0) & ((j + shear * (i // step[0]) - start) % step[1] == 0)


def covariance_of(rng, coils):
    a = rng.standard_normal((coils, coils)) + 1j * rng.standard_normal((coils, coils))
    return a @ a.conj().T / coils + np.eye(coils)


def by_inversion(maps, mask, psi):
    """g from the inverse of the whole encoding matrix, of SENSE and of full sampling."""
    coils, *shape = maps.shape
    n = int(np.prod(shape))
    A = SENSE(maps, mask.astype(float))
    E = A(np.eye(n).reshape(n, *shape).astype(complex)).reshape(n, coils, n)
    L = np.linalg.cholesky(psi)
    E = np.linalg.solve(L, E.transpose(1, 2, 0).reshape(coils, -1)).reshape(-1, n)
    variance = np.linalg.inv(E.conj().T @ E).diagonal().real
    S = np.linalg.solve(L, maps.reshape(coils, -1))
    full = 1 / (np.abs(S) ** 2).sum(0)
    return np.sqrt(variance / full * mask.mean()).reshape(shape)


@pytest.mark.parametrize(
    "mask",
    [
        lattice((12, 12), step=(1, 2)),
        lattice((12, 12), step=(1, 3), start=1),
        lattice((12, 12), step=(4, 1)),
        lattice((12, 12), step=(2, 2), start=1),
        lattice((12, 12), step=(2, 2), shear=1),
        lattice((12, 12), step=(1, 3), shear=1),
        lattice((9, 12), step=(3, 2)),
    ],
)
def test_equals_the_inverse_of_the_encoding_matrix(rng, mask):
    maps = smooth_coils(8, mask.shape)
    psi = covariance_of(rng, 8)
    found = gfactor(maps, mask, covariance=psi)
    np.testing.assert_allclose(found, by_inversion(maps, mask, psi), rtol=1e-5)
    assert found.min() >= 1
    white = gfactor(maps, mask)
    np.testing.assert_allclose(white, by_inversion(maps, mask, np.eye(8)), rtol=1e-5)
    assert not np.allclose(white, found, rtol=1e-3)


def test_closed_forms():
    shape = (8, 8)
    mask = lattice(shape, step=(1, 2))
    # Two coils that see one half each: points that fold are told apart without loss.
    halves = np.zeros((2, *shape), complex)
    halves[0, :, :4] = halves[1, :, 4:] = 2j
    np.testing.assert_allclose(gfactor(halves, mask), 1)
    # Correlation c between the folded vectors: g² = 1 / (1 − |c|²).
    angled = halves.copy()
    angled[:, :, 4:] = np.array([0.6, 0.8])[:, None, None]
    np.testing.assert_allclose(gfactor(angled, mask), 1 / np.sqrt(1 - 0.6**2))
    # Coils alike everywhere tell nothing apart.
    assert np.isinf(gfactor(np.ones((2, *shape), complex), mask)).all()
    np.testing.assert_allclose(gfactor(angled, np.ones(shape)), 1)


def test_points_without_signal_take_no_part():
    shape = (16, 16)
    maps = smooth_coils(4, shape)
    maps[:, :, :8] = 0
    g = gfactor(maps, lattice(shape, step=(1, 2)))
    assert not g[:, :8].any()
    np.testing.assert_allclose(g[:, 8:], 1)


def test_dtype_and_library():
    shape = (12, 12)
    maps, mask = smooth_coils(6, shape), lattice(shape, step=(1, 3))
    expected = gfactor(maps, mask)
    single = gfactor(maps.astype("complex64"), mask[:1])
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, rtol=1e-3)
    found = gfactor(torch.from_numpy(maps), torch.from_numpy(mask))
    assert isinstance(found, torch.Tensor)
    np.testing.assert_array_equal(found.numpy(), expected)


def test_replicas_of_sense_agree_with_the_closed_form(rng):
    shape = (12, 12)
    maps, mask = smooth_coils(6, shape), lattice(shape, step=(1, 2))
    psi = covariance_of(rng, 6)
    A = SENSE(maps, mask.astype(float))
    n = int(np.prod(shape))
    E = A(np.eye(n).reshape(n, *shape).astype(complex)).reshape(n, 6, n).transpose(1, 2, 0)
    white = np.linalg.inv(np.linalg.cholesky(psi))
    inverse = np.linalg.pinv(np.tensordot(white, E, 1).reshape(-1, n))
    kspace = A(disc(shape))

    def sense(k):
        return (inverse @ np.tensordot(white, k, 1).reshape(-1)).reshape(shape)

    found = gfactor_by_replicas(
        sense, kspace, maps, mask, rng=rng, covariance=psi * 1e-4, replicas=400
    )
    ratio = found / gfactor(maps, mask, covariance=psi)
    assert abs(ratio.mean() - 1) < 0.01  # each of 144 points is known to 2.5 %
    assert np.abs(ratio - 1).max() < 0.12


def test_replicas_of_grappa(rng):
    """GRAPPA of R = 2 with eight coils loses little; of R = 4 more."""
    shape = (32, 32)
    true = smooth_coils(8, shape)
    maps = true / np.linalg.norm(true, axis=0)
    kspace = to_kspace(maps * disc(shape), 2)
    means = []
    for step in (2, 4):
        mask = lattice(shape, step=(1, step))

        def run(k, mask=mask):
            return combine(grappa(k, mask, calibration=kspace), maps)

        g = gfactor_by_replicas(
            run, kspace * mask, maps, mask, rng=rng, covariance=1e-6 * np.eye(8), replicas=20
        )
        means.append(g.mean())
    assert 0.7 < means[0] < 1.3 and means[0] < means[1] < 6


def test_bad_calls(rng):
    maps = smooth_coils(4, (12, 12))
    irregular = lattice((12, 12), step=(1, 2))
    irregular[:, 5] = True
    with pytest.raises(ValueError, match=r"regular mask.*gfactor_by_replicas"):
        gfactor(maps, irregular)
    with pytest.raises(ValueError, match="regular mask"):
        gfactor(maps, lattice((12, 12), step=(1, 5)))
    with pytest.raises(ValueError, match="at most the 4 coils, got 6"):
        gfactor(maps, lattice((12, 12), step=(2, 3)))
    with pytest.raises(ValueError, match="empty"):
        gfactor(maps, np.zeros((12, 12)))
    with pytest.raises(ValueError, match=r"\(4, 4\)"):
        gfactor(maps, np.ones((12, 12)), covariance=np.eye(3))
    with pytest.raises(ValueError, match="positive definite"):
        gfactor(maps, np.ones((12, 12)), covariance=-np.eye(4))
    with pytest.raises(ValueError, match="Hermitian"):
        gfactor(maps, np.ones((12, 12)), covariance=np.triu(np.ones((4, 4))))
    with pytest.raises(TypeError, match="complex"):
        gfactor(maps.real, np.ones((12, 12)))
    with pytest.raises(ValueError, match="image"):
        gfactor_by_replicas(lambda k: k, maps, maps, np.ones((12, 12)), rng=rng)
