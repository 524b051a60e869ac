"""All laws of operators, solvers and priors on a GPU, in CuPy and in torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch

from sciml import Operator, Space
from sciml.arrays import from_host
from sciml.testing import OPERATOR_LAWS, PRIOR_LAWS, SOLVER_LAWS, PriorCase, SolverCase
from tests.laws.cases import HOST, NUMPY
from tests.laws.methods import METHODS
from tests.laws.registry import OPERATORS
from tests.laws.test_denoising import DENOISERS, SHAPE

pytestmark = pytest.mark.gpu


@pytest.fixture(params=["cupy", "torch"])
def like(request: pytest.FixtureRequest) -> Any:
    """An array on the GPU."""
    if request.param == "torch":
        return torch.zeros(1, device="cuda")
    cupy = pytest.importorskip("cupy", exc_type=ImportError)
    if not cupy.is_available():
        pytest.skip("CuPy finds no GPU")
    return cupy.zeros(1)


def _keeps(laws: Mapping[str, Callable[..., None]], *args: Any) -> None:
    """All laws are tried, and those that do not hold are named."""
    broken = []
    for name, law in laws.items():
        try:
            law(*args)
        except Exception as error:
            broken.append(f"{name}: {type(error).__name__}: {error}")
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("name", [n for n, c in OPERATORS.items() if c.libraries != (NUMPY,)])
def test_operators(name: str, like: Any, rng: np.random.Generator) -> None:
    case = OPERATORS[name]

    def made(dtype: str) -> Operator:
        A = case.make(rng, np.dtype(dtype), lambda x: from_host(x, like, x.dtype))
        if case.libraries == HOST:  # of which some take no arrays but those in host memory
            try:
                A(from_host(A.domain.random(rng), like, A.domain.dtype))
            except (ImportError, TypeError) as error:
                pytest.skip(str(error))
        return A

    for dtype in case.dtypes:
        A = made(dtype)
        _keeps(OPERATOR_LAWS, A, rng, A.home if A.home is not None else like)


@pytest.mark.parametrize("name", [n for n, m in METHODS.items() if m.libraries != HOST])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_solvers(name: str, dtype: str, like: Any, rng: np.random.Generator) -> None:
    method = METHODS[name]
    case = SolverCase(
        method.solver, method.kind, np.dtype(dtype), like=like, batched=method.batched
    )
    _keeps(SOLVER_LAWS, case, rng)


@pytest.mark.parametrize("name", DENOISERS)
def test_priors(name: str, like: Any, rng: np.random.Generator) -> None:
    for dtype in DENOISERS[name].dtypes:
        space = Space(SHAPE, np.dtype(dtype))
        prior = DENOISERS[name].make(rng, space)
        _keeps(PRIOR_LAWS, PriorCase(prior, space, like=like), rng)
