"""GRAPPA against data that obey its relations exactly, a plain least-squares fit, and real EPI."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io as sio
import torch
from threadpoolctl import threadpool_limits

from sciml import Space
from sciml.mri import combine, espirit
from solvers.mri import grappa
from tests.numerics._coils import compact_coils, disc, smooth_coils, to_kspace

EPI = Path(__file__).parents[2] / "../shared/data/mri_kspace/epi16"
TINY = 1e-11


def lines(shape, step, *, axis=-1, start=0):
    mask = np.zeros(shape, bool)
    np.moveaxis(mask, axis, 0)[start::step] = True
    return mask


def grid(shape, steps, shear=0):
    index = np.indices(shape)
    mask = index[0] % steps[0] == 0
    mask &= (index[1] + shear * (index[0] // steps[0])) % steps[1] == 0
    return mask


def obeying(rng, coils, shape, terms=3):
    """k-space whose patches of 5 lie in a space of (4 + terms)^d dimensions: relations are exact
    where the measured samples reach as far as the coils' terms do."""
    image = Space(shape, complex).random(rng)
    return to_kspace(compact_coils(rng, coils, shape, terms) * image, len(shape))


def inner(shape, margin):
    return (slice(None), *(slice(margin, n - margin) for n in shape))


@pytest.mark.parametrize(
    ("mask", "kernel", "terms"),
    [
        (lines((30, 32), 2), None, 3),
        (lines((30, 32), 2, axis=0, start=1), None, 3),
        (lines((30, 32), 3, start=1), None, 3),
        (lines((30, 32), 4), None, 5),
        (lines((30, 32), 2), (3, 5), 3),
        (grid((30, 32), (2, 2)), None, 3),
        (grid((30, 32), (2, 2), shear=1), None, 3),
    ],
)
def test_exact_where_a_relation_holds(rng, mask, kernel, terms):
    full = obeying(rng, 20, mask.shape, terms)
    found = grappa(full * mask, calibration=full, kernel=kernel, lamda=TINY)
    np.testing.assert_array_equal(found[:, mask], full[:, mask])
    at = inner(mask.shape, 4)
    error = np.linalg.norm((found - full)[at]) / np.linalg.norm(full[at])
    assert error < 1e-5
    assert np.linalg.norm((full * ~mask)[at]) > 0.5 * np.linalg.norm(full[at])


def test_exact_for_a_random_mask_with_its_own_centre(rng):
    shape = (40, 36)
    full = obeying(rng, 20, shape)
    mask = rng.random(shape) < 0.5
    mask[8:32, 6:30] = True
    found = grappa(full * mask, lamda=TINY)
    error = np.abs(found - full).max(0)[inner(shape, 3)[1:]] / np.abs(full).max()
    missing = ~mask[inner(shape, 3)[1:]]
    assert missing.sum() > 100
    assert (error[missing] < 1e-5).mean() > 0.97  # the rest have too few neighbours


def test_three_dimensions_and_one(rng):
    for shape, mask in (
        ((12, 14, 13), np.broadcast_to(grid((14, 13), (2, 2), shear=1), (12, 14, 13))),
        ((64,), np.arange(64) % 2 == 0),
    ):
        full = obeying(rng, 16, shape)
        found = grappa(
            full * mask, mask, calibration=full, kernel=3 if len(shape) > 1 else 5, lamda=TINY
        )
        np.testing.assert_array_equal(found[:, mask], full[:, mask])
        at = inner(shape, 3)
        assert np.linalg.norm((found - full)[at]) < 1e-4 * np.linalg.norm(full[at])


def fit_by_hand(full, mask, region, half, lamda):
    """Each missing sample by a regularised least-squares problem of its own."""
    coils, n, m = full.shape
    train = full[:, region[0], region[1]]
    out = full * mask
    offsets = [(i, j) for i in range(-half, half + 1) for j in range(-half, half + 1)]
    inside = [
        (p, q)
        for p in range(half, train.shape[1] - half)
        for q in range(half, train.shape[2] - half)
    ]
    energy = np.mean([np.abs(train[:, p + i, q + j]) ** 2 for p, q in inside for i, j in offsets])
    for y, x in np.argwhere(~mask):
        near = [
            (i, j) for i, j in offsets if 0 <= y + i < n and 0 <= x + j < m and mask[y + i, x + j]
        ]
        if not near:
            continue
        A = np.array([[train[:, p + i, q + j] for i, j in near] for p, q in inside])
        A = A.reshape(len(inside), -1)
        b = np.array([train[:, p, q] for p, q in inside])
        weight = np.sqrt(lamda * energy * len(inside))
        A = np.vstack([A, weight * np.eye(A.shape[1])])
        b = np.vstack([b, np.zeros((A.shape[1], coils))])
        w = np.linalg.lstsq(A, b, rcond=None)[0]
        out[:, y, x] = np.array([full[:, y + i, x + j] for i, j in near]).reshape(-1) @ w
    return out


@pytest.mark.parametrize("lamda", [0.3, 0.01])
def test_equals_a_fit_by_hand(rng, lamda):
    """At every sample, corners and lonely ones too."""
    shape = (20, 18)
    full = to_kspace(smooth_coils(3, shape) * disc(shape), 2)
    full = full + 0.01 * Space(full.shape, complex).random(rng)
    mask = rng.random(shape) < 0.2
    region = (slice(4, 16), slice(4, 14))
    mask[region] = True
    found = grappa(full, mask, calibration=full[:, region[0], region[1]], lamda=lamda)
    expected = fit_by_hand(full, mask, region, 2, lamda)
    np.testing.assert_allclose(found, expected, atol=1e-9 * np.abs(full).max())
    assert (np.abs(found[:, ~mask]).max(0) > 0).mean() > 0.9


def error_of(found, image, maps):
    """Relative error of the image within the object."""
    image = image * np.linalg.norm(maps, axis=0)
    return np.linalg.norm(combine(found, maps) - image) / np.linalg.norm(image)


@pytest.mark.parametrize("step", [2, 3, 4])
def test_smooth_coils(rng, step):
    shape = (96, 96)
    maps, image = smooth_coils(8, shape), disc(shape)
    full = to_kspace(maps * image, 2)
    full += 1e-3 * np.abs(full).std() * Space(full.shape, complex).random(rng)
    mask = lines(shape, step)
    mask[:, 40:56] = True
    zero_filled = error_of(full * mask, image, maps)
    found = error_of(grappa(full * mask, lamda=1e-4), image, maps)
    assert zero_filled > 0.09
    assert found < zero_filled / (30, 9, 3)[step - 2]


def test_noise_goes_through_in_proportion(rng):
    """Fixed weights are linear in the data; regularisation pays where noise is large."""
    shape = (64, 64)
    maps, image = smooth_coils(8, shape), disc(shape)
    full = to_kspace(maps * image, 2)
    mask = lines(shape, 3)
    noise = Space(full.shape, complex).random(rng) * mask
    clean = grappa(full * mask, mask, calibration=full)
    small = grappa(full * mask + 1e-3 * noise, mask, calibration=full) - clean
    large = grappa(full * mask + 1e-1 * noise, mask, calibration=full) - clean
    np.testing.assert_allclose(100 * small, large, atol=1e-9 * np.abs(full).max())
    # Noise of the filled samples: of the order of that of the measured ones.
    assert 0.1 < np.abs(large[:, ~mask]).std() / np.abs(large[:, mask]).std() < 10

    noisy = full + 0.1 * np.abs(full).std() * Space(full.shape, complex).random(rng)
    mask[:, 24:40] = True
    errors = [error_of(grappa(noisy * mask, lamda=lam), image, maps) for lam in (1e-8, 1e-2)]
    assert errors[1] < 0.8 * errors[0]


def test_dtype_library_and_scale(rng):
    shape = (32, 32)
    full = to_kspace(smooth_coils(6, shape) * disc(shape), 2)
    mask = lines(shape, 2)
    mask[:, 8:24] = True
    expected = grappa(full * mask)
    single = grappa((full * mask).astype("complex64"))
    assert expected.dtype == np.complex128 and single.dtype == np.complex64
    np.testing.assert_allclose(single, expected, atol=1e-5 * np.abs(full).max())
    found = grappa(torch.from_numpy(full * mask), torch.from_numpy(mask))
    assert isinstance(found, torch.Tensor)
    np.testing.assert_array_equal(found.numpy(), expected)
    np.testing.assert_allclose(grappa(full * mask * 1e-30), expected * 1e-30, rtol=1e-9)
    np.testing.assert_array_equal(grappa(full, mask[:1]), expected)


def test_nothing_missing_and_nothing_in_reach():
    shape = (24, 24)
    full = to_kspace(smooth_coils(4, shape) * disc(shape), 2)
    np.testing.assert_array_equal(grappa(full), full)
    mask = np.zeros(shape, bool)
    mask[8:16, 8:16] = True
    found = grappa(full, mask, kernel=3)
    assert (found[:, 7:17, 7:17] != 0).all()
    found[:, 7:17, 7:17] = 0
    assert not found.any()


def test_bad_calls():
    shape = (24, 24)
    full = to_kspace(smooth_coils(4, shape) * disc(shape), 2)
    with pytest.raises(ValueError, match="no calibration region"):
        grappa(full * lines(shape, 2))
    with pytest.raises(ValueError, match="odd sides"):
        grappa(full, kernel=4)
    with pytest.raises(ValueError, match="kernel"):
        grappa(full, kernel=(5, 5, 5))
    with pytest.raises(ValueError, match="lamda > 0"):
        grappa(full, lamda=0)
    with pytest.raises(ValueError, match="empty"):
        grappa(full, np.zeros(shape))
    with pytest.raises(ValueError, match="broadcasts"):
        grappa(full, np.ones((12, 24)))
    with pytest.raises(ValueError, match="0 and 1"):
        grappa(full, 2 * np.ones(shape))
    with pytest.raises(ValueError, match="reference scan of 4 coils"):
        grappa(full, calibration=full[:2])
    with pytest.raises(TypeError, match="complex"):
        grappa(full.real)
    with pytest.raises(TypeError, match="detach"):
        grappa(torch.from_numpy(full).requires_grad_())
    bad = full.copy()
    bad[1, 3, 3] = np.inf
    with pytest.raises(ValueError, match="finite"):
        grappa(bad)


@pytest.mark.skipif(not EPI.exists(), reason="needs the EPI of shared/data")
def test_real_epi_of_acceleration_two_is_free_of_aliasing():
    kspace = np.moveaxis(sio.loadmat(EPI / "kdata.mat")["KSpaceDATA"], -1, 0)
    reference = np.moveaxis(sio.loadmat(EPI / "refscan.mat")["refscan"], -1, 0)
    mask = (kspace != 0).any(0)
    full = grappa(kspace, calibration=reference)
    np.testing.assert_array_equal(full[:, mask], kspace[:, mask])
    # The phantom lies in columns 14 to 47; what folds lies half the field of view beside it.
    maps = espirit(kspace, calibration=reference)
    assert not maps.weights[0][:, :10].any() and maps.weights[0][30, 16:46].all()

    def beside(k):
        energy = (combine(k) ** 2).sum(0)
        return energy[:11].sum() / energy[21:43].sum()

    assert beside(kspace) > 0.3
    assert beside(full) < 0.01


def test_bits_do_not_depend_on_threads(rng):
    shape = (48, 48)
    full = to_kspace(smooth_coils(12, shape) * disc(shape), 2)
    mask = rng.random(shape) < 0.4
    mask[12:36, 12:36] = True
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(grappa(full, mask))
    np.testing.assert_array_equal(*found)
