"""Physics-informed networks trained by several methods: error against time, from one start."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

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
    known = current(known, chosen)
    trainings = _Trainings(
        float(seconds), float(settings_of or seconds),
        {row.key: row for row in known}, {c.key: c for c in chosen},
    )  # fmt: skip
    wanted = [(c, m, s) for s in range(seeds) for c in found for m in methods]
    environment = {"machine": machine(), "versions": versions(["deepxde"]), "date": today()}
    shown = {*cases, *(row.case for row in known)}
    linear = [classical(c) for c in CASES.values() if c.name in shown and c.classical is not None]

    def report(interrupted: bool = False) -> PinnReport:
        rows, choices = trainings.rows.values(), trainings.choices.values()
        return PinnReport(tuple(rows), tuple(linear), environment, interrupted, tuple(choices))

    try:
        for done, (case, method, seed) in enumerate(wanted):
            if progress is not None:
                progress(done, len(wanted))
            for new in trainings.of(case, method, seed):
                if save is not None:
                    save(report(), new)
    except KeyboardInterrupt:
        return report(interrupted=True)
    if progress is not None:
        progress(len(wanted), len(wanted))
    return report()


@dataclass
class _Trainings:
    """What is trained and chosen so far, for runs `seconds` long with settings of `chosen_for`."""

    seconds: float
    chosen_for: float
    rows: dict[tuple[str, str, int, float], Row]
    choices: dict[tuple[str, str, float], Choice]
    _warm: set[str] = field(default_factory=set)

    def of(self, case: Case, method: str, seed: int) -> Iterator[Row | Choice]:
        """Choose and train what is not there, and tell it."""
        key, how, setting = (case.name, method, seed, self.seconds), METHODS[method], None
        if method not in self._warm:  # what a process imports once is not counted to the first run
            train(case, how, seed=seed, seconds=_WARM)
            self._warm.add(method)
        if how.settings:
            yield from self._choose(case, method)
            setting = self.choices[case.name, method, self.chosen_for].best
        if key not in self.rows:
            trained = train(case, how, seed=seed, seconds=self.seconds, setting=setting)
            self.rows[key] = Row(*key, trained)
            yield self.rows[key]

    def _choose(self, case: Case, method: str) -> Iterator[Row | Choice]:
        of, how = (case.name, method, self.chosen_for), METHODS[method]
        choice = self.choices.get(of)
        if self.chosen_for != self.seconds:
            if choice is None:
                raise ValueError(
                    f"no settings of {method} on {case.name} were chosen for {self.chosen_for:g} s"
                )
            return
        if choice is None or choice.settings != how.settings:
            choice = choose(case, method, how, self.seconds, choice)
        if choice.whole:
            self.choices[of] = choice
            return
        first = case.name, method, 0, self.seconds
        before = self.rows[first].trained if first in self.rows else None
        self.choices[of], better = decide(case, how, choice, before)
        self.rows[first] = Row(*first, better)
        kept = current(self.rows.values(), self.choices.values())
        self.rows = {row.key: row for row in kept}
        yield self.choices[of]
        yield self.rows[first]


def choose(
    case: Case, name: str, method: Method, seconds: float, known: Choice | None = None
) -> Choice:
    """The errors that the settings of a method come to in a tenth of the time, from seed 1000.

    known: of other settings, of which those that are the same are not tried again.
    """
    errors = {} if known is None else dict(zip(known.settings, known.errors, strict=True))
    for setting in method.settings:
        if setting not in errors:
            found = train(case, method, seed=_SPARE, seconds=_SHARE * seconds, setting=setting)
            errors[setting] = _last(found)
    listed = tuple(errors[setting] for setting in method.settings)
    choice = Choice(case.name, name, seconds, method.settings, listed)
    if known is not None and known.early == choice.early:
        return replace(choice, whole=known.whole)
    return choice


def decide(
    case: Case, method: Method, choice: Choice, before: Trained | None = None
) -> tuple[Choice, Trained]:
    """The better of the best setting of a tenth of the time and the usual one, by the whole time.

    Both are trained from seed 0, which counts: whatever luck is in this is the method's.

    Args:
        before: a training from seed 0, which is not done again and may be better than both.

    Returns:
        The choice with the errors of both, and the better training.
    """
    runs: dict[float, Trained] = {}
    if before is not None and before.setting in choice.settings:
        runs[before.setting] = before
    for setting in (choice.early, choice.settings[0]):
        if setting not in runs:
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
