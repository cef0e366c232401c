"""The loop that trains a stack, in which students that finish make room.

It yields the weights of all students at the steps asked for and knows no measure. What a student
does never depends on the others: they share a loop, not a number. Its parts in their order:

* look: errors and losses on the training set, as far as something hangs on them;
* judge: who has fitted, diverged or come to the end, see `tsframe.training.judging`;
* keep: numbers and weights of those who have finished, or of all where a snapshot is wanted;
* step: those who go on sit closer together and train until somebody is due again.

Students sit at tables, see `tsframe.training.table`. The places of those who finish are given up,
and nobody is let in from stacks that wait: students of a data set start together, seats are a
rectangle of as many for every data set, and a full data set beside ones with few students left
would leave most seats vacant; see `tests/benchmarks/RESULTS.md`.

From one look at errors and losses to the next the host never waits for the device; on a GPU small
students stay on the chip meanwhile, and whole steps of others are replayed as graphs. A look itself
is read at once: it costs several steps of arithmetic, beside which one wait is nothing, and to read
it later would take a copy of all weights a look.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tsframe.students.layout import Layout
from tsframe.students.stack import copy_students, Stack
from tsframe.training.cohort import Cohort, Scales
from tsframe.training.devices import ALONE, EngineThreads
from tsframe.training.dropout import Dropout
from tsframe.training.folding import folded
from tsframe.training.graphs import Replays
from tsframe.training.judging import Judge, Sight, Verdict
from tsframe.training.keeping import Kept
from tsframe.training.losses import Objective
from tsframe.training.minibatches import SampleSet, TrainingSet
from tsframe.training.optimizer import Optimizer
from tsframe.training.table import Descent, Table

__all__ = ["Snapshot", "train_stack"]

CROWDED = 0.95  # seats are rearranged when the price of a step shrinks to this fraction


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
    engine_threads: EngineThreads = ALONE,
    validation: SampleSet | None = None,
    dropout: Sequence[float] = (),
    replays: Replays | None = None,
    cut: Callable[[list[int]], list[list[int]]] = lambda students: [students],
    price: Callable[[Layout], float] = lambda layout: layout.work,
    resident: bool = False,
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
    engine_threads : EngineThreads
        Whose threads may share an operation of a large table, and wait for each other at thin ones.
    validation : SampleSet, optional
        What students with the rule `BestValidation` are watched on.
    dropout : sequence of float, optional
        Rate of every student; none by default.
    replays : Replays, optional
        Records whole steps where the device has graphs and nothing is drawn on the host.
    cut : callable, optional
        Splits students among tables; all sit at one by default. Several are for students that draw
        nothing on the host: neither dropout, nor augmentations, nor noise.
    price : callable, optional
        What a step at a table of some layout costs.
    resident : bool
        Whether all stay on the chip; see `tsframe.training.residing`.

    Yields
    ------
    Snapshot
        At each snapshot step at which some student is still in training, ascending; the last one is
        the end.
    """
    descent = Descent(
        training_set,
        objective,
        optimizers[0].minibatches,
        Dropout(dropout) if any(dropout) else None,
        engine_threads,
        replays,
        interrupted,
        resident,
    )
    tables = _first(descent, initial, optimizers, scales, arrange, cut)
    progress = Progress(initial, optimizers, watched=validation is not None)
    judge = Judge(training_set, objective, optimizers, arrange, progress.best, validation)
    everyone = np.arange(len(optimizers))
    done = np.zeros_like(everyone)
    step = 0
    while True:
        wanted = step in snapshot_steps
        progress.steps[progress.active] = step
        due = progress.active & judge.due(step)
        for table in tables:
            here = progress.active & np.isin(everyone, table.stack.layout.students)
            judged = due & here
            if wanted or judged.any():
                seen = folded(table.stack, training_set)
                sight = judge.look(step, seen, judged, whole=wanted)
                verdict = judge.judge(step, seen, sight, judged)
                progress.keep(seen, sight, verdict, here, wanted)
        if not progress.active.any():
            break
        if wanted:
            yield progress.snapshot(step)
        tables = _closer(tables, progress.active, arrange, cut, price)
        coming = min([judge.after(step), *(s for s in snapshot_steps if s > step)])
        for table in tables:
            table.run(done, step, coming)
        step = coming
    yield progress.snapshot(step)


class Progress:
    """How far every student of a stack has come, and what is kept of it.

    Parameters
    ----------
    initial : Stack
        The students at initialization.
    optimizers : sequence of Optimizer
        One each.
    watched : bool
        Whether there is a validation sample.

    Attributes
    ----------
    active, diverged : ndarray of bool, shape (students,)
        Who is still in training; whose loss exploded.
    steps : ndarray of int, shape (students,)
        Optimizer steps that led to the weights of each.
    best : Kept or None
        The best weights so far of those who are watched.
    """

    def __init__(self, initial: Stack, optimizers: Sequence[Optimizer], watched: bool) -> None:
        students = len(optimizers)
        self.active, self.diverged = np.ones(students, dtype=bool), np.zeros(students, dtype=bool)
        self.steps = np.zeros(students, dtype=int)
        self._train = np.empty((2, students))
        self._stack = initial.clone(plain=True)
        self.best = Kept(self._stack, [spec.stop for spec in optimizers]) if watched else None

    def keep(
        self, seen: Stack, sight: Sight, verdict: Verdict, here: np.ndarray, wanted: bool
    ) -> None:
        """Keep what a look at a table showed, and weights of those who have finished.

        Parameters
        ----------
        seen : Stack
            The students of the table, with normalization folded.
        sight : Sight
            Their numbers.
        verdict : Verdict
            Who of them has finished.
        here : ndarray of bool, shape (students,)
            Who of them was still in training.
        wanted : bool
            Whether weights of all are wanted.
        """
        finished = verdict.finished
        self._train[:, here] = sight.error[here], sight.loss[here]
        self.diverged |= verdict.diverged
        chosen = here if wanted else finished
        copy_students(seen.layout, self._stack.layout, seen.weights, self._stack.weights, chosen)
        if self.best is not None:
            self.best.restore(finished, self._stack, self.steps, self._train)
        self.active &= ~finished

    def snapshot(self, step: int) -> Snapshot:
        """Give all students as they are known now; their numbers are copies."""
        numbers = self.steps.copy(), self.diverged.copy(), *self._train.copy()
        return Snapshot(step, self._stack, *numbers)


def _first(
    descent: Descent,
    initial: Stack,
    optimizers: Sequence[Optimizer],
    scales: Sequence[Scales] | None,
    arrange: Callable[[Sequence[int]], Layout],
    cut: Callable[[list[int]], list[list[int]]],
) -> list[Table]:
    """Seat all students, at one table or at several."""
    stack, seeds = initial.clone(), descent.training_set.seeds
    cohort = Cohort(stack.layout, stack.weights, optimizers, seeds, scales, stack.products)
    tables = [Table(descent, stack, cohort, optimizers[0].start(cohort))]
    parts = cut(list(range(len(optimizers))))
    return tables if len(parts) == 1 else [Table.moved(tables, arrange(some)) for some in parts]


def _closer(
    tables: list[Table],
    active: np.ndarray,
    arrange: Callable[[Sequence[int]], Layout],
    cut: Callable[[list[int]], list[list[int]]],
    price: Callable[[Layout], float],
) -> list[Table]:
    """Let those who go on sit closer together, if it saves enough."""
    before = sum(price(table.stack.layout) for table in tables)
    seated = np.concatenate([table.stack.layout.students for table in tables])
    if active[seated].all():
        return tables
    layouts = [arrange(some) for some in cut(np.flatnonzero(active).tolist())]
    if sum(price(layout) for layout in layouts) >= CROWDED * before:
        return tables
    return [Table.moved(tables, layout) for layout in layouts]
