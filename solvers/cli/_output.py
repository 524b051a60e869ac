"""What goes to the terminal: whole lines, whatever the encoding, quiet on a closed pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO


def emit(text: str) -> None:
    """A line, or several, on standard output.

    A reader that has gone away (`| head -1`) is no error. A full disk is: OSError.
    """
    _write(sys.stdout, text)


def emit_written(paths: Iterable[Path]) -> None:
    """The files that a command wrote, a line each."""
    emit("\n".join(f"written     {path}" for path in paths))


def say(text: str) -> None:
    """One line on standard error, after `sciml: `."""
    _write(sys.stderr, "sciml: " + one_line(text))


def one_line(text: str) -> str:
    """`text` without line breaks or control characters: names from files may hold either."""
    return " ".join(printable(part) for part in text.split())


def printable(text: str) -> str:
    """`text` with what a terminal could act on written as escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def count(number: int) -> str:
    """1234567 as 1,234,567."""
    return f"{number:,}"


def size(nbytes: int) -> str:
    """Bytes for a person."""
    value = float(nbytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def finite(value: Any) -> float | None:
    """A float for JSON, which knows neither NaN nor infinity: None for these."""
    number = float(value)
    return number if abs(number) < float("inf") else None


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None:  # closed by the caller: `sciml ... >&-`
        return
    encoding = stream.encoding or "utf-8"
    try:
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        stream.flush()
    except OSError as error:
        # What is still in the buffer would fail once more as the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if not isinstance(error, BrokenPipeError):
            raise
