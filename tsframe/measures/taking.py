"""Take the measures that trials asked for, of the students of a stack."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from tsframe.measures.asking import declare, Measure
from tsframe.measures.learned import learned_by_shape, StudentShape
from tsframe.samples import Samples
from tsframe.students.stack import Stack
from tsframe.tasks import Task

__all__ = ["AskingTask", "blank_measures", "take_measures"]

AT_ONCE = 1e9  # bytes that a measure may take for the students given to it at once


class AskingTask(Task, Protocol):
    """A task that may ask for measures."""

    @property
    def measures(self) -> tuple[Measure, ...]: ...  # noqa: D102 - described by Trial
    @property
    def measure_steps(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def student_shape(self) -> StudentShape: ...  # noqa: D102


def blank_measures(tasks: Sequence[AskingTask]) -> dict[str, np.ndarray]:
    """Make arrays for all that tasks of equal steps ask for, filled with NaN.

    Returns
    -------
    dict of ndarray, shapes (tasks, *inner dims)
        As long as the longest vectors; with steps also ``NAME_curve``.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    kinds = {(task.measures, task.measure_steps, task.student_shape) for task in tasks}
    for kind in kinds:
        for name, inner in declare(*kind).items():
            lengths = tuple(map(len, inner.values()))
            shapes[name] = tuple(map(max, shapes.get(name, lengths), lengths))
    return {name: np.full((len(tasks), *shape), np.nan) for name, shape in shapes.items()}


def take_measures(
    rows: dict[str, np.ndarray],
    stack: Stack,
    initial: Stack,
    samples: Sequence[Samples],
    tasks: Sequence[AskingTask],
    chosen: np.ndarray,
    steps: np.ndarray,
    interrupted: Callable[[], bool] = lambda: False,
) -> None:
    """Measure the students as they are now, and write the numbers over those of before.

    Parameters
    ----------
    rows : dict of ndarray
        As `blank_measures` makes it.
    stack, initial : Stack
        Students now and at initialization, in one layout.
    samples, tasks : sequences
        Of all students, by their indices.
    chosen : ndarray of bool, shape (students,)
        Who is measured: who has not diverged, and has gone on since; others keep what `rows` holds.
    steps : ndarray of int, shape (students,)
        Optimizer steps that each has done.
    interrupted : callable
        Asked before every call of a measure.

    Raises
    ------
    InterruptedError
        When `interrupted` says so.
    ValueError
        If a measure gives something else than it declared.
    """
    for students, learned in learned_by_shape(stack, initial, samples, tasks, chosen, steps):
        measures = dict.fromkeys(m for k in students for m in tasks[k].measures)
        for measure in measures:
            asking = [j for j, k in enumerate(students) if measure in tasks[k].measures]
            at_once = max(1, int(AT_ONCE // max(1.0, measure.bytes(learned.shape))))
            declared = measure.declare(learned.shape)
            for start in range(0, len(asking), at_once):
                if interrupted():
                    raise InterruptedError(f"measuring was interrupted before {measure!r}")
                some = asking[start : start + at_once]
                found = measure(learned.some(some))
                for name, inner in declared.items():
                    lengths = tuple(map(len, inner.values()))
                    values = np.asarray(found[name], np.float64)
                    if values.shape != (len(some), *lengths):
                        raise ValueError(
                            f"{measure!r} declared '{name}' of lengths {lengths} for each of "
                            f"{len(some)} students; got shape {values.shape}."
                        )
                    first = np.ix_(students[some], *map(np.arange, lengths))
                    rows[name][first] = values
