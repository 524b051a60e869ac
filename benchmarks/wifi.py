"""Every third subcarrier of measured Wi-Fi channels, hidden and predicted; simulated ones beside.

    python benchmarks/wifi.py --data LOG [--packets N] [--channels N] [--seed N]

LOG is of an Intel 5300 card, e.g. sample_0x5_64_3000.dat of github.com/citysu/csiread (MIT), 2998
packets between one and three antennas. Writes results/wifi.{json,md,png}.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _report import RESULTS, write_results

from sciml.io import atomic_file
from sciml.io.csi import Bandwidth, CsiFile, read_csi
from sciml.networks import PretrainedDenoiser, read_card, weights_path
from solvers.bench.wifi import (
    GENIE,
    METHODS,
    SITE,
    Case,
    Found,
    Known,
    hidden_rows,
    measured_case,
    packet_noise,
    run_case,
    simulated_case,
)
from solvers.neural.score import score_course, training_seed
from solvers.neural.score_data import DelayLines

_PHASES = (0, 1, 2)
_SNRS = (10.0, 20.0, 30.0)
_APART = 5  # packets next to a tested one that lmmse-site does not see
_BLOCKS, _RESAMPLES = 20, 2000
_DRAWN = {  # of the picture, in this order
    "linear": "0.65", "magnitude-phase": "tab:olive", "spline": "tab:brown",
    "delay-window": "tab:pink", "lmmse-uniform": "tab:orange", "lmmse": "tab:blue",
    "lmmse-aligned": "tab:cyan", "score": "tab:red", SITE: "tab:green", GENIE: "black",
}  # fmt: skip


def db(ratio: Any) -> Any:
    return 10 * np.log10(np.maximum(ratio, 1e-12))


def interval(values: np.ndarray) -> tuple[float, float]:
    """95 % of the medians in dB of blocks of neighbours, drawn again: packets follow each other."""
    blocks = np.array_split(values, _BLOCKS)
    draws = np.random.default_rng(0).integers(_BLOCKS, size=(_RESAMPLES, _BLOCKS))
    medians = [np.median(np.concatenate([blocks[i] for i in draw])) for draw in draws]
    low, high = np.quantile(db(np.array(medians)), [0.025, 0.975])
    return float(low), float(high)


def scored(found: list[Found], power: np.ndarray, antenna: int | None) -> dict[str, Any]:
    """Over what was hidden in turn: of one antenna, or of all in the units they came in."""

    def joined(name: str) -> np.ndarray:
        every = sum(getattr(one, name) for one in found)
        return (power * every).sum(axis=1) if antenna is None else every[:, antenna]

    errors, powers, noises = joined("errors"), joined("powers"), joined("noises")
    inside = np.array([one.inside for one in found])
    inside = inside if antenna is None else inside[:, :, antenna]
    low, high = interval(errors / powers)
    left = (errors - noises).sum() / (powers - noises).sum()
    lost = left > 0.02 * noises.sum() / powers.sum()
    return {
        "method": found[0].method,
        "median NMSE, dB": f"{db(np.median(errors / powers)):.2f}",
        "95 % interval": f"{low:.2f} to {high:.2f}",
        "NMSE, dB": f"{db(errors.sum() / powers.sum()):.2f}",
        "truth's noise taken off, dB": f"{db(left):.2f}" if lost else "at the floor",
        "within 90 %": "" if np.isnan(inside).any() else f"{inside.mean():.1%}",
        "a channel, ms": f"{1e3 * float(np.mean([one.seconds for one in found])):.2g}",
    }


def measured(
    log: CsiFile, known: Known, count: int, seed: int
) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """Rows of a table, and what the picture shows."""
    H, config = log.H[..., 0], known.config
    taken = np.linspace(0, len(H) - 1, count).round().astype(int)
    others = np.ones(len(H), bool)
    for i in taken:
        others[max(0, i - _APART) : i + _APART + 1] = False
    cases: list[tuple[Case, Known]] = []
    noises = []
    for phase in _PHASES:
        noise = packet_noise(H, ~hidden_rows(H.shape[1], phase), config.frequencies)
        site = measured_case(H[others], noise, config, phase)
        own = replace(known, site=(site.truth, site.sigma))
        cases.append((measured_case(H[taken], noise, config, phase), own))
        noises.append(noise)
    noise = np.mean(noises, axis=0)
    power = np.mean([case.power for case, _ in cases], axis=0)
    rows: list[dict[str, str]] = []
    found: dict[str, list[Found]] = {}
    predicted: dict[str, np.ndarray] = {}
    for method in METHODS:
        if method == GENIE:
            continue
        runs = [run_case(*case, method, np.random.default_rng([seed, i]))
                for i, case in enumerate(cases)]  # fmt: skip
        found[method] = [one for one, _ in runs]
        predicted[method] = runs[1][1]
        print(scored(found[method], power, 0), flush=True)
    signal = np.mean(np.abs(H[taken]) ** 2, axis=(0, 1))
    kinds: list[tuple[str, int | None, float]] = [
        (f"antenna {'ABC'[a]}", a, float(np.median(noise[a] / (power[:, a] + noise[a]))))
        for a in range(3)
    ] + [("all antennas", None, float(noise.sum() / signal.sum()))]  # fmt: skip
    for name, antenna, floor in kinds:
        data = f"measured, {name}, floor {db(floor):.1f} dB"
        rows += [{"data": data, **scored(found[m], power, antenna)} for m in found]
    by_phase = {
        m: [f"{db(np.median(one.errors[:, 0] / one.powers[:, 0])):.2f}" for one in found[m]]
        for m in found
    }
    shown = {
        "case": cases[1][0], "predicted": predicted, "phases": by_phase, "noise": noise,
        "rows": rows, "snr": db(signal / noise - 1), "frequencies": config.frequencies,
    }  # fmt: skip
    return rows, shown


def simulated(known: Known, count: int, seed: int) -> list[dict[str, str]]:
    """The same methods where the truth is exact, every third subcarrier from the second hidden."""
    rows = []
    for snr in _SNRS:
        rng = np.random.default_rng([seed, 1, int(snr)])
        case = simulated_case(known.config, count, snr, 1, rng)
        for method in METHODS:
            if method == SITE:
                continue
            found, _ = run_case(case, known, method, np.random.default_rng([seed, 2]))
            row = scored([found], case.power, None)
            rows.append({"data": f"simulated, {snr:g} dB", **row})
            print(rows[-1], flush=True)
    return rows


def draw(path: Path, shown: dict[str, Any], rows: list[dict[str, str]]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 8), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    (one, two), (three, four) = figure.subplots(2, 2)
    _bars(one, [r for r in rows if "antenna A" in r["data"]])
    _bars(two, [r for r in rows if "antenna C" in r["data"]])
    for name, colour in _DRAWN.items():
        own = [r for r in rows if r["method"] == name and r["data"].startswith("simulated")]
        if own:
            values = [float(r["NMSE, dB"]) for r in own]
            three.plot(_SNRS, values, "o-", color=colour, label=name)
    three.set(title="simulated, truth without noise", xlabel="SNR, dB", ylabel="NMSE, dB")
    three.set_xticks(_SNRS)
    three.grid(alpha=0.3)
    three.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    _packet(four, shown)
    with atomic_file(path) as handle:
        canvas.print_png(handle)


def _bars(axis: Any, rows: list[dict[str, str]]) -> None:
    floor = float(rows[0]["data"].split("floor ")[1].split()[0])
    for i, row in enumerate(rows):
        middle = float(row["median NMSE, dB"])
        low, high = (float(word) for word in row["95 % interval"].split(" to "))
        bounds = [[max(0, middle - low)], [max(0, high - middle)]]
        colour = _DRAWN.get(row["method"], "tab:red")
        axis.errorbar(middle, i, xerr=bounds, fmt="o", color=colour, capsize=3)
    axis.axvline(floor, color="black", linestyle=":", label="noise of what is predicted")
    axis.set_yticks(range(len(rows)), [row["method"] for row in rows])
    axis.invert_yaxis()
    axis.set(title=rows[0]["data"].split(", floor")[0], xlabel="median NMSE of packets, dB")
    axis.grid(axis="x", alpha=0.3)
    axis.legend(fontsize=8)


def _packet(axis: Any, shown: dict[str, Any]) -> None:
    """The packet that magnitude and phase miss most, antenna A."""
    case: Case = shown["case"]
    off = np.abs(shown["predicted"]["magnitude-phase"] - case.truth)[:, ~case.seen, 0]
    i = int(np.argmax(off.sum(axis=1)))
    places = case.frequencies / 312.5e3
    axis.plot(places[case.seen], np.abs(case.truth[i, case.seen, 0]), "ko", label="seen")
    hidden = ~case.seen
    axis.plot(places[hidden], np.abs(case.truth[i, hidden, 0]), "kx", label="hidden")
    for name in ("linear", "magnitude-phase", "lmmse-aligned", "score"):
        values = np.abs(shown["predicted"][name][i, :, 0])
        axis.plot(places, values, "-", color=_DRAWN[name], label=name, linewidth=1)
    title = "antenna A, worst for magnitude-phase"
    axis.set(title=title, xlabel="subcarrier", ylabel="|H|, of mean power 1")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--packets", type=int, default=150)
    parser.add_argument("--channels", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    log = read_csi(options.data)
    course = score_course(PretrainedDenoiser.SCORE_WIFI)
    family, about = course.data, read_card(weights_path(PretrainedDenoiser.SCORE_WIFI))["about"]
    assert isinstance(family, DelayLines)
    if log.H.shape[1:] != (*family.shape, 1) or log.bandwidth is not Bandwidth.MHZ20:
        raise SystemExit(f"expected a log at 20 MHz of {family.shape}, got {log.H.shape[1:]}")
    known = Known(family.config, family.count, training_seed(about["seed"]))
    rows, shown = measured(log, known, options.packets, options.seed)
    rows += simulated(known, options.channels, options.seed)
    phases = "; ".join(f"{m} {', '.join(v)}" for m, v in shown["phases"].items())
    noise = ", ".join(f"{v:.2f}" for v in shown["noise"])
    snr = ", ".join(f"{v:.1f}" for v in shown["snr"])
    notes = [
        f"Measured: {options.packets} of {len(log.H)} packets over {log.seconds[-1]:.1f} s of "
        f"{options.data.name}. One place: intervals are bootstraps over {_BLOCKS} stretches of the "
        "log, and speak for it alone. Every third subcarrier is hidden, from index 0, 1 or 2 on, "
        "in three runs taken together: 20 seen, 10 hidden of -28, -26 ... -2, -1, 1, 3 ... 27, 28 "
        "times 312.5 kHz. From 0 and from 2 on an edge is hidden.",
        f"Noise of an entry, from rows seen of packets that follow each other: {noise} in the "
        f"units of the log for antennas A, B, C, SNRs of {snr} dB. Every method is told it, and "
        "sees each antenna of each packet brought to power 1 by its rows seen. The floor is that "
        "noise in what is predicted. Rounding to whole numbers is 0.17 of it.",
        f"Median NMSE, dB, of antenna A hidden from index 0, 1, 2 on: {phases}.",
        "lmmse, lmmse-aligned and score learned from the same simulated channels: "
        f"{about['data']}. No measured packet was learned from. That alignment counts antennas by "
        "their noise was found on this log, and delay-window's window was chosen with it in view. "
        f"{SITE} has the covariance of the log's other packets, {_APART} and more away, all rows "
        "seen: what a site's own statistics would give.",
        "delay-window: least squares with delays from 150 ns before to 250 ns after the mean one. "
        "lmmse-uniform: independent antennas, delays as likely all over that window. These two, "
        f"lmmse-aligned, score and {SITE} first take off timing and antennas' phases, by the rows "
        "seen; lmmse does not. score: the mean of 8 draws of 30 calls, or of 10. genie: LMMSE that "
        "knows all a channel was drawn with but the fading of its taps.",
        "Within 90 %: discs about the prediction, for the channel and for the noise of what is "
        "predicted. Simulated: the truth has no noise. NMSE is of sums over channels; the median "
        "is of channels. One busy core: times are indications.",
    ]
    print(write_results("wifi", "Hidden subcarriers of Wi-Fi channels", rows, notes=notes))
    draw(RESULTS / "wifi.png", shown, rows)


if __name__ == "__main__":
    main()
