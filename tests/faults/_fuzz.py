"""Drives `fuzz_reader.py`, which damages files and reads them in a process that may die."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def fuzz(reader: str, files: list[Path], folder: Path, count: int) -> Counter[str]:
    """Outcomes of `count` damaged files; a child that dies is told and replaced."""
    scratch = folder / "scratch"
    scratch.mkdir()
    script = Path(__file__).with_name("fuzz_reader.py")
    env = os.environ | {
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    outcomes: Counter[str] = Counter()
    done, deaths = 0, 0
    while done < count:
        command = [sys.executable, "-W", "error", script, reader, scratch, done, count, *files]
        child = subprocess.run(
            [str(part) for part in command], env=env, capture_output=True, text=True, cwd=folder
        )
        lines = child.stdout.splitlines()
        outcomes.update(re.sub(r"^\d+ ", "", line) for line in lines)
        done += len(lines)
        if child.returncode == 0:
            break
        assert deaths < 5, f"the child keeps dying: {outcomes} {child.stderr[-400:]}"
        outcomes[f"died with {child.returncode} at {done}: {child.stderr[-400:]}"] += 1
        done, deaths = done + 1, deaths + 1
    # A name for each suffix, and its partner for .cfl and .hdr.
    names = {f"damaged{''.join(path.suffixes)}" for path in files}
    names |= {"damaged.cfl", "damaged.hdr"} if "damaged.cfl" in names else set()
    assert set(os.listdir(scratch)) <= names, "the reader left a file behind"
    return outcomes


def check_damaged(
    reader: str, files: list[Path], folder: Path, count: int, *, guarded: bool = False
) -> None:
    """Damaged files end in a result or a FileError, and both ends are reached.

    guarded: checksums cover all of the file, so that nothing damaged may be read.
    """
    outcomes = fuzz(reader, files, folder, count)
    assert set(outcomes) <= {"ok", "refused"}, outcomes
    assert outcomes.total() == count
    # Both ends must be reached, or the damage was none or all.
    assert outcomes["refused"] > count // 4
    assert outcomes["ok"] == 0 if guarded else outcomes["ok"] > 0
