"""The benchmark's report: JSON, Markdown, terminal and picture say the same, legibly."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from sciml.datasets import ConDiffConfig
from solvers.bench import METHODS, BenchReport, Method, Outcome, demo, run_condiff, show

CONFIG = ConDiffConfig.from_name("cubic0.1_grid16")
FINER = ConDiffConfig.from_name("cubic0.1_grid32")
RTOL = 1e-6


class Liar:
    """Answers NaN, or the right-hand side, and calls it a solution."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def setup(self, system) -> None:
        pass

    def solve(self, b, rtol):
        return self.factor * b, 7


@pytest.fixture(scope="module")
def report() -> BenchReport:
    """All methods on two sets."""
    return run_condiff([CONFIG, FINER], samples=2, rtol=RTOL, seed=3)


@pytest.fixture(scope="module")
def failing() -> BenchReport:
    """The same with two that lie, one under a long name."""
    liars = (Method("broken", Liar(np.nan)), Method("a.class.of.a.very.long.name", Liar(0.5)))
    methods = (*METHODS.values(), *liars)
    return run_condiff([CONFIG, FINER], methods=methods, samples=1, rtol=RTOL, seed=3)


def test_json_round_trips_and_names_no_one(report):
    text = json.dumps(report.to_json(), allow_nan=False)
    assert BenchReport.from_json(json.loads(text)) == report
    host = socket.gethostname()
    assert len(host) < 4 or host not in text
    assert str(Path.cwd()) not in text and str(Path.home()) + "/" not in text
    for name in ("runs", "settings", "machine", "versions", "date", "warmup", "traces"):
        assert report.to_json()[name]
    with pytest.raises(ValueError, match="of format 9"):
        BenchReport.from_json({**report.to_json(), "format": 9})
    with pytest.raises(ValueError, match="expected a whole"):
        BenchReport.from_json({"format": 1, "benchmark": "condiff"})


def test_markdown_has_a_row_for_each_method_and_set(report):
    lines = report.to_markdown().splitlines()
    for name in report.settings.methods:
        rows = [line for line in lines if line.startswith(f"| {name} |")]
        assert len(rows) == 2 and all("| 2/2 | 0 |" in row for row in rows)
    assert [line for line in lines if line.startswith("## ")] == [
        f"## {CONFIG.name}", f"## {FINER.name}"
    ]  # fmt: skip
    # An exception's words must not break the table, nor the page.
    assert all(line.count("|") == lines[lines.index(f"## {FINER.name}") + 2].count("|")
               for line in lines if line.startswith("|"))  # fmt: skip


def test_table_fits_a_terminal(report):
    out = io.StringIO()
    show(report, Console(file=out, width=80, color_system=None))
    text = out.getvalue()
    assert "…" not in text and max(map(len, text.splitlines())) <= 80
    for name in report.settings.methods:
        assert sum(line.startswith(f"{name} ") for line in text.splitlines()) == 2


def test_picture_is_written_and_shows_something(report, tmp_path):
    from matplotlib.image import imread

    [path] = [p for p in report.write(tmp_path / "new" / "folder") if p.suffix == ".png"]
    pixels = imread(path)[..., :3]
    assert pixels.shape[0] > 600 and pixels.shape[1] > 1500
    inked = (pixels < 0.99).any(axis=-1)
    width = inked.shape[1]
    for side in (inked[:, : width // 3], inked[:, width // 2 :]):
        assert 0.02 < side.mean() < 0.6
    assert {p.name for p in (tmp_path / "new" / "folder").iterdir()} == {
        "condiff.json", "condiff.md", "condiff.png"
    }  # fmt: skip


def _drawn(tick) -> bool:
    """Whether a tick is within its axes' limits; those outside are kept but not drawn."""
    from matplotlib.axis import XTick

    frame, at = tick.axes.bbox, tick.get_loc()
    if isinstance(tick, XTick):
        return frame.x0 - 1 <= tick.axes.transData.transform((at, 1))[0] <= frame.x1 + 1
    return frame.y0 - 1 <= tick.axes.transData.transform((1, at))[1] <= frame.y1 + 1


def test_picture_has_no_overlapping_words(report, failing):
    from matplotlib.axis import Tick
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    for each in (report, failing):
        figure = each.figure()
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        hidden = {t.label1 for t in figure.findobj(Tick) if not _drawn(t)}
        inside = [
            (text.get_text(), text.get_window_extent(canvas.get_renderer()))
            for text in figure.findobj(Text)
            if text.get_visible() and text.get_text().strip() and text not in hidden
        ]
        width, height = canvas.get_width_height()
        assert len(inside) > 60
        for i, (one, a) in enumerate(inside):
            assert a.x0 >= -1 and a.x1 <= width and a.y0 >= 0 and a.y1 <= height, one
            for other, b in inside[:i]:
                across = min(a.x1, b.x1) - max(a.x0, b.x0)
                along = min(a.y1, b.y1) - max(a.y0, b.y0)
                assert across <= 1 or along <= 1, (one, other)


def test_traces_end_where_the_method_did(report):
    assert report.traced == f"{FINER.name} #0"
    steps = {r.method: r.iterations for r in report.runs if (r.config, r.sample) == (FINER.name, 0)}
    traced = {trace.method: trace for trace in report.traces}
    assert {"cg", "cg+jacobi", "minres", "gmres", "bicgstab"} <= set(traced)
    assert "direct" not in traced and "scipy-cg" not in traced
    for name, trace in traced.items():
        assert len(trace.seconds) == len(trace.residual) <= steps[name]
        assert np.all(np.diff(trace.seconds) > 0)
        assert trace.residual[-1] <= RTOL
        [run] = [r for r in report.runs if (r.method, r.config, r.sample) == (name, FINER.name, 0)]
        # PyAMG draws start vectors at set-up, so its hierarchies differ a little.
        assert trace.true_residual == pytest.approx(run.residual, rel=0.1)


def test_importing_and_plotting_stay_light(report, tmp_path):
    record = tmp_path / "report.json"
    record.write_text(json.dumps(report.to_json()))
    code = f"""
import json, sys
import solvers.bench
heavy = {{"matplotlib", "rich", "pyamg", "torch", "h5py"}} & set(sys.modules)
assert not heavy, heavy
report = solvers.bench.BenchReport.from_json(json.load(open({str(record)!r})))
report.plot({str(tmp_path / "report.png")!r})
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.slow
def test_demo_takes_less_than_a_minute(tmp_path):
    out = io.StringIO()
    began = time.perf_counter()
    paths = demo(tmp_path / "out", console=Console(file=out, width=80))
    assert time.perf_counter() - began < 60
    assert [p.suffix for p in paths] == [".json", ".md", ".png"]
    found = BenchReport.from_json(json.loads(paths[0].read_text()))
    assert not any(run.outcome is Outcome.FALSE_SUCCESS for run in found.runs)
    assert "gaussian2.0_grid64" in out.getvalue()
