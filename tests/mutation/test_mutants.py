"""The table of mutants stays true to the code: `run.py` beside it takes the safeguards away."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from sciml.kernels.cuda._sources import NAMES, kernels, source
from tests.cuda._shim import COMPILER, command, on_the_host
from tests.mutation.mutant import Mutant
from tests.mutation.mutants import MUTANTS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_its_fragment_and_tests_are_there(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text()
    assert text.count(mutant.fragment) == 1, "expected the fragment exactly once"
    if Path(mutant.file).suffix == ".py":
        compile(text.replace(mutant.fragment, mutant.mutated), mutant.file, "exec")
    for test in mutant.tests:
        path, name = test.partition("[")[0].split("::")
        assert re.search(rf"^def {name}\(", (ROOT / path).read_text(), re.MULTILINE), test


@pytest.mark.skipif(COMPILER is None, reason="no g++ to compile CUDA sources on the host")
@pytest.mark.parametrize(
    "mutant", [m for m in MUTANTS if Path(m.file).suffix != ".py"], ids=lambda m: m.name
)
def test_mutants_of_cuda_sources_compile(mutant: Mutant) -> None:
    name = Path(mutant.file).stem
    name = name if name in NAMES else "vectors"  # any of them has what all share
    text = source(name).replace(mutant.fragment, mutant.mutated)
    assert text != source(name)
    syntax = [*command("double", "double"), "-fsyntax-only", "-x", "c++", "-"]
    subprocess.run(syntax, input=on_the_host(text, kernels(name)), text=True, check=True)


def test_there_are_enough_and_no_two_are_the_same() -> None:
    assert len(MUTANTS) >= 40
    assert len({m.name for m in MUTANTS}) == len(MUTANTS)
    assert len({(m.file, m.fragment, m.mutated) for m in MUTANTS}) == len(MUTANTS)
