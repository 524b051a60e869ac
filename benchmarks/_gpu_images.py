"""Parts of `gpu.py`: MRI, and draws from posteriors of channels and of images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from _gpu_lab import Lab, Row

from sciml import (
    Gaussian,
    InverseProblem,
    LeastSquares,
    LinearSystem,
    Operator,
    Stop,
    sample,
    solve,
)
from sciml.arrays import to_numpy
from sciml.datasets import ChannelConfig, draw_channels, noise_variance, qpsk_pilots
from sciml.mri import radial as spokes
from sciml.operators import SENSE, NonCartesianSENSE, Pilots
from solvers import CG, DAPS, LSQR

_PILOTS, _SNR = 38, 10.0
# Of MRI: iterations, a normal operator's time by its transforms', seconds of a solve.
_ITERATIONS, _RATIO, _SECONDS = 30, 1.25, 0.2
_STOP = Stop(rtol=1e-30, max_iters=_ITERATIONS)


def mri(lab: Lab) -> Iterator[Row]:
    """The normal operator of 16 coils on 32 slices, against its transforms alone; CG-SENSE."""
    maps, x = _coils(lab)
    n = x.shape[-1]
    mask = (np.random.default_rng(0).random((n, n)) < 0.3).astype(np.float32)
    A, part = SENSE(maps, lab.put(mask)), f"SENSE, {_size(maps)}"
    normal = A.normal
    yield _against_transforms(lab, part, normal, maps, x, pairs=1)
    y = A(x)
    least = LeastSquares(A, y)
    took = lab.seconds(lambda: solve(least, LSQR(), stop=_STOP, throw=False), repeats=3)
    what = f"{_ITERATIONS} iterations of LSQR, certified"
    yield Row(part, what, took, "s", f"< {_SECONDS}", took < _SECONDS)
    yield _by_cg(lab, part, normal, A.adjoint(y))


def radial(lab: Lab) -> Iterator[Row]:
    """The same of samples on spokes, whose normal operator is `Toeplitz` between the coils: four
    pairs of transforms, one for even and odd frequencies of each axis.

    Spokes come n, samples of each 2 n. The spectrum is found on the host once, by finufft.
    """
    maps, x = _coils(lab)
    n = x.shape[-1]
    there = NonCartesianSENSE(np.array(to_numpy(maps)), spokes(n, 2 * n))
    normal, part = lab.moved(there.normal), f"radial Toeplitz, {_size(maps)}"
    yield _against_transforms(lab, part, normal, maps, x, pairs=4)
    yield _by_cg(lab, part, normal, normal(x))


def _coils(lab: Lab) -> tuple[Any, Any]:
    """Sensitivities (slice, coil, n, n) and images (slice, n, n), noise in complex64."""
    slices, coils, n = lab.size(32, 2), lab.size(16, 3), lab.size(320, 24)
    noise = lab.noise((2, slices, coils, n, n), dtype=np.float32)
    return (noise[0] + 1j * noise[1]) / coils**0.5, noise[0, :, 0] + 1j * noise[1, :, 0]


def _size(maps: Any) -> str:
    slices, coils, n, _ = maps.shape
    return f"{coils} x {n}^2 x {slices}"


def _against_transforms(
    lab: Lab, part: str, normal: Operator, maps: Any, x: Any, pairs: int
) -> Row:
    """A product with a normal operator, by the time of the pairs of transforms that it makes."""
    seen, fft = maps * x[:, None], lab.xp.fft  # the two calls of a pair
    pair = lab.seconds(
        lambda: fft.ifftn(fft.fftn(seen, axes=(-2, -1)), axes=(-2, -1), norm="forward")
    )
    ratio = lab.seconds(lambda: normal(x)) / (pairs * pair)
    target = f"<= {_RATIO}"
    return Row(part, "normal operator", ratio, "of its transforms", target, ratio <= _RATIO)


def _by_cg(lab: Lab, part: str, normal: Operator, b: Any) -> Row:
    system = LinearSystem(normal, b)
    took = lab.seconds(lambda: solve(system, CG(), stop=_STOP, throw=False), repeats=3)
    what = f"{_ITERATIONS} iterations of CG, certified"
    return Row(part, what, took, "s", f"< {_SECONDS}", took < _SECONDS)


def sampling(lab: Lab) -> Iterator[Row]:
    """Draws by DAPS under the learned priors of channels and of heads, certified."""
    yield from _channels(lab)
    yield from _heads(lab)


def _channels(lab: Lab) -> Iterator[Row]:
    """CDL-C channels of 16 x 64 from 38 pilots, all at once, two chains each."""
    from sciml.networks import PretrainedDenoiser, load_denoiser
    from sciml.priors import ScorePrior

    count, calls = lab.size(100, 2), lab.size(100, 6)
    rng, config = np.random.default_rng(11), ChannelConfig()
    H, P = draw_channels(config, count, rng), qpsk_pilots(config.nt, _PILOTS, rng)
    variance = noise_variance(_SNR, config.nt)
    noise = rng.standard_normal((2, count, config.nr, _PILOTS)) * (variance / 2) ** 0.5
    y = lab.put((H @ P + noise[0] + 1j * noise[1]).astype(np.complex64))
    A = lab.moved(Pilots(P, config.nr))
    prior = ScorePrior(load_denoiser(PretrainedDenoiser.SCORE_MIMO))
    problem = InverseProblem(A, y, Gaussian(variance**0.5), prior)
    found, took = lab.timed(lambda: sample(problem, DAPS(), n=2, budget=calls, throw=False))
    part = f"{count} channels, 2 draws each"
    yield Row(part, f"{found.calls} calls of the network", took, "s", "< 1", took < 1)
    certified = float(np.mean([status.name == "SAMPLED" for status in np.ravel(found.status)]))
    yield Row(part, "certified", certified, "of the channels")


def _heads(lab: Lab) -> Iterator[Row]:
    """A procedural head of 320^2, eight coils, a quarter of k-space; eight draws."""
    from sciml.mri import simulate_brain
    from solvers.mri import scan_of
    from solvers.mri.posterior import draw_images

    n, draws, calls = lab.size(320, 32), lab.size(8, 2), lab.size(20, 6)
    measured = simulate_brain((n, n), calibration=lab.size(24, 8))
    maps = measured.maps.astype(np.complex64)
    scan = scan_of(measured.kspace.astype(np.complex64), mask=measured.mask, maps=maps)
    like = lab.put(np.zeros(1))
    (drawn, _, _), took = lab.timed(lambda: draw_images(scan, n=draws, calls=calls, like=like))
    part = f"MRI, {n}^2, {draws} samples"
    told = f"{drawn.calls} calls of the network, noise and size of the prior included"
    yield Row(part, told, took, "s", "< 20", took < 20)
    yield Row(part, "misfit", float(drawn.misfit), f"of the noise's, {drawn.status.name}")
