"""Stopping rules: when a student has fitted its training data.

A rule looks at the training set every `check_every` steps and never between; a student is stopped
at the first look that satisfies it, so `steps` is known to that accuracy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Looks", "StoppingRule", "TrainLossBelow", "ZeroTrainError"]


def _check_interval(check_every: int) -> None:
    if check_every < 1:
        raise ValueError(
            f"check_every must be an integer >= 1 (steps); got check_every={check_every!r}."
        )


@dataclass(frozen=True)
class ZeroTrainError:
    """Stop when every training label, noisy ones included, is reproduced. For classification.

    Parameters
    ----------
    check_every : int
        Steps between two looks at the training set. A look costs about n_train / (3 batch_size)
        steps.
    """

    check_every: int = 50

    def __post_init__(self) -> None:
        _check_interval(self.check_every)

    def reached(self, error: np.ndarray, loss: np.ndarray) -> np.ndarray:
        """Tell which students may stop, from their train error and loss, shapes (students,)."""
        return np.asarray(error == 0.0)


@dataclass(frozen=True)
class TrainLossBelow:
    """Stop when the training loss falls below a level.

    Parameters
    ----------
    level : float
        In units of the loss, > 0.
    check_every : int
        Steps between two looks at the training set.
    """

    level: float
    check_every: int = 50

    def __post_init__(self) -> None:
        _check_interval(self.check_every)
        if not self.level > 0.0:
            raise ValueError(
                f"level must be > 0 (units of the training loss); got level={self.level!r}. "
                "For zero train error use ZeroTrainError()."
            )

    def reached(self, error: np.ndarray, loss: np.ndarray) -> np.ndarray:
        """Tell which students may stop, from their train error and loss, shapes (students,)."""
        return np.asarray(loss < self.level)


StoppingRule = ZeroTrainError | TrainLossBelow


class Looks:
    """When each student of a stack is looked at, and who may then stop.

    A student is looked at when its own rule or the end of its own budget says so, never because of
    another.

    Parameters
    ----------
    rules : sequence of StoppingRule or None
        Of every student.
    budgets : sequence of int
        Steps after which each must stop.
    """

    def __init__(self, rules: Sequence[StoppingRule | None], budgets: Sequence[int]) -> None:
        self.budgets = np.array(budgets)
        self._rules = [
            (rule, np.array([other == rule for other in rules]))
            for rule in dict.fromkeys(rules)
            if rule is not None
        ]

    @property
    def last(self) -> int:
        """The step at which the last student must stop."""
        return int(self.budgets.max())

    def due(self, step: int) -> np.ndarray:
        """Tell which students are looked at after so many steps, shape (students,)."""
        due: np.ndarray = self.budgets == step
        for rule, whose in self._rules:
            if step % rule.check_every == 0:
                due = due | whose
        return due

    def reached(self, step: int, error: np.ndarray, loss: np.ndarray) -> np.ndarray:
        """Tell which of those looked at may stop, from train error and loss, (students,)."""
        reached: np.ndarray = self.budgets == step
        for rule, whose in self._rules:
            if step % rule.check_every == 0:
                reached = reached | whose & rule.reached(error, loss)
        return reached
