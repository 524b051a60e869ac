"""Masks: exact counts and calibration for everything feasible, a clear error for the rest."""

from __future__ import annotations

import math
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from sciml.mri import (
    calibration_region,
    equispaced,
    golden_offset,
    partial_lines,
    poisson_disc,
    random_2d,
    random_lines,
)

LINES = (equispaced, golden_offset, random_lines)
POINTS = (poisson_disc, random_2d)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def held_to_its_promises(make, mask_axis, shape, acceleration, calibration, fraction):
    """Exact count, full calibration, nothing in what partial Fourier leaves out; or ValueError."""
    lines = mask_axis is not None
    grid = (shape[mask_axis],) if lines else shape
    size = math.prod(grid)
    block = [
        range(n // 2 - c // 2, n // 2 - c // 2 + c) for n, c in zip(grid, calibration, strict=True)
    ]
    first = grid[0] - max(round(fraction * grid[0]), grid[0] - grid[0] // 2)
    within = math.prod(calibration)
    above = len([i for i in block[0] if i < first]) * math.prod(len(b) for b in block[1:])
    most = (grid[0] - first) * math.prod(grid[1:]) + above
    wanted = round(size / acceleration)
    options = {"axis": mask_axis, "calibration": calibration[0]} if lines else {}
    if not lines:
        options = {"calibration": calibration}

    def call():
        return make(shape, acceleration, partial_fourier=fraction, rng=rng(), **options)

    if not max(within, 1) <= wanted <= most:
        with pytest.raises(ValueError, match="expected an acceleration"):
            call()
        return
    mask = call()
    assert mask.dtype == bool
    if lines:
        ones = tuple(n if a == mask_axis else 1 for a, n in enumerate(shape))
        assert mask.shape == ones
        mask = mask.reshape(-1)
    assert mask.shape == grid
    assert mask.sum() == wanted
    assert mask[np.ix_(*block)].all()
    outside = mask.copy()
    outside[np.ix_(*block)] = False
    assert not outside[:first].any()


@pytest.mark.parametrize("make", LINES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_lines(make, data):
    shape = tuple(data.draw(st.lists(st.integers(1, 90), min_size=1, max_size=3)))
    axis = data.draw(st.integers(0, len(shape) - 1))
    calibration = (data.draw(st.integers(0, min(shape[axis], 30))),)
    acceleration = data.draw(st.floats(1, 12))
    fraction = data.draw(st.sampled_from([1.0, 0.51, 0.625, 0.75]))
    held_to_its_promises(make, axis, shape, acceleration, calibration, fraction)


@pytest.mark.parametrize("make", POINTS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_points(make, data):
    shape = (data.draw(st.integers(1, 30)), data.draw(st.integers(1, 30)))
    calibration = tuple(data.draw(st.integers(0, min(n, 9))) for n in shape)
    acceleration = data.draw(st.floats(1, 12))
    fraction = data.draw(st.sampled_from([1.0, 0.51, 0.625, 0.75]))
    held_to_its_promises(make, None, shape, acceleration, calibration, fraction)


@pytest.mark.parametrize("make", [*LINES, *POINTS])
def test_the_generator_decides(make):
    shape, calibration = (64, 48), 4
    first, again, other = (make(shape, 3, calibration=calibration, rng=rng(s)) for s in (1, 1, 7))
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("acceleration", [2, 3, 4, 8])
def test_an_integer_acceleration_is_a_lattice(acceleration):
    lines = np.flatnonzero(equispaced((96, 10), acceleration))
    assert lines.tolist() == list(range(0, 96, acceleration))


def test_other_accelerations_have_gaps_that_differ_by_one():
    for seed in range(5):
        gaps = np.diff(np.flatnonzero(equispaced((230, 1), 3.7, rng=rng(seed))))
        assert set(gaps.tolist()) == {3, 4}


def test_random_offsets_reach_every_line_of_a_period():
    firsts = {int(np.argmax(equispaced((64,), 4, rng=rng(s)))) for s in range(40)}
    assert firsts == {0, 1, 2, 3}


@pytest.mark.parametrize("frames", [5, 8, 13, 21])
def test_golden_offsets_are_even_for_any_number_of_frames(frames):
    # The gaps between multiples of the golden ratio on a circle have at most three lengths, of a
    # ratio below 1 + golden ratio = 2.618 (Sós 1958, Świerczkowski 1958).
    period = 10_000
    firsts = np.sort(
        [np.argmax(golden_offset((2 * period,), period, frame=f)) for f in range(frames)]
    )
    gaps = np.diff([*firsts, firsts[0] + period])
    assert gaps.max() / gaps.min() < 2.63


def test_random_lines_follow_their_weights():
    def share(decay: float) -> float:
        masks = [random_lines((128,), 8, rng=rng(s), decay=decay) for s in range(60)]
        return np.mean(masks, axis=0)[32:96].sum() / 16

    assert abs(share(0) - 0.5) < 0.05
    # Drawn one by one without replacement by the same weights.
    weight = (1 - np.abs(np.arange(128) - 64) / 65) ** 3
    weight /= weight.sum()
    drawn = [np.random.default_rng(s).choice(128, 16, False, weight) for s in range(60)]
    expected = np.mean([((d >= 32) & (d < 96)).mean() for d in drawn])
    assert abs(share(3) - expected) < 0.04


def test_a_uniform_poisson_disc_keeps_its_distance_and_leaves_no_gap():
    mask = poisson_disc((200, 200), 8, slope=0, rng=rng(2))
    points = np.argwhere(mask)
    nearest = cKDTree(points).query(points, k=2)[0][:, 1]
    # Random sequential packing of discs ends at a coverage of 0.547 (Feder 1980), so that their
    # diameter is 0.83 √8 = 2.36: the nearest distances of the grid are √5 and 2.
    assert nearest.min() >= 2
    far = cKDTree(points).query(np.argwhere(~mask))[0].max()
    assert far <= 3
    random = np.argwhere(random_2d((200, 200), 8, decay=0, rng=rng(2)))
    assert cKDTree(random).query(random, k=2)[0][:, 1].min() == 1


def test_distances_of_a_poisson_disc_grow_outwards():
    mask = poisson_disc((256, 256), 12, calibration=16, slope=4, rng=rng(3))
    points = np.argwhere(mask) - 128
    nearest = cKDTree(points).query(points, k=2)[0][:, 1]
    radius = np.linalg.norm(points, axis=1)
    rings = [nearest[(radius >= a) & (radius < a + 25)] for a in (25, 50, 75, 100)]
    means = [ring.mean() for ring in rings]
    assert all(a < 0.95 * b for a, b in pairwise(means))
    assert all(ring.min() >= 0.6 * ring.mean() for ring in rings)
    assert np.abs(points.mean(axis=0)).max() < 3


def test_a_poisson_disc_of_one_axis_keeps_its_distance():
    # Random sequential parking fills 0.748 of a line (Rényi 1958): gaps of 15 at least.
    mask = poisson_disc((1, 4000), 20, slope=0, rng=rng())
    assert np.diff(np.flatnonzero(mask)).min() >= 14


def test_a_poisson_disc_is_fast():
    start = time.process_time()
    poisson_disc((320, 320), 4, calibration=24, rng=rng())
    assert time.process_time() - start < 1


@pytest.mark.parametrize("make", POINTS)
def test_without_corners_all_samples_lie_in_the_ellipse(make):
    shape = (60, 90)
    mask = make(shape, 4, corners=False, rng=rng())
    y, x = (np.argwhere(mask) - (30, 45)).T
    assert ((y / 30) ** 2 + (x / 45) ** 2 <= 1).all()
    assert mask.sum() == round(60 * 90 / 4)


def test_calibration_lines_on_a_lattice():
    mask = equispaced((64, 32), 4) | calibration_region((64, 32), 12, axis=0)
    assert mask.shape == (64, 1)
    assert mask[26:38].all()
    assert mask[::4].all()
    assert mask.sum() == 16 + 9


def test_partial_lines_keep_the_origin():
    for n in range(1, 20):
        assert partial_lines((n, 3), 0.51)[n // 2, 0]
    assert partial_lines((3, 8), 0.75, axis=1).tolist() == [[False, False] + [True] * 6]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: equispaced((64,), 0.5), "acceleration finite and >= 1"),
        (lambda: equispaced((64,), float("nan")), "acceleration finite"),
        (lambda: equispaced((64, 64), 4, axis=2), "an axis"),
        (lambda: equispaced((64,), 8, calibration=9), "at least 9 samples, got 8"),
        (lambda: equispaced((64,), 1, partial_fourier=0.6), "at most 38 samples"),
        (lambda: equispaced((64,), 4, partial_fourier=0.5), "above 1/2"),
        (lambda: equispaced((64,), 4, calibration=65), "within"),
        (lambda: equispaced((), 4), "at least one axis"),
        (lambda: poisson_disc((8, 8, 8), 4, rng=rng()), "two axes"),
        (lambda: poisson_disc((8, 8), 4, calibration=(2, 2, 2), rng=rng()), "2 lengths"),
        (lambda: poisson_disc((8, 8), 1, corners=False, rng=rng()), "at most"),
        (lambda: poisson_disc((8, 8), 200, rng=rng()), "at least 1 samples"),
        (lambda: poisson_disc((8, 8), 4, slope=-1, rng=rng()), "slope"),
        (lambda: random_2d((8, 8), 4, decay=-1, rng=rng()), "decay"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("make", [*LINES, *POINTS])
def test_a_seed_is_no_generator(make):
    with pytest.raises(TypeError, match="default_rng"):
        make((8, 8), 2, rng=42)
