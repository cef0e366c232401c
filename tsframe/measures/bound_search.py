"""The search for a posterior with a small PAC-Bayes bound, and what its methods have in common.

What is minimized is (sqrt(e + r) + sqrt(r))^2, with e the mean cross-entropy over ln 2, which is
never below the error, and r = (KL + penalty) / (2 (n - 1)): the quadratic form of the bound
(`tsframe.theory.quadratic_bound`). The paper minimizes e + sqrt(r), which is never smaller and ends
at posteriors of a larger KL and a larger bound. The mean starts from the trained weights, the
variances from the analytic posterior. All of it may look at all data, the prior alone may not: its
scales come from the list largest * exp(-j / fineness), j = 1, 2, ..., and every j is paid for.
"""

import abc
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tsframe.measures.fisher_axes import fisher_axes
from tsframe.measures.landscape import flat, Landscape
from tsframe.measures.posteriors import (
    Frame,
    minimize,
    Posterior,
    Prior,
    relative_entropy,
)
from tsframe.streams import stream

__all__ = [
    "ROWS",
    "STIFF",
    "Found",
    "Method",
    "Task",
    "analytic_start",
    "curvature_along",
    "isotropic",
    "search",
    "settle",
]

LN2 = math.log(2.0)
STIFF = 200  # Fisher directions that say where a search begins
ROWS = 400  # that Fisher matrices are averaged over at most: their eigenvalues cost its cube


@dataclass(frozen=True, eq=False)
class Task:
    """Students for which a posterior is wanted.

    Attributes
    ----------
    rows : Landscape
        The rows that the bound is about.
    held_out : Tensor, shape (students, m, dim + 1)
        Inputs of the rows that the prior may look at; m is 0 where the method asks for none.
    weights, initial : list of Tensor, shapes (students, fan_out, fan_in + 1)
        After and before training.
    seeds : sequence of int
        A student each.
    delta : float
        Chance that the bound fails.
    largest, fineness : float
        The list of scales of the prior.
    """

    rows: Landscape
    held_out: Tensor
    weights: list[Tensor]
    initial: list[Tensor]
    seeds: Sequence[int]
    delta: float
    largest: float
    fineness: float

    def index(self, log_scales: Tensor) -> Tensor:
        """Give the place j of scales in the list, as a real number."""
        return self.fineness * (math.log(self.largest) - log_scales)

    def log_scale(self, index: Tensor) -> Tensor:
        """Give the logarithm of scale number j."""
        return math.log(self.largest) - index / self.fineness

    def penalty(self, index: Tensor) -> Tensor:
        """Give the nats paid for scales (students, m): `union_penalty`, and more for m > 1."""
        share = math.log(math.pi**2 / 6.0)
        constant = math.log(self.rows.n / self.delta) + index.shape[1] * share
        return 2.0 * index.clamp_min(1.0).log().sum(1) + constant

    def bound(self, risk: Tensor, entropy: Tensor, log_scales: Tensor) -> Tensor:
        """Give what is minimized."""
        e = risk / LN2
        r = (entropy + self.penalty(self.index(log_scales))) / (2.0 * (self.rows.n - 1.0))
        return ((e + r).sqrt() + r.sqrt()).square()

    def axes(self, places: Tensor | list[Tensor], x: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Give Fisher eigenvalues (students, r) and axes (students, P, r) at some weights.

        Over the first 400 rows of x at most.
        """
        layers = places if isinstance(places, list) else self.rows.layers(places)
        found = [
            fisher_axes([w[k] for w in layers], self.rows.activation, x[k, :ROWS, :-1], count)
            for k in range(len(x))
        ]
        r = min(len(values) for values, _ in found)
        values, axes = ([part[..., :r] for part in parts] for parts in zip(*found, strict=True))
        return torch.stack(values), torch.stack(axes)


@dataclass(frozen=True, eq=False)
class Found:
    """A posterior, and the prior it is compared with.

    Attributes
    ----------
    posterior : Posterior
        Of some students.
    entropy : Tensor, shape (students,)
        KL(posterior || prior) in nats, of the prior at the whole numbers `index`.
    index : Tensor, shape (students, m)
        Places of the scales in the list, whole numbers >= 1.
    """

    posterior: Posterior
    entropy: Tensor
    index: Tensor


class Method(abc.ABC):
    """A way to find a posterior; derive a frozen dataclass."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """What its numbers are called."""

    @property
    def held_out_share(self) -> float:
        """Share of the training rows that the prior is built from and the bound does not count."""
        return 0.0

    @property
    @abc.abstractmethod
    def passes(self) -> float:
        """How often loss and gradient over all rows are computed."""

    @property
    @abc.abstractmethod
    def axes(self) -> int:
        """How many axes the frame has at most; 0 for the weights themselves."""

    @abc.abstractmethod
    def find(self, task: Task) -> Found:
        """Find the posteriors."""


def isotropic(frame: Frame) -> Prior:
    """Give the prior of one variance in all directions, from its logarithm (students, 1)."""

    def prior(log_scales: Tensor) -> tuple[Tensor, Tensor]:
        return log_scales.expand(-1, frame.count), log_scales[:, 0]

    return prior


def curvature_along(task: Task, axes: Tensor) -> Tensor:
    """Give u^T F u for every axis u, F the stiffest part of the Fisher matrix after training."""
    values, own = task.axes(task.weights, task.rows.x, STIFF)
    return (torch.bmm(axes.mT, own).square() * values[:, None]).sum(2)


def analytic_start(task: Task, frame: Frame, curvature: Tensor) -> tuple[Posterior, Tensor]:
    """Give the analytic posterior for the best isotropic prior of the list.

    Parameters
    ----------
    task : Task
        Students; their trained weights are the mean.
    frame : Frame
        In which it is diagonal.
    curvature : Tensor, shape (students, r)
        Of the loss in nats, along the axes of the frame; along the rest it counts as zero.

    Returns
    -------
    Posterior
        Of variance 1 / (2 (n - 1) h + eps), h the curvature over ln 2.
    Tensor, shape (students, 1)
        Number j of the prior: the best by the quadratic approximation of the loss.
    """
    n, h = task.rows.n, curvature / LN2
    now, then = flat(task.weights), flat(task.initial)
    step = (now - then).square().sum(1)
    places = torch.arange(1.0, 8.0 * task.fineness + 1.0, dtype=now.dtype, device=now.device)
    eps = (-task.log_scale(places))[:, None, None].exp()  # (places, 1, 1)
    q = 2.0 * (n - 1.0) * h + eps
    spread = ((q / eps).log() + eps / q - 1.0).sum(2)
    entropy = 0.5 * (spread + eps[:, :, 0] * step)
    paid = entropy + task.penalty(places[:, None])[:, None]
    total = (h / (2.0 * q)).sum(2) + (paid / (2.0 * (n - 1.0))).sqrt()
    best = total.argmin(0)
    index = places[best][:, None]
    log_scale = task.log_scale(index)
    log_variance = -(2.0 * (n - 1.0) * h + (-log_scale).exp()).log()
    return Posterior(frame, now, log_variance, log_scale[:, 0]), index


def search(
    task: Task,
    start: Posterior,
    prior: Prior,
    index: Tensor,
    steps: int,
    draws: int,
    turn: int = 0,
) -> Found:
    """Search the posterior and the scales of the prior from a start on.

    Parameters
    ----------
    task : Task
        Students.
    start : Posterior
        Where to begin; its frame stays.
    prior : callable
        From log scales (students, m) to log variances of axes and rest.
    index : Tensor, shape (students, m)
        Numbers of the scales to begin with.
    steps, draws : int
        Steps, and pairs of opposite draws a step.
    turn : int
        Tells the random numbers of several searches apart.

    Returns
    -------
    Found
        With scales rounded to the list.
    """
    size, like = task.rows.size, start.mean

    def noise(step: int) -> Tensor:
        half = np.stack(
            [
                stream(seed, "search for a posterior", turn, step).standard_normal((draws, size))
                for seed in task.seeds
            ]
        )
        one = torch.as_tensor(half).to(like)
        return torch.cat([one, -one], dim=1)

    posterior, log_scales = minimize(
        task.rows.gradients,
        start,
        flat(task.initial),
        prior,
        task.log_scale(index),
        task.bound,
        noise,
        steps,
    )
    return settle(task, posterior, prior, log_scales)


def settle(task: Task, posterior: Posterior, prior: Prior, log_scales: Tensor) -> Found:
    """Round the scales of the prior to the list, and compute the entropy with what they are now."""
    index = task.index(log_scales).round().clamp_min(1.0)
    entropy = relative_entropy(posterior, flat(task.initial), prior(task.log_scale(index)))
    return Found(posterior, entropy, index)
