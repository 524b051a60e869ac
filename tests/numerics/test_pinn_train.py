"""Training the problems by name: resumed, interrupted, from the command line."""

from __future__ import annotations

import json

import pytest

from sciml.io import FileError
from solvers.cli._app import run
from solvers.pinn.gauss_newton import Ended, minimise
from solvers.pinn.problems import CASES, certificate, relative_error
from solvers.pinn.train import load_trained, train_case


def test_a_resumed_training_ends_with_the_same_bits(dde, tmp_path):
    name = "poisson-1d-sine"
    whole = train_case(name, tmp_path / "a", steps=12)
    train_case(name, tmp_path / "b", steps=5)
    again = train_case(name, tmp_path / "b", steps=12, resume=True)
    assert whole[0].read_bytes() == again[0].read_bytes()
    assert [p.name for p in again] == [f"pinn-{name}.{e}" for e in ("safetensors", "json", "png")]
    about = json.loads(again[1].read_text())["about"]
    assert about["steps"] == 12 and about["seconds"] > 0
    assert about["command"] == f"train_case('{name}', out, steps=12, seed=0)"
    case, model = load_trained(again[0])
    assert relative_error(case, model.predict) == pytest.approx(about["error"], rel=1e-6)
    assert certificate(case, model.predict).residual == pytest.approx(about["residual"], rel=1e-3)


def test_an_interrupted_training_can_be_resumed(dde, tmp_path):
    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_case("poisson-1d-sine", tmp_path, steps=6, progress=stop)
    assert [p.suffix for p in tmp_path.iterdir()] == [".safetensors"]
    half = train_case("poisson-1d-sine", tmp_path, steps=6, resume=True)
    whole = train_case("poisson-1d-sine", tmp_path / "whole", steps=6)
    assert half[0].read_bytes() == whole[0].read_bytes()


def test_bad_input_of_the_training_is_refused(dde, tmp_path):
    with pytest.raises(ValueError, match="expected one of"):
        train_case("wave", tmp_path)
    with pytest.raises(ValueError, match="steps"):
        train_case("heat", tmp_path, steps=0)
    written = train_case("poisson-1d-sine", tmp_path, steps=1, resume=True)  # there is nothing yet
    with pytest.raises(FileError, match="from seed 1"):
        train_case("poisson-1d-sine", tmp_path, steps=1, seed=1, resume=True)
    card = json.loads(written[1].read_text())
    written[1].write_text(json.dumps({**card, "case": "heat"}))
    with pytest.raises(FileError, match="check sum"):
        load_trained(written[0])


def test_the_command_trains(dde, tmp_path, capsys):
    assert run(["train", "pinn-poisson-1d-sine", "--quick", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "residual" in printed and "pinn-poisson-1d-sine.safetensors" in printed
    about = json.loads((tmp_path / "pinn-poisson-1d-sine.json").read_text())["about"]
    assert about["command"] == "sciml train pinn-poisson-1d-sine --quick --seed 0"
    assert about["model"] == CASES["poisson-1d-sine"].model
    assert run(["train", "--list"]) == 0
    listed = capsys.readouterr().out
    assert all(f"pinn-{name}" in listed for name in CASES)


def test_an_interrupted_command_says_how_to_go_on(dde, tmp_path, monkeypatch, capsys):
    def stopped(*words, **named):
        return minimise(*words, **{**named, "iterations": 1})[0], Ended.INTERRUPTED

    def at_once(*words, **named):
        raise KeyboardInterrupt

    command = ["train", "pinn-poisson-1d-sine", "--out", str(tmp_path)]
    monkeypatch.setattr("solvers.pinn.train.minimise", at_once)
    assert run(command) == 130 and "--resume" not in capsys.readouterr().err
    monkeypatch.setattr("solvers.pinn.train.minimise", stopped)
    assert run(command) == 130
    assert "go on with --resume" in capsys.readouterr().err
