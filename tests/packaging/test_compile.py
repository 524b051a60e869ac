"""How kernels are compiled: as few versions as may be, and only what Python calls has an entry."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from llvmlite.binding import Linkage
from numba import prange
from numba.core.caching import NullCache

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


def test_kernels_run_their_own_copies():
    """Of a name that two define, the first that is loaded would serve both."""
    fresh = []
    for kernel in (_power, _powers, _count_parallel):
        again = {_power: jit_inner, _powers: jit, _count_parallel: jit_parallel}[kernel]
        fresh.append(again(kernel.py_func))
        fresh[-1]._cache = NullCache()  # whose code comes without its module
        (arguments,) = kernel.nopython_signatures
        fresh[-1].compile(arguments.args)
    for kernel in fresh:
        (found,) = kernel.overloads.values()
        module = found.library._final_module
        shared = [f.name for f in module.functions if f.linkage == Linkage.linkonce_odr]
        assert not shared
    (inner,) = fresh[0].overloads.values()
    kinds = {f.linkage for f in inner.library._final_module.functions if not f.is_declaration}
    assert kinds == {Linkage.available_externally}, "machine code that nobody runs"


@pytest.mark.slow
def test_compiled_and_cached_code_gives_the_same_bytes(tmp_path):
    code = """
import numpy as np
from sciml.operators import Diffusion
from solvers.multigrid import Multigrid
rng = np.random.default_rng(1)
A, b = Diffusion(10 ** rng.uniform(-2, 2, (19, 26))), rng.standard_normal((19, 26))
print(Multigrid(dtype=np.float64)(A)(b).tobytes().hex())
"""
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    run = partial(subprocess.check_output, [sys.executable, "-c", code], cwd=ROOT, env=env)
    assert run() == run()


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


def test_torch_keeps_its_number_of_threads():
    """OpenMP has one number for the process, which numba's threads would set as they start."""
    code = """
import torch
from sciml.kernels._threads import threads
torch.set_num_threads(1)
print(threads(1 << 20), torch.get_num_threads())
"""
    env = {**os.environ, "NUMBA_NUM_THREADS": "2"}
    found = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, env=env, text=True)
    assert found.split() == ["2", "1"]
