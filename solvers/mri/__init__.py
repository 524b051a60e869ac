"""Reconstruction of magnetic resonance images."""

from .gfactor import gfactor, gfactor_by_replicas
from .grappa import grappa
from .reconstruct import Method, Reconstruction, reconstruct
from .scan import Scan, scan_of

__all__ = [
    "Method",
    "Reconstruction",
    "Scan",
    "gfactor",
    "gfactor_by_replicas",
    "grappa",
    "reconstruct",
    "scan_of",
]
