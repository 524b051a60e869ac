"""`sciml info`: versions, backends, devices and threads of this installation."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from importlib.util import find_spec
from typing import Annotated, Any

import typer

from ._options import Debug
from ._output import emit, one_line

_REQUIRED = ("numpy", "scipy", "h5py", "torch", "numba", "array-api-compat", "safetensors")
_SHOWN = ("typer", "rich", "matplotlib")
# By their distributions' names: importing some of them is slow, or prints, or writes to $HOME.
_OPTIONAL = (
    "cupy-cuda12x",
    "cupy-cuda13x",
    "pyamg",
    "scikit-sparse",
    "petsc4py",
    "mpi4py",
    "finufft",
    "ismrmrd",
    "PyWavelets",
    "sionna-no-rt",
    "deepxde",
    "parafields",
    "pylops",
    "deepinv",
)
_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMBA_THREADING_LAYER",
    "CUDA_VISIBLE_DEVICES",
)


def info(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    debug: Debug = False,
) -> int:
    """Show versions, backends, devices and threads."""
    found = _found()
    emit(json.dumps(found, allow_nan=False) if as_json else _text(found))
    return 0


def _found() -> dict[str, Any]:
    from sciml import __version__

    return {
        "sciml": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": {name: _version(name) for name in (*_REQUIRED, *_SHOWN)},
        "optional": {name: _version(name) for name in _OPTIONAL},
        "backends": {"numpy": "cpu", "torch": _torch(), "cupy": _cupy()},
        "threads": {"cores": _cores(), "torch": _torch_threads(), **_numba()},
        "environment": {name: os.environ.get(name) for name in _VARIABLES},
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cores() -> int | None:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count()


def _torch() -> str:
    """The devices torch can use, or why there is none. A broken installation is a finding."""
    try:
        import torch

        if not torch.cuda.is_available():
            built = torch.version.cuda
            why = "built without CUDA" if built is None else f"CUDA {built} build, no device found"
            return f"cpu ({why})"
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return f"cpu, cuda ({', '.join(names)}; CUDA {torch.version.cuda})"
    except Exception as error:
        return _broken(error)


def _cupy() -> str:
    if find_spec("cupy") is None:
        return "not installed: pip install 'sciml-solvers[cuda12]' or [cuda13]"
    try:
        import cupy

        devices = cupy.cuda.runtime.getDeviceCount()
        names = [cupy.cuda.runtime.getDeviceProperties(i)["name"] for i in range(devices)]
        return f"cuda ({', '.join(os.fsdecode(name) for name in names)})"
    except Exception as error:
        return _broken(error)


def _torch_threads() -> int | None:
    try:
        import torch

        return torch.get_num_threads()
    except Exception:
        return None


def _numba() -> dict[str, Any]:
    try:
        import numba
        from numba.np.ufunc.parallel import threading_layer

        threads = numba.get_num_threads()
    except Exception as error:
        return {"numba": None, "numba_layer": _broken(error)}
    try:
        layer = threading_layer()
    except ValueError:
        layer = "chosen at the first parallel kernel"
    return {"numba": threads, "numba_layer": layer}


def _broken(error: Exception) -> str:
    return one_line(f"not usable: {type(error).__name__}: {error}")


def _text(found: dict[str, Any]) -> str:
    absent = [name for name, version in found["optional"].items() if version is None]
    lines = [
        ("sciml", found["sciml"]),
        ("python", f"{found['python']}, {found['system']}"),
        ("packages", _listed(found["packages"])),
        ("optional", _listed(found["optional"]) or "none"),
        ("not there", ", ".join(absent) or "none"),
        *((name, devices) for name, devices in found["backends"].items()),
        ("threads", _listed(found["threads"])),
        ("environment", _listed(found["environment"]) or "no thread or device variables set"),
    ]
    return "\n".join(f"{name:<12}{one_line(str(words))}" for name, words in lines)


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)
