"""The picture of the benchmark of learned directions: iterations and time against size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .growth import against_size, looks, plain
from .picture import COLOURS, in_milliseconds, method_order

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .neural_report import NeuralReport
    from .results import Row

__all__ = ["draw_growth"]

_MOST_PANELS = 4


def _iterations(row: Row) -> float | None:
    return row.iterations or None


def _seconds(row: Row) -> float | None:
    return row.total.median if row.total else None


def draw_growth(report: NeuralReport) -> Figure:
    """Two rows of panels; of more than four kinds of systems the first are drawn."""
    from matplotlib.figure import Figure

    measured = [name for name in report.settings.configs if report.rows(name)]
    families = list(dict.fromkeys(report.families[name] for name in measured))[:_MOST_PANELS]
    shown = [name for name in measured if report.families[name] in families]
    figure = Figure(figsize=(5.2 * max(2, len(families)), 9.4), layout="constrained")
    figure.suptitle(report.title, fontsize=15, fontweight="bold")
    if not shown:
        figure.text(0.5, 0.5, "nothing was measured", ha="center", fontsize=14)
        return figure
    order = method_order(report, shown)
    if len(shown) == len(families):
        _one_size(figure, report, shown, order)
        return figure
    lines = looks(order, tuple(report.training))
    body: Any = figure.subfigures()
    panels = body.subplots(2, len(families), squeeze=False, sharey="row")
    for column, family in enumerate(families):
        configs = [name for name in shown if report.families[name] == family]
        against_size(panels[0][column], report, configs, lines, _iterations)
        against_size(panels[1][column], report, configs, lines, _seconds)
        panels[0][column].set_title(family, fontsize=13)
    panels[0][0].yaxis.set_major_formatter(lambda y, _: f"{y:g}")
    in_milliseconds(panels[1][0].yaxis)
    panels[0][0].set_ylabel("iterations", fontsize=12)
    panels[1][0].set_ylabel("milliseconds, set-up and solve; training not in it", fontsize=12)
    body.supxlabel(f"solid lines: learned; crosses: not solved\n{_where(report)}", fontsize=11)
    handles: dict[str, Any] = {}
    for axes in panels.flat:
        for line, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, line)
    named = [method for method in order if method in handles]
    body.legend(
        [handles[method] for method in named],
        named,
        loc="outside upper center",
        ncols=min(6 if len(families) > 2 else 4, max(1, len(named))),
        fontsize=11,
        frameon=False,
        handlelength=2.8,
    )
    return figure


def _one_size(figure: Any, report: NeuralReport, shown: list[str], order: list[str]) -> None:
    """Each kind of system has one size: a line for each method, the fastest above."""
    figure.set_size_inches(3.6 * max(2, len(shown)) + 1.5, 2.5 + 0.5 * len(order))
    body: Any = figure.subfigures()
    panels = body.subplots(2, len(shown), squeeze=False, sharey=True, sharex="row")
    place = {method: -i for i, method in enumerate(order)}
    for column, config in enumerate(shown):
        for axes, value in zip(panels[:, column], (_iterations, _seconds), strict=True):
            for row in report.rows(config):
                found, mine = value(row), row.method in report.training
                if found is None:
                    continue
                mark = ("o" if mine else "s") if row.complete else "x"
                color = (COLOURS[0] if mine else COLOURS[1]) if row.complete else "0.4"
                axes.plot(found, place[row.method], mark, color=color, ms=7)
            axes.set_xscale("log")
            plain(axes)
        panels[0][column].set_title(config, fontsize=12)
        panels[0][column].set_xlabel("iterations", fontsize=11)
        panels[1][column].set_xlabel("milliseconds; training not in it", fontsize=11)
        panels[0][column].xaxis.set_major_formatter(lambda x, _: f"{x:g}")
        in_milliseconds(panels[1][column].xaxis)
    panels[0][0].set_yticks(list(place.values()), list(place), fontsize=10)
    marks = "circles: learned; squares: classical; crosses: not solved"
    body.supxlabel(f"{marks}\n{_where(report)}", fontsize=11)


def _where(report: NeuralReport) -> str:
    at = report.machine
    return f"{at.get('processor', '')}, {at.get('cores', '?')} cores, {report.date}"
