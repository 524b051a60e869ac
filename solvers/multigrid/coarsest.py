"""Small things of a hierarchy's set-up: rings, masses, and the coarsest level's inverse."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from sciml.kernels.box import assemble3d, blocks2d
from sciml.kernels.box.relax3d import directions_of

if TYPE_CHECKING:
    from .plans import Plan

__all__ = ["assemble", "close_rings", "dense_inverse"]

# Eigenvalues of the scaled matrix below this count as zero.
_NULL = 1e-11


def close_rings(links: np.ndarray, plan: Plan, rings: tuple[bool, ...], lanes: int) -> None:
    """Make the last point of each periodic axis meet the first.

    An axis of odd length gets one more point: without mass, halfway along each link that closes the
    ring, which is split into two links of twice its strength, so that eliminating the point gives
    the link back. Links that close it diagonally are moved, half to each of the two they lie
    between, which changes the preconditioner but not what is solved.
    """
    B = lanes
    if len(rings) == 3:
        _close_box(links, plan, rings, lanes)
        return
    if rings[1] and plan.padded[1] != plan.shape[1]:
        _split_columns(links, plan, B)
    if rings[0] and plan.padded[0] != plan.shape[0]:
        _split_rows(links, plan, B, rings[1])
    if rings[1]:
        links[..., :B], links[..., -B:] = links[..., -2 * B : -B], links[..., B : 2 * B].copy()
    if rings[0]:
        links[:, 0], links[:, -1] = links[:, -2], links[:, 1]


def _close_box(links: np.ndarray, plan: Plan, rings: tuple[bool, ...], B: int) -> None:
    """The same in three dimensions."""
    odd = [a for a in range(3) if rings[a] and plan.padded[a] != plan.shape[a]]
    if odd:
        full = np.zeros((*links.shape[:3], plan.width // B * 2 - 2, B), links.dtype)
        split = links.reshape(*links.shape[:4], -1, B)
        full[..., 1::2, :], full[..., 0::2, :] = split[..., 0, 1:, :], split[..., 1, :-1, :]
        for axis in odd:
            _split_seam(full, plan.shape[axis], axis, rings)
        split[..., 0, 1:, :], split[..., 1, :-1, :] = full[..., 1::2, :], full[..., 0::2, :]
    if rings[2]:
        links[..., :B], links[..., -B:] = links[..., -2 * B : -B], links[..., B : 2 * B].copy()
    if rings[1]:
        links[:, :, 0], links[:, :, -1] = links[:, :, -2], links[:, :, 1]
    if rings[0]:
        links[:, 0], links[:, -1] = links[:, -2], links[:, 1]


def _split_seam(full: np.ndarray, last: int, axis: int, rings: tuple[bool, ...]) -> None:
    """Natural links (links, planes + 2, rows + 2, columns + 2, lanes), with one more point."""
    layers, others = np.moveaxis(full, axis + 1, 1), [a for a in range(3) if a != axis]
    directions = [tuple(d) for d in directions_of(full).tolist()]
    direct = np.zeros_like(layers[0, 0])
    for number, direction in enumerate(directions):
        if not direction[axis]:
            continue
        at = last if direction[axis] > 0 else 1
        half = layers[number, at] / 2
        beyond = half
        for place, other in enumerate(others):
            beyond = _moved(beyond, direction[other], place, rings[other])
        direct += half + beyond
        layers[number, at] = 0
        across = tuple(0 if a == axis else x for a, x in enumerate(direction))
        back = tuple(-x for x in across)
        for layer in (last, 1) if any(across) else ():
            if across in directions:
                layers[directions.index(across), layer] += half
            else:  # kept by the point it leads to
                layers[directions.index(back), layer] += beyond
    layers[:, last + 1] = 0
    along = directions.index(tuple(int(a == axis) for a in range(3)))
    layers[along, last : last + 2, 1:-1, 1:-1] = 2 * np.maximum(direct[1:-1, 1:-1], 0)


def _moved(a: np.ndarray, step: int, axis: int, ring: bool) -> np.ndarray:
    """What was at x, at x + step; an axis has one more entry at both ends."""
    if not step:
        return a
    moved = np.moveaxis(a.copy(), axis, 0)
    if ring:
        moved[1:-1] = np.roll(moved[1:-1], step, axis=0)
    else:
        moved[:] = np.roll(moved, step, axis=0)
        moved[0 if step > 0 else -1] = 0
    return np.moveaxis(moved, 0, axis)


def _split_columns(links: np.ndarray, plan: Plan, B: int) -> None:
    last = (plan.width // B - 2) * B  # the last slot: of the last column if even, of the new if odd
    here, first = slice(last, last + B), slice(B, 2 * B)
    direct = links[0, :, 0, here].copy()
    if len(links) == 4:
        half = (links[2, :, 0, here] + links[3, :, 0, first]) / 2
        direct += half
        direct[1:] += half[:-1]
        links[1, :, 0, here] += half
        links[1, :, 0, first] += half
        links[2, :, 0, here] = 0
        links[3, :, 0, first] = 0
    links[:, :, 1, here] = 0
    links[0, :, 0, here] = links[0, :, 1, here] = 2 * np.maximum(direct, 0)


def _split_rows(links: np.ndarray, plan: Plan, B: int, ring: bool) -> None:
    last, first = plan.shape[0], 1  # as rows of the links
    direct = links[1, last].copy()
    if len(links) == 4:
        fall, rise = links[2, last] / 2, links[3, last] / 2
        direct += fall + rise + _shift(fall, 1, B, ring) + _shift(rise, -1, B, ring)
        across = fall + _shift(rise, -1, B, ring)
        links[0, last] += across
        links[0, first] += across
        links[2, last] = links[3, last] = 0
    links[:, last + 1] = 0
    links[1, last] = links[1, last + 1] = 2 * np.maximum(direct, 0)


def _shift(row: np.ndarray, by: int, B: int, ring: bool) -> np.ndarray:
    """The split row (2, W) of which column c holds what column c − by (1 or −1) held."""
    columns = 2 * (row.shape[1] // B - 2)
    natural = np.stack([row[0, B:-B], row[1, B:-B]]).reshape(2, -1, B)
    flat = np.roll(natural.transpose(1, 0, 2).reshape(columns, B), by, axis=0)
    if not ring:
        flat[0 if by > 0 else -1] = 0
    moved = np.zeros_like(row)
    moved[:, B:-B] = flat.reshape(-1, 2, B).transpose(1, 0, 2).reshape(2, -1)
    return moved


def assemble(
    links: np.ndarray,
    mass: np.ndarray | None,
    shape: tuple[int, ...],
    rings: tuple[bool, ...],
    lanes: int,
) -> np.ndarray:
    """(lanes, N, N) float64 matrices of a small level; links to what lies outside are in them."""
    N = math.prod(shape)
    A = np.empty((lanes, N, N))
    held = np.empty((*[0] * (len(shape) - 1), 2, 0), links.dtype) if mass is None else mass
    if len(shape) == 3:
        assemble3d.assemble(A, links, held, shape, rings, lanes)
    else:
        blocks2d.assemble(A, links, held, *shape, rings, lanes)
    return A


def dense_inverse(A: np.ndarray, lanes: int) -> np.ndarray:
    """The pseudo-inverses of (lanes, N, N) positive semidefinite matrices, as (N, N lanes)."""
    diagonal = np.einsum("lii->li", A)
    root = np.where(diagonal > 0, diagonal, 1) ** -0.5
    values, vectors = np.linalg.eigh(root[:, :, None] * A * root[:, None, :])
    keep = values > _NULL * np.maximum(values[:, -1:], np.finfo(float).tiny)
    inverse = np.where(keep, 1 / np.where(keep, values, 1), 0)
    scaled = root[:, :, None] * vectors
    full = (scaled * inverse[:, None, :]) @ scaled.transpose(0, 2, 1)
    return np.ascontiguousarray(full.transpose(1, 2, 0)).reshape(A.shape[1], -1)
