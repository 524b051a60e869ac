"""ConDiff: diffusion systems with log-normal coefficients, generated in the published style.

Trifonov, Rudikov, Iliev, Laevsky, Oseledets, Muravleva, "ConDiff: a challenging dataset for neural
solvers of partial differential equations", arXiv 2406.04709; recipe as in the authors' generator.

-div(k grad u) = f on the unit square, u = 0 on its boundary; k = exp(phi) for a Gaussian field phi;
n × n inner nodes, (n + 1) × (n + 1) cells of k around them, five points, arithmetic means of k.

**Style-exact, not bit-exact.** The field's law, the rejection on contrast, the right-hand side and
the discretisation are the published ones; the random numbers are not. The published sets come out
of one stream of JAX keys and one NumPy generator that run through all sets in order, so no sample
can be had without all before it. Here every sample has a generator of its own, seeded by (seed,
set, split, index): it does not depend on the number of workers, nor on how many samples are drawn.
`Source.PARAFIELDS` takes phi from the authors' field generator; the seeds stay ours.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

import numpy as np

from ._fields import CORRELATION_LENGTH, CirculantEmbedding, Covariance
from ._stencil import Order, condiff_matrix, relative_residual

# exp(max phi - min phi) lies within these, for each variance; the same for both grids.
CONTRAST = MappingProxyType(
    {0.1: (5.0, 15.0), 0.4: (50.0, 250.0), 1.0: (600.0, 1000.0), 2.0: (8e4, 1e5)}
)
SMOOTH_MODES = 4
RESIDUAL_TOLERANCE = 1e-10
MAX_TRIALS = 100_000
_NAME = re.compile(
    r"(?:(?:(cubic|exponential|gaussian)(0\.1|0\.4|1\.0|2\.0))|poisson)_grid([1-9][0-9]*)"
)


class Split(Enum):
    """Independent halves of a set; the value is the word in the file name."""

    TRAIN = "train"
    TEST = "test"


class Rhs(Enum):
    """Right-hand sides.

    WHITE: N(0, 1) at every node, independent and not scaled, as published. It is bound to its grid:
    the solution falls as 1 / (n + 1) and has no limit as a function.
    SMOOTH: the sum over p, q = 1..4 of c_pq sin(pi p x) sin(pi q y), c_pq ~ N(0, 1/4), independent.
    It is a function on the square, whatever the grid, and its mean square over the square is 1 in
    expectation.
    """

    WHITE = "white"
    SMOOTH = "smooth"


class Source(Enum):
    """Who draws the Gaussian field.

    CIRCULANT: this package. PARAFIELDS: parafields 1.0.2, the authors' generator, an optional
    package; its arithmetic and random numbers, our seeds.
    """

    CIRCULANT = "circulant"
    PARAFIELDS = "parafields"


@dataclass(frozen=True)
class ConDiffConfig:
    """One of the sets: a covariance and variance, or neither for Poisson (k = 1), and a grid.

    covariance: of phi, or None. variance: 0.1, 0.4, 1.0 or 2.0, or None for Poisson.
    grid: inner nodes per side, n >= 2; the published sets have 64 and 128. Few fields on a grid
    under 32 reach the contrast asked for.

    Raises ValueError for anything else.
    """

    covariance: Covariance | None
    variance: float | None
    grid: int

    def __post_init__(self) -> None:
        if not isinstance(self.grid, int) or self.grid < 2:
            raise ValueError(f"expected grid to be an int >= 2, got {self.grid!r}: try 64 or 128")
        if self.covariance is None:
            if self.variance is not None:
                raise ValueError(
                    f"expected variance None without a covariance, got {self.variance!r}: "
                    "Poisson has k = 1"
                )
        elif not isinstance(self.covariance, Covariance):
            raise ValueError(f"expected a Covariance or None, got {self.covariance!r}: name one")
        elif self.variance not in CONTRAST:
            raise ValueError(
                f"expected variance in {sorted(CONTRAST)}, got {self.variance!r}: only these have "
                "a published contrast"
            )

    @property
    def name(self) -> str:
        """The published name, as "cubic0.1_grid64" or "poisson_grid128"."""
        if self.covariance is None or self.variance is None:
            return f"poisson_grid{self.grid}"
        return f"{self.covariance.value}{float(self.variance)}_grid{self.grid}"

    @property
    def contrast(self) -> tuple[float, float]:
        """The least and the largest max k / min k of a sample; (1, 1) for Poisson."""
        return (1.0, 1.0) if self.variance is None else CONTRAST[self.variance]

    @staticmethod
    def from_name(name: str) -> ConDiffConfig:
        """The set of that name. Raises ValueError if there can be none."""
        match = _NAME.fullmatch(name)
        if match is None:
            raise ValueError(
                f"expected a name such as cubic0.1_grid64 or poisson_grid128, got {name!r}: "
                f"covariances are {', '.join(c.value for c in Covariance)}"
            )
        kind, variance, grid = match.groups()
        if kind is None:
            return ConDiffConfig(None, None, int(grid))
        return ConDiffConfig(Covariance(kind), float(variance), int(grid))


CONFIGS = tuple(
    ConDiffConfig(covariance, variance, grid)
    for covariance in Covariance
    for grid in (64, 128)
    for variance in CONTRAST
) + tuple(ConDiffConfig(None, None, grid) for grid in (64, 128))


@dataclass(frozen=True, eq=False)
class ConDiffData:
    """Samples of one set, in memory; entry [s, i, j] of rhs and x lies between cells i, i + 1 and
    j, j + 1 of k[s].

    config: what the samples are, None where a file does not tell. k: float64, (S, n+1, n+1),
    positive; for Poisson a read-only view of ones. rhs: float64, (S, n, n). x: float64, (S, n, n),
    the solution of condiff_matrix(k[s]).
    """

    config: ConDiffConfig | None
    k: np.ndarray
    rhs: np.ndarray
    x: np.ndarray

    def __len__(self) -> int:
        return len(self.rhs)

    @property
    def grid(self) -> int:
        """Inner nodes per side, n."""
        return self.rhs.shape[-1]

    @property
    def flat_rhs(self) -> np.ndarray:
        """rhs as the files hold it: (S, n²), unknown i + n·j at node (i, j)."""
        return flatten(self.rhs)

    @property
    def flat_x(self) -> np.ndarray:
        """x as the files hold it: (S, n²), unknown i + n·j at node (i, j)."""
        return flatten(self.x)


def flatten(grid: np.ndarray) -> np.ndarray:
    """(S, n, n) to the files' (S, n²), i + n·j."""
    return np.ascontiguousarray(grid.swapaxes(1, 2)).reshape(len(grid), -1)


def unflatten(flat: np.ndarray, n: int) -> np.ndarray:
    """The files' (S, n²), i + n·j, to (S, n, n)."""
    return np.ascontiguousarray(flat.reshape(len(flat), n, n).swapaxes(1, 2))


def draw_condiff(
    config: ConDiffConfig,
    samples: int | range,
    *,
    seed: int,
    split: Split = Split.TRAIN,
    rhs: Rhs = Rhs.WHITE,
    source: Source = Source.CIRCULANT,
) -> ConDiffData:
    """Draw and solve samples in memory: the first `samples`, or those of a range.

    seed: 0 <= seed < 2**64. Sample i is the same whatever else is drawn, and Rhs.SMOOTH keeps the
    fields of Rhs.WHITE. Solutions come from a sparse LU and are
    checked: ‖b - Ax‖ <= 1e-10 ‖b‖.

    Raises ValueError for a bad count or seed, or where no field of 100,000 has the contrast;
    ImportError for Source.PARAFIELDS without parafields; ArithmeticError for an inexact solution.
    """
    wanted = range(samples) if isinstance(samples, int) else samples
    draw = Sampler(config, seed, split, rhs, source)
    n = config.grid
    flat = np.empty((2, len(wanted), n * n))
    k = np.broadcast_to(np.ones(()), (len(wanted), n + 1, n + 1))
    if config.covariance is not None:
        k = np.empty(k.shape)
    for s, i in enumerate(wanted):
        field, flat[0, s], flat[1, s] = draw(i)
        if config.covariance is not None:
            k[s] = field
    return ConDiffData(config, k, unflatten(flat[0], n), unflatten(flat[1], n))


class Sampler:
    """Sample i of a split of a set, from its number alone; keeps what all samples share."""

    def __init__(
        self, config: ConDiffConfig, seed: int, split: Split, rhs: Rhs, source: Source
    ) -> None:
        if not isinstance(seed, int) or not 0 <= seed < 2**64:
            raise ValueError(f"expected seed to be an int in [0, 2**64), got {seed!r}: pass one")
        self.config, self.seed, self.split, self.rhs, self.source = config, seed, split, rhs, source
        self._embedding: CirculantEmbedding | None = None
        self._poisson = None
        if config.covariance is not None and source is Source.CIRCULANT:
            cells = (config.grid + 1,) * 2
            self._embedding = CirculantEmbedding.build(cells, config.covariance)
        elif config.covariance is not None:
            _parafields()

    def __call__(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """k (n+1, n+1), rhs (n²,) and x (n²,), the last two numbered i + n·j."""
        rng = self.generator(index)
        k, _ = self.coefficient(rng)
        b = self._right_hand_side(rng)
        return k, b, self._solution(k, b)

    def generator(self, index: int) -> np.random.Generator:
        """The sample's own generator. Every entry of the seed is one 32-bit word, so none run on
        into the next."""
        name = hashlib.sha256(self.config.name.encode()).digest()
        words = [self.seed & 0xFFFFFFFF, self.seed >> 32]
        words += [int.from_bytes(name[i : i + 4], "little") for i in (0, 4)]
        words += [list(Split).index(self.split), index]
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))

    def coefficient(self, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        """k = exp(phi), the first whose contrast is within bounds, and the fields it took."""
        n = self.config.grid
        if self.config.variance is None:
            return np.ones((n + 1, n + 1)), 0
        least, largest = self.config.contrast
        for trial, phi in enumerate(self._fields(rng), start=1):
            if least <= np.exp(phi.max() - phi.min()) <= largest:
                return np.exp(phi), trial
            if trial >= MAX_TRIALS:
                break
        raise ValueError(
            f"expected a contrast in [{least:g}, {largest:g}] for {self.config.name}, got none in "
            f"{MAX_TRIALS} fields: choose a finer grid or a smaller variance"
        )

    def _fields(self, rng: np.random.Generator):
        scale = np.sqrt(self.config.variance or 0.0)
        while self._embedding is not None:
            yield from scale * self._embedding.pair(rng)
        generate_field = _parafields().generate_field
        covariance = self.config.covariance
        while covariance is not None:
            field = generate_field(
                cells=[self.config.grid + 1] * 2,
                covariance=covariance.value,
                variance=self.config.variance,
                corrLength=CORRELATION_LENGTH,
                seed=int(rng.integers(2**32)),
            )
            yield np.asarray(field.evaluate(), dtype=np.float64)

    def _right_hand_side(self, rng: np.random.Generator) -> np.ndarray:
        n = self.config.grid
        if self.rhs is Rhs.WHITE:
            return rng.standard_normal(n * n)
        nodes = np.arange(1, n + 1) / (n + 1)
        sines = np.sin(np.pi * np.outer(nodes, np.arange(1, SMOOTH_MODES + 1)))
        weights = rng.standard_normal((SMOOTH_MODES, SMOOTH_MODES)) * (2 / SMOOTH_MODES)
        return (sines @ weights @ sines.T).ravel(order="F")

    def _solution(self, k: np.ndarray, b: np.ndarray) -> np.ndarray:
        from scipy.sparse.linalg import splu

        factors = self._poisson
        if factors is None:
            # The matrix is symmetric positive definite, so SuperLU needs no pivoting.
            matrix = condiff_matrix(k, Order.FORTRAN).tocsc()
            options = {"SymmetricMode": True}
            factors = splu(matrix, "MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
            if self.config.covariance is None:
                self._poisson = factors
        x = factors.solve(b)
        n = self.config.grid
        error = relative_residual(k[None], unflatten(b[None], n), unflatten(x[None], n))[0]
        if not error <= RESIDUAL_TOLERANCE:
            raise ArithmeticError(
                f"expected a relative residual of at most {RESIDUAL_TOLERANCE:g} for a sample of "
                f"{self.config.name}, got {error:.2e}: the sparse factorisation is inexact here"
            )
        return x


def _parafields():
    try:
        import parafields
    except ImportError as error:
        raise ImportError(
            f"expected parafields 1.0.2 for Source.PARAFIELDS, got {error}: "
            "install parafields, or use Source.CIRCULANT"
        ) from None
    return parafields
