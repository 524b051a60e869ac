"""The laws that every operator and every solver of this package keeps, for yours too.

    from sciml.testing import check_operator
    check_operator(MyOperator(...))

A broken law raises AssertionError with what was expected and what was got. `OPERATOR_LAWS` and
`SOLVER_LAWS` hold the laws one by one, for a parametrised test.
"""

from ._operators import OPERATOR_LAWS, check_operator
from ._solvers import SOLVER_LAWS, SolverCase, check_solver
from ._systems import FailingOperator, Kind, random_system

__all__ = [
    "OPERATOR_LAWS",
    "SOLVER_LAWS",
    "FailingOperator",
    "Kind",
    "SolverCase",
    "check_operator",
    "check_solver",
    "random_system",
]
