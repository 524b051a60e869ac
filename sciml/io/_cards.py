"""Weights and the JSON card beside them, of networks of any kind. Nothing in them is ever run."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .._checks import need
from ._atomic import atomic_file
from ._limits import FileError

__all__ = ["FORMAT", "digest", "matching", "read_json_card", "suffixed", "write_weights"]

FORMAT = 1


def suffixed(path: str | os.PathLike[str]) -> Path:
    """A path to weights.

    Raises:
        TypeError: no path. FileError: its name does not end in .safetensors.
    """
    need(path, (str, os.PathLike), "weights as a path", "name a .safetensors file")
    weights = Path(path)
    if weights.suffix != ".safetensors":
        raise FileError(weights, "expected a name that ends in .safetensors: rename it")
    return weights


def write_weights(weights: Path, content: bytes, card: Mapping[str, Any]) -> tuple[Path, Path]:
    """Weights and card, each replaced as a whole: check sums tell a pair of different runs."""
    beside = weights.with_suffix(".json")
    text = json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    for target, what in ((weights, content), (beside, text.encode())):
        with atomic_file(target) as handle:
            handle.write(what)
    return weights, beside


def read_json_card(weights: Path, most: int) -> dict[str, Any]:
    """The card beside weights: a JSON object of this format.

    Raises:
        FileError: it is missing, longer than `most` bytes, no such object, or of another format.
    """
    path = weights.with_suffix(".json")
    try:
        card = json.loads(_content(path, most))
    except (ValueError, RecursionError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(path, "expected a card as JSON, got something else: train anew") from error
    if not isinstance(card, dict) or type(card.get("format")) is not int:
        raise FileError(path, "expected a card of weights, got other JSON: train anew")
    if card["format"] != FORMAT:
        raise FileError(
            path, f"expected weights of format {FORMAT}, got {card['format']}: use the release of "
            "this package that wrote them, or train anew"
        )  # fmt: skip
    return card


def digest(card: Mapping[str, Any]) -> str:
    """The SHA-256 of a card's other entries, which it holds as `card_sha256`."""
    known = {k: v for k, v in card.items() if k != "card_sha256"}
    text = json.dumps(known, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def matching(weights: Path, card: Mapping[str, Any], most: int) -> bytes:
    """The weights' bytes.

    Raises:
        FileError: they are missing, more than `most`, or not those that the card names.
    """
    content = _content(weights, most)
    if hashlib.sha256(content).hexdigest() != card.get("sha256"):
        raise FileError(
            weights, "expected the weights that the card names by their SHA-256, got others: fetch "
            "both files again, or train anew"
        )  # fmt: skip
    return content


def _content(path: Path, most: int) -> bytes:
    if not path.is_file():
        raise FileError(path, "expected a file, got none: weights and card lie side by side")
    if path.stat().st_size > most:
        raise FileError(path, f"expected at most {most} bytes, got more: train anew")
    return path.read_bytes()
