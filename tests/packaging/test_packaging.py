"""The distribution: what the wheel holds, what an import costs, what runs together with what."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def python(code: str, **kwargs) -> subprocess.CompletedProcess[str]:
    """Run `code` in a new interpreter that starts in the repository root."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, **kwargs)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as a release would build it."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_the_wheel_holds_exactly_the_two_packages(names):
    import sciml

    info = f"sciml_solvers-{sciml.__version__}.dist-info"
    assert {name.split("/")[0] for name in names} == {"sciml", "solvers", info}


def test_the_wheel_holds_every_module_of_the_checkout(names):
    modules = {
        path.relative_to(ROOT).as_posix()
        for package in ("sciml", "solvers")
        for path in (ROOT / package).rglob("*.py")
    }
    assert modules == {name for name in names if name.endswith(".py")}


def test_the_wheel_carries_its_licence_and_its_command(wheel, names):
    assert any(name.endswith("licenses/LICENSE") for name in names)
    with zipfile.ZipFile(wheel) as archive:
        (path,) = [name for name in names if name.endswith("entry_points.txt")]
        assert "sciml = solvers.cli:main" in archive.read(path).decode().splitlines()


def test_every_folder_with_modules_is_a_package():
    """A forgotten __init__.py hides a folder from the linters but not from Python."""
    for package in ("sciml", "solvers"):
        for path in (ROOT / package).rglob("*.py"):
            assert (path.parent / "__init__.py").is_file(), f"{path.parent} has no __init__.py"


HEAVY = ("torch", "cupy", "h5py", "numba", "scipy", "matplotlib", "pandas", "typer", "rich")


def test_importing_sciml_loads_numpy_and_nothing_heavier():
    done = python(
        f"import json, sys, sciml; print(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


def test_importing_sciml_takes_under_a_third_of_a_second():
    code = (
        "import time; t = time.perf_counter(); import sciml; print(time.perf_counter() - t); "
        "import sys; assert 'numpy' in sys.modules"
    )
    runs = [python(code) for _ in range(5)]
    assert all(run.returncode == 0 for run in runs), runs[0].stderr
    seconds = [float(run.stdout) for run in runs]
    assert min(seconds) < 0.3, seconds


def test_importing_says_and_writes_nothing(tmp_path):
    code = "import sciml, solvers"
    env = {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = python(code, env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


OPTIONAL = [
    "cupy",
    "cupyx",
    "deepinv",
    "deepxde",
    "finufft",
    "ismrmrd",
    "mpi4py",
    "petsc4py",
    "pyamg",
    "pylops",
    "pywt",
    "sionna",
    "sksparse",
]


def test_every_module_imports_without_the_optional_packages():
    code = f"""
import importlib, pkgutil, sys
sys.modules.update(dict.fromkeys({OPTIONAL}))
import sciml, solvers
for package in (sciml, solvers):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
"""
    done = python(code)
    assert done.returncode == 0, done.stderr


def test_both_packages_carry_one_version():
    import sciml
    from solvers._version import __version__

    assert sciml.__version__ == __version__


@pytest.mark.parametrize("found", ["'9.9'", None])
def test_solvers_refuses_a_sciml_of_another_version(found):
    change = f"sciml.__version__ = {found}" if found else "del sciml.__version__"
    done = python(f"import sciml; {change}; import solvers")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    got = "9.9" if found else "one without a version"
    assert last.startswith("ImportError: expected sciml 0.")
    assert f"got {got} at {ROOT / 'sciml'}: reinstall sciml-solvers" in last


def test_the_command_is_installed_and_can_be_called():
    (command,) = entry_points(group="console_scripts", name="sciml")
    assert command.value == "solvers.cli:main"
    assert callable(command.load())
    script = Path(sys.executable).parent / "sciml"
    done = subprocess.run([script, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "demo" in done.stdout


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_readme_names_commands_that_exist(target):
    assert f"make {target}" in (ROOT / "README.md").read_text(encoding="utf-8")
    plan = subprocess.run(
        ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert plan.returncode == 0, plan.stderr


def test_make_refuses_an_old_python_before_it_installs(tmp_path):
    """The interpreter is a stand-in that reports what Python 3.10 would."""
    old = tmp_path / "python3.10"
    old.write_text(
        f"#!/bin/sh\n"
        f'[ "$1" = -c ] || exit 9\n'
        f"exec {sys.executable} -c 'import sys; sys.version_info = (3, 10, 4); "
        f'sys.version = "3.10.4 (old)"; exec(sys.argv[1])\' "$2"\n'
    )
    old.chmod(0o755)
    venv = tmp_path / "venv"
    done = subprocess.run(
        ["make", f"{venv}/bin/pip", f"PYTHON={old}", f"VENV={venv}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert "expected Python 3.11 or newer, got 3.10.4" in done.stderr
    assert not venv.exists()


def test_weights_are_networks_with_their_cards_and_nothing_else() -> None:
    files = {path.name for path in (ROOT / "sciml" / "weights").iterdir() if path.is_file()}
    files -= {"__init__.py"}
    names = {name.removesuffix(".json") for name in files if name.endswith(".json")}
    assert files == {f"{name}{end}" for name in names for end in (".json", ".safetensors")}
