"""CSR products against SciPy's, real and in turns.

    python benchmarks/sparse.py

Writes results/sparse.{json,md}.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from _report import time_in_turns, write_results

from sciml.adapters import from_scipy


def laplacian(n: int, dtype: Any) -> sp.csr_array:
    """The five-point Laplacian on n x n nodes."""
    line = sp.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(n, n))
    eye = sp.eye_array(n)
    return sp.csr_array((sp.kron(line, eye) + sp.kron(eye, line)).astype(dtype))


def scattered(n: int, dtype: Any) -> sp.csr_array:
    """n x n with 20 entries a row at random places."""
    rng = np.random.default_rng(0)
    return sp.random_array((n, n), density=20 / n, format="csr", rng=rng).astype(dtype)


MATRICES = {
    "Laplacian 16²": lambda dtype: laplacian(16, dtype),
    "Laplacian 64²": lambda dtype: laplacian(64, dtype),
    "Laplacian 256²": lambda dtype: laplacian(256, dtype),
    "Laplacian 1024²": lambda dtype: laplacian(1024, dtype),
    "random, 20 a row, 10⁵": lambda dtype: scattered(100_000, dtype),
}


def row(name: str, A: sp.csr_array) -> dict[str, Any]:
    """One line of the table."""
    ours = from_scipy(A)
    x = ours.domain.random(np.random.default_rng(1))
    inner = max(1, 400_000 // A.nnz)  # products in one timing

    def repeat(act: Any) -> None:
        for _ in range(inner):
            act(x)

    cases = {"ours": lambda: repeat(ours), "scipy": lambda: repeat(A.__matmul__)}
    found = time_in_turns(cases, repeats=25)
    a, b = found["ours"], found["scipy"]
    return {
        "matrix": name,
        "dtype": str(A.dtype),
        "entries": int(A.nnz),
        "µs": a.median / inner * 1e6,
        "SciPy µs": b.median / inner * 1e6,
        "SciPy / ours": b.median / a.median,
        "quartiles of SciPy / ours": f"{b.low / a.high:.2f} to {b.high / a.low:.2f}",
    }


def main() -> None:
    rows = [
        row(name, make(np.dtype(dtype)))
        for name, make in MATRICES.items()
        for dtype in ("float64", "float32", "complex128")
    ]
    notes = [
        "Above 1 ours is faster. Both allocate their output. SciPy's product runs on one thread, "
        "ours on all from 32,768 entries. Small products are mostly the price of a call."
    ]
    print(write_results("sparse", "CSR products", rows, notes=notes).read_text())


if __name__ == "__main__":
    main()
