"""Input-convex networks: f is the gradient of ψ, ψ is convex, in training and in files too."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sciml.io import FileError
from sciml.io._cards import digest
from sciml.networks import (
    ConvexDense,
    ConvexImages,
    ConvexMixture,
    ConvexNetwork,
    ConvexPatch,
    PretrainedProximal,
    UNetDenoiser,
    load_denoiser,
    load_network,
    load_predictor,
    load_proximal,
    save_network,
)
from sciml.training import (
    Constrained,
    Noisy,
    Plan,
    ProximalMatching,
    Stage,
    matching_loss,
    mean_absolute_loss,
    mean_square_loss,
    published_stages,
    train,
)

LEVELS = (0.1, 1.0)
# (network, shape of one x)
MAKERS: dict[str, tuple[Callable[[], ConvexNetwork], tuple[int, ...]]] = {
    "number": (partial(ConvexDense, 1), (1,)),
    "vector": (partial(ConvexDense, 3, 8, 3, alpha=0.1, sigmas=LEVELS), (3,)),
    "image": (partial(ConvexImages, 1, 4, 2, 2, beta=5.0, alpha=0.05), (1, 6, 8)),
    "odd image": (partial(ConvexImages, 2, 4, 3, 1, beta=5.0, sigmas=LEVELS), (2, 7, 5)),
    "patch": (partial(ConvexPatch, 1, 8, 4, 3, 2, beta=5.0), (1, 8, 8)),
    "mixture": (partial(ConvexMixture, 3, 4, 3, sigmas=LEVELS), (1, 6, 5)),
}


def _network(name: str) -> ConvexNetwork:
    """In double precision, with weights that leave nothing at 0."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        network = MAKERS[name][0]().double()
        with torch.no_grad():
            for p in network.parameters():
                p.add_(0.1 * torch.randn_like(p))
    network.project()
    return network.eval()


def _drawn(name: str, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor | None]:
    network, shape = _network(name), MAKERS[name][1]
    x = torch.from_numpy(2 * rng.standard_normal((count, *shape)))
    sigma = torch.from_numpy(rng.uniform(0.05, 1.5, count)) if network.told_sigma else None
    return x, sigma


def _loss(of, network: ConvexNetwork, batch: Noisy) -> float:
    with torch.no_grad():
        return float(of(network, batch))


def _inner(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).flatten(1).sum(1)


@pytest.mark.parametrize("name", MAKERS)
def test_f_is_the_gradient(name: str, rng: np.random.Generator) -> None:
    network, (x, sigma) = _network(name), _drawn(name, rng, 5)
    x.requires_grad_()
    (wanted,) = torch.autograd.grad(network.potential(x, sigma).sum(), x)
    found = network(x, sigma)
    assert found.shape == x.shape and float(found.detach().abs().max()) > 0.1
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    single = network.float()(x.detach().float(), None if sigma is None else sigma.float())
    torch.testing.assert_close(single.double(), wanted, rtol=1e-3, atol=1e-4)


def test_psi_is_what_the_docstring_says(rng: np.random.Generator) -> None:
    """Written out by hand, once."""
    network = ConvexDense(3, 8, 2, alpha=0.3).double()
    with torch.no_grad():
        network.offset.add_(0.7)
    x = torch.from_numpy(rng.standard_normal((4, 3)))
    one, two = network.layers
    h1 = torch.log1p(torch.exp(10 * (x @ one.S.T + one.b))) / 10
    h2 = torch.log1p(torch.exp(10 * (h1 @ two.W.T + x @ two.S.T + two.b))) / 10
    wanted = h1 @ one.c + h2 @ two.c + 0.7 * x.sum(1) + 0.15 * x.square().sum(1)
    torch.testing.assert_close(network.potential(x), wanted)


def _check_jacobian(network: ConvexNetwork, x: Tensor, sigma: Tensor | None) -> None:
    """Symmetric, its eigenvalues from alpha up, at each x."""

    def one(v: Tensor, s: Tensor) -> Tensor:
        return network(v[None], s[None] if network.told_sigma else None)[0]

    levels = torch.ones(len(x)).to(x) if sigma is None else sigma
    jacobian = torch.vmap(torch.func.jacrev(one), chunk_size=50)
    J = jacobian(x, levels).reshape(len(x), x[0].numel(), x[0].numel()).detach()
    torch.testing.assert_close(J, J.mT, rtol=1e-10, atol=1e-10)
    assert float(torch.linalg.eigvalsh(J).min()) >= network.alpha - 1e-10
    assert float(J.abs().max()) > network.alpha + 0.01


_COUNTS = pytest.mark.parametrize("count", [5, pytest.param(1000, marks=pytest.mark.slow)])


@_COUNTS
@pytest.mark.parametrize("name", MAKERS)
def test_the_jacobian_is_symmetric_and_positive(
    name: str, count: int, rng: np.random.Generator
) -> None:
    _check_jacobian(_network(name), *_drawn(name, rng, count))


@_COUNTS
@pytest.mark.parametrize("name", list(PretrainedProximal), ids=lambda p: p.value)
def test_so_is_that_of_shipped_networks(
    name: PretrainedProximal, count: int, rng: np.random.Generator
) -> None:
    """Of one number at 1,000 points in any case."""
    network = load_proximal(name).double().eval()
    if network.ndim == 1:
        x, count = 4 * rng.standard_normal((1000, 1)), 1000
    else:
        x = rng.random((count, 1, 8, 8)) + 0.1 * rng.standard_normal((count, 1, 8, 8))
    least, most = network.sigmas
    levels = torch.from_numpy(np.geomspace(least, most, count))
    _check_jacobian(network, torch.from_numpy(x), levels if network.told_sigma else None)


@pytest.mark.parametrize("name", MAKERS)
def test_psi_is_strongly_convex_and_f_cyclically_monotone(
    name: str, rng: np.random.Generator
) -> None:
    """Along segments at one noise level; around cycles of 2 to 50 points (Rockafellar 1966)."""
    network, (x, sigma) = _network(name), _drawn(name, rng, 50)
    level = None if sigma is None else torch.full_like(sigma, 0.3)
    with torch.no_grad():
        y = x.flip(0)
        t = torch.from_numpy(rng.random(50))
        column = t.reshape(-1, *(1,) * (x.ndim - 1))
        psi = network.potential
        gain = t * psi(x, level) + (1 - t) * psi(y, level)
        gain = gain - psi(column * x + (1 - column) * y, level)
        least = 0.5 * network.alpha * t * (1 - t) * _inner(x - y, x - y)
        assert bool((gain >= least - 1e-9).all())
        f = network(x, level)
        for length in (2, 3, 7, 50):
            order = torch.from_numpy(rng.permutation(50)[:length])
            moved = x[order] - x[order.roll(1)]
            assert float(_inner(f[order], moved).sum()) >= -1e-9


def test_a_negative_weight_breaks_these_laws(rng: np.random.Generator) -> None:
    network = _network("number")
    assert network.infeasible() is None
    with torch.no_grad():
        network.layers[1].c.fill_(-50.0)
        x = torch.linspace(-3, 3, 300, dtype=torch.float64)[:, None]
        assert bool((network(x).diff(dim=0) < 0).any())
    assert network.infeasible() == "layers.1.c"
    network.project()
    assert network.infeasible() is None and float(network.layers[1].c.detach().max()) == 0
    with torch.no_grad():
        network.layers[0].S[0] = float("nan")
    assert network.infeasible() == "layers.0.S"


@pytest.mark.parametrize("name", MAKERS)
def test_batch_is_loop(name: str, rng: np.random.Generator) -> None:
    network, (x, sigma) = _network(name), _drawn(name, rng, 3)
    with torch.no_grad():
        together, heights = network(x, sigma), network.potential(x, sigma)
        for i in range(3):
            level = None if sigma is None else sigma[i : i + 1]
            torch.testing.assert_close(network(x[i : i + 1], level)[0], together[i])
            torch.testing.assert_close(network.potential(x[i : i + 1], level)[0], heights[i])
        assert network(x[:0], None if sigma is None else sigma[:0]).shape == x[:0].shape


def test_odd_sizes_are_padded_exactly(rng: np.random.Generator) -> None:
    network, (x, sigma) = _network("odd image"), _drawn("odd image", rng, 2)
    wide = torch.nn.functional.pad(x, (0, 3, 0, 1))
    with torch.no_grad():
        torch.testing.assert_close(network(x, sigma), network(wide, sigma)[..., :7, :5])
        torch.testing.assert_close(network.potential(x, sigma), network.potential(wide, sigma))


def test_noise_levels_differ_and_end_where_training_did(rng: np.random.Generator) -> None:
    network, (x, _) = _network("vector"), _drawn("vector", rng, 2)
    with torch.no_grad():
        low, high, beyond = (network(x, torch.full((2,), s).double()) for s in (0.1, 1.0, 7.0))
    assert float((low - high).abs().max()) > 1e-3
    assert torch.equal(high, beyond)


def test_the_papers_shape() -> None:
    """Convolutions of 3 × 3 with strides 1, 2, 1, 2, 1, 2 from 128² to 16², then one over all."""
    with torch.device("meta"):
        network = ConvexPatch()
        assert network(torch.empty(2, 3, 128, 128)).shape == (2, 3, 128, 128)
    assert [layer.stride for layer in network.layers] == [1, 2, 1, 2, 1, 2, 1]
    assert [layer.coarse for layer in network.layers] == [1, 2, 2, 4, 4, 8, 8]
    assert network.layers[-1].W.shape == (64, 256, 16, 16)
    assert [layer.c is None for layer in network.layers] == [True] * 6 + [False]


@pytest.mark.parametrize("call", [
    lambda: ConvexDense(0), lambda: ConvexDense(1, layers=0), lambda: ConvexDense(1, beta=0.0),
    lambda: ConvexDense(1, layers=65), lambda: ConvexImages(1, 4, 9, 9),
    lambda: ConvexDense(1, beta=1e308), lambda: ConvexDense(1, beta=1e-30),
    lambda: ConvexDense(1, alpha=1e308), lambda: ConvexDense(1, sigmas=(1.0, 1e308)),
    lambda: ConvexDense(1, alpha=-1.0), lambda: ConvexDense(1, sigmas=(0.0, 1.0)),
    lambda: ConvexDense(1, sigmas=(1.0,)), lambda: ConvexDense(1, sigmas=3.0),
    lambda: ConvexImages(0), lambda: ConvexImages(levels=0), lambda: ConvexPatch(1, 12, 4, 3, 3),
    lambda: ConvexDense(2)(torch.zeros(1, 3)), lambda: ConvexDense(2)(torch.zeros(2)),
    lambda: ConvexDense(1)(torch.zeros(1, 1), torch.ones(1)),
    lambda: ConvexDense(1, sigmas=LEVELS)(torch.zeros(1, 1)),
    lambda: ConvexDense(1, sigmas=LEVELS)(torch.zeros(2, 1), torch.ones(1)),
    lambda: ConvexImages(1, 4)(torch.zeros(1, 8, 8)),
    lambda: ConvexImages(1, 4)(torch.zeros(1, 1, 0, 8)),
    lambda: ConvexPatch(1, 8, 4, 3, 1)(torch.zeros(1, 1, 8, 6)),
])  # fmt: skip
def test_bad_calls_are_refused(call) -> None:
    with pytest.raises(ValueError, match=r"expected .*got"):
        call()


# -- training -----------------------------------------------------------------------------------


def _batch(rng: np.random.Generator) -> Noisy:
    x = torch.from_numpy(rng.laplace(size=(64, 1)).astype(np.float32))
    noise = torch.from_numpy(rng.standard_normal((64, 1)).astype(np.float32))
    return Noisy(x, x + noise, torch.ones(64))


def _small() -> ConvexDense:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ConvexDense(1, 6, 3)


LESSON = ProximalMatching((Stage(6, 0.3), Stage(6, 0.1, 0.5), Stage(3, 0.01, 0.2)))


class _Watched(ConvexDense):
    """Asserts that every step begins with feasible weights."""

    def forward(self, x: Tensor, sigma: Tensor | None = None) -> Tensor:
        assert self.infeasible() is None
        return super().forward(x, sigma)


@pytest.mark.parametrize("ema", [None, 0.9])
def test_every_step_ends_feasible_and_so_does_the_mean(ema, rng: np.random.Generator) -> None:
    network = _Watched(1, 6, 3)
    assert isinstance(network, Constrained)
    with torch.no_grad():
        network.layers[1].W.fill_(-1.0)
    train(network, LESSON, _batch, plan=LESSON.plan(ema=ema), rng=rng)
    assert network.infeasible() is None
    assert any(bool((layer.W == 0).any()) for layer in network.layers if layer.W is not None) or ema


def test_a_cut_training_ends_as_a_whole_one(tmp_path: Path) -> None:
    def press(done: int, total: int) -> None:
        if done == 8:
            raise KeyboardInterrupt

    networks = [_small(), _small()]
    path, plan = tmp_path / "c.safetensors", LESSON.plan(ema=0.9, every=4)
    train(networks[0], LESSON, _batch, plan=plan, rng=np.random.default_rng(1))
    with pytest.raises(KeyboardInterrupt):
        train(networks[1], LESSON, _batch, plan=plan, rng=np.random.default_rng(1),
              checkpoint=path, progress=press)  # fmt: skip
    networks[1] = _small()
    train(networks[1], LESSON, _batch, plan=plan, rng=np.random.default_rng(1),
          checkpoint=path, resume=True)  # fmt: skip
    pairs = zip(*(n.state_dict().values() for n in networks), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_losses_are_the_papers(rng: np.random.Generator) -> None:
    network, batch = _small(), _batch(rng)
    off = (network(batch.y) - batch.x).detach().square().sum(1)
    assert _loss(mean_square_loss, network, batch) == pytest.approx(float(off.mean()), rel=1e-5)
    found = _loss(mean_absolute_loss, network, batch)
    assert found == pytest.approx(float(off.sqrt().mean()), rel=1e-5)
    wanted = (1 - torch.exp(-off / 0.09)).mean()
    assert _loss(partial(matching_loss, gamma=0.3), network, batch) == pytest.approx(
        float(wanted), rel=1e-5
    )


def test_several_draws_are_the_mean_of_their_losses(rng: np.random.Generator) -> None:
    network, batches = _small(), [_batch(rng) for _ in range(3)]
    y, sigma = batches[0].y, batches[0].sigma
    together = Noisy(torch.stack([b.x for b in batches]), y, sigma)
    losses = (mean_square_loss, mean_absolute_loss, LESSON.at(0.9))
    for loss in losses:
        alone = [_loss(loss, network, Noisy(b.x, y, sigma)) for b in batches]
        assert _loss(loss, network, together) == pytest.approx(np.mean(alone), rel=1e-5)


def test_stages_follow_each_other(rng: np.random.Generator) -> None:
    network, batch = _small(), _batch(rng)
    found = [_loss(LESSON.at(k / LESSON.steps), network, batch) for k in range(LESSON.steps)]
    wanted = [_loss(mean_absolute_loss, network, batch)] * 6
    wanted += [_loss(partial(matching_loss, gamma=0.5), network, batch)] * 6
    wanted += [_loss(partial(matching_loss, gamma=0.2), network, batch)] * 3
    assert found == wanted
    plan = LESSON.plan()
    assert [plan.rate(k) for k in (0, 5, 6, 11, 12, 99)] == [0.3, 0.3, 0.1, 0.1, 0.01, 0.01]
    squared = ProximalMatching(LESSON.stages, square=True).at(0.9)
    assert _loss(squared, network, batch) == _loss(mean_square_loss, network, batch)
    assert [s.steps for s in LESSON.shortened(4).stages] == [1, 1, 1]


def test_the_published_schedule() -> None:
    assert sum(s.steps for s in published_stages()) == 44_000
    images = published_stages(128 * 128 * 3)
    assert sum(s.steps for s in images) == 40_000
    assert images[-1].gamma == pytest.approx(17.7, abs=0.1) and images[0].gamma is None
    assert [s.gamma / images[-1].gamma for s in images[1:]] == [8, 4, 2, 1]


@pytest.mark.parametrize("call", [
    lambda: ProximalMatching(()), lambda: Stage(0, 1e-3), lambda: Stage(1, -1.0),
    lambda: Stage(1, 1e-3, 0.0), lambda: Plan(5, rates=((0, 1e-3),)),
    lambda: Plan(5, rates=((3, float("nan")),)), lambda: published_stages(0),
])  # fmt: skip
def test_bad_lessons_are_refused(call) -> None:
    with pytest.raises(ValueError, match=r"expected .*got"):
        call()


# -- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAKERS)
def test_weights_come_back(name: str, tmp_path: Path, rng: np.random.Generator) -> None:
    network, (x, sigma) = _network(name), _drawn(name, rng, 2)
    weights, _ = save_network(tmp_path / "f.safetensors", network, {})
    again = load_proximal(weights)
    assert type(again) is type(network) and again.sigmas == network.sigmas
    narrow = None if sigma is None else sigma.float()
    with torch.no_grad():
        torch.testing.assert_close(again(x.float(), narrow), network.float()(x.float(), narrow))


@pytest.mark.parametrize("part", ["W", "c"])
@pytest.mark.parametrize("bad", [-1e-6, float("nan")])
def test_infeasible_weights_are_refused(part, bad, tmp_path: Path, monkeypatch) -> None:
    network = _small()
    with torch.no_grad():
        getattr(network.layers[1], part).view(-1)[3] = bad
    with pytest.raises(ValueError, match=f"layers.1.{part}"):
        save_network(tmp_path / "f.safetensors", network, {})
    with monkeypatch.context() as patched:
        patched.setattr(type(network), "infeasible", lambda self: None)
        weights, _ = save_network(tmp_path / "f.safetensors", network, {})
    with pytest.raises(FileError, match=f"layers.1.{part}: f is no proximal"):
        load_proximal(weights)


@pytest.mark.parametrize("load", [load_proximal, load_denoiser, load_predictor, load_network])
@pytest.mark.parametrize("source", [None, 3, "a.json"])
def test_what_is_no_path_of_weights_is_refused(load, source) -> None:
    with pytest.raises((TypeError, ValueError), match=r"expected .*safetensors"):
        load(source)


def test_other_networks_are_refused(tmp_path: Path) -> None:
    weights, _ = save_network(tmp_path / "f.safetensors", _small(), {})
    with pytest.raises(FileError, match="use load_proximal"):
        load_denoiser(weights)
    other, _ = save_network(tmp_path / "d.safetensors", UNetDenoiser(4, 2), {})
    with pytest.raises(FileError, match="use load_denoiser"):
        load_proximal(other)
    card = weights.with_suffix(".json")
    for changes in (
        {"sigmas": [1.0]},
        {"beta": 1e308},
        {"alpha": 1e308},
        {"layers": 10**6},
        {"width": 4096, "layers": 4096},
    ):
        known = json.loads(card.read_text())
        known["arguments"] |= changes
        forged = tmp_path / "forged.json"
        forged.write_text(json.dumps({**known, "card_sha256": digest(known)}))
        forged.with_suffix(".safetensors").write_bytes(weights.read_bytes())
        with pytest.raises(FileError, match="expected"):
            load_proximal(forged.with_suffix(".safetensors"))
