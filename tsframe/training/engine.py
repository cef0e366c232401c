"""The loop that trains a stack, in which students that finish make room.

It yields the weights of all students at the steps asked for and knows no measure. What a student
does never depends on the others: they share a loop, not a number.

Students sit at tables, see `tsframe.training.table`. The places of those who finish are given up,
and nobody is let in from stacks that wait: students of a data set start together, seats are a
rectangle of as many for every data set, and a full data set beside ones with few students left
would leave most seats vacant; see `tests/benchmarks/RESULTS.md`.

From one look at errors and losses to the next the host never waits for the device; on a GPU whole
steps are replayed as graphs. A look itself is read at once: it costs several steps of arithmetic,
beside which one wait is nothing, and to read it later would take a copy of all weights a look.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tsframe.students.layout import Layout
from tsframe.students.stack import copy_students, Stack
from tsframe.training.cohort import Cohort, Scales
from tsframe.training.dropout import Dropout
from tsframe.training.folding import folded
from tsframe.training.graphs import Replays
from tsframe.training.keeping import Kept
from tsframe.training.looking import evaluate, look
from tsframe.training.losses import Objective
from tsframe.training.minibatches import SampleSet, TrainingSet
from tsframe.training.optimizer import Optimizer
from tsframe.training.stopping import Looks
from tsframe.training.table import Descent, Table

__all__ = ["Snapshot", "train_stack"]

EXPLODED = 1e6  # a loss so many times that of zero outputs counts as divergence
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
    cut: Callable[[list[int]], list[list[int]]] = lambda students: [students],
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
        Asked before every step; InterruptedError once it says so.
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
    cut : callable, optional
        Splits students among tables; all sit at one by default. Several are for students that draw
        nothing on the host: neither dropout, nor augmentations, nor noise.

    Yields
    ------
    Snapshot
        At each snapshot step at which some student is still in training, ascending; the last one is
        the end.
    """
    students = len(optimizers)
    descent = Descent(
        training_set,
        objective,
        optimizers[0].minibatches,
        Dropout(dropout) if any(dropout) else None,
        threads,
        replays,
        interrupted,
    )
    stack, result = initial.clone(), initial.clone(plain=True)
    cohort = Cohort(
        stack.layout, stack.weights, optimizers, training_set.seeds, scales, stack.products
    )
    tables = [Table(descent, stack, cohort, optimizers[0].start(cohort))]
    if len(parts := cut(list(range(students)))) > 1:
        tables = [Table.moved(tables, arrange(some)) for some in parts]
    del stack, cohort  # nothing holds the tensors of a table that was left
    done, steps = np.zeros(students, dtype=int), np.zeros(students, dtype=int)
    diverged = np.zeros(students, dtype=bool)
    active, train = np.ones(students, dtype=bool), np.empty((2, students))
    unit = np.array([objective.chance_loss(y) or np.inf for y in training_set.targets.cpu()])
    rules = [spec.stop for spec in optimizers]
    looks = Looks(rules, [spec.max_steps for spec in optimizers])
    kept = None if validation is None else Kept(result, rules)
    step = 0

    def is_sound(loss: np.ndarray) -> np.ndarray:
        return np.asarray(np.isfinite(loss) & (np.nan_to_num(loss) <= EXPLODED * unit))

    def undecided(error: np.ndarray, loss: np.ndarray, glance: np.ndarray) -> np.ndarray:
        return np.asarray(due & ~(looks.settled(step, error, loss) & is_sound(glance)))

    while True:
        due, wanted = active & looks.due(step), step in snapshot_steps
        steps[active] = step
        for table in tables:
            here = np.isin(np.arange(students), table.stack.layout.students) & active
            if not (wanted or due[here].any()):
                continue
            seen = folded(table.stack, training_set)
            error, loss, glance = look(
                seen, training_set, objective, students, None if wanted else undecided, arrange
            )
            train[:, here] = error[here], loss[here]
            # At first glance, as nobody should depend on how long others are looked at.
            sound = is_sound(glance) & (is_sound(loss) | ~looks.ended(step))
            looked = due & here
            diverged |= looked & ~sound
            finished = looked & (looks.reached(step, error, loss) | ~sound)
            if kept is not None and validation is not None:
                unseen = evaluate(seen, validation, objective, students)[0]
                finished |= kept.look(step, looked & sound, seen, unseen, train)
            gone = here if wanted else finished
            copy_students(seen.layout, result.layout, seen.weights, result.weights, gone)
            if kept is not None:
                kept.restore(finished, result, steps, train)
            active &= ~finished
        if not active.any():
            break
        if wanted:
            yield Snapshot(step, result, steps.copy(), diverged.copy(), *train.copy())
        tables = _closer(tables, active, arrange, cut)
        coming = min([looks.after(step), *(s for s in snapshot_steps if s > step)])
        for table in tables:
            table.run(done, step, coming)
        step = coming
    yield Snapshot(step, result, steps, diverged, *train)


def _closer(
    tables: list[Table],
    active: np.ndarray,
    arrange: Callable[[Sequence[int]], Layout],
    cut: Callable[[list[int]], list[list[int]]],
) -> list[Table]:
    """Let those who go on sit closer together, if it saves enough."""
    before = sum(table.stack.layout.work for table in tables)
    seated = np.concatenate([table.stack.layout.students for table in tables])
    if active[seated].all():
        return tables
    layouts = [arrange(some) for some in cut(np.flatnonzero(active).tolist())]
    if sum(layout.work for layout in layouts) >= CROWDED * before:
        return tables
    return [Table.moved(tables, layout) for layout in layouts]
