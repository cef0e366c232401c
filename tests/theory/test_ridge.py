"""Ridge regression: the deterministic equivalent against students, closed forms and itself."""

import tracemalloc
from time import perf_counter

import numpy as np
import pytest
import xarray as xr

from tests.theory.families import DIM, N, simulate, SPECTRA, TARGETS
from tsframe.spectra import Sloppy
from tsframe.theory import ridge

NOISE = 0.7
# Penalty that shrinks visibly, at every scale of a spectrum.
PENALTIES = {"ridgeless": 0.0, "ridge": 0.3}
VARIABLES = [
    "test_error",
    "train_error",
    "bias",
    "variance",
    "kappa",
    "log_kappa",
    "df1",
    "df2",
    "overfitting_coefficient",
]


def law(spectrum, target="equal power", n=N, penalty=0.0, noise=NOISE, dim=DIM) -> xr.Dataset:
    log_l = SPECTRA[spectrum](dim)
    return ridge(log_l, TARGETS[target](log_l), n, penalty, noise, log=True)


def z_scores(theory: xr.Dataset, measured: dict[str, tuple[float, float]]) -> dict[str, float]:
    """Distance of theory from measurement in standard errors; what is zero to rounding is left."""
    return {
        name: (float(theory[name]) - mean) / error
        for name, (mean, error) in measured.items()
        if mean > 1e-12
    }


# Two roads: students trained on fresh samples, their standard error computed; seed fixed.
MEASURED = [
    (spectrum, target, penalty)
    for spectrum in SPECTRA
    for target, penalty in [("equal power", 0.0), ("power on the head", 0.3)]
]


@pytest.fixture(scope="module")
def measured() -> dict[tuple[str, str, float], dict[str, tuple[float, float]]]:
    found = {}
    for spectrum, target, penalty in MEASURED:
        log_l = SPECTRA[spectrum](DIM)
        c = TARGETS[target](log_l)
        found[spectrum, target, penalty] = simulate(log_l, c, N, penalty, NOISE, draws=30)
    return found


@pytest.mark.parametrize(("spectrum", "target", "penalty"), MEASURED)
def test_measured_errors_are_those_of_theory(measured, spectrum, target, penalty) -> None:
    theory = law(spectrum, target, penalty=penalty)
    scores = z_scores(theory, measured[spectrum, target, penalty])
    assert set(scores) == {"test_error", "train_error"} - (
        {"train_error"} if penalty == 0 else set()
    )
    assert max(map(abs, scores.values())) < 5


def without_e0(theory: xr.Dataset, n: int, penalty: float):
    return theory.test_error / theory.overfitting_coefficient


def without_bias(theory: xr.Dataset, n: int, penalty: float):
    return theory.variance


def with_df1(theory: xr.Dataset, n: int, penalty: float):
    return theory.bias + NOISE**2 * theory.df1 / (n - theory.df2)


@pytest.mark.parametrize("fault", [without_e0, without_bias, with_df1])
def test_a_wrong_formula_is_rejected_by_the_same_scores(measured, fault) -> None:
    worst = []
    for (spectrum, target, penalty), found in measured.items():
        theory = law(spectrum, target, penalty=penalty)
        theory["test_error"] = fault(theory, N, penalty)
        worst.append(max(map(abs, z_scores(theory, found).values())))
    assert max(worst) > 10
    assert np.mean(np.array(worst) > 5) > 0.3


@pytest.mark.parametrize(
    "wrong",
    [{"penalty": 0.3 / N}, {"noise": NOISE**2}],
    ids=["penalty times n", "noise a variance"],
)
def test_a_wrong_convention_is_rejected_by_the_same_scores(measured, wrong) -> None:
    worst = []
    for (spectrum, target, penalty), found in measured.items():
        if penalty > 0:
            theory = law(spectrum, target, **{"penalty": penalty, **wrong})
            worst.append(max(map(abs, z_scores(theory, found).values())))
    assert np.mean(np.array(worst) > 5) > 0.3


# Identities: every spectrum, every target, ridge and ridgeless, fewer and more rows than modes.
EVERYWHERE = [
    (spectrum, target, n, penalty)
    for spectrum in SPECTRA
    for target in TARGETS
    for n in (50, 399, 500)
    for penalty in PENALTIES.values()
]
everywhere = pytest.mark.parametrize(("spectrum", "target", "n", "penalty"), EVERYWHERE)


@everywhere
def test_generalized_cross_validation_is_exact(spectrum, target, n, penalty) -> None:
    theory = law(spectrum, target, n, penalty)
    noisy = theory.test_error + NOISE**2
    np.testing.assert_allclose(
        theory.train_error, (1 - theory.df1 / n) ** 2 * noisy, rtol=1e-10, atol=1e-20
    )
    if penalty:
        rest = penalty / (n * theory.kappa)
        np.testing.assert_allclose(theory.train_error, rest**2 * noisy, rtol=1e-10)
        np.testing.assert_allclose(1 - theory.df1 / n, rest, rtol=1e-9, atol=1e-12)


@everywhere
def test_errors_are_the_sums_as_they_are_written(spectrum, target, n, penalty) -> None:
    # The textbook form, with its cancellations, from kappa alone.
    theory = law(spectrum, target, n, penalty)
    log_l = SPECTRA[spectrum](DIM)
    eigenvalues, c = np.exp(log_l), TARGETS[target](log_l)
    learned = eigenvalues / (eigenvalues + float(theory.kappa))
    e0 = n / (n - np.sum(learned**2))  # loses up to 1e-16 n / (n - df2) in rounding
    np.testing.assert_allclose(theory.overfitting_coefficient, e0, rtol=1e-9 * max(1, e0 / 10))
    bias = e0 * np.sum(eigenvalues * c**2 * (1 - learned) ** 2)
    np.testing.assert_allclose(theory.bias, bias, rtol=1e-9 * max(1, e0 / 10))
    np.testing.assert_allclose(theory.variance, NOISE**2 * (e0 - 1), rtol=1e-9 * max(1, e0 / 10))


@everywhere
def test_units_of_the_inputs_are_irrelevant(spectrum, target, n, penalty) -> None:
    theory, log_l = law(spectrum, target, n, penalty), SPECTRA[spectrum](DIM)
    scale = 1e6
    c = TARGETS[target](log_l) / np.sqrt(scale)
    scaled = ridge(log_l + np.log(scale), c, n, penalty * scale, NOISE, log=True)
    for name in set(VARIABLES) - {"kappa", "log_kappa"}:
        np.testing.assert_allclose(scaled[name], theory[name], rtol=1e-10, err_msg=name)
    np.testing.assert_allclose(scaled.kappa, theory.kappa * scale, rtol=1e-10)


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("n", [1, 50, 200, 399])
@pytest.mark.parametrize("penalty", PENALTIES.values())
def test_bias_of_a_target_of_equal_power_is_n_kappa_less_the_penalty(spectrum, n, penalty) -> None:
    theory = law(spectrum, "equal power", n, penalty)
    t2 = 1 / DIM
    exact = t2 * (n * theory.kappa - theory.overfitting_coefficient * penalty)
    np.testing.assert_allclose(theory.bias, exact, rtol=1e-10)


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_beyond_the_dimension_only_noise_is_left(spectrum) -> None:
    theory = law(spectrum, n=[401, 500, 4000])
    n = theory.n
    assert np.all(theory.bias == 0) and np.all(theory.kappa == 0)
    np.testing.assert_allclose(theory.variance, NOISE**2 * DIM / (n - DIM), rtol=1e-12)
    np.testing.assert_allclose(theory.train_error, NOISE**2 * (1 - DIM / n), rtol=1e-12)


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_at_the_dimension_noise_is_infinite_and_without_noise_nothing_is(spectrum) -> None:
    noisy, clean = law(spectrum, n=DIM), law(spectrum, n=DIM, noise=0.0)
    assert float(noisy.test_error) == float(noisy.overfitting_coefficient) == np.inf
    assert float(noisy.bias) == float(noisy.train_error) == 0
    assert float(clean.test_error) == float(clean.variance) == 0


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("n", [50, 500])
def test_a_penalty_toward_infinity_leaves_the_zero_student(spectrum, n) -> None:
    log_l = SPECTRA[spectrum](DIM)
    power = np.sum(np.exp(log_l)) / DIM
    for penalty in (1e15, np.inf):
        theory = law(spectrum, n=n, penalty=penalty)
        np.testing.assert_allclose(theory.test_error, power, rtol=1e-10)
        np.testing.assert_allclose(theory.train_error, power + NOISE**2, rtol=1e-10)


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("n", [50, 399, 500])
def test_a_penalty_toward_zero_is_the_ridgeless_student(spectrum, n) -> None:
    small, zero = law(spectrum, n=n, penalty=1e-22), law(spectrum, n=n)
    for name in set(VARIABLES) - {"log_kappa", "kappa"}:
        np.testing.assert_allclose(small[name], zero[name], rtol=1e-8, atol=1e-11, err_msg=name)


def test_a_steep_spectrum_keeps_its_digits_where_float64_ends() -> None:
    # Power of order one on every mode: coefficients up to exp(700), eigenvalues down to exp(-1400).
    log_l = -1.0 * np.arange(1401)
    theory = ridge(log_l, np.exp(-log_l / 2), n=[10, 1000, 1300], noise=1.0, log=True)
    assert theory.log_kappa[1] == pytest.approx(-999.5, abs=1e-3)
    np.testing.assert_allclose(theory.overfitting_coefficient, theory.n, rtol=1e-3)
    # Bias: E0 times the modes missed, of which there are dim - n up to a constant.
    assert np.all(np.abs(theory.bias / theory.n - (1401 - theory.n)) < 1)
    assert np.all(np.isfinite(theory.test_error))


# Labels: dims and coordinates of the answer are those of the question.


def grid() -> tuple[xr.DataArray, xr.DataArray]:
    slope = xr.DataArray([0.0, 0.05, 2.0], dims="slope", coords={"slope": [0.0, 0.05, 2.0]})
    log_l = -slope * xr.DataArray(np.arange(60), dims="mode")
    tilt = xr.DataArray([0.0, 1.0], dims="tilt", coords={"tilt": [0.0, 1.0]})
    c = np.exp(-0.1 * tilt.values[:, None] * np.arange(60))
    return log_l, xr.DataArray(c, coords={"tilt": tilt}, dims=["tilt", "mode"])


def test_a_prediction_has_the_dims_and_coordinates_of_its_arguments() -> None:
    log_l, c = grid()
    theory = ridge(log_l, c, n=[10, 70], penalty=[0.0, 1.0], noise=[0.0, 0.1, 1.0], log=True)
    assert set(theory.data_vars) == set(VARIABLES)
    assert theory.sizes == {"slope": 3, "tilt": 2, "n": 2, "penalty": 2, "noise": 3}
    assert theory.noise.values.tolist() == [0.0, 0.1, 1.0]
    assert theory.slope.values.tolist() == [0.0, 0.05, 2.0]
    assert theory.kappa.dims == ("slope", "n", "penalty")  # what noise and target do not move


def test_a_grid_is_the_same_as_its_cells_alone() -> None:
    log_l, c = grid()
    theory = ridge(log_l, c, n=[10, 70], penalty=[0.0, 1.0], noise=[0.0, 1.0], log=True)
    for slope, tilt, n, penalty, noise in np.ndindex(3, 2, 2, 2, 2):
        place = {"slope": slope, "tilt": tilt, "n": n, "penalty": penalty, "noise": noise}
        values = [theory[name].values[place[name]] for name in ("n", "penalty", "noise")]
        alone = ridge(log_l.values[slope], c.values[tilt], *map(float, values), log=True)
        for name in VARIABLES:
            want = theory[name].isel({d: i for d, i in place.items() if d in theory[name].dims})
            assert float(alone[name]) == float(want), (name, place)


def test_chunks_of_cells_leave_no_trace(monkeypatch) -> None:
    log_l, c = grid()
    whole = ridge(log_l, c, n=[10, 70], penalty=[0.0, 1.0], log=True)
    monkeypatch.setattr("tsframe.theory.labeled.CHUNK", 130)
    xr.testing.assert_identical(ridge(log_l, c, n=[10, 70], penalty=[0.0, 1.0], log=True), whole)


def test_eigenvalues_and_their_logs_give_the_same() -> None:
    eigenvalues = Sloppy(0.3)(100)
    plain = ridge(eigenvalues, 0.1, n=[30, 300], noise=1.0)
    logs = ridge(np.log(eigenvalues), np.full(100, 0.1), n=[30, 300], noise=1.0, log=True)
    xr.testing.assert_identical(plain, logs)


REFUSED = {
    "zero": (lambda: ridge([1.0, 0.0], 1.0, 1), "log=True, where -inf stands for a mode"),
    "NaN": (lambda: ridge([1.0, np.nan], 1.0, 1), "got NaN at 1 places"),
    "no modes": (lambda: ridge(1.0, 1.0, 1), 'must have the dim "mode"'),
    "unequal modes": (lambda: ridge([2.0, 1.0], [1.0] * 3, 1), "2 eigenvalues and 3 coefficients"),
    "no rows": (lambda: ridge([1.0], 1.0, [1, 0]), "n must be > 0 and finite; got n=0.0"),
    "negative ridge": (lambda: ridge([1.0], 1.0, 1, -1.0), "penalty must be >= 0; got penalty=-1"),
    "negative noise": (lambda: ridge([1.0], 1.0, 1, 0.0, -1.0), "noise must be >= 0 and finite"),
    "held": (lambda: ridge(Sloppy(2.0)(500), 1.0, 450), "log=True, such as -slope * np.arange"),
    "words": (lambda: ridge(["a"], 1.0, 1), "eigenvalues must be real numbers"),  # type: ignore[list-item]
    "an empty spectrum": (lambda: ridge([], 1.0, 1), "eigenvalues must have at least one mode"),
    "nameless": (lambda: ridge(np.ones((2, 2)), 1.0, 1), "2 dims without names"),
    "other modes": (
        lambda: ridge(
            xr.DataArray([2.0, 1.0], coords={"mode": [0, 1]}),
            xr.DataArray([2.0, 1.0], coords={"mode": [1, 2]}),
            1,
        ),
        "the mode coordinates of eigenvalues and coefficients differ",
    ),
    "other cells": (
        lambda: ridge(
            [1.0],
            1.0,
            xr.DataArray([2.0, 1.0], coords={"seed": [0, 1]}),
            noise=xr.DataArray([2.0, 1.0], coords={"seed": [1, 2]}),
        ),
        "the seed coordinates of n and noise differ",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_answered_is_refused_in_a_sentence(case) -> None:
    call, sentence = REFUSED[case]
    with pytest.raises((ValueError, TypeError)) as refusal:
        call()
    assert sentence in str(refusal.value)


def test_eigenvalues_held_at_the_smallest_float_are_harmless_far_above_them() -> None:
    slope = 2.0
    held = ridge(Sloppy(slope)(500), 1.0, [50, 300], 0.0, 1.0)
    scale = np.log(500 * (1 - np.exp(-slope)))
    exact = ridge(scale - slope * np.arange(500), 1.0, [50, 300], 0.0, 1.0, log=True)
    np.testing.assert_allclose(held.variance, exact.variance, rtol=1e-9)


@pytest.mark.slow
def test_a_grid_of_100000_cells_of_1000_modes_takes_less_than_a_minute() -> None:
    slope = xr.DataArray(np.geomspace(1e-3, 1, 50), dims="slope")
    log_l = -slope * xr.DataArray(np.arange(1000), dims="mode")
    n, penalty = np.geomspace(10, 5000, 40), np.append(0.0, np.geomspace(1e-6, 1e3, 49))
    tracemalloc.start()
    start = perf_counter()
    theory = ridge(log_l, 1 / np.sqrt(1000), n, penalty, 0.5, log=True)
    took, peak = perf_counter() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(f"{theory.test_error.size} cells in {took:.1f} s, peak {peak / 1e6:.0f} MB")
    assert theory.test_error.size == 100_000
    assert bool(np.isfinite(theory.test_error).all())
    assert took < 60
    assert peak < 3e8
