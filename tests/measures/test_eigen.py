"""The one place where matrices are decomposed."""

import numpy as np
import pytest
import torch

from tests.measures.networks import draw
from tsframe.measures import eigen
from tsframe.measures.eigen import eigenvalues, eigenvectors, singular_values

EPS = float(np.finfo(float).eps)


def planted(values, seed=0, dtype=torch.float64):
    side = len(values)
    q, _ = torch.linalg.qr(draw((side, side), seed))
    return (q * torch.as_tensor(values, dtype=torch.float64)) @ q.T


@pytest.mark.parametrize(
    "values",
    [
        np.exp(-np.arange(40.0)),
        np.r_[np.full(7, 3.0), np.full(5, 1.0), np.zeros(20)],
        np.r_[2.0, np.zeros(60)],
        np.r_[5.0, -1e-3, -2.0],
        np.zeros(6),
        1e-200 * np.arange(9.0)[::-1],
        1e200 * np.arange(9.0)[::-1],
    ],
    ids=["steep", "repeated", "rank one", "negative", "zero", "tiny", "huge"],
)
def test_eigenvalues_are_those_planted_down_to_the_floor(values):
    truth = np.sort(values)[::-1]
    scale = 2.0 ** np.frexp(np.abs(values).max())[1] if np.any(values) else 1.0
    matrix = planted(values / scale) * scale
    found = eigenvalues(matrix)
    floor = len(values) * EPS * max(np.abs(values).max(), np.finfo(float).tiny)
    assert np.all(np.abs(found.values - truth) <= floor)
    assert np.all(np.diff(found.values) <= 0.0) and found.residual < 1e-13
    with_vectors = eigenvectors(matrix)
    np.testing.assert_allclose(with_vectors.values, found.values, rtol=0, atol=2 * floor)
    v = with_vectors.vectors
    np.testing.assert_allclose(
        (v * (with_vectors.values / scale)) @ v.T, matrix / scale, rtol=0, atol=1e-14
    )


def test_the_first_eigenvectors_are_those_of_all():
    matrix = planted(np.linspace(1.0, 3.0, 12))
    some, every = eigenvectors(matrix, 4), eigenvectors(matrix)
    np.testing.assert_allclose(some.values, every.values[:4], rtol=1e-13)
    overlap = np.abs(np.sum(some.vectors * every.vectors[:, :4], axis=0))
    np.testing.assert_allclose(overlap, 1.0, rtol=1e-12)


def test_sides_zero_and_one_are_defined():
    for side in (0, 1):
        matrix = torch.full((side, side), 7.0, dtype=torch.float64)
        assert eigenvalues(matrix).values.tolist() == [7.0] * side
        assert eigenvectors(matrix).vectors.shape == (side, side)
        assert singular_values(matrix).values.tolist() == [7.0] * side
    assert singular_values(torch.zeros(3, 0, dtype=torch.float64)).values.shape == (0,)


def test_what_has_no_eigenvalues_is_refused_with_a_sentence():
    matrix = planted([3.0, 2.0, 1.0])
    for wrong, sentence in (
        (matrix[:2], "only a square matrix"),
        (matrix.float(), "must be float64"),
        (matrix + torch.triu(torch.ones(3, 3)), "must be symmetric"),
        (matrix * torch.nan, "must be finite"),
        (matrix.index_fill(0, torch.tensor(1), torch.inf), "must be finite"),
    ):
        for decompose in (eigenvalues, eigenvectors):
            with pytest.raises(ValueError, match=sentence):
                decompose(wrong)
    with pytest.raises(ValueError, match="count must lie in"):
        eigenvectors(matrix, 4)
    with pytest.raises(ValueError, match="must be finite"):
        singular_values(matrix * torch.inf)


def test_a_solver_that_misses_the_trace_or_the_entries_is_not_believed(monkeypatch):
    matrix = planted(np.arange(1.0, 9.0))
    truth = eigenvalues(matrix).values
    for fault in (
        lambda v: v * 1.001,
        lambda v: v + np.r_[1e-6, -1e-6, np.zeros(6)],
        lambda v: None,
    ):
        wrong = fault(truth[::-1].copy())
        monkeypatch.setattr(eigen, "_by_torch", lambda work, wrong=wrong: wrong)
        np.testing.assert_allclose(eigenvalues(matrix).values, truth, rtol=1e-13)
        monkeypatch.setattr(eigen, "_by_scipy", lambda work, wrong=wrong: wrong)
        with pytest.raises(np.linalg.LinAlgError, match="no solver found the eigenvalues"):
            eigenvalues(matrix)
        monkeypatch.undo()


def test_singular_values_reach_the_square_of_the_floor():
    truth = np.exp(-0.5 * np.arange(60.0))
    left, _ = torch.linalg.qr(draw((80, 60), 1))
    right, _ = torch.linalg.qr(draw((60, 60), 2))
    found = singular_values((left * torch.as_tensor(truth)) @ right.T).values
    np.testing.assert_allclose(found, truth, rtol=0, atol=80 * EPS)
    assert np.all(np.abs(found**2 / truth**2 - 1)[truth > 80 * EPS] < 0.1)
