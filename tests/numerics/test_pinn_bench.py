"""The benchmark of physics-informed training: rows, choices, rivals, bad input."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from sciml.io import FileError
from solvers.bench import pinn as bench_pinn
from solvers.bench import pinn_methods
from solvers.bench.pinn import run_pinn
from solvers.bench.pinn_methods import METHODS, OURS, Clock, fit, lbfgs, marks, ssbroyden
from solvers.bench.pinn_picture import draw_errors, draw_steps
from solvers.bench.pinn_report import Choice, current, read_rows
from solvers.bench.report import markdown_table
from solvers.cli._app import run
from solvers.pinn.deepxde import double_precision, residuals, seeded
from solvers.pinn.problems import CASES, find


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
    assert [p.name for p in paths] == ["pinn.json", "pinn.md", "pinn.png", "pinn-iterations.png"]
    (panel,) = draw_steps(again).axes
    assert list(panel.lines[0].get_xdata()) == [n for n in ours.iterations if n]
    (panel,) = draw_errors(again).axes
    assert list(panel.lines[0].get_xdata()) == list(ours.times)
    assert list(panel.lines[0].get_ydata()) == list(ours.errors)
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
    assert choice.errors[choice.settings.index(choice.early)] == min(choice.errors)
    liked = replace(choice, whole=((5e-3, 0.1), (1e-3, 0.2)))
    again = run_pinn([case], ["adam"], seconds=0.1, chosen=[liked])
    assert again.rows[0].trained.setting == 5e-3 and again.choices == (liked,)
    other = run_pinn([case], ["adam"], seconds=0.2, chosen=[liked])
    assert {c.seconds for c in other.choices} == {0.1, 0.2}
    told = first.settings()[0]
    assert told["setting"] == "rate"
    assert all(f"{s:g}: " in told["errors after a tenth"] for s in choice.settings)


def _rates(monkeypatch, *rates: float) -> None:
    """Adam has these settings."""
    adam = replace(METHODS["adam"], settings=rates)
    monkeypatch.setattr(bench_pinn, "METHODS", {**METHODS, "adam": adam})


def test_the_best_setting_of_a_tenth_has_to_beat_the_usual_one_in_the_whole_time(dde, monkeypatch):
    _rates(monkeypatch, 1e-3, 1e-9)
    case, fast = "poisson-1d-sine", 0.3
    early = Choice(case, "adam", fast, (1e-3, 1e-9), (0.2, 0.1))  # 1e-9 cannot have moved
    stale = run_pinn([case], ["adam"], seconds=fast, chosen=[replace(early, whole=((1e-9, 0.1),))])
    assert stale.rows[0].trained.setting == 1e-9
    new: list[object] = []
    found = run_pinn(
        [case], ["adam"], seconds=fast, known=stale.rows, chosen=[early],
        save=lambda _, what: new.append(what),
    )  # fmt: skip
    (choice,), (row,) = found.choices, found.rows
    assert dict(choice.whole)[1e-9] == stale.rows[0].trained.errors[-1]  # was not trained again
    assert choice.best == row.trained.setting == 1e-3 and choice.early == 1e-9
    assert dict(choice.whole)[1e-3] == row.trained.errors[-1] < 0.95 * dict(choice.whole)[1e-9]
    assert new == [choice, row]


def test_rows_of_settings_that_were_not_taken_are_dropped(dde):
    case = "poisson-1d-sine"
    known = Choice(case, "adam", 0.1, METHODS["adam"].settings, (0.1, 0.2, 0.2, 0.2))
    early = replace(known, whole=((3e-3, 0.1), (1e-3, 0.2)))
    stale = run_pinn([case], ["adam"], seconds=0.1, chosen=[early], seeds=2).rows
    assert {row.trained.setting for row in stale} == {3e-3}
    taken = replace(known, whole=((1e-3, 0.1), (3e-3, 0.2)))
    assert current(stale, [taken]) == [] and current(stale, []) == list(stale)
    found = run_pinn([case], ["adam"], seconds=0.1, known=stale, chosen=[taken])
    assert [(row.seed, row.trained.setting) for row in found.rows] == [(0, 1e-3)]


def test_further_settings_are_tried_beside_those_that_were(dde, monkeypatch):
    case, fast = "poisson-1d-sine", 0.3
    _rates(monkeypatch, 1e-3, 1e-9)
    known = Choice(case, "adam", fast, (1e-3, 1e-9), (0.2, 0.1), ((1e-9, 0.1), (1e-3, 0.2)))
    rows = run_pinn([case], ["adam"], seconds=fast, chosen=[known]).rows
    assert rows[0].trained.setting == 1e-9
    _rates(monkeypatch, 1e-3, 1e-9, 1e9)  # bad ones change nothing
    found = run_pinn([case], ["adam"], seconds=fast, known=rows, chosen=[known])
    assert found.rows == rows and found.choices[0].whole == known.whole
    assert found.choices[0].settings == (1e-3, 1e-9, 1e9)
    _rates(monkeypatch, 1e-3, 1e-9, 1e-2)
    worse = replace(known, errors=(20.0, 10.0))  # than any error of this problem
    found = run_pinn([case], ["adam"], seconds=fast, known=rows, chosen=[worse])
    (choice,), (row,) = found.choices, found.rows
    assert choice.early == 1e-2 and {s for s, _ in choice.whole} == {1e-3, 1e-9, 1e-2}
    assert row.trained.setting == choice.best != 1e-9


def test_long_runs_can_take_the_settings_of_short_ones(dde):
    case = "poisson-1d-sine"
    liked = Choice(case, "adam", 0.1, (1e-3, 5e-3), (0.2, 0.1), ((5e-3, 0.1), (1e-3, 0.2)))
    found = run_pinn([case], ["adam"], seconds=0.2, settings_of=0.1, chosen=[liked])
    assert found.rows[0].trained.setting == 5e-3 and found.choices == (liked,)
    with pytest.raises(ValueError, match=r"no settings of adam on poisson-1d-sine .* for 3 s"):
        run_pinn([case], ["adam"], seconds=0.2, settings_of=3, chosen=[liked])


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
    assert fit(dde, begun, clock, 0.05) > 0 and lbfgs(dde, begun, clock, 1.5) >= 30
    assert begun.external_trainable_variables == [constant]
    assert any(p is constant for group in begun.opt.param_groups for p in group["params"])


def test_ssbroyden_leaves_its_last_step_and_no_trial(begun, monkeypatch):
    def searching(objective, x, look):
        objective(x + 1)
        look(x + 1)
        objective(x + 5)  # of a search that finds nothing
        return 1

    monkeypatch.setattr(pinn_methods, "minimise", searching)
    before = [p.detach().clone() for p in begun.net.parameters()]
    ssbroyden(begun, Clock(), 60.0)
    for p, was in zip(begun.net.parameters(), before, strict=True):
        assert torch.allclose(p, was + 1)


def test_ssbroyden_trains_unknown_constants_too(dde):
    """Of u'' = c, u = x²/2 - 1/2 given: c = 1."""
    with double_precision(dde), seeded(dde, 0):
        constant = dde.Variable(3.0, dtype=torch.float64)
        line = dde.geometry.Interval(-1, 1)
        x = np.linspace(-1, 1, 12)[:, None]
        data = dde.data.PDE(
            line, lambda x, u: dde.grad.hessian(u, x) - constant,
            [dde.icbc.PointSetBC(x, x**2 / 2 - 0.5)], 20, anchors=x,
        )  # fmt: skip
        model = dde.Model(data, dde.nn.FNN([1, 8, 1], "tanh", "Glorot normal"))
        model.compile("adam", lr=1e-3, external_trainable_variables=[constant], verbose=0)
        clock = Clock()
        assert fit(dde, model, clock, 0.05) > 0
        step = model.train_state.step
        steps = ssbroyden(model, clock, 3.0)
        assert model.train_state.step == step + steps
    assert constant.item() == pytest.approx(1, abs=1e-2)


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
    own = {"adam-lbfgs": "L-BFGS", "adam-ssbroyden": "SSBroyden", "nncg": "NNCG"}
    last = {**own, OURS: "Gauss-Newton"}.get(method, "Adam")
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
