"""How a network is trained, apart from what it is trained on."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .._checks import integer, number

__all__ = ["Plan"]


@dataclass(frozen=True)
class Plan:
    """How long and how fast.

    Args:
        steps: of Adam (Kingma and Ba 2015).
        learning_rate: at the start; it falls along a half cosine to `floor` times itself.
        clip: largest 2-norm of the gradient; None does not clip.
        ema: decay of the running mean of the weights, which training then returns; None for none.
        every: steps between checkpoints.
        rates: ((steps, learning rate), ...), one after the other, in place of that fall; the last
            one stays.
    """

    steps: int
    learning_rate: float = 1e-3
    floor: float = 0.02
    clip: float | None = 1.0
    ema: float | None = None
    every: int = 100
    rates: tuple[tuple[int, float], ...] = ()

    def __post_init__(self) -> None:
        integer(self.steps, "steps", 1)
        integer(self.every, "every", 1)
        number(self.learning_rate, "learning_rate")
        number(self.floor, "floor")
        if self.clip is not None:
            number(self.clip, "clip")
        if self.ema is not None and not 0 <= self.ema < 1:
            raise ValueError(f"expected ema in [0, 1) or None, got {self.ema}")
        for count, rate in self.rates:
            integer(count, "the steps of a rate", 1)
            number(rate, "a rate")

    def rate(self, step: int) -> float:
        """The learning rate of step `step`, from 0."""
        for count, rate in self.rates:
            if step < count:
                return rate
            step -= count
        if self.rates:
            return self.rates[-1][1]
        fall = (1 + math.cos(math.pi * step / self.steps)) / 2
        return self.learning_rate * (self.floor + (1 - self.floor) * fall)
