"""How the kernels are compiled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llvmlite.binding import Linkage, ModuleRef
from numba import njit, types
from numba.core import cgutils
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import LoweringPass, register_pass
from numba.core.typed_passes import AnnotateTypes
from numba.extending import intrinsic

__all__ = ["borrow", "jit", "jit_inner", "jit_parallel"]


class _Library(JITCodeLibrary):
    """The machine code of a kernel with its own copies of the kernels that it calls.

    A copy is optimised for where it stands, and its last bits may be others than elsewhere. All
    have one name, and numba lets the first that was loaded serve all callers: bits would depend
    on what had run before, and on whether code was compiled or came from the cache.
    """

    def _finalize_final_module(self) -> None:
        self._shared_module = self._final_module.clone()  # what callers copy
        _relink(self._shared_module, Linkage.external, "linkonce_odr")
        self._hide(self._final_module)
        super()._finalize_final_module()

    def _hide(self, module: ModuleRef) -> None:
        _relink(module, Linkage.linkonce_odr, "internal")


class _InnerLibrary(_Library):
    """What callers copy, and no machine code: nobody would run it."""

    def _hide(self, module: ModuleRef) -> None:
        for linkage in (Linkage.linkonce_odr, Linkage.external):
            _relink(module, linkage, "available_externally")


def _relink(module: ModuleRef, before: Linkage, after: str) -> None:
    for function in module.functions:
        if not function.is_declaration and function.linkage == before:
            function.linkage = after


class _UseLibrary(LoweringPass):
    """Makes the library that numba's lowering would make after it."""

    kind = _Library

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        state.library = self.kind(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        return False


@register_pass(mutates_CFG=False, analysis_only=True)
class _Outer(_UseLibrary):
    _name = "sciml_library"


@register_pass(mutates_CFG=False, analysis_only=True)
class _Inner(_UseLibrary):
    _name = "sciml_inner_library"
    kind = _InnerLibrary


class _Compiler(CompilerBase):
    """numba's, with a library of ours."""

    library: type[_UseLibrary] = _Outer

    def define_pipelines(self) -> list[Any]:
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.add_pass_after(self.library, AnnotateTypes)
        passes.finalize()
        return [passes]


class _InnerCompiler(_Compiler):
    library = _Inner


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
    return _prepared(njit(pipeline_class=_Compiler, **_HOW)(function))


def jit_parallel(function: Any) -> Any:
    """`jit` with prange on several threads."""
    return _prepared(njit(parallel=True, pipeline_class=_Compiler, **_HOW)(function))


def jit_inner(function: Any) -> Any:
    """`jit` for what only other kernels call: without the entry for Python, which takes every
    argument apart and may take as long to compile as the function.
    """
    how = {"no_cpython_wrapper": True, "pipeline_class": _InnerCompiler, **_HOW}
    dispatcher = _prepared(njit(**how)(function))

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
