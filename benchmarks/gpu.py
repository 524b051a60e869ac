"""What a GPU does: products, solves of large systems and of small ones, AMG, MRI, learned methods.

    python benchmarks/gpu.py [--parts NAME ...] [--minutes 9] [--rehearse]

Each figure is kept as soon as it is found, with its target; a part that fails is told and the
others run. Writes results/gpu.{json,md}.

All parts should take five to nine minutes on an H200 with 16 cores, by an estimate from bytes,
flops and launches: compiling 60 s, of which numba's kernels for the comparisons with the CPU are
most, ceilings, stencils and steps 30 s, poisson 150 s (CuPy's cg half of it), mixed and batches
20 s, mri, radial and sampling 70 s, directions 90 s, small 60 s, amg 40 s, blocks,
smoothers and graphs 30 s. No part begins after `--minutes`.

`--rehearse` runs all parts with small arrays in host memory, where torch's CPU tensors pass for
CUDA ones and the kernels run on the CPU by the tests' shim, and writes nothing: it shows that the
benchmark works where there is no GPU. It takes g++ and about two minutes.
"""

from __future__ import annotations

import argparse
import time
import traceback

from _gpu_lab import Lab, Row
from _gpu_parts import PARTS
from _report import write_results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--minutes", type=float, default=9.0, help="no part begins later")
    parser.add_argument("--rehearse", action="store_true")
    options = parser.parse_args()
    lab, rows, notes = Lab(options.rehearse), [], []
    if not lab.rehearsed and not _there():
        raise SystemExit("expected a GPU, got none: --rehearse shows that the benchmark works")
    with lab.rehearsal():
        _run(lab, options.parts, 60 * options.minutes, rows, notes)
    _keep(lab, rows, notes)


def _there() -> bool:
    """Whether CuPy is installed and finds a GPU."""
    try:
        import cupy
    except ImportError:
        return False
    return bool(cupy.is_available())


def _run(lab: Lab, parts: list[str], limit: float, rows: list[Row], notes: list[str]) -> None:
    """All parts that begin before `limit`, in seconds."""
    began = time.perf_counter()
    for name in parts:
        at = time.perf_counter() - began
        if at > limit:
            notes.append(f"Not run for lack of time: {name}.")
            continue
        try:
            for row in PARTS[name](lab):
                rows.append(row)
                print(" | ".join(row.cells().values()), flush=True)
                _keep(lab, rows, notes)
        except Exception as error:
            if lab.rehearsed:
                raise
            traceback.print_exc()
            notes.append(f"{name} failed: {type(error).__name__}: {error}")
        notes.append(f"{name}: {time.perf_counter() - began - at:.0f} s with compiling.")
        print(notes[-1], flush=True)


def _keep(lab: Lab, rows: list[Row], notes: list[str]) -> None:
    if lab.rehearsed or not rows:
        return
    import cupy

    properties = cupy.cuda.runtime.getDeviceProperties(0)
    told = [f"Device: {properties['name'].decode()}. Absolute times.", *notes]
    cells = [row.cells() for row in rows]
    write_results("gpu", "On a GPU", cells, notes=told, packages=["cupy-cuda12x", "torch", "pyamg"])


if __name__ == "__main__":
    main()
