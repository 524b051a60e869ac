"""DeepXDE in float64 and from a seed for a while; all is then as it was."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import torch

__all__ = ["double", "double_precision", "seeded"]


@contextlib.contextmanager
def double_precision(dde: ModuleType) -> Iterator[None]:
    """float64 in DeepXDE and in torch, for what is built and trained inside; then as before."""
    real, usual = dde.config.real, torch.get_default_dtype()
    back = {16: real.set_float16, 32: real.set_float32, 64: real.set_float64}[real.precision]
    real.set_float64()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        back()
        torch.set_default_dtype(usual)


@contextlib.contextmanager
def seeded(dde: ModuleType, seed: int) -> Iterator[None]:
    """DeepXDE draws points and weights from `seed` inside; all generators are then as before."""
    config, state, legacy = dde.config, random.getstate(), np.random.get_state()
    before = config.random_seed
    try:
        with torch.random.fork_rng():
            config.set_random_seed(seed)
            yield
    finally:
        config.random_seed = before
        random.setstate(state)
        np.random.set_state(legacy)


@contextlib.contextmanager
def double(dde: ModuleType, model: Any) -> Iterator[None]:
    """float64 in DeepXDE, in torch and in the sampled points; all put back at the end."""
    narrow = np.dtype(dde.config.real(np))
    with double_precision(dde), _wide_points(model, narrow):
        yield


@contextlib.contextmanager
def _wide_points(model: Any, narrow: np.dtype) -> Iterator[None]:
    """The arrays of the model's data in float64; then as they were, new ones in `narrow`.

    Copies are kept with the model: DeepXDE remembers values of conditions by the id of an array,
    so that one that was freed could pass for the next.
    """
    wide = np.dtype(np.float64)
    if narrow == wide:
        yield
        return
    copies: dict[int, tuple[Any, Any]] = vars(model).setdefault("_wide_copies", {})
    own = {id(a): a for a in _arrays(model.data, wide)}

    def widen(array: np.ndarray) -> np.ndarray:
        return copies.setdefault(id(array), (array, array.astype(wide)))[1]

    def restore(array: np.ndarray) -> np.ndarray:
        if id(array) in own:
            return array
        known = next((a for a, made in copies.values() if made is array), None)
        if known is None:
            known = array.astype(narrow)
            copies[id(known)] = known, array
        return known

    _replace(model.data, narrow, widen)
    try:
        yield
    finally:
        _replace(model.data, wide, restore)


def _arrays(data: Any, dtype: np.dtype) -> list[np.ndarray]:
    found: list[np.ndarray] = []
    for value in vars(data).values():
        parts = value if isinstance(value, tuple | list) else (value,)
        found += [v for v in parts if isinstance(v, np.ndarray) and v.dtype == dtype]
    return found


def _replace(data: Any, dtype: np.dtype, change: Any) -> None:
    """Every array of `dtype` among the attributes of `data`, replaced by change(array)."""
    for name, value in list(vars(data).items()):
        if isinstance(value, np.ndarray) and value.dtype == dtype:
            setattr(data, name, change(value))
        elif isinstance(value, tuple | list) and any(
            isinstance(v, np.ndarray) and v.dtype == dtype for v in value
        ):
            parts = (
                change(v) if isinstance(v, np.ndarray) and v.dtype == dtype else v for v in value
            )
            setattr(data, name, type(value)(parts))
