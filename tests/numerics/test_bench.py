"""The benchmark: same systems for all, nobody believed, nothing lost, everything shown."""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import pytest
from scipy.sparse.linalg import spsolve

from sciml.datasets import ConDiffConfig, Order, condiff_matrix, draw_condiff
from solvers import CG, Jacobi
from solvers.bench import (
    METHODS,
    Answer,
    BenchReport,
    Method,
    Outcome,
    Run,
    Settings,
    load_method,
    run_condiff,
)
from solvers.bench.report import Spread, seconds_text

CONFIG = ConDiffConfig.from_name("cubic0.1_grid16")
FINER = ConDiffConfig.from_name("cubic0.1_grid32")
RTOL = 1e-6


class Exact:
    """Answers with `factor` times the solution: the residual is |1 - factor|."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def setup(self, system) -> None:
        self.system = system

    def solve(self, b, rtol):
        return self.factor * spsolve(self.system.matrix.tocsc(), b), 7


class Recorder(Exact):
    """Writes down what it was given, and when."""

    def __init__(self, name: str, log: list) -> None:
        super().__init__()
        self.name, self.log = name, log

    def solve(self, b, rtol):
        system = self.system
        assert np.isnan(system.rhs).all() and np.isnan(system.x).all()  # nothing to copy from
        parts = (system.k, system.matrix.data, b)
        self.log.append((system.name, self.name, b"".join(p.tobytes() for p in parts), rtol))
        return super().solve(b, rtol)


def bench(*methods: Method, configs=(CONFIG,), samples=2, warmup=False, **more) -> BenchReport:
    return run_condiff(
        configs, methods=methods, samples=samples, rtol=RTOL, seed=3, warmup=warmup, **more
    )


@pytest.fixture(scope="module")
def report() -> BenchReport:
    """All methods on two sets."""
    return run_condiff([CONFIG, FINER], samples=2, rtol=RTOL, seed=3)


# -- fairness ----------------------------------------------------------------------------------


def test_all_get_the_same_systems_in_rotating_order():
    log: list = []
    names = ("a", "b", "c")
    bench(*(Method(n, Recorder(n, log)) for n in names), configs=(CONFIG, FINER), samples=2)
    by_system: dict[str, list] = {}
    for system, name, content, rtol in log:
        by_system.setdefault(system, []).append((name, content, rtol))
    assert list(by_system) == [f"{c.name} #{s}" for c in (CONFIG, FINER) for s in (0, 1)]
    for given in by_system.values():
        assert len({content for _, content, _ in given}) == 1
        assert {rtol for _, _, rtol in given} == {RTOL}
    orders = ["".join(name for name, _, _ in given) for given in by_system.values()]
    assert orders == ["abc", "bca", "cab", "abc"]


def test_systems_are_those_of_the_data_set():
    log: list = []
    bench(Method("a", Recorder("a", log)))
    data = draw_condiff(CONFIG, 2, seed=3)
    for s, (_, _, content, _) in enumerate(log):
        matrix = condiff_matrix(data.k[s], Order.C)
        b = data.rhs[s]
        assert content == b"".join(p.tobytes() for p in (data.k[s], matrix.data, b))


def test_a_method_that_scribbles_on_its_inputs_harms_nobody():
    class Vandal(Exact):
        def solve(self, b, rtol):
            x, _ = super().solve(b, rtol)
            for array in (b, self.system.k, self.system.rhs, self.system.x):
                array[...] = np.nan
            self.system.matrix.data[...] = np.nan
            return x, 1

    found = bench(Method("vandal", Vandal()), METHODS["cg"], METHODS["direct"])
    assert {run.outcome for run in found.runs} == {Outcome.SOLVED}


def test_every_method_solves_easy_systems(report):
    available = {name for name, method in METHODS.items() if method.available}
    assert set(report.settings.methods) == available
    assert set(report.skipped) == set(METHODS) - available
    assert len(report.runs) == 4 * len(available)
    for run in report.runs:
        assert run.outcome is Outcome.SOLVED, run
        assert run.residual is not None and run.residual <= RTOL * (1 + 1e-6)
        assert run.error is not None and run.error < 1e-3
        assert run.setup >= 0 and run.solve > 0
    assert not report.interrupted and not report.failures()


# -- the judge -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "outcome"),
    [
        (1.0, Outcome.SOLVED),
        (1 + 0.99 * RTOL, Outcome.SOLVED),
        (1 + 1.01 * RTOL, Outcome.FALSE_SUCCESS),
        (0.0, Outcome.FALSE_SUCCESS),
        (np.nan, Outcome.FALSE_SUCCESS),
        (1e100, Outcome.FALSE_SUCCESS),
        (1e300, Outcome.FALSE_SUCCESS),
    ],
)
def test_success_is_measured_not_believed(factor, outcome):
    found = bench(Method("claims", Exact(factor)))
    assert [run.outcome for run in found.runs] == [outcome] * 2
    [row] = found.rows()
    assert (row.solved, row.false) == ((2, 0) if outcome is Outcome.SOLVED else (0, 2))
    for run in found.runs:
        if abs(factor) < 1e150:  # beyond, the norm itself overflows
            assert run.residual == pytest.approx(abs(1 - factor), rel=1e-6, abs=1e-12)
            assert run.error == pytest.approx(abs(1 - factor), rel=1e-6, abs=1e-12)
        else:
            assert run.residual is None
    json.dumps(found.to_json(), allow_nan=False)
    if outcome is Outcome.FALSE_SUCCESS:
        assert "false success" in found.failures()[0]


def test_a_lying_solver_of_our_own_kind_cannot_pass():
    # It steps nowhere and estimates 0; the driver finds that out and says so.
    class Liar(CG):
        def advance(self, s, k):
            return s._replace(estimate=s.estimate * 0)

    found = bench(Method("liar", Liar()))
    assert {run.outcome for run in found.runs} == {Outcome.NOT_CONVERGED}
    assert found.runs[0].detail == "STAGNATED"


def test_honest_failures_and_exceptions_are_counted():
    class Honest(Exact):
        def solve(self, b, rtol):
            return Answer(np.zeros_like(b), 5, converged=False)

    class Broken(Exact):
        def solve(self, b, rtol):
            raise ZeroDivisionError("no pivot\nsecond line")

    class Short(Exact):
        def solve(self, b, rtol):
            return b[:-1], 1

    class BrokenSetup(Exact):
        def setup(self, system):
            raise MemoryError

    class Modest(Exact):
        def solve(self, b, rtol):
            return Answer(super().solve(b, rtol)[0], 5, converged=False)

    modest = bench(Method("modest", Modest()))
    assert {run.outcome for run in modest.runs} == {Outcome.SOLVED}  # measured, not believed
    parts = {"honest": Honest(), "broken": Broken(), "short": Short(), "set-up": BrokenSetup()}
    limited = Method("limited", CG(M=Jacobi()))
    found = bench(*(Method(n, s) for n, s in parts.items()), limited, max_seconds=0.0)
    how = {run.method: (run.outcome, run.detail) for run in found.runs}
    assert how["honest"] == (Outcome.NOT_CONVERGED, "it said so")
    assert how["broken"] == (Outcome.EXCEPTION, "ZeroDivisionError: no pivot")
    assert how["short"][0] is Outcome.EXCEPTION and "expected an answer of 256" in how["short"][1]
    assert how["set-up"] == (Outcome.EXCEPTION, "MemoryError")
    assert how["limited"] == (Outcome.NOT_CONVERGED, "MAX_SECONDS")
    rows = {row.method: row for row in found.rows()}
    assert (rows["broken"].exceptions, rows["honest"].failed) == (2, 2)
    assert rows["broken"].total is None and rows["broken"].residual is None
    assert all(row.ratio is None for row in rows.values())


# -- the clock -----------------------------------------------------------------------------------


def test_set_up_and_solve_are_timed_apart_and_warm_up_is_not():
    class Sleeper(Exact):
        calls = 0

        def setup(self, system):
            super().setup(system)
            time.sleep(0.02)

        def solve(self, b, rtol):
            Sleeper.calls += 1
            time.sleep(0.3 if Sleeper.calls == 1 else 0.05)  # the first one compiles
            return super().solve(b, rtol)

    found = bench(Method("sleeper", Sleeper()), warmup=True)
    assert Sleeper.calls == 3
    assert found.warmup["sleeper"] >= 0.32
    for run in found.runs:
        assert 0.02 <= run.setup < 0.05 <= run.solve < 0.3
        assert run.total == run.setup + run.solve


def test_spread_and_units():
    assert Spread.of([4.0, 1.0, 2.0, 3.0, 5.0]) == Spread(3.0, 2.0, 4.0, 5)
    assert Spread.of([]) is None
    told = [seconds_text(s) for s in (2.5, 0.9999, 0.0123, 9.999e-4, 8.12e-6)]
    assert told == ["2.50 s", "1.00 s", "12.3 ms", "1.00 ms", "8.12 µs"]


def _made(seconds: dict[str, list[float]], solved: dict[str, bool]) -> BenchReport:
    runs = tuple(
        Run(
            CONFIG.name, s, m, Outcome.SOLVED if solved[m] else Outcome.NOT_CONVERGED,
            10, 0.25 * t, 0.75 * t, 1e-7, 1e-7,
        )
        for m, times in seconds.items()
        for s, t in enumerate(times)
    )  # fmt: skip
    settings = Settings((CONFIG.name,), tuple(seconds), 3, RTOL, 0, None)
    environment = {"processor": "a processor", "cores": 2, "system": "Linux", "threads": {}}
    return BenchReport(
        settings, "2025-01-31", environment, {"python": "3.12"}, runs, {}, "", (), {}, {}
    )


def test_rows_rank_by_median_with_the_unsolved_last():
    seconds = {"slow": [4.0, 9.0, 8.0], "quick": [1.0, 2.0, 99.0], "fails": [0.1, 0.1, 0.1]}
    made = _made(seconds, {"slow": True, "quick": True, "fails": False})
    rows = made.rows(CONFIG.name)
    assert [(row.method, row.ratio) for row in rows] == [
        ("quick", 1.0), ("slow", 4.0), ("fails", None)
    ]  # fmt: skip
    assert rows[1].setup == Spread(2.0, 1.5, 2.125, 3)


# -- who may enter -------------------------------------------------------------------------------

OUTSIDE = """
from solvers import CG, Jacobi
import numpy as np

class Ours(CG):
    pass

def factory():
    return CG(M=Jacobi())

class Foreign:
    def setup(self, system):
        self.inverse = np.linalg.inv(system.matrix.toarray())

    def solve(self, b, rtol):
        return self.inverse @ b, 1

instance = Foreign()
number = 3

class Neither:
    pass

class NeedsArguments:
    def __init__(self, size):
        pass
"""


@pytest.fixture
def outside(tmp_path, monkeypatch):
    (tmp_path / "outside_methods.py").write_text(OUTSIDE)
    (tmp_path / "broken_methods.py").write_text("raise RuntimeError('no luck')")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    yield "outside_methods"
    assert sys.path == before
    for name in ("outside_methods", "broken_methods"):
        sys.modules.pop(name, None)


def test_a_class_from_outside_enters(outside):
    names = ("Ours", "factory", "Foreign", "instance")
    methods = [load_method(f"{outside}:{name}") for name in names]
    found = bench(*methods)
    assert [m.name for m in methods] == list(names)
    assert [row.solved for row in found.rows()] == [2] * 4
    steps = {run.method: run.iterations for run in found.runs}
    assert steps["Foreign"] == 1 and steps["factory"] > 1


@pytest.mark.parametrize(
    ("spec", "kind", "words"),
    [
        ("no-such-method", ValueError, "expected one of cg, cg\\+jacobi"),
        (":Class", ValueError, "expected package.module:Class"),
        ("no_such_module:Class", ImportError, "No module named 'no_such_module'"),
        ("broken_methods:Class", ImportError, "RuntimeError: no luck"),
        ("outside_methods:Missing", ImportError, "found none"),
        ("outside_methods:Neither", TypeError, "got Neither"),
        ("outside_methods:number", TypeError, "got int"),
        ("outside_methods:NeedsArguments", TypeError, "missing 1 required"),
    ],
)
def test_what_cannot_enter_is_told_why(outside, spec, kind, words):
    with pytest.raises(kind, match=words) as caught:
        load_method(spec)
    assert "\n" not in str(caught.value)


def test_names_and_missing_packages():
    assert load_method("cg+ic0") is METHODS["cg+ic0"]
    assert all(name == method.name for name, method in METHODS.items())
    absent = Method("absent", Exact(), needs="no_such_package")
    found = bench(METHODS["cg"], absent)
    assert found.settings.methods == ("cg",)
    assert found.skipped == {"absent": "it needs no_such_package"}
    with pytest.raises(TypeError, match="setup"):
        Method("wrong", object())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="got type"):
        Method("a class, not an object", Exact)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"configs": ()}, "at least one config"),
        ({"configs": (CONFIG, CONFIG)}, "each config once"),
        ({"samples": 0}, "samples >= 1"),
        ({"max_seconds": -1.0}, "max_seconds"),
    ],
)
def test_bad_arguments_are_refused_before_any_work(more, words):
    with pytest.raises(ValueError, match=words):
        bench(Method("never", Exact()), **more)
    with pytest.raises(ValueError, match="each method once, got a again"):
        bench(Method("a", Exact()), Method("a", Exact()))


# -- interruption --------------------------------------------------------------------------------


class Interrupted(Exact):
    """Ctrl-C comes while it solves the second system."""

    def solve(self, b, rtol):
        if self.system.name.endswith("#1"):
            raise KeyboardInterrupt
        return super().solve(b, rtol)


class InterruptedCG(CG):
    """Ctrl-C comes on the second system, inside the driver; the first is solved twice, for its
    time and for its course."""

    starts: list[int] = []  # noqa: RUF012

    def init(self, problem, x0, rng=None):
        self.starts.append(1)
        return super().init(problem, x0, rng)

    def advance(self, s, k):
        if len(self.starts) > 2:
            raise KeyboardInterrupt
        return super().advance(s, k)


@pytest.mark.parametrize("solver", [Interrupted(), InterruptedCG()], ids=["rival", "solver"])
def test_ctrl_c_keeps_what_is_done(solver, tmp_path):
    found = bench(METHODS["direct"], Method("stops", solver), METHODS["cg"], samples=3)
    assert found.interrupted
    # The second system begins with "stops", so nobody else got it.
    assert [(run.sample, run.method) for run in found.runs] == [
        (0, "direct"), (0, "stops"), (0, "cg")
    ]  # fmt: skip
    assert [row.solved for row in found.rows()] == [1, 1, 1]
    assert "interrupted" in " ".join(found.summary())
    assert all(path.stat().st_size for path in found.write(tmp_path))


def test_an_interrupted_system_is_kept_but_not_compared():
    class Last(Interrupted):
        pass

    found = bench(Method("stops", Last()), METHODS["direct"], METHODS["cg"], samples=2)
    assert [(run.sample, run.method) for run in found.runs][3:] == [(1, "direct"), (1, "cg")]
    assert {run.sample for run in found.compared} == {0}


def test_interrupted_before_anything_still_reports(tmp_path):
    def at_once(done, total):
        raise KeyboardInterrupt

    found = bench(METHODS["cg"], progress=at_once)
    assert found.interrupted and not found.runs
    assert len(found.write(tmp_path)) == 3


def test_progress_counts_every_run():
    seen: list[tuple[int, int]] = []
    bench(METHODS["cg"], METHODS["direct"], progress=lambda *at: seen.append(at))
    assert seen == [(i, 4) for i in range(5)]
