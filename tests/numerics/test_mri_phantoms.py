"""Phantoms: known values, closed forms against transforms, contrasts in the right order."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.ndimage import label

from sciml.mri import (
    Contrast,
    Tissue,
    brain,
    cartesian,
    shepp_logan,
    shepp_logan_kspace,
    smooth_phase,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def spectrum(image: np.ndarray) -> np.ndarray:
    """The centred orthonormal transform."""
    return np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(image), norm="ortho"))


@pytest.mark.parametrize(
    ("x", "y", "value"),
    [
        (0.0, 0.0, 0.2),  # brain
        (0.0, 0.9, 1.0),  # skull
        (0.22, 0.0, 0.0),  # ventricles
        (-0.22, 0.0, 0.0),
        (0.34, 0.0, 0.2),  # outside the right, smaller one
        (-0.34, 0.0, 0.0),  # inside the left one
        (0.0, 0.45, 0.3),  # the disc in front
        (0.0, 0.12, 0.4),  # and the spot that overlaps it
        (-0.08, -0.605, 0.3),
        (0.0, 0.97, 0.0),  # air
    ],
)
@pytest.mark.parametrize("shape", [(400, 400), (401, 500)])
def test_values_of_shepp_and_logan(x, y, value, shape):
    row = round(shape[0] // 2 - y * shape[0] / 2)
    column = round(shape[1] // 2 + x * shape[1] / 2)
    assert shepp_logan(shape)[row, column] == pytest.approx(value)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ((0.0, 0.0, 0.0), 0.2),
        ((-0.25, 0.22, 0.0), 0.0),
        ((-0.25, 0.0, 0.45), 0.4),
        ((0.625, 0.0, 0.1), 0.0),
        ((0.625, 0.06, -0.105), 0.4),
        ((0.89, 0.0, 0.0), 1.0),
    ],
)
def test_values_of_the_ellipsoids(place, value):
    image = shepp_logan((160, 160, 160))
    z, x, y = place
    index = (round(80 + 80 * z), round(80 - 80 * y), round(80 + 80 * x))
    assert image[index] == pytest.approx(value)


def test_values_stay_between_0_and_1():
    for shape in ((128, 128), (32, 64, 64)):
        image = shepp_logan(shape)
        assert image.min() == 0
        assert image.max() == 1


def test_kspace_at_the_origin_is_the_area():
    # Σ intensity π a b of the ten ellipses, in pixels, over √n of the orthonormal transform
    rows = [
        (1, 0.69, 0.92),
        (-0.8, 0.6624, 0.874),
        (-0.2, 0.11, 0.31),
        (-0.2, 0.16, 0.41),
        (0.1, 0.21, 0.25),
        (0.1, 0.046, 0.046),
        (0.1, 0.046, 0.046),
        (0.1, 0.046, 0.023),
        (0.1, 0.023, 0.023),
        (0.1, 0.023, 0.046),
    ]
    area = sum(rho * math.pi * a * b for rho, a, b in rows) * (64 / 2) * (96 / 2)
    found = shepp_logan_kspace(np.zeros((1, 2)), (64, 96))
    assert found[0] == pytest.approx(area / math.sqrt(64 * 96), rel=1e-14)


@pytest.mark.parametrize("shape", [(48, 40), (16, 20, 24)])
def test_kspace_is_the_transform_of_the_image(shape):
    # Points on a finer grid integrate the phantom: an error that falls with the grid's width.
    coords = cartesian(shape)
    exact = shepp_logan_kspace(coords, shape)
    errors = []
    for finer in (3, 9):
        big = tuple(n * finer for n in shape)
        fine = spectrum(shepp_logan(big)) / finer ** (len(shape) / 2)
        middle = tuple(
            slice(b // 2 - n // 2, b // 2 - n // 2 + n) for b, n in zip(big, shape, strict=True)
        )
        errors.append(np.linalg.norm(fine[middle] - exact) / np.linalg.norm(exact))
    assert errors[1] < 0.02
    assert errors[1] < errors[0] / 3


def test_kspace_is_continuous_at_the_origin_and_hermitian():
    k = rng().uniform(-0.5, 0.5, (50, 2))
    a, b = (shepp_logan_kspace(s * k, (64, 64)) for s in (1, -1))
    np.testing.assert_allclose(a, b.conj(), atol=1e-13)
    near, at = shepp_logan_kspace(np.array([[1e-9, 0], [0, 0]]), (64, 64))
    assert near == pytest.approx(at, rel=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: shepp_logan((8,)), "two or three"),
        (lambda: shepp_logan((8, 0)), "length"),
        (lambda: shepp_logan_kspace(np.zeros((3, 3)), (8, 8)), "coords"),
        (lambda: brain((8, 8, 8), rng=rng()), r"shape \(y, x\)"),
        (lambda: brain((8, 8), rng=rng(), phase=-1), "phase"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_types_are_checked():
    with pytest.raises(TypeError, match=r"Contrast\.T1"):
        brain((8, 8), "T1", rng=rng())
    with pytest.raises(TypeError, match="default_rng"):
        brain((8, 8), rng=3)


def test_a_brain_depends_on_its_generator_alone():
    first, again, other = (brain((48, 40), rng=rng(s)) for s in (1, 1, 2))
    assert (first == again).all()
    assert np.abs(first - other).mean() > 0.02


def test_the_anatomy_does_not_depend_on_the_resolution():
    fine = np.roll(brain((192, 192), rng=rng(3)), 1, axis=(0, 1))  # pixel 3 i in the middle of 3
    coarse = brain((64, 64), rng=rng(3))
    mean = fine.reshape(64, 3, 64, 3).mean(axis=(1, 3))
    assert np.linalg.norm(mean - coarse) / np.linalg.norm(coarse) < 0.1


def test_tissues_have_the_contrast_of_their_sequence():
    def order(contrast, *tissues):
        values = [contrast.signal(t) for t in tissues]
        return all(a > 1.1 * b for a, b in pairwise(values))

    assert order(Contrast.T1, Tissue.FAT, Tissue.WHITE, Tissue.GREY, Tissue.CSF)
    assert order(Contrast.T2, Tissue.CSF, Tissue.GREY, Tissue.WHITE, Tissue.MUSCLE)
    assert Contrast.PD.signal(Tissue.GREY) > Contrast.PD.signal(Tissue.WHITE)
    assert order(Contrast.FLAIR, Tissue.GREY, Tissue.CSF)
    assert Contrast.FLAIR.signal(Tissue.CSF) < 1e-4  # the inversion time is the one that nulls it
    # Grey matter at TR 4500, TE 100: 0.86 (1 - e^-5.402) e^-1.2048
    assert Contrast.T2.signal(Tissue.GREY) == pytest.approx(0.25661, rel=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_a_brain_has_a_head_in_air_with_folds_and_ventricles(seed):
    image = brain((128, 128), Contrast.T2, rng=rng(seed))
    assert image.min() == 0
    assert 0.95 < image.max() <= 1
    assert not image[:4].any()
    assert not image[:, :14].any()
    head = image[image > 0]
    assert 0.35 < head.size / image.size < 0.6
    fluid, count = label(image > 0.9)
    assert count > 5  # ventricles, sulci
    assert fluid[50:60, 55:75].any()  # frontal horns
    # Folds: the outline of the fluid is much longer than that of a smooth ring around the brain.
    edges = np.abs(np.diff((image > 0.6).astype(int), axis=0)).sum()
    assert edges > 350


def test_phase_turns_and_leaves_magnitudes():
    plain = brain((64, 64), rng=rng(5))
    turned = brain((64, 64), rng=rng(5), phase=1.2)
    assert turned.dtype == np.complex128
    np.testing.assert_allclose(np.abs(turned), plain, atol=1e-15)
    inside = plain > 0
    assert 0.2 < np.abs(np.angle(turned[inside])).max() <= 1.2


def test_smooth_phase_is_a_cubic_of_the_given_size():
    field = smooth_phase((40, 50), rng=rng(), peak=2.0)
    assert np.abs(field).max() == pytest.approx(2.0)
    for axis in (0, 1):
        np.testing.assert_allclose(np.diff(field, n=4, axis=axis), 0, atol=1e-12)
    assert field[20, 25] == 0
