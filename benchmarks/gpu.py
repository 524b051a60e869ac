"""What a GPU does: bandwidth of products, solves of large systems, MRI, AMG.

    python benchmarks/gpu.py [--parts NAME ...] [--minutes 9] [--rehearse]

Each figure is kept as soon as it is found, with its target; a part that fails is told and the
others run. `--rehearse` runs all parts on small arrays in host memory and writes nothing: it shows
that the benchmark works where there is no GPU. Writes results/gpu.{json,md}.
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
    lab, rows, notes, began = Lab(options.rehearse), [], [], time.perf_counter()
    if not lab.rehearsed and not lab.xp.is_available():
        raise SystemExit("expected a GPU, got none: --rehearse shows that the benchmark works")
    for name in options.parts:
        if time.perf_counter() - began > 60 * options.minutes:
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
    _keep(lab, rows, notes)


def _keep(lab: Lab, rows: list[Row], notes: list[str]) -> None:
    if lab.rehearsed or not rows:
        return
    properties = lab.xp.cuda.runtime.getDeviceProperties(0)
    told = [f"Device: {properties['name'].decode()}. Absolute times.", *notes]
    cells = [row.cells() for row in rows]
    write_results("gpu", "On a GPU", cells, notes=told, packages=["cupy-cuda12x", "torch", "pyamg"])


if __name__ == "__main__":
    main()
