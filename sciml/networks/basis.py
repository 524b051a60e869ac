"""Bases in which entries are nearly independent, and their powers: what a denoiser starts from.

A basis V, unitary, and powers P of the coefficients Vᴴ x are a covariance V P Vᴴ of x. Functions of
it are all that preconditioning needs: `filtered(x, g)` is V g(P) Vᴴ x.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["Basis", "Joint", "Separable", "Uniform"]

Gain = Callable[[Tensor], Tensor]

_SMALLEST = 1e-12  # of powers, relative to their mean
_CERTAIN = 3.0  # standard errors by which a power exceeds 0 to be told from noise


class Basis(nn.Module):
    """Gains are functions of powers (1, 1) or larger; they may add a batch axis before."""

    def filtered(self, x: Tensor, gain: Gain) -> Tensor:
        """V gain(P) Vᴴ x, complex (batch, rows, columns)."""
        raise NotImplementedError

    def mean(self, gain: Gain) -> Tensor:
        """The mean of gain(P) over all coefficients, (*batch,)."""
        raise NotImplementedError

    def fit(self, x: Tensor, sigma: Tensor) -> None:
        """Take V and P from data, of which white noise moves P alone, by a known amount.

        Args:
            x: complex (samples, rows, columns). sigma: (samples,), of the noise that is in them.
        """
        raise NotImplementedError


class Uniform(Basis):
    """One power for all entries: any basis."""

    power: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("power", torch.ones(1, 1))

    def filtered(self, x: Tensor, gain: Gain) -> Tensor:
        return gain(self.power) * x

    def mean(self, gain: Gain) -> Tensor:
        return gain(self.power).mean((-2, -1))

    def fit(self, x: Tensor, sigma: Tensor) -> None:
        found = float((x.abs().square().mean((1, 2)) - sigma.square()).mean())
        if not found > 0:
            raise ValueError(f"expected data above their noise, got a power of {found:g}: check "
                             "sigma")  # fmt: skip
        self.power.fill_(found)


class Separable(Basis):
    """Beams of rows times beams of columns (Weichselberger et al., IEEE Trans. Wireless Commun. 5,
    2006): H = U_R Z U_Tᵀ with the eigenvectors of E[H Hᴴ] and E[Hᵀ H*], entries of Z independent.

    Before a `fit` the beams are those of the discrete Fourier transform.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.log_power = nn.Parameter(torch.zeros(rows, columns))
        for name, n in (("rows", rows), ("columns", columns)):
            waves = torch.fft.fft(torch.eye(n, dtype=torch.complex64), norm="ortho")
            self.register_buffer(name, torch.view_as_real(waves).contiguous())

    def coordinates(self, x: Tensor) -> Tensor:
        """Vᴴ x, (batch, rows, columns)."""
        left, right = torch.view_as_complex(self.rows), torch.view_as_complex(self.columns)
        return left.mH @ x @ right.conj()

    def combined(self, z: Tensor) -> Tensor:
        """V z."""
        left, right = torch.view_as_complex(self.rows), torch.view_as_complex(self.columns)
        return left @ z @ right.mT

    def filtered(self, x: Tensor, gain: Gain) -> Tensor:
        return self.combined(gain(self.log_power.exp()) * self.coordinates(x))

    def mean(self, gain: Gain) -> Tensor:
        return gain(self.log_power.exp()).mean((-2, -1))

    def fit(self, x: Tensor, sigma: Tensor) -> None:
        """A power that noise alone could have left counts as none."""
        wide, noise = x.to(torch.complex128), sigma.double().square()
        left = torch.linalg.eigh(torch.einsum("nij,nkj->ik", wide, wide.conj()))[1]
        right = torch.linalg.eigh(torch.einsum("nij,nik->jk", wide, wide.conj()))[1]
        size = (left.mH @ wide @ right.conj()).abs().square()
        power = (size - noise[:, None, None]).mean(0)
        # |z|² of noise alone has the mean and the standard deviation sigma²
        error = noise.square().mean().sqrt() / math.sqrt(len(x))
        _set(self.log_power, torch.where(power > _CERTAIN * error, power, 0))
        self.rows.copy_(torch.view_as_real(left))
        self.columns.copy_(torch.view_as_real(right))


class Joint(Basis):
    """The strongest eigenvectors of the covariance of all entries; one power for what is left.

    It needs many samples, with little noise in them, and `rows * columns * modes` complex numbers.
    """

    modes: Tensor

    def __init__(self, rows: int, columns: int, modes: int) -> None:
        super().__init__()
        size = rows * columns
        if not 1 <= modes < size:
            raise ValueError(f"expected 1 <= modes < {size}, got {modes}")
        self.rest = size - modes
        self.log_power = nn.Parameter(torch.zeros(1, modes))
        self.log_rest = nn.Parameter(torch.zeros(1, 1))
        self.register_buffer("modes", torch.view_as_real(torch.eye(size, modes) + 0j).contiguous())

    def filtered(self, x: Tensor, gain: Gain) -> Tensor:
        modes, left = torch.view_as_complex(self.modes), gain(self.log_rest.exp())
        z = x.flatten(1)[:, None] @ modes.conj()
        change = ((gain(self.log_power.exp()) - left) * z) @ modes.mT
        return left * x + change.reshape(x.shape)

    def mean(self, gain: Gain) -> Tensor:
        kept = gain(self.log_power.exp()).sum((-2, -1))
        left = gain(self.log_rest.exp()).sum((-2, -1))
        return (kept + self.rest * left) / (self.rest + self.log_power.numel())

    def fit(self, x: Tensor, sigma: Tensor) -> None:
        """A power within the spread of white noise's eigenvalues (Marchenko, Pastur) counts as
        none."""
        wide, noise = x.flatten(1).to(torch.complex128), sigma.double().square().mean()
        power, vectors = torch.linalg.eigh(wide.mT @ wide.conj() / len(x))
        ratio = wide.shape[1] / len(x)
        power = (power - noise).flip(0)
        power = torch.where(power > noise * (2 * math.sqrt(ratio) + ratio), power, 0)
        kept = self.log_power.numel()
        _set(self.log_power, power[:kept])
        _set(self.log_rest, power[kept:].mean(), power.mean())
        self.modes.copy_(torch.view_as_real(vectors.flip(1)[:, :kept]))


def _set(log_power: nn.Parameter, power: Tensor, mean: Tensor | None = None) -> None:
    mean = power.mean() if mean is None else mean
    if not float(mean) > 0:
        raise ValueError("expected data above their noise, got none: check sigma")
    with torch.no_grad():
        log_power.copy_(power.clamp(min=_SMALLEST * float(mean)).log().reshape(log_power.shape))
