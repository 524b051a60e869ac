"""Safe readers for matrices and vectors, and writers that never leave half a file."""

from ._atomic import atomic_file, atomic_path, write_json, write_npz
from ._limits import FileError, Limits
from .matrices import MatrixFormat, SystemFile, VectorFile, read_system, read_vector

__all__ = [
    "FileError",
    "Limits",
    "MatrixFormat",
    "SystemFile",
    "VectorFile",
    "atomic_file",
    "atomic_path",
    "read_system",
    "read_vector",
    "write_json",
    "write_npz",
]
