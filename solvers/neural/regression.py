"""Training of networks that predict ConDiff solutions: the data set's regression track."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sciml.datasets import ConDiffConfig, Split, draw_condiff

from .origin import origin_of
from .prediction import first_guess, geometric_mean
from .train import untrained

if TYPE_CHECKING:
    from torch import Tensor

    from sciml.datasets import ConDiffData
    from sciml.networks import Predictor, PretrainedPredictor
    from sciml.training import Plan

__all__ = ["Regression", "Samples", "regression", "relative_error", "train_predictor"]

_CHUNK = 20


@dataclass(frozen=True)
class Regression:
    """How one predicting network is trained.

    Attributes:
        network: makes it, untrained. config: the set that it learns and is judged on.
        samples, tests: how many systems are drawn to learn from, and to judge by.
        batch: systems in a step. plan: see `sciml.training.Plan`.
        bfloat16: run convolutions in it during training; the prediction runs in single precision.
    """

    network: Callable[[], Predictor]
    config: ConDiffConfig
    plan: Plan
    samples: int = 1000
    tests: int = 200
    batch: int = 8
    bfloat16: bool = True


@dataclass(frozen=True, eq=False)
class Samples:
    """Systems as the network sees them, divided by scale; each (samples, 1, rows, columns)."""

    log_k: Tensor
    y: Tensor
    e: Tensor
    x: Tensor

    @classmethod
    def of(cls, data: ConDiffData) -> Samples:
        """From data, in single precision; k is divided by its geometric mean, x by ‖y‖."""
        import torch

        m = geometric_mean(data.k)
        y, e = first_guess(data.k / m, data.rhs)
        size = np.sqrt(np.mean(y**2, (1, 2), keepdims=True))
        parts = (np.log(data.k / m), y / size, e / size, data.x * m / size)
        return cls(*(torch.from_numpy(p[:, None]).float() for p in parts))

    @classmethod
    def joined(cls, parts: list[Samples]) -> Samples:
        """One after the other."""
        import torch

        names = ("log_k", "y", "e", "x")
        return cls(*(torch.cat([getattr(p, name) for p in parts]) for name in names))

    def drawn(self, rng: np.random.Generator, count: int) -> Samples:
        """`count` of them, all turned or mirrored by one of the eight symmetries of the square,
        which turn a system and its solution alike; and negated or not."""
        import torch

        chosen = torch.from_numpy(rng.choice(len(self.x), count, replace=False))
        turns, mirror, sign = int(rng.integers(4)), bool(rng.integers(2)), 1 - 2 * rng.integers(2)

        def moved(a: Tensor) -> Tensor:
            a = torch.rot90(a[chosen], turns, (2, 3))
            return a.transpose(2, 3) if mirror else a

        y, e, x = (float(sign) * moved(a) for a in (self.y, self.e, self.x))
        return Samples(moved(self.log_k), y, e, x)


def regression(name: PretrainedPredictor, *, quick: bool = False) -> Regression:
    """The course of the weights `name`; `quick` takes a quarter of its steps."""
    from sciml.networks import FNO, PretrainedPredictor, UNet
    from sciml.training import Plan

    unet, fno = partial(UNet, 16, 5), partial(FNO, 16, 12, 4)
    cubic, gaussian = (
        ConDiffConfig.from_name(f"{kind}_grid64") for kind in ("cubic0.1", "gaussian1.0")
    )
    long, short = Plan(1500, 2e-3, ema=0.98), Plan(900, 2e-3, ema=0.98)
    full = {
        PretrainedPredictor.CONDIFF_UNET_CUBIC: Regression(unet, cubic, long),
        PretrainedPredictor.CONDIFF_UNET_GAUSSIAN: Regression(unet, gaussian, long),
        PretrainedPredictor.CONDIFF_FNO_CUBIC: Regression(fno, cubic, short),
        PretrainedPredictor.CONDIFF_FNO_GAUSSIAN: Regression(fno, gaussian, short),
    }[name]
    return full if not quick else replace(full, plan=replace(full.plan, steps=full.plan.steps // 4))


def relative_error(network: Predictor, s: Samples, *, bfloat16: bool = False) -> Tensor:
    """‖x̂ − x‖ / ‖x‖ of each sample, (samples,)."""
    import torch

    with torch.autocast(s.x.device.type, torch.bfloat16, bfloat16):
        found = network(s.log_k, s.y, s.e)
    return (found - s.x).flatten(1).norm(dim=1) / s.x.flatten(1).norm(dim=1)


def train_predictor(
    name: PretrainedPredictor,
    out: str | os.PathLike[str],
    *,
    taken: Regression | None = None,
    quick: bool = False,
    seed: int = 0,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Path, Path]:
    """Train the network of `name`; weights, card and checkpoint go to the folder `out`.

    The loss is the mean relative error. Test systems are of the other split and of another seed
    than those trained on, and are looked at once, at the end. A resumed run ends as an
    uninterrupted one would.

    Args:
        taken: a course of your own in place of `regression(name)`.

    Returns:
        Paths of the weights and the card.
    """
    import torch

    from sciml.networks import save_network
    from sciml.training import train

    chosen = regression(name, quick=quick) if taken is None else taken
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    total = chosen.samples + chosen.tests + chosen.plan.steps
    say = progress or (lambda done, total: None)
    began = time.perf_counter()
    known = _drawn(chosen.config, chosen.samples, seed, Split.TRAIN, lambda n: say(n, total))
    drawing = time.perf_counter() - began
    drawn, first = np.random.SeedSequence(seed).spawn(2)
    network = untrained(chosen.network, first)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    done = train(
        network,
        lambda net, batch: relative_error(net, batch, bfloat16=chosen.bfloat16).mean(),  # type: ignore[arg-type]
        lambda rng: known.drawn(rng, chosen.batch),
        plan=chosen.plan,
        rng=np.random.default_rng(drawn),
        checkpoint=folder / f"{name.value}.checkpoint.safetensors",
        resume=resume,
        origin=origin_of(seed, chosen),
        progress=lambda n, _: say(chosen.samples + n, total),
    )
    before = total - chosen.tests
    test = _drawn(
        chosen.config, chosen.tests, seed + 1, Split.TEST, lambda n: say(before + n, total)
    )
    with torch.no_grad():
        errors = relative_error(network, test).numpy()
        own = relative_error(network, known).numpy()
    guess = (test.y - test.x).flatten(1).norm(dim=1) / test.x.flatten(1).norm(dim=1)
    known_as = chosen.config.name
    about = {
        "command": f"sciml train {name.value}{' --quick' if quick else ''} --seed {seed}",
        "seed": seed,
        "data": f"{known_as}, {chosen.samples} systems of the split train, in all eight "
        "symmetries of the square",
        "objective": "mean relative error in the 2-norm",
        "plan": repr(chosen.plan),
        "batch": chosen.batch,
        "seconds": round(done.seconds, 1),
        "seconds_of_drawing": round(drawing, 1),
        "device": f"CPU, {torch.get_num_threads()} thread(s)",
        "parameters": sum(p.numel() for p in network.parameters()),
        "train_error": float(own.mean()),
        "held_out": f"{known_as}, {chosen.tests} systems of the split test, seed {seed + 1}",
        "held_out_error": float(errors.mean()),
        "held_out_error_std": float(errors.std()),
        "held_out_error_untrained": float(guess.mean()),
    }
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return save_network(folder / f"{name.value}.safetensors", network, about)


def _drawn(
    config: ConDiffConfig, count: int, seed: int, split: Split, say: Callable[[int], None]
) -> Samples:
    parts = []
    for start in range(0, count, _CHUNK):
        wanted = range(start, min(start + _CHUNK, count))
        parts.append(Samples.of(draw_condiff(config, wanted, seed=seed, split=split)))
        say(wanted.stop)
    return Samples.joined(parts)
