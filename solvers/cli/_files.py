"""Output paths are looked at before any work, so that no result is lost for a typing error."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ._errors import BadInput


def check_output(path: Path, option: str, suffix: str, others: Iterable[Path]) -> None:
    """Raise BadInput unless a file can be written at `path`.

    Args:
        option: the option that named it. suffix: what the name has to end in.
        others: files that it must not be.
    """
    if path.is_dir():
        raise BadInput(f"{path}: expected a file for {option}, got a folder: name a file in it")
    if path.suffix.lower() != suffix:
        raise BadInput(f"{path}: expected a name that ends in {suffix} for {option}: rename it")
    if not path.parent.is_dir():
        raise BadInput(f"{path}: expected an existing folder for {option}, got none: create it")
    if path.exists() and not path.is_file():
        raise BadInput(f"{path}: expected a file for {option}, got a device or pipe: name a file")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise BadInput(f"{path}: expected a folder that can be written for {option}: choose one")
    for other in others:
        if path.exists() and other.exists() and path.samefile(other):
            raise BadInput(f"{path}: expected {option} to be a file of its own, got an input file")


def check_folder(path: Path, option: str) -> None:
    """Raise BadInput unless `path` is a folder that can be written, or can be made one."""
    home = path.absolute()
    while not os.path.lexists(home):
        home = home.parent
    if not home.is_dir():
        raise BadInput(f"{home}: expected a folder for {option}, got a file: name a folder")
    if not os.access(home, os.W_OK | os.X_OK):
        raise BadInput(f"{home}: expected a folder that can be written for {option}: choose one")


def report_folder(out: Path | None) -> Path:
    """The folder of --out for a benchmark's report.

    Raises:
        BadInput: it is not given, or cannot be written to.
    """
    if out is None:
        raise BadInput("expected --out DIR for the report, got none: name a folder")
    check_folder(out, "--out")
    return out
