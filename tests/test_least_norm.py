from collections.abc import Callable

import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import lstsq

from tsframe.solving.least_norm import LeastNorm
from tsframe.theory import leave_one_out

Floats = NDArray[np.float64]
SHAPES = [(30, 70), (50, 50), (70, 30), (1, 5), (5, 1), (1, 1)]
STEEP: dict[str, Callable[[Floats], Floats]] = {  # standard deviations of modes i = 0, 1, ...
    "slope 0.5": lambda i: np.exp(-0.25 * i),
    "slope 5": lambda i: np.exp(-2.5 * i),
    "power 12": lambda i: (i + 1) ** -6.0,
    "a cliff": lambda i: np.where(i < 7, 1.0, 1e-90),
    "a cliff to a plain": lambda i: np.where(i < 40, 10.0 ** -(i / 2), 1e-20),
}


def sample(n: int, p: int, seed: int = 0, outputs: int = 2) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, p)), rng.standard_normal((n, outputs))


def exact_weights(x: Floats, y: Floats, penalty: float) -> mpmath.matrix:
    """Solve the dual, or the primal where features are fewer, in 400 digits."""
    with mpmath.workdps(400):
        a, b = mpmath.matrix(x.tolist()), mpmath.matrix(y.tolist())
        dual = len(x) <= x.shape[1]
        system = (a * a.T if dual else a.T * a) + penalty * mpmath.eye(min(x.shape))
        columns = b if dual else a.T * b
        solved = mpmath.matrix(system.rows, columns.cols)
        for k in range(columns.cols):
            solved[:, k] = mpmath.lu_solve(system, columns[:, k])
        return a.T * solved if dual else solved


def exact_predictions(x: Floats, weights: mpmath.matrix) -> Floats:
    with mpmath.workdps(400):
        product = mpmath.matrix(x.tolist()) * weights
    return np.array(product.tolist(), dtype=np.float64)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_without_penalty_the_weights_are_those_of_lstsq(shape: tuple[int, int]) -> None:
    x, y = sample(*shape)
    factored = LeastNorm.factor(x)
    assert factored.rank == min(shape)
    np.testing.assert_allclose(factored.solve(y), lstsq(x, y)[0], rtol=1e-8, atol=1e-11)


def defective() -> dict[str, Floats]:
    x, _ = sample(10, 20)
    thin = x[:, :6] @ sample(6, 20, seed=1)[0]
    return {
        "repeated rows": np.concatenate([x, x[:4]]),
        "repeated columns": np.concatenate([x[:, :7], x[:, :7]], axis=1),
        "columns of zeros": np.concatenate([np.zeros((10, 3)), x[:, :5]], axis=1),
        "columns of zeros and enough others": np.concatenate([np.zeros((10, 3)), x], axis=1),
        "a product of thin matrices": thin,
        "the same with small and large columns": thin * 10.0 ** -np.arange(20),
        "nothing": np.zeros((4, 6)),
    }


@pytest.mark.parametrize("name", defective())
def test_where_rank_is_missing_it_is_counted_and_the_norm_is_least(name: str) -> None:
    x = defective()[name]
    y = sample(len(x), 1, seed=2)[1]
    factored = LeastNorm.factor(x)
    unit = x / np.maximum(np.linalg.norm(x, axis=0), 1e-300)  # a scale does not change the rank
    assert factored.rank == np.linalg.matrix_rank(unit)
    w = factored.solve(y)
    best = exact_of_rank(x, y, factored.rank) if factored.rank else np.zeros_like(w)
    scale = np.abs(best).max() or 1.0
    np.testing.assert_allclose(w, best, rtol=1e-8, atol=1e-8 * scale)


def exact_of_rank(x: Floats, y: Floats, rank: int) -> Floats:
    with mpmath.workdps(100):
        u, s, v = mpmath.svd_r(mpmath.matrix(x.tolist()))
        kept = mpmath.diag([1 / s[k] for k in range(rank)])
        found = v[:rank, :].T * kept * u[:, :rank].T * mpmath.matrix(y.tolist())
    return np.array(found.tolist(), dtype=np.float64)


@pytest.mark.parametrize("penalty", [0.0, 1e-30, 1e-6, 1.0])
@pytest.mark.parametrize("shape", [(16, 32), (32, 16)], ids=str)
@pytest.mark.parametrize("spectrum", STEEP)
def test_on_steep_spectra_predictions_are_those_of_400_digits(
    spectrum: str, shape: tuple[int, int], penalty: float
) -> None:
    n, p = shape
    scales = STEEP[spectrum](np.arange(p, dtype=float))
    order = np.random.default_rng(3).permutation(p)  # largest first is not asked for
    x, fresh = ((sample(k, p, seed=k)[0] * scales)[:, order] for k in (n, 50))
    y = sample(n, 1)[1]
    truth = exact_predictions(fresh, exact_weights(x, y, penalty))
    factored = LeastNorm.factor(x, penalty)
    assert factored.rank == min(n, p)
    np.testing.assert_allclose(fresh @ factored.solve(y), truth, atol=1e-11 * np.abs(truth).max())


def test_control_a_singular_value_decomposition_loses_steep_spectra() -> None:
    x = sample(16, 32)[0] * STEEP["slope 5"](np.arange(32.0))
    fresh, y = sample(50, 32, seed=1)[0] * STEEP["slope 5"](np.arange(32.0)), sample(16, 1)[1]
    truth = exact_predictions(fresh, exact_weights(x, y, 0.0))
    assert np.abs(fresh @ lstsq(x, y)[0] - truth).max() > 0.1 * np.abs(truth).max()


@pytest.mark.parametrize("penalty", [1e-3, 1.0, 1e6])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_with_penalty_the_weights_solve_the_normal_equations(
    shape: tuple[int, int], penalty: float
) -> None:
    x, y = sample(*shape)
    w = np.linalg.solve(x.T @ x + penalty * np.eye(shape[1]), x.T @ y)
    np.testing.assert_allclose(LeastNorm.factor(x, penalty).solve(y), w, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_small_penalty_tends_to_none(shape: tuple[int, int]) -> None:
    x, y = sample(*shape)
    limit = LeastNorm.factor(x).solve(y)
    steps = [np.abs(LeastNorm.factor(x, d).solve(y) - limit).max() for d in (1e-5, 1e-7, 1e-9)]
    assert steps[0] > 0.0
    np.testing.assert_allclose(np.array(steps[1:]) / steps[:-1], 1e-2, rtol=0.02)  # linear in it


def test_the_small_modes_of_rotated_inputs_are_lost_and_the_rank_says_so() -> None:
    p, n = 60, 50
    scales = np.exp(-np.arange(p))  # 1e-26 at the end
    basis = np.linalg.qr(sample(p, p, seed=5)[0])[0]
    x, fresh = sample(n, p)[0] * scales @ basis.T, sample(200, p, seed=1)[0] * scales @ basis.T
    factored = LeastNorm.factor(x)
    left = np.count_nonzero(scales > 2.2e-16 * p)
    assert left - 4 <= factored.rank <= left + 4
    theta = basis @ np.ones((p, 1))
    np.testing.assert_allclose(fresh @ factored.solve(x @ theta), fresh @ theta, atol=1e-10)


@pytest.mark.parametrize("penalty", [0.0, 0.5])
@pytest.mark.parametrize("shape", SHAPES[:3], ids=str)
def test_the_condition_is_at_most_the_condition_number_and_near_it(
    shape: tuple[int, int], penalty: float
) -> None:
    x, _ = sample(*shape)
    s = np.linalg.svd(x, compute_uv=False)
    truth = np.sqrt((s[0] ** 2 + penalty) / (s[-1] ** 2 + penalty))
    assert truth / 10.0 < LeastNorm.factor(x, penalty).condition <= truth * (1 + 1e-12)


def test_the_condition_of_a_steep_spectrum_is_known_beyond_rounding() -> None:
    scales = 10.0 ** -np.arange(40.0)
    assert 1e37 < LeastNorm.factor(sample(39, 40)[0] * scales).condition < 1e40


@pytest.mark.parametrize("penalty", [0.0, 2.0])
@pytest.mark.parametrize("shape", [(12, 30), (12, 5)], ids=str)
def test_leaving_one_row_out_gives_the_residual_that_the_dual_predicts(
    shape: tuple[int, int], penalty: float
) -> None:
    x, y = sample(*shape, outputs=1)
    left_out = []
    for i in range(len(x)):
        others = np.arange(len(x)) != i
        w = LeastNorm.factor(x[others], penalty).solve(y[others])
        left_out.append((y[i] - x[i] @ w).item())
    np.testing.assert_allclose(leave_one_out(x, y[:, 0], penalty), left_out, rtol=1e-9)


def test_one_factorization_serves_all_labels() -> None:
    x, y = sample(20, 50, outputs=4)
    factored = LeastNorm.factor(x)
    alone = [factored.solve(y[:, k : k + 1]) for k in range(4)]
    np.testing.assert_allclose(factored.solve(y), np.concatenate(alone, axis=1), atol=1e-14)
