"""The best penalty: closed forms to twelve digits, and a plain search elsewhere."""

import numpy as np
import pytest

from tests.theory.families import DIM, SPECTRA, TARGETS
from tsframe.theory import crossover_noise, optimal_ridge, ridge


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("n", [30, 200, 399, 400, 1000])
@pytest.mark.parametrize("noise", [0.1, 3.0])
def test_the_optimal_ridge_identity_holds_to_twelve_digits(spectrum, n, noise) -> None:
    # Equal power t^2 on every coordinate: at penalty noise^2 / t^2, test error + noise^2 is
    # t^2 n kappa, which is n kappa / penalty in units of noise^2.
    t2 = 1 / DIM
    log_l = SPECTRA[spectrum](DIM)
    at_best = ridge(log_l, np.sqrt(t2), n, noise**2 / t2, noise, log=True)
    want = t2 * n * float(at_best.kappa)
    assert float(at_best.test_error) + noise**2 == pytest.approx(want, rel=1e-12)
    found = optimal_ridge(log_l, np.sqrt(t2), n, noise, log=True)
    assert float(found.penalty) == pytest.approx(noise**2 / t2, rel=1e-7)
    assert float(found.test_error) == pytest.approx(float(at_best.test_error), rel=1e-12)


def test_the_isotropic_optimum_of_dobriban_and_wager_comes_out_to_all_digits() -> None:
    p, n, s2, r2 = 3000, 2000, 0.5, 2.0
    g = p / n
    z = g * s2 / r2
    m = (-(1 - g + z) + np.sqrt((1 - g + z) ** 2 + 4 * g * z)) / (2 * g * z)
    assert s2 * g * m == pytest.approx(1.0867995482326913, rel=1e-15)
    law = ridge(np.ones(p), np.sqrt(r2 / p), n, n * z, np.sqrt(s2))
    assert float(law.test_error) == pytest.approx(1.0867995482326913, rel=1e-12)
    found = optimal_ridge(np.ones(p), np.sqrt(r2 / p), n, np.sqrt(s2))
    assert float(found.test_error) == pytest.approx(1.0867995482326913, rel=1e-12)
    ridgeless = ridge(np.ones(p), np.sqrt(r2 / p), n, 0.0, np.sqrt(s2))
    assert float(ridgeless.bias) == pytest.approx(2 / 3, rel=1e-12)
    assert float(ridgeless.variance) == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("n", "noise"), [(50, 0.0), (50, 0.5), (399, 0.5), (600, 0.5), (600, 0)])
def test_no_penalty_does_better(spectrum, target, n, noise) -> None:
    log_l = SPECTRA[spectrum](DIM)
    c = TARGETS[target](log_l)
    found = optimal_ridge(log_l, c, n, noise, log=True)
    penalties = np.append(0.0, np.geomspace(1e-12, 1e9, 400))
    others = ridge(log_l, c, n, penalties, noise, log=True).test_error
    assert float(found.test_error) <= float(others.min()) * (1 + 1e-12)
    assert float(found.test_error) == pytest.approx(float(others.min()), rel=0.02, abs=1e-20)


@pytest.mark.parametrize(("n", "noise"), [(40, 10.0), (41, 0.001)])
def test_a_weak_target_below_strong_modes_is_not_lost_in_rounding(n, noise) -> None:
    log_l, c = -5.0 * np.arange(5), np.append(np.zeros(4), 1.0)
    found = optimal_ridge(log_l, c, n, noise, log=True)
    penalties = np.append(np.geomspace(1e-10, 1e25, 2000), np.inf)
    others = ridge(log_l, c, n, penalties, noise, log=True).test_error
    assert float(found.test_error) <= float(others.min()) * (1 + 1e-12)


def test_the_best_penalty_may_be_zero_or_infinite() -> None:
    spikes = np.append([100.0] * 2, np.ones(500))
    on_spikes = np.append([1.0] * 2, np.zeros(500))
    assert float(optimal_ridge(spikes, on_spikes, 100, 0.0).penalty) == 0
    nothing = optimal_ridge(spikes, 0.0, 100, 1.0)
    assert float(nothing.penalty) == np.inf
    assert float(nothing.test_error) == 0
    assert float(optimal_ridge(spikes, 1.0, 1000, 0.0).penalty) == 0


def test_a_grid_is_the_same_as_its_cells_alone() -> None:
    log_l = SPECTRA["power law"](50)
    law = optimal_ridge(log_l, 0.3, n=[20, 90], noise=[0.1, 1.0], log=True)
    assert law.penalty.dims == law.test_error.dims == ("n", "noise")
    for n in (20, 90):
        for noise in (0.1, 1.0):
            alone = optimal_ridge(log_l, 0.3, n, noise, log=True).penalty
            assert float(alone) == pytest.approx(float(law.penalty.sel(n=n, noise=noise)), rel=1e-7)


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_at_the_crossover_noise_variance_equals_bias(spectrum, penalty) -> None:
    log_l = SPECTRA[spectrum](DIM)
    noise = crossover_noise(log_l, 0.1, 200, penalty, log=True)
    law = ridge(log_l, 0.1, 200, penalty, float(noise), log=True)
    np.testing.assert_allclose(law.bias, law.variance, rtol=1e-12)
    if penalty == 0.0:
        want = np.sqrt(0.01 * 200 * law.kappa / (law.overfitting_coefficient - 1))
        np.testing.assert_allclose(noise, want, rtol=1e-10)
