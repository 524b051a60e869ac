"""`sciml info`, `data`, `bench` and `demo`: what they write is what the libraries give."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import sciml
import solvers
from sciml.datasets import Rhs, Split, draw_condiff, read_condiff
from solvers.bench import METHODS
from solvers.cli import main
from solvers.cli._condiff import condiff_config


def test_info_tells_versions_backends_and_threads_without_loading_optional_packages(capsys):
    loaded = {"deepxde", "sionna", "deepinv"} & set(sys.modules)
    assert main(["info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"deepxde", "sionna", "deepinv"} & set(sys.modules) == loaded
    assert found["packages"]["numpy"] == np.__version__
    assert set(found["backends"]) == {"numpy", "torch", "cupy"}
    assert all(isinstance(v, str) and v for v in found["backends"].values())
    assert found["threads"]["cores"] >= 1 and "numba_layer" in found["threads"]
    assert main(["info"]) == 0
    assert np.__version__ in capsys.readouterr().out


def test_info_survives_a_broken_backend(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["backends"]["torch"].startswith("not usable: ")
    assert found["threads"]["torch"] is None


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"sciml {sciml.__version__}\n"


def test_data_condiff_makes_what_the_reader_reads(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = "--poisson --grid 6 --samples 3 --test-samples 2 --smooth-rhs --seed 9 --out d/e"
    assert main(["data", "condiff", *words.split()]) == 0
    train, test = capsys.readouterr().out.split()
    config = condiff_config(None, None, True, 6)
    for path, split, count in ((train, Split.TRAIN, 3), (test, Split.TEST, 2)):
        wanted = draw_condiff(config, count, seed=9, split=split, rhs=Rhs.SMOOTH)
        found = read_condiff(path)
        np.testing.assert_array_equal(found.rhs, wanted.rhs)
        np.testing.assert_array_equal(found.x, wanted.x)


def test_bench_condiff_counts_failures_and_exits_with_0(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("lying.py").write_text(
        "import numpy as np\n"
        "class Liar:\n"
        "    def setup(self, system):\n        pass\n"
        "    def solve(self, b, rtol):\n        return np.zeros_like(b), 1\n"
    )
    words = "--poisson --grid 8 --samples 2 --methods cg,direct --solver lying:Liar --out r"
    assert main(["bench", "condiff", *words.split()]) == 0
    out = capsys.readouterr().out
    assert "Liar" in out and "written     r/condiff.json" in out
    record = json.loads(Path("r/condiff.json").read_text())
    counts = {
        name: [run["outcome"] for run in record["runs"] if run["method"] == name]
        for name in ("cg", "direct", "Liar")
    }
    assert len(set(counts["cg"] + counts["direct"])) == 1
    assert set(counts["Liar"]).isdisjoint(counts["cg"])
    assert Path("r/condiff.png").read_bytes().startswith(b"\x89PNG")
    assert "| " in Path("r/condiff.md").read_text()


def test_bench_condiff_lists_its_methods(capsys):
    assert main(["bench", "condiff", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(METHODS)


def test_an_interrupted_bench_or_demo_exits_with_130(tmp_path, monkeypatch, capsys):
    def interrupt(self, state, k):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(solvers.CG, "advance", interrupt)
    words = "bench condiff --poisson --grid 8 --samples 1 --methods direct,cg --out r"
    assert main(words.split()) == 130
    assert json.loads(Path("r/condiff.json").read_text())["interrupted"]
    assert main(["demo", "--out", "s"]) == 130
    assert "next" not in capsys.readouterr().out


@pytest.mark.slow
def test_the_demo_ends_within_a_minute_with_a_hint(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    began = time.perf_counter()
    assert main(["demo"]) == 0
    assert time.perf_counter() - began < 60
    assert capsys.readouterr().out.splitlines()[-1].startswith("next        sciml solve FILE")
    assert sorted(p.name for p in Path("out/demo").iterdir()) == [
        "condiff.json",
        "condiff.md",
        "condiff.png",
    ]
