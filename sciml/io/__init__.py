"""Safe readers for matrices, k-space and images, and writers that never leave half a file."""

from ._atomic import atomic_file, atomic_path, write_json, write_npz
from ._limits import FileError, Limits
from .images import ImageFile, ImageFormat, read_image, write_image
from .kspace import Axis, KSpace, KSpaceFormat, read_kspace, write_kspace
from .matrices import MatrixFormat, SystemFile, VectorFile, read_system, read_vector

__all__ = [
    "Axis",
    "FileError",
    "ImageFile",
    "ImageFormat",
    "KSpace",
    "KSpaceFormat",
    "Limits",
    "MatrixFormat",
    "SystemFile",
    "VectorFile",
    "atomic_file",
    "atomic_path",
    "read_image",
    "read_kspace",
    "read_system",
    "read_vector",
    "write_image",
    "write_json",
    "write_kspace",
    "write_npz",
]
