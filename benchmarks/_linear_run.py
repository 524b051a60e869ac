"""Measures methods on one system after another, in turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from _linear_case import Batch, Case, Row, Settings
from _linear_methods import Entry
from _linear_team import Team, TooLong, Unavailable, Watch

_COMPILING = 10  # times the limit, for a first run
_SEARCHES = 8  # for the tolerance that brings the true residual down


class Stand:
    """The methods of a benchmark, each with its processes, which are kept from system to system.

    Args:
        tables: {module: (name of a table in it, the table)}.
        wanted: names of methods, or None for all.
    """

    def __init__(
        self,
        tables: Mapping[str, tuple[str, Mapping[str, Entry]]],
        wanted: Sequence[str] | None,
        settings: Settings,
        folder: Path,
    ) -> None:
        self.settings, self.folder = settings, folder
        self.entries: dict[str, tuple[str, Entry]] = {}
        for module, (table, entries) in tables.items():
            for name, entry in entries.items():
                if wanted is None or name in wanted:
                    self.entries[name] = (f"{module}:{table}:{name}", entry)
        self.teams: dict[str, Team] = {}
        self.absent: dict[str, str] = {}

    def __enter__(self) -> Stand:
        return self

    def __exit__(self, *_: object) -> None:
        for team in self.teams.values():
            team.end()

    def ours(self, name: str) -> bool:
        """Whether the method is one of this package."""
        return self.entries[name][0].startswith("_linear_ours")

    def team(self, name: str) -> Team | None:
        """The method's processes, started if need be; None where it is not to be had."""
        found = self.teams.get(name)
        if found is not None and found.alive:
            return found
        if name in self.absent:
            return None
        key, entry = self.entries[name]
        reasons = []
        for interpreter in self.settings.interpreters:
            try:
                made = Team(name, key, entry, interpreter, self.settings.threads, self.folder)
            except Unavailable as error:
                reasons.append(str(error))
                continue
            self.teams[name] = made
            return made
        self.absent[name] = "; ".join(dict.fromkeys(reasons))
        self.settings.say(f"{name} is absent: {self.absent[name]}")
        return None

    def versions(self) -> dict[str, str]:
        """Of the rivals' packages, as their own processes see them."""
        found: dict[str, str] = {}
        for name, team in self.teams.items():
            if team.alive:
                packages = list(self.entries[name][1].packages)
                answer = team.ask("versions", packages)[0]["versions"]
                found.update({p: answer[p] for p in packages if p in answer})
        return found

    # -- single systems --------------------------------------------------------------------------

    def measure(self, case: Case) -> list[Row]:
        """All methods on one system."""
        found: dict[str, list[Row]] = {}
        for name, (_, entry) in self.entries.items():
            if entry.takes(case.family, case.shape) and (team := self.team(name)) is not None:
                found[name] = self._rows(case, name)
                try:
                    self._first(team, case, found[name])
                except (TooLong, RuntimeError) as error:
                    for row in found[name]:
                        row.note = str(error)
                self.settings.say(f"  {name}: {_told(found[name])}")
        self._turns({n: rows for n, rows in found.items() if not rows[0].note})
        return [row for rows in found.values() for row in rows]

    def _rows(self, case: Case, name: str) -> list[Row]:
        n, ours = case.matrix.shape[0], self.ours(name)
        return [
            Row(case.family, case.grid, n, name, ours, rhs, rtol, given=rtol)
            for rhs, rtol in self.settings.targets
        ]

    def _first(self, team: Team, case: Case, rows: Sequence[Row]) -> None:
        """Warm up, find the tolerances to hand out, and weigh."""
        limit = self.settings.limit
        team.ask("load", str(case.path), limit=limit)
        # ours compile, once on a machine, and are given the time
        self._solve(team, case, rows, limit=limit * (_COMPILING if rows[0].ours else 1))
        for row in rows:
            if row.iterations is not None and not row.reached and not row.ours:
                self._search(team, case, row)
        row = rows[0]
        answers = team.ask("weigh", (row.rhs, row.given), limit=2 * limit)
        for other in rows:
            other.peak = sum(a["bytes"] for a in answers) / row.unknowns

    def _solve(
        self, team: Team, case: Case, rows: Sequence[Row], limit: float | None = None
    ) -> None:
        """Solve for `rows` with what they are given; their residuals and iterations are noted."""
        keep, targets = self.folder / "x", [(row.rhs, row.given) for row in rows]
        answer = team.ask("run", targets, str(keep), limit=limit or self.settings.limit)[0]
        for row, run, x in zip(rows, answer["runs"], team.solutions(keep, len(rows)), strict=True):
            row.iterations, row.residual = run[3], case.residual(row.rhs, x)

    def _search(self, team: Team, case: Case, row: Row) -> None:
        """Hand out the loosest tolerance with which the true residual meets `row.rtol`."""
        fails, most = row.given, row.iterations or 0  # the tightest that fails, and its steps
        for _ in range(_SEARCHES):
            before = row.residual or np.inf
            row.given = fails * min(0.7, max(1e-3, 0.7 * row.rtol / before))
            self._solve(team, case, [row])
            if row.reached:
                break
            if (row.residual or np.inf) > 0.5 * before:
                return  # as low as it goes
            fails, most = row.given, row.iterations or 0
        passes, least = row.given, row.iterations or 0
        while least - most > 1 and passes < 0.9 * fails:
            row.given = float(np.sqrt(passes * fails))
            self._solve(team, case, [row])
            if row.reached:
                passes, least = row.given, row.iterations or 0
            else:
                fails, most = row.given, row.iterations or 0
        if row.given != passes:
            row.given = passes
            self._solve(team, case, [row])

    def _turns(self, found: Mapping[str, list[Row]]) -> None:
        """Time the methods, one run of each in every round, until each has enough quiet runs."""
        wanted = dict.fromkeys(found, self.settings.repeats)
        for turn in range(2 * self.settings.repeats):
            for name in _rotated(list(found), turn):
                first = found[name][0]
                if first.note or first.calm >= wanted[name] or turn >= 2 * wanted[name]:
                    continue
                try:
                    wall = self._timed(self.teams[name], found[name])
                    wanted[name] = self.settings.repeats_for(wall)
                except (TooLong, RuntimeError) as error:
                    first.note = str(error)

    def _timed(self, team: Team, rows: Sequence[Row]) -> float:
        """One run, added to its rows; the seconds it took."""
        quiet = self.settings.quiet
        quiet.wait()
        targets = [(row.rhs, row.given) for row in rows]
        with Watch(team) as watch:
            answers = team.ask("run", targets, "", limit=4 * self.settings.limit)
        disturbed = quiet.disturbed(watch.others, watch.wall)
        for i, row in enumerate(rows):
            # every rank waited for the others, and the last one is done when all are
            setup, solve = (max(a["runs"][i][part] for a in answers) for part in (0, 1))
            row.add(setup, solve, disturbed, sum(a["runs"][i][2] for a in answers))
        return watch.wall / 2

    # -- batches ---------------------------------------------------------------------------------

    def measure_batch(self, batch: Batch, rtol: float) -> list[Row]:
        """All methods on a batch of systems; set-up and solve are counted as one."""
        found: dict[str, Row] = {}
        members = len(batch.b)
        for name in self.entries:
            if self.team(name) is not None:
                row = Row(batch.family, batch.grid, members, name, self.ours(name), "", rtol, rtol)
                found[name] = row
        for turn in range(self.settings.repeats + 1):
            for name in _rotated(list(found), turn):
                row, team = found[name], self.team(name)
                if team is None or row.note or len(row.solves) >= max(1, self._few(row)):
                    continue
                try:
                    self._one_batch(team, batch, row, warm=turn == 0)
                except (TooLong, RuntimeError) as error:
                    row.note = str(error)
        return list(found.values())

    def _few(self, row: Row) -> int:
        return self.settings.repeats_for(row.seconds) if row.solves else self.settings.repeats

    def _one_batch(self, team: Team, batch: Batch, row: Row, *, warm: bool) -> None:
        keep, quiet = self.folder / "x", self.settings.quiet
        quiet.wait()
        with Watch(team) as watch:
            limit = _COMPILING * self.settings.limit
            answers = team.ask("batch", str(batch.path), row.given, str(keep), limit=limit)
        row.residual = batch.residual(team.solutions(keep, 1)[0])
        if warm:
            self.settings.say(f"  {row.method}: worst residual {row.residual:.1e}")
            return
        disturbed = quiet.disturbed(watch.others, watch.wall)
        row.add(0.0, max(a["seconds"] for a in answers), disturbed)


def _rotated(names: list[str], turn: int) -> list[str]:
    """The names from another one on each turn, so that none is always the first."""
    start = turn % len(names) if names else 0
    return names[start:] + names[:start]


def _told(rows: Sequence[Row]) -> str:
    if rows[0].note:
        return rows[0].note
    steps = ", ".join(f"{row.iterations} it. to {row.residual:.1e}" for row in rows)
    return steps if rows[0].iterations is not None else f"residual {rows[0].residual:.1e}"
