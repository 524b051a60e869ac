"""Problems for physics-informed training: references, certificates, benchmark and training."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from sciml.io import FileError
from solvers.bench import pinn_methods
from solvers.bench.pinn import run_pinn
from solvers.bench.pinn_methods import METHODS, OURS, Clock, fit, lbfgs, marks
from solvers.bench.pinn_report import Choice, read_rows
from solvers.bench.report import markdown_table
from solvers.cli._app import run
from solvers.pinn.deepxde import double_precision, load_deepxde, precondition, residuals, seeded
from solvers.pinn.gauss_newton import Ended, minimise
from solvers.pinn.problems import CASES, certificate, find, relative_error
from solvers.pinn.problems.differences import Field, box, inner
from solvers.pinn.train import load_trained, train_case

# What the differences of a reference may leave: of the shock, of the kink in Allen-Cahn's first
# values, and of the corners of the lid, where the pressure is singular.
_LEFT = {"burgers": 1e-3, "allen-cahn": 1e-4, "kdv": 1e-5, "darcy": 1e-4, "cavity": 0.05}


@pytest.fixture(scope="module")
def dde():
    try:
        return load_deepxde()
    except ImportError:
        pytest.skip("DeepXDE is not installed")


def _model(dde, name: str, seed: int = 0):
    with double_precision(dde), seeded(dde, seed):
        return precondition(find(name).build(dde))


def _weights(model) -> np.ndarray:
    return torch.cat([p.detach().reshape(-1) for p in model.net.parameters()]).numpy()


# -- laws over all cases ----------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_references_satisfy_the_equations(name):
    case = CASES[name]
    found = certificate(case, case.reference)
    assert found.residual < _LEFT.get(name, 1e-6)
    assert found.conditions < 1e-12 and found.error == 0


@pytest.mark.parametrize("name", CASES)
def test_what_is_no_solution_is_told(name):
    case = CASES[name]

    def stretched(points):
        wave = np.sin(7 * points.sum(axis=1, keepdims=True))
        return case.reference(points) + 0.1 * np.abs(case.reference(case.points)).max() * wave

    found = certificate(case, stretched)
    assert found.residual > 10 * _LEFT.get(name, 1e-6) and found.residual > 1e-2
    assert found.conditions > 1e-2 and found.error > 1e-2


# More that solves the equation, under other conditions. (A constant is tried on all.)
_ELSEWHERE = {
    "poisson-1d-sine": lambda p, u: u(p) + p[:, :1],
    "poisson-1d": lambda p, u: u(p) + p[:, :1],
    "poisson-2d": lambda p, u: u(p) + p[:, :1] * p[:, 1:],
    "helmholtz": lambda p, u: u(p) + np.sin(4 * np.pi * p[:, :1]),
    "advection-30": lambda p, u: 2 * u(p),
    "advection-50": lambda p, u: 2 * u(p),
    "advection-80": lambda p, u: 2 * u(p),
    "heat": lambda p, u: 2 * u(p),
    "burgers": lambda p, u: p[:, :1] / (1 + p[:, 1:]),
    "allen-cahn": lambda p, u: 1 + 0 * p[:, :1],
    "kdv": lambda p, u: 1 + u(np.stack([(p[:, 0] - p[:, 1] + 1) % 2 - 1, p[:, 1]], axis=1)),
    "cavity": lambda p, u: np.stack([p[:, 0], -p[:, 1], -(p**2).sum(axis=1) / 2], axis=1),
    "darcy": lambda p, u: u(p) + 0.1,
}


@pytest.mark.parametrize("name", CASES)
def test_what_solves_only_the_equation_or_nothing_is_told(name):
    case = replace(CASES[name], tested=tuple(n // 4 for n in CASES[name].tested))
    true = case.reference(case.points)
    size = np.sqrt(np.mean(true**2, axis=0))
    fools = {
        "zero": lambda p: np.zeros((len(p), len(size))),
        "constant": lambda p: np.tile(size, (len(p), 1)),
        "mean": lambda p: np.tile(true.mean(axis=0), (len(p), 1)),
        "elsewhere": lambda p: _ELSEWHERE[name](p, case.reference),
    }
    for what, fool in fools.items():
        found = certificate(case, fool)
        assert max(found.residual, found.conditions) > 0.3, what
        assert found.error > 0.3, what
    assert found.residual < 10 * _LEFT.get(name, 1e-6)  # elsewhere: the conditions have to tell


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if c.periodic])
def test_a_kink_at_the_seam_is_told(name):
    """Equal values at both ends are no period: derivatives have to go across too."""
    case = CASES[name]
    low, high = case.low[0], case.high[0]
    width = (high - low) / (case.grid[0] - 1) / 2

    def kinked(points):
        x, t = points[:, :1], points[:, 1:]
        return case.reference(points) + 0.3 * t * np.exp(-np.minimum(x - low, high - x) / width)

    found = certificate(case, kinked)
    assert found.residual > 0.03 and found.conditions < 1e-12


@pytest.mark.parametrize("name", CASES)
def test_the_loss_and_the_certificate_hold_the_same_equations(dde, name):
    """The residual of an untrained network by autodiff and by differences: one up to a factor."""
    case, model = CASES[name], _model(dde, name)
    equation, coefficients = model.data.pde, model.data.auxiliary_var_fn
    if coefficients is not None:
        equation = lambda x, u: model.data.pde(  # noqa: E731
            x, u, torch.from_numpy(coefficients(x.detach().numpy()))
        )
    low, high = np.array(case.low), np.array(case.high)
    spacing = (high - low) / (np.array(case.grid) - 1) / 2
    rng = np.random.default_rng(0)
    ours, theirs = [], []
    for _ in range(6):
        start = low + rng.uniform(size=len(low)) * (high - low - 11 * spacing)
        patch = box(start, start + 11 * spacing, (12,) * len(low))
        values = model.predict(patch.reshape(-1, len(low))).reshape(*patch.shape[:-1], -1)
        fields = [Field(values[..., k], spacing) for k in range(values.shape[-1])]
        inside = patch[inner(len(low))]
        ours.append([sum(terms).ravel() for terms in case.terms(fields, inside)])
        found = model.predict(inside.reshape(-1, len(low)), operator=equation)
        found = found if isinstance(found, list) else [found]
        theirs.append([np.ravel(f) for f in found])
    for a, b in zip(np.concatenate(ours, axis=1), np.concatenate(theirs, axis=1), strict=True):
        factor = (a @ b) / (b @ b)
        assert factor > 0
        assert np.linalg.norm(a - factor * b) < 1e-5 * np.linalg.norm(a)


@pytest.mark.parametrize("name", CASES)
def test_what_the_certificate_grid_cannot_see_the_error_does(name):
    case = CASES[name]
    ends = list(zip(case.low, case.high, case.grid, strict=True))
    size = np.abs(case.reference(case.points)).max()

    def hidden(points):
        waves = [np.sin(np.pi * (n - 1) * (x - a) / (b - a)) for x, (a, b, n) in
                 zip(points.T, ends, strict=True)]  # fmt: skip
        return case.reference(points) + size * np.prod(waves, axis=0)[:, None]

    found = certificate(case, hidden)
    assert found.residual < max(1e-2, 10 * _LEFT.get(name, 0.0)) and found.conditions < 1e-9
    assert found.error > 0.1
    assert (case.points > case.low).all() and (case.points < case.high).all()


@pytest.mark.parametrize("name", CASES)
def test_networks_are_built_as_stated(dde, name):
    case, model = CASES[name], _model(dde, name)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    again, other = _model(dde, name), _model(dde, name, seed=1)
    assert np.array_equal(np.random.get_state()[1], before[0])
    assert torch.equal(torch.get_rng_state(), before[1])
    assert np.array_equal(_weights(model), _weights(again))
    assert not np.array_equal(_weights(model), _weights(other))
    points = case.points[::97]
    values = model.predict(points)
    assert values.dtype == np.float64 and values.shape[0] == len(points)
    assert values.shape[1] >= case.judged
    assert np.array_equal(values, again.predict(points))
    assert relative_error(case, model.predict) > 0.3
    size, r = len(_weights(model)), residuals(model)
    assert 400 <= size <= 2500
    assert 60 <= len(r.inputs) <= 3500
    weights = [1, 100] if name in ("allen-cahn", "kdv") else [1] * len(r.terms())
    assert [term.weight for term in r.terms()] == weights
    assert case.points.shape == (np.prod(case.tested), len(case.low))


def test_the_loss_is_that_of_the_reference_too(dde):
    """Equations in the loss are those of the certificate: a network that is near has both small."""
    case, model = CASES["heat"], _model(dde, "heat")
    before = certificate(case, model.predict)
    model.train(iterations=25, verbose=0)
    after = certificate(case, model.predict)
    assert after.error < 1e-2 < before.error
    assert after.residual < 0.1 * before.residual and after.conditions < 1e-2


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if c.classical is not None])
def test_linear_cases_are_solved_without_a_network(name):
    case = CASES[name]
    _, solve = case.classical
    assert relative_error(case, solve()) < (1e-2 if name == "darcy" else 1e-8)


# -- references against files of others ---------------------------------------------------------


def _course(path, case, x, t, u):
    from scipy.io import loadmat

    if not path.is_file():
        pytest.skip(f"{path.name} is not there")
    file = loadmat(path)
    grid = np.stack(np.meshgrid(file[x].ravel(), file[t].ravel(), indexing="ij"), axis=-1)
    values = file[u].reshape(grid.shape[:2])
    found = case.reference(grid.reshape(-1, 2)).reshape(values.shape)
    return np.linalg.norm(found - values) / np.linalg.norm(values)


def test_allen_cahn_and_kdv_are_those_of_raissi(shared_data):
    folder = shared_data / "pde" / "raissi"
    assert _course(folder / "AC.mat", CASES["allen-cahn"], "x", "tt", "uu") < 1e-3
    assert _course(folder / "KdV.mat", CASES["kdv"], "x", "tt", "uu") < 1e-3


def test_burgers_is_that_of_raissi(shared_data):
    path = shared_data / "pde" / "raissi" / "burgers_shock.mat"
    assert _course(path, CASES["burgers"], "x", "t", "usol") < 1e-3


def test_the_cavity_is_that_of_pinnacle(shared_data):
    path = shared_data / "pde" / "pinnacle" / "lid_driven_a4.dat"
    if not path.is_file():
        pytest.skip(f"{path.name} is not there")
    file = np.loadtxt(path, comments="%")
    found = CASES["cavity"].reference(file[:, :2])
    for k in (0, 1):
        off = np.linalg.norm(found[:, k] - file[:, 2 + k]) / np.linalg.norm(file[:, 2 + k])
        assert off < 1e-3


# -- differences ------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2, 3])
def test_differences_are_those_of_polynomials(order):
    x = box((0.0, -1.0), (1.0, 2.0), (41, 31))
    u = x[..., 0] ** 5 * x[..., 1] ** 2
    power = np.prod(5.0 - np.arange(order))
    expected = power * x[..., 0] ** (5 - order) * x[..., 1] ** 2
    field = Field(u, (1 / 40, 3 / 30))
    np.testing.assert_allclose(field.d(0, order), expected[4:-4, 4:-4], atol=1e-8)
    assert field.value.shape == (33, 23) == expected[inner(2)].shape


@pytest.mark.parametrize("order", [1, 2, 3])
def test_differences_go_across_the_seam(order):
    x = box((0.0, 0.0), (1.0, 2 * np.pi), (31, 65))
    u = x[..., 0] ** 2 * np.sin(x[..., 1])
    field = Field(u, (1 / 30, np.pi / 32), periodic=(1,))
    at = x[inner(2, (1,))]
    assert at.shape == (23, 64, 2) and at[0, 0, 1] == 0
    wave = np.sin(at[..., 1] + order * np.pi / 2)
    np.testing.assert_allclose(field.d(1, order), at[..., 0] ** 2 * wave, atol=1e-6)
    np.testing.assert_array_equal(field.value, u[4:-4, :-1])
    np.testing.assert_allclose(field.d(0), 2 * at[..., 0] * np.sin(at[..., 1]), atol=1e-12)


# -- the benchmark ----------------------------------------------------------------------------


def test_a_benchmark_goes_on_where_it_was(dde, tmp_path):
    case = "poisson-1d-sine"
    saved = []
    first = run_pinn([case], [OURS], seconds=0.5, save=lambda _, new: saved.append(new))
    first.write(tmp_path)
    rows, choices = read_rows(tmp_path / "pinn.json")
    assert [row.key for row in rows] == [(case, OURS, 0, 0.5)] and rows[0] == first.rows[0]
    assert saved == rows and choices == [] and rows[0].trained.setting is None
    asked = []
    again = run_pinn(
        [case], [OURS, "adam"], seconds=0.5, known=rows, save=lambda _, new: asked.append(new)
    )
    assert asked == [again.choices[0], again.rows[1]]
    assert again.rows[0] == rows[0] and again.rows[1].method == "adam"
    ours, adam = (row.trained for row in again.rows)
    assert ours.times == adam.times == marks(0.5)
    assert list(ours.iterations) == sorted(ours.iterations)
    assert ours.parameters == adam.parameters == 481
    assert ours.errors[0] == pytest.approx(adam.errors[0], rel=0.2)  # from the same weights
    assert 0.4 < adam.seconds < 2
    paths = again.write(tmp_path)
    assert [p.suffix for p in paths] == [".json", ".md", ".png"]
    text = paths[1].read_text()
    assert "Chebyshev" in text and ("| yes |" in text or "| NO |" in text)
    assert CASES[case].model in text and "Settings of rivals" in text
    assert read_rows(paths[0]) == (list(again.rows), list(again.choices))


def test_settings_are_chosen_once_for_each_length(dde):
    case = "poisson-1d-sine"
    first = run_pinn([case], ["adam"], seconds=0.1)
    (choice,) = first.choices
    assert choice.key == (case, "adam", 0.1) and choice.settings == METHODS["adam"].settings
    assert first.rows[0].trained.setting == choice.best
    assert choice.errors[choice.settings.index(choice.best)] == min(choice.errors)
    liked = Choice(case, "adam", 0.1, (1e-3, 5e-3), (0.2, 0.15))
    again = run_pinn([case], ["adam"], seconds=0.1, chosen=[liked])
    assert again.rows[0].trained.setting == 5e-3 and again.choices == (liked,)
    other = run_pinn([case], ["adam"], seconds=0.2, chosen=[liked])
    assert {c.seconds for c in other.choices} == {0.1, 0.2}
    told = first.settings()[0]
    assert told["setting"] == "rate" and all(f"{s:g}: " in told["errors"] for s in choice.settings)


def test_a_table_is_of_runs_of_its_length_alone(dde):
    case = "poisson-1d-sine"
    report = run_pinn([case], [OURS], seconds=0.4)
    (row,) = report.rows
    assert report.times == [0.4] and row.trained.times[-1] == 0.4
    inner = row.trained.times[-3]
    assert report.errors(case, OURS, inner) is None and report.table(inner) == []
    short = replace(row, seconds=inner, trained=replace(row.trained, errors=(0.25,)))
    both = replace(report, rows=(row, short))
    assert both.times == [inner, 0.4] and both.errors(case, OURS, inner).median == 0.25


def test_ends_and_steps_are_told(dde):
    report = run_pinn(["poisson-1d-sine"], ["adam"], seconds=0.3)
    (told,) = report.ends()
    assert told["steps"].endswith(" Adam") and told["a step"] and told["ended"] == ""
    trained = replace(report.rows[0].trained, seconds=0.1, steps={"Adam": 3, "NNCG": 0})
    (told,) = replace(report, rows=(replace(report.rows[0], trained=trained),)).ends()
    assert told["steps"] == "3 Adam, 0 NNCG" and told["a step"] == ""
    assert told["ended"] == "at 0.1 s"


def test_cells_of_tables_are_looked_up():
    rows = [{"a": 1, "b": 2}, {"b": 4, "a": 3}]
    assert markdown_table(rows)[2:] == ["| 1 | 2 |", "| 3 | 4 |"]
    with pytest.raises(KeyError):
        markdown_table([{"a": 1}, {"b": 2}])


# -- rivals -----------------------------------------------------------------------------------


@pytest.fixture
def begun(dde):
    """A model after some steps of Adam, in float64."""
    with double_precision(dde), seeded(dde, 0):
        model = find("poisson-1d-sine").build(dde)
        model.compile("adam", lr=1e-3, verbose=0)
        model.train(iterations=5, verbose=0)
        yield model


def test_lbfgs_changes_its_scale_before_it_ends(dde, begun, monkeypatch):
    scales, steps = [], iter([40, 3, 35, 3, 2, 1, 40])

    def few(dde, model, clock, until):
        scales.append(model.loss_weights)
        return next(steps)

    monkeypatch.setattr(pinn_methods, "fit", few)
    assert lbfgs(dde, begun, Clock(), 1e9) == 84
    assert scales == [[s] for s in (1e8, 1e8, 1e12, 1e8, 1e12, 1e4)]
    assert begun.loss_weights is None


def test_lbfgs_trains_unknown_constants_too(dde, begun):
    constant = dde.Variable(1.0, dtype=torch.float64)
    begun.compile("adam", lr=1e-3, external_trainable_variables=[constant], verbose=0)
    clock = Clock()
    assert fit(dde, begun, clock, 0.05) > 0 and lbfgs(dde, begun, clock, 0.3) >= 30
    assert begun.external_trainable_variables == [constant]
    assert any(p is constant for group in begun.opt.param_groups for p in group["params"])


def test_curvature_is_that_of_the_hessian(begun):
    slope, largest = pinn_methods._curvature(begun)
    r, J = residuals(begun).linearise()
    assert slope == pytest.approx(float(2 * J.adjoint(r).norm()), rel=1e-9)
    state, parameters = begun.train_state, list(begun.net.parameters())
    loss = begun.outputs_losses_train(state.X_train, state.y_train, None)[1].sum()
    g = torch.autograd.grad(loss, parameters, create_graph=True)
    g = torch.cat([part.reshape(-1) for part in g])
    H = torch.stack(
        [
            torch.cat(
                [p.reshape(-1) for p in torch.autograd.grad(e, parameters, retain_graph=True)]
            )
            for e in g
        ]
    )
    assert largest == pytest.approx(float(torch.linalg.eigvalsh(H).abs().max()), rel=0.1)


def test_interrupted_benchmarks_keep_what_is_complete(dde):
    def stop(report, new):
        raise KeyboardInterrupt

    found = run_pinn(["poisson-1d-sine"], [OURS, "adam"], seconds=0.1, save=stop)
    assert found.interrupted and len(found.rows) == 1
    assert "Interrupted" in found.markdown()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_and_puts_options_back(dde, method):
    config = dde.optimizers.config
    before = dict(config.LBFGS_options), dict(config.NNCG_options), torch.get_num_threads()
    row = run_pinn(["poisson-1d-sine"], [method], seconds=1.0).rows[0]
    assert row.trained.errors[-1] < 0.5 and sum(row.trained.steps.values()) > 0
    last = {"adam-lbfgs": "L-BFGS", "nncg": "NNCG", OURS: "Gauss-Newton"}.get(method, "Adam")
    assert list(row.trained.steps)[-1] == last
    after = dict(config.LBFGS_options), dict(config.NNCG_options), torch.get_num_threads()
    assert after == before and torch.get_default_dtype() == torch.float32


def test_bad_input_of_the_benchmark_is_refused(dde, tmp_path):
    for how, words in (
        ({"cases": ["heta"]}, "heta"),
        ({"cases": []}, "at least one case"),
        ({"cases": ["heat", "heat"]}, "once"),
        ({"methods": ["sgd"]}, "sgd"),
        ({"seconds": 0.0}, "seconds > 0"),
        ({"seeds": 0}, "seeds"),
        ({"seeds": 1001}, "at most 1000"),
    ):
        with pytest.raises(ValueError, match=words):
            run_pinn(**{"cases": ["heat"], "methods": [OURS], **how})
    path = tmp_path / "pinn.json"
    assert read_rows(path) == ([], [])
    path.write_text('{"rows": [{"case": "heat"}]}')
    with pytest.raises(FileError, match="move it away"):
        read_rows(path)


def test_answers_that_are_no_values_are_refused():
    heat, cavity = CASES["heat"], CASES["cavity"]
    for find_out in (certificate, relative_error):
        with pytest.raises(ValueError, match="one row a point"):
            find_out(heat, lambda p: p[:, 0])
        with pytest.raises(ValueError, match=r"\(\d+, 3\).*an output of cavity, got \(\d+, 1\)"):
            find_out(cavity, lambda p: p[:, :1])
        with pytest.raises(ValueError, match=r"\(\d+, 1\).*an output of heat, got \(\d+, 2\)"):
            find_out(heat, lambda p: p)
        with pytest.raises(TypeError, match="expected real values, got complex128"):
            find_out(heat, lambda p: p[:, :1] + 1j)
        with pytest.raises(TypeError, match=r"requires gradients: return u\.detach\(\)\.numpy"):
            find_out(heat, lambda p: torch.from_numpy(p[:, :1]).requires_grad_())
        with pytest.raises(TypeError, match="expected values as numbers, got None"):
            find_out(heat, lambda p: None)
        with pytest.raises(TypeError, match=r"a Case, got 'heat'.*find\("):
            find_out("heat", heat.reference)
    assert certificate(heat, lambda p: torch.from_numpy(heat.reference(p))).error == 0


@pytest.mark.parametrize("name", ["heat", "cavity", "allen-cahn"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("output", [0, -1])
def test_nothing_hides_what_is_not_finite(name, bad, output):
    case = CASES[name]

    centre = case.points[len(case.points) // 2 + 9]

    def spoiled(points):
        values = case.reference(points)
        values[np.abs(points - centre).max(axis=1) < 0.1, output] = bad
        return values

    found = certificate(case, spoiled)
    assert found.residual > 0.3
    if name != "cavity" or output == 0:  # errors are not of the pressure
        assert found.error > 1e100
    if not np.isfinite(bad):
        assert found.residual == found.conditions == np.inf


def test_the_command_writes_a_report(dde, tmp_path, capsys):
    words = ["--cases", "poisson-1d-sine", "--methods", f"{OURS},adam", "--seconds", "1"]
    assert run(["bench", "pinn", *words, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "after 1 s" in printed and "pinn.md" in printed and "Chebyshev" in printed
    record = json.loads((tmp_path / "pinn.json").read_text())
    assert len(record["rows"]) == 2 and "deepxde" in record["versions"]
    assert run(["bench", "pinn", "--list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in (*CASES, *METHODS))
    assert all(case.model in listed for case in CASES.values())
    assert run(["bench", "pinn", "--cases", "no", "--out", str(tmp_path)]) == 2
    assert run(["bench", "pinn", "--cases", "heat"]) == 2


# -- training ---------------------------------------------------------------------------------


def test_a_resumed_training_ends_with_the_same_bits(dde, tmp_path):
    name = "poisson-1d-sine"
    whole = train_case(name, tmp_path / "a", steps=12)
    train_case(name, tmp_path / "b", steps=5)
    again = train_case(name, tmp_path / "b", steps=12, resume=True)
    assert whole[0].read_bytes() == again[0].read_bytes()
    assert [p.name for p in again] == [f"pinn-{name}.{e}" for e in ("safetensors", "json", "png")]
    about = json.loads(again[1].read_text())["about"]
    assert about["steps"] == 12 and about["seconds"] > 0
    assert about["command"] == f"train_case('{name}', out, steps=12, seed=0)"
    case, model = load_trained(again[0])
    assert relative_error(case, model.predict) == pytest.approx(about["error"], rel=1e-6)
    assert certificate(case, model.predict).residual == pytest.approx(about["residual"], rel=1e-3)


def test_an_interrupted_training_can_be_resumed(dde, tmp_path):
    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_case("poisson-1d-sine", tmp_path, steps=6, progress=stop)
    assert [p.suffix for p in tmp_path.iterdir()] == [".safetensors"]
    half = train_case("poisson-1d-sine", tmp_path, steps=6, resume=True)
    whole = train_case("poisson-1d-sine", tmp_path / "whole", steps=6)
    assert half[0].read_bytes() == whole[0].read_bytes()


def test_bad_input_of_the_training_is_refused(dde, tmp_path):
    with pytest.raises(ValueError, match="expected one of"):
        train_case("wave", tmp_path)
    with pytest.raises(ValueError, match="steps"):
        train_case("heat", tmp_path, steps=0)
    written = train_case("poisson-1d-sine", tmp_path, steps=1, resume=True)  # there is nothing yet
    with pytest.raises(FileError, match="from seed 1"):
        train_case("poisson-1d-sine", tmp_path, steps=1, seed=1, resume=True)
    card = json.loads(written[1].read_text())
    written[1].write_text(json.dumps({**card, "case": "heat"}))
    with pytest.raises(FileError, match="check sum"):
        load_trained(written[0])


def test_the_command_trains(dde, tmp_path, capsys):
    assert run(["train", "pinn-poisson-1d-sine", "--quick", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "residual" in printed and "pinn-poisson-1d-sine.safetensors" in printed
    about = json.loads((tmp_path / "pinn-poisson-1d-sine.json").read_text())["about"]
    assert about["command"] == "sciml train pinn-poisson-1d-sine --quick --seed 0"
    assert about["model"] == CASES["poisson-1d-sine"].model
    assert run(["train", "--list"]) == 0
    listed = capsys.readouterr().out
    assert all(f"pinn-{name}" in listed for name in CASES)


def test_an_interrupted_command_says_how_to_go_on(dde, tmp_path, monkeypatch, capsys):
    def stopped(*words, **named):
        return minimise(*words, **{**named, "iterations": 1})[0], Ended.INTERRUPTED

    def at_once(*words, **named):
        raise KeyboardInterrupt

    command = ["train", "pinn-poisson-1d-sine", "--out", str(tmp_path)]
    monkeypatch.setattr("solvers.pinn.train.minimise", at_once)
    assert run(command) == 130 and "--resume" not in capsys.readouterr().err
    monkeypatch.setattr("solvers.pinn.train.minimise", stopped)
    assert run(command) == 130
    assert "go on with --resume" in capsys.readouterr().err


def test_cases_are_immutable():
    with pytest.raises(TypeError):
        CASES["heat"] = replace(CASES["heat"])  # type: ignore[index]
