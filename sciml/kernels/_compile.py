"""How the kernels are compiled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["borrow", "jit", "jit_inner", "jit_parallel"]

# Division by zero gives Inf instead of raising, without which no loop with a division is
# vectorised. Contraction (FMA) is all that may be changed: NaN and Inf keep their meaning.
# The entry for C is used by nobody, and would take as long to compile as that for Python.
_HOW: dict[str, Any] = {
    "cache": True,
    "nogil": True,
    "no_cfunc_wrapper": True,
    "error_model": "numpy",
    "fastmath": {"contract"},
}


def _stamp() -> tuple[float, int]:
    """Newest change and total size of all kernels' sources."""
    files = [f.stat() for f in Path(__file__).parent.rglob("*.py")]
    return max(f.st_mtime for f in files), sum(f.st_size for f in files)


_STAMP = _stamp()


def jit(function: Any) -> Any:
    """numba.njit as all kernels use it."""
    return _prepared(njit(**_HOW)(function))


def jit_parallel(function: Any) -> Any:
    """`jit` with prange on several threads."""
    return _prepared(njit(parallel=True, **_HOW)(function))


def jit_inner(function: Any) -> Any:
    """`jit` for what only other kernels call: without the entry for Python, which takes every
    argument apart and may take as long to compile as the function.
    """
    dispatcher = _prepared(njit(no_cpython_wrapper=True, **_HOW)(function))

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise TypeError(
            f"expected a call from a kernel: {function.__name__} has no entry for Python"
        )

    dispatcher._insert = lambda *overload: None  # else Python would jump to where nothing is
    dispatcher._compile_for_args = refuse
    return dispatcher


def _prepared(dispatcher: Any) -> Any:
    """Ties numba's cache, which looks at the file of a function alone, to all files: what it calls
    is compiled into it, and code from before a change in another file would go on running.

    Calls from other kernels share one version: numba would compile another for each literal.
    """
    dispatcher._cache._cache_file._source_stamp = _STAMP
    template = dispatcher.get_call_template

    def shared(args: Any, kws: Any) -> Any:
        return template([_plain(a) for a in args], {k: _plain(a) for k, a in kws.items()})

    dispatcher.get_call_template = shared
    return dispatcher


def _plain(kind: types.Type) -> types.Type:
    """A type without its value; the unsigned index of prange as the one of range."""
    kind = types.unliteral(kind)
    return types.int64 if kind == types.uint64 else kind


def _without_owner(typing_context, array):
    def generate(context, builder, signature, arguments):
        view = context.make_array(signature.args[0])(context, builder, arguments[0])
        view.meminfo = cgutils.get_null_value(view.meminfo.type)
        view.parent = cgutils.get_null_value(view.parent.type)
        return view._getvalue()

    return array(array), generate


# borrow(array): the array without ownership. Slices of it count no references, which otherwise
# costs 100 ns a row. Only for arguments of the function that borrows: its caller keeps them alive.
borrow: Any = intrinsic(_without_owner)
