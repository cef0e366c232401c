"""Adam, for a stack of students."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from tsframe.training.cohort import Cohort
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
        check_training(self.lr, self.max_steps, self.batch_size, self.weight_decay)
        for name in ("beta1", "beta2"):
            value = getattr(self, name)
            if not 0.0 <= value < 1.0:
                raise ValueError(f"{name} must lie in [0, 1); got {name}={value!r}.")
        if not self.epsilon > 0.0:
            raise ValueError(f"epsilon must be > 0; got epsilon={self.epsilon!r}.")

    minibatches: ClassVar[int] = 1
    gradients: ClassVar[int] = 1
    copies: ClassVar[int] = 4

    @property
    def form(self) -> "Adam":
        """What must be equal to step together: all but rate, decay, budget and stopping rule."""
        return replace(
            self,
            lr=1.0,
            weight_decay=0.0,
            max_steps=self.schedule.budget(self.max_steps),
            stop=common_part(self.stop),
        )

    def start(self, cohort: Cohort) -> "AdamState":
        """Begin an optimization of the weights of a cohort."""
        first, second = ([torch.zeros_like(w) for w in cohort.weights] for _ in range(2))
        return AdamState(cohort, 0, first, second)


class AdamState:
    """A running optimization; `memory` lists what it keeps, each item laid out like the weights."""

    def __init__(
        self, cohort: Cohort, count: int, first: list[Tensor], second: list[Tensor]
    ) -> None:
        self.spec: Adam = cohort.spec
        self.cohort, self.weights, self.count = cohort, cohort.weights, count
        self.first, self.second = first, second
        decoupled = self.spec.decoupled
        self.rates = cohort.lay(lambda spec: spec.lr)
        self.decays = cohort.lay_some(
            lambda spec: spec.lr * spec.weight_decay if decoupled else spec.weight_decay
        )

    @property
    def memory(self) -> list[list[Tensor]]:
        """Tensors that move with the students when they change their slots."""
        return [self.first, self.second]

    def moved(self, cohort: Cohort, memory: list[list[Tensor]]) -> "AdamState":
        """Go on with the students in other slots."""
        return AdamState(cohort, self.count, *memory)

    def step(self, pull: Pull) -> None:
        """Take one step."""
        pull(self.absorb)
        self.count += 1

    def absorb(self, index: int, left: Tensor, right: Tensor) -> None:
        """Update weight tensor `index`, whose gradient is left @ right."""
        self.take(index, self.cohort.gradient(index, left, right))

    def take(self, index: int, gradient: Tensor) -> None:
        """Update weight tensor `index`, whose gradient is given; it is overwritten."""
        spec, weights, rates = self.spec, self.weights[index], self.rates[index]
        first, second = self.first[index], self.second[index]
        factor = spec.schedule(self.count, spec.max_steps)
        if self.decays is not None and spec.decoupled:
            weights.addcmul_(weights, self.decays[index], value=-factor)
        elif self.decays is not None:
            gradient.addcmul_(weights, self.decays[index])
        first.mul_(spec.beta1).add_(gradient, alpha=1.0 - spec.beta1)
        second.mul_(spec.beta2).addcmul_(gradient, gradient, value=1.0 - spec.beta2)
        count = self.count + 1
        root = torch.sqrt(second, out=gradient)
        root.mul_((1.0 - spec.beta2**count) ** -0.5).add_(spec.epsilon)
        step = torch.div(first, root, out=root)
        weights.addcmul_(step, rates, value=-factor / (1.0 - spec.beta1**count))
