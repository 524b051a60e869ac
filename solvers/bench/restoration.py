"""Images that were blurred, undersampled or projected, restored by every method from the same y."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from sciml import Gaussian, InverseProblem, Operator, Space, Stop
from sciml._checks import integer, need, told
from sciml.io import read_image
from sciml.mri import psnr, ssim
from sciml.operators import (
    Blur,
    Boundary,
    Downsample,
    Filter,
    Radon,
    RandomCirculant,
    Sampling,
    filtered_back_projection,
    gaussian_kernel,
)

from ._checks import check_unique
from .held_out import need_unseen
from .report import machine, today, versions
from .restoration_methods import Case, Restored, Restorer, restorers
from .restoration_report import MEASURED, RestorationReport, Row

if TYPE_CHECKING:
    from sciml.networks import ConvexNetwork

__all__ = ["DEGRADATIONS", "Degradation", "crops_of", "read_crops", "run_restoration"]


@dataclass(frozen=True)
class Degradation:
    """A kind of problem: y = A x + noise.

    Attributes:
        told: in words. operator: (space, rng) -> A. sigma: of the noise, for images in 0 to 1.
        factor: c of the learned prior's noise level s_m = c sigma.
        first: (A, y) -> an image to look at and to begin with, without any prior.
    """

    told: str
    operator: Callable[[Space, np.random.Generator], Operator]
    sigma: float
    factor: float
    first: Callable[[Operator, np.ndarray], np.ndarray]


def _blur(width: float, space: Space, rng: np.random.Generator) -> Operator:
    kernel = gaussian_kernel(width).astype(space.dtype)
    return Blur(kernel, space, boundary=Boundary.CIRCULAR)


def _quarter(space: Space, rng: np.random.Generator) -> Operator:
    return RandomCirculant(space, max(space.size // 4, 1), rng=rng)


def _radon(angles: int, space: Space, rng: np.random.Generator) -> Operator:
    return Radon(space, angles, pixel=1 / max(space.shape))


def _half(space: Space, rng: np.random.Generator) -> Operator:
    seen = rng.permutation(space.size) < (space.size + 1) // 2
    return Sampling(seen.reshape(space.shape), space)


def _coarse(space: Space, rng: np.random.Generator) -> Operator:
    return Downsample(space, 2)


def _itself(A: Operator, y: np.ndarray) -> np.ndarray:
    return y


def _back(A: Operator, y: np.ndarray) -> np.ndarray:
    return A.adjoint(y)


def _enlarged(A: Operator, y: np.ndarray) -> np.ndarray:
    rows, columns = A.domain.shape
    return np.ascontiguousarray(np.kron(y, np.ones((2, 2), y.dtype))[:rows, :columns])


def _projected_back(A: Operator, y: np.ndarray) -> np.ndarray:
    assert isinstance(A, Radon)
    return filtered_back_projection(y, A, filter=Filter.HANN)


# The second number is c of s_m = c sigma, the only choice made for the learned prior: the best of
# three to six on two images that it was trained on (astronaut, coffee), one for all images. sigma
# of ct is of line integrals through a square of side 1.
DEGRADATIONS: Mapping[str, Degradation] = MappingProxyType(
    {
        "deblur-1.6": Degradation(
            "a Gaussian blur of 1.6 pixels, circular", partial(_blur, 1.6), 0.02, 6.0, _itself
        ),
        "deblur-1.0": Degradation(
            "a Gaussian blur of 1.0 pixels, circular", partial(_blur, 1.0), 0.02, 4.0, _itself
        ),
        "cs": Degradation(
            "a quarter of a random convolution that is orthogonal, a number for four pixels",
            _quarter, 0.001, 30.0, _back,
        ),
        "ct": Degradation(
            "parallel-beam projections at 200 angles, line integrals through a square of side 1",
            partial(_radon, 200), 0.004, 21.0, _projected_back,
        ),
        "ct-60": Degradation(
            "parallel-beam projections at 60 angles, as `ct`",
            partial(_radon, 60), 0.002, 42.0, _projected_back
        ),
        "inpaint": Degradation("half of the pixels, at random", _half, 0.02, 4.0, _itself),
        "sr": Degradation(
            "every second pixel along both axes after a Gaussian blur of 1 pixel", _coarse, 0.02,
            5.0, _enlarged,
        ),
    }
)  # fmt: skip

_LEAST = 16  # pixels a side
# Where crops begin, as shares of what is left of rows and columns.
_PLACES = ((0.25, 0.3), (0.75, 0.6), (0.1, 0.9), (0.9, 0.1), (0.5, 0.5))


def crops_of(name: str, image: np.ndarray, size: int, count: int) -> dict[str, np.ndarray]:
    """Up to five squares of an image in 0 to 1, float32 (size, size), by name.

    Raises:
        ValueError: no image of two axes, values outside, one smaller than `size`, other counts.
    """
    integer(size, "size", _LEAST)
    if integer(count, "crops", 1) > len(_PLACES):
        raise ValueError(f"expected up to {len(_PLACES)} crops of an image, got {count}")
    if image.ndim != 2 or min(image.shape) < size or np.iscomplexobj(image):
        raise ValueError(
            f"expected a real image of at least {size} x {size} pixels, got "
            f"{image.shape} of {image.dtype} in {name}: take a smaller size"
        )
    least, most = float(image.min()), float(image.max())
    if not (least >= 0 and 0 < most <= 1):
        raise ValueError(
            f"expected grey values from 0 to 1, got {least:g} to {most:g} in {name}: scale them"
        )
    found = {}
    for k, place in enumerate(_PLACES[:count], 1):
        i, j = (int(share * (n - size)) for share, n in zip(place, image.shape, strict=True))
        cut = np.ascontiguousarray(image[i : i + size, j : j + size], np.float32)
        found[f"{name}-{k}"] = cut
    return found


def read_crops(
    paths: Iterable[Path], size: int, count: int, about: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """`crops_of` images in files, by the names of these.

    Args:
        about: of the network's card.

    Raises:
        ValueError: a file that is no such image, two of one name, or (FileError) one that the
            network has learned from, see `need_unseen`.
    """
    crops: dict[str, np.ndarray] = {}
    for path in paths:
        image = read_image(path)
        need_unseen(image.source, about)
        found = crops_of(path.stem, image.data, size, count)
        if crops.keys() & found.keys():
            raise ValueError(f"expected images of different names, got {path.stem} again")
        crops |= found
    return crops


def run_restoration(
    images: Mapping[str, np.ndarray],
    network: ConvexNetwork,
    *,
    problems: Sequence[str] = tuple(DEGRADATIONS),
    methods: Mapping[str, Restorer] | None = None,
    rtol: float = 1e-5,
    max_iters: int = 500,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> RestorationReport:
    """Restore each image from each kind of measurement by each method.

    A, the noise and thereby y are the same for all methods. A method whose weight is tuned runs
    for many weights, and the one of the highest PSNR counts; seconds are those of that run alone.
    Images are clipped to 0 to 1 before they are judged. On Ctrl-C what is complete is kept.

    Args:
        images: float32 (rows, columns), in 0 to 1, by name; see `crops_of`.
        network: of the learned prior, told sigma.
        problems: names of DEGRADATIONS.
        methods: name to `Restorer`; without, `restorers(network)`.
        rtol, max_iters: of each solve. seed: of operators and noise.
        progress: told (done, total).

    Raises:
        TypeError, ValueError: bad arguments, or methods of which none applies to a problem.
    """
    Stop(rtol=rtol, max_iters=max_iters)  # refused before any work
    check_unique("problem", problems)
    check_unique("image", list(images))
    for name in problems:
        if name not in DEGRADATIONS:
            raise ValueError(f"expected one of {', '.join(DEGRADATIONS)}, got {told(name)}")
    for name, image in images.items():
        need(image, np.ndarray, f"an array for {name}")
        if image.ndim != 2 or image.dtype != np.float32 or min(image.shape) < _LEAST:
            raise ValueError(
                f"expected float32 images of two axes from {_LEAST} pixels on, got {image.dtype} "
                f"{image.shape} for {name}: see crops_of"
            )
    methods = restorers(network) if methods is None else methods
    check_unique("method", list(methods))
    Stop(rtol=rtol, max_iters=max_iters)  # refuses what is none, before the first method's minutes
    rows: list[Row] = []
    pictures: dict[str, dict[str, np.ndarray]] = {}
    done, total, interrupted = 0, len(problems) * len(images) * len(methods), False
    try:
        for name in problems:
            for number, (which, truth) in enumerate(images.items()):
                case = _case(DEGRADATIONS[name], truth, (seed, number), rtol, max_iters)
                seen = {"truth": truth, MEASURED: _clipped(case.first)}
                start = Restored(case.first, None, 0.0)
                rows.append(_row(name, which, MEASURED, start, truth))
                pictures.setdefault(name, seen)
                for method, restore in methods.items():
                    found = restore(case, partial(_psnr, truth))
                    done += 1
                    if progress is not None:
                        progress(done, total)
                    if found is None:  # no such thing for this problem
                        continue
                    rows.append(_row(name, which, method, found, truth))
                    seen[method] = _clipped(found.image)
    except KeyboardInterrupt:
        interrupted = True
    if not interrupted and all(row.method == MEASURED for row in rows):
        raise ValueError(
            f"expected methods for {', '.join(problems)}, got {', '.join(methods)} alone, of which "
            "none applies: name others (fbp is for ct)"
        )
    return RestorationReport(
        told={name: _told(DEGRADATIONS[name]) for name in problems},
        images={name: image.shape for name, image in images.items()},
        rows=tuple(rows),
        pictures=pictures,
        seed=seed,
        interrupted=interrupted,
        asked=tuple(methods),
        environment={"machine": machine(), "versions": versions(), "date": today()},
    )


def _case(
    kind: Degradation, truth: np.ndarray, seed: tuple[int, int], rtol: float, max_iters: int
) -> Case:
    rng = np.random.default_rng(seed)
    A = kind.operator(Space(truth.shape, truth.dtype), rng)
    noise = rng.standard_normal(A.range.shape).astype(truth.dtype)
    y = A(truth) + np.float32(kind.sigma) * noise
    if isinstance(A, Sampling):
        y = A(y)
    problem = partial(InverseProblem, A, y, Gaussian(kind.sigma))
    return Case(A, y, kind.sigma, kind.factor, kind.first(A, y), problem, rtol, max_iters)


def _told(kind: Degradation) -> str:
    return f"{kind.told}; noise of {kind.sigma:g}, prior at s_m = {kind.factor:g} sigma"


def _clipped(image: np.ndarray) -> np.ndarray:
    return np.clip(image, 0, 1)


def _psnr(truth: np.ndarray, image: np.ndarray) -> float:
    return psnr(_clipped(image), truth, peak=1.0)


def _row(problem: str, image: str, method: str, found: Restored, truth: np.ndarray) -> Row:
    return Row(
        problem, image, method, _psnr(truth, found.image),
        ssim(_clipped(found.image), truth, peak=1.0), found.weight, found.seconds,
        found.iterations, found.status, dict(found.certificate),
    )  # fmt: skip
