"""The algebra of operators is that of their matrices, for any expression that hypothesis writes."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sciml import Identity, Operator, Space, Trait, block, hstack, vstack
from sciml.arrays import safe_norm
from sciml.operators import Dense, Diagonal, Sparse

N = 4


def _leaf(seed: int, kind: int, is_complex: bool) -> tuple[Operator, np.ndarray]:
    """An operator on C^4 or R^4, and its matrix."""
    import scipy.sparse as sp

    dtype = np.dtype(np.complex128 if is_complex else np.float64)
    rng = np.random.default_rng(seed)
    matrix = Space((N, N), dtype).random(rng)
    if kind == 0:
        return Dense(matrix), matrix
    if kind == 1:
        d = np.diag(matrix).copy()
        return Diagonal(d), np.diag(d)
    if kind == 2:
        matrix = matrix * (rng.random((N, N)) < 0.5)
        return Sparse(sp.csr_array(matrix)), matrix
    if kind == 3:
        return Identity(Space((N,), dtype)), np.eye(N, dtype=dtype)
    matrix = matrix @ matrix.conj().T
    return Dense(matrix, traits={Trait.POSITIVE}), matrix


def expressions(is_complex: bool) -> st.SearchStrategy[tuple[Operator, np.ndarray]]:
    """Operators built from leaves by the algebra, beside the matrix they must equal."""
    leaves = st.builds(
        lambda seed, kind: _leaf(seed, kind, is_complex),
        st.integers(0, 10_000),
        st.integers(0, 4),
    )
    scalars = st.floats(-3, 3).map(lambda s: round(s, 3))

    def grow(inner: Any) -> Any:
        pairs = st.tuples(inner, inner)
        return st.one_of(
            pairs.map(lambda p: (p[0][0] @ p[1][0], p[0][1] @ p[1][1])),
            pairs.map(lambda p: (p[0][0] + p[1][0], p[0][1] + p[1][1])),
            pairs.map(lambda p: (p[0][0] - p[1][0], p[0][1] - p[1][1])),
            inner.map(lambda a: (a[0].H, a[1].conj().T)),
            inner.map(lambda a: (a[0].normal, a[1].conj().T @ a[1])),
            st.tuples(scalars, inner).map(lambda p: (p[0] * p[1][0], p[0] * p[1][1])),
        )

    return st.recursive(leaves, grow, max_leaves=6)


def _agree(A: Operator, matrix: np.ndarray) -> None:
    size = 1 + np.linalg.norm(matrix)
    np.testing.assert_allclose(A.dense(), matrix, rtol=0, atol=1e-10 * size)
    np.testing.assert_allclose(A.H.dense(), matrix.conj().T, rtol=0, atol=1e-10 * size)
    np.testing.assert_allclose(A.assemble().toarray(), matrix, rtol=0, atol=1e-10 * size)
    if Trait.HERMITIAN in A.traits:
        np.testing.assert_allclose(matrix, matrix.conj().T, rtol=0, atol=1e-10 * size)
    if Trait.POSITIVE in A.traits:
        assert np.linalg.eigvalsh((matrix + matrix.conj().T) / 2).min() >= -1e-10 * size
    if Trait.DIAGONAL in A.traits:
        assert not (matrix - np.diag(np.diag(matrix))).any()
    if Trait.UNITARY in A.traits:
        np.testing.assert_allclose(matrix @ matrix.conj().T, np.eye(N), atol=1e-10)


@given(expressions(is_complex=False))
def test_real_expressions_are_their_matrices(pair: tuple[Operator, np.ndarray]) -> None:
    _agree(*pair)


@given(expressions(is_complex=True))
def test_complex_expressions_are_their_matrices(pair: tuple[Operator, np.ndarray]) -> None:
    _agree(*pair)


@given(expressions(is_complex=True), st.complex_numbers(max_magnitude=3))
def test_complex_multiples_are_their_matrices(
    pair: tuple[Operator, np.ndarray], scalar: complex
) -> None:
    A, matrix = pair
    _agree(scalar * A, scalar * matrix)


@given(st.lists(expressions(is_complex=False), min_size=2, max_size=2))
def test_blocks_are_block_matrices(parts: list[tuple[Operator, np.ndarray]]) -> None:
    (A, a), (B, b) = parts
    zero = np.zeros((N, N))
    for made, matrix in (
        (vstack([A, B]), np.vstack([a, b])),
        (hstack([A, B]), np.hstack([a, b])),
        (block([[A, None], [B, A]]), np.block([[a, zero], [b, a]])),
    ):
        size = 1 + np.linalg.norm(matrix)
        np.testing.assert_allclose(made.dense(), matrix, rtol=0, atol=1e-10 * size)
        np.testing.assert_allclose(made.H.dense(), matrix.conj().T, rtol=0, atol=1e-10 * size)


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False, width=64), min_size=1, max_size=20)
)
def test_norms_neither_overflow_nor_vanish(values: list[float]) -> None:
    import math

    got = float(safe_norm(np.array(values), 1))
    wanted = math.hypot(*values)
    if math.isinf(wanted):  # the norm itself is beyond float64
        assert math.isinf(got)
    else:
        assert math.isclose(got, wanted, rel_tol=1e-13, abs_tol=5e-324)
