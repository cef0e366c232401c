"""Deep matrix factorization: gradient flow on the factors of a product, many students at once.

The loss is half the sum of squares over the entries that are seen, W = W_N ... W_1, and every
factor follows its gradient. Steps are as large as the curvature of the loss allows, so that the
long plateaus of a small start cost steps in proportion to their logarithm; the time of the flow is
kept. Every product is one of a stack of matrices, so that the bits of a student do not depend on
the others.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsframe.checks import real_number, whole
from tsframe.streams import stream

__all__ = ["DeepFactorization", "GradientFlow", "State", "flow"]

Floats = NDArray[np.float64]
EXPLODED = 1e6  # an error so many times that of the start, or of zero, counts as divergence


@dataclass(frozen=True)
class DeepFactorization:
    """A matrix as a product of square factors, i.e. a deep linear network without biases.

    Parameters
    ----------
    layers : int
        Number of factors N, >= 1, readout included.
    start : float
        Scale of the product at the beginning, > 0. Factors are normal of standard deviation
        start^(1/N) / sqrt(dim), so that the product has the Frobenius norm start * sqrt(dim), in
        the root mean square (Arora, Cohen, Hu & Luo 2019, arXiv:1905.13655, appendix D).
    aligned : bool
        Whether the factors begin balanced instead, and aligned with the singular vectors of the
        target: as a product with all singular values `start`. So the closed form
        `tsframe.theory.deep_linear` has it.

    Raises
    ------
    TypeError, ValueError
        If a value is refused.
    """

    layers: int
    start: float = 1e-3
    aligned: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", whole("layers", self.layers, 1))
        sentence = f"start must be a number > 0; got start={self.start!r}. From zero nothing moves."
        object.__setattr__(self, "start", real_number(self.start, sentence, strict=True))
        if not isinstance(self.aligned, bool | np.bool_):
            raise TypeError(f"aligned must be True or False; got aligned={self.aligned!r}.")
        object.__setattr__(self, "aligned", bool(self.aligned))

    def factors(self, target: Floats, seed: int) -> list[Floats]:
        """Give the factors at the beginning, from the first to be applied to the last.

        Parameters
        ----------
        target : ndarray, shape (dim, dim)
            Sets their size, and their singular vectors if they are aligned.
        seed : int
            Seed of the trial.
        """
        dim, each = len(target), self.start ** (1.0 / self.layers)
        if not self.aligned:
            return [
                each / math.sqrt(dim) * stream(seed, "factors", k).standard_normal((dim, dim))
                for k in range(self.layers)
            ]
        u, _, v = np.linalg.svd(target)
        if self.layers == 1:
            return [each * (u @ v)]
        middle = [each * np.eye(dim) for _ in range(self.layers - 2)]
        return [each * v, *middle, each * u]


@dataclass(frozen=True)
class GradientFlow:
    """Gradient descent in steps so small that it follows the flow.

    Parameters
    ----------
    step : float
        Step in units of the inverse curvature, in (0, 1]. Descent is stable below 2; the distance
        from the flow is proportional to it.
    tolerance : float
        Mean squared error on the entries seen, at which a student has finished, > 0.
    max_steps : int
        Budget of steps, >= 1.

    Raises
    ------
    TypeError, ValueError
        If a value is refused.
    """

    step: float = 0.2
    tolerance: float = 1e-6
    max_steps: int = 20_000

    def __post_init__(self) -> None:
        sentence = f"step must be a number in (0, 1]; got step={self.step!r}. Smaller is closer."
        object.__setattr__(self, "step", real_number(self.step, sentence, strict=True))
        if self.step > 1.0:
            raise ValueError(sentence)
        sentence = f"tolerance must be a number > 0; got tolerance={self.tolerance!r}."
        object.__setattr__(self, "tolerance", real_number(self.tolerance, sentence, strict=True))
        object.__setattr__(self, "max_steps", whole("max_steps", self.max_steps, 1))


@dataclass(frozen=True, eq=False)
class State:
    """Some of the students at some step.

    Attributes
    ----------
    step : int
        Steps done.
    students : ndarray of int, shape (k,)
        Who they are.
    finished : ndarray of bool, shape (k,)
        Whether this is where they end.
    diverged : ndarray of bool, shape (k,)
        Whether they end because their error has exploded.
    time : ndarray, shape (k,)
        Time of the flow.
    error : ndarray, shape (k,)
        Mean squared error on the entries seen.
    product : ndarray, shape (k, dim, dim)
        W_N ... W_1.
    """

    step: int
    students: NDArray[np.intp]
    finished: NDArray[np.bool_]
    diverged: NDArray[np.bool_]
    time: Floats
    error: Floats
    product: Floats


def flow(
    factors: Sequence[Sequence[Floats]],
    targets: Floats,
    seen: NDArray[np.bool_],
    training: GradientFlow,
    steps: Sequence[int] = (),
) -> Iterator[State]:
    """Train students of one depth and size.

    Parameters
    ----------
    factors : sequence of sequence of ndarray, shapes (dim, dim)
        Of every student, from the first to be applied to the last.
    targets : ndarray, shape (students, dim, dim)
        What they learn.
    seen : ndarray of bool, shape (students, dim, dim)
        Entries that they learn from.
    training : GradientFlow
        Steps, tolerance and budget.
    steps : sequence of int
        Steps at which states are wanted, besides the end of each student.

    Yields
    ------
    State
        Of those still in training at the steps asked for, and of those who have just finished.
    """
    layers, dim = len(factors[0]), targets.shape[-1]
    w = [np.stack([own[k] for own in factors]) for k in range(layers)]
    mask, goal = seen.astype(np.float64), np.where(seen, targets, 0.0)
    count = mask.sum(axis=(1, 2))
    who, time = np.arange(len(targets)), np.zeros(len(targets))
    first = stream(0, "power iteration").standard_normal((dim, 1))
    along = [np.repeat(first[None], len(who), axis=0) for _ in range(2)]
    limit, wanted = np.full(len(who), np.inf), set(steps)
    for step in range(training.max_steps + 1):
        below = [w[0]]
        for layer in w[1:]:
            below.append(layer @ below[-1])
        product = below[-1]
        gap = mask * product - goal
        squares = (gap.reshape(len(who), 1, -1) @ gap.reshape(len(who), -1, 1))[:, 0, 0]
        error = squares / count
        if step == 0:
            limit = EXPLODED * np.maximum(error, 1.0)
        wild = ~(error <= limit) | ~np.isfinite(error)
        ended = wild | (error <= training.tolerance) | (step == training.max_steps)
        if step in wanted or ended.any():
            told = np.ones(len(who), dtype=bool) if step in wanted else ended
            everything = (who, ended, wild, time, error, product)
            yield State(step, *(some[told] for some in everything))
        if ended.all():
            return
        if ended.any():
            stay = ~ended
            who, time, count, limit = who[stay], time[stay], count[stay], limit[stay]
            mask, goal = mask[stay], goal[stay]
            w, below, along = ([a[stay] for a in some] for some in (w, below, along))
            product, gap = product[stay], gap[stay]
        rate = training.step / _curvature(product, gap, along, layers)
        time = time + rate
        rates = rate[:, None, None]
        pulled = gap
        for k in range(layers - 1, 0, -1):
            gradient = pulled @ below[k - 1].swapaxes(1, 2)
            pulled = w[k].swapaxes(1, 2) @ pulled
            w[k] = w[k] - rates * gradient
        w[0] = w[0] - rates * pulled


def _curvature(product: Floats, gap: Floats, along: list[Floats], layers: int) -> Floats:
    """Bound the curvature of the loss for balanced factors, shape (students,).

    N |W|^{2 - 2/N} + (N - 1) |gap| |W|^{1 - 2/N}, in spectral norms, which are followed by one step
    of power iteration each; `along` is overwritten.
    """
    norms = []
    for k, matrix in enumerate((product, gap)):
        image = matrix @ along[k]
        length = np.sqrt((image.swapaxes(1, 2) @ image)[:, 0, 0])
        before = np.sqrt((along[k].swapaxes(1, 2) @ along[k])[:, 0, 0])
        norms.append(np.maximum(length / before, 1e-300))
        back = matrix.swapaxes(1, 2) @ image
        size = np.sqrt((back.swapaxes(1, 2) @ back)[:, 0, 0])
        along[k] = back / np.maximum(size, 1e-300)[:, None, None]
    if layers == 1:
        return np.ones(len(product))
    whole, missing = norms
    return np.asarray(
        layers * whole ** (2.0 - 2.0 / layers)
        + (layers - 1) * missing * whole ** (1.0 - 2.0 / layers)
    )
