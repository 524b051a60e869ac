"""What denoisers learn from: channels and heads, clean or with noise of a known level."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from sciml.datasets import (
    ChannelConfig,
    DelayLineConfig,
    channel_covariance,
    draw_channels,
    draw_delay_lines,
)
from sciml.io import read_image
from sciml.mri import Contrast, brain, smooth_phase

from ..channels.subcarriers import aligning_phases

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Channels", "DelayLines", "Heads", "Photographs", "Pool", "Source"]

_SHADING = 2.0
_BRIGHT = 99.5  # percentile that counts as the brightest tissue
_OBJECT = 0.1  # of it: what is above is no air


@dataclass(frozen=True, eq=False)
class Pool:
    """Data of a training: complex64 (rows, columns) each, drawn once, with their noise.

    Attributes:
        x: the data, of one shape unless `crop` is given. own: the level of the noise in them.
        crop: side of the squares that batches are cut in, or None. phases: whether a phase says
            nothing, so that it may be any.
    """

    x: list[Tensor]
    own: float
    crop: int | None = None
    phases: bool = True

    def drawn(self, rng: np.random.Generator, count: int) -> Tensor:
        """A batch, (count, rows, columns): any of the data, times any phase; squares turned and
        mirrored too."""
        import torch

        chosen = [self.x[i] for i in rng.integers(0, len(self.x), count)]
        if self.crop is not None:
            chosen = [self._square(x, self.crop, rng) for x in chosen]
        if not self.phases:
            return torch.stack(chosen)
        turn = torch.from_numpy(np.exp(2j * np.pi * rng.random(count)).astype(np.complex64))
        return turn[:, None, None] * torch.stack(chosen)

    def _square(self, x: Tensor, side: int, rng: np.random.Generator) -> Tensor:
        i, j = (int(rng.integers(0, n - side + 1)) for n in x.shape)
        x = x[i : i + side, j : j + side].rot90(int(rng.integers(4)))
        return x.mT if rng.integers(2) else x


class Source(Protocol):
    """What data are drawn from; as text, what a card says of them."""

    def __call__(self, rng: np.random.Generator) -> Pool: ...


@dataclass(frozen=True)
class Channels:
    """Narrowband channels between two arrays.

    Args:
        config: their family. count: how many. snr_db: mean power over that of CN noise; None:
            without noise.
    """

    config: ChannelConfig
    count: int = 10_000
    snr_db: float | None = None

    def __str__(self) -> str:
        drawn = self.config.scatter.value
        names = "/".join(p.value for p in self.config.profiles)
        return (
            f"{self.count} channels of TR 38.901 {names}, angles of the {drawn}, "
            f"{self.config.nr} x {self.config.nt}, {_told(self.snr_db)}"
        )

    def __call__(self, rng: np.random.Generator) -> Pool:
        H = draw_channels(self.config, self.count, rng)
        noise = 0.0 if self.snr_db is None else 10 ** (-self.snr_db / 20)
        return Pool(_with_noise(list(H), noise, rng), noise)

    @cached_property
    def _eigen(self) -> tuple[np.ndarray, np.ndarray]:
        powers, vectors = np.linalg.eigh(channel_covariance(self.config))
        return powers.clip(0), vectors

    def linear(self, x: np.ndarray, sigma: float) -> np.ndarray:
        """The best linear estimate of x0 from x, by the exact covariance."""
        powers, vectors = self._eigen
        z = x.reshape(len(x), -1) @ vectors.conj()
        return ((powers / (powers + sigma**2) * z) @ vectors.T).reshape(x.shape)


@dataclass(frozen=True)
class DelayLines:
    """Channels over frequency without noise, aligned as they are where some of them was measured.

    Timing and antennas' phases are taken off by `aligning_phases`, from two rows of three, and with
    the error that noise causes: of each antenna its own level, log-uniform in `sigma`.

    Args:
        config: their family. count: how many.
    """

    config: DelayLineConfig
    count: int = 60_000
    sigma: tuple[float, float] = (0.02, 1.0)

    @property
    def shape(self) -> tuple[int, int]:
        """(subcarriers, antennas)."""
        return len(self.config.subcarriers), self.config.antennas

    def __str__(self) -> str:
        c = self.config
        names = "/".join(p.value[-1] for p in c.profiles)
        return (
            f"{self.count} channels of TR 38.901 TDL-{names}, {len(c.subcarriers)} subcarriers x "
            f"{c.antennas} antennas at {1e-3 * c.spacing:g} kHz times "
            f"{c.subcarriers[0]} to {c.subcarriers[-1]}, delay spreads "
            f"{_nanoseconds(c.delay_spread)}, timing {_nanoseconds(c.timing)}, antennas alike by "
            f"{c.alike[0]:g} to {c.alike[1]:g}; aligned by two rows of three in noise of "
            f"{self.sigma[0]:g} to {self.sigma[1]:g}; without noise"
        )

    def __call__(self, rng: np.random.Generator) -> Pool:
        H = draw_delay_lines(self.config, self.count, rng)
        n, rows, antennas = H.shape
        low, high = np.log(self.sigma)
        sigma = np.exp(rng.uniform(low, high, (n, antennas)))
        noise = rng.standard_normal((*H.shape, 2), np.float32) @ np.array([1, 1j], np.complex64)
        phase = rng.integers(0, 3, n)
        for hidden in range(3):
            some = phase == hidden
            Y = H[some] + (sigma[some, None] / 2**0.5 * noise[some]).astype(H.dtype)
            seen = np.arange(rows) % 3 != hidden
            H[some] *= aligning_phases(Y, seen, self.config.frequencies, sigma[some])
        return Pool(_with_noise(list(H), 0.0, rng), 0.0)


@dataclass(frozen=True)
class Heads:
    """Slices of heads, of about 1 in the brightest tissue, with a smooth random phase.

    They are shaded as the root sum of squares of surface coils is: brighter towards the rim.

    Args:
        volumes: image files of heads with three axes; slices along each axis.
        drawn: how many procedural slices (`sciml.mri.brain`) there are beside them.
        crop: side of the squares that batches are cut in. every: slices between two of a volume.
        snr_db: mean power over that of CN noise; None: without noise.
    """

    volumes: tuple[Path, ...] = ()
    drawn: int = 200
    crop: int = 96
    every: int = 2
    snr_db: float | None = None

    def __str__(self) -> str:
        slices = f"every slice of {self.every} along all axes of "
        every = f"{slices}{_named(self.volumes)}; " * bool(self.volumes)
        drawn = f"{every}{self.drawn} procedural heads"
        return f"{drawn}; shading and phase smooth and random, {_told(self.snr_db)}"

    def __call__(self, rng: np.random.Generator) -> Pool:
        slices = [s for path in self.volumes for s in self._slices(path)]
        kinds = tuple(Contrast)
        for _ in range(self.drawn):
            side = int(rng.integers(max(144, self.crop), 241))
            slices.append(brain((side, side), kinds[rng.integers(len(kinds))], rng=rng.spawn(1)[0]))
        images = [
            rng.uniform(0.75, 1.25)
            * _shaded(s, rng)
            * np.exp(1j * smooth_phase(s.shape, rng=rng, peak=peak))
            for s, peak in zip(slices, rng.uniform(0, np.pi, len(slices)), strict=True)
        ]
        power = float(np.mean([np.mean(np.abs(x) ** 2) for x in images]))
        noise = 0.0 if self.snr_db is None else math.sqrt(power) * 10 ** (-self.snr_db / 20)
        return Pool(_with_noise(images, noise, rng), noise, self.crop)

    def _slices(self, path: Path) -> list[np.ndarray]:
        volume = np.asarray(read_image(path).data, np.float64)
        if volume.ndim != 3 or min(volume.shape) < self.crop:
            raise ValueError(
                f"expected a volume of three axes, {self.crop} or longer, got {volume.shape} in "
                f"{path}"
            )
        volume = np.abs(volume) / np.percentile(np.abs(volume[volume != 0]), _BRIGHT)
        found = []
        for axis in range(3):
            for image in np.moveaxis(volume, axis, 0)[:: self.every]:
                if np.mean(image > _OBJECT) > 0.15:  # air alone teaches nothing
                    found.append(image)
        return found


@dataclass(frozen=True)
class Photographs:
    """Grey images between 0 and 1.

    Args:
        files: of images. drawn: how many procedural ones there are beside them: dead leaves, discs
            that hide each other, of radii r with a density like r⁻³ (Lee, Mumford and Huang, Int.
            J. Comput. Vis. 41, 2001). crop: side of the squares that batches are cut in.
    """

    files: tuple[Path, ...] = ()
    drawn: int = 6
    crop: int = 48

    def __str__(self) -> str:
        told = f"{_named(self.files)}; " * bool(self.files)
        return f"{told}{self.drawn} images of dead leaves"

    def __call__(self, rng: np.random.Generator) -> Pool:
        images = [self._read(path) for path in self.files]
        images += [_dead_leaves(256, rng) for _ in range(self.drawn)]
        return Pool(_with_noise(images, 0.0, rng), 0.0, self.crop, phases=False)

    def _read(self, path: Path) -> np.ndarray:
        image = np.asarray(read_image(path).data)
        if image.ndim != 2 or np.iscomplexobj(image) or min(image.shape) < self.crop:
            raise ValueError(
                f"expected a grey image of at least {self.crop} x {self.crop}, got {image.dtype} "
                f"{image.shape} in {path}"
            )
        return image.astype(np.float32)


def _dead_leaves(side: int, rng: np.random.Generator, leaves: int = 400) -> np.ndarray:
    """(side, side), float32: radii from 4 pixels to a third of the side."""
    image = np.full((side, side), 0.5, np.float32)
    i, j = np.ogrid[:side, :side]
    least, most = 4.0, side / 3
    for u, shade in rng.random((leaves, 2)):
        radius = (u * least**-2 + (1 - u) * most**-2) ** -0.5
        a, b = rng.uniform(-20, side + 20, 2)
        image[(i - a) ** 2 + (j - b) ** 2 < radius**2] = shade
    return image


def _shaded(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Times 1 + a |p − c|² at points p of [−1, 1]², and 1 at the 99.5th percentile of the head.

    Eight loops around a head are up to three times as sensitive at the edges of the field of view
    as in its middle: a up to 2.
    """
    u, v = np.meshgrid(*(np.linspace(-1, 1, n) for n in image.shape), indexing="ij", sparse=True)
    a, (i, j) = rng.uniform(0, _SHADING), 0.15 * rng.standard_normal(2)
    shaded = image * (1 + a * ((u - i) ** 2 + (v - j) ** 2))
    return shaded / np.percentile(shaded[image > _OBJECT], _BRIGHT)


def _named(files: tuple[Path, ...]) -> str:
    """Which files, beyond doubt."""
    return ", ".join(
        f"{path.name} (SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()})" for path in files
    )


def _nanoseconds(bounds: tuple[float, float]) -> str:
    return f"{1e9 * bounds[0]:g} to {1e9 * bounds[1]:g} ns"


def _told(snr_db: float | None) -> str:
    return "without noise" if snr_db is None else f"noise at {snr_db:g} dB"


def _with_noise(x: list[np.ndarray], sigma: float, rng: np.random.Generator) -> list[Tensor]:
    import torch

    def noise(shape: tuple[int, ...]) -> np.ndarray:
        real, imaginary = rng.standard_normal((2, *shape), np.float32)
        return sigma * math.sqrt(0.5) * (real + 1j * imaginary)

    noisy = (one + noise(one.shape) if sigma else one for one in x)
    return [torch.from_numpy(one.astype(np.complex64)) for one in noisy]
