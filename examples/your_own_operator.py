"""An operator of your own in two methods, held to the package's laws, and solved with.

python examples/your_own_operator.py
"""

import numpy as np

from sciml import LinearSystem, Operator, Space, Stop, Trait, solve
from sciml.testing import check_operator
from solvers import CG


class Smoothing(Operator):
    """x -> x + weight * (second difference)^2 x on a ring, applied by FFT."""

    def __init__(self, n: int, weight: float) -> None:
        omega = 2 * np.pi * np.fft.rfftfreq(n)
        self.symbol = 1 + weight * (2 - 2 * np.cos(omega)) ** 2
        super().__init__(Space((n,), np.dtype("float64")), traits={Trait.POSITIVE})

    def _apply(self, x):
        return np.fft.irfft(self.symbol * np.fft.rfft(x), n=self.domain.size)

    _adjoint = _apply


A = Smoothing(400, weight=1e3)
check_operator(A)
print(f"{A!r} keeps the laws")

# Twenty noisy signals smoothed at once: each member of the batch has its own certificate.
rng = np.random.default_rng(0)
t = np.linspace(0, 2 * np.pi, 400, endpoint=False)
noisy = np.sin(t * np.arange(1, 21)[:, None]) + 0.5 * rng.standard_normal((20, 400))
result = solve(LinearSystem(A, noisy), CG(), stop=Stop(rtol=1e-8))
print(result.explain())
print("iterations per member:", result.iterations.min(), "to", result.iterations.max())
