"""Training of learned proximal operators of images: photographs, and MR images of heads."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .origin import origin_of
from .score_data import Heads, Photographs, Pool, Source
from .train import untrained

if TYPE_CHECKING:
    from torch import Tensor

    from sciml.networks import ConvexMixture, ConvexNetwork, PretrainedProximal
    from sciml.training import Noisy, ProximalMatching

__all__ = [
    "ImageCourse",
    "held_out_squares",
    "image_course",
    "mean_psnr",
    "train_proximal_images",
]

_ROUNDS = 30  # of the mixture's fit
_EMA = 0.99
_STREAMS = 5  # of random numbers


@dataclass(frozen=True)
class ImageCourse:
    """How one of these networks is trained.

    Attributes:
        network: makes it, untrained. data: what it learns from; of complex images the real parts.
        held_out: what it is judged on. lesson: losses and steps. batch: squares a step.
        patches: that the mixture is fitted to before. sigmas: levels it is judged at.
    """

    network: Callable[[], ConvexMixture]
    data: Source
    held_out: Source
    lesson: ProximalMatching
    batch: int = 4
    patches: int = 60_000
    sigmas: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2)


def image_course(
    name: PretrainedProximal,
    *,
    quick: bool = False,
    files: tuple[Path, ...] = (),
    judged: tuple[Path, ...] = (),
) -> ImageCourse:
    """The course of the weights `name`; `quick` takes a quarter of its steps.

    γ falls as in the paper (`published_stages`), in units of the noise: its 0.08 √size is for noise
    of 0.1. Steps are fewer: the network starts as the mixture that explains patches best.

    Args:
        files: images to learn from beside procedural ones, grey ones or heads. judged: images to be
            judged on in place of procedural ones.

    Raises:
        ValueError: a network of numbers.
    """
    from sciml.networks import ConvexMixture, PretrainedProximal
    from sciml.training import ProximalMatching, Stage

    if not name.of_images:
        raise ValueError(
            f"expected a network of images, got {name.value}: see proximal_course and "
            "train_proximal"
        )

    side = 64
    least = 0.8 * side
    lesson = ProximalMatching(
        (
            Stage(100, 1e-3),
            *(Stage(50, 5e-4, least * 2**k) for k in (3, 2, 1)),
            Stage(100, 2e-4, least),
        )
    )
    drawn = 0 if judged else 12
    full = {
        PretrainedProximal.LPN_NATURAL: ImageCourse(
            ConvexMixture,
            Photographs(files, crop=side),
            Photographs(judged, drawn, crop=128),
            lesson,
        ),
        PretrainedProximal.LPN_MRI: ImageCourse(
            partial(ConvexMixture, sigmas=(0.003, 0.25)),  # less noise than in photographs
            Heads(files, crop=side),
            Heads(judged, drawn, crop=96, every=24),
            lesson,
            sigmas=(0.005, 0.02, 0.05, 0.1, 0.2),
        ),
    }[name]
    return replace(full, lesson=lesson.shortened(4)) if quick else full


def train_proximal_images(
    name: PretrainedProximal,
    out: str | os.PathLike[str],
    *,
    taken: ImageCourse | None = None,
    quick: bool = False,
    files: tuple[Path, ...] = (),
    judged: tuple[Path, ...] = (),
    seed: int = 0,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Path, Path]:
    """Train the network of `name`; weights, card and checkpoint go to the folder `out`.

    Data, patches, batches, the untrained weights and what is held out each have a stream of random
    numbers of their own, spawned from `seed`. A resumed run ends as an uninterrupted one would.

    Args:
        taken: a course of your own in place of `image_course(name, ...)`.
        files, judged: see `image_course`.

    Returns:
        Paths of the weights and the card.
    """
    import torch

    from sciml.networks import save_network
    from sciml.training import fit_mixture, train

    chosen = taken or image_course(name, quick=quick, files=files, judged=judged)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / f"{name.value}.checkpoint.safetensors"
    made, cut, drawn, first, _ = np.random.SeedSequence(seed).spawn(_STREAMS)
    pool = chosen.data(np.random.default_rng(made))
    held_out = held_out_squares(chosen, seed)
    network, steps = untrained(chosen.network, first), chosen.lesson.steps
    told = progress or (lambda done, total: None)
    rng = np.random.default_rng(cut)
    patches = _patches(pool, network.size, chosen.patches, rng)
    fit_mixture(
        network, patches, rng, rounds=_ROUNDS,
        progress=lambda done, total: told(done, total + steps),
    )  # fmt: skip
    before = mean_psnr(network, held_out, chosen.sigmas)
    done = train(
        network,
        chosen.lesson,
        partial(_batch, pool, chosen.batch, network.sigmas),
        plan=chosen.lesson.plan(ema=_EMA, every=50),
        rng=np.random.default_rng(drawn),
        checkpoint=checkpoint,
        resume=resume,
        origin=origin_of(seed, chosen),
        progress=lambda done, total: told(done + _ROUNDS, total + _ROUNDS),
    )
    about = {
        "command": " ".join(
            [f"sciml train {name.value}", *["--quick"] * quick, f"--seed {seed}"]
            + [f"--images {path.name}" for path in files]
            + [f"--test-images {path.name}" for path in judged]
        ),
        "seed": seed,
        "data": str(chosen.data),
        "objective": "a mixture fitted to patches, then proximal matching of whole squares",
        "stages": [repr(stage) for stage in chosen.lesson.stages],
        "batch": chosen.batch,
        "patches": chosen.patches,
        "seconds": round(done.seconds, 1),
        "device": f"CPU, {torch.get_num_threads()} thread(s)",
        "parameters": sum(p.numel() for p in network.parameters()),
        "held_out": str(chosen.held_out),
        "held_out_sigma": list(chosen.sigmas),
        "held_out_psnr_db": mean_psnr(network, held_out, chosen.sigmas),
        "held_out_psnr_db_mixture": before,
    }
    return save_network(folder / f"{name.value}.safetensors", network, about)


def mean_psnr(network: ConvexNetwork, x: Tensor, sigmas: tuple[float, ...]) -> list[float]:
    """Of f(x + sigma n) for images x, real (count, rows, columns), in dB with a peak of 1; the
    noise is the same in every call."""
    import torch

    n = torch.from_numpy(np.random.default_rng(0).standard_normal(x.shape).astype(np.float32))
    found = []
    with torch.no_grad():
        for sigma in sigmas:
            level = torch.full((len(x),), sigma) if network.told_sigma else None
            error = network((x + sigma * n)[:, None], level)[:, 0] - x
            decibels = -10 * error.square().mean((1, 2)).log10()
            found.append(round(float(decibels.mean()), 3))
    return found


def held_out_squares(course: ImageCourse, seed: int = 0) -> Tensor:
    """The twelve squares that a training with this seed is judged on, (12, rows, columns)."""
    tested = np.random.SeedSequence(seed).spawn(_STREAMS)[-1]
    pool = course.held_out(np.random.default_rng(tested))
    return pool.drawn(np.random.default_rng(tested), 12).real.contiguous()


def _patches(pool: Pool, size: int, count: int, rng: np.random.Generator) -> Tensor:
    """(count, size²), eight of every square."""
    import torch

    found, each = [], 8
    for _ in range(-(-count // (64 * each))):
        squares = pool.drawn(rng, 64).real
        side = squares.shape[1]
        for square, ends in zip(
            squares, rng.integers(0, side - size + 1, (64, each, 2)), strict=True
        ):
            found += [square[i : i + size, j : j + size].flatten() for i, j in ends]
    return torch.stack(found[:count])


def _batch(pool: Pool, count: int, sigmas: tuple[float, float], rng: np.random.Generator) -> Noisy:
    import torch

    from sciml.training import Noisy

    x = pool.drawn(rng, count).real[:, None]
    levels = np.exp(rng.uniform(math.log(sigmas[0]), math.log(sigmas[1]), count))
    sigma = torch.from_numpy(levels.astype(np.float32))
    noise = torch.from_numpy(rng.standard_normal(x.shape, np.float32))
    return Noisy(x, x + sigma[:, None, None, None] * noise, sigma)
