"""What a safeguard taken away is."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Mutant"]


@dataclass(frozen=True)
class Mutant:
    """A safeguard taken away.

    Attributes:
        name: of the safeguard, in words.
        file: where it is. fragment: its source, found there exactly once.
        mutated: what stands there instead.
        tests: pytest node ids of which at least one must fail.
    """

    name: str
    file: str
    fragment: str
    mutated: str
    tests: tuple[str, ...]
