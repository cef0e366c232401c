"""Effective ranks and the criteria of benign overfitting."""

import numpy as np
import pytest

from tests.theory.families import modes, SPECTRA
from tsframe.theory import benign_overfitting, effective_ranks, ridge, split_ridge

SLOPES = [0.0, 0.001, 0.01, 0.05, 0.1, 0.5]


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_ranks_are_the_sums_and_keep_their_order(spectrum) -> None:
    eigenvalues = np.exp(SPECTRA[spectrum](60))
    ranks = effective_ranks(np.random.default_rng(0).permutation(eigenvalues))
    for k in range(60):
        rest = np.sort(eigenvalues)[::-1][k:]
        np.testing.assert_allclose(ranks.r.sel(k=k), rest.sum() / rest[0], rtol=1e-10)
        np.testing.assert_allclose(ranks.R.sel(k=k), rest.sum() ** 2 / (rest**2).sum(), rtol=1e-10)
    slack = 1 + 1e-12
    assert np.all((ranks.r >= 1 / slack) & (ranks.r <= ranks.R * slack))
    assert np.all((ranks.r**2 * slack >= ranks.R) & (ranks.R <= (60 - ranks.k) * slack))


@pytest.mark.parametrize(("q", "dim", "k"), [(0.9, 40, 7), (0.5, 30, 0), (0.99, 200, 100)])
def test_a_geometric_spectrum_has_its_closed_ranks(q, dim, k) -> None:
    ranks = effective_ranks(np.arange(dim) * np.log(q), log=True).sel(k=k)
    m = dim - k
    np.testing.assert_allclose(ranks.r, (1 - q**m) / (1 - q), rtol=1e-10)
    want = (1 - q**m) * (1 + q) / ((1 - q) * (1 + q**m))
    np.testing.assert_allclose(ranks.R, want, rtol=1e-10)
    if (q, dim, k) == (0.9, 40, 7):
        np.testing.assert_allclose([ranks.r, ranks.R], [9.69097, 17.86088], rtol=1e-6)


def test_published_ranks_of_exponential_spectra_come_out() -> None:
    found = [effective_ranks(-c * np.arange(200), log=True).sel(k=0) for c in SLOPES]
    np.testing.assert_allclose([f.r for f in found], [200, 181, 86.9, 20.5, 10.5, 2.54], rtol=4e-3)
    np.testing.assert_allclose([f.R for f in found], [200, 199, 152, 40, 20, 4.1], rtol=8e-3)


def test_ranks_of_steep_spectra_do_not_underflow() -> None:
    ranks = effective_ranks(-3.0 * np.arange(1000), log=True)
    np.testing.assert_allclose(ranks.r[:900], 1 / (1 - np.exp(-3.0)), rtol=1e-10)


def test_absent_modes_have_no_rank() -> None:
    ranks = effective_ranks([0.0, -np.inf, 0.0], log=True)
    assert ranks.r[:2].values.tolist() == [2.0, 1.0]
    assert bool(ranks.r[2].isnull())


@pytest.mark.parametrize(
    ("p", "floor", "n", "rate", "variance"),
    [
        (20000, 1e-4, 500, 0.086, 0.074),
        (20000, 1e-4, 100, 0.228, 0.171),
        (20000, 1e-3, 500, 0.063, 0.050),
        (20000, 1e-3, 50, 0.145, 0.058),
        (2000, 1e-3, 500, 0.316, 0.381),
    ],
)
def test_published_rates_of_a_floor_come_out(p, floor, n, rate, variance) -> None:
    log_l = np.logaddexp(-np.arange(p) / 5, np.log(floor))
    law = benign_overfitting(log_l, n, log=True)
    assert float(law.variance_rate) == pytest.approx(rate, abs=6e-4)
    exact = ridge(log_l, 1.0, n, 0.0, 1.0, log=True).variance
    assert float(exact) == pytest.approx(variance, abs=6e-4)
    if (p, floor, n) == (20000, 1e-4, 500):
        assert float(law.k_star) == 28
        assert float(n / law.n_over_R) == pytest.approx(16596, abs=1)


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("b", [0.5, 1.0, 2.0])
def test_k_star_is_the_first_rank_that_suffices(spectrum, b) -> None:
    log_l = SPECTRA[spectrum](400)
    law = benign_overfitting(log_l, [5, 20, 100], b, log=True)
    r = effective_ranks(log_l, log=True).r.values
    for n, k in zip((5, 20, 100), law.k_star.values, strict=True):
        enough = np.flatnonzero(r >= b * n * (1 - 1e-9))
        assert k == (enough[0] if len(enough) else np.inf)


def test_a_pure_exponential_has_no_k_star_once_n_is_large() -> None:
    law = benign_overfitting(-0.1 * np.arange(2000), [5, 10, 11, 100], log=True)
    assert np.isinf(law.k_star).values.tolist() == [False, False, True, True]  # 1/(1-e^-.1) = 10.5
    assert law.n_over_R.isnull().values.tolist() == [False, False, True, True]


def test_rates_tend_to_zero_for_a_benign_spectrum_and_not_for_a_power_law() -> None:
    rates = []
    for n in (50, 200, 800):
        log_l = np.logaddexp(-modes(40 * n) / 5, np.log(n**-0.5 / (40 * n)))
        rates.append(float(benign_overfitting(log_l, n, log=True).variance_rate))
    assert np.all(np.diff(np.log(rates)) < -0.3)
    law = benign_overfitting(-2.0 * np.log(modes(40000)), [50, 200, 800], log=True)
    assert np.all(law.k_star_over_n > 0.9)


@pytest.mark.parametrize("spectrum", ["isotropic", "exponential over a floor", "spiked"])
@pytest.mark.parametrize("penalty", [0.0, 30.0])
def test_rates_of_ridge_are_the_theory_up_to_a_constant(spectrum, penalty) -> None:
    # Only orders are known: within a factor of four over a ladder in n, and scaling alike.
    log_l = SPECTRA[spectrum](4000)
    n = np.array([50, 100, 200, 400])
    rates = split_ridge(log_l, 0.1, n, penalty, 1.0, log=True)
    law = ridge(log_l, 0.1, n, penalty, 1.0, log=True)
    for rate, exact in ((rates.bias_rate, law.bias), (rates.variance_rate, law.variance)):
        ratio = rate / exact
        assert np.all((ratio > 1 / 4) & (ratio < 4))


def test_rates_of_ridge_are_the_sums_in_any_order_of_modes() -> None:
    rng = np.random.default_rng(0)
    eigenvalues = np.sort(np.exp(2 * rng.standard_normal(50)))[::-1]
    c, n, penalty = rng.standard_normal(50), 10, 3.0
    d = penalty + np.cumsum(eigenvalues[::-1])[::-1]
    k = int(np.argmax(d > n * eigenvalues))
    bias = np.sum(eigenvalues[k:] * c[k:] ** 2)
    bias += (d[k] / n) ** 2 * np.sum(c[:k] ** 2 / eigenvalues[:k])
    variance = k / n + n * np.sum(eigenvalues[k:] ** 2) / d[k] ** 2
    order = rng.permutation(50)
    law = split_ridge(eigenvalues[order], c[order], n, penalty, 2.0)
    assert float(law.k) == k > 0
    np.testing.assert_allclose(law.bias_rate, bias, rtol=1e-10)
    np.testing.assert_allclose(law.variance_rate, 4.0 * variance, rtol=1e-10)
