"""The sources as text."""

from __future__ import annotations

import functools
import re
from importlib.resources import files

__all__ = ["NAMES", "OPTIONS", "kernels", "source"]

NAMES = ("amg", "coils", "nodes", "sparse", "stencil", "vectors")
OPTIONS = ("-std=c++17",)


@functools.cache
def source(name: str) -> str:
    """One of NAMES with what all share before it. It needs a REAL, float or double."""
    folder = files(__package__ or "")
    return "\n".join((folder / file).read_text() for file in ("common.cuh", f"{name}.cu"))


def kernels(name: str) -> list[str]:
    """The kernels that a source has."""
    return re.findall(r'extern "C" __global__ void (\w+)\(', source(name))
