"""Time segmentation against the sum over turning spins."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sciml import Space
from sciml.operators import FFT, NUFFT, SENSE, OffResonance

SHAPE = (9, 8)


def turned(x: np.ndarray, coords: np.ndarray, field: np.ndarray, times: np.ndarray) -> np.ndarray:
    """1/sqrt(N) Σ_n x_n exp(-2πi (k_j·(n - c) + field_n t_j)), term by term."""
    places = np.stack(
        np.meshgrid(*(np.arange(n) - n // 2 for n in x.shape), indexing="ij"), axis=-1
    ).reshape(-1, x.ndim)
    cycles = (
        coords @ places.T + np.broadcast_to(times, coords.shape[:-1])[..., None] * field.ravel()
    )
    return np.exp(-2j * np.pi * cycles) @ x.ravel().astype(complex) / np.sqrt(x.size)


def gap(got: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


def read_out(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(coords of 5 lines, field from -80 to 150 Hz, times of a read-out of 23 ms)."""
    coords = rng.uniform(-0.5, 0.5, (5, 30, 2))
    return coords, rng.uniform(-80, 150, SHAPE), np.linspace(0.002, 0.025, 30)


@pytest.mark.parametrize("error", [1e-1, 1e-3, 1e-6, 1e-9])
def test_samples_are_the_sum(error: float, rng: np.random.Generator) -> None:
    """Each to the bound that is given for it, which is not far too large."""
    coords, field, times = read_out(rng)
    A = OffResonance(NUFFT(coords, SHAPE, dtype=np.complex128), field, times, error=error)
    x = A.domain.random(rng)
    off = abs(A(x) - turned(x, coords, field, times))
    bound = A.bound * abs(x).sum() / np.sqrt(x.size)
    assert A.bound <= error
    assert bound / 200 < off.max() <= bound
    fewer = OffResonance(A.parts[0], field, times, segments=A.segments - 1)
    assert fewer.bound > error  # one segment less would not do


def test_single_precision_stays_single_precision(rng: np.random.Generator) -> None:
    coords, field, times = read_out(rng)
    A = OffResonance(NUFFT(coords, SHAPE), field, times, error=1e-9)
    x = A.domain.random(rng)
    assert gap(A(x), turned(x, coords, field, times)) < 1e-6


def test_echo_planar_imaging_through_the_fft(rng: np.random.Generator) -> None:
    """On a grid whose lines are read one after the other: every sample at a time of its own."""
    shape = (8, 6)
    times = np.arange(48).reshape(shape) * 0.5e-3
    field = rng.uniform(-40, 60, shape)
    A = OffResonance(FFT(Space(shape, np.complex128), centred=True), field, times, error=1e-8)
    grid = np.meshgrid(*((np.arange(n) - n // 2) / n for n in shape), indexing="ij")
    x = A.domain.random(rng)
    assert gap(A(x), turned(x, np.stack(grid, axis=-1), field, times)) < 1e-7


def test_times_serve_all_coils(rng: np.random.Generator) -> None:
    maps = Space((3, 8, 6), np.complex128).random(rng)
    field, times = rng.uniform(-40, 60, (8, 6)), np.linspace(0, 0.02, 6)
    A = OffResonance(SENSE(maps), field, times, error=1e-9)
    x = A.domain.random(rng)
    one = OffResonance(FFT(A.domain, centred=True), field, times, error=1e-9)
    assert gap(A(x), np.stack([one(s * x) for s in maps])) < 1e-12


@pytest.mark.parametrize("hertz", [0.0, 120.0])
def test_a_uniform_field_takes_one_segment(hertz: float, rng: np.random.Generator) -> None:
    """The whole image turns as one: a phase in time, whatever the field is."""
    coords, _, times = read_out(rng)
    A = NUFFT(coords, SHAPE, dtype=np.complex128)
    B = OffResonance(A, np.full(SHAPE, hertz), times)
    x = A.domain.random(rng)
    assert B.segments == 1
    assert gap(B(x), A(x) * np.exp(-2j * np.pi * hertz * times)) < 1e-12


def test_segments_grow_with_the_cycles_not_more(rng: np.random.Generator) -> None:
    """Two cycles more take about two segments more: interpolation is near what rank allows."""
    A = NUFFT(rng.uniform(-0.5, 0.5, (40, 2)), SHAPE)
    field, times = np.linspace(-100, 100, 72).reshape(SHAPE), np.linspace(0, 1, 40)
    counts = [OffResonance(A, field, times * s, error=1e-4).segments for s in (0.01, 0.05, 0.1)]
    assert counts[1] - counts[0] <= 12 and counts[2] - counts[1] <= 14, counts
    exact = np.exp(-2j * np.pi * np.outer(np.linspace(-100, 100, 400), np.linspace(0, 0.1, 400)))
    values = np.linalg.svd(exact, compute_uv=False)
    least = int((np.sqrt((values[::-1] ** 2).cumsum())[::-1] > 1e-4 * values[0]).sum())
    assert counts[2] <= least + 4, (counts, least)


BAD = {
    "another shape": ({"field": np.zeros((8, 9))}, "expected a field of the image's shape"),
    "not finite": ({"field": np.full(SHAPE, np.nan)}, "finite numbers"),
    "complex": ({"field": np.zeros(SHAPE, complex)}, "real floats"),
    "whole numbers": ({"times": np.arange(30)}, "real floats"),
    "too many times": ({"times": np.zeros(31)}, "times that broadcast"),
    "more axes": ({"times": np.zeros((2, 5, 30))}, "times that broadcast"),
    "no error": ({"error": 0.0}, "expected an error that"),
    "no segments": ({"segments": 0}, "expected segments"),
    "a gradient": ({"field": torch.zeros(SHAPE, requires_grad=True)}, "expected arrays"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_refused(what: str, rng: np.random.Generator) -> None:
    changes, message = BAD[what]
    coords, field, times = read_out(rng)
    given = {"field": field, "times": times} | changes
    with pytest.raises((TypeError, ValueError), match=message):
        OffResonance(NUFFT(coords, SHAPE), **given)


def test_a_field_to_learn_is_refused() -> None:
    A = FFT(Space((4, 4), np.complex64))
    field = torch.zeros(4, 4, requires_grad=True)
    with pytest.raises(TypeError, match="without gradients"):
        OffResonance(A, field, torch.zeros(4))
