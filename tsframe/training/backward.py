"""The hand-written backward pass of a stack.

With samples in the last dimension, layer l computes z_l = W_l h_{l-1}. The gradient of the loss to
z_l is delta_l, to W_l it is delta_l h_{l-1}^T, and delta_{l-1} = (W_l^T delta_l) * phi'(z_{l-1}).
Every line below is one of these, for all students of a bucket at once; the first layers of all
buckets are one product a group.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from tsframe.students.stack import Buffers, Stack

__all__ = ["backward"]


def backward(
    stack: Stack,
    buffers: Buffers,
    inputs: Tensor,
    absorb: Callable[[int, Tensor, Tensor], None],
) -> None:
    """Hand the gradient of every weight tensor to `absorb`, as two factors.

    Parameters
    ----------
    stack : Stack
        The students.
    buffers : Buffers
        Of the forward pass over `inputs`, where `logits` now hold the gradient of each student's
        loss to its logits.
    inputs : Tensor, shape (groups, samples, dim + 1)
        What the forward pass was given.
    absorb : callable (index, left, right)
        Receives factors of the gradient of ``stack.weights[index]``, which is left @ right. It may
        change that tensor: nothing reads it afterwards.
    """
    index = len(stack.weights) - 1
    for b in reversed(range(len(stack.layout.buckets))):
        bucket = stack.layout.buckets[b]
        groups, places = bucket.slots.shape
        width, values, sums = bucket.width, buffers.values[b], buffers.sums[b]
        delta = buffers.logits[b]
        to_first = buffers.first_gradient[:, bucket.rows].unflatten(1, (places, -1))
        if bucket.depth == 0:
            to_first.copy_(delta.unflatten(0, (groups, places)))
        for layer in reversed(range(bucket.depth)):
            pulled = torch.bmm(stack.weights[index].mT, delta)[:, :width]
            absorb(index, delta, values[layer].mT)
            index -= 1
            value = values[layer][:, :width]
            if layer > 0:
                z, out = sums[layer - 1], buffers.gradients[b][layer - 1]
            else:
                z = buffers.first[:, bucket.rows].unflatten(1, (places, -1))
                pulled, value = (t.unflatten(0, (groups, places)) for t in (pulled, value))
                out = to_first
            stack.activation.pullback(pulled, z, value, out)
            delta = out
    absorb(0, buffers.first_gradient, inputs)
