"""The CUDA sources compile for the GPUs that they are meant for, within their registers.

By nvcc and by NVRTC, which CuPy compiles by: each where it is installed.
"""

from __future__ import annotations

import functools
import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from sciml.io import atomic_file
from sciml.kernels.cuda._sources import NAMES, OPTIONS, kernels, source
from tests.cuda import _nvrtc
from tests.cuda._shim import BUILT

NVCC = shutil.which("nvcc")
REALS = ("float", "double")


FOLDER = Path(__file__).resolve().parents[2] / "sciml" / "kernels" / "cuda"


def _knows_two_types(name: str) -> bool:
    """Whether a source has reals of another type than its own, as coefficients or vectors."""
    own = source(name).removeprefix((FOLDER / "common.cuh").read_text())
    return re.search(r"\bstored\b", re.sub(r"//.*", "", own)) is not None


CASES = [
    (name, real, stored)
    for name in NAMES
    for real in REALS
    for stored in (REALS if _knows_two_types(name) else (real,))
]


class Compiler(NamedTuple):
    """One of those that may be there.

    Fields:
        version: what tells its versions apart. tells: what it says of a source in sm_80's or
            sm_90's code, with its registers; raises SyntaxError for errors and for warnings.
    """

    version: Callable[[], str]
    tells: Callable[[str, list[str]], str]


@functools.cache
def _nvcc_version() -> str:
    return subprocess.check_output([NVCC or "", "--version"], text=True)


def _nvcc_tells(text: str, options: list[str]) -> str:
    with tempfile.TemporaryDirectory(dir=BUILT) as folder:
        path = Path(folder) / "source.cu"
        path.write_text(text)
        command = [NVCC or "", *options, "-cubin", "-Xptxas", "-v", "-Werror", "all-warnings"]
        command += ["-o", str(path.with_suffix(".cubin")), str(path)]
        found = subprocess.run(command, capture_output=True, text=True)
    if found.returncode:
        raise SyntaxError(found.stderr)
    return found.stderr


def _nvrtc_tells(text: str, options: list[str]) -> str:
    log, cubin = _nvrtc.compiled(text, [*options, "--ptxas-options=-v"])
    if "warning" in log:
        raise SyntaxError(log)
    assert cubin.startswith(b"\x7fELF")
    return log


COMPILERS = [
    pytest.param(
        Compiler(_nvcc_version, _nvcc_tells),
        marks=pytest.mark.skipif(NVCC is None, reason="nvcc is not installed"),
        id="nvcc",
    ),
    pytest.param(
        Compiler(lambda: str(_nvrtc.version()), _nvrtc_tells),
        marks=pytest.mark.skipif(
            _nvrtc.library() is None,
            reason="NVRTC is not installed: pip install nvidia-cuda-nvrtc",
        ),
        id="nvrtc",
    ),
]


def _told(compiler: Compiler, text: str, options: list[str]) -> str:
    """What a compiler tells of a source that it compiles; kept for the same source and options."""
    key = "\0".join((text, *options, compiler.version())).encode()
    kept = BUILT / f"compiled-{hashlib.sha256(key).hexdigest()[:16]}.txt"
    if not kept.exists():
        told = compiler.tells(text, options)
        with atomic_file(kept, text=True) as handle:
            handle.write(told)
    return kept.read_text()


def _options(real: str, stored: str, architecture: str) -> list[str]:
    """As CuPy gives them; it always says -ftz: numbers below 1e-38 are 0 in float32."""
    types = f"-DREAL={real}", f"-DSTORED={stored}"
    return [*OPTIONS, *types, f"--gpu-architecture={architecture}", "-ftz=true"]


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_sources_compile_without_spilling(case, architecture, compiler):
    name, real, stored = case
    told = _told(compiler, source(name), _options(real, stored, architecture))
    found = re.findall(rf"Compiling entry function '(\w+)' for '{architecture}'", told)
    assert sorted(found) == sorted(kernels(name))
    assert set(re.findall(r"(\d+) bytes spill", told)) == {"0"}


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize(
    ("kernel", "told"),
    [("room[0] = undeclared;", "undeclared"), ("int unused;", "unused"), ("", None)],
    ids=["error", "warning", "neither"],
)
def test_errors_and_warnings_are_found(kernel, told, compiler):
    text = f'{source("vectors")}\nextern "C" __global__ void more(real* room) {{ {kernel} }}\n'
    options = _options("float", "float", "sm_80")
    if told is None:
        assert "more" in compiler.tells(text, options)
    else:
        with pytest.raises(SyntaxError, match=told):
            compiler.tells(text, options)


def test_sources_need_no_headers():
    """NVRTC has none of the host's."""
    for name in NAMES:
        assert "#include" not in source(name)


def test_every_source_is_named_and_has_kernels():
    assert sorted(p.stem for p in FOLDER.glob("*.cu")) == sorted(NAMES)
    for name in NAMES:
        text = source(name)
        assert len(kernels(name)) == text.count("__global__") > 0


def test_cycles_of_float32_serve_vectors_of_float64():
    assert {("float", "double"), ("double", "float")} <= {
        (real, stored) for name, real, stored in CASES if name == "multigrid_cycle_finest"
    }
