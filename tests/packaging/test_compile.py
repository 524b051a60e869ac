"""How kernels are compiled: as few versions as may be, and only what Python calls has an entry."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numba import prange

import sciml
from sciml.kernels._compile import jit, jit_inner, jit_parallel

ROOT = Path(sciml.__file__).parents[1]
KERNELS = ROOT / "sciml" / "kernels"
DECORATORS = {"jit", "jit_inner", "jit_parallel"}


@jit_inner
def _power(x, n, negative):
    return x**-n if negative else x**n


@jit
def _powers(x):
    return _power(x, 1, True) + _power(x, 2, False) + _power(x, 3, False)


@jit_inner
def _set(out, i):
    out[i] = i


@jit
def _count(out):
    for i in range(out.size):
        _set(out, i)


@jit_parallel
def _count_parallel(out):
    for i in prange(out.size):
        _set(out, i)


def test_literals_make_no_versions():
    assert _powers(2.0) == 0.5 + 4.0 + 8.0
    assert len(_power.nopython_signatures) == 1


def test_serial_and_parallel_share_what_they_call():
    for count in (_count, _count_parallel):
        out = np.zeros(5)
        count(out)
        assert np.array_equal(out, np.arange(5))
    assert len(_set.nopython_signatures) == 1


def test_python_cannot_enter_what_has_no_entry():
    _powers(2.0)
    with pytest.raises(TypeError, match="expected a call from a kernel: _power has no entry"):
        _power(2.0, 1, True)


def is_kernel(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and any(
        isinstance(d, ast.Name) and d.id in DECORATORS for d in node.decorator_list
    )


def words(path: Path, tree: ast.Module) -> Iterator[str]:
    """All names in what is not compiled; what kernels import from each other is not counted."""
    compiled = (ast.ImportFrom,) if KERNELS in path.parents else ()
    for top in tree.body:
        if is_kernel(top) or isinstance(top, compiled):
            continue
        for node in ast.walk(top):
            if isinstance(node, ast.Name):
                yield node.id
            elif isinstance(node, ast.Attribute):
                yield node.attr
            elif isinstance(node, ast.alias):
                yield node.name


def test_what_only_kernels_call_has_no_entry():
    files = [f for d in ("sciml", "solvers", "tests") for f in (ROOT / d).rglob("*.py")]
    trees = {f: ast.parse(f.read_text()) for f in files}
    known = {word for f, tree in trees.items() for word in words(f, tree)}
    needless = [
        f"{f.stem}.{node.name}"
        for f, tree in trees.items()
        if KERNELS in f.parents
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and any(isinstance(d, ast.Name) and d.id == "jit" for d in node.decorator_list)
        and node.name not in known
    ]
    assert not needless, f"expected jit_inner for {needless}"
