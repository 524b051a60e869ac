"""Benchmarks are run by hand and seldom: what they take from each other has to be there."""

from __future__ import annotations

import ast
import importlib
import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
MODULES = {path.stem: path for path in sorted(FOLDER.glob("*.py"))}


def defined(path: Path) -> set[str]:
    """Names at the top level of a module."""
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    return names


@pytest.mark.parametrize("name", MODULES)
def test_what_benchmarks_import_from_each_other_exists(name: str) -> None:
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.ImportFrom) and node.module in MODULES:
            wanted = {alias.name for alias in node.names}
            assert wanted <= defined(MODULES[node.module]), node.module


def test_reports_name_networks_that_have_rows(tmp_path: Path, monkeypatch) -> None:
    """The Markdown that lies there is what its JSON makes, to the letter."""
    monkeypatch.syspath_prepend(str(FOLDER))
    report = importlib.import_module("_mri_score_report")
    kept = FOLDER / "results" / "mri_score.json"
    record = json.loads(kept.read_text())
    there = {row["prior"] for row in record["rows"] if "prior" in row}
    assert set(record["priors"]) == there
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(report, "RESULT", tmp_path / kept.name)
    left = {"0" * 64: next(iter(record["priors"].values()))}
    for path in report.rewrite({**record, "priors": {**record["priors"], **left}}):
        assert path.read_text() == kept.with_suffix(path.suffix).read_text()
