"""Gaussian random fields against the closed-form covariances that they are to have."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sciml.datasets import CirculantEmbedding, Covariance, gaussian_field

ALL = list(Covariance)


def distances(cells: tuple[int, ...]) -> np.ndarray:
    """Between all pairs of cells: (N, N)."""
    axes = np.meshgrid(*[np.arange(n) / n for n in cells], indexing="ij")
    points = np.stack([axis.ravel() for axis in axes], axis=-1)
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


def correlation(covariance: Covariance, h: np.ndarray) -> np.ndarray:
    """The models as the geostatistics books have them, written out once more."""
    if covariance is Covariance.CUBIC:
        inside = 1 - 7 * h**2 + 35 / 4 * h**3 - 7 / 2 * h**5 + 3 / 4 * h**7
        return np.where(h < 1, inside, 0.0)
    return np.exp(-h) if covariance is Covariance.EXPONENTIAL else np.exp(-(h**2))


@pytest.mark.parametrize("covariance", ALL)
def test_the_correlation_functions_are_the_closed_forms(covariance):
    h = np.linspace(0, 3, 301)
    np.testing.assert_allclose(covariance(h), correlation(covariance, h), atol=1e-14)


@pytest.mark.parametrize("covariance", ALL)
@pytest.mark.parametrize("cells", [(12,), (9, 12), (7, 7), (4, 5, 3)])
def test_the_embedding_holds_the_exact_covariance_matrix(covariance, cells):
    """No sampling: the covariance that the square root implies, entry by entry."""
    embedding = CirculantEmbedding.build(cells, covariance, 0.3)
    torus = np.fft.ifftn(embedding.root**2 * embedding.root.size).real
    index = np.indices(cells).reshape(len(cells), -1)
    lags = [np.abs(i[:, None] - i[None]) for i in index]
    wanted = correlation(covariance, distances(cells) / 0.3)
    assert embedding.clipped == 0
    np.testing.assert_allclose(torus[tuple(lags)], wanted, atol=1e-12)


@pytest.mark.parametrize("covariance", ALL)
def test_the_sample_covariance_is_the_closed_form_within_its_standard_error(covariance, rng):
    """All pairs of cells of one field: variance, stationarity and isotropy in one."""
    cells, variance, count = (8, 8), 0.7, 4000
    fields = gaussian_field(
        cells, covariance, variance, rng=rng, size=(count,), correlation_length=0.3
    )
    flat = fields.reshape(count, -1)
    wanted = variance * correlation(covariance, distances(cells) / 0.3)
    # Isserlis: Var(phi_i phi_j) = C_ii C_jj + C_ij².
    error = (flat.T @ flat / count - wanted) / np.sqrt((variance**2 + wanted**2) / count)
    assert np.abs(error).max() < 5.0
    assert np.abs(error).mean() < 1.0
    assert np.abs(flat.mean(axis=0)).max() < 5.0 * np.sqrt(variance / count)


def test_a_wrong_covariance_fails_the_test_above(rng):
    """The bound is tight enough to tell exp(-h²) from exp(-h²/2)."""
    count = 4000
    fields = gaussian_field(
        (8, 8), Covariance.GAUSSIAN, 1.0, rng=rng, size=(count,), correlation_length=0.3
    )
    flat = fields.reshape(count, -1)
    wrong = np.exp(-((distances((8, 8)) / 0.3) ** 2) / 2)
    error = (flat.T @ flat / count - wrong) / np.sqrt((1 + wrong**2) / count)
    assert np.abs(error).max() > 10


def test_the_values_are_gaussian_and_pairs_are_independent(rng):
    fields = gaussian_field(6, Covariance.EXPONENTIAL, 1.0, rng=rng, size=(4000,))
    assert stats.kstest(fields[:, 2, 3], "norm").pvalue > 1e-3
    assert abs(np.corrcoef(fields[0::2, 2, 3], fields[1::2, 2, 3])[0, 1]) < 5 / np.sqrt(2000)


@pytest.mark.parametrize("covariance", ALL)
@pytest.mark.parametrize("grid", [64, 128])
def test_twice_the_grid_is_enough_for_the_published_fields(covariance, grid):
    embedding = CirculantEmbedding.build((grid + 1, grid + 1), covariance)
    assert (embedding.factor, embedding.clipped) == (2, 0.0)
    assert embedding.root.shape == (2 * grid + 2, 2 * grid + 2)


def test_the_torus_grows_until_no_eigenvalue_is_negative():
    embedding = CirculantEmbedding.build((17, 17), Covariance.GAUSSIAN, 0.5)
    assert embedding.factor > 2
    assert embedding.clipped == 0


@pytest.mark.parametrize("covariance", [Covariance.EXPONENTIAL, Covariance.GAUSSIAN])
def test_what_is_clipped_is_bounded_by_what_is_told(covariance):
    cells = (12, 12)
    embedding = CirculantEmbedding.build(cells, covariance, 1.0, max_factor=2)
    assert embedding.clipped > 0
    torus = np.fft.ifftn(embedding.root**2 * embedding.root.size).real
    i, j = np.indices(cells).reshape(2, -1)
    got = torus[np.abs(i[:, None] - i), np.abs(j[:, None] - j)]
    error = np.abs(got - correlation(covariance, distances(cells)))
    assert 0.1 * embedding.clipped < error.max() <= embedding.clipped + 1e-13


def test_a_field_that_is_not_exact_says_so(rng):
    with pytest.warns(UserWarning, match="correlations are off by up to"):
        gaussian_field(6, Covariance.EXPONENTIAL, 1.0, rng=rng, correlation_length=4.0)


def test_shapes_dtypes_and_reproducibility():
    def draw(seed: int, **how) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return gaussian_field((4, 6), Covariance.CUBIC, 2.0, rng=rng, **how)

    assert draw(1).shape == (4, 6)
    assert draw(1, size=(3, 5)).shape == (3, 5, 4, 6)
    assert draw(1, size=(0,)).shape == (0, 4, 6)
    assert draw(1).dtype == np.float64
    np.testing.assert_array_equal(draw(1, size=(3,)), draw(1, size=(3,)))
    assert not np.array_equal(draw(1), draw(2))
    single = draw(1, dtype=np.float32)
    assert single.dtype == np.float32
    np.testing.assert_array_equal(single, draw(1).astype(np.float32))
    # The fields of a longer run begin with those of a shorter one.
    np.testing.assert_array_equal(draw(1, size=(5,))[:2], draw(1, size=(2,)))


def test_zero_variance_is_the_zero_field(rng):
    assert not gaussian_field(5, Covariance.CUBIC, 0.0, rng=rng).any()


def test_the_global_generator_is_not_touched(rng):
    before = np.random.get_state()[1].copy()
    gaussian_field(5, Covariance.CUBIC, 1.0, rng=rng)
    np.testing.assert_array_equal(before, np.random.get_state()[1])


@pytest.mark.parametrize(
    ("cells", "how", "match"),
    [
        ((), {}, "one to three counts"),
        ((0, 3), {}, "one to three counts"),
        ((2, 2, 2, 2), {}, "one to three counts"),
        (5, {"variance": -1.0}, "variance >= 0"),
        (5, {"variance": float("nan")}, "variance >= 0"),
        (5, {"correlation_length": 0.0}, "correlation_length > 0"),
        (5, {"dtype": np.complex128}, "dtype float32 or float64"),
        (5, {"embedding": CirculantEmbedding.build((4, 4), Covariance.CUBIC)}, "an embedding of"),
    ],
)
def test_bad_calls_are_refused(cells, how, match, rng):
    how = {"variance": 1.0} | how
    with pytest.raises(ValueError, match=match):
        gaussian_field(cells, Covariance.CUBIC, rng=rng, **how)
