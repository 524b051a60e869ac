"""Projections against closed forms, areas of polygons and themselves; what is made of them."""

from __future__ import annotations

from collections.abc import Callable
from math import erf
from typing import Any

import array_api_strict
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sciml import Space
from sciml.operators import Filter, Radon, filtered_back_projection

N = 96
H = 2 / N  # the image is [-1, 1]²
CX, CY, R = 0.2, -0.15, 0.5


def _image(f: Callable[..., Any], over: int = 6) -> np.ndarray:
    """Means of f(x, y) over the pixels."""
    t = (np.arange(N * over) + 0.5) / (N * over) * 2 - 1
    values = np.asarray(f(t[None, :], -t[:, None]), float)  # the first row is at the top
    return values.reshape(N, over, N, over).mean((1, 3))


def _disc(r: float = R) -> np.ndarray:
    return _image(lambda x, y: (x - CX) ** 2 + (y - CY) ** 2 < r * r)


def _bins(A: Radon, primitive: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Means over the detectors of what has this primitive of s − s(CX, CY)."""
    edges = (np.arange(A.detectors + 1) - A.detectors / 2) * A.spacing
    middle = CX * np.cos(A.angles) + CY * np.sin(A.angles)
    return np.diff(primitive(edges - middle[:, None]), axis=1) / A.spacing


def _chords(s: np.ndarray) -> np.ndarray:
    """The primitive of 2 sqrt(R² − s²)."""
    s = np.clip(s, -R, R)
    return s * np.sqrt(R**2 - s**2) + R**2 * np.arcsin(s / R)


@pytest.mark.parametrize(("width", "tolerance"), [(0.5, 0.011), (1.0, 0.007), (2.5, 0.004)])
def test_a_disc_has_chords(width: float, tolerance: float) -> None:
    A = Radon(Space((N, N)), 40, spacing=width * H, pixel=H)
    expected = _bins(A, _chords)
    found = A(_disc())
    assert np.linalg.norm(found - expected) < tolerance * np.linalg.norm(expected)


def test_a_gaussian_stays_one() -> None:
    w = 0.15
    x = _image(lambda x, y: np.exp(-((x - CX) ** 2 + (y - CY) ** 2) / (2 * w**2)))
    A = Radon(Space((N, N)), np.linspace(-3, 4, 31), spacing=H, pixel=H)
    primitive = np.vectorize(lambda s: np.pi * w**2 * erf(s / (np.sqrt(2) * w)))
    found, expected = A(x), _bins(A, primitive)
    assert np.linalg.norm(found - expected) < 2e-3 * np.linalg.norm(expected)
    assert abs(found - expected).max() < 6e-3 * expected.max()  # along diagonals


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 9), st.integers(1, 9), st.floats(-7, 7), st.floats(0.2, 3), st.floats(0.2, 3),
    st.integers(0, 2**31),
)  # fmt: skip
def test_mass_and_its_centre_are_kept(
    rows: int, columns: int, angle: float, spacing: float, pixel: float, seed: int
) -> None:
    """At any angle: detectors that cover the image collect all of it, and nothing is negative."""
    x = np.random.default_rng(seed).random((rows, columns))
    A = Radon(Space((rows, columns)), [angle], spacing=spacing, pixel=pixel)
    y = A(x)[0]
    mass = pixel**2 * x.sum()
    assert y.min() >= -1e-12 * mass / spacing
    assert y.sum() * spacing == pytest.approx(mass, rel=1e-11)
    # the centre of mass is projected, to within the bins that it is told in
    s = (np.arange(A.detectors) - (A.detectors - 1) / 2) * spacing
    i, j = np.mgrid[:rows, :columns]
    across = (j - (columns - 1) / 2) * np.cos(angle) - (i - (rows - 1) / 2) * np.sin(angle)
    centre = pixel * np.sum(across * x) / x.sum()
    assert abs(np.sum(s * y) / y.sum() - centre) <= spacing / 2 + 1e-9


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 8), st.integers(1, 8), st.integers(1, 9), st.integers(1, 6),
    st.integers(0, 2**31),
)  # fmt: skip
def test_adjoint_and_bound_at_any_geometry(
    rows: int, columns: int, detectors: int, angles: int, seed: int
) -> None:
    """Compiled, and by array operations: the adjoint is the transpose to rounding."""
    rng = np.random.default_rng(seed)
    A = Radon(
        Space((rows, columns)),
        rng.uniform(-4, 4, angles),
        detectors=detectors,
        spacing=rng.uniform(0.1, 3),
        pixel=rng.uniform(0.1, 3),
    )
    matrix = A.dense()
    np.testing.assert_allclose(A.H.dense(), matrix.T, atol=1e-11)
    assert np.linalg.norm(matrix, 2) <= A.norm_bound * (1 + 1e-10) + 1e-12
    x, y = A.domain.random(rng, (2,)), A.range.random(rng, (2,))
    for act, given_ in ((A, x), (A.adjoint, y)):
        elsewhere = np.asarray(act(array_api_strict.asarray(given_)))
        np.testing.assert_allclose(elsewhere, act(given_), atol=1e-11)


def test_right_angles_are_sums(rng: np.random.Generator) -> None:
    """The axes, exactly: columns at 0, rows from the bottom at π / 2, and back at π."""
    x = rng.random((5, 7))
    A = Radon(Space((5, 7)), [0, np.pi / 2, np.pi], detectors=7, spacing=1.0, pixel=1.0)
    y = A(x)
    np.testing.assert_allclose(y[0], x.sum(0), atol=1e-12)
    np.testing.assert_allclose(y[1], np.pad(x.sum(1)[::-1], 1), atol=1e-12)
    np.testing.assert_allclose(y[2], x.sum(0)[::-1], atol=1e-12)


def test_single_precision_is_double_inside(rng: np.random.Generator) -> None:
    x = rng.random((64, 64)).astype(np.float32)
    single, double = (Radon(Space((64, 64), d), 30) for d in (np.float32, np.float64))
    np.testing.assert_allclose(single(x), double(x.astype(float)), rtol=2e-7)


def test_torch_differentiates(rng: np.random.Generator) -> None:
    """By the adjoint, in both directions and twice."""
    A = Radon(Space((4, 3)), 3)
    x, y = (torch.from_numpy(s.random(rng)).requires_grad_() for s in (A.domain, A.range))
    assert torch.autograd.gradcheck(A, x) and torch.autograd.gradcheck(A.adjoint, y)
    assert torch.autograd.gradgradcheck(lambda x: A(x) ** 2, x)
    (slope,) = torch.autograd.grad((A(x) * y).sum(), x)
    np.testing.assert_allclose(slope.detach(), A.adjoint(y.detach()), atol=1e-13)


def test_the_bound_is_tight() -> None:
    A = Radon(Space((48, 48)), 60)
    v = np.ones((48, 48))
    for _ in range(30):
        v = A.adjoint(A(v))
        v /= np.linalg.norm(v)
    assert 1 <= A.norm_bound / np.linalg.norm(A(v)) < 1.01


@pytest.mark.parametrize("filter", Filter)
@pytest.mark.parametrize("width", [0.5, 1.0, 2.0])
def test_filtered_back_projection_of_a_disc(filter: Filter, width: float) -> None:
    """From its chords, which are no image's projections: 1 inside and 0 outside."""
    A = Radon(Space((N, N)), 240, spacing=width * H, pixel=H)
    x = filtered_back_projection(_bins(A, _chords), A, filter=filter)
    inside, around = _disc(0.85 * R) == 1, (_disc(1.2 * R) == 0) & (_image(_round) == 1)
    assert abs(x[inside] - 1).max() < 0.04
    assert abs(x[inside].mean() - 1) < 0.003
    assert abs(x[around]).mean() < 0.02 and abs(x[around].mean()) < 0.002


def _round(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return x**2 + y**2 < 1


def test_filtered_back_projection_of_uneven_angles_and_batches(rng: np.random.Generator) -> None:
    """Angles anywhere on the full turn, some of them twice."""
    angles = rng.permutation(np.concatenate([np.linspace(0, np.pi, 150), rng.uniform(0, 6, 300)]))
    A = Radon(Space((N, N), np.float32), angles, spacing=H, pixel=H)
    y = _bins(A, _chords).astype(np.float32)
    x = filtered_back_projection(np.stack([y, 2 * y]), A, filter=Filter.HANN)
    inside = _disc(0.85 * R) == 1
    assert x.dtype == np.float32 and abs(x[0][inside] - 1).max() < 0.05
    np.testing.assert_allclose(x[1], 2 * x[0], rtol=1e-3, atol=1e-4)
    as_torch = filtered_back_projection(torch.from_numpy(y), A, filter=Filter.HANN)
    np.testing.assert_allclose(as_torch, x[0], atol=1e-5)


def test_against_scikit_image() -> None:
    """Its projections of a smooth image, interpolated linearly, at the same angles."""
    transform = pytest.importorskip("skimage.transform")
    x = _image(lambda x, y: np.exp(-((x - CX) ** 2 + (y - CY) ** 2) / 0.05))
    angles = np.linspace(0, 180, 12, endpoint=False)
    theirs = transform.radon(x, angles, circle=True).T
    A = Radon(Space((N, N)), np.deg2rad(angles), detectors=N, spacing=1.0)
    # its axis of rotation is the middle of pixel N / 2, ours lies between pixels
    s = np.arange(N) - (N - 1) / 2
    at = s - 0.5 + 0.5 * (np.cos(A.angles) - np.sin(A.angles))[:, None]
    mine = np.stack([np.interp(one, s, row) for one, row in zip(at, A(x), strict=True)])
    assert np.linalg.norm(mine - theirs) < 0.005 * np.linalg.norm(theirs)


IMAGES = Space((8, 8))


@pytest.mark.parametrize(
    ("kind", "message", "make"),
    [
        (TypeError, "a Space of images", lambda: Radon((8, 8), 5)),  # pyright: ignore
        (TypeError, "real images", lambda: Radon(Space((8, 8), complex), 5)),
        (ValueError, r"\(rows, columns\)", lambda: Radon(Space((8, 8, 8)), 5)),
        (ValueError, "angles", lambda: Radon(IMAGES, 0)),
        (ValueError, "angles", lambda: Radon(IMAGES, [])),
        (ValueError, "angles", lambda: Radon(IMAGES, [[0.1]])),
        (ValueError, "finite angles", lambda: Radon(IMAGES, [0.1, np.nan])),
        (ValueError, "angles", lambda: Radon(IMAGES, "many")),
        (ValueError, "angles", lambda: Radon(IMAGES, True)),
        (ValueError, "angles", lambda: Radon(IMAGES, [1j])),
        (ValueError, "detectors", lambda: Radon(IMAGES, 5, detectors=0)),
        (ValueError, "spacing > 0", lambda: Radon(IMAGES, 5, spacing=0)),
        (ValueError, "pixel", lambda: Radon(IMAGES, 5, pixel=-1.0)),
        (TypeError, "a Radon", lambda: filtered_back_projection(np.ones((5, 4)), IMAGES)),  # pyright: ignore
        (TypeError, "a Filter member",
         lambda: filtered_back_projection(np.ones((5, 12)), Radon(IMAGES, 5), filter="hann")),  # pyright: ignore
        (ValueError, "expected y of shape",
         lambda: filtered_back_projection(np.ones((4, 12)), Radon(IMAGES, 5))),
        (TypeError, "expected y", lambda: filtered_back_projection([1.0], Radon(IMAGES, 5))),
    ],
)  # fmt: skip
def test_bad_calls_are_refused(kind: type, message: str, make: Any) -> None:
    with pytest.raises(kind, match=message) as caught:
        make()
    assert "expected" in str(caught.value) and "got" in str(caught.value)
