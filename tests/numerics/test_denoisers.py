"""Denoising networks, the losses that teach them, and the priors that they make."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from sciml.io import FileError
from sciml.networks import (
    FNO,
    Beams,
    ChannelDenoiser,
    Denoiser,
    GatedDenoiser,
    Padding,
    UNetDenoiser,
    load_denoiser,
    load_network,
    load_predictor,
    save_network,
)
from sciml.networks.basis import Joint, Separable, Uniform
from sciml.priors import ScorePrior
from sciml.space import Space
from sciml.testing import PRIOR_LAWS, PriorCase, check_operator
from sciml.training import (
    LogNormal,
    LogUniform,
    Noised,
    Plan,
    SureScore,
    ambient_loss,
    denoising_loss,
    noised,
    sure_loss,
    train,
)

SHAPE = (5, 6)
MAKERS: dict[str, Callable[[], Denoiser]] = {
    "separable": partial(ChannelDenoiser, *SHAPE, 4, 2),
    "joint": partial(ChannelDenoiser, *SHAPE, 4, 2, beams=Beams.JOINT, modes=7),
    "gated": partial(GatedDenoiser, *SHAPE, 8, 2),
    "unet": partial(UNetDenoiser, 4, 3),
    "ring": partial(UNetDenoiser, 4, 2, Padding.CIRCULAR),
}
LOSSES = {
    "denoising": denoising_loss,
    "ambient": ambient_loss,
    "sure": sure_loss,
    "sure-score": SureScore().at(0.7),
}


def _random(name: str, *, size: float = 0.1, dtype: torch.dtype = torch.float32) -> Denoiser:
    """A network with weights that leave no layer at 0."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = MAKERS[name]().to(dtype)
        with torch.no_grad():
            for p in network.parameters():
                p.add_(size * torch.randn(p.shape))
    return network.eval()


def _complex(rng: np.random.Generator, *shape: int, dtype: str = "complex64") -> np.ndarray:
    x = rng.standard_normal((2, *shape))
    return ((x[0] + 1j * x[1]) / math.sqrt(2)).astype(dtype)


def _gaussian(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples (count, 5, 6) of a separable covariance in random beams, and that, (30, 30)."""
    beams = [np.linalg.qr(_complex(rng, n, n, dtype="complex128"))[0] for n in SHAPE]
    powers = np.exp(rng.uniform(-3, 1, SHAPE))
    z = np.sqrt(powers) * _complex(rng, count, *SHAPE, dtype="complex128")
    V = np.kron(*beams)
    return beams[0] @ z @ beams[1].T, (V * powers.ravel()) @ V.conj().T


def _wiener(R: np.ndarray, x: np.ndarray, sigma: float) -> np.ndarray:
    """E[x0 | x] for x0 ~ CN(0, R)."""
    matrix = R @ np.linalg.inv(R + sigma**2 * np.eye(len(R)))
    return (x.reshape(len(x), -1) @ matrix.T).reshape(x.shape)


# -- networks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [1e-3, 0.3, 1.0, 50.0])
def test_a_fitted_network_is_wieners_filter_before_training(sigma, rng) -> None:
    x, R = _gaussian(rng, 30_000)
    noisy = (x[:200] + sigma * _complex(rng, 200, *SHAPE)).astype(np.complex64)
    wanted = _wiener(R, noisy, sigma)
    for beams in Beams:
        network = ChannelDenoiser(*SHAPE, 4, 1, beams=beams, modes=29)
        network.fit(torch.from_numpy(x), torch.zeros(len(x)))
        found = ScorePrior(network).denoise(noisy, sigma)
        off, left = (np.linalg.norm(a - x[:200]) for a in (found, wanted))
        assert off <= 1.01 * left  # 30,000 samples do not tell R exactly
        assert sigma < 0.1 or off <= 0.9 * np.linalg.norm(noisy - x[:200])


def test_white_noise_in_the_data_is_taken_off_the_powers(rng: np.random.Generator) -> None:
    x, R = _gaussian(rng, 40_000)
    for basis in (Uniform(), Separable(*SHAPE), Joint(*SHAPE, 29)):
        basis.fit(torch.from_numpy(x), torch.zeros(len(x)))
        clean = float(basis.mean(lambda p: p).detach())
        assert math.isclose(clean, np.trace(R).real / 30, rel_tol=0.02)
        level = torch.from_numpy(rng.uniform(0.2, 0.7, len(x)))
        noise = level[:, None, None] * torch.from_numpy(_complex(rng, *x.shape))
        basis.fit(torch.from_numpy(x) + noise, level)
        assert math.isclose(float(basis.mean(lambda p: p).detach()), clean, rel_tol=0.05)
    with pytest.raises(ValueError, match="above their noise"):
        Uniform().fit(torch.from_numpy(x), torch.full((len(x),), 9.0))


def test_what_noise_alone_could_leave_is_no_power(rng: np.random.Generator) -> None:
    basis = Separable(4, 8)
    x = torch.zeros(2000, 4, 8, dtype=torch.complex64)
    x[:, 1, 2] = 2.0
    y = x + torch.from_numpy(_complex(rng, 2000, 4, 8))
    basis.fit(y, torch.ones(2000))
    powers = basis.log_power.detach().exp().flatten().sort().values
    assert math.isclose(float(powers[-1]), 4.0, rel_tol=0.1)
    assert int((powers > 1e-6).sum()) <= 2  # of 32


@pytest.mark.parametrize("name", MAKERS)
def test_a_basis_is_unitary_and_its_functions_compose(name, rng) -> None:
    basis = _random(name).basis
    x = torch.from_numpy(_complex(rng, 3, *SHAPE))
    with torch.no_grad():
        torch.testing.assert_close(basis.filtered(x, torch.ones_like), x, rtol=0, atol=1e-5)
        twice = basis.filtered(basis.filtered(x, torch.sqrt), torch.sqrt)
        torch.testing.assert_close(twice, basis.filtered(x, lambda p: p), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MAKERS)
def test_no_noise_leaves_x_and_endless_noise_leaves_the_mean(name, rng) -> None:
    prior, x = ScorePrior(_random(name)), _complex(rng, 2, *SHAPE)
    np.testing.assert_allclose(prior.denoise(x, 1e-6), x, atol=1e-5)
    size = np.linalg.norm(prior.denoise(1e6 * x, 1e6)) / np.linalg.norm(x)
    assert size < 20  # c_out |F|, not 1e6


@pytest.mark.parametrize("padding", Padding)
@pytest.mark.parametrize("shape", [(1, 1), (7, 12), (16, 16)])
def test_images_of_any_size_go_through_a_unet(padding, shape, rng) -> None:
    network = UNetDenoiser(4, 3, padding)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1)
        x = torch.from_numpy(_complex(rng, 2, *shape))
        found = network(x, torch.tensor([0.1, 2.0]))
    assert found.shape == x.shape and torch.isfinite(found.abs()).all()


def test_on_a_ring_a_unet_commutes_with_turns_of_its_stride(rng: np.random.Generator) -> None:
    prior = ScorePrior(_random("ring"))
    x = _complex(rng, 8, 12)
    turned = prior.denoise(np.roll(x, (2, 4), (0, 1)), 0.5)
    np.testing.assert_allclose(turned, np.roll(prior.denoise(x, 0.5), (2, 4), (0, 1)), atol=1e-5)


def test_bad_networks_are_refused() -> None:
    for call in (
        lambda: UNetDenoiser(0),
        lambda: ChannelDenoiser(0, 4),
        lambda: ChannelDenoiser(4, 4, beams=Beams.JOINT, modes=16),
        lambda: UNetDenoiser(4, 2, "mirror"),
    ):
        with pytest.raises(ValueError):
            call()


@pytest.mark.parametrize("name", MAKERS)
def test_weights_keep_every_bit(name: str, tmp_path: Path, rng: np.random.Generator) -> None:
    network, x = _random(name), _complex(rng, 2, *SHAPE)
    network.levels.copy_(torch.tensor([0.25, 8.0]))
    weights, _ = save_network(tmp_path / "w.safetensors", network, {"seed": 0})
    again = load_denoiser(weights)
    assert again.arguments == network.arguments
    for sigma in (0.01, 1.0, 20.0):
        one, two = (ScorePrior(n).denoise(x, sigma) for n in (network, again))
        assert np.array_equal(one, two)
    with pytest.raises(FileError, match="use load_denoiser"):
        load_network(weights)
    with pytest.raises(FileError, match="use load_denoiser"):
        load_predictor(weights)
    with pytest.raises(FileError, match="expected a Denoiser, got a FNO: use load_predictor"):
        load_denoiser(save_network(tmp_path / "f.safetensors", FNO(2, 2, 1), {})[0])


# -- losses -------------------------------------------------------------------------------------


def _batch(rng, own: float = 0.5, count: int = 4, x: np.ndarray | None = None, **how) -> Noised:
    x = _complex(rng, count, *SHAPE, dtype="complex128") if x is None else x
    levels = how.pop("levels", LogUniform(0.1, 3.0))
    return noised(torch.from_numpy(x), torch.full((len(x),), own), levels, rng, **how)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", MAKERS)
def test_slopes_of_the_losses_are_those_of_differences(name, loss, rng) -> None:
    """In float64, the exact divergence included; the size that errors are relative to is fixed."""
    network, batch = _random(name, dtype=torch.float64), _batch(rng)
    free = {n: p for n, p in network.named_parameters() if not n.startswith("basis")}
    LOSSES[loss](network, batch).backward()
    ways = {n: torch.from_numpy(rng.standard_normal(p.shape)) for n, p in free.items()}
    slope = sum(float((p.grad * ways[n]).sum()) for n, p in free.items())

    def moved(step: float) -> float:
        with torch.no_grad():
            for n, p in free.items():
                p.add_(step * ways[n])
        value = float(LOSSES[loss](network, batch).detach())
        with torch.no_grad():
            for n, p in free.items():
                p.sub_(step * ways[n])
        return value

    assert math.isclose(slope, (moved(1e-5) - moved(-1e-5)) / 2e-5, rel_tol=1e-6)


@pytest.mark.parametrize("name", ["separable", "unet"])
def test_the_divergence_is_the_trace_of_the_jacobian(name, rng) -> None:
    """The mean over probes of Re <b, J b>, against the trace by one vector after the other."""
    network = _random(name, dtype=torch.float64)
    y = torch.from_numpy(_complex(rng, 1, *SHAPE, dtype="complex128"))
    own = torch.tensor([0.6], dtype=torch.float64)
    trace = 0.0
    for k in range(30):
        for unit in (1.0, 1.0j):
            e = torch.zeros(30, dtype=torch.complex128)
            e[k] = unit
            _, change = torch.func.jvp(lambda v: network(v, own), (y,), (e.view_as(y),))
            trace += float((e.view_as(y).conj() * change).real.sum())
    h = network(y, own).detach()
    exact = (h - y).abs().square().mean() - 0.36 + 0.36 * trace / 30
    many = y.expand(600, *SHAPE).contiguous()
    batch = noised(many, torch.full((600,), 0.6), LogUniform(0.1, 1.0), rng)
    found = sure_loss(network, batch) * network.linear_error(own)
    assert math.isclose(float(found), float(exact), abs_tol=0.02)


class _Linear(Denoiser):
    """D(x) = share x, for every level."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.basis = Uniform()
        self.share = torch.nn.Parameter(torch.tensor(share, dtype=torch.float64))

    def forward(self, x, sigma):
        return self.share * x

    def linear_error(self, sigma):
        return torch.ones_like(sigma)


@pytest.mark.parametrize("share", [0.3, 0.8, 1.2])
def test_sure_is_the_supervised_error(share: float, rng: np.random.Generator) -> None:
    """E SURE = E|D(y) − x0|² for x0 ~ CN(0, 1), noise of 0.5: (1 − share)² + share² / 4."""
    x = _complex(rng, 20_000, *SHAPE, dtype="complex128")
    y = x + 0.5 * _complex(rng, *x.shape)
    found = float(sure_loss(_Linear(share), _batch(rng, 0.5, x=y)))
    exact = (1 - share) ** 2 + share**2 / 4
    assert math.isclose(found, exact, abs_tol=3e-3)
    supervised = float((share * y - x).__abs__().__pow__(2).mean())
    assert math.isclose(found, supervised, abs_tol=3e-3)


@pytest.mark.parametrize("own", [0.0, 0.7])
def test_noisy_data_teach_what_clean_data_do(own: float, rng: np.random.Generator) -> None:
    """The best D(x) = share x for x0 ~ CN(0, 1) at level s is 1 / (1 + s²), by either loss."""
    x = _complex(rng, 20_000, *SHAPE, dtype="complex128")
    batch = _batch(
        rng, own, x=x + own * _complex(rng, *x.shape), levels=lambda g, n: np.full(n, 0.9)
    )
    best = 1 / (1 + own**2 + 0.81)
    network = _Linear(best)
    ambient_loss(network, batch).backward()
    slope = abs(float(network.share.grad))
    network.share.grad = None
    network.share.data += 0.1
    ambient_loss(network, batch).backward()
    assert slope < 0.02 * abs(float(network.share.grad))
    if own == 0:
        a, d = (loss(network, batch) for loss in (ambient_loss, denoising_loss))
        torch.testing.assert_close(a, d)


def test_naive_training_learns_the_noise_with_the_signal(rng: np.random.Generator) -> None:
    x = _complex(rng, 20_000, *SHAPE, dtype="complex128")
    batch = _batch(rng, 0.7, x=x + 0.7 * _complex(rng, *x.shape), levels=lambda g, n: np.ones(n))
    for share, small in ((1 / 2, False), (1.49 / 2.49, True)):
        network = _Linear(share)
        denoising_loss(network, batch).backward()
        assert (abs(float(network.share.grad)) < 5e-3) is small


def test_the_ramp_of_sure_score(rng: np.random.Generator) -> None:
    network, batch = _random("separable", dtype=torch.float64), _batch(rng)
    first, half, last = (float(SureScore(2.0).at(p)(network, batch)) for p in (0.0, 0.5, 1.0))
    assert first == float(sure_loss(network, batch))
    assert math.isclose(half - first, (last - first) / 2) and last > first


def test_levels_and_noise_are_what_they_are_called(rng: np.random.Generator) -> None:
    x = np.zeros((3000, *SHAPE), np.complex128)
    b = _batch(rng, 0.3, x=x, perturbation=0.1)
    assert math.isclose(float(b.noise.abs().square().mean()), 1, rel_tol=0.02)
    assert math.isclose(float(b.extra.abs().square().mean()), 0.01, rel_tol=0.02)
    assert set(b.probe.real.unique().tolist()) == set(b.probe.imag.unique().tolist()) == {-1, 1}
    assert torch.allclose(b.total.square(), b.added.square() + 0.09)
    seen, start = b.on(b.x)
    level = b.added[:, None, None]
    assert torch.allclose(seen - start, level * b.noise)
    shifted = LogUniform(0.5, 4.0, shift=0.5)(rng, 4000)
    assert shifted.min() < 0.01 and shifted.min() >= 0 and 3.3 < shifted.max() <= 3.5
    assert math.isclose(np.log(LogNormal()(rng, 4000)).mean(), -1.2, abs_tol=0.1)
    for call in (
        lambda: LogUniform(2.0, 1.0),
        lambda: LogUniform(1.0, 2.0, shift=1.5),
        lambda: LogNormal(0.0, -1.0),
        lambda: _batch(rng, perturbation=-0.1),
    ):
        with pytest.raises(ValueError, match="expected"):
            call()


@pytest.mark.parametrize("loss", [ambient_loss, SureScore(0.5)], ids=["ambient", "sure-score"])
def test_a_resumed_training_ends_with_the_same_bits(loss, tmp_path: Path) -> None:
    x, _ = _gaussian(np.random.default_rng(0), 64)

    def draw(rng):
        return noised(
            torch.from_numpy(x[rng.integers(0, 64, 4)].astype(np.complex64)),
            torch.full((4,), 0.5), LogUniform(0.5, 5.0, shift=0.5), rng,
        )  # fmt: skip

    def run(path: Path, **how) -> Denoiser:
        network = _random("separable")
        train(
            network, loss, draw, plan=Plan(7, ema=0.9, every=3), rng=np.random.default_rng(5),
            checkpoint=path, **how,
        )  # fmt: skip
        return network

    def press(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    whole = run(tmp_path / "whole.safetensors")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut.safetensors", progress=press)
    again = run(tmp_path / "cut.safetensors", resume=True)
    pairs = zip(whole.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


# -- the prior ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("name", MAKERS)
def test_arrays_stay_what_they_are(name, dtype, rng) -> None:
    prior, x = ScorePrior(_random(name)), _complex(rng, 2, 3, *SHAPE, dtype=dtype)
    kept = x.copy()
    sigma = rng.uniform(0.1, 2, (2, 3))
    found = prior.denoise(x, sigma)
    assert prior.calls == 1
    assert found.shape == x.shape and found.dtype == x.dtype and isinstance(found, np.ndarray)
    assert np.array_equal(x, kept)
    score = prior.score(x, sigma)
    np.testing.assert_allclose(
        score, (found - x) / sigma[..., None, None] ** 2, rtol=1e-5, atol=1e-5
    )
    assert score.dtype == x.dtype and prior.calls == 2
    own = prior.denoise(torch.from_numpy(x), torch.from_numpy(sigma))
    assert own.dtype == torch.from_numpy(x).dtype and np.array_equal(own.numpy(), found)
    for i in np.ndindex(2, 3):  # members do not see each other
        np.testing.assert_allclose(prior.denoise(x[i], sigma[i]), found[i], rtol=1e-4, atol=1e-5)
    assert prior.denoise(x[:0], 1.0).shape == (0, 3, *SHAPE)


@pytest.mark.parametrize("like", [None, torch.zeros(1)], ids=["numpy", "torch"])
@pytest.mark.parametrize("law", PRIOR_LAWS)
@pytest.mark.parametrize("name", MAKERS)
def test_law(name: str, law: str, like, rng: np.random.Generator) -> None:
    prior = ScorePrior(_random(name))
    PRIOR_LAWS[law](PriorCase(prior, Space(SHAPE, np.dtype("complex64")), like=like), rng)


def test_beams_make_the_jacobian_diagonal_before_training(rng: np.random.Generator) -> None:
    x, _ = _gaussian(rng, 5000)
    for beams in Beams:
        network = ChannelDenoiser(*SHAPE, 4, 1, beams=beams, modes=20)
        network.fit(torch.from_numpy(x), torch.zeros(len(x)))
        prior = ScorePrior(network)
        B = prior.basis.to(dtype="complex64")
        check_operator(B)
        one, two = x[0].astype(np.complex64), x[1].astype(np.complex64)
        gain = B(prior.denoise(one, 0.5)) / B(one)  # the network is linear yet
        np.testing.assert_allclose(prior.denoise(two, 0.5), B.adjoint(gain * B(two)), atol=1e-5)
    assert ScorePrior(_random("unet")).basis is None


def test_nan_stays_in_its_member(rng: np.random.Generator) -> None:
    for name in MAKERS:
        prior, x = ScorePrior(_random(name)), _complex(rng, 2, *SHAPE)
        x[0, 1, 1] = np.nan
        found = prior.denoise(x, 0.5)
        assert np.isnan(found[0]).any() and np.isfinite(found[1]).all()


def test_the_scale_is_that_of_x(rng: np.random.Generator) -> None:
    network, x = _random("unet"), _complex(rng, 2, *SHAPE)
    found = ScorePrior(network, scale=50.0).denoise(50 * x, 25.0)
    np.testing.assert_allclose(found, 50 * ScorePrior(network).denoise(x, 0.5), rtol=1e-5)
    least, most = ScorePrior(network, scale=50.0).sigma_range
    assert math.isclose(least, 0.1, rel_tol=1e-5) and math.isclose(most, 5000.0, rel_tol=1e-5)


@pytest.mark.parametrize("name", MAKERS)
def test_the_pullback_is_the_gradient(name, rng) -> None:
    prior = ScorePrior(_random(name))
    x, v, d = (_complex(rng, 2, *SHAPE) for _ in range(3))
    found, pulled = prior.denoise_vjp(x, 0.7, v)
    np.testing.assert_array_equal(found, prior.denoise(x, 0.7))
    step = 1e-2
    ahead, behind = (prior.denoise(x + s * d, 0.7) for s in (step, -step))
    change = np.vdot(v, (ahead - behind) / (2 * step)).real
    assert math.isclose(np.vdot(pulled, d).real, change, rel_tol=2e-2, abs_tol=2e-2)
    own = torch.from_numpy(x).requires_grad_()
    torch.autograd.backward(prior.denoise(own, 0.7), torch.from_numpy(v))
    np.testing.assert_allclose(own.grad.numpy(), pulled, rtol=1e-5, atol=1e-6)


def test_bad_calls_are_refused(rng: np.random.Generator) -> None:
    prior, x = ScorePrior(_random("separable")), _complex(rng, 3, *SHAPE)
    for error, match, call in (
        (TypeError, "a Denoiser", lambda: ScorePrior(FNO(2, 2, 1))),
        (ValueError, "scale > 0", lambda: ScorePrior(_random("unet"), scale=0.0)),
        (TypeError, "complex x", lambda: prior.denoise(x.real, 1.0)),
        (TypeError, "an array \\(numpy, cupy or torch\\)", lambda: prior.denoise(x.tolist(), 1.0)),
        (ValueError, r"\(\*batch, 5, 6\)", lambda: prior.denoise(x[..., :5], 1.0)),
        (ValueError, "against the batch", lambda: prior.denoise(x, np.ones(2))),
        (ValueError, "finite and > 0", lambda: prior.denoise(x, 0)),
        (ValueError, "finite and > 0", lambda: prior.denoise(x, math.nan)),
        (TypeError, "as a real number", lambda: prior.denoise(x, 1j)),
        (ValueError, "v like x", lambda: prior.denoise_vjp(x, 1.0, x[0])),
    ):
        with pytest.raises(error, match=match):
            call()
    assert prior.calls == 0
