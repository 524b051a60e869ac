"""Systems that direction networks are trained on, and the errors they start from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sciml.operator import Operator
from sciml.operators._massive import massive
from sciml.operators.diffusion import Diffusion, NodalDiffusion, Side

if TYPE_CHECKING:
    from torch import Tensor

    from sciml.networks import Stencil

__all__ = ["Batch", "Boxes", "Fields", "modes", "paper_spread", "ritz_vectors", "stencil_of"]

Shape = tuple[int, ...]

_BINS = 64
_LOW = 0.55  # (m/2 + theta) of the m = 10,000 Ritz pairs, theta = 500
_WEIGHT = 9.0


@dataclass(frozen=True, eq=False)
class Batch:
    """Systems of one shape: A e = r for known e.

    Attributes:
        stencil: A, float32. error: e, (batch, 1, *shape) float32.
        warm: steps taken before the loss is looked at.
    """

    stencil: Stencil
    error: Tensor
    warm: int


@dataclass(frozen=True)
class Boxes:
    """Empty boxes with constant k, or with a ball that is solid; errors from exact eigenvectors.

    Args:
        ndim: axes. sizes: cells along an axis, one drawn for each batch.
        members: of a batch at the smallest size; larger grids get fewer, for the same work.
        sides: of the box, one drawn for each batch.
        solid: chance of a solid ball. warm: most steps before the loss is looked at.
        powers: chance that a residual's spread over the modes is a power of their eigenvalues;
            the others have the paper's.
    """

    ndim: int
    sizes: tuple[int, ...]
    members: int = 8
    sides: tuple[Side, ...] = (Side.DIRICHLET, Side.NEUMANN)
    solid: float = 0.0
    warm: int = 8
    powers: float = 0.5

    def __call__(self, rng: np.random.Generator) -> Batch:
        """A batch. Each residual has the paper's spread over the modes or a power of them."""
        n = int(rng.choice(self.sizes))
        count = max(1, round(self.members * (min(self.sizes) / n) ** self.ndim))
        shape, side = (n,) * self.ndim, self.sides[int(rng.integers(len(self.sides)))]
        mask = _ball(shape, rng) if rng.random() < self.solid else None
        A = Diffusion(np.ones(shape), ndim=self.ndim, boundary=side, solid=mask)
        errors = np.stack([self._error(shape, side, rng) for _ in range(count)])
        if mask is not None:
            errors = errors * ~mask
        return _batch([A], errors, int(rng.integers(self.warm + 1)))

    def _error(self, shape: Shape, side: Side, rng: np.random.Generator) -> np.ndarray:
        values, synthesise = modes(shape, side)
        published = rng.random() < 1 - self.powers
        spread = paper_spread(values) if published else _power(values, rng.uniform(0, 2.5))
        r = spread * rng.standard_normal(shape)
        return synthesise(np.divide(r, values, out=np.zeros(shape), where=values > 0))


@dataclass(frozen=True)
class Fields:
    """k drawn from families of fields; errors that are exact solutions of A e = r.

    Args:
        sizes: cells along an axis, one drawn for each batch. members: as for `Boxes`.
        variances: of log k, whose covariance is one of ConDiff's three. contrasts: of solid-free
            two-phase fields. phases: share of batches that are of two phases.
    """

    sizes: tuple[int, ...]
    members: int = 8
    variances: tuple[float, ...] = (0.1, 0.4, 1.0, 2.0)
    contrasts: tuple[float, float] = (1e1, 1e4)
    phases: float = 0.25
    warm: int = 6

    def __call__(self, rng: np.random.Generator) -> Batch:
        """A batch of different k, each with a residual of its own."""
        from sciml import LinearSystem, Stop, solve

        from ..krylov import CG
        from ..multigrid import Multigrid

        n = int(rng.choice(self.sizes))
        count = max(1, round(self.members * (min(self.sizes) / n) ** 2))
        values, synthesise = modes((n, n), Side.DIRICHLET)
        operators, errors = [], []
        two_phases = rng.random() < self.phases
        for _ in range(count):
            A = self._two_phases(n, rng) if two_phases else self._log_normal(n, rng)
            spread = _power(values, rng.uniform(0, 2.5))
            b = synthesise(spread * rng.standard_normal((n, n)))
            if isinstance(A, Diffusion) and A.singular:
                b -= b.mean()
            solver = CG(M=Multigrid())
            found = solve(LinearSystem(A, b), solver, stop=Stop(rtol=1e-5, max_iters=100))
            operators.append(A)
            errors.append(found.x)
        return _batch(operators, np.stack(errors), int(rng.integers(self.warm + 1)))

    def _log_normal(self, n: int, rng: np.random.Generator) -> Operator:
        from sciml.datasets import Covariance, gaussian_field

        covariance = list(Covariance)[int(rng.integers(3))]
        variance = float(rng.choice(self.variances))
        return NodalDiffusion(np.exp(gaussian_field((n + 1, n + 1), covariance, variance, rng=rng)))

    def _two_phases(self, n: int, rng: np.random.Generator) -> Operator:
        low, high = np.log10(self.contrasts)
        k = np.ones((n, n))
        for _ in range(int(rng.integers(3, 40))):
            k[_ball((n, n), rng, (0.02, 0.12))] = 10 ** rng.uniform(low, high)
        side = (Side.DIRICHLET, Side.NEUMANN)[int(rng.integers(2))]
        return Diffusion(k, boundary=side)


def modes(shape: Shape, side: Side) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """(eigenvalues, synthesis) of −Δ on the cells of a box with h = 1 and one kind of side.

    The eigenvectors are products of sines (Dirichlet) or cosines (Neumann); `synthesis` maps
    coefficients (*shape) to the orthonormal combination of them.
    """
    from scipy.fft import idctn, idstn

    first = 1 if side is Side.DIRICHLET else 0
    transform = idstn if side is Side.DIRICHLET else idctn
    values = np.zeros((1,) * len(shape))
    for axis, n in enumerate(shape):
        one = 4 * np.sin(np.pi * (np.arange(n) + first) / (2 * n)) ** 2
        values = values + one.reshape([-1 if a == axis else 1 for a in range(len(shape))])
    return values, lambda c: np.asarray(transform(c, type=2, norm="ortho"))


def paper_spread(values: np.ndarray) -> np.ndarray:
    """Standard deviations of coefficients that follow DCDM's recipe, for exact eigenvectors.

    Kaneda et al. (2205.10763) combine m Ritz vectors with N(0, 1) coefficients, the lowest 55 %
    of them times 9. Ritz values of Lanczos crowd at the ends as cos(uniform angle) does, unlike the
    eigenvalues themselves. So each of a number of bins of equal angle gets the energy of equally
    many Ritz vectors, shared by the eigenvectors in it.
    """
    angle = np.arccos(np.clip(1 - 2 * values / values.max(), -1, 1)) / np.pi  # 0 is the lowest
    place = np.minimum((angle * _BINS).astype(int), _BINS - 1)
    crowd = np.bincount(place.ravel(), minlength=_BINS)
    spread = 1 / np.sqrt(crowd[place])
    return spread * np.where(angle < _LOW, _WEIGHT, 1.0) * (values > 0)


def _power(values: np.ndarray, power: float) -> np.ndarray:
    """λ^(−power/2), 0 for λ = 0: white noise for 0, ever smoother fields above."""
    positive = values > 0
    return np.power(values, -power / 2, where=positive, out=np.zeros(values.shape))


def ritz_vectors(
    A: Operator, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(Ritz values, Ritz vectors (count, *shape)) of Lanczos with full reorthogonalisation.

    It starts from A·noise, as the paper does, and keeps `count` vectors in memory: for small
    systems, and A of which no eigenvectors are known. Fewer come back if the space is exhausted.
    """
    size, shape = A.domain.size, A.domain.shape
    v = A(rng.standard_normal(shape).astype(A.domain.dtype)).ravel().astype(np.float64)
    basis: list[np.ndarray] = [v / np.linalg.norm(v)]
    for _ in range(min(count, size) - 1):
        w = A(basis[-1].reshape(shape).astype(A.domain.dtype)).ravel().astype(np.float64)
        Q = np.array(basis)
        for _ in range(2):
            w = w - Q.T @ (Q @ w)
        norm = np.linalg.norm(w)
        if norm <= 1e-10 * abs(A.domain.size):
            break
        basis.append(w / norm)
    Q = np.array(basis)
    AQ = np.array([A(q.reshape(shape).astype(A.domain.dtype)).ravel() for q in Q])
    values, vectors = np.linalg.eigh((H := Q @ AQ.T) / 2 + H.T / 2)
    return values, (vectors.T @ Q).reshape(-1, *shape)


def stencil_of(A: Operator) -> Stencil | None:
    """A's faces and mass as torch tensors, with A's batch first.

    None if A is no positive multiple of a diffusion operator plus a mass of 0 or more.
    """
    from sciml.arrays import is_torch, to_numpy

    found, ndim = massive(A), A.domain.ndim
    if found is None:
        return None
    import torch

    from sciml.networks import Stencil

    def tensor(a):
        t = a.detach() if is_torch(a) else torch.from_numpy(np.array(to_numpy(a)))
        t = t.expand(*A.batch_shape, *t.shape[t.ndim - ndim :])
        return t.reshape(-1, 1, *t.shape[t.ndim - ndim :])

    D: Any = found.diffusion.to(dtype=np.float64)
    faces = tuple(found.factor * tensor(c) for c in D.faces())
    fluid = tensor(D.k) > 0 if D.pins.any() else None
    number = isinstance(found.mass, float)
    mass = faces[0].new_full((1,) * (ndim + 2), found.mass) if number else tensor(found.mass)
    if (mass < 0).any():
        return None
    return Stencil.build(faces, fluid, mass, D.wraps).to(torch.float32)


def _batch(operators: list[Operator], errors: np.ndarray, warm: int) -> Batch:
    import torch

    from sciml.networks import Stencil

    stencil = Stencil.stack([p for A in operators if (p := stencil_of(A)) is not None])
    return Batch(stencil, torch.from_numpy(errors[:, None]).float(), warm)


def _ball(
    shape: Shape, rng: np.random.Generator, radii: tuple[float, float] = (0.08, 0.25)
) -> np.ndarray:
    """The cells of a ball somewhere in the box."""
    radius, centre = rng.uniform(*radii), rng.uniform(0.2, 0.8, len(shape))
    square = 0.0
    for axis, (n, c) in enumerate(zip(shape, centre, strict=True)):
        place = ((np.arange(n) + 0.5) / n - c) ** 2
        square = square + place.reshape([-1 if a == axis else 1 for a in range(len(shape))])
    return np.asarray(square < radius**2)
