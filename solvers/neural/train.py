"""Training of direction networks, from data that cost nothing but their generation."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from sciml.operators.diffusion import Side

from .origin import origin_of
from .systems import Batch, Boxes, Fields

if TYPE_CHECKING:
    from sciml.networks import DirectionNetwork, Pretrained
    from sciml.training import Plan

    from .objective import Loss

__all__ = ["Course", "course", "held_out_steps", "train_directions"]

Network = TypeVar("Network")

_TOLERANCE = 1e-4
_MOST_STEPS = 100


@dataclass(frozen=True)
class Course:
    """How one network is trained.

    Attributes:
        network: makes it, untrained. data: draws a batch. held_out: draws one to judge by.
        plan, loss, horizon, bfloat16: see `sciml.training.Plan` and `trajectory_loss`.
    """

    network: Callable[[], DirectionNetwork]
    data: Callable[[np.random.Generator], Batch]
    held_out: Callable[[np.random.Generator], Batch]
    plan: Plan
    loss: Loss
    horizon: int = 2
    bfloat16: bool = False


def course(name: Pretrained, *, quick: bool = False, published: bool = False) -> Course:
    """The course of the weights `name`.

    Args:
        quick: a quarter of its steps.
        published: DCDM as Kaneda et al. train it, in place of our way; for the DCDM networks.

    Raises:
        ValueError: `published`, and not a network of theirs.
    """
    full = _published(name) if published else _ours(name)
    return full if not quick else replace(full, plan=replace(full.plan, steps=full.plan.steps // 4))


def _published(name: Pretrained) -> Course:
    """As the script that Kaneda et al. released trains (arXiv 2205.10763).

    Their loss of single steps, on ten unit vectors b of the empty box of 64 cells a side with the
    paper's spread; weights from random ones by Adam at a constant 1e-4. Three things differ: exact
    eigenvectors in place of Ritz vectors, fresh vectors in place of 20,000 drawn once, and the
    convolutions' precision. Steps are as many as take the time of our course, and systems held
    out are ours.
    """
    from sciml.networks import Pretrained, SingleLevel
    from sciml.training import Plan

    from .objective import Loss

    known = {Pretrained.DCDM_2D: (2, 4800), Pretrained.DCDM_3D: (3, 64)}
    if name not in known:
        names = " or ".join(kind.value for kind in known)
        raise ValueError(f"expected {names} for the published training, got {name.value}")
    ndim, steps = known[name]
    box = Boxes(ndim, (64,), members=10, sides=(Side.NEUMANN,), warm=0, powers=0.0)
    return Course(
        partial(SingleLevel, ndim, near_identity=False),
        box,
        _ours(name).held_out,
        Plan(steps, 1e-4, floor=1.0, clip=None),
        Loss.RESIDUAL,
        horizon=1,
        bfloat16=True,
    )


def _ours(name: Pretrained) -> Course:
    """On the trajectories of the method's own solves."""
    from sciml.networks import Multilevel, Pretrained, SingleLevel
    from sciml.training import Plan

    from .objective import Loss

    neumann = (Side.NEUMANN,)
    single = partial(Course, loss=Loss.ENERGY, horizon=2, bfloat16=True)
    several = partial(Course, loss=Loss.ENERGY, horizon=2)
    made = {
        Pretrained.DCDM_2D: lambda: single(
            partial(SingleLevel, 2),
            Boxes(2, (64, 128), members=8),
            Boxes(2, (64,), warm=0),
            Plan(1500, 2e-3, ema=0.99),
        ),
        Pretrained.DCDM_3D: lambda: single(
            partial(SingleLevel, 3),
            Boxes(3, (32, 32, 32, 64), members=2, sides=neumann),
            Boxes(3, (32,), members=2, sides=neumann, warm=0),
            Plan(600, 2e-3, ema=0.98, every=20),
        ),
        Pretrained.DIRECTIONS_2D: lambda: several(
            partial(Multilevel, 2),
            Boxes(2, (64, 128), members=8, solid=0.5),
            Boxes(2, (128,), solid=0.5, warm=0),
            Plan(500, 2e-3, ema=0.98),
        ),
        Pretrained.DIRECTIONS_3D: lambda: several(
            partial(Multilevel, 3),
            Boxes(3, (32,), members=2, solid=0.5),
            Boxes(3, (32,), members=2, solid=0.5, warm=0),
            Plan(88, 2e-3, ema=0.95, every=20),
        ),
        Pretrained.DIRECTIONS_CONDIFF: lambda: several(
            partial(Multilevel, 2),
            Fields((64, 64, 128)),
            Fields((128,), warm=0),
            Plan(700, 2e-3, ema=0.98),
        ),
    }
    return made[name]()


def train_directions(
    name: Pretrained,
    out: str | os.PathLike[str],
    *,
    taken: Course | None = None,
    quick: bool = False,
    published: bool = False,
    seed: int = 0,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Path, Path]:
    """Train the network of `name`; weights, card and checkpoint go to the folder `out`.

    Batches, the untrained weights and the held-out systems each have a stream of random numbers
    of their own, spawned from `seed`. A resumed run ends as an uninterrupted one would.

    Args:
        taken: a course of your own in place of `course(name)`. quick, published: see `course`.

    Returns:
        Paths of the weights and the card.
    """
    import torch

    from sciml.networks import save_network
    from sciml.training import train

    from .objective import trajectory_loss

    chosen = course(name, quick=quick, published=published) if taken is None else taken
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    drawn, first, judged = np.random.SeedSequence(seed).spawn(3)
    network = untrained(chosen.network, first)
    if chosen.bfloat16:
        network.to(memory_format=_channels_last(network.ndim))  # type: ignore[call-overload]
    how = {"horizon": chosen.horizon, "loss": chosen.loss, "bfloat16": chosen.bfloat16}
    done = train(
        network,
        partial(trajectory_loss, **how),
        chosen.data,
        plan=chosen.plan,
        rng=np.random.default_rng(drawn),
        checkpoint=folder / f"{name.value}.checkpoint.safetensors",
        resume=resume,
        origin=origin_of(seed, chosen),
        progress=progress,
    )
    steps, before = (
        held_out_steps(judge, chosen.held_out, np.random.default_rng(judged), chosen.bfloat16)
        for judge in (network, untrained(chosen.network, first))
    )
    flags = " --quick" * quick + " --published" * published
    about = {
        "command": f"sciml train {name.value}{flags} --seed {seed}",
        "seed": seed,
        "data": repr(chosen.data),
        "objective": f"{chosen.loss.name}, {chosen.horizon} steps of the method",
        "plan": repr(chosen.plan),
        "seconds": round(done.seconds, 1),
        "device": f"CPU, {torch.get_num_threads()} thread(s)",
        "parameters": sum(p.numel() for p in network.parameters()),
        "loss_first": float(done.losses[: max(1, len(done.losses) // 20)].mean()),
        "loss_last": float(done.losses[-max(1, len(done.losses) // 20) :].mean()),
        "held_out": repr(chosen.held_out),
        "held_out_steps": steps,
        "held_out_steps_untrained": before,
    }
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return save_network(folder / f"{name.value}.safetensors", network, about)


def untrained(make: Callable[[], Network], seed: np.random.SeedSequence) -> Network:
    """The network as it is before training; torch's own generator is left as it was."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seed.generate_state(1)[0]))
        return make()


def held_out_steps(
    network: DirectionNetwork,
    draw: Callable[[np.random.Generator], Batch],
    rng: np.random.Generator,
    bfloat16: bool = False,
    batches: int = 3,
) -> float:
    """The mean number of steps to a residual of 1e-4, over systems drawn from `rng`.

    Members that are not there after 100 steps count as 100.
    """
    import torch

    from .objective import residual_history

    counts: list[float] = []
    with torch.no_grad():
        for _ in range(batches):
            history = residual_history(
                network, draw(rng), _MOST_STEPS, _TOLERANCE, bfloat16=bfloat16
            )
            counts += [float((member > _TOLERANCE).sum()) for member in history.T]
    return float(np.mean(counts))


def _channels_last(ndim: int) -> Any:
    import torch

    return {2: torch.channels_last, 3: torch.channels_last_3d}[ndim]
