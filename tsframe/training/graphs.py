"""Whole steps as CUDA graphs: recorded once a seating, then replayed by one call of the driver.

A step of small students is some fifty kernels of a few microseconds each, and Python takes longer
to call them than a GPU to run them. A graph calls them all at once. It repeats the same kernels on
the same memory, so it can be had only of steps whose tensors stay where they are and whose Python
numbers never change: what changes lies in tensors that are written in place beforehand (the rows of
the minibatch, learning rates). Steps that draw on the host - noise, dropout, augmentations - are
taken one kernel after the other.

A graph is adopted only if, from the same state, it gives the bits of the step that it was recorded
from.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor

__all__ = ["Record", "Replays", "Stepper", "recorder"]

LOG = logging.getLogger("tsframe")
WARM = 5  # steps of a seating before its step is recorded; those that soon move are not worth it

Body: TypeAlias = Callable[[], object]
Record: TypeAlias = Callable[[Body], Body]


@dataclass
class Replays:
    """What became of graphs during an engine call.

    Attributes
    ----------
    record : callable (body) -> replay, or None
        Records a step and gives what repeats it; None where there are no graphs, or no more.
    captures : int
        Graphs that were adopted.
    seconds : float
        Spent on recording and testing them.
    """

    record: Record | None = None
    captures: int = 0
    seconds: float = 0.0


class Stepper:
    """Takes the steps of one seating, after some by a graph where one can be had.

    Parameters
    ----------
    body : callable ()
        Takes one step. To be recorded it reads and writes only tensors that stay where they are.
    changed : sequence of Tensor
        All that a step changes and a later step reads.
    replays : Replays, optional
        Who records; it counts. Without, or where there is no recorder, no step is recorded.
    """

    def __init__(
        self, body: Body, changed: Sequence[Tensor], replays: Replays | None = None
    ) -> None:
        self._body, self._changed, self._replays = body, changed, replays or Replays()
        self._take, self._taken = body, 0
        self._still: dict[int, tuple[Tensor, Tensor]] = {}

    def still(self, key: int, pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Give what is new at every step, in a place that stays where there are graphs."""
        if self._replays.record is None and not self._still:
            return pair
        if key not in self._still:
            self._still[key] = torch.empty_like(pair[0]), torch.empty_like(pair[1])
        for kept, new in zip(self._still[key], pair, strict=True):
            kept.copy_(new)
        return self._still[key]

    def take(self) -> None:
        """Take one step."""
        if self._taken == WARM and self._replays.record is not None:
            self._adopt(self._replays.record)
        else:
            self._take()
        self._taken += 1

    def _adopt(self, record: Record) -> None:
        """Take one step, and the next ones by a graph if it takes this one to the bit."""
        start = time.perf_counter()
        before = [t.clone() for t in self._changed]
        reason = ""
        try:
            replay = record(self._body)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # whatever CUDA does not let into a graph
            reason = f"it cannot be recorded ({str(error).splitlines()[0]})"
        self._restore(before)
        self._body()
        if not reason:
            after = [t.clone() for t in self._changed]
            self._restore(before)
            replay()
            if all(same_bits(a, t) for a, t in zip(after, self._changed, strict=True)):
                self._take = replay
                self._replays.captures += 1
            else:
                reason = "it gives other bits than the step that it was recorded from"
                self._restore(after)
        if reason:
            self._replays.record = None
            LOG.warning("steps are taken without a CUDA graph, and are slower: %s", reason)
        self._replays.seconds += time.perf_counter() - start

    def _restore(self, values: Sequence[Tensor]) -> None:
        for tensor, value in zip(self._changed, values, strict=True):
            tensor.copy_(value)


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same bits; those of a NaN count, too."""
    kind = {2: torch.int16, 4: torch.int32, 8: torch.int64}[one.element_size()]
    return torch.equal(one.view(kind), other.view(kind))


def recorder(device: torch.device) -> Record | None:
    """Give what records steps on a device, or None where there are no graphs."""
    return partial(capture, device) if device.type == "cuda" else None


def capture(device: torch.device, body: Body) -> Body:
    """Record a body as a CUDA graph, warmed up on a side stream as torch's documentation asks."""
    with torch.cuda.device(device):
        here, aside = torch.cuda.current_stream(), torch.cuda.Stream()
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            body()
        here.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=aside, capture_error_mode="thread_local"):
            body()
    return graph.replay
