"""Fixtures that every test may use, and how hypothesis runs: the same examples every time."""

from __future__ import annotations

import gc
from pathlib import Path

import hypothesis
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]

# Files that compile most of the kernels, in three and in two dimensions by turns: of two workers
# each takes one, so that few kernels are compiled by both, and no long file is left for the end.
_FIRST = (
    "test_algebraic3d.py",
    "test_batched.py",
    "test_multigrid3d.py",
    "test_multigrid.py",
    "test_bench_neural.py",
    "test_lines2d.py",
)

hypothesis.settings.register_profile("ci", derandomize=True, deadline=None, max_examples=50)
hypothesis.settings.load_profile("ci")


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator of its own for each test, the same in every run."""
    return np.random.default_rng(20240229)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of measured data that lies beside the checkout, not in it."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real test data not present at ../shared/data")
    return folder


def _has_cuda() -> bool:
    import torch

    if torch.cuda.is_available():
        return True
    try:
        import cupy
    except ImportError:
        return False
    return bool(cupy.is_available())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of `_FIRST` first; skip what is marked `gpu` where there is no CUDA device."""
    place = {name: i for i, name in enumerate(_FIRST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked and not _has_cuda():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def pytest_collection_finish() -> None:
    """Thousands of tests and all modules stay: no collection, of which benchmarks ask for many,
    need look at them again. Tests that ask numba for its threads leave torch its own."""
    from sciml.kernels._threads import start

    start()
    gc.collect()
    gc.freeze()
