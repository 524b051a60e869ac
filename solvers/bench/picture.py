"""The one picture of a benchmark: convergence at the left, times at the right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .report import seconds_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .results import BenchReport, Row

__all__ = ["BELOW", "COLOURS", "draw", "in_milliseconds", "method_order", "system_ends"]

# Okabe and Ito's palette, which all kinds of colour vision tell apart; yellow is too pale on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)))
_MARKERS = ("s", "D", "^", "v", "P", "X", "h", "*")
_SETUP, _SOLVE, _FAILED = "#0072B2", "#E69F00", "#8C8C8C"
_MOST_PANELS = 3
_LONGEST_NAME = 20
# Direct methods end far below what was asked for; they are drawn at the lower edge, this far down.
BELOW = 1e-3
# Below this ratio of slowest to fastest a linear axis shows every bar, and stacks are true lengths.
_LINEAR_UP_TO = 20.0


def draw(report: BenchReport) -> Figure:
    """The figure of a report; with more than three configs the last three are drawn."""
    from matplotlib.figure import Figure

    shown = [n for n in report.settings.configs if any(row.runs for row in report.rows(n))]
    shown = shown[-_MOST_PANELS:]
    order = method_order(report, shown)
    height = max(5.8, 2.6 + 0.29 * len(order))
    figure = Figure(figsize=(16.0, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06, wspace=0.02)  # type: ignore[union-attr]
    figure.suptitle(report.title, fontsize=15, fontweight="bold")
    if not shown:
        figure.text(0.5, 0.5, "nothing was measured", ha="center", fontsize=14)
        return figure
    panels: Any = figure.subfigures(1, 2, width_ratios=(6.4, 9.6))
    _convergence(panels[0], report, order)
    _bars(panels[1], report, shown, order)
    return figure


def method_order(report: BenchReport, shown: Sequence[str]) -> list[str]:
    """Methods, fastest first: by the geometric mean over configs, unsolved ones last."""
    by_method: dict[str, list[Row]] = {}
    for name in shown:
        for row in report.rows(name):
            by_method.setdefault(row.method, []).append(row)

    def key(method: str) -> tuple[int, float]:
        rows = by_method[method]
        times = [math.log(row.total.median) for row in rows if row.total]
        unsolved = sum(not row.complete for row in rows)
        return unsolved, sum(times) / len(times) if times else math.inf

    return sorted(by_method, key=key)


# -- left ------------------------------------------------------------------------------------------


def _convergence(panel: Any, report: BenchReport, order: Sequence[str]) -> None:
    axes = panel.subplots()
    rtol = report.settings.rtol
    lines = {trace.method: trace for trace in report.traces if trace.seconds}
    ends = system_ends(report)
    points = [m for m in order if m not in lines and m in ends]
    bottom = rtol * BELOW
    for i, method in enumerate(m for m in order if m in lines):
        trace = lines[method]
        colour = COLOURS[i % len(COLOURS)]
        style = _STYLES[i // len(COLOURS) % len(_STYLES)]
        name = _short(method)
        axes.plot(trace.seconds, trace.residual, color=colour, ls=style, lw=1.9, label=name)
        if trace.true_residual is not None:
            level = max(trace.true_residual, 2 * bottom)
            axes.plot(trace.seconds[-1], level, "o", color=colour, ms=6, mec="white")
    for i, method in enumerate(points):
        seconds, residual = ends[method]
        axes.plot(
            seconds,
            max(residual, 2 * bottom),
            _MARKERS[i % len(_MARKERS)],
            color=COLOURS[i % len(COLOURS)],
            ms=9,
            mec="black",
            mew=0.8,
            ls="none",
            label=_short(method),
        )
    axes.axhline(rtol, color="0.35", lw=1.0, ls="--", zorder=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(bottom=bottom)
    left = axes.get_xlim()[0]
    axes.text(left * 1.08, rtol * 1.1, "asked for", color="0.3", fontsize=10, va="bottom")
    deep = [ends[m][1] for m in points if ends[m][1] < bottom]
    if deep:
        levels = sorted({f"{min(deep):.0e}", f"{max(deep):.0e}"}, key=float)
        text = f"at the lower edge: {' to '.join(levels)}"
        axes.text(left * 1.08, bottom * 4.5, text, color="0.3", fontsize=10, va="bottom")
    in_milliseconds(axes.xaxis)
    axes.set_xlabel("milliseconds, set-up included", fontsize=12)
    axes.set_ylabel("relative residual ‖b − Ax‖ / ‖b‖", fontsize=12)
    axes.set_title(
        f"Convergence on {report.traced}\n"
        "lines: the method's own estimate; markers: true residual at the end",
        fontsize=11,
    )
    axes.grid(True, which="major", color="0.9", lw=0.8)
    axes.tick_params(which="both", labelsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    if lines or points:
        panel.legend(
            loc="outside lower center", ncols=3, fontsize=10, frameon=False, handlelength=2.6
        )


def system_ends(report: BenchReport) -> dict[str, tuple[float, float]]:
    """Where methods without a course ended on the traced system: seconds, true residual."""
    found: dict[str, tuple[float, float]] = {}
    for run in report.runs:
        if f"{run.config} #{run.sample}" == report.traced and run.residual is not None:
            # An exact zero has no place on a logarithmic axis.
            found[run.method] = (run.total, max(run.residual, 1e-17))
    return found


# -- right -----------------------------------------------------------------------------------------


def _bars(panel: Any, report: BenchReport, shown: Sequence[str], order: Sequence[str]) -> None:
    from matplotlib.patches import Patch

    all_axes = panel.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    rows = {name: {row.method: row for row in report.rows(name)} for name in shown}
    totals = [r.total.median for by in rows.values() for r in by.values() if r.total]
    linear = not totals or max(totals) <= _LINEAR_UP_TO * min(totals)
    room = 0.72 if all(r.complete for by in rows.values() for r in by.values()) else 0.55
    for axes, name in zip(all_axes, shown, strict=True):
        mine = [rows[name].get(m) for m in order]
        _bar_panel(axes, mine, linear=linear, totals=totals, room=room)
        axes.set_title(name.replace("_grid", ", grid "), fontsize=13)
    all_axes[0].set_yticks(range(len(order)), map(_short, order), fontsize=11)
    # Inverted, and shared. A few bars keep to a decent width.
    all_axes[0].set_ylim(max(len(order), 7) - 0.3, -0.7)
    for axes in all_axes[1:]:
        axes.tick_params(axis="y", left=False, labelleft=False)
    how = "" if linear else "; log scale: the dark part ends at the set-up time, the bar at the sum"
    at = report.machine
    where = f"{at.get('processor', '')}, {at.get('cores', '?')} cores, {report.date}"
    panel.supxlabel(f"median milliseconds, set-up and solve{how}\n{where}", fontsize=11)
    handles = [
        Patch(color=_SETUP, label="set-up"),
        Patch(color=_SOLVE, label="solve"),
        Patch(facecolor="white", edgecolor=_FAILED, hatch="////", label="not all systems solved"),
    ]
    panel.legend(handles=handles, loc="outside upper center", ncols=3, fontsize=11, frameon=False)


def _bar_panel(
    axes: Any, rows: Sequence[Row | None], *, linear: bool, totals: Sequence[float], room: float
) -> None:
    """Bars of one config; `room` is the share of the width that the longest of all takes.

    A row of None is a method that is not for this config.
    """
    slowest = max(totals, default=1.0)
    start = 0.0
    if linear:
        end = slowest / room
    else:
        axes.set_xscale("log")
        start = 10 ** math.floor(math.log10(min(totals) / 1.5))
        end = start * (slowest / start) ** (1 / room)
    axes.set_xlim(start, end)
    for y, row in enumerate(rows):
        if row is None:
            continue
        if row.total is None or row.setup is None:
            axes.text(start, y, f"  {_verdict(row)}", va="center", fontsize=10, color="#A00000")
            continue
        total = row.total.median
        setup = min(row.setup.median, total)
        if row.complete:
            _bar(axes, y, start, setup, color=_SETUP)
            _bar(axes, y, max(setup, start), total, color=_SOLVE)
        else:
            _bar(axes, y, start, total, color="white", edgecolor=_FAILED, hatch="////")
        text, colour = f" {seconds_text(total)}", "0.15"
        if not row.complete:
            text, colour = f"{text}, {_verdict(row)}", "#A00000"
        axes.text(max(total, start), y, text, va="center", fontsize=9.5, color=colour)
    axes.grid(True, axis="x", color="0.9", lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", labelsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    # No label in that room: it would run into the next panel's first.
    axes.xaxis.set_major_formatter(lambda x, _: f"{1e3 * x:g}" if x <= 1.5 * slowest else "")
    axes.xaxis.set_minor_formatter(lambda x, _: "")


def _bar(axes: Any, y: int, start: float, end: float, **look: str) -> None:
    if end > start:
        axes.barh(y, end - start, left=start, height=0.68, **look)


def _verdict(row: Row) -> str:
    if row.false:
        return f"{row.false} false"
    return f"{row.solved}/{row.runs} solved"


def _short(method: str) -> str:
    """A name that fits beside others."""
    return method if len(method) <= _LONGEST_NAME else method[: _LONGEST_NAME - 1] + "…"


def in_milliseconds(axis: Any) -> None:
    """Label a logarithmic axis of seconds: 2 and 5 times a power of ten too where it is short."""
    low, high = axis.get_view_interval()
    axis.set_major_formatter(lambda x, _: f"{1e3 * x:g}")
    axis.set_minor_formatter(lambda x, _: _between_decades(x) if high < 100 * low else "")


def _between_decades(seconds: float) -> str:
    """Milliseconds for 2 and 5 times a power of ten, nothing for others."""
    leading = round(seconds / 10 ** math.floor(math.log10(seconds)))
    return f"{1e3 * seconds:g}" if leading in (2, 5) else ""
