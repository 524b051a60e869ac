"""The one abstraction everything shares: an immutable map between two spaces."""

from __future__ import annotations

import copy
import enum
from abc import ABC, ABCMeta, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ._checks import need, told
from .arrays import (
    Array,
    astype,
    broadcast_batch,
    check_same_place,
    dtype_of,
    is_array,
    is_torch,
    namespace,
    native_dtype,
    with_precision,
)
from .space import Space

if TYPE_CHECKING:
    from scipy.sparse import csr_array
    from scipy.sparse.linalg import LinearOperator

__all__ = ["Operator", "Trait"]


class Trait(enum.Enum):
    """What an operator declares of itself; `sciml.testing.check_operator` tests each."""

    LINEAR = "linear"
    HERMITIAN = "hermitian"  # A = A^H
    POSITIVE = "positive"  # hermitian with <x, Ax> >= 0
    UNITARY = "unitary"  # A^H A = A A^H = I
    DIAGONAL = "diagonal"  # acts entry by entry

    @staticmethod
    def closure(traits: Iterable[Trait]) -> frozenset[Trait]:
        """`traits` with what they imply: positive implies hermitian, and every one linear."""
        listed = list(traits) if isinstance(traits, Iterable) else None
        if listed is None or any(not isinstance(t, Trait) for t in listed):
            raise TypeError(f"expected traits as Trait members, got {told(traits)}")
        found = set(listed)
        if Trait.POSITIVE in found:
            found.add(Trait.HERMITIAN)
        if found:
            found.add(Trait.LINEAR)
        return frozenset(found)


class _Frozen(ABCMeta):
    """Freezes each instance when its constructor returns."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        made = super().__call__(*args, **kwargs)
        object.__setattr__(made, "_frozen", True)
        return made


class Operator(ABC, metaclass=_Frozen):
    """An immutable map from `domain` to `range`, linear unless its traits say otherwise.

    An author writes `_apply(x)` and, for a linear map, `_adjoint(y)`. Both receive
    `(*batch, *shape)` with any number of batch axes and return the same batch (set
    `vectorized = False` to be called with one element at a time). They must not modify their
    input. `param_names` lists the attributes that hold arrays: these are moved by `to`, checked for
    NaN before a solve, and differentiated. `structure_names` lists index and mask arrays: these are
    only moved.

    Args:
        domain, range: spaces of input and output (range defaults to domain).
        traits: declared properties; "linear" is assumed unless an empty set is given.
        batch_shape: batch axes of the operator's own parameters (a different matrix per member).
    """

    param_names: ClassVar[tuple[str, ...]] = ()
    structure_names: ClassVar[tuple[str, ...]] = ()
    vectorized: ClassVar[bool] = True
    compiled: ClassVar[bool] = False  # runs a kernel that is compiled, or loaded, at first use
    # On a GPU an application costs more than a look at a solver's state: see `Solver.pace`.
    costly: ClassVar[bool] = False
    # Whether a CUDA graph may hold an application: not where a library's plan keeps memory of its
    # own, which may be given back while the graph still works on it.
    recordable: ClassVar[bool] = True
    # HERMITIAN was found in a matrix whose assembly left rounding: A^H is not A to the last bit.
    hermitian_to_rounding: bool = False
    _frozen: bool = False

    def __init__(
        self,
        domain: Space,
        range: Space | None = None,
        *,
        traits: Iterable[Trait] = (Trait.LINEAR,),
        batch_shape: tuple[int, ...] = (),
    ) -> None:
        need(domain, Space, "a Space", "Space(shape, dtype)")
        self.domain = domain
        self.range = domain if range is None else range
        self.traits = Trait.closure(traits)
        if self.traits & {Trait.HERMITIAN, Trait.UNITARY} and domain.shape != self.range.shape:
            raise ValueError(
                f"expected a square operator for the traits {_names(self.traits)}, got "
                f"{_dims(domain.shape)} -> {_dims(self.range.shape)}"
            )
        self.batch_shape = tuple(batch_shape)

    def __setattr__(self, name: str, value: Any) -> None:
        if self._frozen:
            raise AttributeError(
                f"{type(self).__name__} is immutable: build a new operator instead of setting "
                f"{name!r}"
            )
        super().__setattr__(name, value)

    # -- what an author writes ---------------------------------------------------------------

    @abstractmethod
    def _apply(self, x: Array) -> Array:
        """A x for x (*batch, *domain.shape)."""

    def _adjoint(self, y: Array) -> Array:
        """A^H y for y (*batch, *range.shape)."""
        raise TypeError(
            f"{type(self).__name__} has no adjoint: define _adjoint(y), or use a method that "
            "needs A only"
        )

    def diagonal(self) -> Array:
        """The diagonal, of shape (*batch_shape, *domain.shape).

        Raises:
            TypeError: this operator does not know its diagonal.
        """
        raise TypeError(f"{type(self).__name__} does not know its diagonal: define diagonal()")

    def assemble(self) -> csr_array:
        """The matrix of this (unbatched) operator on raveled vectors, as a SciPy CSR array.

        Raises:
            TypeError: this operator does not know its matrix.
        """
        raise TypeError(
            f"{type(self).__name__} does not know its matrix: define assemble(), or use a method "
            "and a preconditioner that need A x only"
        )

    def vjp_params(self, x: Array, ybar: Array) -> dict[str, Array]:
        """Gradients of Re<ybar, A(params) x> w.r.t. each of `params`, summed over the batch.

        Complex gradients follow torch: the descent direction, d/d(conj param) doubled. torch
        operators whose `_apply` is made of torch calls get this for free.

        Raises:
            TypeError: the operator cannot differentiate through its parameters.
        """
        if not self.params:
            return {}
        if not all(is_torch(p) for p in self.params.values()):
            raise TypeError(
                f"{type(self).__name__} cannot be differentiated w.r.t. its parameters "
                f"{', '.join(self.params)}: define vjp_params(x, ybar)"
            )
        from ._autograd import torch_vjp_params

        return torch_vjp_params(self, x, ybar)

    def squared_misfit(self, x: Array, b: Array) -> np.ndarray | None:
        """||b - A x||^2 per member, (*batch) on the host in the dtype of x; b is shaped as x.

        For operators that can tell without an array for b - A x; None where A cannot.
        """
        return None

    def search(self, z: Array, beta: Any, p: Array) -> tuple[Array, Array, Any] | None:
        """(x, A x, <x, A x>) with x = z + beta p, for Hermitian A and one right-hand side.

        For operators that can do it in one pass over memory; None where A cannot.
        """
        return None

    # -- application ------------------------------------------------------------------------

    def __call__(self, x: Array) -> Array:
        """A x: x is (*batch, *domain.shape), the result (*batch, *range.shape).

        Raises:
            TypeError: not an array, wrong dtype, or of another library than the parameters.
            ValueError: wrong shape.
        """
        return self._run(self._apply, x, self.domain, self.range, "x")

    def adjoint(self, y: Array) -> Array:
        """A^H y, the same as `A.H(y)`."""
        return self._run(self._adjoint, y, self.range, self.domain, "y")

    def _run(self, act: Any, x: Array, space: Space, target: Space, name: str) -> Array:
        batch = space.check(x, name)
        home = self.home
        if home is not None and not (type(home) is np.ndarray and type(x) is np.ndarray):
            check_same_place(home, x)
        if self.batch_shape:
            joined = broadcast_batch(batch, self.batch_shape)
            if joined != batch:
                x = namespace(x).broadcast_to(x, (*joined, *space.shape))
                batch = joined
        if self.vectorized or not batch:
            return self._sound(act(x), target, batch)
        xp = namespace(x)
        flat = xp.reshape(x, (-1, *space.shape))
        out = [act(flat[i, ...]) for i in range(flat.shape[0])]
        if not out:
            return target.zeros(x, batch)
        y = xp.stack([self._sound(one, target, ()) for one in out])
        return xp.reshape(y, (*batch, *y.shape[1:]))

    def _sound(self, y: Array, target: Space, batch: tuple[int, ...]) -> Array:
        """`y`, if it is what was declared: a float32 result would void a float64 certificate."""
        shape = (*batch, *target.shape)
        if type(y) is np.ndarray:
            sound = y.shape == shape and y.dtype == target.dtype
        else:
            sound = is_array(y) and tuple(y.shape) == shape and dtype_of(y) == target.dtype
        if sound:
            return y
        got = f"{dtype_of(y)} {tuple(y.shape)}" if is_array(y) else type(y).__name__
        raise TypeError(
            f"{type(self).__name__}: expected a result of {target.dtype} {shape}, got {got}: "
            "mend _apply or _adjoint, or the spaces declared"
        )

    # -- parameters -------------------------------------------------------------------------

    @property
    def params(self) -> dict[str, Array]:
        """The arrays this operator is made of, by name (None values left out)."""
        named = ((n, getattr(self, n)) for n in self.param_names)
        return {n: p for n, p in named if p is not None}

    @property
    def home(self) -> Array | None:
        """One of the parameters, which tells the array library; None if there is none."""
        for n in self.param_names:
            p = getattr(self, n)
            if is_array(p):
                return p
        return None

    @property
    def null_vector(self) -> Array | None:
        """What spans the null space of A and of A^H, where A knows that, else None.

        Of shape (*batch_shape, *domain.shape). A x = b has a solution only for b orthogonal to it.
        """
        return None

    @property
    def norm_bound(self) -> float | None:
        """An upper bound of ||A||_2 over all members where A knows a tight one, else None."""
        return 1.0 if Trait.UNITARY in self.traits else None

    @property
    def work(self) -> int:
        """Roughly the multiplications of one application, by which kernels choose threads."""
        return self.domain.size

    @property
    def nbytes(self) -> int:
        """Bytes held by the parameters."""
        return sum(_nbytes(p) for p in self.params.values())

    def to(
        self, *, dtype: Any = None, xp: ModuleType | None = None, device: Any = None
    ) -> Operator:
        """The same operator in another precision, array library or on another device.

        With `dtype` alone the coefficients stay as they are stored (float32 coefficients acting on
        float64 vectors is what certification evaluates); torch, which refuses mixed dtypes,
        has them cast exactly.
        """
        made = self
        if xp is not None or device is not None:
            made = made._moved(lambda p: _move(p, xp, device))
        if dtype is not None and with_precision(made.domain.dtype, dtype) != made.domain.dtype:
            made = made._with_precision(np.dtype(dtype))
        return made

    def _with_precision(self, dtype: np.dtype) -> Operator:
        def cast(p: Array) -> Array:
            if dtype_of(p).kind not in "fc" or not is_torch(p):
                return p
            return astype(p, with_precision(dtype_of(p), dtype))

        made = self._with_arrays(cast)
        made._with_inner(lambda inner: inner.to(dtype=dtype))
        object.__setattr__(made, "domain", self.domain.to(dtype))
        object.__setattr__(made, "range", self.range.to(dtype))
        return made

    def attributes(self) -> Iterator[tuple[Operator, str, Any]]:
        """(owner, name, value) of every attribute, those of operators inside included."""
        for name, value in vars(self).items():
            yield self, name, value
            for part in value if isinstance(value, tuple) else (value,):
                if isinstance(part, Operator):
                    yield from part.attributes()

    def _with_inner(self, change: Callable[[Operator], Operator]) -> None:
        """Replace operators held as attributes; for a copy that nobody has seen yet."""
        for name, value in list(vars(self).items()):
            if isinstance(value, Operator):
                object.__setattr__(self, name, change(value))

    def _moved(self, move: Any) -> Operator:
        made = self._with_arrays(move)
        made._with_inner(lambda inner: inner._moved(move))
        for name in self.structure_names:
            if (array := getattr(self, name)) is not None:
                object.__setattr__(made, name, move(array))
        return made

    def _with_arrays(self, change: Any) -> Operator:
        """A shallow copy with every parameter array replaced by `change(array)`."""
        made = copy.copy(self)
        for name, p in self.params.items():
            object.__setattr__(made, name, change(p))
        return made

    # -- algebra ----------------------------------------------------------------------------

    @property
    def H(self) -> Operator:
        """The adjoint operator."""
        if Trait.HERMITIAN in self.traits and not self.hermitian_to_rounding:
            return self
        from .algebra import Adjoint

        self._need_linear("H")
        return Adjoint(self)

    @property
    def normal(self) -> Operator:
        """A^H A; override it where a faster form is known (a Toeplitz kernel, say)."""
        return self.H @ self

    def __matmul__(self, other: Any) -> Operator:
        if not isinstance(other, Operator):
            raise TypeError(
                f"expected an operator to the right of A @, got {told(other)}: "
                "apply an operator with A(x)"
            )
        from .algebra import Compose

        return Compose(self, other)

    def __add__(self, other: Any) -> Operator:
        if not isinstance(other, Operator):
            return NotImplemented
        from .algebra import Sum

        return Sum(self, other)

    def __sub__(self, other: Any) -> Operator:
        return self + (-other) if isinstance(other, Operator) else NotImplemented

    def __neg__(self) -> Operator:
        return -1.0 * self

    def __rmul__(self, scalar: Any) -> Operator:
        if not isinstance(scalar, int | float | complex | np.number):
            return NotImplemented
        from .algebra import Scaled

        return Scaled(complex(scalar), self)

    def _need_linear(self, what: str) -> None:
        if Trait.LINEAR not in self.traits:
            raise TypeError(f"expected a linear operator for .{what}, got nonlinear {self!r}")

    # -- ways out ---------------------------------------------------------------------------

    def as_scipy(self) -> LinearOperator:
        """A `scipy.sparse.linalg.LinearOperator` on raveled NumPy vectors."""
        from .adapters import as_scipy

        return as_scipy(self)

    def as_torch(self) -> Any:
        """A callable on torch tensors that autograd can differentiate w.r.t. its input."""
        from .adapters import as_torch

        return as_torch(self)

    def dense(self) -> Array:
        """The matrix (range.size, domain.size) as a NumPy array, column by column: for tests.

        Raises:
            TypeError: the operator has parameters outside NumPy, or of differing batches.
        """
        if self.batch_shape:
            raise TypeError(f"expected an operator without batch, got {self.batch_shape}")
        eye = np.eye(self.domain.size, dtype=self.domain.dtype)
        columns = self(eye.reshape(-1, *self.domain.shape))
        return np.ascontiguousarray(columns.reshape(self.domain.size, -1).T)

    def __repr__(self) -> str:
        traits = _names(self.traits) or "no traits"
        if Trait.LINEAR not in self.traits:
            traits = "nonlinear"
        batch = f", batch {self.batch_shape}" if self.batch_shape else ""
        shape = f"{_dims(self.domain.shape)} -> {_dims(self.range.shape)}"
        return f"{type(self).__name__}({shape}, {self.domain.dtype}, {traits}{batch})"


def _names(traits: Iterable[Trait]) -> str:
    return ", ".join(sorted(t.value for t in traits if t is not Trait.LINEAR))


def _dims(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _nbytes(p: Array) -> int:
    return p.nbytes if hasattr(p, "nbytes") else int(np.prod(p.shape)) * dtype_of(p).itemsize


def _move(p: Array, xp: ModuleType | None, device: Any) -> Array:
    """`p` as an array of `xp` on `device`: an explicit copy, asked for by the caller.

    Between libraries on one GPU memory is lent by DLPack, without a copy.
    """
    from .arrays import on_cpu, to_numpy

    old = namespace(p)
    xp = old if xp is None else xp
    if xp.__name__.endswith("numpy") and "cupy" not in xp.__name__ and "strict" not in xp.__name__:
        return to_numpy(p)
    if xp.__name__ == "torch" or xp.__name__.endswith(".torch"):
        import torch

        if is_torch(p):
            source = p
        elif on_cpu(p):
            source = torch.from_numpy(np.array(to_numpy(p)))
        else:
            source = torch.from_dlpack(p)
        return source.to(device) if device is not None else source
    place = {} if device is None else {"device": device}
    if old is xp:
        import array_api_compat as aac

        return p if device is None else aac.to_device(p, device)
    if is_torch(p) and not on_cpu(p) and "cupy" in xp.__name__:
        return xp.from_dlpack(p.detach())
    host = to_numpy(p)
    return xp.asarray(host, dtype=native_dtype(xp, host.dtype), **place)
