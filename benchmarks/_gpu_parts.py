"""The parts of `gpu.py` by name, in the order that they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from _gpu_images import mri, radial, sampling
from _gpu_lab import Lab, Row
from _gpu_products import ceilings, graphs, small, stencils, steps
from _gpu_systems import amg, batches, blocks, directions, mixed, poisson, smoothers

PARTS: Mapping[str, Callable[[Lab], Iterator[Row]]] = MappingProxyType(
    {
        "ceilings": ceilings, "stencils": stencils, "steps": steps, "poisson": poisson,
        "mixed": mixed, "batches": batches, "mri": mri, "radial": radial, "sampling": sampling,
        "directions": directions, "small": small, "amg": amg, "blocks": blocks,
        "smoothers": smoothers, "graphs": graphs,
    }
)  # fmt: skip
