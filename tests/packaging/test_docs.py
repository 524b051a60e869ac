"""What the documents say is run: code blocks in order, examples as scripts."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/guide.md",
    "docs/learned_multigrid.md",
    "docs/neural_directions.md",
    "docs/sampling.md",
)
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
# Smaller than they are by default; {} is a folder that the test throws away.
SMALL = {
    "reservoir.py": ["128", "{}/reservoir.png"],
    "heat_with_changing_k.py": ["48"],
    "mri_real_kspace.py": ["{}"],
    "mri_radial.py": ["64", "31", "{}/radial.png"],
    "plug_and_play.py": ["{}/plug_and_play.png"],
    "smoke.py": ["--grid", "24x16", "--frames", "3", "--out", "{}"],
}

# What the documents' examples take for given: a user's own matrix, right-hand sides and misfit.
PRELUDE = """
import numpy as np
import scipy.sparse as sp
import torch
import sciml, solvers
from sciml import LinearSystem, Operator, Space, solve
from sciml.adapters import from_scipy
from sciml.operators import Diffusion, Identity
from solvers import CG, Multigrid

k = np.ones((20, 20))
steps = [(1.5 * k, k), (2 * k, k)]
matrix = sp.csr_array(sp.diags_array([-1.0, 2.5, -1.0], offsets=[-1, 0, 1], shape=(64, 64)))
A = from_scipy(matrix)
b = b1 = np.ones(64)
b2 = np.arange(64.0)
"""
# The gradient's block differentiates a system of its own.
GIVEN = {"docs/guide.md": {2: "b = torch.ones(64, 64).double()\nmisfit = torch.Tensor.norm\n"}}


def blocks(document: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.M | re.S)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_code_blocks_run(document: str, tmp_path: Path) -> None:
    parts = [PRELUDE]
    for i, block in enumerate(blocks(document)):
        parts.append(GIVEN.get(document, {}).get(i, "") + block)
    script = tmp_path / "blocks.py"
    script.write_text("\n".join(parts), encoding="utf-8")
    done = _run(script)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda p: p.name)
def test_example_runs_and_is_short(example: Path, tmp_path: Path) -> None:
    assert len(example.read_text(encoding="utf-8").splitlines()) < 100
    small = SMALL.get(example.name)
    done = _run(example, *(a.format(tmp_path) for a in small)) if small else _as_it_is(example)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_smoke_in_three_dimensions(tmp_path: Path) -> None:
    script = ROOT / "examples" / "smoke.py"
    done = _run(script, "--grid", "12x8x10", "--frames", "2", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "(12, 8, 10) cells" in done.stdout and (tmp_path / "smoke.gif").stat().st_size > 0
    lines = (tmp_path / "smoke.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + 2 * 5  # frames, methods
    done = _run(script, "--grid", "96")
    assert done.returncode == 2 and "expected two or three sides" in done.stderr


def test_the_readme_quotes_what_the_example_prints() -> None:
    quoted = re.search(r"^    (CG with IC0.*?applications);", _readme(), flags=re.M | re.S)
    assert quoted is not None
    printed = " ".join(_as_it_is(ROOT / "examples" / "solve_a_matrix.py").stdout.split())
    assert " ".join(quoted.group(1).split()) in printed


def test_every_link_of_the_documents_leads_somewhere() -> None:
    pages = [ROOT / name for name in (*DOCUMENTS, "CHANGELOG.md", "docs/decisions.md")]
    for page in [*pages, *(ROOT / "data").glob("**/*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_make_targets_and_commands_of_the_readme_exist() -> None:
    text = _readme()
    for script in re.findall(r"`python (benchmarks/\S+\.py)`", text):
        assert (ROOT / script).is_file(), script
    from solvers.cli import main

    for command in sorted(set(re.findall(r"\.venv/bin/sciml (\w+)", text))):
        assert main([command, "--help"]) == 0, command


def _readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


@functools.cache
def _as_it_is(example: Path) -> subprocess.CompletedProcess[str]:
    """Run once, whatever asks for it."""
    return _run(example)


def _run(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=240)
