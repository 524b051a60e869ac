"""How often a solve on a GPU looks at its state: seldom, unless steps in vain cost more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from sciml import LinearSystem, Stop, Trait, solve
from sciml.networks import SingleLevel
from sciml.operators import Diffusion, Sparse
from solvers import AMG, CG, FGMRES, Multigrid, NeuralDirections, learned

_STOP = Stop(rtol=1e-6)


@pytest.fixture
def system(rehearsal):
    rng = np.random.default_rng(0)
    A = Diffusion(torch.from_numpy(np.exp(0.5 * rng.standard_normal((12, 14)))))
    return LinearSystem(A, torch.from_numpy(rng.standard_normal((12, 14))))


def _network():
    torch.manual_seed(0)
    return SingleLevel(2)


COSTLY = {
    "multigrid": lambda A: CG(M=Multigrid()),
    "DCDM": lambda A: NeuralDirections(_network()),
    "a network in FGMRES": lambda A: FGMRES(M=learned(A, _network())),
}


@pytest.mark.parametrize("name", COSTLY)
def test_costly_steps_are_not_taken_in_vain(system, name):
    found = solve(system, COSTLY[name](system.A), stop=_STOP)
    every = solve(system, COSTLY[name](system.A), stop=replace(_STOP, check_every=1))
    assert found.ok and found.iterations == every.iterations
    assert found.iterations % 16


def test_a_cycle_of_amg_is_not_run_in_vain(rehearsal, system):
    matrix = Sparse(system.A.to(xp=np).assemble(), traits={Trait.POSITIVE})
    M, b = AMG()(matrix).to(xp=torch), system.b.reshape(-1)
    there = LinearSystem(matrix.to(xp=torch), b)
    found = solve(there, CG(M=M), stop=_STOP)
    every = solve(there, CG(M=M), stop=replace(_STOP, check_every=1))
    assert found.ok and found.iterations == every.iterations
    assert found.iterations % 16


def test_cheap_steps_are_looked_at_seldom(system):
    found = solve(system, CG(), stop=_STOP)
    assert found.ok and found.iterations % 16 == 0
