"""Steps of a method on a GPU, recorded once and launched again as one CUDA graph."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeVar

from sciml._counting import Tally, add_applications, counting, uncounted
from sciml._streams import stream_of
from sciml._torch import version
from sciml.algebra import Identity
from sciml.arrays import Array, is_array, is_torch, namespace, on_cpu
from sciml.operator import Operator
from sciml.problem import Problem

from ._base import Krylov

__all__ = ["Replaying", "Tape"]

S = TypeVar("S", bound=tuple)
Steps = Callable[[S, int], S]
_KEPT = 8  # graphs of one solver and thread: each holds a few vectors


@dataclass(frozen=True, kw_only=True)
class Replaying(Krylov):
    """A Krylov method whose k steps may be one launch on a GPU.

    Args:
        graph: record the steps between two looks as a CUDA graph the second time they are taken,
            and replay it from then on, also for further right-hand sides of a prepared solver. It
            pays where kernels are shorter than their launches, as in cycles of multigrid below
            about 64³, and costs a copy of the state for each look. The result's `solver` keeps the
            graphs, so that a prepared one is what gains. Off a GPU it does nothing. A and M have to
            be made of kernels alone: a step that reads on the host, or transforms by FFTs, whose
            plans keep memory of their own, is refused with a RuntimeError.
        tape: the graphs; made when the solver is prepared.
    """

    graph: bool = False
    tape: Tape | None = field(default=None, repr=False, compare=False)

    def prepare(self, problem: Problem) -> Self:
        ready = super().prepare(problem)
        return replace(ready, tape=Tape()) if self.graph and self.tape is None else ready

    @property
    def nbytes(self) -> int:
        return super().nbytes + (0 if self.tape is None else self.tape.nbytes)

    def replayed(self, steps: Steps[S], state: S, k: int) -> S:
        """steps(state, k), which is immutable; by a graph where that is asked for and can be."""
        if self.tape is None or not k or not _may_be_recorded(state):
            return steps(state, k)
        return self.tape.advance(steps, state, k)


class Tape(threading.local):
    """Graphs of one solver, for each thread its own: a graph has but one set of buffers.

    A copy, or what comes out of a pickle, is empty.
    """

    def __init__(self) -> None:
        self.graphs: OrderedDict[Hashable, _Recorded | list[Operator]] = OrderedDict()

    def __reduce__(self) -> tuple[Any, ...]:
        return Tape, ()

    @property
    def nbytes(self) -> int:
        """Of this thread's graphs on the device."""
        return sum(made.nbytes for made in self.graphs.values() if isinstance(made, _Recorded))

    def advance(self, steps: Steps[S], state: S, k: int) -> S:
        """steps(state, k), recorded when a state of its form comes for the second time: the first
        one compiles kernels and fills caches, which a graph cannot."""
        like = next(_arrays(state))
        key = (k, stream_of(like), _form(state))
        found = self.graphs.pop(key, None)
        if found is None:
            self._keep(key, list(map(uncounted, _operators(state))))
            return steps(state, k)
        if isinstance(found, list):
            found = _Recorded(steps, state, k)
        self._keep(key, found)
        return found.replay(state)

    def _keep(self, key: Hashable, what: _Recorded | list[Operator]) -> None:
        """Operators too are kept: the key holds their addresses."""
        self.graphs[key] = what
        if len(self.graphs) > _KEPT:
            self.graphs.popitem(last=False)


class _Recorded:
    """k steps from one set of buffers to another."""

    def __init__(self, steps: Steps[S], state: S, k: int) -> None:
        from sciml.kernels import cuda

        _refuse_plans(state)
        self.given = [_held(a) for a in _arrays(state)]
        self.tallies = [Tally() for _ in _operators(state)]
        own = map(counting, _operators(state), self.tallies)
        start = _rebuilt(state, iter(self.given), own)
        try:
            self.end, self.graph = cuda.record(lambda: steps(start, k), self.given[0])
        except Exception as error:  # of either library, and of what A and M call
            if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
                raise
            raise RuntimeError(
                f"expected steps that are kernels alone for graph=True, got {error}: leave it out "
                "for this operator and preconditioner"
            ) from error

    @property
    def nbytes(self) -> int:
        return self.graph.nbytes + sum(math.prod(a.shape) * a.itemsize for a in self.given)

    def replay(self, state: S) -> S:
        """The state k steps on, in arrays of its own."""
        for held, now in zip(self.given, _arrays(state), strict=True):
            held[...] = now
        self.graph.replay()
        for A, tally in zip(_operators(state), self.tallies, strict=True):
            add_applications(A, tally)
        ends = (_copied(a) for a in _arrays(self.end))
        return _rebuilt(self.end, ends, _operators(state))


def _may_be_recorded(state: tuple) -> bool:
    arrays = list(_arrays(state))
    watched = any(is_torch(a) and a.requires_grad for a in arrays)
    return bool(arrays) and not watched and not any(map(on_cpu, arrays))


def _refuse_plans(state: tuple) -> None:
    for A in map(uncounted, _operators(state)):
        for part in (A, *(owner for owner, _, _ in A.attributes())):
            if not part.recordable:
                raise RuntimeError(
                    f"expected steps that are kernels alone for graph=True, got {part!r}, whose "
                    "plans keep memory of their own: leave graph out"
                )


def _copied(a: Array) -> Array:
    return namespace(a).asarray(a, copy=True, device=a.device)


def _held(a: Array) -> Array:
    """A copy that may be written to, wherever `a` was made."""
    if not is_torch(a):
        return _copied(a)
    import torch

    with torch.inference_mode(False):
        return a.clone()


def _arrays(part: Any) -> Iterator[Array]:
    """The arrays of a state, in order."""
    if isinstance(part, tuple):
        for inner in part:
            yield from _arrays(inner)
    elif is_array(part):
        yield part


def _operators(part: Any) -> Iterator[Operator]:
    """Its operators, in order."""
    if isinstance(part, tuple):
        for inner in part:
            yield from _operators(inner)
    elif isinstance(part, Operator):
        yield part


def _form(part: Any) -> Hashable:
    """What two states that one graph serves agree in: all but the numbers in their arrays."""
    if isinstance(part, tuple):
        return type(part), *map(_form, part)
    if isinstance(part, Operator):
        inner = uncounted(part)
        if isinstance(inner, Identity):
            return Identity, inner.domain
        return id(inner), *map(version, inner.params.values())  # what it keeps of them may be moved
    if is_array(part):
        return tuple(part.shape), part.dtype, str(part.device)
    return part


def _rebuilt(part: Any, arrays: Iterator[Array], operators: Iterator[Operator]) -> Any:
    """A state of the same form from its arrays and operators, in order."""
    if isinstance(part, tuple):
        made = [_rebuilt(inner, arrays, operators) for inner in part]
        return type(part)(*made) if hasattr(part, "_fields") else tuple(made)
    if isinstance(part, Operator):
        return next(operators)
    return next(arrays) if is_array(part) else part
