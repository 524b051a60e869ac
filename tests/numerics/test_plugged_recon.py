"""Images under a learned proximal operator: `Method.LPN` and `sciml recon --method lpn`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from sciml import Stop
from sciml.mri import biot_savart, brain, nrmse, poisson_disc, simulate
from sciml.networks import ConvexDense, ConvexMixture, ConvexPatch, UNetDenoiser, save_network
from sciml.operators import SENSE
from sciml.training import fit_mixture
from solvers import FISTA
from solvers.cli import main
from solvers.mri import Method, Reconstruction, Scan, reconstruct, scan_of
from solvers.mri.plugged import plug_in
from solvers.mri.posterior import brightness_of, fitted, noise_in

N = 32


@pytest.fixture(scope="module")
def own() -> ConvexMixture:
    """A mixture fitted to patches of procedural heads of other seeds, of any phase."""
    rng = np.random.default_rng(1)
    network = ConvexMixture(3, 4, 6)
    patches = []
    for _ in range(8):
        image = brain((2 * N, 2 * N), rng=rng) * np.exp(2j * np.pi * rng.random())
        views = np.lib.stride_tricks.sliding_window_view(image.real, (3, 3)).reshape(-1, 9)
        patches.append(views[rng.integers(len(views), size=400)])
    fit_mixture(network, torch.from_numpy(np.concatenate(patches)).float(), rng, rounds=10)
    return network.eval()


@pytest.fixture(scope="module")
def scanned() -> tuple[np.ndarray, Scan]:
    """(true image, scan) of a procedural head at R = 3; no coil sees the corners."""
    rng = np.random.default_rng(4)
    image = brain((N, N), rng=rng)
    maps = biot_savart(image.shape, 6)
    maps = maps / np.sqrt((np.abs(maps) ** 2).sum(axis=0))
    maps = (maps * (np.hypot(*(np.mgrid[:N, :N] - 15.5)) < 17)).astype(np.complex64)
    mask = poisson_disc(image.shape, 3, rng=rng, calibration=8)
    measured = simulate(image.astype(np.complex64), maps, mask, snr=25, rng=rng)
    return measured.image, scan_of(measured.kspace, mask=measured.mask, maps=maps)


@pytest.fixture(scope="module")
def found(scanned: tuple[np.ndarray, Scan], own: ConvexMixture) -> Reconstruction:
    return reconstruct(scanned[1], Method.LPN, network=own)


def test_image_level_and_certificate(
    scanned: tuple[np.ndarray, Scan], found: Reconstruction, own: ConvexMixture
) -> None:
    image, scan = scanned
    seen, result, tried = found.convergence, found.result, found.search
    assert found.ok and seen is not None and result is seen.result and tried is not None
    assert seen.theory.proven and all(one.holds for one in seen.theory.conditions)
    assert seen.watched == result.iterations - 1 > 0
    assert not seen.rises.any() and not seen.short.any()
    assert np.isfinite(seen.objective).all() and seen.objective[-1] < seen.objective[0]
    assert own.sigmas[0] <= found.weight <= own.sigmas[1]
    assert tried.weight == found.weight and len(tried.weights) >= 3
    truth = nrmse(found.image, image)
    assert truth < 0.8 * nrmse(reconstruct(scan, Method.SENSE).image, image)
    assert found.noise is not None and 0.5 * found.noise < found.misfit < 2 * found.noise
    unseen = np.abs(scan.maps).max(axis=0) == 0
    assert unseen.any()
    assert np.abs(found.image[unseen]).max() < 0.05 * np.abs(found.image).max()


def test_it_is_a_fixed_point_of_network_and_data(
    scanned: tuple[np.ndarray, Scan], own: ConvexMixture
) -> None:
    """x = f(x − A^H (A x − y) / 1.05), by hand, in the scan's own units."""
    scan = scanned[1]
    full = (np.abs(scan.maps) ** 2).sum(axis=0) > 0
    maps = np.where(full, scan.maps, 1 / 6**0.5).astype(np.complex64)
    scan = replace(scan, maps=maps)
    plugged = plug_in(scan, level=0.05, network=own, stop=Stop(rtol=1e-6, max_iters=2000))
    assert plugged.convergence.ok and plugged.search is None and plugged.level == 0.05
    A, x = SENSE(maps, scan.mask), plugged.image
    b = brightness_of(fitted(A, scan.kspace, 2.0**-6))
    v = (x - A.adjoint(A(x) - scan.kspace) / (1.05 * A.norm_bound**2)) / b
    parts = torch.from_numpy(np.stack([v.real, v.imag])[:, None].astype(np.float32))
    with torch.no_grad():
        f = own(parts, torch.full((2,), 0.05)).numpy()[:, 0]
    np.testing.assert_allclose(b * (f[0] + 1j * f[1]), x, rtol=0, atol=1e-5 * b)
    assert (plugged.sigma, plugged.sigma_is) == noise_in(scan)
    smoother = plug_in(scan, level=0.2, network=own).image
    rough = lambda x: np.abs(np.diff(x)).sum()  # noqa: E731
    assert rough(smoother) < 0.9 * rough(x)


def test_units_do_not_matter(
    scanned: tuple[np.ndarray, Scan], found: Reconstruction, own: ConvexMixture
) -> None:
    scan, unit = scanned[1], np.float32(1e12)
    other = scan_of(scan.kspace * unit, mask=scan.mask, maps=scan.maps)
    large = reconstruct(other, Method.LPN, network=own)
    assert large.ok and large.weight == pytest.approx(found.weight, rel=1e-2)
    size = np.abs(found.image).max()
    np.testing.assert_allclose(large.image / unit, found.image, rtol=0, atol=0.01 * size)


def test_a_solve_that_is_cut_short_is_not_ok(
    scanned: tuple[np.ndarray, Scan], own: ConvexMixture
) -> None:
    stop = Stop(rtol=1e-9, max_iters=3)
    cut = reconstruct(scanned[1], Method.LPN, weight=0.05, network=own, stop=stop)
    assert cut.convergence is not None and not cut.ok
    assert cut.convergence.theory.proven and not cut.convergence.rises.any()


def test_a_solve_that_is_done_before_the_first_step(
    scanned: tuple[np.ndarray, Scan], own: ConvexMixture
) -> None:
    got = plug_in(scanned[1], level=0.05, network=own, stop=Stop(rtol=0.5)).convergence
    assert got.ok and got.watched == 0 == len(got.objective)
    assert "f + g rose was not seen" in got.explain()


def test_after_a_single_step_another_is_seen(
    scanned: tuple[np.ndarray, Scan], own: ConvexMixture
) -> None:
    """What came before the first has no value to compare with."""
    cut = plug_in(scanned[1], level=0.05, network=own, stop=Stop(rtol=1e-9, max_iters=1))
    seen = cut.convergence
    assert seen.result.iterations == 1 == seen.watched and seen.seen is True and not seen.ok
    assert not seen.rises.any() and list(seen.iterations) == [1, 2]


def test_a_prior_weaker_than_the_data_has_no_theorem(
    scanned: tuple[np.ndarray, Scan], found: Reconstruction, own: ConvexMixture
) -> None:
    weaker = plug_in(scanned[1], level=2 * found.weight, ratio=2, network=own)
    seen = weaker.convergence
    assert seen.result.ok and seen.theory.proven is False and not seen.ok
    assert [one.holds for one in seen.theory.conditions] == [False, True]
    assert "rho >= L" in seen.explain() and "NO" in seen.explain()
    assert nrmse(weaker.image, found.image) < 0.1
    with pytest.raises(ValueError, match="ratio > 0, got 0"):
        plug_in(scanned[1], ratio=0, network=own)


def test_without_samples_to_hide_the_level_is_the_noise(
    scanned: tuple[np.ndarray, Scan], own: ConvexMixture
) -> None:
    scan = scanned[1]
    mask = np.zeros((N, N), bool)
    mask[8:24] = True
    few = scan_of(scan.kspace * mask, mask=mask & scan.mask, maps=scan.maps)
    few = replace(few, region=(slice(8, 24), slice(0, N)))
    got = plug_in(few, network=own, stop=Stop(rtol=1e-3))
    A = SENSE(few.maps, few.mask)
    scale = brightness_of(fitted(A, few.kspace, 2.0**-6))
    wanted = got.sigma / scale / 2**0.5 / A.norm_bound
    assert got.convergence.ok and got.search is None
    assert got.level == pytest.approx(np.clip(wanted, *own.sigmas), rel=1e-3)


def test_a_network_for_one_level_searches_for_none(scanned: tuple[np.ndarray, Scan]) -> None:
    torch.manual_seed(0)
    one = ConvexMixture(3, 2, 2, sigmas=(0.05, 0.05)).eval()
    got = reconstruct(scanned[1], Method.LPN, network=one)
    assert got.search is None and got.weight == 0.05


def test_bad_input_is_named(scanned: tuple[np.ndarray, Scan], own: ConvexMixture) -> None:
    scan = scanned[1]
    with pytest.raises(ValueError, match=r"weight from 0\.01 to 0\.25 with lpn, .* got 0\.5"):
        reconstruct(scan, Method.LPN, weight=0.5, network=own)
    with pytest.raises(ValueError, match="samples with the method score alone"):
        reconstruct(scan, Method.LPN, samples=8, network=own)
    with pytest.raises(ValueError, match="network with the methods score and lpn alone"):
        reconstruct(scan, Method.TV, network=own)
    with pytest.raises(TypeError, match="ConvexNetwork"):
        reconstruct(scan, Method.LPN, network=UNetDenoiser(4, 2))
    with pytest.raises(TypeError, match="Denoiser"):
        reconstruct(scan, Method.SCORE, network=own)
    for other in (ConvexDense(4), ConvexPatch(1, 16)):
        with pytest.raises(ValueError, match=r"network for slices of \(32, 32\), got one for"):
            reconstruct(scan, Method.LPN, network=other)
    with pytest.raises(ValueError, match="expected a slice for lpn, got a volume"):
        whole = {name: getattr(scan, name)[..., None] for name in ("kspace", "mask", "maps")}
        plug_in(replace(scan, **whole), network=own)
    with pytest.raises(ValueError, match="with signal for lpn"):
        plug_in(replace(scan, kspace=0 * scan.kspace), network=own)
    with pytest.raises(TypeError, match="Scan"):
        plug_in(scan.kspace, network=own)  # type: ignore[arg-type]


@pytest.fixture
def file(
    scanned: tuple[np.ndarray, Scan], own: ConvexMixture, tmp_path: Path
) -> Iterator[list[str]]:
    np.save(tmp_path / "k.npy", scanned[1].kspace)
    np.save(tmp_path / "maps.npy", scanned[1].maps)
    weights, _ = save_network(tmp_path / "own.safetensors", own, {"data": "procedural"})
    yield ["recon", str(tmp_path / "k.npy"), "--maps", str(tmp_path / "maps.npy"),
           "--coil-axis", "0", "--method", "lpn", "--weights", str(weights),
           "--out", str(tmp_path / "x.npy")]  # fmt: skip


def test_the_command_prints_what_is_proven_and_seen(
    file: list[str], found: Reconstruction, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*file, "--png"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"noise level 0\.\d{4} of the brightest tissue, found: relative error", told)
    assert re.search(
        r"\d certified iterations, relative residual \d\.\de-\d\d$", told, re.MULTILINE
    )
    assert "f + g does not rise" in told and "its conditions hold" in told
    assert "f + g rose in 0 of " in told and "the last step changed the image by " in told
    assert (tmp_path / "x.png").exists()
    size = np.abs(found.image).max()
    np.testing.assert_allclose(np.load(tmp_path / "x.npy"), found.image, rtol=0, atol=1e-3 * size)


def test_the_command_takes_a_level(
    file: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.setattr("solvers.mri.plugged._NEAR", 30.0)  # leave something to see
    assert main([*file, "--lamda", "0.05", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    seen = facts["convergence"]
    assert (facts["weight"], facts["weight_is"]) == (0.05, "given")
    assert facts["status"] == "CONVERGED" and seen["proven"] and all(seen["conditions"].values())
    assert seen["watched"] > 0 == seen["rises"] == seen["short"] and 0 < seen["fixed_point"] < 0.01
    assert len(seen["objective"]) == seen["watched"] + 1
    monkeypatch.setattr("solvers.mri.plugged._NEAR", 0.1)  # leave nothing
    assert main([*file, "--lamda", "0.05"]) == 0
    assert "no step to compare: what came before had met" in capsys.readouterr().out
    assert main([*file, "--lamda", "0.5"]) == 2
    assert "expected --lamda from 0.01 to 0.25 with lpn" in capsys.readouterr().err
    save_network(tmp_path / "other.safetensors", UNetDenoiser(4, 2), {"data": "none"})
    file[file.index("--weights") + 1] = str(tmp_path / "other.safetensors")
    assert main(file) == 2
    assert "expected a ConvexNetwork, got a UNetDenoiser" in capsys.readouterr().err


def test_momentum_that_leads_away_is_left(
    scanned: tuple[np.ndarray, Scan], own: ConvexMixture, monkeypatch
) -> None:
    """What the certified solve begins with is the best image, however far the last one is."""
    advance = FISTA.advance
    far = []

    def astray(self: FISTA, state, k: int):
        found = advance(self, state, k)
        if not self.momentum:
            return found
        far.append(float(found.estimate))
        grown = 10.0 ** max(0, len(far) - 3)
        return found._replace(x=grown * found.x, z=grown * found.z, estimate=grown * found.estimate)

    monkeypatch.setattr(FISTA, "advance", astray)
    got = plug_in(scanned[1], level=0.05, network=own)
    assert len(far) <= 5 and got.convergence.ok
    assert np.abs(got.image).max() < 3 * np.abs(scanned[0]).max()
