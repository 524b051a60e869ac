"""Reconstructions of simulated and of real k-space, judged by what was hidden from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sciml import Space, Status
from sciml.operators import FFT, SENSE
from solvers.mri import Method, reconstruct
from solvers.mri.hold_out import hold_out, search

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
def simulated() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(image, kspace, maps, mask)"""
    rng = np.random.default_rng(3)
    image, maps = head(64), coils(64)
    mask = rng.random((64, 64)) < 0.22
    mask[26:38, 26:38] = True
    A = SENSE(maps, mask)
    y = A(image.astype(np.complex64))
    return image, y + 0.02 * A.range.random(rng) * mask, maps, mask


REGION = (slice(26, 38),) * 2


def test_priors_beat_least_squares_beat_zero_filling(simulated: tuple) -> None:
    image, kspace, maps, mask = simulated
    error = {}
    for method in Method:
        found = reconstruct(kspace, maps, mask, method, calibration=REGION, sigma=0.02)
        error[method] = np.linalg.norm(found.image - image) / np.linalg.norm(image)
        assert found.image.dtype == np.complex64
        if method is not Method.ZERO_FILLED:
            assert found.result is not None
            assert found.result.status == Status.CONVERGED
            assert 0.7 < found.misfit / found.noise < 1.2
    assert error[Method.SENSE] < 0.85 * error[Method.ZERO_FILLED]
    assert error[Method.L1_WAVELET] < 0.9 * error[Method.SENSE]
    assert error[Method.TV] < 0.7 * error[Method.SENSE]


@pytest.mark.parametrize("method", [Method.SENSE, Method.L1_WAVELET, Method.TV])
def test_the_weight_found_is_near_the_best_one(simulated: tuple, method: Method) -> None:
    image, kspace, maps, mask = simulated

    def error(weight: float | None) -> float:
        found = reconstruct(kspace, maps, mask, method, weight=weight, calibration=REGION)
        return float(np.linalg.norm(found.image - image))

    best = min(error(2.0**-k) for k in range(3, 13))
    assert error(None) < 1.3 * best


def test_whole_lines_are_hidden_where_the_mask_is_lines() -> None:
    rng = np.random.default_rng(0)
    mask = np.broadcast_to((np.arange(40) % 3 == 0)[:, None], (40, 30)).copy()
    mask[16:24] = True
    seen, held = hold_out(mask, (slice(16, 24), slice(None)), 0.2, rng)
    assert (seen | held == mask).all() and not (seen & held).any()
    assert (held.all(axis=1) == held.any(axis=1)).all()
    assert not held[16:24].any()
    with pytest.raises(ValueError, match="give the weight yourself"):
        hold_out(mask, (slice(None), slice(None)), 0.1, rng)


def test_a_search_stops_when_the_error_grows() -> None:
    tried = []

    def fit(weight: float, x: np.ndarray | None) -> np.ndarray:
        tried.append(weight)
        return np.array([weight])

    found = search([8, 4, 2, 1, 0.5, 0.25], fit, lambda x: abs(float(x[0]) - 2.1))
    assert found.weight == pytest.approx(2, rel=0.1)
    assert tried == [8, 4, 2, 1, 0.5]


def test_bad_input_is_named(simulated: tuple) -> None:
    _, kspace, maps, mask = simulated
    broken = kspace.copy()
    broken[2, 30, 31] = np.nan
    for wrong, match in (
        ((kspace, maps[:3], mask), "expected maps of k-space's shape"),
        ((kspace, maps, mask[:5]), "expected a mask of shape"),
        ((kspace, maps, 0 * mask), "nothing was measured"),
        ((broken, maps, mask), r"finite k-space, got .* at \(2, 30, 31\)"),
    ):
        with pytest.raises(ValueError, match=match):
            reconstruct(*wrong, Method.SENSE)
    with pytest.raises(TypeError, match="Method"):
        reconstruct(kspace, maps, mask, "sense")  # type: ignore[arg-type]


def brain() -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[slice, ...]]:
    """(kspace, maps from its centre, mask, calibration region) of a real scan."""
    if not BRAIN.exists():
        pytest.skip(f"no real k-space at {BRAIN}")
    kspace = np.load(BRAIN)
    kspace = (kspace / np.abs(kspace).max()).astype(np.complex64)
    mask = (kspace != 0).any(axis=0)
    region = tuple(slice(n // 2 - 12, n // 2 + 12) for n in mask.shape)
    window = np.zeros(mask.shape, np.float32)
    window[region] = np.outer(np.hanning(26)[1:-1], np.hanning(26)[1:-1])
    low = FFT(Space(mask.shape, np.complex64), centred=True).adjoint(kspace * window)
    size = np.sqrt((np.abs(low) ** 2).sum(axis=0))
    maps = low / np.maximum(size, 1e-9) * (size > 0.05 * size.max())
    return kspace, maps, mask, region


def test_a_real_scan_is_predicted_better_the_more_is_known() -> None:
    kspace, maps, mask, region = brain()
    seen, held = hold_out(mask, region, 0.1, np.random.default_rng(11))
    hidden = kspace * held
    error = {}
    for method in (Method.ZERO_FILLED, Method.SENSE, Method.L1_WAVELET):
        found = reconstruct(kspace, maps, seen, method, calibration=region)
        predicted = SENSE(maps, held)(found.image)
        error[method] = np.linalg.norm(hidden - predicted) / np.linalg.norm(hidden)
    assert error[Method.SENSE] < 0.6 * error[Method.ZERO_FILLED]
    assert error[Method.L1_WAVELET] < 0.96 * error[Method.SENSE]


def test_errors_on_hidden_samples_do_not_grow_with_iterations() -> None:
    from sciml import Identity, LinearSystem
    from solvers import CG

    kspace, maps, mask, region = brain()
    seen, held = hold_out(mask, region, 0.1, np.random.default_rng(11))
    weight = reconstruct(kspace, maps, seen, Method.SENSE, calibration=region).weight
    A, B, hidden = SENSE(maps, seen), SENSE(maps, held), kspace * held
    ridge = (weight * A.norm_bound**2) * Identity(A.domain)
    state = CG().init(LinearSystem(A.normal + ridge, A.adjoint(kspace * seen)), None, None)
    errors = []
    for _ in range(12):
        state = CG().advance(state, 5)
        errors.append(np.linalg.norm(hidden - B(state.x)) / np.linalg.norm(hidden))
    assert errors[-1] <= 1.02 * min(errors)
