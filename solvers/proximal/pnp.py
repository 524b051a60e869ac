"""Plug-and-play ADMM (Venkatakrishnan, Bouman and Wohlberg, GlobalSIP 2013), with a proof."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sciml._checks import integer, number
from sciml.arrays import Array, doubled, safe_norm
from sciml.prior import Native, Proximable
from sciml.problem import InverseProblem, LinearSystem, Problem

from ..krylov import CG
from ._base import (
    Condition,
    Curvature,
    Theory,
    Watchable,
    believed,
    gradient,
    lipschitz,
    margin,
    need_prior,
    still,
    weakness,
    within,
)

__all__ = ["PlugAndPlayADMM"]

_ROOM = 0.01
# The residual of the data term's step over what z has moved x: u is as far from ∇f(x) / rho.
_INEXACT, _LOOK = 0.05, 5


class _State(NamedTuple):
    x: Array  # the answer: z, or `smooth` for priors at their native step, where it is measured
    z: Array  # what the proximal operator gave
    smooth: Array  # what the data term's step gave: x below
    u: Array  # ∇f / rho at `smooth`
    estimate: Array
    flag: Any
    problem: InverseProblem
    slope: Callable[[Array], Array]
    H: Curvature
    off: Any  # how far z may be from the proximal operator, per member
    y: Array | None  # of z, for priors with a native step


@dataclass(frozen=True, kw_only=True)
class PlugAndPlayADMM(Watchable):
    """min f(x) + g(z) with x = z, f the data term, by the proximal operator of g at step 1 / rho.

    Boyd et al. (Found. Trends Mach. Learn. 3, 2011), (3.5) to (3.7) with the prior first: then
    u = ∇f(x) / rho after each iteration, and with the quadratic f the augmented Lagrangian

        f(x) + g(z) + rho / 2 (||z − x + u||² − ||u||²) >= (f + g)(z) + (rho − L) / 2 ||x − z||²

    falls in every iteration for rho >= L and rho >= w, L and w as for FISTA. With d the change of x
    and H = A^H S^-1 A it falls by <d, (H + rho) d> / 2 in x, and rises by ||H d||² / rho in u: no
    more, if (rho − h) (rho + 2 h) >= 0 for each eigenvalue h of H (Themelis and Patrinos, SIAM J.
    Optim. 30, 2020; Fang, Buchanan and Sulam, ICLR 2024). For convex g any rho converges. As
    z = prox(x − ∇f(x) / rho), and x moves by (I + H / rho)^-1 (z − x), it is the proximal gradient
    method made stable at steps beyond 1 / L.

    Args:
        rho: in units of 1 / problem.step, which is at least L: 1 or more is in the proof. Without,
            what makes 1 / rho the prior's native step, at which a learned prox is one evaluation
            of its network, and 1 for priors that have none.
        inner: most iterations of CG in the data term's step, from the last x; fewer where its
            residual is a twentieth of what z asks x to move by. The proof is for exact steps:
            `Watch` tells what inexact ones do.
    """

    rho: float | None = None
    inner: int = 20

    def __post_init__(self) -> None:
        integer(self.inner, "inner", 1)
        if self.rho is not None:
            number(self.rho, "rho", least=1e-12)

    def check(self, problem: Problem) -> None:
        need_prior(problem, self.name, Proximable, "prox, such as L1Wavelet(weight, W)")

    def init(self, problem: InverseProblem, x0: Array | None, rng: Any = None) -> _State:
        x = problem.start() if x0 is None else x0
        rho, slope = 1 / self.prox_step(problem), gradient(problem)
        first = problem.distance(x)  # `residual` would invert a learned f for its own step
        if first is None:
            first = problem.norm(problem.residual(x))
        H = Curvature(problem, rho)
        return _State(x, x, x, slope(x) / rho, first, 0, problem, slope, H, 0.0, None)

    def advance(self, state: _State, k: int) -> _State:
        _, z, x, u, estimate, flag, problem, slope, H, off, y = state
        prior, step, rho = problem.prior, self.prox_step(problem), H.rho
        back = -slope(0 * x)
        # the proximal operator at problem.step stretches ∇f(z) + p by up to 1 / room
        room = 1 - problem.step * (weakness(prior) or 0.0)
        native = isinstance(prior, Native) and step == prior.native_step
        for _ in range(k):
            x_old, v = x, x - u
            z, off, y = within(prior, v, step, y)  # (3.5)
            x = self._moved(LinearSystem(H, back + rho * (z + u)), x, z)  # (3.6)
            u = u + z - x  # (3.7)
            if native:  # u is ∇f(x) / rho: of the gradient mapping at x, see `distance`
                estimate = problem.domain.norm(z - x_old) / problem.step
            elif room > _ROOM:
                p = rho * (v - z)  # of the subdifferential of g at z
                estimate = problem.domain.norm(slope(z) + p) / room
            else:
                estimate = problem.domain.norm(z - x_old) / step
        return _State(x if native else z, z, x, u, estimate, flag, problem, slope, H, off, y)

    def _moved(self, system: LinearSystem, x: Array, z: Array) -> Array:
        """The data term's step from x."""
        H = system.A
        assert isinstance(H, Curvature)
        enough = _INEXACT * H.rho * system.domain.norm(z - x)
        state = CG().init(system, x, None)
        for done in range(0, self.inner, _LOOK):
            if not (state.estimate > enough).any():
                break
            state = CG().advance(state, min(_LOOK, self.inner - done))
        return state.x

    # -- what is proven of it ----------------------------------------------------------------

    def prox_step(self, problem: InverseProblem) -> float:
        if self.rho is not None:
            return problem.step / self.rho
        prior = problem.prior
        return prior.native_step if isinstance(prior, Native) else problem.step

    def theory(self, problem: InverseProblem) -> Theory:
        (least, most, notes), w = lipschitz(problem), weakness(problem.prior)
        notes += believed(problem.prior)
        rho = 1 / self.prox_step(problem)
        if w is None:
            return Theory("", notes=(*notes, "The prior does not say how far from convex it is."))
        told = f"rho = {rho:.4g}, L between {least:.4g} and {most:.4g}"
        asked = (
            Condition(f"rho >= L ({told})", margin(rho, (least, most))),
            Condition(f"rho >= w (w = {w:.4g})", margin(rho, (w, w))),
        )
        if w == 0 and not asked[0].holds:
            promise = "f + g tends to the minimum, for convex g (Boyd et al., 3.2.1)"
            return Theory(promise, notes=notes)
        decrease = max(min(rho / 2, (rho - most) * (rho + 2 * most) / (2 * rho)), 0.0)
        falls = "the augmented Lagrangian"
        promise = (
            f"{falls} does not rise{still(decrease)}, were each data step exact (Themelis and "
            "Patrinos 2020)"
        )
        return Theory(promise, asked, falls, decrease, notes)

    def moving(self, state: _State) -> tuple[Array, ...]:
        return state.smooth, state.u

    def valued(self, state: _State) -> tuple[Array, Array | None]:
        return state.z, state.y

    def merit(self, state: _State, problem: InverseProblem, f: np.ndarray, g: np.ndarray) -> Any:
        z, x, u = map(doubled, (state.z, state.smooth, state.u))
        ndim = problem.domain.ndim
        split = safe_norm(z - x + u, ndim) ** 2 - safe_norm(u, ndim) ** 2
        return 0.5 * problem.misfit(x) ** 2 + g + state.H.rho / 2 * split
