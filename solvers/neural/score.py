"""Training of denoisers for score-based priors, from clean or from noisy data."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sciml.datasets import CHANNEL_FAMILIES, ChannelConfig, DelayLineConfig
from sciml.io.csi import Bandwidth

from .origin import origin_of
from .score_data import Channels, DelayLines, Heads, Pool, Source
from .train import untrained

if TYPE_CHECKING:
    from torch import Tensor

    from sciml.networks import Denoiser, PretrainedDenoiser
    from sciml.training import Noised, Plan

__all__ = [
    "Objective",
    "ScoreCourse",
    "denoising_curve",
    "score_course",
    "train_denoiser",
    "training_seed",
]

SIGMAS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


class Objective(Enum):
    """What is minimised; the value says it on a card."""

    DENOISING = "denoising score matching, the data taken as clean"
    AMBIENT = "ambient: denoising at levels above the data's own, by Tweedie's formula"
    SURE_SCORE = "SURE-Score: Stein's risk at the data's level, score matching of what it denoises"


@dataclass(frozen=True)
class ScoreCourse:
    """How one denoiser is trained.

    Attributes:
        network: makes it, untrained. data: what it learns from. held_out: what it is judged on,
            without noise. sigmas: the levels of that.
        least, most: levels to train at, as far as the objective can.
        batch, plan, bfloat16, perturbation: see `sciml.training`; bfloat16 is for training alone.
    """

    network: Callable[[], Denoiser]
    data: Source
    held_out: Source
    plan: Plan
    objective: Objective = Objective.DENOISING
    least: float = 0.002
    most: float = 40.0
    batch: int = 32
    bfloat16: bool = True
    perturbation: float = 0.0
    sigmas: tuple[float, ...] = SIGMAS


def score_course(
    name: PretrainedDenoiser,
    *,
    quick: bool = False,
    volumes: tuple[Path, ...] = (),
    judged: tuple[Path, ...] = (),
) -> ScoreCourse:
    """The course of the weights `name`; `quick` takes a quarter of its steps.

    Args:
        volumes: heads to learn from beside procedural ones. judged: heads to be judged on in their
            place; both for MR images only.
    """
    from sciml.networks import (
        Beams,
        ChannelDenoiser,
        GatedDenoiser,
        PretrainedDenoiser,
        UNetDenoiser,
    )
    from sciml.training import Plan

    if (volumes or judged) and "mri" not in name.value:
        raise ValueError(f"expected heads with score-mri alone, got them for {name.value}")
    site, small = ChannelConfig(), Plan(400, 2e-3, ema=0.99)
    random = CHANNEL_FAMILIES["random"]
    beams = partial(ChannelDenoiser, site.nr, site.nt)
    test = Channels(site, 500)
    rows = DelayLines(DelayLineConfig(Bandwidth.MHZ20.subcarriers))
    heads = Heads(volumes)
    head = Heads(judged, drawn=0 if judged else 20, every=24)
    images = partial(
        ScoreCourse, partial(UNetDenoiser, 24, 4), held_out=head,
        plan=Plan(4000, 2e-3, ema=0.998, every=50), least=0.005, most=10.0, batch=6,
        sigmas=SIGMAS[1:-2],
    )  # fmt: skip
    made = {
        PretrainedDenoiser.SCORE_MIMO: lambda: ScoreCourse(
            partial(beams, beams=Beams.JOINT), Channels(site), test, small
        ),
        PretrainedDenoiser.SCORE_MIMO_NOISY_0DB: lambda: ScoreCourse(
            beams, Channels(site, snr_db=0.0), test, small, Objective.AMBIENT
        ),
        PretrainedDenoiser.SCORE_MIMO_NOISY_10DB: lambda: ScoreCourse(
            beams, Channels(site, snr_db=10.0), test, small, Objective.AMBIENT
        ),
        PretrainedDenoiser.SCORE_MIMO_RANDOM: lambda: ScoreCourse(
            partial(beams, width=48, layers=8),
            Channels(random),
            Channels(random, 500),
            Plan(4000, 2e-3, ema=0.995, every=100),
        ),
        PretrainedDenoiser.SCORE_MRI: lambda: images(data=heads),
        PretrainedDenoiser.SCORE_MRI_NOISY: lambda: images(
            data=replace(heads, snr_db=10.0), objective=Objective.AMBIENT
        ),
        PretrainedDenoiser.SCORE_WIFI: lambda: ScoreCourse(
            partial(GatedDenoiser, *rows.shape),
            rows,
            replace(rows, count=500),
            Plan(2000, 4e-3, ema=0.99),
            least=0.01,
            most=6.0,
            batch=256,
            bfloat16=False,
            sigmas=SIGMAS[1:-1],
        ),
    }
    full = made[name]()
    return full if not quick else replace(full, plan=replace(full.plan, steps=full.plan.steps // 4))


def train_denoiser(
    name: PretrainedDenoiser,
    out: str | os.PathLike[str],
    *,
    taken: ScoreCourse | None = None,
    quick: bool = False,
    volumes: tuple[Path, ...] = (),
    judged: tuple[Path, ...] = (),
    seed: int = 0,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Path, Path]:
    """Train the denoiser of `name`; weights, card and checkpoint go to the folder `out`.

    Data, batches, the untrained weights and what is held out each have a stream of random numbers
    of their own, spawned from `seed`. A resumed run ends as an uninterrupted one would.

    Args:
        taken: a course of your own in place of `score_course(name, ...)`.
        volumes, judged: see `score_course`.

    Returns:
        Paths of the weights and the card.

    Raises:
        ValueError: heads for a network of channels.
    """
    import torch

    from sciml.networks import save_network
    from sciml.training import train

    chosen = taken or score_course(name, quick=quick, volumes=volumes, judged=judged)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    made, drawn, first, tested = _streams(seed)
    pool = chosen.data(np.random.default_rng(made))
    network = untrained(chosen.network, first)
    own = 0.0 if chosen.objective is Objective.DENOISING else pool.own
    lesson = _Lesson(chosen, pool, own)
    lesson.prepare(network)
    held_out = chosen.held_out(np.random.default_rng(tested))
    before = denoising_curve(network, held_out, chosen.sigmas)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    done = train(
        network,
        lesson,
        lesson.draw,
        plan=chosen.plan,
        rng=np.random.default_rng(drawn),
        checkpoint=folder / f"{name.value}.checkpoint.safetensors",
        resume=resume,
        origin=origin_of(seed, chosen),
        progress=progress,
    )
    about = {
        "command": " ".join(
            [f"sciml train {name.value}", *["--quick"] * quick, f"--seed {seed}"]
            + [f"--images {path.name}" for path in volumes]
            + [f"--test-images {path.name}" for path in judged]
        ),
        "seed": seed,
        "data": str(chosen.data),
        "noise_in_data": pool.own,
        "samples": len(pool.x),
        "objective": chosen.objective.value,
        "levels": [round(float(s), 6) for s in network.levels],
        "plan": repr(chosen.plan),
        "batch": chosen.batch,
        "seconds": round(done.seconds, 1),
        "device": f"CPU, {torch.get_num_threads()} thread(s)",
        "parameters": sum(p.numel() for p in network.parameters()),
        "held_out": str(chosen.held_out),
        "held_out_sigma": list(chosen.sigmas),
        "held_out_nmse_db": denoising_curve(network, held_out, chosen.sigmas),
        "held_out_nmse_db_untrained": before,
    }
    linear = getattr(chosen.held_out, "linear", None)
    if linear is not None:
        about["held_out_nmse_db_exact_linear"] = denoising_curve(linear, held_out, chosen.sigmas)
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return save_network(folder / f"{name.value}.safetensors", network, about)


def training_seed(seed: int = 0) -> np.random.SeedSequence:
    """Of the data that `train_denoiser` draws, for whoever wants to learn from the same."""
    return _streams(seed)[0]


def _streams(seed: int) -> list[np.random.SeedSequence]:
    """Of data, of batches, of the untrained weights, of what is held out."""
    return np.random.SeedSequence(seed).spawn(4)


def denoising_curve(
    denoise: Denoiser | Callable[[np.ndarray, float], np.ndarray],
    pool: Pool,
    sigmas: tuple[float, ...],
) -> list[float]:
    """‖D(x0 + n, sigma) − x0‖² / ‖x0‖² over all of the pool, in dB, for each sigma.

    The noise is the same in every call; a whole number of dB at most is lost to chance.
    """
    from sciml.networks import Denoiser
    from sciml.priors import ScorePrior

    call = ScorePrior(denoise).denoise if isinstance(denoise, Denoiser) else denoise
    rng = np.random.default_rng(0)
    together = len({x.shape for x in pool.x}) == 1
    clean = [np.stack(pool.x)] if together else [x.numpy()[None] for x in pool.x]
    found = []
    for sigma in sigmas:
        error = size = 0.0
        for x in clean:
            real, imaginary = rng.standard_normal((2, *x.shape), np.float32)
            noise = sigma * math.sqrt(0.5) * (real + 1j * imaginary)
            estimate = call((x + noise).astype(np.complex64), sigma)
            error += float(np.sum(np.abs(estimate - x) ** 2))
            size += float(np.sum(np.abs(x) ** 2))
        found.append(round(10 * math.log10(error / size), 3))
    return found


@dataclass(frozen=True)
class _Lesson:
    """A course with its data: a loss that may change with the training, and its batches."""

    course: ScoreCourse
    pool: Pool
    own: float

    def prepare(self, network: Denoiser) -> None:
        """Preconditioning and levels, before training."""
        import torch

        x = self.pool.x
        if self.pool.crop is not None:
            side = self.pool.crop
            x = [s[i : i + side, j : j + side] for s in x
                 for i in range(0, s.shape[0] - side + 1, side)
                 for j in range(0, s.shape[1] - side + 1, side)]  # fmt: skip
        network.fit(torch.stack(x), torch.full((len(x),), self.own))
        c = self.course
        least = max(c.least, self.own if c.objective is Objective.AMBIENT else 0.0)
        network.levels.copy_(torch.tensor([least, c.most]))

    def draw(self, rng: np.random.Generator) -> Noised:
        import torch

        from sciml.training import LogUniform, noised

        c = self.course
        levels = LogUniform(c.least, c.most)
        if c.objective is Objective.AMBIENT and self.own:
            levels = LogUniform(self.own / 4, c.most)
        elif c.objective is Objective.SURE_SCORE:
            levels = LogUniform(self.own, c.most, shift=self.own)
        x, own = self.pool.drawn(rng, c.batch), torch.full((c.batch,), self.own)
        return noised(x, own, levels, rng, perturbation=c.perturbation)

    def at(self, progress: float) -> Callable[[Denoiser, Noised], Tensor]:
        import torch

        from sciml.training import SureScore, ambient_loss, denoising_loss

        loss: Any = {
            Objective.DENOISING: denoising_loss,
            Objective.AMBIENT: ambient_loss,
            Objective.SURE_SCORE: SureScore().at(progress),
        }[self.course.objective]

        def cast(network: Denoiser, batch: Noised) -> Tensor:
            with torch.autocast(batch.x.device.type, torch.bfloat16, self.course.bfloat16):
                return loss(network, batch)

        return cast
