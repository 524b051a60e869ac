"""The CUDA sources compile for the GPUs that they are meant for, within their registers."""

from __future__ import annotations

import functools
import hashlib
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from sciml.kernels.cuda._sources import NAMES, OPTIONS, kernels, source
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


@functools.cache
def _version() -> bytes:
    return subprocess.run([NVCC or "", "--version"], capture_output=True, check=True).stdout


def _compiled(text: str, options: list[str]) -> str:
    """What nvcc tells of a source that it compiles; kept for the same source and options."""
    told = "\0".join((text, *options)).encode() + _version()
    kept = BUILT / f"nvcc-{hashlib.sha256(told).hexdigest()[:16]}.txt"
    if not kept.exists():
        with tempfile.TemporaryDirectory(dir=BUILT) as folder:
            path, report = Path(folder) / "source.cu", Path(folder) / "report.txt"
            path.write_text(text)
            command = [NVCC or "", *options, "-o", str(path.with_suffix(".cubin")), str(path)]
            found = subprocess.run(command, capture_output=True, text=True)
            assert found.returncode == 0, found.stderr
            report.write_text(found.stderr)
            report.replace(kept)
    return kept.read_text()


@pytest.mark.skipif(NVCC is None, reason="nvcc is not installed")
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_sources_compile_without_spilling(case, architecture):
    name, real, stored = case
    options = [*OPTIONS, f"-DREAL={real}", f"-DSTORED={stored}", f"-arch={architecture}", "-cubin"]
    options.append("-ftz=true")  # as CuPy always says: numbers below 1e-38 are 0 in float32
    told = _compiled(source(name), [*options, "-Xptxas", "-v", "-Werror", "all-warnings"])
    assert len(re.findall(r"Compiling entry function", told)) == len(kernels(name))
    assert set(re.findall(r"(\d+) bytes spill", told)) == {"0"}


def test_every_source_is_named_and_has_kernels():
    assert sorted(p.stem for p in FOLDER.glob("*.cu")) == sorted(NAMES)
    for name in NAMES:
        text = source(name)
        assert len(kernels(name)) == text.count("__global__") > 0


def test_cycles_of_float32_serve_vectors_of_float64():
    assert {("float", "double"), ("double", "float")} <= {
        (real, stored) for name, real, stored in CASES if name == "multigrid_cycle_finest"
    }
