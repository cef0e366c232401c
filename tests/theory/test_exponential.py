"""Closed forms of exponential and power-law spectra, and the taxonomy of overfitting."""

import numpy as np
import pytest

from tests.theory.families import modes
from tsframe.theory import exponential_spectrum, power_law_limit, ridge

# E0 at dim 200, and at n = 500 > dim.
PUBLISHED = {
    50: [1.334, 1.414, 2.725, 5.034, 25.0],
    100: [2.002, 2.164, 5.068, 10.001, 50.0],
    500: [1.667] * 5,
}
SLOPES = [0.001, 0.01, 0.05, 0.1, 0.5]


def power_law(exponent, dim=30000):
    """Modes of a power law without end: those beyond `dim` lie so far below kappa that they act as
    a ridge, the integral over their eigenvalues."""
    return -exponent * np.log(modes(dim)), (dim + 0.5) ** (1 - exponent) / (exponent - 1)


def e0_of(log_l, n, penalty=0.0):
    return ridge(log_l, 1.0, n, penalty, log=True).overfitting_coefficient


@pytest.mark.parametrize("n", PUBLISHED)
def test_the_published_overfitting_coefficients_come_out(n) -> None:
    closed = exponential_spectrum(SLOPES, 200, n).overfitting_coefficient
    np.testing.assert_allclose(closed.round(3), PUBLISHED[n], atol=1e-9)
    solved = [float(e0_of(-c * modes(200), n)) for c in SLOPES]
    np.testing.assert_allclose(solved, PUBLISHED[n], rtol=3e-4)


def test_the_published_overfitting_coefficients_of_2000_modes_come_out() -> None:
    solved = [float(e0_of(-c * modes(2000), 500)) for c in (0.001, 0.01, 0.05)]
    np.testing.assert_allclose(np.round(solved, 3), [1.414, 5.034, 25.0], atol=1e-9)


@pytest.mark.parametrize("slope", [0.0, 1e-9, *SLOPES, 2.0])
@pytest.mark.parametrize(("dim", "n"), [(200, 50), (200, 100), (200, 150), (1000, 500), (50, 60)])
def test_the_closed_form_is_the_solution(slope, dim, n) -> None:
    closed = exponential_spectrum(slope, dim, n)
    solved = ridge(-slope * np.arange(dim), 1.0, n, log=True)
    rtol = 3e-5 if slope <= 0.1 else 2.1e-3
    np.testing.assert_allclose(
        closed.overfitting_coefficient, solved.overfitting_coefficient, rtol=rtol
    )
    np.testing.assert_allclose(closed.log_kappa, solved.log_kappa, rtol=0, atol=rtol)


@pytest.mark.parametrize(
    ("slope", "inside", "ends"), [(0.1, 1e-5, 1.1e-4), (1.0, 1e-5, 1.1e-2), (2.0, 2.1e-3, 1.8e-2)]
)
def test_the_closed_form_is_as_exact_as_it_says(slope, inside, ends) -> None:
    n = np.arange(1.0, 250.0)
    closed = exponential_spectrum(slope, 250, n).overfitting_coefficient
    off = np.abs(closed / e0_of(-slope * np.arange(250), n) - 1.0).values
    assert ends / 2 < off.max() < ends
    assert off[np.minimum(n, 250 - n) >= 10 / slope].max() < inside


@pytest.mark.parametrize("slope", [0.0, *SLOPES])
@pytest.mark.parametrize("dim", [1, 20, 200])
def test_trace_and_effective_rank_are_the_sums(slope, dim) -> None:
    eigenvalues = np.exp(-slope * np.arange(dim))
    law = exponential_spectrum(slope, dim, 1)
    np.testing.assert_allclose(law.trace, eigenvalues.sum(), rtol=1e-12)
    rank = eigenvalues.sum() ** 2 / np.sum(eigenvalues**2)
    np.testing.assert_allclose(law.effective_rank, rank, rtol=1e-12)


def test_published_effective_ranks_come_out() -> None:
    slopes = [0.0, 0.001, 0.01, 0.05, 0.1, 0.5]
    ranks = exponential_spectrum(slopes, 200, 1).effective_rank
    np.testing.assert_allclose(ranks, [200, 199, 152, 40, 20, 4.1], rtol=0.01)


# Taxonomy: benign, tempered, catastrophic.


@pytest.mark.parametrize(
    ("exponent", "published"),
    [(1.5, [1.48, 1.50, 1.51]), (2.0, [1.97, 1.99, 2.00]), (3.0, [2.95, 2.99, 3.00])],
)
def test_a_power_law_is_tempered_with_its_exponent(exponent, published) -> None:
    e0 = e0_of(power_law(exponent)[0], [30, 100, 300], power_law(exponent)[1])
    np.testing.assert_allclose(e0.round(2), published, atol=0.011)
    assert float(e0[-1]) == pytest.approx(exponent, rel=0.02)


@pytest.mark.parametrize(("slope", "n"), [(0.1, 30), (0.1, 100), (0.5, 300), (1.0, 1000)])
def test_an_exponential_is_catastrophic_as_slope_times_n(slope, n) -> None:
    e0 = float(e0_of(-slope * np.arange(4 * n), n))
    # 1 - exp(-slope n), and what sums differ from integrals, 2 exp(-2 pi^2 / slope) times a power.
    rest = np.exp(-slope * n) + np.exp(-(np.pi**2) / slope)
    assert e0 == pytest.approx(slope * n, rel=1.1 * rest + 1e-9)


def test_a_log_corrected_spectrum_is_benign_but_slowly() -> None:
    i, n = modes(10**6), np.array([100.0, 1000.0, 10000.0])
    tail = 1 / (1 + np.log(i[-1] + 0.5))
    e0 = e0_of(-np.log(i) - 2.0 * np.log1p(np.log(i)), n, penalty=tail)
    assert float(e0[-1]) == pytest.approx(1.11, abs=0.01)
    # Variance tends to noise^2 (a - 1) / log n, with corrections of log log n / log n.
    ratio = (e0 - 1) * np.log(n)
    assert np.all(np.abs(ratio - 1) < np.log(np.log(n)) / np.log(n))


def test_a_floor_makes_an_exponential_benign() -> None:
    # Excess falls with n at a floor so wide that its directions exceed n by far.
    excess = []
    for n in (50, 200, 800):
        p = 40 * n
        log_l = np.logaddexp(-modes(p) / 5, np.log(n**-0.5 / p))
        excess.append(float(e0_of(log_l, n)) - 1)
    assert np.all(np.diff(np.log(excess)) < -0.3)
    assert excess[-1] < 0.1


@pytest.mark.parametrize(
    ("p", "floor", "n", "kappa"),
    [(20000, 1e-4, 500, 4.13e-3), (20000, 1e-3, 500, 0.0403), (2000, 1e-3, 100, 0.0235)],
)
def test_a_floor_acts_as_a_ridge(p, floor, n, kappa) -> None:
    law = ridge(np.logaddexp(-np.arange(p) / 5, np.log(floor)), 1.0, n, log=True)
    assert float(law.kappa) == pytest.approx(kappa, rel=2e-3)
    assert float(law.kappa) == pytest.approx(p * floor / n, rel=0.2)


@pytest.mark.parametrize("exponent", [1.5, 2.0, 3.0])
def test_a_fixed_penalty_is_benign_for_a_summable_spectrum(exponent) -> None:
    e0 = e0_of(-exponent * np.log(modes(20000)), [30, 300, 3000, 30000], penalty=1.0)
    assert np.all(np.diff(e0) < 0)
    assert float(e0[-1]) - 1 < 0.04


# Limits of Cheng and Montanari.


@pytest.mark.parametrize("exponent", [1.5, 2.0, 3.0])
@pytest.mark.parametrize("nu", [0.0, 0.1, 1.0, 10.0])
def test_power_laws_with_a_scaled_penalty_reach_their_limit(exponent, nu) -> None:
    n = 500
    log_l, tail = power_law(exponent, 100000)
    law = ridge(log_l, 1.0, n, nu * n ** (1 - exponent) + tail, log=True)
    limit = power_law_limit(exponent, nu)
    assert float(limit.scaled_kappa) == pytest.approx(float(law.kappa) * n**exponent, rel=0.02)
    e0, want = float(law.overfitting_coefficient), float(limit.overfitting_coefficient)
    assert e0 - 1 == pytest.approx(want - 1, rel=0.03)


@pytest.mark.parametrize("exponent", [1.2, 2.0, 5.0])
def test_the_scaled_kappa_solves_its_equation(exponent) -> None:
    nu = np.array([0.0, 1e-6, 1.0, 1e6])
    c = power_law_limit(exponent, nu).scaled_kappa.values
    width = np.pi / exponent / np.sin(np.pi / exponent)
    np.testing.assert_allclose(nu / c + width * c ** (-1 / exponent), 1.0, rtol=1e-12)


def test_the_limit_without_penalty_is_the_exponent_and_a_wrong_one_is_rejected() -> None:
    exponents = np.linspace(1.01, 6, 30)
    e0 = power_law_limit(exponents).overfitting_coefficient
    np.testing.assert_allclose(e0, exponents, rtol=1e-12)
    solved = float(e0_of(-2.0 * np.log(modes(30000)), 300))
    assert solved == pytest.approx(2.0, rel=0.02)
    for wrong in (1.0, 3.0):  # 1 / (a - 1) + ..., and 1 + a
        assert solved != pytest.approx(wrong, rel=0.02)
