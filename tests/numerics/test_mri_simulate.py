"""Coils against the laws of magnetism, measurements against the statistics they promise."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.special import ellipe, ellipk

from sciml.mri import (
    biot_savart,
    birdcage,
    brain,
    coil_covariance,
    loop_field,
    nrmse,
    partial_lines,
    poisson_disc,
    simulate,
    simulate_brain,
    write_measurement,
)
from sciml.operators import SENSE

SAMPLE = Path(__file__).resolve().parents[2] / "data/samples/brain_8coil.h5"


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_loop_on_its_axis():
    height = np.array([-2.0, 0.0, 0.3, 1.0, 5.0])
    normal = np.array([1.0, 2.0, -2.0]) / 3
    centre = np.array([0.3, -1.0, 2.0])
    field = loop_field(centre + height[:, None] * normal, centre, normal, 0.7)
    exact = 2 * np.pi * 0.49 / (0.49 + height**2) ** 1.5
    np.testing.assert_allclose(field, exact[:, None] * normal, atol=1e-12)


def test_a_loop_off_its_axis():
    # Smythe, Static and Dynamic Electricity (1950), 7.10, with the current 4π / μ0.
    a = 0.8
    rho, z = np.meshgrid(np.array([0.1, 0.4, 1.5, 3.0]), np.array([0.4, -1.0, 2.0]))
    outer = (a + rho) ** 2 + z**2
    inner = (a - rho) ** 2 + z**2
    m = 4 * a * rho / outer
    K, E = ellipk(m), ellipe(m)
    axial = 2 / np.sqrt(outer) * (K + (a**2 - rho**2 - z**2) / inner * E)
    radial = 2 * z / (rho * np.sqrt(outer)) * (-K + (a**2 + rho**2 + z**2) / inner * E)
    turn = 0.7
    points = np.stack([rho * math.cos(turn), rho * math.sin(turn), z], axis=-1)
    field = loop_field(points, np.zeros(3), np.array([0, 0, 1.0]), a)
    np.testing.assert_allclose(field[..., 2], axial, rtol=1e-6)
    np.testing.assert_allclose(field[..., 0], radial * math.cos(turn), rtol=1e-6)
    np.testing.assert_allclose(field[..., 1], radial * math.sin(turn), rtol=1e-6)


@pytest.mark.parametrize("make", [birdcage, biot_savart])
@pytest.mark.parametrize("shape", [(32, 24), (9, 16, 20)])
@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_maps_have_size_one_in_the_middle(make, shape, dtype):
    maps = make(shape, 6, dtype=dtype)
    assert maps.shape == (6, *shape)
    assert maps.dtype == dtype
    origin = maps[(slice(None), *(n // 2 for n in shape))]
    assert np.linalg.norm(origin) == pytest.approx(1, rel=1e-6)
    np.testing.assert_allclose(np.abs(origin), 6**-0.5, rtol=1e-5)
    assert np.isfinite(maps).all()


@pytest.mark.parametrize("make", [birdcage, biot_savart])
def test_coils_are_turned_copies(make):
    # Of four coils, the next one is a quarter turn further: anticlockwise in the picture. In a
    # frame that turns with them they see the same, so that its phase is a quarter turn behind.
    maps = make((33, 33), 4, dtype=np.complex128)
    np.testing.assert_allclose(np.rot90(maps[0]) * -1j, maps[1], atol=1e-12)
    # The first coil is to the right.
    assert np.abs(maps[0, 16, -1]) > 2 * np.abs(maps[0, 16, 16]) > 3 * np.abs(maps[0, 16, 0])


def test_a_birdcage_sees_by_one_over_the_distance():
    maps = birdcage((64, 64), 5, radius=2.0, dtype=np.complex128)
    y, x = np.mgrid[32:-32:-1, -32:32] / 32
    distance = np.hypot(x - 2, y)
    product = np.abs(maps[0]) * distance
    np.testing.assert_allclose(product, product[0, 0], rtol=1e-12)


def test_a_slice_is_the_middle_of_a_volume():
    volume, plane = biot_savart((8, 16, 16), 4), biot_savart((16, 16), 4)
    np.testing.assert_allclose(volume[:, 4], plane, atol=1e-6)


def test_rings_see_their_own_height():
    maps = biot_savart((17, 16, 16), 8, rings=2, height=0.5)
    low, high = np.abs(maps[:4]).sum(axis=(0, 2, 3)), np.abs(maps[4:]).sum(axis=(0, 2, 3))
    assert low.argmax() < 8 < high.argmax()
    np.testing.assert_allclose(low, high[::-1], rtol=0.1)  # one is turned


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: birdcage((8,), 4), "shape"),
        (lambda: birdcage((8, 8), 0), "coils"),
        (lambda: birdcage((8, 8), 4, radius=0.5), "radius"),
        (lambda: birdcage((8, 8), 4, dtype=np.float32), "dtype"),
        (lambda: biot_savart((8, 8), 5, rings=2), "rings that divide"),
        (lambda: coil_covariance(4, 1.0), "correlation"),
    ],
)
def test_coils_that_cannot_be_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return brain((96, 80), rng=rng(7))


@pytest.fixture(scope="module")
def maps(image) -> np.ndarray:
    return biot_savart(image.shape, 4)


def test_noise_has_the_covariance_that_is_told(image, maps):
    covariance = (
        coil_covariance(4, 0.5) + 0.2j * np.diag([1, 1, 1], 1) - 0.2j * np.diag([1, 1, 1], -1)
    )
    covariance[0, 0] *= 3
    made = simulate(image, maps, snr=10, rng=rng(), covariance=covariance)
    noise = (made.kspace - SENSE(maps)(made.image)).reshape(4, -1)
    found = noise @ noise.conj().T / noise.shape[1]
    np.testing.assert_allclose(
        found, made.covariance, atol=5 * made.sigma**2 * 3 / noise.shape[1] ** 0.5
    )
    shape = made.covariance / made.covariance[1, 1]
    np.testing.assert_allclose(shape, covariance / covariance[1, 1], rtol=1e-12)
    assert made.sigma**2 == pytest.approx(np.trace(made.covariance).real / 4)
    # circular: E n n^T = 0
    assert np.abs(noise @ noise.T).max() / noise.shape[1] < 0.06 * made.sigma**2


def test_snr_is_signal_over_the_deviation_of_one_coils_image(image):
    one = np.ones((1, *image.shape), np.complex64)
    made = simulate(image, one, snr=12.5, rng=rng())
    signal = image[image > 0.1 * image.max()].mean()
    noise = SENSE(one).adjoint(made.kspace) - image  # in the image: the transform is orthonormal
    assert signal / np.sqrt(np.mean(np.abs(noise) ** 2)) == pytest.approx(12.5, rel=0.03)
    assert noise.real.std() == pytest.approx(made.sigma / 2**0.5, rel=0.05)


def test_the_problem_that_is_made_has_the_misfit_of_its_noise(image, maps):
    mask = poisson_disc(image.shape, 3, rng=rng(), calibration=12)
    made = simulate(image, maps, mask, snr=20, rng=rng(1), covariance=coil_covariance(4))
    samples = mask.sum() * 4
    misfit = float(made.problem().misfit(made.image))
    # ‖white noise‖² / samples is 1 with a deviation of 1 / √samples
    assert misfit**2 / samples == pytest.approx(1, abs=5 / samples**0.5)


def test_what_is_not_measured_is_zero_and_masks_see_the_same_noise(image, maps):
    full = simulate(image, maps, snr=20, rng=rng(2))
    mask = poisson_disc(image.shape, 4, rng=rng())
    some = simulate(image, maps, mask, snr=20, rng=rng(2), partial_fourier=0.6)
    kept = mask & partial_lines(image.shape, 0.6)
    assert (some.mask == kept).all()
    assert not some.kspace[:, ~kept].any()
    np.testing.assert_allclose(some.kspace[:, kept], full.kspace[:, kept], atol=1e-6)


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_phase_and_precision(image, dtype):
    maps = birdcage(image.shape, 3, dtype=dtype)
    phase = np.linspace(0, 1, image.shape[1])
    made = simulate(image, maps, snr=1e6, rng=rng(), phase=phase)
    assert made.kspace.dtype == made.image.dtype == dtype
    np.testing.assert_allclose(made.image, image * np.exp(1j * phase), atol=1e-6)
    exact = SENSE(maps)((image * np.exp(1j * phase)).astype(dtype))
    assert nrmse(made.kspace, exact) < 1e-4


def test_volumes():
    volume = rng().random((6, 8, 10))
    made = simulate(volume, biot_savart(volume.shape, 4), snr=50, rng=rng())
    assert made.kspace.shape == (4, 6, 8, 10)
    assert made.problem().domain.shape == (6, 8, 10)


def test_bad_measurements_are_refused(image, maps):
    def call(image=image, maps=maps, **options):
        return simulate(image, maps, **{"snr": 10, "rng": rng(), **options})

    for options, message in (
        ({"maps": maps[:, 1:]}, "coils first"),
        ({"snr": 0}, "snr > 0"),
        ({"snr": math.inf}, "finite"),
        ({"image": 0 * image}, "with signal"),
        ({"covariance": np.eye(3)}, "covariance of 4 coils"),
        ({"covariance": -np.eye(4)}, "positive definite"),
        ({"mask": np.ones((5, 5))}, "mask"),
        ({"mask": np.zeros(image.shape)}, "mask"),
        ({"mask": np.full(image.shape, 0.5)}, "mask"),
        ({"partial_fourier": 0.3}, "partial_fourier"),
    ):
        with pytest.raises(ValueError, match=message):
            call(**options)
    with pytest.raises(TypeError, match="complex maps"):
        call(maps=np.abs(maps))
    with pytest.raises(TypeError, match="default_rng"):
        call(rng=1)


def test_the_sample_is_what_its_card_tells(tmp_path):
    made = simulate_brain(seed=42)
    write_measurement(tmp_path / "again.h5", made)
    with h5py.File(SAMPLE) as kept, h5py.File(tmp_path / "again.h5") as again:
        assert set(kept) == set(again) == {"kspace", "mask", "reference", "noise_covariance"}
        for name in kept:
            assert kept[name].dtype == again[name].dtype
            np.testing.assert_allclose(kept[name][:], again[name][:], rtol=1e-4, atol=1e-5)
        kspace, mask, reference = (kept[n][:] for n in ("kspace", "mask", "reference"))
        assert kept.attrs["max"] == pytest.approx(reference.max())
    assert kspace.shape == (1, 8, 128, 128)
    assert kspace.dtype == np.complex64
    assert mask.sum() == 4096
    assert mask[54:74, 54:74].all()
    assert not kspace[0, :, mask == 0].any()
    np.testing.assert_allclose(reference[0], made.reference, rtol=1e-5)


def test_equal_measurements_make_equal_files(tmp_path):
    made = simulate_brain((32, 32), coils=2, calibration=8, seed=1)
    sums = set()
    for name in ("a.h5", "b.h5"):
        write_measurement(tmp_path / name, made)
        sums.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(sums) == 1
    with pytest.raises(ValueError, match="slice"):
        volume = rng().random((6, 8, 10))
        write_measurement(
            tmp_path / "c.h5", simulate(volume, birdcage(volume.shape, 2), snr=5, rng=rng())
        )
    assert not (tmp_path / "c.h5").exists()
