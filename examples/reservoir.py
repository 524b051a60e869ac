"""Pressure in a layered reservoir with channels: k varies by nine decades on 2048 x 2048 cells.

python examples/reservoir.py [cells per side] [picture.png]
"""

import sys
import time

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from sciml import LinearSystem, Look, Stop, solve
from sciml.datasets import Covariance, gaussian_field
from sciml.operators import Diffusion
from solvers import AMG, CG, Jacobi, Multigrid

n = int(sys.argv[1]) if len(sys.argv) > 1 else 2048
picture = sys.argv[2] if len(sys.argv) > 2 else "reservoir.png"
rng = np.random.default_rng(0)

# log10 k: a rough random field in layers, with two channels of sand in it.
y, x = np.meshgrid(*[(np.arange(n) + 0.5) / n] * 2, indexing="ij")
rough = gaussian_field(n, Covariance.EXPONENTIAL, 1.0, rng=rng, correlation_length=0.1)
log_k = rough + 0.5 * np.sin(40 * y)
for middle in (0.3, 0.7):
    channel = np.abs(y - middle - 0.06 * np.sin(9 * x + 5 * middle)) < 0.02
    log_k = np.where(channel, log_k + 3, log_k)
k = 10**log_k

# Water is pressed in at the corners and taken out in the middle (a five-spot).
wells = np.zeros((n, n))
for i, j in ((0.1, 0.1), (0.1, 0.9), (0.9, 0.1), (0.9, 0.9)):
    wells[int(i * n), int(j * n)] = 0.25 * n * n
wells[n // 2, n // 2] = -1.0 * n * n
problem = LinearSystem(Diffusion(k), wells)
print(f"{n} x {n} cells, k from {k.min():.1e} to {k.max():.1e}")

courses = {}
stop = Stop(rtol=1e-8, max_seconds=60)
for name, solver in {
    "multigrid": CG(M=Multigrid()),
    "algebraic multigrid": CG(M=AMG()),
    "Jacobi": CG(M=Jacobi()),
}.items():
    if name == "Jacobi" and n > 128:
        continue  # thousands of steps
    solve(problem, solver, stop=Stop(max_iters=1), throw=False)  # kernels are compiled here
    looks: list[Look] = []
    began = time.perf_counter()
    result = solve(problem, solver, stop=stop, observe=looks.append, throw=False)
    spent = time.perf_counter() - began
    courses[name] = [(result.seconds.setup + look.seconds, float(look.estimate)) for look in looks]
    print(
        f"{name:20} {result.status.name}, {int(result.iterations)} steps, true residual "
        f"{float(result.residual):.1e}, {spent:.2f} s, of which set-up {result.seconds.setup:.2f} s"
    )
    if name == "multigrid":
        pressure = result.x
        assert result.ok

fig, axes = plt.subplots(1, 3, figsize=(15, 4.4), layout="constrained")
for axis, shown, title in ((axes[0], log_k, "log10 k"), (axes[1], pressure, "pressure")):
    most = np.abs(pressure).max() / 5 if title == "pressure" else None
    low = None if most is None else -most
    image = axis.imshow(shown, cmap="RdBu_r" if most else "viridis", vmin=low, vmax=most)
    axis.set(title=title, xticks=[], yticks=[])
    fig.colorbar(image, ax=axis, shrink=0.8)
for name, course in courses.items():
    axes[2].semilogy(*zip(*course, strict=True), ".-", label=name)
axes[2].set(xlabel="seconds, set-up included", ylabel="relative residual", title="convergence")
axes[2].legend()
fig.savefig(picture, dpi=110)
print(f"written {picture}")
