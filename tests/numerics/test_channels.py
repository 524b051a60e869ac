"""Channels of TR 38.901: tables, formula, statistics, and what the best linear estimator can do."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest

from sciml import Space
from sciml.datasets import (
    ChannelConfig,
    Profile,
    Scatter,
    channel_covariance,
    comb_pilots,
    draw_channels,
    draw_ofdm_channels,
    noise_variance,
    ofdm_covariance,
    qpsk_pilots,
)
from sciml.datasets._cdl import COLUMNS, RAY_OFFSETS, TABLES
from sciml.datasets.channels import element_gain
from sciml.operators import Sampling

ALL = tuple(Profile)
SMALL = {"nt": 6, "nr": 4}
FAMILIES = {
    "A": ChannelConfig((Profile.A,), **SMALL),
    "C": ChannelConfig((Profile.C,), **SMALL),
    "D": ChannelConfig((Profile.D,), **SMALL),
    "mixed": ChannelConfig(ALL, **SMALL),
    "random": ChannelConfig(ALL, Scatter.RANDOM, **SMALL),
}


@pytest.mark.parametrize("profile", Profile)
def test_tables_are_the_published_ones(profile: Profile, shared_data: Path) -> None:
    table = TABLES[profile]
    found = json.loads((shared_data / "mimo" / f"{profile.value}.json").read_text())
    for name in COLUMNS:
        key = {"delay": "delays", "power": "powers"}.get(name, name)
        np.testing.assert_array_equal(table.column(name), found[key])
    assert table.los == bool(found["los"])
    assert len(table.rows) - table.los == found["num_clusters"]
    told = [found[key] for key in ("cASD", "cASA", "cZSD", "cZSA", "xpr")]
    assert [table.asd, table.asa, table.zsd, table.zsa, table.xpr] == told


def test_ray_offsets_spread_by_one_degree() -> None:
    offsets = np.array(RAY_OFFSETS)
    assert len(offsets) == 20
    np.testing.assert_allclose(offsets.sum(), 0, atol=1e-12)
    np.testing.assert_allclose(np.sqrt(np.mean(offsets**2)), 1, atol=1e-3)


def test_the_pattern_falls_to_half_at_its_width_and_has_a_floor() -> None:
    assert element_gain(np.array(90.0), np.array(0.0)) == 1
    for zenith, azimuth in ((90.0, 32.5), (90 - 32.5, 0.0), (90.0, 360 - 32.5)):
        gain = element_gain(np.array(zenith), np.array(azimuth))
        np.testing.assert_allclose(10 * np.log10(gain), -3, atol=1e-9)
    for zenith, azimuth in ((90.0, 180.0), (180.0, 180.0)):
        gain = element_gain(np.array(zenith), np.array(azimuth))
        np.testing.assert_allclose(gain, 1e-3)
    beyond = element_gain(np.array([190.0, -10.0]), np.zeros(2))  # the poles reflect
    np.testing.assert_allclose(beyond, element_gain(np.array([170.0, 10.0]), np.zeros(2)))


@pytest.mark.parametrize("profile", Profile)
def test_the_covariance_is_that_of_the_formula_ray_by_ray(profile: Profile) -> None:
    """Unit vectors in space, antennas at their places, a loop over every coupling of every ray."""
    config = ChannelConfig((profile,), **SMALL)
    table, size = TABLES[profile], config.nr * config.nt
    places = [(r, t) for r in range(config.nr) for t in range(config.nt)]

    def turn(zenith: float, azimuth: float, antenna: int) -> complex:
        z, a = math.radians(zenith), math.radians(azimuth)
        unit = np.array([math.sin(z) * math.cos(a), math.sin(z) * math.sin(a), math.cos(z)])
        return np.exp(2j * np.pi * unit @ [0, 0, antenna / 2])

    total = np.zeros((size, size), complex)
    for i, (_, power, aod, aoa, zod, zoa) in enumerate(table.rows):
        rays = [0.0] if table.los and i == 0 else RAY_OFFSETS
        at_r = [[turn(zoa + table.zsa * o, aoa, r) for r in range(config.nr)] for o in rays]
        for leaving in rays:
            zenith = zod + table.zsd * leaving
            gain = sum(
                10 ** (-min(12 * ((min(zenith, 360 - zenith) - 90) / 65) ** 2
                            + min(12 * (((aod + table.asd * o + 180) % 360 - 180) / 65) ** 2, 30),
                            30) / 10)
                for o in rays
            )  # fmt: skip
            at_t = [turn(zenith, 0.0, t) for t in range(config.nt)]
            for seen in at_r:
                h = np.array([seen[r] * at_t[t] for r, t in places])
                total += 10 ** (power / 10) * gain / len(rays) ** 3 * np.outer(h, h.conj())
    total *= size / np.trace(total).real
    np.testing.assert_allclose(channel_covariance(config), total, atol=1e-10)


@pytest.mark.parametrize("name", FAMILIES)
def test_drawn_channels_have_the_exact_covariance(name: str, rng: np.random.Generator) -> None:
    config, n = FAMILIES[name], 10_000
    h = draw_channels(config, n, rng).reshape(n, -1).astype(np.complex128)
    R = channel_covariance(config)
    np.testing.assert_allclose(np.trace(R), len(R), rtol=1e-9)
    assert np.linalg.eigvalsh(R)[0] > -1e-12
    found = h.T @ h.conj() / n
    power = abs(h) ** 2
    deviation = np.sqrt(power.T @ power / n / n)  # at least that of each entry of `found`
    assert np.max(abs(found - R) / deviation) < 4.7  # 576 entries
    assert abs(h.mean(axis=0)).max() < 4.7 / n**0.5


def test_frequencies_are_correlated_as_the_delays_tell(rng: np.random.Generator) -> None:
    for config in (
        ChannelConfig((Profile.D,), nt=2, nr=2, delay_spread=300e-9),
        ChannelConfig((Profile.A, Profile.D), Scatter.RANDOM, nt=2, nr=1, delay_spread=300e-9),
    ):
        n, grid = 4_000, {"subcarriers": 5, "spacing": 400e3}
        H = draw_ofdm_channels(config, n, rng, **grid)
        assert H.shape == (n, 5, config.nr, config.nt)
        h = H.reshape(n, -1).astype(np.complex128)
        R = ofdm_covariance(config, **grid)
        found, power = h.T @ h.conj() / n, abs(h) ** 2
        assert np.max(abs(found - R) / np.sqrt(power.T @ power / n / n)) < 4.7
        size = config.nr * config.nt
        np.testing.assert_allclose(R[:size, :size], channel_covariance(config), atol=1e-12)


def test_a_comb_of_pilots_is_a_sampling_operator(rng: np.random.Generator) -> None:
    """And hidden subcarriers follow from it: their best linear estimate, with Gaussian noise."""
    config = ChannelConfig((Profile.A,), nt=3, nr=1, delay_spread=100e-9)
    grid = {"subcarriers": 12, "spacing": 60e3}
    X = draw_ofdm_channels(config, 400, rng, **grid, dtype=np.complex128).reshape(400, 12, 3)
    comb = comb_pilots(12, 3)
    A = Sampling(comb[:, None], Space((12, 3), np.complex128))
    R, mask = ofdm_covariance(config, **grid), np.repeat(comb, 3)
    y = A(X).reshape(400, -1)[:, mask]
    seen = R[np.ix_(mask, mask)] + 1e-3 * np.eye(mask.sum())
    y = y + 1e-3**0.5 * (rng.standard_normal((*y.shape, 2)) @ [1, 1j]) / 2**0.5
    found = (R[:, mask] @ np.linalg.solve(seen, y.T)).T.reshape(X.shape)
    error = np.sum(abs(found - X)[:, ~comb] ** 2) / np.sum(abs(X[:, ~comb]) ** 2)
    left = R - R[:, mask] @ np.linalg.solve(seen, R[mask])
    expected = np.trace(left[~mask][:, ~mask]).real / (~mask).sum()
    assert 10 * np.log10(error) == pytest.approx(10 * np.log10(expected), abs=0.6)
    assert expected < 0.02


def test_only_the_random_family_is_far_from_gaussian(rng: np.random.Generator) -> None:
    """E|z|⁴ / (E|z|²)² of a coefficient of the whitened channel is 2 for a complex Gaussian."""

    def kurtosis(config: ChannelConfig) -> float:
        h = draw_channels(config, 4000, rng).reshape(4000, -1)
        values, vectors = np.linalg.eigh(channel_covariance(config))
        z = abs(h @ vectors[:, -8:].conj()) ** 2 / values[-8:]
        return float(np.mean(z**2) / np.mean(z) ** 2)

    size = {"nt": 32, "nr": 8}
    assert abs(kurtosis(ChannelConfig((Profile.C,), **size)) - 2) < 0.25
    assert kurtosis(ChannelConfig(ALL, Scatter.RANDOM, **size)) > 4


def test_the_bound_of_the_published_setting() -> None:
    """LMMSE with the exact covariance, CDL-C, 38 QPSK pilots for 64 x 16."""
    R = channel_covariance(ChannelConfig())
    P = qpsk_pilots(64, 38, np.random.default_rng(0), dtype=np.complex128)
    A = np.kron(np.eye(16), P.T)
    seen = A @ R
    gram = seen @ A.conj().T
    for snr, expected in ((0, -10.05), (10, -17.43), (20, -25.45)):
        K = gram + noise_variance(snr) * np.eye(len(gram))
        explained = np.sum(seen.conj() * np.linalg.solve(K, seen)).real
        nmse = 10 * np.log10(1 - explained / len(R))
        assert abs(nmse - expected) < 0.02


def test_equal_seeds_give_equal_channels_in_both_precisions() -> None:
    config = FAMILIES["random"]
    first, again = (draw_channels(config, 50, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.complex64
    wide = draw_channels(config, 50, np.random.default_rng(3), dtype=np.complex128)
    assert wide.dtype == np.complex128
    assert draw_channels(config, 0, np.random.default_rng(3)).shape == (0, 4, 6)


def test_pilots_and_noise(rng: np.random.Generator) -> None:
    P = qpsk_pilots(64, 38, rng, dtype=np.complex128)
    np.testing.assert_allclose(abs(P), 1)
    assert {(float(np.sign(p.real)), float(np.sign(p.imag))) for p in P.ravel()} == set(
        itertools.product((-1.0, 1.0), repeat=2)
    )
    assert noise_variance(0) == 64
    np.testing.assert_allclose(noise_variance(10, nt=8), 0.8)
    H = draw_channels(ChannelConfig(), 500, rng)
    np.testing.assert_allclose(np.mean(abs(H @ P.astype(H.dtype)) ** 2), 64, rtol=0.1)
    np.testing.assert_array_equal(np.flatnonzero(comb_pilots(10, 3, first=1)), [1, 4, 7])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ChannelConfig(Profile.C), "profiles"),  # type: ignore[arg-type]
        (lambda: ChannelConfig((Profile.C, Profile.C)), "each once"),
        (lambda: ChannelConfig(nt=0), "nt"),
        (lambda: draw_channels(ChannelConfig(), -1, np.random.default_rng(0)), "n as an integer"),
        (lambda: draw_channels(ChannelConfig(), 1, 0), "Generator"),  # type: ignore[arg-type]
        (
            lambda: draw_channels(ChannelConfig(), 1, np.random.default_rng(0), dtype=float),
            "complex64",
        ),
        (lambda: noise_variance(math.nan), "snr"),
        (lambda: comb_pilots(3, 5, first=3), "first"),
    ],
)
def test_bad_arguments_are_told(call, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        call()


@pytest.mark.slow
@pytest.mark.parametrize("letter", "ABCD")
def test_sionna_draws_from_the_same_law(letter: str) -> None:
    """Its covariance of one narrowband channel, with the same arrays, is ours."""
    pytest.importorskip("sionna.phy", reason="Sionna is not installed")
    import torch
    from sionna.phy.channel.tr38901 import CDL, PanelArray

    torch.manual_seed(1)

    def line(n: int, pattern: str) -> PanelArray:
        return PanelArray(
            num_rows_per_panel=n, num_cols_per_panel=1, polarization="single",
            polarization_type="V", antenna_pattern=pattern, carrier_frequency=40e9,
        )  # fmt: skip

    config = ChannelConfig((Profile(f"CDL-{letter}"),), nt=8, nr=4)
    tx, rx = line(8, "38.901"), line(4, "omni")
    cdl, found, n = CDL(letter, 30e-9, 40e9, rx, tx, "downlink"), [], 4000
    for _ in range(n // 400):
        coefficients, _ = cdl(batch_size=400, num_time_steps=1, sampling_frequency=15e3)
        found.append(coefficients.numpy()[:, 0, :, 0, :, :, 0].sum(axis=-1))
    H = np.concatenate(found)[:, ::-1, ::-1]  # it counts antennas from the top
    h = H.reshape(n, -1).astype(np.complex128)
    S = h.T @ h.conj() / n
    S *= len(S) / np.trace(S).real
    R = channel_covariance(config)
    power = abs(h) ** 2 / np.mean(abs(h) ** 2)
    if letter != "D":
        assert np.max(abs(S - R) / np.sqrt(power.T @ power / n / n)) < 5
    assert np.linalg.norm(S - R) / np.linalg.norm(R) < 0.08
