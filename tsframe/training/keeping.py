"""Early stopping: the best weights of students that are watched on a validation sample."""

from collections.abc import Sequence

import numpy as np

from tsframe.students.stack import copy_students, Stack
from tsframe.training.stopping import BestValidation, StoppingRule

__all__ = ["Kept"]


class Kept:
    """The best of every watched student so far.

    Parameters
    ----------
    initial : Stack
        The students at initialization, in their first layout.
    rules : sequence of StoppingRule or None
        Of every student; those with `BestValidation` are watched.
    """

    def __init__(self, initial: Stack, rules: Sequence[StoppingRule | None]) -> None:
        self.stack = initial.clone()
        self.watched = np.array([isinstance(rule, BestValidation) for rule in rules])
        self._patience = np.array(
            [rule.patience or np.inf if isinstance(rule, BestValidation) else 0.0 for rule in rules]
        )
        self._error = np.full(len(rules), np.inf)
        self._waits = np.zeros(len(rules))
        self._steps = np.zeros(len(rules), dtype=int)
        self._train = np.full((2, len(rules)), np.nan)

    def look(
        self, step: int, due: np.ndarray, stack: Stack, error: np.ndarray, train: np.ndarray
    ) -> np.ndarray:
        """Compare with the best.

        Parameters
        ----------
        step : int
            Steps done.
        due : ndarray of bool, shape (students,)
            Who is looked at.
        stack : Stack
            Their weights.
        error : ndarray, shape (students,)
            On the validation sample.
        train : ndarray, shape (2, students)
            Error and loss on the training set.

        Returns
        -------
        ndarray of bool, shape (students,)
            Those who have run out of patience.
        """
        due = due & self.watched
        better = due & (error < self._error)
        copy_students(stack.layout, self.stack.layout, stack.weights, self.stack.weights, better)
        self._error[better], self._steps[better] = error[better], step
        self._train[:, better] = train[:, better]
        self._waits[due] += 1
        self._waits[better] = 0
        return due & (self._waits >= self._patience)

    def restore(
        self, finished: np.ndarray, result: Stack, steps: np.ndarray, train: np.ndarray
    ) -> None:
        """Put the best of those who have finished into `result`, `steps` and `train`."""
        back = finished & self.watched & np.isfinite(self._error)
        layout = self.stack.layout
        copy_students(layout, result.layout, self.stack.weights, result.weights, back)
        steps[back], train[:, back] = self._steps[back], self._train[:, back]
