"""Safeguards of physics-informed training and of its benchmark."""

from __future__ import annotations

from tests.mutation.mutant import Mutant

__all__ = ["PINNS"]

BENCH = "solvers/bench/pinn.py"
SSBROYDEN = "solvers/bench/ssbroyden.py"
BENCHED = "tests/numerics/test_pinn_bench.py::test_"
BROYDEN = "tests/numerics/test_ssbroyden.py::test_"

PINNS: tuple[Mutant, ...] = (
    Mutant(
        "a residual that is not finite does not hide that others agree",
        "solvers/pinn/suitable.py",
        "sum(a for a in ours if np.isfinite(a))",
        "sum(ours)",
        ("tests/numerics/test_pinn_refusals.py::test_residuals_that_are_not_finite_are_named",),
    ),
    Mutant(
        "the usual setting of a rival is tried for the whole time",
        BENCH,
        "    for setting in (choice.early, choice.settings[0]):\n",
        "    for setting in (choice.early,):\n",
        (BENCHED + "the_best_setting_of_a_tenth_has_to_beat_the_usual_one_in_the_whole_time",),
    ),
    Mutant(
        "a setting that was never taken leaves no rows behind",
        "solvers/bench/pinn_report.py",
        "    return [row for row in rows if row.trained.setting == usual(row)]\n",
        "    return [row for row in rows if usual(row) or True]\n",
        (BENCHED + "rows_of_settings_that_were_not_taken_are_dropped",),
    ),
    Mutant(
        "quasi-Newton skips a step without curvature",
        SSBROYDEN,
        "    if not (ys > 0 and yHy > 0 and b > 0):\n        return H\n",
        "",
        (BROYDEN + "a_step_without_curvature_changes_nothing",),
    ),
    Mutant(
        "quasi-Newton ends where nothing falls",
        SSBROYDEN,
        "        if alpha is None or not at(x + alpha * p)[0] < f:\n",
        "        if alpha is None:\n",
        (BROYDEN + "it_ends_where_no_step_lowers_the_value",),
    ),
    Mutant(
        "causal weights do not hide what is left of an equation",
        "solvers/pinn/elsewhere.py",
        "        equation = equation.equation\n",
        "        pass\n",
        ("tests/numerics/test_pinn_elsewhere.py::test_causal_weights_do_not_hide_late_times",),
    ),
)
