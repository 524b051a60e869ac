"""Learned proximal operators whose true ones are known: weights that come with the package."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from sciml import Space
from sciml.networks import ConvexDense, PretrainedProximal, load_proximal, read_card, weights_path
from sciml.priors import LearnedProximal
from sciml.training import ProximalMatching, Stage
from solvers import CG
from solvers.cli import main
from solvers.neural import proximal as training
from solvers.neural.proximal import (
    Gaussians,
    Laplace,
    ProximalCourse,
    gap,
    posterior_mean,
    posterior_mode,
    proximal_course,
    train_proximal,
)
from solvers.neural.proximal_images import image_course

LAPLACE, MIXTURE, MEAN = (
    PretrainedProximal.LPN_LAPLACE,
    PretrainedProximal.LPN_MIXTURE,
    PretrainedProximal.LPN_LAPLACE_MEAN,
)
BY_NAME = {"ids": lambda p: p.value}
Y = np.linspace(-4, 4, 401)


def _prior(name: PretrainedProximal, size: int) -> LearnedProximal:
    return LearnedProximal(load_proximal(name), Space((size,)), solver=CG())


def _soft(y: np.ndarray) -> np.ndarray:
    return np.sign(y) * np.maximum(np.abs(y) - 1, 0)


def _energies(name: PretrainedProximal, x: np.ndarray) -> np.ndarray:
    """g at each x, up to a constant."""
    return _prior(name, 1).value(x[:, None])


def _off_by(found: np.ndarray, true: np.ndarray) -> float:
    """The largest difference, but for a constant."""
    d = found - true
    return float(d.max() - d.min()) / 2


# -- what is true -------------------------------------------------------------------------------


def test_modes_and_means_of_closed_form() -> None:
    np.testing.assert_allclose(posterior_mode(Laplace(), Y, 1.0), _soft(Y), atol=6e-4)
    one = Gaussians((1.0,), (0.5,), (2.0,))
    wanted = (0.25 * 0.5 + 4 * Y) / 4.25
    np.testing.assert_allclose(posterior_mode(one, Y, 0.5), wanted, atol=6e-4)
    np.testing.assert_allclose(posterior_mean(one, Y, 0.5), wanted, atol=1e-9)
    two = Gaussians()
    density = np.exp(-two.energy(Y))
    wanted = sum(
        w / s * np.exp(-0.5 * ((Y - m) / s) ** 2)
        for w, m, s in zip(two.shares, two.means, two.stds, strict=True)
    )
    np.testing.assert_allclose(density, wanted, rtol=1e-12)


def test_draws_are_of_the_density(rng: np.random.Generator) -> None:
    for density in (Laplace(), Gaussians()):
        x = density.draw(rng, 100_000)
        grid = np.linspace(-15, 15, 30_001)
        p = np.exp(-density.energy(grid))
        cumulated = np.cumsum(p) / p.sum()
        empirical = np.searchsorted(np.sort(x), grid) / len(x)
        assert np.abs(empirical - cumulated).max() < 0.01


@pytest.mark.parametrize(
    "density, sigma", [(Laplace(), 1.0), (Laplace(0.5), 0.7), (Gaussians(), 0.5)]
)
def test_draws_given_y_are_of_the_posterior(density, sigma, rng: np.random.Generator) -> None:
    y = np.array([-3.0, -0.4, 0.9, 9.0])
    x = density.draw_given(rng, y, sigma, 50_000)
    grid = np.linspace(-12, 12, 24_001)
    for drawn, v in zip(x.T, y, strict=True):
        cost = density.energy(grid) + 0.5 * ((grid - v) / sigma) ** 2
        p = np.exp(cost.min() - cost)
        empirical = np.searchsorted(np.sort(drawn), grid) / len(drawn)
        assert np.abs(empirical - np.cumsum(p) / p.sum()).max() < 0.01


@pytest.mark.parametrize("gamma, blur", [(0.1, 0.11), (0.02, 0.03)])
def test_gamma_blurs_the_mode(gamma: float, blur: float) -> None:
    """What proximal matching tends to at y = 1, where p(x | y) is steep on one side of its mode."""
    x = np.linspace(-6, 6, 24_001)
    p = np.exp(-np.abs(x) - 0.5 * (x - 1) ** 2)
    f = np.linspace(-0.1, 0.3, 801)
    loss = [np.sum(p * (1 - np.exp(-(((v - x) / gamma) ** 2)))) for v in f]
    assert f[np.argmin(loss)] == pytest.approx(blur, abs=0.005)


def test_the_mixture_is_not_convex_and_its_mode_is_continuous() -> None:
    x = np.linspace(-4, 4, 8001)
    curvature = np.diff(Gaussians().energy(x), 2) / 1e-6
    assert curvature.min() < -2
    assert 1 + 0.25 * curvature.min() > 0.3  # sigma² (−log p) + ½ x², at sigma = 0.5


# -- what comes with the package ----------------------------------------------------------------


def test_laplace_becomes_soft_thresholding() -> None:
    assert np.abs(_prior(LAPLACE, len(Y)).prox(Y, 1.0) - _soft(Y)).max() <= 0.05


def test_its_prior_is_the_modulus() -> None:
    """For all that f gives on [−4, 4]; so too with f's own inversion left out."""
    x = np.linspace(-3, 3, 121)
    prior = _prior(LAPLACE, len(x))
    assert _off_by(_energies(LAPLACE, x), np.abs(x)) <= 0.05
    slope = prior.slope(x)
    assert np.abs(slope - np.sign(x))[np.abs(x) > 0.25].max() <= 0.1


def test_squared_errors_give_the_mean_instead() -> None:
    f = _prior(MEAN, len(Y)).prox(Y, 1.0)
    assert np.abs(f - posterior_mean(Laplace(), Y, 1.0)).max() <= 0.05
    assert np.abs(f - _soft(Y)).max() > 0.2
    x = np.linspace(-3, 3, 121)
    assert _off_by(_energies(MEAN, x), np.abs(x)) > 0.1


def test_a_mixture_gives_its_mode_and_its_density() -> None:
    y, density = np.linspace(-3, 3, 301), Gaussians()
    prior = _prior(MIXTURE, len(y))
    mode, mean = (of(density, y, 0.5) for of in (posterior_mode, posterior_mean))
    f = prior.prox(y, 0.25)
    assert np.abs(f - mode).max() <= 0.05 < np.abs(mean - mode).max()
    x = np.linspace(-2.2, 2.2, 89)
    assert _off_by(_energies(MIXTURE, x), density.energy(x)) <= 0.05
    f = _prior(MIXTURE, len(Y)).prox(Y, 0.25)
    assert np.abs(f - posterior_mode(density, Y, 0.5)).max() <= 0.05


@pytest.mark.parametrize("step", [0.3, 0.8])
def test_other_steps_are_those_of_the_density(step: float) -> None:
    """step |x| is soft thresholding by the step: what no network was trained for."""
    found, off = _prior(LAPLACE, len(Y)).prox_within(Y, step)
    wanted = np.sign(Y) * np.maximum(np.abs(Y) - step, 0)
    assert np.abs(found - wanted).max() <= 0.05 and float(off) < 1e-6


@pytest.mark.parametrize("name", [LAPLACE, MIXTURE, MEAN], **BY_NAME)
def test_cards_tell_what_was_done(name: PretrainedProximal) -> None:
    path = weights_path(name)
    about = read_card(path)["about"]
    course = proximal_course(name)
    assert about["held_out_error"] == pytest.approx(gap(load_proximal(name), course), abs=2e-3)
    assert about["held_out_error"] <= 0.05 < about["held_out_error_untrained"]
    assert about["stages"] == [repr(s) for s in course.lesson.stages]
    assert (about["batch"], about["draws"]) == (course.batch, course.draws)
    assert about["seed"] == 0
    assert path.stat().st_size < 100_000


# -- training -----------------------------------------------------------------------------------


def _tiny(square: bool = False) -> ProximalCourse:
    lesson = ProximalMatching((Stage(20, 3e-3), Stage(10, 1e-3, 0.5)), square=square)
    return ProximalCourse(partial(ConvexDense, 1, 8, 2), Laplace(), 1.0, lesson, 50, 2, 2.0)


def test_a_cut_course_ends_as_a_whole_one(tmp_path: Path) -> None:
    def press(done: int, total: int) -> None:
        if done == 25:
            raise KeyboardInterrupt

    whole, _ = train_proximal(LAPLACE, tmp_path / "whole", taken=_tiny(), seed=4)
    with pytest.raises(KeyboardInterrupt):
        train_proximal(LAPLACE, tmp_path / "cut", taken=_tiny(), seed=4, progress=press)
    cut, _ = train_proximal(LAPLACE, tmp_path / "cut", taken=_tiny(), seed=4, resume=True)
    assert whole.read_bytes() == cut.read_bytes()
    about = read_card(whole)["about"]
    assert about["seed"] == 4 and "proximal matching" in about["objective"]


def test_the_command_trains(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(training, "proximal_course", lambda *a, **k: _tiny(square=True))
    assert main(["train", "lpn-laplace-mean", "--out", str(tmp_path), "--quick"]) == 0
    assert "error " in capsys.readouterr().out
    assert load_proximal(tmp_path / "lpn-laplace-mean.safetensors").infeasible() is None
    about = read_card(tmp_path / "lpn-laplace-mean.safetensors")["about"]
    assert about["command"].endswith("--quick --seed 0") and "mean square" in about["objective"]
    assert main(["train", "--list"]) == 0
    assert set(capsys.readouterr().out.split()) >= {p.value for p in PretrainedProximal}


def test_quick_is_a_quarter() -> None:
    full, quick = (proximal_course(LAPLACE, quick=q).lesson.steps for q in (False, True))
    assert 4 * quick <= full <= 4 * quick + 40


def test_images_have_a_course_of_their_own() -> None:
    for name in PretrainedProximal:
        of_numbers, of_images = proximal_course, image_course
        own, other = (of_images, of_numbers) if name.of_images else (of_numbers, of_images)
        assert own(name, quick=True).lesson.steps > 0
        with pytest.raises(ValueError, match=own.__name__):
            other(name)


def test_quick_courses_keep_checkpoints() -> None:
    """Ctrl-C loses a quarter of the steps at most."""
    for name in (LAPLACE, MIXTURE, MEAN):
        plan = proximal_course(name, quick=True).lesson.plan()
        assert 4 * plan.every <= plan.steps


@pytest.mark.slow
@pytest.mark.parametrize("name", [LAPLACE, MIXTURE, MEAN], **BY_NAME)
def test_training_anew_comes_as_far(name: PretrainedProximal, tmp_path: Path) -> None:
    """Minutes each, and from another seed."""
    weights, _ = train_proximal(name, tmp_path, seed=1)
    assert read_card(weights)["about"]["held_out_error"] <= 0.05
