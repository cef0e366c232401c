"""The Marchenko-Pastur law: its integrals, one sample, and the ridge it implies."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import kstest

from tsframe.theory import MarchenkoPastur, ridge, sample_covariance_square

RATIOS = [0.1, 0.5, 1.0, 2.0, 10.0]


@pytest.mark.parametrize("ratio", RATIOS)
def test_the_density_has_its_mass_and_moments(ratio) -> None:
    law, g = MarchenkoPastur(ratio), ratio
    low, high = law.edges
    known = [1.0, 1.0, 1 + g, 1 + 3 * g + g**2, 1 + 6 * g + 6 * g**2 + g**3]
    for order, want in enumerate(known):
        assert law.moment(order) == pytest.approx(want, rel=1e-12)
        mass = quad(lambda x, k=order: law.density(x) * x**k, low, high, limit=500)[0]
        assert mass + (law.atom if order == 0 else 0.0) == pytest.approx(want, rel=1e-6)
    assert law.density([low - 0.01, high + 0.01]).tolist() == [0.0, 0.0]
    assert law.cdf(high + 1) == pytest.approx(1.0, abs=1e-8)


@pytest.mark.parametrize("ratio", RATIOS)
def test_the_stieltjes_transform_is_the_mean_of_its_inverse(ratio) -> None:
    law = MarchenkoPastur(ratio)
    low, high = law.edges
    for z in (0.01, 1.0, 100.0):
        bulk = quad(lambda x, z=z: law.density(x) / (x + z), low, high, limit=500)[0]
        assert law.stieltjes(z) == pytest.approx(bulk + law.atom / z, rel=1e-6)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("z", [1e-8, 0.1, 10.0])
def test_its_companion_is_one_over_kappa(ratio, z) -> None:
    # Dobriban and Wager: g m + (1 - g) / z = 1 / kappa at penalty n z.
    dim = 1000
    n = dim / ratio
    companion = ratio * MarchenkoPastur(ratio).stieltjes(z) + (1 - ratio) / z
    kappa = float(ridge(np.ones(dim), 1.0, n, n * z).kappa)
    # The difference cancels: it keeps the digits of 1 / z.
    assert companion == pytest.approx(1 / kappa, rel=1e-7, abs=1e-14 * ratio / z)


@pytest.mark.parametrize(("n", "dim"), [(800, 400), (400, 800)])
def test_eigenvalues_of_one_sample_follow_the_law_and_no_other(n, dim) -> None:
    x = np.random.default_rng(0).standard_normal((n, dim))
    values = np.linalg.eigvalsh(x.T @ x / n)
    values[values < 1e-10] = 0.0
    grid = np.linspace(0.0, 7.0, 141)
    share = np.searchsorted(np.sort(values), grid, side="right") / dim
    assert np.max(np.abs(share - MarchenkoPastur(dim / n).cdf(grid))) < 0.02
    assert np.max(np.abs(share - MarchenkoPastur(1.2 * dim / n).cdf(grid))) > 0.03
    assert kstest(values[values > 0], "uniform").statistic > 0.1  # control


def test_the_mean_square_of_a_sample_covariance_is_exact() -> None:
    rng = np.random.default_rng(0)
    for n, dim in [(30, 12), (5, 20)]:
        x = rng.standard_normal((4000, n, dim))
        gram = x @ x.transpose(0, 2, 1) / n
        squares = np.sum(gram**2, axis=(1, 2)) / dim
        error = squares.std() / np.sqrt(4000)
        assert abs(squares.mean() - sample_covariance_square(dim, n)) < 5 * error
        assert abs(squares.mean() - (1 + dim / n)) > 5 * error or dim == 20  # the limit alone


def test_a_ratio_that_is_not_positive_is_refused() -> None:
    for ratio in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="ratio must be > 0 and finite; got ratio="):
            MarchenkoPastur(ratio)
    with pytest.raises(ValueError, match="shift must be > 0"):
        MarchenkoPastur(1.0).stieltjes(0.0)
