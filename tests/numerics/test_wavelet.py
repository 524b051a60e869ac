"""The wavelet transform against PyWavelets and its own definition, compiled or not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sciml import Space
from sciml.operators import Wavelet

pywt = pytest.importorskip("pywt")


@pytest.mark.parametrize("wavelet", ["haar", "db2", "db4", "sym8"])
@pytest.mark.parametrize("shape", [(96, 64), (8, 128, 32), (4096,), (16, 32, 16)])
@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
def test_compiled_code_is_the_definition(
    wavelet: str, shape: tuple[int, ...], dtype: Any, rng: np.random.Generator
) -> None:
    """Torch tensors go through array operations, large arrays of NumPy through kernels."""
    W = Wavelet(Space(shape, dtype), wavelet, levels=3)
    for batch in ((), (2,), (2, 3)):
        x = W.domain.random(rng, batch=batch)
        for act in (W, W.adjoint):
            found = act(x)
            expected = act(torch.from_numpy(x)).numpy()
            tolerance = 40 * np.finfo(dtype).eps
            np.testing.assert_allclose(found, expected, atol=tolerance * abs(x).max())


@pytest.mark.parametrize("shape", [(97, 65), (5, 129, 33), (4097,), (1, 5000)])
def test_odd_lengths(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    W = Wavelet(Space(shape, complex), "db4", levels=4)
    x, y = W.domain.random(rng), W.domain.random(rng)
    np.testing.assert_allclose(W(x), W(torch.from_numpy(x)).numpy(), atol=1e-13)
    np.testing.assert_allclose(W.adjoint(W(x)), x, atol=1e-12)
    assert abs(np.vdot(W(x), y) - np.vdot(x, W.adjoint(y))) < 1e-9


@pytest.mark.parametrize("axes", [1, 2])
def test_some_axes_of_arrays_in_any_order(axes: int, rng: np.random.Generator) -> None:
    W = Wavelet(Space((70, 80), float), "db2", levels=2, axes=axes)
    x = rng.standard_normal((3, 80, 70)).transpose(0, 2, 1)[:, ::-1]
    before = x.copy()
    np.testing.assert_allclose(W(x), W(torch.from_numpy(x.copy())).numpy(), atol=1e-13)
    np.testing.assert_array_equal(x, before)


def test_one_level_is_that_of_pywavelets(rng: np.random.Generator) -> None:
    """The same coefficients as its periodised transform, up to where a line begins."""
    x = rng.standard_normal(8192)
    W = Wavelet(Space(x.shape, float), "db4", levels=1)
    found = np.split(W(x), 2)
    for mine, theirs in zip(found, pywt.dwt(x, "db4", mode="periodization"), strict=True):
        shifts = np.fft.irfft(np.fft.rfft(mine) * np.conj(np.fft.rfft(theirs)))
        shift = int(np.argmax(shifts))
        np.testing.assert_allclose(np.roll(mine, -shift), theirs, atol=1e-12)


def test_a_wavelet_that_is_cut_off_is_refused() -> None:
    """PyWavelets calls it orthogonal; its W^H W is off by 2e-3."""
    with pytest.raises(ValueError, match="orthonormal"):
        Wavelet(Space((64,), np.float64), "dmey")
