"""Training data on the device and the order in which students see it.

The order hangs on the seed, the epoch and n_train only. Students of one data set therefore see the
same minibatches, which lets their first layers be one product, and makes them a paired comparison;
students of different seeds do not.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from tsframe.streams import stream
from tsframe.students.stack import Layout

__all__ = ["SampleSet", "Seats", "TrainingSet", "epoch_order"]

ROWS_AT_ONCE = 128  # samples of one forward pass when a whole set is evaluated; fits the cache


def epoch_order(seed: int, n_train: int, epoch: int) -> np.ndarray:
    """Order in which an epoch visits the training rows, shape (n_train,)."""
    return stream(seed, "minibatches", epoch).permutation(n_train)


@dataclass
class SampleSet:
    """Inputs of several data sets and the targets of every student.

    Attributes
    ----------
    inputs : Tensor, shape (sets, n, dim + 1)
        The last column is one.
    targets : Tensor, shape (students, n)
        Class indices (int64) or values.
    """

    inputs: Tensor
    targets: Tensor

    @property
    def size(self) -> int:
        """Number of samples n."""
        return int(self.inputs.shape[1])

    @property
    def smallest_block(self) -> int:
        """Samples of the smallest block that `blocks` gives."""
        return int(min(rows.stop - rows.start for rows in self.blocks()))

    def blocks(self) -> list[slice]:
        """Cut the samples into nearly equal blocks for evaluation."""
        count = -(-self.size // ROWS_AT_ONCE)
        edges = [k * self.size // count for k in range(count + 1)]
        return [slice(start, stop) for start, stop in pairwise(edges)]

    def select(self, seats: "Seats", rows: Tensor | slice) -> tuple[Tensor, list[Tensor]]:
        """Give the inputs of every group and the targets of every bucket.

        Parameters
        ----------
        seats : Seats
            Who sits where.
        rows : slice or Tensor of int, shape (sets, samples)
            The same rows for all, or rows for each data set.

        Returns
        -------
        inputs : Tensor, shape (groups, samples, dim + 1)
        targets : list of Tensor, shapes (slots, samples)
        """
        if isinstance(rows, slice):
            inputs = self.inputs if seats.in_order else self.inputs[seats.data]
            return inputs[:, rows], [self.targets[s.flatten(), rows] for s in seats.students]
        rows = rows[seats.data]
        flat = (rows + self.size * seats.data[:, None]).flatten()
        inputs = self.inputs.flatten(0, 1).index_select(0, flat).unflatten(0, rows.shape)
        targets = [self.targets[s[..., None], rows[:, None]].flatten(0, 1) for s in seats.students]
        return inputs, targets


class Seats:
    """A layout as index tensors: the data set of each group, the student of each slot.

    Vacant slots name student 0, so that indexing with them is harmless.
    """

    def __init__(self, layout: Layout, sets: int, device: torch.device) -> None:
        self.data = torch.as_tensor(layout.data, device=device)
        self.students = [torch.as_tensor(b.slots.clip(0), device=device) for b in layout.buckets]
        self.in_order = layout.data.tolist() == list(range(sets))


class TrainingSet(SampleSet):
    """A SampleSet with an order for every epoch."""

    def __init__(self, inputs: Tensor, targets: Tensor, seeds: list[int], batch_size: int) -> None:
        super().__init__(inputs, targets)
        self.seeds, self.batch_size = seeds, batch_size
        self.steps_an_epoch = self.size // batch_size
        self._epoch = -1
        self._order = torch.empty(0)
        self._full: tuple[Seats, tuple[Tensor, list[Tensor]]] | None = None

    def batch(self, seats: Seats, step: int) -> tuple[Tensor, list[Tensor]]:
        """Give the minibatch of a step; see `select`."""
        if self.batch_size == self.size:
            if self._full is None or self._full[0] is not seats:
                self._full = (seats, self.select(seats, slice(None)))
            return self._full[1]
        epoch, place = divmod(step, self.steps_an_epoch)
        if epoch != self._epoch:
            orders = [epoch_order(seed, self.size, epoch) for seed in self.seeds]
            self._order = torch.as_tensor(np.stack(orders), device=self.inputs.device)
            self._epoch = epoch
        start = place * self.batch_size
        return self.select(seats, self._order[:, start : start + self.batch_size])
