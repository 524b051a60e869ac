"""The safeguards of a solve, and what must go red when one is taken away."""

from __future__ import annotations

from tests.mutation.device import DEVICE
from tests.mutation.learned import LEARNED
from tests.mutation.mutant import Mutant
from tests.mutation.pinns import PINNS
from tests.mutation.proximal import PROXIMAL
from tests.mutation.reconstruction import RECONSTRUCTION
from tests.mutation.sampling import SAMPLING

__all__ = ["MUTANTS"]

DRIVER = "sciml/solve.py"
TRAIL = "sciml/_trail.py"
AUTOGRAD = "sciml/_autograd.py"
OPERATOR = "sciml/operator.py"
ADAPTERS = "sciml/adapters.py"
AUTO = "solvers/auto.py"
RIVALS = "solvers/bench/rivals.py"
STENCIL = "sciml/datasets/_stencil.py"
PROBLEM = "sciml/problem.py"
ARRAYS = "sciml/arrays.py"
CG = "solvers/krylov/cg.py"
MINRES = "solvers/krylov/minres.py"
GMRES = "solvers/krylov/gmres.py"
BICGSTAB = "solvers/krylov/bicgstab.py"
CHEBYSHEV = "solvers/krylov/chebyshev.py"

FAULTS = "tests/faults/test_promises_"
CERTIFIED = FAULTS + "certified.py::test_"
LIMITS = FAULTS + "limits.py::test_"
NONFINITE = FAULTS + "nonfinite.py::test_"
BREAKDOWN = FAULTS + "breakdown.py::test_"
INVARIANCE = FAULTS + "invariance.py::test_"
RESOURCES = FAULTS + "resources.py::test_"
CALLS = FAULTS + "bad_calls.py::test_"
HONESTY = "tests/faults/test_honesty.py::test_"
CORNERS = "tests/faults/test_corners.py::test_"
GRADIENTS = "tests/numerics/test_gradients.py::test_"
BENCH = "tests/numerics/test_bench.py::test_"
CONDIFF = "tests/numerics/test_condiff.py::test_"


MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "the true residual decides on convergence",
        DRIVER,
        "converged = residual <= self.target\n",
        "converged = (residual <= self.target) | (ended == CLAIMED)\n",
        (CERTIFIED + "where_scipy_reports_a_success_that_is_none",),
    ),
    Mutant(
        "a false claim restarts from the true residual",
        DRIVER,
        "again = progress & worn & ~converged",
        "again = np.zeros_like(converged)",
        (LIMITS + "the_last_step_counts_after_a_restart_too",),
    ),
    Mutant(
        "a restart that brings nothing is stagnation",
        DRIVER,
        "_PROGRESS = 0.5",
        "_PROGRESS = 1e9",
        (CERTIFIED + "a_recurrence_is_not_believed_without_end",),
    ),
    Mutant(
        "stagnation is called by its name",
        DRIVER,
        "np.where(ended == CLAIMED, Status.STAGNATED, ended)",
        "np.where(ended == CLAIMED, Status.MAX_ITERS, ended)",
        (CERTIFIED + "where_scipy_reports_a_success_that_is_none",),
    ),
    Mutant(
        "a recurrence is not believed below rounding",
        DRIVER,
        "_BELIEF = 4.0",
        "_BELIEF = 0.0",
        (CERTIFIED + "a_recurrence_is_not_believed_without_end",),
    ),
    Mutant(
        "the best iterate is kept, not the last",
        TRAIL,
        "improved = estimate < self.lowest",
        "improved = estimate < np.inf",
        (CERTIFIED + "the_best_step_counts_and_not_the_last",),
    ),
    Mutant(
        "members that improve again are held by the new state",
        TRAIL,
        "self.state, self.lowest, self.held = state, estimate, improved",
        "self.state, self.lowest = state, estimate",
        (CERTIFIED + "all_members_may_improve_after_they_parted",),
    ),
    Mutant(
        "a member's best iterate outlives the steps of the others",
        TRAIL,
        "left = self.held & ~improved\n",
        "left = self.held & False\n",
        (CERTIFIED + "one_member_at_its_best_while_another_goes_on",),
    ),
    Mutant(
        "a worse x is not taken",
        DRIVER,
        "take = active & ((residual <= self.residual) | unmeasured)",
        "take = active",
        (CERTIFIED + "the_best_iterate_is_returned", CERTIFIED + "a_worse_x_is_not_taken"),
    ),
    Mutant(
        "an x that is not finite is not taken",
        DRIVER,
        "            unmeasured &= ~nonfinite_members(x_new, self.batch).reshape(-1)\n",
        "            pass\n",
        (BREAKDOWN + "every_method_ends_with_a_reason",),
    ),
    Mutant(
        "NaN in the input is looked for",
        DRIVER,
        "        self._refuse_nonfinite(x0, known is not None and "
        "bool(np.isfinite(known).all()))\n",
        "",
        (NONFINITE + "bad_input_is_named_before_any_work",),
    ),
    Mutant(
        "NaN in x0 is looked for",
        DRIVER,
        'inputs["x0"] = x0',
        "pass",
        (NONFINITE + "bad_input_is_named_before_any_work",),
    ),
    Mutant(
        "NaN in an estimate ends the round",
        DRIVER,
        "            trail.end(~np.isfinite(estimate), Status.NONFINITE_OUTPUT)\n",
        "",
        (NONFINITE + "a_failure_inside_is_caught_within_a_step",),
    ),
    Mutant(
        "Inf is told before the breakdown that it looks like",
        DRIVER,
        "            trail.end(~np.isfinite(estimate), Status.NONFINITE_OUTPUT)\n"
        "            trail.end(flags != 0, flags)\n",
        "            trail.end(flags != 0, flags)\n"
        "            trail.end(~np.isfinite(estimate), Status.NONFINITE_OUTPUT)\n",
        (NONFINITE + "a_failure_inside_is_caught_within_a_step",),
    ),
    Mutant(
        "a residual that cannot be measured is told",
        DRIVER,
        "        verdict = np.where(unmeasured, Status.NONFINITE_OUTPUT, verdict)\n",
        "",
        (NONFINITE + "an_operator_that_stays_broken_leaves_a_finite_x",),
    ),
    Mutant(
        "a first residual that overflows is told",
        DRIVER,
        "        self._end(~np.isfinite(self.residual), Status.NONFINITE_OUTPUT)\n",
        "",
        (NONFINITE + "a_residual_that_overflows_at_the_start_is_told",),
    ),
    Mutant(
        "steps before a failure are kept when looks are rare",
        DRIVER,
        "if k > 1 and _broken(ahead):",
        "if False and _broken(ahead):",
        (NONFINITE + "rare_looks_keep_what_came_before_a_failure",),
    ),
    Mutant(
        "the limit holds when looks are rare",
        DRIVER,
        "k = min(cadence, trail.room)",
        "k = cadence",
        (LIMITS + "the_limit_holds_however_rarely_the_driver_looks",),
    ),
    Mutant(
        "running out of steps is told",
        DRIVER,
        "trail.end(trail.spent(), Status.MAX_ITERS)",
        "trail.end(trail.spent(), Status.CONVERGED)",
        (LIMITS + "every_limit_is_kept_and_told",),
    ),
    Mutant(
        "not converging raises",
        DRIVER,
        "if throw and not result.ok:",
        "if throw and result.ok is None:",
        (LIMITS + "every_limit_is_kept_and_told",),
    ),
    Mutant(
        "the time limit holds",
        DRIVER,
        "if limit is not None and time.perf_counter() - self.began >= limit:",
        "if limit is not None and time.perf_counter() - self.began >= 1e3:",
        (LIMITS + "seconds_are_a_limit_too",),
    ),
    Mutant(
        "a residual beyond all measure is divergence",
        DRIVER,
        "            trail.end(~(estimate < sane), Status.DIVERGED)\n",
        "",
        (CERTIFIED + "a_diverging_method_returns_its_start",),
    ),
    Mutant(
        "x0 is copied",
        DRIVER,
        "namespace(x0).asarray(x0, copy=True)",
        "x0",
        (INVARIANCE + "trivial_systems",),
    ),
    Mutant(
        "b = 0 is solved by 0 whatever x0",
        DRIVER,
        "            x = pick(zero, problem.start(), x)\n",
        "",
        (INVARIANCE + "trivial_systems",),
    ),
    Mutant(
        "Ctrl-C in a round keeps the best x",
        DRIVER,
        "            trail.end(trail.running, Status.INTERRUPTED)\n",
        "            raise\n",
        (RESOURCES + "ctrl_c_returns_the_best_x",),
    ),
    Mutant(
        "the unit of a correction is a power of two",
        PROBLEM,
        "return np.ldexp(1.0, np.frexp(usable)[1] - 1)",
        "return usable",
        (CERTIFIED + "what_can_be_exact_is",),
    ),
    Mutant(
        "a correction has a unit",
        PROBLEM,
        "unit = _power_of_two(norm)",
        "unit = _power_of_two(norm) ** 0",
        (INVARIANCE + "scale_is_no_matter",),
    ),
    Mutant(
        "norms do not overflow",
        ARRAYS,
        "unit = xp.where((largest > 0) & xp.isfinite(largest), largest, xp.ones_like(largest))",
        "unit = xp.ones_like(largest)",
        (CERTIFIED + "the_certificate_survives_what_overflows_when_squared",),
    ),
    Mutant(
        "a finished member divides by 0 without NaN",
        ARRAYS,
        "return xp.where(zero, xp.zeros_like(a * b), a / xp.where(zero, xp.ones_like(b), b))",
        "return a / b",
        (BREAKDOWN + "a_breakdown_in_a_batch_has_the_same_name",),
    ),
    Mutant(
        "0 / 0 in a single system is 0",
        ARRAYS,
        "return a / b if b != 0 else a * 0",
        "return a / b",
        (BREAKDOWN + "a_breakdown_is_called_by_its_name",),
    ),
    Mutant(
        "CG: curvature of A",
        CG,
        "flag = mark(flag, pAp <= 0, Status.INDEFINITE)",
        "pass",
        (BREAKDOWN + "cg_sees_an_indefinite_matrix",),
    ),
    Mutant(
        "CG: no curvature at all",
        CG,
        "flag = mark(flag, pAp <= 0, Status.INDEFINITE)",
        "flag = mark(flag, pAp < 0, Status.INDEFINITE)",
        (BREAKDOWN + "a_breakdown_is_called_by_its_name",),
    ),
    Mutant(
        "CG: an indefinite M",
        CG,
        "                flag = mark(flag, rz_new < 0, Status.INDEFINITE)\n",
        "",
        (BREAKDOWN + "an_indefinite_preconditioner_is_seen",),
    ),
    Mutant(
        "CG: a negative M, from the start",
        CG,
        "flag = mark(no_flag(estimate), rz < 0, Status.INDEFINITE)",
        "flag = no_flag(estimate)",
        (BREAKDOWN + "a_negative_preconditioner_is_seen_at_once",),
    ),
    Mutant(
        "flexible CG: curvature of A",
        CG,
        "            flag = mark(flag, dAd <= 0, Status.INDEFINITE)\n",
        "",
        (BREAKDOWN + "cg_sees_an_indefinite_matrix",),
    ),
    Mutant(
        "MINRES: an indefinite M",
        MINRES,
        "            flag = mark(flag, square < 0, Status.INDEFINITE)\n",
        "",
        (BREAKDOWN + "an_indefinite_preconditioner_is_seen",),
    ),
    Mutant(
        "MINRES: a residual in the null space",
        MINRES,
        "            flag = mark(flag, least & (eta != 0), Status.STAGNATED)\n",
        "",
        (BREAKDOWN + "minres_stops_at_a_least_squares_solution",),
    ),
    Mutant(
        "MINRES: x that grows without end",
        MINRES,
        "                flag = mark(flag, vain & (eta != 0), Status.STAGNATED)\n",
        "",
        (BREAKDOWN + "a_large_singular_system_ends_well_before_the_limit",),
    ),
    Mutant(
        "GMRES: a singular Hessenberg matrix",
        GMRES,
        "        flag = mark(flag, xp.reshape(rho == 0, _shape_of(flag)), Status.BREAKDOWN)\n",
        "",
        (BREAKDOWN + "a_breakdown_is_called_by_its_name",),
    ),
    Mutant(
        "GMRES: a cycle that brings nothing",
        GMRES,
        "flag=mark(state.flag, stuck, Status.STAGNATED)",
        "flag=state.flag",
        (BREAKDOWN + "a_breakdown_is_called_by_its_name",),
    ),
    Mutant(
        "BiCGStab: <shadow, A p> = 0",
        BICGSTAB,
        "            flag = mark(flag, abs(shadow_v) <= eps2 * size * space.norm(v), "
        "Status.BREAKDOWN)\n",
        "",
        (BREAKDOWN + "a_breakdown_is_called_by_its_name",),
    ),
    Mutant(
        "BiCGStab: omega = 0",
        BICGSTAB,
        "            flag = mark(flag, stuck & (estimate > 0), Status.BREAKDOWN)\n",
        "",
        (BREAKDOWN + "a_breakdown_is_called_by_its_name",),
    ),
    Mutant(
        "Chebyshev: a spectrum that is not positive",
        CHEBYSHEV,
        "if not definite.any():",
        "if not (high > 0).all():",
        (BREAKDOWN + "chebyshev_is_not_set_up_on_an_indefinite_matrix",),
    ),
    Mutant(
        "a preconditioner must fit",
        "solvers/krylov/_base.py",
        "            _fits(problem, self.M)\n",
        "",
        (CALLS + "bad_calls_are_refused",),
    ),
    Mutant(
        "a right-hand side that overflows is no success",
        DRIVER,
        "bad = ~np.isfinite(self.scale)\n",
        "bad = np.isnan(self.scale)\n",
        (HONESTY + "a_right_hand_side_whose_norm_overflows_is_not_converged",),
    ),
    Mutant(
        "hidden tensors are refused",
        DRIVER,
        "if is_torch(value) and value.requires_grad and id(value) not in known:",
        "if False and is_torch(value) and value.requires_grad and id(value) not in known:",
        (HONESTY + "tensors_outside_the_parameters_are_not_detached_silently",),
    ),
    Mutant(
        "an operator's result is what it declared",
        OPERATOR,
        "        if sound:\n",
        "        if True:\n",
        (HONESTY + "an_operator_that_returns_something_else_is_told_what_was_expected",),
    ),
    Mutant(
        "a single-precision operator certifies nothing in double",
        ADAPTERS,
        'if got.kind in "fc" and np.finfo(got).eps > np.finfo(wanted).eps:',
        "if False:",
        (HONESTY + "an_operator_that_computes_in_single_precision_cannot_certify_in_double",),
    ),
    Mutant(
        "the backward solve has a relative tolerance of its own",
        AUTOGRAD,
        "return replace(stop, rtol=min(relative, _LOOSEST), atol=0.0)",
        "return stop",
        (GRADIENTS + "an_absolute_tolerance_does_not_silence_the_gradient",),
    ),
    Mutant(
        "the backward solve is certified",
        AUTOGRAD,
        "lam = solve(back, found[0].solver.adjoint(), stop=limit).x",
        "lam = solve(back, found[0].solver.adjoint(), stop=limit, throw=False).x",
        (GRADIENTS + "the_backward_solve_is_certified_too",),
    ),
    Mutant(
        "weak dominance proves nothing",
        AUTO,
        "if (diagonal > others).all():",
        "if (diagonal >= others).all():",
        (HONESTY + "weak_dominance_is_not_taken_for_definiteness",),
    ),
    Mutant(
        "rivals see no answer",
        RIVALS,
        "return replace(self, rhs=unknown, x=unknown)",
        "return self",
        (BENCH + "all_get_the_same_systems_in_rotating_order",),
    ),
    Mutant(
        "ConDiff's unknowns are numbered as its files number them",
        STENCIL,
        "return NodalDiffusion(k).assemble(order)",
        "return NodalDiffusion(k).assemble(Order.C)",
        (CONDIFF + "the_matrix_is_the_published_one",),
    ),
    Mutant(
        "no gradient of a failed solve",
        AUTOGRAD,
        "if not found[0].ok:",
        "if False:",
        (CORNERS + "the_gradient_of_a_failed_solve_is_refused",),
    ),
    Mutant(
        "a matrix Hermitian to rounding keeps its own adjoint",
        "sciml/operators/sparse.py",
        "if Trait.HERMITIAN in self.traits and not self.hermitian_to_rounding:",
        "if Trait.HERMITIAN in self.traits:",
        (CORNERS + "a_matrix_hermitian_to_rounding_keeps_its_own_adjoint",),
    ),
    Mutant(
        "masks are not dropped",
        ARRAYS,
        "return not isinstance(x, np.ma.MaskedArray | np.matrix)",
        "return True",
        (CORNERS + "masked_arrays_and_matrices_are_refused",),
    ),
    Mutant(
        "least squares too small for float64 are no success",
        PROBLEM,
        "return np.where((size > 0) & (found < np.finfo(np.float64).tiny), np.inf, found)",
        "return found",
        (CORNERS + "least_squares_of_tiny_and_huge_systems_do_not_lie",),
    ),
    Mutant(
        "a shared matrix is everybody's",
        DRIVER,
        "per_member = self.batch if lead == self.batch and not shared else ()",
        "per_member = self.batch if lead == self.batch else ()",
        (CORNERS + "nan_in_a_shared_matrix_is_everybodys_and_costs_nothing",),
    ),
    Mutant(
        "Auto chooses anew for another operator",
        AUTO,
        "if self.chosen is not None and same(A, self.operator) and",
        "if self.chosen is not None and",
        (CORNERS + "auto_chooses_anew_for_another_operator",),
    ),
    Mutant(
        "GMRES leaves its older states alone",
        GMRES,
        "q = (-b * unit)[..., None] * q\n",
        "q *= (-b * unit)[..., None]\n",
        (CORNERS + "older_states_of_gmres_stay_valid",),
    ),
    *RECONSTRUCTION,
    *LEARNED,
    *SAMPLING,
    *PROXIMAL,
    *DEVICE,
    *PINNS,
)
