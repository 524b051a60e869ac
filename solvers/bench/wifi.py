"""Subcarriers of Wi-Fi channels that are hidden from everyone, and predicted by every method."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

import numpy as np

from sciml._checks import integer
from sciml.datasets.delay_lines import (
    DelayLineConfig,
    LineParameters,
    delay_line_covariances,
    draw_delay_lines,
    draw_line_parameters,
)
from solvers.channels.subcarriers import (
    Interpolation,
    aligning_phases,
    delay_limited,
    interpolate,
    lmmse_subcarriers,
    score_subcarriers,
    uniform_delays,
)

__all__ = [
    "METHODS",
    "Case",
    "Found",
    "Known",
    "hidden_rows",
    "measured_case",
    "packet_noise",
    "run_case",
    "simulated_case",
]

_WINDOW = (-150e-9, 250e-9)  # of delays about the mean one that a robust estimator allows for
_FLOOR = 0.1  # least power of an antenna, of its noise
_SHIFTS = 1e-9 * np.arange(-100.0, 100.5, 0.5)  # of timing between packets, seconds


@dataclass(frozen=True, eq=False)
class Case:
    """Channels of which some rows are seen, every antenna brought to power 1 by what is seen.

    Attributes:
        Y: complex64 (n, subcarriers, antennas), with noise. seen: bool (subcarriers,).
        sigma: (n, antennas), of that noise. truth: what is predicted, like Y. own: (n, antennas),
            of the noise that truth has: sigma where it is measured, 0 where it is simulated.
        frequencies: Hz. given: what channels were drawn with; None of measured ones. power:
            (n, antennas), that each was divided by.
    """

    Y: np.ndarray
    seen: np.ndarray
    sigma: np.ndarray
    truth: np.ndarray
    own: np.ndarray
    frequencies: np.ndarray
    power: np.ndarray
    given: LineParameters | None = None


@dataclass(frozen=True, eq=False)
class Known:
    """What a method may know beforehand.

    config: the simulated family. count, seed: of the channels that are drawn of it to learn from.
    site: other packets of the same log, scaled as Y, none hidden, and their noise (packets,
        antennas); for the one method that says so.
    """

    config: DelayLineConfig
    count: int
    seed: np.random.SeedSequence
    site: tuple[np.ndarray, np.ndarray] | None = None

    @cached_property
    def training(self) -> np.ndarray:
        """Channels without noise, complex64 (count, subcarriers, antennas)."""
        return draw_delay_lines(self.config, self.count, np.random.default_rng(self.seed))


# H like Y, and radii of discs that hold an entry nine times of ten, like Y
Prediction = tuple[np.ndarray, np.ndarray | None]
Method = Callable[[Case, Known, np.random.Generator], Prediction]


@dataclass(frozen=True, eq=False)
class Found:
    """What a method predicted of one case, over hidden rows.

    errors, powers, noises: Σ|Ĥ − truth|², Σ|truth|² and what is expected of truth's own noise in
        either, (n, antennas). inside: share of entries within their 90 % discs, (n, antennas), NaN
        without radii; the discs allow for truth's own noise. seconds: for a channel.
    """

    method: str
    errors: np.ndarray
    powers: np.ndarray
    noises: np.ndarray
    inside: np.ndarray
    seconds: float


def hidden_rows(subcarriers: int, phase: int) -> np.ndarray:
    """bool (subcarriers,): every third one, from the one with index `phase` on."""
    if integer(phase, "phase", 0) > 2:
        raise ValueError(f"expected a phase of 0 to 2, got {phase}")
    return np.arange(subcarriers) % 3 == phase


def packet_noise(Y: np.ndarray, seen: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    """E|n|² of an entry for each antenna, (antennas,), from packets that follow each other.

    Between two of them the channel hardly changes, but for their timing and a complex gain of each
    antenna: what is left after these has twice the noise. The median over all pairs.

    Args:
        Y: complex (n, subcarriers, antennas), n >= 2 packets in the order in which they came; rows
            that are not seen are not looked at.
    """
    if len(Y) < 2:
        raise ValueError(f"expected two or more packets, got {len(Y)}")
    kept = Y[:, seen].astype(np.complex128)
    one, two = kept[:-1], kept[1:]
    waves = np.exp(2j * np.pi * np.outer(_SHIFTS, frequencies[seen]))
    alike = np.sum(two * one.conj(), axis=2) @ waves.T
    two = waves[np.argmax(np.abs(alike), axis=1)][:, :, None] * two
    size = np.maximum(np.sum(np.abs(one) ** 2, axis=1), np.finfo(float).tiny)
    gain = np.sum(one.conj() * two, axis=1) / size
    left = np.sum(np.abs(two - gain[:, None] * one) ** 2, axis=1) / (1 + np.abs(gain) ** 2)
    return np.median(left / (kept.shape[1] - 1), axis=0)


def measured_case(H: np.ndarray, noise: np.ndarray, config: DelayLineConfig, phase: int) -> Case:
    """Measured channels (n, subcarriers, antennas) with every third row hidden.

    noise: (antennas,), of an entry of H.
    """
    seen = ~hidden_rows(H.shape[1], phase)
    truth, sigma, power = _scaled(H, seen, noise)
    Y = np.where(seen[:, None], truth, 0).astype(np.complex64)
    return Case(Y, seen, sigma, truth, sigma, config.frequencies, power)


def simulated_case(
    config: DelayLineConfig, n: int, snr: float, phase: int, rng: np.random.Generator
) -> Case:
    """n channels of the family in noise at a mean signal-to-noise ratio in dB."""
    given = draw_line_parameters(config, n, rng)
    H = draw_delay_lines(config, n, rng, given=given)
    sigma2 = 10 ** (-snr / 10)
    noise = rng.standard_normal((*H.shape, 2)) @ np.array([1, 1j]) * (sigma2 / 2) ** 0.5
    seen = ~hidden_rows(H.shape[1], phase)
    Y, sigma, power = _scaled(H + noise, seen, np.full(config.antennas, sigma2))
    Y = np.where(seen[:, None], Y, 0).astype(np.complex64)
    truth = H / np.sqrt(power)[:, None]
    return Case(Y, seen, sigma, truth, 0 * sigma, config.frequencies, power, given)


def _scaled(
    H: np.ndarray, seen: np.ndarray, noise: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(H with antennas of power 1 by the rows seen, their noise, the power)."""
    power = np.mean(np.abs(H[:, seen]) ** 2, axis=1, dtype=np.float64) - noise
    power = np.maximum(power, _FLOOR * noise)
    return H / np.sqrt(power)[:, None], np.sqrt(noise / power), power


# -- methods --------------------------------------------------------------------------------------


def _plain(how: Interpolation) -> Method:
    def predict(case: Case, known: Known, rng: np.random.Generator) -> Prediction:
        return interpolate(case.Y, case.seen, case.frequencies, how), None

    return predict


def _delays(case: Case, known: Known, rng: np.random.Generator) -> Prediction:
    return delay_limited(case.Y, case.seen, case.frequencies, case.sigma), None


def _linear(case: Case, R: np.ndarray) -> Prediction:
    found = lmmse_subcarriers(case.Y, case.seen, case.sigma, R)
    return found.H, found.radius(0.9)


def _robust(case: Case, known: Known, rng: np.random.Generator) -> Prediction:
    R = uniform_delays(case.frequencies, _WINDOW, case.Y.shape[2])
    return _turned(case, lambda c: _linear(c, R))


def _trained(case: Case, known: Known, rng: np.random.Generator) -> Prediction:
    return _linear(case, _covariance(known.training))


def _aligned(case: Case, known: Known, rng: np.random.Generator) -> Prediction:
    """Training channels are aligned as the data are: by the same rows, in noise of its median."""
    H, sigma = known.training, np.median(case.sigma, axis=0)
    noise = rng.standard_normal((*H.shape, 2), np.float32) @ np.array([1, 1j], np.complex64)
    turn = aligning_phases(H + sigma / 2**0.5 * noise, case.seen, case.frequencies, sigma)
    return _turned(case, lambda c: _linear(c, _covariance(turn * H)))


def _site(case: Case, known: Known, rng: np.random.Generator) -> Prediction:
    """The sample covariance of other packets of the log, their noise taken off: it saw the site."""
    assert known.site is not None
    H, sigma = known.site
    aligned = aligning_phases(H, case.seen, case.frequencies, sigma) * H
    R = _covariance(aligned) - np.diag(np.tile(np.mean(sigma**2, axis=0), H.shape[1]))
    values, vectors = np.linalg.eigh(R)
    R = (vectors * np.maximum(values, 0)) @ vectors.conj().T
    return _turned(case, lambda c: _linear(c, R))


def _score(budget: int) -> Method:
    def predict(case: Case, known: Known, rng: np.random.Generator) -> Prediction:
        from sciml.networks import PretrainedDenoiser, load_denoiser

        network = load_denoiser(PretrainedDenoiser.SCORE_WIFI)

        def drawn(c: Case) -> Prediction:
            found = score_subcarriers(c.Y, c.seen, c.sigma, network, budget=budget, rng=rng)
            return found.H, found.radius(0.9)

        return _turned(case, drawn)

    return predict


def _turned(case: Case, predict: Callable[[Case], Prediction]) -> Prediction:
    """A method for channels without timing and phases of antennas, on those that have them."""
    turn = aligning_phases(case.Y, case.seen, case.frequencies, case.sigma)
    turn = turn.astype(case.Y.dtype)
    H, radius = predict(replace(case, Y=turn * case.Y))
    return H * turn.conj(), radius


def _genie(case: Case, known: Known, rng: np.random.Generator) -> Prediction:
    """Knows all that a channel was drawn with but the taps' fading: no method is better."""
    assert case.given is not None
    each = delay_line_covariances(known.config, case.given)
    scale = np.tile(case.power**-0.5, case.Y.shape[1])
    each = scale[:, :, None] * each * scale[:, None, :]
    found = [
        lmmse_subcarriers(case.Y[i : i + 1], case.seen, case.sigma[i : i + 1], R)
        for i, R in enumerate(each)
    ]
    return (
        np.concatenate([one.H for one in found]),
        np.concatenate([np.asarray(one.radius(0.9)) for one in found]),
    )


def _covariance(H: np.ndarray) -> np.ndarray:
    """E[h h^H] of many samples."""
    h = H.reshape(len(H), -1).astype(np.complex128)
    return h.T @ h.conj() / len(h)


GENIE, SITE = "genie", "lmmse-site"
METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "linear": _plain(Interpolation.LINEAR),
        "magnitude-phase": _plain(Interpolation.POLAR),
        "spline": _plain(Interpolation.SPLINE),
        "delay-window": _delays,
        "lmmse-uniform": _robust,
        "lmmse": _trained,
        "lmmse-aligned": _aligned,
        "score-10-calls": _score(10),
        "score": _score(30),
        SITE: _site,
        GENIE: _genie,
    }
)


def run_case(
    case: Case, known: Known, method: str, rng: np.random.Generator
) -> tuple[Found, np.ndarray]:
    """One of METHODS on all channels of a case; and the channels it predicted, like Y.

    lmmse-site needs `known.site`, genie simulated channels.
    """
    began = time.perf_counter()
    H, radius = METHODS[method](case, known, rng)
    seconds = (time.perf_counter() - began) / len(case.Y)
    hidden = ~case.seen
    off = np.abs(H - case.truth)[:, hidden].astype(np.float64) ** 2
    inside = np.full(case.sigma.shape, np.nan)
    if radius is not None:
        # |n|² of truth's own noise is below its variance · ln 10 nine times of ten
        within = radius[:, hidden].astype(np.float64) ** 2 + np.log(10) * case.own[:, None] ** 2
        inside = np.mean(off <= within, axis=1)
    found = Found(
        method,
        errors=np.sum(off, axis=1),
        powers=np.sum(np.abs(case.truth[:, hidden]).astype(np.float64) ** 2, axis=1),
        noises=np.count_nonzero(hidden) * case.own**2,
        inside=inside,
        seconds=seconds,
    )
    return found, H
