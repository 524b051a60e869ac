"""Checks of plain arguments, in one wording: expected X, got Y."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Argument", "ArgumentError", "integer", "is_integer", "need", "number", "told"]


@dataclass(frozen=True)
class Argument:
    """An argument of a call where a message names it: `name`, or `name=value`."""

    name: str
    value: str = ""

    def __str__(self) -> str:
        return f"{self.name}={self.value}" if self.value else self.name


class ArgumentError(ValueError):
    """A bad value, told in a message that knows which of its words are arguments of the call.

    A caller whose users know them by other names, such as a command line, can say it in those.
    """

    def __init__(self, *parts: str | Argument) -> None:
        self.parts = parts
        super().__init__("".join(map(str, parts)))

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions pickle by their args: here the message, without what its parts are.
        return type(self), self.parts

    def spelled(self, word: Callable[[Argument], str]) -> str:
        """The message with other words for the arguments."""
        return "".join(p if isinstance(p, str) else word(p) for p in self.parts)


def told(value: Any) -> str:
    """`value` for an error message: its repr if that is short and on one line, else its type."""
    text = repr(value)
    return text if len(text) <= 60 and "\n" not in text else f"a {type(value).__name__}"


def need(value: Any, kind: type | tuple[type, ...], what: str, hint: str = "") -> None:
    """Raise TypeError unless `value` is of `kind`, which `what` names."""
    if not isinstance(value, kind):
        raise TypeError(f"expected {what}, got {told(value)}" + (f": {hint}" if hint else ""))


def is_integer(value: Any) -> bool:
    """Whether `value` is an int of Python or NumPy, and no boolean."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def integer(value: Any, name: str, least: int) -> int:
    """`value` as an int.

    Raises:
        ValueError: it is no integer, or less than `least`.
    """
    if not is_integer(value) or value < least:
        raise ArgumentError(
            "expected ", Argument(name), f" as an integer >= {least}, got {told(value)}"
        )
    return int(value)


def number(value: Any, name: str, *, least: float = 0.0) -> float:
    """`value` as a finite float.

    Raises:
        ValueError: it is no real number, not finite, or less than `least`.
    """
    real = isinstance(value, float | int | np.floating | np.integer)
    if not real or not math.isfinite(value) or value < least:
        raise ArgumentError(
            "expected ", Argument(name), f" finite and >= {least:g}, got {told(value)}"
        )
    return float(value)
