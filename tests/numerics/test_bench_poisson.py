"""The Poisson benchmark: kinds of k and grids as named, everybody measured alike, shown legibly."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy.sparse.linalg import spsolve

import solvers
from sciml.operators import Diffusion
from solvers.bench import (
    POISSON_METHODS,
    Entrant,
    Method,
    Outcome,
    PoissonReport,
    run_poisson,
    show,
)
from solvers.bench.fields import FAMILIES, RHS, draw, grid_text, parse_grid
from solvers.cli import main

RTOL = 1e-6
OURS = ("fast-poisson", "cg+fast-poisson", "cg+multigrid", "direct", "auto")
NAMES = (*OURS, "scipy-cg", "scipy-spsolve")


class Loose:
    """Solves exactly, then errs by `looseness` times the tolerance that it was handed."""

    def __init__(self, looseness: float, log: list | None = None) -> None:
        self.looseness, self.log = looseness, [] if log is None else log

    def setup(self, system) -> None:
        assert np.isnan(system.rhs).all()  # nothing to prepare for
        self.system = system

    def solve(self, b, rtol):
        self.log.append(rtol)
        return (1 - self.looseness * rtol) * spsolve(self.system.matrix.tocsc(), b), 1


class Breaks(Loose):
    """Stops the benchmark at its n-th solve, as Ctrl-C does."""

    def __init__(self, after: int) -> None:
        super().__init__(0.0)
        self.after = after

    def solve(self, b, rtol):
        if len(self.log) == self.after:
            raise KeyboardInterrupt
        return super().solve(b, rtol)


def named(*names: str) -> list[Entrant]:
    return [POISSON_METHODS[name] for name in names]


def outsider(name: str, rival, needs: str | None = None) -> Entrant:
    return Entrant(Method(name, rival, needs))


@pytest.fixture(scope="module")
def report() -> PoissonReport:
    """Three kinds of k, two grids of which one is no square."""
    families = ["constant", "exponential2", "inclusions1e6"]
    return run_poisson(families, [(16, 16), (24, 40)], repeats=2, rtol=RTOL, methods=named(*NAMES))


# -- systems ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shape", [(256, 200), (16, 16, 20)])
def test_kinds_of_k_are_what_their_names_say(family, shape):
    k = draw(family, shape)
    assert k.shape == shape and k.dtype == np.float64 and (k > 0).all()
    np.testing.assert_array_equal(k, draw(family, shape))
    spread = k.max() / k.min()
    if family == "constant":
        assert spread == 1
    elif family.startswith(("inclusions", "checkerboard")):
        assert spread == float(family[-3:]) and len(np.unique(k)) == 2
    elif family == "blocks1e6":
        assert k.min() >= 1 and k.max() <= 1e6 and len(np.unique(k[:8, :8, ...])) <= 3
    else:
        assert 1.5 < spread < 1e5
    if len(shape) == 2:  # fine enough for what is smooth to show it
        assert (np.abs(np.diff(np.log10(k), axis=0)).max() > 1.5) == FAMILIES[family].jumps


def test_the_variance_of_log_k_is_the_one_in_the_name():
    """Over a box of many correlation lengths; the mean over space takes a little of it away."""
    assert np.log(draw("exponential2", (512, 512))).var() == pytest.approx(2.0, rel=0.15)
    assert np.log(draw("gaussian0.5", (512, 512))).var() == pytest.approx(0.5, rel=0.15)


def test_finer_grids_show_the_same_inclusions():
    coarse, fine = draw("inclusions1e4", (128, 128)), draw("inclusions1e4", (256, 256))
    assert ((fine[::2, ::2] > 1) == (coarse > 1)).mean() > 0.97


def test_right_hand_sides():
    smooth = RHS["smooth"]((300, 200))
    assert np.abs(np.diff(smooth, axis=0)).max() < 0.1 * np.ptp(smooth)
    white = RHS["white"]((300, 200))
    assert abs(np.mean(white[1:] * white[:-1])) < 0.02 and white.std() == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize(
    ("text", "shape", "told"),
    [
        ("512", (512, 512), "512²"),
        ("512^2", (512, 512), "512²"),
        ("64^3", (64, 64, 64), "64³"),
        ("512x300", (512, 300), "512×300"),
        ("4x5x6", (4, 5, 6), "4×5×6"),
    ],
)
def test_grids_are_read_and_told(text, shape, told):
    assert parse_grid(text) == shape and grid_text(shape) == told


@pytest.mark.parametrize("text", ["", "x", "5^", "-3", "0", "4x5^2", "4^4", "1.5", "4x5x6x7"])
def test_what_is_no_grid_is_refused(text):
    with pytest.raises(ValueError, match="expected a grid such as"):
        parse_grid(text)


# -- measuring -------------------------------------------------------------------------------------


def test_every_method_solves_every_system_it_is_for(report):
    assert {run.outcome for run in report.runs} == {Outcome.SOLVED}
    tried = {(run.method, report.families[run.config]) for run in report.runs}
    assert ("fast-poisson", "constant") in tried and ("fast-poisson", "exponential2") not in tried
    assert ("cg+fast-poisson", "inclusions1e6") not in tried
    for name in ("cg+multigrid", "direct", "auto", "scipy-cg"):
        assert {family for method, family in tried if method == name} == set(
            report.families.values()
        )
    for run in report.runs:
        assert run.residual is not None and 0 < run.residual <= 1.001 * RTOL
        assert run.setup >= 0 and run.solve > 0 and run.error is None


def test_iterations_are_those_of_a_solve_outside(report):
    from sciml import LinearSystem, Stop, solve

    k, b = draw("inclusions1e6", (24, 40)), RHS["white"]((24, 40))
    method = solvers.CG(M=solvers.Multigrid())
    alone = solve(LinearSystem(Diffusion(k), b), method, stop=Stop(rtol=RTOL))
    config = "inclusions1e6, 24×40"
    found = {r.iterations for r in report.runs if (r.method, r.config) == ("cg+multigrid", config)}
    assert found == {int(alone.iterations)}
    runs = [r for r in report.runs if (r.method, r.config) == ("cg+multigrid", config)]
    assert runs[0].residual == pytest.approx(float(alone.residual), rel=1e-3)


@pytest.mark.parametrize("name", [n for n, e in POISSON_METHODS.items() if e.method.needs])
def test_installed_peers_solve_and_tell_their_steps(name):
    entrant = POISSON_METHODS[name]
    if not entrant.method.available:
        pytest.skip(f"{name} needs {entrant.method.needs}")
    report = run_poisson(["blocks1e6"], [(20, 28)], repeats=1, methods=[entrant])
    [run] = report.runs
    assert run.outcome is Outcome.SOLVED and run.residual <= 1.001 * RTOL
    assert (run.iterations is None) == (name == "cholmod")
    for trace in report.traces:
        assert len(trace.residual) <= run.iterations
        assert trace.residual[-1] < 1e-3 * max(trace.residual)


def test_courses_end_where_the_method_did(report):
    assert report.traced == "inclusions1e6, 24×40 #0"
    traces = {trace.method: trace for trace in report.traces}
    assert "cg+multigrid" in traces and not {"direct", "scipy-spsolve"} & set(traces)
    for name, trace in traces.items():
        [run] = {r.residual for r in report.runs if r.method == name and "inclusions" in r.config
                 and "24×40" in r.config}  # fmt: skip
        assert trace.residual[-1] <= RTOL and trace.true_residual == pytest.approx(run, rel=1e-3)
        assert np.all(np.diff(trace.seconds) > 0)


def test_a_loose_peer_gets_a_tolerance_with_which_it_is_right():
    log: list[float] = []
    entrants = [outsider("loose", Loose(20.0, log)), *named("direct")]
    report = run_poisson(["constant"], [(12, 12)], rtol=1e-5, repeats=2, methods=entrants)
    assert {run.outcome for run in report.runs} == {Outcome.SOLVED}
    [(key, given)] = report.given.items()
    assert key == "loose on constant, 12²" and log[0] == 1e-5 and log[-1] == given < 1e-5 / 20
    assert any("loose on constant, 12²" in line for line in report.summary())


def test_a_peer_that_never_gets_there_is_a_false_success_with_one_run():
    class Wrong(Loose):
        def solve(self, b, rtol):
            return 0.9 * super().solve(b, rtol)[0], 1

    entrants = [outsider("wrong", Wrong(0.0)), *named("direct")]
    report = run_poisson(["constant"], [(12, 12)], repeats=3, methods=entrants)
    outcomes = [run.outcome for run in report.runs if run.method == "wrong"]
    assert outcomes == [Outcome.FALSE_SUCCESS]
    assert [row.method for row in report.rows()] == ["direct", "wrong"]


def test_the_absent_and_the_unsuited_are_named():
    entrants = [
        outsider("far-away", Loose(0.0), "no_such_module"),
        Entrant(Method("small-only", Loose(0.0)), most=(200, 0)),
        *named("fast-poisson", "direct"),
    ]
    report = run_poisson(["exponential2"], [(12, 12), (16, 16)], repeats=1, methods=entrants)
    said = " ".join(report.summary())
    assert "far-away was left out: it needs no_such_module." in said
    assert "fast-poisson was left out: k varies." in said
    assert "small-only above 200 unknowns in 2-D was left out: it would take too long." in said
    assert {r.config for r in report.runs if r.method == "small-only"} == {"exponential2, 12²"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"families": []}, "at least one family"),
        ({"families": ["nope"]}, "expected a family of constant"),
        ({"shapes": [(8, 8), (8, 8)]}, "each grid once, got 8²"),
        ({"rhs": "rough"}, "expected a rhs of white, smooth"),
        ({"repeats": 0}, "repeats >= 1"),
        ({"rtol": -1.0}, "rtol"),
        ({"methods": []}, "at least one method"),
        ({"methods": [outsider("a", Loose(0.0), "no_such_module")]}, "a method that can run"),
    ],
)
def test_bad_arguments_are_refused(change, words):
    arguments = {"families": ["constant"], "shapes": [(8, 8)], "methods": named("direct")}
    with pytest.raises(ValueError, match=words):
        run_poisson(**{**arguments, **change})


def test_ctrl_c_keeps_the_rows_that_are_done(tmp_path):
    entrants = [*named("direct"), outsider("breaks", Breaks(after=3))]  # 1 first, 2 timed
    done = []
    report = run_poisson(
        ["constant"], [(8, 8), (12, 12)], repeats=2, methods=entrants,
        progress=lambda part, whole: done.append((part, whole)),
    )  # fmt: skip
    assert report.interrupted and {r.config for r in report.runs} == {"constant, 8²"}
    assert [(row.method, row.runs) for row in sorted(report.rows(), key=lambda r: r.method)] == [
        ("breaks", 2), ("direct", 2)
    ]  # fmt: skip
    assert "interrupted" in report.title and all(p.exists() for p in report.write(tmp_path))
    assert done[0] == (0, 12) and [part for part, _ in done] == sorted({part for part, _ in done})


def test_interrupted_before_anything_still_writes(tmp_path):
    report = run_poisson(["constant"], [(8, 8)], methods=[outsider("breaks", Breaks(after=0))])
    assert report.interrupted and not report.runs and not report.rows()
    assert len(report.write(tmp_path)) == 3


def test_progress_ends_at_the_whole():
    done = []
    run_poisson(["constant"], [(8, 8)], methods=named("direct", "scipy-cg"), repeats=2,
                progress=lambda part, whole: done.append((part, whole)))  # fmt: skip
    assert done[-1] == (6, 6)


# -- showing ---------------------------------------------------------------------------------------


def test_json_round_trips(report):
    text = json.dumps(report.to_json(), allow_nan=False)
    assert PoissonReport.from_json(json.loads(text)) == report
    with pytest.raises(ValueError, match="poisson benchmark"):
        PoissonReport.from_json({"format": 1, "benchmark": "condiff"})


def test_markdown_and_terminal_have_a_row_for_each_method_and_system(report):
    out = io.StringIO()
    show(report, Console(file=out, width=80, color_system=None))
    shown = out.getvalue().splitlines()
    assert max(map(len, shown)) <= 80
    pages = report.to_markdown().splitlines()
    for name in NAMES:
        configs = {run.config for run in report.runs if run.method == name}
        assert len([line for line in shown if line.startswith(f"{name} ")]) >= len(configs)
        rows = [line for line in pages if line.startswith(f"| {name} |")]
        assert len(rows) == len(configs) and all("| 2/2 | 0 |" in row for row in rows)
    assert any(line.startswith("auto on constant, 16²; constant, 24×40: ") for line in pages)


def words_of(report: PoissonReport) -> list:
    """(text, its box) of everything that is drawn in the picture."""
    from matplotlib.axis import Tick
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    figure = report.figure()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    hidden = {tick.label1 for tick in figure.findobj(Tick) if not _drawn(tick)}
    return [
        (text.get_text(), text.get_window_extent(canvas.get_renderer()))
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip() and text not in hidden
    ]


def _drawn(tick) -> bool:
    """Whether a tick is within its axes' limits; those outside are kept but not drawn."""
    from matplotlib.axis import XTick

    low, high = tick.axes.get_xlim() if isinstance(tick, XTick) else sorted(tick.axes.get_ylim())
    return low * 0.999 <= tick.get_loc() <= high * 1.001


def test_the_picture_has_time_against_size_and_no_overlapping_words(report):
    one_size = run_poisson(
        ["exponential2", "constant"], [(16, 16)], repeats=1, methods=named(*NAMES)
    )
    for each in (report, one_size):
        found = words_of(each)
        assert {"fast-poisson", "cg+multigrid", "scipy-cg"} <= {word for word, _ in found}
        assert not any("times" in word for word, _ in found)  # seconds times a power of ten
        for i, (one, a) in enumerate(found):
            for other, b in found[:i]:
                across = min(a.x1, b.x1) - max(a.x0, b.x0)
                along = min(a.y1, b.y1) - max(a.y0, b.y0)
                assert across <= 1 or along <= 1, (one, other)


def test_lines_of_the_picture_are_the_medians(report):
    figure = report.figure()
    panels = {axes.get_title(): axes for axes in figure.axes}
    for family in ("constant", "exponential2", "inclusions1e6"):
        lines = {line.get_label(): line for line in panels[f"k: {family}"].get_lines()}
        for row in report.rows():
            if report.families[row.config] == family:
                drawn = dict(zip(*lines[row.method].get_data(), strict=True))
                assert drawn[math.prod(report.shapes[row.config])] == row.total.median


# -- the command -----------------------------------------------------------------------------------


def test_the_command_writes_its_report_and_takes_methods_from_outside(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "from solvers import CG, IC0\n\n\ndef cg():\n    return CG(M=IC0())\n"
    )
    words = "bench poisson --field constant --field blocks1e6 --grid 16 --grid 12x20 --repeats 1"
    words += " --methods fast-poisson,cg+multigrid,scipy-spsolve --solver mine:cg --rhs smooth"
    assert main([*words.split(), "--rtol", "1e-8", "--out", "r"]) == 0
    out = capsys.readouterr().out
    assert "written     r/poisson.json" in out and "blocks1e6, 12×20" in out
    found = PoissonReport.from_json(json.loads(Path("r/poisson.json").read_text()))
    assert {run.method for run in found.runs} == {
        "fast-poisson", "cg+multigrid", "scipy-spsolve", "cg"
    }  # fmt: skip
    assert {run.outcome for run in found.runs} == {Outcome.SOLVED} and found.rhs == "smooth"
    assert Path("r/poisson.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_lists_what_it_knows(capsys):
    assert main(["bench", "poisson", "--list"]) == 0
    lines = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert lines == [*(["field", f] for f in FAMILIES), *(["method", m] for m in POISSON_METHODS)]


def test_an_interrupted_command_exits_with_130_and_keeps_what_is_done(
    tmp_path, monkeypatch, capsys
):
    def interrupt(self, state, k):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(solvers.CG, "advance", interrupt)
    words = "bench poisson --field constant --grid 8 --methods direct,cg+amg --out r"
    assert main(words.split()) == 130
    assert json.loads(Path("r/poisson.json").read_text())["interrupted"]
