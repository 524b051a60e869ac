"""Laws of operators."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from ..arrays import (
    Array,
    device_of,
    dtype_of,
    from_host,
    is_torch,
    namespace,
    to_numpy,
)
from ..operator import Operator, Trait
from ..space import Space

__all__ = ["OPERATOR_LAWS", "check_operator"]

Law = Callable[[Operator, np.random.Generator, Array], None]

# Matrices up to this size are formed column by column to test `diagonal` and `assemble`.
_DENSE_UP_TO = 600


def check_operator(
    A: Operator, *, rng: np.random.Generator | None = None, like: Array | None = None
) -> None:
    """Test every law of `OPERATOR_LAWS` on `A`.

    Args:
        A: the operator. Laws that do not concern it (the adjoint of a nonlinear one) pass.
        rng: draws the vectors; a fixed seed if not given.
        like: an array whose library and device the vectors take, for an operator without
            parameters; NumPy if not given.

    Raises:
        AssertionError: a law does not hold; the message names it.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    home = A.home if A.home is not None else np.zeros(1) if like is None else like
    for name, law in OPERATOR_LAWS.items():
        try:
            law(A, rng, home)
        except Exception as error:
            kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
            raise AssertionError(f"{A!r} breaks the law '{name}': {kind}{error}") from error


def draw(space: Space, rng: np.random.Generator, like: Array, batch: tuple[int, ...] = ()) -> Array:
    """A random element in `like`'s library and on its device."""
    return from_host(space.random(rng, batch), like, space.dtype)


def host(x: Array) -> np.ndarray:
    return np.asarray(to_numpy(x)).astype(np.complex128)


def close(got: Array, expected: Array, ulps: float, eps: float, what: str) -> None:
    """Assert that two arrays agree to `ulps` eps of the larger norm."""
    a, b = host(got), host(expected)
    assert a.shape == b.shape, f"{what}: expected shape {b.shape}, got {a.shape}"
    gap, size = np.linalg.norm(a - b), max(np.linalg.norm(a), np.linalg.norm(b))
    assert gap <= ulps * eps * size, (
        f"{what}: expected agreement to {ulps * eps * size:.1e}, got {gap:.1e}"
    )


def _eps(A: Operator) -> float:
    return float(np.finfo(A.domain.real_dtype).eps)


def _slack(A: Operator) -> float:
    """50 sqrt(n): the eps that a sum of n rounded terms may be wrong by, and some room."""
    return 50.0 * max(A.domain.size, A.range.size) ** 0.5


def adjoint(A: Operator, rng: np.random.Generator, like: Array) -> None:
    """<A x, y> = <x, A^H y>, in the operator's own precision."""
    if Trait.LINEAR not in A.traits:
        return
    for _ in range(20):
        x, y = draw(A.domain, rng, like), draw(A.range, rng, like)
        Ax, AHy = host(A(x)).reshape(*A.batch_shape, -1), host(A.adjoint(y))
        AHy = AHy.reshape(*A.batch_shape, -1)
        x, y = host(x).reshape(-1), host(y).reshape(-1)
        left, right = Ax.conj() @ y, AHy @ x.conj()
        if not A.domain.is_complex or not A.range.is_complex:
            left, right = np.real(left), np.real(right)
        size = np.linalg.norm(Ax, axis=-1) * np.linalg.norm(y)
        size = size + np.linalg.norm(AHy, axis=-1) * np.linalg.norm(x)
        gap = abs(left - right)
        assert (gap <= _slack(A) * _eps(A) * size).all(), (
            f"expected <Ax, y> = <x, A^H y> to {_slack(A) * _eps(A):.1e} relative, "
            f"got {np.max(gap / np.maximum(size, 1e-300)):.1e}"
        )


def linear(A: Operator, rng: np.random.Generator, like: Array) -> None:
    """A(a x + y) = a A x + A y, and A 0 = 0."""
    if Trait.LINEAR not in A.traits:
        return
    x, y = draw(A.domain, rng, like), draw(A.domain, rng, like)
    scalar = -1.7 if not A.domain.is_complex else -1.7 + 0.3j
    if A.domain.is_complex != A.range.is_complex:
        scalar = -1.7
    close(A(scalar * x + y), scalar * A(x) + A(y), 4 * _slack(A), _eps(A), "A(ax + y)")
    assert not host(A(x * 0)).any(), "expected A 0 = 0"


def keeps_dtype_and_place(A: Operator, rng: np.random.Generator, like: Array) -> None:
    """Output shape, dtype, library and device are those declared."""
    for batch in ((), (0,), (3,), (2, 1)):
        full = np.broadcast_shapes(batch, A.batch_shape) if _fits(batch, A) else None
        if full is None:
            continue
        x = draw(A.domain, rng, like, batch)
        y = A(x)
        assert tuple(y.shape) == (*full, *A.range.shape), f"got shape {tuple(y.shape)}"
        assert dtype_of(y) == A.range.dtype, f"expected {A.range.dtype}, got {dtype_of(y)}"
        assert namespace(x) is namespace(y), "expected the input's library"
        assert device_of(x) == device_of(y), "expected the input's device"
        if Trait.LINEAR in A.traits:
            x = A.adjoint(draw(A.range, rng, like, batch))
            assert tuple(x.shape) == (*full, *A.domain.shape), f"got shape {tuple(x.shape)}"
            assert dtype_of(x) == A.domain.dtype, f"expected {A.domain.dtype}, got {dtype_of(x)}"


def _fits(batch: tuple[int, ...], A: Operator) -> bool:
    try:
        np.broadcast_shapes(batch, A.batch_shape)
    except ValueError:
        return False
    return True


def batch_is_loop(A: Operator, rng: np.random.Generator, like: Array) -> None:
    """A batch gives what its members give one by one."""
    batch = (2, *A.batch_shape) if A.batch_shape else (3,)
    x = draw(A.domain, rng, like, batch)
    together = host(A(x))
    for i in range(batch[0]):
        close(A(x[i, ...]), together[i, ...], _slack(A), _eps(A), f"member {i}")
    if Trait.LINEAR in A.traits:
        y = draw(A.range, rng, like, batch)
        together = host(A.adjoint(y))
        for i in range(batch[0]):
            close(A.adjoint(y[i, ...]), together[i, ...], _slack(A), _eps(A), f"adjoint of {i}")


def leaves_input_alone(A: Operator, rng: np.random.Generator, like: Array) -> None:
    """Inputs and parameters are not modified, and the output shares no memory with the input."""
    x = draw(A.domain, rng, like)
    before = to_numpy(x).tobytes()
    params = {n: to_numpy(p).tobytes() for n, p in A.params.items()}
    y = A(x)
    assert to_numpy(x).tobytes() == before, "expected the input unchanged"
    if isinstance(y, np.ndarray) and isinstance(x, np.ndarray):
        assert not np.shares_memory(x, y), "expected an output of its own, got a view of the input"
    if Trait.LINEAR in A.traits:
        z = draw(A.range, rng, like)
        before = to_numpy(z).tobytes()
        A.adjoint(z)
        assert to_numpy(z).tobytes() == before, "expected the adjoint's input unchanged"
    after = {n: to_numpy(p).tobytes() for n, p in A.params.items()}
    assert after == params, "expected the parameters unchanged"


def traits_hold(A: Operator, rng: np.random.Generator, like: Array) -> None:
    """Declared traits hold numerically."""
    slack, eps = _slack(A), _eps(A)
    x = draw(A.domain, rng, like)
    if Trait.HERMITIAN in A.traits:
        close(A(x), A.adjoint(x), 4 * slack, eps, "Hermitian: A x and A^H x")
    if Trait.POSITIVE in A.traits:
        Ax = host(A(x)).reshape(*A.batch_shape, -1)
        v = host(x).reshape(-1)
        form = np.real(Ax @ v.conj())
        room = slack * eps * np.linalg.norm(Ax, axis=-1) * np.linalg.norm(v)
        assert (form >= -room).all(), f"positive: expected <x, Ax> >= 0, got {form.min():.2e}"
    if Trait.UNITARY in A.traits:
        expected = np.broadcast_to(to_numpy(x), (*A.batch_shape, *A.domain.shape))
        close(A.adjoint(A(x)), expected, 4 * slack, eps, "unitary: A^H A x and x")
    if Trait.DIAGONAL in A.traits:
        e = np.zeros(A.domain.shape, A.domain.dtype)
        e.reshape(-1)[0] = 1
        rest = host(A(from_host(e, like, A.domain.dtype))).reshape(*A.batch_shape, -1)[..., 1:]
        assert not rest.any(), "diagonal: expected entries to stay apart"


def matrix_agrees(A: Operator, rng: np.random.Generator, like: Array) -> None:
    """`diagonal()` and `assemble()`, where known, are those of the matrix A acts by."""
    if Trait.LINEAR not in A.traits or A.domain.size > _DENSE_UP_TO or A.batch_shape:
        return
    eye = np.eye(A.domain.size).reshape(-1, *A.domain.shape)
    columns = host(A(from_host(eye, like, A.domain.dtype)))
    matrix = columns.reshape(A.domain.size, -1).T
    try:
        diagonal = A.diagonal()
    except TypeError:
        pass
    else:
        close(to_numpy(diagonal).reshape(-1), np.diag(matrix), _slack(A), _eps(A), "diagonal()")
    try:
        assembled = A.assemble()
    except TypeError:
        return
    assert assembled.dtype == A.range.dtype, f"assemble(): got dtype {assembled.dtype}"
    close(assembled.toarray(), matrix, _slack(A), _eps(A), "assemble()")


def other_precision(A: Operator, rng: np.random.Generator, like: Array) -> None:
    """A.to(float64) acts as A on float64 arrays; A itself stays as it is."""
    wide = A.to(dtype=np.float64)
    x = draw(A.domain, rng, like)
    y = wide(from_host(to_numpy(x), like, wide.domain.dtype))
    assert dtype_of(y) == wide.range.dtype, f"expected {wide.range.dtype}, got {dtype_of(y)}"
    close(A(x), y, 4 * _slack(A), _eps(A), "A x in both precisions")
    assert A.domain.dtype == dtype_of(x), "expected A itself unchanged"


def refuses_bad_input(A: Operator, rng: np.random.Generator, like: Array) -> None:
    """Wrong type, dtype and shape are refused with TypeError or ValueError."""
    x = draw(A.domain, rng, like)
    n = A.domain.shape[-1]
    wrong_dtype = np.float32 if A.domain.real_dtype == np.float64 else np.float64
    calls: list[tuple[Array, Any]] = [
        ([1.0] * n, TypeError),
        (None, TypeError),
        (draw(Space((*A.domain.shape[:-1], n + 1), A.domain.dtype), rng, like), ValueError),
        (draw(A.domain.to(wrong_dtype), rng, like), TypeError),
        (x[..., 0] if A.domain.ndim > 1 else to_numpy(x).reshape(-1)[0], (TypeError, ValueError)),
    ]
    for bad, kind in calls:
        try:
            A(bad)
        except kind as error:
            assert "expected" in str(error) and "got" in str(error), f"unclear message: {error}"
        else:
            raise AssertionError(f"expected {kind} for {type(bad).__name__}, got an answer")


def immutable(A: Operator, rng: np.random.Generator, like: Array) -> None:
    """Attributes cannot be set, and repr tells the class and the shapes."""
    try:
        A.domain = A.range
    except AttributeError:
        pass
    else:
        raise AssertionError("expected AttributeError on setting an attribute")
    assert type(A).__name__ in repr(A) or "*" in repr(A)
    assert repr(copy.copy(A)) == repr(A)


def parameter_gradient(A: Operator, rng: np.random.Generator, like: Array) -> None:
    """vjp_params agrees with central differences of Re<ybar, A(params) x>, in float64."""
    wide = A.to(dtype=np.float64)
    if is_torch(like):
        import torch

        kinds = {torch.float32: torch.float64, torch.complex64: torch.complex128}
        wide = wide._with_arrays(lambda p: p.to(kinds.get(p.dtype, p.dtype)))
    elif wide is not A:
        return  # stored in single precision: too coarse for differences
    x, ybar = draw(wide.domain, rng, like), draw(wide.range, rng, like, A.batch_shape)
    try:
        grads = wide.vjp_params(x, ybar)
    except TypeError:
        return
    assert set(grads) == set(wide.params), f"expected gradients of {set(wide.params)}, got {grads}"
    weights = host(ybar)

    def value(change: Callable[[Array], Array]) -> float:
        return float(np.vdot(weights, host(wide._with_arrays(change)(x))).real)

    for name, p in wide.params.items():
        assert tuple(grads[name].shape) == tuple(p.shape), f"gradient of {name}: wrong shape"
        # one array may stand under several names (A^H A holds A twice): gradients add up
        grad = sum(host(grads[other]) for other, q in wide.params.items() if q is p)
        step = rng.standard_normal(p.shape)
        if dtype_of(p).kind == "c":
            step = step + 1j * rng.standard_normal(p.shape)
        h = 1e-6 * max(1e-30, float(abs(host(p)).max()))
        along = from_host(step * h, like, dtype_of(p))

        def moved(q: Array, sign: float, p: Array = p, along: Array = along) -> Array:
            return q + sign * along if q is p else q

        slope = value(lambda q: moved(q, 1.0)) - value(lambda q: moved(q, -1.0))
        expected = 2 * h * float(np.vdot(grad, step).real)
        size = h * np.linalg.norm(grad) * np.linalg.norm(step)
        assert abs(slope - expected) <= 1e-5 * size + 1e-8 * abs(value(lambda q: q)) * h, (
            f"gradient of {name}: expected the difference {slope:.8e}, got {expected:.8e}"
        )


OPERATOR_LAWS: dict[str, Law] = {
    law.__name__: law
    for law in (
        adjoint,
        linear,
        keeps_dtype_and_place,
        batch_is_loop,
        leaves_input_alone,
        traits_hold,
        matrix_agrees,
        other_precision,
        refuses_bad_input,
        immutable,
        parameter_gradient,
    )
}
