"""Entropy-SGD, for a stack of students: descent on the local entropy of the loss.

Source: Chaudhari, Choromanska, Soatto, LeCun, Baldassi, Borgs, Chayes, Sagun & Zecchina 2017
(arXiv:1611.01838), Algorithm 1.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tsframe.checks import real_number, whole
from tsframe.training.cohort import Cohort, Normals
from tsframe.training.following import Following
from tsframe.training.optimizer import Composite, Pull
from tsframe.training.sgd import SGD, SGDState

__all__ = ["EntropySGD", "EntropySGDState"]


@dataclass(frozen=True)
class EntropySGD(Composite):
    """Let an inner chain wander near the weights, and step towards the middle of where it was.

    The local entropy of a loss f at temperature T is F(x) = T log of the integral over x' of
    exp(-(f(x') + scope ||x - x'||^2 / 2) / T), and -grad F = scope (x - <x'>), where <x'> is the
    mean of that Gibbs law. One step looks at `inner_steps` minibatches: from x' = mean = x it
    repeats

        x' <- x' - inner_lr (grad f(x') + scope (x' - x)) + sqrt(2 inner_lr temperature) normal
        mean <- (1 - averaging) mean + averaging x'

    and then the base takes its step from x along scope (x - mean). On a quadratic f = x H x / 2
    that gradient is scope H (H + scope)^-1 x once the inner chain has settled.

    Parameters
    ----------
    base : SGD
        The outer step: its batch size, budget, stopping rule, momentum, weight decay. Its steps are
        counted; one costs `inner_steps` of SGD. With lr * scope = 1 it goes all the way to the
        mean.
    scope : float
        Strength gamma of the spring that keeps the chain near, > 0; units of the loss over squared
        weight. The region that is looked at narrows as it grows.
    inner_lr : float
        Step size of the chain, > 0; stable below 2 / (curvature + scope).
    inner_steps : int
        Steps L of the chain, >= 1.
    temperature : float
        Of the chain, in units of the loss, >= 0. The noise epsilon of the paper is a temperature of
        epsilon^2 / 2; its value 1e-4 is the default.
    averaging : float
        Weight alpha of the newest x' in the mean, in (0, 1].
    growth : float
        Growth of the scope a step, >= 0: scope (1 + growth)^step.
    """

    base: SGD
    scope: float = 0.03
    inner_lr: float = 0.1
    inner_steps: int = 20
    temperature: float = 5e-9
    averaging: float = 0.75
    growth: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.base, SGD):
            raise TypeError(f"base must be SGD(...), the outer step; got base={self.base!r}.")
        for name, strict, what in (
            ("scope", True, "a strength of the spring"),
            ("inner_lr", True, "a step size"),
            ("temperature", False, "units of the loss"),
            ("averaging", True, "the weight of the newest point in the mean, at most 1"),
            ("growth", False, "of the scope a step"),
        ):
            value = getattr(self, name)
            sign = "> 0" if strict else ">= 0"
            sentence = f"{name} must be a finite number {sign} ({what}); got {name}={value!r}."
            object.__setattr__(self, name, real_number(value, sentence, strict))
            if name == "averaging" and self.averaging > 1.0:
                raise ValueError(sentence)
        object.__setattr__(self, "inner_steps", whole("inner_steps", self.inner_steps, 1))

    @property
    def minibatches(self) -> int:
        """Minibatches of one step."""
        return self.inner_steps

    @property
    def gradients(self) -> int:
        """Gradients of one step."""
        return self.inner_steps

    @property
    def copies(self) -> int:
        """Copies of the weights in memory."""
        return self.base.copies + 4

    @property
    def form(self) -> "EntropySGD":
        """What must be equal to step together: the form of the base, and the inner steps."""
        return EntropySGD(self.base.form, inner_steps=self.inner_steps)

    def start(self, cohort: Cohort) -> "EntropySGDState":
        """Begin an optimization of the weights of a cohort."""
        base = self.base.start(cohort.of_base)
        return EntropySGDState(cohort, base, Normals("local entropy", 0))


class EntropySGDState:
    """A running optimization."""

    def __init__(self, cohort: Cohort, base: SGDState, normals: Normals) -> None:
        self.inner_steps: int = cohort.spec.inner_steps
        self.cohort, self.base, self.normals = cohort, base, normals
        self._start, self._mean, self._room = (
            [torch.zeros_like(w) for w in cohort.weights] for _ in range(3)
        )
        self.growth = Following(
            cohort,
            lambda spec, step: float((1.0 + spec.growth) ** step),
            lambda spec: spec.growth or None,
        )
        self._scope = cohort.numbers(lambda spec: spec.scope)
        self._scopes = cohort.lay_numbers(self._scope)
        self._averaging = cohort.lay(lambda spec: spec.averaging)
        self._rates = cohort.lay(lambda spec: spec.inner_lr)
        self._kicks = cohort.lay_some(
            lambda spec: math.sqrt(2.0 * spec.inner_lr * spec.temperature)
        )

    @property
    def draws(self) -> bool:
        """Whether there is noise."""
        return self._kicks is not None

    @property
    def memory(self) -> list[list[Tensor]]:
        """Tensors that move with the students when they change their slots."""
        return self.base.memory

    def moved(self, cohort: Cohort, memory: list[list[Tensor]]) -> "EntropySGDState":
        """Go on with the students in other slots."""
        return EntropySGDState(cohort, self.base.moved(cohort.of_base, memory), self.normals)

    def prepare(self, done: np.ndarray) -> None:
        """Lay out what changes from step to step for students that have done so many."""
        self.base.prepare(done)
        if self.growth.follow(done):
            self.cohort.lay_numbers(self._scope * self.growth.values, self._scopes)

    def step(self, pull: Pull) -> None:
        """Take one step."""
        self.descend(pull)

    def descend(
        self,
        pull: Pull,
        first: int = 0,
        center: list[Tensor] | None = None,
        couplings: list[Tensor] | None = None,
    ) -> None:
        """Take one step, which begins with minibatch `first`.

        With a `center`, laid out like the weights, the outer gradient has also coupling (x -
        center), with couplings laid out as `Cohort.lay_numbers` gives them.
        """
        weights = self.cohort.weights
        for x, mean, start in zip(weights, self._mean, self._start, strict=True):
            start.copy_(x)
            mean.copy_(x)
        for inner in range(self.inner_steps):
            pull(self._wander, first + inner)
            if self._kicks is not None:
                self.normals.fill_(self.cohort, self._room)
                for x, normal, kick in zip(weights, self._room, self._kicks, strict=True):
                    x.addcmul_(normal, kick)
            for x, mean, share in zip(weights, self._mean, self._averaging, strict=True):
                mean.lerp_(x, share)
        for index, (x, start) in enumerate(zip(weights, self._start, strict=True)):
            gradient = torch.sub(start, self._mean[index], out=self._room[index])
            gradient.mul_(self._scopes[index])
            if center is not None and couplings is not None:
                gradient.addcmul_(start - center[index], couplings[index])
            x.copy_(start)
            self.base.take(index, gradient)

    def _wander(self, index: int, left: Tensor, right: Tensor) -> None:
        """Take one step of the chain; the spring pulls back to where it started."""
        x, gradient = self.cohort.weights[index], self.cohort.gradient(index, left, right)
        away = torch.sub(x, self._start[index], out=self._room[index])
        gradient.addcmul_(away, self._scopes[index])
        x.addcmul_(gradient, self._rates[index], value=-1.0)
