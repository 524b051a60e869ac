"""Benchmarks: solvers on the same systems in the same run, every answer measured alike."""

from .demo import demo, show
from .methods import METHODS, Method, load_method
from .neural import neural_contenders, run_neural
from .neural_methods import Contender, Training
from .neural_report import NeuralReport
from .neural_systems import Source
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
    "Contender",
    "Entrant",
    "Entry",
    "Method",
    "NeuralReport",
    "Outcome",
    "PoissonReport",
    "Prediction",
    "RegressionReport",
    "Rival",
    "Row",
    "Run",
    "Settings",
    "Source",
    "System",
    "Trace",
    "Training",
    "demo",
    "load_entry",
    "load_method",
    "neural_contenders",
    "run_condiff",
    "run_neural",
    "run_poisson",
    "run_regression",
    "show",
]
