"""`sciml demo`: all methods on generated systems, in under a minute."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ._errors import INTERRUPTED
from ._files import check_folder
from ._options import Debug
from ._output import emit, emit_written
from ._progress import progress_bar


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the report; made if missing.")] = Path(
        "out/demo"
    ),
    debug: Debug = False,
) -> int:
    """Generate systems, solve them by every method, and print the table."""
    check_folder(out, "--out")
    from solvers.bench import demo as run_demo

    with progress_bar("demo") as bar:
        paths = run_demo(out, progress=bar)
    emit_written(paths)
    if json.loads(paths[0].read_text(encoding="utf-8"))["interrupted"]:
        return INTERRUPTED
    emit("next        sciml solve FILE, with a matrix of your own; sciml --help shows the rest")
    return 0
