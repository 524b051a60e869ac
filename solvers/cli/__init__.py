"""The command `sciml`: solve a system from a file, make data, compare methods."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; nothing but a code comes out of it.

    0: converged, or done. 1: any other status, or a failure of this program. 2: bad input.
    130: interrupted.

    Args:
        argv: the words after `sciml`; those of the process if not given.
    """
    from ._app import run

    return run(sys.argv[1:] if argv is None else list(argv))
