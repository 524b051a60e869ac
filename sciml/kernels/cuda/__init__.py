"""Kernels in CUDA C++, for CuPy arrays and CUDA tensors of torch.

A source is compiled by CuPy when a kernel of it is first launched, for one real type at a time, and
cached on disk. Importing this needs no CuPy and no GPU.
"""

from . import amg, coils, small, sparse, stencil, vectors
from ._device import Device, contiguous, device_of
from ._graph import Graph, record
from ._pool import torch_memory

__all__ = [
    "Device",
    "Graph",
    "amg",
    "coils",
    "contiguous",
    "device_of",
    "record",
    "small",
    "sparse",
    "stencil",
    "torch_memory",
    "vectors",
]
