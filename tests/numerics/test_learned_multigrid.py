"""Multigrid whose set-up a network chooses, and the algebraic levels it may choose in 2-D."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sciml import LinearSystem, Stop, solve
from sciml.io import FileError
from sciml.operators.dense import Diagonal
from sciml.operators.diffusion import Diffusion, NodalDiffusion, Side
from solvers.bench.media import CLASSES, MEASURED, TRAINED, draw_medium
from solvers.krylov import CG
from solvers.multigrid import Bodies, Cycle, Lines, Multigrid
from solvers.multigrid.algebraic import matrix
from solvers.multigrid.bodies import Bodied
from solvers.multigrid.coarsest import assemble
from solvers.neural import LearnedMultigrid
from solvers.neural.choice import SETTINGS, SHIPPED, ChoiceNetwork
from solvers.neural.medium import COUNT, describe
from solvers.neural.train_multigrid import Trials, fit, train_multigrid
from solvers.precond import AMG

AMGS = next(i for i, s in enumerate(SETTINGS) if isinstance(s, AMG))
P, N, D = Side.PERIODIC, Side.NEUMANN, Side.DIRICHLET


def layers(n: int, contrast: float = 1e6) -> np.ndarray:
    i, j = np.indices((n, n))
    return np.where((np.cos(0.5) * i + np.sin(0.5) * j) // 2 % 2 == 0, contrast, 1.0)


def always(setting: int, score: float = 1.0) -> ChoiceNetwork:
    """A network that chooses one setting whatever it sees."""
    count = len(SETTINGS)
    bias = np.zeros(count, np.float32)
    bias[setting] = score
    last = (np.zeros((count, COUNT), np.float32), bias)
    return ChoiceNetwork((last,), np.zeros(COUNT, np.float32), np.ones(COUNT, np.float32))


# -- algebraic levels in two dimensions -----------------------------------------------------------


@pytest.mark.parametrize("sides", [D, (P, N), (N, P), (P, P)], ids=str)
@pytest.mark.parametrize("shape", [(16, 16), (13, 18), (18, 13), (11, 15)], ids=str)
@pytest.mark.parametrize("massive", [False, True])
def test_the_matrix_of_a_level(
    shape: Any, sides: Any, massive: bool, rng: np.random.Generator
) -> None:
    A: Any = Diffusion(10 ** rng.uniform(0, 4, shape), boundary=sides)
    if massive:
        A = A + Diagonal(rng.random(shape))
    levels = Multigrid(Cycle.V, dtype=np.float64)(A).blocks[0].levels
    plan = levels.plans[1]
    mass = levels.view_mass(1) if levels.massive else None
    expected = assemble(levels.view_links(1), mass, plan.padded, levels.rings, 1)[0]
    unlinked = np.diag(expected) == 0
    found = matrix(levels, 1).assemble().toarray()
    np.testing.assert_allclose(found, expected + np.diag(1.0 * unlinked), rtol=1e-13, atol=1e-12)


def test_layers_askew_are_left_to_algebraic_multigrid(rng: np.random.Generator) -> None:
    A, b = Diffusion(layers(160)), rng.standard_normal((160, 160))
    counts = [
        int(solve(LinearSystem(A, b), CG(M=M)).iterations)
        for M in (Multigrid(), Multigrid(algebraic=0), Multigrid(Cycle.V))
    ]
    assert counts[0] <= 14
    assert min(counts[1:]) > 1.4 * counts[0]


@pytest.mark.parametrize("family", [lambda n: np.ones((n, n)), lambda n: layers(n, 10.0)])
def test_where_the_box_does_well_it_stays(family: Any) -> None:
    (block,) = Multigrid()(Diffusion(family(96))).blocks or ()
    assert block.levels.below is None


@pytest.mark.parametrize("level", [1, 2, 3, 9])
@pytest.mark.parametrize("lines", [(Lines.POINTS,), (Lines.POINTS, Lines.BOTH)])
def test_a_cycle_with_algebraic_levels_is_symmetric_and_positive(
    level: int, lines: Any, rng: np.random.Generator
) -> None:
    A = Diffusion(10 ** rng.uniform(0, 6, (45, 52)), boundary=((D, N), P))
    M = Multigrid(Cycle.V, dtype=np.float64, lines=lines, algebraic=level)(A)
    (block,) = M.blocks or ()
    assert (block.levels.below is not None) == (level < len(block.levels.plans) - 1)
    x, y = rng.standard_normal((2, *A.domain.shape))
    a, b = np.vdot(x, M(y)), np.vdot(y, M(x))
    assert abs(a - b) <= 1e-9 * np.sqrt(np.vdot(x, M(x)) * np.vdot(y, M(y)))
    assert np.vdot(x, M(x)) > 0


def test_settings_are_checked() -> None:
    with pytest.raises(TypeError, match="expected lines as a tuple"):
        Multigrid(lines=Lines.BOTH)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Lines"):
        Multigrid(lines=(1.5,))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="algebraic"):
        Multigrid(algebraic=-1)
    with pytest.raises(ValueError, match="2-D alone"):
        Multigrid(lines=(Lines.BOTH,))(Diffusion(np.ones((4, 4, 4)), ndim=3))


# -- bodies ----------------------------------------------------------------------------------------


def grains(n: int, share: float, rng: np.random.Generator) -> np.ndarray:
    return np.where(rng.random((n, n)) < share, 1e6, 1.0)


@pytest.mark.parametrize("massive", [False, True])
def test_means_over_bodies_are_corrected_exactly(massive: bool, rng: np.random.Generator) -> None:
    k = grains(24, 0.4, rng)
    A: Any = Diffusion(k, boundary=(D, N))
    if massive:
        A = 3 * A + Diagonal(rng.random(k.shape))
    M: Any = Bodies(Multigrid(dtype=np.float64))(A)
    count = M.labels.max()
    Z = np.eye(count + 1)[M.labels][:, 1:]
    dense = np.stack([A(e.reshape(k.shape)).ravel() for e in np.eye(k.size)]).T
    x, y = rng.standard_normal((2, *k.shape))
    coarse = Z @ np.linalg.solve(Z.T @ dense @ Z, Z.T @ x.ravel())
    np.testing.assert_allclose(M._means(x).ravel(), coarse, rtol=1e-8, atol=1e-12)
    # What is left of any residual has no mean over a body.
    left = x - A(M(x))
    assert np.abs(Z.T @ left.ravel()).max() <= 1e-7 * np.abs(Z.T @ x.ravel()).max()
    a, b = np.vdot(x, M(y)), np.vdot(y, M(x))
    assert abs(a - b) <= 1e-9 * np.sqrt(np.vdot(x, M(x)) * np.vdot(y, M(y)))
    assert np.vdot(x, M(x)) > 0


@pytest.mark.parametrize("share", [0.3, 0.4])
def test_small_grains_take_a_fifth_of_the_iterations(
    share: float, rng: np.random.Generator
) -> None:
    A, b = Diffusion(grains(128, share, rng)), rng.standard_normal((128, 128))
    plain, found = (
        solve(LinearSystem(A, b), CG(M=M)) for M in (Multigrid(Cycle.V), Bodies(Multigrid(Cycle.V)))
    )
    assert found.ok
    assert 4 * int(found.iterations) < int(plain.iterations)


def test_where_there_are_no_bodies_it_is_the_cycle(rng: np.random.Generator) -> None:
    ones, k = np.ones((16, 16)), grains(16, 0.4, rng)
    cases = (
        Diffusion(ones),
        Diffusion(k, boundary=P),
        Diffusion(np.stack([k, k]), ndim=2),
        Diffusion(np.ones((6, 6, 6)), ndim=3),
        NodalDiffusion(k),
    )
    for A in cases:
        assert not isinstance(Bodies()(A), Bodied)
    closed = Diffusion(np.where(k > 1, 1e6, 1e6), boundary=N)
    assert not isinstance(Bodies()(closed), Bodied)


def test_bodies_next_to_solid_cells_and_a_closed_box(rng: np.random.Generator) -> None:
    k = grains(32, 0.5, rng)
    solid = np.zeros(k.shape, bool)
    solid[8:12, 5:20] = True
    A = Diffusion(k, boundary=N, solid=solid)
    b = A(rng.standard_normal(k.shape) * ~solid)
    assert solve(LinearSystem(A, b), CG(M=Bodies())).ok


def test_places_are_checked() -> None:
    with pytest.raises(ValueError, match="place"):
        Bodies(place=1.5)
    with pytest.raises(TypeError, match="recipe"):
        Bodies(3.0)  # type: ignore[arg-type]


# -- what the network sees ------------------------------------------------------------------------


def test_a_medium_turned_or_scaled_is_the_same_medium(rng: np.random.Generator) -> None:
    k = 10 ** rng.uniform(0, 5, (32, 32))  # one patch covers it
    told = describe(k)
    assert told.shape == (COUNT,)
    for other in (k.T, k[::-1], np.rot90(k), 2.0**40 * k):
        np.testing.assert_allclose(describe(np.ascontiguousarray(other)), told, atol=2e-4)


@pytest.mark.parametrize("shape", [(1, 1), (2, 50), (33, 3), (300, 40)])
def test_any_shape_and_solid_cells_can_be_described(shape: Any, rng: np.random.Generator) -> None:
    k = 10 ** rng.uniform(-200, 200, shape)
    k[0, 0] = 0
    assert np.isfinite(describe(k)).all()
    assert np.isfinite(describe(np.zeros(shape))).all()


def test_lags_tell_the_length_of_grains() -> None:
    def share(side: int) -> np.ndarray:
        k = np.ones((64, 64))
        k[(np.arange(64) // side % 2 == 0)] = 1e6
        return describe(k)[2:].reshape(-1, 8)[:4, 5]  # jumps along the axis that has more, by lag

    np.testing.assert_allclose(share(1), [1, 0, 0, 0], atol=1e-12)
    assert share(8)[0] < 0.2 < 0.9 < share(8)[3]


def test_media_are_fixed_and_training_has_seeds_of_its_own() -> None:
    for name in CLASSES:
        k, b = draw_medium(name, 40, MEASURED)
        again, same = draw_medium(name, 40, MEASURED)
        np.testing.assert_array_equal(k, again)
        np.testing.assert_array_equal(b, same)
        assert k.shape == (40, 40) and (k > 0).all() and np.isfinite(k).all()
        assert not np.array_equal(b, draw_medium(name, 40, TRAINED)[1])
    assert TRAINED + 10**6 <= MEASURED


# -- the choice -----------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", range(len(SETTINGS)))
def test_whatever_the_network_says_the_answer_is_certified(setting: int) -> None:
    k, b = draw_medium("mixed", 48, MEASURED + setting)
    A = Diffusion(k)
    result = solve(LinearSystem(A, b), CG(M=LearnedMultigrid(always(setting))))
    assert result.ok
    assert np.linalg.norm(A(result.x) - b) <= 1e-6 * np.linalg.norm(b)


def test_a_network_out_of_its_mind_is_survived(rng: np.random.Generator) -> None:
    A, b = Diffusion(layers(40)), rng.standard_normal((40, 40))
    network = always(0, np.nan)
    assert network.ranked(describe(layers(40)))[-1] == SETTINGS[0]
    assert solve(LinearSystem(A, b), CG(M=LearnedMultigrid(network))).ok


def test_other_systems_get_the_classical_cycle(rng: np.random.Generator) -> None:
    three, batch = np.ones((8, 8, 8)), np.ones((3, 16, 16))
    for A in (Diffusion(three, ndim=3), Diffusion(batch, ndim=2)):
        M: Any = LearnedMultigrid(always(6))(A)
        assert M.recipe == Multigrid()
    singular = Diffusion(layers(32), boundary=N)
    M = LearnedMultigrid(always(AMGS))(singular)
    assert isinstance(M.recipe, Multigrid)
    massive = 2 * Diffusion(layers(32)) + Diagonal(np.ones((32, 32)))
    b = rng.standard_normal((32, 32))
    for setting in (5, AMGS, len(SETTINGS) - 1):
        assert solve(LinearSystem(massive, b), CG(M=LearnedMultigrid(always(setting)))).ok


def test_training_finds_what_decides() -> None:
    rng = np.random.default_rng(5)
    features = rng.standard_normal((240, COUNT))
    best = np.where(features[:, 7] > 0, 2, 9)
    steps = np.full((240, len(SETTINGS)), 30.0)
    steps[np.arange(240), best] = 6
    ones = np.ones_like(steps)
    trials = Trials(features, np.full(240, 1000), steps, ones, steps)
    network, figures = fit(trials, np.random.default_rng(0), epochs=40)
    unseen = rng.standard_normal((200, COUNT))
    wanted = np.where(unseen[:, 7] > 0, 2, 9)
    assert (network.scores(unseen).argmax(1) == wanted).mean() > 0.7
    assert figures["held_out_price_over_best"] < figures["held_out_price_over_best_of_one_setting"]


# -- weights --------------------------------------------------------------------------------------


def test_weights_come_back_and_changed_ones_are_refused(tmp_path: Path) -> None:
    path, card = always(3).save(tmp_path / "w.safetensors", {"seed": 1})
    features = np.linspace(-1, 1, COUNT)
    np.testing.assert_array_equal(
        ChoiceNetwork.load(path).scores(features), always(3).scores(features)
    )
    content, told = path.read_bytes(), card.read_text()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(FileError, match="the card names"):
        ChoiceNetwork.load(path)
    path.write_bytes(content)
    for change, match in (
        ({"format": 2}, "format 1"), ({"settings": ["AMG()"]}, "settings"), (None, "JSON"),
        ({"about": {"seed": 2}}, "changed one"),
    ):  # fmt: skip
        text = "{" if change is None else json.dumps(json.loads(told) | change)
        card.write_text(text)
        with pytest.raises(FileError, match=match):
            ChoiceNetwork.load(path)
    card.unlink()
    with pytest.raises(FileError, match="got none"):
        ChoiceNetwork.load(path)


def test_networks_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="expected a layer"):
        ChoiceNetwork(((np.ones((3, 2)), np.ones(3)),), np.ones(COUNT), np.ones(COUNT))


def test_the_shipped_network_keeps_iterations_low() -> None:
    ChoiceNetwork.load(SHIPPED)
    for kind in ("layers", "grains", "fibres", "blocks"):
        k, b = draw_medium(kind, 128, MEASURED + 500)
        stop = Stop(max_iters=120)
        assert solve(LinearSystem(Diffusion(k), b), CG(M=LearnedMultigrid()), stop=stop).ok


def test_trials_of_another_seed_are_not_gone_on_with(tmp_path: Path, monkeypatch) -> None:
    def tried(seed: int) -> dict[str, object]:
        rows = np.random.default_rng(seed).uniform(5, 20, (len(SETTINGS), 3)).tolist()
        return {"seed": seed, "side": 96, "features": [seed % 7] * COUNT, "rows": rows}

    monkeypatch.setattr("solvers.neural.train_multigrid.try_settings", tried)
    weights, _ = train_multigrid(tmp_path, media=10, seed=3)
    before = weights.read_bytes()
    with pytest.raises(FileError, match="resume with the seed"):
        train_multigrid(tmp_path, media=10, seed=4, resume=True)
    (again, _) = train_multigrid(tmp_path, media=10, seed=3, resume=True)
    assert again.read_bytes() == before
    (tmp_path / "multigrid-2d.trials.jsonl").write_text("{}\n")
    with pytest.raises(FileError, match="expected trials"):
        train_multigrid(tmp_path, media=10, seed=3, resume=True)
