"""Matrix-free diffusion against the memory's speed and against SciPy's CSR product.

    python benchmarks/stencil.py [--repeats N] [--threads N]

The limit is a STREAM triad a = b + s c over as many entries as there are unknowns: like the
operator it moves three numbers (24 bytes in float64) per entry. 1 means the speed of the memory.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from _report import time_in_turns, write_results
from _triad import triad

from sciml.operators.diffusion import Diffusion, NodalDiffusion, Side

CASES = [
    ("Diffusion", (2048, 2048), "float64"),
    ("Diffusion, periodic", (2048, 2048), "float64"),
    ("NodalDiffusion", (2048, 2048), "float64"),
    ("Diffusion", (2048, 2048), "float32"),
    ("NodalDiffusion", (2048, 2048), "float32"),
    ("Diffusion", (512, 512), "float64"),
    ("Diffusion", (160, 160, 160), "float64"),
    ("NodalDiffusion", (160, 160, 160), "float64"),
    ("Diffusion", (160, 160, 160), "float32"),
    ("Diffusion, batch 256", (64, 64), "float64"),
]


def _build(name: str, shape: tuple[int, ...], dtype: str, rng: np.random.Generator) -> Any:
    batch = (256,) if "batch" in name else ()
    more = 1 if name.startswith("Nodal") else 0
    k = np.exp(rng.standard_normal((*batch, *(n + more for n in shape)))).astype(dtype)
    if more:
        return NodalDiffusion(k, ndim=len(shape))
    boundary = Side.PERIODIC if "periodic" in name else Side.DIRICHLET
    return Diffusion(k, ndim=len(shape), boundary=boundary)


def _cases(A: Any, x: np.ndarray) -> dict[str, Callable[[], object]]:
    a, b, c = (np.ones(x.size, x.dtype) for _ in range(3))
    y = np.ones_like(x)
    cases: dict[str, Callable[[], object]] = {
        "triad": lambda: triad(a, b, c, x.dtype.type(2)),
        "operator": lambda: A(x),
        "kernel": lambda: A._kernel(A.k, x, y),
    }
    if not A.batch_shape:
        matrix, flat = A.assemble(), x.ravel()
        cases["csr"] = lambda: matrix @ flat
    return cases


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=31)
    parser.add_argument("--threads", type=int, default=min(2, numba.get_num_threads()))
    options = parser.parse_args()
    numba.set_num_threads(options.threads)
    rng, rows = np.random.default_rng(0), []
    for name, shape, dtype in CASES:
        A = _build(name, shape, dtype, rng)
        x = rng.standard_normal((*A.batch_shape, *shape)).astype(dtype)
        times = time_in_turns(_cases(A, x), repeats=options.repeats)
        triad, ours, kernel = times["triad"], times["operator"], times["kernel"]
        csr = times.get("csr")
        rows.append(
            {
                "operator": name,
                "unknowns": "×".join(map(str, shape)),
                "dtype": dtype,
                "threads": options.threads,
                "ms": 1e3 * ours.median,
                "ms (quartiles)": f"{1e3 * ours.low:.3g} to {1e3 * ours.high:.3g}",
                "ns per unknown": 1e9 * ours.median / x.size,
                "triad GB/s": 3 * x.nbytes / triad.median / 1e9,
                "of triad": triad.median / ours.median,
                "of triad, memory held": triad.median / kernel.median,
                "of triad, memory held, best runs": triad.best / kernel.best,
                "times faster than CSR": csr.median / ours.median if csr else "",
            }
        )
        print(
            ", ".join(
                f"{n}: {v:.4g}" if isinstance(v, float) else str(v) for n, v in rows[-1].items()
            ),
            flush=True,
        )
    notes = [
        "k is log-normal with variance 1. Medians of runs in turns. The operator and CSR allocate "
        "their output anew in every run; the triad, and the operator in the columns 'memory held', "
        "write into arrays that are there.",
        "SciPy's CSR product runs on one thread.",
    ]
    print(write_results("stencil", "Matrix-free diffusion", rows, notes=notes))


if __name__ == "__main__":
    main()
