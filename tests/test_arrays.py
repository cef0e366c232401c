"""Real data as inputs: rows drawn by the seed, known by their digest, labeled by whom one likes."""

import pickle
import re
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tsframe.arrays import ArrayInputs, OwnLabels
from tsframe.execution import run
from tsframe.inputs import Gaussian
from tsframe.samples import draw_samples
from tsframe.spectra import Isotropic, Measured
from tsframe.students.linear import Linear
from tsframe.students.mlp import MLP
from tsframe.sweep import Sweep
from tsframe.teachers import LinearTeacher, Teacher
from tsframe.training.ridge import Ridge
from tsframe.training.sgd import SGD
from tsframe.trial import train, Trial

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 5)) * np.array([3.0, 1.0, 1.0, 0.5, 0.1]) + 1.0
Y = RNG.integers(0, 3, 60)
DATA = ArrayInputs(X, Y)


def numbers(x):
    """Which rows of the data these are."""
    return [int(np.flatnonzero((X == row).all(axis=1))[0]) for row in x]


def trial(**changes):
    options: dict[str, Any] = dict(
        inputs=DATA,
        teacher=OwnLabels(classes=3),
        student=MLP(8),
        training=SGD(lr=0.1, max_steps=5),
        n_train=20,
        n_test=40,
        seed=0,
    )
    return Trial(**(options | changes))


def test_training_and_test_rows_of_a_seed_have_none_in_common():
    for seed in range(5):
        train_rows = numbers(DATA.draw(20, seed, "train inputs"))
        test_rows = numbers(DATA.draw(40, seed, "test inputs"))
        assert sorted(train_rows + test_rows) == list(range(60))
    assert DATA.rows(20, 0, "train inputs").tolist() != DATA.rows(20, 1, "train inputs").tolist()


def test_a_longer_sample_begins_with_the_shorter_one():
    for role in ("train inputs", "test inputs"):
        np.testing.assert_array_equal(DATA.rows(30, 3, role)[:10], DATA.rows(10, 3, role))


def test_own_labels_stay_with_their_rows_and_noise_redraws_training_labels_alone():
    clean = draw_samples(DATA, OwnLabels(3), 20, 40, 0.0, seed=1)
    np.testing.assert_array_equal(clean.y_train, Y[numbers(clean.x_train)])
    np.testing.assert_array_equal(clean.y_test, Y[numbers(clean.x_test)])
    noisy = draw_samples(DATA, OwnLabels(3), 20, 40, 1.0, seed=1)
    np.testing.assert_array_equal(noisy.y_train_clean, clean.y_train)
    np.testing.assert_array_equal(noisy.y_test, clean.y_test)
    assert (noisy.y_train != clean.y_train).any()


def test_numbers_as_labels_are_regression():
    inputs = ArrayInputs(X, X @ np.arange(5.0))
    drawn = draw_samples(inputs, OwnLabels(), 20, 40, 0.0, seed=0)
    np.testing.assert_allclose(drawn.y_train, drawn.x_train @ np.arange(5.0))
    # Least squares without intercept finds the map that made the labels.
    exact = trial(inputs=inputs, teacher=OwnLabels(), student=Linear(), training=Ridge())
    assert train([exact]).test_error.item() < 1e-20


def test_equal_arrays_are_equal_inputs_in_every_process():
    same, other = ArrayInputs(X.copy(), Y.tolist()), ArrayInputs(X + 1e-15, Y)
    assert DATA == same and hash(DATA) == hash(same) and repr(DATA) == repr(same)
    assert other != DATA and repr(other) != repr(DATA)
    assert ArrayInputs(X) != DATA and DATA != "data"
    assert ArrayInputs(X, Y.astype(float)) != DATA  # labels of another kind
    again = pickle.loads(pickle.dumps(DATA))
    assert again == DATA and again.x is not DATA.x
    program = (
        "import numpy as np; from tsframe import ArrayInputs; "
        "print(ArrayInputs(np.arange(6.0).reshape(3, 2), [0, 1, 1]).digest)"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    here = ArrayInputs(np.arange(6.0).reshape(3, 2), [0, 1, 1]).digest
    assert told.stdout.strip() == here, told.stderr


def test_data_are_copied_and_cannot_be_changed():
    mine = X.copy()
    inputs = ArrayInputs(mine, Y)
    mine[:] = 0.0
    np.testing.assert_array_equal(inputs.x, X)
    with pytest.raises(ValueError, match="read-only"):
        inputs.x[0, 0] = 1.0


def test_the_basis_diagonalizes_the_second_moment():
    values, basis = DATA.eigenvalues, DATA.basis(0)
    np.testing.assert_allclose(basis @ np.diag(values) @ basis.T, X.T @ X / 60, atol=1e-12)
    np.testing.assert_allclose(basis.T @ basis, np.eye(5), atol=1e-12)
    assert (np.diff(values) <= 0).all()
    wide = ArrayInputs(X[:3])  # fewer rows than dims
    assert wide.basis(0).shape == (5, 5) and (wide.eigenvalues[3:] == 0).all()


@pytest.mark.parametrize("teacher", [Teacher(width=20, classes=3), LinearTeacher()], ids=str)
def test_any_teacher_may_label_real_inputs(teacher):
    drawn = draw_samples(DATA, teacher, 20, 40, 0.0, seed=0)
    assert numbers(drawn.x_train) and len(set(drawn.y_test.tolist())) > 1
    assert np.isfinite(train([trial(teacher=teacher)]).test_error).all()


def test_a_student_of_real_data_has_the_same_bits_alone_and_beside_gaussian_ones():
    gaussian = Gaussian(dim=5, spectrum=Measured.from_data(X))
    mixed = [
        trial(),
        trial(inputs=gaussian, teacher=Teacher(width=5, classes=3)),
        trial(seed=1, label_noise=0.5),
    ]
    together = train(mixed)
    for place, one in enumerate(mixed):
        assert train([one]).train_loss.item() == together.train_loss[place].item()


def test_a_sweep_over_real_data_is_stored_resumed_and_told_from_other_data(tmp_path):
    def sweep(inputs):
        return Sweep(
            lambda n_train, seed: trial(inputs=inputs, n_train=n_train, seed=seed),
            n_train=[10, 20],
            seed=range(2),
        )

    first = run(sweep(DATA), tmp_path / "data.zarr", n_jobs=1, progress=False)
    assert (first.state == 1).all()
    again = run(sweep(ArrayInputs(X, Y)), tmp_path / "data.zarr", n_jobs=1, progress=False)
    np.testing.assert_array_equal(first.test_error, again.test_error)
    np.testing.assert_array_equal(first.ledger, again.ledger)
    with pytest.raises(ValueError, match="sha256"):
        run(sweep(ArrayInputs(2 * X, Y)), tmp_path / "data.zarr", n_jobs=1, progress=False)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: ArrayInputs(X[0]), "x must be numbers of shape (rows, dim); got float64"),
        (lambda: ArrayInputs(X * np.inf), "x must be finite; got 300 others."),
        (lambda: ArrayInputs(X, Y[:9]), "the same number of rows; got 60 and 9."),
        (lambda: ArrayInputs(X, ["a"] * 60), "y must be numbers of shape (rows,)"),
        (lambda: trial(n_test=41), "at most the 60 rows of the data"),
        (lambda: trial(teacher=OwnLabels(2)), "labels must be classes 0..1; got 0 to 2."),
        (lambda: trial(teacher=OwnLabels()), "integers are classes and need their number"),
        (lambda: trial(inputs=ArrayInputs(X)), "OwnLabels needs inputs with labels"),
        (
            lambda: trial(inputs=Gaussian(dim=5, spectrum=Isotropic())),
            "OwnLabels needs inputs with labels, ArrayInputs(x, y); got Gaussian(",
        ),
        (lambda: OwnLabels(1), "classes must be a whole number >= 2"),
        (lambda: DATA.rows(61, 0, "train inputs"), "the data have 60 rows"),
        (lambda: ArrayInputs(X).labels(3, 0, "train inputs"), "has no labels"),
        (
            lambda: replace(
                trial(inputs=ArrayInputs(X, X[:, 0]), teacher=OwnLabels()), label_noise=0.1
            ),
            "label_noise must be 0 for a OwnLabels without classes",
        ),
    ],
)
def test_data_that_make_no_task_are_refused(make, sentence):
    with pytest.raises((ValueError, TypeError), match=re.escape(sentence)):
        make()
