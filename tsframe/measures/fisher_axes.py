"""The directions of the weights that a softmax network's predictions depend on most."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tsframe.measures.eigen import eigenvectors
from tsframe.measures.gram import gram, parameter_eigenvectors, parameter_gram
from tsframe.measures.landscape import flat
from tsframe.measures.sensitivities import forward, sensitivities
from tsframe.measures.start_rows import fisher_factor
from tsframe.students.activations import Activation

__all__ = ["fisher_axes"]


def fisher_axes(
    weights: Sequence[Tensor], activation: Activation, x: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Give the largest eigenvalues of the Fisher matrix with exact labels, and their directions.

    Parameters
    ----------
    weights : sequence of Tensor, shapes (fan_out, fan_in + 1)
        Of one student of classes, float64.
    activation : Activation
        Of its hidden layers.
    x : Tensor, shape (n, dim)
        Inputs over which it is averaged.
    count : int
        How many at most, >= 1; fewer where the others are below the numerical floor, eps times the
        side times the largest.

    Returns
    -------
    values : Tensor, shape (r,)
        Descending, of the mean over x, in nats.
    axes : Tensor, shape (weights, r)
        Orthonormal columns.
    """
    passed = forward(weights, activation, x)
    deltas = sensitivities(passed, fisher_factor(passed.outputs))
    n, rows, _ = deltas[0].shape
    size = sum(passed.parameters)
    by_weights = size <= n * rows
    side = min(size, n * rows)
    matrix = (parameter_gram if by_weights else gram)(passed, deltas) / n
    found = eigenvectors(matrix, min(count, side))
    floor = side * np.finfo(np.float64).eps * found.values.max(initial=0.0)
    some = max(1, int((found.values > floor).sum()))
    assert found.vectors is not None  # they were asked for
    values, vectors = found.values[:some], found.vectors[:, :some]
    if by_weights:
        axes = torch.as_tensor(np.ascontiguousarray(vectors))
    else:
        pulled = parameter_eigenvectors(passed, deltas, values * n, vectors)
        # Orthogonal only up to eps * largest / value; whoever writes a Gaussian along them needs
        # them orthogonal to the bit of rounding.
        axes = torch.as_tensor(np.linalg.qr(flat(pulled).mT.cpu().numpy())[0])
    return torch.as_tensor(values.copy()).to(x.device), axes.to(x.device)
