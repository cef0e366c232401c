"""Parle, for a stack of students: replicas that descend on the local entropy, tied to their mean.

Source: Chaudhari, Baldassi, Zecchina, Soatto, Talwalkar & Oberman 2017 (arXiv:1707.00424).
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from tsframe.checks import real_number, whole
from tsframe.training.cohort import Cohort, Normals
from tsframe.training.entropy_sgd import EntropySGD, EntropySGDState
from tsframe.training.optimizer import Composite, Pull

__all__ = ["Parle", "ParleState"]


@dataclass(frozen=True)
class Parle(Composite):
    """Replicas of Entropy-SGD, each with minibatches and noise of its own, tied to their mean.

    The outer gradient of replica a is scope (x_a - mean_a) + coupling (x_a - center), where center
    is the mean of the replicas before the step; all start at the weights of the student, whose
    weights are the mean of its replicas after each step. One replica is Entropy-SGD to the bit. In
    the paper scope and coupling are the inverses of what is called gamma and rho there; both grow
    with the growth of the base.

    Parameters
    ----------
    base : EntropySGD
        What each replica does. One step costs replicas * inner_steps of SGD.
    replicas : int
        How many, >= 1.
    coupling : float
        Strength of the tie to the mean, >= 0; in units of the scope.
    """

    base: EntropySGD
    replicas: int = 3
    coupling: float = 0.03

    def __post_init__(self) -> None:
        if not isinstance(self.base, EntropySGD):
            raise TypeError(f"base must be EntropySGD(...); got base={self.base!r}.")
        object.__setattr__(self, "replicas", whole("replicas", self.replicas, 1))
        sentence = f"coupling must be a finite number >= 0; got coupling={self.coupling!r}."
        object.__setattr__(self, "coupling", real_number(self.coupling, sentence))

    @property
    def minibatches(self) -> int:
        """Minibatches of one step."""
        return self.replicas * self.base.minibatches

    @property
    def gradients(self) -> int:
        """Gradients of one step."""
        return self.replicas * self.base.gradients

    @property
    def copies(self) -> int:
        """Copies of the weights in memory."""
        return self.replicas * self.base.copies + 1

    @property
    def form(self) -> "Parle":
        """What must be equal to step together: the form of the base, and the replicas."""
        return replace(self, base=self.base.form, coupling=1.0)

    def start(self, cohort: Cohort) -> "ParleState":
        """Begin an optimization of the weights of a cohort."""
        inner = cohort.of_base
        states = [
            EntropySGDState(inner, self.base.base.start(inner.of_base), Normals("local entropy", a))
            for a in range(self.replicas)
        ]
        return ParleState(cohort, states, [[w.clone() for w in cohort.weights] for _ in states])


class ParleState:
    """A running optimization: where each replica is, and its own running optimization."""

    def __init__(
        self, cohort: Cohort, states: list[EntropySGDState], places: list[list[Tensor]]
    ) -> None:
        self.cohort, self.states, self.places = cohort, states, places
        self._coupling = cohort.numbers(lambda spec: spec.coupling)
        self._couplings = cohort.lay_numbers(self._coupling)

    @property
    def draws(self) -> bool:
        """Whether there is noise."""
        return self.states[0].draws

    @property
    def memory(self) -> list[list[Tensor]]:
        """Tensors that move with the students when they change their slots."""
        return [*self.places, *(item for state in self.states for item in state.memory)]

    def moved(self, cohort: Cohort, memory: list[list[Tensor]]) -> "ParleState":
        """Go on with the students in other slots."""
        count = len(self.states)
        rest, each = memory[count:], len(self.states[0].memory)
        states = [
            state.moved(cohort.of_base, rest[a * each : (a + 1) * each])
            for a, state in enumerate(self.states)
        ]
        return ParleState(cohort, states, memory[:count])

    def prepare(self, done: np.ndarray) -> None:
        """Lay out what changes from step to step for students that have done so many."""
        for state in self.states:
            state.prepare(done)
        growth = self.states[0].growth.values
        self.cohort.lay_numbers(self._coupling * growth, self._couplings)

    def step(self, pull: Pull) -> None:
        """Take one step of every replica."""
        weights = self.cohort.weights
        center = [w.clone() for w in weights]
        for a, (state, place) in enumerate(zip(self.states, self.places, strict=True)):
            _copy(place, weights)
            state.descend(pull, a * state.inner_steps, center, self._couplings)
            _copy(weights, place)
        for index, w in enumerate(weights):
            total = torch.zeros_like(w)
            for place in self.places:
                total.add_(place[index])
            w.copy_(total.div_(len(self.places)))


def _copy(source: list[Tensor], target: list[Tensor]) -> None:
    for one, other in zip(source, target, strict=True):
        other.copy_(one)
