"""Reconstructions of one simulated scan by every method, and by SigPy where it is installed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sciml._checks import integer
from sciml.io import atomic_file, write_json
from sciml.mri import nrmse, psnr, simulate_brain, ssim
from sciml.operators import SENSE
from solvers.mri import Method, Reconstruction, Scan, reconstruct, scan_of
from solvers.mri.reconstruct import largest_coefficient

from .report import environment_text, machine, markdown_table, today, versions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["MriReport", "run_mri"]


@dataclass(frozen=True, eq=False)
class MriReport:
    """What `run_mri` found.

    Attributes:
        rows: one mapping a method: errors against the truth, misfit, weight, seconds.
        images: magnitude of each, and of the truth.
        setting: what was simulated, in words.
        skipped: methods that could not be run, and why.
    """

    rows: tuple[dict[str, Any], ...]
    images: dict[str, np.ndarray]
    setting: str
    skipped: dict[str, str]
    environment: dict[str, Any]

    def write(self, folder: Path) -> list[Path]:
        """mri.json, mri.md and mri.png in `folder`, which is made if missing."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"mri.{suffix}" for suffix in ("json", "md", "png")]
        record = {"setting": self.setting, "rows": list(self.rows), "skipped": self.skipped}
        write_json(paths[0], {**record, **self.environment})
        with atomic_file(paths[1], text=True) as handle:
            handle.write(self.markdown())
        figure = Figure(figsize=(3 * len(self.images), 3.4), layout="constrained")
        canvas = FigureCanvasAgg(figure)
        self.draw(figure)
        with atomic_file(paths[2]) as handle:
            canvas.print_png(handle)
        return paths

    def markdown(self) -> str:
        e = self.environment
        where = environment_text(e["machine"], e["versions"], e["date"])
        lines = ["# MRI reconstruction", "", where, "", self.setting, ""]
        lines += markdown_table([_shown(row) for row in self.rows])
        lines += ["", *(f"- {name} was left out: {why}." for name, why in self.skipped.items())]
        return "\n".join(lines).rstrip() + "\n"

    def draw(self, figure: Figure) -> None:
        """The images side by side, in one window."""
        white = float(np.percentile(self.images["truth"], 99.5))
        errors = {row["method"]: row["NRMSE"] for row in self.rows}
        axes = figure.subplots(1, len(self.images), squeeze=False)[0]
        for axis, (name, image) in zip(axes, self.images.items(), strict=True):
            axis.imshow(image, cmap="gray", vmin=0, vmax=white)
            axis.set_title(f"{name}: {errors[name]:.3f}" if name in errors else name)
            axis.axis("off")


def _shown(row: dict[str, Any]) -> dict[str, str]:
    return {k: f"{v:.4g}" if isinstance(v, float) else str(v) for k, v in row.items()}


def run_mri(
    *,
    size: int = 256,
    coils: int = 8,
    acceleration: float = 4.0,
    snr: float = 30.0,
    seed: int = 42,
    methods: Sequence[Method] = tuple(m for m in Method if m is not Method.SCORE),
    say: Callable[[str], None] = lambda text: None,
) -> MriReport:
    """Simulate a brain scan and reconstruct it by each method, with ESPIRiT's maps for all.

    Without score by default: its network was trained on such phantoms. The truth is the root sum
    of squares of the coils' images without noise. Weights are found on hidden samples, which is on
    the clock; SigPy is handed the weights found, and our maps.

    Raises:
        ValueError: a size, number of coils or acceleration that is none.
    """
    integer(size, "size", 32)
    integer(coils, "coils", 2)
    measured = simulate_brain(
        (size, size), coils=coils, acceleration=acceleration, snr=snr, seed=seed
    )
    say("finding coil sensitivities")
    began = time.perf_counter()
    scan = scan_of(measured.kspace, mask=measured.mask)
    mapping = time.perf_counter() - began
    truth = measured.reference
    rows: list[dict[str, Any]] = []
    images = {"truth": truth}
    found: dict[Method, Reconstruction] = {}
    for method in methods:
        found[method] = reconstruct(scan, method, say=say)
        one = found[method]
        status = "closed form" if one.result is None else one.result.status.name
        rows.append(_row(method.value, one.image, truth, one.misfit, one.seconds, one.weight))
        rows[-1]["status"] = status
        images[method.value] = np.abs(one.image)
    skipped: dict[str, str] = {}
    for name, make in _SIGPY.items():
        if name not in found:
            continue
        try:
            image, seconds = make(scan, found[name].weight)
        except ModuleNotFoundError:
            skipped[f"SigPy {name.value}"] = "SigPy is not installed"
            continue
        misfit = np.linalg.norm(scan.kspace - SENSE(scan.maps, scan.mask)(image))
        misfit = float(misfit / np.linalg.norm(scan.kspace))
        label = f"SigPy {name.value}"
        rows.append(_row(label, image, truth, misfit, seconds, found[name].weight))
        rows[-1]["status"] = "not certified"
        images[label] = np.abs(image)
    setting = (
        f"A simulated brain, {size}², {coils} coils, Poisson disc mask of acceleration "
        f"{acceleration:g}, signal-to-noise ratio {snr:g}, seed {seed}. Maps by ESPIRiT in "
        f"{mapping:.2f} s, for all. Errors are of magnitudes against the root sum of squares "
        "without noise (fastMRI's definitions). Seconds include the search for the weight; SigPy "
        "is handed the weight that was found, and takes its own number of wavelet levels."
    )
    environment = {"machine": machine(), "versions": versions(("sigpy",)), "date": today()}
    return MriReport(tuple(rows), images, setting, skipped, environment)


def _row(
    name: str, image: np.ndarray, truth: np.ndarray, misfit: float, seconds: float, weight: float
) -> dict[str, Any]:
    return {
        "method": name,
        "NRMSE": nrmse(image, truth),
        "PSNR, dB": psnr(image, truth),
        "SSIM": ssim(image, truth),
        "misfit": misfit,
        "weight": weight,
        "seconds": seconds,
    }


def _sigpy_sense(scan: Scan, weight: float) -> tuple[np.ndarray, float]:
    import sigpy.mri as mr  # pyright: ignore[reportMissingImports]

    lamda = weight * SENSE(scan.maps).norm_bound ** 2
    app = mr.app.SenseRecon(
        scan.kspace, scan.maps, lamda=lamda, weights=scan.mask.astype(np.float32),
        max_iter=30, show_pbar=False,
    )  # fmt: skip
    return _timed(app)


def _sigpy_wavelet(scan: Scan, weight: float) -> tuple[np.ndarray, float]:
    import sigpy.mri as mr  # pyright: ignore[reportMissingImports]

    from sciml.operators import Wavelet

    A = SENSE(scan.maps, scan.mask)
    most = largest_coefficient(Wavelet(A.domain), A.adjoint(scan.kspace))
    app = mr.app.L1WaveletRecon(
        scan.kspace, scan.maps, weight * most, weights=scan.mask.astype(np.float32),
        max_iter=100, show_pbar=False,
    )  # fmt: skip
    return _timed(app)


def _timed(app: Any) -> tuple[np.ndarray, float]:
    began = time.perf_counter()
    image = app.run()
    return image, time.perf_counter() - began


_SIGPY: dict[Method, Callable[[Scan, float], tuple[np.ndarray, float]]] = {
    Method.SENSE: _sigpy_sense,
    Method.L1_WAVELET: _sigpy_wavelet,
}
