"""Benchmarks: solvers on the same systems in the same run, every answer measured alike."""

from .demo import demo, show
from .methods import METHODS, Method, load_method
from .poisson import POISSON_METHODS, Entrant, run_poisson
from .poisson_report import PoissonReport
from .results import BenchReport, Outcome, Row, Run, Settings, Trace
from .rivals import Answer, Rival, System
from .run import run_condiff

__all__ = [
    "METHODS",
    "POISSON_METHODS",
    "Answer",
    "BenchReport",
    "Entrant",
    "Method",
    "Outcome",
    "PoissonReport",
    "Rival",
    "Row",
    "Run",
    "Settings",
    "System",
    "Trace",
    "demo",
    "load_method",
    "run_condiff",
    "run_poisson",
    "show",
]
