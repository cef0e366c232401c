"""Errors and losses of a stack, on its training set and against the noise-free teacher."""

import numpy as np

from tsframe.training.engine import Snapshot
from tsframe.training.looking import evaluate
from tsframe.training.losses import Objective
from tsframe.training.minibatches import SampleSet

__all__ = ["INTERPOLATION", "errors", "is_interpolated"]

INTERPOLATION = 1e-4  # of the mean squared label, below which a regression counts as interpolating


def errors(snapshot: Snapshot, test: SampleSet, objective: Objective) -> dict[str, np.ndarray]:
    """Measure train and test error and loss.

    Parameters
    ----------
    snapshot : Snapshot
        The students, with their means over the labels trained on, noise included.
    test : SampleSet
        Test samples with the labels of the noise-free teacher, so that 0 is optimal.
    objective : Objective
        Its error is the fraction of wrong labels, or the mean squared error for regression; its
        loss is the objective that was minimized.

    Returns
    -------
    dict of ndarray, shapes (students,)
        ``train_error``, ``test_error``, ``train_loss``, ``test_loss``.
    """
    students = len(snapshot.steps)
    test_error, test_loss = evaluate(snapshot.stack, test, objective, students)
    return {
        "train_error": snapshot.train_error,
        "test_error": test_error,
        "train_loss": snapshot.train_loss,
        "test_loss": test_loss,
    }


def is_interpolated(
    train_error: np.ndarray, train_targets: np.ndarray, objective: Objective
) -> np.ndarray:
    """Tell which students fit their training set, noise included.

    Parameters
    ----------
    train_error : ndarray, shape (students,)
        As `errors` gives it.
    train_targets : ndarray, shape (students, n_train)
        Labels trained on.
    objective : Objective
        Classification demands zero train error. Regression demands a mean squared error of at most
        1e-4 of the mean squared label.

    Returns
    -------
    ndarray of bool, shape (students,)
    """
    if objective.classes is not None:
        return np.asarray(train_error == 0.0)
    return np.asarray(train_error <= INTERPOLATION * np.square(train_targets).mean(axis=1))
