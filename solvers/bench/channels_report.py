"""What `run_channels` found: errors with their intervals, times, and pictures of both."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sciml.datasets import ChannelConfig
from sciml.io import atomic_file, write_json

from .report import environment_text, markdown_table, seconds_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["BOUND", "ChannelsReport", "Score"]

BOUND = "genie"  # LMMSE with the exact covariance
_RESAMPLES = 2000


@dataclass(frozen=True, eq=False)
class Score:
    """An estimator at one SNR.

    errors: ||Ĥ − H||² / ||H||² of each channel. seconds: for a channel, out of a batch; setup: once
    for the family. covered: share of entries within their 90 % discs, None without a std.
    """

    estimator: str
    snr: float
    errors: np.ndarray = field(repr=False)
    seconds: float
    setup: float
    covered: float | None

    @property
    def nmse(self) -> float:
        """The mean error in dB."""
        return float(10 * np.log10(np.mean(self.errors)))

    @property
    def interval(self) -> tuple[float, float]:
        """95 % of the means of channels drawn again from these, dB."""
        return interval(self.errors)

    def above(self, other: Score) -> tuple[float, float, float]:
        """How many dB above another's error on the same channels, and the 95 % interval of that."""
        low, high = interval(self.errors, other.errors)
        return self.nmse - other.nmse, low, high


def interval(errors: np.ndarray, other: np.ndarray | None = None) -> tuple[float, float]:
    """The 95 % bootstrap interval of a mean in dB, or of two means' ratio on the same channels."""
    rng = np.random.default_rng(0)
    draws = rng.integers(len(errors), size=(_RESAMPLES, len(errors)))
    means = errors[draws].mean(axis=1)
    if other is not None:
        means = means / other[draws].mean(axis=1)
    low, high = np.quantile(10 * np.log10(means), [0.025, 0.975])
    return float(low), float(high)


@dataclass(frozen=True, eq=False)
class ChannelsReport:
    """All scores of one family.

    pilots: columns of P. pilot_draws: pilot matrices. interrupted: whether scores are missing.
    notes: further remarks, a paragraph each.
    """

    config: ChannelConfig
    pilots: int
    pilot_draws: int
    channels: int
    seed: int
    scores: tuple[Score, ...]
    interrupted: bool
    environment: dict[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def estimators(self) -> list[str]:
        return list(dict.fromkeys(score.estimator for score in self.scores))

    @property
    def snrs(self) -> list[float]:
        return sorted({score.snr for score in self.scores})

    def score(self, estimator: str, snr: float) -> Score | None:
        """None where it was not run."""
        found = (s for s in self.scores if (s.estimator, s.snr) == (estimator, snr))
        return next(found, None)

    def table(self) -> list[dict[str, str]]:
        """A row for each estimator: NMSE in dB at each SNR, and its time."""
        rows = []
        for name in self.estimators:
            own = [s for s in self.scores if s.estimator == name]
            row = {"NMSE, dB, at SNR": name}
            for snr in self.snrs:
                score = self.score(name, snr)
                row[f"{snr:g}"] = "" if score is None else f"{score.nmse:.2f}"
            row["a channel"] = seconds_text(float(np.median([s.seconds for s in own])))
            row["set-up"] = seconds_text(own[0].setup) if own[0].setup > 1e-3 else ""
            rows.append(row)
        return rows

    def setting(self) -> str:
        """What was compared, in words."""
        return (
            f"{self.config.name}: {self.channels} channels, {self.pilots} random QPSK pilots, "
            f"{self.pilot_draws} pilot matrices, seed {self.seed}. Noise of an entry of Y has the "
            f"variance {self.config.nt} · 10^(−SNR/10). NMSE is the mean of ||Ĥ − H||²/||H||². "
            f"`{BOUND}` is LMMSE with the exact covariance: no linear estimator has a lower mean "
            "of ||Ĥ − H||², and none at all where channels are Gaussian; the mean of ratios may be "
            "hundredths of a dB lower. `lmmse-S-n` has the covariance of n training "
            "channels, of structure S; `lmmse-S-0db` that of 10,000 seen in noise at 0 dB, whose "
            "variance is taken off. `score` is the mean of 4 draws under a prior learned from "
            "10,000 CDL-C channels, whatever the test channels are, by 30 calls of its denoiser, "
            "`score-10-calls` by 10; `score-0db`, by 10, has a prior learned from channels at 0 dB "
            "alone, and `score-random`, by 30, one from 10,000 channels with random clusters. "
            "`ridge` is LMMSE with the identity. No estimator saw a test "
            "channel, and none was tuned on one. Seconds are those of batches over "
            "their channels, and compare within this run only."
        )

    def markdown(self) -> str:
        e = self.environment
        where = environment_text(e["machine"], e["versions"], e["date"])
        lines = [f"# Channel estimation, {self.config.name}", "", where, "", self.setting(), ""]
        if self.interrupted:
            lines += ["Interrupted: what was complete is here.", ""]
        for note in self.notes:
            lines += [note, ""]
        lines += markdown_table(self.table())
        lines += ["", "95 % intervals (bootstrap over channels), dB:", ""]
        lines += markdown_table(self._each(lambda s: f"{s.interval[0]:.2f} to {s.interval[1]:.2f}"))
        if self.estimators[:1] == [BOUND]:
            lines += ["", "Above the bound on the same channels, dB, with 95 % intervals:", ""]
            lines += markdown_table(self._each(self._gap)[1:])
        lines += ["", "Entries within their 90 % discs, of estimators that tell one:", ""]
        rows = self._each(lambda s: "" if s.covered is None else f"{s.covered:.1%}")
        lines += markdown_table([r for r in rows if any(list(r.values())[1:])])
        return "\n".join(lines).rstrip() + "\n"

    def _gap(self, score: Score) -> str:
        bound = self.score(BOUND, score.snr)
        if bound is None:
            return ""
        gap, low, high = score.above(bound)
        return f"{gap:.2f} ({low:.2f} to {high:.2f})"

    def _each(self, tell: Any) -> list[dict[str, str]]:
        rows = []
        for name in self.estimators:
            row = {"SNR, dB": name}
            for snr in self.snrs:
                score = self.score(name, snr)
                row[f"{snr:g}"] = "" if score is None else tell(score)
            rows.append(row)
        return rows

    def write(self, folder: Path, stem: str = "channels") -> list[Path]:
        """STEM.json, .md and .png in `folder`, which is made if missing."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{stem}.{suffix}" for suffix in ("json", "md", "png")]
        write_json(paths[0], self.record())
        with atomic_file(paths[1], text=True) as handle:
            handle.write(self.markdown())
        figure = Figure(figsize=(11, 6.5), layout="constrained")
        canvas = FigureCanvasAgg(figure)
        self.draw(figure)
        with atomic_file(paths[2]) as handle:
            canvas.print_png(handle)
        return paths

    def record(self) -> dict[str, Any]:
        """Everything, for JSON."""
        rows = []
        for s in self.scores:
            low, high = s.interval
            rows.append(
                {
                    "estimator": s.estimator, "snr": s.snr, "nmse_db": s.nmse, "low_db": low,
                    "high_db": high, "seconds": s.seconds, "setup": s.setup,
                    "within_90": s.covered, "errors": [float(f"{e:.6g}") for e in s.errors],
                }
            )  # fmt: skip
        return {
            "title": "Channel estimation",
            "setting": self.setting(),
            "interrupted": self.interrupted,
            "notes": list(self.notes),
            "rows": rows,
            **self.environment,
        }

    def draw(self, figure: Figure) -> None:
        """NMSE against SNR, and the distance to the bound, with bands of 95 %.

        Colours are of what an estimator is, lines of what it learned from. Of LMMSE from few
        samples the tables alone tell.
        """
        whole, gaps = figure.subplots(1, 2)
        shown = [name for name in self.estimators if not name.endswith(("-100", "-1000"))]
        for name in shown:
            own = sorted((s for s in self.scores if s.estimator == name), key=lambda s: s.snr)
            x, style = [s.snr for s in own], _style(name)
            whole.plot(x, [s.nmse for s in own], label=name, **style)
            low, high = zip(*(s.interval for s in own), strict=True)
            whole.fill_between(x, low, high, color=style["color"], alpha=0.15, lw=0)
            bounds = [self.score(BOUND, snr) for snr in x]
            if name != BOUND and None not in bounds:
                gap, low, high = zip(
                    *(s.above(b) for s, b in zip(own, bounds, strict=True) if b), strict=True
                )
                gaps.plot(x, gap, **style)
                gaps.fill_between(x, low, high, color=style["color"], alpha=0.15, lw=0)
        whole.set(ylabel="NMSE, dB")
        whole.set_ylim(top=5)
        gaps.set(ylabel=f"dB above {BOUND}, on the same channels")
        least, most = gaps.get_ylim()
        gaps.set_ylim(max(least, -6), min(most, 6))
        for axis in (whole, gaps):
            axis.set_xlabel("SNR, dB")
            axis.grid(alpha=0.3)
        figure.suptitle(f"{self.config.name}, {self.pilots} pilots")
        figure.legend(loc="outside lower center", fontsize=8, ncols=5)


_COLOURS = {
    "ls": "tab:gray", "ridge": "tab:olive", "omp": "tab:pink", "lasso": "tab:purple",
    "lmmse-full": "tab:orange", "lmmse-kronecker": "tab:brown", "lmmse-toeplitz": "tab:green",
    "score-random": "tab:cyan", "score": "tab:blue", "ambient": "tab:blue", "sure": "tab:red",
    "naive": "tab:purple",
}  # fmt: skip


def _style(name: str) -> dict[str, Any]:
    """Noisy training data dashed, by 0 dB, or dotted, by 10."""
    if name == BOUND:
        return {"color": "k", "lw": 2}
    kind = next((k for k in _COLOURS if name.startswith(k)), None)
    line = "--" if name.endswith("-0db") else ":" if name.endswith("-10db") else "-"
    mark = "x" if name.endswith("-calls") else "."
    return {"color": _COLOURS.get(kind or "", "k"), "ls": line, "marker": mark}
