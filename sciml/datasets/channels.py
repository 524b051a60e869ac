"""MIMO channels of the clustered delay line profiles of 3GPP TR 38.901, section 7.7.1.

Between Nt transmitting and Nr receiving antennas, each a uniform line along z with half a
wavelength between neighbours. One polarisation, vertical at both ends, so that a ray of cluster n
with unit vectors of zenith θ contributes, by (7.5-28) of the report,

    sqrt(P_n A(θ_ZOD, φ_AOD) / 20) exp(jΦ + jπ r cos θ_ZOA + jπ t cos θ_ZOD − j2πfτ_n)

to the entry of receiver r and transmitter t. A is the pattern of table 7.3-1 (without its constant
8 dBi), the receiver is isotropic, Φ uniform, and the 20 rays of departure and arrival, azimuth and
zenith, are coupled at random within their cluster. A single ray in line of sight has a uniform
phase too. Azimuths of arrival leave no trace: a vertical line of isotropic antennas is blind to
them. The carrier enters through the antennas' spacing alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any

import numpy as np

from .._checks import Argument, ArgumentError, integer, need, number
from ..arrays import real_dtype
from ._cdl import RAY_OFFSETS, TABLES, Profile, Table

__all__ = [
    "CHANNEL_FAMILIES",
    "ChannelConfig",
    "Profile",
    "Scatter",
    "channel_covariance",
    "comb_pilots",
    "draw_channels",
    "draw_ofdm_channels",
    "noise_variance",
    "ofdm_covariance",
    "qpsk_pilots",
    "simulate_pilots",
]

_RAYS = len(RAY_OFFSETS)
_BLOCK = 1 << 19  # complex numbers of a block, which then stays in the caches
# Table 7.3-1: widths in degrees, limits in dB.
_WIDTH, _LIMIT = 65.0, 30.0
# Means that Scatter.RANDOM draws, in degrees.
_ZOD, _ZOA, _AOD = (60.0, 120.0), (45.0, 135.0), (-60.0, 60.0)

Bounds = tuple[float, float]
Mean = float | Bounds


class Scatter(Enum):
    """Where the clusters are.

    TABLE: where the profile has them, in every channel. Given the profile a channel is nearly
    Gaussian, so that linear estimation is hard to beat.
    RANDOM: the profile tells how many clusters there are, their powers and spreads. Each channel
    draws the means of their angles: uniform in degrees, zenith of departure in 60 to 120, of
    arrival in 45 to 135, azimuth of departure in -60 to 60; rows of the table with the same angles
    keep the same. Delays are exponential of mean `delay_spread`, that of the line of sight is 0.
    """

    TABLE = "table"
    RANDOM = "random"


@dataclass(frozen=True)
class ChannelConfig:
    """A family of channels.

    profiles: each channel takes one of them, all equally likely. scatter: see Scatter.
    nt, nr: antennas. delay_spread: seconds; narrowband channels do not depend on it.

    Raises TypeError or ValueError for anything else.
    """

    profiles: tuple[Profile, ...] = (Profile.C,)
    scatter: Scatter = Scatter.TABLE
    nt: int = 64
    nr: int = 16
    delay_spread: float = 30e-9

    def __post_init__(self) -> None:
        listed = isinstance(self.profiles, tuple) and all(
            isinstance(p, Profile) for p in self.profiles
        )
        if not listed:
            raise TypeError(f"expected profiles as a tuple of Profile, got {self.profiles!r}")
        if not self.profiles or len(set(self.profiles)) < len(self.profiles):
            raise ValueError(f"expected profiles, each once, got {self.profiles!r}")
        need(self.scatter, Scatter, "a Scatter", "Scatter.TABLE")
        integer(self.nt, "nt", 1)
        integer(self.nr, "nr", 1)
        number(self.delay_spread, "delay_spread")

    @property
    def name(self) -> str:
        """As "CDL-C, 64 x 16" or "CDL-A/B/C/D with random clusters, 64 x 16"."""
        kinds = "CDL-" + "/".join(profile.value[-1] for profile in self.profiles)
        drawn = " with random clusters" if self.scatter is Scatter.RANDOM else ""
        return f"{kinds}{drawn}, {self.nt} x {self.nr}"


CHANNEL_FAMILIES: Mapping[str, ChannelConfig] = MappingProxyType(
    {
        **{profile.value.lower(): ChannelConfig((profile,)) for profile in Profile},
        "mixed": ChannelConfig(tuple(Profile)),
        "random": ChannelConfig(tuple(Profile), Scatter.RANDOM),
    }
)


def draw_channels(
    config: ChannelConfig, n: int, rng: np.random.Generator, *, dtype: Any = np.complex64
) -> np.ndarray:
    """n narrowband channels H: (n, Nr, Nt), of mean power 1 over the family.

    Y = H X is what the receiver sees of X (Nt, samples). The frequency is that of the carrier,
    f = 0; another would give the same law. With equal rng and n the same channels come out.

    dtype: complex64 or complex128, of the work and the result.

    Raises TypeError or ValueError for bad arguments.
    """
    return _draw(config, n, rng, np.zeros(1), dtype)[:, 0]


def draw_ofdm_channels(
    config: ChannelConfig,
    n: int,
    rng: np.random.Generator,
    *,
    subcarriers: int,
    spacing: float = 15e3,
    dtype: Any = np.complex64,
) -> np.ndarray:
    """n channels at several frequencies: (n, subcarriers, Nr, Nt), of mean power 1.

    spacing: Hz; subcarrier k is at k · spacing from the carrier, within a band in which the
    antennas' spacing in wavelengths does not change.

    Raises TypeError or ValueError for bad arguments.
    """
    return _draw(config, n, rng, _frequencies(subcarriers, spacing), dtype)


def channel_covariance(config: ChannelConfig) -> np.ndarray:
    """E[h h^H] of h = H.reshape(-1), H as of `draw_channels`: complex128, (Nr Nt, Nr Nt).

    Exact, over phases, couplings, and for Scatter.RANDOM over the angles (by Gauss-Legendre
    quadrature to rounding): independent phases leave of each cluster the product of what its rays
    do at both ends, R = Σ_n P_n E[b b^H] ⊗ E[A a a^H]. Its mean diagonal is 1.
    """
    return ofdm_covariance(config, subcarriers=1)


def ofdm_covariance(
    config: ChannelConfig, *, subcarriers: int, spacing: float = 15e3
) -> np.ndarray:
    """As `channel_covariance`, of `draw_ofdm_channels`: (subcarriers Nr Nt, the same)."""
    need(config, ChannelConfig, "a ChannelConfig")
    f = _frequencies(subcarriers, spacing)
    side, nt = len(f) * config.nr, config.nt
    total = np.zeros((side, side, nt, nt), np.complex128)
    for profile in config.profiles:
        powers, over_f, over_r, over_t = _factors(config, profile, f)
        left = np.einsum("n,nij,nkl->nikjl", powers, over_f, over_r)
        product = left.reshape(len(powers), -1).T @ over_t.reshape(len(powers), -1)
        total += product.reshape(side, side, nt, nt)
    square = total.swapaxes(1, 2).reshape(side * nt, side * nt)
    return square / (len(config.profiles) * _gain(config))


def qpsk_pilots(
    nt: int, pilots: int, rng: np.random.Generator, *, dtype: Any = np.complex64
) -> np.ndarray:
    """Random pilots P: (nt, pilots), entries (±1 ± j) / sqrt(2), independent."""
    shape = (integer(nt, "nt", 1), integer(pilots, "pilots", 1))
    signs = 2.0 * rng.integers(0, 2, size=(2, *shape)) - 1
    return ((signs[0] + 1j * signs[1]) / math.sqrt(2)).astype(_complex(dtype))


def noise_variance(snr: float, nt: int = 64) -> float:
    """E|n|² per entry of Y = H P + N at a signal-to-noise ratio in dB: nt 10^(−snr / 10).

    With channels of mean power 1 and pilots of modulus 1, nt is the power of an entry of H P.
    """
    return integer(nt, "nt", 1) * 10 ** (-_finite(snr, "snr") / 10)


def comb_pilots(subcarriers: int, step: int, *, first: int = 0) -> np.ndarray:
    """Which subcarriers carry pilots: bool (subcarriers,), every step-th from `first` on.

    `sciml.operators.Sampling(comb[:, None], Space((subcarriers, antennas), dtype))` measures them.
    """
    count = integer(subcarriers, "subcarriers", 1)
    step, first = integer(step, "step", 1), integer(first, "first", 0)
    if first >= min(step, count):
        raise ValueError(f"expected first below {min(step, count)}, got {first}: no pilot comes")
    return np.arange(count) % step == first


def simulate_pilots(
    config: ChannelConfig, n: int, *, pilots: int, snr: float, seed: int
) -> dict[str, np.ndarray]:
    """Channels, random QPSK pilots, and what is received: Y = H P + N.

    H: complex64 (n, Nr, Nt). P: complex64 (Nt, pilots). Y: complex64 (n, Nr, pilots). sigma2: the
    noise variance of an entry, float64 (). Each has a random stream of its own out of `seed`.
    """
    need(config, ChannelConfig, "a ChannelConfig")
    drawn, sent, noise = np.random.default_rng(integer(seed, "seed", 0)).spawn(3)
    P = qpsk_pilots(config.nt, pilots, sent)
    sigma2 = noise_variance(snr, config.nt)
    H = draw_channels(config, n, drawn)
    N = noise.standard_normal((2, n, config.nr, pilots), np.float32) * np.float32(
        (sigma2 / 2) ** 0.5
    )
    return {"H": H, "P": P, "Y": H @ P + (N[0] + 1j * N[1]), "sigma2": np.array(sigma2)}


# -- the draws --------------------------------------------------------------------------------


def _draw(
    config: ChannelConfig, n: int, rng: np.random.Generator, f: np.ndarray, dtype: Any
) -> np.ndarray:
    """(n, frequencies, Nr, Nt)."""
    need(config, ChannelConfig, "a ChannelConfig")
    need(rng, np.random.Generator, "rng as a numpy.random.Generator", "np.random.default_rng(0)")
    dtype = _complex(dtype)
    out = np.empty((integer(n, "n", 0), len(f), config.nr, config.nt), dtype)
    kinds = rng.integers(len(config.profiles), size=n)
    make = _TableRays if config.scatter is Scatter.TABLE else _RandomRays
    scale = real_dtype(dtype).type(1 / math.sqrt(_gain(config)))
    for kind, profile in enumerate(config.profiles):
        rays = make(config, profile, f, dtype)
        members = np.flatnonzero(kinds == kind)
        block = max(1, _BLOCK // (rays.count * max(len(f) * config.nr, config.nt)))
        for start in range(0, len(members), block):
            some = members[start : start + block]
            out[some] = scale * rays.draw(len(some), rng)
    return out


class _Rays:
    """The rays of a profile, cluster by cluster; one in line of sight comes last.

    count: rays. clusters: rows of 20 rays. rows: the table's row of each ray.
    """

    def __init__(
        self, config: ChannelConfig, profile: Profile, f: np.ndarray, dtype: np.dtype
    ) -> None:
        self.config, self.f, self.dtype = config, f, dtype
        self.table = table = TABLES[profile]
        self.real = real_dtype(dtype)
        self.los = int(table.los)
        self.clusters = len(table.rows) - self.los
        self.count = self.clusters * _RAYS + self.los
        scattered = np.repeat(np.arange(self.los, len(table.rows)), _RAYS)
        self.rows = np.concatenate([scattered, np.zeros(self.los, int)])
        rays = np.where(np.arange(self.count) < len(scattered), _RAYS, 1)
        self.amplitude = np.sqrt(_powers(profile)[self.rows] / rays).astype(self.real)
        offsets = np.concatenate([np.tile(RAY_OFFSETS, self.clusters), np.zeros(self.los)])
        self.offsets = offsets.astype(self.real)

    def coupled(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """(n, count): for each ray one of its cluster, no two the same."""
        keys = rng.random((n, self.clusters, _RAYS), np.float32)
        order = np.argsort(keys, axis=-1) + _RAYS * np.arange(self.clusters)[:, None]
        last = np.full((n, self.los), self.count - 1)
        return np.concatenate([order.reshape(n, -1), last], axis=1)

    def phases(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """exp(jΦ), Φ uniform: (n, count)."""
        return _turned(2 * np.pi * rng.random((n, self.count), self.real), self.dtype)


class _TableRays(_Rays):
    """Angles are those of the table: steering vectors are made once, and one product serves all."""

    def __init__(
        self, config: ChannelConfig, profile: Profile, f: np.ndarray, dtype: np.dtype
    ) -> None:
        super().__init__(config, profile, f, dtype)
        table, rows, offsets = self.table, self.rows, self.offsets.astype(float)
        self.zod = table.column("zod")[rows] + table.zsd * offsets
        self.aod = table.column("aod")[rows] + table.asd * offsets
        zoa = table.column("zoa")[rows] + table.zsa * offsets
        delay = config.delay_spread * table.column("delay")[rows]
        self.tx = steering(self.zod, config.nt).astype(dtype)
        self.rx = np.ascontiguousarray(steering(zoa, config.nr).T).astype(dtype)
        self.over_f = np.exp(-2j * np.pi * np.outer(f, delay)).astype(dtype)
        # The gain of every pair of a zenith and an azimuth of departure that may be coupled.
        self.first = np.minimum(np.arange(self.count) // _RAYS, self.clusters) * _RAYS
        pairs = np.minimum(self.first[:, None] + np.arange(_RAYS), self.count - 1)
        gain = element_gain(self.zod[:, None], self.aod[pairs])
        self.gains = (self.amplitude[:, None] * np.sqrt(gain)).astype(self.real)

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        azimuth = self.coupled(n, rng) - self.first
        arrival = self.coupled(n, rng)
        weights = self.phases(n, rng)
        weights *= self.gains[np.arange(self.count), azimuth]
        seen = np.take(self.rx, arrival, axis=1)  # (nr, n, count)
        seen *= weights
        if len(self.f) > 1:
            seen = self.over_f[:, None, None] * seen
        nr, nt = self.config.nr, self.config.nt
        H = (seen.reshape(-1, self.count) @ self.tx).reshape(len(self.f), nr, n, nt)
        return H.transpose(2, 0, 1, 3)


class _RandomRays(_Rays):
    """Every channel has angles of its own."""

    def __init__(
        self, config: ChannelConfig, profile: Profile, f: np.ndarray, dtype: np.dtype
    ) -> None:
        super().__init__(config, profile, f, dtype)
        names = ("aod", "aoa", "zod", "zoa")
        angles = np.stack([self.table.column(name) for name in names], axis=1)
        _, self.direction = np.unique(angles, axis=0, return_inverse=True)

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        table, offsets = self.table, self.offsets
        azimuth, arrival = self.coupled(n, rng), self.coupled(n, rng)
        zod = self.means(_ZOD, n, rng) + table.zsd * offsets
        zoa = self.means(_ZOA, n, rng) + table.zsa * offsets[arrival]
        aod = self.means(_AOD, n, rng) + table.asd * offsets[azimuth]
        weights = self.phases(n, rng)
        weights *= self.amplitude * np.sqrt(element_gain(zod, aod))
        rx = self.progression(zoa, self.config.nr)
        rx *= weights
        rx = rx.transpose(1, 0, 2)  # (n, nr, count)
        if len(self.f) > 1:
            delay = rng.exponential(self.config.delay_spread, (n, len(table.rows)))
            delay[:, : self.los] = 0.0
            turns = -2 * np.pi * self.f[:, None] * delay[:, None, self.rows]
            rx = (_turned(turns, self.dtype)[:, :, None] * rx[:, None]).reshape(n, -1, self.count)
        tx = self.progression(zod, self.config.nt).transpose(1, 2, 0)  # (n, count, nt)
        return np.matmul(rx, tx).reshape(n, len(self.f), self.config.nr, self.config.nt)

    def means(self, bounds: Bounds, n: int, rng: np.random.Generator) -> np.ndarray:
        """The mean angle of each ray's cluster: (n, count)."""
        drawn = rng.random((n, int(self.direction.max()) + 1), self.real)
        return (bounds[0] + (bounds[1] - bounds[0]) * drawn)[:, self.direction[self.rows]]

    def progression(self, zenith: np.ndarray, antennas: int) -> np.ndarray:
        """`steering` by doubling, antennas first: (antennas, *zenith)."""
        out = np.empty((antennas, *zenith.shape), self.dtype)
        out[0] = 1
        step = _turned(np.pi * np.cos(np.radians(zenith)), self.dtype)
        done = 1
        while done < antennas:
            more = min(done, antennas - done)
            np.multiply(out[:more], step, out=out[done : done + more])
            done, step = done + more, step * step
        return out


# -- the formulas -----------------------------------------------------------------------------


def steering(zenith: np.ndarray, antennas: int) -> np.ndarray:
    """exp(jπ k cos θ) of a vertical line, θ in degrees: (*zenith, antennas)."""
    return np.exp(1j * np.pi * np.cos(np.radians(zenith))[..., None] * np.arange(antennas))


def element_gain(zenith: np.ndarray, azimuth: np.ndarray) -> np.ndarray:
    """The power pattern of table 7.3-1 over its maximum, angles in degrees."""
    zenith = np.abs((zenith + 180) % 360 - 180)  # beyond the poles it comes back
    azimuth = (azimuth + 180) % 360 - 180
    vertical = np.minimum(12 * ((zenith - 90) / _WIDTH) ** 2, _LIMIT)
    horizontal = np.minimum(12 * (azimuth / _WIDTH) ** 2, _LIMIT)
    return np.exp(np.minimum(vertical + horizontal, _LIMIT) * (-math.log(10) / 10))


def _powers(profile: Profile) -> np.ndarray:
    """Of each row, with the sum 1."""
    powers = 10 ** (TABLES[profile].column("power") / 10)
    return powers / powers.sum()


def _factors(
    config: ChannelConfig, profile: Profile, f: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of each row: its power, and the covariances over frequencies, receivers, transmitters."""
    table, spread = TABLES[profile], config.delay_spread
    lags = f[:, None] - f
    single = [table.los and i == 0 for i in range(len(table.rows))]
    if config.scatter is Scatter.TABLE:
        over_f = [np.exp(-2j * np.pi * lags * spread * row[0]) for row in table.rows]
        ends = [
            _ends(config, table, zoa, zod, aod, one)
            for (_, _, aod, _, zod, zoa), one in zip(table.rows, single, strict=True)
        ]
    else:
        exponential = 1 / (1 + 2j * np.pi * lags * spread)
        over_f = [np.ones_like(exponential) if one else exponential for one in single]
        made = {one: _ends(config, table, _ZOA, _ZOD, _AOD, one) for one in set(single)}
        ends = [made[one] for one in single]
    over_r, over_t = zip(*ends, strict=True)
    return _powers(profile), np.array(over_f), np.array(over_r), np.array(over_t)


def _ends(
    config: ChannelConfig, table: Table, zoa: Mean, zod: Mean, aod: Mean, single: bool
) -> tuple[np.ndarray, np.ndarray]:
    """E[b b^H] of the receivers and E[A a a^H] of the transmitters, of one cluster."""
    offsets = np.zeros(1) if single else np.array(RAY_OFFSETS)
    nodes = 4 * max(config.nt, config.nr) + 64
    z, w = _means(zoa, nodes)
    over_r = _line(z[:, None] + table.zsa * offsets, w[:, None], config.nr)
    z, w = _means(zod, nodes)
    departure = z[:, None] + table.zsd * offsets
    a, v = _means(aod, 32)
    azimuths = (a[:, None] + table.asd * offsets).reshape(-1)
    gain = element_gain(departure[..., None], azimuths) @ np.repeat(v, len(offsets))
    return over_r, _line(departure, w[:, None] * gain / len(offsets), config.nt)


def _means(mean: Mean, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean angles and their probabilities: the one of the table, or Gauss-Legendre's nodes."""
    if not isinstance(mean, tuple):
        return np.array([mean]), np.ones(1)
    x, w = np.polynomial.legendre.leggauss(nodes)
    return (mean[0] + mean[1]) / 2 + (mean[1] - mean[0]) / 2 * x, w / 2


def _line(zenith: np.ndarray, weights: np.ndarray, antennas: int) -> np.ndarray:
    """Σ w a a^H over the nodes, mean over the rays: (antennas, antennas). zenith: (nodes, rays)."""
    a = steering(zenith, antennas).reshape(-1, antennas)
    w = np.broadcast_to(weights, zenith.shape).reshape(-1) / zenith.shape[-1]
    return (w[:, None] * a).T @ a.conj()


def _gain(config: ChannelConfig) -> float:
    """The mean power of an entry before it is made 1."""
    small = ChannelConfig(config.profiles, config.scatter, 1, 1, config.delay_spread)
    found = 0.0
    for profile in config.profiles:
        powers, _, over_r, over_t = _factors(small, profile, np.zeros(1))
        found += float(np.sum(powers * np.real(over_r * over_t)[:, 0, 0]))
    return found / len(config.profiles)


def _turned(angle: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """exp(j angle) in the given precision."""
    out: Any = np.empty(angle.shape, dtype)
    np.cos(angle, out=out.real, casting="same_kind")
    np.sin(angle, out=out.imag, casting="same_kind")
    return out


def _frequencies(subcarriers: int, spacing: float) -> np.ndarray:
    return number(spacing, "spacing") * np.arange(integer(subcarriers, "subcarriers", 1))


def _complex(dtype: Any) -> np.dtype:
    found = np.dtype(dtype)
    if found not in (np.complex64, np.complex128):
        raise TypeError(f"expected dtype complex64 or complex128, got {found}")
    return found


def _finite(value: float, name: str) -> float:
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise ArgumentError("expected ", Argument(name), f" as a finite number, got {value!r}")
    return found
