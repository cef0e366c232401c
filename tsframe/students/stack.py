"""A stack: many students held in a few tensors, so that one batched product serves them all.

The first layers of all students on one data set are one product, with no padding; every layer of a
bucket of students of equal shape is one batched product. Biases are the last column of each weight
matrix, fed by a constant unit.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from tsframe.students.activations import Activation
from tsframe.students.buffers import Buffers
from tsframe.students.layout import Layout, VACANT
from tsframe.students.products import Fusions, Products

__all__ = ["Masks", "Stack", "copy_students"]

Masks: TypeAlias = list[list[tuple[Tensor, Tensor]]]


class Stack:
    """The weights of the students of a layout.

    Attributes
    ----------
    layout : Layout
        Who sits where.
    activation : Activation
        The same for all.
    weights : list of Tensor
        In the order of `layout.weight_shapes()`. They may change in place only.
    normalized : bool
        Whether a forward pass normalizes hidden layers over its samples; see `Norm`.
    products : Products
        Who multiplies.
    """

    def __init__(
        self,
        layout: Layout,
        activation: Activation,
        weights: list[Tensor],
        normalized: bool = False,
        products: Products | None = None,
    ) -> None:
        self.layout = layout
        self.activation = activation
        self.weights = weights
        self.normalized = normalized
        self.products = products or Products()
        self._buffers: dict[int, Buffers] = {}

    @staticmethod
    def zeros(
        layout: Layout,
        activation: Activation,
        like: Tensor,
        normalized: bool = False,
        products: Products | None = None,
    ) -> "Stack":
        """Make a stack of zero weights with the dtype and device of `like`."""
        weights = [like.new_zeros(shape) for shape in layout.weight_shapes()]
        return Stack(layout, activation, weights, normalized, products)

    def clone(self, plain: bool = False) -> "Stack":
        """Copy the weights; the layout is shared. A plain copy does not normalize."""
        weights = [w.clone() for w in self.weights]
        normalized = self.normalized and not plain
        return Stack(self.layout, self.activation, weights, normalized, self.products)

    def blank(self, layout: Layout) -> "Stack":
        """Make a stack of zero weights that differs from this one in its layout only."""
        like = self.weights[0]
        return Stack.zeros(layout, self.activation, like, self.normalized, self.products)

    def on_cpu(self) -> "Stack":
        """Give the same students on the CPU, where torch and NumPy multiply."""
        weights = [w.cpu() for w in self.weights]
        return Stack(self.layout, self.activation, weights, self.normalized)

    def buffers(self, samples: int) -> Buffers:
        """Give the buffers for products over so many samples; they are made once."""
        if samples not in self._buffers:
            self._buffers[samples] = Buffers(
                self.layout, self.weights, samples, self.normalized, self.products
            )
        return self._buffers[samples]

    def seat(self, student: int, weights: Sequence[np.ndarray]) -> None:
        """Write the weights of one student, given layer by layer with the biases as last column."""
        for bucket, layers in zip(
            self.layout.buckets, self.layout.by_student(self.weights), strict=True
        ):
            for group, place in np.argwhere(bucket.slots == student):
                for layer, values in zip(layers, weights, strict=True):
                    layer[group, place] = torch.from_numpy(values)

    def forward(self, inputs: Tensor, masks: Masks | None = None) -> Buffers:
        """Compute the outputs of all students.

        Parameters
        ----------
        inputs : Tensor, shape (groups, samples, dim + 1)
            Samples of each group's data set, the last column one.
        masks : list of list of (Tensor, Tensor), optional
            For each bucket and hidden layer, factors of the values of its units and their
            inverses where they are not zero; the first broadcasts to (groups, places, width,
            samples), the second to a number a student.

        Returns
        -------
        Buffers
            Valid until the next forward pass over as many samples.
        """
        buffers = self.buffers(inputs.shape[1])
        if self.products.fusions is not None and not self.normalized:
            self._forward_fused(inputs.mT, buffers, self.products.fusions, masks)
            return buffers
        self.products.first(self.weights[0], inputs.mT, buffers.first)
        for first, logits in buffers.linear:
            logits.copy_(first)
        for k, layers in enumerate(buffers.layers):
            for depth, layer in enumerate(layers):
                if layer.norm is not None:
                    layer.norm.apply_()
                self.activation.value(layer.z, layer.value)
                if masks is not None:
                    layer.value.mul_(masks[k][depth][0].view_as(layer.value))
                layer.multiply()
        return buffers

    def _forward_fused(
        self, inputs: Tensor, buffers: Buffers, fusions: Fusions, masks: Masks | None
    ) -> None:
        """Let the activation of every layer ride on the product before it."""
        for k, (bucket, layers) in enumerate(zip(self.layout.buckets, buffers.layers, strict=True)):
            left, right = self.weights[0][:, bucket.rows], inputs
            out, wide = buffers.first[:, bucket.rows], True
            for depth, layer in enumerate(layers):
                fusions.activate(left, right, out, layer.value, self.activation, wide)
                if masks is not None:
                    layer.value.mul_(masks[k][depth][0].view_as(layer.value))
                left, right, out, wide = layer.weights, layer.inputs, layer.outputs, False
            (self.products.first if wide else self.products.behind)(left, right, out)
        for first, logits in buffers.linear:
            logits.copy_(first)


def copy_students(
    source: Layout,
    target: Layout,
    values: list[Tensor],
    out: list[Tensor],
    chosen: np.ndarray | None = None,
) -> None:
    """Copy what lies in the slots of `source` to the slots of the same students in `target`.

    Parameters
    ----------
    source, target : Layout
        Where the students sit before and after. Slots of `target` without a student in `source` are
        left as they are.
    values, out : list of Tensor
        Tensors that lie like the weights of `source` and of `target`.
    chosen : ndarray of bool, shape (students,), optional
        Students to copy; all by default.
    """
    shapes = {(bucket.width, bucket.depth): k for k, bucket in enumerate(source.buckets)}
    old, new = source.by_student(values), target.by_student(out)
    for bucket, layers in zip(target.buckets, new, strict=True):
        k = shapes.get((bucket.width, bucket.depth))
        if k is None:
            continue
        seats = source.buckets[k].slots
        seat_of = {i: seat for seat, i in np.ndenumerate(seats) if i != VACANT}
        pairs = [
            (to, seat_of[i])
            for to, i in np.ndenumerate(bucket.slots)
            if i in seat_of and (chosen is None or chosen[i])
        ]
        if not pairs:
            continue
        to, of = (torch.as_tensor(np.array(side).T) for side in zip(*pairs, strict=True))
        for before, after in zip(old[k], layers, strict=True):
            after[to[0], to[1]] = before[of[0], of[1]]
