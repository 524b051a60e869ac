"""One library on the task of `benchmarks/posterior.py`, in an interpreter that has it.

    python _posterior_worker.py LIBRARY DATA.npz RESULT.npz THREADS

The prior is one torch module for all: the exact denoiser of Gaussian channels. It counts its calls.
No sciml is needed for the rival. deepinv sees real and imaginary part as two channels and values
within −1 to 1, as its DPS clips there, and is told noise levels of real entries.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
import torch

Data = dict[str, np.ndarray]
WEIGHTS = (1.0, 3.0, 10.0, 30.0)  # of deepinv's data term; 1 is its default
STEPS = 1000  # its default


class Wiener(torch.nn.Module):
    """E[x0 | x] of complex x (batch, rows, columns) for x0 ~ CN(0, V diag(p) V^H), raveled."""

    def __init__(self, vectors: np.ndarray, powers: np.ndarray) -> None:
        super().__init__()
        self.V = torch.from_numpy(vectors.astype(np.complex64))
        self.p = torch.from_numpy(powers.astype(np.float32))
        self.calls = 0

    def forward(self, x: Any, sigma: Any) -> Any:
        self.calls += 1
        noise = torch.as_tensor(sigma, dtype=torch.float32).reshape(-1, 1) ** 2
        z = x.reshape(len(x), -1) @ self.V.conj()
        return ((self.p / (self.p + noise) * z) @ self.V.mT).reshape(x.shape)


def ours(data: Data, task: str, denoiser: Wiener) -> dict[str, Any]:
    """Task "DAPS, CALLS" or "DAPS in Fourier space, CALLS"."""
    from sciml import Gaussian, InverseProblem, sample
    from sciml.operators import Pilots
    from sciml.priors import GaussianPrior
    from solvers import DAPS

    V, p = data["vectors"], data["powers"]
    shape = data["truth"].shape[1:]

    class Prior:
        sigma_range = (float(0.05 * data["sigma"] / 8), float(10 * p.max() ** 0.5))
        basis = None

        def denoise(self, x: np.ndarray, sigma: float) -> np.ndarray:
            flat = torch.from_numpy(x.reshape(-1, *shape))
            return denoiser(flat, float(sigma)).numpy().reshape(x.shape)

    prior = Prior()
    if "Fourier" not in task:  # what a prior of this kind offers by itself
        exact = GaussianPrior(np.zeros(shape, np.complex64), covariance=(V * p) @ V.conj().T)
        prior.basis = exact.basis
    problem = InverseProblem(
        Pilots(data["pilots"], shape[0]), data["y"], Gaussian(float(data["sigma"])), prior
    )
    found = sample(
        problem, DAPS(), n=int(data["chains"]), budget=int(task.split()[-1]), throw=False
    )
    return {"mean": found.mean, "std": found.std}


def deepinv(data: Data, task: str, denoiser: Wiener) -> dict[str, Any]:
    """Task "DPS, WEIGHT"."""
    import deepinv as dinv

    chains, truth = int(data["chains"]), data["truth"]
    scale = 4.0 * float(np.sqrt(np.mean(np.abs(data["y"]) ** 2) / len(data["pilots"])))
    P = torch.from_numpy(data["pilots"])

    class Real(torch.nn.Module):
        def forward(self, x: Any, sigma: Any, *_: Any, **__: Any) -> Any:
            found = denoiser(scale * _complex(x), scale * 2**0.5 * sigma)
            return _real(found / scale)

    physics = dinv.physics.LinearPhysics(
        A=lambda x, **_: _real(_complex(x) @ P),
        A_adjoint=lambda y, **_: _real(_complex(y) @ P.mH),
        noise_model=dinv.physics.GaussianNoise(float(data["sigma"]) / scale / 2**0.5),
    )
    y = _real(torch.from_numpy(data["y"]) / scale).repeat(chains, 1, 1, 1)
    method = dinv.sampling.DPS(
        Real(), num_steps=STEPS, weight=float(task.split()[-1]), dtype=torch.float32
    )
    x = method(y, physics, seed=0)
    draws = scale * _complex(x).detach().numpy().reshape(chains, *truth.shape)
    return {"mean": draws.mean(axis=0), "std": draws.std(axis=0, ddof=1)}


def _real(x: Any) -> Any:
    return torch.stack([x.real, x.imag], 1)


def _complex(x: Any) -> Any:
    return torch.complex(x[:, 0], x[:, 1])


LIBRARIES = {"sciml": ours, "deepinv": deepinv}


def main() -> None:
    library, source, target, task, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    with np.load(source) as file:
        data = {name: file[name] for name in file.files}
    denoiser = Wiener(data["vectors"], data["powers"])
    began = time.perf_counter()
    found = LIBRARIES[library](data, task, denoiser)
    seconds = time.perf_counter() - began
    np.savez(target, **found, seconds=np.array(seconds), calls=np.array(denoiser.calls))


if __name__ == "__main__":
    main()
