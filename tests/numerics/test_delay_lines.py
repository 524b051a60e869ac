"""Tapped delay lines: their law, given what they are drawn with, and over it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sciml.datasets import (
    DelayLineConfig,
    LineParameters,
    Profile,
    delay_line_covariances,
    draw_delay_lines,
    draw_line_parameters,
)
from sciml.datasets.delay_lines import _taps

CONFIG = DelayLineConfig((-5, -2, 0, 3, 4), antennas=2)


def repeated(given: LineParameters, n: int) -> LineParameters:
    """The first of these, n times."""
    return LineParameters(*(np.repeat(values[:1], n, axis=0) for values in vars(given).values()))


@pytest.mark.parametrize("seed", range(3))
def test_channels_have_the_covariance_of_their_parameters(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, given = 20_000, draw_line_parameters(CONFIG, 1, rng)
    h = draw_delay_lines(CONFIG, n, rng, given=repeated(given, n), dtype=complex).reshape(n, -1)
    (R,) = delay_line_covariances(CONFIG, given)
    np.testing.assert_allclose(np.diagonal(R), 1)
    assert np.linalg.eigvalsh(R).min() > -1e-12
    np.testing.assert_allclose(h.T @ h.conj() / n, R, atol=5 / n**0.5)
    np.testing.assert_allclose(h.T @ h / n, 0, atol=5 / n**0.5)  # circular


def test_one_tap_later_is_a_phase_that_turns(rng: np.random.Generator) -> None:
    """Timing and phases by hand: R of a later packet is D R D^H."""
    given = draw_line_parameters(CONFIG, 1, rng)
    later = replace(given, timing=given.timing + 50e-9)
    before, after = (delay_line_covariances(CONFIG, g)[0] for g in (given, later))
    turn = np.repeat(np.exp(-2j * np.pi * CONFIG.frequencies * 50e-9), CONFIG.antennas)
    np.testing.assert_allclose(after, turn[:, None] * before * turn.conj(), atol=1e-12)


def test_antennas_are_as_alike_as_they_are_told(rng: np.random.Generator) -> None:
    for alike in (0.0, 0.6, 1.0):
        config = replace(CONFIG, alike=(alike, alike))
        given = draw_line_parameters(config, 1, rng)
        R = delay_line_covariances(config, given)[0].reshape(5, 2, 5, 2)
        between = np.exp(1j * (given.phases[0, 0] - given.phases[0, 1]))
        np.testing.assert_allclose(R[:, 0, :, 1], alike * between * R[:, 0, :, 0], atol=1e-12)


def test_draws_repeat_and_stay_in_their_bounds() -> None:
    given = draw_line_parameters(CONFIG, 500, np.random.default_rng(1))
    for name, bounds in (
        ("spread", CONFIG.delay_spread), ("timing", CONFIG.timing), ("alike", CONFIG.alike)
    ):  # fmt: skip
        values = getattr(given, name)
        assert bounds[0] <= values.min() and values.max() <= bounds[1]
    assert set(given.profile) == {0, 1, 2} and given.phases.shape == (500, 2)
    one, two = (draw_delay_lines(CONFIG, 7, np.random.default_rng(2)) for _ in range(2))
    assert one.shape == (7, 5, 2) and one.dtype == np.complex64
    np.testing.assert_array_equal(one, two)
    assert draw_delay_lines(CONFIG, 0, np.random.default_rng(2)).shape == (0, 5, 2)


def test_taps_are_those_of_the_tapped_delay_lines(shared_data: Path) -> None:
    for profile in CONFIG.profiles:
        path = shared_data / f"mimo/TDL-{profile.value[-1]}.json"
        table = json.loads(path.read_text(encoding="utf-8"))
        delays, powers = _taps(profile)
        np.testing.assert_allclose(delays, table["delays"])
        wanted = 10 ** (np.array(table["powers"]) / 10)
        np.testing.assert_allclose(powers, wanted / wanted.sum())
        # The report scales delays to a spread of 1.
        spread = np.sqrt(powers @ delays**2 - (powers @ delays) ** 2)
        assert abs(spread - 1) < 0.01


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"subcarriers": ()}, "tuple of int"),
        ({"subcarriers": (1, 1)}, "each once"),
        ({"subcarriers": (1, 0.5)}, "as an integer"),
        ({"antennas": 0}, "antennas"),
        ({"profiles": (Profile.D,)}, "A to C"),
        ({"profiles": ()}, "A to C"),
        ({"delay_spread": (0.0, 1e-7)}, "> 0"),
        ({"timing": (1e-7, 0.0)}, "timing as"),
        ({"alike": (0.0, 1.5)}, "0 to 1"),
    ],
)
def test_bad_families_are_refused(change: dict, told: str) -> None:
    with pytest.raises((TypeError, ValueError), match=told):
        replace(CONFIG, **change)
    with pytest.raises(ValueError, match="parameters of 3 channels, got 1"):
        rng = np.random.default_rng(0)
        draw_delay_lines(CONFIG, 3, rng, given=draw_line_parameters(CONFIG, 1, rng))
