"""Stochastic gradient descent with momentum, for a stack of students.

The gradient of a weight matrix is a product, left @ right. With momentum that product is
accumulated straight into the velocity, so no gradient is ever stored.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tsframe.training.schedules import Constant, Schedule
from tsframe.training.stopping import StoppingRule

__all__ = ["SGD", "SGDState", "check_training"]


def check_training(lr: float, max_steps: int, batch_size: int | None, weight_decay: float) -> None:
    """Refuse values that no optimizer can work with.

    Raises
    ------
    ValueError
        With a sentence that names what came and what is allowed.
    """
    if not (math.isfinite(lr) and lr > 0):
        raise ValueError(f"lr must be a positive number; got lr={lr!r}.")
    if not (math.isfinite(weight_decay) and weight_decay >= 0):
        raise ValueError(f"weight_decay must be >= 0; got weight_decay={weight_decay!r}.")
    for name, value in (("max_steps", max_steps), ("batch_size", batch_size)):
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
        check_training(self.lr, self.max_steps, self.batch_size, self.weight_decay)
        if not 0.0 <= self.momentum < 1.0:
            raise ValueError(f"momentum must lie in [0, 1); got momentum={self.momentum!r}.")
        if self.nesterov and self.momentum == 0.0:
            raise ValueError("nesterov needs momentum > 0; got momentum=0.0. Drop nesterov.")

    def start(self, weights: list[Tensor], rates: list[Tensor]) -> "SGDState":
        """Begin an optimization of weights of shape (slots, rows, columns).

        `rates` are the students' learning rates, in shapes that broadcast to the weights.
        """
        return SGDState(self, weights, rates, 0, [torch.zeros_like(w) for w in weights])


class SGDState:
    """A running optimization; `memory` lists what it keeps, each item laid out like the weights."""

    def __init__(
        self,
        spec: SGD,
        weights: list[Tensor],
        rates: list[Tensor],
        step: int,
        velocity: list[Tensor],
    ) -> None:
        self.spec, self.weights, self.rates, self.step = spec, weights, rates, step
        self.velocity = velocity

    @property
    def memory(self) -> list[list[Tensor]]:
        """Tensors that move with the students when they change their slots."""
        return [self.velocity] if self.spec.momentum else []

    def moved(
        self, weights: list[Tensor], rates: list[Tensor], memory: list[list[Tensor]]
    ) -> "SGDState":
        """Go on with the students in other slots."""
        velocity = memory[0] if memory else [torch.zeros_like(w) for w in weights]
        return SGDState(self.spec, weights, rates, self.step, velocity)

    def absorb(self, index: int, left: Tensor, right: Tensor) -> None:
        """Update weight tensor `index`, whose gradient is left @ right."""
        spec, weights, velocity = self.spec, self.weights[index], self.velocity[index]
        factor = -spec.schedule(self.step, spec.max_steps)
        if spec.nesterov:
            gradient = torch.bmm(left, right)
            if spec.weight_decay:
                gradient.add_(weights, alpha=spec.weight_decay)
            velocity.mul_(spec.momentum).add_(gradient)
            weights.addcmul_(
                gradient.add_(velocity, alpha=spec.momentum), self.rates[index], value=factor
            )
            return
        if spec.weight_decay:
            velocity.mul_(spec.momentum).add_(weights, alpha=spec.weight_decay)
            velocity.baddbmm_(left, right)
        elif spec.momentum:
            velocity.baddbmm_(left, right, beta=spec.momentum)
        else:
            torch.bmm(left, right, out=velocity)
        weights.addcmul_(velocity, self.rates[index], value=factor)

    def advance(self) -> None:
        """Count one step."""
        self.step += 1
