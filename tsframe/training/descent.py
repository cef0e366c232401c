"""Optimizers on any function of a few variables: the core of the engine without its networks.

For what is known exactly - quadratics, double wells - and for demonstrations.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from tsframe.students.layout import Layout
from tsframe.training.cohort import Cohort
from tsframe.training.optimizer import Absorb, Optimizer

__all__ = ["descend"]


def descend(
    optimizers: Sequence[Optimizer],
    starts: NDArray[np.float64],
    gradient: Callable[[NDArray[np.float64], int], NDArray[np.float64]],
    seeds: Sequence[int] | None = None,
) -> Iterator[NDArray[np.float64]]:
    """Follow optimizers on a function that is given by its gradient, in float64.

    Parameters
    ----------
    optimizers : sequence of Optimizer
        One a point, of equal `form`.
    starts : ndarray, shape (points, dim)
        Where they start.
    gradient : callable (points, minibatch) -> gradients
        Of shapes (points, dim), of all points at once; `minibatch` counts from 0 over all steps.
    seeds : sequence of int, optional
        Of the noise of each; 0, 1, 2, ... by default.

    Yields
    ------
    ndarray, shape (points, dim)
        Where the points are after each step, without end: budgets and stopping rules are for the
        engine.

    Raises
    ------
    ValueError
        If the optimizers cannot step together, or are not as many as the points.

    Examples
    --------
    >>> from tsframe.training.sgd import SGD
    >>> steps = descend([SGD(lr=0.5)], np.array([[4.0]]), lambda x, _: x)
    >>> [float(next(steps)[0, 0]) for _ in range(3)]
    [2.0, 1.0, 0.5]
    """
    count, dim = starts.shape
    if len(optimizers) != count or len({spec.form for spec in optimizers}) != 1:
        raise ValueError(
            f"descend needs one optimizer a point, all of one form; got {len(optimizers)} of "
            f"{len({spec.form for spec in optimizers})} forms for {count} points."
        )
    # A linear student without data: its weights, the bias among them, are the point.
    layout = Layout.arrange(
        range(count), [(1, 0)] * count, range(count), dim - 1, 1, share_rows=False
    )
    weights = [torch.as_tensor(starts, dtype=torch.float64)[:, None].clone()]
    seeds = range(count) if seeds is None else seeds
    state = optimizers[0].start(Cohort(layout, weights, optimizers, seeds))
    unit = torch.eye(dim, dtype=torch.float64).expand(count, dim, dim)
    done, seen = np.zeros(count, dtype=int), 0

    def pull(absorb: Absorb, minibatch: int = 0) -> None:
        found = gradient(weights[0][:, 0].numpy().copy(), seen + minibatch)
        absorb(0, torch.as_tensor(found, dtype=torch.float64)[:, None], unit)

    while True:
        state.prepare(done)
        state.step(pull)
        done += 1
        seen += optimizers[0].minibatches
        yield weights[0][:, 0].numpy().copy()
