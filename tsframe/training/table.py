"""A table: students of a stack that take their steps together.

A stack whose students stop at very different times begins as several tables, each as large as the
cache holds. From one look to the next a table takes all its steps before another takes its own. At
a look those who go on sit down at those tables at which a step costs least, see
`tsframe.training.batching.tables_of`. Small tables of several engine threads take turns, and a
large one may have its operations shared by threads that have nothing else to do.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from tsframe.students.layout import Layout
from tsframe.students.products import quiet
from tsframe.students.stack import copy_students, Stack
from tsframe.training.backward import backward
from tsframe.training.cohort import Cohort
from tsframe.training.devices import EngineThreads, share_operations
from tsframe.training.dropout import Dropout
from tsframe.training.graphs import Replays, Stepper
from tsframe.training.losses import Objective
from tsframe.training.minibatches import TrainingSet
from tsframe.training.optimizer import Absorb, Optimization
from tsframe.training.residing import Residence
from tsframe.training.sharing import Choice

__all__ = ["Descent", "Table"]

# Multiply-adds of a forward pass that are worth a thread where several share its operations, and up
# to which tables on several threads do better one after another; measured at widths 30 to 300, one
# to sixteen data sets, on two threads.
WORTH_A_THREAD, THIN = 2e6, 5e6


@dataclass(frozen=True, eq=False)
class Descent:
    """What all tables of a stack have in common.

    Attributes
    ----------
    training_set : TrainingSet
        What students are trained on.
    objective : Objective
        What is minimized.
    minibatches : int
        Minibatches that one step looks at.
    silenced : Dropout or None
        Which units are silent.
    engine_threads : EngineThreads
        Tells, before every step, how many threads may share an operation of a large table.
    replays : Replays or None
        Records whole steps where the device has graphs and nothing is drawn on the host.
    interrupted : callable
        Asked before every step.
    resident : bool
        Whether students stay on the chip; see `tsframe.training.residing`.
    """

    training_set: TrainingSet
    objective: Objective
    minibatches: int
    silenced: Dropout | None
    engine_threads: EngineThreads
    replays: Replays | None
    interrupted: Callable[[], bool]
    resident: bool = False


class Table:
    """Students that step together, and their optimization.

    Parameters
    ----------
    descent : Descent
        How they step.
    stack : Stack
        Their weights, which change.
    cohort : Cohort
        The same students as their optimizer sees them.
    state : Optimization
        Their running optimization.
    """

    def __init__(self, descent: Descent, stack: Stack, cohort: Cohort, state: Optimization) -> None:
        self.stack, self._cohort, self._state, self._descent = stack, cohort, state, descent
        self._seated = descent.training_set.seat(stack.layout)
        self._present = np.zeros(len(cohort.specs), dtype=int)
        self._present[stack.layout.students] = 1
        work = stack.layout.work * descent.training_set.batch_size
        self._thin, self._threads, self._choice = work <= THIN, 1, Choice()
        self._most = int(work / WORTH_A_THREAD) if stack.products.threads_free else 1
        self._found: dict[int, tuple[Tensor, Tensor]] = {}
        self._step = 0
        self._residence: Residence | None = None
        if descent.resident:
            told = descent.training_set, descent.objective, descent.interrupted
            self._residence = Residence(stack, cohort, state.memory[0], *told)
        changed = [*stack.weights, *(tensor for item in state.memory for tensor in item)]
        fixed = descent.silenced is None and not descent.training_set.varies and not state.draws
        self._stepper = Stepper(
            lambda: state.step(self._pull), changed, descent.replays if fixed else None
        )

    def run(self, done: np.ndarray, start: int, stop: int) -> None:
        """Take the steps from `start` to before `stop`.

        Parameters
        ----------
        done : ndarray of int, shape (students,)
            Steps that each student of the stack has done; counted on.
        start, stop : int
            Steps.

        Raises
        ------
        InterruptedError
            When `interrupted` says so.
        """
        if self._residence is not None:
            self._residence.run(done, start, stop)
            return
        descent, training_set = self._descent, self._descent.training_set
        whole = training_set.batch_size == training_set.size
        with descent.engine_threads.turn if self._thin else contextlib.nullcontext(), quiet():
            for self._step in range(start, stop):
                if descent.interrupted():
                    raise InterruptedError(f"training was interrupted after {self._step} steps")
                if self._most > 1:
                    most = min(self._most, descent.engine_threads.share())
                    self._threads = self._choice.threads(most)
                self._state.prepare(done)
                for k in range(0 if whole else descent.minibatches):
                    coming = training_set.find(self._seated, self._step * descent.minibatches + k)
                    self._found[k] = self._stepper.still(k, coming)
                self._stepper.take()
                np.add(done, self._present, out=done)

    def _pull(self, absorb: Absorb, minibatch: int = 0) -> None:
        """Hand the gradients of a minibatch to an optimizer; see `Pull`."""
        descent, stack = self._descent, self.stack
        which = self._step * descent.minibatches + minibatch
        found = self._found.get(minibatch)
        inputs, targets = descent.training_set.batch(self._seated, which, found)
        masks = None
        if descent.silenced is not None:
            masks = descent.silenced.masks(self._cohort, inputs.shape[1], which)
        self._share(self._threads)
        buffers = stack.forward(inputs, masks)
        self._share(1)  # there are sums in the loss
        if stack.products.fusions is None:
            descent.objective.gradient_(buffers.logits, targets)
        else:
            stack.products.fusions.descend(descent.objective, buffers.logits, targets)
        self._share(self._threads)
        backward(stack, buffers, inputs, absorb, masks)
        self._share(1)

    def _share(self, threads: int) -> None:
        """Let so many threads share operations, in a step that several may share."""
        if self._threads > 1:
            share_operations(threads)

    @staticmethod
    def moved(tables: Sequence["Table"], layout: Layout) -> "Table":
        """Seat the students of `layout`, wherever they sat, with what their optimizer remembers."""
        first = tables[0]
        stack = first.stack.blank(layout)
        memory = [[torch.zeros_like(w) for w in stack.weights] for _ in first._state.memory]
        for table in tables:
            old = table.stack
            copy_students(old.layout, layout, old.weights, stack.weights)
            for before, after in zip(table._state.memory, memory, strict=True):
                copy_students(old.layout, layout, before, after)
        cohort = replace(first._cohort, layout=layout, weights=stack.weights)
        return Table(first._descent, stack, cohort, first._state.moved(cohort, memory))
