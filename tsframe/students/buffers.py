"""Hidden values of a stack, and the views of them and of the weights that a step needs.

Samples lie in the last dimension, so that a student's block is contiguous.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tsframe.students.layout import Layout
from tsframe.students.normalization import Norm
from tsframe.students.products import Products

__all__ = ["Buffers", "Layer"]


@dataclass(frozen=True, eq=False)
class Layer:
    """One activation and the batched product behind it, for one bucket: views made once.

    Attributes
    ----------
    index : int
        Which of the stack's weight tensors multiplies.
    weights, weights_t : Tensor
        That tensor, shape (slots, rows, width + 1), and its transpose.
    z, value, pulled : Tensor
        Pre-activations, what the activation makes of them, and room for the gradient of the loss to
        that. At the first layer of shape (groups, places, width, samples), behind it
        (slots, width, samples).
    inputs, inputs_t : Tensor
        Values with the constant unit, shape (slots, width + 1, samples), and their transpose.
    outputs : Tensor, shape (slots, rows, samples)
        The product: pre-activations of the next layer, or logits.
    pulled_inputs : Tensor, shape (slots, width + 1, samples)
        Room for the gradient of the loss to the inputs; `pulled` is a part of it.
    multiply, pull : callable ()
        Compute `outputs` from the inputs, and `pulled_inputs` from what stands in `outputs`.
    norm : Norm or None
        Of the pre-activations, in a normalized stack.
    pulled_biases : Tensor or None, shape (slots, rows, 1)
        Where the outputs are normalized: room for the gradient of the loss to the biases.
    """

    index: int
    weights: Tensor
    weights_t: Tensor
    z: Tensor
    value: Tensor
    pulled: Tensor
    inputs: Tensor
    inputs_t: Tensor
    outputs: Tensor
    pulled_inputs: Tensor
    multiply: Callable[[], object]
    pull: Callable[[], object]
    norm: Norm | None
    pulled_biases: Tensor | None


class Buffers:
    """Hidden values of one forward pass over a stack, kept so that no step allocates them.

    The backward pass turns pre-activations and logits, in place, into the gradients of the loss
    with respect to them.

    Attributes
    ----------
    first : Tensor, shape (groups, first rows, samples)
        Pre-activations of the first layers.
    layers : list of list of Layer
        For each bucket, from the inputs to the logits.
    linear : list of (Tensor, Tensor), shapes (groups, places, outputs, samples)
        For each bucket of depth 0, its part of `first` and of `logits`.
    logits : Tensor, shape (all slots, outputs, samples)
        In the order of `Layout.slots`.
    pulled_biases : Tensor or None, shape (groups, first rows, 1)
        In a normalized stack: room for the gradient of the loss to the first biases.
    """

    def __init__(
        self,
        layout: Layout,
        weights: list[Tensor],
        samples: int,
        normalized: bool = False,
        products: Products | None = None,
    ) -> None:
        products = products or Products()
        new = weights[0].new_empty
        self.first = new(layout.groups, layout.first_rows, samples)
        self.logits = new(len(layout.slots), layout.outputs, samples)
        self.pulled_biases = weights[0].new_zeros(*weights[0].shape[:2], 1) if normalized else None
        self.layers: list[list[Layer]] = []
        self.linear: list[tuple[Tensor, Tensor]] = []
        sizes = [bucket.slots.size * (bucket.width + 1) * samples for bucket in layout.buckets]
        scratch = new(max(sizes, default=0))  # the same memory for all buckets
        parts = self.logits.split([bucket.slots.size for bucket in layout.buckets])
        index = 1
        for bucket, size, logits in zip(layout.buckets, sizes, parts, strict=True):
            seats, slots, width = bucket.slots.shape, bucket.slots.size, bucket.width
            z = self.first[:, bucket.rows].unflatten(1, (seats[1], -1))
            biases, pulled_biases = weights[0][:, bucket.rows, -1:], self.pulled_biases
            biases = biases.unflatten(1, (seats[1], -1))
            if pulled_biases is not None:
                pulled_biases = pulled_biases[:, bucket.rows].unflatten(1, (seats[1], -1))
            if bucket.depth == 0:
                self.linear.append((z, logits.unflatten(0, seats)))
            pulled = scratch[:size].view(slots, width + 1, samples)
            layers = []
            for after in range(1, bucket.depth + 1):
                inputs = new(slots, width + 1, samples)
                inputs[:, width].fill_(1.0)
                last = after == bucket.depth
                outputs = logits if last else new(slots, width, samples)
                value, pulled_value = inputs[:, :width], pulled[:, :width]
                if after == 1:
                    value, pulled_value = (t.unflatten(0, seats) for t in (value, pulled_value))
                norm = None if pulled_biases is None else Norm(z, biases, pulled_biases)
                hidden = normalized and not last
                biases = weights[index][:, :, -1:]
                pulled_biases = torch.zeros_like(biases) if hidden else None
                layers.append(
                    Layer(
                        index=index,
                        weights=weights[index],
                        weights_t=weights[index].mT,
                        z=z,
                        value=value,
                        pulled=pulled_value,
                        inputs=inputs,
                        inputs_t=inputs.mT,
                        outputs=outputs,
                        pulled_inputs=pulled,
                        multiply=products.ready(weights[index], inputs, outputs),
                        pull=products.ready(weights[index].mT, outputs, pulled),
                        norm=norm,
                        pulled_biases=pulled_biases,
                    )
                )
                z, index = outputs, index + 1
            self.layers.append(layers)
