"""Methods to find a posterior with a small PAC-Bayes bound, after Yang, Mao & Chaudhari 2022.

The analytic posterior, and their four searches: a diagonal one (method 1), one along the Fisher
directions at initialization (2) or computed anew on the way (3), and one with a prior built from
held-out rows (4). See `tsframe.measures.bound_search` for what is minimized.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tsframe.checks import real_number, whole
from tsframe.measures.bound_search import (
    analytic_start,
    curvature_along,
    Found,
    isotropic,
    Method,
    search,
    settle,
    STIFF,
    Task,
)
from tsframe.measures.posteriors import Frame, turned

__all__ = ["AnalyticPosterior", "DiagonalPosterior", "FisherPosterior", "FisherPrior"]


@dataclass(frozen=True)
class AnalyticPosterior(Method):
    """The posterior that the curvature prescribes: variance 1 / (2 (n-1) h_i + eps), mean trained.

    h_i are eigenvalues of the Fisher matrix at the trained weights, over ln 2; eps is the inverse
    variance of the prior, the best of the list by the quadratic approximation. Nothing is trained.

    Parameters
    ----------
    axes : int
        Eigendirections taken, >= 1; the curvature along all others counts as zero.
    """

    axes: int = 200

    def __post_init__(self) -> None:
        _check_axes(self, self.axes)

    @property
    def name(self) -> str:
        """What its numbers are called."""
        return "analytic"

    @property
    def passes(self) -> float:
        """How often loss and gradient over all rows are computed."""
        return 1.0

    def find(self, task: Task) -> Found:
        """Find the posteriors."""
        values, axes = task.axes(task.weights, task.rows.x, self.axes)
        frame = Frame(task.rows.size, axes)
        posterior, index = analytic_start(task, frame, values)
        return settle(task, posterior, isotropic(frame), task.log_scale(index))


@dataclass(frozen=True)
class DiagonalPosterior(Method):
    """A variance for every weight, prior N(w0, c): the bound of Dziugaite & Roy 2017; method 1.

    Parameters
    ----------
    steps : int
        Of the search, >= 1.
    draws : int
        Pairs of opposite draws a step, >= 1.
    """

    steps: int = 300
    draws: int = 1

    def __post_init__(self) -> None:
        _check_steps(self, self.steps, self.draws)

    @property
    def name(self) -> str:
        """What its numbers are called."""
        return "diagonal"

    @property
    def passes(self) -> float:
        """How often loss and gradient over all rows are computed."""
        return 2.0 * self.steps * self.draws

    @property
    def axes(self) -> int:
        """The weights themselves."""
        return 0

    def find(self, task: Task) -> Found:
        """Find the posteriors."""
        values, axes = task.axes(task.weights, task.rows.x, STIFF)
        curvature = (axes.square() * values[:, None]).sum(2)
        frame = Frame(task.rows.size)
        start, index = analytic_start(task, frame, curvature)
        return search(task, start, isotropic(frame), index, self.steps, self.draws)


@dataclass(frozen=True)
class FisherPosterior(Method):
    """A variance along each eigendirection of the Fisher matrix, prior N(w0, c): methods 2 and 3.

    Parameters
    ----------
    steps : int
        Of the search, >= 1, all rounds together.
    draws : int
        Pairs of opposite draws a step, >= 1.
    axes : int
        Eigendirections taken, >= 1; all others share one variance.
    rounds : int
        With 1 the directions are those at initialization, and stay; with more they are computed
        anew at the mean of the posterior, at the beginning of every later round.
    """

    steps: int = 300
    draws: int = 1
    axes: int = 200
    rounds: int = 1

    def __post_init__(self) -> None:
        _check_steps(self, self.steps, self.draws)
        _check_axes(self, self.axes)
        object.__setattr__(self, "rounds", whole("rounds", self.rounds, 1))

    @property
    def name(self) -> str:
        """What its numbers are called."""
        return "fisher" if self.rounds == 1 else "moving_fisher"

    @property
    def passes(self) -> float:
        """How often loss and gradient over all rows are computed."""
        return 2.0 * self.steps * self.draws

    def find(self, task: Task) -> Found:
        """Find the posteriors."""
        _, axes = task.axes(task.initial, task.rows.x, self.axes)
        frame = Frame(task.rows.size, axes)
        start, index = analytic_start(task, frame, curvature_along(task, axes))
        steps = max(1, self.steps // self.rounds)
        found = search(task, start, isotropic(frame), index, steps, self.draws)
        for turn in range(1, self.rounds):
            _, axes = task.axes(found.posterior.mean, task.rows.x, self.axes)
            start = turned(found.posterior, axes)
            prior = isotropic(start.frame)
            found = search(task, start, prior, found.index, steps, self.draws, turn)
        return found


@dataclass(frozen=True)
class FisherPrior(Method):
    """Prior covariance a F + c, F the Fisher matrix at initialization of held-out rows: method 4.

    F is scaled to a largest eigenvalue of 1, so that a and c come from one list; the posterior has
    a variance along each of its eigendirections.

    Parameters
    ----------
    steps : int
        Of the search, >= 1.
    draws : int
        Pairs of opposite draws a step, >= 1.
    axes : int
        Eigendirections taken, >= 1.
    held_out : float
        Share of the training rows that F is computed from, in (0, 1); n counts only the others.
    """

    steps: int = 300
    draws: int = 1
    axes: int = 200
    held_out: float = 0.2

    def __post_init__(self) -> None:
        _check_steps(self, self.steps, self.draws)
        _check_axes(self, self.axes)
        sentence = (
            f"held_out must be a number in (0, 1); got held_out={self.held_out!r}. It is the share "
            "of the training rows that the prior is built from."
        )
        object.__setattr__(self, "held_out", real_number(self.held_out, sentence, strict=True))
        if self.held_out >= 1.0:
            raise ValueError(sentence)

    @property
    def name(self) -> str:
        """What its numbers are called."""
        return "fisher_prior"

    @property
    def held_out_share(self) -> float:
        """Share of the training rows that the prior is built from and the bound does not count."""
        return self.held_out

    @property
    def passes(self) -> float:
        """How often loss and gradient over all rows are computed."""
        return 2.0 * self.steps * self.draws

    def find(self, task: Task) -> Found:
        """Find the posteriors."""
        values, axes = task.axes(task.initial, task.held_out, self.axes)
        frame = Frame(task.rows.size, axes)
        shape = (values / values[:, :1]).log()

        def prior(log_scales: Tensor) -> tuple[Tensor, Tensor]:
            stiff, rest = log_scales[:, :1], log_scales[:, 1:]
            return torch.logaddexp(stiff + shape, rest.expand_as(shape)), rest[:, 0]

        start, index = analytic_start(task, frame, curvature_along(task, axes))
        return search(task, start, prior, index.repeat(1, 2), self.steps, self.draws)


def _check_axes(method: Method, axes: int) -> None:
    object.__setattr__(method, "axes", whole("axes", axes, 1))


def _check_steps(method: Method, steps: int, draws: int) -> None:
    for name, value in (("steps", steps), ("draws", draws)):
        object.__setattr__(method, name, whole(name, value, 1))
