"""A learned prior: a network that denoises, and the score that follows from it."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

from .._checks import need, number, told
from .._torch import one_thread, returned, tensor_of
from ..arrays import Array, dtype_of, is_array
from ..prior import per_member
from ._beams import beams_of

if TYPE_CHECKING:
    from torch import Tensor

    from ..networks import Denoiser

__all__ = ["ScorePrior"]

# Pixels that go through the network together: on the CPU a cache's worth; on a GPU as many as fill
# it, of which a layer of 64 channels takes 256 MiB.
_PIXELS, _PIXELS_ON_A_GPU = 1 << 17, 1 << 20
_LEAST = 2e-3  # noise relative to the signal that is next to none


class ScorePrior:
    """p(x) known by its denoiser: denoise(x, sigma) = E[x0 | x] for x = x0 + n, n ~ CN(0, sigma²).

    sigma² is E|n|² per complex entry. The score is ∂ log p / ∂x̄ = (denoise(x, sigma) − x) / sigma²
    (Tweedie's formula), so that Langevin's step is x + α score + √(2α) CN(0, 1).

    Arrays are NumPy's or torch's, complex64 or complex128, and stay what they are; the network
    works in single precision, in host memory on one thread: the last bits of a convolution depend
    on how many there are. Gradients of torch tensors that require them go through the network.

    Args:
        network: see `sciml.networks.load_denoiser`; a copy of it is kept.
        scale: of the x meant here, relative to what the network was trained on.
        bfloat16: run convolutions in it: twice as fast on processors that have instructions for it.

    Attributes:
        calls: evaluations of the network so far, one for a whole batch.
        shape: (rows, columns) if the network takes one size only, else None.
        sigma_range: noise levels from next to none to where hardly anything is left of the signal.
        basis: Operator B with B^H B = I in whose coordinates x is nearly uncorrelated, as far as
            the network's preconditioning knows one; else None.

    Raises:
        TypeError: no Denoiser.
    """

    def __init__(self, network: Denoiser, *, scale: float = 1.0, bfloat16: bool = False) -> None:
        import torch

        from ..networks import Denoiser

        need(network, Denoiser, "a Denoiser", "see sciml.networks.load_denoiser")
        self.scale = number(scale, "scale")
        if not self.scale > 0:
            raise ValueError(f"expected scale > 0, got {told(scale)}")
        own = copy.deepcopy(network).eval().requires_grad_(False).float()
        own.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network, self.shape, self.calls = own, network.shape, 0
        self.bfloat16 = bool(bfloat16)
        self._elsewhere: dict[Any, Denoiser] = {}
        self.basis = beams_of(own)
        size = float(own.basis.mean(lambda p: p).sqrt())
        self.sigma_range = (_LEAST * size * self.scale, float(own.levels[1]) * self.scale)

    def denoise(self, x: Array, sigma: Any) -> Array:
        """E[x0 | x], of the shape, dtype, library and device of x. NaN in a member stays there.

        Args:
            x: complex (*batch, rows, columns). sigma: > 0, a number or a real array that
                broadcasts to (*batch,).

        Raises:
            TypeError: another dtype or library. ValueError: another shape, sigma not finite or not
                positive.
        """
        self._check(x)
        if math.prod(x.shape) == 0:
            per_member(sigma, x, 2)
            return x + 0
        return returned(self._denoised(tensor_of(x), sigma), x)

    def denoise_vjp(self, x: Array, sigma: Any, v: Array) -> tuple[Array, Array]:
        """(denoise(x, sigma), the gradient of Re <v, denoise(x, sigma)> with respect to x).

        Raises:
            As `denoise`; ValueError too for v of another shape or dtype than x.
        """
        import torch

        self._check(x)
        if type(v) is not type(x) or tuple(v.shape) != tuple(x.shape) or v.dtype != x.dtype:
            raise ValueError(f"expected v like x, {tuple(x.shape)} {dtype_of(x)}, got {told(v)}")
        if math.prod(x.shape) == 0:
            return x + 0, v + 0
        with torch.enable_grad():
            own = tensor_of(x).detach().requires_grad_()
            found = self._denoised(own, sigma)
            (pulled,) = torch.autograd.grad(found, own, tensor_of(v))
        return returned(found.detach(), x), returned(pulled, x)

    def score(self, x: Array, sigma: Any) -> Array:
        """∂ log p_sigma / ∂x̄ = (denoise(x, sigma) − x) / sigma², like x; raises as `denoise`."""
        return (self.denoise(x, sigma) - x) / per_member(sigma, x, 2) ** 2

    def _denoised(self, x: Tensor, sigma: Any) -> Tensor:
        import torch

        level: Any = per_member(sigma, x, 2)
        level = torch.as_tensor(level, dtype=torch.float32, device=x.device) / self.scale
        level = level.broadcast_to((*x.shape[:-2], 1, 1)).reshape(-1)
        self.calls += 1
        flat = (x / self.scale).to(torch.complex64).reshape(-1, *x.shape[-2:])
        found = self._through(flat, level)
        return (self.scale * found).to(x.dtype).reshape(x.shape)

    def _through(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The network, on a few members at a time."""
        import torch

        network = self._on(x.device)
        most = _PIXELS if x.device.type == "cpu" else _PIXELS_ON_A_GPU
        step = max(1, most // (x.shape[-2] * x.shape[-1]))
        with one_thread(x), torch.autocast(x.device.type, torch.bfloat16, self.bfloat16):
            parts = [network(x[i : i + step], sigma[i : i + step]) for i in range(0, len(x), step)]
        return torch.cat(parts)

    def _on(self, device: Any) -> Denoiser:
        if device.type == "cpu":
            return self.network
        if device not in self._elsewhere:
            self._elsewhere[device] = copy.deepcopy(self.network).to(device)
        return self._elsewhere[device]

    def _check(self, x: Array) -> None:
        if not is_array(x):
            raise TypeError(f"expected x as an array (numpy, cupy or torch), got {told(x)}")
        if dtype_of(x).kind != "c":
            raise TypeError(f"expected complex x, got {dtype_of(x)}: cast it with .astype")
        wanted = ("rows", "columns") if self.shape is None else self.shape
        other = self.shape is not None and tuple(x.shape[-2:]) != self.shape
        if x.ndim < 2 or other or 0 in x.shape[-2:]:
            raise ValueError(
                f"expected x of shape (*batch, {wanted[0]}, {wanted[1]}), got {tuple(x.shape)}"
            )
