"""Safeguards of the CUDA kernels and of Gauss-Newton's held constants."""

from __future__ import annotations

from tests.mutation.mutant import Mutant

__all__ = ["DEVICE"]

COMMON = "sciml/kernels/cuda/common.cuh"
STENCIL = "sciml/kernels/cuda/stencil.cu"
CHEBYSHEV = "sciml/kernels/cuda/multigrid_cycle_chebyshev.cu"
SMALL = "sciml/kernels/cuda/small.cu"
GAUSS_NEWTON = "solvers/pinn/gauss_newton.py"
KERNELS = "tests/cuda/test_stencil_kernels.py::test_"
CYCLE = "tests/cuda/test_multigrid_kernels.py::test_"
SYSTEMS = "tests/cuda/test_small_systems.py::test_"
LOOKS = "tests/cuda/test_looks.py::test_"
REPLAY = "solvers/krylov/_replay.py"
GRAPHS = "tests/cuda/test_graphs.py::test_"
AUTO = "solvers/auto.py"
ON_HOST = "solvers/on_host.py"
CHOICES = "tests/cuda/test_auto.py::test_"
OPTIMISER = "tests/numerics/test_pinn_optimiser.py::test_"

DEVICE: tuple[Mutant, ...] = (
    Mutant(
        "the scale of a float32 cycle is of all entries",
        "sciml/kernels/cuda/multigrid_cycle_finest.cu",
        "        most = fmax(most, fabs((double)r[i]));\n",
        "        if (i % 32 == 0) most = fmax(most, fabs((double)r[i]));\n",
        (
            "tests/cuda/test_multigrid_kernels.py::test_a_vector_that_is_0_nearly_everywhere_is_brought_near_1",
        ),
    ),
    Mutant(
        "set-up ends when the device has done it",
        "sciml/solve.py",
        "        wait(next(iter(self.problem.inputs().values())))",
        "        next(iter(self.problem.inputs().values()))",
        ("tests/cuda/test_without_a_gpu.py::test_set_up_is_waited_for",),
    ),
    Mutant(
        "a plan of cufinufft is of one stream",
        "sciml/operators/_plans.py",
        "wanted = kind, count, stream_of(x)",
        "wanted = kind, count, None",
        ("tests/numerics/test_nufft.py::test_what_cufinufft_is_asked_for",),
    ),
    Mutant(
        "a set-up that fails ends a solve, whatever the solver",
        "sciml/solve.py",
        "            return self.solver  # no step will be taken\n",
        "",
        ("tests/faults/test_promises_breakdown.py::test_a_failed_set_up_ends_every_solver",),
    ),
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
        "a small system's direction is whole before it is multiplied",
        SMALL,
        "        __syncthreads();\n        real curvature = 0;\n",
        "        real curvature = 0;\n",
        (SYSTEMS + "threads_in_any_order_give_the_same_bits",),
    ),
    Mutant(
        "a sum over a block waits for its warps",
        SMALL,
        "        gather(curvature, room + 32);\n        __syncthreads();\n",
        "        gather(curvature, room + 32);\n",
        (SYSTEMS + "threads_in_any_order_give_the_same_bits",),
    ),
    Mutant(
        "a small system stops by itself",
        SMALL,
        "!flag && estimate > goal",
        "!flag && estimate == estimate",
        (SYSTEMS + "one_launch_is_a_solve_and_nothing_waits_within",),
    ),
    Mutant(
        "a small system that is not positive is told",
        SMALL,
        "if (rz < 0 || curvature <= 0) {",
        "if (false) {",
        (SYSTEMS + "a_bad_member_spoils_no_other",),
    ),
    Mutant(
        "NaN does not reach the x of a small system",
        SMALL,
        "if (curvature != curvature) {",
        "if (false) {",
        (SYSTEMS + "nan_from_inside_leaves_a_finite_x",),
    ),
    Mutant(
        "systems that no block holds go the usual way",
        "solvers/small.py",
        "if device is None or not fits(device, A.domain.shape, A.domain.dtype):",
        "if device is None:",
        (SYSTEMS + "what_no_block_holds_goes_the_usual_way",),
    ),
    Mutant(
        "shared memory beyond the usual is asked for",
        "sciml/kernels/cuda/_device.py",
        "    if room:\n",
        "    if False:\n",
        (
            "tests/cuda/test_without_a_gpu.py::test_"
            "a_launch_asks_for_shared_memory_beyond_the_usual",
        ),
    ),
    Mutant(
        "Chebyshev's second step remembers the first",
        CHEBYSHEV,
        "found = own + (c.again * (own - z[at]) + c.next * step);",
        "found = own + c.next * step;",
        (CYCLE + "chebyshevs_steps_are_those_of_its_polynomial",),
    ),
    Mutant(
        "Chebyshev's cycle leaves solid cells alone",
        CHEBYSHEV,
        "    real found = -v * r(at);\n",
        "    real found = 0;\n",
        (CYCLE + "chebyshev_takes_these_operators_too",),
    ),
    Mutant(
        "centres are corrected where Chebyshev smooths",
        "sciml/kernels/cuda/multigrid.py",
        "return 0b1111 if self.flat else 0b11111111",
        "return 0b1111 if self.flat else 0b1111111",
        (CYCLE + "chebyshevs_steps_are_those_of_its_polynomial",),
    ),
    Mutant(
        "Chebyshev is refused in host memory",
        "solvers/multigrid/recipe.py",
        "if self.smoother is not Smoother.GAUSS_SEIDEL:",
        "if False:",
        (CYCLE + "what_is_not_supported_is_told",),
    ),
    Mutant(
        "costly steps are looked at one by one on a GPU",
        "sciml/solve.py",
        "(1 if on_cpu(like) else stepping.pace)",
        "(1 if on_cpu(like) else 16)",
        (LOOKS + "costly_steps_are_not_taken_in_vain",),
    ),
    Mutant(
        "steps in host memory count like others",
        ON_HOST,
        "counted_beside(problem.A, self.copy)",
        "self.copy",
        (CHOICES + "steps_and_counts_are_those_of_the_host",),
    ),
    Mutant(
        "another operator is not taken for the one in host memory",
        ON_HOST,
        "fresh = same(problem.A, self.operator) and",
        "fresh = self.copy is not None and",
        (CHOICES + "the_operator_is_copied_once",),
    ),
    Mutant(
        "an operator that does not take NumPy's arrays is not moved",
        ON_HOST,
        "    if not isinstance(y, np.ndarray):\n",
        "    if False:\n",
        (CHOICES + "an_operator_that_cannot_be_moved_is_told_and_stays",),
    ),
    Mutant(
        "a copy to the host is told",
        AUTO,
        "return (*told, COPIES) if isinstance(self.chosen, OnHost) else told",
        "return told",
        (CHOICES + "small_systems_are_taken_to_the_host",),
    ),
    Mutant(
        "the unknowns of all members decide where they are solved",
        AUTO,
        "return size * int(np.prod(problem.batch, dtype=int))",
        "return size",
        (CHOICES + "the_unknowns_of_all_members_count",),
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
    Mutant(
        "a copy on the host is of values that stay",
        ON_HOST,
        " and versions == self.versions",
        "",
        (CHOICES + "a_matrix_that_changed_in_place_is_copied_anew",),
    ),
    Mutant(
        "a choice is for one size of b",
        AUTO,
        " and place == self.place",
        "",
        (CHOICES + "auto_looks_anew_where_b_is_another",),
    ),
    Mutant(
        "a graph's states are arrays of their own",
        REPLAY,
        "ends = (_copied(a) for a in _arrays(self.end))",
        "ends = _arrays(self.end)",
        (GRAPHS + "states_that_were_given_out_stay_as_they_are",),
    ),
    Mutant(
        "what a replay applies is counted",
        REPLAY,
        "            add_applications(A, tally)\n",
        "            pass\n",
        (GRAPHS + "a_graph_gives_the_bits_of_its_steps",),
    ),
    Mutant(
        "a graph is of one operator",
        REPLAY,
        "        return id(inner), *map(",
        "        return type(inner), *map(",
        (GRAPHS + "another_operator_is_recorded_anew",),
    ),
    Mutant(
        "a graph is of values that stay",
        REPLAY,
        "id(inner), *map(version, inner.params.values())",
        "(id(inner),)",
        (GRAPHS + "values_that_change_in_place_are_recorded_anew",),
    ),
    Mutant(
        "plans that keep memory are not recorded",
        REPLAY,
        "            if not part.recordable:\n",
        "            if False:\n",
        (GRAPHS + "transforms_are_not_recorded",),
    ),
    Mutant(
        "a tape is of one thread",
        REPLAY,
        "class Tape(threading.local):",
        "class Tape:",
        (GRAPHS + "threads_have_graphs_of_their_own",),
    ),
    Mutant(
        "a hierarchy of PyAMG restricts by the transpose of its interpolation",
        "solvers/precond/_pyamg.py",
        "    if not abs(R.T - scale * P).max() <= near * abs(scale * P).max():\n",
        "    if False:\n",
        ("tests/numerics/test_from_pyamg.py::test_bad_hierarchies_are_refused",),
    ),
)
