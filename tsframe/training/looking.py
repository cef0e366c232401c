"""Evaluation of a stack: over whole sample sets, and as far as a look at its students needs it."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import torch

from tsframe.students.layout import Layout, VACANT
from tsframe.students.products import quiet
from tsframe.students.stack import copy_students, Stack
from tsframe.students.sums import total
from tsframe.training.losses import Objective
from tsframe.training.minibatches import SampleSet, Seated

__all__ = ["Undecided", "evaluate", "look"]

Undecided: TypeAlias = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def evaluate(
    stack: Stack, samples: SampleSet, objective: Objective, students: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean error and mean loss of every student of a stack over a whole sample set.

    Parameters
    ----------
    stack : Stack
        The students.
    samples : SampleSet
        Inputs and targets.
    objective : Objective
        Error and loss.
    students : int
        Length of the results; students without a seat get NaN.

    Returns
    -------
    error, loss : ndarray, shape (students,)
        float64.
    """
    seated, slots = samples.seat(stack.layout), stack.layout.slots
    found = samples.inputs.new_zeros(2, len(slots), dtype=torch.float64)
    for rows in samples.blocks():
        found += _sums(stack, seated, rows, objective)
    result = np.full((2, students), np.nan)
    present = slots != VACANT
    result[:, slots[present]] = (found / samples.size).cpu().numpy()[:, present]
    return result[0], result[1]


def look(
    stack: Stack,
    samples: SampleSet,
    objective: Objective,
    students: int,
    undecided: Undecided | None,
    arrange: Callable[[Sequence[int]], Layout],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Evaluate students block by block, each only for as long as something hangs on it.

    A student that has made an error in the first block need not be seen on the others to know that
    it errs. When half of those evaluated are decided, the others go on without them.

    Parameters
    ----------
    stack, samples, objective, students
        As for `evaluate`.
    undecided : callable (error, loss, glance) or None
        Tells, shape (students,), who has to be seen on further blocks, from what their means are at
        least. None demands whole means of all. Not asked on a GPU, which would have to wait.
    arrange : callable
        Seats some of the students anew.

    Returns
    -------
    error, loss : ndarray, shape (students,)
        As of `evaluate` where a student was undecided to the end, else no more than that.
    glance : ndarray, shape (students,)
        The part of the first block in the mean loss. (On a GPU: the mean loss.)
    """
    if undecided is None or samples.inputs.is_cuda:
        error, loss = evaluate(stack, samples, objective, students)
        return error, loss, loss
    sums, glance = np.full((2, students), np.nan), np.full(students, np.nan)
    seated, slots = samples.seat(stack.layout), stack.layout.slots
    present = slots != VACANT
    sums[:, slots[present]] = 0.0
    for k, rows in enumerate(samples.blocks()):
        found = _sums(stack, seated, rows, objective).numpy()
        sums[:, slots[present]] += found[:, present]
        error, loss = sums / samples.size
        glance = glance if k else loss
        left = np.flatnonzero(undecided(error, loss, glance))
        if not len(left):
            break
        if 2 * len(left) <= np.count_nonzero(present):
            layout = arrange(left.tolist())
            some = stack.blank(layout)
            copy_students(stack.layout, layout, stack.weights, some.weights)
            stack, seated, slots = some, samples.seat(layout), layout.slots
            present = slots != VACANT
    return error, loss, glance


def _sums(stack: Stack, seated: Seated, rows: slice, objective: Objective) -> torch.Tensor:
    """Sum errors and losses over some rows, shape (2, all slots), float64."""
    inputs, targets = seated.block(rows)
    with quiet():
        logits = stack.forward(inputs).logits
    return torch.stack(
        [
            total(objective.sample_errors(logits, targets), 1),
            total(objective.sample_losses(logits, targets), 1),
        ]
    )
