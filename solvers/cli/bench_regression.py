"""`sciml bench condiff --track regression`: predictions of x from (k, b)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._errors import INTERRUPTED, Failure, refusals
from ._output import emit_written
from ._progress import progress_bar

if TYPE_CHECKING:
    from solvers.bench import Entry

_SAMPLES = 200


def bench_regression(
    configs: list[Any],
    out: Path,
    *,
    samples: int | None,
    rtol: float,
    names: str | None,
    own: list[str],
    seed: int,
) -> int:
    """Run the track and write its report; the exit code."""
    from rich.console import Console

    from solvers.bench import run_regression

    with refusals():
        entries = _entries(names, own)
    try:
        with progress_bar("bench condiff") as bar, refusals():
            report = run_regression(
                configs,
                samples=_SAMPLES if samples is None else samples,
                rtol=rtol,
                entries=entries,
                seed=seed,
                progress=bar,
            )
    except ArithmeticError as error:
        raise Failure(str(error)) from error
    console = Console()
    console.print(report.table())
    for sentence in report.summary():
        console.print(sentence, markup=False, highlight=False)
    emit_written(report.write(out))
    return INTERRUPTED if report.interrupted else 0


def predictions() -> str:
    """The names that --methods knows on this track."""
    from sciml.networks import PretrainedPredictor
    from solvers.bench import PREDICTIONS

    return "\n".join([*PREDICTIONS, *(p.value for p in PretrainedPredictor)])


def _entries(names: str | None, own: list[str]) -> list[Entry] | None:
    """The competitors asked for; None stands for all. Those of --solver come beside them."""
    from solvers.bench import PREDICTIONS, load_entry
    from solvers.bench.predictions import trained_entries

    if names is None and not own:
        return None
    if names is None:
        found = [*PREDICTIONS.values(), *trained_entries()]
    else:
        found = [load_entry(name.strip()) for name in names.split(",") if name.strip()]
    return found + [load_entry(spec) for spec in own]
