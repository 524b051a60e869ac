"""Reconstructions of simulated and of real k-space, judged by what was hidden from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sciml import Space, Status, Stop
from sciml.operators import SENSE
from solvers.mri import Method, Scan, reconstruct, scan_of
from solvers.mri.hold_out import NothingToHide, hold_out, search

BRAIN = Path(__file__).parents[3] / "shared" / "data" / "mri_kspace" / "cartesian_ksp.npy"


def head(n: int) -> np.ndarray:
    y, x = (np.mgrid[:n, :n] - n / 2) / n
    image = 1.0 * ((x / 0.35) ** 2 + (y / 0.45) ** 2 < 1) + 0.0j
    image[(x + 0.1) ** 2 + (y / 1.5) ** 2 < 0.005] = 0.4
    image[(x - 0.12) ** 2 + (y + 0.1) ** 2 < 0.004] = 1.7
    return image * np.exp(1j * (x + y))


def coils(n: int) -> np.ndarray:
    y, x = (np.mgrid[:n, :n] - n / 2) / n
    angles = np.arange(6) * np.pi / 3
    maps = np.stack(
        [np.exp(-((x - np.cos(a)) ** 2 + (y - np.sin(a)) ** 2) + 1j * a) for a in angles]
    )
    return (maps / np.sqrt((np.abs(maps) ** 2).sum(axis=0))).astype(np.complex64)


@pytest.fixture(scope="module")
def simulated() -> tuple[np.ndarray, Scan]:
    """(image, scan)"""
    rng = np.random.default_rng(3)
    image, maps = head(64).astype(np.complex64), coils(64)
    mask = rng.random((64, 64)) < 0.22
    mask[26:38, 26:38] = True
    A = SENSE(maps, mask)
    kspace = A(image) + 0.02 * A.range.random(rng) * mask
    noise = 0.02 * Space((6, 2000), np.complex64).random(rng)
    return image, scan_of(kspace, mask=mask, maps=maps, noise=noise)


def relative(x: np.ndarray, image: np.ndarray) -> float:
    return float(np.linalg.norm(x - image) / np.linalg.norm(image))


def test_what_is_known_of_a_scan_is_found(simulated: tuple[np.ndarray, Scan]) -> None:
    _, scan = simulated
    found = scan_of(scan.kspace)
    assert (found.mask == scan.mask).all()
    assert found.region is not None
    assert all(s.start <= 26 and s.stop >= 38 for s in found.region)
    assert scan.sigma == pytest.approx(0.02, rel=0.05)
    assert found.sigma is not None  # signal is left at the edge: an upper bound
    assert 0.02 < found.sigma < 0.05
    size = np.sqrt((np.abs(found.maps) ** 2).sum(axis=0))
    overlap = np.abs((found.maps.conj() * scan.maps).sum(axis=0))[size > 0.5]
    assert np.median(overlap) > 0.98
    noise = Space((6, 4000), np.complex128).random(np.random.default_rng(0)) * 2**0.5
    assert scan_of(scan.kspace, noise=noise).sigma == pytest.approx(2**0.5, rel=0.05)


def test_a_noise_scan_whitens_the_coils(simulated: tuple[np.ndarray, Scan]) -> None:
    image, scan = simulated
    rng = np.random.default_rng(8)
    mixing = np.eye(6) + 0.4 * (rng.standard_normal((6, 6)) + 1j * rng.standard_normal((6, 6)))
    mixing[2] *= 8  # one bad coil
    noise = mixing @ Space((6, 4000), np.complex128).random(rng)
    bad = mixing @ Space((6, 64 * 64), np.complex128).random(rng) * 0.04
    kspace = SENSE(scan.maps)(image) + bad.reshape(6, 64, 64).astype(np.complex64)
    kspace = kspace * scan.mask
    plain = scan_of(kspace, maps=scan.maps)
    white = scan_of(kspace, maps=scan.maps, noise=noise)
    assert white.whitening is not None
    C = white.whitening @ (mixing @ mixing.conj().T) @ white.whitening.conj().T
    np.testing.assert_allclose(C / C[0, 0].real, np.eye(6), atol=0.15)
    np.testing.assert_allclose(white.as_measured(white.kspace), kspace, atol=1e-3)
    errors = [relative(reconstruct(s, Method.SENSE).image, image) for s in (white, plain)]
    assert errors[0] < 0.9 * errors[1]
    with pytest.raises(ValueError, match="noise scan"):
        scan_of(kspace, maps=scan.maps, noise=noise[:4])


def test_priors_beat_least_squares_beat_zero_filling(simulated: tuple[np.ndarray, Scan]) -> None:
    image, scan = simulated
    error = {}
    for method in (m for m in Method if m is not Method.SCORE):
        found = reconstruct(scan, method)
        error[method] = relative(found.image, image)
        assert found.image.dtype == np.complex64
        assert found.noise is not None
        if found.result is not None:
            assert found.result.status == Status.CONVERGED
            assert 0.7 < found.misfit / found.noise < 1.2
            predicted = SENSE(scan.maps)(found.image)
            np.testing.assert_allclose(found.kspace, predicted, atol=1e-5)
    assert error[Method.SENSE] < 0.85 * error[Method.ZERO_FILLED]
    assert error[Method.L1_WAVELET] < 0.9 * error[Method.SENSE]
    assert error[Method.TV] < 0.7 * error[Method.SENSE]
    chosen = reconstruct(scan)
    assert chosen.method is Method.TV
    assert "predicts hidden samples best" in chosen.reason


def test_a_complete_scan_is_transformed(simulated: tuple[np.ndarray, Scan]) -> None:
    image, scan = simulated
    kspace = SENSE(scan.maps)(image)
    found = reconstruct(scan_of(kspace, maps=scan.maps))
    assert found.method is Method.ZERO_FILLED
    assert relative(found.image, image) < 1e-5
    np.testing.assert_allclose(found.kspace, kspace, atol=1e-4)


@pytest.mark.parametrize("method", [Method.SENSE, Method.L1_WAVELET, Method.TV])
def test_the_weight_found_is_near_the_best_one(
    simulated: tuple[np.ndarray, Scan], method: Method
) -> None:
    image, scan = simulated
    best = min(
        relative(reconstruct(scan, method, weight=2.0**-k).image, image) for k in range(3, 13)
    )
    assert relative(reconstruct(scan, method).image, image) < 1.3 * best


def test_whole_lines_are_hidden_where_the_mask_is_lines() -> None:
    rng = np.random.default_rng(0)
    mask = np.broadcast_to((np.arange(40) % 3 == 0)[:, None], (40, 30)).copy()
    mask[16:24] = True
    seen, held = hold_out(mask, (slice(16, 24), slice(None)), 0.2, rng)
    assert (seen | held == mask).all() and not (seen & held).any()
    assert (held.all(axis=1) == held.any(axis=1)).all()
    assert not held[16:24].any()
    with pytest.raises(NothingToHide, match="give the weight yourself"):
        hold_out(mask, (slice(None), slice(None)), 0.1, rng)


def test_a_search_stops_when_the_error_grows() -> None:
    tried = []

    def fit(weight: float, x: np.ndarray | None) -> np.ndarray:
        tried.append(weight)
        return np.array([weight])

    def error(x: np.ndarray) -> float:
        return abs(float(x[0]) - 2.1)

    found = search([8, 4, 2, 1, 0.5, 0.25], fit, error, start=0)
    assert found.weight == pytest.approx(2, rel=0.1)
    assert tried == [8, 2, 0.5, 1, 4]
    assert found.weights == (8, 4, 2, 1, 0.5)
    for start in range(6):  # uphill too, and from either end
        assert search([8, 4, 2, 1, 0.5, 0.25], fit, error, start=start).weight == found.weight
    assert not found.at_end
    assert search([8, 4, 2, 1, 0.5, 0.25], fit, lambda x: float(x[0]), start=1).at_end


def test_a_search_walks_on_where_weights_blot_out_the_image() -> None:
    def error(x: np.ndarray) -> float:
        return min(1.0, 0.3 + abs(float(x[0]) + 9))  # 1 but from 2^-9.7 to 2^-8.3

    weights = [2.0**-k for k in range(2, 18)]
    found = search(weights, lambda w, _: np.array([np.log2(w)]), error, start=3)
    assert found.weight == pytest.approx(2.0**-9)


def test_bad_input_is_named(simulated: tuple[np.ndarray, Scan]) -> None:
    _, scan = simulated
    kspace, maps, mask = scan.kspace, scan.maps, scan.mask
    with pytest.raises(ValueError, match="expected maps of k-space's shape"):
        scan_of(kspace, maps=maps[:3])
    with pytest.raises(ValueError, match="expected a mask that fits"):
        scan_of(kspace, mask=mask[:5])
    with pytest.raises(ValueError, match="axes are in another order"):
        scan_of(kspace[:, :40], mask=mask[:40].T)
    with pytest.raises(ValueError, match="nothing was measured"):
        scan_of(kspace, mask=0 * mask)
    with pytest.raises(ValueError, match="the mask belongs to other data"):
        scan_of(kspace, mask=~mask)
    with pytest.raises(ValueError, match="the mask belongs to other data"):
        scan_of(kspace, mask=mask | (np.arange(64) % 8 == 0))
    with pytest.raises(ValueError, match="not all 0"):
        scan_of(kspace, maps=0 * maps)
    with pytest.raises(ValueError, match="from 0 to 1"):
        reconstruct(scan, Method.SENSE, weight=2.0)
    with pytest.raises(ValueError, match="several coils"):
        reconstruct(scan_of(kspace[:1], mask=mask), Method.GRAPPA)
    with pytest.raises(ValueError, match="no calibration region"):
        scan_of(kspace * (np.arange(64) % 2 == 0))
    broken = kspace.copy()
    broken[2, 30, 31] = np.nan
    with pytest.raises(ValueError, match=r"finite k-space, got .* at \(2, 30, 31\)"):
        reconstruct(scan_of(broken, maps=maps), Method.SENSE)
    with pytest.raises(TypeError, match="Method"):
        reconstruct(scan, "sense")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Scan"):
        reconstruct(kspace)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def brain() -> tuple[Scan, Scan, np.ndarray]:
    """(a real scan without a tenth of its samples, a scan of those, where they are)"""
    if not BRAIN.exists():
        pytest.skip(f"no real k-space at {BRAIN}")
    whole = scan_of(np.load(BRAIN))
    assert whole.region == (slice(103, 127), slice(78, 102))
    seen, held = hold_out(whole.mask, whole.region, 0.1, np.random.default_rng(11))
    return (
        scan_of(whole.kspace, mask=seen, maps=whole.maps),
        scan_of(whole.kspace, mask=held, maps=whole.maps),
        held,
    )


def test_a_real_scan_is_predicted_better_the_more_is_known(
    brain: tuple[Scan, Scan, np.ndarray],
) -> None:
    scan, hidden, held = brain
    error = {
        method: relative(reconstruct(scan, method).kspace * held, hidden.kspace)
        for method in (Method.ZERO_FILLED, Method.SENSE, Method.L1_WAVELET)
    }
    assert error[Method.SENSE] < 0.5 * error[Method.ZERO_FILLED]
    assert error[Method.L1_WAVELET] < 0.95 * error[Method.SENSE]


def test_errors_on_hidden_samples_hardly_grow_with_iterations(
    brain: tuple[Scan, Scan, np.ndarray],
) -> None:
    scan, hidden, held = brain
    weight = reconstruct(scan, Method.SENSE).weight
    errors = []
    for most in (5, 8, 10, 12, 15, 20, 50, 200):  # no tolerance ends any of them
        stop = Stop(rtol=1e-12, max_iters=most)
        found = reconstruct(scan, Method.SENSE, weight=weight, stop=stop)
        errors.append(relative(found.kspace * held, hidden.kspace))
    assert errors[-1] <= 1.03 * min(errors)
    default = reconstruct(scan, Method.SENSE, weight=weight)
    assert relative(default.kspace * held, hidden.kspace) <= 1.01 * min(errors)


def test_what_lies_outside_the_maps_stays_empty(brain: tuple[Scan, Scan, np.ndarray]) -> None:
    scan = brain[0]
    stop = Stop(rtol=1e-5, max_iters=400)
    image = reconstruct(scan, Method.L1_WAVELET, weight=1e-3, stop=stop).image
    outside = np.abs(scan.maps).max(axis=0) == 0
    assert outside.mean() > 0.1
    assert np.linalg.norm(image[outside]) < 0.1 * np.linalg.norm(image[~outside])


def test_units_do_not_matter(simulated: tuple[np.ndarray, Scan]) -> None:
    _, scan = simulated
    plain = reconstruct(scan, Method.L1_WAVELET, weight=1e-3)
    for unit in (1e-24, 1e24):
        other = scan_of(scan.kspace * np.float32(unit), mask=scan.mask, maps=scan.maps)
        found = reconstruct(other, Method.L1_WAVELET, weight=1e-3)
        assert relative(found.image / np.float32(unit), plain.image) < 1e-4


@pytest.mark.parametrize("method", [Method.GRAPPA, Method.ZERO_FILLED])
def test_maps_of_any_size_leave_the_image_its_own(
    simulated: tuple[np.ndarray, Scan], method: Method
) -> None:
    """kspace = F S x stays true when S and x change places in size."""
    _, scan = simulated
    plain = reconstruct(scan, method).image
    larger = replace(scan, maps=4 * scan.maps)
    np.testing.assert_allclose(4 * reconstruct(larger, method).image, plain, rtol=1e-5, atol=1e-6)


def test_what_a_mask_leaves_out_is_not_looked_at(simulated: tuple[np.ndarray, Scan]) -> None:
    _, scan = simulated
    holed = np.where(scan.mask, scan.kspace, np.nan)
    found = scan_of(holed, mask=scan.mask, maps=scan.maps)
    np.testing.assert_array_equal(found.kspace, scan.kspace)
