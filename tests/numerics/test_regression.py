"""Networks that predict ConDiff solutions, their training, and the regression track."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import spsolve

from sciml.datasets import ConDiffConfig, Order, Split, condiff_matrix, draw_condiff, k_blind_error
from sciml.io import FileError
from sciml.networks import (
    FNO,
    Predictor,
    Pretrained,
    PretrainedPredictor,
    SingleLevel,
    UNet,
    load_network,
    load_predictor,
    read_card,
    save_network,
)
from sciml.networks.prediction import _Spectral
from sciml.operators import NodalDiffusion
from sciml.training import Plan
from solvers.bench import PREDICTIONS, Entry, RegressionReport, load_entry, run_regression
from solvers.bench.regression_report import Forecast, Start
from solvers.cli import main
from solvers.neural.prediction import NetworkPrediction, first_guess
from solvers.neural.regression import (
    Regression,
    Samples,
    regression,
    relative_error,
    train_predictor,
)

CUBIC = ConDiffConfig.from_name("cubic0.1_grid32")
BY_NAME = {"ids": lambda p: p.value}


def _random(make) -> Predictor:
    """A network with weights that leave no layer at 0."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = make()
        with torch.no_grad():
            for p in network.parameters():
                p.add_(0.1 * torch.randn(p.shape))
    return network


MAKERS = (partial(UNet, 4, 3), partial(FNO, 3, 5, 2))


def exact(k: np.ndarray, b: np.ndarray) -> np.ndarray:
    """SciPy's sparse direct solution."""
    x = spsolve(condiff_matrix(k, Order.C).tocsc(), b.ravel())
    return np.asarray(x).reshape(b.shape)


# -- networks -----------------------------------------------------------------------------------


def test_a_node_sees_the_four_cells_around_it(rng: np.random.Generator) -> None:
    class Looking(Predictor):
        def correction(self, seen):
            self.seen = seen
            return seen[:, :1]

    network, n = Looking(), 5
    g = rng.standard_normal((n + 1, n + 1))
    y, e = (torch.from_numpy(rng.standard_normal((1, 1, n, n))) for _ in range(2))
    network(torch.from_numpy(g)[None, None], y, e)
    for i, j in ((0, 0), (1, 3), (4, 4)):
        around = (g - g.mean())[i : i + 2, j : j + 2].ravel()
        np.testing.assert_allclose(network.seen[0, :4, i, j], around, rtol=1e-12)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("n", [7, 16])
def test_predictions_scale_as_solutions_do(make, n: int, rng: np.random.Generator) -> None:
    predict = NetworkPrediction(_random(make))
    k, b = np.exp(rng.standard_normal((n + 1, n + 1))), rng.standard_normal((n, n))
    x = predict(k, b)
    assert x.shape == (n, n) and np.isfinite(x).all()
    assert np.linalg.norm(x - first_guess(k, b)[0]) > 1e-3 * np.linalg.norm(x)
    scaled = predict(1e8 * k, 1e-30 * b)
    assert np.linalg.norm(1e38 * scaled - x) <= 1e-5 * np.linalg.norm(x)
    assert not predict(k, 0 * b).any()


@pytest.mark.parametrize("make", (UNet, FNO))
def test_an_untrained_network_predicts_the_solution_for_constant_k(make, rng) -> None:
    b = rng.standard_normal((12, 12))
    k = np.full((13, 13), 3.0)
    x = exact(k, b)
    found = NetworkPrediction(make(4))(k, b)
    assert np.linalg.norm(found - x) <= 1e-5 * np.linalg.norm(x)


def test_a_spectral_layer_multiplies_a_wave_by_its_matrix() -> None:
    """K v = F⁻¹(R · F v), Li et al., equation 4: a wave comes out scaled and shifted."""
    layer = _Spectral(2, 4)
    matrices = torch.view_as_complex(layer.weight.detach().unflatten(2, (2, 2, 2)))
    i, j = np.meshgrid(np.arange(12), np.arange(10), indexing="ij")
    for p, q in ((2, 1), (-3, 2), (0, 3)):
        angle = 2 * np.pi * (p * i / 12 + q * j / 10)
        v = np.stack([np.cos(angle), 0 * angle])
        found = layer(torch.from_numpy(v)[None]).detach()[0].numpy()
        for out in range(2):
            w = complex(matrices[4 + p, q, 0, out])
            np.testing.assert_allclose(found[out], (w * np.exp(1j * angle)).real, atol=1e-5)
    high = torch.from_numpy(np.cos(2 * np.pi * 5 * i / 12))[None, None].expand(1, 2, 12, 10)
    assert layer(high).abs().max() < 1e-5


def test_a_spectral_layer_is_that_of_neuraloperator() -> None:
    module = pytest.importorskip("neuralop.layers.spectral_convolution")
    ours, theirs = _Spectral(3, 4), module.SpectralConv(3, 3, (8, 6), bias=False)
    weight = torch.view_as_complex(ours.weight.detach().unflatten(2, (3, 3, 2)))
    x = torch.randn(2, 3, 16, 18)
    with torch.no_grad():
        theirs.weight.copy_(weight.permute(2, 3, 0, 1).contiguous())
        assert torch.allclose(ours(x), theirs(x), atol=1e-5)


def test_bad_networks_and_systems_are_refused() -> None:
    for make in (partial(UNet, 0), partial(UNet, 4, 0), partial(FNO, 4, 0)):
        with pytest.raises(ValueError, match=r"expected .* got"):
            make()
    with pytest.raises(TypeError, match="a Predictor"):
        NetworkPrediction(SingleLevel(2))  # type: ignore[arg-type]
    predict = NetworkPrediction(UNet(4, 1))
    good = np.ones((5, 5)), np.ones((4, 4))
    for k, b in ((np.ones((4, 4)), good[1]), (0 * good[0], good[1]), (good[0], np.nan * good[1])):
        with pytest.raises(ValueError, match=r"expected .* got"):
            predict(k, b)


def test_weights_of_one_kind_do_not_load_as_the_other(tmp_path: Path) -> None:
    path, _ = save_network(tmp_path / "a.safetensors", UNet(4, 2), {})
    assert isinstance(load_predictor(path), UNet)
    with pytest.raises(FileError, match="use load_predictor"):
        load_network(path)
    path, _ = save_network(tmp_path / "b.safetensors", SingleLevel(2, width=4), {})
    with pytest.raises(FileError, match="use load_network"):
        load_predictor(path)


@pytest.mark.parametrize("name", list(PretrainedPredictor), **BY_NAME)
def test_shipped_predictors_halve_the_floor_on_systems_not_seen(name: PretrainedPredictor) -> None:
    import sciml.networks.weights as module

    path = module.weights_path(name)
    about = read_card(path)["about"]
    assert {"command", "seed", "data", "seconds", "device", "train_error"} <= set(about)
    assert sum(f.stat().st_size for f in (path, path.with_suffix(".json"))) < 5_000_000
    data = draw_condiff(regression(name).config, 6, seed=7, split=Split.TEST)
    predict = NetworkPrediction(load_predictor(name))
    errors = [
        np.linalg.norm(predict(k, b) - x) / np.linalg.norm(x)
        for k, b, x in zip(data.k, data.rhs, data.x, strict=True)
    ]
    assert np.mean(errors) < 0.5 * k_blind_error(data).mean


# -- training -----------------------------------------------------------------------------------


def test_every_turned_sample_is_a_system_with_its_solution() -> None:
    """b = A(1) y, so A(k) x = A(1) y must hold; it does not with k transposed."""
    known = Samples.of(draw_condiff(CUBIC, 3, seed=0))
    one, looks = NodalDiffusion(np.ones((33, 33))), set()
    for draw in range(40):
        s = known.drawn(np.random.default_rng(draw), 2)
        k = np.exp(s.log_k[0, 0].double().numpy())
        y, x = s.y[0, 0].double().numpy(), s.x[0, 0].double().numpy()
        b = one(y)
        right, wrong = (
            np.linalg.norm(b - NodalDiffusion(np.ascontiguousarray(c))(x)) for c in (k, k.T)
        )
        assert right < 1e-4 * np.linalg.norm(b) < 1e-2 * wrong
        looks.add((x[0, 0], x[0, -1], x[-1, 0]))
    assert len(looks) > 24  # 3 samples, 8 symmetries, 2 signs


def test_the_loss_is_the_relative_error() -> None:
    data = draw_condiff(CUBIC, 3, seed=0)
    y = first_guess(data.k, data.rhs)[0]
    norms = [np.linalg.norm(a, axis=(1, 2)) for a in (y - data.x, data.x)]
    found = relative_error(UNet(4, 1), Samples.of(data)).detach()
    np.testing.assert_allclose(found, norms[0] / norms[1], rtol=1e-4)


def _small() -> Regression:
    plan = Plan(60, 4e-3, ema=0.9)
    return Regression(partial(UNet, 8, 2), CUBIC, plan, samples=24, tests=8, batch=4)


def test_training_is_repeatable_and_generalises(tmp_path: Path, monkeypatch, capsys) -> None:
    name = PretrainedPredictor.CONDIFF_UNET_CUBIC
    seen: list[tuple[int, int]] = []
    progress = lambda done, total: seen.append((done, total))  # noqa: E731
    weights, _ = train_predictor(name, tmp_path, taken=_small(), seed=2, progress=progress)
    about = read_card(weights)["about"]
    assert about["held_out_error"] < 0.95 * about["held_out_error_untrained"]
    assert seen[-1] == (24 + 60 + 8,) * 2 and seen == sorted(seen)

    import solvers.neural.regression as module

    monkeypatch.setattr(module, "regression", lambda name, quick: _small())
    words = ["train", name.value, "--out", str(tmp_path / "b"), "--seed", "2"]
    assert main(words) == 0
    assert "held out" in capsys.readouterr().out
    first, again = (load_predictor(p) for p in (weights, tmp_path / "b" / weights.name))
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_every_predictor_has_a_course_and_a_quick_one() -> None:
    for name in PretrainedPredictor:
        full, quick = regression(name), regression(name, quick=True)
        assert 4 * quick.plan.steps == full.plan.steps
        assert full.samples == 1000 and full.tests == 200 and full.config.grid == 64


# -- the benchmark ------------------------------------------------------------------------------


def _entries() -> list[Entry]:
    def broken(k, b):
        raise RuntimeError("out of order")

    makes = {
        "exact": exact,
        "zero": lambda k, b: np.zeros_like(b),
        "broken": broken,
        "flat": lambda k, b: b.ravel(),
        "nan": lambda k, b: np.nan * b,
    }
    return [Entry(name, lambda f=f: f) for name, f in makes.items()]


def test_errors_and_saved_iterations_are_those_of_the_answers(tmp_path: Path) -> None:
    entries = [*_entries(), PREDICTIONS["poisson"]]
    report = run_regression([CUBIC], samples=3, solves=2, entries=entries)
    assert set(report.failures) == {"broken", "flat", "nan"}
    assert "out of order" in report.failures["broken"]
    known = {s.entry: s for s in report.standings(CUBIC.name)}
    assert list(known) == ["exact", "poisson", "zero"]
    assert known["exact"].error < 1e-8 and known["zero"].error == known["zero"].residual == 1
    data = draw_condiff(CUBIC, 3, seed=0, split=Split.TEST)
    assert report.floors[CUBIC.name] == pytest.approx(k_blind_error(data).mean)
    for label in ("cg", "cg+multigrid"):
        cold, warm = known["exact"].iterations[label]
        assert cold > warm == 0
        assert len(set(known["zero"].iterations[label])) == 1
    assert [p.name for p in report.write(tmp_path)] == [
        f"condiff-regression.{ext}" for ext in ("json", "md", "png")
    ]
    record = json.loads((tmp_path / "condiff-regression.json").read_text())
    assert [len(f["error"]) for f in record["forecasts"]] == [3, 3, 3]
    assert record["failures"] == dict(report.failures)
    assert "flat is out" in (tmp_path / "condiff-regression.md").read_text()


def _by_hand(seconds: float) -> RegressionReport:
    starts = [
        Start("c", s, entry, "cg", 10 - 4 * (entry is not None), True, 0.5 if entry else 1.0)
        for s in range(3)
        for entry in (None, "net")
    ]
    forecasts = [Forecast("c", s, "net", (s + 1) / 100, 0.5, seconds) for s in range(3)]
    return RegressionReport(
        ("c",), {"net": ("c", 30.0)}, 3, 3, 1e-6, 0, {"c": 0.05}, tuple(forecasts), tuple(starts),
        {}, {}, {"processor": "p", "cores": 1, "system": "s", "threads": {}}, {}, "2026-01-01",
    )  # fmt: skip


def test_a_prediction_pays_for_its_own_seconds_and_its_training() -> None:
    (standing,) = _by_hand(0.2).standings("c")
    assert standing.error == pytest.approx(0.02) and standing.iterations["cg"] == (10, 6)
    assert standing.saved["cg"] == pytest.approx(0.3)  # 1.0 − 0.5 − 0.2
    assert standing.repaid["cg"] == pytest.approx(100)  # 30 / 0.3
    assert "As x0 it pays: net for cg" in _by_hand(0.2).to_markdown()
    dear = _by_hand(0.7)
    assert dear.standings("c")[0].repaid["cg"] is None
    assert "no network pays" in dear.to_markdown() and "| never |" in dear.to_markdown()


def test_an_interrupted_run_keeps_what_was_done() -> None:
    def press(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    report = run_regression([CUBIC], samples=5, solves=0, entries=_entries()[:2], progress=press)
    assert report.interrupted and len(report.forecasts) == 4
    assert "interrupted" in report.to_markdown()


def test_anybody_s_model_enters_by_module_or_weights(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("entering.py").write_text(
        "import numpy as np\n"
        "def nothing(k, b):\n    return np.zeros_like(b)\n"
        "class Made:\n    def __call__(self, k, b):\n        return b\n"
    )
    save_network("own.safetensors", UNet(4, 2), {"data": "cubic0.1_grid32, few", "seconds": 3.0})
    words = "--track regression --covariance cubic --variance 0.1 --grid 32 --samples 2 --out r"
    own = "--methods poisson,own.safetensors --solver entering:nothing --solver entering:Made"
    assert main(["bench", "condiff", *words.split(), *own.split()]) == 0
    out = capsys.readouterr().out
    assert "nothing" in out and "written     r/condiff-regression.json" in out
    record = json.loads(Path("r/condiff-regression.json").read_text())
    standings = {s["entry"]: s for s in record["standings"]}
    assert set(standings) == {"poisson", "own", "nothing", "Made"}
    assert standings["own"]["error"] == pytest.approx(standings["poisson"]["error"], rel=1e-4)
    assert standings["own"]["training"] == 3 and standings["nothing"]["error"] == 1


def test_what_is_no_prediction_is_refused(tmp_path: Path, capsys) -> None:
    for spec, kind, told in (
        ("nobody", ValueError, "got 'nobody'"),
        ("json:__doc__", TypeError, "callable"),
        ("json:nothing", ImportError, "nothing"),
        (str(tmp_path / "no.safetensors"), FileError, "got none"),
    ):
        with pytest.raises(kind, match=told):
            load_entry(spec)
    common = ["bench", "condiff", "--track", "regression", "--out", str(tmp_path / "d")]
    for words in ("--methods nobody", "--methods poisson,poisson", "--methods ,"):
        assert main([*common, *words.split()]) == 2
        assert "expected" in capsys.readouterr().err
    assert not (tmp_path / "d").exists()
    assert main(["bench", "condiff", "--track", "regression", "--list"]) == 0
    lines = capsys.readouterr().out.split()
    assert lines == [*PREDICTIONS, *(p.value for p in PretrainedPredictor)]
    assert not {p.value for p in Pretrained} & set(lines)
