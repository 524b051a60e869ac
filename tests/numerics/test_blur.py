"""Blurs, decimation and random convolutions against SciPy, closed forms and their own matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, signal

from sciml import Operator, Space, Trait
from sciml.operators import (
    Blur,
    Boundary,
    Downsample,
    RandomCirculant,
    Sampling,
    Spectrum,
    gaussian_kernel,
)

IMAGES = Space((23, 18))


def _norm(A: Operator) -> float:
    return float(np.linalg.norm(A.dense(), 2))


def _blur(rng: np.random.Generator, boundary: Boundary, *shape: int) -> Blur:
    return Blur(rng.standard_normal(shape), IMAGES, boundary=boundary)


def test_a_full_blur_is_the_convolution(rng: np.random.Generator) -> None:
    A, x = _blur(rng, Boundary.FULL, 5, 8), IMAGES.random(rng)
    assert A.range.shape == (27, 25)
    np.testing.assert_allclose(A(x), signal.convolve2d(x, A.kernel), atol=1e-13)


@pytest.mark.parametrize("shape", [(5, 3), (1, 7), (4, 2), (18, 18)])
@pytest.mark.parametrize(
    ("boundary", "theirs"), [(Boundary.CIRCULAR, "wrap"), (Boundary.SYMMETRIC, "reflect")]
)
def test_blurs_of_the_image_s_size(
    boundary: Boundary, theirs: Any, shape: tuple[int, int], rng: np.random.Generator
) -> None:
    A, x = _blur(rng, boundary, *shape), IMAGES.random(rng, (2,))
    expected = [ndimage.convolve(one, A.kernel, mode=theirs) for one in x]
    np.testing.assert_allclose(A(x), expected, atol=1e-12)


def test_large_images_go_through_torch_and_are_the_same(rng: np.random.Generator) -> None:
    """Above some size NumPy's arrays are handed to torch's transforms."""
    space = Space((200, 220), np.float32)
    A, x = Blur(gaussian_kernel(2.0), space, boundary=Boundary.SYMMETRIC), space.random(rng)
    np.testing.assert_allclose(A(x), ndimage.gaussian_filter(x, 2.0, truncate=3.0), atol=2e-6)


def test_gaussians_of_waves_are_waves() -> None:
    """A wave comes out times exp(-sigma² w² / 2), the Gaussian's spectrum, but for its tails."""
    n, sigma = 64, 1.6
    wave = np.cos(2 * np.pi * 5 * np.arange(n) / n)[:, None] * np.ones(n)
    factor = np.exp(-(sigma**2) * (2 * np.pi * 5 / n) ** 2 / 2)
    A = Blur(gaussian_kernel(sigma, size=25), Space((n, n)))
    np.testing.assert_allclose(A(wave), factor * wave, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.05, 0.6, 1.6, 7.0])
def test_the_gaussian_kernel(sigma: float) -> None:
    kernel = gaussian_kernel(sigma)
    assert len(kernel) == max(5, 2 * np.ceil(3 * sigma) + 1)
    assert kernel.sum() == pytest.approx(1, rel=1e-14)
    np.testing.assert_array_equal(kernel, kernel[::-1, ::-1].T)
    assert gaussian_kernel(1.6, size=5, ndim=3).shape == (5, 5, 5)


@pytest.mark.parametrize("boundary", Boundary)
@pytest.mark.parametrize("positive", [True, False])
def test_norms(boundary: Boundary, positive: bool, rng: np.random.Generator) -> None:
    kernel = rng.standard_normal((4, 5))
    A = Blur(abs(kernel) if positive else kernel, IMAGES, boundary=boundary)
    norm, bound = _norm(A), A.norm_bound
    assert norm <= bound * (1 + 1e-12)
    if boundary is Boundary.CIRCULAR:
        assert bound == pytest.approx(norm, rel=1e-12)
    elif positive:
        assert bound <= abs(kernel).sum() * (1 + 1e-12) or boundary is Boundary.SYMMETRIC
        assert bound <= 1.3 * norm


@pytest.mark.parametrize("boundary", Boundary)
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_normal_operators(boundary: Boundary, dtype: Any, rng: np.random.Generator) -> None:
    space = Space((2, 9, 7), dtype)
    kernel = Space((4, 5), dtype).random(rng)
    A, x = Blur(kernel, space, boundary=boundary), space.random(rng, (3,))
    np.testing.assert_allclose(A.normal(x), A.adjoint(A(x)), atol=1e-12)
    if boundary is not Boundary.SYMMETRIC:
        assert Trait.POSITIVE in A.normal.traits
        np.testing.assert_allclose(A.normal.diagonal(), np.sum(abs(kernel) ** 2), rtol=1e-13)
        bound = A.normal.norm_bound
        assert bound is not None and bound == pytest.approx(A.norm_bound**2)


def test_a_kernel_that_requires_a_gradient_is_not_detached(rng: np.random.Generator) -> None:
    """Blind deconvolution: torch differentiates through the products, cached spectra or not."""
    kernel = torch.from_numpy(rng.standard_normal((3, 4))).requires_grad_()
    A = Blur(kernel, IMAGES, boundary=Boundary.SYMMETRIC)
    x, weights = (torch.from_numpy(IMAGES.random(rng)) for _ in range(2))
    assert A.norm_bound > 0
    (A(x) * weights).sum().backward()
    np.testing.assert_allclose(kernel.grad, A.vjp_params(x, weights)["kernel"].detach(), rtol=1e-10)


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("boundary", [Boundary.CIRCULAR, Boundary.SYMMETRIC])
def test_the_box_is_the_mean_of_pixels(
    factor: int, boundary: Boundary, rng: np.random.Generator
) -> None:
    n = 3 * factor
    box = np.full((factor, factor), factor**-2.0)
    A, x = Downsample(Space((n, n)), factor, kernel=box, boundary=boundary), rng.random((n, n))
    expected = x.reshape(3, factor, 3, factor).mean(axis=(1, 3))
    np.testing.assert_allclose(A(x), expected, atol=1e-14)
    assert pytest.approx(_norm(A), rel=1e-12) == 1 / factor == pytest.approx(A.norm_bound)


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("boundary", [Boundary.CIRCULAR, Boundary.SYMMETRIC])
def test_downsampling(factor: int, boundary: Boundary) -> None:
    """Constants stay, ramps are read off at the coarse pixels' middles, and the bound is tight."""
    n = 12 * factor
    A = Downsample(Space((n, n)), factor, boundary=boundary)
    assert A.range.shape == (12, 12)
    np.testing.assert_allclose(A(np.ones((n, n))), 1, atol=1e-13)
    ramp = np.arange(n) * np.ones((n, 1))
    inside = (slice(None), slice(4, 8))
    middles = factor * np.arange(12) + (factor - 1) / 2
    np.testing.assert_allclose(A(ramp)[inside], middles[4:8] * np.ones((12, 1)), atol=1e-10)
    if factor <= 2:
        norm = _norm(A)
        assert norm <= A.norm_bound * (1 + 1e-12) <= 1.2 * norm


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(Boundary), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9),
    st.integers(1, 4), st.integers(0, 2**31),
)  # fmt: skip
def test_any_sizes(boundary: Boundary, n: int, m: int, k: int, factor: int, seed: int) -> None:
    """Adjoint and bound at every size and boundary, decimated or not."""
    rng, space = np.random.default_rng(seed), Space((n, m))
    most = {Boundary.CIRCULAR: (n, m), Boundary.SYMMETRIC: (2 * n, 2 * m), Boundary.FULL: (9, 9)}
    kernel = rng.standard_normal(tuple(min(k, top) for top in most[boundary]))
    found: list[Operator] = [Blur(kernel, space, boundary=boundary)]
    if boundary is not Boundary.FULL and factor <= min(n, m):
        found.append(Downsample(space, factor, kernel=kernel, boundary=boundary))
    for A in found:
        matrix, back = A.dense(), A.H.dense()
        np.testing.assert_allclose(back, matrix.T, atol=1e-12)
        bound = A.norm_bound
        assert bound is not None and np.linalg.norm(matrix, 2) <= bound * (1 + 1e-10) + 1e-12


@pytest.mark.parametrize("shape", [(6, 7), (5, 3), (1, 1), (64, 64)])
def test_unit_circulants_have_orthonormal_rows(
    shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    space = Space(shape)
    A = RandomCirculant(space, max(1, space.size // 3), rng=rng)
    y = A.range.random(rng, (2,))
    np.testing.assert_allclose(A(A.adjoint(y)), y, atol=1e-12)
    assert A.norm_bound == 1.0


def test_a_gaussian_circulant_is_a_circulant_of_flipped_signs(rng: np.random.Generator) -> None:
    A = RandomCirculant(Space((4, 5)), 20, rng=rng, spectrum=Spectrum.GAUSSIAN)
    matrix = A.dense() / A.signs  # all rows are kept: S is the identity
    np.testing.assert_allclose(np.roll(matrix, (1, 1), (0, 1)), matrix, atol=1e-14)
    assert pytest.approx(A.norm_bound, rel=1e-12) == np.linalg.norm(matrix, 2)
    wide = RandomCirculant(Space((64, 64)), 4096, rng=rng, spectrum=Spectrum.GAUSSIAN)
    x = wide.domain.random(rng)
    assert np.linalg.norm(wide(x)) == pytest.approx(np.linalg.norm(x), rel=0.1)
    few = RandomCirculant(Space((6, 6)), 9, rng=rng, spectrum=Spectrum.GAUSSIAN)
    assert _norm(few) <= few.norm_bound * (1 + 1e-12)


def test_one_generator_gives_one_circulant_in_every_library(rng: np.random.Generator) -> None:
    one, other = (
        RandomCirculant(Space((8, 9), np.float32), 30, rng=np.random.default_rng(3), like=like)
        for like in (None, torch.zeros(1))
    )
    x = one.domain.random(rng)
    np.testing.assert_allclose(one(x), other(torch.from_numpy(x)).numpy(), atol=1e-6)


def test_sampling_serves_inpainting(rng: np.random.Generator) -> None:
    """Real images with missing pixels, colours and a batch."""
    space = Space((3, 8, 6), np.float32)
    mask = rng.random((8, 6)) < 0.5
    A, x = Sampling(mask, space), space.random(rng, (2,))
    np.testing.assert_array_equal(A(x), np.where(mask, x, 0))
    assert A.norm_bound == 1.0


@pytest.mark.parametrize(
    ("kind", "message", "make"),
    [
        (TypeError, "a Space of images", lambda: Blur(np.ones((3, 3)), (8, 8))),  # pyright: ignore
        (TypeError, "a Boundary member",
         lambda: Blur(np.ones((3, 3)), IMAGES, boundary="full")),  # pyright: ignore
        (TypeError, "of dtype float32", lambda: Blur(np.ones((3, 3), int), IMAGES)),
        (TypeError, "an array", lambda: Blur([[1.0]], IMAGES)),
        (TypeError, "real kernel", lambda: Blur(np.ones((3, 3), complex), IMAGES)),
        (ValueError, "1 to 2 axes", lambda: Blur(np.ones((3, 3, 3)), IMAGES)),
        (ValueError, "1 to 2 axes", lambda: Blur(np.ones((0, 3)), IMAGES)),
        (ValueError, "up to 18 pixels", lambda: Blur(np.ones((3, 19)), IMAGES)),
        (ValueError, "up to 36 pixels",
         lambda: Blur(np.ones((3, 37)), IMAGES, boundary=Boundary.SYMMETRIC)),
        (ValueError, "finite kernel", lambda: Blur(np.full((3, 3), np.nan), IMAGES)),
        (ValueError, "sigma", lambda: gaussian_kernel(-1.0)),
        (ValueError, "sigma > 0", lambda: gaussian_kernel(0.0)),
        (ValueError, "size", lambda: gaussian_kernel(1.0, size=0)),
        (ValueError, "factor", lambda: Downsample(IMAGES, 0)),
        (ValueError, "a factor up to", lambda: Downsample(IMAGES, 19)),
        (ValueError, "SYMMETRIC", lambda: Downsample(IMAGES, 2, boundary=Boundary.FULL)),
        (TypeError, "real images",
         lambda: RandomCirculant(Space((4,), complex), 2, rng=np.random.default_rng(0))),
        (ValueError, "up to 414 measurements",
         lambda: RandomCirculant(IMAGES, 415, rng=np.random.default_rng(0))),
        (ValueError, "measurements",
         lambda: RandomCirculant(IMAGES, 0, rng=np.random.default_rng(0))),
        (TypeError, "random generator",
         lambda: RandomCirculant(IMAGES, 3, rng=0)),  # pyright: ignore
        (TypeError, "Spectrum member",
         lambda: RandomCirculant(
             IMAGES, 3, rng=np.random.default_rng(0), spectrum="unit")),  # pyright: ignore
    ],
)  # fmt: skip
def test_bad_calls_are_refused(kind: type, message: str, make: Any) -> None:
    with pytest.raises(kind, match=message) as caught:
        make()
    assert "expected" in str(caught.value) and "got" in str(caught.value)
