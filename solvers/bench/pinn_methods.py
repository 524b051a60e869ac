"""How `run_pinn` trains: DeepXDE's optimisers as its documentation and papers set them, and ours.

Every method gets the same model, from the same seed: network, first weights, points and float64.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from ..pinn.deepxde import double_precision, load_deepxde, precondition, seeded
from ..pinn.problems import Case, Certificate, Predict, certificate, relative_error

__all__ = ["ADAM", "METHODS", "OURS", "SECOND_ORDER", "Method", "Trained", "marks", "train"]

OURS = "gauss-newton"
ADAM = ("adam", "adam-decay")
SECOND_ORDER = ("adam-lbfgs", "nncg")

_ENDLESS = 10**9
_RATE = 1e-3
# Shares of the time: of Adam before L-BFGS; of Adam, then L-BFGS, before NNCG.
_BEFORE_LBFGS = 0.1
_BEFORE_NNCG = 0.1, 0.5
_LBFGS_SCALE = 1e8  # of the loss
_LBFGS_BLOCK = 30  # iterations between two looks at the clock
_TOLD = (10.0, 60.0, 300.0)


def marks(seconds: float) -> tuple[float, ...]:
    """The times at which an error is recorded: steps of 1.5, and 10, 60 and 300 s; the last is
    `seconds`."""
    steps = [seconds / 1.5**k for k in range(12)]
    return tuple(sorted({*steps, *(t for t in _TOLD if t < seconds)}))


class Course:
    """The errors of one training at given times, on a clock that stands while they are evaluated.

    What counts at a time is the state after the last step that had ended by then. The clock is
    processor time: all run on one thread, and other programs do not change it.

    Args:
        times: rising. error: model -> relative error.
    """

    def __init__(self, times: tuple[float, ...], error: Callable[[Any], float]) -> None:
        self.times, self._error = times, error
        self.errors: list[float] = []
        self.iterations: list[int] = []
        self.seconds = 0.0
        self._used, self._since = 0.0, time.process_time()
        self._before: tuple[list[torch.Tensor], int] | None = None

    @property
    def used(self) -> float:
        """Seconds of training so far."""
        return self._used + time.process_time() - self._since

    def look(self, model: Any) -> None:
        """To be called after each step, and once before the first."""
        self._used = self.used
        while len(self.errors) < len(self.times) and self._used > self.times[len(self.errors)]:
            self._record(model)
        weights = [p.detach().clone() for p in model.net.parameters()]
        self._before = weights, model.train_state.step or 0
        self._since = time.process_time()

    def close(self, model: Any) -> None:
        """The training is over; later times have the last state."""
        self.seconds = self.used
        while len(self.errors) < len(self.times):
            self._record(model)

    def _record(self, model: Any) -> None:
        if self._before is None:
            self._before = [p.detach().clone() for p in model.net.parameters()], 0
        weights, step = self._before
        now = [p.detach().clone() for p in model.net.parameters()]
        _assign(model, weights)
        self.errors.append(self._error(model))
        self.iterations.append(step)
        _assign(model, now)


def _assign(model: Any, weights: list[torch.Tensor]) -> None:
    with torch.no_grad():
        for p, w in zip(model.net.parameters(), weights, strict=True):
            p.copy_(w)


def _outputs(model: Any) -> Predict:
    """Its network as a function; `model.predict` asks for a compiled model."""

    def predict(points: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return model.net(torch.from_numpy(points)).numpy()

    return predict


@dataclass(frozen=True)
class Method:
    """told: in words. run: trains a model until the course's last time."""

    told: str
    run: Callable[[Any, Any, Course], None]


def _fit(dde: Any, model: Any, course: Course, until: float) -> int:
    """Train as the model is compiled, until a time or the optimiser's own end; steps taken."""

    class Clock(dde.callbacks.Callback):
        def on_epoch_end(self) -> None:
            course.look(self.model)
            if course.used >= until:
                self.model.stop_training = True

    first = model.train_state.step or 0
    model.train(iterations=_ENDLESS, callbacks=[Clock()], verbose=0, display_every=_ENDLESS)
    return model.train_state.step - first


def _adam(dde: Any, model: Any, course: Course) -> None:
    _compile(model, "adam", lr=_RATE)
    _fit(dde, model, course, course.times[-1])


def _adam_decay(dde: Any, model: Any, course: Course) -> None:
    end = course.times[-1]

    def share(step: int) -> float:
        return 0.5 * (1 + np.cos(np.pi * min(course.used / end, 1)))

    _compile(model, "adam", lr=_RATE, decay=("lambda", share))
    _fit(dde, model, course, end)


def _adam_lbfgs(dde: Any, model: Any, course: Course) -> None:
    end = course.times[-1]
    _compile(model, "adam", lr=_RATE)
    _fit(dde, model, course, _BEFORE_LBFGS * end)
    _lbfgs(dde, model, course, end)


def _nncg(dde: Any, model: Any, course: Course) -> None:
    end = course.times[-1]
    _compile(model, "adam", lr=_RATE)
    _fit(dde, model, course, _BEFORE_NNCG[0] * end)
    _lbfgs(dde, model, course, _BEFORE_NNCG[1] * end)
    with _options(dde.optimizers.config.NNCG_options, rank=60, mu=1e-2, cgmaxiter=1000, cgtol=1e-8):
        _compile(model, "NNCG")
        try:
            _fit(dde, model, course, end)
        except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]
            # its sketch of an indefinite Hessian has no factor
            _lbfgs(dde, model, course, end)


def _lbfgs(dde: Any, model: Any, course: Course, until: float) -> None:
    """L-BFGS; where it ends early it begins anew without memory, if that brings anything.

    torch's drops a curvature y·s below 1e-10 from its memory, whatever the loss is: a small loss
    then creeps. Scaled, it does not.
    """
    usual = model.loss_weights
    ones = [1.0] * len(model.train_state.loss_train)
    options = dde.optimizers.config.LBFGS_options
    block = {"iter_per_step": _LBFGS_BLOCK, "fun_per_step": 2 * _LBFGS_BLOCK}
    with _options(options, maxiter=_ENDLESS, gtol=0.0, **block):
        model.loss_weights = [_LBFGS_SCALE * w for w in usual or ones]
        while course.used < until:
            _compile(model, "L-BFGS")
            if _fit(dde, model, course, until) < _LBFGS_BLOCK:
                break
    model.loss_weights = usual


def _gauss_newton(dde: Any, model: Any, course: Course) -> None:
    _fit(dde, precondition(model), course, course.times[-1])


def _compile(model: Any, optimiser: str, **options: Any) -> None:
    model.compile(optimiser, loss_weights=model.loss_weights, verbose=0, **options)


@contextlib.contextmanager
def _options(options: dict[str, Any], **new: Any) -> Iterator[None]:
    before = dict(options)
    options.update(new)
    try:
        yield
    finally:
        options.clear()
        options.update(before)


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        OURS: Method("damped Gauss-Newton, `precondition(model)`", _gauss_newton),
        "adam": Method("DeepXDE's Adam at a rate of 1e-3", _adam),
        "adam-decay": Method(
            "the same, the rate falling to 0 as a cosine of the time", _adam_decay
        ),
        "adam-lbfgs": Method(
            "Adam for a tenth of the time, then DeepXDE's L-BFGS on 1e8 times the loss", _adam_lbfgs
        ),
        "nncg": Method(
            "Adam for a tenth of the time, L-BFGS until half of it, then DeepXDE's NNCG", _nncg
        ),
    }
)


@dataclass(frozen=True)
class Trained:
    """One training.

    Attributes:
        times: seconds of processor time, set-up included. errors, iterations: at those times.
        certificate: of the network at the end. seconds: used until the end, which is earlier than
            the last time where the optimiser had nothing left to do. wall: seconds on the wall,
            evaluations included. steps: in all. parameters: of the network.
    """

    times: tuple[float, ...]
    errors: tuple[float, ...]
    iterations: tuple[int, ...]
    certificate: Certificate
    seconds: float
    wall: float
    steps: int
    parameters: int


def train(case: Case, method: Method, *, seed: int, seconds: float) -> Trained:
    """Train a case's model once, on one thread."""
    from threadpoolctl import threadpool_limits

    dde, began = load_deepxde(), time.perf_counter()
    true = case.reference(case.points)
    threads = torch.get_num_threads()
    with threadpool_limits(1), double_precision(dde), seeded(dde, seed):
        torch.set_num_threads(1)
        try:
            course = Course(
                marks(seconds), lambda model: relative_error(case, _outputs(model), true)
            )
            with contextlib.redirect_stdout(io.StringIO()):  # NNCG prints
                model = case.build(dde)
                course.look(model)
                method.run(dde, model, course)
                course.close(model)
            found = certificate(case, _outputs(model))
        finally:
            torch.set_num_threads(threads)
    return Trained(
        course.times, tuple(course.errors), tuple(course.iterations), found, course.seconds,
        time.perf_counter() - began, int(model.train_state.step),
        sum(p.numel() for p in model.net.parameters()),
    )  # fmt: skip
