"""ConDiff files: the published HDF5 layout, read safely and written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..io import FileError, Limits, atomic_path
from ._stencil import relative_residual
from .condiff import ConDiffConfig, ConDiffData, Rhs, Source, Split, unflatten

if TYPE_CHECKING:
    from ..io._hdf5 import SafeFile

# Raised whenever the same seed would give other numbers.
RECIPE = 1
# Far above what a sparse direct solve leaves (1e-13), far below what a wrong number leaves.
READ_TOLERANCE = 1e-8
_CHECK_BLOCK = 32
_DIFFUSION = frozenset({"/k", "/rhs", "/x"})


@dataclass(frozen=True)
class Recipe:
    """All that decides the numbers of a file, but for how many there are."""

    config: ConDiffConfig
    seed: int
    split: Split
    rhs: Rhs
    source: Source

    def attributes(self) -> dict[str, str | np.uint64]:
        """What is written on the file's root and compared when a run goes on."""
        return {
            "name": self.config.name,
            "split": self.split.value,
            "seed": np.uint64(self.seed),
            "right_hand_side": self.rhs.value,
            "field_source": self.source.value,
            "recipe": np.uint64(RECIPE),
            "order": "F: unknown i + n*j of rhs and x is at node (i, j), i along axis 1 of k",
        }


class Block(NamedTuple):
    """Samples as they are stored. k: (S, n+1, n+1), None for Poisson; rhs, x: (S, n²)."""

    k: np.ndarray | None
    rhs: np.ndarray
    x: np.ndarray


def read_condiff(
    path: str | os.PathLike[str],
    *,
    limits: Limits | None = None,
    samples: slice | None = None,
    check: bool = True,
) -> ConDiffData:
    """Read a published or generated file, with rhs and x put on the grid of k.

    The files number unknowns i + n·j; a plain reshape to (S, n, n) transposes rhs and x against k,
    which this reader does not. samples: which, with a step >= 1; None is all. The set is told by
    the file's attributes or its name, as in cubic0.1_grid64_train.h5, else `config` is None.
    check: solve nothing, but hold every sample read to ‖rhs - A(k) x‖ <= 1e-8 ‖rhs‖.

    Raises FileError for a file that `sciml.io` refuses, datasets other than k, rhs, x (no k for
    Poisson), shapes that do not go together, a set that the name contradicts, NaN or infinity,
    k <= 0, or a solution that fails the check. TypeError if `samples` is no slice.
    """
    from ..io._hdf5 import safe_open

    if not isinstance(samples, slice | None):
        raise TypeError(f"expected samples to be a slice or None, got {samples!r}: use slice(i, j)")
    with safe_open(path, limits) as file:
        count, n = _shapes(file)
        config = _told_config(file)
        if config is not None and (config.grid, config.covariance is None) != (
            n,
            "/k" not in file.datasets,
        ):
            raise FileError(
                path,
                f"expected the arrays of {config.name}, got grid {n} with "
                f"{_names(file)}; give the file its right name",
            )
        block = _read_block(file, n, samples)
    _check_values(path, block, samples, count)
    k = block.k
    if k is None:
        k = np.broadcast_to(np.ones(()), (len(block.rhs), n + 1, n + 1))
    data = ConDiffData(config, k, unflatten(block.rhs, n), unflatten(block.x, n))
    if check:
        _check_solutions(path, data)
    return data


def read_exactly(path: Path, recipe: Recipe, first: int, count: int) -> Block:
    """The samples `first` and on of this recipe, all values checked.

    Raises OtherRun if the file is whole and of another recipe, FileError if it is damaged.
    """
    from ..io._hdf5 import safe_open

    with safe_open(path) as file:
        _check_recipe(file, recipe, first, count)
        block = _read_block(file, recipe.config.grid, None)
    _check_values(path, block, None, count)
    return block


def is_finished(path: Path, recipe: Recipe, count: int) -> bool:
    """Whether the file is there; OtherRun if it is not `count` samples of this recipe."""
    from ..io._hdf5 import safe_open

    if not os.path.lexists(path):
        return False
    with safe_open(path) as file:
        _check_recipe(file, recipe, 0, count)
    return True


class OtherRun(FileError):
    """A whole file that holds something else than this run would put there."""


def write_blocks(
    path: Path, scratch: Path, recipe: Recipe, first: int, count: int, blocks: Iterable[Block]
) -> None:
    """Write `count` samples, block by block, to a file of its own in `scratch`; then rename it.

    Every chunk carries a checksum. Equal blocks give equal bytes.
    """
    import h5py

    n = recipe.config.grid
    shapes = {"k": (n + 1, n + 1), "rhs": (n * n,), "x": (n * n,)}
    if recipe.config.covariance is None:
        del shapes["k"]
    with atomic_path(path, scratch=scratch) as temporary, h5py.File(temporary, "w") as file:
        for key, value in _with_range(recipe, first, count).items():
            # Of fixed length: libhdf5 can loop for ever over a damaged heap of variable ones.
            file.attrs[key] = np.bytes_(value) if isinstance(value, str) else value
        for key, shape in shapes.items():
            file.create_dataset(
                key, (count, *shape), np.float64, chunks=(1, *shape), fletcher32=True
            )
        at = 0
        for block in blocks:
            until = at + len(block.rhs)
            for key in shapes:
                file[key][at:until] = getattr(block, key)  # pyright: ignore[reportIndexIssue]
            at = until


def _with_range(recipe: Recipe, first: int, count: int) -> Mapping[str, str | np.uint64]:
    return recipe.attributes() | {"first": np.uint64(first), "samples": np.uint64(count)}


def _check_recipe(file: SafeFile, recipe: Recipe, first: int, count: int) -> None:
    for key, wanted in _with_range(recipe, first, count).items():
        got = file.attribute("/", key)
        found = got if isinstance(got, str) or got is None else got.tolist()
        if found != (wanted if isinstance(wanted, str) else int(wanted)):
            raise OtherRun(
                file.path,
                f"expected {key} {wanted} or no file, got {found}; "
                "move it away or choose another folder",
            )
    shape = _shapes(file)
    if shape != (count, recipe.config.grid) or ("/k" in file.datasets) != (
        recipe.config.covariance is not None
    ):
        raise FileError(
            file.path, f"expected {count} samples at grid {recipe.config.grid}, got {shape}; redo"
        )


def _read_block(file: SafeFile, n: int, samples: slice | None) -> Block:
    from ..io._hdf5 import read_dataset

    def read(name: str, *shape: int) -> np.ndarray:
        wanted = (None, *shape)
        return read_dataset(file, name, shape=wanted, dtype=np.float64, slice=samples)

    k = read("/k", n + 1, n + 1) if "/k" in file.datasets else None
    return Block(k, read("/rhs", n * n), read("/x", n * n))


def _shapes(file: SafeFile) -> tuple[int, int]:
    """Number of samples and grid; FileError where datasets or shapes are not those of ConDiff."""
    found = frozenset(file.datasets)
    if found not in (_DIFFUSION, _DIFFUSION - {"/k"}):
        raise FileError(
            file.path,
            f"expected datasets k, rhs, x (no k for Poisson), got {_names(file)}; "
            "this is no ConDiff file",
        )
    shapes = {name: entry.shape for name, entry in file.datasets.items()}
    rhs = shapes["/rhs"]
    if rhs is not None and len(rhs) == 2 and rhs[1] >= 4 and isqrt(rhs[1]) ** 2 == rhs[1]:
        count, n = rhs[0], isqrt(rhs[1])
        wanted = {"/k": (count, n + 1, n + 1), "/rhs": rhs, "/x": rhs}
        if all(wanted[name] == shape for name, shape in shapes.items()):
            return count, n
    told = ", ".join(f"{name[1:]} {shapes[name]}" for name in sorted(shapes))
    raise FileError(
        file.path, f"expected shapes k (S, n+1, n+1), rhs and x (S, n*n), got {told}; get it again"
    )


def _names(file: SafeFile) -> str:
    return ", ".join(name[1:] for name in sorted(file.datasets)[:8]) or "no datasets"


def _told_config(file: SafeFile) -> ConDiffConfig | None:
    """The set that the file's attribute or else its name tells."""
    stem = file.path.stem
    for split in Split:
        stem = stem.removesuffix(f"_{split.value}")
    for name in (file.attribute("/", "name"), stem):
        if isinstance(name, str):
            with contextlib.suppress(ValueError):
                return ConDiffConfig.from_name(name)
    return None


def _check_values(
    path: str | os.PathLike[str], block: Block, samples: slice | None, count: int
) -> None:
    numbers = range(count)[samples or slice(None)]
    for name, array in block._asdict().items():
        if array is None:
            continue
        good = np.isfinite(array) & (array > 0) if name == "k" else np.isfinite(array)
        good = good.all(axis=tuple(range(1, good.ndim)))
        if not good.all():
            wanted = "finite and positive" if name == "k" else "finite"
            first = numbers[int(np.argmin(good))]
            raise FileError(
                path,
                f"expected {name} to be {wanted}, got other values in sample {first}; get it again",
            )


def _check_solutions(path: str | os.PathLike[str], data: ConDiffData) -> None:
    for first in range(0, len(data), _CHECK_BLOCK):
        part = slice(first, first + _CHECK_BLOCK)
        with np.errstate(over="ignore", invalid="ignore"):
            errors = relative_residual(data.k[part], data.rhs[part], data.x[part])
        good = errors <= READ_TOLERANCE
        if not good.all():
            worst = int(np.argmin(good))
            raise FileError(
                path,
                f"expected x to solve its system to {READ_TOLERANCE:g}, got a relative residual of "
                f"{errors[worst]:.1e} in sample {first + worst} of those read; get the file again, "
                "or pass check=False",
            )
