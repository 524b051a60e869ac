"""The laws that every operator and every solver of this package keeps, for yours too.

    from sciml.testing import check_operator
    check_operator(MyOperator(...))

A broken law raises AssertionError with what was expected and what was got. `OPERATOR_LAWS`,
`SOLVER_LAWS` and `PRIOR_LAWS` hold the laws one by one, for a parametrised test.
"""

from ._calibration import Calibration, calibration, check_calibration
from ._operators import OPERATOR_LAWS, check_operator
from ._priors import PRIOR_LAWS, PriorCase, check_prior
from ._solvers import SOLVER_LAWS, SolverCase, check_solver
from ._systems import FailingOperator, Kind, random_system

__all__ = [
    "OPERATOR_LAWS",
    "PRIOR_LAWS",
    "SOLVER_LAWS",
    "Calibration",
    "FailingOperator",
    "Kind",
    "PriorCase",
    "SolverCase",
    "calibration",
    "check_calibration",
    "check_operator",
    "check_prior",
    "check_solver",
    "random_system",
]
