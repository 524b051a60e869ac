"""Certified inverse problems and PDEs: operators, problems, results.

Methods live in the package `solvers`; `import sciml` loads NumPy only.
"""

from ._version import __version__
from .algebra import Identity, block, hstack, vstack
from .noise import Gaussian
from .operator import Operator, Trait
from .problem import InverseProblem, LeastSquares, LinearSystem, Nonlinear, Problem
from .result import Applies, Result, Seconds, SolveError, SolveInterrupted, Status, Stop
from .sample import SampleLook, sample
from .sampler import Chains, Sampler
from .samples import SampleError, SampleInterrupted, Samples
from .solve import Look, solve
from .solver import Solver, State
from .space import Space

__all__ = [
    "Applies",
    "Chains",
    "Gaussian",
    "Identity",
    "InverseProblem",
    "LeastSquares",
    "LinearSystem",
    "Look",
    "Nonlinear",
    "Operator",
    "Problem",
    "Result",
    "SampleError",
    "SampleInterrupted",
    "SampleLook",
    "Sampler",
    "Samples",
    "Seconds",
    "SolveError",
    "SolveInterrupted",
    "Solver",
    "Space",
    "State",
    "Status",
    "Stop",
    "Trait",
    "__version__",
    "block",
    "hstack",
    "sample",
    "solve",
    "vstack",
]
