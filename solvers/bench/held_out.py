"""What a network has learned from is no test of it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sciml.io import FileError

__all__ = ["need_unseen"]


def need_unseen(path: str | os.PathLike[str], about: Mapping[str, Any]) -> None:
    """Refuse a file that the training read, whatever it is called now.

    Cards name what was read by the SHA-256 of its bytes: the same image written anew is another
    file, and is not known. A card without check sums refuses nothing.

    Args:
        path: of an image. about: `read_card(weights)["about"]`.

    Raises:
        FileError: the network has learned from it.
    """
    with Path(path).open("rb") as handle:
        found = hashlib.file_digest(handle, "sha256").hexdigest()
    seen = re.search(rf"([^,;]+) \(SHA-256 {found}\)", str(about.get("data", "")))
    if seen is not None:
        raise FileError(
            path, f"expected an image that the network has not seen, got {seen[1].split()[-1]} of "
            "its training: name another one"
        )  # fmt: skip
