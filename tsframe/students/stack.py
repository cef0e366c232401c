"""A stack: many students held in a few tensors, so that one batched product serves them all.

Students on one data set form a *group*; groups of like composition lie side by side. Inside a group
the first layers of all students, whatever their width and depth, are the rows of one wide matrix:
one product per group computes them all, with no padding. Behind it, students of equal shape form a
*bucket*, and every layer of a bucket is one batched product over (groups x places). Biases are the
last column of each weight matrix, fed by a constant unit.

A slot of the layout may be vacant (index -1): it then holds some weights that nobody reads. Samples
lie in the last dimension of hidden values, so that a student's block is contiguous.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from tsframe.students.activations import Activation

__all__ = ["Bucket", "Buffers", "Layout", "Stack", "copy_students"]

VACANT = -1


@dataclass(frozen=True)
class Bucket:
    """Slots of one shape.

    Attributes
    ----------
    width, depth : int
        Shape of the students; at depth 0 their one layer has `outputs` rows.
    slots : ndarray of int, shape (groups, places)
        Index of the student in each slot, -1 where the slot is vacant.
    rows : slice
        Where its first layers lie among the rows of the wide first layer.
    """

    width: int
    depth: int
    slots: np.ndarray
    rows: slice


@dataclass(frozen=True)
class Layout:
    """Which student sits where.

    Attributes
    ----------
    buckets : tuple of Bucket
        In order of (depth, width).
    data : ndarray of int, shape (groups,)
        Index of the data set of each group.
    dim, outputs : int
        Dimension of the inputs, number of outputs.
    """

    buckets: tuple[Bucket, ...]
    data: np.ndarray
    dim: int
    outputs: int

    @property
    def groups(self) -> int:
        """Number of groups, dummies included."""
        return len(self.data)

    @property
    def first_rows(self) -> int:
        """Rows of the wide first layer of one group."""
        return self.buckets[-1].rows.stop if self.buckets else 0

    @property
    def slots(self) -> np.ndarray:
        """Index of the student in every slot, bucket by bucket; -1 where it is vacant."""
        return np.concatenate([bucket.slots.ravel() for bucket in self.buckets])

    @property
    def slot_groups(self) -> np.ndarray:
        """Index of the group of every slot, in the order of `slots`."""
        places = [bucket.slots.shape[1] for bucket in self.buckets]
        return np.concatenate([np.repeat(np.arange(self.groups), n) for n in places])

    @property
    def students(self) -> np.ndarray:
        """Indices of the students present, ascending."""
        return np.sort(self.slots[self.slots != VACANT])

    @property
    def work(self) -> int:
        """Multiply-adds of one forward pass over one sample of every group."""
        return sum(slots * after * before for slots, after, before in self.weight_shapes())

    def weight_shapes(self) -> list[tuple[int, int, int]]:
        """Give the shape of every weight tensor: the wide first layer, then bucket by bucket."""
        shapes = [(self.groups, self.first_rows, self.dim + 1)]
        for bucket in self.buckets:
            sizes = [bucket.width] * bucket.depth + [self.outputs]
            shapes += [(bucket.slots.size, after, before + 1) for before, after in pairwise(sizes)]
        return shapes

    def by_student(self, tensors: list[Tensor]) -> list[list[Tensor]]:
        """View tensors that lie like the weights as (groups, places, rows, columns).

        One list a bucket, with one view a layer.
        """
        views, index = [], 1
        for bucket in self.buckets:
            groups, places = bucket.slots.shape
            layers = [tensors[0][:, bucket.rows].unflatten(1, (places, -1))]
            for _ in range(bucket.depth):
                layers.append(tensors[index].unflatten(0, (groups, places)))
                index += 1
            views.append(layers)
        return views

    @staticmethod
    def arrange(
        students: Sequence[int],
        shapes: Sequence[tuple[int, int]],
        data: Sequence[int],
        dim: int,
        outputs: int,
        *,
        share_rows: bool,
        min_slots: int = 1,
        min_work: int = 0,
        fewest_rows: int = 1,
    ) -> "Layout":
        """Seat students, those of one data set in one group if rows may be shared.

        Parameters
        ----------
        students : sequence of int
            Indices to seat.
        shapes, data : sequences over all indices
            (width, depth) and data set of each student.
        dim, outputs : int
            Dimension of the inputs, number of outputs.
        share_rows : bool
            Whether the first layers of a data set may be one wide product.
        min_slots, min_work : int
            Dummy groups are added until every batched product has so many matrices and more than so
            many multiply-adds; see `tsframe.training.products.Route`.
        fewest_rows : int
            The fewest samples in any product.

        Returns
        -------
        Layout
            Slots that are not needed by every group are vacant where they are not.
        """
        group_of: dict[tuple[int, int], int] = {}
        seats: dict[tuple[int, int], list[list[int]]] = {}
        keys = [(data[i], VACANT if share_rows else i) for i in students]
        for key in keys:
            group_of.setdefault(key, len(group_of))
        for i, key in zip(students, keys, strict=True):
            width, depth = shapes[i]
            places = seats.setdefault((depth, width), [[] for _ in group_of])
            places[group_of[key]].append(i)
        sizes = {shape: max(map(len, places)) for shape, places in seats.items()}

        groups = max(len(group_of), min_slots)
        wide = sum(n * (width if depth else outputs) for (depth, width), n in sizes.items())
        groups = max(groups, min_work // (wide * (dim + 1) * fewest_rows) + 1)
        for (depth, width), n in sizes.items():
            if depth:  # its smallest product behind the first layer
                work = n * min(outputs, width if depth > 1 else outputs) * (width + 1) * fewest_rows
                groups = max(groups, min_work // work + 1)

        buckets, start = [], 0
        for (depth, width), places in sorted(seats.items()):
            slots = np.full((groups, sizes[depth, width]), VACANT)
            for group, seated in enumerate(places):
                slots[group, : len(seated)] = seated
            rows = (width if depth else outputs) * slots.shape[1]
            buckets.append(Bucket(width, depth, slots, slice(start, start + rows)))
            start += rows
        sets = np.zeros(groups, dtype=int)
        sets[: len(group_of)] = [key[0] for key in group_of]
        sets[len(group_of) :] = sets[0]
        return Layout(tuple(buckets), sets, dim, outputs)


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
    """

    def __init__(self, layout: Layout, weights: list[Tensor], samples: int) -> None:
        new = weights[0].new_empty
        self.first = new(layout.groups, layout.first_rows, samples)
        self.logits = new(len(layout.slots), layout.outputs, samples)
        self.layers: list[list[Layer]] = []
        self.linear: list[tuple[Tensor, Tensor]] = []
        sizes = [bucket.slots.size * (bucket.width + 1) * samples for bucket in layout.buckets]
        scratch = new(max(sizes, default=0))  # the same memory for all buckets
        parts = self.logits.split([bucket.slots.size for bucket in layout.buckets])
        index = 1
        for bucket, size, logits in zip(layout.buckets, sizes, parts, strict=True):
            seats, slots, width = bucket.slots.shape, bucket.slots.size, bucket.width
            z = self.first[:, bucket.rows].unflatten(1, (seats[1], -1))
            if bucket.depth == 0:
                self.linear.append((z, logits.unflatten(0, seats)))
            pulled = scratch[:size].view(slots, width + 1, samples)
            layers = []
            for after in range(1, bucket.depth + 1):
                inputs = new(slots, width + 1, samples)
                inputs[:, width] = 1.0
                last = after == bucket.depth
                outputs = logits if last else new(slots, width, samples)
                value, pulled_value = inputs[:, :width], pulled[:, :width]
                if after == 1:
                    value, pulled_value = (t.unflatten(0, seats) for t in (value, pulled_value))
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
                    )
                )
                z, index = outputs, index + 1
            self.layers.append(layers)


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
    """

    def __init__(self, layout: Layout, activation: Activation, weights: list[Tensor]) -> None:
        self.layout = layout
        self.activation = activation
        self.weights = weights
        self._buffers: dict[int, Buffers] = {}

    @staticmethod
    def zeros(layout: Layout, activation: Activation, like: Tensor) -> "Stack":
        """Make a stack of zero weights with the dtype and device of `like`."""
        weights = [like.new_zeros(shape) for shape in layout.weight_shapes()]
        return Stack(layout, activation, weights)

    def clone(self) -> "Stack":
        """Copy the weights; the layout is shared."""
        return Stack(self.layout, self.activation, [w.clone() for w in self.weights])

    def buffers(self, samples: int) -> Buffers:
        """Give the buffers for products over so many samples; they are made once."""
        if samples not in self._buffers:
            self._buffers[samples] = Buffers(self.layout, self.weights, samples)
        return self._buffers[samples]

    def seat(self, student: int, weights: Sequence[np.ndarray]) -> None:
        """Write the weights of one student, given layer by layer with the biases as last column."""
        for bucket, layers in zip(
            self.layout.buckets, self.layout.by_student(self.weights), strict=True
        ):
            for group, place in np.argwhere(bucket.slots == student):
                for layer, values in zip(layers, weights, strict=True):
                    layer[group, place] = torch.from_numpy(values)

    def forward(self, inputs: Tensor) -> Buffers:
        """Compute the outputs of all students.

        Parameters
        ----------
        inputs : Tensor, shape (groups, samples, dim + 1)
            Samples of each group's data set, the last column one.

        Returns
        -------
        Buffers
            Valid until the next forward pass over as many samples.
        """
        buffers = self.buffers(inputs.shape[1])
        torch.bmm(self.weights[0], inputs.mT, out=buffers.first)
        for first, logits in buffers.linear:
            logits.copy_(first)
        for layers in buffers.layers:
            for layer in layers:
                self.activation.value(layer.z, layer.value)
                torch.bmm(layer.weights, layer.inputs, out=layer.outputs)
        return buffers


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
