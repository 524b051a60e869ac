"""`sciml recon` on the sample, on real scans, and on what it must refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from sciml.io.images import read_image
from sciml.io.kspace import read_kspace
from sciml.operators import SENSE
from solvers.cli import main

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "data" / "samples" / "brain_8coil.h5"
REAL = ROOT.parent / "shared" / "data" / "mri_kspace"


def real(name: str) -> str:
    path = REAL / name
    if not path.exists():
        pytest.skip(f"no real k-space at {path}")
    return str(path)


def run(capsys: pytest.CaptureFixture[str], *words: Any) -> dict[str, Any]:
    assert main(["recon", *map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_sample_in_every_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference = tmp_path / "reference.npy"
    with h5py.File(SAMPLE) as file:
        np.save(reference, file["reference"][0])
    error = {}
    for method in ("zero-filled", "sense", "l1-wavelet", "tv", "grappa"):
        out = tmp_path / f"{method}.npy"
        facts = run(
            capsys, SAMPLE, "--method", method, "--reference", reference, "--out", out, "--png"
        )
        assert facts["method"] == method
        assert facts["written"] == [str(out), str(tmp_path / f"{method}.png")]
        assert (tmp_path / f"{method}.png").stat().st_size > 10_000
        image = np.load(out)
        assert image.shape == (1, 128, 128)
        assert np.iscomplexobj(image)
        error[method] = facts["scores"]["nrmse"]
        expected = np.abs(image) - np.load(reference)
        assert error[method] == pytest.approx(
            np.linalg.norm(expected) / np.linalg.norm(np.load(reference)), rel=1e-5
        )
    assert error["l1-wavelet"] < 0.9 * error["sense"] < 0.8 * error["zero-filled"]


def test_auto_chooses_and_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recon", str(SAMPLE), "--out", str(tmp_path / "image.nii.gz"), "--png"]) == 0
    told = capsys.readouterr().out
    assert "predicts hidden samples best" in told
    assert "8 coils, 128 x 128" in told
    assert (tmp_path / "image.png").exists()
    assert read_image(tmp_path / "image.nii.gz").data.shape[-2:] == (128, 128)


def test_predicted_kspace_has_the_axes_and_scale_of_the_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = read_kspace(SAMPLE)
    turned = tmp_path / "turned.npy"
    np.save(turned, 1e-3 * given.data[0].transpose(1, 2, 0))  # (ky, kx, coil)
    full = tmp_path / "full.npy"
    facts = run(
        capsys, turned, "--method", "sense", "--out", tmp_path / "x.npy", "--out-kspace", full
    )
    predicted, y = np.load(full), np.load(turned)
    assert predicted.shape == y.shape
    gap = np.linalg.norm((predicted - y)[y != 0]) / np.linalg.norm(y)
    assert gap == pytest.approx(facts["misfit"], rel=1e-3)
    assert (predicted[y == 0] != 0).mean() > 0.5


def test_maps_and_mask_from_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = read_kspace(SAMPLE)
    kspace, mask = given.data[0], given.mask[0]
    rng = np.random.default_rng(0)
    fewer = mask & (rng.random(mask.shape) < 0.8)
    fewer[50:78, 50:78] = mask[50:78, 50:78]
    from sciml.mri import espirit

    np.save(tmp_path / "maps.npy", maps := espirit(kspace).maps)
    np.save(tmp_path / "mask.npy", fewer.astype(np.uint8))
    facts = run(
        capsys, SAMPLE, "--method", "sense", "--lamda", "0.01", "--out", tmp_path / "x.npy",
        "--maps", tmp_path / "maps.npy", "--mask", tmp_path / "mask.npy",
    )  # fmt: skip
    assert facts["sampled"] == pytest.approx(fewer.mean())
    A = SENSE(maps, fewer)
    x = np.load(tmp_path / "x.npy")[0]
    y = kspace * fewer
    assert facts["misfit"] == pytest.approx(np.linalg.norm(A(x) - y) / np.linalg.norm(y), rel=1e-3)


def test_a_real_scan_with_its_own_reference_scan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kdata, refscan = real("epi16/kdata.mat"), real("epi16/refscan.mat")
    out = tmp_path / "epi.npy"
    run(capsys, kdata, "--calibration", refscan, "--method", "grappa", "--out", out)
    other = tmp_path / "sense.npy"
    run(capsys, kdata, "--calibration", refscan, "--method", "sense", "--out", other)
    a, b = np.abs(np.load(out)), np.abs(np.load(other))
    outside = np.s_[:10]  # the phantom ends before: aliasing would show
    assert a[outside].max() < 0.1 * a.max()
    assert np.linalg.norm(a - b) < 0.2 * np.linalg.norm(a)


def test_a_complete_real_scan_undersampled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sciml.mri import poisson_disc

    file = real("single_coil/se_t1_sag_data.mat")
    facts = run(capsys, file, "--out", tmp_path / "full.npy")
    assert facts["method"] == "zero-filled"
    assert facts["reason"] == "every sample was measured"
    mask = poisson_disc((256, 256), 3.0, calibration=24, rng=np.random.default_rng(1))
    np.save(tmp_path / "mask.npy", mask)
    run(
        capsys, file, "--mask", tmp_path / "mask.npy", "--method", "l1-wavelet",
        "--out", tmp_path / "x.npy", "--out-kspace", tmp_path / "k.npy",
    )  # fmt: skip
    # Samples near the centre that were not given are predicted; farther out they are noise.
    predicted, complete = np.load(tmp_path / "k.npy"), read_kspace(file).data[0]
    missing = ~mask
    missing[:80], missing[-80:], missing[:, :80], missing[:, -80:] = False, False, False, False
    gap = np.linalg.norm((predicted - complete)[missing]) / np.linalg.norm(complete[missing])
    assert gap < 0.75


def refused(capsys: pytest.CaptureFixture[str], folder: Path, *words: Any) -> str:
    """What is said of bad input: one line, exit code 2, and nothing written."""
    before = sorted(folder.rglob("*"))
    assert main(["recon", *map(str, words)]) == 2
    told = capsys.readouterr()
    assert not told.out
    assert told.err.count("\n") == 1
    assert sorted(folder.rglob("*")) == before
    return told.err


def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kspace = read_kspace(SAMPLE).data[0]
    out = tmp_path / "x.npy"

    def saved(name: str, array: np.ndarray) -> Path:
        np.save(tmp_path / name, array)
        return tmp_path / name

    short = tmp_path / "short.h5"
    short.write_bytes(SAMPLE.read_bytes()[:5_000])
    broken = kspace.copy()
    broken[3, 64, 64] = np.nan
    wide = saved("coils_last.npy", np.ascontiguousarray(kspace.transpose(1, 0, 2)))
    cases: list[tuple[tuple[Any, ...], str]] = [
        ((tmp_path / "absent.npy",), "absent.npy"),
        ((short,), "short.h5"),
        ((saved("nan.npy", broken),), "finite"),
        ((saved("zero.npy", 0 * kspace),), "measured"),
        ((saved("real.npy", kspace.real),), "complex"),
        ((saved("cube.npy", kspace[:, :8, :8] + 1),), "pass --coil-axis 0 or another"),
        ((wide, "--coil-axis", 7), "expected --coil-axis in -3 to 2, got 7"),
        (
            (saved("lines.npy", kspace * (np.arange(128) % 2 == 0)),),
            "give --maps or a reference scan, --calibration",
        ),
        ((SAMPLE, "--mask", saved("m1.npy", np.zeros((128, 128)))), "nothing was measured"),
        ((SAMPLE, "--mask", saved("m2.npy", np.ones((64, 128)))), "expected a mask that fits"),
        ((SAMPLE, "--mask", saved("m3.npy", np.ones((128, 128)))), "the mask belongs to other"),
        ((SAMPLE, "--maps", saved("s.npy", kspace[:4])), "expected maps"),
        ((SAMPLE, "--lamda", "-1"), "expected --lamda finite and >= 0, got -1"),
        ((SAMPLE, "--method", "magic"), "magic"),
        ((SAMPLE, "--reference", saved("r.npy", np.ones((3, 3)))), "expected a reference"),
        ((SAMPLE, "--reference", saved("t.npy", np.ones((64, 256)))), "expected a reference"),
        ((SAMPLE, "--lamda", "2"), "expected --lamda from 0 to 1"),
        ((SAMPLE, "--lamda", "0.1", "--method", "zero-filled"), "no --lamda"),
        ((SAMPLE, "--maps", saved("z.npy", 0 * kspace)), "not all 0"),
        ((SAMPLE, "--maps", saved("b.npy", np.stack([kspace] * 3))), "one slice for all"),
        ((saved("slices.npy", np.stack([kspace[:, :96, :80]] * 3)),), "slices and coils"),
        ((saved("one.npy", kspace[:1]), "--method", "grappa"), "several coils"),
    ]
    for words, match in cases:
        told = refused(capsys, tmp_path, *words, "--out", out)
        assert match in told, (words, told)
    for words in (
        (SAMPLE, "--out", tmp_path / "x.bmp"),
        (SAMPLE, "--out", tmp_path / "no" / "x.npy"),
        (SAMPLE, "--out", out, "--out-kspace", tmp_path / "k.mat"),
        (SAMPLE, "--out", out, "--out-kspace", out),
        (SAMPLE, "--mask", tmp_path / "m1.npy", "--out", tmp_path / "m1.npy"),
        (SAMPLE, "--reference", tmp_path / "r.npy", "--out", tmp_path / "r.npy"),
        (SAMPLE, "--out", tmp_path / "x.gz"),
    ):
        assert "expected" in refused(capsys, tmp_path, *words)


def test_an_interrupted_solve_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from solvers import FISTA

    def stopped(self: FISTA, state: Any, k: int) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(FISTA, "advance", stopped)
    out = tmp_path / "x.npy"
    words = ["--method", "l1-wavelet", "--lamda", "0.001", "--out", str(out)]
    assert main(["recon", str(SAMPLE), *words]) == 130
    assert not out.exists()


def test_a_weight_nobody_gave_is_not_called_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["recon", str(SAMPLE), "--method", "grappa", "--out", str(tmp_path / "image.npy")]
    assert main(words) == 0
    assert ", the usual one" in capsys.readouterr().out
    assert main([*words, "--lamda", "0.02"]) == 0
    assert ", as given" in capsys.readouterr().out
