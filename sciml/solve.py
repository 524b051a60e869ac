"""The driver: it stops, certifies and restarts. Methods only step.

A solve is a sequence of rounds. A round starts the method on the correction equation of the
current x, whose residual was evaluated in float64. It ends when every member has claimed success,
failed, or run out of budget. The true residual of the new x then decides: a false claim starts
another round from it (iterative refinement), and a round that brings nothing is stagnation.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import NoneType
from typing import Any

import numpy as np

from ._checks import need, told
from ._counting import Tally, counted
from ._loading import load_kernels
from ._memory import recycling
from ._streams import wait
from ._trail import CLAIMED, RUNNING, Trail
from .arrays import (
    Array,
    check_same_place,
    doubled,
    dtype_of,
    is_torch,
    namespace,
    no_grad,
    nonfinite_members,
    on_cpu,
    pick,
    to_numpy,
    with_precision,
)
from .operator import Operator
from .problem import LinearSystem, Nonlinear, Problem
from .result import Result, Seconds, SolveError, SolveInterrupted, Status, Stop
from .solver import Solver, State

__all__ = ["Look", "solve"]

# A restart must at least halve the true residual, or the method has stagnated.
_PROGRESS = 0.5
# Within a round the recurrence is not believed below this many eps of where the round began.
_BELIEF = 4.0


@dataclass(frozen=True)
class Look:
    """What `observe` is shown at each look of the driver.

    Attributes:
        iteration: steps so far, over all rounds.
        estimate: host float64 (*batch), the estimated residual relative to scale.
        seconds: since the first step.
        state: the method's own; `state.x` is its iterate. Not to be changed.
    """

    iteration: int
    estimate: np.ndarray
    seconds: float
    state: Any


def solve(
    problem: Problem,
    solver: Solver,
    *,
    x0: Array | None = None,
    stop: Stop | None = None,
    rng: np.random.Generator | None = None,
    observe: Callable[[Look], None] | None = None,
    throw: bool = True,
) -> Result:
    """Solve `problem` with `solver` and certify the answer.

    CONVERGED means ||residual(x)||_2 <= max(rtol * scale, atol) for the returned x, in its own
    dtype, with the residual evaluated in float64 (complex128) from the stored coefficients.

    With torch tensors that require gradients (b, or parameters of A) the result's x is
    differentiable by the implicit function theorem; the adjoint solve is certified too.

    Args:
        problem: LinearSystem, LeastSquares, Nonlinear or InverseProblem.
        solver: a method, e.g. `solvers.CG()`; one that was prepared skips its set-up.
        x0: first guess (*batch, *shape); zeros without.
        stop: tolerances and limits.
        rng: randomness for methods that use it.
        observe: called with a `Look` at each look.
        throw: raise SolveError unless every member converged.

    Returns:
        Result, per member of the batch.

    Raises:
        SolveError: a member did not converge (throw=True); `.result` holds what was found.
        SolveInterrupted: Ctrl-C (throw=True), also a KeyboardInterrupt.
        TypeError, ValueError: bad arguments, before any work.
    """
    stop = Stop() if stop is None else stop
    _check(problem, solver, x0, stop)
    need(rng, (np.random.Generator, NoneType), "rng as a numpy.random.Generator")
    if observe is not None and not callable(observe):
        raise TypeError(f"expected observe as a function of a Look, got {told(observe)}")
    solver.check(problem)
    _refuse_hidden_tensors(getattr(problem, "A", None))
    if any(is_torch(a) and a.requires_grad for a in problem.inputs().values()):
        from ._autograd import differentiable_solve

        return differentiable_solve(
            problem, solver, x0=x0, stop=stop, rng=rng, observe=observe, throw=throw
        )
    with no_grad(next(iter(problem.inputs().values()))), np.errstate(all="ignore"), recycling():
        result = _Drive(problem, solver, stop, rng, observe).run(x0)
    if throw and not result.ok:
        interrupted = (np.asarray(result.status) == Status.INTERRUPTED).any()
        raise (SolveInterrupted if interrupted else SolveError)(result)
    return result


def _check(problem: Any, solver: Any, x0: Any, stop: Any) -> None:
    if not isinstance(problem, Problem):
        raise TypeError(f"expected a Problem, got {type(problem).__name__}: LinearSystem(A, b)")
    if not isinstance(solver, Solver):
        got = f"the class {solver.__name__}" if isinstance(solver, type) else type(solver).__name__
        raise TypeError(f"expected a solver, got {got}: pass an instance, e.g. solvers.CG()")
    if not isinstance(stop, Stop):
        raise TypeError(f"expected stop as Stop(rtol=...), got {type(stop).__name__}")
    if x0 is not None:
        batch = problem.domain.check(x0, "x0")
        check_same_place(x0, next(iter(problem.inputs().values())))
        if batch != problem.batch:
            raise ValueError(
                f"expected x0 of shape {(*problem.batch, *problem.domain.shape)}, "
                f"got {tuple(x0.shape)}"
            )


def _refuse_hidden_tensors(A: Operator | None) -> None:
    """A tensor that requires gradients and is no parameter would be detached without a word."""
    if A is None or "torch" not in sys.modules:
        return
    known = {id(p) for p in A.params.values()}
    for owner, name, value in A.attributes():
        if is_torch(value) and value.requires_grad and id(value) not in known:
            raise TypeError(
                f"expected tensors that require gradients among the parameters of {A!r}, got "
                f"{type(owner).__name__}.{name} outside: list it in param_names, or detach it"
            )


class _Drive:
    """One solve. Per-member bookkeeping is flat host arrays of length B."""

    def __init__(
        self,
        problem: Problem,
        solver: Solver,
        stop: Stop,
        rng: np.random.Generator | None,
        observe: Callable[[Look], None] | None,
    ) -> None:
        self.problem, self.solver, self.stop = problem, solver, stop
        self.rng, self.observe = rng, observe
        self.batch = problem.batch
        B = int(np.prod(self.batch, dtype=int))
        n = problem.domain.size
        default = min(max(1_000, 10 * n), 100_000)
        self.max_iters = default if stop.max_iters is None else int(stop.max_iters)
        self.eps = float(np.finfo(problem.domain.real_dtype).eps)
        # norms from here to 1 / tame can be squared without harm
        self.tame = float(np.finfo(problem.domain.real_dtype).tiny) ** 0.25
        self.status = np.full(B, RUNNING)
        self.iterations = np.zeros(B, dtype=int)
        self.residual = np.full(B, np.nan)
        self.estimate = np.full(B, np.nan)
        self.scale = np.zeros(B)
        self.target = np.zeros(B)
        self.tally = Tally()
        self.history: list[np.ndarray] = []
        self.looks: list[int] = []
        self.notes: list[str] = []
        self.restarts = 0
        self.attainable = self.bounded = False
        self.setup = 0.0
        self.memory = 0
        self.certified_in = with_precision(problem.domain.dtype, np.float64)
        self.began = time.perf_counter()

    def run(self, x0: Array | None) -> Result:
        problem = self.problem
        x = None if x0 is None else namespace(x0).asarray(x0, copy=True)
        self.wide = counted(problem.to(dtype=np.float64), "A", self.tally, "certify", "certify")
        # a norm of b costs no application, and where it is finite, so is b
        known = self.wide.scale if isinstance(problem, LinearSystem) else None
        self._refuse_nonfinite(x0, known is not None and bool(np.isfinite(known).all()))
        if not (self.status == RUNNING).any():
            return self._result(x)

        self.counted = counted(problem, "A", self.tally, "A", "A_H")
        scale = self.wide.scale if known is None else known
        self.scale = scale.reshape(-1)
        self._refuse_overflow()
        self.target = np.maximum(self.stop.rtol * self.scale, self.stop.atol)
        if x0 is not None and not isinstance(problem, Nonlinear):
            zero = (self.scale == 0).reshape(self.batch)  # b = 0 is solved by x = 0 exactly
            x = pick(zero, problem.start(), x)
            x = None if zero.all() else x

        self.residual, carry = self._measure(x, scale)
        self.estimate = self.residual.copy()
        self.certified_in = dtype_of(carry)
        self._end(~np.isfinite(self.residual), Status.NONFINITE_OUTPUT)
        self._end(self.residual <= self.target, Status.CONVERGED)
        if self.max_iters == 0:
            self._end(self.status == RUNNING, Status.MAX_ITERS)
        try:
            stepping = self._prepare()
            self.began = time.perf_counter()
            while (self.status == RUNNING).any():
                x, carry = self._round(stepping, x, carry)
        except KeyboardInterrupt:
            self._end(self.status == RUNNING, Status.INTERRUPTED)
        return self._result(x)

    def _prepare(self) -> Solver:
        if not (self.status == RUNNING).any():
            return self.solver
        began = time.perf_counter()
        try:
            load_kernels(getattr(self.problem, "A", None), self.batch)
            self.solver = self.solver.prepare(self.problem)
            load_kernels(getattr(self.solver.stepping, "M", None), self.batch)
        except np.linalg.LinAlgError as error:
            self.notes.append(f"Set-up failed: {error}.")
            self._end(self.status == RUNNING, Status.BREAKDOWN)
            self.setup = time.perf_counter() - began
            return self.solver  # no step will be taken
        wait(next(iter(self.problem.inputs().values())))  # what was launched is set-up too
        self.setup = time.perf_counter() - began
        self.memory = self.solver.nbytes
        self.notes += self.solver.notes
        return counted(self.solver.stepping, "M", self.tally, "M", "M")

    # -- one round ---------------------------------------------------------------------------

    def _round(self, solver: Solver, x: Array | None, carry: Array) -> tuple[Array | None, Array]:
        """From one true residual to the next. Returns the better x (None: the start), its carry."""
        active = self.status == RUNNING
        size = self.residual
        if solver.linear:
            size = np.where((size > self.tame) & (size < 1 / self.tame), 1.0, size)
        start = self.counted.correction(x, carry, size.reshape(self.batch))
        trail = Trail(
            active,
            self.batch,
            unit=np.broadcast_to(start.unit, self.batch).reshape(-1),
            done=self.iterations,
            limit=self.max_iters,
        )
        begun = self.residual / trail.unit
        claim = np.maximum(self.target / trail.unit, _BELIEF * self.eps * begun)
        cadence = self._cadence(carry)
        solver = solver.toward(claim)
        try:
            state = solver.init(start.problem, start.x0, self.rng)
            while not self._look(trail, state, claim, begun / self.eps):
                k = min(cadence, trail.room)
                ahead = solver.advance(state, k)
                if k > 1 and _broken(ahead):  # go step by step, to keep what came before
                    cadence = k = 1
                    ahead = solver.advance(state, k)
                state = ahead
                trail.count(k, state)
        except KeyboardInterrupt:
            trail.end(trail.running, Status.INTERRUPTED)
        self.iterations = trail.iterations()
        self.tally.fallbacks += trail.fallbacks
        found = trail.best()
        if found is None:  # interrupted before the first look
            self._end(active, Status.INTERRUPTED)
            return x, carry
        self.memory = max(self.memory, self.solver.nbytes + trail.nbytes)
        return self._judge(active, trail.ended, x, start.update(x, found), carry)

    def _look(self, trail: Trail, state: State, claim: np.ndarray, sane: np.ndarray) -> bool:
        """Read estimate and flags, end the members that are done. True when none runs."""
        estimate = to_numpy(state.estimate).reshape(-1).astype(np.float64, copy=False)
        trail.follow(state, estimate)
        self._record(estimate * trail.unit, trail, state)
        flag = state.flag
        quiet = (estimate > claim) & (estimate < sane)
        if not quiet.all() or not isinstance(flag, int) or flag:
            flags = np.broadcast_to(to_numpy(flag).reshape(-1), estimate.shape)
            trail.end(estimate <= claim, CLAIMED)
            # before the flags: an Inf out of A passes for negative curvature or a breakdown
            trail.end(~np.isfinite(estimate), Status.NONFINITE_OUTPUT)
            trail.end(flags != 0, flags)
            trail.end(~(estimate < sane), Status.DIVERGED)
        if trail.room <= 0:
            trail.end(trail.spent(), Status.MAX_ITERS)
        limit = self.stop.max_seconds
        if limit is not None and time.perf_counter() - self.began >= limit:
            trail.end(trail.running, Status.MAX_SECONDS)
        return not trail.any_running

    def _record(self, estimate: np.ndarray, trail: Trail, state: State) -> None:
        self.estimate = (
            estimate if trail.all_running else np.where(trail.running, estimate, self.estimate)
        )
        iteration = trail.most_done + trail.steps
        if not self.looks or self.looks[-1] != iteration:
            self.history.append(self.estimate)
            self.looks.append(iteration)
        if self.observe is not None:
            relative = _relative(self.estimate, self.scale).reshape(self.batch)
            self.observe(Look(iteration, relative, time.perf_counter() - self.began, state))

    def _judge(
        self, active: np.ndarray, ended: np.ndarray, x: Array | None, x_new: Array, carry: Array
    ) -> tuple[Array, Array]:
        """Certify x_new, and settle what each active member's end is worth."""
        x_new = self._pick(active, x_new, x)
        measured, carry_new = self._distance(x_new), carry
        self.bounded = measured is not None and self.problem.distance_is_bound
        if measured is None or not self._decides(measured, ended)[active].all():
            measured, carry_new = self._measure(x_new)
            self.bounded = False
        residual = np.where(active, measured, self.residual)

        converged = residual <= self.target
        progress = residual <= _PROGRESS * self.residual
        worn = np.isin(ended, (CLAIMED, Status.BREAKDOWN, Status.STAGNATED))
        again = progress & worn & ~converged
        spent = self.iterations >= self.max_iters
        verdict = np.where(ended == CLAIMED, Status.STAGNATED, ended)
        if (active & ~again & ~converged & (ended == CLAIMED)).any():
            self.attainable = True
        verdict = np.where(again, np.where(spent, Status.MAX_ITERS, RUNNING), verdict)
        unmeasured = ~np.isfinite(residual)
        verdict = np.where(unmeasured, Status.NONFINITE_OUTPUT, verdict)
        verdict = np.where(converged, Status.CONVERGED, verdict)
        self.status = np.where(active, verdict, self.status)
        self.restarts += bool((self.status == RUNNING).any())

        # A member whose operator now gives NaN keeps its last finite x, uncertified.
        if unmeasured.any():
            unmeasured &= ~nonfinite_members(x_new, self.batch).reshape(-1)
        take = active & ((residual <= self.residual) | unmeasured)
        self.residual = np.where(take, residual, self.residual)
        return self._pick(take, x_new, x), pick(take.reshape(self.batch), carry_new, carry)

    def _decides(self, distance: np.ndarray, ended: np.ndarray) -> np.ndarray:
        """Whether it is small enough, or a sharper measure would take far longer and change little:
        another round follows, or none whatever it says."""
        last = np.isin(ended, (Status.MAX_ITERS, Status.MAX_SECONDS, Status.INTERRUPTED))
        again = (ended == CLAIMED) & (distance <= _PROGRESS * self.residual)
        return (distance <= self.target) | ((last | again) & self.problem.distance_is_bound)

    # -- small parts -------------------------------------------------------------------------

    def _pick(self, which: np.ndarray, yes: Array, no: Array | None) -> Array:
        """`pick`; the start, for `no` None, is made only where it is needed."""
        if no is None and not which.all():
            no = self.problem.start()
        return pick(which.reshape(self.batch), yes, no)

    def _measure(
        self, x: Array | None, scale: np.ndarray | None = None
    ) -> tuple[np.ndarray, Array]:
        norm, carry = self.wide.measure(None if x is None else doubled(x), scale)
        return norm.reshape(-1), carry

    def _distance(self, x: Array) -> np.ndarray | None:
        found = self.wide.distance(doubled(x))
        return None if found is None else found.reshape(-1)

    def _cadence(self, like: Array) -> int:
        if self.stop.check_every is not None:
            return int(self.stop.check_every)
        stepping = self.solver.stepping
        return stepping.stride or (1 if on_cpu(like) else stepping.pace)

    def _end(self, which: np.ndarray, status: Status) -> None:
        self.status[which & (self.status == RUNNING)] = status

    def _refuse_nonfinite(self, x0: Array | None, sound: bool) -> None:
        """Mark members whose input holds NaN or Inf, and name the input. sound: b does not."""
        inputs = dict(self.problem.inputs())
        A = getattr(self.problem, "A", None)
        own = A is not None and A.batch_shape == self.batch  # a matrix for each member
        if sound:
            del inputs["b"]
        if x0 is not None:
            inputs["x0"] = x0
        for name, array in inputs.items():
            lead = tuple(array.shape[: len(self.batch)])
            shared = name.startswith("A.") and not own
            per_member = self.batch if lead == self.batch and not shared else ()
            bad = np.broadcast_to(nonfinite_members(array, per_member), self.batch).reshape(-1)
            if bad.any():
                self._end(bad, Status.NONFINITE_INPUT)
                self.notes.append(f"Input {name} holds NaN or Inf.")

    def _refuse_overflow(self) -> None:
        """Mark members whose scale no float64 holds: nothing can be measured against it."""
        bad = ~np.isfinite(self.scale)
        if (bad & (self.status == RUNNING)).any():
            self._end(bad, Status.NONFINITE_INPUT)
            self.notes.append(
                "What rtol is relative to (||b||, or ||A^H b|| for least squares) overflows "
                "float64 or vanishes in it: scale the system."
            )
        self.scale = np.where(bad, 0.0, self.scale)

    def _result(self, x: Array | None) -> Result:
        if self.bounded:
            self.notes.append("The residual is an upper bound: the true one may be less.")
        if self.attainable:
            self.notes.append(
                "The method claimed convergence and the true residual did not follow: what it is "
                f"now is the attainable level in {self.problem.domain.dtype}."
            )

        def shaped(values: np.ndarray) -> Any:
            return values.reshape(self.batch) if self.batch else values.reshape(-1)[0]

        statuses = np.array([Status(int(s)) for s in self.status], dtype=object)
        history = np.array(self.history).reshape(len(self.looks), self.status.size)
        relative = _relative(history, self.scale).reshape(len(self.looks), *self.batch)
        solve_seconds = time.perf_counter() - self.began if self.tally.certify else 0.0
        return Result(
            x=self.problem.start() if x is None else x,
            status=shaped(statuses),
            iterations=shaped(self.iterations),
            residual=shaped(_relative(self.residual, self.scale)),
            estimate=shaped(_relative(self.estimate, self.scale)),
            target=shaped(_relative(self.target, self.scale)),
            history=relative,
            looks=np.array(self.looks, dtype=int),
            restarts=self.restarts,
            applies=self.tally.applies(),
            seconds=Seconds(self.setup, solve_seconds),
            memory=self.memory,
            certified_in=self.certified_in,
            solver=self.solver,
            notes=tuple(self.notes),
        )


def _broken(state: State) -> bool:
    """Whether a member is flagged, or its estimate is NaN or Inf."""
    flag = state.flag
    flagged = bool(flag) if isinstance(flag, int) else bool(to_numpy(flag).any())
    return flagged or not np.isfinite(to_numpy(state.estimate)).all()


def _relative(values: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """values / scale; where scale = 0, absolute (0 stays 0)."""
    return values / np.where(scale > 0, scale, 1.0)
