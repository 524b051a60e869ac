"""One library on the tasks of `benchmarks/mri.py`, in an interpreter that has it.

    python _mri_worker.py LIBRARY DATA.npz RESULT.npz THREADS REPEATS

Writes {task: times in seconds} and the images. Tasks: the normal operator, 30 steps of CG on
A^H A + lamda I, L1-wavelet reconstructions of growing numbers of steps as each library does them,
the same with one Haar transform for all ("haar"), and both solved to the end ("agreed", not timed).
No sciml is needed for rivals. Each library gets arrays of its own kind, in the precision of the
data, outside the clock.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

STEPS = 30
GROWING = (7, 10, 14, 20, 28, 40, 56, 80)
MANY = 200
LEVELS = 5  # of the Haar transform: what BART takes at 320 x 320

Data = dict[str, np.ndarray]
Task = tuple[str, Callable[[], Any]]


def ours(data: Data, threads: int) -> list[Task]:
    import pywt
    import torch

    from sciml import Gaussian, Identity, InverseProblem, LinearSystem, Stop, solve
    from sciml.operators import SENSE, Wavelet
    from sciml.priors import L1Wavelet
    from solvers import CG, FISTA

    torch.set_num_threads(threads)
    A = SENSE(data["maps"], data["mask"])
    N, lamda, y, x = A.normal, float(data["lamda"]), data["kspace"], data["image"]
    # As many levels as SigPy takes by itself.
    W = Wavelet(A.domain, "db4", levels=pywt.dwt_max_level(min(x.shape), "db4"))

    haar = Wavelet(A.domain, "haar", levels=LEVELS)

    def cg(steps: int = STEPS) -> np.ndarray:
        system = LinearSystem(N + lamda * Identity(A.domain), A.adjoint(y))
        return solve(system, CG(), stop=Stop(rtol=1e-12, max_iters=steps), throw=False).x

    def l1(steps: int, transform: Wavelet = W) -> np.ndarray:
        prior = L1Wavelet(float(data["lamda_l1"]), transform, averages=True)
        problem = InverseProblem(A, y, Gaussian(1.0), prior)
        return FISTA().advance(FISTA().init(problem, None), steps).x

    seen = torch.from_numpy(data["maps"] * x)
    return [
        ("normal", lambda: N(x)),
        ("pair", lambda: torch.fft.ifft2(torch.fft.fft2(seen, norm="ortho"), norm="ortho")),
        ("sense", cg),
        *((f"l1 {steps}", lambda steps=steps: l1(steps)) for steps in GROWING),
        *((f"haar {steps}", lambda steps=steps: l1(steps, haar)) for steps in GROWING),
        ("sense agreed", lambda: cg(MANY)),
        ("haar agreed", lambda: l1(MANY, haar)),
    ]


def sigpy(data: Data, threads: int) -> list[Task]:
    import sigpy as sp
    import sigpy.mri as mr

    maps, mask, y = data["maps"], data["mask"].astype(np.float32), data["kspace"]
    A, x = mr.linop.Sense(maps, weights=mask), data["image"]
    N = A.N

    W = sp.linop.Wavelet(x.shape, wave_name="haar", level=LEVELS)
    shrinkage = sp.prox.UnitaryTransform(sp.prox.L1Reg(W.oshape, float(data["lamda_l1"])), W)

    def cg(steps: int = STEPS) -> np.ndarray:
        return mr.app.SenseRecon(
            y, maps, lamda=float(data["lamda"]), weights=mask, max_iter=steps, show_pbar=False
        ).run()

    def haar(steps: int) -> np.ndarray:
        return sp.app.LinearLeastSquares(
            A, y * mask, proxg=shrinkage, max_iter=steps, show_pbar=False
        ).run()

    def l1(steps: int) -> np.ndarray:
        return mr.app.L1WaveletRecon(
            y, maps, float(data["lamda_l1"]), weights=mask, max_iter=steps, show_pbar=False
        ).run()

    return [
        ("normal", lambda: N(x)),
        ("sense", cg),
        *((f"l1 {steps}", lambda steps=steps: l1(steps)) for steps in GROWING),
        *((f"haar {steps}", lambda steps=steps: haar(steps)) for steps in GROWING),
        ("sense agreed", lambda: cg(MANY)),
        ("haar agreed", lambda: haar(MANY)),
    ]


def deepinv(data: Data, threads: int) -> list[Task]:
    import torch
    from deepinv.physics import MultiCoilMRI

    torch.set_num_threads(threads)
    image = torch.from_numpy(data["image"])
    x = torch.stack([image.real, image.imag])[None]
    y = torch.from_numpy(data["kspace"])
    physics = MultiCoilMRI(
        mask=torch.from_numpy(data["mask"].astype(np.float32))[None, None],
        coil_maps=torch.from_numpy(data["maps"])[None],
        img_size=(2, *data["image"].shape),
    )
    k = torch.stack([y.real, y.imag])[None]

    def cg() -> np.ndarray:  # its damping cannot be set: the same work, another image
        found = physics.A_dagger(k, max_iter=STEPS, tol=1e-12)[0].numpy()
        return found[0] + 1j * found[1]

    return [("normal", lambda: physics.A_adjoint(physics.A(x))), ("sense", cg)]


def bart(data: Data, threads: int) -> list[Task]:
    """Whole processes: `mri.py` takes away what a run of no steps costs."""
    folder = Path(tempfile.mkdtemp(prefix="bart-"))
    kspace = np.moveaxis(data["kspace"] * data["mask"], 0, -1)[:, :, None]
    maps = np.moveaxis(data["maps"], 0, -1)[:, :, None]
    for name, array in (("kspace", kspace), ("maps", maps)):
        dims = " ".join(map(str, array.shape))
        (folder / f"{name}.hdr").write_text(f"# Dimensions\n{dims}\n")
        array.astype(np.complex64).ravel(order="F").tofile(folder / f"{name}.cfl")

    def pics(*words: str) -> np.ndarray:
        command = ["bart", "pics", "-d0", *words, "kspace", "maps", "image"]
        environment = {"OMP_NUM_THREADS": str(threads), "PATH": "/usr/bin:/bin:/usr/local/bin"}
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
        lines = (folder / "image.hdr").read_text().splitlines()
        shape = [int(n) for n in lines[1].split()]
        found = np.fromfile(folder / "image.cfl", np.complex64).reshape(shape, order="F")
        return found.squeeze()

    # -w 1 turns its rescaling of k-space off, so that the weights mean the same as elsewhere.
    plain = ("-w1", "-l2", f"-r{float(data['lamda'])}")
    wavelet = ("-w1", "-l1", f"-r{float(data['lamda_l1'])}", "-e")
    # -n: no random shifts, which would make it another problem.
    haar = ("-w1", f"-RW:3:0:{float(data['lamda_l1'])}", "--wavelet=haar", "-n", "-e")
    return [
        ("start", lambda: pics(*plain, "-i1")),
        ("sense", lambda: pics(*plain, f"-i{STEPS + 1}")),
        ("l1 start", lambda: pics(*wavelet, "-i1")),
        *((f"l1 {steps}", lambda s=steps: pics(*wavelet, f"-i{s + 1}")) for steps in GROWING),
        ("haar start", lambda: pics(*haar, "-i1")),
        *((f"haar {steps}", lambda s=steps: pics(*haar, f"-i{s + 1}")) for steps in GROWING),
        ("sense agreed", lambda: pics(*plain, f"-i{MANY + 1}")),
        ("haar agreed", lambda: pics(*haar, f"-i{MANY + 1}")),
    ]


def transforms(data: Data, threads: int) -> list[Task]:
    """A Fourier transform of all coils and its inverse, by whatever is installed."""
    import importlib

    seen = data["maps"] * data["image"]
    found: list[Task] = []
    for name, make in (("torch", _torch_pair), ("ducc0", _ducc_pair), ("pyfftw", _fftw_pair)):
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        found.append((name, make(module, seen, threads)))
    return found


def _torch_pair(torch: Any, seen: np.ndarray, threads: int) -> Callable[[], Any]:
    torch.set_num_threads(threads)
    tensor = torch.from_numpy(seen)
    return lambda: torch.fft.ifft2(torch.fft.fft2(tensor, norm="ortho"), norm="ortho")


def _ducc_pair(ducc0: Any, seen: np.ndarray, threads: int) -> Callable[[], Any]:
    out, how = np.empty_like(seen), {"axes": (1, 2), "nthreads": threads, "inorm": 1}

    def pair() -> np.ndarray:
        ducc0.fft.c2c(seen, out=out, **how)
        return ducc0.fft.c2c(out, forward=False, out=out, **how)

    return pair


def _fftw_pair(pyfftw: Any, seen: np.ndarray, threads: int) -> Callable[[], Any]:
    a, b = (pyfftw.empty_aligned(seen.shape, "complex64") for _ in range(2))
    how = {"axes": (1, 2), "threads": threads, "flags": ("FFTW_MEASURE",)}
    forth = pyfftw.FFTW(a, b, **how)
    back = pyfftw.FFTW(b, a, direction="FFTW_BACKWARD", **how)
    a[:] = seen

    def pair() -> np.ndarray:
        forth()
        return back(normalise_idft=False)

    return pair


def radial(data: Data, threads: int) -> list[Task]:
    """The normal operator of radial SENSE as a Toeplitz matrix, and by two transforms."""
    import os

    import torch

    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)
    from sciml.operators import NonCartesianSENSE

    A = NonCartesianSENSE(data["maps"], data["coords"])
    N, x = A.normal, data["image"]
    return [("toeplitz", lambda: N(x)), ("twice", lambda: A.adjoint(A(x)))]


LIBRARIES: dict[str, Callable[[Data, int], list[Task]]] = {
    "sciml": ours,
    "sigpy": sigpy,
    "deepinv": deepinv,
    "bart": bart,
    "transforms": transforms,
    "radial": radial,
}


def main() -> None:
    library, source, target, threads, repeats = sys.argv[1:]
    with np.load(source) as file:
        data = {name: file[name] for name in file.files}
    found: Data = {}
    for name, task in LIBRARIES[library](data, int(threads)):
        found[f"image {name}"] = np.asarray(_host(task()))  # what is made at first use is made
        times = []
        for _ in range(0 if "agreed" in name else int(repeats)):
            began = time.perf_counter()
            task()
            times.append(time.perf_counter() - began)
        found[f"times {name}"] = np.array(times)
    np.savez(target, **found)


def _host(x: Any) -> Any:
    return x.numpy() if hasattr(x, "numpy") else x


if __name__ == "__main__":
    main()
