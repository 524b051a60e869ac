"""Trained weights: safetensors with a JSON card beside them. Nothing in them is ever run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from .._checks import told
from ..io._cards import FORMAT, digest, matching, read_json_card, suffixed, write_weights
from ..io._limits import FileError
from .convex import ConvexNetwork
from .denoiser import ChannelDenoiser, Denoiser, GatedDenoiser, UNetDenoiser
from .directions import DirectionNetwork, SingleLevel
from .icnn import ConvexDense, ConvexImages, ConvexPatch
from .mixture import ConvexMixture
from .multilevel import Multilevel
from .prediction import FNO, Predictor, UNet

__all__ = [
    "Pretrained",
    "PretrainedDenoiser",
    "PretrainedPredictor",
    "PretrainedProximal",
    "load_denoiser",
    "load_network",
    "load_predictor",
    "load_proximal",
    "read_card",
    "save_network",
    "weights_path",
]

AnyNetwork = DirectionNetwork | Predictor | Denoiser | ConvexNetwork
Network = TypeVar("Network", DirectionNetwork, Predictor, Denoiser, ConvexNetwork)

_MOST_BYTES = 64 << 20
_LARGEST = 4096  # of an argument: modules cost time where tensors cost memory
_ARCHITECTURES: dict[
    str, type[DirectionNetwork] | type[Predictor] | type[Denoiser] | type[ConvexNetwork]
] = {
    "SingleLevel": SingleLevel,
    "Multilevel": Multilevel,
    "UNet": UNet,
    "FNO": FNO,
    "ChannelDenoiser": ChannelDenoiser,
    "GatedDenoiser": GatedDenoiser,
    "UNetDenoiser": UNetDenoiser,
    "ConvexDense": ConvexDense,
    "ConvexImages": ConvexImages,
    "ConvexPatch": ConvexPatch,
    "ConvexMixture": ConvexMixture,
}
_KEYS = {"format", "architecture", "arguments", "dimension", "sha256", "about", "card_sha256"}
_SHIPPED = Path(__file__).parents[1] / "weights"


class Pretrained(Enum):
    """Weights that come with the package; `sciml train NAME` makes them anew."""

    DCDM_2D = "dcdm-2d"
    DCDM_3D = "dcdm-3d"
    DIRECTIONS_2D = "directions-2d"
    DIRECTIONS_3D = "directions-3d"
    DIRECTIONS_CONDIFF = "directions-condiff"


class PretrainedPredictor(Enum):
    """Predictors of ConDiff's solutions that come with the package, for grid 64."""

    CONDIFF_UNET_CUBIC = "condiff-unet-cubic"
    CONDIFF_UNET_GAUSSIAN = "condiff-unet-gaussian"
    CONDIFF_FNO_CUBIC = "condiff-fno-cubic"
    CONDIFF_FNO_GAUSSIAN = "condiff-fno-gaussian"


class PretrainedDenoiser(Enum):
    """Denoisers that come with the package: of channels, 16 × 64, of MR images, and of Wi-Fi
    channels, 30 subcarriers × 3 antennas, aligned by `solvers.channels.aligning_phases`.

    Channels are of CDL-C, those of SCORE_MIMO_RANDOM of CDL-A to D with random clusters. Those
    called noisy have seen data at that signal-to-noise ratio only, SCORE_MRI_NOISY at 10 dB.
    """

    SCORE_MIMO = "score-mimo"
    SCORE_MIMO_RANDOM = "score-mimo-random"
    SCORE_MIMO_NOISY_0DB = "score-mimo-noisy-0db"
    SCORE_MIMO_NOISY_10DB = "score-mimo-noisy-10db"
    SCORE_MRI = "score-mri"
    SCORE_MRI_NOISY = "score-mri-noisy"
    SCORE_WIFI = "score-wifi"


class PretrainedProximal(Enum):
    """Learned proximal operators that come with the package.

    LPN_NATURAL is for grey photographs between 0 and 1 (noise of 0.01 to 0.25), LPN_MRI for MR
    images of heads of about 1 in the brightest tissue (0.003 to 0.25). Those of numbers are for one
    level: Laplace's distribution with b = 1 at sigma = 1; a mixture of two Gaussians at sigma =
    0.5, whose −log p is not convex. Those called mean are trained by squared errors, and give
    E[x | y].
    """

    LPN_LAPLACE = "lpn-laplace"
    LPN_MIXTURE = "lpn-mixture"
    LPN_LAPLACE_MEAN = "lpn-laplace-mean"
    LPN_NATURAL = "lpn-natural"
    LPN_MRI = "lpn-mri"

    @property
    def of_images(self) -> bool:
        """Whether it is for images, not for numbers."""
        return self in (PretrainedProximal.LPN_NATURAL, PretrainedProximal.LPN_MRI)


Shipped = Pretrained | PretrainedPredictor | PretrainedDenoiser | PretrainedProximal


def weights_path(name: Shipped) -> Path:
    """Where weights of the package lie, or would lie if they came with it."""
    return _SHIPPED / f"{name.value}.safetensors"


def save_network(
    path: str | os.PathLike[str],
    network: AnyNetwork,
    about: Mapping[str, Any],
) -> tuple[Path, Path]:
    """Write weights at `path` (.safetensors) and their card beside them (.json).

    Each file is replaced atomically; a pair of different runs is told by its check sums.

    Args:
        about: what a person should know, as JSON: data, seed, command, cost, metrics.

    Returns:
        The two paths.

    Raises:
        TypeError: no network of the package. ValueError: a convex one with an infeasible weight.
    """
    from safetensors.torch import save

    weights = suffixed(path)
    kind = next((n for n, c in _ARCHITECTURES.items() if type(network) is c), None)
    if kind is None:
        raise TypeError(f"expected one of {', '.join(_ARCHITECTURES)}, got {told(network)}")
    if isinstance(network, ConvexNetwork) and (name := network.infeasible()) is not None:
        raise ValueError(
            "expected a convex network, its weights finite, W, c, alpha >= 0 and beta > 0, got "
            f"another {name}: project() mends W and c"
        )
    content = save({n: p.detach().contiguous() for n, p in network.state_dict().items()})
    card = {
        "format": FORMAT,
        "architecture": kind,
        "arguments": network.arguments,
        "dimension": network.ndim,
        "sha256": hashlib.sha256(content).hexdigest(),
        "about": dict(about),
    }
    card["card_sha256"] = digest(card)
    return write_weights(weights, content, card)


def load_network(
    source: Pretrained | str | os.PathLike[str], *, ndim: int | None = None
) -> DirectionNetwork:
    """The network whose weights lie at `source`, on the CPU.

    Args:
        source: weights of the package, or the path of a .safetensors file with its card.
        ndim: refuse networks for grids of another dimension.

    Raises:
        FileError: missing, damaged or tampered files; another version, architecture or dimension.
    """
    path = _path(source)
    card = read_card(path)
    if ndim is not None and card["dimension"] != ndim:
        raise FileError(
            path,
            f"expected a network for {ndim}-D grids, got one for {card['dimension']}-D: "
            "choose other weights",
        )
    return _of_kind(DirectionNetwork, "a direction network", path, card)


def load_predictor(source: PretrainedPredictor | str | os.PathLike[str]) -> Predictor:
    """The predicting network whose weights lie at `source`, on the CPU.

    Raises:
        FileError: as `load_network`, and for weights of a direction network.
    """
    path = _path(source)
    return _of_kind(Predictor, "a Predictor", path, read_card(path))


def load_denoiser(source: PretrainedDenoiser | str | os.PathLike[str]) -> Denoiser:
    """The denoiser whose weights lie at `source`, on the CPU.

    Raises:
        FileError: as `load_network`, and for weights of another kind of network.
    """
    path = _path(source)
    return _of_kind(Denoiser, "a Denoiser", path, read_card(path))


def load_proximal(source: PretrainedProximal | str | os.PathLike[str]) -> ConvexNetwork:
    """The convex network whose weights lie at `source`, on the CPU.

    Raises:
        FileError: as `load_network`, for weights of another kind of network, and for weights with
            which ψ is not convex: f would be no proximal operator.
    """
    path = _path(source)
    network = _of_kind(ConvexNetwork, "a ConvexNetwork", path, read_card(path))
    if (name := network.infeasible()) is not None:
        raise FileError(
            path, f"expected W and c >= 0 and all weights finite, got others in {name}: f is no "
            "proximal operator with these, train anew"
        )  # fmt: skip
    return network


def _of_kind(kind: type[Network], words: str, path: Path, card: Mapping[str, Any]) -> Network:
    """The network of this card; FileError if it is of another kind, with what loads it."""
    network = _built(path, card)
    if not isinstance(network, kind):
        found = card["architecture"]
        raise FileError(path, f"expected {words}, got a {found}: use {_loader(network)}")
    return network


def _loader(network: AnyNetwork) -> str:
    """What loads weights of this kind."""
    if isinstance(network, ConvexNetwork):
        return "load_proximal"
    if isinstance(network, Denoiser):
        return "load_denoiser"
    return "load_predictor" if isinstance(network, Predictor) else "load_network"


def _path(source: Shipped | str | os.PathLike[str]) -> Path:
    if isinstance(source, Shipped):
        return weights_path(source)
    return suffixed(source)


def _built(weights: Path, card: Mapping[str, Any]) -> AnyNetwork:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    content = matching(weights, card, _MOST_BYTES)
    try:
        tensors = load(content)
        kind, arguments = _ARCHITECTURES[card["architecture"]], card["arguments"]
        if any(type(n) is int and n > _LARGEST for n in dict(arguments).values()):
            raise ValueError("too large")
        with torch.device("meta"):  # what a card says takes no memory until the file agrees
            said = {n: t.shape for n, t in kind(**arguments).state_dict().items()}
        if said != {n: t.shape for n, t in tensors.items()}:
            raise ValueError("other shapes")
        network = kind(**arguments)
        network.load_state_dict(tensors)
    except (SafetensorError, RuntimeError, ValueError, TypeError) as error:
        raise FileError(
            weights,
            f"expected weights of a {card['architecture']}({card['arguments']}), got others "
            f"({type(error).__name__}): train anew",
        ) from error
    return network.eval()


def read_card(weights: str | os.PathLike[str]) -> dict[str, Any]:
    """The card beside a weights file, checked.

    Raises:
        FileError: it is missing, damaged, tampered with, or of another version.
    """
    path = suffixed(weights).with_suffix(".json")
    card = read_json_card(suffixed(weights), _MOST_BYTES)
    if set(card) != _KEYS or card["card_sha256"] != digest(card):
        raise FileError(path, "expected a card with its own check sum, got a changed one: fetch "
                        "it again, or train anew")  # fmt: skip
    if card["architecture"] not in list(_ARCHITECTURES):  # it may be a list itself
        raise FileError(
            path, f"expected one of {', '.join(_ARCHITECTURES)}, got {card['architecture']!r}: "
            "use the release of this package that wrote it"
        )  # fmt: skip
    return card
