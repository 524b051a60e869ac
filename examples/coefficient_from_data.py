"""Recover a diffusion coefficient from a solution, by gradients through certified solves.

python examples/coefficient_from_data.py
"""

import torch

from sciml import LinearSystem, Stop, solve
from sciml.operators import Diffusion
from solvers import CG, Jacobi

torch.manual_seed(0)
n = 16
y, x = torch.meshgrid(*[(torch.arange(n) + 0.5) / n] * 2, indexing="ij")
truth = (1 + torch.exp(-30 * ((x - 0.3) ** 2 + (y - 0.6) ** 2))).double()
b = torch.ones(n, n, dtype=torch.float64)
stop = Stop(rtol=1e-10)


def solution(k: torch.Tensor) -> torch.Tensor:
    return solve(LinearSystem(Diffusion(k), b), CG(M=Jacobi()), stop=stop).x


measured = solution(truth)
log_k = torch.zeros(n, n, dtype=torch.float64, requires_grad=True)
optimiser = torch.optim.LBFGS([log_k], max_iter=40, line_search_fn="strong_wolfe")
scale = measured.norm()


def misfit() -> torch.Tensor:
    optimiser.zero_grad()
    k = log_k.exp()
    rough = (log_k.diff(dim=0) ** 2).sum() + (log_k.diff(dim=1) ** 2).sum()
    loss = ((solution(k) - measured) / scale).square().sum() + 1e-7 * rough
    loss.backward()
    return loss


first = misfit().item()
optimiser.step(misfit)
k = log_k.exp().detach()
error = float((k - truth).norm() / truth.norm())
start = float((1 - truth).norm() / truth.norm())
print(f"misfit {first:.2e} -> {misfit().item():.2e}, error of k {start:.1%} -> {error:.1%}")
assert error < start / 2
