"""Problems for physics-informed training, with references and certificates. This loads torch."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import torch

from sciml._checks import told

from .case import Case, Certificate, Predict, certificate, relative_error
from .cavity import cavity
from .darcy import darcy
from .elliptic import helmholtz, poisson_1d, poisson_2d
from .evolution import advection, burgers, heat
from .networks import waves
from .periodic import allen_cahn, kdv

__all__ = ["CASES", "Case", "Certificate", "Predict", "certificate", "find", "relative_error"]


def _cases() -> dict[str, Case]:
    octaves = [np.pi * 2**k for k in range(6)]
    found = (
        poisson_1d("poisson-1d-sine", [1], widths=[1, 20, 20, 1], points=64, features=None,
                   nodes=24, model="2 hidden layers of 20"),
        poisson_1d("poisson-1d", [1, 5, 20, 50], widths=[12, 20, 20, 1], points=1200,
                   features=lambda x: torch.cat(waves(x, octaves), dim=1), nodes=240,
                   model="2 hidden layers of 20, sines and cosines of pi, 2 pi, ..., 32 pi for "
                   "a solution of pi to 50 pi"),
        poisson_2d(), helmholtz(), advection(30), advection(50), advection(80), heat(), burgers(),
        allen_cahn(), kdv(), cavity(), darcy(),
    )  # fmt: skip
    return {case.name: case for case in found}


CASES: Mapping[str, Case] = MappingProxyType(_cases())


def find(name: str) -> Case:
    """A case by its name.

    Raises:
        ValueError: there is none.
    """
    if name not in CASES:
        raise ValueError(f"expected one of {', '.join(CASES)}, got {told(name)}")
    return CASES[name]
