"""Neural conjugate directions, with a safeguard (after DCDM, Kaneda et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sciml._checks import integer, need, told
from sciml.arrays import (
    Array,
    from_host,
    namespace,
    nonfinite_members,
    pick,
    ratio,
    to_numpy,
)
from sciml.operator import Operator, Trait
from sciml.problem import LinearSystem, Problem
from sciml.result import Status
from sciml.solver import Solver

from ..krylov._base import begin, mark, no_flag, null_space
from .learned import Learned, learned

if TYPE_CHECKING:
    from sciml.networks import DirectionNetwork

__all__ = ["NeuralDirections"]

# Steps of the first run of plain CG, and by how much each further one is longer.
_FIRST_RUN, _GROWTH = 2, 4
_LEAST_WINDOW, _WINDOW_SHARE = 16, 16


class _Kept(NamedTuple):
    """A direction of the past. energy is 0 where a member has dropped it."""

    p: Array
    Ap: Array
    energy: Array  # ⟨p, A p⟩


class _State(NamedTuple):
    x: Array
    r: Array
    kept: tuple[_Kept, ...]  # newest last, at most two
    run: np.ndarray  # steps of plain CG still to take, per member
    length: np.ndarray  # of the next run
    mark: np.ndarray  # ‖r‖ at the start of the network's window
    age: np.ndarray  # steps in that window
    fallbacks: np.ndarray  # classical steps so far
    estimate: Array
    flag: Any
    A: Operator
    M: Any


@dataclass(frozen=True)
class NeuralDirections(Solver):
    """Search directions from a network, A-orthogonal to the last two, with exact line search.

    Kaneda et al., A Deep Conjugate Direction Method for Iteratively Solving Linear Systems, ICML
    2023 (arXiv 2205.10763), algorithm 1: q = f(r/‖r‖), made A-orthogonal to the last two
    directions, and the step that makes the A-norm of the error least along it. That norm falls in
    every step, whatever the network says.

    Safeguard: each step also weighs the classical direction, r made A-orthogonal in the same way,
    at one more application of A. Where the network's lowers the A-norm less, is not finite, or has
    not halved the residual in `window` steps, plain CG runs from there, for 2 steps and four times
    as many at each further refusal. So all in all it takes at most about twice the steps of CG,
    plus `window` for each halving of the residual. `result.applies.fallbacks` counts the classical
    steps, `.M` the calls of the network.

    Args:
        network: a DirectionNetwork, such as `load_network(Pretrained.DCDM_2D)` gives.
        safeguard: False takes every direction that the network gives, as the paper does.
        window: see above. None is a sixteenth of the grid's longest side, at least 16: where
            CG needs more steps for each halving, a useful network may, too.
        bfloat16: see `learned`.
        M, remark: the network made ready for an operator, and what is to be said of a singular one;
            set when the solver is prepared.
    """

    network: DirectionNetwork = field(repr=False)
    safeguard: bool = True
    window: int | None = None
    bfloat16: bool = False
    M: Operator | None = field(default=None, repr=False)
    remark: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        from sciml.networks import DirectionNetwork

        hint = "load one with sciml.networks.load_network"
        need(self.network, DirectionNetwork, "a DirectionNetwork", hint)
        for name in ("safeguard", "bfloat16"):
            if not isinstance(value := getattr(self, name), bool):
                raise TypeError(f"expected {name} as True or False, got {told(value)}")
        if self.window is not None:
            integer(self.window, "window", 1)

    def check(self, problem: Problem) -> None:
        need(problem, LinearSystem, "a LinearSystem")
        A: Operator = problem.A  # type: ignore[attr-defined]
        if Trait.HERMITIAN not in A.traits:
            raise TypeError(
                f"NeuralDirections expected an operator with the trait HERMITIAN, got {A!r}: "
                "use FGMRES with learned(A, network)"
            )
        if A.domain.ndim != self.network.ndim:
            raise ValueError(
                f"expected an operator on {self.network.ndim}-D grids for this network, got "
                f"{A!r}: load weights of that dimension"
            )
        if self.M is not None and self.M.domain.shape != A.domain.shape:
            raise ValueError(
                f"expected the operator of {self.M.domain.shape} that this solver was prepared "
                f"for, got {A!r}: pass a solver that is not prepared"
            )

    def prepare(self, problem: Problem) -> NeuralDirections:
        told = replace(self, remark=null_space(problem))
        if self.M is not None:
            return told
        A: Operator = problem.A  # type: ignore[attr-defined]
        return replace(told, M=learned(A, self.network, bfloat16=self.bfloat16))

    @property
    def notes(self) -> tuple[str, ...]:
        blind = isinstance(self.M, Learned) and self.network.conditioned and not self.M.informed
        found = "The network could not read the coefficients of A: it takes k for constant."
        return tuple(told for told in (self.remark, found * blind) if told)

    @property
    def pace(self) -> int:
        return 1  # a step waits for the device anyway, to weigh the network's direction

    @property
    def nbytes(self) -> int:
        return 0 if self.M is None else self.M.nbytes

    def init(self, problem: LinearSystem, x0: Array | None, rng: Any = None) -> _State:
        x, r = begin(problem, x0)
        estimate = problem.domain.norm(r)
        size = to_numpy(estimate).astype(np.float64)
        zero = np.zeros(size.shape, int)
        length = np.full(size.shape, _FIRST_RUN)
        M = self.prepare(problem).M if self.M is None else self.M
        flag = no_flag(estimate)
        return _State(
            x, r, (), zero, length, size, zero, zero, estimate, flag, problem.A, M
        )  # fmt: skip

    def advance(self, state: _State, k: int) -> _State:
        for _ in range(k):
            state = self._step(state)
        return state

    def _step(self, s: _State) -> _State:
        A, r, kept = s.A, s.r, s.kept
        asked = s.run == 0
        taken, lost = np.zeros(asked.shape, bool), np.zeros(asked.shape, bool)
        own, Ar = np.full(asked.shape, -np.inf), r
        d, Ad = r, r
        if self.safeguard or not asked.all():
            Ar = A(r)
            lost |= ~_finite(A, Ar, lost.shape)
            d, Ad = _conjugate(A, r, Ar, kept)
            own = _gain(A, d, Ad, r)
        if asked.any():
            q, _ = _conjugate(A, s.M(r), None, kept)
            Aq = A(q)
            # a network may fail, A must not
            lost |= _finite(A, q, lost.shape) & ~_finite(A, Aq, lost.shape)
            theirs = _gain(A, q, Aq, r)
            spent = (s.age >= self._window(A)) & (_host(s.estimate) > s.mark / 2)
            good = np.isfinite(theirs) & (theirs >= own) & ~spent
            taken = asked & (good if self.safeguard else True)
            d, Ad = pick(taken, q, d), pick(taken, Aq, Ad)
        refused = asked & ~taken
        if refused.any():  # plain CG starts from here
            d, Ad = pick(refused, r, d), pick(refused, Ar, Ad)
            dropped = from_host(refused, s.estimate, bool)
            kept = tuple(
                k._replace(energy=namespace(dropped).where(dropped, 0 * k.energy, k.energy))
                for k in kept
            )
        flag = mark(s.flag, from_host(lost, s.estimate, bool), Status.NONFINITE_OUTPUT)
        return self._search(s._replace(kept=kept, flag=flag), d, Ad, taken, refused)

    def _window(self, A: Operator) -> int:
        longest = max(A.domain.shape, default=0)
        return self.window or max(_LEAST_WINDOW, longest // _WINDOW_SHARE)

    def _search(
        self, s: _State, d: Array, Ad: Array, taken: np.ndarray, refused: np.ndarray
    ) -> _State:
        """x and r after the exact line search along d, and the books of the safeguard."""
        space = s.A.domain
        energy = space.inner_real(d, Ad)
        flag = mark(s.flag, energy <= 0, Status.INDEFINITE)
        alpha = ratio(space.inner(d, s.r), energy)
        x, r = s.x + alpha * d, s.r - alpha * Ad
        estimate = space.norm(r)
        size = _host(estimate)

        run = np.where(refused, s.length, s.run) - ~taken
        length = np.where(refused, _GROWTH * s.length, s.length)
        age = np.where(taken, s.age + 1, 0)
        full = (age >= self._window(s.A)) & (size <= s.mark / 2)  # the network earns its keep
        length = np.where(full, np.maximum(_FIRST_RUN, length // 2), length)
        anew = full | ~taken
        return _State(
            x=x,
            r=r,
            kept=(*s.kept[-1:], _Kept(d, Ad, energy)),
            run=run,
            length=length,
            mark=np.where(anew, size, s.mark),
            age=np.where(full, 0, age),
            fallbacks=s.fallbacks + ~taken,
            estimate=estimate,
            flag=flag,
            A=s.A,
            M=s.M,
        )


def _conjugate(
    A: Operator, d: Array, Ad: Array | None, kept: tuple[_Kept, ...]
) -> tuple[Array, Any]:
    """d, and A d if given, less its parts along the kept directions (classical Gram-Schmidt)."""
    parts = [ratio(A.domain.inner(k.Ap, d), k.energy) for k in kept]
    for k, part in zip(kept, parts, strict=True):
        d = d - part * k.p
        Ad = None if Ad is None else Ad - part * k.Ap
    return d, Ad


def _gain(A: Operator, d: Array, Ad: Array, r: Array) -> np.ndarray:
    """What the line search along d takes off ‖e‖²_A, per member on the host; −inf if none."""
    space = A.domain
    along, energy = abs(to_numpy(space.inner(d, r))), _host(space.inner_real(d, Ad))
    return np.where(
        energy > 0, along.astype(np.float64) ** 2 / np.where(energy > 0, energy, 1), -np.inf
    )


def _finite(A: Operator, x: Array, shape: tuple[int, ...]) -> np.ndarray:
    """Per member, from the entries: a norm's squares may overflow where they do not."""
    batch = tuple(x.shape[: len(x.shape) - A.domain.ndim])
    return ~nonfinite_members(x, batch).reshape(shape)


def _host(values: Array) -> np.ndarray:
    return to_numpy(values).astype(np.float64)
