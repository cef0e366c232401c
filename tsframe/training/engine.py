"""The loop that trains a stack, in which students that finish make room.

It yields the weights of all students at the steps asked for and knows no measure. What a student
does never depends on the others: they share a loop, not a number.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tsframe.students.layout import Layout, VACANT
from tsframe.students.stack import copy_students, Stack
from tsframe.training.adam import Adam, AdamState
from tsframe.training.backward import backward
from tsframe.training.losses import Objective
from tsframe.training.minibatches import SampleSet, Seated, TrainingSet
from tsframe.training.sgd import SGD, SGDState

__all__ = ["Snapshot", "evaluate", "train_stack"]

EXPLODED = 1e6  # a loss so many times that of zero outputs counts as divergence
CROWDED = 0.95  # seats are rearranged when the work shrinks to this fraction


@dataclass(frozen=True)
class Snapshot:
    """The students after some step; a student that has finished stays as it was.

    Attributes
    ----------
    step : int
        Optimizer steps done by those still in training.
    stack : Stack
        All students, in their first layout. Its tensors change when training goes on.
    steps : ndarray of int, shape (students,)
        Optimizer steps that each student has done.
    diverged : ndarray of bool, shape (students,)
        Loss not finite, or above a million times that of zero outputs.
    train_error, train_loss : ndarray, shape (students,)
        Means over the training set, float64.
    """

    step: int
    stack: Stack
    steps: np.ndarray
    diverged: np.ndarray
    train_error: np.ndarray
    train_loss: np.ndarray


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
    seated, slots = Seated(samples, stack.layout), stack.layout.slots
    total = samples.inputs.new_zeros(2, len(slots), dtype=torch.float64)
    for rows in samples.blocks():
        inputs, targets = seated.block(rows)
        logits = stack.forward(inputs).logits
        total[0] += objective.sample_errors(logits, targets).sum(1)
        total[1] += objective.sample_losses(logits, targets).sum(1)
    result = np.full((2, students), np.nan)
    result[:, slots[slots != VACANT]] = (total / samples.size).cpu().numpy()[:, slots != VACANT]
    return result[0], result[1]


def train_stack(
    initial: Stack,
    training_set: TrainingSet,
    objective: Objective,
    optimizer: SGD | Adam,
    lr: np.ndarray,
    arrange: Callable[[Sequence[int]], Layout],
    snapshot_steps: Sequence[int] = (),
    interrupted: Callable[[], bool] = lambda: False,
) -> Iterator[Snapshot]:
    """Train all students of a stack.

    Parameters
    ----------
    initial : Stack
        Students at initialization; not changed.
    training_set : TrainingSet
        What they are trained on.
    objective : Objective
        What is minimized.
    optimizer : SGD or Adam
        Common to all but for the learning rate.
    lr : ndarray, shape (students,)
        Learning rates.
    arrange : callable
        Seats some of the students anew, so that those who have finished leave their place.
    snapshot_steps : sequence of int
        Steps at which the students are wanted, besides the end.
    interrupted : callable
        Asked before every step.

    Yields
    ------
    Snapshot
        At each snapshot step at which some student is still in training, ascending; the last one is
        the end.

    Raises
    ------
    InterruptedError
        When `interrupted` says so.
    """
    students = len(lr)
    result, stack = initial.clone(), initial.clone()
    seated = Seated(training_set, stack.layout)
    state = optimizer.start(stack.weights, _rates(stack, lr))
    steps, diverged = np.zeros(students, dtype=int), np.zeros(students, dtype=bool)
    active, train = np.ones(students, dtype=bool), np.empty((2, students))
    unit, stop = objective.chance_loss(training_set.targets), optimizer.stop
    for step in range(optimizer.max_steps + 1):
        steps[active] = step
        last, wanted = step == optimizer.max_steps, step in snapshot_steps
        check = last or (stop is not None and step % stop.check_every == 0)
        if check or wanted:
            error, loss = evaluate(stack, training_set, objective, students)
            train[:, active] = error[active], loss[active]
        if check:
            sound = np.isfinite(loss) & (np.nan_to_num(loss) <= EXPLODED * unit)
            fitted = np.zeros(students, dtype=bool) if stop is None else stop.reached(error, loss)
            diverged |= active & ~sound
            finished = active & (fitted | ~sound | last)
            copy_students(stack.layout, result.layout, stack.weights, result.weights, finished)
            active &= ~finished
            if not active.any():
                break
            layout = arrange(np.flatnonzero(active).tolist()) if finished.any() else stack.layout
            if layout.work < CROWDED * stack.layout.work:
                stack, state = _move(stack, state, layout, lr)
                seated = Seated(training_set, layout)
        if wanted:
            copy_students(stack.layout, result.layout, stack.weights, result.weights, active)
            yield Snapshot(step, result, steps.copy(), diverged.copy(), *train.copy())
        if interrupted():
            raise InterruptedError(f"training was interrupted after {step} steps")
        inputs, targets = training_set.batch(seated, step)
        buffers = stack.forward(inputs)
        objective.gradient_(buffers.logits, targets)
        backward(stack, buffers, inputs, state.absorb)
        state.advance()
    yield Snapshot(int(steps.max()), result, steps, diverged, *train)


def _rates(stack: Stack, lr: np.ndarray) -> list[Tensor]:
    """Lay out the learning rates so that they broadcast to the weights."""
    rates = [w.new_zeros(*w.shape[:2], 1) for w in stack.weights]
    for bucket, layers in zip(stack.layout.buckets, stack.layout.by_student(rates), strict=True):
        values = torch.as_tensor(np.where(bucket.slots == VACANT, 0.0, lr[bucket.slots]))
        for layer in layers:
            layer.copy_(values[:, :, None, None])
    return rates


def _move(
    stack: Stack, state: SGDState | AdamState, layout: Layout, lr: np.ndarray
) -> tuple[Stack, SGDState | AdamState]:
    """Seat the students of `layout`, with what their optimizer remembers."""
    moved = Stack.zeros(layout, stack.activation, stack.weights[0])
    copy_students(stack.layout, layout, stack.weights, moved.weights)
    memory = [[torch.zeros_like(w) for w in moved.weights] for _ in state.memory]
    for before, after in zip(state.memory, memory, strict=True):
        copy_students(stack.layout, layout, before, after)
    return moved, state.moved(moved.weights, _rates(moved, lr), memory)
