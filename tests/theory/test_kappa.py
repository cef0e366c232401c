"""kappa is held against a slow solution in fifty decimal digits."""

from decimal import Decimal, getcontext, localcontext

import numpy as np
import pytest

from tests.theory.families import DIM, SPECTRA
from tsframe.theory.kappa import learnability, log_kappa_bounds, solve

PENALTIES = [0.0, 1e-200, 1e-3, 1.0, 1e4]


def log_kappa_in_decimals(log_l, n, penalty) -> float:
    """Halve a bracket of log kappa in decimal arithmetic, without a thought for speed."""
    with localcontext() as context:
        context.prec = 50
        eigenvalues = [Decimal(float(v)).exp() for v in log_l]
        low, high = Decimal(-2500), Decimal(100)
        while high - low > Decimal("1e-14"):
            u = (low + high) / 2
            kappa = u.exp()
            count = sum(v / (v + kappa) for v in eigenvalues) + Decimal(penalty) / kappa
            low, high = (u, high) if count > n else (low, u)
        return float(low)


def one(log_l, n, penalty):
    return solve(np.asarray(log_l)[None], np.array([float(n)]), np.array([float(penalty)]))


GAP = np.where(np.arange(60) < 20, 0.0, -90.0)  # at n = 20 kappa lies where no mode is
STEEP = -20.0 * np.arange(60)
CASES = [
    *[(name, law(60), n, p) for name, law in SPECTRA.items() for n, p in [(20, 0.0), (80, 0.3)]],
    *[("gap", GAP, n, p) for n in (19.5, 20, 20.5, 21) for p in (0.0, 1e-30)],
    *[("steep", STEEP, n, p) for n in (1, 25, 50.25, 51, 59) for p in (0.0, 1e-300)],
]


@pytest.mark.parametrize(("name", "log_l", "n", "penalty"), CASES)
def test_kappa_is_that_of_fifty_digits(name, log_l, n, penalty) -> None:
    assert getcontext().prec < 50  # the context of the slow road is its own
    found = one(log_l, n, penalty).log_kappa[0]
    assert found == pytest.approx(log_kappa_in_decimals(log_l, n, penalty), abs=1e-12, rel=1e-14)


def test_an_exponential_spectrum_is_solved_down_to_exp_minus_1000() -> None:
    # kappa = exp(slope / 2) / (exp(slope n) - 1) up to exp(-pi^2 / slope) and the end at dim.
    slope, n = 1.0, np.array([1.0, 10.0, 100.0, 999.0, 1000.0, 1500.0])
    solved = solve(-slope * np.arange(4000.0)[None], n, np.zeros(1))
    exact = slope / 2 - slope * n - np.log1p(-np.exp(-slope * n))
    assert exact[-2] < -999
    # The rest of the integral: relative error of the closed form at slope 1, independent of n.
    np.testing.assert_allclose(solved.log_kappa[2:] - exact[2:], 0.0, atol=3e-4)
    np.testing.assert_allclose(np.diff(solved.log_kappa[3:]), -np.diff(n[3:]), rtol=1e-13)


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("n", [0.5, 1, 50, 399, 400, 401, 5000])
def test_what_is_learned_and_what_is_penalized_add_up_to_n(name, penalty, n) -> None:
    solved = one(SPECTRA[name](DIM), n, penalty)
    if penalty == 0.0 and n >= DIM:
        assert solved.log_kappa[0] == -np.inf
        assert solved.df1[0] == solved.df2[0] == DIM
    np.testing.assert_allclose(solved.df1 + solved.rest, n, rtol=1e-12)
    np.testing.assert_allclose(solved.df2 + solved.slack, n, rtol=1e-12)


@pytest.mark.parametrize("name", SPECTRA)
def test_the_bounds_hold_kappa_between_them(name) -> None:
    log_l = np.broadcast_to(-np.sort(-SPECTRA[name](DIM)), (5, DIM))
    n = np.array([1.0, 7.5, 100.0, 399.0, 399.5])
    for penalty in PENALTIES:
        with np.errstate(divide="ignore"):
            low, high = log_kappa_bounds(log_l, n, np.full(5, np.log(penalty)))
        found = solve(log_l, n, np.full(5, penalty)).log_kappa
        assert np.all(low <= found + 1e-9)
        assert np.all(found <= high + 1e-9)


@pytest.mark.parametrize("name", SPECTRA)
def test_kappa_falls_with_n_and_rises_with_the_penalty(name) -> None:
    log_l = SPECTRA[name](DIM)[None]
    assert np.all(np.diff(solve(log_l, np.arange(1.0, 400.0), np.zeros(1)).log_kappa) < 0)
    assert np.all(np.diff(solve(log_l, np.array([300.0]), np.geomspace(1e-9, 1e9)).log_kappa) > 0)


@pytest.mark.parametrize("name", SPECTRA)
def test_order_of_modes_and_absent_modes_are_irrelevant(name) -> None:
    log_l = SPECTRA[name](DIM)
    shuffled = np.random.default_rng(0).permutation(np.append(log_l, [-np.inf] * 3))
    for n, penalty in [(100, 0.0), (100, 2.0), (402, 0.0), (402, 2.0)]:
        for got, want in zip(one(shuffled, n, penalty), one(log_l, n, penalty), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-12)


def test_learned_and_missed_keep_their_digits_at_both_ends() -> None:
    learned, missed = learnability(np.array([[-300.0, 0.0, 300.0]]), np.zeros(1))
    np.testing.assert_allclose(learned, [[np.exp(-300), 0.5, 1.0]], rtol=1e-13)
    np.testing.assert_allclose(missed, [[1.0, 0.5, np.exp(-300)]], rtol=1e-13)


def test_a_penalty_that_is_infinite_learns_nothing() -> None:
    solved = one(np.zeros(3), 5, np.inf)
    assert solved.log_kappa[0] == np.inf
    assert solved.rest[0] == solved.slack[0] == 5
    np.testing.assert_allclose(solved.df1, 0.0, atol=1e-300)
