"""Calls that have to be refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable

__all__ = ["check_refused"]


def check_refused(calls: Iterable[Callable[[], object]]) -> None:
    """Each raises TypeError or ValueError with what was expected and what it got."""
    for i, call in enumerate(calls):
        try:
            call()
        except (TypeError, ValueError) as error:
            assert "expected" in str(error) and "got" in str(error), f"call {i}: {error}"
        else:
            raise AssertionError(f"bad call {i} was accepted")
