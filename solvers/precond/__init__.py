"""Preconditioners: recipes that build an operator close to A^-1 from A.

A recipe is a frozen record; `IC0()(A)` gives the operator. Methods take either:
`CG(M=IC0())` builds it once, at set-up. Those that factor need A's matrix (`A.assemble()`) and run
on the CPU, on NumPy arrays or torch tensors in host memory.
"""

from ._base import Recipe
from ._pyamg import from_pyamg
from .amg import AMG, Coarsening
from .deflation import Deflation
from .factor import Cholesky, SuperLU
from .incomplete import IC0, ILU0, ILUT, SSOR, Jacobi

__all__ = [
    "AMG",
    "IC0",
    "ILU0",
    "ILUT",
    "SSOR",
    "Cholesky",
    "Coarsening",
    "Deflation",
    "Jacobi",
    "Recipe",
    "SuperLU",
    "from_pyamg",
]
