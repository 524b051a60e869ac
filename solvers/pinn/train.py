"""Train a case's network by Gauss-Newton steps: checkpoint, weights with their card, picture."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sciml._checks import integer
from sciml.io import FileError, atomic_file
from sciml.io._cards import FORMAT, digest, matching, read_json_card, suffixed, write_weights

from .deepxde import double_precision, load_deepxde, precondition, residuals, seeded
from .gauss_newton import Ended, GaussNewton, Progress, minimise
from .picture import draw_solution
from .problems import Case, certificate, find

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["load_trained", "train_case"]

_EVERY = 10.0  # seconds between two checkpoints
_MOST_BYTES = 1 << 20


def train_case(
    name: str,
    out: str | os.PathLike[str],
    *,
    steps: int | None = None,
    quick: bool = False,
    seed: int = 0,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Path, Path, Path]:
    """Train the network of `CASES[name]`; weights, card, picture and checkpoint go to `out`.

    On Ctrl-C the checkpoint holds the last step. A resumed run ends with the same bits as an
    uninterrupted one.

    Args:
        steps: of Gauss-Newton; the case's own without. quick: a quarter of these.
        resume: go on from the checkpoint, if there is one.
        progress: told (steps done, steps).

    Returns:
        Paths of the weights, of the card, whose `about` has error, residual and seconds, and of
        the picture.

    Raises:
        ImportError: DeepXDE is not installed.
        ValueError: no such case, or no step.
        FileError: `resume` with a checkpoint of another case or seed, or a damaged one.
    """
    case = find(name)
    stem = f"pinn-{name}"
    if steps is None:
        steps = case.steps // 4 if quick else case.steps
        command = f"sciml train {stem}{' --quick' * quick} --seed {seed}"
    else:
        integer(steps, "steps", 1)
        command = f"train_case({name!r}, out, steps={steps}, seed={seed})"
    dde, folder = load_deepxde(), Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.checkpoint.safetensors"
    with double_precision(dde), seeded(dde, seed):
        model = case.build(dde)
        r = residuals(precondition(model))
        now, seconds = Progress(), 0.0
        if resume and path.exists():
            theta, now, seconds = _read(path, name, seed, r.size)
            r.assign(theta)
        while now.iterations < steps and not now.stalled:
            began, done = time.perf_counter(), now.iterations
            tell = None if progress is None else lambda k, _, d=done: progress(d + k, steps)
            now, ended = minimise(
                r, GaussNewton(), iterations=steps - done, start=now, progress=tell,
                max_seconds=_EVERY,
            )  # fmt: skip
            seconds += time.perf_counter() - began
            _write(path, name, seed, r.theta(), now, seconds)
            if ended is Ended.INTERRUPTED:
                raise KeyboardInterrupt
        found = certificate(case, model.predict)
        figure = draw_solution(case, model.predict)
    about = {
        "command": command,
        "case": case.summary,
        "model": case.model,
        "seed": seed,
        "steps": now.iterations,
        "seconds": round(seconds, 1),
        "device": f"CPU, {torch.get_num_threads()} thread(s)",
        "parameters": r.size,
        "loss": now.losses[-1],
        "reference": case.known,
        **asdict(found),
    }
    written = _save(folder / f"{stem}.safetensors", name, model.net, about)
    return *written, _draw(folder / f"{stem}.png", figure)


def load_trained(path: str | os.PathLike[str]) -> tuple[Case, Any]:
    """A case and its trained `deepxde.Model`, whose `predict` works in float64.

    Raises:
        FileError: weights or card are missing, damaged or of something else.
    """
    weights = suffixed(path)
    card = read_json_card(weights, _MOST_BYTES)
    content = matching(weights, card, _MOST_BYTES)
    if card.get("card_sha256") != digest(card):
        raise FileError(weights, "expected a card with its own check sum, got a changed one")
    from safetensors import SafetensorError
    from safetensors.torch import load

    dde = load_deepxde()
    try:
        case = find(card["case"])
        with double_precision(dde), seeded(dde, 0):
            model = precondition(case.build(dde))
        model.net.load_state_dict(load(content))
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise FileError(
            weights, "expected weights of a case's network, got something else: train anew"
        ) from error
    return case, model


def _save(path: Path, name: str, net: Any, about: dict[str, Any]) -> tuple[Path, Path]:
    from safetensors.torch import save

    content = save({n: p.detach().contiguous() for n, p in net.state_dict().items()})
    card = {
        "format": FORMAT,
        "case": name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "about": about,
    }
    return write_weights(path, content, {**card, "card_sha256": digest(card)})


def _draw(path: Path, figure: Figure) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    with atomic_file(path) as handle:
        canvas.print_png(handle)
    return path


def _write(path: Path, name: str, seed: int, theta: Tensor, now: Progress, seconds: float) -> None:
    from safetensors.torch import save

    known = {"case": name, "seed": seed, "seconds": seconds, "progress": asdict(now)}
    content = save({"theta": theta}, metadata={"training": json.dumps(known)})
    with atomic_file(path) as handle:
        handle.write(content)


def _read(path: Path, name: str, seed: int, size: int) -> tuple[Tensor, Progress, float]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            known: dict[str, Any] = json.loads((file.metadata() or {})["training"])
            theta = file.get_tensor("theta")
        now = Progress(**{**known["progress"], "losses": tuple(known["progress"]["losses"])})
        of = known["case"], known["seed"]
        seconds = float(known["seconds"])
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise FileError(
            path, "expected a checkpoint of this training, got something else: train anew"
        ) from error
    if of != (name, seed) or theta.shape != (size,):
        raise FileError(
            path, f"expected a checkpoint of {name} from seed {seed}, got {of[0]} from {of[1]}: "
            "name that one, or leave out --resume"
        )  # fmt: skip
    return theta, now, seconds
