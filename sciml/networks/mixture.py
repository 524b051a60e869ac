"""A convex network out of a Gaussian mixture of patches: f is a denoiser, for images of any size.

Let a patch be x = m + z, m its mean, and z of a mixture of N(0, C_c). With noise of variance sigma²
the potential of the posterior mean of x (Gribonval, IEEE Trans. Signal Process. 59, 2011) is

    d m²/2 + sigma² log Σ_c exp q_c(z),
    q_c = log π_c − ½ log det(I + C_c / sigma²) + zᵀ C_c (C_c + sigma² I)⁻¹ z / (2 sigma²),

which is convex for any C_c ≥ 0: a log-sum-exp of convex functions. ψ is its mean over all patches
of an image, and f the mean of what the patches say of a pixel, as in Zoran and Weiss, From learning
models of natural image patches to whole image restoration (ICCV 2011). Here it is trained as a
whole: C_c is a multiple ν_c of I plus `rank` directions U_cj of a larger variance λ_cj, of any
length and angle, so that with g(v) = v / (v + sigma²)

    q_c = log π_c − ½ Σ_j log(1 + λ_cj / sigma²) − (d − 1 − rank)/2 log(1 + ν_c / sigma²)
          + τ [g(ν_c) ‖z‖² + Σ_j (g(λ_cj) − g(ν_c)) <U_cj, z>²] / (2 sigma²),

divided by τ again outside the logarithm. No weight makes ψ lose its convexity, and sigma is in it
as the theory has it: one network for all levels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn
from torch.nn.functional import fold, unfold

from .._checks import integer
from .._torch import one_thread
from .convex import ConvexNetwork

__all__ = ["ConvexMixture"]

_UNIT = 10.0  # of logarithms in the weights: one learning rate then suits them and U
_TOGETHER = 1 << 20  # coefficients at once: what a core's cache holds


class ConvexMixture(ConvexNetwork):
    """The posterior mean under a Gaussian mixture of patches, averaged over them.

    Beyond the edges an image goes on as in a mirror (its last row first), so that every pixel lies
    in size² patches. The cost is 4 · size² · classes · rank operations a pixel.

    Args:
        size: rows and columns of a patch, odd. classes: of the mixture. rank: directions of a
            class, up to size² − 1. alpha: strong convexity. sigmas: (least, most) noise level.
    """

    ndim = 3
    element = (1, "rows", "columns")
    steady = True

    def __init__(
        self,
        size: int = 7,
        classes: int = 48,
        rank: int = 12,
        alpha: float = 1e-4,
        sigmas: Sequence[float] = (0.01, 0.25),
    ) -> None:
        super().__init__(alpha, sigmas)
        for name, count in (("size", size), ("classes", classes), ("rank", rank)):
            integer(count, name, 1)
        if size % 2 == 0 or size == 1 or rank > size**2 - 1:
            raise ValueError(
                f"expected an odd size from 3 on and a rank up to size² - 1, got {size} and {rank}"
            )
        self.size, self.classes, self.rank = size, classes, rank
        self.arguments = {
            "size": size, "classes": classes, "rank": rank, "alpha": alpha,
            "sigmas": list(self.sigmas),
        }  # fmt: skip
        d = size * size
        self.U = nn.Parameter(torch.randn(classes, rank, d) / d**0.5)
        self.nu = nn.Parameter(torch.linspace(-12.0, -5.0, classes) / _UNIT)
        self.more = nn.Parameter(
            (torch.linspace(-9.0, -2.0, classes) / _UNIT)[:, None].repeat(1, rank)
        )
        self.pi = nn.Parameter(torch.zeros(classes))
        self.tau = nn.Parameter(torch.zeros(()))

    def put(self, pi: Tensor, U: Tensor, nu: Tensor, lamda: Tensor) -> None:
        """Set the mixture: π (classes,), U (classes, rank, size²), ν (classes,), λ (classes, rank)
        above ν; τ = 1."""
        with torch.no_grad():
            self.U.copy_(U)
            for p, value in ((self.pi, pi), (self.nu, nu), (self.more, lamda - nu[:, None])):
                p.copy_(value.log() / _UNIT)
            self.tau.zero_()

    def infeasible(self) -> str | None:
        logarithms = {"nu": self.nu, "more": self.more, "pi": self.pi, "tau": self.tau}
        huge = (n for n, p in logarithms.items() if not bool((_UNIT * p).exp().isfinite().all()))
        return super().infeasible() or next(huge, None)

    def forward(self, x: Tensor, sigma: Tensor | None = None) -> Tensor:
        experts, n, more = self._experts(x, sigma), self.size, self.size // 2
        wide = _mirrored(x, more)

        def mean(first: int, rows: int) -> Tensor:
            strip = wide.narrow(2, first, rows + n - 1)
            return fold(experts.mean(unfold(strip, n)), strip.shape[2:], n)

        f = torch.zeros_like(wide)
        for first, strip in self._in_strips(x, mean):
            f.narrow(2, first, strip.shape[2]).add_(strip)
        return _folded(f, more) / n**2 + self.alpha * x

    def potential(self, x: Tensor, sigma: Tensor | None = None) -> Tensor:
        experts, n = self._experts(x, sigma), self.size
        wide = _mirrored(x, n // 2)

        def over(first: int, rows: int) -> Tensor:
            return experts.potential(unfold(wide.narrow(2, first, rows + n - 1), n)).sum(1)

        psi = sum(part for _, part in self._in_strips(x, over))
        return psi / n**2 + 0.5 * self.alpha * x.square().flatten(1).sum(1)

    # -- parts -------------------------------------------------------------------------------

    def _in_strips(
        self, x: Tensor, act: Callable[[int, int], Tensor]
    ) -> Iterator[tuple[int, Tensor]]:
        """(first row, act(first row, rows)) from the top: all at once where gradients are kept,
        else strips that fit the cache, side by side on as many threads as torch has."""
        rows, columns = x.shape[2:]
        if torch.is_grad_enabled():
            yield 0, act(0, rows)
            return
        most = max(1, _TOGETHER // (max(1, len(x)) * columns * self.classes * self.rank))
        starts = range(0, rows, most)

        def quietly(first: int) -> Tensor:
            with torch.no_grad():  # which each thread has to be told
                return act(first, min(most, rows - first))

        with one_thread(x) as threads, ThreadPoolExecutor(threads) as pool:
            yield from zip(starts, pool.map(quietly, starts), strict=True)

    def _experts(self, x: Tensor, sigma: Tensor | None) -> _Experts:
        self.padded(x)
        known = self._known(x, sigma)
        if known is None:
            known = x.new_full((len(x),), self.sigmas[0])
        s2 = known.square()[:, None]
        nu, tau = (_UNIT * self.nu).exp()[None], (_UNIT * self.tau).exp()
        lamda = nu[..., None] + (_UNIT * self.more).exp()
        rest = self.size**2 - 1 - self.rank
        bias = (
            _UNIT * self.pi
            - 0.5 * torch.log1p(lamda / s2[..., None]).sum(2)
            - 0.5 * rest * torch.log1p(nu / s2)
        )
        base = nu / (nu + s2)
        more = lamda / (lamda + s2[..., None]) - base[..., None]
        U = (self.U - self.U.mean(2, keepdim=True)) * more.sqrt()[..., None]
        return _Experts(U, base, bias, tau, s2[..., None])


class _Experts:
    """The mixture at given noise levels: U (batch, classes, rank, d), each times the root of what
    its square has to weigh, base (batch, classes), bias (batch, classes), s2 (batch, 1, 1). Patches
    are (batch, d, count)."""

    def __init__(self, U: Tensor, base: Tensor, bias: Tensor, tau: Tensor, s2: Tensor) -> None:
        self.U, self.base, self.bias, self.tau, self.s2 = U, base, bias, tau, s2

    def mean(self, patches: Tensor) -> Tensor:
        """What is added up: the gradient of `potential`."""
        m, z, u, q = self._seen(patches)
        p = torch.softmax(q, 1)
        weighted = u * p[:, :, None] if torch.is_grad_enabled() else u.mul_(p[:, :, None])
        U = self.U.flatten(1, 2)
        return m + (self.base[:, None] @ p) * z + U.mT @ weighted.flatten(1, 2)

    def potential(self, patches: Tensor) -> Tensor:
        """(batch, count)."""
        m, _, _, q = self._seen(patches)
        mixed = (self.s2 / self.tau)[:, 0] * torch.logsumexp(q, 1)
        return 0.5 * patches.shape[1] * m[:, 0].square() + mixed

    def _seen(self, patches: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(means, what is left, its coordinates u (batch, classes, rank, count), q)."""
        m = patches.mean(1, keepdim=True)
        z = patches - m
        u = (self.U.flatten(1, 2) @ z).unflatten(1, self.U.shape[1:3])
        energy = u.square().sum(2) + self.base[..., None] * z.square().sum(1, keepdim=True)
        return m, z, u, self.bias[..., None] + self.tau * energy / (2 * self.s2)


def _mirrored(x: Tensor, more: int) -> Tensor:
    """x with `more` rows and columns around: its own, in a mirror at the edge."""
    for axis in (2, 3):
        n = x.shape[axis]
        i = torch.arange(-more, n + more, device=x.device) % (2 * n)
        x = x.index_select(axis, torch.where(i < n, i, 2 * n - 1 - i))
    return x


def _folded(f: Tensor, more: int) -> Tensor:
    """The adjoint of `_mirrored`."""
    for axis in (3, 2):
        n = f.shape[axis] - 2 * more
        i = torch.arange(-more, n + more, device=f.device) % (2 * n)
        shape = (*f.shape[:axis], n, *f.shape[axis + 1 :])
        f = f.new_zeros(shape).index_add(axis, torch.where(i < n, i, 2 * n - 1 - i), f)
    return f
