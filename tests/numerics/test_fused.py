"""Fused vector updates equal the plain ones, whatever the layout, and do not depend on threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sciml import LinearSystem, Space, Stop, solve
from sciml.operators import Diagonal
from solvers import CG
from solvers.krylov import _base
from solvers.krylov._base import add_scaled, descend

DTYPES = ("float32", "float64", "complex64", "complex128")


def _draw(rng: np.random.Generator, dtype: str, batch: tuple[int, ...]) -> tuple[Space, list[Any]]:
    space = Space((50, 400), np.dtype(dtype))
    return space, [space.random(rng, batch) for _ in range(4)]


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_fused_updates_equal_plain_ones(
    dtype: str, batch: tuple[int, ...], library: str, rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(_base, "_FUSED_FROM", 0)
    space, (x, r, p, q) = _draw(rng, dtype, batch)
    real = space.real_dtype
    alpha = rng.standard_normal((*batch, 1, 1)).astype(real) if batch else real.type(0.7)
    wanted_r = r - alpha * q
    wanted = (x + alpha * p, wanted_r, np.linalg.norm(wanted_r.reshape(*batch, -1), axis=-1))
    before = [a.tobytes() for a in (x, r, p, q)]
    if library == "torch":
        x, r, p, q = (torch.from_numpy(a) for a in (x, r, p, q))
        alpha = torch.as_tensor(alpha)
    else:
        p = np.asfortranarray(p)  # another layout
    got = descend(space, x, r, alpha, p, q)
    eps = 20 * np.finfo(real).eps
    for a, b in zip(got[:2], wanted[:2], strict=True):
        np.testing.assert_allclose(np.asarray(a), b, rtol=eps, atol=eps)
    np.testing.assert_allclose(np.asarray(got[2]).reshape(batch), wanted[2], rtol=eps)
    plain = space.norm(r)
    assert tuple(np.shape(got[2])) == tuple(np.shape(plain)), "norms are shaped as space.norm's"
    assert type(got[2]) is type(plain) or isinstance(got[2], np.generic)
    np.testing.assert_allclose(
        np.asarray(add_scaled(space, x, alpha, r)),
        np.asarray(x) + np.asarray(alpha) * np.asarray(r),
        rtol=eps, atol=eps,
    )  # fmt: skip
    assert [np.asarray(a, order="C").tobytes() for a in (x, r, p, q)] == before


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_inf_stay_visible(value: float, rng: np.random.Generator) -> None:
    space, (x, r, p, q) = _draw(rng, "float64", (3,))
    q[1, 0, 0] = value
    norm = descend(space, x, r, np.ones((3, 1, 1)), p, q)[2].reshape(3)
    assert not np.isfinite(norm[1]) and np.isfinite(norm[[0, 2]]).all()


def test_a_large_solve_is_the_same_bytes_on_one_thread_and_two(rng: np.random.Generator) -> None:
    import numba

    A = Diagonal(1 + rng.random(200_000))
    problem = LinearSystem(A, rng.standard_normal(200_000))
    answers = []
    threads = numba.get_num_threads()
    for count in {1, threads}:
        numba.set_num_threads(count)
        answers.append(solve(problem, CG(), stop=Stop(rtol=1e-10)).x.tobytes())
    numba.set_num_threads(threads)
    assert len(set(answers)) == 1
