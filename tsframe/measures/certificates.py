"""PAC-Bayes certificates of trained students, to be asked for in a Trial.

The posterior may be chosen by looking at anything; the prior may not have seen the rows that the
bound is about. A method finds a posterior (`tsframe.measures.bound_methods`); here the error of its
draws is measured with new random numbers, and all that was tuned or sampled is paid for.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from tsframe.checks import real_number, whole
from tsframe.measures.asking import Measure, Names
from tsframe.measures.bound_methods import DiagonalPosterior
from tsframe.measures.bound_search import Method, ROWS, Task
from tsframe.measures.landscape import Landscape, one_by_one, rows_of
from tsframe.measures.learned import Learned, StudentShape
from tsframe.measures.posteriors import Posterior
from tsframe.streams import stream
from tsframe.theory.pac_bayes import pac_bayes_certificate

__all__ = ["PACBayes", "gibbs_errors"]

WINDOW = 32  # rows that one draw of weights is asked about
AT_ONCE = 2**20  # numbers in the weights of draws that are held at once
OVERHEAD = 2.5e6  # of one gradient of a search, in operations done in the same time
FEWEST = 8  # rows that a bound is about


@dataclass(frozen=True)
class PACBayes(Measure):
    """A bound of the error of a randomized classifier near the student, which holds for sure.

    With probability 1 - delta - delta_draws over training rows and draws, the classifier that draws
    its weights anew from the posterior for every input errs at most so often, on inputs and
    labels of the law of the training rows, label noise included. Gives ``NAME_bound``, NAME that
    of the method; ``NAME_risk``, the true error of that classifier, measured on the test rows with
    the teacher's labels and the label noise computed in; ``NAME_train_error`` of its draws;
    ``NAME_kl`` in nats; and ``NAME_prior``, the standard deviation of the prior in its flattest
    directions.

    Parameters
    ----------
    method : Method
        `AnalyticPosterior`, `DiagonalPosterior`, `FisherPosterior` or `FisherPrior`.
    delta, delta_draws : float
        Chance that the rows, and that the draws mislead, in (0, 1).
    draws : int
        Draws of weights that the error is measured with, at least; >= 1.
    largest, fineness : float
        Variances of the prior come from the list largest * exp(-j / fineness), j = 1, 2, ...;
        > 0.

    Raises
    ------
    TypeError, ValueError
        If a value is refused.
    """

    method: Method = field(default_factory=DiagonalPosterior)
    delta: float = 0.025
    delta_draws: float = 0.01
    draws: int = 1000
    largest: float = 10.0
    fineness: float = 10.0

    def __post_init__(self) -> None:
        if not isinstance(self.method, Method):
            raise TypeError(
                "method must be AnalyticPosterior(), DiagonalPosterior(), FisherPosterior() or "
                f"FisherPrior(); got method={self.method!r}."
            )
        for name in ("delta", "delta_draws", "largest", "fineness"):
            value = getattr(self, name)
            below = " and < 1" if name.startswith("delta") else ""
            sentence = f"{name} must be a number > 0{below}; got {name}={value!r}."
            object.__setattr__(self, name, real_number(value, sentence, strict=True))
            if below and getattr(self, name) >= 1.0:
                raise ValueError(sentence)
        object.__setattr__(self, "draws", whole("draws", self.draws, 1))

    def declare(self, shape: StudentShape) -> Names:
        """Name the bound and what it is made of; see `Measure.declare`."""
        if shape.classes is None:
            raise ValueError(
                "a PAC-Bayes bound of the error rate needs classes, and this student has none. "
                "Leave PACBayes() out, or take a teacher with classes."
            )
        held = self._held_out(shape.n_train)
        if shape.n_train - held < FEWEST or (self.method.held_out_share and not held):
            raise ValueError(
                f"{self.method!r} leaves {shape.n_train - held} rows to the bound and {held} to "
                f"the prior; got n_train={shape.n_train}. Take more rows, or another share."
            )
        return {f"{self.method.name}_{part}": {} for part in PARTS}

    def flops(self, shape: StudentShape) -> float:
        """Count gradients of the search, axes, and the draws at the end."""
        size, n = shape.parameters, shape.n_train
        axes = self.method.axes if self.method.axes else min(size, n * shape.outputs)
        side = float(min(size, n * (shape.outputs - 1)))
        side = min(side, float(ROWS * (shape.outputs - 1)))
        frames = 2.0 * (side * side * (side + sum(shape.sizes)) + 4.0 / 3.0 * side**3)
        each = 4.0 * size * self.method.axes
        search = self.method.passes * (6.0 * n * size + 3.0 * each + 60.0 * size + OVERHEAD)
        drawn = 2.0 * (self.draws + n) * (2.0 * WINDOW * size + each + 40.0 * size)
        return search + drawn + frames + 4.0 * size * axes * side

    def bytes(self, shape: StudentShape) -> float:
        """Count axes, the matrix they come from, and the weights of draws."""
        size, n = shape.parameters, shape.n_train
        side = min(size, min(n, ROWS) * (shape.outputs - 1))
        hidden = 6 * (shape.width * shape.depth + shape.outputs) * n
        return 8.0 * (4.0 * side**2 + 3.0 * size * side + 4.0 * (AT_ONCE + size) + hidden)

    def __call__(self, learned: Learned) -> Mapping[str, np.ndarray]:
        """Measure students; see `Measure.__call__`."""
        found = {name: np.empty(len(learned.tasks)) for name in self.declare(learned.shape)}
        held, name = self._held_out(learned.shape.n_train), self.method.name
        for some, weights, initial in one_by_one(learned):
            rows, test = rows_of(learned, some), rows_of(learned, some, test=True)
            # The last rows are as good as any: rows are independent of each other.
            kept = rows.n - held
            counted = replace(rows, x=rows.x[:, :kept].clone(), y=rows.y[:, :kept].clone())
            seeds = [task.seed for task in learned.tasks[some]]
            task = Task(
                counted,
                rows.x[:, kept:].clone(),
                weights,
                initial,
                seeds,
                self.delta,
                self.largest,
                self.fineness,
            )
            result = self.method.find(task)
            draws = math.ceil(self.draws / kept) * kept
            train_error, clean = gibbs_errors(result.posterior, counted, test, draws, seeds)
            noise = np.array([task.label_noise for task in learned.tasks[some]])
            classes = learned.shape.outputs
            entropy = result.entropy.cpu().numpy()
            penalty = task.penalty(result.index).cpu().numpy()
            error, kl, paid = (
                xr.DataArray(numbers, dims="student") for numbers in (train_error, entropy, penalty)
            )
            bound = pac_bayes_certificate(error, draws, kl, paid, kept, self.delta_draws)
            flattest = task.log_scale(result.index[:, -1]).cpu().numpy()
            found[f"{name}_bound"][some] = bound
            found[f"{name}_risk"][some] = noise * (1 - 1 / classes) + (1 - noise) * clean
            found[f"{name}_train_error"][some] = train_error
            found[f"{name}_kl"][some] = entropy
            found[f"{name}_prior"][some] = np.exp(0.5 * flattest)
        return found

    def _held_out(self, n: int) -> int:
        return round(self.method.held_out_share * n)


PARTS = ("bound", "risk", "train_error", "kl", "prior")


def gibbs_errors(
    posterior: Posterior, train: Landscape, test: Landscape, draws: int, seeds: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Measure the error of draws of posteriors, on training rows and on test rows.

    Each draw of weights is asked about 32 rows of each, the next draw about the next ones, round
    and round, so that every row has the same weight: the mean is the error of the posterior over
    all rows, and the draws are independent numbers in [0, 1], as a certificate needs them.

    Parameters
    ----------
    posterior : Posterior
        Of some students.
    train, test : Landscape
        Of the same students.
    draws : int
        A multiple of the number of training rows.
    seeds : list of int
        Of the students.

    Returns
    -------
    ndarray, shape (students,)
        Mean error on the training rows.
    ndarray, shape (students,)
        Mean error on the test rows.

    Raises
    ------
    ValueError
        If the draws are no multiple of the rows.
    """
    if draws % train.n:
        raise ValueError(f"draws must be a multiple of {train.n} rows; got draws={draws}.")
    sums = [torch.zeros_like(posterior.log_rest) for _ in range(2)]
    generators = [stream(seed, "draws of a posterior") for seed in seeds]
    for start, count in _blocks(draws, max(1, AT_ONCE // train.size)):
        normals = np.stack([g.standard_normal((count, train.size)) for g in generators])
        places = posterior.places(torch.as_tensor(normals).to(posterior.mean))
        for total, rows in zip(sums, (train, test), strict=True):
            total += rows.errors(places, _windows(rows.n, start, count).to(places.device)).sum(1)
    on_train, on_test = (np.asarray((total / draws).cpu().numpy()) for total in sums)
    return on_train, on_test


def _blocks(total: int, size: int) -> Iterator[tuple[int, int]]:
    for start in range(0, total, size):
        yield start, min(size, total - start)


def _windows(n: int, start: int, count: int) -> Tensor:
    """Give the rows of draws number start, ..., shape (count, rows a draw)."""
    width = min(WINDOW, n)
    first = (torch.arange(start, start + count) * width)[:, None]
    return (first + torch.arange(width)) % n
