"""The record of `mri_score.py` as JSON, Markdown and a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from _report import RESULTS

from sciml.io import atomic_file, write_json
from solvers.bench.report import environment_text, machine, markdown_table, today, versions

RESULT = RESULTS / "mri_score.json"

Row = dict[str, Any]
Scan = dict[str, Row]  # method -> its row

SENSE, L1, TV, SCORE, NOISY = "sense", "l1-wavelet", "tv", "score", "score, noisy-trained"
LPN = "lpn"
BEST = ", best weight"
_METHODS = (SENSE, SENSE + BEST, L1, L1 + BEST, TV, TV + BEST, SCORE, NOISY, LPN)
_TARGETS = {SCORE: 1.5, LPN: 1.0}  # dB above L1-wavelet
_ORDER = ("title", "date", "machine", "versions", "priors", "rows", "real")
_NEAR = 0.02  # NRMSE of noisy-trained above clean-trained
_SHOWN = (SENSE, L1 + BEST, TV + BEST, SCORE)
_BRIGHTER = 5


def write(record: Row) -> list[Path]:
    """results/mri_score.json and .md, of this day and machine."""
    record = {
        "title": "MRI with a learned prior",
        "date": today(),
        "machine": machine(),
        "versions": versions(),
        **{name: record[name] for name in ("priors", "rows", "real")},
    }
    return rewrite(record)


def rewrite(record: Row) -> list[Path]:
    """The same from a whole record, with its own day and machine; networks without rows go."""
    there = {row["prior"] for row in record["rows"] if "prior" in row}
    priors = {sha256: about for sha256, about in record["priors"].items() if sha256 in there}
    record = {**{name: record[name] for name in _ORDER}, "priors": priors}
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULT, record)
    path = RESULT.with_suffix(".md")
    with atomic_file(path, text=True) as handle:
        handle.write(markdown(record))
    return [RESULT, path]


def markdown(record: Row) -> str:
    where = environment_text(record["machine"], record["versions"], record["date"])
    scans = scans_of(record["rows"])
    lines = [f"# {record['title']}", "", where, ""]
    for title, table in (
        ("Score above its rivals, dB of PSNR", above(scans, SCORE)),
        ("LPN above its rivals, dB of PSNR", above(scans, LPN)),
        ("PSNR, dB", psnrs(scans)),
        ("NRMSE and SSIM", errors(scans)),
        ("Certificates, deviations, seconds", certificates(scans)),
        ("LPN: certificates of convergence, noise levels, seconds", converged(scans)),
        ("Trained on noisy images alone", noisy(scans)),
        ("Real scan: error on hidden samples", real(record["real"])),
    ):
        if table:
            lines += [f"## {title}", "", *markdown_table(table), ""]
    missed = misses(scans)
    if missed:
        lines += [f"Scans where score is less than {_TARGETS[SCORE]:g} dB above L1-wavelet at its "
                  f"best weight: {'; '.join(missed)}.", ""]  # fmt: skip
    notes = [*_NOTES, *(told(about) for about in record["priors"].values())]
    return "\n".join([*lines, *(f"- {note}" for note in notes)]) + "\n"


_NOTES = (
    "Simulated scans: two slices along each axis of a head, matrices cut or filled to the nearest "
    "multiple of 32 (192 to 256), 8 loop coils, smooth phase, new mask, phase and noise for every "
    "scan. Poisson disc masks with 20² in full; lines drawn evenly, the middle 20 in full at R = 4 "
    "and 12 at R = 8. One of two slices has 30 dB, the other 20, in turns.",
    "SNR: mean over the object of the root sum of squares of the coils, over the deviation "
    "of a complex sample of a coil, times 20 log10.",
    "Maps (ESPIRiT), noise and weights are found from k-space alone, but for “best weight”: that "
    "of the highest PSNR, walked to in steps of √2 from the one found, which takes the "
    "truth. Errors are of magnitudes against the root sum of squares without noise.",
    "Score: the mean of 8 draws of 20 calls of the network, one setting for all. Misfit is "
    "that of the draws, 1 is the noise's. Within 90 %: share of the head's pixels within "
    "`Samples.radius(0.9)` of the mean, 90 % where the posterior is right and Gaussian.",
    "LPN: plug-and-play proximal gradient steps to the minimum of ‖y − A x‖² / 2 sigma² + w φ, one "
    "setting for all; the noise level, relative to the brightest tissue, is found on hidden "
    "samples. Rises and too short: steps in which the objective rose, or fell by less than proven.",
    "± is the standard deviation over scans.",
    "Real scan: a tenth of the samples outside the calibration region is hidden from everyone; the "
    "error is relative to these, noise included.",
    "One core, busy with other work: seconds are indications.",
    "Partial: sixteen of 48 scans have all methods. The picture is of an earlier run of score.",
)


def told(about: Row) -> str:
    word = "NMSE" if "held_out_nmse_db" in about else "PSNR"
    levels = about[f"held_out_{word.lower()}_db"]
    curve = ", ".join(
        f"{level:.1f} dB at {sigma:g}"
        for sigma, level in zip(about["held_out_sigma"], levels, strict=True)
    )
    which = "of the package" if about["shipped"] else "for this table, not in the package"
    return (
        f"Network {which}, `{about['command']}`, {about['seconds']:.0f} s: {about['data']}; "
        f"{about['objective']}. {word} on what it has not seen: {curve}."
    )


def scans_of(rows: Iterable[Row]) -> list[Scan]:
    """Those that have the rivals and score, in the order they were made."""
    found: dict[tuple[Any, ...], Scan] = {}
    for row in rows:
        key = tuple(row[name] for name in ("head", "axis", "slice", "mask", "R", "snr_db"))
        found.setdefault(key, {})[row["method"]] = row
    return [scan for scan in found.values() if {SCORE, L1, L1 + BEST, TV + BEST} <= set(scan)]


def grouped(scans: list[Scan], *names: str) -> list[tuple[Row, list[Scan]]]:
    def key(scan: Scan) -> tuple[Any, ...]:
        return tuple(scan[SCORE][name] for name in names)

    return [
        (dict(zip((name.replace("snr_db", "SNR, dB") for name in names), values, strict=True)),
         list(some))
        for values, some in groupby(sorted(scans, key=key), key)
    ]  # fmt: skip


def above(scans: list[Scan], method: str) -> list[Row]:
    table = []
    scans = [scan for scan in scans if method in scan]
    for names in (("head", "R"), ("head", "R", "mask")):
        for place, some in grouped(scans, *names):
            row = {"head": "", "R": "", "mask": "both", **place, "scans": len(some)}
            for rival in (L1, L1 + BEST, TV + BEST):
                more = [scan[method]["PSNR"] - scan[rival]["PSNR"] for scan in some]
                spread = np.std(more, ddof=1) if len(more) > 1 else 0.0
                row[f"over {rival}"] = f"{np.mean(more):.2f} ± {spread:.2f}, least {min(more):.2f}"
                if rival == L1 + BEST:
                    enough = sum(one >= _TARGETS[method] for one in more)
                    row[f"{_TARGETS[method]:g} dB and more"] = f"{enough} of {len(more)}"
            table.append(row)
    return table


def means(some: list[Scan], methods: Iterable[str], what: str, form: str) -> Row:
    """One column for each method; empty where it did not run on all of these scans."""
    return {
        method: f"{np.mean([scan[method][what] for scan in some]):{form}}"
        if all(method in scan for scan in some)
        else ""
        for method in methods
    }


def psnrs(scans: list[Scan]) -> list[Row]:
    return [
        {**place, "scans": len(some), **means(some, _METHODS, "PSNR", ".2f")}
        for place, some in grouped(scans, "head", "mask", "R", "snr_db")
    ]


def errors(scans: list[Scan]) -> list[Row]:
    table = []
    for place, some in grouped(scans, "head", "mask", "R"):
        row = {**place, "scans": len(some)}
        for what, form in (("NRMSE", ".4f"), ("SSIM", ".3f")):
            found = means(some, (L1, L1 + BEST, TV + BEST, SCORE), what, form)
            row |= {f"{what} {method}": value for method, value in found.items()}
        table.append(row)
    return table


def certificates(scans: list[Scan]) -> list[Row]:
    table = []
    for place, some in grouped(scans, "head", "mask", "R", "snr_db"):
        drawn = [scan[SCORE] for scan in some]
        sampled = sum(row["status"] == "SAMPLED" for row in drawn)
        table.append(
            {
                **place,
                "SAMPLED": f"{sampled} of {len(drawn)}",
                "misfit": between([row["misfit"] for row in drawn], ".3f"),
                "within 90 %": between([100 * row["within_90"] for row in drawn], ".1f"),
                **{
                    f"seconds, {method}": value
                    for method, value in means(some, (L1, TV, SCORE), "seconds", ".1f").items()
                },
            }
        )
    return table


def between(values: list[float], form: str) -> str:
    low, high = f"{min(values):{form}}", f"{max(values):{form}}"
    return low if low == high else f"{low} to {high}"


def converged(scans: list[Scan]) -> list[Row]:
    table = []
    for place, some in grouped([scan for scan in scans if LPN in scan], "head", "mask", "R"):
        rows = [scan[LPN] for scan in some]
        good = sum(row["status"] == "CONVERGED" and row["proven"] is True for row in rows)
        table.append(
            {
                **place,
                "CONVERGED, proven": f"{good} of {len(rows)}",
                "steps": between([row["steps"] for row in rows], "d"),
                "rises": sum(row["rises"] for row in rows),
                "too short": sum(row["short"] for row in rows),
                "last change": between([row["fixed point"] or 0.0 for row in rows], ".0e"),
                "noise level": between([row["weight"] for row in rows], ".3f"),
                "seconds": f"{np.mean([row['seconds'] for row in rows]):.0f}",
            }
        )
    return table


def noisy(scans: list[Scan]) -> list[Row]:
    table = []
    both = [scan for scan in scans if NOISY in scan]
    for place, some in grouped(both, "head", "mask", "R", "snr_db"):
        clean = np.array([scan[SCORE]["NRMSE"] for scan in some])
        worse = np.array([scan[NOISY]["NRMSE"] for scan in some]) - clean
        table.append(
            {
                **place,
                "scans": len(some),
                "NRMSE, clean-trained": f"{clean.mean():.4f}",
                "NRMSE, noisy-trained": f"{(clean + worse).mean():.4f}",
                "difference": f"{worse.mean():.4f}, most {worse.max():.4f}",
                f"within {_NEAR:g}": f"{int((worse <= _NEAR).sum())} of {len(some)}",
                "within 90 %": between([100 * scan[NOISY]["within_90"] for scan in some], ".1f"),
            }
        )
    return table


def misses(scans: list[Scan]) -> list[str]:
    found = []
    for scan in scans:
        row = scan[SCORE]
        more = row["PSNR"] - scan[L1 + BEST]["PSNR"]
        if more < _TARGETS[SCORE]:
            found.append(
                f"{row['head'].split('.')[0]}, axis {row['axis']}, slice {row['slice']}, "
                f"{row['mask']}, R = {row['R']}, {row['snr_db']:g} dB: {more:.2f}"
            )
    return found


def real(rows: list[Row]) -> list[Row]:
    return [{name: row.get(name, "") for name in _REAL} for row in rows]


_REAL = ("split", "method", "error on hidden samples", "seconds", "status", "misfit")


def draw(folder: Path) -> Path:
    """results/mri_score.png: a row for each scan of which all images lie in `folder`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    needed = {"truth", *_SHOWN, f"std of {SCORE}"}
    files = [path for path in sorted(folder.glob("*.npz")) if needed <= set(np.load(path))]
    if not files:
        raise SystemExit(f"expected images of all methods in {folder}, got none: run --anew")
    panels: list[tuple[str, Callable[[Any], np.ndarray]]] = [
        ("truth", lambda data: data["truth"]),
        *((name, lambda data, name=name: data[name]) for name in _SHOWN),
        *(
            (f"error of {name}, x {_BRIGHTER}", lambda data, name=name: error_of(data, name))
            for name in _SHOWN[1:]
        ),
        (f"std of score, x {_BRIGHTER}", lambda data: _BRIGHTER * data["std of score"]),
    ]
    figure = Figure(figsize=(2.2 * len(panels), 2.4 * len(files)), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(len(files), len(panels), squeeze=False)
    for path, line in zip(files, axes, strict=True):
        data = {name: image.astype(np.float32) for name, image in np.load(path).items()}
        white = float(np.percentile(data["truth"], 99.5))
        for axis, (title, image) in zip(line, panels, strict=True):
            axis.imshow(image(data), cmap="gray", vmin=0, vmax=white)
            axis.set_title(title, fontsize=8)
            axis.axis("off")
        line[0].text(0.0, -0.06, path.stem, fontsize=7, transform=line[0].transAxes)
    out = RESULT.with_suffix(".png")
    with atomic_file(out) as handle:
        canvas.print_png(handle)
    return out


def error_of(data: dict[str, np.ndarray], name: str) -> np.ndarray:
    return _BRIGHTER * np.abs(data[name] - data["truth"])
