"""Measurements by other libraries, in interpreters of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["run_worker"]


def run_worker(
    worker: Path,
    words: Sequence[object],
    data: Mapping[str, np.ndarray],
    rivals: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
) -> dict[str, Any] | None:
    """What a worker found, in the first interpreter that has its library; None if none has.

    Args:
        words: that `worker` is called with: the first one, the paths of its data and of its result
            (.npz), then the others.
        rivals: interpreters to try after this one. environment: beside what there is.
    """
    source, target = folder / "data.npz", folder / "result.npz"
    np.savez(source, **data)  # pyright: ignore[reportArgumentType]
    library, *others = words
    for python in (sys.executable, *rivals):
        done = subprocess.run(
            [python, str(worker), *map(str, (library, source, target, *others))],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
        )
        if done.returncode == 0:
            with np.load(target) as file:
                return {name: file[name] for name in file.files}
        if "ModuleNotFoundError" not in done.stderr:
            raise RuntimeError(f"{library}: {done.stderr[-2000:]}")
    return None
