"""Every solver keeps every law, in every library and dtype."""

from __future__ import annotations

import numpy as np
import pytest

import solvers
from sciml import Sampler, Solver
from sciml.testing import SOLVER_LAWS, SolverCase
from solvers.precond import Recipe
from tests.laws.cases import LIKE, NUMPY
from tests.laws.methods import METHODS, method_params


@pytest.mark.parametrize("law", SOLVER_LAWS)
@pytest.mark.parametrize(("name", "library", "dtype"), method_params())
def test_law(name: str, library: str, dtype: str, law: str, rng: np.random.Generator) -> None:
    method = METHODS[name]
    like = None if library == NUMPY else LIKE[library]
    case = SolverCase(
        method.solver, method.kind, np.dtype(dtype), like=like, batched=method.batched
    )
    SOLVER_LAWS[law](case, rng)


def test_the_registry_holds_every_public_solver() -> None:
    public = {getattr(solvers, n) for n in solvers.__all__}
    classes = {c for c in public if isinstance(c, type) and issubclass(c, Solver)}
    own = {solvers.MultigridCG}  # takes diffusion only: its laws are in numerics/test_batched.py
    own |= {solvers.FISTA, solvers.PrimalDual, solvers.ADMM}  # take priors: laws in test_priors.py
    own |= {solvers.PlugAndPlayADMM}
    assert classes - own == {type(m.solver) for m in METHODS.values()}


def test_every_public_name_is_a_solver_a_recipe_or_a_choice() -> None:
    for name in set(solvers.__all__) - {"from_pyamg", "learned"}:  # functions that build
        made = getattr(solvers, name)
        choices = (solvers.Choice, solvers.Coarsening, solvers.Cycle, solvers.Lines)
        choices += (solvers.Covariance, solvers.Smoother)
        assert issubclass(made, (Solver, Sampler, Recipe, *choices)), name
