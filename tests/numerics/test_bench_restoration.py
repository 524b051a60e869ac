"""`sciml bench deblur`: all methods see the same y, and the learned prior no truth."""

from __future__ import annotations

import importlib
import json
import re
import signal
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from sciml import Stop, solve
from sciml.io import FileError
from sciml.io.images import write_image
from sciml.networks import ConvexMixture, PretrainedProximal, read_card, save_network, weights_path
from sciml.priors import TotalVariation
from solvers import ADMM
from solvers.bench import restoration_methods
from solvers.bench.held_out import need_unseen
from solvers.bench.restoration import (
    DEGRADATIONS,
    _case,
    _psnr,
    crops_of,
    read_crops,
    run_restoration,
)
from solvers.bench.restoration_methods import METHODS, Restored, learned, restorers, tuned
from solvers.bench.restoration_report import LEARNED, MEASURED, Row, _ends
from solvers.cli import main
from solvers.neural.score_data import Photographs

NETWORK = ConvexMixture(3, 4, 2)


def scene(n: int) -> np.ndarray:
    """Discs and a slope."""
    y, x = np.mgrid[:n, :n] / n
    image = 0.3 + 0.2 * x + 0.4 * (np.hypot(x - 0.4, y - 0.5) < 0.3)
    return (image - 0.25 * (np.hypot(x - 0.7, y - 0.3) < 0.15)).astype(np.float32)


IMAGES = crops_of("scene", scene(32), 32, 1)
SMALL = crops_of("scene", scene(20), 20, 1)


@pytest.mark.parametrize("problem", DEGRADATIONS)
def test_every_method_improves_on_what_was_measured(problem: str, monkeypatch) -> None:
    monkeypatch.setattr(restoration_methods, "_ROUND", 20)
    report = run_restoration(SMALL, NETWORK, problems=[problem], max_iters=6)
    psnr = {row.method: row.psnr for row in report.rows}
    assert set(psnr) == {MEASURED, *METHODS} - (set() if "ct" in problem else {"fbp"})
    assert psnr["tv"] > psnr[MEASURED] + 0.5
    if problem != "cs":  # which takes some hundred iterations
        assert psnr[LEARNED] > psnr[MEASURED]
    (mine,) = report.of(problem, LEARNED)
    level = max(0.01, DEGRADATIONS[problem].factor * DEGRADATIONS[problem].sigma)
    assert mine.certificate["level"] == pytest.approx(level)
    assert np.isfinite(mine.certificate["residual"]) and mine.iterations > 0


def test_blur_converges_to_a_certified_fixed_point() -> None:
    one = {LEARNED: restorers(NETWORK)[LEARNED]}
    report = run_restoration(IMAGES, NETWORK, problems=["deblur-1.6"], methods=one)
    (row,) = report.of("deblur-1.6", LEARNED)
    assert row.status == "CONVERGED" and row.certificate["residual"] <= 1e-5
    assert row.certificate["fixed_point"] < 1e-4
    assert row.certificate["proven"] is False  # rho < L at this noise level, and so it is said
    assert "do not hold" in row.certificate["explained"]


def test_the_learned_prior_never_asks_for_the_truth_and_rivals_take_their_best() -> None:
    def closed(image: np.ndarray) -> float:
        raise AssertionError("the truth was asked for")

    seen = []

    def peek(case, judge):
        seen.append(learned(case, closed, network=NETWORK))
        found = [restorers(NETWORK)["tv"](case, judge)]
        weights = [found[0].weight / 2, 2 * found[0].weight]
        assert all(judge(_tv(case, w)) <= judge(found[0].image) + 1e-3 for w in weights)
        return found[0]

    report = run_restoration(
        IMAGES, NETWORK, problems=["deblur-1.0"], methods={"peek": peek}, max_iters=30
    )
    assert seen[0].weight is None and report.of("deblur-1.0", "peek")[0].weight > 0


@pytest.mark.parametrize("best", [3e-3, 1.0, 4.0, 5.6, 100.0])
def test_weights_are_searched_on_both_sides(best: float, monkeypatch) -> None:
    """PSNR falls by 3 dB an octave on both sides of a weight, in units of ||A|| / sigma."""
    case = _case(DEGRADATIONS["deblur-1.0"], scene(16), (0, 0), 1e-5, 5)
    unit = case.A.norm_bound / case.sigma
    monkeypatch.setattr(
        restoration_methods, "_run",
        lambda case, judge, weight, *_: Restored(np.array(weight / unit), weight, 0.0),
    )  # fmt: skip
    found = tuned(
        case, lambda image: -3 * abs(np.log2(image / best)), prior=lambda case, w: w,
        solver=lambda problem: None,
    )  # fmt: skip
    assert abs(np.log2(found.weight / unit / best)) <= 0.2501


def test_rivals_run_until_they_stand_still() -> None:
    """On cs a tolerance of the residual would be met at once: many more iterations, and another
    split, find the same."""
    case = _case(DEGRADATIONS["cs"], scene(32), (0, 0), 1e-5, 500)
    judge = partial(_psnr, scene(32))
    found = restorers(NETWORK)["tv"](case, judge)
    assert found.status == "STANDS STILL" and found.weight > 0
    problem = case.problem(TotalVariation(found.weight, case.A.domain))
    stop = Stop(rtol=1e-12, max_iters=2000)
    method = ADMM(rho=100 * found.weight * problem.step)
    other = solve(problem, method, x0=case.first, stop=stop, throw=False).x
    assert judge(found.image) == pytest.approx(judge(other), abs=0.1)


@pytest.mark.parametrize("method", METHODS[:2] + METHODS[3:])
def test_ctrl_c_is_not_swallowed(method: str, monkeypatch) -> None:
    calls = []

    def press(image: np.ndarray) -> float:
        raise KeyboardInterrupt

    def pressed(self, look) -> None:
        calls.append(1)
        if len(calls) > 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(restoration_methods.Watch, "__call__", pressed)
    case = _case(DEGRADATIONS["deblur-1.0"], scene(16), (0, 0), 1e-9, 50)
    with pytest.raises(KeyboardInterrupt):
        restorers(NETWORK)[method](case, press)


def test_a_start_that_is_near_enough_is_a_row() -> None:
    case = _case(DEGRADATIONS["deblur-1.0"], scene(16), (0, 0), 10.0, 50)
    found = learned(case, lambda image: 0.0, network=NETWORK)
    assert found.status == "CONVERGED" and np.isnan(found.certificate["fixed_point"])


@pytest.mark.parametrize("watched", ["Watch", "judge"])
def test_watching_and_judging_are_not_in_the_seconds(watched: str, monkeypatch) -> None:
    """By a clock that goes on while these are at work alone."""
    now, calls = [0.0], []

    def at_work(*_) -> float:
        calls.append(1)
        now[0] += 1.0
        return float(len(calls) < 4)

    case = _case(DEGRADATIONS["deblur-1.0"], scene(16), (0, 0), 1e-9, 3)
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    if watched == "Watch":
        own = restoration_methods.Watch.__call__
        monkeypatch.setattr(
            restoration_methods.Watch, "__call__", lambda *a: (at_work(), own(*a))[1]
        )
        found = learned(case, lambda image: 0.0, network=NETWORK)
    else:
        monkeypatch.setattr(restoration_methods, "_ROUND", 2)
        found = restorers(NETWORK)["tv"](case, at_work)
    assert calls and found.seconds == 0.0


def _tv(case, weight: float) -> np.ndarray:
    from solvers import PrimalDual

    problem = case.problem(TotalVariation(weight, case.A.domain))
    stop = Stop(rtol=1e-4, max_iters=case.max_iters)
    return solve(problem, PrimalDual(), x0=case.first, stop=stop, throw=False).x


def test_equal_seeds_measure_alike_whatever_runs_beside() -> None:
    def first(case, judge):
        return Restored(case.y.reshape(-1)[:4], None, 0.0) and Restored(case.first, None, 0.0)

    alone = run_restoration(IMAGES, NETWORK, problems=["cs"], methods={"a": first}, seed=3)
    beside = run_restoration(
        IMAGES, NETWORK, problems=["sr", "cs"], methods={"b": first, "a": first}, seed=3
    )
    other = run_restoration(IMAGES, NETWORK, problems=["cs"], methods={"a": first}, seed=4)
    (one,), (two,), (three,) = (r.of("cs", "a") for r in (alone, beside, other))
    assert one.psnr == two.psnr != three.psnr


def test_interruption_keeps_what_is_complete(tmp_path: Path) -> None:
    def stop(case, judge):
        raise KeyboardInterrupt

    def first(case, judge):
        return Restored(case.first, None, 0.0)

    report = run_restoration(
        IMAGES, NETWORK, problems=["sr"], methods={"first": first, "stop": stop}
    )
    assert report.interrupted and [row.method for row in report.rows] == [MEASURED, "first"]
    paths = report.write(tmp_path)
    assert "Interrupted" in paths[1].read_text()


def test_gains_are_of_the_same_images() -> None:
    def shifted(by: float):
        return lambda case, judge: Restored(case.first + np.float32(by), None, 0.0)

    images = crops_of("scene", scene(48), 32, 2)
    methods = {"tv": shifted(0.3), LEARNED: shifted(0.0)}
    report = run_restoration(images, NETWORK, problems=["sr"], methods=methods)
    gain = report.above("sr", "tv")
    rows = [(a.psnr, b.psnr) for a, b in zip(*(report.of("sr", m) for m in methods), strict=True)]
    np.testing.assert_allclose(gain, [b - a for a, b in rows])
    assert len(gain) == 2 and (gain > 1).all()


def test_methods_for_other_problems_are_named() -> None:
    def first(case, judge):
        return Restored(case.first, None, 0.0)

    report = run_restoration(
        IMAGES, NETWORK, problems=["sr"], methods={"first": first, "fbp": restorers(NETWORK)["fbp"]}
    )
    assert report.left_out() == ["fbp"] and report.methods == [MEASURED, "first"]
    text = report.markdown()
    assert "## Means over images" in text  # and no table without rows
    assert "## The learned prior" not in text and "## Certificates" not in text


def test_endings_are_counted() -> None:
    def ends(status: str):
        return [Row("sr", "a", "m", 1.0, 1.0, None, 1.0, 1, one) for one in status.split()]

    assert _ends(ends("CONVERGED CONVERGED")) == "CONVERGED"
    assert _ends(ends("MAX_ITERS CONVERGED CONVERGED")) == "2 CONVERGED, 1 MAX_ITERS"


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ({"problems": ["unblur"]}, "deblur-1.6"),
        ({"problems": []}, "problem"),
        ({"problems": ["sr", "sr"]}, "again"),
        ({"methods": {}}, "method"),
        ({"images": {}}, "image"),
        ({"images": {"wide": np.zeros((32, 32))}}, "float32"),
        ({"images": {"small": np.zeros((8, 8), np.float32)}}, "16"),
    ],
)
def test_bad_arguments_are_refused(bad: dict, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        run_restoration(bad.pop("images", IMAGES), NETWORK, **bad)


@pytest.mark.parametrize(
    ("image", "size", "count", "told"),
    [
        (np.full((40, 40), 2.0), 32, 1, "0 to 1"),
        (np.zeros((40, 40)), 32, 1, "0 to 1"),
        (np.ones((40, 20)), 32, 1, "32 x 32"),
        (np.ones((40, 40, 3)), 32, 1, "32 x 32"),
        (np.ones((40, 40)), 8, 1, "size"),
        (np.ones((40, 40)), 32, 6, "five|up to 5"),
    ],
)
def test_crops_that_cannot_be_are_refused(
    image: np.ndarray, size: int, count: int, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        crops_of("it", image, size, count)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("restoration")
    save_network(folder / "own.safetensors", NETWORK, {"command": "python mine.py", "data": "none"})
    write_image(folder / "scene.npy", scene(40))
    return folder


def test_the_command_writes_a_report(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.setattr(restoration_methods, "_ROUND", 10)
    words = ["bench", "deblur", str(files / "scene.npy"), "--size", "16", "--crops", "2"]
    words += ["--weights", str(files / "own.safetensors"), "--max-iters", "2"]
    words += ["--problem", "deblur-1.6", "--problem", "ct-60", "--out", str(files / "report")]
    assert main(words) == 0
    record = json.loads((files / "report" / "restoration.json").read_text())
    assert {row["method"] for row in record["rows"]} == {MEASURED, *METHODS}
    assert len(record["images"]) == 2 and set(record["problems"]) == {"deblur-1.6", "ct-60"}
    mine = [row for row in record["rows"] if row["method"] == LEARNED]
    assert all({"residual", "fixed_point", "proven"} <= row["certificate"].keys() for row in mine)
    text = (files / "report" / "restoration.md").read_text()
    for part in ("above its rivals", "Certificates", "Every image", "scene-2", "asked of tv"):
        assert part in text
    card = read_card(files / "own.safetensors")
    assert card["about"]["command"] in text and card["sha256"] in text
    assert "this table" not in text
    assert any(card["sha256"] in note for note in record["notes"])
    assert (files / "report" / "restoration.png").stat().st_size > 10_000
    heading, *lines = capsys.readouterr().out.splitlines()
    names = ["problem", "method", "PSNR, dB", "SSIM", "iterations", "seconds", "status"]
    assert re.split("  +", heading) == names
    ends = {tuple(line.split()[:2]): line[heading.index("status") :] for line in lines}
    assert ends["ct-60", "fbp"] == "closed form" and ends["ct-60", MEASURED] == ""
    assert ends["deblur-1.6", LEARNED] == "MAX_ITERS"
    assert main(["bench", "deblur", "--list"]) == 0
    assert "deblur-1.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--problem", "unblur"], "--list"),
        (["--methods", "magic"], "--list"),
        (["--size", "64"], "--size|smaller"),
        (["--rtol", "-1"], "--rtol"),
        (["--weights", "nowhere.safetensors"], "nowhere"),
        (["--methods", "fbp"], "none applies"),
    ],
)
def test_the_command_refuses_in_words(
    files: Path, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["bench", "deblur", str(files / "scene.npy"), "--size", "32", "--out", str(files / "r")]
    own = ["--weights", str(files / "own.safetensors")]
    assert main([*base, *own, *words]) == 2
    error = capsys.readouterr().err
    assert any(part in error for part in told.split("|")), error
    assert not (files / "r").exists()


def test_the_command_wants_an_image_and_a_folder(files: Path) -> None:
    assert main(["bench", "deblur", "--out", str(files / "r")]) == 2
    assert main(["bench", "deblur", str(files / "scene.npy")]) == 2


def test_what_the_network_has_learned_from_is_refused_by_its_bytes(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A new name does not help, and another file may have the old one."""
    learned_from = files / "astronaut.npy"
    write_image(learned_from, scene(33))
    about = {"data": f"{Photographs((files / 'scene.npy', learned_from))}"}
    save_network(files / "card.safetensors", NETWORK, about)
    renamed = learned_from.rename(files / "holiday.npy")
    with pytest.raises(FileError, match=r"holiday.npy: .*astronaut.npy of its training"):
        read_crops([renamed], 32, 1, about)
    write_image(learned_from, scene(34))
    assert list(read_crops([learned_from], 32, 1, about)) == ["astronaut-1"]
    assert list(read_crops([renamed], 32, 1, {})) == ["holiday-1"]  # a card without check sums

    words = ["bench", "deblur", str(renamed), "--size", "32", "--out", str(files / "seen")]
    assert main([*words, "--weights", str(files / "card.safetensors")]) == 2
    assert "holiday.npy: expected an image that the network has not seen" in capsys.readouterr().err


def test_the_shipped_network_knows_its_photographs(shared_data: Path) -> None:
    about = read_card(weights_path(PretrainedProximal.LPN_NATURAL))["about"]
    folder = shared_data / "images"
    for name in re.findall(r"(\w+\.png) \(", about["data"]):
        with pytest.raises(FileError, match=name):
            need_unseen(folder / name, about)
    for name in ("camera.png", "chelsea.png", "coins.png"):
        need_unseen(folder / name, about)


def test_the_script_measures_further_images_beside_the_first(
    files: Path, tmp_path: Path, monkeypatch
) -> None:
    folder = Path(__file__).parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(folder)
    script = importlib.import_module("restoration")
    monkeypatch.setattr(script, "RESULTS", tmp_path)
    words = ["--images", str(files / "scene.npy"), "--size", "16", "--problems", "deblur-1.0"]
    words += ["--weights", str(files / "own.safetensors"), "--max-iters", "2"]
    monkeypatch.setattr(sys, "argv", ["restoration.py", *words, "--name", "second"])
    script.main()
    assert {path.name for path in tmp_path.iterdir()} == {
        f"second.{s}" for s in ("json", "md", "png")
    }
    save_network(
        files / "own2.safetensors", NETWORK, {"data": str(Photographs((files / "scene.npy",)))}
    )
    monkeypatch.setattr(
        sys, "argv", ["restoration.py", *words, "--weights", str(files / "own2.safetensors")]
    )
    with pytest.raises(SystemExit, match="has not seen"):
        script.main()
