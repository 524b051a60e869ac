"""Reconstruction of magnetic resonance images."""

from .gfactor import gfactor, gfactor_by_replicas
from .grappa import grappa

__all__ = ["gfactor", "gfactor_by_replicas", "grappa"]
