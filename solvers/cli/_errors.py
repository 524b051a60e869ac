"""Which exception means which exit code: the only place that knows."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

import numpy as np

from sciml import SolveError
from sciml._checks import Argument, ArgumentError
from sciml.io import FileError

from ._output import say

BAD_INPUT = 2
INTERRUPTED = 130


class BadInput(ValueError):
    """Something the user gave that cannot be used. One line: expected, got, do this."""


class Failure(RuntimeError):
    """Work that was asked for rightly and could not be done."""


@contextlib.contextmanager
def refusals(**options: str) -> Iterator[None]:
    """Arguments that a library call refuses become BadInput; numerical failures do not.

    What the message calls by an argument's name, it then calls by the option's.

    Args:
        options: the option of an argument where it is not of the same name.
    """

    def word(argument: Argument) -> str:
        usual = "--" + argument.name.replace("_", "-")
        # Limits of one file: one option lifts all of them.
        usual = "--max-gib" if argument.name.startswith("Limits.") else usual
        return f"{options.get(argument.name, usual)} {argument.value}".rstrip()

    try:
        yield
    except np.linalg.LinAlgError:
        raise
    except ArgumentError as error:
        raise BadInput(error.spelled(word)) from error
    except (ValueError, TypeError, ImportError) as error:
        raise BadInput(str(error)) from error


def exit_code(error: BaseException, *, debug: bool) -> int:
    """The code for `error`, after a line on stderr that tells it."""
    if isinstance(error, SystemExit):  # standard output was closed: `sciml ... | head -1`
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if debug:
        import traceback

        traceback.print_exception(error, file=sys.stderr)
    code, line = _told(error)
    say(line)
    return code


def _told(error: BaseException) -> tuple[int, str]:
    # Typer carries a click of its own, so its usage errors are told by their face.
    usage = getattr(error, "format_message", None)
    if usage is not None:
        return BAD_INPUT, f"error: {usage().rstrip('.')}: see {_command(error)} --help"
    if isinstance(error, BadInput | FileError):
        return BAD_INPUT, f"error: {error}"
    if isinstance(error, OSError):
        name = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        return BAD_INPUT, f"error: {name}{error.strerror or error}"
    if isinstance(error, Failure | SolveError):
        return 1, f"error: {error}"
    if isinstance(error, MemoryError):
        return 1, "error: there is not enough memory for this: use a smaller system"
    words = f"{type(error).__name__}: {error}".rstrip(": ")
    return 1, f"internal error: {words}; run again with --debug to see where"


def _command(error: BaseException) -> str:
    context = getattr(error, "ctx", None)
    return "sciml" if context is None else context.command_path
