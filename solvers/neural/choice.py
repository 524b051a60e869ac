"""The network that chooses a multigrid set-up: what it chooses among, weights, and their card."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import sciml
from sciml.io._cards import FORMAT, digest, matching, read_json_card, write_weights
from sciml.io._limits import FileError

from ..multigrid import Bodies, Cycle, Lines, Multigrid
from ..precond import AMG, Recipe
from .medium import COUNT

__all__ = ["SETTINGS", "SHIPPED", "ChoiceNetwork", "read_card"]

SHIPPED = Path(sciml.__file__).parent / "weights" / "multigrid-2d.safetensors"
_MOST_BYTES = 5 << 20

_P, _B = Lines.POINTS, Lines.BOTH
# What the network chooses among: what levels relax, from which one AMG takes
# over, and whether the means over bodies of high k are corrected.
SETTINGS: tuple[Recipe, ...] = (
    Multigrid(Cycle.V, lines=(_P,), algebraic=0),
    Multigrid(Cycle.V, lines=(_P, _B), algebraic=0),
    Multigrid(Cycle.V, lines=(_B,), algebraic=0),
    Multigrid(Cycle.W, lines=(_P, _B), algebraic=0),
    Multigrid(Cycle.V, lines=(_P,), algebraic=1),
    Multigrid(Cycle.V, lines=(_P,), algebraic=2),
    Multigrid(Cycle.V, lines=(_P,), algebraic=3),
    Multigrid(Cycle.V, lines=(_P, _B), algebraic=2),
    Multigrid(Cycle.V, lines=(_P, _B), algebraic=3),
    Multigrid(Cycle.V, lines=(_B,), algebraic=2),
    Multigrid(Cycle.V, lines=(_B,), algebraic=3),
    Multigrid(Cycle.V, lines=(_P, _P, _B), algebraic=4),
    AMG(),
    Bodies(Multigrid(Cycle.V, lines=(_P, _B), algebraic=0)),
    Bodies(Multigrid(Cycle.V, lines=(_B,), algebraic=0)),
)


@dataclass(frozen=True, eq=False)
class ChoiceNetwork:
    """Two hidden layers of ReLU, in NumPy: a score for each of `SETTINGS`, the highest wins.

    Attributes:
        layers: (weight (out, in), bias (out,)) of each, float32; features come in standardised.
        mean, scale: (COUNT,) float32, of the features.
    """

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]
    mean: np.ndarray
    scale: np.ndarray

    def __post_init__(self) -> None:
        width = COUNT
        for weight, bias in self.layers:
            if weight.ndim != 2 or weight.shape[1] != width or bias.shape != weight.shape[:1]:
                raise ValueError(f"expected a layer of {width} inputs, got {weight.shape}")
            width = weight.shape[0]
        if width != len(SETTINGS) or not self.mean.shape == self.scale.shape == (COUNT,):
            raise ValueError(f"expected {COUNT} features and {len(SETTINGS)} scores, got others")

    def scores(self, features: np.ndarray) -> np.ndarray:
        """(..., COUNT) -> (..., settings). Features far from what training saw are cut off."""
        x = np.clip((features - self.mean) / self.scale, -5, 5)
        for weight, bias in self.layers[:-1]:
            x = np.maximum(x @ weight.T + bias, 0)
        weight, bias = self.layers[-1]
        return x @ weight.T + bias

    def ranked(self, features: np.ndarray) -> list[Recipe]:
        """`SETTINGS`, the best first; a score that is no number comes last."""
        scores = np.nan_to_num(self.scores(features), nan=-np.inf)
        return [SETTINGS[i] for i in np.argsort(-scores, kind="stable")]

    def save(self, path: str | os.PathLike[str], about: Mapping[str, Any]) -> tuple[Path, Path]:
        """Write weights at `path` (.safetensors) and a card beside them (.json).

        Args:
            about: what a person should know, as JSON: data, seed, command, cost, metrics.
        """
        from safetensors.numpy import save

        arrays = {"mean": self.mean, "scale": self.scale}
        for i, (weight, bias) in enumerate(self.layers):
            arrays |= {f"{i}.weight": weight, f"{i}.bias": bias}
        content = save({n: np.ascontiguousarray(a, np.float32) for n, a in arrays.items()})
        card = {
            "format": FORMAT,
            "architecture": type(self).__name__,
            "settings": [repr(s) for s in SETTINGS],
            "sha256": hashlib.sha256(content).hexdigest(),
            "about": dict(about),
        }
        card["card_sha256"] = digest(card)
        return write_weights(Path(path), content, card)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ChoiceNetwork:
        """The network at `path`.

        Raises:
            FileError: missing, damaged or changed files, or weights for other settings.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        weights = Path(path)
        content = matching(weights, read_card(weights), _MOST_BYTES)
        try:
            arrays = load(content)
            count = (len(arrays) - 2) // 2
            layers = tuple((arrays[f"{i}.weight"], arrays[f"{i}.bias"]) for i in range(count))
            if not all(np.isfinite(a).all() for a in arrays.values()):
                raise ValueError("not finite")
            return cls(layers, arrays["mean"], arrays["scale"])
        except (SafetensorError, KeyError, ValueError) as error:
            raise FileError(
                weights, f"expected weights of a ChoiceNetwork, got others ({error}): train anew"
            ) from error


def read_card(weights: str | os.PathLike[str]) -> dict[str, Any]:
    """The card beside a weights file.

    Raises:
        FileError: it is missing, damaged, changed, of another version, or of other settings.
    """
    path = Path(weights).with_suffix(".json")
    card = read_json_card(Path(weights), _MOST_BYTES)
    if card.get("settings") != [repr(s) for s in SETTINGS]:
        raise FileError(
            path, "expected weights for this release's settings, got others: train anew"
        )
    if card.get("card_sha256") != digest(card):
        raise FileError(path, "expected a card with its own check sum, got a changed one: fetch "
                        "it again, or train anew")  # fmt: skip
    return card
