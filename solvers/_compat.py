"""Refuses to run beside a `sciml` from another release.

Both names belong to other projects on the package index, so the `sciml` that Python finds first
need not be ours.
"""

from pathlib import Path

import sciml
from solvers._version import __version__ as expected


def check() -> None:
    """Raise ImportError unless the `sciml` that was imported is of this release."""
    got = getattr(sciml, "__version__", "one without a version")
    if got == expected:
        return
    # A namespace package (a bare folder called sciml) has no __file__.
    place = Path(sciml.__file__).parent if sciml.__file__ else next(iter(sciml.__path__))
    raise ImportError(f"expected sciml {expected}, got {got} at {place}: reinstall sciml-solvers")


check()
