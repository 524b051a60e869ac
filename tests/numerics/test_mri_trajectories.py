"""Trajectories and their weights against closed forms and a scanner's file."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import jv

from sciml import Space
from sciml.mri import cartesian, koosh_ball, pipe_menon, radial, ramp, spiral
from sciml.operators import FFT, Dense

REAL = Path(__file__).resolve().parents[2].parent / "shared/data/mri_kspace/projection_coord.npy"


@pytest.mark.parametrize("golden", [False, True])
@pytest.mark.parametrize(("make", "d"), [(radial, 2), (koosh_ball, 3)])
@pytest.mark.parametrize("samples", [8, 9])
def test_spokes_are_diameters(make, d, golden, samples):
    coords = make(13, samples, golden=golden)
    assert coords.shape == (13, samples, d)
    assert coords.dtype == np.float64
    assert (coords >= -0.5).all()
    assert (coords < 0.5).all()
    assert (coords[:, samples // 2] == 0).all()
    np.testing.assert_allclose(np.linalg.norm(np.diff(coords, axis=1), axis=-1), 1 / samples)
    np.testing.assert_allclose(np.diff(coords, n=2, axis=1), 0, atol=1e-15)


def test_angles():
    def angles(coords):
        return np.unwrap(np.arctan2(coords[:, -1, 1], coords[:, -1, 0]))

    np.testing.assert_allclose(np.degrees(np.diff(angles(radial(96, 8)))), 180 / 96)
    steps = np.degrees(np.diff(angles(radial(50, 8, golden=True))))
    np.testing.assert_allclose(steps, 111.246117975, rtol=1e-10)


@pytest.mark.skipif(not REAL.exists(), reason="no measured trajectory in ../shared/data")
def test_a_scanners_file_is_as_the_docstring_tells():
    angle = np.pi * np.arange(96) / 96
    along = np.linspace(0.5, -0.5, 512)
    told = along[:, None] * np.stack([np.cos(angle), -np.sin(angle)], axis=-1)[:, None]
    given = np.load(REAL) / 256
    np.testing.assert_allclose(given, told, atol=2e-8)
    # The same lines as ours, but for the mirror image, and the same weights but for the interval.
    ours = radial(96, 512)[:, 0]
    across = given[:, 0, 0] * ours[:, 1] + given[:, 0, 1] * ours[:, 0]
    np.testing.assert_allclose(across, 0, atol=1e-7)
    assert ramp(given).sum() == pytest.approx(math.pi / 4, rel=0.01)


@pytest.mark.parametrize("golden", [False, True])
def test_directions_fill_the_sphere_evenly(golden):
    ends = koosh_ball(2000, 4, golden=golden)[:, 0] * 2
    spread = ends.T @ ends / len(ends)
    np.testing.assert_allclose(spread, np.eye(3) / 3, atol=0.01)
    np.testing.assert_allclose(np.linalg.norm(ends, axis=1), 1)


@pytest.mark.parametrize("exponent", [1.0, 2.0])
def test_a_spiral_follows_its_equation(exponent):
    coords = spiral(3, 64, turns=5, exponent=exponent)
    k = coords[..., 0] + 1j * coords[..., 1]
    t = np.arange(64) / 64
    np.testing.assert_allclose(np.abs(k), np.broadcast_to(t**exponent / 2, k.shape), atol=1e-15)
    turn = np.unwrap(np.angle(k[:, 1:]), axis=1)
    np.testing.assert_allclose(np.diff(turn, axis=1), 2 * np.pi * 5 / 64)
    np.testing.assert_allclose(k[1], k[0] * np.exp(2j * np.pi / 3), atol=1e-15)


@pytest.mark.parametrize(("coords", "d"), [(radial(64, 64), 2), (koosh_ball(1600, 32), 3)])
def test_ramp_weights_give_the_point_spread_of_the_disc(coords, d):
    # The transform of the ball of radius 1/2: J_{d/2}(π r) / (2 r)^{d/2}, its volume at 0.
    weights = ramp(coords)
    assert weights.sum() == pytest.approx(math.pi / (4 if d == 2 else 6), rel=2 / 64)
    for r in (1.3, 2.0, 4.7):
        place = np.array([0.6, 0.8, 0.0])[:d] * r
        spread = (weights * np.cos(2 * np.pi * coords @ place)).sum()
        exact = jv(d / 2, math.pi * r) / (2 * r) ** (d / 2)
        assert abs(spread - exact) < 0.01 * weights.sum()


def test_the_weight_of_the_origin_is_its_cell():
    spokes, n = 20, 16
    assert ramp(radial(spokes, n))[0, n // 2] == pytest.approx(math.pi / (4 * n * n) / spokes)
    ball = 4 / 3 * math.pi / (2 * n) ** 3
    assert ramp(koosh_ball(spokes, n))[0, n // 2] == pytest.approx(ball / spokes)


def direct_sum(coords, shape):
    """The orthonormal non-uniform transform as a matrix."""
    grid = cartesian(shape).reshape(-1, len(shape)) * shape
    phase = coords.reshape(-1, len(shape)) @ grid.T
    return np.exp(-2j * np.pi * phase) / math.sqrt(math.prod(shape))


def test_the_grid_is_that_of_the_centred_transform():
    shape = (5, 8)
    x = np.random.default_rng(0).standard_normal(shape) + 0j
    exact = FFT(Space(shape, np.dtype(np.complex128)), centred=True)(x)
    found = direct_sum(cartesian(shape), shape) @ x.ravel()
    np.testing.assert_allclose(found.reshape(shape), exact, atol=1e-13)


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_iterated_weights_of_a_unitary_transform_are_one(dtype):
    weights = pipe_menon(FFT(Space((6, 5), np.dtype(dtype))))
    assert weights.dtype == np.zeros(1, dtype).real.dtype
    np.testing.assert_allclose(weights, 1, rtol=1e-5)


def test_repeated_samples_share_their_weight():
    grid = cartesian((8,))[:, 0]
    coords = np.concatenate([grid, grid[:3], grid[:1]])[:, None]
    A = Dense(direct_sum(coords, (8,)))
    expected = 1 / np.array([3, 2, 2, 1, 1, 1, 1, 1, 3, 2, 2, 3])
    np.testing.assert_allclose(pipe_menon(A), expected, rtol=1e-12)
    moved = A.to(xp=torch)
    np.testing.assert_allclose(pipe_menon(moved).numpy(), expected, rtol=1e-12)


def test_iterated_weights_of_spokes_are_near_the_ramp():
    coords = radial(64, 40)
    A = Dense(direct_sum(coords, (40, 40)))
    weights = pipe_menon(A)
    assert np.abs(np.abs(A(A.adjoint(weights + 0j))) - 1).max() < 0.05
    ratio = weights.reshape(64, 40).mean(axis=0) / ramp(coords)[0] / 40**2
    away = np.abs(np.arange(40) - 20)
    np.testing.assert_allclose(ratio[(away > 2) & (away < 18)], 1, atol=0.02)
    np.testing.assert_allclose(ratio[away > 0], 1, atol=0.06)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: radial(0, 8), "spokes"),
        (lambda: radial(8, 0), "samples"),
        (lambda: spiral(1, 8, turns=0), "turns"),
        (lambda: spiral(1, 8, turns=1, exponent=0), "exponent"),
        (lambda: ramp(np.zeros((4, 8))), "coords"),
        (lambda: ramp(np.zeros((4, 1, 2))), "coords"),
        (lambda: pipe_menon(FFT(Space((4,), np.dtype("c16"))), iterations=0), "iterations"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_real_operators_have_no_trajectory():
    with pytest.raises(TypeError, match="complex"):
        pipe_menon(Dense(np.eye(3)))
