"""The table of mutants stays true to the code: `run.py` beside it takes the safeguards away."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.mutation.mutant import Mutant
from tests.mutation.mutants import MUTANTS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_its_fragment_and_tests_are_there(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text()
    assert text.count(mutant.fragment) == 1, "expected the fragment exactly once"
    compile(text.replace(mutant.fragment, mutant.mutated), mutant.file, "exec")
    for test in mutant.tests:
        path, name = test.partition("[")[0].split("::")
        assert re.search(rf"^def {name}\(", (ROOT / path).read_text(), re.MULTILINE), test


def test_there_are_enough_and_no_two_are_the_same() -> None:
    assert len(MUTANTS) >= 40
    assert len({m.name for m in MUTANTS}) == len(MUTANTS)
    assert len({(m.file, m.fragment, m.mutated) for m in MUTANTS}) == len(MUTANTS)
