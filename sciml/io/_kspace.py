"""K-space as a value: its samples, what its axes are, and what came with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

import numpy as np


class Axis(Enum):
    """What an axis counts. K is a spatial frequency whose direction the file does not name."""

    COIL = "coil"
    K = "k"
    KX = "kx"
    KY = "ky"
    KZ = "kz"
    READOUT = "readout"
    SAMPLE = "sample"
    SLICE = "slice"
    CONTRAST = "contrast"
    PHASE = "phase"
    REPETITION = "repetition"
    SET = "set"
    AVERAGE = "average"
    BATCH = "batch"


FREQUENCIES = frozenset({Axis.K, Axis.KX, Axis.KY, Axis.KZ})
NON_CARTESIAN = (Axis.READOUT, Axis.SAMPLE)


class KSpaceFormat(Enum):
    """What a k-space file is by its content; the value names it for a person."""

    MRD = "ISMRMRD"
    FASTMRI = "fastMRI HDF5"
    HDF5 = "HDF5"
    BART = "BART .cfl"
    NPY = "NumPy .npy"
    NPZ = "NumPy .npz"
    MAT5 = "MATLAB level 5 .mat"
    MAT73 = "MATLAB v7.3 .mat"


@dataclass(frozen=True, eq=False)
class KSpace:
    """K-space and what a file tells about it.

    data: complex64 or complex128, (*batch, coil, *shape), the origin at n // 2; zeros where nothing
    was measured. Non-Cartesian: (*batch, coil, readout, sample).
    axes: what each axis of `data` is. format: None for data from no file. source: the file.
    name: of the array in it. order: for each axis of `data` the axis of the stored array, -1 for a
    coil axis that the file does without; None if they are the same.
    noise: (coil, samples) of a scan without excitation. trajectory: (*batch, readout, sample, dims)
    in the units of the file. calibration: (*batch, coil, *shape) of a separate scan of the centre.
    voxel: mm along each axis of the image, as `shape`. readout: samples along kx once the
    oversampling is removed (see `without_oversampling`). notes: what was averaged, left or
    assumed, a sentence each.
    """

    data: np.ndarray
    axes: tuple[Axis, ...]
    format: KSpaceFormat | None = None
    source: Path | None = None
    name: str | None = None
    order: tuple[int, ...] | None = None
    noise: np.ndarray | None = None
    trajectory: np.ndarray | None = None
    calibration: np.ndarray | None = None
    voxel: tuple[float, ...] | None = None
    readout: int | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.data, np.ndarray) or self.data.dtype not in (
            np.dtype(np.complex64),
            np.dtype(np.complex128),
        ):
            got = getattr(self.data, "dtype", type(self.data).__name__)
            raise TypeError(f"expected k-space as a complex64 or complex128 array, got {got}")
        if len(self.axes) != self.data.ndim or self.axes.count(Axis.COIL) != 1:
            raise ValueError(
                f"expected an axis named for each of {self.data.shape} and one of them the coils, "
                f"got {', '.join(axis.value for axis in self.axes)}"
            )
        last = self.axes[self._coil + 1 :]
        if last != NON_CARTESIAN and not (last and FREQUENCIES.issuperset(last)):
            raise ValueError(
                "expected spatial frequencies after the coil axis, got axes "
                f"{', '.join(axis.value for axis in self.axes)}: transpose the data"
            )

    @property
    def _coil(self) -> int:
        return self.axes.index(Axis.COIL)

    @property
    def coils(self) -> int:
        return self.data.shape[self._coil]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one coil's k-space: what lies after the coil axis."""
        return self.data.shape[self._coil + 1 :]

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return self.data.shape[: self._coil]

    @property
    def cartesian(self) -> bool:
        return self.axes[self._coil + 1 :] != NON_CARTESIAN

    @property
    def mask(self) -> np.ndarray:
        """bool, (*batch, *shape): where any coil is not zero."""
        return (self.data != 0).any(axis=self._coil)

    def stored(self, data: np.ndarray | None = None) -> np.ndarray:
        """`data` (this k-space's own if None) with its axes as they are in the file.

        Raises ValueError for another shape.
        """
        data = self.data if data is None else data
        if data.shape != self.data.shape:
            raise ValueError(f"expected data of shape {self.data.shape}, got {data.shape}")
        if self.order is None:
            return data
        if -1 in self.order:
            data = np.squeeze(data, axis=self._coil)
        kept = [axis for axis in self.order if axis >= 0]
        return np.ascontiguousarray(data.transpose(np.argsort(kept)))

    def without_oversampling(self) -> KSpace:
        """The centre of the field of view along kx, as the file asks for; itself if it does not.

        Scanners sample the readout twice as densely as the image needs. The transforms are
        orthonormal: the noise of a sample keeps its size.
        """
        if self.readout is None or Axis.KX not in self.axes:
            return self
        axis = self.axes.index(Axis.KX) - len(self.axes)
        if not 1 <= self.readout < self.data.shape[axis]:
            return self

        def crop(data: np.ndarray | None) -> np.ndarray | None:
            return None if data is None else _cropped(data, axis, self.readout or 1)

        data = crop(self.data)
        assert data is not None
        return replace(self, data=data, calibration=crop(self.calibration), order=None)


def _cropped(data: np.ndarray, axis: int, length: int) -> np.ndarray:
    def shifted(transform, values: np.ndarray) -> np.ndarray:
        inside = np.fft.ifftshift(values, axes=axis)
        return np.fft.fftshift(transform(inside, axis=axis, norm="ortho"), axes=axis)

    empty = (data == 0).all(axis=axis, keepdims=True)
    image = shifted(np.fft.ifft, data)
    start = data.shape[axis] // 2 - length // 2
    index = [slice(None)] * data.ndim
    index[axis] = slice(start, start + length)
    out = shifted(np.fft.fft, image[tuple(index)]).astype(data.dtype, copy=False)
    # A line that was not measured stays one, exactly.
    return np.where(empty, data.dtype.type(0), out)
