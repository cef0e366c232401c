"""The loop that trains a stack, in which students that finish make room.

It yields the weights of all students at the steps asked for and knows no measure. What a student
does never depends on the others: they share a loop, not a number.

The places of those who finish are given up, and nobody is let in from stacks that wait: students of
a data set start together, seats are a rectangle of as many for every data set, and a full data set
beside ones with few students left would leave most seats vacant; see `tests/benchmarks/RESULTS.md`.

From one look at errors and losses to the next the host never waits for the device; on a GPU whole
steps are replayed as graphs. A look itself is read at once: it costs several steps of arithmetic,
beside which one wait is nothing, and to read it later would take a copy of all weights a look.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from tsframe.students.layout import Layout
from tsframe.students.stack import copy_students, Stack
from tsframe.training.backward import backward
from tsframe.training.cohort import Cohort, Scales
from tsframe.training.devices import sharing_products
from tsframe.training.dropout import Dropout
from tsframe.training.folding import folded
from tsframe.training.graphs import Replays, Stepper
from tsframe.training.keeping import Kept
from tsframe.training.looking import evaluate, look
from tsframe.training.losses import Objective
from tsframe.training.minibatches import SampleSet, TrainingSet
from tsframe.training.optimizer import Absorb, Optimization, Optimizer
from tsframe.training.stopping import Looks

__all__ = ["Snapshot", "train_stack"]

EXPLODED = 1e6  # a loss so many times that of zero outputs counts as divergence
SHARED_WORK = 1e7  # multiply-adds of a forward pass, above which threads share its products
CROWDED = 0.95  # seats are rearranged when the work shrinks to this fraction


@dataclass(frozen=True)
class Snapshot:
    """The students after some step; a student that has finished stays as it was.

    Attributes
    ----------
    step : int
        Optimizer steps done by those still in training, or by the last to finish.
    stack : Stack
        All students, in their first layout, with normalization folded into their weights by the
        statistics of the training set. Its tensors change when training goes on.
    steps : ndarray of int, shape (students,)
        Optimizer steps that led to the weights of each student.
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


def train_stack(
    initial: Stack,
    training_set: TrainingSet,
    objective: Objective,
    optimizers: Sequence[Optimizer],
    arrange: Callable[[Sequence[int]], Layout],
    snapshot_steps: Sequence[int] = (),
    interrupted: Callable[[], bool] = lambda: False,
    scales: Sequence[Scales] | None = None,
    threads: int = 1,
    validation: SampleSet | None = None,
    dropout: Sequence[float] = (),
    replays: Replays | None = None,
) -> Iterator[Snapshot]:
    """Train all students of a stack.

    Parameters
    ----------
    initial : Stack
        Students at initialization, with normalization or without; not changed.
    training_set : TrainingSet
        What they are trained on.
    objective : Objective
        What is minimized.
    optimizers : sequence of Optimizer
        How each is trained; their forms are equal.
    arrange : callable
        Seats some of the students anew, so that those who have finished leave their place.
    snapshot_steps : sequence of int
        Steps at which the students are wanted, besides the end.
    interrupted : callable
        Asked before every step.
    scales : sequence, optional
        Factors on the learning rates of layers; see `Cohort`.
    threads : int
        Share one product of a large stack; for the only stack of a call on the CPU.
    validation : SampleSet, optional
        What students with the rule `BestValidation` are watched on.
    dropout : sequence of float, optional
        Rate of every student; none by default.
    replays : Replays, optional
        Records whole steps where the device has graphs and nothing is drawn on the host.

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
    students, minibatches = len(optimizers), optimizers[0].minibatches
    stack = initial.clone()
    copied = initial.clone().weights
    result = Stack(initial.layout, initial.activation, copied, products=initial.products)
    seated = training_set.seat(stack.layout)
    cohort = Cohort(
        stack.layout, stack.weights, optimizers, training_set.seeds, scales, stack.products
    )
    state = optimizers[0].start(cohort)
    silenced = Dropout(dropout) if any(dropout) else None
    steps, diverged = np.zeros(students, dtype=int), np.zeros(students, dtype=bool)
    active, train = np.ones(students, dtype=bool), np.empty((2, students))
    nobody = np.zeros(students, dtype=bool)
    unit = np.array([objective.chance_loss(y) or np.inf for y in training_set.targets.cpu()])
    rules = [spec.stop for spec in optimizers]
    looks = Looks(rules, [spec.max_steps for spec in optimizers])
    kept = None if validation is None else Kept(result, rules)
    step = 0

    def pull(absorb: Absorb, minibatch: int = 0) -> None:
        which = step * minibatches + minibatch
        inputs, targets = training_set.batch(seated, which, found.get(minibatch))
        masks = None
        if silenced is not None:
            masks = silenced.masks(cohort, inputs.shape[1], which)
        large = threads > 1 and stack.layout.work * training_set.batch_size > SHARED_WORK
        with sharing_products(threads if large else 1):
            buffers = stack.forward(inputs, masks)
        if stack.products.fusions is None:
            objective.gradient_(buffers.logits, targets)
        else:
            stack.products.fusions.descend(objective, buffers.logits, targets)
        with sharing_products(threads if large else 1):
            backward(stack, buffers, inputs, absorb, masks)

    def is_sound(loss: np.ndarray) -> np.ndarray:
        return np.asarray(np.isfinite(loss) & (np.nan_to_num(loss) <= EXPLODED * unit))

    def undecided(error: np.ndarray, loss: np.ndarray, glance: np.ndarray) -> np.ndarray:
        return np.asarray(due & ~(looks.settled(step, error, loss) & is_sound(glance)))

    def seat() -> Stepper:
        changed = [*stack.weights, *(tensor for item in state.memory for tensor in item)]
        fixed = silenced is None and not training_set.varies and not state.draws
        return Stepper(lambda: state.step(pull), changed, replays if fixed else None)

    found: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    done, stepper = np.zeros(students, dtype=int), seat()
    for step in range(looks.last + 1):
        wanted = step in snapshot_steps
        due = active & looks.due(step) if looks.any_due(step) else nobody
        if wanted or due.any():
            steps[active] = step
            seen = folded(stack, training_set)
            error, loss, glance = look(
                seen, training_set, objective, students, None if wanted else undecided, arrange
            )
            train[:, active] = error[active], loss[active]
        if due.any():
            # At first glance, as nobody should depend on how long others are looked at.
            sound = is_sound(glance)
            sound &= is_sound(loss) | ~looks.ended(step)
            diverged |= due & ~sound
            finished = due & (looks.reached(step, error, loss) | ~sound)
            if kept is not None and validation is not None:
                unseen = evaluate(seen, validation, objective, students)[0]
                finished |= kept.look(step, due & sound, seen, unseen, train)
            copy_students(seen.layout, result.layout, seen.weights, result.weights, finished)
            if kept is not None:
                kept.restore(finished, result, steps, train)
            active &= ~finished
            if not active.any():
                break
        if wanted:
            copy_students(seen.layout, result.layout, seen.weights, result.weights, active)
            yield Snapshot(step, result, steps.copy(), diverged.copy(), *train.copy())
        if due.any() and finished.any():
            layout = arrange(np.flatnonzero(active).tolist())
            if layout.work < CROWDED * stack.layout.work:
                stack, state, cohort = _move(stack, state, cohort, layout)
                seated, seen = training_set.seat(layout), stack  # nothing holds the old stack
                stepper = seat()
        if interrupted():
            raise InterruptedError(f"training was interrupted after {step} steps")
        state.prepare(done)
        for k in range(minibatches if training_set.batch_size < training_set.size else 0):
            found[k] = stepper.still(k, training_set.find(seated, step * minibatches + k))
        stepper.take()
        done += 1
    yield Snapshot(step, result, steps, diverged, *train)


def _move(
    stack: Stack, state: Optimization, cohort: Cohort, layout: Layout
) -> tuple[Stack, Optimization, Cohort]:
    """Seat the students of `layout`, with what their optimizer remembers."""
    moved = Stack.zeros(
        layout, stack.activation, stack.weights[0], stack.normalized, stack.products
    )
    copy_students(stack.layout, layout, stack.weights, moved.weights)
    memory = [[torch.zeros_like(w) for w in moved.weights] for _ in state.memory]
    for before, after in zip(state.memory, memory, strict=True):
        copy_students(stack.layout, layout, before, after)
    cohort = replace(cohort, layout=layout, weights=moved.weights)
    return moved, state.moved(cohort, memory), cohort
