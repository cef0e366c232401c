"""Sharpness-aware minimization, for a stack of students: every student has its own gradient norm.

Source: Foret, Kleiner, Mobahi & Neyshabur 2021 (arXiv:2010.01412), Algorithm 1. With two radii:
Zhao, Zhang & Hu 2022 (arXiv:2202.03599).
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from tsframe.checks import real_number
from tsframe.training.adam import Adam, AdamState
from tsframe.training.cohort import Cohort
from tsframe.training.optimizer import Composite, Pull
from tsframe.training.sgd import SGD, SGDState

__all__ = ["SAM", "SAMState"]

TINY = 1e-12  # added to the norm of the gradient, as in the published code


@dataclass(frozen=True)
class SAM(Composite):
    """Descend along the gradient found at the worst point of a small ball around the weights.

    g = gradient at w; e = radius g / ||g||; the base optimizer steps from w along the gradient at
    w + e. Both gradients are those of one minibatch, so one step costs two of the base. The norm is
    that of all weights and biases of one student. To first order this minimizes
    loss + radius ||gradient||.

    Give a second radius, and the distance at which the gradient is looked up is no longer the
    weight of its norm in the loss: the step goes along (1 - a) g + a (gradient at w + e) with
    a = penalty / radius, which minimizes loss + penalty ||gradient|| to first order in radius. With
    penalty = radius this is SAM.

    Parameters
    ----------
    base : SGD or Adam
        Takes the steps. Its weight decay acts at w, not at w + e, and is no part of g.
    radius : float
        Distance in the space of the weights, >= 0; at 0 this is the base to the bit.
    penalty : float or None
        The second radius, >= 0: what multiplies the norm of the gradient in the loss. None takes
        `radius`. Needs a radius > 0.

    Examples
    --------
    >>> SAM(SGD(lr=0.1), radius=0.05).gradients
    2
    """

    base: SGD | Adam
    radius: float = 0.05
    penalty: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.base, SGD | Adam):
            raise TypeError(f"base must be SGD(...) or Adam(...); got base={self.base!r}.")
        sentence = (
            f"radius must be a finite number >= 0 (a distance between weights); "
            f"got radius={self.radius!r}."
        )
        object.__setattr__(self, "radius", real_number(self.radius, sentence))
        if self.penalty is not None:
            sentence = (
                f"penalty must be a finite number >= 0, or None for that of SAM, beside a radius "
                f"> 0; got penalty={self.penalty!r}, radius={self.radius!r}."
            )
            object.__setattr__(self, "penalty", real_number(self.penalty, sentence))
            if self.radius == 0.0:
                raise ValueError(sentence)

    minibatches: ClassVar[int] = 1

    @property
    def gradients(self) -> int:
        """Gradients of one step."""
        return 2

    @property
    def copies(self) -> int:
        """Copies of the weights in memory."""
        return self.base.copies + 2

    @property
    def form(self) -> "SAM":
        """What must be equal to step together: the form of the base, and one radius or two."""
        penalty = None if self.penalty is None else 1.0
        return replace(self, base=self.base.form, radius=1.0, penalty=penalty)

    def start(self, cohort: Cohort) -> "SAMState":
        """Begin an optimization of the weights of a cohort."""
        return SAMState(cohort, self.base.start(cohort.of_base))


class SAMState:
    """A running optimization."""

    draws: ClassVar[bool] = False

    def __init__(self, cohort: Cohort, base: SGDState | AdamState) -> None:
        self.cohort, self.base = cohort, base
        self._gradient = [torch.zeros_like(w) for w in cohort.weights]
        self._saved = [torch.zeros_like(w) for w in cohort.weights]
        self._radii = cohort.of_students(lambda spec: spec.radius)
        self._shares: list[Tensor] | None = None
        if cohort.spec.penalty is not None:
            self._shares = cohort.lay(lambda spec: spec.penalty / spec.radius)

    @property
    def memory(self) -> list[list[Tensor]]:
        """Tensors that move with the students when they change their slots."""
        return self.base.memory

    def moved(self, cohort: Cohort, memory: list[list[Tensor]]) -> "SAMState":
        """Go on with the students in other slots."""
        return SAMState(cohort, self.base.moved(cohort.of_base, memory))

    def prepare(self, done: np.ndarray) -> None:
        """Lay out what changes from step to step for students that have done so many."""
        self.base.prepare(done)

    def step(self, pull: Pull) -> None:
        """Take one step."""
        pull(self._collect)
        norms = self.cohort.norms(self._gradient)
        factors = [radius / (norm + TINY) for radius, norm in zip(self._radii, norms, strict=True)]
        for saved, weights in zip(self._saved, self.cohort.weights, strict=True):
            saved.copy_(weights)
        self.cohort.add_(self.cohort.weights, self._gradient, factors)
        pull(self._absorb)

    def _collect(self, index: int, left: Tensor, right: Tensor) -> None:
        self.cohort.gradient(index, left, right, self._gradient[index])

    def _absorb(self, index: int, left: Tensor, right: Tensor) -> None:
        """Let the base step from where the student was, along the gradient of where it is."""
        self.cohort.weights[index].copy_(self._saved[index])
        if self._shares is None:
            self.base.absorb(index, left, right)
        else:
            before = self._gradient[index]
            change = self.cohort.gradient(index, left, right).sub_(before)
            self.base.take(index, before.addcmul_(change, self._shares[index]))
