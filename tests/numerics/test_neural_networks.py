"""Direction networks: sizes of the published ones, what they are told, equivariance, weights."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from sciml import Operator
from sciml.io import FileError
from sciml.io._cards import digest
from sciml.networks import (
    DirectionNetwork,
    Multilevel,
    Pretrained,
    SingleLevel,
    Stencil,
    load_network,
    read_card,
    save_network,
)
from sciml.operators import Diagonal, Diffusion, Identity, NodalDiffusion, Side
from solvers.neural.systems import stencil_of

MIXED = (Side.DIRICHLET, (Side.NEUMANN, Side.DIRICHLET))


def _seeded(make: Callable[..., DirectionNetwork], *arguments: int) -> DirectionNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return make(*arguments).eval()


def _solid(*shape: int) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[(slice(2, 5),) * len(shape)] = True
    return mask


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (lambda: SingleLevel(3), 97_457),  # Kaneda et al., for 64³
        (lambda: SingleLevel(3, 2, 5, 3), 152_881),  # for 128³
        # 9 weights a pair of filters in place of 27: 14 of 16 to 16, one of 1 to 16, Dense(1)
        (lambda: SingleLevel(2), 14 * (9 * 256 + 16) + (9 * 16 + 16) + 17),
    ],
)
def test_the_published_networks_have_their_parameters(network, count: int) -> None:
    assert sum(p.numel() for p in network().parameters()) == count


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_an_untrained_single_level_network_is_close_to_steepest_descent(ndim: int) -> None:
    r = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 1, *(12,) * ndim))).float()
    with torch.no_grad():
        q = _seeded(SingleLevel, ndim)(r)
    assert float((q * r).sum() / (q.norm() * r.norm())) > 0.5


def test_a_network_may_start_as_the_published_one() -> None:
    """Glorot and Bengio's weights: uniform within sqrt(6 / (fan in + fan out)), and no bias."""
    network = _seeded(partial(SingleLevel, near_identity=False), 2)
    assert isinstance(network, SingleLevel)
    for p in (p.detach() for p in network.parameters()):
        if p.ndim == 1:
            assert not p.any()
            continue
        area = p[0, 0].numel()
        bound = math.sqrt(6 / (area * (p.shape[0] + p.shape[1])))
        assert p.abs().max() <= bound and (p.numel() < 300 or p.abs().max() > 0.95 * bound)
        assert p.numel() < 300 or float(p.std()) == pytest.approx(bound / math.sqrt(3), rel=0.1)
    assert network.arguments == SingleLevel(2).arguments  # weights load whatever they began as


@pytest.mark.parametrize("shape", [(8, 8), (9, 7), (5, 6, 7)])
def test_a_single_level_network_keeps_any_shape(shape: tuple[int, ...]) -> None:
    r = torch.ones(2, 1, *shape)
    assert _seeded(SingleLevel, len(shape))(r).shape == r.shape


P, N, D = Side.PERIODIC, Side.NEUMANN, Side.DIRICHLET
BATCHED = (2, 7, 5)
# An operator of each kind, from (k of a shape, rng); the shape is in 2-D, or in 3-D too.
READ: dict[str, Callable[[np.ndarray, np.random.Generator], Operator]] = {
    "sides": lambda k, r: Diffusion(k, ndim=k.ndim, boundary=[(D, N), N, D][: k.ndim]),
    "spacing": lambda k, r: Diffusion(k, ndim=k.ndim, spacing=[0.5, 2.0, 0.1][: k.ndim]),
    "no flux": lambda k, r: Diffusion(k, ndim=k.ndim, boundary=N),
    "solid": lambda k, r: Diffusion(k, ndim=k.ndim, boundary=N, solid=_solid(*k.shape)),
    "a ring": lambda k, r: Diffusion(k, ndim=k.ndim, boundary=[P, D, N][: k.ndim]),
    "rings": lambda k, r: Diffusion(k, ndim=k.ndim, boundary=P),
    "solid ring": lambda k, r: Diffusion(k, ndim=k.ndim, boundary=P, solid=_solid(*k.shape)),
    "nodal": lambda k, r: NodalDiffusion(k, ndim=k.ndim),
    "multiple": lambda k, r: 1e30 * Diffusion(k, ndim=k.ndim, boundary=N),
    "one mass": lambda k, r: (A := Diffusion(k, ndim=k.ndim, boundary=N)) + 40 * Identity(A.domain),
    "mass": lambda k, r: 0.1 * Diffusion(k, ndim=k.ndim) + Diagonal(9 * r.random(k.shape)),
    "mass, solid, ring": lambda k, r: (
        0.1 * Diffusion(k, ndim=k.ndim, boundary=P, solid=_solid(*k.shape))
        + Diagonal(9 * r.random(k.shape))
    ),
    "mass, nodal": lambda k, r: (A := NodalDiffusion(k, ndim=k.ndim)) + 5 * Identity(A.domain),
}


def _agrees(A: Operator, rng: np.random.Generator) -> None:
    """The stencil of A, member by member, is A on the fluid up to one factor; its diagonal too."""
    stencil = stencil_of(A)
    assert stencil is not None
    x = rng.standard_normal((*A.batch_shape, *A.domain.shape))
    fluid = stencil.fluid.numpy().reshape(x.shape) > 0
    x *= fluid
    mine = stencil(torch.from_numpy(x.reshape(stencil.extra.shape)).float())
    found, diagonal = (t.numpy().reshape(x.shape) for t in (mine, stencil.diagonal()))
    space = tuple(range(-A.domain.ndim, 0))
    unit = (A.diagonal() * fluid).sum(space, keepdims=True) / fluid.sum(space, keepdims=True)
    for ours, theirs in ((found, A(x)), (diagonal, np.broadcast_to(A.diagonal(), x.shape))):
        np.testing.assert_allclose(
            (unit * ours)[fluid], theirs[fluid], rtol=1e-4, atol=3e-6 * abs(theirs[fluid]).max()
        )


@pytest.mark.parametrize("shape", [(9, 12), (1, 7), (7, 6, 8)], ids=str)
@pytest.mark.parametrize("name", READ)
def test_the_stencil_is_the_operator_up_to_a_factor(
    name: str, shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    if min(shape) > 1 or not ("nodal" in name or "solid" in name):
        _agrees(READ[name](np.exp(rng.standard_normal(shape)), rng), rng)


def test_the_stencil_of_a_batch_has_a_mass_for_each(rng: np.random.Generator) -> None:
    k, mass = np.exp(rng.standard_normal(BATCHED)), rng.random(BATCHED)
    one = Diffusion(np.exp(rng.standard_normal(BATCHED[1:])), boundary=N)
    _agrees(Diffusion(k, ndim=2, boundary=N) + Diagonal(300 * mass, ndim=2), rng)
    _agrees(one + Diagonal(300 * mass, ndim=2), rng)
    theirs = Diffusion(torch.from_numpy(k), ndim=2) + Diagonal(torch.from_numpy(mass), ndim=2)
    mine = Diffusion(k, ndim=2) + Diagonal(mass, ndim=2)
    for a, b in zip(*(s.faces for A in (mine, theirs) if (s := stencil_of(A))), strict=True):
        torch.testing.assert_close(a, b)


def test_what_is_no_diffusion_with_a_mass_has_no_stencil(rng: np.random.Generator) -> None:
    A = Diffusion(np.exp(rng.standard_normal((6, 6))))
    one = Identity(A.domain)
    for other in (A - 0.5 * one, -1.0 * A, one, A @ A, A + A):
        assert stencil_of(other) is None


@pytest.mark.parametrize("shape", [(8, 16), (7, 10), (4, 8, 6)], ids=str)
@pytest.mark.parametrize("sides", [N, P])
def test_coarsening_keeps_what_constants_cost(
    shape: tuple[int, ...], sides: Side, rng: np.random.Generator
) -> None:
    """⟨1, A 1⟩ in the fluid is the mass alone, whatever the level, k, rings and solid cells are."""
    space = Diffusion(np.exp(rng.standard_normal(shape)), ndim=len(shape), boundary=sides)
    solid = rng.random(shape) < 0.2
    for mask in (None, solid):
        A = Diffusion(space.k, ndim=len(shape), boundary=sides, solid=mask)
        made = stencil_of(A + Diagonal(rng.random(shape)))
        assert made is not None
        stencil, first = made.padded(4), float((made.fluid * made(made.fluid)).sum())
        for level in (1, 2):
            stencil = stencil.coarsen()
            cost = float((stencil.fluid * stencil(stencil.fluid)).sum()) * 2 ** (level * len(shape))
            assert cost == pytest.approx(first, rel=1e-4)
            flux = stencil(stencil.fluid) - stencil.mass * stencil.fluid
            assert float(flux.abs().max()) <= 1e-5 * float(stencil.diagonal().max())


@pytest.mark.parametrize("n", [16, 14])
def test_a_coarse_ring_is_a_ring(n: int) -> None:
    """Of constant k: the same everywhere, where the ends meet too."""
    made = stencil_of(Diffusion(np.ones((n, 8)), boundary=P))
    assert made is not None
    coarse = made.padded(4).coarsen()
    waves = torch.cos(2 * torch.pi * torch.arange(n // 2) / (n // 2))
    x = torch.nn.functional.pad(waves, (0, coarse.shape[0] - n // 2))[:, None].expand(coarse.shape)
    y = coarse(x[None, None])[0, 0, : n // 2]
    expected = (
        4 * torch.sin(torch.tensor(torch.pi) / (n // 2)) ** 2 * float(made.faces[0].max()) / 4
    )
    torch.testing.assert_close(y, expected * x[: n // 2], rtol=1e-4, atol=1e-5)


def test_a_coarse_stencil_discretises_constant_k_anew() -> None:
    fine, coarse = (stencil_of(Diffusion(np.ones((n, n)))) for n in (16, 8))
    assert fine is not None and coarse is not None
    made = fine.coarsen()
    # both are divided by their mean diagonals, so compare shapes of the coefficients, and 1/h²
    inner = made.faces[0][0, 0, 1:-1]
    torch.testing.assert_close(inner, torch.full_like(inner, float(fine.faces[0][0, 0, 1, 0]) / 4))
    torch.testing.assert_close(made.features(), coarse.features(), rtol=1e-5, atol=1e-6)


def test_cells_that_take_no_part_change_nothing(rng: np.random.Generator) -> None:
    stencil = stencil_of(Diffusion(np.exp(rng.standard_normal((6, 9))), boundary=MIXED))
    assert stencil is not None
    wide = stencil.padded(8)
    assert wide.shape == (8, 16)
    x = torch.from_numpy(rng.standard_normal((1, 1, 6, 9))).float()
    padded = torch.nn.functional.pad(x, (0, 7, 0, 2))
    torch.testing.assert_close(wide(padded)[..., :6, :9], stencil(x))


@pytest.mark.parametrize("shape", [(16, 16), (13, 10), (8, 9, 6), (1, 7)])
def test_a_multilevel_network_is_equivariant(
    shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    """A -> s A changes nothing, r -> t r gives t q, and q stays out of solid cells."""
    network = _seeded(Multilevel, len(shape))
    for p in network.parameters():  # trained weights are not near zero
        p.data.add_(0.05 * torch.from_numpy(rng.standard_normal(p.shape)).float())
    k = np.exp(2 * rng.standard_normal(shape))
    mask = _solid(*shape) if min(shape) > 5 else None
    r = torch.from_numpy(rng.standard_normal((2, 1, *shape))).float()
    found = []
    for s, t in ((1.0, 1.0), (1e40, 1.0), (1.0, -0.25)):
        A = Diffusion(s * k, ndim=len(shape), boundary=Side.NEUMANN, solid=mask)
        with torch.no_grad():
            q = network(t * r, network.prepare(stencil_of(A))) / t
        assert q.shape == r.shape and torch.isfinite(q).all()
        if mask is not None:
            assert not q[:, :, torch.from_numpy(mask)].any()
        found.append(q)
    for other in found[1:]:
        torch.testing.assert_close(
            other, found[0], rtol=1e-3, atol=1e-4 * float(found[0].abs().max())
        )


def test_a_multilevel_network_is_told_of_k(rng: np.random.Generator) -> None:
    network = _seeded(Multilevel, 2)
    r = torch.ones(1, 1, 16, 16)
    q = []
    for k in (np.ones((16, 16)), np.exp(2 * rng.standard_normal((16, 16)))):
        with torch.no_grad():
            q.append(network(r, network.prepare(stencil_of(Diffusion(k)))))
    assert float((q[0] - q[1]).norm() / q[0].norm()) > 0.1


@pytest.mark.parametrize("call", [
    lambda: SingleLevel(4), lambda: SingleLevel(2, 0), lambda: Multilevel(1),
    lambda: Multilevel(2, 0), lambda: Multilevel(2).prepare(None),
    lambda: Multilevel(2)(torch.ones(1, 1, 4, 4)),
])  # fmt: skip
def test_bad_networks_are_refused(call) -> None:
    with pytest.raises(ValueError, match=r"expected .* got"):
        call()


# -- weights ----------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    weights, _ = save_network(
        tmp_path / "net.safetensors", _seeded(Multilevel, 2, 3, 4), {"seed": 3}
    )
    return weights


def test_weights_come_back_with_their_card(saved: Path) -> None:
    network = load_network(saved, ndim=2)
    assert isinstance(network, Multilevel) and network.arguments["width"] == 3
    for name, p in _seeded(Multilevel, 2, 3, 4).state_dict().items():
        assert torch.equal(p, network.state_dict()[name])
    assert read_card(saved)["about"] == {"seed": 3}


def test_every_flipped_bit_is_told(saved: Path, rng: np.random.Generator) -> None:
    """1,000 flips, in weights and card alike: none loads."""
    for path in (saved, saved.with_suffix(".json")):
        sound = path.read_bytes()
        for bit in rng.choice(8 * len(sound), 500, replace=False):
            spoilt = bytearray(sound)
            spoilt[bit // 8] ^= 1 << (bit % 8)
            path.write_bytes(spoilt)
            with pytest.raises(FileError):
                load_network(saved)
        path.write_bytes(sound)
    load_network(saved)


def test_other_versions_kinds_and_dimensions_are_refused(saved: Path) -> None:
    with pytest.raises(FileError, match="3-D grids, got one for 2-D"):
        load_network(saved, ndim=3)
    card = saved.with_suffix(".json")
    sound = card.read_text()
    for key, value, told in (
        ("format", 2, "format 1, got 2"),
        ("architecture", "os.system", "changed one"),
        ("arguments", {"ndim": 3}, "changed one"),
    ):
        card.write_text(json.dumps({**json.loads(sound), key: value}))
        with pytest.raises(FileError, match=told):
            load_network(saved)
    card.unlink()
    with pytest.raises(FileError, match="side by side"):
        load_network(saved)


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": ["Multilevel"]},
        {"architecture": "SingleLevel", "arguments": {"ndim": 2, "before": 10**7}},
        {"arguments": {"ndim": 2, "width": 8, "hidden": 10**6}},
        {"arguments": {"ndim": 3, "width": 4096, "hidden": 4096}},
        {"about": {"data": "\ud800"}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_forged_card_costs_neither_time_nor_memory(saved: Path, changes: dict) -> None:
    """Its check sum is right: anybody can compute that."""
    path = saved.with_suffix(".json")
    card = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({**card, "card_sha256": digest(card)}))
    began = time.perf_counter()
    if "about" in changes:
        assert read_card(saved)["about"] == changes["about"]
    else:
        with pytest.raises(FileError, match="expected"):
            load_network(saved)
    assert time.perf_counter() - began < 1


def test_a_card_nested_without_end_is_refused(saved: Path) -> None:
    saved.with_suffix(".json").write_text("[" * 200_000)
    with pytest.raises(FileError, match="as JSON"):
        load_network(saved)


def test_what_is_no_safetensors_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"\.safetensors"):
        load_network(tmp_path / "net.pt")
    with pytest.raises(FileError, match="got none"):
        load_network(tmp_path / "net.safetensors")


@pytest.mark.parametrize("name", list(Pretrained), ids=lambda p: p.value)
def test_shipped_weights_load_and_are_small(name: Pretrained) -> None:
    import sciml.networks.weights as module

    network = load_network(name, ndim=3 if name.value.endswith("3d") else 2)
    assert sum(p.numel() for p in network.parameters()) < 200_000
    path = Path(module.__file__).parents[1] / "weights" / f"{name.value}.safetensors"
    about = read_card(path)["about"]
    assert about["held_out_steps"] < about["held_out_steps_untrained"]
    assert {"command", "seed", "data", "seconds", "device"} <= set(about)


def test_a_stencil_moves_and_casts() -> None:
    stencil = Stencil.build((torch.ones(1, 1, 4, 3), torch.ones(1, 1, 3, 4)))
    assert stencil.to(torch.float64).extra.dtype == torch.float64
    assert stencil.on(torch.device("cpu")).shape == (3, 3)
