"""The CUDA sources compile for the GPUs that they are meant for, within their registers."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sciml.kernels.cuda._sources import NAMES, OPTIONS, kernels, source

NVCC = shutil.which("nvcc")
TYPES = [("float", "float"), ("double", "double"), ("double", "float")]


@pytest.mark.skipif(NVCC is None, reason="nvcc is not installed")
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize("types", TYPES, ids="-".join)
@pytest.mark.parametrize("name", NAMES)
def test_sources_compile_without_spilling(name, types, architecture, tmp_path):
    path = tmp_path / f"{name}.cu"
    path.write_text(source(name))
    real, stored = types
    options = [*OPTIONS, f"-DREAL={real}", f"-DSTORED={stored}", f"-arch={architecture}", "-cubin"]
    options += ["-Xptxas", "-v", "-Werror", "all-warnings", "-o", str(tmp_path / "cubin")]
    found = subprocess.run([NVCC, *options, str(path)], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert len(re.findall(r"Compiling entry function", found.stderr)) == len(kernels(name))
    assert set(re.findall(r"(\d+) bytes spill", found.stderr)) == {"0"}


def test_every_source_is_named_and_has_kernels():
    folder = Path(__file__).resolve().parents[2] / "sciml" / "kernels" / "cuda"
    assert sorted(p.stem for p in folder.glob("*.cu")) == sorted(NAMES)
    for name in NAMES:
        text = source(name)
        assert len(kernels(name)) == text.count("__global__") > 0
        assert "#include" not in text  # the compiler at run time has no headers
