"""Batch normalization: pre-activations of unit variance and mean b over the samples of a pass.

Source: Ioffe & Szegedy 2015 (arXiv:1502.03167), Algorithm 1, without the scale gamma.
"""

import torch
from torch import Tensor

from tsframe.students.sums import average, total

__all__ = ["EPSILON", "Norm", "with_biases"]

EPSILON = 1e-5  # added to the variance, as in the paper's code and in torch


class Norm:
    """The normalization of one hidden layer of a bucket.

    A layer computes z = W h + b. Here z becomes (z - mean(z)) / sqrt(var(z) + epsilon) + b with the
    mean and the variance (divided by the samples) of each unit of every student over the last
    dimension. So b, which the mean takes out, comes back as the mean of what is normalized.

    Parameters
    ----------
    z : Tensor, shape (..., width, samples)
        Pre-activations; changed in place.
    biases : Tensor, shape (..., width, 1)
        A view of those that z contains.
    pulled_biases : Tensor, shape (..., width, 1)
        Room for the gradient of the loss to them.
    """

    def __init__(self, z: Tensor, biases: Tensor, pulled_biases: Tensor) -> None:
        self._z, self._biases, self._pulled_biases = z, biases, pulled_biases
        self._hat = z.new_empty(z.shape)  # z of mean zero and unit variance
        self._root = biases

    def apply_(self) -> None:
        """Normalize z."""
        z, hat = self._z, self._hat
        torch.sub(z, average(z), out=hat)
        torch.mul(hat, hat, out=z)
        self._root = average(z).add_(EPSILON).sqrt_()
        hat.div_(self._root)
        torch.add(hat, self._biases, out=z)

    def pull_(self) -> None:
        """Turn z, once it holds the gradient of the loss to what was normalized, into that to W h.

        With d the former, hat the normalized values without b and means over samples, it is
        (d - mean(d) - hat mean(d hat)) / sqrt(var + epsilon); the gradient to b is the sum of d.
        """
        d, hat = self._z, self._hat
        self._pulled_biases.copy_(total(d, d.dim() - 1, keepdim=True))
        along = average(d * hat)
        d.sub_(average(d)).sub_(hat.mul_(along)).div_(self._root)


def with_biases(left: Tensor, right: Tensor, pulled_biases: Tensor) -> tuple[Tensor, Tensor]:
    """Put the gradient to the biases into the factors of a gradient to weights.

    Parameters
    ----------
    left : Tensor, shape (slots, rows, samples)
        Gradients to W h, which sum to zero over samples.
    right : Tensor, shape (slots, columns, samples)
        Inputs of the layer; the last column is the constant unit.
    pulled_biases : Tensor, shape (slots, rows, 1)
        Gradients to the biases.

    Returns
    -------
    left, right : Tensor, shapes (slots, rows, samples + 1) and (slots, columns, samples + 1)
        With one sample more, at which the constant unit is the only one that is not zero.
    """
    unit = right.new_zeros(*right.shape[:2], 1)
    unit[:, -1].fill_(1.0)
    return torch.cat([left, pulled_biases], 2), torch.cat([right, unit], 2)
