"""Residents: small students that stay on the chip of a GPU from one look to the next.

Others take a step by some fifty kernels, each of which fetches weights and hidden values and brings
them back. A resident is one program that takes hundreds of steps: its weights and its velocity stay
in registers, and only the rows of its minibatches are read. The host lays out learning rates and
minibatches of those steps beforehand, and launches one kernel for the students of a shape.

Who is a resident hangs on the student's own shape and training and on a rehearsal of these on the
device, never on its mates: residents and others are never in one stack. They begin, are looked at,
move and end like all students. No figure from a GPU yet; TSFRAME_RESIDENTS=0 in the environment
lets all students go by products.
"""

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from tsframe.students.activations import name_of
from tsframe.students.layout import Bucket, VACANT
from tsframe.students.mlp import MLP
from tsframe.students.stack import Stack
from tsframe.training.cohort import Cohort
from tsframe.training.devices import upload
from tsframe.training.following import schedule_factors
from tsframe.training.kernels.rehearsal import refusal_of_residents, Rehearsal
from tsframe.training.kernels.room import fits, padded_weights, SAMPLES
from tsframe.training.losses import Objective
from tsframe.training.minibatches import TrainingSet
from tsframe.training.optimizer import Optimizer
from tsframe.training.sgd import SGD

__all__ = ["Lanes", "Residence", "rehearsal_of", "stays", "wanted"]

LOG = logging.getLogger("tsframe")
SWITCH = "TSFRAME_RESIDENTS"
MOST_SAMPLES = 512  # of a step: one program sees them one after another, products at once
LAUNCH = 0.25  # seconds that a launch takes at most, for who interrupts waits for two
RATE = 2e10  # operations a second that a program does at least: a twentieth of a multiprocessor's
LAID_OUT = 2**23  # rows of minibatches, and learning rates, that are laid out at once
AHEAD = 2  # launches that the device has to do while the host prepares the next

_told: set[torch.device] = set()  # where students were refused, which is said once


def wanted() -> bool:
    """Whether students may be residents at all: not where the environment says 0.

    Raises
    ------
    ValueError
        If it says neither 0 nor 1.
    """
    word = os.environ.get(SWITCH, "1")
    if word not in ("0", "1"):
        raise ValueError(f"{SWITCH} must be 0 or 1, or not be set; got {SWITCH}={word!r}.")
    return word == "1"


def rehearsal_of(
    student: MLP,
    training: Optimizer,
    objective: Objective,
    dim: int,
    outputs: int,
    n_train: int,
) -> Rehearsal | None:
    """Give what a device has to rehearse before it keeps students like this one on its chip.

    Parameters
    ----------
    student, training, objective : MLP, Optimizer, Objective
        What is trained, how, and to minimize what.
    dim, outputs, n_train : int
        Of the task.

    Returns
    -------
    Rehearsal or None
        None for those who cannot stay: too large, or of a kind that the kernel does not know.
    """
    samples = training.batch_size or n_train
    known = isinstance(training, SGD) and not training.nesterov
    plain = not student.dropout and not student.normalized
    shape = student.width, student.depth, dim, outputs
    if not (known and plain and samples <= MOST_SAMPLES and fits(*shape)):
        return None
    return Rehearsal(*shape, student.activation, objective, batch=samples)


def stays(rehearsal: Rehearsal | None, device: torch.device) -> bool:
    """Whether students stay on the chip of a device; where it fails the rehearsal, say so once."""
    if rehearsal is None:
        return False
    reason = refusal_of_residents(device, rehearsal)
    if reason is not None and device not in _told:
        _told.add(device)
        sentence = "small students do not stay on the chip of '%s', and may be slower: %s"
        LOG.warning(sentence, device, reason)
    return reason is None


@dataclass(frozen=True, eq=False)
class _Shape:
    """What the kernel reads of the students of one bucket; see `train_residents`."""

    layers: list[Tensor]
    velocity: list[Tensor]
    scales: Tensor
    seats: Tensor
    slots: slice


class Residence:
    """The residents of a table.

    Parameters
    ----------
    stack : Stack
        Their weights, which change.
    cohort : Cohort
        The same students as their optimizer sees them.
    velocity : list of Tensor
        Theirs, laid out like the weights; it changes.
    training_set : TrainingSet
        What they are trained on.
    objective : Objective
        What they minimize.
    interrupted : callable
        Asked before every launch.
    """

    def __init__(
        self,
        stack: Stack,
        cohort: Cohort,
        velocity: list[Tensor],
        training_set: TrainingSet,
        objective: Objective,
        interrupted: Callable[[], bool],
    ) -> None:
        layout, self._device = stack.layout, training_set.inputs.device
        self._training_set, self._seated = training_set, training_set.seat(layout)
        self._objective, self._interrupted = objective, interrupted
        self._activation = name_of(stack.activation)
        self._members, self._slots = layout.students, layout.slots.clip(0)
        self._lr = cohort.numbers(lambda spec: spec.lr)
        self._factors = schedule_factors(cohort)
        self._momenta = self._lay(cohort.numbers(lambda spec: spec.momentum)[self._slots])
        self._decays = self._lay(cohort.numbers(lambda spec: spec.weight_decay)[self._slots])
        views = layout.by_student(stack.weights), layout.by_student(velocity)
        self._shapes, work, first = list[_Shape](), 0.0, 0
        for bucket, layers, moving in zip(layout.buckets, *views, strict=True):
            seats = np.flatnonzero(bucket.slots.ravel() != VACANT)
            slots = slice(first, first := first + bucket.slots.size)
            laid = self._lay(_scales(bucket, cohort)), upload(torch.from_numpy(seats), self._device)
            self._shapes.append(_Shape(layers, moving, *laid, slots))
            size = padded_weights(bucket.width, bucket.depth, layout.dim, layout.outputs)
            work += size * -(-len(seats) // _abreast(self._device))
        samples = -(-training_set.batch_size // SAMPLES) * SAMPLES
        numbers = max(len(self._slots), layout.groups * training_set.batch_size)
        self._at_once = max(1, int(min(LAUNCH * RATE / (6.0 * samples * work), LAID_OUT / numbers)))
        self._lanes = Lanes(self._device, len(self._shapes))

    def run(self, done: np.ndarray, start: int, stop: int) -> None:
        """Take the steps from `start` to before `stop`; see `Table.run`."""
        for first in range(start, stop, self._at_once):
            if not self._lanes.come_near(self._interrupted):
                raise InterruptedError(f"training was interrupted after {first} steps")
            last = min(stop, first + self._at_once)
            self._launch(done, first, last)
            done[self._members] += last - first

    def _launch(self, done: np.ndarray, first: int, last: int) -> None:
        """Let the device take the steps from `first` to before `last`."""
        from tsframe.training.kernels.residents import train_residents  # imports Triton

        factors = self._factors.coming(done, last - first)
        rates = self._lay((self._lr[:, None] * factors)[self._slots])
        order = self._training_set.rows(self._seated, first, last)
        self._lanes.take(
            [
                partial(
                    train_residents,
                    shape.layers,
                    shape.velocity,
                    self._training_set.inputs,
                    self._seated.targets[shape.slots],
                    self._seated.data_on_device,
                    order,
                    rates[shape.slots],
                    shape.scales,
                    self._momenta[shape.slots],
                    self._decays[shape.slots],
                    shape.seats,
                    objective=self._objective,
                    activation=self._activation,
                )
                for shape in self._shapes
            ]
        )

    def _lay(self, values: np.ndarray) -> Tensor:
        return upload(torch.from_numpy(values.astype(np.float32)), self._device)


def _scales(bucket: Bucket, cohort: Cohort) -> np.ndarray:
    """Lay out the factors on the learning rates of a bucket, (slots, depth + 1, 2)."""
    laid = np.ones((bucket.slots.size, bucket.depth + 1, 2))
    for slot, student in enumerate(bucket.slots.flat):
        if student != VACANT and cohort.scales is not None:
            laid[slot] = cohort.scales[student]
    return laid


def _abreast(device: torch.device) -> int:
    """Give the number of programs that a device runs side by side, at least."""
    if device.type != "cuda":
        return 1
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


class Lanes:
    """Where kernels that need nothing of each other run side by side, round by round.

    A round begins when what was asked for before it has been done, and whatever is asked for
    after it waits for its end. The host waits for neither, but it is never far ahead: what has been
    launched cannot be called back.

    Parameters
    ----------
    device : torch.device
        On a CPU calls are done one after another, at once.
    count : int
        Lanes.
    """

    def __init__(self, device: torch.device, count: int) -> None:
        self._device, cuda = device, device.type == "cuda"
        self._streams = [torch.cuda.Stream(device) for _ in range(count)] if cuda else []
        self._ends: deque[torch.cuda.Event] = deque()

    def come_near(self, interrupted: Callable[[], bool]) -> bool:
        """Wait until the device has little left to do, or give False when interrupted."""
        while not interrupted():
            if len(self._ends) < AHEAD:
                return True
            if self._ends[0].query():
                self._ends.popleft()
            else:
                time.sleep(1e-3)  # it has another round to do meanwhile
        return False

    def take(self, calls: Sequence[Callable[[], object]]) -> None:
        """Do a round of calls, one a lane."""
        if not self._streams:
            for call in calls:
                call()
            return
        here = torch.cuda.current_stream(self._device)
        for stream, call in zip(self._streams, calls, strict=True):
            stream.wait_stream(here)
            with torch.cuda.stream(stream):
                call()
        for stream in self._streams:
            here.wait_stream(stream)
        self._ends.append(here.record_event())
