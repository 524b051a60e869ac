"""Steps recorded once and replayed as one launch: the same bits, counts and states."""

from __future__ import annotations

import contextlib
import copy
import pickle
import sys
import threading
from types import ModuleType, SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sciml import LinearSystem, Operator, Space, Stop, Trait, solve
from sciml._captures import refuse_copies
from sciml.arrays import from_host, to_numpy
from sciml.kernels import cuda
from sciml.operators import Blur, Diffusion, Sparse
from solvers import AMG, CG, MINRES, BiCGStab, Jacobi, Multigrid
from solvers.krylov._replay import Tape
from tests.laws.cases import HOST, TORCH
from tests.laws.registry import OPERATORS

SHAPE = (8, 11)


def _system(batch=(), seed=0):
    rng = np.random.default_rng(seed)
    A = Diffusion(torch.from_numpy(np.exp(0.5 * rng.standard_normal(SHAPE))))
    return LinearSystem(A, torch.from_numpy(rng.standard_normal((*batch, *SHAPE))))


def _amg(A):
    matrix = Sparse(A.to(xp=np).assemble(), traits={Trait.POSITIVE})
    M = AMG()(matrix).to(xp=torch)
    return matrix.to(xp=torch), M


METHODS = {
    "CG": CG(),
    "CG with Jacobi": CG(M=Jacobi()),
    "CG with multigrid": CG(M=Multigrid()),
    "CG with a cycle in double": CG(M=Multigrid(dtype=np.float64)),
    "MINRES": MINRES(),
    "MINRES with multigrid": MINRES(M=Multigrid()),
    "BiCGStab with Jacobi": BiCGStab(M=Jacobi()),
}


def _graphed(method):
    return type(method)(M=method.M, graph=True)


def _same(a, b):
    assert np.array_equal(to_numpy(a.x), to_numpy(b.x))
    assert a.applies == b.applies
    assert np.array_equal(a.iterations, b.iterations)
    assert np.array_equal(a.history, b.history)


@pytest.mark.parametrize("name", METHODS)
def test_a_graph_gives_the_bits_of_its_steps(rehearsal, name):
    batch = (2,) if METHODS[name].M else ()
    problem, stop = _system(batch), Stop(rtol=1e-6, check_every=3)
    plain = solve(problem, METHODS[name], stop=stop)
    found = solve(problem, _graphed(METHODS[name]), stop=stop)
    assert found.ok and rehearsal.recorded
    assert sum(made.replays for made in rehearsal.recorded) >= 1
    _same(found, plain)


@pytest.mark.gpu
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("library", ["cupy", "torch"])
def test_a_graph_on_a_gpu_gives_the_bits_of_its_steps(name, library):
    xp = pytest.importorskip(f"array_api_compat.{library}", exc_type=ImportError)
    problem = _system((2,))
    device = "cuda" if library == "torch" else None
    A = problem.A.to(xp=xp, device=device)
    there = LinearSystem(A, from_host(problem.b.numpy(), A.k, np.float64))
    ready = _graphed(METHODS[name]).prepare(there)
    for _ in range(2):
        _same(solve(there, ready), solve(there, METHODS[name]))
    assert any(not isinstance(made, list) for made in ready.tape.graphs.values())


def test_a_graph_of_amg(rehearsal):
    problem = _system()
    A, M = _amg(problem.A)
    there = LinearSystem(A, problem.b.reshape(-1))
    plain, found = (solve(there, CG(M=M, graph=graph)) for graph in (False, True))
    assert found.ok and rehearsal.recorded
    _same(found, plain)


def test_further_right_hand_sides_replay_what_was_recorded(rehearsal):
    problem = _system()
    ready = CG(M=Multigrid(), graph=True).prepare(problem)
    for _ in range(2):  # the first step has a form of its own, which comes once a solve
        solve(problem, ready)
    recorded = len(rehearsal.recorded)
    replays = sum(made.replays for made in rehearsal.recorded)
    again = LinearSystem(problem.A, _system(seed=5).b)
    found = solve(again, ready)
    assert len(rehearsal.recorded) == recorded == 2
    assert sum(made.replays for made in rehearsal.recorded) == replays + found.iterations
    _same(found, solve(again, CG(M=Multigrid())))


def test_another_operator_is_recorded_anew(rehearsal):
    """The same forms, other coefficients: a graph holds the addresses of the old ones."""
    ready = CG(graph=True).prepare(_system())
    for seed in (0, 1):
        problem = _system(seed=seed)
        _same(solve(problem, ready), solve(problem, CG()))
    assert len(rehearsal.recorded) == 2


def test_states_that_were_given_out_stay_as_they_are(rehearsal):
    problem = _system()
    seen = []

    def observe(look):
        seen.append((look.state, look.state.x.clone(), look.state.estimate.clone()))

    solve(problem, CG(graph=True), stop=Stop(check_every=1), observe=observe)
    assert rehearsal.recorded and len(seen) > 4
    for state, x, estimate in seen:
        assert torch.equal(state.x, x) and torch.equal(state.estimate, estimate)


class _Reading(Operator):
    """An operator that looks at its input on the host, as no graph can."""

    def __init__(self):
        space = Space(SHAPE, np.float64)
        super().__init__(space, space, traits={Trait.POSITIVE})

    def _apply(self, x):
        return 2 * x if bool((x == x).all()) else x

    _adjoint = _apply


def test_what_reads_on_the_host_is_refused(rehearsal):
    torch_b = torch.from_numpy(np.random.default_rng(0).standard_normal(SHAPE))
    A = _Reading() + Diffusion(torch.ones(SHAPE, dtype=torch.float64))
    assert solve(LinearSystem(A, torch_b), CG()).ok
    with pytest.raises(RuntimeError, match="kernels alone for graph=True"):
        solve(LinearSystem(A, torch_b), CG(graph=True), stop=Stop(check_every=1))


def test_nothing_is_recorded_in_host_memory():
    problem = _system()
    host = LinearSystem(problem.A.to(xp=np), problem.b.numpy())
    for there in (problem, host):
        plain, found = (solve(there, CG(graph=graph)) for graph in (False, True))
        assert np.array_equal(np.asarray(found.x), np.asarray(plain.x))


def test_a_tape_keeps_few_graphs(rehearsal):
    problem = _system()
    ready = CG(graph=True).prepare(problem)
    for k in range(1, 11):
        state = ready.init(problem, None)
        for _ in range(4):
            state = ready.advance(state, k)
    assert len(ready.tape.graphs) <= 8


def test_threads_have_graphs_of_their_own():
    tape, seen = Tape(), []
    tape.graphs["here"] = []
    other = threading.Thread(target=lambda: seen.append(dict(tape.graphs)))
    other.start()
    other.join()
    assert seen == [{}]


def test_values_that_change_in_place_are_recorded_anew(rehearsal):
    """A matrix keeps its values in columns: what a graph would go on reading is no longer there."""
    problem = _system()
    A = Sparse(problem.A.to(xp=np).assemble(), traits={Trait.POSITIVE}).to(xp=torch)
    there = LinearSystem(A, problem.b.reshape(-1))
    ready, stop = CG(graph=True).prepare(there), Stop(check_every=2)
    _same(solve(there, ready, stop=stop), solve(there, CG(), stop=stop))
    assert rehearsal.recorded
    A.data[:] = 3 * A.data + 0
    for _ in range(2):
        _same(solve(there, ready, stop=stop), solve(there, CG(), stop=stop))


def test_what_was_recorded_without_counting_is_counted(rehearsal):
    problem = _system()
    ready = CG(M=Jacobi(), graph=True).prepare(problem)
    state = ready.init(problem, None)
    for _ in range(4):
        state = ready.advance(state, 16)
    assert rehearsal.recorded
    _same(solve(problem, ready), solve(problem, CG(M=Jacobi())))


def test_a_recording_of_inference_mode_serves_outside(rehearsal):
    problem = _system()
    ready = CG(graph=True).prepare(problem)
    with torch.inference_mode():
        solve(problem, ready)
    _same(solve(problem, ready), solve(problem, CG()))


def test_transforms_are_not_recorded(rehearsal):
    blur = Blur(torch.ones((3, 3), dtype=torch.float64) / 9, Space(SHAPE, np.float64))
    A = blur.normal + _system().A
    problem = LinearSystem(A, _system().b)
    assert solve(problem, MINRES(), throw=False).iterations
    with pytest.raises(RuntimeError, match="plans keep memory of their own"):
        solve(problem, MINRES(graph=True), stop=Stop(check_every=1), throw=False)


class _Transforms(TorchDispatchMode):
    """Whether any was asked for."""

    def __init__(self):
        super().__init__()
        self.seen = False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen |= "fft" in func.overloadpacket.__name__
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", [n for n, c in OPERATORS.items() if TORCH in c.libraries != HOST])
def test_operators_that_transform_say_so(name, rng):
    case = OPERATORS[name]
    like = torch.zeros(1)
    A = case.make(rng, np.dtype(case.dtypes[0]), lambda x: from_host(x, like, x.dtype))
    x = from_host(A.domain.random(rng, A.batch_shape), like, A.domain.dtype)
    with _Transforms() as transforms:
        A(x)
    parts = [A, *(owner for owner, _, _ in A.attributes())]
    assert not transforms.seen or not all(part.recordable for part in parts)


def test_memory_of_graphs_is_told_and_copies_have_none(rehearsal):
    problem = _system()
    ready = CG(graph=True).prepare(problem)
    before = ready.nbytes
    found = solve(problem, ready)
    assert ready.nbytes - before >= 3 * 8 * problem.domain.size
    assert found.memory > solve(problem, CG()).memory
    for copied in (copy.deepcopy(ready), pickle.loads(pickle.dumps(ready))):
        assert copied == ready and not copied.tape.graphs


def test_the_stand_in_notices_memory_that_was_given_back(rehearsal):
    kept = [torch.ones(3)]
    made, graph = cuda.record(lambda: kept[0] + 1, kept[0])
    graph.replay()
    assert made.tolist() == [2, 2, 2]
    kept.clear()
    with pytest.raises(AssertionError, match="given back"):
        graph.replay()


@pytest.mark.gpu
def test_a_refusal_leaves_the_stream_as_it_was():
    pytest.importorskip("cupy", exc_type=ImportError)
    x = torch.ones(3, device="cuda")
    before = torch.cuda.current_stream()
    with pytest.raises(RuntimeError):
        cuda.record(x.tolist, x)
    assert torch.cuda.current_stream() == before
    assert (x + 1).tolist() == [2, 2, 2]


class _FakeCuPy(ModuleType):
    """As much of CuPy as recording asks for, which notes what is asked."""

    def __init__(self, *, broken: bool = False) -> None:
        super().__init__("cupy")
        self.calls: list[str] = []
        self.capturing, self.broken = False, broken
        pool = SimpleNamespace(malloc=None, total_bytes=lambda: 7)
        self.get_default_memory_pool = lambda: SimpleNamespace(
            free_all_blocks=lambda: self.calls.append("free")
        )
        self.cuda = SimpleNamespace(
            Device=lambda index: self._within(f"device {index}"),
            Stream=lambda non_blocking: self._stream(),
            MemoryPool=lambda: pool,
            using_allocator=lambda malloc: self._within("pool"),
            get_current_stream=lambda index: SimpleNamespace(
                ptr=5, is_capturing=lambda: self.capturing
            ),
        )

    @contextlib.contextmanager
    def _within(self, what):
        self.calls.append(what)
        yield
        self.calls.append(f"no {what}")

    def _stream(self):
        stream = MagicMock()
        stream.__exit__.return_value = False
        stream.begin_capture = lambda: self._set(True, "begin")
        stream.end_capture = lambda: self._set(False, "end")
        return stream

    def _set(self, capturing, call):
        self.capturing = capturing
        self.calls.append(call)
        if self.broken and call == "end":
            raise RuntimeError("the capture is spoilt")
        return SimpleNamespace(launch=lambda: self.calls.append("launch"))


def _cupy_array():
    array = type("ndarray", (), {"__module__": "cupy"})()
    array.device = SimpleNamespace(id=3)
    return array


def test_what_cupy_is_asked_for(monkeypatch):
    cupy, x = _FakeCuPy(), _cupy_array()
    monkeypatch.setitem(sys.modules, "cupy", cupy)

    def run():
        cupy.calls.append("run")
        return 5

    made, graph = cuda.record(run, x)
    graph.replay()
    assert made == 5 and graph.nbytes == 7
    assert cupy.calls == [
        "device 3", "free", "pool", "begin", "run", "end", "no pool", "no device 3",
        "device 3", "launch", "no device 3",
    ]  # fmt: skip


@pytest.mark.parametrize("broken", [False, True])
def test_a_recording_of_cupy_that_fails_is_ended(monkeypatch, broken):
    cupy, x = _FakeCuPy(broken=broken), _cupy_array()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    with pytest.raises(RuntimeError, match="from host memory while"):
        cuda.record(lambda: refuse_copies(x), x)
    assert "end" in cupy.calls and not cupy.capturing
    refuse_copies(x)
    refuse_copies(np.zeros(1))
