"""Stochastic gradient Langevin dynamics, for a stack of students.

Source: Welling & Teh 2011, Eq. 4, with a temperature.
"""

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from tsframe.checks import real_number
from tsframe.training.cohort import Cohort, Normals
from tsframe.training.optimizer import Pull
from tsframe.training.schedules import Constant, Schedule
from tsframe.training.sgd import check_training
from tsframe.training.stopping import common_part, StoppingRule

__all__ = ["Langevin", "LangevinState"]


@dataclass(frozen=True)
class Langevin:
    """Gradient descent with isotropic noise: w <- w - lr g + sqrt(2 lr temperature) normal.

    With full batches and a small step its stationary law is that of Gibbs, proportional to
    exp(-(loss + weight_decay ||w||^2 / 2) / temperature), where loss is the mean over the training
    set. On a quadratic of curvature h the stationary variance is temperature / (h (1 - lr h / 2))
    at any stable step. Minibatches add the noise of SGD, which is not isotropic.

    Parameters
    ----------
    lr : float
        Step size, > 0.
    temperature : float
        In units of the loss, >= 0; at 0 this is gradient descent.
    batch_size : int or None
        Samples a step; None means full batch. See `SGD`.
    max_steps : int
        Budget of steps.
    weight_decay : float
        Factor of w in the gradient.
    schedule : Schedule
        Factor on `lr` over steps, in both places where it stands.
    stop : StoppingRule or None
        None trains through the whole budget.
    """

    lr: float
    temperature: float
    batch_size: int | None = None
    max_steps: int = 1000
    weight_decay: float = 0.0
    schedule: Schedule = field(default_factory=Constant)
    stop: StoppingRule | None = None

    def __post_init__(self) -> None:
        check_training(self.lr, self.max_steps, self.batch_size, self.weight_decay)
        sentence = (
            "temperature must be a finite number >= 0 (units of the loss); "
            f"got temperature={self.temperature!r}."
        )
        object.__setattr__(self, "temperature", real_number(self.temperature, sentence))

    minibatches: ClassVar[int] = 1
    gradients: ClassVar[int] = 1
    copies: ClassVar[int] = 3

    @property
    def form(self) -> "Langevin":
        """What must be equal to step together: batch size and schedule."""
        return replace(
            self,
            lr=1.0,
            temperature=0.0,
            weight_decay=0.0,
            max_steps=self.schedule.budget(self.max_steps),
            stop=common_part(self.stop),
        )

    def start(self, cohort: Cohort) -> "LangevinState":
        """Begin an optimization of the weights of a cohort."""
        return LangevinState(cohort, 0, Normals("langevin"))


class LangevinState:
    """A running optimization."""

    memory: ClassVar[list[list[Tensor]]] = []

    def __init__(self, cohort: Cohort, count: int, normals: Normals) -> None:
        self.cohort, self.count, self.normals = cohort, count, normals
        self._room = [torch.zeros_like(w) for w in cohort.weights]
        self._rates = cohort.lay(lambda spec: spec.lr)
        self._decays = cohort.lay_some(lambda spec: spec.weight_decay)
        self._kicks = cohort.lay(lambda spec: math.sqrt(2.0 * spec.lr * spec.temperature))
        self._factor = 1.0

    def moved(self, cohort: Cohort, memory: list[list[Tensor]]) -> "LangevinState":
        """Go on with the students in other slots."""
        return LangevinState(cohort, self.count, self.normals)

    def step(self, pull: Pull) -> None:
        """Take one step."""
        spec: Langevin = self.cohort.spec
        self._factor = spec.schedule(self.count, spec.max_steps)
        pull(self._absorb)
        self.normals.fill_(self.cohort, self._room)
        kick = math.sqrt(self._factor)
        for weights, normal, size in zip(self.cohort.weights, self._room, self._kicks, strict=True):
            weights.addcmul_(normal, size, value=kick)
        self.count += 1

    def _absorb(self, index: int, left: Tensor, right: Tensor) -> None:
        weights = self.cohort.weights[index]
        gradient = self.cohort.gradient(index, left, right, self._room[index])
        if self._decays is not None:
            gradient.addcmul_(weights, self._decays[index])
        weights.addcmul_(gradient, self._rates[index], value=-self._factor)
