"""The layout of a stack: which student sits where.

Students on one data set form a *group*; groups of like composition lie side by side. Inside a group
the first layers of all students, whatever their width and depth, are the rows of one wide matrix.
Behind it, students of equal shape form a *bucket*. A slot of the layout may be vacant (index -1):
it then holds some weights that nobody reads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from torch import Tensor

__all__ = ["VACANT", "Bucket", "Layout"]

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
    def places(self) -> dict[tuple[int, int], int]:
        """Seats that every group has for each (width, depth), vacant ones included."""
        return {(bucket.width, bucket.depth): bucket.slots.shape[1] for bucket in self.buckets}

    @cached_property
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
            Dummy groups are added until there are so many, and the product of the first layers has
            more than so many multiply-adds; see `tsframe.training.products.Route`.
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
            if (depth, width) not in seats:
                seats[depth, width] = [[] for _ in group_of]
            seats[depth, width][group_of[key]].append(i)
        sizes = {shape: max(map(len, places)) for shape, places in seats.items()}

        groups = max(len(group_of), min_slots)
        wide = sum(n * (width if depth else outputs) for (depth, width), n in sizes.items())
        groups = max(groups, min_work // (wide * (dim + 1) * fewest_rows) + 1)

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
