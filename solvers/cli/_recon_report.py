"""What `sciml recon` tells of its images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sciml import Samples, Status, __version__
from sciml.io.kspace import KSpace
from solvers.mri import Method, Reconstruction, Scan
from solvers.proximal import Convergence

from ._output import finite, one_line


@dataclass(frozen=True)
class SliceReport:
    """The figures of one slice, without its arrays. ok: solved to the tolerance."""

    ok: bool
    misfit: float
    seconds: float
    facts: dict[str, Any]
    remarks: tuple[str, ...]


def report_of(scan: Scan, found: Reconstruction, *, given: bool) -> SliceReport:
    """given: whether the user chose the weight."""
    result, search = found.result, found.search
    facts = {
        "sampled": float(scan.mask.mean()),
        "calibration": None if scan.region is None else [s.stop - s.start for s in scan.region],
        "method": found.method.value,
        "reason": found.reason or None,
        "weight": finite(found.weight),
        "weight_is": "given" if given else "usual" if search is None else "found",
        "weights_tried": [] if search is None else list(search.weights),
        "errors_on_hidden": [] if search is None else list(search.errors),
        "status": "CLOSED_FORM" if result is None else Status(result.status).name,
        "residual": None if result is None else finite(result.residual),
        "iterations": None if result is None else int(result.iterations),
        "noise": None if found.noise is None else finite(found.noise),
        "noise_is": found.noise_is,
        "draws": None if found.drawn is None else _draws(found.drawn),
        "convergence": None if found.convergence is None else _convergence(found.convergence),
    }
    if found.drawn is not None:
        facts["status"] = found.drawn.worst.name
    smaller = "the smallest weight that was tried predicts best: a smaller --lamda may be better"
    if found.method is Method.LPN:
        smaller = "the least noise level that the network knows predicts best: others may do better"
    remarks = (smaller,) if search is not None and search.at_end else ()
    return SliceReport(found.ok, finite(found.misfit) or 0.0, found.seconds, facts, remarks)


def _draws(drawn: Samples) -> dict[str, Any]:
    return {
        "count": len(drawn.samples),
        "misfit": finite(float(drawn.misfit)),
        "misfit_band": [finite(float(edge)) for edge in drawn.band],
        "widened": None if drawn.widened is None else finite(float(drawn.widened)),
        "excess": None if drawn.excess is None else finite(float(drawn.excess)),
        "mean_error": finite(float(drawn.error_share)),
        "calls": drawn.calls,
        "notes": list(drawn.notes),
    }


def _convergence(found: Convergence) -> dict[str, Any]:
    last = float(np.max(found.fixed_point[-1])) if len(found.fixed_point) else float("nan")
    return {
        "promise": found.theory.promise,
        "conditions": {one.text: one.holds for one in found.theory.conditions},
        "proven": found.theory.proven,
        "falls": found.theory.falls,
        "watched": found.watched,
        "rises": int(np.max(found.rises, initial=0)),
        "short": int(np.max(found.short, initial=0)),
        "fixed_point": finite(last),
        "objective": [finite(float(one)) for one in found.objective],
        "notes": list(found.theory.notes),
    }


def facts_of(
    file: Path,
    kspace: KSpace,
    slices: list[SliceReport],
    scores: dict[str, float] | None,
    written: list[str],
) -> dict[str, Any]:
    """The report; of several slices one that failed, else the middle one, with the worst misfit."""
    failed = [one for one in slices if not one.ok]
    shown = failed[0] if failed else slices[len(slices) // 2]
    return {
        "file": str(file),
        "format": None if kspace.format is None else kspace.format.value,
        "coils": kspace.coils,
        "shape": list(kspace.shape),
        "slices": len(slices),
        "failed": len(failed),
        **shown.facts,
        "misfit": max(one.misfit for one in slices),
        "seconds": sum(one.seconds for one in slices),
        "scores": scores,
        "written": written,
        "notes": [*kspace.notes, *shown.remarks],
        "version": __version__,
    }


def _lines_of(status: str, draws: dict[str, Any]) -> list[tuple[str, str]]:
    low, high = draws["misfit_band"]
    off, square, wider = draws["mean_error"], draws["misfit"], draws["widened"]
    wider = "what is not finite" if wider is None else f"{wider:.2f} times"
    excess = draws["excess"]
    excess = "what is not finite" if excess is None else f"{excess:.2f} times"
    square = "not finite" if square is None else f"{square:.3f}"
    off = "by what is unknown" if off is None else f"by {off:.2f} of the deviation"
    return [
        ("status", f"{status}: {draws['count']} draws, {draws['calls']} calls of the network"),
        (
            "",
            f"checked: misfit {square} of the noise's (from {low:.2f} to {high:.2f}), and the data",
        ),
        ("", f"ask for {wider} the prior's variance (at most twice), which expects"),
        ("", f"{excess} the residual that was found (at most ten)"),
        ("", f"for so few draws the mean is off {off}; independent runs, so that R-hat"),
        ("", "does not apply; not checked: the prior, where the data do not see it"),
        *(("note", note) for note in draws["notes"]),
    ]


def _watched(seen: dict[str, Any]) -> list[tuple[str, str]]:
    label, held = {
        True: ("proven", "its conditions hold"),
        False: ("not proven", "would be, if its conditions held, which they do NOT"),
        None: ("not proven", "would be, if its conditions held, which could not be decided"),
    }[seen["proven"]]
    last = seen["fixed_point"]
    last = "" if last is None else f"; the last step changed the image by {last:.1e}, relatively"
    lines = [
        (
            "seen",
            f"{seen['falls']} rose in {seen['rises']} of {seen['watched']} steps, and fell by",
        ),
        ("", f"less than is proven in {seen['short']}{last}"),
    ]
    if not seen["watched"]:
        lines = [("seen", "no step to compare: what came before had met the tolerance")]
    return [
        (label, f"{seen['promise']}; {held}"),
        *lines,
        *(("note", note) for note in seen["notes"]),
    ]


def text_of(facts: dict[str, Any]) -> str:
    size = " x ".join(map(str, facts["shape"]))
    several = f", {facts['slices']} slices" if facts["slices"] > 1 else ""
    lines = [
        ("k-space", f"{facts['file']} ({facts['format']})"),
        ("", f"{facts['coils']} coils, {size}{several}, {facts['sampled']:.1%} sampled"),
        ("method", facts["method"]),
    ]
    if facts["reason"]:
        lines.append(("", f"chosen because {facts['reason']}"))
    if facts["weight"]:
        hidden = facts["errors_on_hidden"]
        usual = ", the usual one" if facts["weight_is"] == "usual" else ", as given"
        how = f", found: relative error {min(hidden):.4f} on hidden samples" if hidden else usual
        size = f"{facts['weight']:.2e}"
        name = "weight"
        if facts["convergence"] is not None:
            name, size = "noise level", f"{facts['weight']:.4f} of the brightest tissue"
        lines.append((name, f"{size}{how}"))
    if facts["residual"] is not None:
        lines.append(("status", facts["status"]))
        kind = "iterations" if facts["convergence"] is None else "certified iterations"
        told = f"{facts['iterations']} {kind}, relative residual {facts['residual']:.1e}"
        lines.append(("", told))
    if facts["convergence"] is not None:
        lines += _watched(facts["convergence"])
    if facts["draws"] is not None:
        lines += _lines_of(facts["status"], facts["draws"])
    noise = ""
    if facts["noise"] is not None:
        noise = f"; of the noise alone {facts['noise']:.4f}, by {facts['noise_is']}"
    lines.append(("misfit", f"{facts['misfit']:.4f} of ||y||{noise}"))
    if facts["scores"] is not None:
        scores = facts["scores"]
        told = f"NRMSE {scores['nrmse']:.4f}, PSNR {scores['psnr']:.2f} dB"
        lines.append(("reference", f"{told}, SSIM {scores['ssim']:.4f}, of magnitudes"))
    lines.append(("time", f"{facts['seconds']:.3g} s"))
    lines += [("written", path) for path in facts["written"]]
    lines += [("note", note) for note in facts["notes"]]
    return "\n".join(f"{name:<11} {one_line(words)}" for name, words in lines)
