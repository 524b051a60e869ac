"""What makes a training, as plain values: a checkpoint goes on only with the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

__all__ = ["origin_of"]

# What a network is judged by changes its card, which is written anew, and no weight.
_JUDGING = {"held_out", "sigmas", "tests", "within"}


def origin_of(seed: int, course: Any) -> dict[str, Any]:
    """Seed and course for `sciml.training.train`, as JSON by dotted names.

    Files count by their SHA-256: they may be moved, not changed. Functions count by their names.

    Args:
        course: a dataclass.
    """
    own = (f.name for f in fields(course) if f.name not in _JUDGING)
    parts = (part for name in own for part in _flat(name, getattr(course, name)))
    return {"seed": seed, **dict(parts)}


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if is_dataclass(value) and not isinstance(value, type):
        yield name, type(value).__name__
        for f in fields(value):
            yield from _flat(f"{name}.{f.name}", getattr(value, f.name))
    else:
        yield name, _plain(value)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Path):
        return hashlib.sha256(value.read_bytes()).hexdigest()
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, partial):
        return [_plain(value.func), _plain(value.args), _plain(value.keywords)]
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return dict(_flat(type(value).__name__, value))
    if callable(value):
        return getattr(value, "__qualname__", type(value).__qualname__)
    return str(value)
