"""Residuals and Jacobians of PINNs, Gauss-Newton steps, and DeepXDE models trained by them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from sciml import Stop
from sciml.testing import check_operator
from solvers import CG
from solvers.pinn.gauss_newton import Ended, GaussNewton, Normal, minimise
from solvers.pinn.intervals import confidence_intervals
from solvers.pinn.residuals import PointwiseResiduals, Residuals, Term
from tests.numerics._pinns import F64, d, tanh_network


def _poisson(width: int = 6, points: int = 12, extra=()) -> PointwiseResiduals:
    """-u'' = c pi² sin(pi x), u(±1) = 0, and u'(-1) = u'(1): 2, 1 and `points` residuals."""
    inside = torch.linspace(-1, 1, points + 2, dtype=F64)[1:-1]
    x = torch.cat([torch.tensor([-1.0, 1.0, -1.0, 1.0], dtype=F64), inside])[:, None]

    def terms(x, u):
        ux = d(u, x)
        c = extra[0] if extra else 1.0
        f = -d(ux, x) - c * torch.pi**2 * torch.sin(torch.pi * x)
        return [
            Term(f[4:], slice(4, points + 4), name="the equation"),
            Term(u[:2], slice(0, 2), 10.0, "u(±1)"),
            Term(ux[2:3] - ux[3:4], slice(2, 4), 0.5, "periodic slope"),
        ]

    return PointwiseResiduals(tanh_network(1, width, width, 1), x, terms, extra=extra)


# -- residuals and J ------------------------------------------------------------------------------


def test_the_squares_of_the_residuals_are_the_loss():
    r = _poisson()
    terms = r.terms()
    loss = sum(t.weight * t.error.detach().square().mean() for t in terms)
    assert float(r.value().square().sum()) == pytest.approx(float(loss), rel=1e-13)
    assert [s.stop - s.start for s in r.rows()] == [12, 2, 1]


def test_jacobians_agree_with_each_other_and_with_differences():
    c = torch.tensor(0.7, dtype=F64, requires_grad=True)
    residuals = _poisson(extra=(c,))
    _, J = residuals.linearise()
    matrix = J.matrix()
    assert residuals.pointwise  # the fast way was taken, the periodic pair included
    torch.testing.assert_close(matrix, J.by_rows(), rtol=1e-12, atol=1e-12)
    v = torch.cos(torch.arange(residuals.size, dtype=F64))
    torch.testing.assert_close(J(v), matrix @ v, rtol=1e-11, atol=1e-11)
    theta, h = residuals.theta(), 1e-5
    sides = []
    for sign in (1, -1):
        residuals.assign(theta + sign * h * v)
        sides.append(residuals.value())
    slope = (sides[0] - sides[1]) / (2 * h)
    torch.testing.assert_close(slope, matrix @ v, rtol=1e-6, atol=1e-6)
    with pytest.raises(RuntimeError, match="linearise anew"):
        J(v)
    residuals.assign(theta)
    assert c.item() == 0.7


def test_the_jacobian_keeps_the_laws_of_operators():
    check_operator(_poisson(4, 5).linearise()[1])


def test_residuals_that_mix_points_are_made_row_by_row():
    x = torch.linspace(0, 1, 7, dtype=F64)[:, None]

    def terms(x, u):
        return [Term(u - u.mean(), slice(0, 7))]  # each depends on all points

    mixed = PointwiseResiduals(tanh_network(1, 5, 1), x, terms)
    _, J = mixed.linearise()
    torch.testing.assert_close(J.matrix(), J.by_rows())
    assert mixed.pointwise is False


def test_systems_of_equations_have_a_row_for_each_equation_at_each_point():
    x = torch.linspace(0, 1, 5, dtype=F64)[:, None]

    def terms(x, u):
        return [
            Term(torch.cat([d(u[:, :1], x) - u[:, 1:], d(u[:, 1:], x) + u[:, :1]], 1), slice(0, 5)),
            Term(u[:1, 1:] - 1, slice(0, 1)),
        ]

    system = PointwiseResiduals(tanh_network(1, 5, 2), x, terms)
    _, J = system.linearise()
    torch.testing.assert_close(J.matrix(), J.by_rows(), rtol=1e-12, atol=1e-12)
    assert system.pointwise and J.range.size == 11


def test_a_hundred_thousand_parameters_need_no_matrix():
    residuals = _poisson(320, 4)
    assert residuals.size > 100_000
    method = GaussNewton(normal=Normal.KRYLOV, damping=1e-1, stop=Stop(rtol=1e-1))
    now, _ = minimise(residuals, method, iterations=1)
    assert now.losses[1] < now.losses[0] and now.unsolved == 0


# -- steps ----------------------------------------------------------------------------------------


def _linear(rows: int, columns: int, rng) -> tuple[Residuals, torch.Tensor]:
    A = torch.from_numpy(rng.standard_normal((rows, columns)))
    b = torch.from_numpy(rng.standard_normal(rows))
    w = torch.zeros(columns, dtype=F64, requires_grad=True)
    return Residuals([w], lambda: A @ w - b), torch.linalg.lstsq(A, b[:, None]).solution[:, 0]


@pytest.mark.parametrize("normal", list(Normal))
def test_one_step_solves_a_linear_model(normal, rng):
    # of many solutions the nearest: in sample space noise beside the range of J is over mu
    residuals, best = _linear(*((8, 30) if normal is Normal.SAMPLES else (30, 8)), rng)
    method = GaussNewton(normal=normal, damping=1e-12, stop=Stop(rtol=1e-12))
    now, _ = minimise(residuals, method, iterations=1)
    torch.testing.assert_close(residuals.theta(), best, rtol=1e-6, atol=1e-8)
    assert now.iterations == 1


def test_the_step_is_the_same_in_all_spaces():
    found = []
    for normal in Normal:
        residuals = _poisson()
        method = GaussNewton(normal=normal, bend=0.0, stop=Stop(rtol=1e-13, max_iters=20_000))
        minimise(residuals, method, iterations=1)
        found.append(residuals.theta())
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-6, atol=1e-8)


def _fitted(
    unit: float, normal: Normal, steps: int
) -> tuple[PointwiseResiduals, tuple[float, ...]]:
    """-u'' = c pi² sin(pi x) / 2 with u known at some points: c is 2, and begins at 0.5.

    c is counted in `unit`.
    """
    c = torch.tensor(0.5 / unit, dtype=F64, requires_grad=True)
    x = torch.linspace(-1, 1, 18, dtype=F64)[:, None]

    def terms(x, u):
        f = -d(d(u, x), x) - c * unit * torch.pi**2 / 2 * torch.sin(torch.pi * x)
        seen = u[:9] - torch.sin(torch.pi * x[:9]) - 0.01 * torch.cos(torch.arange(9.0))[:, None]
        return [Term(f, slice(0, 18)), Term(seen, slice(0, 9), 10.0)]

    residuals = PointwiseResiduals(tanh_network(1, 6, 1), x, terms, extra=(c,))
    method = GaussNewton(normal=normal, hold=0, stop=Stop(rtol=1e-10, max_iters=2000))
    return residuals, minimise(residuals, method, iterations=steps)[0].losses


@pytest.mark.parametrize("normal", list(Normal))
@pytest.mark.parametrize("unit", [1e-8, 1e5])
def test_steps_do_not_depend_on_the_units_of_a_constant(unit, normal):
    steps = 3 if normal is Normal.KRYLOV else 12
    plain, expected = _fitted(1.0, normal, steps)
    other, losses = _fitted(unit, normal, steps)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    assert losses[-1] < 0.1 * losses[0]
    assert other.extra[0].item() * unit == pytest.approx(plain.extra[0].item(), rel=1e-4)
    a, b = (confidence_intervals(r, [1], sigma=0.01) for r in (plain, other))
    assert b.deviation[0] * unit == pytest.approx(a.deviation[0], rel=1e-3)
    assert b.resolution[0] == pytest.approx(a.resolution[0], rel=1e-6)


def test_a_constant_that_nothing_sees_is_left_alone():
    c = torch.tensor(3.0, dtype=F64, requires_grad=True)
    x = torch.linspace(0, 1, 5, dtype=F64)[:, None]
    fit = PointwiseResiduals(
        tanh_network(1, 3, 1), x, lambda x, u: [Term(u - x + 0 * c, slice(0, 5))], extra=(c,)
    )
    minimise(fit, GaussNewton(hold=0), iterations=3)
    assert c.item() == 3.0


@pytest.mark.parametrize("normal", list(Normal))
def test_constants_are_held_at_first(normal):
    c = torch.tensor(0.2, dtype=F64, requires_grad=True)
    fit = _poisson(extra=(c,))
    before = fit.theta()
    method = GaussNewton(normal=normal, hold=2)
    now, _ = minimise(fit, method, iterations=2)
    assert c.item() == 0.2 and now.units == () and now.losses[2] < now.losses[0]
    assert bool((fit.theta() != before)[:-1].any())
    now, _ = minimise(fit, method, iterations=1, start=now)
    assert c.item() != 0.2 and len(now.units) == 1


def test_constants_are_free_once_nothing_else_lowers_the_loss():
    """u is 0 for lack of anything else, so that c alone can change u - c."""
    c = torch.tensor(2.0, dtype=F64, requires_grad=True)
    network = torch.nn.Linear(1, 1, bias=False, dtype=F64)
    x = torch.zeros(4, 1, dtype=F64)
    fit = PointwiseResiduals(network, x, lambda x, u: [Term(u - c, slice(0, 4))], extra=(c,))
    now, ended = minimise(fit, GaussNewton(damping=1e-9), iterations=20, target=1e-20)
    assert ended is Ended.TARGET and now.iterations < 6 and abs(c.item()) < 1e-9


@pytest.mark.parametrize("parts", [(1, 4), (2, 3), (3, 2)])
def test_a_run_in_parts_holds_constants_as_long_as_a_run_in_one(parts):
    found = []
    for lengths in ((5,), parts):
        c = torch.tensor(0.2, dtype=F64, requires_grad=True)
        fit, now = _poisson(extra=(c,)), None
        for steps in lengths:
            now, _ = minimise(fit, GaussNewton(hold=2), iterations=steps, start=now)
        found.append((now, c.item()))
    assert found[0] == found[1]


def test_a_constant_that_nothing_sees_any_more_does_not_run_away():
    """Of exp(-c x), which is 0 for large c, J by c vanishes: units are the least so far."""
    c = torch.tensor(1.0, dtype=F64, requires_grad=True)
    x = torch.linspace(0.1, 1, 5, dtype=F64)[:, None]
    fit = PointwiseResiduals(
        tanh_network(1, 3, 1),
        x,
        lambda x, u: [Term(u - torch.exp(-c * x), slice(0, 5))],
        extra=(c,),
    )
    free = GaussNewton(hold=0)
    now, _ = minimise(fit, free, iterations=1)
    with torch.no_grad():
        c.fill_(60.0)
    later = free.step(fit, now)
    assert later.units[0] <= now.units[0] < 1e-2 * fit.units(fit.linearise()[1])[0]


def test_losses_fall_and_the_solution_is_found():
    residuals = _poisson(10, 30)
    now, _ = minimise(residuals, GaussNewton(), iterations=60)
    assert (np.diff(now.losses) <= 0).all()
    assert now.losses[-1] < 1e-6 * now.losses[0]
    x = torch.linspace(-1, 1, 50, dtype=F64)[:, None]
    # the periodic slope holds for sin(pi x) too
    error = residuals.network(x) - torch.sin(torch.pi * x)
    assert float(error.detach().norm() / torch.sin(torch.pi * x).norm()) < 1e-2


def test_a_bent_path_gets_lower_than_a_straight_one():
    losses = {}
    for bend in (0.0, 0.75):
        now, _ = minimise(_poisson(10, 30), GaussNewton(bend=bend), iterations=25)
        losses[bend] = now.losses[-1]
    assert losses[0.75] < 0.5 * losses[0.0]


def test_a_run_in_parts_ends_with_the_same_bits():
    whole, parts = _poisson(), _poisson()
    method = GaussNewton()
    one, _ = minimise(whole, method, iterations=9)
    now, _ = minimise(parts, method, iterations=4)
    two, _ = minimise(parts, method, iterations=5, start=now)
    assert torch.equal(whole.theta(), parts.theta()) and one == two


def test_an_interrupted_run_keeps_the_last_step():
    residuals = _poisson()
    seen: list[torch.Tensor] = []
    function, calls = residuals._function, 0

    def interrupted():
        nonlocal calls
        calls += 1
        if len(seen) == 3 and calls % 3 == 0:
            raise KeyboardInterrupt  # amid a step, with a trial in the parameters
        return function()

    residuals._function = interrupted
    now, ended = minimise(
        residuals, GaussNewton(), iterations=20,
        progress=lambda done, of: seen.append(residuals.theta()),
    )  # fmt: skip
    assert ended is Ended.INTERRUPTED and now.iterations == 3
    assert torch.equal(residuals.theta(), seen[-1])


def test_interrupting_a_krylov_solve_ends_the_run():
    residuals = _poisson()
    before = residuals.theta()

    @dataclass(frozen=True, kw_only=True)
    class Interrupted(CG):
        def advance(self, s, k):
            raise KeyboardInterrupt

    method = GaussNewton(normal=Normal.KRYLOV, solver=Interrupted())
    now, ended = minimise(residuals, method, iterations=3)
    assert ended is Ended.INTERRUPTED and now.iterations == 0
    assert torch.equal(residuals.theta(), before)


def test_a_target_and_a_minimum_end_a_run(rng):
    residuals, _ = _linear(5, 8, rng)
    assert minimise(residuals, GaussNewton(), iterations=99, target=1e-9)[1] is Ended.TARGET
    residuals, _ = _linear(30, 8, rng)
    now, ended = minimise(residuals, GaussNewton(damping=1e-9), iterations=99)
    assert ended is Ended.STALLED and now.iterations < 99


def test_answers_of_solves_that_were_not_certified_are_not_used():
    residuals = _poisson()
    before = residuals.theta()
    method = GaussNewton(
        normal=Normal.KRYLOV, damping=1e-9, tries=2, solver=CG(), stop=Stop(rtol=1e-9, max_iters=1)
    )
    now, _ = minimise(residuals, method, iterations=1)
    assert now.unsolved == 2 and now.stalled == 1
    assert torch.equal(residuals.theta(), before)


# -- refusals -------------------------------------------------------------------------------------


def _bad(terms):
    x = torch.linspace(0, 1, 6, dtype=F64)[:, None]
    return PointwiseResiduals(tanh_network(1, 3, 1), x, terms)


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        (lambda x, u: [], "at least one term"),
        (
            lambda x, u: [Term(u[:0], slice(0, 0), name="the wall")],
            "at least one point for the wall",
        ),
        (lambda x, u: [Term(u[:, 1:2], slice(0, 6))], "how many outputs"),
        (lambda x, u: [Term(u - x[:, 0], slice(0, 6))], "keep the last axis"),
        (lambda x, u: [Term(u, slice(0, 9))], "some of 6 points"),
        (lambda x, u: [Term(u, slice(0, 6), weight=-1.0)], "weight"),
    ],
)
def test_terms_that_do_not_fit_are_refused(terms, words):
    with pytest.raises(ValueError, match=words):
        _bad(terms).value()


def test_nan_is_named_with_its_term_and_its_point():
    residuals = _bad(
        lambda x, u: [Term(u, slice(0, 6)), Term(torch.log(x - 0.5), slice(0, 6), name="f")]
    )
    with pytest.raises(FloatingPointError, match=r"NaN or Inf in f at 3 of 6 points.*x = \[0.0\]"):
        minimise(residuals, GaussNewton(), iterations=1)


def test_parameters_of_another_precision_are_refused():
    w = torch.zeros(3, requires_grad=True)
    with pytest.raises(TypeError, match="float64"):
        Residuals([w], lambda: w)
    with pytest.raises(ValueError, match="at least one parameter"):
        Residuals([], lambda: w)
    with pytest.raises(ValueError, match="damping > 0"):
        GaussNewton(damping=0.0)
    with pytest.raises(TypeError, match="Normal"):
        GaussNewton(normal="samples")  # type: ignore[arg-type]


# -- intervals ------------------------------------------------------------------------------------


def test_intervals_of_a_linear_model_are_those_of_least_squares(rng):
    x = torch.linspace(0, 1, 40, dtype=F64)[:, None]
    y = 2 + 3 * x + 0.1 * torch.from_numpy(rng.standard_normal((40, 1)))
    slope = torch.tensor(0.0, dtype=F64, requires_grad=True)
    network = torch.nn.Linear(1, 1, dtype=F64)
    network.weight.requires_grad_(False).zero_()
    fit = PointwiseResiduals(
        network, x, lambda x, u: [Term(u + slope * x - y, slice(0, 40))], extra=(slope,)
    )
    minimise(fit, GaussNewton(damping=1e-9), iterations=5)
    found = confidence_intervals(fit, [0], damping=1e-13)
    A = np.hstack([np.ones((40, 1)), x.numpy()])
    best, rss, *_ = np.linalg.lstsq(A, y.numpy(), rcond=None)
    assert found.value[0] == pytest.approx(best[1, 0], rel=1e-8)
    assert found.sigma == pytest.approx(np.sqrt(rss[0] / 38), rel=1e-3)
    expected = found.sigma * np.sqrt(np.linalg.inv(A.T @ A)[1, 1])
    assert found.deviation[0] == pytest.approx(expected, rel=1e-3)
    assert found.resolution[0] == pytest.approx(1, abs=1e-6)
    assert abs(found.offset[0]) < 1e-6
    with pytest.raises(ValueError, match="noisy terms from 0 to 0"):
        confidence_intervals(fit, [1])
    with pytest.raises(ValueError, match="unknown parameters"):
        confidence_intervals(_poisson(3, 4), [0])
    for bad in ({"sigma": -0.1}, {"sigma": np.nan}, {"damping": -1e-9}, {"damping": np.nan}):
        with pytest.raises(ValueError, match=f"{next(iter(bad))} finite and >= 0"):
            confidence_intervals(fit, [0], **bad)


def test_the_noise_is_estimated_without_bias_where_equations_are_fitted_along():
    """White noise is as its unit vectors, one by one: the estimates' squares sum up to 1 exactly.

    Four data points of one weight, three of another, and an equation that holds as it is.
    """
    x = torch.tensor([0.0, 0.1, 0.5, 1.0, 0.2, 0.7, 0.9, 0.0, 0.4, 0.8], dtype=F64)[:, None]
    total = 0.0
    for k in range(7):
        y = torch.zeros(7, 1, dtype=F64)
        y[k] = 1
        slope = torch.tensor(0.0, dtype=F64, requires_grad=True)
        network = torch.nn.Linear(1, 1, dtype=F64)
        network.weight.requires_grad_(False).zero_()

        def terms(x, u, y=y, slope=slope):
            line = u + slope * x
            return [
                Term(line[:4] - y[:4], slice(0, 4), 1.0),
                Term(line[4:7] - y[4:], slice(4, 7), 5.0),
                Term(u[7:] - slope * x[7:], slice(7, 10), 2.0),
            ]

        fit = PointwiseResiduals(network, x, terms, extra=(slope,))
        minimise(fit, GaussNewton(damping=1e-9), iterations=6)
        total += confidence_intervals(fit, [0, 1], damping=1e-14).sigma ** 2
    assert total == pytest.approx(1, rel=1e-6)


def test_a_term_that_no_parameter_changes_is_refused():
    x = torch.linspace(0, 1, 5, dtype=F64)[:, None]

    def terms(x, u):
        return [Term(u - x, slice(0, 5)), Term(u.detach() - x, slice(0, 5), name="the wall")]

    fit = PointwiseResiduals(torch.nn.Linear(1, 1, dtype=F64), x, terms)
    with pytest.raises(ValueError, match=r"the wall to depend on what is trained.*detach\(\)"):
        minimise(fit, GaussNewton(), iterations=1)
