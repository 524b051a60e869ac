"""Benchmarks: solvers on the same systems in the same run, every answer measured alike."""

from .demo import demo, show
from .methods import METHODS, Method, load_method
from .poisson import POISSON_METHODS, Entrant, run_poisson
from .poisson_report import PoissonReport
from .predictions import PREDICTIONS, Entry, Prediction, load_entry
from .regression import run_regression
from .regression_report import RegressionReport
from .results import BenchReport, Outcome, Row, Run, Settings, Trace
from .rivals import Answer, Rival, System
from .run import run_condiff

__all__ = [
    "METHODS",
    "POISSON_METHODS",
    "PREDICTIONS",
    "Answer",
    "BenchReport",
    "Entrant",
    "Entry",
    "Method",
    "Outcome",
    "PoissonReport",
    "Prediction",
    "RegressionReport",
    "Rival",
    "Row",
    "Run",
    "Settings",
    "System",
    "Trace",
    "demo",
    "load_entry",
    "load_method",
    "run_condiff",
    "run_poisson",
    "run_regression",
    "show",
]
