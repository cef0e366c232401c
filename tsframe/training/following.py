"""Numbers of students that change from step to step, by the steps that each has done itself."""

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from tsframe.training.cohort import Cohort
from tsframe.training.schedules import Constant

__all__ = ["Following", "schedule_factors"]


class Following:
    """A number of every student that follows its own steps.

    Students of one kind that have done as many steps have the same number, and it is read once.

    Parameters
    ----------
    cohort : Cohort
        The students; only those with a seat are followed.
    read : callable (spec, step) -> float
        Gives the number of a student that has done so many steps.
    kind : callable (spec) -> hashable
        What decides the number besides the steps; None if it is one for ever.

    Attributes
    ----------
    values : ndarray, shape (students,)
        The numbers now; one before they have followed anything.
    """

    def __init__(
        self,
        cohort: Cohort,
        read: Callable[[Any, int], float],
        kind: Callable[[Any], Hashable | None],
    ) -> None:
        kinds: dict[Hashable, list[int]] = {}
        for student in cohort.layout.students.tolist():
            if (one := kind(cohort.specs[student])) is not None:
                kinds.setdefault(one, []).append(student)
        self._kinds = [(cohort.specs[some[0]], np.array(some)) for some in kinds.values()]
        self._read = read
        self.values = np.ones(len(cohort.specs))

    def follow(self, done: np.ndarray) -> bool:
        """Follow students that have done so many steps each; tell whether any number changed."""
        if not self._kinds:  # as of most: then no step costs more
            return False
        before = self.values.copy()
        for spec, members in self._kinds:
            steps = done[members]
            for step in set(steps.tolist()):
                self.values[members[steps == step]] = self._read(spec, step)
        return not np.array_equal(before, self.values)

    def coming(self, done: np.ndarray, steps: int) -> np.ndarray:
        """Tell the numbers of the next steps of students that have done so many each.

        Returns
        -------
        ndarray, shape (students, steps)
            One for those that are not followed; `values` are left as they are.
        """
        found = np.ones((len(self.values), steps))
        for spec, members in self._kinds:
            for first in set(done[members].tolist()):
                alike = members[done[members] == first]
                found[alike] = [self._read(spec, first + step) for step in range(steps)]
        return found


def schedule_factors(cohort: Cohort) -> Following:
    """Follow the factors that the schedules of students put on their learning rates."""

    def kind(spec: Any) -> Hashable | None:
        constant = isinstance(spec.schedule, Constant)
        return None if constant else (spec.schedule, spec.max_steps)

    return Following(cohort, lambda spec, step: spec.schedule(step, spec.max_steps), kind)
