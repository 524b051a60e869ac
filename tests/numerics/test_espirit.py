"""Sensitivity maps against sensitivities that are known, and against sigpy's."""

from __future__ import annotations

from pathlib import Path

import array_api_strict
import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from sciml import Space
from sciml.mri import calibration_region, combine, espirit, low_resolution, walsh
from tests.numerics._coils import angle_to, compact_coils, disc, smooth_coils, to_kspace, unit

BRAIN = Path(__file__).parents[2] / "../shared/data/mri_kspace/cartesian_ksp.npy"


def box_by_brute_force(mask: np.ndarray) -> int:
    """Points of the largest full box around n // 2."""
    best = 0
    for sides in np.ndindex(*mask.shape):
        sides = [s + 1 for s in sides]
        box = tuple(
            slice(n // 2 - s // 2, n // 2 - s // 2 + s)
            for n, s in zip(mask.shape, sides, strict=True)
        )
        if mask[box].all():
            best = max(best, int(np.prod(sides)))
    return best


@pytest.mark.parametrize("shape", [(9, 12), (12, 9), (5, 6, 7), (11,)])
def test_calibration_region_is_the_largest_full_box(rng, shape):
    for _ in range(20):
        mask = rng.random(shape) < 0.9
        mask[tuple(n // 2 for n in shape)] = True
        region = calibration_region(mask, len(shape))
        assert mask[region].all()
        assert mask[region].size == box_by_brute_force(mask)
        for n, s in zip(shape, region, strict=True):
            assert s.start == n // 2 - (s.stop - s.start) // 2


def test_calibration_region_of_lines_and_of_kspace(rng):
    mask = np.zeros((20, 32), bool)
    mask[:, ::4] = True
    mask[:, 12:20] = True
    assert calibration_region(mask, 2) == (slice(0, 20), slice(12, 21))
    assert calibration_region(mask, 2, width=6) == (slice(7, 13), slice(13, 19))
    kspace = rng.standard_normal((2, 3, 20, 32)) * mask
    assert calibration_region(kspace, 2) == (slice(0, 20), slice(12, 21))


def test_no_calibration_region():
    mask = np.zeros((16, 16))
    mask[:, ::2] = 1
    with pytest.raises(ValueError, match=r"no calibration region.*\(6, 6\).*\(16, 1\).*give maps"):
        calibration_region(mask, 2, least=6)
    with pytest.raises(ValueError, match=r"centre itself"):
        calibration_region(1 - mask, 2)
    with pytest.raises(ValueError, match="no calibration region"):
        espirit(np.ones((4, 16, 16)) * mask.astype(complex))


@pytest.mark.parametrize(("shape", "kernel"), [((32,), 6), ((24, 27), 5), ((14, 12, 13), 4)])
def test_exact_where_sensitivities_have_few_fourier_terms(rng, shape, kernel):
    """Patches then lie in a space of (kernel + 2)^d dimensions, and S has eigenvalue 1 exactly."""
    true = compact_coils(rng, 6, shape)
    image = Space(shape, complex).random(rng)
    found = espirit(to_kspace(true * image, len(shape)), kernel=kernel, threshold=1e-9, crop=0.9)
    assert np.abs(found.eigenvalues - 1).max() < 1e-9
    assert found.maps.shape == true.shape and found.weights.all()
    assert angle_to(found.maps, true).max() < 1e-6
    np.testing.assert_allclose(np.linalg.norm(found.maps, axis=0), 1, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_smooth_coils_and_an_object(dtype):
    shape = (64, 56)
    true, image = smooth_coils(8, shape), disc(shape)
    kspace = to_kspace(true * image, 2).astype(dtype)
    found = espirit(kspace, threshold=0.005)
    assert found.maps.dtype == dtype
    assert found.eigenvalues.dtype == found.weights.dtype == np.dtype(dtype).type(0).real.dtype
    inside = np.abs(image) > 0
    far = np.abs(disc(shape, 0.95)) == 0
    assert found.eigenvalues[0][inside].min() > 0.999
    assert found.eigenvalues[0][far].max() < 0.95
    assert np.median(found.eigenvalues[0][far]) < 0.7
    assert found.weights[0][inside].all() and not found.maps[:, far].any()
    assert angle_to(found.maps[:, inside], true[:, inside]).max() < 0.006
    # S S^H leaves the coils' images as they are.
    again = to_kspace(found.maps * combine(kspace, found.maps), 2)
    assert np.linalg.norm(again - kspace) < 0.002 * np.linalg.norm(kspace)


def test_only_the_calibration_region_counts(rng):
    shape = (48, 40)
    kspace = to_kspace(smooth_coils(6, shape) * disc(shape), 2)
    mask = rng.random(shape) < 0.2
    mask[12:36, 8:32] = True
    whole, part = espirit(kspace), espirit(kspace * mask)
    given = espirit(kspace * (rng.random(shape) < 0.5), calibration=kspace[:, 12:36, 8:32])
    np.testing.assert_array_equal(whole.maps, part.maps)
    np.testing.assert_array_equal(whole.maps, given.maps)


def test_phase_is_that_of_the_first_virtual_coil():
    shape = (40, 40)
    kspace = to_kspace(smooth_coils(5, shape) * disc(shape), 2)
    for maps in (espirit(kspace, width=40).maps, walsh(kspace, width=40)):
        u = np.linalg.svd(kspace.reshape(5, -1), full_matrices=False)[0][:, 0]
        u = u * np.exp(-1j * np.angle(u[np.abs(u).argmax()]))
        seen = np.tensordot(u.conj(), maps, 1)
        assert (seen.real >= 0).all() and np.abs(seen.imag).max() < 1e-12


def test_soft_weights_follow_the_eigenvalues():
    shape = (48, 48)
    kspace = to_kspace(smooth_coils(6, shape) * disc(shape), 2)
    hard, soft = espirit(kspace, crop=0.9), espirit(kspace, crop=0.9, soft=True)
    np.testing.assert_array_equal(hard.eigenvalues, soft.eigenvalues)
    np.testing.assert_array_equal(hard.weights, hard.eigenvalues > 0.9)
    order = np.argsort(soft.eigenvalues.ravel())
    assert (np.diff(soft.weights.ravel()[order]) >= 0).all()
    np.testing.assert_array_equal(soft.weights > 0.5, hard.weights > 0)
    assert (soft.weights[soft.eigenvalues < 0.8] == 0).all()
    assert ((soft.weights > 0) & (soft.weights < 1)).any()
    np.testing.assert_allclose(np.linalg.norm(soft.maps, axis=0), soft.weights[0], atol=1e-12)


def test_two_sets_where_the_field_of_view_is_too_small():
    """An object that folds onto itself: the two sets span both sensitivities."""
    wide = (128, 48)
    true, image = smooth_coils(8, wide), disc(wide)
    kspace = to_kspace(true * image, 2)[:, ::2]  # field of view 64 of 128
    two = espirit(kspace, sets=2, crop=0.9, threshold=0.002)
    assert two.maps.shape == (2, 8, 64, 48) and two.eigenvalues.shape == (2, 64, 48)
    # Pixel x of the small field holds x and x ± 64 of the wide one.
    place = (np.arange(64) + 32, (np.arange(64) + 96) % 128)
    both = (np.abs(image[place[0]]) > 0) & (np.abs(image[place[1]]) > 0)
    one = (np.abs(image[place[0]]) > 0) ^ (np.abs(image[place[1]]) > 0)
    assert both.sum() > 300
    assert two.eigenvalues[1][both].min() > 0.99
    assert np.median(two.eigenvalues[1][one]) < 0.9
    for rows in place:
        s = unit(true[:, rows])
        within = np.einsum("scyx,cyx->syx", two.maps.conj(), s)
        assert (np.abs(within) ** 2).sum(0)[both].min() > 0.999
    single = espirit(kspace, crop=0.9, threshold=0.002)
    assert np.median(angle_to(single.maps, true[:, place[0]])[both]) > 0.1


def test_maps_of_low_resolution():
    shape = (64, 56)
    true, image = smooth_coils(8, shape), disc(shape)
    kspace = to_kspace(true * image, 2)
    inside = np.abs(disc(shape, 0.6)) > 0
    for maps in (walsh(kspace), low_resolution(kspace), walsh(kspace, calibration=kspace)):
        assert angle_to(maps[:, inside], true[:, inside]).max() < 0.05
        np.testing.assert_allclose(np.linalg.norm(maps, axis=0), 1, rtol=1e-10)
    assert walsh(kspace.astype("complex64")).dtype == np.complex64
    assert low_resolution(kspace.astype("complex64")).dtype == np.complex64


def test_walsh_is_the_eigenvector_of_the_local_covariance():
    """Against a loop over windows, at all points and at the ends."""
    shape = (11, 10)
    kspace = to_kspace(smooth_coils(4, shape) * disc(shape, 2), 2)
    maps = walsh(kspace, window=3)
    n, m = shape
    hann = np.outer(
        *(0.5 + 0.5 * np.cos(np.pi * (np.arange(s) - s // 2) / (s // 2 + 1)) for s in shape)
    )
    k = np.fft.ifftshift(kspace * hann, axes=(1, 2))
    images = np.fft.fftshift(np.fft.ifft2(k), axes=(1, 2))
    for i, j in np.ndindex(*shape):
        near = images[:, max(0, i - 1) : i + 2, max(0, j - 1) : j + 2].reshape(4, -1)
        v = np.linalg.svd(near, full_matrices=False)[0][:, 0]
        assert abs(abs(v.conj() @ maps[:, i, j]) - 1) < 1e-10
    assert (n, m) == maps.shape[1:]


@pytest.mark.parametrize("find", [espirit, walsh, low_resolution])
def test_other_array_libraries(find):
    shape = (24, 20)
    kspace = to_kspace(smooth_coils(4, shape) * disc(shape), 2).astype("complex64")
    expected = find(kspace)
    expected = getattr(expected, "maps", expected)
    for library in (torch, array_api_strict):
        found = find(library.asarray(kspace))
        found = getattr(found, "maps", found)
        assert type(found) is type(library.asarray(kspace))
        inside = np.abs(disc(shape)) > 0
        np.testing.assert_allclose(np.asarray(found)[:, inside], expected[:, inside], atol=2e-4)


def test_bits_do_not_depend_on_threads():
    shape = (96, 96)
    kspace = to_kspace(smooth_coils(8, shape) * disc(shape), 2)
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(espirit(kspace).maps)
    np.testing.assert_array_equal(*found)


def test_scale_of_the_data_does_not_matter():
    shape = (32, 32)
    kspace = to_kspace(smooth_coils(4, shape) * disc(shape), 2).astype("complex64")
    inside = np.abs(disc(shape)) > 0
    for find in (lambda k: espirit(k).maps, walsh, low_resolution):
        tiny = find(kspace * np.float32(1e-25))
        np.testing.assert_allclose(tiny[:, inside], find(kspace)[:, inside], atol=1e-3)


def test_bad_calls():
    kspace = to_kspace(smooth_coils(4, (24, 24)) * disc((24, 24)), 2)
    with pytest.raises(TypeError, match="complex samples"):
        espirit(kspace.real)
    with pytest.raises(ValueError, match=r"\(coil, \*shape\)"):
        espirit(kspace[None, None, None])
    with pytest.raises(ValueError, match="kernel"):
        espirit(kspace, kernel=(6, 6, 6))
    with pytest.raises(ValueError, match="crop"):
        espirit(kspace, crop=1.0)
    with pytest.raises(ValueError, match="4 coils"):
        espirit(kspace, sets=5)
    with pytest.raises(ValueError, match="reference scan of 4 coils"):
        espirit(kspace, calibration=kspace[:3])
    with pytest.raises(ValueError, match="no calibration region"):
        espirit(np.zeros_like(kspace))
    bad = kspace.copy()
    bad[0, 12, 12] = np.nan
    with pytest.raises(ValueError, match="finite"):
        espirit(bad)
    with pytest.raises(ValueError, match="odd"):
        walsh(kspace, window=4)
    noise = Space((4, 64, 64), complex).random(np.random.default_rng(0))
    with pytest.raises(ValueError, match="above crop"):
        espirit(noise, threshold=0.9)


@pytest.mark.skipif(not BRAIN.exists(), reason="needs the 8-coil brain of shared/data")
def test_real_brain_against_sigpy():
    mri = pytest.importorskip("sigpy.mri", reason="compares with sigpy")
    kspace = np.load(BRAIN)
    ours = espirit(kspace)
    theirs, values = mri.app.EspiritCalib(
        kspace, calib_width=24, crop=0.95, output_eigenvalue=True, show_pbar=False
    ).run()
    inside = ours.weights[0] > 0
    assert (inside != (np.abs(theirs) > 0).any(0)).mean() < 1e-3
    both = inside & (np.abs(theirs) > 0).any(0)
    assert np.quantile(angle_to(ours.maps[:, both], theirs[:, both]), 0.99) < 1e-3
    assert np.abs(ours.eigenvalues - values)[0][both].max() < 1e-5


@pytest.mark.skipif(not BRAIN.exists(), reason="needs the 8-coil brain of shared/data")
def test_real_brain_explains_its_calibration_region():
    kspace = np.load(BRAIN)
    found = espirit(kspace)
    region = (slice(None), *calibration_region(kspace, 2))
    assert kspace[region].shape == (8, 24, 24)
    low = np.zeros_like(kspace)
    low[region] = kspace[region]
    again = to_kspace(found.maps * combine(low, found.maps), 2)
    share = np.linalg.norm((again - low)[region]) / np.linalg.norm(low[region])
    assert share < 0.06  # what remains rings at the cut of the box
