"""Every operator keeps every law, in every library and dtype it takes."""

from __future__ import annotations

import numpy as np
import pytest

import sciml
from sciml import Operator, Space, Trait
from sciml.testing import OPERATOR_LAWS, check_operator
from tests.laws.cases import LIKE
from tests.laws.registry import OPERATORS, make_operator, operator_params


@pytest.mark.parametrize("law", OPERATOR_LAWS)
@pytest.mark.parametrize(("name", "library", "dtype"), operator_params())
def test_law(name: str, library: str, dtype: str, law: str, rng: np.random.Generator) -> None:
    A = make_operator(name, library, dtype, rng)
    OPERATOR_LAWS[law](A, rng, A.home if A.home is not None else LIKE[library])


def test_the_registry_holds_every_public_operator() -> None:
    import sciml.operators

    public = {getattr(sciml.operators, n) for n in sciml.operators.__all__}
    classes = {c for c in public if isinstance(c, type) and issubclass(c, Operator)}
    assert classes == {c for case in OPERATORS.values() for c in case.classes}


class _Broken(Operator):
    """Scales by two, with one fault switched on."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        traits = {Trait.POSITIVE} if fault != "unitary" else {Trait.UNITARY}
        super().__init__(Space((6,)), traits=traits)

    def _apply(self, x: np.ndarray) -> np.ndarray:
        if self.fault == "modifies":
            x *= 2
            return x + 0
        if self.fault == "aliases":
            return x
        if self.fault == "dtype":
            return (2 * x).astype(np.float32)
        if self.fault == "nonlinear":
            return 2 * x + 1
        if self.fault == "batch":
            return 2 * x * (1 + x.ndim)
        if self.fault == "not hermitian":
            return 2 * np.roll(x, 1, axis=-1)
        if self.fault == "negative":
            return -2 * x
        return 2 * x

    def _adjoint(self, y: np.ndarray) -> np.ndarray:
        if self.fault == "adjoint":
            return 2.001 * y
        if self.fault == "not hermitian":
            return 2 * np.roll(y, -1, axis=-1)
        return self._apply(y)

    def diagonal(self) -> np.ndarray:
        return np.full(6, 2.5 if self.fault == "diagonal" else 2.0)


FAULTS = {
    "adjoint": "adjoint",
    "nonlinear": "linear",
    "dtype": "keeps_dtype_and_place",
    "batch": "batch_is_loop",
    "modifies": "leaves_input_alone",
    "aliases": "leaves_input_alone",
    "not hermitian": "traits_hold",
    "negative": "traits_hold",
    "unitary": "traits_hold",
    "diagonal": "matrix_agrees",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_breaks_its_law(fault: str, rng: np.random.Generator) -> None:
    """The laws are not empty: a sound operator passes, and each fault turns its law red."""
    with pytest.raises((AssertionError, TypeError)):
        OPERATOR_LAWS[FAULTS[fault]](_Broken(fault), rng, np.zeros(1))
    with pytest.raises(AssertionError, match="breaks the law"):
        check_operator(_Broken(fault))


def test_a_sound_operator_passes() -> None:
    check_operator(_Broken("none"))


def test_public_surface_is_frozen() -> None:
    assert sorted(sciml.__all__, key=str.lower) == sorted(
        [
            "Applies", "Chains", "Gaussian", "Identity", "InverseProblem", "LeastSquares",
            "LinearSystem", "Look", "Nonlinear", "Operator", "Problem", "Result", "SampleError",
            "SampleInterrupted", "SampleLook", "Sampler", "Samples", "Seconds", "SolveError",
            "SolveInterrupted", "Solver", "Space", "State", "Status", "Stop", "Trait",
            "__version__", "block", "hstack", "sample", "solve", "vstack",
        ],
        key=str.lower,
    )  # fmt: skip
