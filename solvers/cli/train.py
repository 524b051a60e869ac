"""`sciml train`: train the networks that come with the package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._errors import BadInput, refusals
from ._files import check_folder
from ._options import Debug
from ._output import emit, say
from ._progress import progress_bar

if TYPE_CHECKING:
    from sciml.networks import (
        Pretrained,
        PretrainedDenoiser,
        PretrainedPredictor,
        PretrainedProximal,
    )

_MULTIGRID = "multigrid-2d"

# What --list says of each.
_WORDS = {
    "dcdm-2d": "search directions for Poisson in 2-D, the network of DCDM",
    "dcdm-3d": "search directions for Poisson in 3-D, the network of DCDM",
    "directions-2d": "search directions on several levels, 2-D with solid cells",
    "directions-3d": "search directions on several levels, 3-D with solid cells",
    "directions-condiff": "search directions on several levels, 2-D with varying k",
    "condiff-unet-cubic": "solutions of ConDiff's cubic 0.1 at grid 64, a U-Net",
    "condiff-unet-gaussian": "solutions of ConDiff's gaussian 1.0 at grid 64, a U-Net",
    "condiff-fno-cubic": "solutions of ConDiff's cubic 0.1 at grid 64, an FNO",
    "condiff-fno-gaussian": "solutions of ConDiff's gaussian 1.0 at grid 64, an FNO",
    "score-mimo": "prior of CDL-C channels, 64 to 16 antennas",
    "score-mimo-random": "prior of CDL-A to D with random clusters, 64 to 16 antennas",
    "score-mimo-noisy-0db": "prior of CDL-C channels, from data at 0 dB alone",
    "score-mimo-noisy-10db": "prior of CDL-C channels, from data at 10 dB alone",
    "score-mri": "prior of MR images of heads",
    "score-mri-noisy": "prior of MR images of heads, from images at 10 dB alone",
    "score-wifi": "prior of Wi-Fi channels, 30 subcarriers, 3 antennas",
    "lpn-laplace": "proximal operator of Laplace's -log p",
    "lpn-laplace-mean": "E[x | y] under Laplace's, learned by squared errors",
    "lpn-mixture": "proximal operator of a mixture's -log p, which is not convex",
    "lpn-natural": "proximal operators of grey photographs, for noise of 0.01 to 0.25",
    "lpn-mri": "proximal operators of MR images of heads, for noise of 0.003 to 0.25",
    _MULTIGRID: "settings of multigrid, chosen from k",
}
_PINN = "pinn-"
_OF_IMAGES = ("score-mri", "lpn-natural", "lpn-mri")
_CARD = 1 << 20  # bytes

Progress = Callable[[int, int], None] | None


def train(
    name: Annotated[str, typer.Argument(help="What to train; see --list.")] = "",
    out: Annotated[
        Path | None, typer.Option(help="Folder for weights, card and checkpoint; made if missing.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A quarter of the steps: minutes on two cores.")
    ] = False,
    published: Annotated[
        bool, typer.Option("--published", help="DCDM as its authors train it, not as we do.")
    ] = False,
    images: Annotated[
        list[Path] | None,
        typer.Option(
            help="What score-mri, lpn-mri (heads) and lpn-natural (grey images) learn from beside "
            "procedural images; repeatable."
        ),
    ] = None,
    test_images: Annotated[
        list[Path] | None, typer.Option(help="Heads or images to judge these on; repeatable.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint in --out, if there is one.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    listed: Annotated[bool, typer.Option("--list", help="List what can be trained.")] = False,
    debug: Debug = False,
) -> int:
    """Train a network that comes with the package, from data that are made on the way.

    Ctrl-C keeps the last checkpoint; --resume goes on from it and ends as one long run would. The
    card beside the weights tells data, seed, cost and how the network does on systems held out.
    """
    from sciml.networks import (
        Pretrained,
        PretrainedDenoiser,
        PretrainedPredictor,
        PretrainedProximal,
    )

    denoisers = {p.value: p for p in PretrainedDenoiser}
    networks = {p.value: p for p in (*Pretrained, *PretrainedPredictor)}
    proximal = {p.value: p for p in PretrainedProximal}
    cases = _cases()
    known = [*networks, *denoisers, *proximal, _MULTIGRID, *cases]
    if listed:
        width, words = max(map(len, known)), {**_WORDS, **cases}
        emit("\n".join(f"{each:{width}}  {words[each]}; {_cost(each)}" for each in known))
        return 0
    if name not in known:
        raise BadInput(f"expected one of {', '.join(known)}, got {name or 'nothing'}: see --list")
    if published and not name.startswith("dcdm"):
        raise BadInput(f"expected --published with dcdm-2d or dcdm-3d, got {name}: leave it out")
    heads = tuple(images or ()), tuple(test_images or ())
    if any(heads) and not name.startswith(_OF_IMAGES):
        raise BadInput(
            f"expected --images with {', '.join(_OF_IMAGES)}, got them for {name}: leave them out"
        )
    if out is None:
        raise BadInput("expected --out DIR for the weights, got none: name a folder")
    check_folder(out, "--out")
    if resume and not (out / _kept(name)).exists():
        say(f"nothing to resume from in {out}: {name} begins anew")
    try:
        with progress_bar(f"train {name}") as bar, refusals():
            if name == _MULTIGRID:
                lines, written = _multigrid(out, quick, seed, resume, bar)
            elif name in denoisers:
                lines, written = _denoiser(denoisers[name], out, quick, heads, seed, resume, bar)
            elif name in proximal:
                lines, written = _proximal(proximal[name], out, quick, heads, seed, resume, bar)
            elif name in cases:
                lines, written = _case(name.removeprefix(_PINN), out, quick, seed, resume, bar)
            else:
                lines, written = _network(networks[name], out, quick, published, seed, resume, bar)
    except KeyboardInterrupt:
        if (out / _kept(name)).is_file():
            say("the checkpoint is kept: go on with --resume")
        raise
    for line in (*lines, *(f"written     {path}" for path in written)):
        emit(line)
    return 0


def _kept(name: str) -> str:
    """The file that a training goes on from."""
    return f"{name}.trials.jsonl" if name == _MULTIGRID else f"{name}.checkpoint.safetensors"


def _cost(name: str) -> str:
    """What training the package's weights took, by their card."""
    from sciml.io._cards import read_json_card
    from solvers.neural.choice import SHIPPED

    weights = SHIPPED.with_name(f"{name}.safetensors")
    if not weights.exists():
        return "not in the package"
    about = read_json_card(weights, _CARD)["about"]
    seconds = about.get("seconds", about.get("processor_seconds_of_trials"))
    return f"{seconds:.0f} s, {about['device']}"


def _cases() -> dict[str, str]:
    """Physics-informed networks by name, in words."""
    from solvers.pinn.problems import CASES

    return {_PINN + name: f"{case.summary}; {case.model}" for name, case in CASES.items()}


def _case(
    name: str, out: Path, quick: bool, seed: int, resume: bool, bar: Progress
) -> tuple[list[str], Sequence[Path]]:
    from sciml.io._cards import read_json_card
    from solvers.pinn.train import train_case

    written = train_case(name, out, quick=quick, seed=seed, resume=resume, progress=bar)
    about = read_json_card(written[0], _CARD)["about"]
    return [
        f"error       {about['error']:.1e} (relative L2; reference: {about['reference']})",
        f"residual    {about['residual']:.1e} of the equation's largest term, by differences",
        f"conditions  {about['conditions']:.1e} of the solution",
        f"seconds     {about['seconds']:g}",
    ], written


def _network(
    name: Pretrained | PretrainedPredictor,
    out: Path,
    quick: bool,
    published: bool,
    seed: int,
    resume: bool,
    bar: Progress,
) -> tuple[list[str], tuple[Path, Path]]:
    from sciml.networks import Pretrained, read_card
    from solvers.neural.regression import train_predictor
    from solvers.neural.train import train_directions

    if isinstance(name, Pretrained):
        written = train_directions(
            name, out, quick=quick, published=published, seed=seed, resume=resume, progress=bar
        )
        about = read_card(written[0])["about"]
        steps, before = about["held_out_steps"], about["held_out_steps_untrained"]
        line = f"steps       {steps:g} to 1e-4 on systems held out, {before:g} before training"
    else:
        written = train_predictor(name, out, quick=quick, seed=seed, resume=resume, progress=bar)
        about = read_card(written[0])["about"]
        error, before = about["held_out_error"], about["held_out_error_untrained"]
        line = f"error       {error:.1%} on systems held out, {before:.1%} before training"
    return [line, f"seconds     {about['seconds']:g}"], written


def _denoiser(
    name: PretrainedDenoiser,
    out: Path,
    quick: bool,
    heads: tuple[tuple[Path, ...], tuple[Path, ...]],
    seed: int,
    resume: bool,
    bar: Progress,
) -> tuple[list[str], tuple[Path, Path]]:
    from sciml.networks import read_card
    from solvers.neural.score import train_denoiser

    written = train_denoiser(
        name, out, quick=quick, volumes=heads[0], judged=heads[1], seed=seed, resume=resume,
        progress=bar,
    )  # fmt: skip
    about = read_card(written[0])["about"]
    lines = [
        f"sigma {sigma:<6g} {error:7.2f} dB held out, {before:.2f} before training"
        for sigma, error, before in zip(
            about["held_out_sigma"],
            about["held_out_nmse_db"],
            about["held_out_nmse_db_untrained"],
            strict=True,
        )
    ]
    return [*lines, f"seconds     {about['seconds']:g}"], written


def _proximal(
    name: PretrainedProximal,
    out: Path,
    quick: bool,
    images: tuple[tuple[Path, ...], tuple[Path, ...]],
    seed: int,
    resume: bool,
    bar: Progress,
) -> tuple[list[str], tuple[Path, Path]]:
    from sciml.networks import read_card
    from solvers.neural.proximal import train_proximal
    from solvers.neural.proximal_images import train_proximal_images

    if name.of_images:
        written = train_proximal_images(
            name, out, quick=quick, files=images[0], judged=images[1], seed=seed, resume=resume,
            progress=bar,
        )  # fmt: skip
        about = read_card(written[0])["about"]
        columns = ("held_out_sigma", "held_out_psnr_db", "held_out_psnr_db_mixture")
        lines = [
            f"sigma {sigma:<6g} {after:6.2f} dB of PSNR held out, {before:.2f} before training"
            for sigma, after, before in zip(*(about[c] for c in columns), strict=True)
        ]
    else:
        written = train_proximal(name, out, quick=quick, seed=seed, resume=resume, progress=bar)
        about = read_card(written[0])["about"]
        off, before = about["held_out_error"], about["held_out_error_untrained"]
        lines = [f"error       {off:g}, {before:g} before training: {about['judged']}"]
    return [*lines, f"seconds     {about['seconds']:g}"], written


def _multigrid(
    out: Path, quick: bool, seed: int, resume: bool, bar: Progress
) -> tuple[list[str], tuple[Path, Path]]:
    from solvers.neural.train_multigrid import MEDIA, train_multigrid

    media = MEDIA // 4 if quick else MEDIA
    written = train_multigrid(out, media=media, seed=seed, resume=resume, progress=bar)
    return [f"media       {media}"], written
