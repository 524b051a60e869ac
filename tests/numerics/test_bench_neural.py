"""The benchmark of learned directions: systems as named, rivals as cited, training counted."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import label
from scipy.sparse.linalg import cg as scipy_cg
from scipy.sparse.linalg import spsolve

from sciml import LinearSystem, Stop, solve
from sciml.networks import SingleLevel, save_network
from sciml.operators import Diffusion
from sciml.testing import check_operator
from solvers import CG, IC0, Deflation, Jacobi
from solvers.bench import (
    BenchReport,
    Contender,
    Method,
    NeuralReport,
    Outcome,
    Source,
    neural_contenders,
    run_neural,
)
from solvers.bench.neural_methods import classical, learned_methods
from solvers.bench.neural_report import pays_after
from solvers.bench.neural_systems import OBSTACLES, bunny, case
from solvers.cli import main

RTOL = 1e-2
ABOUT = {"seconds": 3.0, "device": "an abacus"}


class Breaks:
    """Solves exactly; stops the benchmark at its n-th solve, as Ctrl-C does."""

    def __init__(self, after: int) -> None:
        self.after, self.solves = after, 0

    def setup(self, system) -> None:
        assert np.isnan(system.rhs).all()
        self.system = system

    def solve(self, b, rtol):
        self.solves += 1
        if self.solves > self.after:
            raise KeyboardInterrupt
        held = self.system.matrix + 1e-9 * abs(self.system.matrix).max() * _one_cell(b.size)
        return spsolve(held.tocsc(), b), None


def _one_cell(n: int):
    from scipy.sparse import csr_array

    return csr_array(([1.0], ([0], [0])), shape=(n, n))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """An untrained network for squares, with a card that says what it cost."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = SingleLevel(2, 1, 1, 1, 4)
    return save_network(tmp_path_factory.mktemp("weights") / "mine.safetensors", network, ABOUT)[0]


def guarded(weights) -> list[Contender]:
    """Without its safeguard an untrained network stalls."""
    return [c for c in learned_methods([weights]) if c.method.name == "mine"]


@pytest.fixture(scope="module")
def report(weights) -> NeuralReport:
    return run_neural(
        ["box", "bunny", "cubic0.1"],
        [(32, 32), (12, 10, 14), (40, 40)],
        sources=[Source.SMOOTH],
        samples=2,
        rtol=RTOL,
        contenders=[*classical(), *guarded(weights)],
    )


# -- systems ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [(n, n) for n in (32, 48, 64, 256, 512)] + [(n,) * 3 for n in (16, 40)]
)
def test_the_fluid_around_an_obstacle_is_in_one_piece(shape):
    for name, make in OBSTACLES.items():
        solid = np.zeros(shape, bool) if make is None else make(shape)
        assert label(~solid)[1] == 1, name
        faces = [solid.take(end, axis).any() for axis in range(len(shape)) for end in (0, -1)]
        assert not any(faces)


def test_a_ball_and_a_bunny_are_as_large_as_they_should_be():
    assert OBSTACLES["ball"]((128, 128)).mean() == pytest.approx(np.pi * 0.04, rel=0.01)
    assert OBSTACLES["ball"]((64,) * 3).mean() == pytest.approx(4 / 3 * np.pi * 0.008, rel=0.01)
    solid = bunny((64,) * 3)
    body = 4 / 3 * np.pi * 0.2 * 0.15 * 0.16
    assert body < solid.mean() < 1.8 * body
    # Two ears apart above the head.
    assert label(solid[:, :, 50])[1] == 2
    assert (solid.any(1) != bunny((64, 64))).mean() < 2e-3  # its side view


@pytest.mark.parametrize("source", Source)
@pytest.mark.parametrize("system", ["ball", "box"])
def test_right_hand_sides_have_solutions_and_differ(system, source):
    one = case(system, (24, 24, 24), source)
    assert one is not None
    first, second = one.systems(2, seed=3)
    again = next(iter(one.systems(1, seed=3)))
    other = next(iter(one.systems(1, seed=4)))
    np.testing.assert_array_equal(first.rhs, again.rhs)
    assert not np.allclose(first.rhs, second.rhs) and not np.allclose(first.rhs, other.rhs)
    assert abs(first.rhs.sum()) < 1e-9 * abs(first.rhs).sum()
    solid = OBSTACLES[system]((24, 24, 24)) if system == "ball" else np.zeros((24, 24, 24), bool)
    assert (first.rhs[solid] == 0).all()
    step = np.abs(np.diff(first.rhs, axis=0))[~(solid[1:] | solid[:-1])].max()
    assert (step < 0.3 * np.ptp(first.rhs)) == (source is Source.SMOOTH)


def test_a_system_is_the_operator_it_says():
    one = case("bunny", (20, 24), Source.RANDOM)
    assert one is not None
    system = next(iter(one.systems(1, 0)))
    A, x = system.operator(), np.random.default_rng(1).standard_normal((20, 24))
    assert isinstance(A, Diffusion) and A.singular
    np.testing.assert_allclose((system.matrix @ x.ravel()).reshape(x.shape), A(x), atol=1e-9)
    fluid = ~bunny((20, 24))
    assert abs(A(fluid.astype(float))).max() < 1e-9
    assert system.copy().operator()(x).tobytes() == A(x).tobytes()


def test_condiff_cases_are_squares_only():
    assert case("gaussian1.0", (64, 32), Source.RANDOM) is None
    assert case("gaussian1.0", (64, 64, 64), Source.RANDOM) is None
    with pytest.raises(ValueError, match="expected a system of box, ball, bunny"):
        case("sponge", (64, 64), Source.RANDOM)


# -- deflation -------------------------------------------------------------------------------------


@pytest.mark.parametrize("singular", [False, True])
def test_deflation_is_the_operator_of_the_paper(singular):
    """BNN (Tang and others 2009), from dense matrices and numpy's pseudo-inverse."""
    from sciml.operators import Side

    side = Side.NEUMANN if singular else Side.DIRICHLET
    solid = np.zeros((9, 10), bool)
    solid[3:5, 4:7] = True
    A = Diffusion(np.ones((9, 10)), boundary=side, solid=solid)
    M = Deflation(blocks=3, M=Jacobi())(A)
    dense, n = A.assemble().toarray(), 90
    W = np.zeros((n, 9))
    for i, j in np.ndindex(9, 10):
        if not solid[i, j]:
            W[10 * i + j, 3 * (i * 3 // 9) + j * 3 // 10] = 1
    Q = W @ np.linalg.pinv(W.T @ dense @ W) @ W.T
    P = np.eye(n) - dense @ Q
    wanted = P.T @ np.diag(1 / np.diag(dense)) @ P + Q
    found = np.stack([M(e.reshape(9, 10)).ravel() for e in np.eye(n)], 1)
    np.testing.assert_allclose(found, wanted, atol=1e-10 * abs(wanted).max())


def test_deflation_obeys_the_laws_of_operators():
    k = np.exp(np.random.default_rng(0).standard_normal((8, 9)))
    check_operator(Deflation(blocks=4)(Diffusion(k)))


def test_deflated_cg_takes_the_steps_of_cg_on_the_deflated_system():
    """From its special start x = Qb, in SciPy's CG on PA; far fewer than CG's."""
    k = np.exp(np.random.default_rng(0).standard_normal((32, 32)))
    A = Diffusion(k)
    b = np.random.default_rng(2).standard_normal((32, 32))
    M = Deflation(blocks=4, M=Jacobi())(A)
    stop = Stop(rtol=1e-6)
    own = solve(LinearSystem(A, b), CG(M=Deflation(blocks=4, M=Jacobi())), stop=stop)
    plain = solve(LinearSystem(A, b), CG(M=Jacobi()), stop=stop)
    matrix, W = A.assemble(), M.coarse.W.T
    E = np.linalg.inv((W.T @ (matrix @ W)).toarray())

    def project(r):
        return r - matrix @ (W @ (E @ (W.T @ r)))

    from scipy.sparse.linalg import LinearOperator

    PA = LinearOperator(matrix.shape, matvec=lambda x: project(matrix @ x), dtype=float)
    D = LinearOperator(matrix.shape, matvec=lambda r: r / matrix.diagonal(), dtype=float)
    steps = 0

    def count(_):
        nonlocal steps
        steps += 1

    goal = 1e-6 * np.linalg.norm(b)
    scipy_cg(PA, project(b.ravel()), rtol=0, atol=goal, M=D, callback=count)
    assert abs(own.iterations - steps) <= 2 and own.iterations < 0.7 * plain.iterations


def test_deflation_refuses_what_it_cannot_use():
    with pytest.raises(ValueError, match="blocks"):
        Deflation(blocks=0)


# -- measuring -------------------------------------------------------------------------------------


def test_every_method_solves_every_system_it_is_for(report):
    assert {run.outcome for run in report.runs} == {Outcome.SOLVED}
    tried = {(r.method, report.families[r.config].split(", ")[0]) for r in report.runs}
    assert ("fast-poisson", "box") in tried and ("fast-poisson", "bunny") not in tried
    assert ("cg+fast-poisson", "cubic0.1") in tried and ("cg+fast-poisson", "box") not in tried
    assert {len(report.shapes[r.config]) for r in report.runs if "mine" in r.method} == {2}
    assert "bunny, smooth, 12×10×14" in report.settings.configs
    assert not any("cubic0.1" in c and "×" in c for c in report.settings.configs)
    assert all(run.residual <= 1.001 * RTOL for run in report.runs)
    assert set(report.products) == set(report.settings.configs)


def test_runs_are_those_of_a_solve_outside(report):
    one = case("bunny", (32, 32), Source.SMOOTH)
    assert one is not None
    system = list(one.systems(2, 0))[1]
    alone = solve(LinearSystem(system.operator(), system.rhs), CG(M=IC0()), stop=Stop(rtol=RTOL))
    [run] = [r for r in report.runs if (r.config, r.sample, r.method) == (one.name, 1, "cg+ic0")]
    assert run.iterations == alone.iterations and run.calls == alone.applies.M
    assert run.residual == pytest.approx(float(alone.residual), rel=1e-3)


def test_calls_and_classical_steps_are_counted(report):
    mine = [r for r in report.runs if r.method == "mine"]
    assert mine and all(r.fallbacks <= r.iterations and r.calls > 0 for r in mine)
    # Every step is the network's or a classical one; a refused call is both.
    assert all(r.calls + r.fallbacks >= r.iterations for r in mine)
    assert any(r.fallbacks for r in mine)  # it is not trained


def test_without_a_safeguard_every_step_is_the_network_s(weights):
    unguarded = [c for c in learned_methods([weights]) if "unguarded" in c.method.name]
    [run] = run_neural(["box"], [(16, 16)], samples=1, contenders=unguarded, max_seconds=0.2).runs
    assert run.fallbacks == 0 and run.calls == run.iterations > 0


@pytest.mark.parametrize(
    ("fixed", "gain", "count"),
    [(10.0, 3.0, 4), (9.0, 3.0, 4), (10.0, 0.0, None), (10.0, -1.0, None), (1.0, 2.0, 1),
     (-5.0, -1.0, None), (-5.0, 0.0, 1), (0.0, 0.0, None)],
)  # fmt: skip
def test_training_pays_after_so_many_solves(fixed, gain, count):
    wanted = next((n for n in range(1, 100) if n * gain > fixed), None)
    assert pays_after(fixed, gain) == (wanted if count is not None or wanted else None)
    if fixed >= 0:
        assert pays_after(fixed, gain) == count


def test_training_is_counted_against_each_rival(report):
    """With times set by hand: 3 s of training, 0.01 s saved by each solve, or by all but set-up."""
    config = "bunny, smooth, 32²"
    times = {"mine": (0.02, 0.01), "cg": (0.0, 0.04), "cg+ic0": (0.03, 0.005)}
    runs = tuple(
        replace(r, setup=times[r.method][0], solve=times[r.method][1])
        for r in report.runs
        if r.config == config and r.method in times
    )
    found = {
        (e["method"], e["rival"]): (e["new"], e["same"])
        for e in replace(report, runs=runs).solves_until_paid(config)
    }
    assert found[("mine", "cg")] == (301, 101)  # 3 / 0.01; (3 + 0.02) / 0.03
    assert found[("mine", "cg+ic0")] == (601, None)  # 3 / 0.005; its solves are the faster ones
    assert report.training["mine"].seconds == 3.0


def test_an_unsolved_system_never_pays(weights):
    contenders = [c for c in classical() if c.method.name == "cg"] + [
        replace(c, method=Method("slow", CG())) if c.method.name == "mine" else c
        for c in learned_methods([weights])[:1]
    ]
    report = run_neural(["box"], [(16, 16)], samples=1, contenders=contenders, max_seconds=1e-9)
    assert {r.outcome for r in report.runs} == {Outcome.NOT_CONVERGED}
    assert report.solves_until_paid("box, smooth, 16²") == []  # the rival did not solve it either


def test_what_was_done_stays_after_an_interruption(weights):
    contenders = [Contender(Method("breaks", Breaks(4))), *classical()[:1]]
    report = run_neural(["box"], [(12, 12), (16, 16)], samples=2, contenders=contenders)
    assert report.interrupted and {r.config for r in report.runs} >= {"box, smooth, 12²"}
    assert len(report.runs) >= 4
    whole = {(r.config, r.sample) for r in report.compared}
    assert all(
        {r.method for r in report.compared if (r.config, r.sample) == one} == {"breaks", "cg"}
        for one in whole
        if one[0] == "box, smooth, 12²"
    )
    assert "interrupted" in report.title and "interrupted" in report.to_markdown()


def test_bad_requests_are_refused():
    cg = list(classical()[:1])
    bad = [
        (dict(systems=[]), "at least one system"),
        (dict(systems=["box", "box"]), "each system once"),
        (dict(shapes=[]), "at least one grid"),
        (dict(contenders=[*cg, *cg]), "each method once"),
        (dict(sources=[]), "at least one source"),
        (dict(samples=0), "samples >= 1"),
        (dict(seed=-1), "seed >= 0"),
        (dict(rtol=-1.0), "rtol"),
        (dict(systems=["gaussian1.0"], shapes=[(8, 9)]), "a square grid"),
    ]
    for change, words in bad:
        asked = {"systems": ["box"], "shapes": [(8, 8)], "contenders": cg} | change
        with pytest.raises(ValueError, match=words):
            run_neural(asked.pop("systems"), asked.pop("shapes"), **asked)
    only_cubes = [c for c in neural_contenders() if c.method.name == "dcdm-3d"]
    with pytest.raises(ValueError, match="a method for these grids"):
        run_neural(["box"], [(8, 8)], contenders=only_cubes)


# -- shown -----------------------------------------------------------------------------------------


def test_a_report_survives_json(report):
    record = json.loads(json.dumps(report.to_json(), allow_nan=False))
    again = NeuralReport.from_json(record)
    assert again == report and again.to_markdown() == report.to_markdown()
    assert record["paid"]["bunny, smooth, 32²"] == report.solves_until_paid("bunny, smooth, 32²")
    with pytest.raises(ValueError, match="expected a condiff benchmark"):
        BenchReport.from_json(record)


def test_the_tables_say_what_training_cost(report):
    text = report.to_markdown()
    assert "mine: " in text and "3.00 s on an abacus" in text
    for heading in ("network calls", "classical steps", "iteration / product", "training"):
        assert f"| {heading} |" in text
    line = next(s for s in text.splitlines() if s.startswith("| mine | 2/2"))
    assert line.endswith("| 3.00 s |")
    assert "## Iterations, bunny, smooth, 2-D\n\n| method | 32² | 40² |" in text
    assert "## Solves after which training has paid, box, smooth, 40²" in text


def test_a_picture_of_iterations_and_time(report):
    figure = report.figure()
    axes = [a for part in figure.subfigs for a in part.axes]
    assert len(axes) == 8  # four of the five kinds of systems
    labels = {line.get_label() for line in axes[0].lines}
    assert {"mine", "cg", "cg+multigrid"} <= labels
    [line] = [one for one in axes[0].lines if one.get_label() == "cg"]
    rows = {row.method: row for row in report.rows("box, smooth, 32²")}
    assert line.get_xdata()[0] == 32 * 32 and line.get_ydata()[0] == rows["cg"].iterations


def test_the_command_writes_a_report(tmp_path, weights, capsys):
    words = f"bench neural --out {tmp_path / 'out'} --system ball --grid 16 --samples 1"
    assert main([*words.split(), "--methods", "cg,mine", "--weights", str(weights)]) == 0
    told = capsys.readouterr().out
    assert "ball, smooth, 16²" in told and "neural.png" in told
    record = json.loads((tmp_path / "out" / "neural.json").read_text())
    assert {run["method"] for run in record["runs"]} == {"cg", "mine"}
    assert (tmp_path / "out" / "neural.png").read_bytes()[:4] == b"\x89PNG"


def test_the_command_lists_systems_and_methods(capsys):
    assert main(["bench", "neural", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for line in ("system  bunny", "system  gaussian2.0", "method  cg+multigrid", "method  dcdm-3d"):
        assert line in lines
