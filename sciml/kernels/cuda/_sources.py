"""The sources as text."""

from __future__ import annotations

import functools
import re
from importlib.resources import files

__all__ = ["NAMES", "OPTIONS", "kernels", "source"]

NAMES = (
    "amg",
    "coils",
    "multigrid_cycle_chebyshev",
    "multigrid_cycle_finest",
    "multigrid_cycle_levels",
    "multigrid_setup_links",
    "multigrid_setup_weights",
    "nodes",
    "small",
    "sparse",
    "stencil",
    "vectors",
)
OPTIONS = ("-std=c++17",)


@functools.cache
def source(name: str) -> str:
    """One of NAMES after what all share, and what those of its families share (`multigrid.cuh`,
    `multigrid_cycle.cuh`). It needs a REAL and a STORED, each float or double."""
    folder, words = files(__package__ or ""), name.split("_")
    families = [folder / f"{'_'.join(words[:i])}.cuh" for i in range(1, len(words))]
    shared = [header for header in families if header.is_file()]
    parts = [folder / "common.cuh", *shared, folder / f"{name}.cu"]
    return "\n".join(part.read_text() for part in parts)


def kernels(name: str) -> list[str]:
    """The kernels that a source has."""
    begin = r'extern "C" __global__ void (?:__launch_bounds__\([\d, ]+\) )?'
    return re.findall(begin + r"(\w+)\(", source(name))
