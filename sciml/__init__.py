"""Certified inverse problems and PDEs: operators, problems, results."""

from ._version import __version__

__all__ = ["__version__"]
