"""Schedules: the learning rate as a function of the step, and the steps to look at."""

import math
from dataclasses import dataclass

import numpy as np

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
        if not 0.0 <= self.final <= 1.0:
            raise ValueError(
                f"final must lie in [0, 1] (a factor on the learning rate); "
                f"got final={self.final!r}."
            )

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
        if self.every < 1:
            raise ValueError(f"every must be an integer >= 1 (steps); got every={self.every!r}.")
        if not 0.0 < self.factor <= 1.0:
            raise ValueError(f"factor must lie in (0, 1]; got factor={self.factor!r}.")

    def __call__(self, step: int, max_steps: int) -> float:
        """Give the factor at a step, 0 <= step < max_steps."""
        return self.factor ** (step // self.every)


Schedule = Constant | Cosine | StepDecay


def log_steps(max_steps: int, count: int = 30) -> tuple[int, ...]:
    """Give steps from 0 to `max_steps`, evenly spaced on a log scale, for `Trial.curve_steps`.

    Parameters
    ----------
    max_steps : int
        Last step.
    count : int
        Upper bound on the number of steps; small ones coincide.

    Returns
    -------
    tuple of int
        Ascending, without repetitions.

    Examples
    --------
    >>> log_steps(1000, count=4)
    (0, 1, 32, 1000)
    """
    spaced = np.rint(np.geomspace(1, max_steps, count - 1)).astype(int).tolist()
    return (0, *sorted(set(spaced)))
