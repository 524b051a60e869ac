"""What posterior samplers share: noise levels, noise of chains, and exact draws given the data."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sciml._checks import told
from sciml.arrays import Array, astype, broadcast_batch, from_host, is_array, namespace, to_numpy
from sciml.noise import Gaussian
from sciml.operator import Operator, Trait
from sciml.operators import Diagonal
from sciml.prior import Pullback
from sciml.problem import InverseProblem, LinearSystem
from sciml.space import Space

from ..krylov import CG

__all__ = ["Annealed", "Draw", "Noise", "aligned", "karras", "need_linear", "need_pullback"]

# Relative residual of the data step's CG: its error stays far below the noise that is drawn.
_RTOL = 1e-3
_MOST, _LOOK = 400, 4  # iterations, and those between two looks at the residual
_DOUBT = 1e-6  # probability below which the data contradict a covariance


class Asked(NamedTuple):
    """What the data say of a covariance, of each member: (*batch,).

    Attributes:
        wider: >= 1, what they ask it to be multiplied by. excess: >= 1, how many times the residual
            it expects. Both are 1 where chance may explain the rest.
    """

    wider: np.ndarray
    excess: np.ndarray


def karras(levels: int, most: float, least: float, rho: float = 7.0) -> list[float]:
    """Noise levels from `most` to `least` (Karras et al., arXiv 2206.00364, equation 5)."""
    if levels == 1:
        return [most]
    i = np.arange(levels) / (levels - 1)
    root = most ** (1 / rho) + i * (least ** (1 / rho) - most ** (1 / rho))
    return [float(s) for s in root**rho]


class Annealed(NamedTuple):
    """Chains that go down through noise levels."""

    x: Array  # what would be given out
    noisy: Array  # x_t
    step: int
    levels: list[float]
    tools: Any
    settled: bool = False
    asked: tuple[Asked, ...] = ()  # what `Draw.asked` said at each level

    @property
    def sigma(self) -> float:
        return self.levels[min(self.step, len(self.levels)) - 1]

    @property
    def done(self) -> bool:
        return self.step >= len(self.levels)

    @property
    def widened(self) -> np.ndarray | None:
        return np.median([look.wider for look in self.asked], axis=0) if self.asked else None

    @property
    def excess(self) -> np.ndarray | None:
        return np.max([look.excess for look in self.asked], axis=0) if self.asked else None


class Noise:
    """Standard normal noise of n chains; of mirrored ones the second half is minus the first."""

    def __init__(
        self, problem: InverseProblem, n: int, rng: np.random.Generator, *, mirrored: bool = False
    ) -> None:
        self.problem, self.rng, self.mirrored = problem, rng, mirrored
        self.batch = (n // 2 if mirrored else n, *problem.batch)

    def of(self, space: Space) -> Array:
        """(n, *batch, *shape), E|n|² = 1."""
        host = space.random(self.rng, self.batch)
        return from_host(self._both(host, np), self.problem.y, space.dtype)

    def of_data(self) -> Array:
        """(n, *batch, *range.shape), distributed as the noise of the data."""
        A, y = self.problem.A, self.problem.y
        xp = namespace(y)
        whole = xp.broadcast_to(y, (*self.problem.batch, *A.range.shape))
        return self._both(self.problem.noise.draw(whole, self.rng, self.batch[:1]), xp)

    def _both(self, x: Array, xp: Any) -> Array:
        return xp.concat([x, -x]) if self.mirrored else x


class _Whitened(Operator):
    """w -> w + T^H A^H S^-1 A T w with T = B^H diag(root): a priori w is white."""

    def __init__(self, A: Operator, noise: Gaussian, basis: Operator | None, root: Any) -> None:
        self.A, self.noise, self.basis, self.root = A, noise, basis, root
        space = A.domain if basis is None else basis.range
        own = tuple(root.shape[: root.ndim - space.ndim]) if is_array(root) else ()
        batch = broadcast_batch(A.batch_shape, own)
        super().__init__(space, traits=(Trait.POSITIVE,), batch_shape=batch)

    def spread(self, w: Array) -> Array:
        """T w."""
        return self.root * w if self.basis is None else self.basis.adjoint(self.root * w)

    def gather(self, x: Array) -> Array:
        """T^H x."""
        return self.root * (x if self.basis is None else self.basis(x))

    def _apply(self, w: Array) -> Array:
        x, sigma = self.spread(w), self.noise.sigma
        if self.noise.factor is None and not is_array(sigma):
            return w + self.gather(self.A.normal(x) / float(sigma) ** 2)  # type: ignore[arg-type]
        return w + self.gather(self.A.adjoint(self.noise.weigh(self.A(x))))

    def _adjoint(self, y: Array) -> Array:
        return self._apply(y)

    def _with_precision(self, dtype: np.dtype) -> Operator:
        made = copy.copy(self)
        basis = None if self.basis is None else self.basis.to(dtype=dtype)
        object.__setattr__(made, "A", self.A.to(dtype=dtype))
        object.__setattr__(made, "basis", basis)
        object.__setattr__(made, "domain", self.domain.to(dtype))
        object.__setattr__(made, "range", self.domain.to(dtype))
        return made


@dataclass(frozen=True)
class Draw:
    """Exact draws from p(x) ∝ N(x; centre, B^H diag(root²) B) exp(−½ ||S^-1/2 (y − A x)||²).

    By perturbation and optimisation (Papandreou and Yuille, NIPS 2010): with x = centre + T w the
    system (I + T^H A^H S^-1 A T) w = T^H A^H S^-1 (y + n − A centre) + e has a solution distributed
    as wanted for e white and n ~ N(0, S); without e and n it is the mean.

    A unitary A with noise of one size and a root that is a number needs no iteration.
    """

    problem: InverseProblem
    basis: Operator | None = None
    power: Any = None  # of S^-1/2 A on white noise, for each entry of x and member
    measured: Any = None  # entries of y, of each member

    @classmethod
    def of(cls, problem: InverseProblem, basis: Operator | None = None) -> Draw:
        """One for `problem`; it applies A once, to learn its size."""
        A, y = problem.A, problem.y
        white = problem.domain.random(np.random.default_rng(0), problem.batch)
        seen = problem.noise.whiten(A(from_host(white, y, problem.domain.dtype)))
        square = problem.A.range.norm(seen) ** 2 / problem.domain.size
        return cls(problem, basis, square, problem.measured)

    def left(self, centre: Array) -> Array:
        """y − A centre."""
        return self.problem.y - self.problem.A(centre)

    def __call__(
        self,
        centre: Array,
        root: Any,
        e: Array | None = None,
        n: Array | None = None,
        r: Array | None = None,
    ) -> Array:
        """A draw; without e and n the mean. r is `left(centre)`, if the caller has it."""
        A, noise = self.problem.A, self.problem.noise
        r = self.left(centre) if r is None else r
        system = _Whitened(A, noise, self.basis, root)
        rhs = system.gather(A.adjoint(noise.weigh(r if n is None else r + n)))
        rhs = rhs if e is None else rhs + e
        sigma = noise.sigma
        simple = noise.factor is None and not is_array(sigma) and not is_array(root)
        if simple and Trait.UNITARY in A.traits:
            return centre + system.spread(rhs / (1 + (root / float(sigma)) ** 2))  # type: ignore[arg-type]
        return centre + system.spread(self._solved(system, rhs))

    def asked(self, r: Array, root: Any, e: Array) -> Asked:
        """What the data, `left` of which is r, ask of root².

        With L = S^-1/2 A T and m measured entries, ||S^-1/2 r||² has a mean of m + tr L^H L if root
        is right. Where it is above all but a millionth of what it then may be, root² has to be
        (||S^-1/2 r||² − m) / tr L^H L times as large. Where it is below all but a millionth, root²
        is too large: the mean is `excess` times what was found. It may be a sum of exponential
        numbers of means 1 + λ, λ the eigenvalues of L^H L; their first three powers come from e.

        Args:
            r, e: (chains, *batch, ...), e white in the basis; squares are means over chains.
        """
        A, noise = self.problem.A, self.problem.noise
        system, batch = _Whitened(A, noise, self.basis, root), self.problem.batch

        def square(x: Array, space: Space) -> np.ndarray:
            each = np.asarray(to_numpy(space.norm(x)), np.float64) ** 2
            return np.broadcast_to(each.reshape(-1, *batch), (e.shape[0], *batch)).mean(axis=0)

        Le = A(system.spread(e))
        LLe = system.gather(A.adjoint(noise.weigh(Le)))
        first = square(noise.whiten(Le), A.range)
        second = square(LLe, system.domain)
        third = square(noise.whiten(A(system.spread(LLe))), A.range)
        m, found, chains = self.measured, square(noise.whiten(r), A.range), e.shape[0]
        real = not A.range.is_complex
        most = _bound(m, first, second, third, chains, real=real)
        wider = (found - m) / np.where(first > 0, first, 1)
        excess = (m + first) / np.where(found > 0, found, 1)
        small = _lower_tail(excess, m, first, second, chains, real=real) < _DOUBT
        return Asked(
            np.where((found - m > most) & (first > 0), wider, 1.0), np.where(small, excess, 1.0)
        )

    def _solved(self, system: _Whitened, rhs: Array) -> Array:
        """By CG with the system's diagonal, were A^H S^-1 A a multiple of the identity.

        Uncertified: what `sample` certifies are the draws.
        """
        space, xp = system.domain, namespace(rhs)
        weights = 1 / (1 + aligned(self.power, self.problem, space) * system.root**2)
        whole = xp.broadcast_to(weights, (*weights.shape[: -space.ndim], *space.shape))
        method = CG(M=Diagonal(astype(whole, space.dtype), ndim=space.ndim))
        state = method.init(LinearSystem(system, rhs), None)
        enough = _RTOL * to_numpy(state.estimate)
        for _ in range(_MOST // _LOOK):
            if not (to_numpy(state.estimate) > enough).any():
                break
            state = method.advance(state, _LOOK)
        return state.x


def _bound(
    m: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    third: np.ndarray,
    probes: int,
    *,
    real: bool,
) -> np.ndarray:
    """What Σ (1 + λ_i) E_i − m exceeds at the rate _DOUBT, E_i exponential of mean 1.

    A gamma distribution of the same mean, variance and skewness (Pearson's type III); the variance
    of `first`, which few probes tell, is added. Real data: squares of normal numbers for the E_i.
    """
    from scipy.stats import pearson3

    parts = 2 if real else 1
    variance = parts * (m + 2 * first + second)
    skewness = 2 * parts**2 * (m + 3 * first + 3 * second + third) / variance**1.5
    deviation = np.sqrt(variance + parts * second / max(1, probes // 2))
    return first + deviation * pearson3.isf(_DOUBT, skewness)


def _lower_tail(
    excess: np.ndarray,
    m: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    probes: int,
    *,
    real: bool,
) -> np.ndarray:
    """The most probability that Σ (1 + λ_i) E_i is so many times below its estimated mean.

    Chernoff's bound; no sum of the same mean and variance has a larger one than the gamma
    distribution of shape k, since log(1 + t λ) and the first powers are a Chebyshev system. The
    estimate of the mean, out of p independent probes, is taken as a gamma of shape k p. A gamma of
    three moments, as in `_bound`, would be wrong here: where one λ is large it begins too high.
    """
    p, ratio = max(1, probes // 2), 1 / np.maximum(excess, 1)
    k = (m + first) ** 2 / (m + 2 * first + second) / (2 if real else 1)
    return np.exp(k * (np.log(ratio) - (p + 1) * np.log((p + ratio) / (p + 1))))


def aligned(values: Array, problem: InverseProblem, space: Space, like: Array = None) -> Array:
    """Numbers per member, however they are shaped, to broadcast against elements of `space`.

    `like` has chains before the batch, and values one for each; without it there are none.
    """
    like_batch = problem.batch if like is None else like.shape[: like.ndim - problem.domain.ndim]
    xp = namespace(problem.y)
    flat = xp.reshape(xp.asarray(values), (-1,))
    if flat.shape[0] == 1:
        return xp.reshape(flat, (1,) * space.ndim)
    return xp.reshape(flat, (*like_batch, *(1,) * space.ndim))


def need_linear(problem: InverseProblem, name: str) -> None:
    """Raise TypeError unless A is linear."""
    if Trait.LINEAR not in problem.A.traits:
        raise TypeError(f"{name} expected a linear A, got nonlinear {problem.A!r}")


def need_pullback(problem: InverseProblem, name: str) -> None:
    """Raise TypeError unless the prior's denoiser can be differentiated."""
    if not isinstance(problem.prior, Pullback):
        raise TypeError(
            f"{name} expected a prior with denoise_vjp(x, sigma, v), got {told(problem.prior)}: "
            "DAPS and DiffPIR need none"
        )
