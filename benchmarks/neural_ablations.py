"""What makes learned directions better or worse, one thing at a time.

    OMP_NUM_THREADS=1 python benchmarks/neural_ablations.py
        [--minutes 2.5] [--seeds 0] [--arms NAME ...] [--sizes 64 128 256 512] [--anew]

Each arm changes one thing of its base and is trained for the same processor time, from the same
seed, on one thread. It is measured on systems that training has not seen. Finished arms are read
back from results/neural_ablations.json unless --anew is given. Writes that file and the tables
in results/neural_ablations.md.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from _ablation_arms import ARMS, Absolute, Arm
from _ablation_inference import measure_inference
from _ablation_report import ablation_markdown
from _report import RESULTS

from sciml import LinearSystem, Stop, solve
from sciml.io import atomic_file, write_json
from sciml.networks import DirectionNetwork
from sciml.operators import Diffusion, NodalDiffusion, Side
from sciml.training import train
from solvers import NeuralDirections
from solvers.bench.neural_systems import PressureSystem, Source, case
from solvers.bench.report import machine, today, versions
from solvers.neural.objective import trajectory_loss
from solvers.neural.train import Course, untrained

_NAME = "neural_ablations"
_BOXES, _FIELDS = ("box", "ball"), ("gaussian1.0",)
_PILOT = 12  # steps that are timed to find how many the time allows
_CALLS, _FEWER_CALLS = 250, 100  # most steps without a safeguard, up to 256² and above
_MOST = 1000  # steps with one
_WINDOW = 16  # of the safeguard, on every grid
_SCALES = (1.0, 100.0)
_INFERENCE = ("dcdm-2d", "directions-2d", "dcdm-3d", "directions-3d")


@dataclass(frozen=True)
class Settings:
    """What a record must have been made with to be read back."""

    minutes: float
    sizes: tuple[int, ...]
    samples: int


def trained(chosen: Course, minutes: float, seed: int) -> tuple[DirectionNetwork, dict[str, Any]]:
    """A network after so many minutes of processor time, and what they were spent on."""
    drawn, first, _ = np.random.SeedSequence(seed).spawn(3)
    network = untrained(chosen.network, first)
    if chosen.bfloat16:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    how = {"horizon": chosen.horizon, "loss": chosen.loss, "bfloat16": chosen.bfloat16}
    loss = partial(trajectory_loss, **how)

    def run(module: Any, steps: int) -> tuple[float, np.ndarray]:
        began = time.process_time()
        plan = replace(chosen.plan, steps=steps)
        done = train(module, loss, chosen.data, plan=plan, rng=np.random.default_rng(drawn))
        return time.process_time() - began, done.losses

    run(copy.deepcopy(network), 2)  # compiles what there is to compile
    pilot, _ = run(copy.deepcopy(network), _PILOT)
    steps = max(1, round(60 * minutes * _PILOT / pilot))
    seconds, losses = run(network, steps)
    tenth = max(1, steps // 10)
    return network, {
        "steps": steps,
        "seconds": round(seconds, 1),
        "loss_first": float(losses[:tenth].mean()),
        "loss_last": float(losses[-tenth:].mean()),
    }


def solved(
    system: Any, network: DirectionNetwork, size: int, *, guarded: bool, bfloat16: bool
) -> dict[str, Any]:
    """Steps to 1e-4 and 1e-8, None where they are not reached, and the steps not the network's."""
    most = _MOST if guarded else _CALLS if size <= 256 else _FEWER_CALLS
    solver = NeuralDirections(network, safeguard=guarded, window=_WINDOW, bfloat16=bfloat16)
    problem = LinearSystem(system.operator(), system.rhs)
    result = solve(problem, solver, stop=Stop(rtol=1e-8, max_iters=most), throw=False)
    found: dict[str, Any] = {"most": most, "fallbacks": result.applies.fallbacks}
    for rtol in (1e-4, 1e-8):
        reached = np.flatnonzero(result.history.ravel() <= rtol)
        found[f"{rtol:.0e}"] = int(result.looks[reached[0]]) if reached.size else None
    if found["1e-08"] is not None and not result.ok:  # the recurrence says so, the truth does not
        found["1e-08"] = None
    return found


def measured(
    arm: Arm, network: DirectionNetwork, sizes: tuple[int, ...], samples: int, bfloat16: bool
) -> dict[str, Any]:
    """Every system's steps, by the name of its case."""
    found: dict[str, Any] = {}
    for name in (*_BOXES, *(_FIELDS if arm.fields else ())):
        for size in sizes:
            for source in Source:
                kind = case(name, (size, size), source)
                assert kind is not None
                rows = []
                for system in kind.systems(samples if size <= 128 else 1, seed=7):
                    ways = {
                        way: solved(system, network, size, guarded=guarded, bfloat16=bfloat16)
                        for way, guarded in (("guarded", True), ("unguarded", False))
                    }
                    rows.append(ways)
                found[f"{name}, {source.value}, {size}"] = rows
    return found


def scaled(network: DirectionNetwork, bfloat16: bool) -> dict[str, Any]:
    """Steps for s·A, by s, around a ball and where k varies."""
    found: dict[str, Any] = {}
    for name in ("ball", "gaussian1.0"):
        kind = case(name, (128, 128), Source.RANDOM)
        assert kind is not None
        system = next(iter(kind.systems(1, seed=7)))
        for s in _SCALES:
            own = copy.deepcopy(network)
            if isinstance(own, Absolute):
                own.factor = s
            if isinstance(system, PressureSystem):
                k = np.full_like(system.k, s)
                A: Any = Diffusion(k, boundary=Side.NEUMANN, solid=system.solid)
            else:
                A = NodalDiffusion(s * system.k)
            at = _At(A, system.rhs)
            found[f"{name}, {s:g}"] = solved(at, own, 128, guarded=False, bfloat16=bfloat16)
    return found


@dataclass(frozen=True, eq=False)
class _At:
    A: Any
    rhs: np.ndarray

    def operator(self) -> Any:
        return self.A


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=2.5, help="of training, for each arm")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--arms", nargs="*", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--sizes", nargs="+", type=int, default=[64, 128, 256, 512])
    parser.add_argument("--samples", type=int, default=3, help="systems up to 128², else one")
    parser.add_argument(
        "--inference", nargs="*", choices=_INFERENCE, default=[], metavar="NAME",
        help="time calls of these networks in other precisions and layouts",
    )  # fmt: skip
    parser.add_argument("--anew", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    settings = Settings(asked.minutes, tuple(asked.sizes), asked.samples)
    for seed in asked.seeds:
        for arm in map(ARMS.get, asked.arms):
            assert arm is not None
            key = f"{arm.name}, seed {seed}"
            wanted = json.loads(json.dumps(asdict(settings)))
            if not asked.anew and kept()["arms"].get(key, {}).get("settings") == wanted:
                continue
            chosen = arm.course()
            network, training = trained(chosen, asked.minutes, seed)
            print(f"{key}: {training}", flush=True)
            record = {"arm": arm.name, "seed": seed, "settings": wanted, "training": training}
            record["parameters"] = sum(p.numel() for p in network.parameters())
            bf = chosen.bfloat16
            record["cases"] = measured(arm, network, settings.sizes, settings.samples, bf)
            record["scales"] = scaled(network, bf) if arm.fields else {}
            keep("arms", key, record)
    for key, record in measure_inference(asked.inference):
        keep("inference", key, record)
    if not asked.arms and not asked.inference:
        write(kept())


def kept() -> dict[str, Any]:
    """What is finished so far."""
    path = RESULTS / f"{_NAME}.json"
    empty: dict[str, Any] = {"arms": {}, "inference": {}}
    return empty | (json.loads(path.read_text(encoding="utf-8")) if path.exists() else {})


def keep(part: str, key: str, record: dict[str, Any]) -> None:
    """Add it to the results, and write the tables anew."""
    found = kept()
    found[part][key] = record
    write(found | {"date": today(), "machine": machine(), "versions": versions()})


def write(found: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / f"{_NAME}.json", found)
    with atomic_file(RESULTS / f"{_NAME}.md", text=True) as handle:
        handle.write(ablation_markdown(found))


if __name__ == "__main__":
    main()
