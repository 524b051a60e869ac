"""Learned proximal operators of numbers, beside the true ones, and the densities they stand for.

    python benchmarks/proximal_toys.py

With the weights that come with the package (`sciml train lpn-laplace` and so on make them anew).
Writes results/proximal_toys.{json,md,png}.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from _report import RESULTS, write_results

from sciml import Space
from sciml.io import atomic_file
from sciml.networks import PretrainedProximal, load_proximal, read_card, weights_path
from sciml.priors import LearnedProximal
from solvers import CG
from solvers.neural.proximal import posterior_mean, posterior_mode, proximal_course

_SHOWN = 5.0  # |y| in the picture


@dataclass(frozen=True)
class Toy:
    """A network, and where it is judged: f for |y| up to `within`, g for |x| up to `inside`."""

    name: PretrainedProximal
    within: float
    inside: float

    @cached_property
    def prior(self) -> LearnedProximal:
        return LearnedProximal(load_proximal(self.name), Space((1,)), solver=CG())

    @cached_property
    def course(self) -> Any:
        return proximal_course(self.name)

    def f(self, y: np.ndarray) -> np.ndarray:
        return self.prior.prox(y[:, None], 1 / self.prior.weight)[:, 0]

    def phi(self, x: np.ndarray) -> np.ndarray:
        """sigma² g, the least value 0."""
        found = self.prior.value(x[:, None]) / self.prior.weight
        return found - found.min()

    def true_phi(self, x: np.ndarray) -> np.ndarray:
        found = self.course.sigma**2 * self.course.density.energy(x)
        return found - found.min()

    def row(self) -> dict[str, Any]:
        y = np.linspace(-self.within, self.within, 801)
        x = np.linspace(-self.inside, self.inside, 201)
        of_phi = self.phi(x) - self.true_phi(x)
        _, residual = self.prior.preimage(x[:, None])
        return {
            "network": self.name.value,
            "y up to": f"{self.within:g}",
            "off the mode": self._off(posterior_mode, y),
            "off the mean": self._off(posterior_mean, y),
            "largest slope": f"{np.diff(self.f(y)).max() / (y[1] - y[0]):.2f}",
            "x up to": f"{self.inside:g}",
            "sigma² g off": f"{(of_phi.max() - of_phi.min()) / 2:.3f}",
            "inversion": f"{residual.max():.0e}",
            "training, s": f"{read_card(weights_path(self.name))['about']['seconds']:.0f}",
        }

    def _off(self, truth: Callable[..., np.ndarray], y: np.ndarray) -> str:
        return f"{np.abs(self.f(y) - truth(self.course.density, y, self.course.sigma)).max():.3f}"


TOYS = (
    Toy(PretrainedProximal.LPN_LAPLACE, 4.0, 3.0),
    Toy(PretrainedProximal.LPN_LAPLACE_MEAN, 4.0, 3.0),
    Toy(PretrainedProximal.LPN_MIXTURE, 3.0, 2.2),
)


def draw() -> Any:
    """A row for each network: f, and sigma² g."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6 * len(TOYS)), layout="constrained")
    panels: Any = figure.subplots(len(TOYS), 2)
    y = np.linspace(-_SHOWN, _SHOWN, 1001)
    for (left, right), toy in zip(panels, TOYS, strict=True):
        density, sigma = toy.course.density, toy.course.sigma
        left.plot(y, posterior_mode(density, y, sigma), "k", lw=3, alpha=0.35, label="mode: prox")
        left.plot(y, posterior_mean(density, y, sigma), "C1--", lw=1.2, label="mean")
        left.plot(y, toy.f(y), "C0", lw=1.4, label="f, learned")
        left.axvspan(-toy.within, toy.within, color="0.95", zorder=0)
        left.set(xlabel="y", title=f"{toy.name.value}: proximal operator")
        x = np.linspace(-toy.inside - 0.8, toy.inside + 0.8, 401)
        right.plot(x, toy.true_phi(x), "k", lw=3, alpha=0.35, label="−sigma² log p")
        right.plot(x, toy.phi(x), "C0", lw=1.4, label="sigma² g, out of f alone")
        right.axvspan(-toy.inside, toy.inside, color="0.95", zorder=0)
        right.set(xlabel="x", title=f"{type(density).__name__}, sigma {sigma:g}: −log p")
        right.set_ylim(-0.1, 1.6 * toy.true_phi(x).max())
        for axis in (left, right):
            axis.grid(alpha=0.3)
            axis.legend(fontsize=9)
    return figure


def main() -> None:
    rows = [toy.row() for toy in TOYS]
    notes = [
        "off the mode, off the mean: the largest difference of f from the true proximal operator "
        "of −sigma² log p, and from E[x | y]. sigma² g off: half the range of its difference from "
        "−sigma² log p, which it knows up to a constant.",
        "inversion: the largest residual ‖f(y) − x‖ of what g was computed from.",
        "training: on one thread.",
    ]
    path = write_results(
        "proximal_toys", "Learned proximal operators of numbers", rows, notes=notes
    )
    with atomic_file(RESULTS / "proximal_toys.png") as handle:
        draw().savefig(handle, dpi=110, format="png")
    print(path.read_text())


if __name__ == "__main__":
    main()
