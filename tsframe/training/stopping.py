"""Stopping rules: when a student has fitted its training data, or is best on data it has not seen.

A rule looks at its sample every `check_every` steps and never between; a student is stopped at the
first look that satisfies it, so `steps` is known to that accuracy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tsframe.checks import plain_numbers, real_number, whole_number

__all__ = [
    "BestValidation",
    "Looks",
    "StoppingRule",
    "TrainLossBelow",
    "ZeroTrainError",
    "common_part",
]


def _check_interval(rule: "StoppingRule") -> None:
    plain_numbers(rule)
    sentence = f"check_every must be an integer >= 1 (steps); got check_every={rule.check_every!r}."
    whole_number(rule.check_every, 1, sentence)


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
        _check_interval(self)

    def reached(self, error: np.ndarray, loss: np.ndarray) -> np.ndarray:
        """Tell which students may stop, from their train error and loss, shapes (students,)."""
        return np.asarray(error == 0.0)

    def out_of_reach(self, error: np.ndarray, loss: np.ndarray) -> np.ndarray:
        """Tell which cannot be reached, where error and loss are at least so large."""
        return np.asarray(error > 0.0)


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
        _check_interval(self)
        sentence = (
            f"level must be a number > 0 (units of the training loss); got level={self.level!r}. "
            "For zero train error use ZeroTrainError()."
        )
        real_number(self.level, sentence, strict=True)

    def reached(self, error: np.ndarray, loss: np.ndarray) -> np.ndarray:
        """Tell which students may stop, from their train error and loss, shapes (students,)."""
        return np.asarray(loss < self.level)

    def out_of_reach(self, error: np.ndarray, loss: np.ndarray) -> np.ndarray:
        """Tell which cannot be reached, where error and loss are at least so large."""
        return np.asarray(loss >= self.level)


@dataclass(frozen=True)
class BestValidation:
    """Early stopping: end with the weights that had the least error on a validation sample.

    The validation sample is fresh: rows of the law of the training sample, with labels as noisy and
    inputs as corrupted as there, which nobody trains on. So the training of a student is the same
    to the bit with this rule and without; only the step differs that its weights are taken from.
    (To hold rows out of a given sample instead, lower n_train by as many.) Of equal errors the
    earliest counts; the initial weights are looked at, too. The result is the student of that step:
    its measures, `train_error` and `steps` are those of the weights kept. Curves show it on its way
    until it stops.

    Parameters
    ----------
    rows : int
        Size of the validation sample, >= 1.
    check_every : int
        Steps between two looks at it.
    patience : int or None
        Looks without a new best after which the student stops; None goes on to the end of the
        budget. It costs steps and cannot change what is kept unless a later best would have come.
    """

    rows: int
    check_every: int = 50
    patience: int | None = None

    def __post_init__(self) -> None:
        _check_interval(self)
        for name, value in (("rows", self.rows), ("patience", self.patience)):
            if name == "rows" or value is not None:
                hint = "" if name == "rows" else " Use None to go on to the end of the budget."
                sentence = f"{name} must be a whole number >= 1; got {name}={value!r}.{hint}"
                object.__setattr__(self, name, whole_number(value, 1, sentence))

    def reached(self, error: np.ndarray, loss: np.ndarray) -> np.ndarray:
        """Tell that nothing on the training set makes a student stop."""
        return np.zeros(len(error), dtype=bool)

    def out_of_reach(self, error: np.ndarray, loss: np.ndarray) -> np.ndarray:
        """Tell which are of no interest at this look: none, for the least error is looked for."""
        return np.zeros(len(error), dtype=bool)


StoppingRule = ZeroTrainError | TrainLossBelow | BestValidation


def common_part(stop: StoppingRule | None) -> StoppingRule | None:
    """Give what must be equal of the rules of students that step together: validation rows."""
    return BestValidation(stop.rows) if isinstance(stop, BestValidation) else None


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
        self._ends = set(budgets)
        self._intervals = {rule.check_every for rule, _ in self._rules}

    @property
    def last(self) -> int:
        """The step at which the last student must stop."""
        return int(self.budgets.max())

    def after(self, step: int) -> int:
        """Give the next step after which somebody, still in training or not, is looked at."""
        ends = [end for end in self._ends if end > step]
        return min(ends + [(step // every + 1) * every for every in self._intervals])

    def due(self, step: int) -> np.ndarray:
        """Tell which students are looked at after so many steps, shape (students,)."""
        due = self.ended(step)
        for rule, whose in self._rules:
            if step % rule.check_every == 0:
                due = due | whose
        return due

    def ended(self, step: int) -> np.ndarray:
        """Tell whose budget ends after so many steps, shape (students,)."""
        ended: np.ndarray = self.budgets == step
        return ended

    def settled(self, step: int, error: np.ndarray, loss: np.ndarray) -> np.ndarray:
        """Tell whose look is over when error and loss are known to be at least so large.

        Those may not stop, whatever the rest of the training set shows. Results have shape
        (students,); of students not looked at after so many steps they mean nothing.
        """
        settled = ~self.ended(step)
        for rule, whose in self._rules:
            if step % rule.check_every == 0:
                settled = settled & (~whose | rule.out_of_reach(error, loss))
        return settled

    def reached(self, step: int, error: np.ndarray, loss: np.ndarray) -> np.ndarray:
        """Tell which of those looked at may stop, from train error and loss, (students,)."""
        reached = self.ended(step)
        for rule, whose in self._rules:
            if step % rule.check_every == 0:
                reached = reached | whose & rule.reached(error, loss)
        return reached
