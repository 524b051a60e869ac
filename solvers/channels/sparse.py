"""Channel estimation by few plane waves: orthogonal matching pursuit and the LASSO."""

from __future__ import annotations

import math
import time

import numpy as np

from sciml import Gaussian, InverseProblem, Stop, solve
from sciml._checks import integer, number
from sciml.operators import Pilots, PlaneWaves
from sciml.operators.channel import plane_waves
from sciml.priors import L1

from ..proximal import FISTA
from .estimate import ChannelEstimate, checked, finished

__all__ = ["lasso", "omp"]

_GROUP = 8  # members whose atoms are kept at a time


def lasso(
    Y: np.ndarray,
    P: np.ndarray,
    sigma2: float,
    *,
    oversampling: float = 2.0,
    scale: float = 0.5,
    stop: Stop | None = None,
) -> ChannelEstimate:
    """H = B_r G B_t^T with G of least ||Y − H P||² / 2σ² + w ||G||_1, by FISTA, certified.

    w = scale sqrt(log N) a / σ for N directions, a the norm of an atom in the data: with scale 1
    noise alone leaves G = 0 most of the time (Donoho and Johnstone, Biometrika 81, 1994, for
    complex noise). That is the threshold of least worst case and shrinks what is there too much;
    half of it estimates better from 0 to 30 dB, and leaves a misfit of about 0.9.

    Args:
        Y: (*batch, Nr, Np). P: (Nt, Np). sigma2: E|n|² per entry of Y.
        oversampling: directions per antenna, at both ends.

    Raises:
        TypeError, ValueError: bad arrays or numbers.
    """
    began = time.perf_counter()
    Y, P, sigma2 = checked(Y, P, sigma2)
    nr, nt = Y.shape[-2], len(P)
    waves = PlaneWaves(nr, nt, oversampling=oversampling, dtype=Y.dtype)
    sigma = math.sqrt(sigma2)
    atom = np.linalg.norm(waves.tx.T @ P, axis=1).mean() * np.linalg.norm(waves.rx[:, 0])
    weight = number(scale, "scale") * math.sqrt(math.log(waves.domain.size)) * float(atom) / sigma
    problem = InverseProblem(Pilots(P, nr) @ waves, Y, Gaussian(sigma), L1(weight, waves.domain))
    stop = Stop(rtol=1e-3, max_iters=2000) if stop is None else stop
    result = solve(problem, FISTA(), stop=stop, throw=False)
    return finished(waves(result.x), Y, P, sigma2, began, result=result)


def omp(
    Y: np.ndarray,
    P: np.ndarray,
    sigma2: float,
    *,
    oversampling: float = 4.0,
    max_atoms: int | None = None,
) -> ChannelEstimate:
    """H as a sum of plane waves, the best one added while it stands out of the noise.

    Pati, Rezaiifar and Krishnaprasad, Asilomar 1993. It stops where what is left of Y matches no
    wave by more than σ sqrt(log N), which is about the largest match of noise alone with N waves.
    Until ||Y − H P||² <= σ² Nr Np it would take up to twice as many, and be worse for it.

    Args:
        Y: (*batch, Nr, Np). P: (Nt, Np). sigma2: E|n|² per entry of Y.
        oversampling: directions per antenna, at both ends.
        max_atoms: at most so many; Nr Np without.

    Raises:
        TypeError, ValueError: bad arrays or numbers.
    """
    began = time.perf_counter()
    Y, P, sigma2 = checked(Y, P, sigma2)
    (nt, pilots), nr, batch = P.shape, Y.shape[-2], Y.shape[:-2]
    number(oversampling, "oversampling", least=1.0)
    most = nr * pilots if max_atoms is None else integer(max_atoms, "max_atoms", 1)
    left, right = plane_waves(nr, oversampling), plane_waves(nt, oversampling)
    seen = right.T @ P  # (directions, Np)
    lengths = np.linalg.norm(seen, axis=1, keepdims=True)
    kept = lengths[:, 0] > 1e-6 * lengths.max()
    atoms = _Atoms(
        (left / np.linalg.norm(left, axis=0)).astype(Y.dtype),
        (seen[kept] / lengths[kept]).astype(Y.dtype),
        (right.T[kept] / lengths[kept]).astype(Y.dtype),
    )
    least = math.sqrt(sigma2 * math.log(left.shape[1] * right.shape[1]))
    flat = Y.reshape(-1, nr, pilots)
    H, counts = np.zeros((len(flat), nr, nt), Y.dtype), np.zeros(len(flat), int)
    for start in range(0, len(flat), _GROUP):
        some = slice(start, start + _GROUP)
        H[some], counts[some] = _pursue(flat[some], atoms, least, most)
    note = f"{int(np.median(counts)) if len(counts) else 0} plane waves in the median"
    return finished(H.reshape(*batch, nr, nt), Y, P, sigma2, began, note=note)


class _Atoms:
    """left: (Nr, Gr), right: (Gt, Np), of unit norm; whole: (Gt, Nt), what `right` is seen of."""

    def __init__(self, left: np.ndarray, right: np.ndarray, whole: np.ndarray) -> None:
        self.left, self.right, self.whole = left, right, whole


def _pursue(Y: np.ndarray, atoms: _Atoms, least: float, most: int) -> tuple[np.ndarray, np.ndarray]:
    """(H, atoms taken) of each member: Gram-Schmidt on the atoms in the order they are taken."""
    from scipy.linalg import solve_triangular

    count, size = len(Y), Y[0].size
    most = min(most, size)
    room = min(most, 32)
    Q = np.zeros((count, room, size), Y.dtype)
    T = np.zeros((count, room, room), Y.dtype)  # atom k = Σ_i T[i, k] Q[i]
    rest = Y.reshape(count, size).copy()
    picked = np.zeros((count, most, 2), int)
    taken = np.zeros(count, int)
    running = np.arange(count)
    for k in range(most):
        if not len(running):
            break
        if k == room:
            room = min(2 * room, most)
            Q = _grown(Q, (count, room, size))
            T = _grown(T, (count, room, room))
        r = rest[running].reshape(len(running), *Y.shape[1:])
        match = np.abs(atoms.left.conj().T @ r @ atoms.right.conj().T)
        flat = match.reshape(len(running), -1)
        best = flat.argmax(axis=1)
        above = flat[np.arange(len(best)), best] > least
        running, best = running[above], best[above]
        i, j = np.divmod(best, len(atoms.right))
        q = (atoms.left.T[i][:, :, None] * atoms.right[j][:, None]).reshape(-1, size)
        basis = Q[running, :k]
        for _ in range(2):  # once leaves rounding, twice does not
            part = np.matmul(basis.conj(), q[..., None])[..., 0]
            T[running, :k, k] += part
            q = q - np.matmul(part[:, None], basis)[:, 0]
        length = np.sqrt(_squares(q))
        fresh = length > 1e-3  # else nothing new can be taken: the dictionary is exhausted
        running, q, length = running[fresh], q[fresh] / length[fresh, None], length[fresh]
        Q[running, k], T[running, k, k] = q, length
        rest[running] -= q * np.sum(q.conj() * rest[running], axis=1)[:, None]
        picked[running, k, 0], picked[running, k, 1] = i[fresh], j[fresh]
        taken[running] = k + 1
    H = np.zeros((count, len(atoms.left), atoms.whole.shape[1]), Y.dtype)
    for b, k in enumerate(taken):
        weights = solve_triangular(T[b, :k, :k], Q[b, :k].conj() @ Y[b].reshape(-1)) if k else []
        i, j = picked[b, :k].T
        H[b] = (atoms.left[:, i] * weights) @ atoms.whole[j]
    return H, taken


def _squares(x: np.ndarray) -> np.ndarray:
    return np.sum(np.abs(x) ** 2, axis=-1)


def _grown(old: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    new = np.zeros(shape, old.dtype)
    new[tuple(slice(n) for n in old.shape)] = old
    return new
