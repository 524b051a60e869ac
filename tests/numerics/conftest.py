"""Fixtures of the numerical tests."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def dde():
    """DeepXDE, with the torch backend."""
    from solvers.pinn.deepxde import load_deepxde

    try:
        return load_deepxde()
    except ImportError:
        pytest.skip("DeepXDE is not installed")


@pytest.fixture
def globals_are_put_back(request):
    """The precision of torch and of DeepXDE is after a test what it was before."""
    import torch

    before = torch.get_default_dtype()
    yield
    assert torch.get_default_dtype() == before
    if "dde" in request.fixturenames:
        assert request.getfixturevalue("dde").config.real.precision == 32
