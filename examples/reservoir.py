"""Pressure in a layered reservoir with channels: k varies by nine decades on 2048 x 2048 cells.

python examples/reservoir.py [cells per side] [picture.png]

The convergence of our methods is drawn beside that of PyAMG, where it is installed.
"""

import importlib.util
import sys
import time

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import AsinhNorm

from sciml import LinearSystem, Look, Stop, solve
from sciml.datasets import Covariance, gaussian_field
from sciml.operators import Diffusion
from sciml.operators.diffusion import Side
from solvers import AMG, CG, Multigrid

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

# Water is pressed in at the corners and taken out in the middle (a five-spot). The rock is tight
# above and below; at the left and at the right the pressure is held at 0.
wells = np.zeros((n, n))
for i, j in ((0.1, 0.1), (0.1, 0.9), (0.9, 0.1), (0.9, 0.9)):
    wells[int(i * n), int(j * n)] = 0.25 * n * n
wells[n // 2, n // 2] = -1.0 * n * n
A = Diffusion(k, boundary=(Side.NEUMANN, Side.DIRICHLET))
problem = LinearSystem(A, wells)
print(f"{n} x {n} cells, k from {k.min():.1e} to {k.max():.1e}")

courses = {}
rtol = 1e-8
stop = Stop(rtol=rtol, max_seconds=60)
for name, solver in {"multigrid": CG(M=Multigrid()), "algebraic multigrid": CG(M=AMG())}.items():
    solve(problem, solver, stop=Stop(max_iters=1), throw=False)  # kernels are compiled here
    looks: list[Look] = []
    result = solve(problem, solver, stop=stop, observe=looks.append, throw=False)
    setup = result.seconds.setup
    courses[name] = [(setup + look.seconds, float(look.estimate)) for look in looks]
    print(
        f"{name:20} {result.status.name}, {int(result.iterations)} steps, true residual "
        f"{float(result.residual):.1e}, set-up {setup:.2f} s, solve {result.seconds.solve:.2f} s"
    )
    if name == "multigrid":
        pressure = result.x
        assert result.ok

if importlib.util.find_spec("pyamg"):
    import pyamg

    matrix, b = A.assemble(), wells.ravel()  # off the clock
    began = time.perf_counter()
    levels = pyamg.smoothed_aggregation_solver(matrix)
    setup = time.perf_counter() - began
    residuals: list[float] = []
    u = levels.solve(b, tol=rtol, accel="cg", maxiter=100, residuals=residuals)
    spent = time.perf_counter() - began - setup
    when = setup + spent * np.arange(len(residuals)) / (len(residuals) - 1)
    courses["PyAMG"] = list(zip(when, residuals / np.linalg.norm(b), strict=True))
    print(
        f"{'PyAMG':20} {len(residuals) - 1} steps, true residual "
        f"{np.linalg.norm(b - matrix @ u) / np.linalg.norm(b):.1e}, set-up {setup:.2f} s, "
        f"solve {spent:.2f} s"
    )

fig, axes = plt.subplots(1, 3, figsize=(15, 4.7), layout="constrained")
axes[0].set(title="log10 k", xticks=[], yticks=[])
fig.colorbar(axes[0].imshow(log_k), ax=axes[0], shrink=0.8)
low, high = np.quantile(np.abs(pressure), [0.3, 0.999])
decades = 10.0 ** np.arange(np.ceil(np.log10(3 * low)), np.log10(high))
axes[1].set(title="pressure", xticks=[], yticks=[])
image = axes[1].imshow(pressure, cmap="RdBu_r", norm=AsinhNorm(low, -high, high))
bar = fig.colorbar(image, ax=axes[1], shrink=0.8, ticks=[*-decades[::-1], 0, *decades])
bar.minorticks_off()
for name, course in courses.items():
    axes[2].loglog(*zip(*course, strict=True), ".-", label=name)
axes[2].axhline(rtol, color="0.5", lw=0.8, ls="--")
axes[2].set(xlabel="seconds, set-up included", ylabel="relative residual", title="convergence")
axes[2].grid(True, color="0.92")
fig.legend(loc="outside lower right", ncols=len(courses), frameon=False)
fig.savefig(picture, dpi=110)
print(f"written {picture}")
