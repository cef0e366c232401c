"""The hand-written backward pass of a stack.

With samples in the last dimension, layer l computes z_l = W_l h_{l-1}. The gradient of the loss to
z_l is delta_l, to W_l it is delta_l h_{l-1}^T, and delta_{l-1} = (W_l^T delta_l) * phi'(z_{l-1}).
Every line below is one of these, for all students of a bucket at once; the first layers of all
buckets are one product a group. Where hidden layers are normalized, delta is first pulled through
that, and the gradient to the biases comes apart from it.
"""

from collections.abc import Callable

from torch import Tensor

from tsframe.students.buffers import Buffers
from tsframe.students.normalization import with_biases
from tsframe.students.stack import Masks, Stack

__all__ = ["backward"]


def backward(
    stack: Stack,
    buffers: Buffers,
    inputs: Tensor,
    absorb: Callable[[int, Tensor, Tensor], None],
    masks: Masks | None = None,
) -> None:
    """Hand the gradient of every weight tensor to `absorb`, as two factors.

    Parameters
    ----------
    stack : Stack
        The students.
    buffers : Buffers
        Of the forward pass over `inputs`, where `logits` now hold the gradient of each student's
        loss to its logits. Pre-activations are replaced by gradients, too.
    inputs : Tensor, shape (groups, samples, dim + 1)
        What the forward pass was given.
    absorb : callable (index, left, right)
        Receives factors of the gradient of ``stack.weights[index]``, which is left @ right. It may
        change that tensor: nothing reads it afterwards.
    masks : list of list of (Tensor, Tensor), optional
        What the forward pass was given. The values of masked units are unmasked for the activation,
        which may need them; where the factor was zero, so is the gradient.
    """
    fusions = stack.products.fusions
    for first, logits in buffers.linear:
        first.copy_(logits)
    for k, layers in enumerate(buffers.layers):
        for depth, layer in reversed(list(enumerate(layers))):
            if fusions is not None and layer.norm is None:
                if masks is not None:
                    mask, kept = masks[k][depth]
                    layer.value.mul_(kept.view(*layer.value.shape[:-2], 1, 1))
                hidden = layer.weights_t[:, :-1]  # without the row of the constant unit
                fusions.pull(hidden, layer.outputs, layer.value, layer.z, stack.activation)
                if masks is not None:
                    layer.value.mul_(mask.view_as(layer.value))
                    layer.z.mul_(mask.view_as(layer.z))
                absorb(layer.index, layer.outputs, layer.inputs_t)
                continue
            layer.pull()
            if layer.pulled_biases is None:
                absorb(layer.index, layer.outputs, layer.inputs_t)
            else:
                left, right = with_biases(layer.outputs, layer.inputs, layer.pulled_biases)
                absorb(layer.index, left, right.mT)
            if masks is not None:
                mask, kept = masks[k][depth]
                layer.pulled.mul_(mask.view_as(layer.pulled))
                layer.value.mul_(kept.view(*layer.value.shape[:-2], 1, 1))
            stack.activation.pullback_(layer.pulled, layer.value, layer.z)
            if layer.norm is not None:
                layer.norm.pull_()
    if buffers.pulled_biases is None:
        absorb(0, buffers.first, inputs)
    else:
        left, right = with_biases(buffers.first, inputs.mT, buffers.pulled_biases)
        absorb(0, left, right.mT)
