"""Training of learned proximal operators of numbers, whose true ones are known."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from .origin import origin_of
from .train import untrained

if TYPE_CHECKING:
    from sciml.networks import ConvexNetwork, PretrainedProximal
    from sciml.training import Noisy, ProximalMatching

__all__ = [
    "Density",
    "Gaussians",
    "Laplace",
    "ProximalCourse",
    "gap",
    "posterior_mean",
    "posterior_mode",
    "proximal_course",
    "train_proximal",
]

_EMA = 0.99
# steps, learning rate, γ
_STAGES: tuple[tuple[int, float, float | None], ...] = (
    (500, 3e-3, None), (400, 3e-3, 0.5), (400, 3e-3, 0.2), (700, 2e-3, 0.1),
    (400, 1e-3, 0.05), (400, 5e-4, 0.03), (400, 2e-4, 0.02), (200, 5e-5, 0.02),
)  # fmt: skip
_SHARPER = ((3000, 5e-4, 0.02), (500, 1e-4, 0.02))  # for a kink
_GRID = np.linspace(-12.0, 12.0, 48_001)  # what integrals and minima are taken over


class Density(Protocol):
    """A distribution of numbers; as text, what a card says of it."""

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Float64 (count,)."""
        ...

    def draw_given(
        self, rng: np.random.Generator, y: np.ndarray, sigma: float, count: int
    ) -> np.ndarray:
        """Of p(x | y) for y = x + sigma n: float64 (count, len(y)), systematic draws.

        Those of one y are evenly spaced in probability from a random start.
        """
        ...

    def energy(self, x: np.ndarray) -> np.ndarray:
        """−log p(x) up to a constant."""
        ...


@dataclass(frozen=True)
class Laplace:
    """p(x) ∝ exp(−|x| / b)."""

    b: float = 1.0

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.laplace(scale=self.b, size=count)

    def draw_given(
        self, rng: np.random.Generator, y: np.ndarray, sigma: float, count: int
    ) -> np.ndarray:
        """Left and right of 0 it is a normal distribution, cut off there."""
        from scipy.special import log_ndtr, ndtr, ndtri

        left, right = (-y - sigma**2 / self.b) / sigma, (y - sigma**2 / self.b) / sigma
        # the mass on either side: exp(∓y / b) is what completing the square leaves
        share = 1 / (1 + np.exp(log_ndtr(right) - log_ndtr(left) - 2 * y / self.b))
        chosen, u = _systematic(rng, np.stack([share, 1 - share]), count)
        mean = np.where(chosen == 1, right, left)
        size = np.maximum(mean - ndtri(u * ndtr(mean)), 0)  # |x| / sigma
        return sigma * np.where(chosen == 1, size, -size)

    def energy(self, x: np.ndarray) -> np.ndarray:
        return np.abs(x) / self.b


@dataclass(frozen=True)
class Gaussians:
    """A mixture: p(x) = Σ shares N(x; means, stds²)."""

    shares: tuple[float, ...] = (0.6, 0.4)
    means: tuple[float, ...] = (-1.0, 1.0)
    stds: tuple[float, ...] = (0.7, 0.65)

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        which = rng.choice(len(self.shares), count, p=self.shares)
        return np.take(self.means, which) + np.take(self.stds, which) * rng.standard_normal(count)

    def draw_given(
        self, rng: np.random.Generator, y: np.ndarray, sigma: float, count: int
    ) -> np.ndarray:
        """Each component's posterior is normal, and its share follows its evidence."""
        from scipy.special import ndtri

        shares, means, stds = (np.array(p)[:, None] for p in (self.shares, self.means, self.stds))
        total = stds**2 + sigma**2
        logs = np.log(shares) - 0.5 * np.log(total) - 0.5 * (y - means) ** 2 / total
        chosen, u = _systematic(rng, np.exp(logs - np.logaddexp.reduce(logs, axis=0)), count)
        mean = (stds**2 * y + sigma**2 * means) / total
        std = stds * sigma / np.sqrt(total)
        return mean[chosen, np.arange(len(y))] + std[chosen, 0] * ndtri(u)

    def energy(self, x: np.ndarray) -> np.ndarray:
        shares, means, stds = (np.array(p) for p in (self.shares, self.means, self.stds))
        z = (np.asarray(x)[..., None] - means) / stds
        logs = np.log(shares / stds) - 0.5 * z**2
        return -np.logaddexp.reduce(logs, axis=-1)


def _systematic(
    rng: np.random.Generator, shares: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """(part, where in it), each (count, n): numbers in (0, 1), evenly spaced but for their start.

    shares: (parts, n), summing up to 1. Each draw is of the parts with these shares, and uniform
    in its part. Means over them are as good as an integral: with independent numbers within each
    `count`th, chance would hide what the loss says of f at a small γ.
    """
    v = (np.arange(count)[:, None] + rng.random(shares.shape[1])) / count
    ends = np.cumsum(shares, axis=0)
    chosen = (v[:, None] > ends[:-1]).sum(1)
    columns = np.arange(shares.shape[1])
    share = np.maximum(shares[chosen, columns], np.finfo(float).tiny)
    u = 1 - (ends[chosen, columns] - v) / share
    return chosen, np.clip(u, 1e-15, 1 - 1e-15)


def posterior_mode(density: Density, y: np.ndarray, sigma: float) -> np.ndarray:
    """argmin_x −sigma² log p(x) + ½ (x − y)², by looking at every x of a grid of 0.0005."""
    cost = sigma**2 * density.energy(_GRID)
    return np.array([_GRID[np.argmin(cost + 0.5 * (_GRID - v) ** 2)] for v in np.ravel(y)])


def posterior_mean(density: Density, y: np.ndarray, sigma: float) -> np.ndarray:
    """E[x | y] for y = x + sigma n, by a sum over the same grid."""
    found = []
    for v in np.ravel(y):
        cost = density.energy(_GRID) + 0.5 * ((_GRID - v) / sigma) ** 2
        w = np.exp(cost.min() - cost)
        found.append(np.sum(w * _GRID) / np.sum(w))
    return np.array(found)


@dataclass(frozen=True)
class ProximalCourse:
    """How one of these networks is trained.

    Attributes:
        network: makes it, untrained. density: of x. sigma: of the noise. lesson: losses and steps.
        batch: y a step, each with `draws` of p(x | y). within: where it is judged, |y| up to this.
    """

    network: Callable[[], ConvexNetwork]
    density: Density
    sigma: float
    lesson: ProximalMatching
    batch: int = 300
    draws: int = 128
    within: float = 4.0


def proximal_course(name: PretrainedProximal, *, quick: bool = False) -> ProximalCourse:
    """The course of the weights `name`; `quick` takes a quarter of its steps.

    Two things differ from the paper (`published_stages`, 2,000 pairs of x and y a step). Its last γ
    of 0.1 would leave f 0.11 above soft thresholding at y = 1, however long it is trained: what f
    tends to is the mode of p(x | y) blurred by γ / √2. We go on to 0.02. There few x are near
    enough to f to teach it anything, and each y comes with 128 of its x: for these densities they
    can be drawn, and half of the y may be spread evenly.

    The mixture's −log p is not convex, but sigma² times it and ½ x² is: its mode is continuous.

    Raises:
        ValueError: a network of images.
    """
    from sciml.networks import ConvexDense, PretrainedProximal
    from sciml.training import ProximalMatching, Stage

    if name.of_images:
        raise ValueError(
            f"expected a network of numbers, got {name.value}: see image_course and "
            "train_proximal_images"
        )

    stages = tuple(Stage(*stage) for stage in (*_STAGES, *_SHARPER))
    lesson, sharper = ProximalMatching(stages[: len(_STAGES)]), ProximalMatching(stages)
    small = partial(ConvexDense, 1, alpha=1e-3)
    laplace = ProximalCourse(partial(small, sigmas=(1.0, 1.0)), Laplace(), 1.0, sharper)
    mixture = ProximalCourse(
        partial(small, sigmas=(0.5, 0.5)), Gaussians(), 0.5, lesson, within=3.0
    )
    full = {
        PretrainedProximal.LPN_LAPLACE: laplace,
        PretrainedProximal.LPN_MIXTURE: mixture,
        PretrainedProximal.LPN_LAPLACE_MEAN: replace(
            laplace, lesson=replace(lesson.shortened(2), square=True)
        ),
    }[name]
    return replace(full, lesson=full.lesson.shortened(4)) if quick else full


def train_proximal(
    name: PretrainedProximal,
    out: str | os.PathLike[str],
    *,
    taken: ProximalCourse | None = None,
    quick: bool = False,
    seed: int = 0,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Path, Path]:
    """Train the network of `name`; weights, card and checkpoint go to the folder `out`.

    Batches and the untrained weights each have a stream of random numbers of their own, spawned
    from `seed`. A resumed run ends as an uninterrupted one would.

    Args:
        taken: a course of your own in place of `proximal_course(name)`.

    Returns:
        Paths of the weights and the card.
    """
    import torch

    from sciml.networks import save_network
    from sciml.training import train

    chosen = taken or proximal_course(name, quick=quick)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    drawn, first = np.random.SeedSequence(seed).spawn(2)
    network = untrained(chosen.network, first)
    before = gap(network, chosen)
    done = train(
        network,
        chosen.lesson,
        partial(_batch, chosen),
        plan=chosen.lesson.plan(ema=_EMA),
        rng=np.random.default_rng(drawn),
        checkpoint=folder / f"{name.value}.checkpoint.safetensors",
        resume=resume,
        origin=origin_of(seed, chosen),
        progress=progress,
    )
    wanted = "E[x | y]" if chosen.lesson.square else "the mode of p(x | y)"
    about = {
        "command": f"sciml train {name.value}{' --quick' * quick} --seed {seed}",
        "seed": seed,
        "data": f"{chosen.density} and noise of {chosen.sigma:g}",
        "objective": f"{'mean square' if chosen.lesson.square else 'proximal matching'}: {wanted}",
        "stages": [repr(stage) for stage in chosen.lesson.stages],
        "batch": chosen.batch,
        "draws": chosen.draws,
        "seconds": round(done.seconds, 1),
        "device": f"CPU, {torch.get_num_threads()} thread(s)",
        "parameters": sum(p.numel() for p in network.parameters()),
        "judged": f"the largest |f(y) - {wanted}| for |y| <= {chosen.within:g}",
        "held_out_error": gap(network, chosen),
        "held_out_error_untrained": before,
    }
    return save_network(folder / f"{name.value}.safetensors", network, about)


def gap(network: ConvexNetwork, course: ProximalCourse) -> float:
    """The largest |f(y) − truth| at 161 y up to `within`; the truth is the mode, or the mean."""
    import torch

    y = np.linspace(-course.within, course.within, 161)
    with torch.no_grad():
        found = network(torch.from_numpy(y[:, None]).to(next(network.parameters()).dtype))
    true = posterior_mean if course.lesson.square else posterior_mode
    off = found[:, 0].numpy() - true(course.density, y, course.sigma)
    return round(float(np.abs(off).max()), 4)


def _batch(course: ProximalCourse, rng: np.random.Generator) -> Noisy:
    import torch

    from sciml.training import Noisy

    noise = course.sigma * rng.standard_normal(course.batch)
    y = course.density.draw(rng, course.batch) + noise
    y[::2] = 1.25 * course.within * rng.uniform(-1, 1, len(y[::2]))  # where few would be
    x = course.density.draw_given(rng, y, course.sigma, course.draws)
    sigma = torch.full((course.batch,), course.sigma)
    clean, noisy = (torch.from_numpy(v[..., None].astype(np.float32)) for v in (x, y))
    return Noisy(clean, noisy, sigma)
