"""Schedules: the learning rate as a function of the step, and the steps to look at."""

import math
from dataclasses import dataclass

import numpy as np

from tsframe.checks import plain_numbers, real_number, whole, whole_number

__all__ = ["Constant", "Cosine", "Schedule", "StepDecay", "log_steps"]


@dataclass(frozen=True)
class Constant:
    """The same learning rate throughout."""

    def __call__(self, step: int, max_steps: int) -> float:
        """Give the factor at a step, 0 <= step < max_steps."""
        return 1.0


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from 1 to `final` over the budget of steps (Loshchilov & Hutter 2017, Eq. 5).

    Parameters
    ----------
    final : float
        Factor approached at the end, 0 <= final <= 1.

    Examples
    --------
    >>> Cosine()(step=50, max_steps=100)
    0.5
    """

    final: float = 0.0

    def __post_init__(self) -> None:
        plain_numbers(self)
        sentence = (
            f"final must lie in [0, 1] (a factor on the learning rate); got final={self.final!r}."
        )
        if real_number(self.final, sentence) > 1.0:
            raise ValueError(sentence)

    def __call__(self, step: int, max_steps: int) -> float:
        """Give the factor at a step, 0 <= step < max_steps."""
        return self.final + (1.0 - self.final) * (1.0 + math.cos(math.pi * step / max_steps)) / 2.0


@dataclass(frozen=True)
class StepDecay:
    """Multiply the learning rate by `factor` after every `every` steps.

    Parameters
    ----------
    every : int
        Steps between two decays, >= 1.
    factor : float
        In (0, 1].
    """

    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        plain_numbers(self)
        sentence = f"every must be an integer >= 1 (steps); got every={self.every!r}."
        whole_number(self.every, 1, sentence)
        sentence = f"factor must lie in (0, 1]; got factor={self.factor!r}."
        if real_number(self.factor, sentence, strict=True) > 1.0:
            raise ValueError(sentence)

    def __call__(self, step: int, max_steps: int) -> float:
        """Give the factor at a step, 0 <= step < max_steps."""
        return self.factor ** (step // self.every)


Schedule = Constant | Cosine | StepDecay


def log_steps(max_steps: int, count: int = 30) -> tuple[int, ...]:
    """Give steps from 0 to `max_steps`, evenly spaced on a log scale, for `Trial.curve_steps`.

    Parameters
    ----------
    max_steps : int
        Last step, >= 1.
    count : int
        Upper bound on the number of steps, >= 3; small ones coincide.

    Returns
    -------
    tuple of int
        Ascending, without repetitions.

    Examples
    --------
    >>> log_steps(1000, count=4)
    (0, 1, 32, 1000)
    """
    last, count = whole("max_steps", max_steps, 1), whole("count", count, 3)
    spaced = np.rint(np.geomspace(1, last, count - 1)).astype(int).tolist()
    return (0, *sorted(set(spaced)))
