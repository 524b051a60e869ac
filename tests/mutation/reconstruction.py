"""The safeguards of priors, of reconstructions and of coarse levels."""

from __future__ import annotations

from tests.mutation.mutant import Mutant

__all__ = ["RECONSTRUCTION"]

PROBLEM = "sciml/problem.py"
PRIMAL_DUAL = "solvers/proximal/primal_dual.py"
HOLD_OUT = "solvers/mri/hold_out.py"
SCAN = "solvers/mri/scan.py"
ALGEBRAIC = "solvers/multigrid/algebraic.py"
PRIORS = "tests/laws/test_priors.py::test_"
RECONSTRUCT = "tests/numerics/test_reconstruct.py::test_"
BODIES = "tests/numerics/test_algebraic3d.py::test_"

RECONSTRUCTION: tuple[Mutant, ...] = (
    Mutant(
        "a proximal prior is certified by the gradient mapping",
        PROBLEM,
        "return (self.prior.prox(x + self.step * back, self.step) - x) / self.step",
        "return back",
        (PRIORS + "every_method_finds_the_minimum",),
    ),
    Mutant(
        "a dual method's estimate bounds the certificate",
        PRIMAL_DUAL,
        "return (square + 2 * xp.abs(gap) / problem.step) ** 0.5",
        "return square**0.5",
        (PRIORS + "the_estimate_of_a_dual_method_is_never_too_small",),
    ),
    Mutant(
        "nothing of the calibration region is hidden",
        HOLD_OUT,
        "outside[kept] = False",
        "outside[kept] = mask[kept]",
        (RECONSTRUCT + "whole_lines_are_hidden_where_the_mask_is_lines",),
    ),
    Mutant(
        "a mask of other data is refused",
        SCAN,
        "if missing > (1 - _COMPLETE) * mask.sum():",
        "if missing > mask.sum():",
        (RECONSTRUCT + "bad_input_is_named",),
    ),
    Mutant(
        "slow coarse levels of a box are noticed",
        ALGEBRAIC,
        "if 0 <= rz <= enough * first:",
        "if rz <= first:",
        (BODIES + "where_bodies_are_thin_it_takes_over_and_keeps_the_iterations",),
    ),
)
