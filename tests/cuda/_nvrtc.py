"""NVIDIA's run-time compiler, which CuPy compiles by, called without CuPy and without a GPU.

It comes as a library in a wheel (`pip install nvidia-cuda-nvrtc`); its C functions are those of the
NVRTC documentation, section Basic Usage.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


@functools.cache
def library() -> Path | None:
    """The library of the first wheel on the path, or None where there is none.

    Wheels for CUDA 12 have it in `nvidia/cuda_nvrtc/lib`, later ones in `nvidia/cu13/lib`.
    """
    for entry in map(Path, sys.path):
        for found in sorted(entry.glob("nvidia/*/lib/libnvrtc.so.*")):
            return found
    return None


@functools.cache
def version() -> tuple[int, int]:
    """(major, minor) of the library."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _checked(_loaded().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    return major.value, minor.value


def compiled(text: str, options: Sequence[str]) -> tuple[str, bytes]:
    """(what the compiler tells, the cubin) of a CUDA source.

    Raises:
        SyntaxError: it does not compile; with what the compiler tells.
    """
    nvrtc, program = _loaded(), ctypes.c_void_p()
    made = nvrtc.nvrtcCreateProgram(
        ctypes.byref(program), text.encode(), b"source.cu", 0, None, None
    )
    _checked(made)
    try:
        given = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        failed = nvrtc.nvrtcCompileProgram(program, len(options), given)
        told = _taken(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program)
        log = told.rstrip(b"\0").decode()
        if failed:
            raise SyntaxError(log or _name(failed))
        return log, _taken(nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN, program)
    finally:
        _checked(nvrtc.nvrtcDestroyProgram(ctypes.byref(program)))


@functools.cache
def _loaded() -> ctypes.CDLL:
    """The library after what it opens by name alone, which lies beside it."""
    found = library()
    assert found is not None
    for beside in found.parent.glob("libnvrtc-builtins.so.*"):
        ctypes.CDLL(str(beside))
    nvrtc = ctypes.CDLL(str(found))
    nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
    return nvrtc


def _taken(size: Callable[..., int], content: Callable[..., int], program: Any) -> bytes:
    """What one function of the library fills, in the bytes that another one asks for."""
    count = ctypes.c_size_t()
    _checked(size(program, ctypes.byref(count)))
    room = ctypes.create_string_buffer(max(count.value, 1))
    _checked(content(program, room))
    return room.raw[: count.value]


def _name(code: int) -> str:
    return _loaded().nvrtcGetErrorString(code).decode()


def _checked(code: int) -> None:
    if code:
        raise RuntimeError(f"NVRTC: {_name(code)}")
