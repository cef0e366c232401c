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
    def students(self) -> np.ndarray:
        """Indices of the students present, ascending."""
        slots = np.concatenate([bucket.slots.ravel() for bucket in self.buckets])
        return np.sort(slots[slots != VACANT])

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


class Buffers:
    """Hidden values of one forward pass over a stack, kept so that no step allocates them."""

    def __init__(self, layout: Layout, samples: int, like: Tensor) -> None:
        new = like.new_empty
        self.samples = samples
        self.first = new(layout.groups, layout.first_rows, samples)
        self.first_gradient = torch.empty_like(self.first)
        self.sums: list[list[Tensor]] = []  # pre-activations of the layers behind the first
        self.values: list[list[Tensor]] = []  # hidden values; the last unit is the constant
        self.gradients: list[list[Tensor]] = []  # of the loss to the pre-activations in `sums`
        self.logits: list[Tensor] = []
        for bucket in layout.buckets:
            slots, width, depth = bucket.slots.size, bucket.width, bucket.depth
            self.sums.append([new(slots, width, samples) for _ in range(depth - 1)])
            self.gradients.append([new(slots, width, samples) for _ in range(depth - 1)])
            self.values.append([new(slots, width + 1, samples) for _ in range(depth)])
            for values in self.values[-1]:
                values[:, width] = 1.0
            self.logits.append(new(slots, layout.outputs, samples))


class Stack:
    """The weights of the students of a layout.

    Attributes
    ----------
    layout : Layout
        Who sits where.
    activation : Activation
        The same for all.
    weights : list of Tensor
        In the order of `layout.weight_shapes()`.
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
            self._buffers[samples] = Buffers(self.layout, samples, self.weights[0])
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
            `logits` holds, for each bucket, a tensor of shape (slots, outputs, samples). Valid
            until the next forward pass over as many samples.
        """
        buffers = self.buffers(inputs.shape[1])
        torch.bmm(self.weights[0], inputs.mT, out=buffers.first)
        index = 1
        for b, bucket in enumerate(self.layout.buckets):
            groups, places = bucket.slots.shape
            first = buffers.first[:, bucket.rows].unflatten(1, (places, -1))
            if bucket.depth == 0:
                buffers.logits[b].unflatten(0, (groups, places)).copy_(first)
                continue
            values, sums, width = buffers.values[b], buffers.sums[b], bucket.width
            hidden = values[0].unflatten(0, (groups, places))[:, :, :width]
            self.activation.value(first, hidden)
            for layer in range(1, bucket.depth):
                torch.bmm(self.weights[index], values[layer - 1], out=sums[layer - 1])
                self.activation.value(sums[layer - 1], values[layer][:, :width])
                index += 1
            torch.bmm(self.weights[index], values[-1], out=buffers.logits[b])
            index += 1
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
