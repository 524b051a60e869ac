"""The sources as text."""

from __future__ import annotations

import functools
import re
from importlib.resources import files

__all__ = ["NAMES", "OPTIONS", "kernels", "source"]

NAMES = (
    "amg",
    "coils",
    "multigrid",
    "multigrid_chebyshev",
    "multigrid_setup",
    "nodes",
    "small",
    "sparse",
    "stencil",
    "vectors",
)
OPTIONS = ("-std=c++17",)


@functools.cache
def source(name: str) -> str:
    """One of NAMES after what all share, and what those of its family share (`multigrid.cuh`). It
    needs a REAL and a STORED, each float or double."""
    folder = files(__package__ or "")
    shared = folder / f"{name.split('_')[0]}.cuh"
    parts = [folder / "common.cuh", *([shared] if shared.is_file() else []), folder / f"{name}.cu"]
    return "\n".join(part.read_text() for part in parts)


def kernels(name: str) -> list[str]:
    """The kernels that a source has."""
    begin = r'extern "C" __global__ void (?:__launch_bounds__\(\d+\) )?'
    return re.findall(begin + r"(\w+)\(", source(name))
