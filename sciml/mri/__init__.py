"""Magnetic resonance imaging: coil compression."""

from .compression import Compressed, Compression, compress

__all__ = ["Compressed", "Compression", "compress"]
