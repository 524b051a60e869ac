"""How the kernels are compiled."""

from __future__ import annotations

from typing import Any

from numba import njit
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["borrow", "jit", "jit_parallel"]

# Division by zero gives Inf instead of raising, without which no loop with a division is
# vectorised. Contraction (FMA) is all that may be changed: NaN and Inf keep their meaning. numba's
# cache looks at the file of a function alone, so what a kernel calls should lie in the same file.
jit = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
jit_parallel = njit(
    cache=True, nogil=True, error_model="numpy", fastmath={"contract"}, parallel=True
)


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
