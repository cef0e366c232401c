"""Stochastic gradient descent with momentum, for a stack of students.

The gradient of a weight matrix is a product, left @ right. Where all students have one momentum,
that of the first layers is accumulated straight into the velocity.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from tsframe.checks import plain_numbers, real_number
from tsframe.training.cohort import Cohort
from tsframe.training.following import schedule_factors
from tsframe.training.optimizer import Pull
from tsframe.training.schedules import Constant, Schedule
from tsframe.training.stopping import common_part, StoppingRule

__all__ = ["SGD", "SGDState", "check_training"]


def check_training(spec: Any) -> None:
    """Refuse fields of SGD, Adam or Langevin that no optimizer can work with.

    Numbers of NumPy become those of Python.

    Raises
    ------
    TypeError
        If a rule is no rule; and where a number is none.
    ValueError
        With a sentence that names what came and what is allowed.
    """
    plain_numbers(spec)
    real_number(spec.lr, f"lr must be a positive number; got lr={spec.lr!r}.", strict=True)
    decay = f"weight_decay must be a number >= 0; got weight_decay={spec.weight_decay!r}."
    real_number(spec.weight_decay, decay)
    if not callable(spec.schedule) or isinstance(spec.schedule, type):
        raise TypeError(
            "schedule must be Constant(), Cosine() or StepDecay(every); "
            f"got schedule={spec.schedule!r}."
        )
    if spec.stop is not None and not isinstance(spec.stop, StoppingRule):
        raise TypeError(
            "stop must be ZeroTrainError(), TrainLossBelow(level), BestValidation(rows) or None; "
            f"got stop={spec.stop!r}."
        )
    for name, value in (("max_steps", spec.max_steps), ("batch_size", spec.batch_size)):
        if name == "batch_size" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            hint = " Use None for full batch." if name == "batch_size" else ""
            raise ValueError(f"{name} must be an integer >= 1; got {name}={value!r}.{hint}")


@dataclass(frozen=True)
class SGD:
    """Gradient descent on minibatches, with heavy-ball or Nesterov momentum.

    v <- momentum v + g + weight_decay w;  w <- w - lr v, or w - lr (g + weight_decay w + momentum
    v) for Nesterov: the convention of torch.optim.SGD. Biases decay like weights.

    Parameters
    ----------
    lr : float
        Learning rate, > 0.
    momentum : float
        In [0, 1).
    batch_size : int or None
        Samples a step, drawn without replacement within an epoch; None means full batch. Where it
        does not divide n_train, the remainder of each epoch's order is left out of that epoch.
    max_steps : int
        Budget of optimizer steps.
    weight_decay : float
        Factor of w in the gradient, i.e. twice the coefficient of the squared norm.
    nesterov : bool
        Nesterov's momentum (Sutskever, Martens, Dahl & Hinton 2013).
    schedule : Schedule
        Factor on `lr` over steps.
    stop : StoppingRule or None
        None trains through the whole budget.
    """

    lr: float
    momentum: float = 0.0
    batch_size: int | None = None
    max_steps: int = 1000
    weight_decay: float = 0.0
    nesterov: bool = False
    schedule: Schedule = field(default_factory=Constant)
    stop: StoppingRule | None = None

    def __post_init__(self) -> None:
        check_training(self)
        sentence = f"momentum must lie in [0, 1); got momentum={self.momentum!r}."
        if real_number(self.momentum, sentence) >= 1.0:
            raise ValueError(sentence)
        if self.nesterov and self.momentum == 0.0:
            raise ValueError("nesterov needs momentum > 0; got momentum=0.0. Drop nesterov.")

    minibatches: ClassVar[int] = 1
    gradients: ClassVar[int] = 1
    copies: ClassVar[int] = 2

    @property
    def form(self) -> "SGD":
        """What must be equal to step together: batch size, kind of momentum, validation rows."""
        return SGD(
            lr=1.0,
            momentum=0.5,
            batch_size=self.batch_size,
            nesterov=self.nesterov,
            stop=common_part(self.stop),
        )

    def start(self, cohort: Cohort) -> "SGDState":
        """Begin an optimization of the weights of a cohort."""
        return SGDState(cohort, [torch.zeros_like(w) for w in cohort.weights])


class SGDState:
    """A running optimization; `memory` lists what it keeps, each item laid out like the weights."""

    draws: ClassVar[bool] = False

    def __init__(self, cohort: Cohort, velocity: list[Tensor]) -> None:
        self.cohort, self.weights, self.velocity = cohort, cohort.weights, velocity
        self._nesterov: bool = cohort.spec.nesterov
        self._factors = schedule_factors(cohort)
        self._lr = cohort.numbers(lambda spec: spec.lr)
        self.rates = cohort.lay_rates(self._lr)
        self.decays = cohort.lay_some(lambda spec: spec.weight_decay)
        self.momenta = cohort.lay(lambda spec: spec.momentum)
        momenta = {cohort.specs[k].momentum for k in cohort.layout.students}
        self._momentum: float | None = momenta.pop() if len(momenta) == 1 else None
        fused = cohort.products.fused_sums and not self._nesterov
        self._fused = self._momentum if fused else None
        room = self.weights[0].new_empty(max(w.numel() for w in self.weights))
        self._room = [room[: w.numel()].view_as(w) for w in self.weights]  # the same for all

    @property
    def memory(self) -> list[list[Tensor]]:
        """Tensors that move with the students when they change their slots."""
        return [self.velocity]

    def moved(self, cohort: Cohort, memory: list[list[Tensor]]) -> "SGDState":
        """Go on with the students in other slots."""
        return SGDState(cohort, *memory)

    def prepare(self, done: np.ndarray) -> None:
        """Lay out the rates of students that have done so many steps each."""
        if self._factors.follow(done):
            self.cohort.lay_rates(self._lr * self._factors.values, self.rates)

    def step(self, pull: Pull) -> None:
        """Take one step."""
        pull(self.absorb)

    def absorb(self, index: int, left: Tensor, right: Tensor) -> None:
        """Update weight tensor `index`, whose gradient is left @ right."""
        velocity, fusions = self.velocity[index], self.cohort.products.fusions
        if fusions is not None:
            fusions.follow(
                left,
                right,
                velocity,
                self.weights[index],
                self.rates[index],
                None if self._momentum == 0.0 else self.momenta[index],
                None if self.decays is None else self.decays[index],
                self._nesterov,
                wide=index == 0,
            )
        elif self._momentum == 0.0:
            self.cohort.gradient(index, left, right, velocity)
            self._follow(index)
        elif self._fused is None or index:
            self.take(index, self.cohort.gradient(index, left, right, self._room[index]))
        else:  # the first layers are most of the weights: no second pass over them
            velocity.baddbmm_(left, right, beta=self._fused)
            self._follow(index)

    def take(self, index: int, gradient: Tensor) -> None:
        """Update weight tensor `index`, whose gradient is given; it is overwritten."""
        velocity, momenta = self.velocity[index], self.momenta[index]
        if not self._nesterov:
            torch.addcmul(gradient, velocity, momenta, out=velocity)
            self._follow(index)
            return
        weights = self.weights[index]
        if self.decays is not None:
            gradient.addcmul_(weights, self.decays[index])
        torch.addcmul(gradient, velocity, momenta, out=velocity)
        gradient.addcmul_(velocity, momenta)
        weights.addcmul_(gradient, self.rates[index], value=-1.0)

    def _follow(self, index: int) -> None:
        """Move along the velocity, which still lacks the decay of the weights."""
        weights, velocity = self.weights[index], self.velocity[index]
        if self.decays is not None:
            velocity.addcmul_(weights, self.decays[index])
        weights.addcmul_(velocity, self.rates[index], value=-1.0)
