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
