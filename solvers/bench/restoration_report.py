"""What `run_restoration` found: a row an image, the learned prior above its rivals, pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sciml.io import atomic_file, write_json

from .report import environment_text, markdown_table, seconds_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LEARNED", "MEASURED", "RestorationReport", "Row", "network_note"]

LEARNED, MEASURED = "learned", "measured"
# dB that the learned prior is meant to be above total variation at its best weight.
_TARGETS = {"deblur-1.6": 0.7, "deblur-1.0": 0.7, "cs": 1.5, "ct": 1.5, "ct-60": 1.5}
_BRIGHTER = 5  # errors in the picture
_NOTES = (
    "`tv` (ADMM) and `l1-wavelet` (FISTA, db4, orthonormal, not shift-invariant) have for each "
    "image the weight of the highest PSNR against the truth, `fbp` the window: their best case, "
    "which no user has. Each runs until its PSNR changes by less than 0.005 dB in 50 iterations. "
    "Their weights are in units of the data term divided by sigma².",
    "`learned` is plug-and-play ADMM at its prior's native step, with the noise level s_m = c "
    "sigma that stands above, begun at higher levels; c was chosen by two of the images that the "
    "network was trained on, one for all images of a problem. Of the truth it knows nothing.",
    "Seconds are of the run that counts: neither the search for a weight nor the watching of "
    "convergence is in them. They compare within this run only.",
    "DRUNet and GS-DRUNet (deepinv) are not here: their weights are on the net alone.",
    "Proven: whether the theorem that no iteration raises the augmented Lagrangian applies "
    "(rho >= L). Where it does not, convergence is what was seen: residual is that of the gradient "
    "mapping, relative to ||A^H y|| / sigma², evaluated in double precision or bounded from above, "
    "and fixed point the relative change of the last step.",
)


def network_note(weights: Path) -> str:
    """Which network the learned prior is, by its card: command, data, SHA-256."""
    from sciml.networks import read_card

    card = read_card(weights)
    command, data = (card["about"].get(name, "unknown") for name in ("command", "data"))
    return f"The network: `{command}`, on {data}; weights of SHA-256 {card['sha256']}."


@dataclass(frozen=True)
class Row:
    """A method on one image. weight: None where it has none. seconds: of the run that counts.

    certificate: of iterations, `residual`; of the learned prior `fixed_point`, `level`, `proven`
    and `explained`, too.
    """

    problem: str
    image: str
    method: str
    psnr: float
    ssim: float
    weight: float | None
    seconds: float
    iterations: int
    status: str
    certificate: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class RestorationReport:
    """All rows of a run.

    told: problem -> in words. images: name -> shape. pictures: problem -> method -> its image of
    the first one. interrupted: whether rows are missing. notes: further remarks. asked: names of
    methods.
    """

    told: Mapping[str, str]
    images: Mapping[str, tuple[int, ...]]
    rows: tuple[Row, ...]
    pictures: Mapping[str, Mapping[str, np.ndarray]] = field(repr=False)
    seed: int
    interrupted: bool
    environment: dict[str, Any]
    notes: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()

    @property
    def methods(self) -> list[str]:
        return list(dict.fromkeys(row.method for row in self.rows))

    def of(self, problem: str, method: str) -> list[Row]:
        """One row an image."""
        return [row for row in self.rows if (row.problem, row.method) == (problem, method)]

    def above(self, problem: str, rival: str) -> np.ndarray:
        """dB of PSNR of the learned prior above a rival, on each image that both restored."""
        theirs = {row.image: row.psnr for row in self.of(problem, rival)}
        mine = self.of(problem, LEARNED)
        return np.array([row.psnr - theirs[row.image] for row in mine if row.image in theirs])

    # -- tables ------------------------------------------------------------------------------

    def table(self) -> list[dict[str, str]]:
        """A row for each problem and method: means over images, and how their solves ended."""
        rows = []
        for problem in self.told:
            for method in self.methods:
                own = self.of(problem, method)
                if not own:
                    continue
                mean = lambda name, own=own: float(np.mean([getattr(r, name) for r in own]))  # noqa: E731
                rows.append(
                    {
                        "problem": problem,
                        "method": method,
                        "PSNR, dB": f"{mean('psnr'):.2f}",
                        "SSIM": f"{mean('ssim'):.3f}",
                        "iterations": f"{mean('iterations'):.0f}" if own[0].iterations else "",
                        "seconds": "" if method == MEASURED else seconds_text(mean("seconds")),
                        "status": "" if method == MEASURED else _ends(own),
                    }
                )
        return rows

    def gains(self) -> list[dict[str, str]]:
        """The learned prior above each rival at its best weight: mean, least and most, dB."""
        rivals = [m for m in self.methods if m not in (LEARNED, MEASURED)]
        if not rivals or LEARNED not in self.methods:
            return []
        rows = []
        for problem in self.told:
            row = {"dB above, mean (least to most)": problem}
            for rival in rivals:
                d = self.above(problem, rival)
                row[rival] = f"{d.mean():+.2f} ({d.min():+.2f} to {d.max():+.2f})" if len(d) else ""
            target = _TARGETS.get(problem)
            row["asked of tv"] = "" if target is None else f"+{target:g}"
            rows.append(row)
        return rows

    def certificates(self) -> list[dict[str, str]]:
        """Of the learned prior: how often it converged, and the worst of what was seen."""
        rows = []
        for problem in self.told:
            own = self.of(problem, LEARNED)
            if not own:
                continue
            worst = lambda name, own=own: max(r.certificate[name] for r in own)  # noqa: E731
            done = sum(row.status == "CONVERGED" for row in own)
            proven = {True: "yes", False: "no", None: "not known"}
            rows.append(
                {
                    "problem": problem,
                    "s_m": f"{worst('level'):.3g}",
                    "converged": f"{done} of {len(own)}",
                    "iterations, most": str(max(row.iterations for row in own)),
                    "residual, worst": f"{worst('residual'):.1e}",
                    "fixed point, worst": f"{worst('fixed_point'):.1e}",
                    "proven": proven[own[0].certificate["proven"]],
                }
            )
        return rows

    def each(self) -> list[dict[str, str]]:
        """PSNR of every image by every method."""
        rows = []
        for problem in self.told:
            for image in self.images:
                found = {r.method: r for r in self.rows if (r.problem, r.image) == (problem, image)}
                if found:
                    cells = {m: f"{found[m].psnr:.2f}" if m in found else "" for m in self.methods}
                    rows.append({"PSNR, dB": problem, "image": image, **cells})
        return rows

    def markdown(self) -> str:
        e = self.environment
        where = environment_text(e["machine"], e["versions"], e["date"])
        lines = ["# Image restoration", "", where, ""]
        lines += [f"- `{name}`: {told}." for name, told in self.told.items()]
        sizes = ", ".join(f"{n} ({' x '.join(map(str, s))})" for n, s in self.images.items())
        lines += ["", f"Images: {sizes}; seed {self.seed}. PSNR and SSIM are for grey values of 0 "
                  "to 1, to which images are clipped first.", ""]  # fmt: skip
        if self.interrupted:
            lines += ["Interrupted: what was complete is here.", ""]
        sections: tuple[tuple[str, Callable[[], list[dict[str, str]]]], ...] = (
            ("The learned prior above its rivals", self.gains),
            ("Means over images", self.table),
            ("Certificates of the learned prior", self.certificates),
            ("Every image", self.each),
        )
        for title, rows in sections:
            if found := rows():
                lines += [f"## {title}", "", *markdown_table(found), ""]
        lines += [f"- {note}" for note in (*_NOTES, *self.notes)]
        return "\n".join(lines).rstrip() + "\n"

    def left_out(self) -> list[str]:
        """Methods that were asked for and have no row, as they are for other problems."""
        return [] if self.interrupted else [m for m in self.asked if m not in self.methods]

    # -- files -------------------------------------------------------------------------------

    def record(self) -> dict[str, Any]:
        """Everything but pictures, for JSON."""
        return {
            "title": "Image restoration",
            "problems": dict(self.told),
            "images": {name: list(shape) for name, shape in self.images.items()},
            "seed": self.seed,
            "interrupted": self.interrupted,
            "notes": [*_NOTES, *self.notes],
            "rows": [asdict(row) for row in self.rows],
            **self.environment,
        }

    def write(self, folder: Path, stem: str = "restoration") -> list[Path]:
        """STEM.json, .md and, where an image was restored, .png in `folder`, made if missing."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{stem}.{suffix}" for suffix in ("json", "md")]
        write_json(paths[0], self.record())
        with atomic_file(paths[1], text=True) as handle:
            handle.write(self.markdown())
        if not self.pictures:
            return paths
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        shown = self._shown()
        figure = Figure(figsize=(2.2 * len(shown), 2.4 * len(self.pictures)), layout="constrained")
        canvas = FigureCanvasAgg(figure)
        self.draw(figure)
        paths.append(folder / f"{stem}.png")
        with atomic_file(paths[2]) as handle:
            canvas.print_png(handle)
        return paths

    def _shown(self) -> list[tuple[str, bool]]:
        """(method, whether its error) of each column."""
        there = dict.fromkeys(name for seen in self.pictures.values() for name in seen)
        rivals = [name for name in there if name not in ("truth", MEASURED, LEARNED)]
        errors = rivals[:1] + [LEARNED] * (LEARNED in there)
        return [*((name, False) for name in there), *((name, True) for name in errors)]

    def draw(self, figure: Figure) -> None:
        """A row for each problem: truth, what was measured, methods, and two of their errors."""
        shown = self._shown()
        grid = figure.subplots(len(self.pictures), len(shown), squeeze=False)
        for axes, (problem, seen) in zip(grid, self.pictures.items(), strict=True):
            first = next(iter(self.images))
            psnrs = {
                r.method: r.psnr for r in self.rows if (r.problem, r.image) == (problem, first)
            }
            for axis, (name, error) in zip(axes, shown, strict=True):
                axis.axis("off")
                if name not in seen:
                    continue
                image = abs(seen[name] - seen["truth"]) if error else seen[name]
                axis.imshow(image, cmap="gray", vmin=0, vmax=1 / _BRIGHTER if error else 1)
                told = f"{name}: {psnrs[name]:.2f} dB" if name in psnrs else f"{name}, {problem}"
                axis.set_title(f"|{name} − truth| × {_BRIGHTER}" if error else told, fontsize=8)


def _ends(rows: Sequence[Row]) -> str:
    """CONVERGED, or of several endings how many of each: 5 CONVERGED, 1 MAX_ITERS."""
    counts = Counter(row.status for row in rows)
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{n} {status}" for status, n in counts.most_common())
