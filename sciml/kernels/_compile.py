"""How the kernels are compiled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numba import njit
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["borrow", "jit", "jit_parallel"]

# Division by zero gives Inf instead of raising, without which no loop with a division is
# vectorised. Contraction (FMA) is all that may be changed: NaN and Inf keep their meaning.
_HOW: dict[str, Any] = {
    "cache": True,
    "nogil": True,
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
    return _stamped(njit(**_HOW)(function))


def jit_parallel(function: Any) -> Any:
    """`jit` with prange on several threads."""
    return _stamped(njit(parallel=True, **_HOW)(function))


def _stamped(dispatcher: Any) -> Any:
    """numba's cache looks at the file of a function alone, but what it calls is compiled into it:
    code from before a change in another file would go on running. This ties it to all files."""
    dispatcher._cache._cache_file._source_stamp = _STAMP
    return dispatcher


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
