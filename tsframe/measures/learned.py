"""Students of one shape at one step of their training, as measures see them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tsframe.samples import Samples
from tsframe.students.activations import Activation
from tsframe.students.layout import VACANT
from tsframe.students.stack import Stack
from tsframe.tasks import Task
from tsframe.training.losses import Objective

__all__ = ["Learned", "StudentShape", "learned_by_shape"]


@dataclass(frozen=True)
class StudentShape:
    """What decides the sizes of measures.

    Attributes
    ----------
    dim, width, depth, outputs : int
        Of the network.
    n_train, n_test : int
        Sizes of its samples.
    classes : int or None
        None for regression.
    """

    dim: int
    width: int
    depth: int
    outputs: int
    n_train: int
    n_test: int
    classes: int | None

    @property
    def sizes(self) -> tuple[int, ...]:
        """Units of every layer, from the inputs to the outputs."""
        return (self.dim, *([self.width] * self.depth), self.outputs)

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return sum(
            after * (before + 1) for before, after in zip(self.sizes, self.sizes[1:], strict=False)
        )


@dataclass(frozen=True, eq=False)
class Learned:
    """Students of one shape at one step, and what they learned from.

    Attributes
    ----------
    activation : Activation
        The same for all.
    weights : list of Tensor, shapes (students, fan_out, fan_in + 1)
        One a layer, float64, biases in the last column.
    initial : list of Tensor
        The same at initialization.
    samples : sequence of Samples
        One a student; the same object where the samples are the same.
    tasks : sequence of Task
        One a student: inputs, teacher, sizes, noise and seed.
    steps : sequence of int
        Optimizer steps that each has done.
    """

    activation: Activation
    weights: list[Tensor]
    initial: list[Tensor]
    samples: Sequence[Samples]
    tasks: Sequence[Task]
    steps: Sequence[int] = ()

    @property
    def objective(self) -> Objective:
        """What the students minimize and what counts as their error."""
        return self.tasks[0].objective

    @property
    def shape(self) -> StudentShape:
        """Shape of all students."""
        task, layers = self.tasks[0], self.weights
        return StudentShape(
            dim=layers[0].shape[2] - 1,
            width=layers[0].shape[1] if len(layers) > 1 else 1,
            depth=len(layers) - 1,
            outputs=layers[-1].shape[1],
            n_train=task.n_train,
            n_test=task.n_test,
            classes=self.objective.classes,
        )

    def some(self, chosen: Sequence[int]) -> "Learned":
        """Give some of the students."""
        places = torch.as_tensor(list(chosen))
        return Learned(
            self.activation,
            [layer[places] for layer in self.weights],
            [layer[places] for layer in self.initial],
            [self.samples[k] for k in chosen],
            [self.tasks[k] for k in chosen],
            [self.steps[k] for k in chosen] if len(self.steps) else (),
        )


def learned_by_shape(
    stack: Stack,
    initial: Stack,
    samples: Sequence[Samples],
    tasks: Sequence[Task],
    wanted: np.ndarray,
    steps: np.ndarray,
) -> Iterator[tuple[np.ndarray, Learned]]:
    """Take a stack apart into students of equal shape.

    Parameters
    ----------
    stack, initial : Stack
        Students now and at initialization, in one layout.
    samples, tasks : sequences
        Of all students, by their indices.
    wanted : ndarray of bool, shape (students,)
        Who is to come. Those with a weight that is not finite never do.
    steps : ndarray of int, shape (students,)
        Optimizer steps that each has done.

    Yields
    ------
    students : ndarray of int
        Indices.
    learned : Learned
        These students, in this order.
    """
    now, first = (stack.layout.by_student(some.weights) for some in (stack, initial))
    for bucket, layers, firsts in zip(stack.layout.buckets, now, first, strict=True):
        finite = torch.stack([layer.isfinite().all(-1).all(-1) for layer in layers]).all(0)
        seats = (bucket.slots != VACANT) & finite.cpu().numpy() & wanted[bucket.slots]
        if not seats.any():
            continue
        students = bucket.slots[seats]
        at = torch.as_tensor(seats)
        yield (
            students,
            Learned(
                stack.activation,
                [layer[at].double() for layer in layers],
                [layer[at].double() for layer in firsts],
                [samples[k] for k in students],
                [tasks[k] for k in students],
                [int(steps[k]) for k in students],
            ),
        )
