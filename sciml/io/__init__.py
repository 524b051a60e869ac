"""Safe readers for matrices and vectors, and writers that never leave half a file."""

from ._atomic import atomic_file, write_json, write_npz
from ._limits import FileError, Limits

__all__ = [
    "FileError",
    "Limits",
    "atomic_file",
    "write_json",
    "write_npz",
]
