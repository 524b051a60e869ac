"""Take each safeguard away in turn, in a copy of the tree, and see that a test goes red.

    python tests/mutation/run.py [WORD ...]

With words, only the mutants whose name holds one of them. The exit code is 1 if a mutant survives.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.mutation.mutant import Mutant  # noqa: E402
from tests.mutation.mutants import MUTANTS  # noqa: E402

COPIED = ("sciml", "solvers", "tests", "pyproject.toml")


def copy_tree(target: Path) -> None:
    """The sources and their compiled kernels, times of change included."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name)
        else:
            shutil.copy2(source, target / name)


def run_tests(tree: Path, tests: tuple[str, ...], seconds: float = 120) -> tuple[bool, str]:
    """(whether all pass, the last line of the report)."""
    env = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(
            command, cwd=tree, env=env, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return False, f"no end after {seconds:.0f} s"
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    last = lines[-1] if lines else done.stderr[-200:]
    if done.returncode not in (0, 1):  # 1 means that a test failed; more, that none was run
        raise RuntimeError(f"pytest did not run {tests}: {last}")
    return done.returncode == 0, last


def mutate(tree: Path, mutant: Mutant) -> str:
    """Write the mutant into the tree; returns the text to put back."""
    path = tree / mutant.file
    text = path.read_text()
    found = text.count(mutant.fragment)
    if found != 1:
        raise ValueError(f"expected the fragment of '{mutant.name}' once, got it {found} times")
    path.write_text(text.replace(mutant.fragment, mutant.mutated))
    return text


def main(words: list[str]) -> int:
    chosen = [m for m in MUTANTS if not words or any(w in m.name for w in words)]
    began, survivors = time.perf_counter(), []
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        copy_tree(tree)
        every = tuple(dict.fromkeys(test for m in chosen for test in m.tests))
        sound, report = run_tests(tree, every, 120 * len(chosen))  # what all may take together
        if not sound:
            print(f"the tests fail on the sound tree: {report}")
            return 2
        print(f"sound tree: {report}", flush=True)
        for mutant in chosen:
            text = mutate(tree, mutant)
            passed, report = run_tests(tree, mutant.tests)
            (tree / mutant.file).write_text(text)
            if passed:
                survivors.append(mutant.name)
            print(f"{'SURVIVED' if passed else 'killed  '} {mutant.name}: {report}", flush=True)
    seconds = time.perf_counter() - began
    print(f"{len(chosen)} mutants, {len(chosen) - len(survivors)} killed, {seconds:.0f} s")
    return 1 if survivors else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
