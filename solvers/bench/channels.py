"""Channel estimators on the same channels, pilots and noise, from low to high signal-to-noise."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from sciml._checks import integer, need
from sciml.datasets import (
    ChannelConfig,
    channel_covariance,
    draw_channels,
    noise_variance,
    qpsk_pilots,
)
from solvers.channels import (
    ChannelEstimate,
    Structure,
    lasso,
    least_squares,
    lmmse,
    omp,
    sample_covariance,
    score,
)

from ._checks import check_unique
from .channels_report import BOUND, ChannelsReport, Score
from .report import machine, today, versions

if TYPE_CHECKING:
    from sciml.networks import Denoiser

__all__ = [
    "CHANNEL_ESTIMATORS",
    "ChannelSetting",
    "Estimate",
    "estimators_for",
    "run_channels",
    "under_prior",
]

SNRS = tuple(np.arange(-10.0, 31.0, 5.0).tolist())
TRAINING = (100, 1000, 10_000)
NOISY = (0, 10)  # dB, of noisy channels that are learned from
LEARNED = (16, 64)  # what the shipped priors are for, (Nr, Nt)

# (Y (n, Nr, Np), P (Nt, Np), sigma2, rng) -> (H (n, Nr, Nt), radius or None): that of discs which
# hold an entry nine times of ten, real; it broadcasts against H.
Estimate = Callable[
    [np.ndarray, np.ndarray, float, np.random.Generator],
    tuple[np.ndarray, np.ndarray | None],
]


@dataclass(frozen=True, eq=False)
class ChannelSetting:
    """What an estimator may know beforehand: the family, or samples of it. Never the test channels.

    seed: of the training channels.
    """

    config: ChannelConfig
    seed: np.random.SeedSequence

    @cached_property
    def training(self) -> np.ndarray:
        """Channels without noise, complex64 (10,000, Nr, Nt)."""
        return draw_channels(self.config, max(TRAINING), np.random.default_rng(self.seed))

    @cached_property
    def covariance(self) -> np.ndarray:
        """The exact one of the family."""
        return channel_covariance(self.config)


# Made once for a family; what it takes is reported apart.
Prepare = Callable[[ChannelSetting], Estimate]


def _plain(method: Callable[..., ChannelEstimate], **how: object) -> Prepare:
    """An estimator that knows nothing of the family."""

    def estimate(
        Y: np.ndarray, P: np.ndarray, sigma2: float, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray | None]:
        found = method(Y, P, sigma2, **how)
        return found.H, found.radius(0.9)

    return lambda setting: estimate


def _genie(setting: ChannelSetting) -> Estimate:
    return _plain(lmmse, covariance=setting.covariance)(setting)


def _trained(setting: ChannelSetting, *, samples: int, structure: Structure) -> Estimate:
    R = sample_covariance(setting.training[:samples], structure)
    return _plain(lmmse, covariance=R)(setting)


def _lmmse_entries() -> dict[str, Prepare]:
    """LMMSE from training channels, by their number and what is assumed of their covariance."""
    return {
        f"lmmse-{structure.value}-{samples}": partial(
            _trained, samples=samples, structure=structure
        )
        for structure in Structure
        for samples in TRAINING
    }


def _denoised(setting: ChannelSetting, *, snr: float, structure: Structure) -> Estimate:
    """From 10,000 channels seen in noise of known variance, which is taken off their covariance."""
    rng = _stream_of(f"noise-{snr:g}db", setting.seed)
    H, sigma2 = setting.training, 10 ** (-snr / 10)
    noise = rng.standard_normal((2, *H.shape), np.float32) * np.float32((sigma2 / 2) ** 0.5)
    H = H + noise[0] + 1j * noise[1]
    if structure is Structure.FULL:
        h = H.reshape(len(H), -1)
        values, vectors = np.linalg.eigh((h.T @ h.conj() / len(h)).astype(np.complex128))
        powers = _powers_behind(values / sigma2, h.shape[1] / len(h)) * sigma2
    else:
        values, vectors = np.linalg.eigh(sample_covariance(H, structure))
        powers = np.maximum(values - sigma2, 0)
    return _plain(lmmse, covariance=(vectors * powers) @ vectors.conj().T)(setting)


def _powers_behind(values: np.ndarray, ratio: float) -> np.ndarray:
    """Eigenvalues d behind those of a sample covariance of I + d, ratio = size / samples.

    Baik and Silverstein, J. Multivariate Anal. 97 (2006), theorem 1.1: an eigenvalue comes out as
    (1 + d) (1 + ratio / d), and is lost in the noise up to (1 + sqrt(ratio))².
    """
    half = (values - 1 - ratio) / 2
    seen = values > (1 + ratio**0.5) ** 2
    return np.where(seen, half + np.sqrt(np.maximum(half**2 - ratio, 0)), 0.0)


def _learned(setting: ChannelSetting, *, weights: str, budget: int) -> Estimate:
    """Under a prior that comes with the package; the setting's own channels are not looked at."""
    from sciml.networks import PretrainedDenoiser, load_denoiser

    return under_prior(load_denoiser(PretrainedDenoiser(weights)), budget)


def under_prior(network: Denoiser, budget: int) -> Estimate:
    """The mean of draws under any prior, by so many calls of its denoiser, and their discs."""

    def estimate(
        Y: np.ndarray, P: np.ndarray, sigma2: float, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray | None]:
        found = score(Y, P, sigma2, network, budget=budget, rng=rng)
        return found.H, found.radius(0.9)

    return estimate


# Calls of the denoiser, and the prior: of CDL-C, from clean channels or noisy ones alone, or of
# random clusters.
SCORES = {
    "score": (30, "score-mimo"),
    "score-random": (30, "score-mimo-random"),
    "score-10-calls": (10, "score-mimo"),
    **{f"score-{snr}db": (10, f"score-mimo-noisy-{snr}db") for snr in NOISY},
}

CHANNEL_ESTIMATORS: Mapping[str, Prepare] = MappingProxyType(
    {
        BOUND: _genie,
        "ls": _plain(least_squares),
        "ridge": _plain(lmmse),
        "omp": _plain(omp),
        "lasso": _plain(lasso),
        **_lmmse_entries(),
        **{
            f"lmmse-{structure.value}-{snr}db": partial(_denoised, snr=snr, structure=structure)
            for structure in (Structure.FULL, Structure.TOEPLITZ)
            for snr in NOISY
        },
        **{
            name: partial(_learned, weights=weights, budget=budget)
            for name, (budget, weights) in SCORES.items()
        },
    }
)


def estimators_for(config: ChannelConfig) -> dict[str, Prepare]:
    """Those of CHANNEL_ESTIMATORS that take channels of this size."""
    fits = (config.nr, config.nt) == LEARNED
    return {name: e for name, e in CHANNEL_ESTIMATORS.items() if fits or name not in SCORES}


def run_channels(
    config: ChannelConfig,
    *,
    snrs: Sequence[float] = SNRS,
    channels: int = 100,
    pilots: int | None = None,
    pilot_draws: int = 4,
    estimators: Mapping[str, Prepare] | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> ChannelsReport:
    """Estimate the same channels from the same data by every estimator.

    Test channels, training channels, pilots, noise and every estimator have random streams of their
    own, so that an estimator finds the same whichever others run; none sees a test channel. The
    noise of a channel is one draw, scaled to each SNR. On Ctrl-C what is complete is kept.

    Args:
        config: the family. snrs: dB. channels: to be estimated.
        pilots: columns of P; 60 % of Nt without. pilot_draws: pilot matrices; channels take turns.
        estimators: name to `Prepare`; without, `estimators_for(config)`. seed: of everything.
        progress: told (done, total).

    Raises:
        TypeError, ValueError: bad arguments.
    """
    need(config, ChannelConfig, "a ChannelConfig")
    integer(channels, "channels", 2)
    draws = min(integer(pilot_draws, "pilot_draws", 1), channels)
    check_unique("SNR", snrs)
    estimators = estimators_for(config) if estimators is None else estimators
    check_unique("estimator", list(estimators))
    columns = max(int(0.6 * config.nt), 1) if pilots is None else integer(pilots, "pilots", 1)
    streams = np.random.SeedSequence(integer(seed, "seed", 0)).spawn(5)
    test, _, sent, noise = map(np.random.default_rng, streams[:4])
    H = draw_channels(config, channels, test)
    P = [qpsk_pilots(config.nt, columns, sent) for _ in range(draws)]
    shape = (2, channels, config.nr, columns)
    N = noise.standard_normal(shape, np.float32) * np.float32(0.5**0.5)
    W = N[0] + 1j * N[1]
    setting = ChannelSetting(config, streams[1])
    scores: list[Score] = []
    total, interrupted = len(estimators) * len(snrs), False
    try:
        for name, prepare in estimators.items():
            began = time.perf_counter()
            estimate = prepare(setting)
            setup = time.perf_counter() - began
            own = _stream_of(name, streams[4])
            for snr in snrs:
                scores.append(_score(name, estimate, setup, snr, H, P, W, own))
                if progress is not None:
                    progress(len(scores), total)
    except KeyboardInterrupt:
        interrupted = True
    return ChannelsReport(
        config=config,
        pilots=columns,
        pilot_draws=draws,
        channels=channels,
        seed=seed,
        scores=tuple(scores),
        interrupted=interrupted,
        environment={"machine": machine(), "versions": versions(), "date": today()},
    )


def _stream_of(name: str, stream: np.random.SeedSequence) -> np.random.Generator:
    """The random stream within `stream` that has this name."""
    key = (*stream.spawn_key, zlib.crc32(name.encode()))
    return np.random.default_rng(np.random.SeedSequence(stream.entropy, spawn_key=key))


def _score(
    name: str,
    estimate: Estimate,
    setup: float,
    snr: float,
    H: np.ndarray,
    P: Sequence[np.ndarray],
    W: np.ndarray,
    rng: np.random.Generator,
) -> Score:
    """One estimator at one SNR: channel i is seen through pilots i mod len(P)."""
    sigma2 = noise_variance(snr, H.shape[2])
    errors, inside, seconds = np.empty(len(H)), [], 0.0
    for k, pilots in enumerate(P):
        some = slice(k, None, len(P))
        Y = H[some] @ pilots + np.float32(sigma2**0.5) * W[some]
        began = time.perf_counter()
        found, radius = estimate(Y, pilots, sigma2, rng)
        seconds += time.perf_counter() - began
        off = np.abs(found - H[some]).astype(np.float64) ** 2
        power = np.sum(np.abs(H[some]) ** 2, axis=(1, 2), dtype=np.float64)
        errors[some] = np.sum(off, axis=(1, 2)) / power
        if radius is not None:
            inside.append(np.mean(off <= radius.astype(np.float64) ** 2))
    covered = float(np.mean(inside)) if inside else None
    return Score(name, float(snr), errors, seconds / len(H), setup, covered)
