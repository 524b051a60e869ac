"""What every benchmark asks of the names it is given."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["check_unique"]


def check_unique(kind: str, given: Sequence[object]) -> None:
    """Raises ValueError: none is given, or one twice."""
    if not given:
        raise ValueError(f"expected at least one {kind}, got none: name one")
    names = [str(one) for one in given]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"expected each {kind} once, got {', '.join(twice)} again: drop one")
