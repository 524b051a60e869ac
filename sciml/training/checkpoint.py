"""Checkpoints of a training: one safetensors file with its JSON inside, replaced atomically."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..io._atomic import atomic_file
from ..io._limits import FileError
from .plan import Plan

__all__ = ["Snapshot", "read_checkpoint", "write_checkpoint"]

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Snapshot:
    """What a training knows besides the module, the optimiser and the generator."""

    mean: dict[str, Tensor]
    losses: list[float]
    seconds: float


def write_checkpoint(
    path: Path,
    plan: Plan,
    named: Mapping[str, Tensor],
    adam: torch.optim.Adam,
    rng: np.random.Generator,
    snapshot: Snapshot,
    origin: Mapping[str, Any],
) -> None:
    """Replace `path` by the state after the last step."""
    from safetensors.torch import save

    tensors = {"losses": torch.tensor(snapshot.losses, dtype=torch.float64)}
    for name, p in named.items():
        tensors[f"weights.{name}"] = p.detach().contiguous()
        tensors[f"mean.{name}"] = snapshot.mean[name].contiguous()
        for moment in _MOMENTS:
            tensors[f"{moment}.{name}"] = adam.state[p][moment].contiguous()
    known = {
        "plan": dataclasses.asdict(plan),
        "origin": dict(origin),
        "rng": rng.bit_generator.state,
        "seconds": snapshot.seconds,
    }
    content = save(tensors, metadata={"training": json.dumps(known)})
    with atomic_file(path) as handle:
        handle.write(content)


def read_checkpoint(
    path: Path,
    plan: Plan,
    named: Mapping[str, Tensor],
    adam: torch.optim.Adam,
    rng: np.random.Generator,
    origin: Mapping[str, Any],
) -> Snapshot:
    """Put the state at `path` into the parameters, the optimiser and the generator.

    Raises:
        FileError: the file is damaged, or of another plan, origin or module.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            known: dict[str, Any] = json.loads((file.metadata() or {})["training"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if known["plan"] != json.loads(json.dumps(dataclasses.asdict(plan))):  # no tuples there
            raise FileError(
                path, f"expected a checkpoint of {plan}, got {known['plan']}: train it anew"
            )
        _same_origin(path, json.loads(json.dumps(dict(origin))), known["origin"])
        moments = {name: {m: tensors[f"{m}.{name}"].clone() for m in _MOMENTS} for name in named}
        with torch.no_grad():
            for name, p in named.items():
                if tensors[f"weights.{name}"].shape != p.shape:
                    raise KeyError(name)
                p.copy_(tensors[f"weights.{name}"])
                adam.state[p].update(moments[name])
        rng.bit_generator.state = known["rng"]
        mean = {name: tensors[f"mean.{name}"].clone() for name in named}
        return Snapshot(mean, tensors["losses"].tolist(), float(known["seconds"]))
    except FileError:
        raise
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise FileError(
            path, f"expected a checkpoint of this network, got another file ({error}): remove it"
        ) from error


def _same_origin(path: Path, mine: dict[str, Any], kept: dict[str, Any]) -> None:
    """Weights of one seed or one set of data are not gone on with as those of another."""
    for name in dict.fromkeys((*mine, *kept)):
        wanted, got = mine.get(name), kept.get(name)
        if wanted != got:
            raise FileError(
                path, f"expected a checkpoint of a training with {name} {wanted!r}, got one with "
                f"{got!r}: resume with what it was begun with, or train anew"
            )  # fmt: skip
