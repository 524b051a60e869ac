"""`sciml train`: train the networks that come with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._errors import BadInput, refusals
from ._files import check_folder
from ._options import Debug
from ._output import emit
from ._progress import progress_bar


def train(
    name: Annotated[str, typer.Argument(help="What to train; see --list.")] = "",
    out: Annotated[
        Path | None, typer.Option(help="Folder for weights, card and checkpoint; made if missing.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A quarter of the steps: minutes on two cores.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    listed: Annotated[bool, typer.Option("--list", help="List what can be trained.")] = False,
    debug: Debug = False,
) -> int:
    """Train a direction network, from data that are made on the way.

    Ctrl-C keeps the last checkpoint; --resume goes on from it and ends as one long run would. The
    card beside the weights tells data, seed, cost and the steps needed on systems held out.
    """
    from sciml.networks import Pretrained, read_card

    known = {p.value: p for p in Pretrained}
    if listed:
        emit("\n".join(known))
        return 0
    if name not in known:
        raise BadInput(f"expected one of {', '.join(known)}, got {name or 'nothing'}: see --list")
    if out is None:
        raise BadInput("expected --out DIR for the weights, got none: name a folder")
    check_folder(out, "--out")

    from solvers.neural.train import train_directions

    with progress_bar(f"train {name}") as bar, refusals():
        weights, card = train_directions(
            known[name], out, quick=quick, seed=seed, resume=resume, progress=bar
        )
    about = read_card(weights)["about"]
    emit(f"steps       {about['held_out_steps']:g} to 1e-4 on systems held out, "
         f"{about['held_out_steps_untrained']:g} before training")  # fmt: skip
    emit(f"seconds     {about['seconds']:g}")
    emit(f"written     {weights}\nwritten     {card}")
    return 0
