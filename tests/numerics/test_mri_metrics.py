"""Metrics against their formulas, summed window by window."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sciml.mri import nrmse, psnr, ssim


def pair(shape=(14, 17), seed=0, dtype=complex):
    rng = np.random.default_rng(seed)
    reference = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    return (reference + 0.3 * rng.standard_normal(shape)).astype(dtype), reference.astype(dtype)


def ssim_by_windows(x, r, span):
    """fastMRI's: means of 7 x 7 windows, unbiased variances, c1 = (.01 L)^2, c2 = (.03 L)^2."""
    values = []
    for i in range(x.shape[0] - 6):
        for j in range(x.shape[1] - 6):
            a, b = x[i : i + 7, j : j + 7].ravel(), r[i : i + 7, j : j + 7].ravel()
            (va, vab), (_, vb) = np.cov(a, b)
            c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
            ma, mb = a.mean(), b.mean()
            values.append(
                (2 * ma * mb + c1) * (2 * vab + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
            )
    return np.mean(values)


def test_ssim_is_the_mean_over_windows():
    x, r = (np.abs(a) for a in pair())
    assert ssim(x, r) == pytest.approx(ssim_by_windows(x, r, r.max()), rel=1e-12)


def test_ssim_of_a_volume_is_the_mean_over_slices_with_one_range():
    x, r = (np.abs(a) for a in pair((3, 9, 11)))
    r[1] *= 4
    each = [ssim_by_windows(a, b, r.max()) for a, b in zip(x, r, strict=True)]
    assert ssim(x, r) == pytest.approx(np.mean(each), rel=1e-12)


def test_nrmse_and_psnr_are_their_formulas():
    x, r = (np.abs(a) for a in pair())
    error = sum((float(a) - float(b)) ** 2 for a, b in zip(x.ravel(), r.ravel(), strict=True))
    assert nrmse(x, r) == pytest.approx(math.sqrt(error / (r**2).sum()), rel=1e-12)
    expected = 20 * math.log10(r.max()) - 10 * math.log10(error / r.size)
    assert psnr(x, r) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("metric", [nrmse, psnr, ssim])
def test_magnitudes_are_compared(metric):
    x, r = pair()
    turned = x * np.exp(1j * np.linspace(0, 3, x.shape[1]))
    assert metric(turned, r) == pytest.approx(metric(np.abs(x), np.abs(r)), rel=1e-12)


@pytest.mark.parametrize(("metric", "best"), [(nrmse, 0.0), (psnr, math.inf), (ssim, 1.0)])
def test_an_image_equals_itself(metric, best):
    assert metric(pair()[1], pair()[1]) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("metric", [nrmse, psnr, ssim])
def test_the_scale_of_both_does_not_matter(metric):
    x, r = pair()
    assert metric(1e-9 * x, 1e-9 * r) == pytest.approx(metric(x, r), rel=1e-9)


@pytest.mark.parametrize("metric", [nrmse, psnr, ssim])
def test_torch_and_single_precision(metric):
    x, r = pair(dtype=np.complex64)
    value = metric(torch.from_numpy(x), torch.from_numpy(r))
    assert isinstance(value, float)
    assert value == pytest.approx(metric(*pair()), rel=1e-5)


@pytest.mark.parametrize("metric", [nrmse, psnr, ssim])
def test_bad_images_are_refused(metric):
    x, r = pair()
    bad = x.copy()
    bad[0, 0] = np.nan
    for image, reference, message in (
        (x[1:], r, "one shape"),
        (bad, r, "finite"),
        (x, np.zeros_like(r), "with signal"),
    ):
        with pytest.raises(ValueError, match=message):
            metric(image, reference)
    with pytest.raises(ValueError, match="at least 7 x 7"):
        ssim(x[:6], r[:6])
