"""ConvexMixture against formulas for Gaussian mixtures, its fit, and the training of its kind."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from sciml import Space
from sciml.networks import (
    ConvexMixture,
    PretrainedProximal,
    load_proximal,
    read_card,
    weights_path,
)
from sciml.priors import LearnedProximal
from sciml.training import ProximalMatching, Stage, fit_mixture
from solvers.neural.proximal_images import (
    held_out_squares,
    image_course,
    mean_psnr,
    train_proximal_images,
)
from solvers.neural.score_data import Heads, Photographs

SIGMA = 0.3


def _mixture(rng: np.random.Generator, classes: int = 3, size: int = 3) -> tuple:
    """(π, C) of patches less their means; C of full rank there."""
    d = size * size
    Q = np.eye(d) - 1 / d
    roots = rng.standard_normal((classes, d, d)) * np.geomspace(0.1, 1.0, classes)[:, None, None]
    return rng.dirichlet(np.ones(classes)), np.einsum("ij,cjk,clk,lm->cim", Q, roots, roots, Q)


def _network(pi: np.ndarray, C: np.ndarray) -> ConvexMixture:
    d = C.shape[1]
    network = ConvexMixture(round(d**0.5), len(pi), d - 1, 0.0, (0.1, 1.0)).double()
    values, vectors = np.linalg.eigh(C)
    U, lamda = vectors[:, :, 1:].transpose(0, 2, 1), values[:, 1:]
    network.put(*map(torch.from_numpy, (pi, U.copy(), np.full(len(pi), 1e-12), lamda)))
    return network.eval()


def _posterior_mean(z: np.ndarray, pi: np.ndarray, C: np.ndarray) -> np.ndarray:
    """E[x | z] for z = x + noise within the space of mean 0, (d,)."""
    d = len(z)
    Q = np.eye(d) - 1 / d
    logs, means = [], []
    for share, one in zip(pi, C, strict=True):
        S = one + SIGMA**2 * np.eye(d)
        logs.append(np.log(share) - 0.5 * np.linalg.slogdet(S)[1] - 0.5 * z @ np.linalg.solve(S, z))
        means.append(Q @ one @ np.linalg.solve(S, z))
    p = np.exp(np.array(logs) - max(logs))
    return (p / p.sum()) @ np.array(means)


def test_f_is_the_mean_over_patches_of_posterior_means() -> None:
    rng = np.random.default_rng(0)
    pi, C = _mixture(rng)
    x = rng.standard_normal((5, 6))
    wide = np.pad(x, 1, mode="symmetric")
    expected = np.zeros_like(wide)
    for i in range(5):
        for j in range(6):
            patch = wide[i : i + 3, j : j + 3].ravel()
            found = patch.mean() + _posterior_mean(patch - patch.mean(), pi, C)
            expected[i : i + 3, j : j + 3] += found.reshape(3, 3) / 9
    # what lies beyond the edges is folded back onto the pixels that it mirrors
    for axis in (0, 1):
        expected = np.moveaxis(expected, axis, 0)
        expected[1] += expected[0]
        expected[-2] += expected[-1]
        expected = np.moveaxis(expected[1:-1], 0, axis)
    with torch.no_grad():
        f = _network(pi, C)(torch.from_numpy(x)[None, None], torch.tensor([SIGMA]).double())
    np.testing.assert_allclose(f[0, 0].numpy(), expected, atol=1e-8)


def test_a_constant_image_stays_as_it_is_at_the_edges_too() -> None:
    network = ConvexMixture(5, 3, 4, alpha=0.0).double()
    x = torch.full((1, 1, 8, 9), 0.7, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(network(x, torch.tensor([0.1]).double()), x)


def test_strips_give_what_the_whole_image_gives(monkeypatch) -> None:
    network = ConvexMixture(5, 6, 4).double()
    x, sigma = torch.rand(2, 1, 13, 11).double(), torch.tensor([0.05, 0.2]).double()
    whole = network(x, sigma).detach()
    psi = network.potential(x, sigma).detach()
    monkeypatch.setattr("sciml.networks.mixture._TOGETHER", 2 * 11 * 6 * 4 * 3)
    with torch.no_grad():
        assert len(list(network._in_strips(x, lambda first, rows: x))) > 3
        torch.testing.assert_close(network(x, sigma), whole)
        torch.testing.assert_close(network.potential(x, sigma), psi)


def test_bits_are_the_same_on_any_number_of_threads(monkeypatch) -> None:
    monkeypatch.setattr("sciml.networks.mixture._TOGETHER", 1000)
    network, x, sigma = ConvexMixture(5, 6, 4), torch.rand(1, 1, 40, 30), torch.tensor([0.1])
    found, threads = [], torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            with torch.no_grad():
                found.append(network(x, sigma))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(found[0], other) for other in found[1:])


def test_the_fit_explains_patches_as_their_own_mixture_does() -> None:
    rng = np.random.default_rng(1)
    pi, C = _mixture(rng)
    which = rng.choice(3, 4000, p=pi)
    roots = np.stack([np.linalg.cholesky(one + 1e-5 * np.eye(9)) for one in C])
    z = np.einsum("nij,nj->ni", roots[which], rng.standard_normal((4000, 9)))
    z -= z.mean(1, keepdims=True)
    network = ConvexMixture(3, 3, 8, sigmas=(0.1, 1.0))
    rounds: list[int] = []
    found = fit_mixture(
        network, torch.from_numpy(z), rng, progress=lambda done, total: rounds.append(done)
    )
    logs = []
    for share, one in zip(pi, C, strict=True):
        S = one + 1e-5 * np.eye(9)
        quadratic = np.einsum("ni,ni->n", z, np.linalg.solve(S, z.T).T)
        logs.append(np.log(share) - 0.5 * np.linalg.slogdet(2 * np.pi * S)[1] - 0.5 * quadratic)
    true = float(np.logaddexp.reduce(logs, axis=0).mean())
    assert true - 0.05 < found < true + 0.1
    assert rounds == list(range(1, 31))
    noisy = z + SIGMA * (n := rng.standard_normal(z.shape)) - SIGMA * n.mean(1, keepdims=True)
    experts = network.double()._experts(
        torch.zeros(1, 1, 3, 3).double(), torch.tensor([SIGMA]).double()
    )
    with torch.no_grad():
        f = experts.mean(torch.from_numpy(noisy).T[None])[0].T.numpy()
    best = np.array([_posterior_mean(one, pi, C) for one in noisy[:500]])
    error = np.mean((f[:500] - z[:500]) ** 2) / np.mean((best - z[:500]) ** 2)
    assert 0.98 < error < 1.02


@pytest.mark.parametrize(
    "patches", [torch.zeros(100, 8), torch.zeros(29, 9), torch.zeros(100, 3, 3)]
)
def test_patches_of_another_size_or_too_few_are_refused(patches) -> None:
    with pytest.raises(ValueError, match=r"expected patches of shape \(30 or more, 9\)"):
        fit_mixture(ConvexMixture(3, 3, 2), patches, np.random.default_rng(0))


@pytest.mark.parametrize("bad", [{"size": 4}, {"size": 1}, {"size": 3, "rank": 9}])
def test_arguments_of_no_mixture_are_refused(bad) -> None:
    with pytest.raises(ValueError, match="expected an odd size"):
        ConvexMixture(**bad)


def _tiny(steps: int = 6):
    lesson = ProximalMatching((Stage(steps - 2, 1e-3), Stage(2, 1e-4, 20.0)))
    photographs = Photographs(drawn=1, crop=24)
    course = image_course(PretrainedProximal.LPN_NATURAL)
    return replace(
        course, network=partial(ConvexMixture, 3, 4, 3), data=photographs, held_out=photographs,
        lesson=lesson, batch=2, patches=600,
    )  # fmt: skip


@pytest.mark.parametrize("when", [3, 33])
def test_training_goes_on_where_it_was_interrupted(when: int, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        assert total == 36
        if done == when:
            raise KeyboardInterrupt

    name, course = PretrainedProximal.LPN_NATURAL, _tiny()
    whole, _ = train_proximal_images(name, tmp_path / "a", taken=course, seed=3)
    every = replace(course.lesson.plan(ema=0.99, every=50), every=2)
    with pytest.MonkeyPatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(ProximalMatching, "plan", lambda self, **told: every)
        train_proximal_images(name, tmp_path / "b", taken=course, seed=3, progress=stop)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ProximalMatching, "plan", lambda self, **told: every)
        again, _ = train_proximal_images(name, tmp_path / "b", taken=course, seed=3, resume=True)
    first, second = load_file(whole), load_file(again)
    assert all(np.array_equal(first[key], second[key]) for key in first)
    about = read_card(whole)["about"]
    assert about["data"] == "1 images of dead leaves"
    assert len(about["held_out_psnr_db"]) == len(about["held_out_sigma"])
    assert load_proximal(whole).arguments["size"] == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", [p for p in PretrainedProximal if p.of_images],
                         ids=lambda p: p.value)  # fmt: skip
def test_training_anew_denoises_what_is_held_out(name: PretrainedProximal, tmp_path: Path) -> None:
    """The quick course with a smaller network and few procedural images, from another seed."""
    course = image_course(name, quick=True)
    data, held_out = (replace(source, drawn=6) for source in (course.data, course.held_out))
    small = partial(ConvexMixture, 5, 16, 8, sigmas=course.network().sigmas)
    tiny = replace(course, network=small, data=data, held_out=held_out, patches=10_000)
    weights, _ = train_proximal_images(name, tmp_path, taken=tiny, seed=1)
    about = read_card(weights)["about"]
    for sigma, found in zip(about["held_out_sigma"], about["held_out_psnr_db"], strict=True):
        if sigma >= 0.05:
            assert found > -20 * np.log10(sigma) + 5  # dB above the noisy images


def test_the_courses_take_files(shared_data: Path) -> None:
    images = shared_data / "images"
    natural = image_course(PretrainedProximal.LPN_NATURAL, files=(images / "moon.png",))
    assert "moon.png" in str(natural.data)
    pool = natural.data(np.random.default_rng(0))
    drawn = pool.drawn(np.random.default_rng(1), 3)
    assert drawn.shape == (3, 64, 64)
    assert not drawn.imag.any()
    head = shared_data / "mri_images" / "chris_t1.nii.gz"
    assert isinstance(image_course(PretrainedProximal.LPN_MRI, files=(head,)).data, Heads)
    with pytest.raises(ValueError, match="expected a grey image"):
        Photographs((head,))(np.random.default_rng(0))


@pytest.mark.parametrize(
    ("name", "folder"),
    [(PretrainedProximal.LPN_NATURAL, "images"), (PretrainedProximal.LPN_MRI, "mri_images")],
)
def test_cards_tell_what_was_done(name: PretrainedProximal, folder: str, shared_data: Path) -> None:
    path = weights_path(name)
    about = read_card(path)["about"]
    words = about["command"].split()
    seen, unseen = (
        tuple(shared_data / folder / word for flag, word in pairwise(words) if flag == known)
        for known in ("--images", "--test-images")
    )
    assert seen and unseen and not set(seen) & set(unseen)
    course = image_course(name, files=seen, judged=unseen)
    assert about["data"] == str(course.data) and about["held_out"] == str(course.held_out)
    assert about["stages"] == [repr(s) for s in course.lesson.stages]
    assert (about["batch"], about["patches"]) == (course.batch, course.patches)
    x = held_out_squares(course, about["seed"])
    now = mean_psnr(load_proximal(name), x, course.sigmas)
    assert now == pytest.approx(about["held_out_psnr_db"], abs=0.01)
    assert (np.array(now) > about["held_out_psnr_db_mixture"]).all()
    assert path.stat().st_size < 5e6


@pytest.mark.parametrize("part", ["nu", "more", "pi", "tau"])
def test_weights_whose_exponential_is_infinite_are_refused(part: str) -> None:
    network = ConvexMixture(3, 4, 2)
    assert network.infeasible() is None
    with torch.no_grad():
        getattr(network, part).fill_(9.5)
    assert network.infeasible() == part
    with pytest.raises(ValueError, match=part):
        LearnedProximal(network, Space((6, 6)), sigma=0.1)
