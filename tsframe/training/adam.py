"""Adam, for a stack of students."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from tsframe.checks import real_number
from tsframe.training.cohort import Cohort
from tsframe.training.following import Following, schedule_factors
from tsframe.training.optimizer import Pull
from tsframe.training.schedules import Constant, Schedule
from tsframe.training.sgd import check_training
from tsframe.training.stopping import common_part, StoppingRule

__all__ = ["Adam", "AdamState"]


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma & Ba 2015, Algorithm 1), with weight decay as in torch.optim.Adam or AdamW.

    Parameters
    ----------
    lr : float
        Step size, > 0.
    beta1, beta2 : float
        Decay of the running first and second moment, in [0, 1).
    epsilon : float
        Added to the root of the second moment, > 0.
    batch_size : int or None
        Samples a step; None means full batch. See `SGD`.
    max_steps : int
        Budget of optimizer steps.
    weight_decay : float
        Factor of w in the gradient; with `decoupled`, of lr w in the step (Loshchilov & Hutter
        2019).
    decoupled : bool
        Which of the two.
    schedule : Schedule
        Factor on `lr` over steps.
    stop : StoppingRule or None
        None trains through the whole budget.
    """

    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    batch_size: int | None = None
    max_steps: int = 1000
    weight_decay: float = 0.0
    decoupled: bool = False
    schedule: Schedule = field(default_factory=Constant)
    stop: StoppingRule | None = None

    def __post_init__(self) -> None:
        check_training(self)
        for name in ("beta1", "beta2"):
            sentence = f"{name} must lie in [0, 1); got {name}={getattr(self, name)!r}."
            if real_number(getattr(self, name), sentence) >= 1.0:
                raise ValueError(sentence)
        sentence = f"epsilon must be a number > 0; got epsilon={self.epsilon!r}."
        real_number(self.epsilon, sentence, strict=True)

    minibatches: ClassVar[int] = 1
    gradients: ClassVar[int] = 1
    copies: ClassVar[int] = 4

    @property
    def form(self) -> "Adam":
        """What must be equal to step together: batch size, kind of decay, validation rows."""
        return Adam(
            batch_size=self.batch_size, decoupled=self.decoupled, stop=common_part(self.stop)
        )

    def start(self, cohort: Cohort) -> "AdamState":
        """Begin an optimization of the weights of a cohort."""
        return AdamState(cohort, *([torch.zeros_like(w) for w in cohort.weights] for _ in range(2)))


class AdamState:
    """A running optimization; `memory` lists what it keeps, each item laid out like the weights.

    With c = 1 - beta1^t and d = 1 - beta2^t the step lr (first / c) / (sqrt(second / d) + epsilon)
    is computed as (lr sqrt(d) / c) first / (sqrt(second) + epsilon sqrt(d)): what depends on t then
    is two numbers a student.
    """

    draws: ClassVar[bool] = False

    def __init__(self, cohort: Cohort, first: list[Tensor], second: list[Tensor]) -> None:
        self.cohort, self.weights = cohort, cohort.weights
        self.first, self.second = first, second
        self._decoupled: bool = cohort.spec.decoupled
        self._factors = schedule_factors(cohort)
        self._firsts = Following(
            cohort, lambda spec, step: 1.0 - spec.beta1 ** (step + 1), lambda spec: spec.beta1
        )
        self._seconds = Following(
            cohort, lambda spec, step: 1.0 - spec.beta2 ** (step + 1), lambda spec: spec.beta2
        )
        self._lr = cohort.numbers(lambda spec: spec.lr)
        self._epsilon = cohort.numbers(lambda spec: spec.epsilon)
        self._decay = cohort.numbers(lambda spec: spec.weight_decay)
        self.shares = [
            cohort.lay(lambda spec: 1.0 - spec.beta1),
            cohort.lay(lambda spec: 1.0 - spec.beta2),
        ]
        self.rates, self.epsilons = cohort.lay_numbers(self._lr), cohort.lay_numbers(self._epsilon)
        self.decays = cohort.lay_some(lambda spec: spec.weight_decay)

    @property
    def memory(self) -> list[list[Tensor]]:
        """Tensors that move with the students when they change their slots."""
        return [self.first, self.second]

    def moved(self, cohort: Cohort, memory: list[list[Tensor]]) -> "AdamState":
        """Go on with the students in other slots."""
        return AdamState(cohort, *memory)

    def prepare(self, done: np.ndarray) -> None:
        """Lay out the rates of students that have done so many steps each."""
        for following in (self._factors, self._firsts, self._seconds):
            following.follow(done)
        rates, root = self._lr * self._factors.values, np.sqrt(self._seconds.values)
        self.cohort.lay_numbers(rates * root / self._firsts.values, self.rates)
        self.cohort.lay_numbers(self._epsilon * root, self.epsilons, vacant=1.0)
        if self.decays is not None and self._decoupled:
            self.cohort.lay_numbers(rates * self._decay, self.decays)

    def step(self, pull: Pull) -> None:
        """Take one step."""
        pull(self.absorb)

    def absorb(self, index: int, left: Tensor, right: Tensor) -> None:
        """Update weight tensor `index`, whose gradient is left @ right."""
        self.take(index, self.cohort.gradient(index, left, right))

    def take(self, index: int, gradient: Tensor) -> None:
        """Update weight tensor `index`, whose gradient is given; it is overwritten."""
        weights, first, second = self.weights[index], self.first[index], self.second[index]
        if self.decays is not None:
            decayed = weights if self._decoupled else gradient
            sign = -1.0 if self._decoupled else 1.0
            decayed.addcmul_(weights, self.decays[index], value=sign)
        first.lerp_(gradient, self.shares[0][index])
        second.lerp_(gradient.square_(), self.shares[1][index])
        root = torch.sqrt(second, out=gradient).add_(self.epsilons[index])
        step = torch.div(first, root, out=root)
        weights.addcmul_(step, self.rates[index], value=-1.0)
