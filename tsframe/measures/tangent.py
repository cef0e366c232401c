"""The empirical neural tangent kernel of a student, with the learning rates of its layers."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from tsframe.measures.gram import gram
from tsframe.measures.sensitivities import forward, sensitivities
from tsframe.measures.start_rows import every_output
from tsframe.students.activations import Activation

__all__ = ["tangent_kernel"]


def tangent_kernel(
    weights: Sequence[Tensor],
    activation: Activation,
    x: Tensor,
    rates: Sequence[tuple[float, float]] | None = None,
    layers: Sequence[int] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Give the tangent kernel of one student, and its outputs.

    sum over weights of rate * (derivative of an output) * (derivative of another), so that a small
    step of gradient descent with such rates moves the outputs by lr times the kernel times the
    gradient of the loss by the outputs (Jacot, Gabriel & Hongler 2018, equation 2).

    Parameters
    ----------
    weights : sequence of Tensor, shapes (fan_out, fan_in + 1)
        A layer each, float64, biases in the last column.
    activation : Activation
        Of the hidden layers.
    x : Tensor, shape (n, dim)
        Samples, float64.
    rates : sequence of (float, float), optional
        Factors on the learning rate, of the weights and the biases of every layer, as `MLP.rates`
        gives them. By default all are one.
    layers : sequence of int, optional
        Layers whose weights count; all by default. Of the readout alone it is the kernel of the
        last hidden layer.

    Returns
    -------
    kernel : ndarray, shape (n * outputs, n * outputs)
        Rows are ordered by sample first.
    outputs : ndarray, shape (n, outputs)
        Of the student.
    """
    passed = forward(weights, activation, x)
    deltas = sensitivities(passed, every_output(passed.outputs))
    if rates is not None:
        inputs = []
        for h, (of_weights, of_biases) in zip(passed.inputs, rates, strict=True):
            factors = torch.full_like(h[0], of_weights**0.5)
            factors[-1] = of_biases**0.5
            inputs.append(h * factors)
        passed = replace(passed, inputs=tuple(inputs))
    return gram(passed, deltas, layers).cpu().numpy(), passed.outputs.cpu().numpy()
