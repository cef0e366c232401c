"""A few students trained by the engine in float64, and by the kernel that keeps them on the chip.

It answers at run time what is known on a device only: whether the compiler finds room for students
of a shape, whether they end where they should, and whether each does alone what it does in a batch.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tsframe.students.activations import ACTIVATIONS
from tsframe.students.layout import Layout
from tsframe.students.stack import Stack
from tsframe.training.backward import backward
from tsframe.training.cohort import Cohort
from tsframe.training.kernels.trust import unless_refused
from tsframe.training.losses import Objective
from tsframe.training.optimizer import Absorb
from tsframe.training.schedules import Cosine
from tsframe.training.sgd import SGD

__all__ = ["Rehearsal", "refusal_of_residents"]

# How far students may go astray: a part of the way that their weights go, and, for some that hardly
# go anywhere, of the weights at every step. Of 124 shapes, losses and activations none took more
# than 0.4 of that in the interpreter; with products in TF32 each took more than 1.9 times as much.
TOLERANCE, ROUNDING = 1e-4, 2.0**-23


@dataclass(frozen=True)
class Rehearsal:
    """What is rehearsed: two students on each of two data sets, all with rates of their own.

    Attributes
    ----------
    width, depth, dim, outputs : int
        Their shape.
    activation : str
        A name in `tsframe.students.activations.ACTIVATIONS`.
    objective : Objective
        What they minimize.
    batch, steps, n_train : int
        Samples of a minibatch, steps, samples of a data set.
    momentum, weight_decay : float
        Of SGD, the most of all students.
    """

    width: int
    depth: int
    dim: int
    outputs: int
    activation: str
    objective: Objective
    batch: int = 20
    steps: int = 5
    n_train: int = 50
    momentum: float = 0.9
    weight_decay: float = 0.01


@dataclass(frozen=True, eq=False)
class _Cast:
    """Who rehearses, in float64: weights, inputs, targets, minibatches."""

    layout: Layout
    weights: list[Tensor]
    inputs: Tensor
    targets: Tensor
    order: Tensor
    specs: list[SGD]
    scales: list[list[tuple[float, float]]]


@functools.cache
def refusal_of_residents(device: torch.device, rehearsal: Rehearsal) -> str | None:
    """Say why students are not to be kept on the chip, if so; see `trust.refusal`.

    Parameters
    ----------
    device : torch.device
        Where they would be trained.
    rehearsal : Rehearsal
        What they are like. The number of steps and of samples need not be theirs.

    Returns
    -------
    str or None
        A reason, or None if they may be.
    """
    return unless_refused(device, lambda: fault(device, rehearsal))


def fault(device: torch.device, rehearsal: Rehearsal) -> str | None:
    """Train students by engine and kernel, then each alone; say what is wrong, if anything is."""
    cast = _draw(device, rehearsal)
    exact, found = _by_engine(cast, rehearsal), _by_kernel(cast, rehearsal)
    start = cast.layout.by_student(cast.weights)[0]
    for before, after, right in zip(start, found, exact, strict=True):
        sides = after - right, right - before, before
        error, way, size = (side.flatten(2).norm(dim=2) for side in sides)
        if not (error < TOLERANCE * way + ROUNDING * rehearsal.steps * size).all():
            astray = float((error / way).max())
            return f"students on the chip go astray by {astray:.1e} of their way."
    for slot in range(4):
        alone = _by_kernel(cast, rehearsal, slot)
        pairs = zip(alone, found, strict=True)
        if not all(torch.equal(one[0, 0], all_.flatten(0, 1)[slot]) for one, all_ in pairs):
            return "the bits of a student on the chip hang on the batch."
    return None


def _draw(device: torch.device, rehearsal: Rehearsal) -> _Cast:
    """Draw numbers that float32 holds."""
    generator = torch.Generator().manual_seed(0)
    n, objective = rehearsal.n_train, rehearsal.objective

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device)

    shapes = [(rehearsal.width, rehearsal.depth)] * 4
    sizes = rehearsal.dim, rehearsal.outputs
    layout = Layout.arrange(range(4), shapes, [0, 0, 1, 1], *sizes, share_rows=True)
    inputs, targets = draw(2, n, rehearsal.dim + 1), draw(4, n)
    inputs[:, :, -1] = 1.0
    if objective.classes is not None:
        targets = (1e6 * targets.abs()).long() % objective.classes
    order = torch.randint(n, (2, rehearsal.steps * rehearsal.batch), generator=generator)
    rate = 0.02 if objective.loss == "cross_entropy" else 0.004  # no linear student may explode
    specs = [
        SGD(
            lr=rate * (1 + k),
            momentum=rehearsal.momentum * 0.9**k,
            weight_decay=rehearsal.weight_decay * k / 3,
            max_steps=rehearsal.steps + 1 + k,
            schedule=Cosine(),
        )
        for k in range(4)
    ]
    return _Cast(
        layout,
        [(draw(*shape) / shape[2] ** 0.5).double() for shape in layout.weight_shapes()],
        inputs.double(),
        targets if targets.dtype == torch.int64 else targets.double(),
        order.to(device),
        specs,
        [[(1.0 + layer, 0.5) for layer in range(rehearsal.depth + 1)]] * 4,
    )


def _by_engine(cast: _Cast, rehearsal: Rehearsal) -> list[Tensor]:
    """Give the layers of all students behind the last step, (groups, places, rows, columns)."""
    weights, groups = [w.clone() for w in cast.weights], torch.arange(2)[:, None]
    stack = Stack(cast.layout, ACTIVATIONS[rehearsal.activation], weights)
    state = cast.specs[0].start(Cohort(cast.layout, weights, cast.specs, [0, 0], cast.scales))
    for step, rows in enumerate(cast.order.split(rehearsal.batch, 1)):
        state.prepare(np.full(4, step))
        inputs = cast.inputs[groups, rows.cpu()]
        targets = cast.targets.gather(1, rows.repeat_interleave(2, 0))

        def pull(
            absorb: Absorb, minibatch: int = 0, x: Tensor = inputs, y: Tensor = targets
        ) -> None:
            buffers = stack.forward(x)
            rehearsal.objective.gradient_(buffers.logits, y)
            backward(stack, buffers, x, absorb)

        state.step(pull)
    return cast.layout.by_student(weights)[0]


def _by_kernel(cast: _Cast, rehearsal: Rehearsal, slot: int | None = None) -> list[Tensor]:
    """Do the same on the chip, with all students or with one of them."""
    from tsframe.training.kernels import residents

    groups, places = slice(None), slice(None)
    slots = slice(None) if slot is None else slice(slot, slot + 1)
    if slot is not None:
        groups, places = (slice(k, k + 1) for k in divmod(slot, 2))

    def laid(numbers: Sequence[Any]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.float32, device=cast.inputs.device)

    weights = [w.float() for w in cast.weights]
    layers = [w[groups, places] for w in cast.layout.by_student(weights)[0]]
    velocity = cast.layout.by_student([torch.zeros_like(w) for w in weights])[0]
    steps, order = rehearsal.steps, cast.order.unflatten(1, (-1, rehearsal.batch))
    rates = [[s.lr * s.schedule(k, s.max_steps) for k in range(steps)] for s in cast.specs]
    momenta = laid([spec.momentum for spec in cast.specs])[slots] if rehearsal.momentum else None
    for part in (slice(0, steps // 2), slice(steps // 2, steps)):  # as if there was a look between
        residents.train_residents(
            layers,
            [v[groups, places] for v in velocity] if rehearsal.momentum else None,
            cast.inputs.float(),
            (cast.targets if cast.targets.dtype == torch.int64 else cast.targets.float())[slots],
            torch.arange(2, device=cast.inputs.device)[groups],
            order[groups, part],
            laid(rates)[slots, part],
            laid(cast.scales)[slots],
            momenta,
            laid([spec.weight_decay for spec in cast.specs])[slots],
            objective=rehearsal.objective,
            activation=rehearsal.activation,
        )
    return [layer.double() for layer in layers]
