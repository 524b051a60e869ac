"""Denoisers of complex images and of channels, at every noise level: D(x, sigma) = E[x0 | x].

Noise n is CN(0, sigma²): sigma² is E|n|² of a complex entry, of which real and imaginary part have
half each. Two real channels exist within a network only.

Preconditioning is that of Karras et al., Elucidating the design space of diffusion-based generative
models (NeurIPS 2022, arXiv 2206.00364), table 1, with a covariance R of x0 in place of sigma_data²:

    D(x, sigma) = c_skip x + c_out F(c_in x, c_noise),    c_skip = R (R + sigma²)^-1,
    c_out = sigma c_skip^½,    c_in = (R + sigma²)^-½,    c_noise = log(sigma / sigma_data) / 4.

c_skip x is Wiener's filter, and c_out the size of what it leaves: an untrained F, which gives 0,
leaves the best linear denoiser for R. With R = sigma_data² everything is as in the paper.
"""

from __future__ import annotations

import math
from enum import Enum

import torch
from torch import Tensor, nn

from ._layers import LightCNN, Padding, Perceptron, UNetBody
from .basis import Basis, Joint, Separable, Uniform

__all__ = ["Beams", "ChannelDenoiser", "Denoiser", "GatedDenoiser", "Padding", "UNetDenoiser"]


_FAINT = 0.03  # of a beam's power, relative to what is expected: below, less tells no more


class Beams(Enum):
    """Where a ChannelDenoiser's covariance comes from when it is fitted, see `Separable`, `Joint`.

    SEPARABLE keeps beams at the receiver times beams at the transmitter, also out of noisy data;
    JOINT keeps all correlations, out of many clean samples.
    """

    SEPARABLE = "separable"
    JOINT = "joint"


class Denoiser(nn.Module):
    """D(x, sigma): complex in and out.

    Attributes:
        ndim: 2.
        arguments: what the constructor was called with, for the card of its weights.
        shape: (rows, columns) if it takes one size only, else None.
        basis: of the covariance R.
        levels: float32 (2,), the least and the most sigma that F is trained at; beyond them it sees
            the nearest. `sciml.training` sets them.
    """

    ndim = 2
    arguments: dict[str, object]
    shape: tuple[int, int] | None = None
    basis: Basis
    levels: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("levels", torch.tensor([1e-3, 1e2]))

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """E[x0 | x], complex (batch, rows, columns).

        Args:
            x: complex (batch, rows, columns), in the precision of the weights. sigma: real
                (batch,), >= 0.
        """
        R, s = self.basis, sigma[:, None, None]
        seen = R.filtered(x, lambda p: (p + s.square()).rsqrt())
        found = self.body(seen, self.level(sigma))
        linear = R.filtered(x, lambda p: p / (p + s.square()))
        return linear + R.filtered(found, lambda p: s * (p / (p + s.square())).sqrt())

    def level(self, sigma: Tensor) -> Tensor:
        """c_noise, (batch,)."""
        known = sigma.clamp(self.levels[0], self.levels[1])
        return (known.square() / self.basis.mean(lambda p: p)).log() / 8

    def linear_error(self, sigma: Tensor) -> Tensor:
        """E|c_skip x − x0|² of an entry, (batch,): the mean of c_out², which errors are relative
        to."""
        noise = sigma.square()[:, None, None]
        return self.basis.mean(lambda p: noise * p / (p + noise))

    def fit(self, x: Tensor, sigma: Tensor) -> None:
        """Set R from data, before training; see `Basis.fit`.

        Raises:
            ValueError: the data are not above their noise.
        """
        self.basis.fit(x, sigma)

    def body(self, seen: Tensor, level: Tensor) -> Tensor:
        """F: complex entries around 1 to such entries, (batch, rows, columns); level: (batch,)."""
        raise NotImplementedError


class UNetDenoiser(Denoiser):
    """A U-Net for images of any size; R = sigma_data².

    Args:
        width: channels at full resolution. levels: of resolution, >= 1. padding: around images.
    """

    def __init__(
        self, width: int = 32, levels: int = 4, padding: Padding | str = Padding.ZEROS
    ) -> None:
        super().__init__()
        padding = Padding(padding)
        _at_least_one(width=width, levels=levels)
        self.arguments = {"width": width, "levels": levels, "padding": padding.value}
        self.basis = Uniform()
        self.net = UNetBody(2, width, levels, padding)

    def body(self, seen: Tensor, level: Tensor) -> Tensor:
        return _complex(self.net(_real(seen), level))


class ChannelDenoiser(Denoiser):
    """A light CNN for channels between two antenna arrays, (receive, transmit), of one size.

    The CNN works in the angular domain, between unitary Fourier transforms along both arrays, where
    a channel is sparse and the edges meet: padding is circular. `places` learned maps tell it where
    it is: it is not equivariant, as the angles of a site are not.

    Args:
        rows, columns: antennas at the receiver and at the transmitter. width, layers: of the CNN.
        places: maps that tell where an entry is. beams: of R. modes: kept by JOINT beams.
    """

    def __init__(
        self,
        rows: int,
        columns: int,
        width: int = 32,
        layers: int = 4,
        places: int = 4,
        beams: Beams | str = Beams.SEPARABLE,
        modes: int = 384,
    ) -> None:
        super().__init__()
        beams = Beams(beams)
        _at_least_one(rows=rows, columns=columns, width=width, layers=layers, places=places)
        self.arguments = {
            "rows": rows, "columns": columns, "width": width, "layers": layers, "places": places,
            "beams": beams.value, "modes": modes,
        }  # fmt: skip
        self.shape = (rows, columns)
        joint = beams is Beams.JOINT
        self.basis = Joint(rows, columns, modes) if joint else Separable(rows, columns)
        self.net = LightCNN(2 + places, width, layers, Padding.CIRCULAR)
        self.place = nn.Parameter(_harmonics(rows, columns, places))

    def body(self, seen: Tensor, level: Tensor) -> Tensor:
        angular = _real(torch.fft.fft2(seen, norm="ortho"))
        place = self.place.expand(len(seen), *self.place.shape)
        found = self.net(torch.cat([angular, place], 1), level)
        return torch.fft.ifft2(_complex(found), norm="ortho")


class GatedDenoiser(Denoiser):
    """Wiener's filter with gains that follow what is seen: for channels of few entries, one size.

    F = Σ V (g z), z = Vᴴ x: real gains g by dense layers on the logarithms of all |z|², in two V at
    once. One are the beams of R. The other has a learned matrix over rows, which begins as the
    discrete Fourier transform: with subcarriers as rows it sees delays. Given a delay spread, and
    how alike the antennas are, channels are nearly Gaussian, and that much the powers tell. If x
    turns by a phase, so does F.

    Args:
        rows, columns: of x, as subcarriers and antennas. width, layers: of the dense layers.
    """

    basis: Separable

    def __init__(self, rows: int, columns: int, width: int = 96, layers: int = 2) -> None:
        super().__init__()
        _at_least_one(rows=rows, columns=columns, width=width, layers=layers)
        self.arguments = {"rows": rows, "columns": columns, "width": width, "layers": layers}
        self.shape = (rows, columns)
        self.basis = Separable(rows, columns)
        self.net = Perceptron(2 * rows * columns, width, layers)
        waves = torch.fft.fft(torch.eye(rows, dtype=torch.complex64), norm="ortho")
        self.frame = nn.Parameter(torch.view_as_real(waves).contiguous())

    def body(self, seen: Tensor, level: Tensor) -> Tensor:
        frame = torch.view_as_complex(self.frame)
        columns = torch.view_as_complex(self.basis.columns)
        z = torch.stack([self.basis.coordinates(seen), frame.mH @ seen @ columns.conj()], 1)
        powers = (z.abs().square() + _FAINT).log()
        gated = self.net(powers.flatten(1), level).reshape(z.shape) * z
        return self.basis.combined(gated[:, 0]) + frame @ gated[:, 1] @ columns.mT


def _real(x: Tensor) -> Tensor:
    """Complex entries of power 1 as two channels of power 1 each, (batch, 2, rows, columns)."""
    return math.sqrt(2) * torch.stack([x.real, x.imag], 1)


def _complex(x: Tensor) -> Tensor:
    """The inverse of `_real`; out of bfloat16, single precision."""
    wide = x if x.dtype == torch.float64 else x.float()
    return torch.complex(wide[:, 0], wide[:, 1]) / math.sqrt(2)


def _harmonics(rows: int, columns: int, count: int) -> Tensor:
    """Cosines and sines of the angles along both axes, (count, rows, columns)."""
    i, j = (2 * math.pi * torch.arange(n) / n for n in (rows, columns))
    found = []
    for wave in range(1, 1 + -(-count // 4)):
        found += [f(wave * i)[:, None] + 0 * j for f in (torch.cos, torch.sin)]
        found += [f(wave * j) + 0 * i[:, None] for f in (torch.cos, torch.sin)]
    return torch.stack(found)[:count].clone()


def _at_least_one(**counts: int) -> None:
    if min(counts.values()) < 1:
        raise ValueError(f"expected counts >= 1, got {counts}")
