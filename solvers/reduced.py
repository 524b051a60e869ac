"""Reduced bases: guesses for a system from solutions of others like it."""

from __future__ import annotations

import numpy as np

from sciml._checks import integer, number, told
from sciml.arrays import Array, from_host, is_array, to_numpy
from sciml.operator import Trait
from sciml.problem import LinearSystem

from .precond.deflation import Coarse, vectors

__all__ = ["galerkin", "principal"]


def galerkin(W: Array, problem: LinearSystem) -> Array:
    """x in the span of W that is closest to the solution in the energy norm: W E⁺ Wᴴ b.

    With W from solutions of systems like this one it is the guess of a reduced basis (Markovinović
    and Jansen, Int. J. Numer. Meth. Engng 68 (2006) 525). It costs m products with A.

    Args:
        W: (m, *shape), as of `Deflation`.
        problem: A Hermitian and positive, of one matrix; b may be a batch.

    Returns:
        (*batch, *shape), in b's library and dtype.

    Raises:
        TypeError, ValueError: another problem, or W of another shape or not finite.
        numpy.linalg.LinAlgError: A is not positive on W.
    """
    if not isinstance(problem, LinearSystem) or Trait.HERMITIAN not in problem.A.traits:
        raise TypeError(f"expected a LinearSystem with Hermitian A, got {told(problem)}")
    if not is_array(W):
        raise TypeError(f"expected W as an array (m, *shape), got {told(W)}")
    A = problem.A.to(xp=np)
    coarse = Coarse(A, vectors(A, W))
    b = to_numpy(problem.b)
    found = coarse.up(coarse.W, coarse.solve(coarse.down(coarse.WH, b.reshape(-1, A.domain.size))))
    return from_host(found.reshape(b.shape), problem.b, A.domain.dtype)


def principal(snapshots: Array, *, rtol: float = 1e-10, most: int | None = None) -> np.ndarray:
    """An orthonormal basis of what the rows span, in the order of their singular values.

    Of solutions it is the proper orthogonal decomposition (Sirovich, Quart. Appl. Math. 45 (1987)
    561): no other m vectors leave less of them in the mean square.

    Args:
        snapshots: (count, *shape), finite.
        rtol: singular values below this share of the largest are left out.
        most: vectors at most.

    Returns:
        (m, *shape) in double precision, m at least 1.

    Raises:
        TypeError, ValueError: an argument of a wrong type, nothing but zeros, NaN or Inf.
    """
    if not is_array(snapshots) or snapshots.ndim < 2 or 0 in snapshots.shape:
        raise TypeError(f"expected snapshots as an array (count, *shape), got {told(snapshots)}")
    number(rtol, "rtol")
    host = to_numpy(snapshots)
    if host.dtype.kind not in "fc" or not np.isfinite(host).all():
        raise ValueError(f"expected finite numbers in the snapshots, got {host.dtype}, NaN or Inf")
    columns = host.reshape(len(host), -1).T.astype(np.result_type(host.dtype, np.float64))
    q, r = np.linalg.qr(columns)  # of r alone the singular values are quick
    u, s, _ = np.linalg.svd(r)
    count = int((s > rtol * s[0]).sum()) if s.size else 0
    if not count:
        raise ValueError("expected snapshots that are not all zero, got zeros only")
    if most is not None:
        count = min(count, integer(most, "most", 1))
    return np.ascontiguousarray((q @ u[:, :count]).T).reshape(count, *host.shape[1:])
