"""Solve a sparse system, look at the certificate, reuse the set-up.

python examples/solve_a_matrix.py
"""

import numpy as np
import scipy.sparse as sp

from sciml import LinearSystem, SolveError, Stop, solve
from sciml.adapters import from_scipy
from solvers import CG, IC0, Auto

# The five-point Laplacian on 150 x 150 nodes.
n = 150
line = sp.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(n, n))
A = from_scipy(sp.csr_array(sp.kron(line, sp.eye_array(n)) + sp.kron(sp.eye_array(n), line)))
b = np.random.default_rng(0).standard_normal(n * n)

# A method and a preconditioner of your choice.
result = solve(LinearSystem(A, b), CG(M=IC0()), stop=Stop(rtol=1e-8))
print(result.explain(), "\n")

# The same set-up serves the next right-hand side.
again = solve(LinearSystem(A, np.ones(n * n)), result.solver, stop=Stop(rtol=1e-8))
print(f"second right-hand side: set-up {again.seconds.setup:.1e} s, {again.iterations} steps\n")

# Or let the package choose, and say why.
print(solve(LinearSystem(A, b), Auto(), stop=Stop(rtol=1e-8)).explain(), "\n")

# In single precision a residual of 1e-10 cannot be had, and that is what you are told.
single = A.assemble().astype(np.float32)
try:
    solve(LinearSystem(from_scipy(single), b.astype(np.float32)), CG(), stop=Stop(rtol=1e-10))
except SolveError as error:
    print(error)
