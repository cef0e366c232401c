"""What the engine asks of an optimizer: a spec, and the running optimization that it starts."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from tsframe.training.cohort import Cohort
from tsframe.training.stopping import StoppingRule

__all__ = ["Absorb", "Composite", "Optimization", "Optimizer", "Pull"]

Absorb = Callable[[int, Tensor, Tensor], None]


class Pull(Protocol):
    """Computes gradients of the loss at the present weights."""

    def __call__(self, absorb: Absorb, minibatch: int = 0) -> None:
        """Hand the gradient of every weight tensor to `absorb`, as two factors.

        Parameters
        ----------
        absorb : callable (index, left, right)
            Receives factors of the gradient of weight tensor `index`, which is left @ right. It may
            change that tensor: nothing reads it afterwards.
        minibatch : int
            Which of the minibatches of this step, from 0 on.
        """


class Optimization(Protocol):
    """A running optimization; `memory` lists what it keeps, each item laid out like the weights."""

    @property
    def draws(self) -> bool:
        """Whether its steps draw random numbers on the host, so that no graph can repeat them."""

    @property
    def memory(self) -> list[list[Tensor]]:
        """Tensors that move with the students when they change their slots."""

    def moved(self, cohort: Cohort, memory: list[list[Tensor]]) -> "Optimization":
        """Go on with the students in other slots."""

    def prepare(self, done: np.ndarray) -> None:
        """Lay out, in place, what changes from step to step: all that `step` reads then lies ready.

        Parameters
        ----------
        done : ndarray of int, shape (students,)
            Steps that each student has done since its own start.
        """

    def step(self, pull: Pull) -> None:
        """Take one step, for which all is prepared."""


class Optimizer(Protocol):
    """How a student is trained: a frozen spec.

    Attributes
    ----------
    lr : float
        Learning rate.
    batch_size : int or None
        Samples of a minibatch; None means full batch.
    max_steps : int
        Budget of optimizer steps.
    stop : StoppingRule or None
        When to stop earlier.
    minibatches : int
        Minibatches that one step looks at.
    gradients : int
        Gradients that one step computes: what it costs, in steps of SGD.
    copies : int
        Copies of the weights in memory, the weights included.
    form : hashable
        Students whose specs have equal forms can step together.
    """

    @property
    def lr(self) -> float: ...  # noqa: D102 - described above
    @property
    def batch_size(self) -> int | None: ...  # noqa: D102
    @property
    def max_steps(self) -> int: ...  # noqa: D102
    @property
    def stop(self) -> StoppingRule | None: ...  # noqa: D102
    @property
    def minibatches(self) -> int: ...  # noqa: D102
    @property
    def gradients(self) -> int: ...  # noqa: D102
    @property
    def copies(self) -> int: ...  # noqa: D102
    @property
    def form(self) -> Any: ...  # noqa: D102
    def start(self, cohort: Cohort) -> Optimization:
        """Begin an optimization of the weights of a cohort, whose specs have equal forms."""


class Composite:
    """What an optimizer that is built on another one, its `base`, takes over from it."""

    base: Any

    @property
    def lr(self) -> float:
        """Learning rate of the base."""
        return float(self.base.lr)

    @property
    def batch_size(self) -> int | None:
        """Samples of a minibatch; None means full batch."""
        size: int | None = self.base.batch_size
        return size

    @property
    def max_steps(self) -> int:
        """Budget of steps."""
        return int(self.base.max_steps)

    @property
    def stop(self) -> StoppingRule | None:
        """When to stop earlier."""
        stop: StoppingRule | None = self.base.stop
        return stop
