"""The safeguards of learned proximal operators."""

from __future__ import annotations

from tests.mutation.mutant import Mutant

__all__ = ["PROXIMAL"]

NETWORK = "sciml/networks/icnn.py"
WEIGHTS = "sciml/networks/weights.py"
TRAINER = "sciml/training/trainer.py"
PRIOR = "sciml/priors/proximal.py"
CONVEX = "tests/numerics/test_convex_networks.py::test_"
LANCZOS = "sciml/_lanczos.py"
PROBLEM = "sciml/problem.py"
DRIVER = "sciml/solve.py"
BASE = "solvers/proximal/_base.py"
FISTA = "solvers/proximal/fista.py"
PLUG = "solvers/proximal/pnp.py"
WATCH = "solvers/proximal/convergence.py"
LAWS = "tests/laws/test_proximal.py::test_"
HONESTY = "tests/faults/test_honesty.py::test_"
LEARNED = "tests/numerics/test_learned_prox.py::test_"

PROXIMAL: tuple[Mutant, ...] = (
    Mutant(
        "weights are feasible after every step of training",
        TRAINER,
        "adam.step()\n        if constrained is not None:",
        "adam.step()\n        if False:",
        (CONVEX + "every_step_ends_feasible_and_so_does_the_mean",),
    ),
    Mutant(
        "weights with which ψ is not convex are refused when loaded",
        WEIGHTS,
        "    if (name := network.infeasible()) is not None:\n        raise FileError(",
        "    if (name := network.infeasible()) is not None and False:\n        raise FileError(",
        (CONVEX + "infeasible_weights_are_refused",),
    ),
    Mutant(
        "softplus keeps f the gradient to the last bits",
        NETWORK,
        "softplus(a, self.beta, threshold=40.0)",
        "softplus(a, self.beta)",
        (CONVEX + "f_is_the_gradient",),
    ),
    Mutant(
        "a step without a proven bound is refused",
        PRIOR,
        "if not room > 0:",
        "if False:",
        (LEARNED + "every_step_is_the_minimum",),
    ),
    Mutant(
        "the bound knows how the proximal operator stretches a residual",
        PRIOR,
        "self._sums(residual.square(), x) ** 0.5 / room",
        "0 * self._sums(residual.square(), x) ** 0.5 / room",
        (LEARNED + "the_bound_is_proven", LEARNED + "an_inversion_that_fails_is_no_success"),
    ),
    Mutant(
        "what could not be inverted has no value",
        PRIOR,
        "bad = ~(residual <= _USABLE * (1 + size))",
        "bad = residual < 0",
        (LEARNED + "what_f_cannot_give_has_no_value",),
    ),
    Mutant(
        "what an operator says of its norm is checked",
        BASE,
        "if least > said * (1 + 100",
        "if False and least > said * (1 + 100",
        (LAWS + "an_operator_that_lies_of_its_norm_is_caught",),
    ),
    Mutant(
        "a condition that fails is told",
        BASE,
        "return False if self.margin[1] < -_ROUNDING else None",
        "return None",
        (LAWS + "a_step_that_is_too_long_is_caught",),
    ),
    Mutant(
        "a merit that rises is counted",
        WATCH,
        "rises=(fall < -fine).sum(axis=0)",
        "rises=(fall < -np.inf).sum(axis=0)",
        (LAWS + "a_step_that_is_too_long_is_caught",),
    ),
    Mutant(
        "steps that were not seen are not compared",
        WATCH,
        "if look.iteration == last.iteration + 1:",
        "if True:",
        (LAWS + "strides_and_new_rounds_are_not_compared",),
    ),
    Mutant(
        "momentum with a g that is not convex has no theorem",
        FISTA,
        "            if w > 0:\n",
        "            if False:\n",
        (LAWS + "what_is_not_known_is_not_claimed",),
    ),
    Mutant(
        "the data term's step of ADMM is solved",
        PLUG,
        "range(0, self.inner, _LOOK)",
        "range(0, 0, _LOOK)",
        (LAWS + "one_step_of_each_in_words_of_the_other",),
    ),
    Mutant(
        "the problem's step is no longer than the prior's native one",
        PROBLEM,
        "self._step = min(step, self.prior.native_step) if own else step",
        "self._step = step",
        (LAWS + "the_native_step_is_the_problem_s",),
    ),
    Mutant(
        "Lanczos' value is known to be too small",
        LANCZOS,
        "return least, least / (1 - min(share**2, 0.5))",
        "return least, least",
        (LAWS + "the_largest_eigenvalue_is_between_its_bounds",),
    ),
    Mutant(
        "a y that is given is checked",
        PRIOR,
        "rtol = _EXACT if s or near is None else _GIVEN",
        "rtol = _EXACT if s or near is None else np.inf",
        (LEARNED + "a_y_that_is_known_saves_the_search",),
    ),
    Mutant(
        "the answer at a native step is the one that the estimate is of",
        PLUG,
        "return _State(x if native else z, z, x,",
        "return _State(z, z, x,",
        (LAWS + "the_answer_is_what_the_estimate_is_of",),
    ),
    Mutant(
        "what a proximal operator leaves open counts as residual",
        PROBLEM,
        "return self.norm(found) + off / self.step, found",
        "return self.norm(found), found",
        (HONESTY + "what_a_proximal_operator_leaves_open_counts_as_residual",),
    ),
    Mutant(
        "nothing is measured sharply that another round follows",
        DRIVER,
        "((last | again) & self.problem.distance_is_bound)",
        "(last & self.problem.distance_is_bound)",
        (HONESTY + "a_cheap_bound_decides_that_another_round_follows",),
    ),
    Mutant(
        "a bound that has hardly fallen is measured sharply",
        DRIVER,
        "again = (ended == CLAIMED) & (distance <= _PROGRESS * self.residual)",
        "again = ended == CLAIMED",
        (HONESTY + "a_cheap_bound_does_not_decide_that_a_solve_has_failed",),
    ),
)
