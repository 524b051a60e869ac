"""Networks on arrays of a third library, which share memory with torch by DLPack, as CuPy's do."""

from __future__ import annotations

import array_api_strict
import numpy as np
import pytest
import torch

from sciml import Space
from sciml._torch import returned, tensor_of
from sciml.networks import (
    PretrainedDenoiser,
    PretrainedProximal,
    SingleLevel,
    load_denoiser,
    load_proximal,
)
from sciml.operators import Diffusion
from sciml.priors import LearnedProximal, ScorePrior
from solvers import learned


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_memory_is_shared_both_ways(dtype):
    x = array_api_strict.ones((2, 3), dtype=getattr(array_api_strict, dtype))
    t = tensor_of(x)
    t[0, 0] = 5
    assert complex(x[0, 0]) == 5 and t.dtype == getattr(torch, dtype)
    back = returned(t, x)
    assert type(back) is type(x)
    t[0, 1] = 7
    assert complex(back[0, 1]) == 7
    n = np.ones(3)
    assert np.shares_memory(returned(tensor_of(n), n), n)
    assert returned(t, t) is tensor_of(t) is t


def test_denoisers_of_third_arrays(rng):
    prior = ScorePrior(load_denoiser(PretrainedDenoiser.SCORE_MIMO))
    rows, columns = prior.shape
    x = Space((2, rows, columns), np.dtype("complex128")).random(rng)
    there = array_api_strict.asarray(x)
    found = prior.denoise(there, 0.5)
    assert type(found) is type(there)
    np.testing.assert_array_equal(np.asarray(found), prior.denoise(x, 0.5))
    pulled, expected = prior.denoise_vjp(there, 0.5, there), prior.denoise_vjp(x, 0.5, x)
    for a, b in zip(pulled, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(a), b)


def test_proximal_networks_of_third_arrays(rng):
    space = Space((16, 16))
    prior = LearnedProximal(load_proximal(PretrainedProximal.LPN_NATURAL), space, sigma=0.1)
    x = rng.random((2, 16, 16))
    found = prior.prox(array_api_strict.asarray(x), prior.native_step)
    np.testing.assert_array_equal(np.asarray(found), prior.prox(x, prior.native_step))


def test_learned_directions_are_where_the_operator_is(rng):
    k, x = np.exp(rng.standard_normal((8, 9))), rng.standard_normal((2, 8, 9))
    f = SingleLevel(2, width=4)
    expected = learned(Diffusion(k), f)(x)
    there = learned(Diffusion(array_api_strict.asarray(k)), f)
    found = there(array_api_strict.asarray(x))
    assert type(found) is type(array_api_strict.asarray(x))
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-6)
