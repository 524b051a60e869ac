"""The safeguards of posterior samplers and of what their draws claim."""

from __future__ import annotations

from tests.mutation.mutant import Mutant

__all__ = ["SAMPLING"]

DRIVER = "sciml/sample.py"
SAMPLES = "sciml/samples.py"
DAPS = "solvers/posterior/daps.py"
LAW = "tests/laws/test_samplers.py::test_"
DRAWS = "tests/laws/test_posterior_draws.py::test_"
CERTIFICATE = "tests/laws/test_sample_certificates.py::test_"

SAMPLING: tuple[Mutant, ...] = (
    Mutant(
        "draws that do not explain the data are no success",
        DRIVER,
        "self._end(~((misfit >= band[0]) & (misfit <= band[1])), Status.MISFIT)",
        "self._end(misfit < band[0], Status.MISFIT)",
        (CERTIFICATE + "wrong_noise_is_a_misfit",),
    ),
    Mutant(
        "an R-hat that is NaN passes no check",
        DRIVER,
        "~((rhat <= _RHAT) & (ess >= enough))",
        "(rhat > _RHAT) | ~(ess >= enough)",
        (CERTIFICATE + "nan_passes_no_check",),
    ),
    Mutant(
        "chains that go on need an effective sample size",
        DRIVER,
        "~((rhat <= _RHAT) & (ess >= enough))",
        "~(rhat <= _RHAT)",
        (CERTIFICATE + "nan_passes_no_check",),
    ),
    Mutant(
        "chains that go on are asked whether they mixed",
        DRIVER,
        "if not self.sampler.independent:\n            rhat",
        "if False:\n            rhat",
        (CERTIFICATE + "chains_that_go_on_are_asked_whether_they_mixed",),
    ),
    Mutant(
        "a sampler that did not come to its end is no success",
        DRIVER,
        "if not done:\n",
        "if False:\n",
        (CERTIFICATE + "a_plan_that_was_cut_short_is_no_success",),
    ),
    Mutant(
        "a sampler that took more than its budget is no success",
        DRIVER,
        "if self.prior.calls > self.budget:",
        "if False:",
        (CERTIFICATE + "a_plan_that_was_cut_short_is_no_success",),
    ),
    Mutant(
        "NaN from the network does not reach the draws",
        DRIVER,
        "return pick(np.broadcast_to(bad, (self.n, *self.batch)), before, x)",
        "return x",
        (LAW + "nan_from_the_network_is_caught",),
    ),
    Mutant(
        "the deviation allows for the variance of the mean",
        DRIVER,
        "spread * (self.n / (self.n - 1))",
        "spread",
        (DRAWS + "radius_and_error_hold_for_few_draws",),
    ),
    Mutant(
        "one mirrored pair tells no error of the mean",
        DRIVER,
        'return mean, xp.sqrt(spread), xp.full_like(spread, float("nan"))',
        "return mean, xp.sqrt(spread), xp.zeros_like(spread)",
        (CERTIFICATE + "what_was_not_checked_is_not_claimed",),
    ),
    Mutant(
        "discs allow for few draws",
        SAMPLES,
        "degrees=self.degrees, circular=circular",
        "circular=circular",
        (DRAWS + "radius_and_error_hold_for_few_draws",),
    ),
    Mutant(
        "discs allow for the error of the mean",
        SAMPLES,
        "(self.std**2 + self.mean_error**2) ** 0.5",
        "self.std",
        (DRAWS + "radius_and_error_hold_for_few_draws",),
    ),
    Mutant(
        "the data's noise is drawn, so that draws are not too narrow",
        DAPS,
        "noise.of(coordinates), noise.of_data(), r)",
        "noise.of(coordinates), None, r)",
        (DRAWS + "gaussian_posteriors_are_reproduced", DRAWS + "calibrated_on_closed_forms"),
    ),
    Mutant(
        "a prior that the data contradict is not certified",
        DRIVER,
        "self._end(~(self.widened <= _WIDENED), Status.MISFIT)",
        "pass",
        (CERTIFICATE + "a_prior_that_the_data_contradict_is_told",),
    ),
    Mutant(
        "a prior that is far too wide is not certified",
        DRIVER,
        "self._end(~(self.excess <= _EXCESS), Status.MISFIT)",
        "pass",
        (CERTIFICATE + "a_prior_that_is_far_too_wide_is_told",),
    ),
    Mutant(
        "a prior is called too wide only beyond all doubt",
        "solvers/posterior/_base.py",
        "np.where(small, excess, 1.0)",
        "np.maximum(excess, 1.0)",
        (CERTIFICATE + "a_prior_that_is_far_too_wide_is_told",),
    ),
    Mutant(
        "a covariance is made wider only beyond all doubt",
        "solvers/posterior/_base.py",
        "first + deviation * pearson3.isf(_DOUBT, skewness)",
        "first",
        (CERTIFICATE + "a_prior_that_the_data_contradict_is_told",),
    ),
    Mutant(
        "levels leave out what noise hides",
        DAPS,
        "above = min(left[0], _ABOVE * most)",
        "above = left[0]",
        (DRAWS + "levels_go_where_draws_still_change",),
    ),
    Mutant(
        "levels leave out what is below all spread",
        DAPS,
        "below = max(levels_of(tools.problem.prior)[0], _BELOW * least)",
        "below = levels_of(tools.problem.prior)[0]",
        (DRAWS + "levels_go_where_draws_still_change",),
    ),
)
