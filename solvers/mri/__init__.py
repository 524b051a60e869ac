"""Reconstruction of magnetic resonance images."""

from .reconstruct import Method, Reconstruction, reconstruct

__all__ = ["Method", "Reconstruction", "reconstruct"]
