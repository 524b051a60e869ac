"""Training of the network that chooses a multigrid set-up.

Each setting solves each of some random media once. What it took, as a network has to know it, is
iterations, which are the same on every machine; a set-up and an iteration are priced by what they
cost per unknown, the median over all media. The loss is the expected logarithm of a choice's price
over the best one's, under the network's softmax: it counts what a mistake costs, not mistakes.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sciml import LinearSystem, Stop, solve
from sciml.io._atomic import atomic_file
from sciml.io._limits import FileError
from sciml.operators.diffusion import Diffusion

from ..bench.media import TRAINED, draw_medium
from ..krylov import CG
from .choice import SETTINGS, ChoiceNetwork
from .medium import COUNT, describe

__all__ = ["MEDIA", "Trials", "fit", "train_multigrid", "try_settings"]

MEDIA = 690  # that the shipped weights were trained on

_SIDES = (96, 128, 160, 192, 256)
# Iterations after which a setting has failed, and what it is then charged.
_MOST, _CHARGED = 60, 240
_HIDDEN, _EPOCHS, _RATE, _DECAY = 32, 200, 3e-3, 0.02
_HELD_OUT = 0.2


class Trials(NamedTuple):
    """What settings took on media: (media, settings); features (media, COUNT), sides (media,)."""

    features: np.ndarray
    sides: np.ndarray
    iterations: np.ndarray
    setup: np.ndarray  # seconds of processor time
    solve: np.ndarray

    def prices(self) -> np.ndarray:
        """Seconds for a million unknowns, (media, settings), with medians of what things cost."""
        size = self.sides[:, None].astype(float) ** 2 / 1e6
        setup = np.median(self.setup / size, axis=0)
        step = np.median(self.solve / self.iterations / size, axis=0)
        failed = self.iterations >= _MOST
        return setup + step * np.where(failed, _CHARGED, self.iterations)


def try_settings(seed: int) -> dict[str, object]:
    """One medium: its features, and what each setting takes to 1e-6."""
    side = int(np.random.default_rng(seed - TRAINED).choice(_SIDES))
    k, b = draw_medium("mixed", side, seed)
    A, rows = Diffusion(k), []
    for setting in SETTINGS:
        start = time.process_time()
        M = setting(A)
        ready = time.process_time()
        stop = Stop(rtol=1e-6, max_iters=_MOST)
        result = solve(LinearSystem(A, b), CG(M=M), stop=stop, throw=False)
        steps = int(result.iterations) if result.ok else _MOST
        rows.append((steps, ready - start, time.process_time() - ready))
    return {"seed": seed, "side": side, "features": describe(k).tolist(), "rows": rows}


def fit(
    trials: Trials, rng: np.random.Generator, *, epochs: int = _EPOCHS
) -> tuple[ChoiceNetwork, dict[str, float]]:
    """The network that does best on a fifth of the media, which do not train it, and figures."""
    import torch

    count = len(trials.sides)
    order = rng.permutation(count)
    held, own = order[: int(_HELD_OUT * count)], order[int(_HELD_OUT * count) :]
    prices = trials.prices()
    regret = torch.tensor(np.log(prices / prices.min(1, keepdims=True)), dtype=torch.float32)
    mean, scale = trials.features[own].mean(0), trials.features[own].std(0) + 1e-3
    x = torch.tensor(np.clip((trials.features - mean) / scale, -5, 5), dtype=torch.float32)
    sizes = (COUNT, _HIDDEN, _HIDDEN, len(SETTINGS))
    layers = []
    for fan_in, fan_out in pairwise(sizes):
        weight = rng.standard_normal((fan_out, fan_in)) * (2 / fan_in) ** 0.5
        layers.append((torch.tensor(weight, dtype=torch.float32), torch.zeros(fan_out)))
    parameters = [p.requires_grad_() for layer in layers for p in layer]
    optimizer = torch.optim.AdamW(parameters, lr=_RATE, weight_decay=_DECAY)
    best, kept = np.inf, [p.detach().clone() for p in parameters]
    for _ in range(epochs):
        for part in np.array_split(rng.permutation(own), max(1, len(own) // 32)):
            loss = (_scores(x[part], layers).softmax(1) * regret[part]).sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            now = float((_scores(x[held], layers).softmax(1) * regret[held]).sum(1).mean())
        if now < best:
            best, kept = now, [p.detach().clone() for p in parameters]
    arrays = [p.numpy() for p in kept]
    network = ChoiceNetwork(
        tuple(zip(arrays[::2], arrays[1::2], strict=True)),
        mean.astype(np.float32), scale.astype(np.float32),
    )  # fmt: skip
    chosen = network.scores(trials.features[held]).argmax(1)
    losses = regret.numpy()[held]
    return network, {
        "held_out_price_over_best": float(np.exp(losses[np.arange(len(held)), chosen].mean())),
        "held_out_price_over_best_of_one_setting": float(np.exp(losses.mean(0).min())),
    }


def _scores(x: Any, layers: Any) -> Any:
    for weight, bias in layers[:-1]:
        x = (x @ weight.T + bias).relu()
    weight, bias = layers[-1]
    return x @ weight.T + bias


def train_multigrid(
    out: str | os.PathLike[str],
    *,
    media: int = MEDIA,
    seed: int = 0,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Path, Path]:
    """Try the settings on random media and fit the network; weights and card go to folder `out`.

    Trials are kept in `out` as they are made, so that Ctrl-C loses one at most.

    Args:
        media: how many. seed: of the fit; and which media are drawn. resume: go on from the trials
            in `out`.

    Returns:
        Paths of the weights and the card.

    Raises:
        FileError: the trials in `out` are damaged, or of another seed.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "multigrid-2d.trials.jsonl"
    first = TRAINED + 10_000 * seed
    lines = _kept_trials(kept, first) if resume and kept.exists() else []
    while len(lines) < media:
        lines.append(json.dumps(try_settings(first + len(lines))))
        with atomic_file(kept) as handle:
            handle.write("\n".join([*lines, ""]).encode())
        if progress is not None:
            progress(len(lines), media)
    trials = read_trials(lines[:media])
    network, figures = fit(trials, np.random.default_rng(seed))
    about = {
        "command": f"sciml train multigrid-2d --seed {seed}",
        "seed": seed,
        "data": f"{media} media of solvers.bench.media.mixed, seeds from {first}, {_SIDES} cells",
        "objective": "expected log of the price over the best setting's",
        "device": "CPU, 1 thread",
        "processor_seconds_of_trials": round(float((trials.setup + trials.solve).sum()), 1),
        "parameters": sum(w.size + b.size for w, b in network.layers),
        **{name: round(value, 4) for name, value in figures.items()},
    }
    return network.save(folder / "multigrid-2d.safetensors", about)


def _kept_trials(path: Path, first: int) -> list[str]:
    """Lines of trials of the media from seed `first` on."""
    lines = path.read_text().splitlines()
    try:
        seeds = [json.loads(line)["seed"] for line in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise FileError(path, "expected trials, a line each, got others: remove it") from error
    if seeds != list(range(first, first + len(seeds))):
        raise FileError(
            path, f"expected trials of media from seed {first}, got some from {seeds[0]}: resume "
            "with the seed it was begun with, or train anew"
        )  # fmt: skip
    return lines


def read_trials(lines: list[str]) -> Trials:
    """Trials from lines of JSON."""
    found = [json.loads(line) for line in lines]
    rows = np.array([f["rows"] for f in found], float)
    features = np.array([f["features"] for f in found], float)
    sides = np.array([f["side"] for f in found])
    return Trials(features, sides, rows[..., 0], rows[..., 1], rows[..., 2])
