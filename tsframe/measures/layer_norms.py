"""Norms of the layers of networks, and what bounds of generalization make of them.

Weights are layers of shapes (..., fan_out, fan_in + 1) with the biases in the last column. Norms of
a layer are those of its matrix without the biases, as in the sources; only paths start at biases,
too.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["frobenius_norms", "path_norm", "spectral_complexity", "spectral_norms"]


def spectral_norms(weights: Sequence[Tensor]) -> Tensor:
    """Give the largest singular value of every layer, shape (..., layers)."""
    return torch.stack([torch.linalg.matrix_norm(w[..., :-1], 2) for w in weights], dim=-1)


def frobenius_norms(weights: Sequence[Tensor]) -> Tensor:
    """Give the root of the sum of squares of every layer, shape (..., layers)."""
    return torch.stack([torch.linalg.matrix_norm(w[..., :-1]) for w in weights], dim=-1)


def path_norm(weights: Sequence[Tensor]) -> Tensor:
    """Give the root of the sum, over all paths to an output, of the product of squared weights.

    Paths start at an input or at a bias. Rescaling a ReLU unit does not change it. Source:
    Neyshabur, Salakhutdinov & Srebro 2015.

    Parameters
    ----------
    weights : sequence of Tensor, shapes (..., fan_out, fan_in + 1)
        A layer each.

    Returns
    -------
    Tensor, shape (...)

    Examples
    --------
    >>> first, second = torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([[2.0, 1.0]])
    >>> round(path_norm([first, second]).item() ** 2, 4)  # 2^2 (1^2 + 2^2) + 1^2
    21.0
    """
    paths = weights[0].square().sum(-1)
    for layer in weights[1:]:
        squares = layer.square()
        paths = (squares[..., :-1] * paths.unsqueeze(-2)).sum(-1) + squares[..., -1]
    return paths.sum(-1).sqrt()


def spectral_complexity(weights: Sequence[Tensor], initial: Sequence[Tensor]) -> Tensor:
    """Give the product of spectral norms times how far the layers went, each by its own norm.

    prod_l s_l (sum_l (|(W_l - W0_l)^T|_{2,1} / s_l)^{2/3})^{3/2}, where s_l is the spectral norm of
    layer l, and |.|_{2,1} sums the lengths of the vectors of weights into each unit. Source:
    Bartlett, Foster & Telgarsky 2017, equation 1.2.

    Parameters
    ----------
    weights, initial : sequences of Tensor, shapes (..., fan_out, fan_in + 1)
        A layer each, now and at initialization.

    Returns
    -------
    Tensor, shape (...)
    """
    norms = spectral_norms(weights)
    steps = [(now - then)[..., :-1] for now, then in zip(weights, initial, strict=True)]
    moved = torch.stack([step.square().sum(-1).sqrt().sum(-1) for step in steps], dim=-1)
    return norms.prod(-1) * (moved / norms).pow(2.0 / 3.0).sum(-1).pow(1.5)
