"""The methods that a benchmark compares, and the door for anybody's."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any

from sciml.solver import Solver

from ..auto import Auto
from ..direct import Direct
from ..krylov import CG, GMRES, MINRES, BiCGStab, Chebyshev, FlexibleCG
from ..precond import AMG, IC0, SSOR, Cholesky, Coarsening, Jacobi
from .rivals import PyAMG, Rival, ScipyCG, ScipySpsolve

__all__ = ["METHODS", "Method", "load_method"]


def _is_object(found: Any) -> bool:
    # A class of the protocol has its two methods too, unbound.
    return not isinstance(found, type) and isinstance(found, Solver | Rival)


@dataclass(frozen=True)
class Method:
    """A competitor.

    Attributes:
        name: what the report calls it.
        solver: a sciml Solver, or a `Rival` from outside.
        needs: the module it needs beside sciml's own dependencies, or None.
    """

    name: str
    solver: Solver | Rival
    needs: str | None = None

    def __post_init__(self) -> None:
        if not _is_object(self.solver):
            raise TypeError(
                f"expected a sciml.Solver or an object with setup(system) and solve(b, rtol) for "
                f"{self.name}, got {type(self.solver).__name__}: see solvers.bench.Rival"
            )

    @property
    def available(self) -> bool:
        """Whether what it needs is installed."""
        return self.needs is None or find_spec(self.needs) is not None


_ALL = (
    Method("cg", CG()),
    Method("cg+jacobi", CG(M=Jacobi())),
    Method("cg+ssor", CG(M=SSOR())),
    Method("cg+ic0", CG(M=IC0())),
    Method("cg+amg", CG(M=AMG())),
    Method("cg+amg-sa", CG(M=AMG(Coarsening.SMOOTHED_AGGREGATION)), "pyamg"),
    Method("fcg+amg", FlexibleCG(M=AMG())),
    Method("minres", MINRES()),
    Method("chebyshev+jacobi", Chebyshev(M=Jacobi())),
    Method("gmres", GMRES()),
    Method("bicgstab", BiCGStab()),
    Method("direct", Direct()),
    Method("direct+cholmod", Direct(M=Cholesky()), "sksparse"),
    Method("auto", Auto()),
    Method("scipy-cg", ScipyCG()),
    Method("scipy-cg+jacobi", ScipyCG(jacobi=True)),
    Method("scipy-spsolve", ScipySpsolve()),
    Method("pyamg", PyAMG(), "pyamg"),
)
METHODS: Mapping[str, Method] = MappingProxyType({method.name: method for method in _ALL})


def load_method(spec: str, known: Mapping[str, Method] = METHODS) -> Method:
    """A method of `known` by name, or "package.module:Name" from outside.

    Name is a sciml.Solver, a `Rival`, or a class or factory that gives one without arguments.
    Modules in the working folder are found too.

    Raises:
        ValueError: no method of that name. ImportError: the module cannot be imported or lacks the
        name, or the method needs a package that is missing. TypeError: it is of neither kind.
    """
    if ":" not in spec:
        if spec not in known:
            raise ValueError(
                f"expected one of {', '.join(known)}, or package.module:Class, got {spec!r}"
            )
        method = known[spec]
        if not method.available:
            raise ImportError(
                f"expected {method.needs} for {spec}, found none: install it, or leave {spec} out"
            )
        return method
    found = _imported(spec)
    solver = found if _is_object(found) else _made(spec, found)
    return Method(spec.partition(":")[2], solver)


def _imported(spec: str) -> Any:
    module, _, name = spec.partition(":")
    if not (module and name):
        raise ValueError(f"expected package.module:Class, got {spec!r}")
    try:
        with _working_folder_importable():
            found: Any = importlib.import_module(module)
    except Exception as error:  # whatever a foreign module does as it loads
        raise ImportError(
            f"expected a module to import for {spec}, got {type(error).__name__}: {error}"
        ) from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise ImportError(f"expected {name} in {module} for {spec}, found none: check the name")
        found = getattr(found, part)
    return found


def _made(spec: str, factory: Any) -> Any:
    kind = (
        "expected a sciml.Solver, an object with setup(system) and solve(b, rtol), or a class or "
        f"factory that gives one without arguments for {spec}"
    )
    if not callable(factory):
        raise TypeError(f"{kind}, got {type(factory).__name__}")
    try:
        made = factory()
    except Exception as error:
        raise TypeError(f"{kind}, got {type(error).__name__}: {error}") from error
    if not _is_object(made):
        raise TypeError(f"{kind}, got {type(made).__name__}")
    return made


@contextlib.contextmanager
def _working_folder_importable() -> Iterator[None]:
    """A console script does not look into the working folder by itself; searched last."""
    folder = os.getcwd()
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
