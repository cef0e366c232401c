"""Gradient descent and flow: exact paths step by step, learning curves against fresh samples."""

import numpy as np
import pytest
from scipy.integrate import quad

from tests.theory.families import SPECTRA, TARGETS
from tsframe.theory import (
    descent_path,
    gradient_flow,
    kernel_descent,
    kernel_flow,
    MarchenkoPastur,
    ridge,
)

DIM = 150
TIMES = np.array([0.3, 3.0, 30.0, 300.0])
MEASURES = ["bias", "variance", "train_error"]


@pytest.mark.parametrize(("n", "dim"), [(30, 10), (10, 30)])
def test_descent_in_closed_form_is_descent_step_by_step(n, dim) -> None:
    rng = np.random.default_rng(0)
    x, y, start = rng.standard_normal((n, dim)), rng.standard_normal(n), rng.standard_normal(dim)
    h = x.T @ x / n
    rate = 1.9 / np.linalg.eigvalsh(h).max()  # some modes overshoot, none diverges
    w, slow = start.copy(), [start]
    for _ in range(50):
        w = w - rate * (h @ w - x.T @ y / n)
        slow.append(w)
    steps = [0, 1, 7, 50]
    np.testing.assert_allclose(
        descent_path(x, y, rate, steps, start), np.array(slow)[steps], rtol=1e-10, atol=1e-12
    )
    one = descent_path(x, y, rate, [1])[0]
    np.testing.assert_allclose(x @ one, rate * x @ x.T @ y / n, rtol=1e-10)  # f = rate X X^T y / n
    last = descent_path(x, y, rate, [10**7])[0]
    np.testing.assert_allclose(last, np.linalg.lstsq(x, y)[0], rtol=1e-8, atol=1e-10)


def test_descent_diverges_beyond_two_over_the_largest_eigenvalue() -> None:
    x, y = np.random.default_rng(0).standard_normal((20, 5)), np.ones(20)
    edge = 2.0 / np.linalg.eigvalsh(x.T @ x / 20).max()
    below, above = (descent_path(x, y, k * edge, [2000])[0] for k in (0.99, 1.01))
    assert np.abs(below).max() < 10 < 1e6 < np.abs(above).max()
    with pytest.raises(ValueError, match=r"x must have shape \(n, dim\)"):
        descent_path(x, np.ones(3), 0.1, [1])


def test_kernel_flow_is_the_limit_of_small_steps_in_function_space() -> None:
    rng = np.random.default_rng(0)
    x, z, y = rng.standard_normal((12, 4)), rng.standard_normal((5, 4)), rng.standard_normal(12)
    k, cross = (1 + x @ x.T) ** 2, (1 + z @ x.T) ** 2
    rate, f, g = 1e-5, np.zeros(12), np.zeros(5)
    for _ in range(20000):
        f, g = f + rate / 12 * k @ (y - f), g + rate / 12 * cross @ (y - f)
    np.testing.assert_allclose(kernel_flow(cross, k, y, [0.2])[0], g, rtol=0.01, atol=1e-3)
    exact = cross @ np.linalg.solve(k, y)
    np.testing.assert_allclose(kernel_flow(cross, k, y, [1e12])[0], exact, rtol=1e-6)


@pytest.mark.parametrize(("n", "dim"), [(12, 4), (8, 12)])
def test_kernel_descent_is_descent_in_function_space_step_by_step(n, dim) -> None:
    rng = np.random.default_rng(0)
    x, z, y = rng.standard_normal((n, dim)), rng.standard_normal((5, dim)), rng.standard_normal(n)
    k, cross = x @ x.T, z @ x.T  # singular where n > dim
    rate = 1.9 * n / np.linalg.eigvalsh(k).max()  # some modes overshoot, none diverges
    f, g, slow = np.zeros(n), np.zeros(5), [np.zeros(5)]
    for _ in range(50):
        f, g = f + rate / n * k @ (y - f), g + rate / n * cross @ (y - f)
        slow.append(g)
    steps = [0, 1, 7, 50]
    found = kernel_descent(cross, k, y, rate, steps)
    np.testing.assert_allclose(found, np.array(slow)[steps], rtol=1e-9, atol=1e-12)
    flow = kernel_flow(cross, k, y, [3.0])[0]
    gaps = [np.abs(kernel_descent(cross, k, y, 3 / t, [t])[0] - flow).max() for t in (200, 400)]
    assert gaps[1] / gaps[0] == pytest.approx(0.5, abs=0.05)


def test_kernels_and_labels_of_other_shapes_are_refused() -> None:
    cross, kernel, y = np.ones((2, 3)), np.eye(3), np.ones(3)
    for wrong in ((cross.T, kernel, y), (cross, cross, y), (cross, kernel, y[:, None])):
        with pytest.raises(
            ValueError, match=r"must have shapes \(points, n\), \(n, n\) and \(n,\)"
        ):
            kernel_flow(*wrong, [1.0])
        with pytest.raises(ValueError, match="Use one column of labels at a time"):
            kernel_descent(*wrong, 0.1, [1])


def test_kernel_flow_of_a_linear_kernel_is_descent_on_weights() -> None:
    rng = np.random.default_rng(0)
    for n, dim in [(12, 4), (4, 12)]:
        x, z, y = rng.standard_normal((n, dim)), rng.standard_normal((5, dim)), np.ones(n)
        steps, rate = 100_000, 1e-5
        weights = descent_path(x, y, rate, [steps])[0]
        flow = kernel_flow(z @ x.T, x @ x.T, y, [rate * steps])[0]
        np.testing.assert_allclose(flow, z @ weights, rtol=1e-4, atol=1e-5)


# The learning curve of the mean sample.


def measure(log_l, c, n, draws, seed=0):
    """Means over samples of what flows exactly on each, noise averaged over exactly."""
    rng, scale, found = np.random.default_rng(seed), np.exp(log_l / 2), []
    for _ in range(draws):
        x = rng.standard_normal((n, len(log_l))) * scale
        h, u = np.linalg.eigh(x.T @ x / n)
        h = np.maximum(h, 1e-13)
        rows = []
        for t in TIMES:
            missed = (u * np.exp(-t * h)) @ (u.T @ c)
            filtered = (u * (-np.expm1(-t * h) / h)) @ (u.T @ x.T) / n
            rows.append(
                (
                    np.sum((scale * missed) ** 2),
                    np.sum((scale[:, None] * filtered) ** 2),
                    np.mean((x @ missed) ** 2) + np.mean((np.eye(n) - x @ filtered) ** 2) * n,
                )
            )
        found.append(rows)
    values = np.array(found)
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(draws)


CASES = [(s, n) for s in SPECTRA for n in (75, 300)]


@pytest.fixture(scope="module")
def measured():
    c = TARGETS["equal power"]
    return {(s, n): measure(SPECTRA[s](DIM), c(SPECTRA[s](DIM)), n, 16) for s, n in CASES}


def scores(law, found, n):
    mean, error = found
    theory = np.stack([law[name].values for name in MEASURES], axis=-1)
    allowed = error + 2e-3 * np.abs(mean) * (100 / n) + 1e-9  # finite size is of order 1/n
    return np.abs(theory - mean) / allowed


@pytest.mark.parametrize(("spectrum", "n"), CASES)
def test_measured_curves_are_those_of_theory(measured, spectrum, n) -> None:
    log_l = SPECTRA[spectrum](DIM)
    law = gradient_flow(log_l, TARGETS["equal power"](log_l), n, TIMES, 1.0, log=True)
    np.testing.assert_allclose(law.test_error, law.bias + law.variance, rtol=1e-12)
    assert np.max(scores(law, measured[spectrum, n], n)) < 5


def test_the_law_at_half_the_time_is_rejected_by_the_same_scores(measured) -> None:
    worst = []
    for spectrum, n in CASES:
        log_l = SPECTRA[spectrum](DIM)
        law = gradient_flow(log_l, TARGETS["equal power"](log_l), n, TIMES / 2, 1.0, log=True)
        worst.append(np.max(scores(law, measured[spectrum, n], n)))
    assert np.min(worst) > 10


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("n", [20, 149, 400])
def test_the_flow_ends_at_the_ridgeless_student_and_begins_at_zero(spectrum, target, n) -> None:
    log_l = SPECTRA[spectrum](DIM)
    c = TARGETS[target](log_l)
    law = gradient_flow(log_l, c, n, [0.0, 1e-6, 1e14], 0.5, log=True)
    end = ridge(log_l, c, n, 0.0, 0.5, log=True)
    power = np.sum(np.exp(log_l) * c**2)
    for name in ("bias", "variance", "train_error", "test_error"):
        at_zero = {"variance": 0.0, "train_error": power + 0.25}.get(name, power)
        assert float(law[name][0]) == pytest.approx(at_zero, rel=1e-12)
        assert float(law[name][1]) == pytest.approx(at_zero, rel=1e-3, abs=1e-8)
        assert float(law[name][2]) == pytest.approx(float(end[name]), rel=1e-5, abs=1e-8 * power)


def test_modes_too_small_for_float64_are_as_if_they_were_not_there() -> None:
    law, visible = (
        gradient_flow(-100.0 * np.arange(dim), 1.0, 20, [0.0, 1.0, 1e8], 0.5, log=True)
        for dim in (10, 7)
    )
    for name in law:
        np.testing.assert_allclose(law[name], visible[name], rtol=1e-12)


@pytest.mark.parametrize("ratio", [0.5, 2.0])
@pytest.mark.parametrize("t", [0.1, 1.0, 20.0])
def test_isotropic_curves_are_averages_over_the_marchenko_pastur_law(ratio, t) -> None:
    # Advani and Saxe: bias E e^{-2ts}, variance (dim / n) E (1 - e^{-ts})^2 / s.
    mp, n = MarchenkoPastur(ratio), 1000 / ratio
    low, high = mp.edges

    def mean(f):
        return quad(lambda x: mp.density(x) * f(x), low, high, limit=500)[0]

    law = gradient_flow(np.ones(1000), 1 / np.sqrt(1000), n, t, 1.0)
    bias = mean(lambda s: np.exp(-2 * t * s)) + mp.atom
    variance = ratio * mean(lambda s: np.expm1(-t * s) ** 2 / s)
    missed = mean(lambda s: s * np.exp(-2 * t * s))
    unfitted = 1 - ratio * mean(lambda s: -np.expm1(-2 * t * s))
    np.testing.assert_allclose(law.bias, bias, rtol=1e-6)
    np.testing.assert_allclose(law.variance, variance, rtol=1e-6)
    np.testing.assert_allclose(law.train_error, missed + unfitted, rtol=1e-6)


def test_stopping_early_is_better_on_noise() -> None:
    law = gradient_flow(
        SPECTRA["exponential"](DIM), 0.1, 75, np.geomspace(0.1, 1e6, 30), 1.0, log=True
    )
    best = int(np.argmin(law.test_error.values))
    assert 0 < best < 29
    assert float(law.test_error[best]) < 0.5 * float(law.test_error[-1])
    assert np.all(np.diff(law.train_error) < 1e-12)


def test_a_curve_has_the_dims_of_its_arguments() -> None:
    law = gradient_flow(np.ones(20), 0.1, n=[10, 40], time=[0.0, 1.0], noise=[0.0, 1.0])
    assert law.test_error.sizes == {"n": 2, "time": 2, "noise": 2}
    alone = gradient_flow(np.ones(20), 0.1, n=40, time=1.0, noise=1.0).test_error
    assert float(alone) == pytest.approx(float(law.test_error[1, 1, 1]), rel=1e-12)
