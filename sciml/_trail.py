"""How each member of a batch goes through one round of a solve."""

from __future__ import annotations

from typing import Any

import numpy as np

from .arrays import Array, pick
from .result import Status
from .solver import State

__all__ = ["CLAIMED", "RUNNING", "Trail"]

# Ends that are no Status: still running, and claimed to have converged.
RUNNING = -1
CLAIMED = -2


class Trail:
    """How each member's round goes: whether it runs, how it ended, and where it was best.

    States are immutable, so "best" is a reference to a state until members part ways; only then
    are iterates computed and merged.
    """

    def __init__(
        self,
        active: np.ndarray,
        batch: tuple[int, ...],
        *,
        unit: np.ndarray,
        done: np.ndarray,
        limit: int,
    ) -> None:
        self.batch, self.unit, self.done, self.limit = batch, unit, done, limit
        self.ended = np.where(active, RUNNING, int(Status.CONVERGED))
        self.running = active.copy()
        self.all_running, self.any_running = bool(active.all()), True
        self.steps = 0
        self.taken: np.ndarray | None = None  # steps of each member, where members stop themselves
        self.steps_at_end = np.zeros_like(done)
        self.fallbacks = 0  # classical steps of running members, of methods that have a network
        self._fallbacks = np.zeros_like(done)
        self.most_done = int(done[active].max())
        self.lowest = np.full(active.shape, np.inf)
        self.held = active.copy()  # members whose best iterate is that of `state`
        self.state: State | None = None
        self.merged: Array | None = None
        self.nbytes = 0

    @property
    def room(self) -> int:
        """Steps that the running member with most iterations may still take."""
        return self.limit - self.most_done - self.steps

    def spent(self) -> np.ndarray:
        """Members without iterations left. The room is then that of the members who go on."""
        out = self.done + self.steps >= self.limit
        rest = self.running & ~out
        if rest.any():
            self.most_done = int(self.done[rest].max())
        return out

    def iterations(self) -> np.ndarray:
        """Iterations of every member, over all rounds so far."""
        return self.done + np.where(self.running, self.steps, self.steps_at_end)

    def end(self, which: np.ndarray, status: Any) -> None:
        """End the running members in `which` with a status (one, or one per member)."""
        hit = which & self.running
        if hit.any():
            self.ended[hit] = status[hit] if isinstance(status, np.ndarray) else int(status)
            self.steps_at_end[hit] = self.steps if self.taken is None else self.taken[hit]
            self.running = self.running & ~hit
            self.all_running, self.any_running = False, bool(self.running.any())

    def count(self, k: int, state: State) -> None:
        """Take note that `advance` was asked for k steps and gave `state`."""
        self.taken = getattr(state, "steps", None)
        self.steps = self.steps + k if self.taken is None else int(self.taken.max())
        classical = getattr(state, "fallbacks", None)
        if classical is not None:
            now = classical.reshape(-1)
            self.fallbacks += int((now - self._fallbacks)[self.running].sum())
            self._fallbacks = now

    def follow(self, state: State, estimate: np.ndarray) -> None:
        """Take note of a new state."""
        improved = estimate < self.lowest
        if not self.all_running:
            improved &= self.running
        if self.state is None:
            self.state = state
            self.nbytes = _bytes(state)
            self.lowest = np.where(improved, estimate, self.lowest)
        elif improved.all():
            self.state, self.lowest, self.held = state, estimate, improved
        elif improved.any():
            left = self.held & ~improved
            if left.any():
                self._merge(left)
            self.state, self.held = state, improved
            self.lowest = np.where(improved, estimate, self.lowest)

    def _merge(self, which: np.ndarray) -> None:
        assert self.state is not None
        x = self.state.x
        self.merged = x if self.merged is None else pick(which.reshape(self.batch), x, self.merged)

    def best(self) -> Array | None:
        """The best iterate of each member; None if there was no look."""
        if self.state is not None and self.held.any():
            self._merge(self.held)
        return self.merged


def _bytes(state: Any) -> int:
    """Of the arrays in a tuple, and of the tuples in it."""
    if not isinstance(state, tuple):
        return 0
    return sum(_bytes(part) + int(getattr(part, "nbytes", 0)) for part in state)
