"""Stochastic gradient Langevin dynamics, for a stack of students.

Source: Welling & Teh 2011, Eq. 4, with a temperature.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from tsframe.checks import real_number
from tsframe.training.cohort import Cohort, Normals
from tsframe.training.following import schedule_factors
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
        check_training(self)
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
        """What must be equal to step together: batch size and validation rows."""
        return Langevin(
            lr=1.0, temperature=0.0, batch_size=self.batch_size, stop=common_part(self.stop)
        )

    def start(self, cohort: Cohort) -> "LangevinState":
        """Begin an optimization of the weights of a cohort."""
        return LangevinState(cohort, Normals("langevin"))


class LangevinState:
    """A running optimization."""

    draws: ClassVar[bool] = True
    memory: ClassVar[list[list[Tensor]]] = []

    def __init__(self, cohort: Cohort, normals: Normals) -> None:
        self.cohort, self.normals = cohort, normals
        self._room = [torch.zeros_like(w) for w in cohort.weights]
        self._factors = schedule_factors(cohort)
        self._lr = cohort.numbers(lambda spec: spec.lr)
        self._temperature = cohort.numbers(lambda spec: spec.temperature)
        self._rates = cohort.lay_numbers(self._lr)
        self._decays = cohort.lay_some(lambda spec: spec.weight_decay)
        self._kicks = cohort.lay_numbers(np.sqrt(2.0 * self._lr * self._temperature))

    def moved(self, cohort: Cohort, memory: list[list[Tensor]]) -> "LangevinState":
        """Go on with the students in other slots."""
        return LangevinState(cohort, self.normals)

    def prepare(self, done: np.ndarray) -> None:
        """Lay out the rates of students that have done so many steps each."""
        if self._factors.follow(done):
            rates = self._lr * self._factors.values
            self.cohort.lay_numbers(rates, self._rates)
            self.cohort.lay_numbers(np.sqrt(2.0 * rates * self._temperature), self._kicks)

    def step(self, pull: Pull) -> None:
        """Take one step."""
        pull(self._absorb)
        self.normals.fill_(self.cohort, self._room)
        for weights, normal, kick in zip(self.cohort.weights, self._room, self._kicks, strict=True):
            weights.addcmul_(normal, kick)

    def _absorb(self, index: int, left: Tensor, right: Tensor) -> None:
        weights = self.cohort.weights[index]
        gradient = self.cohort.gradient(index, left, right, self._room[index])
        if self._decays is not None:
            gradient.addcmul_(weights, self._decays[index])
        weights.addcmul_(gradient, self._rates[index], value=-1.0)
