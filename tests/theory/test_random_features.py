"""Random features against students, against ridge at infinite width, and against its duality."""

import numpy as np
import pytest

from tests.theory.families import DIM, ridge_student, SPECTRA, TARGETS
from tsframe.theory import random_features, ridge

NOISE = 0.3


def law(spectrum, target, n, width, penalty, noise=NOISE):
    log_l = SPECTRA[spectrum](DIM)
    return random_features(log_l, TARGETS[target](log_l), n, width, penalty, noise, log=True)


def simulate(log_l, c, n, width, penalty, noise, draws, seed=0):
    rng = np.random.default_rng(seed)
    scale, found = np.exp(log_l / 2), []
    for _ in range(draws):
        features = rng.standard_normal((width, len(log_l))) / np.sqrt(width)
        x = rng.standard_normal((n, len(log_l))) * scale
        y = x @ c + noise * rng.standard_normal(n)
        w = ridge_student(x @ features.T, y, penalty)
        residual = y - x @ features.T @ w
        found.append((np.sum((scale * (features.T @ w - c)) ** 2), np.mean(residual**2)))
    values = np.array(found)
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(draws)


CASES = [
    ("power law", "power on the head", 100, 250, 0.0),
    ("power law", "equal power", 200, 90, 0.5),
    ("isotropic", "equal power", 100, 300, 0.0),
    ("exponential", "equal power", 150, 150, 0.1),
    ("exponential over a floor", "power on the head", 150, 60, 0.0),
    ("spiked", "equal power", 200, 100, 1.0),
]


@pytest.fixture(scope="module")
def measured():
    found = {}
    for spectrum, target, n, width, penalty in CASES:
        log_l = SPECTRA[spectrum](DIM)
        c = TARGETS[target](log_l)
        found[spectrum, n] = simulate(log_l, c, n, width, penalty, NOISE, draws=40)
    return found


def z_scores(theory, found):
    (test, train), errors = found
    scores = [(float(theory.test_error) - test) / errors[0]]
    return [*scores, (float(theory.train_error) - train) / errors[1]] if train > 1e-9 else scores


@pytest.mark.parametrize(("spectrum", "target", "n", "width", "penalty"), CASES)
def test_measured_errors_are_those_of_theory(measured, spectrum, target, n, width, penalty) -> None:
    theory = law(spectrum, target, n, width, penalty)
    assert max(map(abs, z_scores(theory, measured[spectrum, n]))) < 5


def test_the_law_of_infinite_width_is_rejected_by_the_same_scores(measured) -> None:
    worst = [
        max(map(abs, z_scores(law(spectrum, target, n, np.float64(1e9), p), measured[spectrum, n])))
        for spectrum, target, n, _, p in CASES
    ]
    assert np.median(worst) > 10


@pytest.mark.parametrize(
    ("width", "penalty", "noisy"), [(80, 0.2, 0.4080), (25, 0.2, 0.6055), (40, 0.05, 0.7785)]
)
def test_the_values_of_record_come_out(width, penalty, noisy) -> None:
    i = np.arange(1.0, 201.0)
    eigenvalues, power = i**-1.3, i**-1.5 / np.sum(i**-1.5)
    c = np.sqrt(power / eigenvalues)
    theory = random_features(eigenvalues, c, 40, width, penalty, np.sqrt(0.1))
    assert float(theory.test_error) + 0.1 == pytest.approx(noisy, abs=5.1e-5)


EVERYWHERE = [
    (s, t, n, w, p)
    for s in SPECTRA
    for t in TARGETS
    for n, w in [(50, 120), (120, 50), (100, 100), (500, 450), (500, 120), (50, 450)]
    for p in (0.0, 1e-6, 0.3)
    if n != w or p > 0  # the peak has a law of its own
]


@pytest.mark.parametrize(("spectrum", "target", "n", "width", "penalty"), EVERYWHERE)
def test_both_equations_hold_and_errors_are_as_written(spectrum, target, n, width, penalty) -> None:
    theory = law(spectrum, target, n, width, penalty)
    log_l = SPECTRA[spectrum](DIM)
    eigenvalues = np.exp(log_l)
    v = eigenvalues * TARGETS[target](log_l) ** 2
    g, kappa = np.exp(float(theory.log_gamma)), np.exp(float(theory.log_kappa))
    learned = eigenvalues / (eigenvalues + g)
    z, q = learned.sum(), (learned**2).sum()
    if penalty:
        assert z + penalty / kappa == pytest.approx(n, rel=1e-10)
        assert z + width * kappa / g == pytest.approx(width, rel=1e-10)
    else:
        assert z == pytest.approx(min(n, width, DIM), rel=1e-10)
    # The source's form, with its cancellations.
    if g == 0.0:
        bias, slack = 0.0, 1 - DIM / n
    else:
        second = kappa * eigenvalues / (eigenvalues + g) ** 2 * width / (width - q)
        bias = np.sum((1 - learned - second) * v)
        slack = 1 - (q * (width - 2 * z) + z**2) / (n * (width - q))
    error = (bias + NOISE**2) / slack
    tolerance = 1e-11 / slack + 1e-9
    assert float(theory.test_error) + NOISE**2 == pytest.approx(error, rel=tolerance)
    assert float(theory.overfitting_coefficient) == pytest.approx(1 / slack, rel=tolerance)
    if penalty:
        train = (penalty / (n * kappa)) ** 2 * error
        assert float(theory.train_error) == pytest.approx(train, rel=tolerance)
    both = float(theory.bias + theory.variance)
    assert float(theory.test_error) == pytest.approx(both, rel=1e-12)


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("n", [50, 399, 500])
@pytest.mark.parametrize("penalty", [0.0, 0.3])
def test_infinite_width_is_ridge_regression(spectrum, n, penalty) -> None:
    wide = law(spectrum, "equal power", n, 1e13, penalty)
    log_l = SPECTRA[spectrum](DIM)
    narrow = ridge(log_l, TARGETS["equal power"](log_l), n, penalty, NOISE, log=True)
    for name in ("test_error", "train_error", "bias", "variance", "overfitting_coefficient"):
        np.testing.assert_allclose(wide[name], narrow[name], rtol=1e-8, atol=1e-15, err_msg=name)


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize(("n", "width"), [(50, 120), (450, 500)])
def test_a_penalty_toward_zero_is_the_ridgeless_student(spectrum, n, width) -> None:
    for a, b in [(n, width), (width, n)]:
        small, zero = (law(spectrum, "equal power", a, b, p) for p in (1e-20, 0.0))
        for name in ("test_error", "train_error", "bias", "variance"):
            np.testing.assert_allclose(small[name], zero[name], rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_without_penalty_errors_peak_where_width_is_n(spectrum) -> None:
    width = np.array([20, 50, 90, 99, 100, 101, 110, 200, 1000])
    theory = law(spectrum, "equal power", 100, width, 0.0)
    assert float(theory.variance[4]) == np.inf
    assert np.all(np.diff(theory.variance[:4]) > 0) and np.all(np.diff(theory.variance[5:]) < 0)
    assert np.all(theory.train_error[width >= 100] == 0)


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_rows_and_features_amplify_noise_of_one_another(spectrum) -> None:
    # n (width - q) / [(n - q) (width - q) - (z - q)^2]: E0 / n is symmetric in n and width, and
    # n (width - q) / ... differs by the factor in front alone.
    one = law(spectrum, "equal power", 60, 150, 0.3 * 60 * 150)
    other = law(spectrum, "equal power", 150, 60, 0.3 * 60 * 150)
    log_l = SPECTRA[spectrum](DIM)
    gammas = float(one.log_gamma), float(other.log_gamma)
    # With the penalty as a multiple of both, penalty width / gamma decides: scale one of them.
    scaled = law(spectrum, "equal power", 150, 60, 0.3 * 60 * 150 * 150 / 60)
    assert float(scaled.log_gamma) == pytest.approx(gammas[0], rel=1e-10)
    learned = np.exp(log_l) / (np.exp(log_l) + np.exp(gammas[0]))
    q = np.sum(learned**2)
    ratio = float(one.overfitting_coefficient / scaled.overfitting_coefficient)
    assert ratio == pytest.approx(60 * (150 - q) / (150 * (60 - q)), rel=1e-9)
