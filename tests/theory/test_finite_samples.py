"""The exact means at finite n, against students and against the deterministic equivalent."""

import numpy as np
import pytest

from tests.theory.families import ridge_student, SPECTRA
from tsframe.theory import (
    isotropic_min_norm,
    leave_one_out,
    ordinary_least_squares,
    ridge,
    selected_features,
)

DRAWS = 3000


def mean_and_error(values) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))


def errors(n, dim, noise, seed=0, log_l=None, draws=DRAWS, seen=None):
    """Test errors of students of least norm that see the first `seen` features.

    The mean over the noise that the student sees is taken exactly: far fewer draws are needed.
    """
    rng = np.random.default_rng(seed)
    scale = np.ones(dim) if log_l is None else np.exp(log_l / 2)
    c = np.ones(dim) / np.sqrt(dim)
    found = []
    for _ in range(draws):
        x = rng.standard_normal((n, dim)) * scale
        solved = np.zeros((dim, n))
        solved[:seen] = np.linalg.pinv(x[:, :seen])
        missed = scale * (solved @ (x @ c) - c)
        found.append(np.sum(missed**2) + noise**2 * np.sum((scale[:, None] * solved) ** 2))
    return found


def agree(exact: float, values) -> bool:
    mean, error = mean_and_error(values)
    return abs(exact - mean) < 5 * error


@pytest.mark.parametrize(("n", "dim"), [(20, 8), (8, 20), (30, 10), (10, 40)])
@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_isotropic_students_of_least_norm_have_their_exact_mean(n, dim, noise) -> None:
    law = isotropic_min_norm(dim, n, norm=1.0, noise=noise)
    if n > dim and noise == 0.0:
        assert float(law.test_error) == 0.0
        return
    values = errors(n, dim, noise)
    assert agree(float(law.test_error), values)
    if n < dim:  # control: the deterministic equivalent is far off at so few rows
        equivalent = ridge(np.ones(dim), 1 / np.sqrt(dim), n, 0.0, noise).test_error
        assert noise == 0.0 or not agree(float(equivalent), values)


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_least_squares_has_the_same_mean_at_every_spectrum(spectrum) -> None:
    law = float(ordinary_least_squares(dim=10, n=30, noise=0.5))
    assert law == pytest.approx(0.25 * 10 / 19)
    assert agree(law, errors(30, 10, 0.5, log_l=SPECTRA[spectrum](10), draws=1500))


@pytest.mark.parametrize("features", [4, 8, 20, 30])
def test_selected_features_double_descend_as_belkin_hsu_and_xu_say(features) -> None:
    inside = np.sqrt(features / 40)
    law = selected_features(12, features, inside, np.sqrt(1 - inside**2), noise=0.3)
    values = errors(12, 40, 0.3, seen=features)
    assert agree(float(law), values)
    s2 = 1 - inside**2 + 0.09
    noisy = (
        s2 * (1 + features / (12 - features - 1))
        if features <= 10
        else inside**2 * (1 - 12 / features) + s2 * (1 + 12 / (features - 13))
    )
    assert float(law) + 0.09 == pytest.approx(noisy, rel=1e-12)


def test_the_mean_of_the_inverse_wishart_matrix_is_8_over_11() -> None:
    assert float(isotropic_min_norm(8, 20, 0.0, 1.0).test_error) == pytest.approx(8 / 11)
    assert float(isotropic_min_norm(20, 8, 0.0, 1.0).test_error) == pytest.approx(8 / 11)


def test_within_one_row_of_the_peak_the_mean_is_infinite() -> None:
    law = isotropic_min_norm(20, [18, 19, 20, 21, 22], norm=0.0, noise=0.1)
    assert np.isinf(law.variance.values).tolist() == [False, True, True, True, False]
    assert np.all(isotropic_min_norm(20, [19, 20, 21], norm=0.0, noise=0.0).test_error == 0)
    assert ordinary_least_squares(20, [10, 21]).isnull().values.tolist() == [True, False]
    # With a row less than modes something is missed even where there is no noise.
    assert ordinary_least_squares(20, [19, 20], 0.0).isnull().values.tolist() == [True, False]


@pytest.mark.parametrize("ratio", [0.5, 3.0])
def test_the_exact_means_approach_the_deterministic_equivalent_as_one_over_n(ratio) -> None:
    n = np.array([50.0, 100.0, 200.0, 400.0])
    gaps = []
    for rows in n:
        dim = int(ratio * rows)
        exact = isotropic_min_norm(dim, rows, 1.0, 1.0).test_error
        equivalent = ridge(np.ones(dim), 1 / np.sqrt(dim), rows, 0.0, 1.0).test_error
        gaps.append(float(exact - equivalent))
    assert np.all(np.array(gaps) > 0)
    np.testing.assert_allclose(np.diff(np.log(gaps)), -np.log(2), atol=0.05)


@pytest.mark.parametrize(("n", "dim", "penalty"), [(15, 6, 0.0), (6, 15, 0.0), (6, 15, 2.0)])
def test_leave_one_out_is_what_students_do_who_have_not_seen_the_row(n, dim, penalty) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((n, dim)), rng.standard_normal(n)
    slow = [
        y[i] - x[i] @ ridge_student(np.delete(x, i, 0), np.delete(y, i), penalty) for i in range(n)
    ]
    np.testing.assert_allclose(leave_one_out(x, y, penalty), slow, rtol=1e-10)
    if n > dim or penalty:  # the textbook form
        hat = x @ np.linalg.solve(x.T @ x + penalty * np.eye(dim), x.T)
        np.testing.assert_allclose(slow, (y - hat @ y) / (1 - np.diag(hat)), rtol=1e-10)


def test_generalized_cross_validation_of_one_large_sample_estimates_its_error() -> None:
    # One draw of many rows: leave-one-out, averaged, is near to the noisy test error of theory.
    rng = np.random.default_rng(1)
    n, dim, penalty, noise = 600, 300, 50.0, 0.5
    x = rng.standard_normal((n, dim))
    y = x @ np.full(dim, 1 / np.sqrt(dim)) + noise * rng.standard_normal(n)
    squares = leave_one_out(x, y, penalty) ** 2
    law = ridge(np.ones(dim), 1 / np.sqrt(dim), n, penalty, noise)
    assert agree(float(law.test_error) + noise**2, squares)


@pytest.mark.parametrize("x", [[[1, 0], [0, 1], [0, 1]], [[1, 2, 0], [0, 1, 0], [0, 1, 0]]])
def test_a_row_that_alone_knows_a_mode_is_left_out_like_any_other(x) -> None:
    x, y = np.array(x, dtype=float), np.array([2.0, 1.0, 3.0])
    slow = [
        y[i] - x[i] @ np.linalg.lstsq(np.delete(x, i, 0), np.delete(y, i), rcond=None)[0]
        for i in range(3)
    ]
    np.testing.assert_allclose(leave_one_out(x, y), slow, rtol=1e-12)


@pytest.mark.parametrize("arguments", [([[1.0]], [1.0, 2.0]), ([1.0], [1.0])])
def test_shapes_that_do_not_fit_are_refused(arguments) -> None:
    with pytest.raises(ValueError, match=r"x must have shape \(n, dim\)"):
        leave_one_out(*arguments)
    with pytest.raises(ValueError, match="penalty must be >= 0"):
        leave_one_out([[1.0]], [1.0], -1.0)
