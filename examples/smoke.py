"""Smoke past an obstacle, in 2-D or 3-D: pressure by several methods, certified at every step.

All methods solve the same systems, from their own last pressure, to the same tolerance. Written:
smoke.gif, and smoke.csv with each method's figures for each frame (max, rms: of div u dt).

python examples/smoke.py [--three] [--cells 96] [--frames 120] [--out folder]
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from PIL import Image

from sciml import Stop
from sciml.fluids import MACGrid, Plume, ball, bunny, project
from sciml.networks import Pretrained, load_network
from solvers import CG, IC0, Direct, Multigrid, NeuralDirections

arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
arguments.add_argument("--three", action="store_true", help="3-D instead of 2-D")
arguments.add_argument("--cells", type=int, help="along the height: 96, in 3-D 48")
arguments.add_argument("--frames", type=int, help="time steps: 120, in 3-D 60")
arguments.add_argument("--out", type=Path, default=Path(), help="folder for what is written")
options = arguments.parse_args()
options.out.mkdir(parents=True, exist_ok=True)
ndim = 3 if options.three else 2
n = options.cells or (48 if options.three else 96)
frames = options.frames or (60 if options.three else 120)

shape = (n, *(2 * n // 3,) * (ndim - 1))
middle = (1 / 3,) * (ndim - 2)
grid = MACGrid(shape, solid=bunny(shape, (0.5, *middle, 0.36), 0.17))
plume = Plume(grid, ball(shape, (0.1, *middle, 0.33), 0.08))
dt, stop = 3 / n, Stop(rtol=1e-6)

methods = {"CG": CG(), "CG, IC(0)": CG(M=IC0()), "CG, multigrid": CG(M=Multigrid())}
if ndim == 2:  # in 3-D the factors fill up
    methods["sparse LU"] = Direct()
for name, weights in (("DCDM", f"DCDM_{ndim}D"), ("multilevel network", f"DIRECTIONS_{ndim}D")):
    methods[name] = NeuralDirections(load_network(Pretrained[weights]))

flow = plume.start()
first = plume.tentative(flow, dt).velocity
for method in methods.values():  # kernels are compiled before anything is timed
    project(grid, first, dt, method, stop=stop)

FIELDS = ("frame", "method", "iterations", "setup", "seconds", "residual", "max", "rms", "bound")
pressures, rows, pictures = dict.fromkeys(methods, flow.pressure), [], []


def picture(smoke: np.ndarray) -> Image.Image:
    """Seen from the side: the mean along the line of sight, the obstacle in grey."""
    seen = smoke.mean(axis=1) * 4 if ndim == 3 else smoke
    solid = grid.solid.any(axis=1) if ndim == 3 else grid.solid
    colours = colormaps["inferno"](np.clip(seen, 0, 1))[..., :3]
    # In 3-D smoke before the obstacle is still seen.
    colours[solid] = 0.5 + 0.5 * colours[solid] * (ndim == 3)
    image = Image.fromarray((255 * colours[::-1]).astype(np.uint8))
    scale = max(1, 480 // n)
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.BICUBIC)


for frame in range(frames):
    before = plume.tentative(flow, dt)
    for name in methods:
        found = project(grid, before.velocity, dt, methods[name], p0=pressures[name], stop=stop)
        methods[name], pressures[name] = found.result.solver, found.pressure
        result, left = found.result, found.divergence
        cost = (int(result.iterations), result.seconds.setup, result.seconds.solve)
        certified = (float(result.residual), left.max, left.rms, left.bound)
        rows.append(dict(zip(FIELDS, (frame, name, *cost, *certified), strict=True)))
        if name == "CG, multigrid":
            flow = type(flow)(found.velocity, found.pressure, before.smoke, before.time)
    pictures.append(picture(flow.smoke))
    if frame % 20 == 0:
        print(f"frame {frame} of {frames}, {flow.smoke.sum() / before.smoke.size:.1%} smoke")

with open(options.out / "smoke.csv", "w", newline="", encoding="utf-8") as handle:
    table = csv.DictWriter(handle, FIELDS)
    table.writeheader()
    table.writerows(rows)
pictures[0].save(options.out / "smoke.gif", save_all=True, append_images=pictures[1:], duration=40)

print(f"{shape} cells, {frames} frames: medians, set-up once, largest residual and div u dt")
for name in methods:
    own = [r for r in rows if r["method"] == name]
    steps, seconds = (np.median([r[f] for r in own]) for f in ("iterations", "seconds"))
    worst, left = (max(r[f] for r in own) for f in ("residual", "max"))
    print(f"{name:18} {steps:5.0f} iterations {1e3 * seconds:8.2f} ms, set-up "
          f"{1e3 * own[0]['setup']:7.1f} ms, residual {worst:.1e}, div {left:.1e}")  # fmt: skip
    assert all(r["rms"] <= r["bound"] * 1.001 for r in own), name
