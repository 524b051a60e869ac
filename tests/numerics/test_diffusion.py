"""−∇·(k∇u): kernels, slices and matrices against references written entry by entry."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sciml import LinearSystem
from sciml.operator import Trait
from sciml.operators.diffusion import Diffusion, NodalDiffusion, Order
from solvers.krylov._base import inconsistency
from tests.numerics._diffusion import (
    BOUNDARIES,
    DTYPES,
    SHAPES,
    D,
    N,
    P,
    as_library,
    close,
    fd_mtx2,
    field,
    nodal_reference,
    reference,
)

# -- the operator is its definition ---------------------------------------------------------------


@pytest.mark.parametrize("holes", [False, True], ids=["fluid", "solid"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sides", BOUNDARIES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matrix_and_apply_are_the_definition(shape, sides, dtype, holes, rng):
    k = field(rng, shape, dtype)
    spacing = tuple(0.1 * (2 + axis) for axis in range(len(shape)))
    boundary = sides[: len(shape)]
    solid = None
    if holes:
        solid = rng.random(shape) < 0.4
        solid[(0,) * len(shape)] = False
    A = Diffusion(k, ndim=len(shape), spacing=spacing, boundary=boundary, solid=solid)
    want = reference(k, spacing, boundary, solid)
    matrix = A.assemble()
    assert matrix.dtype == dtype and matrix.has_sorted_indices
    assert abs(matrix - matrix.T).max() == 0
    close(matrix.toarray(), want, dtype)
    close(A.dense(), want, dtype)
    close(A.diagonal().ravel(), np.diag(want), dtype)
    slices = A._generic(np.eye(k.size, dtype=dtype).reshape(-1, *shape))
    close(slices.reshape(k.size, -1), want.T, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cells", [(4, 7), (3, 5, 4), (2, 3), (2, 2, 3)], ids=str)
def test_nodal_form_is_its_definition(cells, dtype, rng):
    k = field(rng, cells, dtype)
    spacing = tuple(0.1 * (2 + axis) for axis in range(len(cells)))
    A = NodalDiffusion(k, ndim=len(cells), spacing=spacing)
    want = nodal_reference(np.asarray(k, np.float64), spacing)
    size = A.domain.size
    close(A.assemble().toarray(), want, dtype)
    close(A.dense(), want, dtype)
    close(A.diagonal().ravel(), np.diag(want), dtype)
    slices = A._generic(np.eye(size, dtype=dtype).reshape(-1, *A.domain.shape))
    close(slices.reshape(size, -1), want.T, dtype)


def test_nodal_matrix_in_fortran_order_is_condiff(rng):
    n = 6
    k = field(rng, (n + 1, n + 1))
    A, want = NodalDiffusion(k), fd_mtx2(k)
    close(A.assemble(Order.FORTRAN).toarray(), want, np.float64)
    b = rng.standard_normal(n * n)
    x = np.linalg.solve(want, b)
    close(A(x.reshape(n, n, order="F")).ravel(order="F"), b, np.float64, 1e3)
    # C order of the same vector is another problem: k would be seen transposed.
    assert np.linalg.norm(A(x.reshape(n, n)).ravel() - b) > 0.1 * np.linalg.norm(b)


@settings(max_examples=40)
@given(data=st.data())
def test_kernel_is_symmetric_and_agrees_with_slices(data):
    ndim = data.draw(st.sampled_from([2, 3]))
    shape = tuple(data.draw(st.integers(1, 9)) for _ in range(ndim))
    spacing = tuple(data.draw(st.floats(1e-3, 1e3)) for _ in range(ndim))
    pair = st.one_of(st.just((P, P)), st.tuples(st.sampled_from([D, N]), st.sampled_from([D, N])))
    boundary = tuple(data.draw(pair) for _ in range(ndim))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    solid = rng.random(shape) < data.draw(st.floats(0, 0.9))
    solid[(0,) * ndim] = False
    k = field(rng, (2, *shape), contrast=data.draw(st.floats(0, 6)))
    A = Diffusion(k, ndim=ndim, spacing=spacing, boundary=boundary, solid=solid)
    x, y = rng.standard_normal((2, 2, *shape))
    close(A(x), A._generic(x), np.float64, 32)
    axes = tuple(range(1, ndim + 1))
    left, right = (y * A(x)).sum(axes), (A(y) * x).sum(axes)
    size = A.diagonal().max() * np.linalg.norm(x) * np.linalg.norm(y)
    np.testing.assert_allclose(left, right, rtol=0, atol=1e-15 * size)
    assert ((x * A(x)).sum(axes) >= -1e-12 * np.abs(x * A(x)).sum(axes)).all()


# -- closed forms ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(12, 17), (6, 5, 9)], ids=str)
@pytest.mark.parametrize(
    "side, mode",
    [
        (D, lambda p, n, j: (p + 1, np.sin(np.pi * (p + 1) * (j + 0.5) / n), 2 * n)),
        (N, lambda p, n, j: (p, np.cos(np.pi * p * (j + 0.5) / n), 2 * n)),
        (P, lambda p, n, j: (p, np.cos(2 * np.pi * p * j / n + 0.3), n)),
    ],
    ids=["dirichlet", "neumann", "periodic"],
)
def test_constant_k_has_the_known_eigenvectors(side, mode, shape):
    value = 2.5
    A = Diffusion(np.full(shape, value), ndim=len(shape), boundary=side)
    for modes in itertools.product((0, 1, 3), repeat=len(shape)):
        x, eigenvalue = np.ones(()), 0.0
        for p, n in zip(modes, shape, strict=True):
            q, along, period = mode(p, n, np.arange(n))
            x = np.multiply.outer(x, along)
            eigenvalue += value * 4 * n**2 * np.sin(np.pi * q / period) ** 2
        top = 4 * value * sum(n**2 for n in shape)
        np.testing.assert_allclose(A(x), eigenvalue * x, rtol=0, atol=1e-14 * top)


def test_nodal_constant_k_has_sine_eigenvectors():
    n, m = 9, 14
    A = NodalDiffusion(np.full((n + 1, m + 1), 3.0))
    i, j = np.arange(1, n + 1), np.arange(1, m + 1)
    for p, q in itertools.product((1, 2, 5), repeat=2):
        x = np.outer(np.sin(np.pi * p * i / (n + 1)), np.sin(np.pi * q * j / (m + 1)))
        a, b = (n + 1) * np.sin(np.pi * p / (2 * n + 2)), (m + 1) * np.sin(np.pi * q / (2 * m + 2))
        np.testing.assert_allclose(A(x), 12 * (a**2 + b**2) * x, rtol=0, atol=1e-11)


@pytest.mark.parametrize("sides", [N, P, ((N, N), P)], ids=str)
def test_constants_are_the_null_space_without_dirichlet(sides, rng):
    A = Diffusion(field(rng, (6, 8)), boundary=sides)
    assert A.singular
    np.testing.assert_array_equal(A(np.full((6, 8), 7.0)), 0)
    values = np.linalg.eigvalsh(A.dense())
    assert abs(values[0]) < 1e-12 * values[-1] < values[1]
    assert Trait.POSITIVE in A.traits


def test_singular_is_about_the_fluid():
    k, sides = np.ones((4, 5)), ((D, N), P)
    solid = np.zeros((4, 5), bool)
    assert not Diffusion(k, boundary=sides).singular
    solid[0, :] = True  # now no fluid cell touches the Dirichlet side
    A = Diffusion(k, boundary=sides, solid=solid)
    assert A.singular
    np.testing.assert_array_equal(A(np.where(solid, 0.0, 1.0)), 0)
    assert np.linalg.eigvalsh(A.dense())[1] > 0
    assert not NodalDiffusion(k).singular


def test_harmonic_means_carry_the_exact_flux_through_layers():
    k = np.repeat([[1.0], [1e6], [1e-3], [5.0]], 3, axis=1)
    A = Diffusion(k, spacing=1.0, boundary=(D, N))
    flux = 2.0  # u grows by the resistance passed, so that −k u' = flux throughout
    resistance = np.cumsum(1 / k[:, 0]) - 0.5 / k[:, 0]
    u = flux * np.repeat(resistance[:, None], 3, axis=1)
    inner = A(u)[:-1]  # the last row sees u = 0 beyond it
    np.testing.assert_allclose(inner, 0, atol=1e-9)


# -- symmetries -----------------------------------------------------------------------------------


def test_axes_may_be_permuted(rng):
    k, x = field(rng, (4, 5, 6)), rng.standard_normal((4, 5, 6))
    spacing, boundary = (0.1, 0.2, 0.3), ((D, N), P, (N, D))
    y = Diffusion(k, ndim=3, spacing=spacing, boundary=boundary)(x)
    for order in itertools.permutations(range(3)):
        turned = Diffusion(
            k.transpose(order),
            ndim=3,
            spacing=[spacing[i] for i in order],
            boundary=[boundary[i] for i in order],
        )
        close(turned(x.transpose(order)), y.transpose(order), np.float64)
    nodal = NodalDiffusion(field(rng, (5, 6)))
    z = rng.standard_normal((4, 5))
    close(NodalDiffusion(nodal.k.T)(z.T).T, nodal(z), np.float64)


@pytest.mark.parametrize("dtype, scale", [(np.float64, 1e150), (np.float32, 1e15)])
@pytest.mark.parametrize("shape", [(6, 7), (4, 5, 6)], ids=str)
def test_scaling_k_scales_the_operator(shape, dtype, scale, rng):
    k, x = field(rng, shape, dtype, 1.0), rng.standard_normal(shape).astype(dtype)
    solid = rng.random(shape) < 0.2
    for s in (dtype(scale), dtype(1 / scale)):
        for holes in (None, solid):
            plain = Diffusion(k, ndim=len(shape), solid=holes)
            scaled = Diffusion(s * k, ndim=len(shape), solid=holes)
            close(scaled(x) / s, plain(x), dtype, 16)
            close(scaled._generic(x) / s, plain(x), dtype, 16)
            close(scaled.diagonal() / s, plain.diagonal(), dtype, 16)


@pytest.mark.parametrize("dtype, low, high", [(np.float64, -150, 150), (np.float32, -18, 18)])
def test_any_contrast_is_evaluated(dtype, low, high, rng):
    k = (10.0 ** rng.uniform(low, high, (6, 7))).astype(dtype)
    k[0, 0], k[-1, -1] = 10.0**low, 10.0**high
    x = rng.standard_normal((6, 7)).astype(dtype)
    A = Diffusion(k, spacing=1.0)
    want = reference(k, (1.0, 1.0), (D, D)) @ x.ravel().astype(np.float64)
    assert np.isfinite(A(x)).all()
    close(A(x).ravel(), want, dtype)


# -- batches, precision, libraries ----------------------------------------------------------------


@pytest.mark.parametrize("k_batch, x_batch", [((3,), ()), ((), (3,)), ((2, 1), (3,)), ((2,), (2,))])
@pytest.mark.parametrize("nodal", [False, True])
def test_batches_are_their_members(nodal, k_batch, x_batch, rng):
    shape = (4, 5)
    k = field(rng, (*k_batch, *(n + nodal for n in shape)))
    x = rng.standard_normal((*x_batch, *shape))
    solid = rng.random(shape) < 0.3
    make = NodalDiffusion if nodal else lambda k, ndim: Diffusion(k, ndim=ndim, solid=solid)
    y = make(k, ndim=2)(x)
    batch = np.broadcast_shapes(k_batch, x_batch)
    assert y.shape == (*batch, *shape)
    ks = np.broadcast_to(k, (*batch, *k.shape[-2:]))
    xs = np.broadcast_to(x, (*batch, *shape))
    for member in np.ndindex(batch):
        alone = make(np.array(ks[member]), ndim=2)
        close(y[member], alone(np.array(xs[member])), np.float64)
        close(alone._generic(xs[member]), y[member], np.float64)


def test_an_empty_batch_is_empty():
    assert Diffusion(np.ones((3, 4)))(np.zeros((0, 3, 4))).shape == (0, 3, 4)
    assert Diffusion(np.ones((0, 3, 4)), ndim=2)(np.zeros((3, 4))).shape == (0, 3, 4)


@pytest.mark.parametrize("make", [Diffusion, NodalDiffusion])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_float32_coefficients_are_evaluated_exactly_in_float64(make, library, rng):
    k = field(rng, (6, 7), np.float32)
    A = make(as_library(k, library)).to(dtype=np.float64)
    exact = make(as_library(k.astype(np.float64), library))
    x = as_library(rng.standard_normal(A.domain.shape), library)
    close(np.asarray(A(x)), np.asarray(exact(x)), np.float64)
    close(np.asarray(A.diagonal()), np.asarray(exact.diagonal()), np.float64)
    if library == "numpy":
        assert A.k.dtype == np.float32  # the stored coefficients themselves


@pytest.mark.parametrize("library", ["torch", "strict"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 6), (3, 4, 5)], ids=str)
def test_libraries_agree(shape, dtype, library, rng):
    k, x, y = field(rng, (2, *shape), dtype), *rng.standard_normal((2, 3, 2, *shape)).astype(dtype)
    solid = rng.random(shape) < 0.2
    for make in (
        lambda k: Diffusion(k, ndim=len(shape), boundary=(P, (D, N), N)[: len(shape)], solid=solid),
        lambda k: NodalDiffusion(k, ndim=len(shape)),
    ):
        A, B = make(k), make(as_library(k, library))
        window = (..., *(slice(0, n) for n in A.domain.shape))
        u, v = np.ascontiguousarray(x[window]), np.ascontiguousarray(y[window])
        there = as_library(u, library), as_library(v, library)
        got = B(there[0])
        assert type(got) is type(there[0])
        close(np.asarray(got), A(u), dtype)
        close(np.asarray(B.diagonal()), A.diagonal(), dtype)
        close(np.asarray(B.vjp_params(*there)["k"]), A.vjp_params(u, v)["k"], dtype, 64)
        for c, d in zip(A.faces(), B.faces(), strict=True):
            close(np.asarray(d), c, dtype)


def test_memory_is_left_alone_and_need_not_be_contiguous(rng):
    k, x = field(rng, (7, 6)), rng.standard_normal((7, 6))
    want = Diffusion(k)(x)
    wide = np.zeros((14, 12))
    wide[::2, ::2] = x
    view = wide[::2, ::2]
    view.flags.writeable = False
    np.testing.assert_array_equal(Diffusion(np.asfortranarray(k))(view), want)
    np.testing.assert_array_equal(view, x)
    swapped = k.astype(k.dtype.newbyteorder())
    np.testing.assert_array_equal(Diffusion(swapped)(x), want)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("make, extra", [(Diffusion, 0), (NodalDiffusion, 1)])
def test_nonfinite_entries_stay_visible(make, extra, value):
    A = make(np.ones((40 + extra, 50 + extra)))
    for place in ((0, 0), (20, 25), (39, 49)):
        x = np.zeros((40, 50))
        x[place] = value
        y = A(x)
        assert not np.isfinite(y[place])
        assert np.isfinite(y).sum() >= y.size - 5


# -- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, error, says",
    [
        ({"k": np.zeros((3, 3))}, ValueError, "k > 0"),
        ({"k": np.full((3, 3), np.nan)}, ValueError, "k > 0"),
        ({"k": np.full((3, 3), np.inf)}, ValueError, "k > 0"),
        ({"k": -np.ones((3, 3))}, ValueError, "k > 0"),
        ({"k": np.ones((3, 3), complex)}, TypeError, "real k"),
        ({"k": np.ones((3, 3), int)}, TypeError, "dtype"),
        ({"k": [[1.0]]}, TypeError, "array"),
        ({"k": np.ones((2, 3, 3))}, ValueError, "ndim"),
        ({"k": np.ones((3, 3)), "ndim": 3}, ValueError, "ndim"),
        ({"k": np.ones((3, 3)), "spacing": 0.0}, ValueError, "spacing"),
        ({"k": np.ones((3, 3)), "spacing": (1.0,)}, ValueError, "spacing"),
        ({"k": np.ones((3, 3)), "boundary": ((D, P), D)}, ValueError, "PERIODIC"),
        ({"k": np.ones((3, 3)), "boundary": (D, D, D)}, ValueError, "2 axes"),
        ({"k": np.ones((3, 3)), "boundary": ("dirichlet", D)}, TypeError, "Side"),
        ({"k": np.ones((3, 3)), "solid": np.ones((3, 3))}, TypeError, "booleans"),
        ({"k": np.ones((3, 3)), "solid": np.ones((2, 3), bool)}, ValueError, "shape"),
        ({"k": np.ones((3, 3)), "solid": np.ones((3, 3), bool)}, ValueError, "fluid"),
    ],
)
def test_bad_arguments_are_named(arguments, error, says):
    with pytest.raises(error, match=says):
        Diffusion(**arguments)


def test_a_batch_is_not_one_matrix():
    with pytest.raises(ValueError, match="batch"):
        Diffusion(np.ones((2, 3, 3)), ndim=2).assemble()
    with pytest.raises(ValueError, match="two or more cells"):
        NodalDiffusion(np.ones((1, 4)))


def test_k_may_be_anything_in_solid_cells(rng):
    k, solid = np.ones((4, 4)), np.zeros((4, 4), bool)
    solid[1, 2] = True
    want = Diffusion(k, solid=solid).dense()
    for value in (0.0, -1.0, np.nan):
        k[1, 2] = value
        np.testing.assert_array_equal(Diffusion(k, solid=solid).dense(), want)


@pytest.mark.parametrize("solid", [False, True])
def test_what_is_inconsistent_is_told_alike_everywhere(
    solid: bool, rng: np.random.Generator
) -> None:
    """A's own null space, solid cells left out, decides for `consistent` and for the report."""
    mask = rng.random((24, 20)) < 0.3 if solid else None
    A = Diffusion(np.exp(rng.standard_normal((24, 20))), boundary=N, solid=mask)
    e = A.null_vector
    assert e is not None and not A(e).any()
    assert e.sum() == (480 if mask is None else (~mask).sum())
    b = A(rng.standard_normal((24, 20)))
    if mask is not None:
        b[mask] = 1.0  # a solid cell holds what it is told: no reason to complain
    assert (A.consistent(b) is b) and not inconsistency(LinearSystem(A, b))
    bad = b + 0.5 * e
    share = 0.5 * np.linalg.norm(e) / np.linalg.norm(bad)
    assert f"{share:.1e}" in inconsistency(LinearSystem(A, bad))
    with pytest.warns(UserWarning, match=f"{share:.1e}"):
        np.testing.assert_allclose(A.consistent(bad), b, atol=1e-9)
    assert Diffusion(A.k + 1.0).null_vector is None
