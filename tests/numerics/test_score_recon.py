"""Images drawn from the posterior of a scan: `Method.SCORE` and `sciml recon --method score`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from sciml import Status
from sciml.io import read_image
from sciml.mri import biot_savart, brain, nrmse, poisson_disc, simulate
from sciml.networks import (
    ChannelDenoiser,
    PretrainedDenoiser,
    UNetDenoiser,
    load_denoiser,
    save_network,
)
from sciml.operators import SENSE
from solvers.cli import main
from solvers.mri import Method, Reconstruction, Scan, reconstruct, scan_of
from solvers.mri.posterior import _Seen, brightness_of, draw_images, noise_in


@pytest.fixture(scope="module")
def scanned() -> tuple[np.ndarray, Scan]:
    """(true image, scan) of a procedural head of 32 x 32 at R = 3."""
    rng = np.random.default_rng(4)
    image = brain((32, 32), rng=rng)
    maps = biot_savart(image.shape, 6)
    maps = maps / np.sqrt((np.abs(maps) ** 2).sum(axis=0))
    maps = (maps * (np.hypot(*(np.mgrid[:32, :32] - 15.5)) < 17)).astype(np.complex64)
    mask = poisson_disc(image.shape, 3, rng=rng, calibration=8)
    measured = simulate(image.astype(np.complex64), maps, mask, snr=25, rng=rng)
    return measured.image, scan_of(measured.kspace, mask=measured.mask, maps=maps)


@pytest.fixture(scope="module")
def found(scanned: tuple[np.ndarray, Scan]) -> Reconstruction:
    return reconstruct(scanned[1], Method.SCORE)


@pytest.fixture(scope="module")
def own() -> UNetDenoiser:
    """An untrained network, of another width than the package's."""
    import torch

    torch.manual_seed(0)
    network = UNetDenoiser(4, 2)
    network.levels.copy_(torch.tensor([0.005, 10.0]))
    return network


def test_draws_are_made_where_an_array_is(scanned: tuple[np.ndarray, Scan], own: UNetDenoiser):
    import torch

    here = draw_images(scanned[1], n=2, calls=6, network=own).samples
    there = draw_images(scanned[1], n=2, calls=6, network=own, like=torch.zeros(1)).samples
    assert there.status is here.status and there.calls == here.calls
    for name in ("samples", "mean", "std", "mean_error"):
        mine, theirs = getattr(here, name), getattr(there, name)
        assert type(theirs) is np.ndarray and theirs.dtype == mine.dtype
        np.testing.assert_allclose(theirs, mine, rtol=0, atol=1e-3 * np.abs(mine).max())


def test_uncertainties_are_pooled_over_squares(rng: np.random.Generator):
    from scipy.ndimage import uniform_filter

    x = rng.standard_normal((2, 6, 9))
    expected = uniform_filter(x, 3, axes=(-2, -1))
    np.testing.assert_allclose(_Seen.pooled(x), expected, rtol=1e-12, atol=1e-14)


def test_mean_deviation_draws_and_certificate(
    scanned: tuple[np.ndarray, Scan], found: Reconstruction
) -> None:
    image, scan = scanned
    drawn = found.drawn
    assert drawn is not None and found.ok and drawn.status is Status.SAMPLED
    assert drawn.samples.shape == (8, 32, 32) and drawn.std.dtype == np.float32
    np.testing.assert_allclose(found.image, drawn.samples.mean(axis=0), atol=1e-5)
    assert drawn.calls == 20 and drawn.rhat is None and 0 < drawn.error_share < 0.5
    low, high = drawn.band
    assert low <= drawn.misfit <= high
    A = SENSE(scan.maps, scan.mask)  # the misfit of the draws, by hand
    sigma = noise_in(scan)[0]
    squares = [np.linalg.norm(scan.kspace - A(x)) ** 2 for x in drawn.samples]
    m = int((scan.kspace != 0).sum())
    assert np.mean(squares) / sigma**2 / m == pytest.approx(drawn.misfit, rel=1e-3)
    assert nrmse(found.image, image) < 0.9 * nrmse(reconstruct(scan, Method.SENSE).image, image)
    inside = np.abs(scan.maps).max(axis=0) > 0
    assert not found.image[~inside].any() and not drawn.std[~inside].any()
    assert drawn.std[inside].min() > 0
    again = reconstruct(scan, Method.SCORE)
    np.testing.assert_array_equal(again.image, found.image)


def test_units_do_not_matter(scanned: tuple[np.ndarray, Scan], found: Reconstruction) -> None:
    scan = scanned[1]
    unit = np.float32(1e12)
    other = scan_of(scan.kspace * unit, mask=scan.mask, maps=scan.maps)
    large = reconstruct(other, Method.SCORE)
    assert large.drawn is not None and found.drawn is not None
    np.testing.assert_allclose(large.image / unit, found.image, rtol=0, atol=0.02)
    np.testing.assert_allclose(large.drawn.samples.mean(axis=0), large.image, rtol=1e-4)
    assert large.drawn.std.mean() / unit == pytest.approx(found.drawn.std.mean(), rel=0.05)
    assert large.drawn.error_share == pytest.approx(found.drawn.error_share, rel=0.05)
    radii = large.drawn.radius(0.9).mean() / unit, found.drawn.radius(0.9).mean()
    assert radii[0] == pytest.approx(radii[1], rel=0.05)


def test_noise_is_found_without_a_noise_scan() -> None:
    rng = np.random.default_rng(0)
    image = brain((96, 96), rng=rng)
    maps = biot_savart(image.shape, 8).astype(np.complex64)
    mask = poisson_disc(image.shape, 4, rng=rng, calibration=16)
    for snr in (10, 100):
        measured = simulate(image, maps, mask, snr=snr, rng=rng)
        scan = scan_of(measured.kspace, mask=measured.mask, maps=maps)
        sigma, told = noise_in(scan)
        assert sigma == pytest.approx(measured.sigma, rel=0.1) and told
    assert scan.sigma is not None and scan.sigma > 1.2 * sigma  # signal is left at the edge
    white = replace(scan, whitening=np.eye(8), sigma=3.0, sigma_is="the noise scan")
    assert noise_in(white) == (3.0, "the noise scan")
    assert brightness_of(measured.image) == pytest.approx(image.max(), rel=0.2)


def test_data_that_the_maps_cannot_explain_are_not_certified(
    scanned: tuple[np.ndarray, Scan],
) -> None:
    scan = scanned[1]
    wrong = replace(scan, maps=np.roll(scan.maps, 1, axis=0), whitening=np.eye(6))
    found = reconstruct(wrong, Method.SCORE, samples=2)
    assert found.drawn is not None
    assert not found.ok and found.drawn.status is Status.MISFIT


def test_a_network_of_ones_own(
    scanned: tuple[np.ndarray, Scan], found: Reconstruction, own: UNetDenoiser
) -> None:
    scan = scanned[1]
    shipped = load_denoiser(PretrainedDenoiser.SCORE_MRI)
    again = reconstruct(scan, Method.SCORE, network=shipped)
    np.testing.assert_array_equal(again.image, found.image)
    other = reconstruct(scan, Method.SCORE, samples=2, network=own)
    assert other.drawn is not None and other.drawn.calls == 20
    away = np.linalg.norm(other.image - found.image) / np.linalg.norm(found.image)
    assert 0.01 < away < 1  # it has learned nothing: the data alone hold it
    with pytest.raises(ValueError, match="network with the methods score and lpn alone"):
        reconstruct(scan, Method.SENSE, network=own)
    with pytest.raises(ValueError, match=r"network for slices of \(32, 32\), got one for \(4, 8"):
        reconstruct(scan, Method.SCORE, network=ChannelDenoiser(4, 8))
    with pytest.raises(TypeError, match="Denoiser"):
        reconstruct(scan, Method.SCORE, network="weights.safetensors")  # type: ignore[arg-type]


def test_bad_input_is_named(scanned: tuple[np.ndarray, Scan]) -> None:
    scan = scanned[1]
    with pytest.raises(ValueError, match=r"expected no weight.* with score"):
        reconstruct(scan, Method.SCORE, weight=0.1)
    for method in (None, Method.SENSE):
        with pytest.raises(ValueError, match="samples with the method score alone"):
            reconstruct(scan, method, samples=8)
    with pytest.raises(ValueError, match="samples even, got 3"):
        reconstruct(scan, Method.SCORE, samples=3)
    with pytest.raises(ValueError, match="samples"):
        reconstruct(scan, Method.SCORE, samples=0)
    with pytest.raises(ValueError, match="even n"):
        draw_images(scan, n=3)
    with pytest.raises(ValueError, match="at least 16 x 16"):
        small = {name: getattr(scan, name)[..., :8] for name in ("kspace", "mask", "maps")}
        draw_images(replace(scan, **small))
    with pytest.raises(ValueError, match="expected a slice for score, got a volume"):
        whole = {name: getattr(scan, name)[..., None] for name in ("kspace", "mask", "maps")}
        draw_images(replace(scan, **whole))
    with pytest.raises(ValueError, match="with signal for score"):
        draw_images(replace(scan, kspace=0 * scan.kspace))
    with pytest.raises(TypeError, match="Scan"):
        draw_images(scan.kspace)  # type: ignore[arg-type]


@pytest.fixture
def file(scanned: tuple[np.ndarray, Scan], tmp_path: Path) -> Iterator[list[str]]:
    np.save(tmp_path / "k.npy", scanned[1].kspace)
    np.save(tmp_path / "maps.npy", scanned[1].maps)
    yield ["recon", str(tmp_path / "k.npy"), "--maps", str(tmp_path / "maps.npy"),
           "--coil-axis", "0", "--method", "score"]  # fmt: skip


@pytest.mark.parametrize("suffix", [".npy", ".h5", ".cfl", ".nii", ".nii.gz", ".png"])
def test_the_command_writes_mean_deviation_and_samples(
    file: list[str], suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"image{suffix}"
    assert main([*file, "--out", str(out), "--samples", "4", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    names = ["", "_std"] if suffix == ".png" else ["", "_std", "_samples"]
    assert facts["written"] == [str(tmp_path / f"image{name}{suffix}") for name in names]
    assert facts["status"] == "SAMPLED" and facts["draws"]["calls"] == 20
    assert facts["draws"]["count"] == 4 and 0 < facts["draws"]["mean_error"] < 1
    if suffix in (".npy", ".h5", ".cfl"):
        images = {name: read_image(tmp_path / f"image{name}{suffix}").data for name in names}
        assert images["_samples"].shape == (4, 32, 32)
        mean = images["_samples"].mean(axis=0)
        np.testing.assert_allclose(mean, images[""], atol=1e-4)
        assert images["_std"].shape == (32, 32) and (images["_std"].real >= 0).all()


def test_the_command_says_how_sure_it_is(
    file: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "x.npy")
    assert main([*file, "--out", out]) == 0
    told = capsys.readouterr().out
    assert "SAMPLED: 8 draws, 20 calls of the network" in told
    assert "so that R-hat" in told and "not checked: the prior" in told
    assert "by what a SENSE fit leaves" in told or "by the outermost samples" in told
    for words, message in (
        (["--lamda", "0.1"], "expected no --lamda"),
        (["--samples", "5"], "even, got 5"),
        (["--method", "sense", "--samples", "4"], "--samples with the method score alone"),
    ):
        assert main([*file, *words, "--out", out]) == 2
        assert message in capsys.readouterr().err


def test_not_sampled_exits_with_one(
    file: list[str],
    scanned: tuple[np.ndarray, Scan],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    np.save(tmp_path / "maps.npy", np.roll(scanned[1].maps, 1, axis=0))  # of other coils
    assert main([*file, "--out", str(tmp_path / "x.npy"), "--samples", "2", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["status"] == "MISFIT"
    assert (tmp_path / "x_std.npy").exists()


def test_the_command_takes_weights(
    file: list[str],
    scanned: tuple[np.ndarray, Scan],
    own: UNetDenoiser,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    weights, _ = save_network(tmp_path / "own.safetensors", own, {"data": "none"})
    out = str(tmp_path / "x.npy")
    words = [*file, "--out", out, "--samples", "2", "--weights"]
    assert main([*words, str(weights)]) in (0, 1)  # nobody has trained it
    wanted = reconstruct(scanned[1], Method.SCORE, samples=2, network=own).image
    np.testing.assert_allclose(np.load(out), wanted, atol=1e-4 * np.abs(wanted).max())
    assert main([*words, str(tmp_path / "missing.safetensors")]) == 2
    assert "missing" in capsys.readouterr().err
    words[words.index("score")] = "sense"
    assert main([*words[:-3], "--weights", str(weights)]) == 2
    assert "--weights with --method score or lpn alone" in capsys.readouterr().err


def test_nothing_is_overwritten_by_what_lies_beside(file: list[str], tmp_path: Path) -> None:
    mask = tmp_path / "x_std.npy"
    np.save(mask, np.ones((32, 32)))
    assert main([*file, "--out", str(tmp_path / "x.npy"), "--mask", str(mask)]) == 2
    assert np.load(mask).all()
