"""`sciml bench mri`: every method on one simulated scan."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from solvers.bench.mri import run_mri
from solvers.cli import main
from solvers.mri import Method


def test_priors_come_closer_to_the_truth() -> None:
    told: list[str] = []
    report = run_mri(size=64, methods=(Method.ZERO_FILLED, Method.L1_WAVELET), say=told.append)
    error = {row["method"]: row["NRMSE"] for row in report.rows}
    assert error["l1-wavelet"] < 0.7 * error["zero-filled"]
    assert set(report.images) >= {"truth", "zero-filled", "l1-wavelet"}
    assert any("weight" in text for text in told)
    with pytest.raises(ValueError, match="size"):
        run_mri(size=3)


def test_the_command_writes_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "mri", "--size", "48", "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "mri.json").read_text())
    wanted = [m.value for m in Method if m is not Method.SCORE]
    assert [row["method"] for row in record["rows"]][: len(wanted)] == wanted
    assert "NRMSE" in capsys.readouterr().out
    assert (tmp_path / "mri.md").read_text().startswith("# MRI reconstruction")
    assert (tmp_path / "mri.png").stat().st_size > 10_000
    assert main(["bench", "mri"]) == 2
