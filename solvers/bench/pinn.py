"""Physics-informed networks trained by several methods: error against time, from one start."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from sciml._checks import integer, number, told

from ..pinn.problems import CASES, Case, find, relative_error
from ._checks import check_unique
from .pinn_methods import METHODS, train
from .pinn_report import Classical, PinnReport, Row
from .report import machine, today, versions

__all__ = ["classical", "run_pinn"]


_WARM = 0.05  # seconds


def run_pinn(
    cases: Sequence[str] = tuple(CASES),
    methods: Sequence[str] = tuple(METHODS),
    *,
    seconds: float = 60.0,
    seeds: int = 1,
    known: Sequence[Row] = (),
    save: Callable[[PinnReport], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PinnReport:
    """Train each case's model by each method, from seeds 0, 1, ...

    A method trains for `seconds` of processor time on one thread, set-up included, and its error
    is recorded on the way. On Ctrl-C what is complete is kept.

    Args:
        cases, methods: names of `solvers.pinn.problems.CASES` and of METHODS.
        known: rows of runs before, which are in the report and are not run again.
        save: told the report after each training.
        progress: told (done, total).

    Raises:
        ImportError: DeepXDE is not installed.
        TypeError, ValueError: bad arguments.
    """
    check_unique("case", cases)
    check_unique("method", methods)
    for name in methods:
        if name not in METHODS:
            raise ValueError(f"expected one of {', '.join(METHODS)}, got {told(name)}")
    found = [find(name) for name in cases]
    if not number(seconds, "seconds") > 0:
        raise ValueError(f"expected seconds > 0, got {seconds}")
    integer(seeds, "seeds", 1)
    rows = {row.key: row for row in known}
    wanted = [(c, m, s) for s in range(seeds) for c in found for m in methods]
    environment = {"machine": machine(), "versions": versions(["deepxde"]), "date": today()}
    shown = {*cases, *(row.case for row in known)}
    linear = [classical(c) for c in CASES.values() if c.name in shown and c.classical is not None]

    def report(interrupted: bool = False) -> PinnReport:
        return PinnReport(tuple(rows.values()), tuple(linear), environment, interrupted)

    warm: set[str] = set()
    try:
        for done, (case, method, seed) in enumerate(wanted):
            if progress is not None:
                progress(done, len(wanted))
            key = (case.name, method, seed, float(seconds))
            if key in rows:
                continue
            if method not in warm:  # what a process imports once is not counted to the first run
                train(case, METHODS[method], seed=seed, seconds=_WARM)
                warm.add(method)
            trained = train(case, METHODS[method], seed=seed, seconds=float(seconds))
            rows[key] = Row(*key, trained)
            if save is not None:
                save(report())
    except KeyboardInterrupt:
        return report(interrupted=True)
    if progress is not None:
        progress(len(wanted), len(wanted))
    return report()


def classical(case: Case) -> Classical:
    """A linear case solved without a network: time to set up, solve and evaluate, and error."""
    assert case.classical is not None
    how, solve = case.classical
    true = case.reference(case.points)
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        predict = solve()
        predict(case.points)
        best = min(best, time.perf_counter() - began)
    return Classical(case.name, how, best, relative_error(case, predict, true))
