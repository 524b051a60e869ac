"""Fewer, virtual coils in place of the measured ones."""

from __future__ import annotations

from .._checks import is_integer
from ..arrays import Array, astype, check_float, dtype_of, namespace
from ..operator import Operator
from ..space import Space
from .fourier import FFT

__all__ = ["CoilCompression"]


class CoilCompression(Operator):
    """k -> M k: k-space of virtual coils, each a combination of the measured ones.

    With one matrix for each position x along the read-out, that axis is taken to image space,
    combined position by position, and taken back. The rows of `sciml.mri.compress`'s matrices are
    orthonormal: noise that was white over the coils stays so.

    Args:
        matrix: (virtual, coil), or (x, virtual, coil) for one a position; complex.
        shape: of the k-space of one coil.
        readout: the axis that x lies along, negative, -1 the last one; needed for a matrix for
            each position, and only then.

    Raises:
        TypeError, ValueError: the matrix is not complex, or does not fit.
    """

    param_names = ("matrix",)
    recordable = False

    def __init__(
        self, matrix: Array, shape: tuple[int, ...], *, readout: int | None = None
    ) -> None:
        namespace(matrix)
        dtype = check_float(dtype_of(matrix), "a matrix")
        image = Space(shape, dtype)
        if not image.is_complex:
            raise TypeError(f"expected a complex matrix, got {dtype}")
        if matrix.ndim != (2 if readout is None else 3):
            raise ValueError(
                "expected a matrix (virtual, coil), or (x, virtual, coil) and a readout axis, got "
                f"{tuple(matrix.shape)} and readout {readout}"
            )
        if readout is not None:
            if not is_integer(readout) or not -image.ndim <= readout < 0:
                raise ValueError(f"expected readout from {-image.ndim} to -1, got {readout}")
            if matrix.shape[0] != image.shape[readout]:
                raise ValueError(
                    f"expected a matrix for each of {image.shape[readout]} positions, got "
                    f"{matrix.shape[0]}"
                )
        self.matrix, self.readout = matrix, readout
        virtual, coils = matrix.shape[-2:]
        super().__init__(Space((coils, *shape), dtype), Space((virtual, *shape), dtype))

    def _apply(self, x: Array) -> Array:
        return self._combine(astype(self.matrix, dtype_of(x)), x)

    def _adjoint(self, y: Array) -> Array:
        xp = namespace(y)
        back = xp.conj(xp.matrix_transpose(astype(self.matrix, dtype_of(y))))
        return self._combine(back, y)

    def _combine(self, matrix: Array, k: Array) -> Array:
        """(*batch, coil, *shape) with the coil axis multiplied, at each x by its own matrix."""
        xp, ndim = namespace(k), self.domain.ndim - 1
        coil = k.ndim - 1 - ndim
        if self.readout is None:
            last = xp.moveaxis(k, coil, -1)
            return xp.moveaxis(xp.matmul(last, xp.matrix_transpose(matrix)), -1, coil)
        place = k.ndim + self.readout
        # to (x, ..., coil), where each x is one product
        moved = xp.moveaxis(self._along(k, inverse=True), (place, coil), (0, -1))
        shape = (moved.shape[0], -1, moved.shape[-1])
        product = xp.matmul(xp.reshape(moved, shape), xp.matrix_transpose(matrix))
        product = xp.reshape(product, (*moved.shape[:-1], matrix.shape[-2]))
        return self._along(xp.moveaxis(product, (0, -1), (place, coil)), inverse=False)

    def _along(self, k: Array, *, inverse: bool) -> Array:
        """The centred transform along the read-out axis."""
        xp, place = namespace(k), k.ndim + (self.readout or 0)
        last = xp.moveaxis(k, place, -1)
        fourier = FFT(Space((last.shape[-1],), dtype_of(k)), centred=True)
        return xp.moveaxis(fourier.adjoint(last) if inverse else fourier(last), -1, place)
