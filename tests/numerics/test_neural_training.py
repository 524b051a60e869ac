"""The trainer, the data that direction networks learn from, and their objectives."""

from __future__ import annotations

import math
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from sciml.io import FileError
from sciml.networks import (
    Multilevel,
    Pretrained,
    PretrainedPredictor,
    SingleLevel,
    load_network,
    read_card,
)
from sciml.operators import Diffusion, Side
from sciml.training import Plan, train
from solvers.cli import main
from solvers.neural import systems
from solvers.neural import train as training
from solvers.neural.objective import (
    Loss,
    iterations,
    residual_history,
    step_loss,
    trajectory_loss,
)
from solvers.neural.systems import Boxes, Fields, modes, paper_spread, ritz_vectors
from solvers.neural.train import Course, course, train_directions

TINY = Boxes(2, (8,), members=2, solid=0.5, warm=2)
PLAN = Plan(13, ema=0.9, every=5)


def _network() -> Multilevel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Multilevel(2, 2, 3)


def _train(path: Path | None = None, plan: Plan = PLAN, **how):
    network = _network()
    done = train(
        network, partial(trajectory_loss, loss=Loss.ENERGY), TINY, plan=plan,
        rng=np.random.default_rng(5), checkpoint=path, **how,
    )  # fmt: skip
    return network, done


def _same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


# -- the trainer --------------------------------------------------------------------------------


def test_a_resumed_run_ends_with_the_bits_of_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, losses = _train()

    def press(done: int, total: int) -> None:
        if done == 8:
            raise KeyboardInterrupt

    path = tmp_path / "run.safetensors"
    with pytest.raises(KeyboardInterrupt):
        _train(path, progress=press)
    assert path.exists()  # the checkpoint of step 5
    seen: list[int] = []
    resumed, again = _train(path, resume=True, progress=lambda d, n: seen.append(d))
    assert seen[0] == 6 and seen[-1] == PLAN.steps
    assert _same(whole, resumed) and np.array_equal(losses.losses, again.losses)
    assert not _same(whole, _network())


def test_a_finished_run_resumes_to_itself(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    whole, _ = _train(path)
    assert _same(whole, _train(path, resume=True)[0])


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    _train(path)
    with pytest.raises(FileError, match="checkpoint of Plan"):
        _train(path, Plan(14, ema=0.9, every=5), resume=True)
    for spoilt in (path.read_bytes()[:-40], b"", b"\x00" * 64):
        path.write_bytes(spoilt)
        with pytest.raises(FileError, match="expected a checkpoint"):
            _train(path, resume=True)


def test_training_leaves_the_global_generators_alone() -> None:
    before = torch.random.get_rng_state(), np.random.get_state()[1].tobytes()
    _train()
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert before[1] == np.random.get_state()[1].tobytes()


class _Slope(torch.nn.Module):
    """One number, whose loss has the slope that the batch says."""

    def __init__(self) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))


def _slopes(*values: float, **how):
    module, given = _Slope(), iter(values)
    seen: list[float] = []

    def loss(m, slope):
        seen.append(float(m.w.detach()))
        return (m.w * slope).sum()

    plan = Plan(len(values), 0.1, **how)
    train(module, loss, lambda rng: next(given), plan=plan, rng=np.random.default_rng(0))
    return float(module.w.detach()), seen


def test_the_rate_falls_along_half_a_cosine() -> None:
    plan = Plan(10, 0.5, floor=0.1)
    assert plan.rate(0) == 0.5 and math.isclose(plan.rate(5), 0.5 * 0.55)
    assert math.isclose(plan.rate(10), 0.05)
    # Adam's first step is the rate itself, whatever the slope
    assert math.isclose(_slopes(3.0, 3.0, clip=None)[1][1], -0.1, rel_tol=1e-6)


def test_a_spike_does_not_stop_the_training_where_gradients_are_clipped() -> None:
    slopes = [1e8] + [1.0] * 10
    assert _slopes(*slopes, clip=1.0)[0] < 1.5 * _slopes(*slopes, clip=None)[0] < 0


def test_the_running_mean_is_what_training_returns() -> None:
    end, seen = _slopes(*[1.0] * 6, ema=0.5)
    last, _ = _slopes(*[1.0] * 6)
    mean = 0.0
    for step, w in enumerate([*seen[1:], last]):
        decay = min(0.5, (1 + step) / (10 + step))
        mean = decay * mean + (1 - decay) * w
    # the mean starts at the untrained weight, 0 here
    assert math.isclose(end, mean, rel_tol=1e-12) and end != last


def test_bad_training_is_refused() -> None:
    with pytest.raises(FloatingPointError, match="finite loss, got nan"):
        _slopes(1.0, float("nan"))
    for call in (lambda: Plan(0), lambda: Plan(3, ema=1.0), lambda: Plan(3, -1.0)):
        with pytest.raises(ValueError, match=r"expected .* got"):
            call()
    with pytest.raises(TypeError, match="Generator"):
        train(_network(), trajectory_loss, TINY, plan=PLAN, rng=3)  # type: ignore[arg-type]


# -- data ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [Side.DIRICHLET, Side.NEUMANN])
@pytest.mark.parametrize("shape", [(6, 9), (4, 5, 3)])
def test_the_modes_are_eigenvectors(shape, side: Side, rng: np.random.Generator) -> None:
    values, synthesise = modes(shape, side)
    c = rng.standard_normal(shape)
    A = Diffusion(np.ones(shape), ndim=len(shape), spacing=1.0, boundary=side)
    np.testing.assert_allclose(A(synthesise(c)), synthesise(values * c), atol=1e-12)
    assert math.isclose(np.linalg.norm(synthesise(c)), np.linalg.norm(c))  # orthonormal


def test_the_low_modes_weigh_nine_times_as_in_the_paper() -> None:
    values, _ = modes((64, 64), Side.NEUMANN)
    energy = paper_spread(values) ** 2
    angle = np.arccos(1 - 2 * values / values.max()) / np.pi
    low, high = energy[(angle < 0.5)].sum() / 0.5, energy[angle >= 0.6].sum() / 0.4
    assert abs(low / high / 81 - 1) < 0.05
    assert paper_spread(values)[0, 0] == 0  # constants are no residual


def test_every_residual_can_have_the_spread_of_the_paper(monkeypatch, rng) -> None:
    used: list[str] = []
    for name in ("paper_spread", "_power"):
        real = getattr(systems, name)
        monkeypatch.setattr(
            systems, name, lambda *given, n=name, f=real: used.append(n) or f(*given)
        )
    for powers, only in (
        (0.0, {"paper_spread"}),
        (1.0, {"_power"}),
        (0.5, {"paper_spread", "_power"}),
    ):
        used.clear()
        Boxes(2, (4,), members=30, powers=powers)(rng)
        assert set(used) == only


def test_ritz_vectors_are_eigenvectors_of_a_small_operator(rng: np.random.Generator) -> None:
    A = Diffusion(np.exp(rng.standard_normal((5, 4))))
    exact = np.linalg.eigvalsh(A.dense())
    values, vectors = ritz_vectors(A, 20, rng)
    np.testing.assert_allclose(values, exact, rtol=1e-8)
    for value, v in zip(values, vectors, strict=True):
        np.testing.assert_allclose(A(v), value * v, atol=1e-7 * exact[-1])
    few, basis = ritz_vectors(A, 6, rng)
    flat = basis.reshape(6, -1)
    np.testing.assert_allclose(flat @ flat.T, np.eye(6), atol=1e-12)
    assert exact[0] - 1e-9 <= few.min() and few.max() <= exact[-1] * (1 + 1e-12)


@pytest.mark.parametrize("draw", [TINY, Fields((8, 16), members=2, phases=0.5)])
def test_errors_are_of_systems_that_can_be_solved(draw, rng: np.random.Generator) -> None:
    for _ in range(6):
        batch = draw(rng)
        e = batch.error * batch.stencil.fluid
        assert torch.isfinite(e).all() and (batch.stencil(e).flatten(1).norm(dim=1) > 0).all()
        assert torch.equal(e, batch.error)  # nothing in solid cells


def test_held_out_systems_are_none_of_those_trained_on() -> None:
    drawn, _, judged = np.random.SeedSequence(0).spawn(3)
    seen = [TINY(np.random.default_rng(s)).error[0] for s in (drawn, judged)]
    rng = np.random.default_rng(drawn)
    for error in (TINY(rng).error for _ in range(30)):
        assert not any(torch.equal(one, seen[1][:1][0]) for one in error[:, :1])


# -- objectives ---------------------------------------------------------------------------------


def test_the_loss_of_the_paper(rng: np.random.Generator) -> None:
    """‖b − A q (q·b)/(q·Aq)‖² for ‖b‖ = 1, by NumPy; and no slope along q itself."""
    A = torch.from_numpy(Diffusion(np.exp(rng.standard_normal((4, 3)))).dense())
    b = torch.from_numpy(rng.standard_normal((1, 12)))
    b = b / b.norm()
    q = torch.from_numpy(rng.standard_normal((1, 12))).requires_grad_()
    e = torch.linalg.solve(A, b.T).T
    value = step_loss(Loss.RESIDUAL, b, e, q, q @ A)
    M, v, w = A.numpy(), q.detach().numpy()[0], b.numpy()[0]
    expected = np.linalg.norm(w - M @ v * (v @ w) / (v @ M @ v)) ** 2
    assert math.isclose(float(value.detach()), expected, rel_tol=1e-12)
    value.sum().backward()
    assert abs(float((q.grad * q.detach()).sum())) < 1e-12 < float(q.grad.norm())
    assert float(step_loss(Loss.RESIDUAL, b, e, e, b)) < 1e-20  # q = e solves the system
    assert float(step_loss(Loss.ENERGY, b, e, e, b)) <= math.log(1e-5)
    assert float(step_loss(Loss.ENERGY, b, e, -e, -b)) == pytest.approx(math.log(2))
    left = float(step_loss(Loss.ITERATIONS, b, e, q, q @ A).detach())
    assert math.isclose(2 * left, math.log(expected), rel_tol=1e-12)


def test_iterations_are_counted_and_have_the_slope_of_a_sigmoid() -> None:
    left = torch.tensor([[0.5, 0.02], [0.1, 2.0], [0.5, 0.5]], dtype=torch.float64)
    reductions = left.log().requires_grad_()
    count = iterations(reductions, 0.1)
    # 0.5, 0.05, 0.025 is above a tenth once; 0.02, 0.04, 0.02 never
    assert count.tolist() == [1.0, 0.0]
    count.sum().backward()
    over = math.log(0.5 / 0.1)
    slope = 1 / (1 + math.exp(-over))
    slope *= 1 - slope
    expected = torch.tensor([[slope, 0.0], [0.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(reductions.grad, expected)
    # an early step counts in every later one
    reductions = torch.zeros(3, 1, dtype=torch.float64, requires_grad=True)
    iterations(reductions, 0.5).sum().backward()
    each = float(reductions.grad[2])
    assert reductions.grad.ravel().tolist() == pytest.approx([3 * each, 2 * each, each])


def test_a_trajectory_counts_its_own_iterations(rng: np.random.Generator) -> None:
    """The count of a window is that of the residuals which the same solve leaves."""
    batch = Boxes(2, (8,), members=4, sides=(Side.DIRICHLET,), warm=0)(rng)
    network = _network()
    with torch.no_grad():
        counted = trajectory_loss(network, batch, horizon=6, loss=Loss.ITERATIONS)
        history = residual_history(network, batch, 7, 0.0)
    assert float(counted) == (history[1:] > 0.1).sum(0).mean()
    assert 0 < counted < 6


def test_the_trajectory_follows_the_method(rng: np.random.Generator) -> None:
    """Its first step is the loss of the paper; a network that inverts A leaves nothing."""
    batch = Boxes(2, (8,), members=3, sides=(Side.DIRICHLET,), warm=0)(rng)
    network = SingleLevel(2)
    r = batch.stencil(batch.error)
    unit = r.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    q = network(r / unit)
    direct = step_loss(Loss.RESIDUAL, r / unit, batch.error / unit, q, batch.stencil(q)).mean()
    traced = trajectory_loss(network, batch)
    torch.testing.assert_close(traced, direct, rtol=1e-4, atol=1e-5)


# -- whole courses ------------------------------------------------------------------------------


def _small() -> Course:
    return Course(
        partial(SingleLevel, 2, 1, 1, 1, 4), TINY, Boxes(2, (8,), warm=0), Plan(30, 3e-3),
        Loss.ENERGY,
    )  # fmt: skip


def test_training_writes_weights_that_are_better(tmp_path: Path) -> None:
    weights, card = train_directions(Pretrained.DCDM_2D, tmp_path, taken=_small(), seed=2)
    about = read_card(weights)["about"]
    assert about["held_out_steps"] < about["held_out_steps_untrained"]
    assert about["seed"] == 2 and card.exists()
    first = load_network(weights, ndim=2)
    again, _ = train_directions(Pretrained.DCDM_2D, tmp_path / "again", taken=_small(), seed=2)
    assert _same(first, load_network(again))


def test_the_command_trains(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(training, "course", lambda name, quick, published: _small())
    assert main(["train", "dcdm-2d", "--out", str(tmp_path), "--quick"]) == 0
    assert "held out" in capsys.readouterr().out
    assert load_network(tmp_path / "dcdm-2d.safetensors", ndim=2)
    assert main(["train", "--list"]) == 0
    names = {p.value for p in (*Pretrained, *PretrainedPredictor)}
    listed = capsys.readouterr().out.splitlines()
    assert names <= {line.split()[0] for line in listed}
    told = re.compile(r"^\S+ +\S.*; (\d+ s, CPU|not in the package)")
    assert all(told.search(line) for line in listed)
    assert main(["train", "dcdm-4d", "--out", str(tmp_path)]) == 2
    assert main(["train", "dcdm-2d"]) == 2


def test_the_published_course_is_that_of_the_paper(rng: np.random.Generator) -> None:
    for name in (Pretrained.DCDM_2D, Pretrained.DCDM_3D):
        taught = course(name, published=True)
        assert (taught.loss, taught.horizon) == (Loss.RESIDUAL, 1)
        assert taught.plan.rate(0) == taught.plan.rate(taught.plan.steps - 1) == 1e-4
        assert taught.plan.clip is None and taught.plan.ema is None
        assert isinstance(taught.network(), SingleLevel)
        assert 4 * course(name, published=True, quick=True).plan.steps == taught.plan.steps
    batch = course(Pretrained.DCDM_2D, published=True).data(rng)
    assert batch.error.shape == (10, 1, 64, 64) and batch.warm == 0
    assert not batch.stencil.extra.any() and batch.stencil.fluid.all()  # walls without flux
    with pytest.raises(ValueError, match=r"expected dcdm-2d or dcdm-3d .* got directions-2d"):
        course(Pretrained.DIRECTIONS_2D, published=True)


def test_the_command_trains_as_published(tmp_path: Path, monkeypatch, capsys) -> None:
    given: list[bool] = []

    def small(name, quick, published):
        given.append(published)
        return _small()

    monkeypatch.setattr(training, "course", small)
    assert main(["train", "dcdm-2d", "--out", str(tmp_path), "--published"]) == 0
    command = read_card(tmp_path / "dcdm-2d.safetensors")["about"]["command"]
    assert given == [True] and command == "sciml train dcdm-2d --published --seed 0"
    assert main(["train", "directions-2d", "--out", str(tmp_path), "--published"]) == 2
    assert "expected --published with dcdm-2d or dcdm-3d" in capsys.readouterr().err


def test_every_shipped_network_has_a_course_and_a_quick_one() -> None:
    for name in Pretrained:
        full, quick = course(name), course(name, quick=True)
        assert 4 * quick.plan.steps == full.plan.steps
        assert full.network().ndim == (3 if name.value.endswith("3d") else 2)
