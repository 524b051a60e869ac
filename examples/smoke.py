"""Smoke past an obstacle, in 2-D or 3-D: pressure by several methods, certified at every step.

All methods solve the same systems, from their own last pressure, to the same tolerance. Written:
smoke.gif, and smoke.csv with each method's figures for each frame (max, rms: of div u dt).

python examples/smoke.py [--grid 96x64 | --grid 48x32x32] [--frames 120] [--out folder]
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


def cells(text: str) -> tuple[int, ...]:
    shape = tuple(int(n) if n.isdecimal() else 0 for n in text.split("x"))
    if len(shape) not in (2, 3) or min(shape) < 8:
        told = "two or three sides of 8 cells or more, the height first, such as 48x32x32"
        raise argparse.ArgumentTypeError(f"expected {told}, got {text}")
    return shape


arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
arguments.add_argument("--grid", type=cells, default=(96, 64), help="cells: 96x64, or 48x32x32")
arguments.add_argument("--frames", type=int, help="time steps: 120, in 3-D 60")
arguments.add_argument("--out", type=Path, default=Path(), help="folder for what is written")
options = arguments.parse_args()
options.out.mkdir(parents=True, exist_ok=True)
shape, ndim = options.grid, len(options.grid)
frames = options.frames or (60 if ndim == 3 else 120)

*middle, right = (n / shape[0] / 2 for n in shape[1:])
grid = MACGrid(shape, solid=bunny(shape, (0.5, *middle, 1.08 * right), 0.17))
plume = Plume(grid, ball(shape, (0.1, *middle, right), 0.08))
dt, stop = 3 / shape[0], Stop(rtol=1e-6)

methods = {"CG": CG(), "CG, IC(0)": CG(M=IC0()), "CG, multigrid": CG(M=Multigrid())}
if ndim == 2:  # in 3-D the factors fill up
    methods["sparse LU"] = Direct()
for name, weights in (("DCDM", f"DCDM_{ndim}D"), ("multilevel network", f"DIRECTIONS_{ndim}D")):
    methods[name] = NeuralDirections(load_network(Pretrained[weights]))

flow = plume.start()
for method in methods.values():  # kernels are compiled before anything is timed
    project(grid, plume.tentative(flow, dt).velocity, dt, method, stop=stop)

FIELDS = ("frame", "method", "iterations", "setup", "seconds", "residual", "max", "rms", "bound")
pressures, rows, pictures = dict.fromkeys(methods, flow.pressure), [], []


def picture(smoke: np.ndarray) -> Image.Image:
    """From the side, the obstacle in grey; in 3-D what smoke on each line of sight lets through."""
    seen, solid = smoke, grid.solid
    if ndim == 3:
        seen, solid = 1 - np.exp(-smoke.sum(axis=1) / (0.1 * shape[0])), solid.any(axis=1)
    colours = colormaps["inferno"](np.clip(seen, 0, 1))[..., :3]
    colours[solid] = 0.5 + 0.5 * colours[solid] * (ndim == 3)
    image = Image.fromarray((255 * colours[::-1]).astype(np.uint8))
    scale = max(1, 480 // shape[0])
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
