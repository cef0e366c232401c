"""Sums whose order hangs on their length alone, so that no bit of one depends on those beside it.

On the CPU the reductions of torch are such: the laws of exactness compare their bits in many
batches. On CUDA torch splits a reduction by how many others are taken beside it. There sums are
taken by halves, in elementwise operations alone.
"""

import torch
from torch import Tensor

__all__ = ["average", "by_halves", "log_total_exp", "softmax_", "total"]


def ordered(values: Tensor) -> bool:
    """Whether sums of these are taken by halves."""
    return values.is_cuda


def by_halves(values: Tensor, dim: int) -> Tensor:
    """Sum over a dim, which stays with length 1: the second half is added to the first, and so on.

    The order hangs on the length alone. The error grows with the logarithm of it, as of any sum in
    pairs.

    Parameters
    ----------
    values : Tensor
        Not changed.
    dim : int
        Of length >= 1.

    Returns
    -------
    Tensor

    Examples
    --------
    >>> by_halves(torch.arange(5.0), 0)
    tensor([10.])
    """
    length = values.shape[dim]
    while length > 1:
        half = (length + 1) // 2
        first = values.narrow(dim, 0, half).clone()
        first.narrow(dim, 0, length - half).add_(values.narrow(dim, half, length - half))
        values, length = first, half
    return values


def total(values: Tensor, *dims: int, keepdim: bool = False) -> Tensor:
    """Sum over some dims, counted from the first."""
    if not ordered(values):
        return values.sum(dims, keepdim=keepdim)
    for dim in sorted(dims, reverse=True):
        values = by_halves(values, dim)
        values = values if keepdim else values.squeeze(dim)
    return values


def average(values: Tensor) -> Tensor:
    """Mean over the last dim, which stays with length 1."""
    if not ordered(values):
        return values.mean(-1, keepdim=True)
    return by_halves(values, values.dim() - 1) / values.shape[-1]


def softmax_(logits: Tensor) -> Tensor:
    """Turn logits, shape (slots, outputs, samples), in place into probabilities over outputs."""
    if not ordered(logits):
        return torch.softmax(logits, 1, out=logits)
    logits.sub_(logits.amax(1, keepdim=True)).exp_()  # a maximum has no order
    return logits.div_(by_halves(logits, 1))


def log_total_exp(logits: Tensor) -> Tensor:
    """Logarithm of the sum of exponentials over dim 1, which goes."""
    if not ordered(logits):
        return torch.logsumexp(logits, 1)
    largest = logits.amax(1, keepdim=True)
    return by_halves((logits - largest).exp(), 1).log_().add_(largest).squeeze(1)
