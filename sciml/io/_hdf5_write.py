"""HDF5 files written so that the old one or the new one stands, whole."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator

import h5py

from ._atomic import atomic_path


@contextlib.contextmanager
def atomic_hdf5(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """A new HDF5 file whose content takes the place of `path` when the block ends without an error.

    Raises FileError as `atomic_path`, OSError for a full disk, whenever libhdf5 notices.
    """
    with atomic_path(path) as target:
        file = h5py.File(target, "w")
        try:
            yield file
            file.flush()
            file.close()
        except RuntimeError as error:
            _abandon(file)
            # What the system said stands in the text only.
            told = re.search(r"errno = (\d+)", str(error))
            number = int(told[1]) if told else errno.EIO
            raise OSError(number, os.strerror(number)) from None
        except BaseException:
            _abandon(file)
            raise


def _abandon(file: h5py.File) -> None:
    # The temporary file goes: that it cannot be closed in order loses nothing.
    with contextlib.suppress(OSError, RuntimeError, ValueError):
        file.close()
