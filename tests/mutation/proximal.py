"""The safeguards of learned proximal operators."""

from __future__ import annotations

from tests.mutation.mutant import Mutant

__all__ = ["PROXIMAL"]

NETWORK = "sciml/networks/icnn.py"
WEIGHTS = "sciml/networks/weights.py"
TRAINER = "sciml/training/trainer.py"
PRIOR = "sciml/priors/proximal.py"
CONVEX = "tests/numerics/test_convex_networks.py::test_"
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
)
