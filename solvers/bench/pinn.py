"""Physics-informed networks trained by several methods: error against time, from one start."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from sciml._checks import integer, number, told

from ..pinn.problems import CASES, Case, find, relative_error
from ._checks import check_unique
from .pinn_methods import METHODS, Method, Trained, train
from .pinn_report import Choice, Classical, PinnReport, Row, current
from .report import machine, today, versions

__all__ = ["choose", "classical", "decide", "run_pinn"]

_WARM = 0.05  # seconds
_SPARE = 1000  # the seed that settings are chosen with
_SHARE = 0.1  # of the time, for each of them


def run_pinn(
    cases: Sequence[str] = tuple(CASES),
    methods: Sequence[str] = tuple(METHODS),
    *,
    seconds: float = 60.0,
    seeds: int = 1,
    settings_of: float | None = None,
    known: Sequence[Row] = (),
    chosen: Sequence[Choice] = (),
    save: Callable[[PinnReport, Row | Choice], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PinnReport:
    """Train each case's model by each method, from seeds 0, 1, ...

    A method trains for `seconds` of processor time on one thread, set-up included, and its error
    is recorded on the way. Settings of rivals are chosen before, by the error against the
    reference: see `choose` and `decide`; their time is not counted. On Ctrl-C what is complete is
    kept.

    Args:
        cases, methods: names of `solvers.pinn.problems.CASES` and of METHODS.
        settings_of: take the settings that were chosen for runs of so many seconds, which are
            among `chosen`, rather than choose anew.
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
    choices = {c.key: c for c in chosen}
    rows = {row.key: row for row in current(known, chosen)}
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
            key, how = (case.name, method, seed, float(seconds)), METHODS[method]
            if method not in warm:  # what a process imports once is not counted to the first run
                train(case, how, seed=seed, seconds=_WARM)
                warm.add(method)
            setting, of = None, (case.name, method, float(settings_of or seconds))
            if how.settings and settings_of is not None and of not in choices:
                raise ValueError(
                    f"no settings of {method} on {case.name} were chosen for {settings_of:g} s"
                )
            if how.settings and settings_of is None and not (of in choices and choices[of].whole):
                if of not in choices:
                    choices[of] = choose(case, method, how, float(seconds))
                first = (case.name, method, 0, float(seconds))
                before = rows[first].trained if first in rows else None
                choices[of], better = decide(case, how, choices[of], before)
                rows[first] = Row(*first, better)
                rows = {row.key: row for row in current(rows.values(), choices.values())}
                if save is not None:
                    save(report(), choices[of])
                    save(report(), rows[first])
            if how.settings:
                setting = choices[of].best
            if key in rows:
                continue
            trained = train(case, how, seed=seed, seconds=float(seconds), setting=setting)
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
        errors.append(_last(found))
    return Choice(case.name, name, seconds, method.settings, tuple(errors))


def decide(
    case: Case, method: Method, choice: Choice, before: Trained | None = None
) -> tuple[Choice, Trained]:
    """The better of the best setting of a tenth of the time and the usual one, by the whole time.

    Both are trained from seed 0, which counts: whatever luck is in this is the method's.

    Args:
        before: a training from seed 0, which is taken for its setting.

    Returns:
        The choice with the errors of both, and the better training.
    """
    runs: dict[float, Trained] = {}
    for setting in dict.fromkeys((choice.early, choice.settings[0])):
        if before is not None and before.setting == setting:
            runs[setting] = before
        else:
            runs[setting] = train(case, method, seed=0, seconds=choice.seconds, setting=setting)
    choice = replace(choice, whole=tuple((s, _last(t)) for s, t in runs.items()))
    return choice, runs[choice.best]


def _last(trained: Trained) -> float:
    return math.inf if math.isnan(trained.errors[-1]) else trained.errors[-1]


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
