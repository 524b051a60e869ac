"""`sciml estimate`: MIMO channels from pilots in a file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from sciml import Result, Samples, Status

from ._channels import Family, power_db
from ._errors import INTERRUPTED, BadInput, refusals
from ._files import check_output
from ._options import Debug, MaxGiB, limits_of
from ._output import emit, finite
from ._progress import Spinner

if TYPE_CHECKING:
    from sciml.io.channels import PilotFile
    from sciml.sample import SampleLook
    from solvers.channels import ChannelEstimate


class ChannelMethod(Enum):
    """--method."""

    LS = "ls"
    LMMSE = "lmmse"
    OMP = "omp"
    LASSO = "lasso"
    SCORE = "score"


class Shape(Enum):
    """--structure; the values are those of `solvers.channels.Structure`."""

    FULL = "full"
    KRONECKER = "kronecker"
    TOEPLITZ = "toeplitz"


@dataclass(frozen=True, eq=False)
class Asked:
    """What a method may need: the file's arrays, the noise, and options that some methods take."""

    given: PilotFile
    sigma2: float
    training: Path | None
    family: Family | None
    structure: Shape | None
    weights: Path | None
    limits: Any
    say: Callable[[str], None]


def estimate(
    file: Annotated[
        Path, typer.Argument(help="Y (*batch, Nr, Np), P (Nt, Np), perhaps H: .npz, .h5, .mat.")
    ],
    out: Annotated[
        Path, typer.Option(help="H, and std and radius where they are known: .npz or .h5.")
    ],
    snr: Annotated[
        float | None,
        typer.Option(help="Signal-to-noise ratio, dB, of channels of mean power 1."),
    ] = None,
    noise_variance: Annotated[
        float | None, typer.Option(help="Of an entry of Y, instead of --snr.")
    ] = None,
    method: Annotated[ChannelMethod, typer.Option(help="Method.")] = ChannelMethod.LASSO,
    training: Annotated[
        Path | None, typer.Option(help="For lmmse: a file with channels H (n, Nr, Nt).")
    ] = None,
    family: Annotated[
        Family | None,
        typer.Option(
            help="For lmmse: the exact covariance of these channels. For score: the prior of them "
            "that comes with the package, cdl-c or random, 64 to 16 antennas.  [default: cdl-c]"
        ),
    ] = None,
    structure: Annotated[
        Shape | None, typer.Option(help="What --training's covariance is.  [default: full]")
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="For score: a .safetensors file of `sciml train score-mimo`, in place of --family."
        ),
    ] = None,
    max_gib: MaxGiB = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    debug: Debug = False,
) -> int:
    """Estimate channels H of Y = H P + noise from pilots P, and say how well they explain Y.

    At --snr S the noise of an entry of Y has the variance Nt 10^(-S / 10) times the pilots' mean
    power. The misfit is 1 where what is left of Y is as large as the noise. score draws from the
    posterior of a learned prior; it ends with 1 where the draws contradict the pilots. An entry is
    within `radius` of H nine times of ten, where p(H | Y) is Gaussian and the prior is right.

    Example: sciml estimate pilots.npz --snr 10 --method lasso --out channels.npz
    """
    inputs = [path for path in (file, training, weights) if path is not None]
    _check_out(out, inputs)
    if (snr is None) == (noise_variance is None):
        got = "neither" if snr is None else "both"
        raise BadInput(f"expected --snr or --noise-variance, got {got}: give one")
    _check_lmmse(method, training, family, structure)
    _check_score(method, family, weights)
    from sciml.io.channels import read_pilots, write_arrays

    with Spinner(not as_json) as spinner:
        spinner.tell(f"reading {file.name!a}")
        with refusals():
            given = read_pilots(file, limits=limits_of(max_gib))
        sigma2 = _variance(given.P, snr, noise_variance)
        limits = limits_of(max_gib)
        asked = Asked(given, sigma2, training, family, structure, weights, limits, spinner.tell)
        spinner.tell(f"{method.value}: {int(np.prod(given.Y.shape[:-2]))} channels")
        began = time.perf_counter()
        with refusals(sigma2="--noise-variance"):
            found = _ESTIMATORS[method](asked)
        seconds = time.perf_counter() - began
    if found.result is not None and np.any(np.asarray(found.result.status) == Status.INTERRUPTED):
        return INTERRUPTED  # nothing is written
    arrays = {"H": found.H}
    for name, values in (("std", found.std), ("radius", found.radius(0.9))):
        if values is not None:
            arrays[name] = _each(values, found.H)
    write_arrays(out, arrays)
    facts = _facts(file, out, method, asked, found, seconds)
    emit(json.dumps(facts, allow_nan=False) if as_json else _text(facts))
    return 0 if found.ok else 1


def _check_out(out: Path, inputs: list[Path]) -> None:
    suffix = out.suffix.lower()
    if suffix not in (".npz", ".h5"):
        raise BadInput(f"{out}: expected a name that ends in .npz or .h5 for --out: rename it")
    check_output(out, "--out", suffix, inputs)


def _check_lmmse(
    method: ChannelMethod, training: Path | None, family: Family | None, structure: Shape | None
) -> None:
    if method is ChannelMethod.LMMSE:
        if (training is None) == (family is None):
            got = "neither" if training is None else "both"
            raise BadInput(
                f"expected --training or --family with --method lmmse, got {got}: give one, it "
                "tells the covariance"
            )
    elif training is not None or (family is not None and method is not ChannelMethod.SCORE):
        option = "--training" if training is not None else "--family"
        raise BadInput(f"expected no {option} with --method {method.value}: use --method lmmse")
    if structure is not None and training is None:
        raise BadInput("expected no --structure without --training: it is what samples are made of")


def _check_score(method: ChannelMethod, family: Family | None, weights: Path | None) -> None:
    if weights is not None and method is not ChannelMethod.SCORE:
        raise BadInput(f"expected no --weights with --method {method.value}: use --method score")
    if method is not ChannelMethod.SCORE or family is None:
        return
    if weights is not None:
        raise BadInput("expected --family or --weights with --method score, got both: give one")
    if family.value not in _PRIORS:
        raise BadInput(
            f"expected {' or '.join(_PRIORS)} as --family with --method score, got {family.value}: "
            "train a prior for it, and give --weights"
        )


# The weights that come with the package, by the family that they are of.
_PRIORS = {"cdl-c": "score-mimo", "random": "score-mimo-random"}


def _variance(P: np.ndarray, snr: float | None, given: float | None) -> float:
    from sciml.datasets import noise_variance

    if given is not None:
        if not (np.isfinite(given) and given > 0):
            raise BadInput(f"expected --noise-variance > 0, got {given}: give that of an entry")
        return given
    assert snr is not None
    if not abs(snr) <= 300:
        raise BadInput(f"expected --snr in dB, from -300 to 300, got {snr}: give a number")
    found = noise_variance(snr, len(P)) * float(np.mean(np.abs(P.astype(np.complex128)) ** 2))
    if not (np.isfinite(found) and found > 0):
        raise BadInput("expected pilots that are not all 0, for --snr: give --noise-variance")
    return found


def _ls(asked: Asked) -> ChannelEstimate:
    from solvers.channels import least_squares

    return least_squares(asked.given.Y, asked.given.P, asked.sigma2)


def _lmmse(asked: Asked) -> ChannelEstimate:
    from sciml.datasets import channel_covariance
    from sciml.io.channels import read_channels
    from solvers.channels import Structure, lmmse, sample_covariance

    given = asked.given
    nr, nt = given.Y.shape[-2], len(given.P)
    if asked.family is not None:
        R = channel_covariance(asked.family.config(nt, nr))
        return lmmse(given.Y, given.P, asked.sigma2, R)
    assert asked.training is not None
    asked.say(f"reading {asked.training.name!a}")
    H = read_channels(asked.training, limits=asked.limits)
    if H.shape[1:] != (nr, nt):
        raise BadInput(
            f"{asked.training}: expected H (n, {nr}, {nt}) for --training, got {H.shape}: give "
            "channels between as many antennas"
        )
    structure = Structure((asked.structure or Shape.FULL).value)
    return lmmse(given.Y, given.P, asked.sigma2, sample_covariance(H, structure))


def _omp(asked: Asked) -> ChannelEstimate:
    from solvers.channels import omp

    return omp(asked.given.Y, asked.given.P, asked.sigma2)


def _lasso(asked: Asked) -> ChannelEstimate:
    from solvers.channels import lasso

    return lasso(asked.given.Y, asked.given.P, asked.sigma2)


def _score(asked: Asked) -> ChannelEstimate:
    from sciml.networks import PretrainedDenoiser, load_denoiser
    from solvers.channels import score

    family = "cdl-c" if asked.family is None else asked.family.value
    source = asked.weights or PretrainedDenoiser(_PRIORS[family])

    def observe(look: SampleLook) -> None:
        asked.say(f"score: {look.calls} calls of the denoiser, noise level {look.sigma:.2g}")

    given, network = asked.given, load_denoiser(source)
    return score(given.Y, given.P, asked.sigma2, network, observe=observe)


_ESTIMATORS: dict[ChannelMethod, Callable[[Asked], ChannelEstimate]] = {
    ChannelMethod.LS: _ls,
    ChannelMethod.LMMSE: _lmmse,
    ChannelMethod.OMP: _omp,
    ChannelMethod.LASSO: _lasso,
    ChannelMethod.SCORE: _score,
}


def _draws(found: Samples) -> dict[str, Any]:
    """The certificate of draws; misfits are squares, per entry of Y."""
    misfit = np.asarray(found.misfit, dtype=float)
    low, high = found.band
    return {
        "n": int(found.samples.shape[0]),
        "sampled": int(np.sum(np.asarray(found.status) == Status.SAMPLED)),
        "calls": found.calls,
        "misfit": [finite(misfit.min()), finite(misfit.max())] if misfit.size else None,
        "band": [low, high],
        "widened": None if found.widened is None else finite(np.max(found.widened, initial=1.0)),
        "excess": None if found.excess is None else finite(np.max(found.excess, initial=1.0)),
        "mean_error": finite(np.max(found.error_share)) if misfit.size else None,
        "explained": found.explain(),
    }


def _each(values: np.ndarray, H: np.ndarray) -> np.ndarray:
    """One for every entry of H."""
    return np.ascontiguousarray(np.broadcast_to(values, H.shape))


def _facts(
    file: Path,
    out: Path,
    method: ChannelMethod,
    asked: Asked,
    found: ChannelEstimate,
    seconds: float,
) -> dict[str, Any]:
    given, misfit = asked.given, found.misfit.reshape(-1)
    H = given.H
    scored = H is not None and H.size > 0
    drawn = found.result if isinstance(found.result, Samples) else None
    solved = found.result if isinstance(found.result, Result) else None
    facts: dict[str, Any] = {
        "input": str(file),
        "method": method.value,
        "channels": int(misfit.size),
        "receivers": int(given.Y.shape[-2]),
        "transmitters": len(given.P),
        "pilots": int(given.P.shape[1]),
        "noise_variance": asked.sigma2,
        "misfit": finite(np.median(misfit)) if misfit.size else None,
        "largest_misfit": finite(misfit.max()) if misfit.size else None,
        "status": "closed form" if found.result is None else found.result.worst.name,
        "residual": None if solved is None else finite(np.max(solved.residual)),
        "draws": None if drawn is None else _draws(drawn),
        "note": found.note,
        "nmse_db": finite(power_db(found.H - H, H)) if scored and H is not None else None,
        "within_90": None,
        "seconds": seconds,
        "written": [str(out)],
    }
    radius = found.radius(0.9)
    if scored and H is not None and radius is not None:
        facts["within_90"] = float(np.mean(np.abs(found.H - H) <= radius))
    if method is ChannelMethod.OMP:
        facts["status"] = "greedy"
    return facts


def _text(facts: dict[str, Any]) -> str:
    size = f"{facts['receivers']} x {facts['transmitters']} from {facts['pilots']} pilots"
    lines = [f"channels    {facts['channels']} of {size}"]
    residual = "" if facts["residual"] is None else f", residual {facts['residual']:.1e}"
    lines.append(f"method      {facts['method']}: {facts['status']}{residual}")
    if facts["draws"]:
        lines.append(f"            {facts['draws']['explained']}")
    if facts["note"]:
        lines.append(f"            {facts['note']}")
    if facts["misfit"] is not None:
        lines.append(
            f"misfit      {facts['misfit']:.3f} of the noise in the median, at most "
            f"{facts['largest_misfit']:.3f}"
        )
    if facts["nmse_db"] is not None:
        lines.append(f"error       NMSE {facts['nmse_db']:.2f} dB against H of the file")
    if facts["within_90"] is not None:
        lines.append(f"coverage    {facts['within_90']:.1%} of entries within 90 % discs")
    lines.append(f"time        {facts['seconds']:.3g} s")
    return "\n".join([*lines, *(f"written     {path}" for path in facts["written"])])
