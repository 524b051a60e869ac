"""How `run_pinn` trains: DeepXDE's optimisers as its documentation and papers set them, and ours.

Every method gets the same model, from the same seed: network, first weights, points and float64.
"""

from __future__ import annotations

import contextlib
import io
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from ..pinn.deepxde import double_precision, load_deepxde, precondition, seeded
from ..pinn.problems import Case, Certificate, Predict, certificate, relative_error
from .ssbroyden import minimise

__all__ = [
    "ADAM",
    "BEYOND",
    "METHODS",
    "OURS",
    "SECOND_ORDER",
    "Clock",
    "Method",
    "Trained",
    "fit",
    "lbfgs",
    "marks",
    "ssbroyden",
    "train",
]

OURS = "gauss-newton"
ADAM = ("adam", "adam-decay")
SECOND_ORDER = ("adam-lbfgs", "nncg")  # of DeepXDE
BEYOND = ("adam-ssbroyden",)  # not of DeepXDE

_ENDLESS = 10**9
_RATES = 1e-3, 3e-4, 3e-3, 1e-2  # of Adam
_RATE = _RATES[0]
_FALLING = *_RATES, 3e-2
# Shares of the time: of Adam before L-BFGS; of Adam, then L-BFGS, before NNCG.
_BEFORE_LBFGS = 0.1
_BEFORE_NNCG = 0.1, 0.5
_SCALES = 1e8, 1e12, 1e4  # of the loss, for L-BFGS
_LBFGS_BLOCK = 30  # iterations between two looks at the clock
_DAMPING = 1e-6, 1e-8, 1e-4, 1e-2  # of NNCG, relative to the Hessian's largest eigenvalue
_LARGEST = 1e-3  # that eigenvalue, for NNCG
_EARLY = 0.98  # of the time
_NNCG = MappingProxyType({"rank": 60, "chunksz": 60, "cgmaxiter": 50})


def marks(seconds: float) -> tuple[float, ...]:
    """The times at which an error is recorded, for curves: steps of 1.5; the last is `seconds`."""
    return tuple(seconds / 1.5**k for k in range(11, -1, -1))


class Clock:
    """Processor time of one training."""

    def __init__(self) -> None:
        self._used, self._since = 0.0, time.process_time()

    @property
    def used(self) -> float:
        """Seconds of training so far."""
        return self._used + time.process_time() - self._since

    def look(self, model: Any) -> None:
        """To be called after each step."""


class Course(Clock):
    """The errors of one training at given times, on a clock that stands while they are evaluated.

    What counts at a time is the state after the last step that had ended by then. The clock is
    processor time: all run on one thread, and other programs do not change it.

    Args:
        times: rising. error: model -> relative error.
    """

    def __init__(self, times: tuple[float, ...], error: Callable[[Any], float]) -> None:
        super().__init__()
        self.times, self._error = times, error
        self.errors: list[float] = []
        self.iterations: list[int] = []
        self.steps: dict[str, int] = {}
        self.seconds = 0.0
        self._before: tuple[list[torch.Tensor], int] | None = None

    def count(self, optimiser: str, steps: int) -> None:
        """So many steps were this optimiser's."""
        self.steps[optimiser] = self.steps.get(optimiser, 0) + steps

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


# Trains a model until the course's last time, with one of the method's settings.
Run = Callable[[Any, Any, Course, float], None]


@dataclass(frozen=True)
class Method:
    """told: in words. run: trains. settings: of which the best is taken, the usual one first;
    setting: what they are."""

    told: str
    run: Run
    setting: str = ""
    settings: tuple[float, ...] = ()


def fit(dde: Any, model: Any, clock: Clock, until: float) -> int:
    """Train as the model is compiled, until a time or the optimiser's own end; steps taken."""

    class Look(dde.callbacks.Callback):
        def on_epoch_end(self) -> None:
            clock.look(self.model)
            if clock.used >= until:
                self.model.stop_training = True

    first = model.train_state.step or 0
    model.train(iterations=_ENDLESS, callbacks=[Look()], verbose=0, display_every=_ENDLESS)
    return model.train_state.step - first


def _adam(dde: Any, model: Any, course: Course, rate: float) -> None:
    _adam_until(dde, model, course, rate, course.times[-1])


def _adam_decay(dde: Any, model: Any, course: Course, rate: float) -> None:
    end = course.times[-1]

    def share(step: int) -> float:
        return 0.5 * (1 + np.cos(np.pi * min(course.used / end, 1)))

    _compile(model, "adam", lr=rate, decay=("lambda", share))
    course.count("Adam", fit(dde, model, course, end))


def _adam_lbfgs(dde: Any, model: Any, course: Course, rate: float) -> None:
    end = course.times[-1]
    _adam_until(dde, model, course, rate, _BEFORE_LBFGS * end)
    course.count("L-BFGS", lbfgs(dde, model, course, end))


def _adam_ssbroyden(dde: Any, model: Any, course: Course, rate: float) -> None:
    end = course.times[-1]
    _adam_until(dde, model, course, rate, _BEFORE_LBFGS * end)
    course.count("SSBroyden", ssbroyden(model, course, end))


def _nncg(dde: Any, model: Any, course: Course, damping: float) -> None:
    end = course.times[-1]
    _adam_until(dde, model, course, _RATE, _BEFORE_NNCG[0] * end)
    course.count("L-BFGS", lbfgs(dde, model, course, _BEFORE_NNCG[1] * end))
    before = model.train_state.step
    try:
        _newton(dde, model, course, damping, end)
    except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]
        # its sketch of an indefinite Hessian has no factor
        course.count("NNCG", model.train_state.step - before)
        course.count("L-BFGS", lbfgs(dde, model, course, end))
    else:
        course.count("NNCG", model.train_state.step - before)


def _adam_until(dde: Any, model: Any, course: Course, rate: float, until: float) -> None:
    _compile(model, "adam", lr=rate)
    course.count("Adam", fit(dde, model, course, until))


def lbfgs(dde: Any, model: Any, clock: Clock, until: float) -> int:
    """DeepXDE's L-BFGS on a model that was trained before; where it ends early it begins anew
    without memory, if that brings anything, and on another multiple of the loss, if not.

    torch's drops a curvature y·s below 1e-10 from its memory, whatever the loss is: a small loss
    then creeps. Scaled, it does not.

    Returns:
        Steps taken. It ends before `until` where no scale brings 30 steps.
    """
    block = {"iter_per_step": _LBFGS_BLOCK, "fun_per_step": 2 * _LBFGS_BLOCK}
    options = dde.optimizers.config.LBFGS_options
    total, tried = 0, 0
    with _options(options, maxiter=_ENDLESS, gtol=0.0, **block):
        while clock.used < until and tried < len(_SCALES):
            with _scaled(model, _SCALES[tried]):
                _compile(model, "L-BFGS")
                steps = fit(dde, model, clock, until)
            total += steps
            tried = tried + 1 if steps < _LBFGS_BLOCK else 0
    return total


def ssbroyden(model: Any, clock: Clock, until: float) -> int:
    """SSBroyden on a model that was trained before, its unknown constants included; steps taken.

    It ends before `until` where no step lowers the loss.
    """
    parameters = [*model.net.parameters(), *model.external_trainable_variables]
    state = model.train_state
    inputs = state.X_train, state.y_train, state.train_aux_vars
    vector = torch.nn.utils.parameters_to_vector(parameters).detach().numpy().copy()

    def assign(x: np.ndarray) -> None:
        with torch.no_grad():
            torch.nn.utils.vector_to_parameters(torch.from_numpy(x), parameters)

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        assign(x)
        loss = model.outputs_losses_train(*inputs)[1].sum()
        gradient = torch.autograd.grad(loss, parameters)
        return loss.item(), torch.nn.utils.parameters_to_vector(gradient).numpy()

    last = vector

    def look(x: np.ndarray) -> bool:
        nonlocal last
        last = x
        assign(x)
        state.step += 1
        clock.look(model)
        return clock.used >= until

    steps = minimise(objective, vector, look)
    assign(last)  # after a search in vain the model holds its last trial
    return steps


def _newton(dde: Any, model: Any, course: Course, damping: float, until: float) -> None:
    """DeepXDE's NNCG. Its damping and tolerance are absolute, and so is the shift, 2e-16, that
    makes its sketch definite: the loss is scaled to a Hessian of 1e-3, and both are relative.

    Args:
        damping: relative to the largest eigenvalue.
    """
    slope, largest = _curvature(model)
    scale = _LARGEST / largest
    own = {"mu": damping * _LARGEST, "cgtol": 1e-6 * scale * slope}
    with _scaled(model, scale), _options(dde.optimizers.config.NNCG_options, **_NNCG, **own):
        _compile(model, "NNCG")
        fit(dde, model, course, until)


def _curvature(model: Any) -> tuple[float, float]:
    """The gradient's norm, and the Hessian's largest eigenvalue by ten power iterations."""
    parameters, state = list(model.net.parameters()), model.train_state
    inputs = state.X_train, state.y_train, state.train_aux_vars
    loss = model.outputs_losses_train(*inputs)[1].sum()
    g = torch.autograd.grad(loss, parameters, create_graph=True)
    v: list[torch.Tensor] = [part.detach() for part in g]
    slope = largest = _norm(v)
    for _ in range(10):
        v = list(
            torch.autograd.grad(g, parameters, [part / largest for part in v], retain_graph=True)
        )
        largest = _norm(v)
    return slope, largest


def _norm(parts: list[torch.Tensor]) -> float:
    return float(torch.cat([part.reshape(-1) for part in parts]).norm())


def _gauss_newton(dde: Any, model: Any, course: Course, setting: float) -> None:
    steps = fit(dde, precondition(model), course, course.times[-1])
    course.count("Gauss-Newton", steps)


def _compile(model: Any, optimiser: str, **options: Any) -> None:
    constants = model.external_trainable_variables
    model.compile(
        optimiser, loss_weights=model.loss_weights, external_trainable_variables=constants,
        verbose=0, **options,
    )  # fmt: skip


@contextlib.contextmanager
def _scaled(model: Any, scale: float) -> Iterator[None]:
    """The loss of a model that was trained before, times `scale`."""
    usual = model.loss_weights
    model.loss_weights = [scale * w for w in usual or [1.0] * len(model.train_state.loss_train)]
    try:
        yield
    finally:
        model.loss_weights = usual


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
        "adam": Method("DeepXDE's Adam at a constant rate", _adam, "rate", _RATES),
        "adam-decay": Method(
            "the same, the rate falling to 0 as a cosine of the time", _adam_decay, "rate", _FALLING
        ),
        "adam-lbfgs": Method(
            "Adam for a tenth of the time, then DeepXDE's L-BFGS on 1e8 times the loss",
            _adam_lbfgs, "rate", _RATES,
        ),
        "adam-ssbroyden": Method(
            "Adam for a tenth of the time, then self-scaled Broyden with a dense matrix, which "
            "DeepXDE does not have",
            _adam_ssbroyden, "rate", _RATES,
        ),
        "nncg": Method(
            "Adam at 1e-3 for a tenth of the time, L-BFGS until half of it, then DeepXDE's NNCG",
            _nncg, "damping", _DAMPING,
        ),
    }
)  # fmt: skip


@dataclass(frozen=True)
class Trained:
    """One training.

    Attributes:
        times: seconds of processor time, set-up included. errors, iterations: at those times.
        certificate: of the network at the end. seconds: used until the end, which is earlier than
            the last time where the optimiser had nothing left to do. wall: seconds on the wall,
            evaluations included. steps: of each optimiser. parameters: of the network. setting:
            of the method's, None where it has none.
    """

    times: tuple[float, ...]
    errors: tuple[float, ...]
    iterations: tuple[int, ...]
    certificate: Certificate
    seconds: float
    wall: float
    parameters: int
    steps: Mapping[str, int] = field(default_factory=dict)
    setting: float | None = None

    @property
    def ended(self) -> bool:
        """Whether the optimiser had nothing left to do before the time was over."""
        return self.seconds < _EARLY * self.times[-1]


def train(
    case: Case, method: Method, *, seed: int, seconds: float, setting: float | None = None
) -> Trained:
    """Train a case's model once, on one thread.

    Args:
        setting: of the method's; the usual one without.
    """
    from threadpoolctl import threadpool_limits

    if setting is None and method.settings:
        setting = method.settings[0]
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
                method.run(dde, model, course, math.nan if setting is None else setting)
                course.close(model)
            found = certificate(case, _outputs(model))
        finally:
            torch.set_num_threads(threads)
    return Trained(
        course.times, tuple(course.errors), tuple(course.iterations), found, course.seconds,
        time.perf_counter() - began, sum(p.numel() for p in model.net.parameters()), course.steps,
        setting,
    )  # fmt: skip
