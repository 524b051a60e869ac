"""One trainer for every network of the package."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from .._checks import need
from .checkpoint import Snapshot, read_checkpoint, write_checkpoint
from .plan import Plan

__all__ = ["Constrained", "Ramp", "Trained", "train"]

Batch = TypeVar("Batch")


@runtime_checkable
class Ramp(Protocol):
    """A loss that changes with the training."""

    def at(self, progress: float) -> Callable[[Any, Any], Tensor]:
        """The loss after this share of the steps, from 0 to 1."""
        ...


@runtime_checkable
class Constrained(Protocol):
    """A module some of whose weights must stay in a convex set.

    A mean of feasible weights is feasible, so that `Plan.ema` needs no projection of its own.
    """

    def project(self) -> None:
        """Put them at their nearest feasible values, in place."""
        ...


@dataclass(frozen=True)
class Trained:
    """What a training did: the loss of each step, float64 (steps,), and its wall clock."""

    losses: np.ndarray
    seconds: float


def train(
    module: nn.Module,
    loss: Callable[[nn.Module, Batch], Tensor] | Ramp,
    draw: Callable[[np.random.Generator], Batch],
    *,
    plan: Plan,
    rng: np.random.Generator,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    origin: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Trained:
    """Minimise the mean of loss(module, draw(rng)); `module` holds the result.

    A `Constrained` module is projected after every step, and before the first.

    A run that was interrupted and resumed ends with the same bits as one that was not, as long as
    `loss` and `draw` depend on nothing but their arguments. Ctrl-C leaves the last checkpoint.

    Args:
        checkpoint: a safetensors file, written every `plan.every` steps and at the end.
        resume: go on from it, if it exists; `rng` then continues as it was.
        origin: what makes this training besides plan and module, as JSON: seed, data, settings. It
            is kept in the checkpoint, and only a run with the same goes on from it.
        progress: called with (steps done, steps).

    Raises:
        FloatingPointError: the loss is NaN or Inf.
        FileError: a checkpoint of another plan, origin or module, or a damaged one.
    """
    need(plan, Plan, "a Plan", "Plan(steps=...)")
    need(rng, np.random.Generator, "rng as a numpy.random.Generator")
    path = None if checkpoint is None else Path(checkpoint)
    constrained = module if isinstance(module, Constrained) else None
    if constrained is not None:
        constrained.project()
    named = {n: p for n, p in module.named_parameters() if p.requires_grad}
    adam = torch.optim.Adam(named.values(), lr=plan.learning_rate)
    mean = {n: p.detach().clone() for n, p in named.items()}
    losses: list[float] = []
    spent = 0.0
    if resume and path is not None and path.exists():
        found = read_checkpoint(path, plan, named, adam, rng, origin or {})
        mean, losses, spent = found.mean, found.losses, found.seconds
    began = time.perf_counter() - spent
    module.train()
    while (step := len(losses)) < plan.steps:
        for group in adam.param_groups:
            group["lr"] = plan.rate(step)
        adam.zero_grad(set_to_none=True)
        now = loss.at(step / plan.steps) if isinstance(loss, Ramp) else loss
        value = now(module, draw(rng))
        losses.append(value.item())
        if not math.isfinite(losses[-1]):
            raise FloatingPointError(
                f"expected a finite loss, got {losses[-1]} at step {step}: lower the learning rate"
            )
        value.backward()
        if plan.clip is not None:
            torch.nn.utils.clip_grad_norm_(named.values(), plan.clip)
        adam.step()
        if constrained is not None:
            constrained.project()
        for name, p in named.items():
            # the mean forgets its start, so that a short run does not return it
            decay = 0.0 if plan.ema is None else min(plan.ema, (1 + step) / (10 + step))
            mean[name].mul_(decay).add_(p.detach(), alpha=1 - decay)
        done = step + 1
        if path is not None and (done % plan.every == 0 or done == plan.steps):
            seconds = time.perf_counter() - began
            state = Snapshot(mean, losses, seconds)
            write_checkpoint(path, plan, named, adam, rng, state, origin or {})
        if progress is not None:
            progress(done, plan.steps)
    module.eval()
    with torch.no_grad():
        for name, p in named.items():
            p.copy_(mean[name])
    return Trained(np.array(losses), time.perf_counter() - began)
