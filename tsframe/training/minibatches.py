"""Training data on the device and the order in which students see it.

The order hangs on the seed, the epoch and n_train only; see `tsframe.training.orders`. Students of
one data set therefore see the same minibatches, which lets their first layers be one product, and
makes them a paired comparison; students of different seeds do not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from tsframe.streams import stream
from tsframe.students.layout import Layout
from tsframe.training.devices import upload
from tsframe.training.orders import order_key, orders, orders_worth_a_call

__all__ = ["SampleSet", "Seated", "TrainingSet"]

Vary = Callable[[np.ndarray, np.random.Generator], np.ndarray]

LOOKED_UP = 2**16  # targets of coming minibatches that are looked up at once
ROWS_AT_ONCE = 128  # samples of one forward pass when a whole set is evaluated; fits the cache
ROWS_ON_GPU = 512  # the same where every call costs; no more, for the memory it takes


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
    # By the id of a layout, which the seated set holds. Weak: a cycle would keep a GPU's memory.
    _seated: "WeakValueDictionary[int, Seated]" = field(
        default_factory=WeakValueDictionary, init=False, repr=False
    )

    def seat(self, layout: Layout) -> "Seated":
        """Give the set as a layout sees it; the same one again while somebody holds it."""
        seated = self._seated.get(id(layout))
        if seated is None:
            seated = self._seated[id(layout)] = Seated(self, layout)
        return seated

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
        count = -(-self.size // (ROWS_ON_GPU if self.inputs.is_cuda else ROWS_AT_ONCE))
        edges = [k * self.size // count for k in range(count + 1)]
        return [slice(start, stop) for start, stop in pairwise(edges)]


class Seated:
    """A sample set as the slots of a layout see it.

    Parameters
    ----------
    samples : SampleSet
        Inputs of every data set, targets of every student.
    layout : Layout
        Which data set belongs to each group, which student to each slot. Vacant slots see the
        targets of student 0, so that nothing is undefined.
    """

    def __init__(self, samples: SampleSet, layout: Layout) -> None:
        device = samples.inputs.device
        self.samples, self.layout = samples, layout
        self.data = layout.data
        self.sets: list[int] = np.unique(layout.data).tolist()
        self.sets_on_device = torch.as_tensor(self.sets, device=device)
        self.data_on_device = torch.as_tensor(layout.data, device=device)
        self._in_order = layout.data.tolist() == list(range(len(samples.inputs)))
        self.targets = samples.targets[torch.as_tensor(layout.slots.clip(0), device=device)]
        parts = self.targets.split([bucket.slots.size for bucket in layout.buckets])
        pairs = zip(parts, layout.buckets, strict=True)
        self._own_targets = [part.unflatten(0, bucket.slots.shape) for part, bucket in pairs]
        self._rows = samples.inputs.flatten(0, 1)
        self._room = self._batch = self._rows[:0]

    def block(self, rows: slice) -> tuple[Tensor, Tensor]:
        """Give the same rows of every data set.

        Returns
        -------
        inputs : Tensor, shape (groups, samples, dim + 1)
        targets : Tensor, shape (all slots, samples)
        """
        inputs = self.samples.inputs[:, rows]
        return inputs if self._in_order else inputs[self.data_on_device], self.targets[:, rows]

    @cached_property
    def whole(self) -> tuple[Tensor, Tensor]:
        """All rows; returns as `block`."""
        return self.block(slice(None))

    def look_up(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Prepare minibatches of some steps in which every data set has rows of its own.

        Parameters
        ----------
        rows : Tensor, shape (sets, steps, samples)
            Rows of each data set.

        Returns
        -------
        places : Tensor, shape (steps, groups * samples)
            For `gather`: where the rows lie among those of all data sets.
        targets : Tensor, shape (steps, all slots, samples)
        """
        steps, samples = rows.shape[1:]
        rows = rows if self._in_order else rows[self.data_on_device]
        places = rows + self.samples.size * self.data_on_device[:, None, None]
        found = []
        for bucket, own in zip(self.layout.buckets, self._own_targets, strict=True):
            index = rows.flatten(1)[:, None].expand(-1, bucket.slots.shape[1], -1)
            found.append(own.gather(2, index).view(-1, steps, samples))
        targets = found[0] if len(found) == 1 else torch.cat(found)
        return places.transpose(0, 1).flatten(1), targets.transpose(0, 1).contiguous()

    def gather(self, places: Tensor) -> Tensor:
        """Give the inputs of a step, shape (groups, samples, dim + 1), valid until the next call.

        Parameters
        ----------
        places : Tensor, shape (groups * samples,)
            See `look_up`.
        """
        if len(self._room) != len(places):
            self._room = self._rows.new_empty(len(places), self._rows.shape[1])
            self._batch = self._room.unflatten(0, (len(self.data), -1))
        if self._rows.is_cuda:
            torch.index_select(self._rows, 0, places, out=self._room)
        else:  # a third less of a call
            self._rows.numpy().take(places.numpy(), 0, self._room.numpy(), "clip")
        return self._batch


@dataclass(frozen=True)
class Coming:
    """Minibatches of some steps from `first` on, as `Seated.look_up` prepares them."""

    seated: Seated | None
    first: int
    places: Sequence[Tensor]
    targets: Sequence[Tensor]


class TrainingSet(SampleSet):
    """A SampleSet with an order for every epoch.

    Parameters
    ----------
    inputs, targets : Tensor
        As in `SampleSet`.
    seeds : list of int
        Of every data set.
    batch_size : int
        Samples of a minibatch.
    own : sequence of int or None, optional
        For every data set the key of an order of its own, see `orders.epoch_order`.
    varied : sequence of callable (rows, generator) or None, optional
        For every data set what its augmentation makes of the inputs of a minibatch, shape (samples,
        dim), without the ones.
    """

    def __init__(
        self,
        inputs: Tensor,
        targets: Tensor,
        seeds: list[int],
        batch_size: int,
        varied: Sequence[Vary | None] = (),
        own: Sequence[int | None] = (),
    ) -> None:
        super().__init__(inputs, targets)
        self._varied = {k: vary for k, vary in enumerate(varied) if vary is not None}
        self._streams = {k: stream(seeds[k], "augmentation") for k in self._varied}
        self._given: tuple[int, tuple[Tensor, Tensor]] | None = None
        self.seeds, self.batch_size = seeds, batch_size
        self.steps_an_epoch = self.size // batch_size
        self._own = [() if key is None else (key,) for key in own] or [()] * len(seeds)
        self._ahead = max(1, orders_worth_a_call(self.size) // len(seeds))  # epochs of a span
        self._spans = [-1] * len(seeds)  # of which the orders are
        self._coming = Coming(None, 0, (), ())

    @property
    def varies(self) -> bool:
        """Whether inputs are augmented, which is done on the host."""
        return bool(self._varied)

    def batch(
        self, seated: Seated, step: int, found: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Give the inputs and targets of a step, as `Seated.block` does.

        Asked twice for one step, it gives the same twice, augmentation included.

        Parameters
        ----------
        seated : Seated
            This set.
        step : int
            Which minibatch, from 0 on.
        found : (Tensor, Tensor), optional
            What `find` gives of this step, if it is at hand.
        """
        if not self._varied:
            return self._rows(seated, step, found)
        if self._given is None or self._given[0] != step:
            inputs, targets = self._rows(seated, step, found)
            self._given = step, (self._vary(seated, inputs.clone()), targets)
        return self._given[1]

    def _rows(
        self, seated: Seated, step: int, found: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        if self.batch_size == self.size:
            return seated.whole
        places, targets = found or self.find(seated, step)
        return seated.gather(places), targets

    def _vary(self, seated: Seated, inputs: Tensor) -> Tensor:
        for k in seated.sets:
            if k in self._varied:
                groups = torch.as_tensor(np.flatnonzero(seated.data == k), device=inputs.device)
                rows = inputs[groups[0], :, :-1].double().cpu().numpy()
                varied = torch.as_tensor(self._varied[k](rows, self._streams[k])).to(inputs)
                inputs[groups, :, :-1] = varied
        return inputs

    def find(self, seated: Seated, step: int) -> tuple[Tensor, Tensor]:
        """Give the places and the targets of a minibatch; see `Seated.look_up`."""
        coming = self._coming
        if coming.seated is not seated or not 0 <= step - coming.first < len(coming.places):
            coming = self._coming = self._look_up(seated, step)
        k = step - coming.first
        return coming.places[k], coming.targets[k]

    def rows(self, seated: Seated, first: int, stop: int) -> Tensor:
        """Give the rows of the minibatches from step `first` to before `stop`.

        Parameters
        ----------
        seated : Seated
            This set.
        first, stop : int
            Steps, at least one; the epochs that they touch are laid out.

        Returns
        -------
        Tensor of int64, shape (groups, steps, batch size)
            To be read only.
        """
        groups, steps, device = len(seated.data), stop - first, self.inputs.device
        if self.batch_size == self.size:
            return torch.arange(self.size, device=device).expand(groups, steps, -1)
        epoch, place = divmod(first, self.steps_an_epoch)
        epochs = range(epoch, (stop - 1) // self.steps_an_epoch + 1)
        return self._cut(self._laid(seated.data_on_device, epochs))[:, place : place + steps]

    def _look_up(self, seated: Seated, step: int) -> Coming:
        """Prepare some steps at once: to look up a few numbers costs no more than the call."""
        epoch, place = divmod(step, self.steps_an_epoch)
        span, turn = divmod(epoch, self._ahead)
        if any(self._spans[k] != span for k in seated.sets):
            self._order(seated, span)
        last = place + max(1, LOOKED_UP // (len(seated.layout.slots) * self.batch_size))
        turns = slice(turn, turn + -(-last // self.steps_an_epoch))
        places, targets = seated.look_up(self._cut(self._orders[:, turns])[:, place:last])
        return Coming(seated, step, places.unbind(), targets.unbind())

    def _order(self, seated: Seated, span: int) -> None:
        """Lay out the epochs of a span for all data sets that have a seat."""
        epochs = range(span * self._ahead, (span + 1) * self._ahead)
        self._orders[seated.sets_on_device] = self._laid(seated.sets_on_device, epochs)
        for k in seated.sets:
            self._spans[k] = span

    def _laid(self, sets: Tensor, epochs: range) -> Tensor:
        """Give the orders of epochs of some data sets, shape (sets, epochs, n)."""
        numbers = torch.arange(epochs.start, epochs.stop, device=sets.device)
        keys = self._keys[sets].repeat_interleave(len(epochs))
        laid = orders(keys, numbers.repeat(len(sets)), self.size)
        return laid.view(len(sets), len(epochs), self.size)

    def _cut(self, laid: Tensor) -> Tensor:
        """Cut orders of epochs into minibatches, shape (sets, steps, samples)."""
        whole = laid[:, :, : self.steps_an_epoch * self.batch_size]
        return whole.reshape(len(laid), -1, self.batch_size)

    @cached_property
    def _keys(self) -> Tensor:
        pairs = zip(self.seeds, self._own, strict=True)
        keys = np.array([order_key(seed, *own) for seed, own in pairs])
        return upload(torch.from_numpy(keys), self.inputs.device)

    @cached_property
    def _orders(self) -> Tensor:
        shape = len(self.seeds), self._ahead, self.size
        return self._keys.new_empty(shape)
