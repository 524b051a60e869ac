"""A hundred implicit steps of heat conduction whose coefficient changes at every step.

Three ways to precondition each step: a fresh multigrid, one that takes over the memory of the last
(`update`), and the first one kept as it is.

python examples/heat_with_changing_k.py [cells per side]
"""

import sys
import time

import numpy as np

from sciml import LinearSystem, Stop, solve
from sciml.operators import Diffusion, Identity
from solvers import CG, Multigrid

n = int(sys.argv[1]) if len(sys.argv) > 1 else 512
steps, dt = 100, 1e-3
y, x = np.meshgrid(*[(np.arange(n) + 0.5) / n] * 2, indexing="ij")
source = np.exp(-200 * ((x - 0.3) ** 2 + (y - 0.5) ** 2))


def system(step: int) -> Diffusion:
    """A front of well-conducting material moves to the right, through layers."""
    front = 1 / (1 + np.exp(np.clip(40 * (x - step / steps), -500, 500)))
    return Diffusion((0.01 + front) * np.where(np.sin(60 * y) > 0, 1.0, 0.05))


def run(way: str) -> tuple[float, int, np.ndarray]:
    u, spent, iterations, M = np.zeros((n, n)), 0.0, 0, None
    for step in range(steps):
        A = system(step)
        A = A + (1 / dt) * Identity(A.domain)
        began = time.perf_counter()
        if M is None or way == "fresh":
            M = Multigrid()(A)
        elif way == "update":
            M = M.update(A)
        # u itself is the first guess: it changes little in one step
        result = solve(LinearSystem(A, u / dt + source), CG(M=M), x0=u, stop=Stop(rtol=1e-8))
        spent += time.perf_counter() - began
        u, iterations = result.x, iterations + int(result.iterations)
    return spent, iterations, u


run("fresh") if n <= 128 else None  # kernels are compiled before anything is timed
found = {way: run(way) for way in ("fresh", "update", "kept")}
for way, (spent, iterations, u) in found.items():
    ratio = found["fresh"][0] / spent
    print(f"{way:7} {spent:6.2f} s, {iterations} iterations, {ratio:.2f} x as fast as fresh")
    assert np.linalg.norm(u - found["fresh"][2]) < 1e-5 * np.linalg.norm(u)
