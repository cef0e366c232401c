"""Classical bounds: they hold on samples, are the formulas as written, and fail when weakened."""

import itertools
import math

import numpy as np
import pytest
from scipy.optimize import linprog

from tsframe.theory import (
    margin_bound,
    perceptron_bound,
    rademacher_linear,
    separable_labelings,
    vc_bound,
)


def test_the_vc_bound_is_the_formula_as_written() -> None:
    n, d, delta = 1000, 21, 0.1
    radius = math.sqrt((d * (math.log(2 * n / d) + 1) - math.log(delta / 4)) / n)
    assert float(vc_bound(0.1, n, d, delta)) == pytest.approx(0.1 + radius, rel=1e-12)
    assert float(vc_bound(0.1, 10, 21)) == np.inf
    assert np.all(np.diff(vc_bound(0.0, [100, 1000, 10000], 21)) < 0)


@pytest.mark.parametrize(("n", "dim"), [(10, 40), (40, 10), (100, 100)])
def test_the_rademacher_bound_holds_and_is_nearly_reached(n, dim) -> None:
    rng, found = np.random.default_rng(0), []
    for _ in range(2000):
        x = rng.standard_normal((n, dim))
        found.append(2.0 * np.linalg.norm(rng.choice([-1.0, 1.0], n) @ x) / n)  # sup over |w| <= 2
    mean, error = np.mean(found), np.std(found) / np.sqrt(2000)
    bound = float(rademacher_linear(2.0, np.sqrt(dim), n))
    assert mean - 5 * error < bound
    assert mean + 5 * error > bound * (1 - 1 / min(n, dim))
    assert mean - 5 * error > bound / 2  # control: half of it is no bound


def test_the_margin_bound_holds_over_samples() -> None:
    rng, dim, n, draws = np.random.default_rng(0), 5, 2000, 40
    margin, delta = 0.5, 0.05
    failures = 0
    for _ in range(draws):
        x = rng.standard_normal((n, dim))
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        y = np.sign(x[:, 0])
        w = x.T @ y
        w *= 2 / np.linalg.norm(w)
        share = float(np.mean(y * (x @ w) < margin))
        risk = np.arccos(w[0] / 2) / np.pi
        failures += bool(risk > margin_bound(share, margin, 2.0, 1.0, n, delta))
    assert failures <= delta * draws
    assert float(margin_bound(0.0, 1.0, 1.0, 1.0, 10_000)) == pytest.approx(
        0.02 + math.sqrt(math.log(20) / 20_000), rel=1e-12
    )


def perceptron(x, y):
    """Cycle through the rows until no mistake is made; give weights and number of mistakes."""
    w, mistakes, quiet = np.zeros(x.shape[1]), 0, 0
    for row, label in itertools.cycle(zip(x, y, strict=True)):
        quiet += 1
        if label * (row @ w) <= 0:
            w, mistakes, quiet = w + label * row, mistakes + 1, 0
        if quiet == len(x):
            return w, mistakes


def test_perceptrons_keep_to_novikoff_and_to_the_bound_of_their_mean_error() -> None:
    rng, dim, gamma, n = np.random.default_rng(0), 5, 0.3, 60
    errors = []
    for _ in range(60):
        x = rng.standard_normal((40 * n, dim))
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        x = x[np.abs(x[:, 0]) > gamma]
        train, test = x[:n], x[n:]
        w, mistakes = perceptron(train, np.sign(train[:, 0]))
        assert mistakes <= 1 / gamma**2
        errors.append(np.mean(np.sign(test @ w) != np.sign(test[:, 0])))
    bound = float(perceptron_bound(1.0, gamma, n))
    assert bound == pytest.approx(1 / gamma**2 / 61)
    assert np.mean(errors) + 5 * np.std(errors) / np.sqrt(60) < bound


def separable(x, y) -> bool:
    """Whether some w has y x . w >= 1 on all rows, by linear programming."""
    found = linprog(np.zeros(x.shape[1]), -y[:, None] * x, -np.ones(len(y)), bounds=(None, None))
    return bool(found.status == 0)


@pytest.mark.parametrize(("n", "dim"), [(8, 3), (8, 6), (4, 2)])
def test_covers_count_is_what_linear_programming_finds(n, dim) -> None:
    rng, draws = np.random.default_rng(0), 400
    found = [
        separable(rng.standard_normal((n, dim)), rng.choice([-1.0, 1.0], n)) for _ in range(draws)
    ]
    want = float(separable_labelings(n, dim))
    error = np.sqrt(want * (1 - want) / draws)
    assert abs(np.mean(found) - want) < 5 * error
    assert abs(np.mean(found) - float(separable_labelings(n, dim - 1))) > 5 * error  # control


def test_covers_count_is_the_binomial_sum() -> None:
    for n, dim in [(8, 3), (8, 6), (20, 10), (5, 9), (1, 1), (200, 100)]:
        want = sum(math.comb(n - 1, k) for k in range(dim)) / 2 ** (n - 1)
        assert float(separable_labelings(n, dim)) == pytest.approx(want, rel=1e-10)
    found = separable_labelings([8, 8], 3).values[0], float(separable_labelings(8, 6))
    np.testing.assert_allclose(found, [0.2266, 0.9375], atol=5e-5)
