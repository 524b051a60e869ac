"""Where a `ConvexMixture` begins: a Gaussian mixture of patches, by expectation-maximisation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .._checks import integer, need
from ..networks.mixture import ConvexMixture

__all__ = ["fit_mixture"]

_FLOOR = 1e-5  # of variances, as long as the mixture is sought
_LEAST = 1e-8  # of variances in the network


def fit_mixture(
    network: ConvexMixture,
    patches: Tensor,
    rng: np.random.Generator,
    *,
    rounds: int = 30,
    progress: Callable[[int, int], None] | None = None,
) -> float:
    """Set the network to the mixture of N(0, C_c) that `patches`, less their means, come from.

    Maximum likelihood by expectation and maximisation (Dempster, Laird and Rubin, J. R. Stat. Soc.
    B 39, 1977), in double precision. Classes begin as patches of equal contrast, dealt out by
    chance. Of C_c the network keeps its `rank` largest eigenvalues, and the mean of the others.

    Args:
        patches: (count, size²), without noise. progress: called with (rounds done, rounds).

    Returns:
        The mean log-likelihood of a patch.

    Raises:
        ValueError: patches of another size, or fewer than 10 a class.
    """
    need(network, ConvexMixture, "a ConvexMixture", "ConvexMixture(...)")
    integer(rounds, "rounds", 1)
    K, d = network.classes, network.size**2
    if patches.ndim != 2 or patches.shape[1] != d or len(patches) < 10 * K:
        raise ValueError(
            f"expected patches of shape ({10 * K} or more, {d}), got {tuple(patches.shape)}"
        )
    z = (patches - patches.mean(1, keepdim=True)).double()
    share = _first(z, K, rng)
    likelihood = math.nan
    for done in range(rounds):
        pi, C = _maximised(z, share)
        share, likelihood = _expected(z, pi, C)
        if progress is not None:
            progress(done + 1, rounds)
    _put(network, *_maximised(z, share))
    return likelihood


def _first(z: Tensor, classes: int, rng: np.random.Generator) -> Tensor:
    """Which class each patch is of at first, (count, classes): of eight contrasts, then any."""
    levels = min(8, classes)
    rank = z.square().sum(1).argsort().argsort() * levels // len(z)
    start = rank * classes // levels
    width = (rank + 1) * classes // levels - start
    chance = torch.from_numpy(rng.random(len(z)))
    return torch.nn.functional.one_hot(start + (chance * width).long(), classes).double()


def _maximised(z: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """(π, C) that explain best which class each patch is of."""
    weight = share.sum(0)
    C = torch.stack([(z * w[:, None]).T @ z for w in share.unbind(1)])
    C = C / weight.clamp(min=1.0)[:, None, None]
    return weight / len(z), C + _FLOOR * torch.eye(z.shape[1], dtype=z.dtype)


def _expected(z: Tensor, pi: Tensor, C: Tensor) -> tuple[Tensor, float]:
    """(which class each patch is of, the mean log-likelihood)."""
    logs = []
    for share, one in zip(pi, C, strict=True):
        L = torch.linalg.cholesky(one)
        white = torch.linalg.solve_triangular(L, z.T, upper=False)
        logs.append(share.log() - L.diagonal().log().sum() - 0.5 * white.square().sum(0))
    log = torch.stack(logs, 1)
    total = torch.logsumexp(log, 1, keepdim=True)
    mean = float(total.mean()) - 0.5 * z.shape[1] * math.log(2 * math.pi)
    return (log - total).exp(), mean


def _put(network: ConvexMixture, pi: Tensor, C: Tensor) -> None:
    rank, d = network.rank, network.size**2
    values, vectors = torch.linalg.eigh(C)
    values, vectors = values.flip(1) - _FLOOR, vectors.flip(2)
    nu = values[:, rank : d - 1].mean(1) if rank < d - 1 else values[:, -2]
    nu = nu.clamp(min=_LEAST)
    lamda = torch.maximum(values[:, :rank], nu[:, None] + _LEAST)
    network.put(pi.clamp(min=1e-9), vectors[:, :, :rank].mT, nu, lamda)
