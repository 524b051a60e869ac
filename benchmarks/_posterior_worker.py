"""One library on tasks of `benchmarks/posterior.py`, in an interpreter that has it.

    python _posterior_worker.py LIBRARY DATA.npz RESULT.npz "TASK; TASK..." THREADS

The prior is one torch function for all, which counts its calls: the exact denoiser of Gaussian
channels, or a network that the package ships. deepinv sees real and imaginary part as two channels,
values within −1 to 1, as its samplers clip there, and noise levels of real entries. Seconds are the
sampling's alone: not those of loading, nor of a prior's own set-up.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

Data = dict[str, np.ndarray]


class Counted:
    """E[x0 | x] of complex torch x (batch, rows, columns), for E|n|² = sigma²."""

    def __init__(self, denoise: Callable[[Any, Any], Any], levels: tuple[float, float]) -> None:
        self._denoise, self.levels, self.calls = denoise, levels, 0
        self.basis: Any = None

    def __call__(self, x: Any, sigma: Any) -> Any:
        self.calls += 1
        return self._denoise(x, sigma)


def prior_of(data: Data, library: str) -> Counted:
    """Gaussian where the data hold a covariance, else the network that they name."""
    if "powers" in data:
        found = wiener(data["vectors"], data["powers"], float(data["sigma"]))
        if library == "sciml":
            from sciml.priors import GaussianPrior

            C = (data["vectors"] * data["powers"]) @ data["vectors"].conj().T
            zero = np.zeros(data["truth"].shape[1:], np.complex64)
            found.basis = GaussianPrior(zero, covariance=C).basis  # what such a prior offers
        return found
    from sciml.networks import PretrainedDenoiser, load_denoiser
    from sciml.priors import ScorePrior

    prior = ScorePrior(load_denoiser(PretrainedDenoiser(str(data["network"]))))
    found = Counted(prior.denoise, prior.sigma_range)
    found.basis = prior.basis
    return found


def wiener(vectors: np.ndarray, powers: np.ndarray, sigma: float) -> Counted:
    """x0 ~ CN(0, V diag(p) V^H), raveled."""
    V, p = torch.from_numpy(vectors.astype(np.complex64)), torch.from_numpy(np.float32(powers))

    def denoise(x: Any, level: Any) -> Any:
        noise = torch.as_tensor(level, dtype=torch.float32).reshape(-1, 1) ** 2
        z = x.reshape(len(x), -1) @ V.conj()
        return ((p / (p + noise) * z) @ V.mT).reshape(x.shape)

    return Counted(denoise, (0.05 * sigma / 8, 10 * float(powers.max()) ** 0.5))


def ours(data: Data, task: str, denoiser: Counted) -> tuple[Callable[[], Any], float]:
    """Task "DAPS, CALLS" or "DAPS in Fourier space, CALLS"."""
    from sciml import Gaussian, InverseProblem, sample
    from sciml.operators import SENSE, Pilots, Wavelet
    from solvers import DAPS

    shape = data["truth"].shape[1:]
    A = SENSE(data["maps"], data["mask"]) if "maps" in data else Pilots(data["pilots"], shape[0])

    class Prior:
        sigma_range, basis = denoiser.levels, denoiser.basis

        def denoise(self, x: np.ndarray, sigma: float) -> np.ndarray:
            flat = torch.from_numpy(np.ascontiguousarray(x).reshape(-1, *shape))
            return denoiser(flat, float(sigma)).numpy().reshape(x.shape)

    prior = Prior()
    if "maps" in data:
        prior.basis = Wavelet(A.domain)
    elif "Fourier" in task:
        prior.basis = None
    problem = InverseProblem(A, data["y"], Gaussian(float(data["sigma"])), prior)
    n, budget = int(data["chains"]), int(task.split(", ")[-1])
    return lambda: sample(problem, DAPS(), n=n, budget=budget, throw=False).samples, 1.0


def deepinv(data: Data, task: str, denoiser: Counted) -> tuple[Callable[[], Any], float]:
    """Task "DPS, STEPS, norm or annealed, WEIGHT" or "DiffPIR, STEPS, LAMBDA"."""
    import deepinv as dinv

    name, steps, *guidance, weight = task.split(", ")
    chains, scale = int(data["chains"]), float(data["size"])
    forward, back = _operator(data)

    class Real(torch.nn.Module):
        def forward(self, x: Any, sigma: Any, *_: Any, **__: Any) -> Any:
            level = torch.as_tensor(sigma, dtype=torch.float32).reshape(-1).expand(len(x))
            return _real(denoiser(scale * _complex(x), scale * 2**0.5 * level) / scale)

    physics = dinv.physics.LinearPhysics(
        A=lambda x, **_: _real(forward(_complex(x))),
        A_adjoint=lambda y, **_: _real(back(_complex(y))),
        noise_model=dinv.physics.GaussianNoise(float(data["sigma"]) / scale / 2**0.5),
    )
    y = _real(torch.from_numpy(data["y"]).repeat(chains, *(1,) * (data["y"].ndim - 1)) / scale)
    if name == "DPS":
        dps = dinv.sampling.DPS(
            Real(), num_steps=int(steps), guidance=guidance[0], weight=float(weight),
            dtype=torch.float32,
        )  # fmt: skip
        return lambda: _complex(dps(y, physics, seed=0)), scale
    # DiffPIR has images from 0 to 1 and seeds nothing for seed=0
    half = torch.full((1, 2, *data["truth"].shape[1:]), 0.5)
    moved = dinv.physics.LinearPhysics(
        A=physics.A,
        A_adjoint=physics.A_adjoint,
        noise_model=dinv.physics.GaussianNoise(float(data["sigma"]) / scale / 2**1.5),
    )

    class Unit(torch.nn.Module):
        def forward(self, x: Any, sigma: Any, *_: Any, **__: Any) -> Any:
            return Real()(2 * x - 1, 2 * sigma) / 2 + 0.5

    diffpir = dinv.sampling.DiffPIR(
        Unit(), dinv.optim.data_fidelity.L2(), max_iter=int(steps), lambda_=float(weight)
    )
    shifted = y / 2 + physics.A(half)
    return lambda: _complex(2 * diffpir(shifted, moved, seed=1) - 1), scale


def _operator(data: Data) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """A and its adjoint for complex torch arrays with a batch axis."""
    if "pilots" in data:
        P = torch.from_numpy(data["pilots"])
        return (lambda x: x @ P), (lambda y: y @ P.mH)
    maps = torch.from_numpy(data["maps"])
    mask = torch.from_numpy(data["mask"].astype(np.float32))
    axes = (-2, -1)

    def forward(x: Any) -> Any:
        spread = torch.fft.ifftshift(maps * x[:, None], dim=axes)
        return mask * torch.fft.fftshift(torch.fft.fft2(spread, norm="ortho"), dim=axes)

    def back(y: Any) -> Any:
        coils = torch.fft.ifft2(torch.fft.ifftshift(mask * y, dim=axes), norm="ortho")
        return (maps.conj() * torch.fft.fftshift(coils, dim=axes)).sum(1)

    return forward, back


def _real(x: Any) -> Any:
    """Parts as channels: (batch, 2, ...); of coils (batch, 2 coils, ...)."""
    return torch.cat([x.real, x.imag], 1) if x.ndim == 4 else torch.stack([x.real, x.imag], 1)


def _complex(x: Any) -> Any:
    half = x.shape[1] // 2
    found = torch.complex(x[:, :half].contiguous(), x[:, half:].contiguous())
    return found[:, 0] if half == 1 else found


LIBRARIES = {"sciml": ours, "deepinv": deepinv}
# Run before anything is timed: what is imported or set up on the first call is nobody's sampling.
WARM_UP = {"sciml": "DAPS, 2", "deepinv": "DPS, 3, norm, 1"}


def main() -> None:
    library, source, target, tasks, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    with np.load(source) as file:
        data = {name: file[name] for name in file.files}
    denoiser = prior_of(data, library)
    means, seconds, calls = [], [], []
    LIBRARIES[library](data, WARM_UP[library], denoiser)[0]()
    for task in tasks.split("; "):
        run, scale = LIBRARIES[library](data, task, denoiser)
        denoiser.calls, began = 0, time.process_time()
        draws = run()
        seconds.append(time.process_time() - began)
        draws = scale * np.asarray(draws.detach() if library == "deepinv" else draws)
        means.append(draws.reshape(int(data["chains"]), *data["truth"].shape).mean(axis=0))
        calls.append(denoiser.calls)
    np.savez(target, mean=np.stack(means), seconds=np.array(seconds), calls=np.array(calls))


if __name__ == "__main__":
    main()
