"""Every training goes on from its own checkpoint, and from no other's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sciml.datasets import ChannelConfig, ConDiffConfig
from sciml.io import FileError, write_image
from sciml.networks import (
    ChannelDenoiser,
    ConvexDense,
    ConvexMixture,
    Pretrained,
    PretrainedDenoiser,
    PretrainedPredictor,
    PretrainedProximal,
    SingleLevel,
    UNet,
)
from sciml.training import Plan, ProximalMatching, Stage
from solvers.cli import main
from solvers.cli import train as command
from solvers.neural.objective import Loss
from solvers.neural.origin import origin_of
from solvers.neural.proximal import Laplace, ProximalCourse, train_proximal
from solvers.neural.proximal_images import image_course, train_proximal_images
from solvers.neural.regression import Regression, train_predictor
from solvers.neural.score import ScoreCourse, train_denoiser
from solvers.neural.score_data import Channels, Photographs
from solvers.neural.systems import Boxes
from solvers.neural.train import Course, train_directions
from solvers.pinn.problems import CASES

PLAN = Plan(2, 1e-3, every=1)
LESSON = ProximalMatching((Stage(2, 1e-3),))
SITE = ChannelConfig(nt=8, nr=4)
BOX = Boxes(2, (8,), members=2, warm=0)
SQUARES = Photographs(drawn=1, crop=24)


@dataclass(frozen=True)
class Trainable:
    """train(name, folder, taken=course, ...); other: the course with other data or settings."""

    name: Any
    train: Callable[..., Any]
    course: Any
    other: Any
    differs: str


def registered(name: Any, train: Callable[..., Any], course: Any, differs: str, **other: Any):
    return Trainable(name, train, course, replace(course, **other), differs)


IMAGES = replace(
    image_course(PretrainedProximal.LPN_NATURAL), network=partial(ConvexMixture, 3, 4, 3),
    data=SQUARES, held_out=SQUARES, lesson=LESSON, batch=2, patches=600,
)  # fmt: skip
TRAINABLES = (
    registered(
        Pretrained.DCDM_2D, train_directions,
        Course(partial(SingleLevel, 2, 1, 1, 1, 4), BOX, BOX, PLAN, Loss.ENERGY),
        "data.members", data=replace(BOX, members=3),
    ),
    registered(
        PretrainedPredictor.CONDIFF_UNET_CUBIC, train_predictor,
        Regression(partial(UNet, 4, 1), ConDiffConfig.from_name("cubic0.1_grid32"), PLAN, 8, 4, 4),
        "samples", samples=9,
    ),
    registered(
        PretrainedDenoiser.SCORE_MIMO, train_denoiser,
        ScoreCourse(partial(ChannelDenoiser, 4, 8, 4, 1), Channels(SITE, 40), Channels(SITE, 10),
                    PLAN, batch=4, sigmas=(0.1,)),
        "data.snr_db", data=Channels(SITE, 40, 10.0),
    ),
    registered(
        PretrainedProximal.LPN_LAPLACE, train_proximal,
        ProximalCourse(partial(ConvexDense, 1, 8, 2), Laplace(), 1.0, LESSON, 50, 2, 2.0),
        "density.b", density=Laplace(2.0),
    ),
    registered(
        PretrainedProximal.LPN_NATURAL, train_proximal_images, IMAGES,
        "data.crop", data=replace(SQUARES, crop=23),
    ),
)  # fmt: skip
BY_NAME = {"ids": lambda t: t.name.value}


def test_every_kind_of_training_is_here() -> None:
    kinds = {type(t.name) for t in TRAINABLES}
    assert kinds == {Pretrained, PretrainedPredictor, PretrainedDenoiser, PretrainedProximal}
    assert {t.name.of_images for t in TRAINABLES if type(t.name) is PretrainedProximal} == {0, 1}


@pytest.mark.parametrize("one", TRAINABLES, **BY_NAME)
def test_only_the_same_training_goes_on(one: Trainable, tmp_path: Path) -> None:
    """A card would tell another seed, or other data, than its weights have seen."""
    weights, card = one.train(one.name, tmp_path, taken=one.course, seed=3)
    assert (tmp_path / command._kept(one.name.value)).exists()  # where the command looks
    before = weights.read_bytes(), card.read_bytes()
    with pytest.raises(FileError, match="with seed 4, got one with 3: resume with"):
        one.train(one.name, tmp_path, taken=one.course, seed=4, resume=True)
    with pytest.raises(FileError, match=f"training with {one.differs} .*, got one with"):
        one.train(one.name, tmp_path, taken=one.other, seed=3, resume=True)
    assert (weights.read_bytes(), card.read_bytes()) == before
    again, _ = one.train(one.name, tmp_path, taken=one.course, seed=3, resume=True)
    assert again.read_bytes() == before[0]


def test_files_count_by_what_is_in_them(tmp_path: Path) -> None:
    def of(path: Path) -> dict[str, Any]:
        return origin_of(0, replace(IMAGES, data=Photographs((path,), 1, 24)))

    first, moved, other = (tmp_path / f"{name}.npy" for name in "abc")
    write_image(first, np.zeros((24, 24), np.float32))
    moved.write_bytes(first.read_bytes())
    write_image(other, np.ones((24, 24), np.float32))
    assert of(first) == of(moved) != of(other)


@pytest.mark.parametrize("name", [*(t.name.value for t in TRAINABLES), "multigrid-2d",
                                  *(f"pinn-{case}" for case in list(CASES)[:1])])  # fmt: skip
def test_the_command_says_when_there_is_nothing(name, tmp_path, monkeypatch, capsys) -> None:
    for each in ("_network", "_denoiser", "_proximal", "_multigrid", "_case"):
        monkeypatch.setattr(f"solvers.cli.train.{each}", lambda *a: ([], ()))
    words = ["train", name, "--out", str(tmp_path)]
    assert main(words) == 0 and "begins anew" not in capsys.readouterr().err
    assert main([*words, "--resume"]) == 0
    assert f"nothing to resume from in {tmp_path}: {name} begins anew" in capsys.readouterr().err
    (tmp_path / command._kept(name)).touch()
    assert main([*words, "--resume"]) == 0 and "begins anew" not in capsys.readouterr().err
