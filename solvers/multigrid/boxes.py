"""The kernels of black-box multigrid for each number of dimensions."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from sciml.kernels.box import (
    coarsen2d,
    coarsen3d,
    cycle2d,
    cycle3d,
    finest2d,
    finest3d,
    revisit2d,
    revisit3d,
    tail2d,
    tail3d,
    weights2d,
)

__all__ = ["BOXES", "Box"]

Kernel = Callable[..., None]


class Box(NamedTuple):
    """See the kernels of these names."""

    links: int  # that a point of a coarse level stores
    weights: int  # that a cell stores
    links_of_cells: tuple[Kernel, Kernel]  # serial, parallel
    links_of_nodes: tuple[Kernel, Kernel]
    # Passes over the weights of coarse levels before `coarsen`: where k is smooth, where it jumps;
    # and their kernels.
    passes: tuple[tuple[int, ...], tuple[int, ...]]
    edges: tuple[Kernel, Kernel]
    coarsen: Kernel
    coarsen_parallel: Kernel
    down: Kernel
    down_parallel: Kernel
    up: Kernel
    up_parallel: Kernel
    residual: Kernel
    residual_parallel: Kernel
    run: Kernel


BOXES = {
    2: Box(
        4,
        2,
        (finest2d.links_of_cells, finest2d.links_of_cells_parallel),
        (finest2d.links_of_nodes, finest2d.links_of_nodes_parallel),
        (weights2d.SMOOTH, weights2d.JUMPS),
        (weights2d.edges, weights2d.edges_parallel),
        coarsen2d.coarsen,
        coarsen2d.coarsen_parallel,
        cycle2d.down,
        cycle2d.down_parallel,
        cycle2d.up,
        cycle2d.up_parallel,
        revisit2d.residual,
        revisit2d.residual_parallel,
        tail2d.run,
    ),
    3: Box(
        13,
        12,
        (finest3d.links_of_cells, finest3d.links_of_cells_parallel),
        (finest3d.links_of_nodes, finest3d.links_of_nodes_parallel),
        ((), ()),
        (coarsen3d.coarsen, coarsen3d.coarsen_parallel),
        coarsen3d.coarsen,
        coarsen3d.coarsen_parallel,
        cycle3d.down,
        cycle3d.down_parallel,
        cycle3d.up,
        cycle3d.up_parallel,
        revisit3d.residual,
        revisit3d.residual_parallel,
        tail3d.run,
    ),
}
