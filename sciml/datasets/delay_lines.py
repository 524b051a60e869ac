"""Wideband channels of tapped delay lines TDL-A to C: 3GPP TR 38.901, tables 7.7.2-1 to 7.7.2-3.

Between one transmitting antenna and several receiving ones, at frequencies f that need not be
evenly spaced. With the taps' powers P_l and normalised delays d_l (those of the clusters of CDL-A
to C), the entry of frequency f and receiver r is

    exp(jφ_r − j2πfτ) Σ_l sqrt(P_l) g_lr exp(−j2πf s d_l),    g_lr = sqrt(c) a_l + sqrt(1 − c) b_lr

with a and b independent CN(0, 1). What a receiver cannot know is drawn anew for every channel: the
profile, the delay spread s, when the packet was taken to begin (τ), how alike the antennas are (c),
and the phase of each antenna's receiver. Given these a channel is Gaussian; over them it is not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._checks import integer, need, number
from ._cdl import TABLES, Profile
from .channels import _complex

__all__ = [
    "DelayLineConfig",
    "LineParameters",
    "delay_line_covariances",
    "draw_delay_lines",
    "draw_line_parameters",
]

_BLOCK = 1 << 20  # complex numbers of a block
_TAPPED = (Profile.A, Profile.B, Profile.C)
Range = tuple[float, float]


@dataclass(frozen=True)
class DelayLineConfig:
    """A family of channels.

    Args:
        subcarriers: places of the frequencies, in units of `spacing` from the carrier.
        spacing: Hz; 312.5 kHz is that of Wi-Fi (IEEE 802.11a to ac).
        antennas: receiving ones.
        profiles: each channel takes one, all equally likely; A to C, which have no line of sight.
        delay_spread: seconds, its logarithm uniform; the default goes up to that of large halls
            (model F of IEEE 802.11-03/940r4, Erceg et al., 2004).
        timing: seconds, uniform; either sign, as conventions have it.
        alike: c, from 0 (antennas fade independently) to 1 (all the same but for phases), uniform.

    Raises:
        TypeError, ValueError: anything else.
    """

    subcarriers: tuple[int, ...]
    spacing: float = 312.5e3
    antennas: int = 3
    profiles: tuple[Profile, ...] = _TAPPED
    delay_spread: Range = (10e-9, 150e-9)
    timing: Range = (-400e-9, 400e-9)
    alike: Range = (0.0, 1.0)

    def __post_init__(self) -> None:
        places = self.subcarriers
        if not isinstance(places, tuple) or not places:
            raise TypeError(f"expected subcarriers as a tuple of int, got {places!r}")
        for place in places:
            integer(place, "subcarriers", -(1 << 20))
        if len(set(places)) < len(places):
            raise ValueError(f"expected subcarriers, each once, got {places}")
        number(self.spacing, "spacing")
        integer(self.antennas, "antennas", 1)
        for profile in self.profiles:
            need(profile, Profile, "profiles as a tuple of Profile", "(Profile.A,)")
        if not self.profiles or Profile.D in self.profiles:
            raise ValueError(f"expected some of profiles A to C, got {self.profiles}")
        for name in ("delay_spread", "timing", "alike"):
            low, high = getattr(self, name)
            number(low, name, least=-math.inf)
            number(high, name, least=-math.inf)
            if not low <= high:
                raise ValueError(f"expected {name} as (low, high), got {(low, high)}")
        if not self.delay_spread[0] > 0:
            raise ValueError(f"expected delay spreads > 0, got {self.delay_spread}")
        if not 0 <= self.alike[0] <= self.alike[1] <= 1:
            raise ValueError(f"expected alike within 0 to 1, got {self.alike}")

    @property
    def name(self) -> str:
        """As "TDL-A/B/C, 30 x 3"."""
        kinds = "/".join(profile.value[-1] for profile in self.profiles)
        return f"TDL-{kinds}, {len(self.subcarriers)} x {self.antennas}"

    @property
    def frequencies(self) -> np.ndarray:
        """Hz from the carrier, float64 (subcarriers,)."""
        return self.spacing * np.array(self.subcarriers, np.float64)


@dataclass(frozen=True, eq=False)
class LineParameters:
    """What is drawn once for each channel, (n,) each; phases (n, antennas) in radians.

    profile: index into the config's profiles. spread, timing: seconds. alike: c.
    """

    profile: np.ndarray
    spread: np.ndarray
    timing: np.ndarray
    alike: np.ndarray
    phases: np.ndarray


def draw_line_parameters(
    config: DelayLineConfig, n: int, rng: np.random.Generator
) -> LineParameters:
    """Parameters of n channels."""
    need(config, DelayLineConfig, "a DelayLineConfig")
    need(rng, np.random.Generator, "rng as a numpy.random.Generator", "np.random.default_rng(0)")
    n = integer(n, "n", 0)
    low, high = np.log(config.delay_spread)
    return LineParameters(
        profile=rng.integers(len(config.profiles), size=n),
        spread=np.exp(rng.uniform(low, high, n)),
        timing=rng.uniform(*config.timing, n),
        alike=rng.uniform(*config.alike, n),
        phases=rng.uniform(0, 2 * np.pi, (n, config.antennas)),
    )


def draw_delay_lines(
    config: DelayLineConfig,
    n: int,
    rng: np.random.Generator,
    *,
    given: LineParameters | None = None,
    dtype: Any = np.complex64,
) -> np.ndarray:
    """n channels H: (n, subcarriers, antennas), of mean power 1 over the fading.

    With equal rng and n the same channels come out.

    given: their parameters; drawn from the family without. dtype: of the result.

    Raises TypeError or ValueError for bad arguments.
    """
    given = draw_line_parameters(config, n, rng) if given is None else given
    if len(given.spread) != n:
        raise ValueError(f"expected parameters of {n} channels, got {len(given.spread)}")
    out = np.empty((n, len(config.subcarriers), config.antennas), _complex(dtype))
    for kind, profile in enumerate(config.profiles):
        delays, powers = _taps(profile)
        members = np.flatnonzero(given.profile == kind)
        block = max(1, _BLOCK // (len(delays) * max(out.shape[1:])))
        for start in range(0, len(members), block):
            some = members[start : start + block]
            c = given.alike[some, None, None]
            shared, own = _normal(rng, len(some), len(delays), 1 + config.antennas, split=1)
            gains = np.sqrt(powers)[:, None] * (np.sqrt(c) * shared + np.sqrt(1 - c) * own)
            out[some] = _waves(config, given, some, delays) @ (gains * _turns(given, some))
    return out


def delay_line_covariances(config: DelayLineConfig, given: LineParameters) -> np.ndarray:
    """E[h h^H] of h = H.reshape(-1) for each set of parameters: complex128 (n, size, size).

    Exact: given them a channel is Gaussian, with the covariance
    (Σ_l P_l w_l w_l^H) ∘ (c + (1 − c) I), turned by the antennas' phases.
    """
    size = len(config.subcarriers) * config.antennas
    out = np.empty((len(given.spread), size, size), np.complex128)
    for kind, profile in enumerate(config.profiles):
        delays, powers = _taps(profile)
        members = np.flatnonzero(given.profile == kind)
        waves = _waves(config, given, members, delays)
        over_f = (powers * waves) @ waves.conj().swapaxes(1, 2)
        c, turn = given.alike[members, None, None], _turns(given, members)[:, 0]
        over_r = c + (1 - c) * np.eye(config.antennas)
        over_r = turn[:, :, None] * over_r * turn[:, None, :].conj()
        both = over_f[:, :, None, :, None] * over_r[:, None, :, None, :]
        out[members] = both.reshape(len(members), size, size)
    return out


def _taps(profile: Profile) -> tuple[np.ndarray, np.ndarray]:
    """Delays, of spread 1, and powers, of sum 1."""
    table = TABLES[profile]
    powers = 10 ** (table.column("power") / 10)
    return table.column("delay"), powers / powers.sum()


def _waves(
    config: DelayLineConfig, given: LineParameters, some: np.ndarray, delays: np.ndarray
) -> np.ndarray:
    """exp(−j2πf(τ + s d)): (some, subcarriers, taps)."""
    late = given.timing[some, None] + given.spread[some, None] * delays
    return np.exp(-2j * np.pi * config.frequencies[:, None] * late[:, None, :])


def _turns(given: LineParameters, some: np.ndarray) -> np.ndarray:
    """exp(jφ): (some, 1, antennas)."""
    return np.exp(1j * given.phases[some])[:, None, :]


def _normal(rng: np.random.Generator, *shape: int, split: int) -> tuple[np.ndarray, np.ndarray]:
    """CN(0, 1), cut along the last axis."""
    z = rng.standard_normal((*shape, 2)) @ np.array([1, 1j]) / math.sqrt(2)
    return z[..., :split], z[..., split:]
