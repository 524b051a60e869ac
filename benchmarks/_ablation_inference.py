"""What a call of a shipped network costs in other layouts, precisions and compiled."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from sciml import LinearSystem, Stop, solve
from sciml.networks import Pretrained, load_network
from solvers import NeuralDirections, learned
from solvers.bench.neural_systems import Source, case
from solvers.neural.learned import Learned

__all__ = ["measure_inference"]

_GRIDS = {2: (256, 256), 3: (64, 64, 64)}
_REPEATS = 5
_MOST = 200  # steps
_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


def _laid(last: bool) -> Callable[[Learned], None]:
    def change(M: Learned) -> None:
        layout = _LAST[M.network.ndim] if last else torch.contiguous_format
        M.network.to(memory_format=layout)  # type: ignore[call-overload]

    return change


def _compiled(M: Learned) -> None:
    _laid(not M.network.conditioned)(M)
    M.network.compile(dynamic=False)


# Name -> whether in bfloat16, and what is done to the network made ready.
_WAYS: dict[str, tuple[bool, Callable[[Learned], None]]] = {
    "float32": (False, _laid(False)),
    "float32, channels last": (False, _laid(True)),
    "bfloat16": (True, _laid(False)),
    "bfloat16, channels last": (True, _laid(True)),
    "float32, compiled": (False, _compiled),
    "bfloat16, compiled": (True, _compiled),
}


def measure_inference(names: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(key, row of the table), network by network; a way that does not run says why.

    Processor time of one thread, so that others' work on the machine tells less.
    """
    for name in map(Pretrained, names):
        network = load_network(name)
        kind = case("box", _GRIDS[network.ndim], Source.SMOOTH)
        assert kind is not None
        system = next(iter(kind.systems(1, seed=7)))
        A, b = system.operator(), system.rhs
        product = _median(lambda A=A, b=b: A(b), 20 * _REPEATS)
        for way, (bfloat16, change) in _WAYS.items():
            if change is _compiled and network.ndim == 3:
                continue  # compiling takes minutes
            M = learned(A, copy.deepcopy(network), bfloat16=bfloat16)
            grid = "×".join(map(str, kind.shape))
            row: dict[str, Any] = {"network": name.value, "grid": grid, "way": way}
            change(M)
            try:
                call = _median(lambda M=M, b=b: M(b), _REPEATS)
            except Exception as error:  # a compiler's backends raise what they like
                if change is not _compiled:
                    raise
                why = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
                yield f"{name.value}, {way}", row | {"ms": "–", "products": "–", "steps": why}
                continue
            solver = NeuralDirections(network, bfloat16=bfloat16, M=M, safeguard=False)
            stop = Stop(rtol=1e-8, max_iters=_MOST)
            result = solve(LinearSystem(A, b), solver, stop=stop, throw=False)
            steps = str(result.iterations) if result.ok else f"over {_MOST}"
            yield (
                f"{name.value}, {way}",
                row | {"ms": 1e3 * call, "products": call / product, "steps": steps},
            )


def _median(run: Callable[[], object], repeats: int) -> float:
    run(), run()
    times = []
    for _ in range(repeats):
        began = time.process_time()
        run()
        times.append(time.process_time() - began)
    return float(np.median(times))
