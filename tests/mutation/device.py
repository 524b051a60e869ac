"""Safeguards of the CUDA kernels and of Gauss-Newton's held constants."""

from __future__ import annotations

from tests.mutation.mutant import Mutant

__all__ = ["DEVICE"]

COMMON = "sciml/kernels/cuda/common.cuh"
STENCIL = "sciml/kernels/cuda/stencil.cu"
GAUSS_NEWTON = "solvers/pinn/gauss_newton.py"
KERNELS = "tests/cuda/test_stencil_kernels.py::test_"
LOOKS = "tests/cuda/test_looks.py::test_"
OPTIMISER = "tests/numerics/test_pinn_optimiser.py::test_"

DEVICE: tuple[Mutant, ...] = (
    Mutant(
        "a sum waits for all threads of its block",
        COMMON,
        "    room[thread] = value;\n    __syncthreads();\n",
        "    room[thread] = value;\n",
        (KERNELS + "vectors_are_those_of_numpy",),
    ),
    Mutant(
        "fluxes wait for the neighbours that make them",
        STENCIL,
        "        __syncthreads();\n        if (inside) {\n",
        "        if (inside) {\n",
        (KERNELS + "cells_are_those_of_the_cpu",),
    ),
    Mutant(
        "shared memory is free before a sum takes it",
        STENCIL,
        "    __syncthreads();  // the room may be used again\n",
        "",
        (KERNELS + "cells_are_those_of_the_cpu",),
    ),
    Mutant(
        "a piece in the middle knows the plane before it",
        STENCIL,
        "before = into(a0, at, plane, kc, xc, unit, k, x);",
        "before = plane ? real(0) : into(a0, at, plane, kc, xc, unit, k, x);",
        (KERNELS + "long_walks_are_in_pieces_of_few_planes",),
    ),
    Mutant(
        "tensors that torch has to watch do not go to kernels",
        "sciml/_torch.py",
        "    if (torch.is_grad_enabled() and x.requires_grad) or x.is_conj() or x.is_neg():\n",
        "    if x.is_conj() or x.is_neg():\n",
        (KERNELS + "gradients_go_the_differentiable_way",),
    ),
    Mutant(
        "costly steps are looked at one by one on a GPU",
        "sciml/solve.py",
        "(1 if on_cpu(like) else stepping.pace)",
        "(1 if on_cpu(like) else 16)",
        (LOOKS + "costly_steps_are_not_taken_in_vain",),
    ),
    Mutant(
        "unknown constants are held at first",
        GAUSS_NEWTON,
        "return (), residuals.scale([0.0] * len(units))",
        "return (), residuals.scale(units)",
        (OPTIMISER + "constants_are_held_at_first",),
    ),
    Mutant(
        "constants are free once the network alone is stuck",
        GAUSS_NEWTON,
        "return self._step(residuals, now, False) if held and found.stalled else found",
        "return found",
        (OPTIMISER + "constants_are_free_once_nothing_else_lowers_the_loss",),
    ),
)
