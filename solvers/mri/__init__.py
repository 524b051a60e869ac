"""Reconstruction of magnetic resonance images."""

from .gfactor import gfactor, gfactor_by_replicas
from .grappa import grappa
from .reconstruct import Method, Reconstruction, reconstruct

__all__ = ["Method", "Reconstruction", "gfactor", "gfactor_by_replicas", "grappa", "reconstruct"]
