"""Benchmarks: solvers on the same systems in the same run, every answer measured alike."""

from .demo import demo, show
from .methods import METHODS, Method, load_method
from .results import BenchReport, Outcome, Row, Run, Settings, Trace
from .rivals import Answer, Rival, System
from .run import run_condiff

__all__ = [
    "METHODS",
    "Answer",
    "BenchReport",
    "Method",
    "Outcome",
    "Rival",
    "Row",
    "Run",
    "Settings",
    "System",
    "Trace",
    "demo",
    "load_method",
    "run_condiff",
    "show",
]
