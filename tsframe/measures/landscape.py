"""The training loss as a function of the weights, at many places at once.

A `Landscape` holds the data of some students of one shape; it is asked at k places for each of
them, given as flat vectors of all weights: layer after layer, rows of (fan_out, fan_in + 1), biases
last. All is float64. The places of all students go through one batched product a layer; where the
bits of a student must not depend on its mates, one makes a landscape for each.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from tsframe.measures.learned import Learned
from tsframe.students.activations import Activation
from tsframe.training.losses import Objective

__all__ = ["Landscape", "flat", "layers_of", "one_by_one", "rows_of"]

Shapes = tuple[tuple[int, int], ...]


def flat(weights: Sequence[Tensor]) -> Tensor:
    """Lay the layers of some networks one behind another.

    Parameters
    ----------
    weights : sequence of Tensor, shapes (..., fan_out, fan_in + 1)
        A layer each.

    Returns
    -------
    Tensor, shape (..., weights)
    """
    return torch.cat([layer.flatten(-2) for layer in weights], dim=-1)


def layers_of(places: Tensor, shapes: Shapes) -> list[Tensor]:
    """View flat weights, shape (..., weights), as layers of shapes (..., fan_out, fan_in + 1)."""
    parts = places.split([rows * columns for rows, columns in shapes], dim=-1)
    return [part.unflatten(-1, shape) for part, shape in zip(parts, shapes, strict=True)]


def one_by_one(learned: Learned) -> Iterator[tuple[slice, list[Tensor], list[Tensor]]]:
    """Take students in groups that may share products: one at a time on the CPU, else all.

    On the CPU a batched product may round otherwise than the same product alone.

    Yields
    ------
    students : slice
        Which of them.
    weights, initial : list of Tensor, shapes (students, fan_out, fan_in + 1)
        Copies: products round after where their factors lie between two cache lines, too.
    """
    count = len(learned.tasks)
    step = 1 if learned.weights[0].device.type == "cpu" else count
    for low in range(0, count, step):
        some = slice(low, low + step)
        yield (
            some,
            [layer[some].clone() for layer in learned.weights],
            [layer[some].clone() for layer in learned.initial],
        )


def rows_of(learned: Learned, some: slice, test: bool = False) -> "Landscape":
    """Make the landscape of some students over the rows they learned from, or over the test rows.

    Parameters
    ----------
    learned : Learned
        Of one shape.
    some : slice
        Which students.
    test : bool
        Whether over test rows, whose labels are free of noise.
    """
    layers, objective = learned.weights, learned.objective
    samples = learned.samples[some]
    x = np.stack([s.x_test if test else s.x_train for s in samples])
    labels = torch.as_tensor(np.stack([s.y_test if test else s.y_train for s in samples]))
    rows = torch.as_tensor(np.concatenate([x, np.ones((*x.shape[:2], 1))], axis=2))
    return Landscape(
        tuple(cast(tuple[int, int], tuple(layer.shape[1:])) for layer in layers),
        learned.activation,
        objective,
        rows.to(layers[0].device),
        (labels if objective.classes is not None else labels.double()).to(layers[0].device),
    )


@dataclass(frozen=True, eq=False)
class Landscape:
    """The mean loss over the rows of some data, as a function of weights.

    Attributes
    ----------
    shapes : tuple of (int, int)
        (fan_out, fan_in + 1) of every layer.
    activation : Activation
        Of the hidden layers.
    objective : Objective
        What is minimized, and what counts as an error.
    x : Tensor, shape (students, n, dim + 1)
        Inputs, float64, the last column one.
    y : Tensor, shape (students, n)
        Labels: int64 classes, or float64 numbers.
    """

    shapes: Shapes
    activation: Activation
    objective: Objective
    x: Tensor
    y: Tensor

    @property
    def n(self) -> int:
        """Number of rows."""
        return self.x.shape[1]

    @property
    def size(self) -> int:
        """Number of weights and biases of one network."""
        return sum(after * before for after, before in self.shapes)

    def layers(self, places: Tensor) -> list[Tensor]:
        """View flat weights, shape (..., weights), layer by layer."""
        return layers_of(places, self.shapes)

    def losses(self, places: Tensor) -> Tensor:
        """Give the mean loss at places of shape (students, k, weights): shape (students, k)."""
        outputs, _, _ = self._forward(places, self.x)
        return (
            self.objective.sample_losses(outputs, self._labels(places))
            .mean(1)
            .view(places.shape[:2])
        )

    def errors(self, places: Tensor, rows: Tensor | None = None) -> Tensor:
        """Give the mean error: the fraction of wrong labels, or the mean squared error.

        Parameters
        ----------
        places : Tensor, shape (students, k, weights)
            Weights.
        rows : Tensor of int64, shape (k, b), optional
            Which rows each place is asked about; all by default.

        Returns
        -------
        Tensor, shape (students, k)
        """
        if rows is None:
            outputs, _, _ = self._forward(places, self.x)
            return (
                self.objective.sample_errors(outputs, self._labels(places))
                .mean(1)
                .view(places.shape[:2])
            )
        k, students = places.shape[1], len(places)
        windows = self.x[:, rows].flatten(0, 1)  # (students * k, b, dim + 1)
        outputs, _, _ = self._forward(places.reshape(students * k, 1, -1), windows)
        missed = self.objective.sample_errors(outputs, self.y[:, rows].flatten(0, 1))
        return missed.mean(1).view(places.shape[:2])

    def outputs(self, places: Tensor) -> Tensor:
        """Give what the networks say of every row, shape (students, k, outputs, n)."""
        outputs, _, _ = self._forward(places, self.x)
        return outputs.view(*places.shape[:2], *outputs.shape[1:])

    def gradients(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Give the mean loss and its gradient by all weights.

        Parameters
        ----------
        places : Tensor, shape (students, k, weights)
            Weights.

        Returns
        -------
        Tensor, shape (students, k)
            The losses.
        Tensor, shape (students, k, weights)
            The gradients.
        """
        outputs, hidden, slopes = self._forward(places, self.x)
        labels = self._labels(places)
        losses = self.objective.sample_losses(outputs, labels).mean(1).view(places.shape[:2])
        students, k = places.shape[:2]
        layers = layers_of(places.flatten(0, 1), self.shapes)
        delta = self.objective.gradient_(outputs, labels)
        parts = []
        for layer, h, slope in zip(layers[:0:-1], hidden[::-1], slopes[::-1], strict=True):
            bias = delta.sum(2, keepdim=True)
            parts.append(torch.cat([torch.bmm(delta, h.mT), bias], dim=2))
            delta = torch.bmm(layer[:, :, :-1].mT, delta).mul_(slope)
        rows = delta.shape[1]
        first = torch.bmm(delta.view(students, k * rows, self.n), self.x)
        parts.append(first.view(students * k, rows, -1))
        return losses, flat(parts[::-1]).view(places.shape)

    def _labels(self, places: Tensor) -> Tensor:
        return self.y[:, None].expand(-1, places.shape[1], -1).flatten(0, 1)

    def _forward(self, places: Tensor, x: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Give outputs (students * k, outputs, n), hidden values, and their derivatives."""
        students, k = places.shape[:2]
        first, *rest = layers_of(places, self.shapes)
        z = torch.bmm(first.reshape(students, k * first.shape[2], -1), x.mT)
        z = z.view(students * k, first.shape[2], -1)
        hidden, slopes = [], []
        for layer in rest:
            value = torch.empty_like(z)
            self.activation.value(z, value)
            self.activation.pullback_(torch.ones_like(z), value, z)
            hidden.append(value)
            slopes.append(z)
            layer = layer.flatten(0, 1)
            z = torch.baddbmm(layer[:, :, -1:], layer[:, :, :-1], value)
        return z, hidden, slopes
