"""Overlaps of stiff subspaces and the way traveled in them, against dense matrices."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import torch

from tests.measures.learners import assert_same_bits_in_any_batch, learned, TASK
from tests.measures.test_hessian_spectra import dense_hessian, REGRESSION
from tsframe.measures.hessian import dense
from tsframe.measures.hessian_spectra import loss_curvature
from tsframe.measures.landscape import flat
from tsframe.measures.subspaces import (
    hessian_directions,
    overlaps,
    stiff_directions,
    StiffTravel,
    SubspaceOverlap,
    traveled,
)
from tsframe.training.sgd import SGD
from tsframe.trial import train


def orthonormal(students, k, side, seed=0):
    a = np.random.default_rng(seed).standard_normal((students, side, k))
    return torch.as_tensor(np.linalg.qr(a)[0]).mT


def gauss_newtons(some, probe=None):
    curvature = loss_curvature(some, probe)
    students, p = len(some.tasks), some.shape.parameters
    return dense(curvature.gauss_newton, students, p, some.weights[0]).numpy()


def leading(matrix, k):
    """Directions of the largest eigenvalues of a dense matrix, as rows."""
    return np.linalg.eigh(matrix)[1][:, ::-1][:, :k].T


def test_random_subspaces_overlap_by_chance():
    found = overlaps(orthonormal(2000, 5, 60), orthonormal(2000, 5, 60, seed=1))
    error = found.std(0, ddof=1) / np.sqrt(len(found))
    expected = np.arange(1, 6) / 60
    assert (np.abs(found.mean(0) - expected) < 5 * error).all()
    assert (np.abs(found.mean(0) - 1.2 * expected) > 5 * error).all()  # control


def test_an_overlap_is_the_mean_squared_cosine_of_the_principal_angles():
    first, second = orthonormal(3, 4, 9), orthonormal(3, 4, 9, seed=1)
    found = overlaps(first, second)
    for student in range(3):
        for k in range(1, 5):
            a, b = first[student, :k].T.numpy(), second[student, :k].T.numpy()
            cosines = np.cos(scipy.linalg.subspace_angles(a, b))
            assert found[student, k - 1] == pytest.approx((cosines**2).mean(), rel=1e-12)


def test_equal_subspaces_overlap_fully_whatever_their_bases():
    rows, turn = orthonormal(2, 4, 9), orthonormal(2, 4, 4, seed=1)
    assert overlaps(rows, turn @ rows)[:, -1] == pytest.approx(1.0, rel=1e-13)
    assert overlaps(rows, rows) == pytest.approx(np.ones((2, 4)), rel=1e-13)
    none_left = rows.clone()
    none_left[0, 2:] = 0.0
    assert np.isnan(overlaps(rows, none_left)).tolist() == [[False] * 2 + [True] * 2, [False] * 4]


def test_a_way_along_the_directions_lies_in_them():
    rows = orthonormal(1, 3, 7)
    way = 3.0 * rows[:, 0] + 4.0 * rows[:, 2]
    np.testing.assert_allclose(traveled(rows, way), [[0.36, 0.36, 1.0]], rtol=1e-13)
    assert np.isnan(traveled(rows, 0.0 * way)).all()


@pytest.mark.parametrize("trial", [TASK, REGRESSION], ids=["classes", "regression"])
@pytest.mark.parametrize("probe", [10, 60])
def test_stiff_directions_are_those_of_the_gauss_newton_matrix(trial, probe):
    some = learned(replace(trial, n_train=60))  # 20 or 120 rows beside 83 weights, or 10 or 60
    matrices = gauss_newtons(some, probe)
    for k, matrix in enumerate(matrices):
        x = torch.as_tensor(some.samples[k].x_train[:probe])
        own = [layer[k] for layer in some.weights]
        found = stiff_directions(own, some.activation, x, some.objective, 12).numpy()
        rank = min(12, probe * (2 if trial is TASK else 1))
        exact = np.linalg.eigvalsh(matrix)[::-1][:rank]
        np.testing.assert_allclose(found[:rank] @ found[:rank].T, np.eye(rank), atol=1e-9)
        turned = found[:rank] @ matrix @ found[:rank].T
        np.testing.assert_allclose(turned, np.diag(exact), rtol=0, atol=1e-11 * exact[0])
        assert (found[rank:] == 0.0).all()


def test_the_measures_are_what_dense_matrices_give():
    some, k = learned(away=0.1), 6
    overlap, travel = SubspaceOverlap(k, probe=20)(some), StiffTravel(k, probe=20)(some)
    now = gauss_newtons(some, probe=20)
    then = gauss_newtons(replace(some, weights=some.initial), probe=20)
    way = flat(some.weights) - flat(some.initial)
    for student in range(3):
        fisher, first = leading(now[student], k), leading(then[student], k)
        hessian = leading(dense_hessian(some, student, probe=20).numpy(), k)
        for dim in range(1, k + 1):
            for name, other in (
                ("fisher_overlap_initial", first),
                ("fisher_hessian_overlap", hessian),
            ):
                want = ((fisher[:dim] @ other[:dim].T) ** 2).sum() / dim
                assert overlap[name][student, dim - 1] == pytest.approx(want, rel=1e-6)
            step = way[student].numpy()
            want = ((first[:dim] @ step) ** 2).sum() / (step @ step)
            assert travel["stiff_travel"][student, dim - 1] == pytest.approx(want, rel=1e-6)
            assert travel["random_travel"][student, dim - 1] == dim / 83
            assert overlap["random_overlap"][student, dim - 1] == dim / 83


def test_lanczos_finds_the_directions_of_the_matrix_or_leaves_them_open(monkeypatch):
    some = learned()
    by_matrix = hessian_directions(some, 8, dense_up_to=100, probe=None)
    settled = hessian_directions(some, 8, dense_up_to=0, probe=None)
    np.testing.assert_allclose(overlaps(by_matrix, settled), 1.0, rtol=1e-9)
    monkeypatch.setattr("tsframe.measures.subspaces.SETTLED", 0.0)  # which no residual reaches
    left_open = hessian_directions(some, 8, dense_up_to=0, probe=None)
    assert np.isnan(overlaps(by_matrix, left_open)).all()


def test_a_student_that_is_sure_beyond_rounding_has_no_stiff_subspace():
    some = learned()
    sure = replace(some, weights=[*some.weights[:-1], 1e6 * some.weights[-1]])
    found = SubspaceOverlap(3)(sure)
    lacking = {name for name, values in found.items() if np.isnan(values).all()}
    assert lacking == set(SubspaceOverlap(3).may_lack)


def test_a_first_step_lies_in_the_span_of_the_gradients():
    # One full batch step goes along the mean gradient of the samples: for squares that is J^T r,
    # inside of the span of the Gauss-Newton matrix of all samples.
    trial = replace(
        REGRESSION,
        training=SGD(lr=0.1, max_steps=1),
        precision="float64",
        measures=[StiffTravel(directions=40, probe=30)],
        measure_steps=(0,),
    )
    measured = train([trial], device="cpu")
    travel = measured.stiff_travel[0].values
    assert travel[29] == pytest.approx(1.0, abs=1e-9)  # the rank is 30
    assert np.isnan(travel[30:]).all()
    assert (np.diff(travel[:30]) >= 0.0).all()
    assert np.isnan(measured.stiff_travel_curve).all()  # at initialization nobody has moved


@pytest.mark.parametrize(
    "measure",
    [SubspaceOverlap(5), SubspaceOverlap(3, dense=0), StiffTravel(7, probe=11)],
    ids=["dense", "lanczos", "travel"],
)
def test_a_student_has_the_same_bits_alone_and_in_any_batch(measure):
    assert_same_bits_in_any_batch(measure)


def test_subspaces_without_dimensions_are_refused():
    with pytest.raises(
        ValueError, match="directions must be a whole number >= 1; got directions=0"
    ):
        StiffTravel(directions=0)
    with pytest.raises(TypeError, match="dense must be a whole number >= 0"):
        SubspaceOverlap(dense=1.5)  # type: ignore[arg-type] # what is refused
