"""Physics-informed networks trained by several methods: error against time, from one start."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from sciml._checks import integer, number, told

from ..pinn.problems import CASES, Case, find, relative_error
from ._checks import check_unique
from .pinn_methods import METHODS, Method, train
from .pinn_report import Choice, Classical, PinnReport, Row
from .report import machine, today, versions

__all__ = ["classical", "run_pinn"]


_WARM = 0.05  # seconds
_SPARE = 1000  # the seed that settings are chosen with
_SHARE = 0.1  # of the time, for each of them


def run_pinn(
    cases: Sequence[str] = tuple(CASES),
    methods: Sequence[str] = tuple(METHODS),
    *,
    seconds: float = 60.0,
    seeds: int = 1,
    known: Sequence[Row] = (),
    chosen: Sequence[Choice] = (),
    save: Callable[[PinnReport, Row | Choice], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PinnReport:
    """Train each case's model by each method, from seeds 0, 1, ...

    A method trains for `seconds` of processor time on one thread, set-up included, and its error
    is recorded on the way. Settings of rivals are chosen before, by the error against the
    reference: from a spare seed each of them gets a tenth of the time, which is not counted. On
    Ctrl-C what is complete is kept.

    Args:
        cases, methods: names of `solvers.pinn.problems.CASES` and of METHODS.
        known, chosen: of runs before, which are in the report and are not run again.
        save: told the report after each training and choice, and what is new.
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
    if integer(seeds, "seeds", 1) > _SPARE:
        raise ValueError(f"expected at most {_SPARE} seeds, got {seeds}")
    rows, choices = {row.key: row for row in known}, {c.key: c for c in chosen}
    wanted = [(c, m, s) for s in range(seeds) for c in found for m in methods]
    environment = {"machine": machine(), "versions": versions(["deepxde"]), "date": today()}
    shown = {*cases, *(row.case for row in known)}
    linear = [classical(c) for c in CASES.values() if c.name in shown and c.classical is not None]

    def report(interrupted: bool = False) -> PinnReport:
        return PinnReport(
            tuple(rows.values()), tuple(linear), environment, interrupted, tuple(choices.values())
        )

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
            setting, of = None, (case.name, method, float(seconds))
            if METHODS[method].settings:
                if of not in choices:
                    choices[of] = choose(case, method, METHODS[method], float(seconds))
                    if save is not None:
                        save(report(), choices[of])
                setting = choices[of].best
            trained = train(
                case, METHODS[method], seed=seed, seconds=float(seconds), setting=setting
            )
            rows[key] = Row(*key, trained)
            if save is not None:
                save(report(), rows[key])
    except KeyboardInterrupt:
        return report(interrupted=True)
    if progress is not None:
        progress(len(wanted), len(wanted))
    return report()


def choose(case: Case, name: str, method: Method, seconds: float) -> Choice:
    """The errors that the settings of a method come to in a tenth of the time, from seed 1000."""
    errors = []
    for setting in method.settings:
        found = train(case, method, seed=_SPARE, seconds=_SHARE * seconds, setting=setting)
        errors.append(math.inf if math.isnan(found.errors[-1]) else found.errors[-1])
    return Choice(case.name, name, seconds, method.settings, tuple(errors))


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
