"""What the data bound in the Fisher information and the Hessian, with constants that are computed.

Two theorems (Yang, Mao & Chaudhari 2022), in the form that holds for every student, sample by
sample. The bias of a layer is the weight of an input of one: x and h end with it here.

1. The trace. In layer l the derivatives of a start row are delta h^T. As |h_l|^2 <= ((|phi(0)| root
   width + s |W_l|)^2 + 1) |h_{l-1}|^2 and |delta_{l-1}| <= s |W_l| |delta_l|, with s the largest
   slope of the activation and |W| the spectral norm, the trace of the Fisher information is at most
   a constant times the trace of the data, E |x|^2. For the Hessian comes what the curvature of the
   activation adds, which is nothing for a ReLU.
2. The eigenvalues. The block of layer l is the mean of (delta^T delta) times (h h^T), a Kronecker
   product, so at most the largest |delta|^2 times 1 (x) E h h^T. Hence its j-th eigenvalue is at
   most that constant times the (j // fan_out)-th of the activations that enter the layer.

A student that breaks them was measured wrongly: this is an error, not a result.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tsframe.measures.activations import row_spectrum
from tsframe.measures.curvature import product_spectrum
from tsframe.measures.sensitivities import ForwardPass, sensitivities
from tsframe.students.activations import Activation

__all__ = [
    "BlockBound",
    "check_blocks",
    "check_trace",
    "gauss_newton_trace_bound",
    "hessian_trace_bound",
]

ROUNDING = 1e-9  # relative


@dataclass(frozen=True)
class BlockBound:
    """The second theorem for one layer.

    Attributes
    ----------
    constant : float
        Times an eigenvalue of the activations bounds the same one of the block.
    tightness : float
        Largest share of its bound that a resolved eigenvalue of the block takes, at most 1.
    """

    constant: float
    tightness: float


def gauss_newton_trace_bound(passed: ForwardPass, start: Tensor, activation: Activation) -> float:
    """Bound the trace of the mean of J_i^T J_i by the trace of the data.

    Parameters
    ----------
    passed : ForwardPass
        Of n samples.
    start : Tensor, shape (n, rows, outputs)
        Start rows of J: `fisher_factor` for the Fisher information, which is the Gauss-Newton
        matrix of cross-entropy; for the squared error root 2 times `every_output`.
    activation : Activation
        Of the hidden layers.

    Returns
    -------
    float
    """
    largest = float(start.square().sum((1, 2)).max())
    back = _backward_gains(passed, activation)
    return largest * sum(
        gain * reach for gain, reach in zip(back, _data_traces(passed, activation), strict=True)
    )


def hessian_trace_bound(
    passed: ForwardPass, start: Tensor, gradients: Tensor, activation: Activation
) -> float:
    """Bound the modulus of the trace of the Hessian of the mean loss by the trace of the data.

    The Hessian is the Gauss-Newton matrix and a rest, the second derivatives of the outputs times
    the gradient of the loss by them. In layer l the trace of the rest is |h|^2 times the sum of
    second derivatives by the pre-activations, at most width times their matrix's norm b_l, with
    b_L = 0 and b_{l-1} = s^2 |W_l|^2 b_l + c |W_l| a_l; a_l bounds the gradient by the
    pre-activations and c the second derivative of the activation.

    Parameters
    ----------
    passed, start, activation
        As for `gauss_newton_trace_bound`.
    gradients : Tensor, shape (n, 1, outputs)
        Of the loss of each sample by its outputs, see `loss_gradients`.

    Returns
    -------
    float
    """
    a, b, rest = float(gradients.square().sum((1, 2)).max()) ** 0.5, 0.0, 0.0
    reaches = _data_traces(passed, activation)
    for k in range(len(passed.weights) - 1, -1, -1):
        rest += passed.weights[k].shape[0] * b * reaches[k]
        norm = _norm(passed.weights[k][:, :-1])
        b = (activation.steepest * norm) ** 2 * b + activation.most_curved * norm * a
        a *= activation.steepest * norm
    return gauss_newton_trace_bound(passed, start, activation) + rest


def check_trace(trace: float, bound: float, matrix: str) -> float:
    """Hold a trace against its bound.

    Parameters
    ----------
    trace, bound : float
        The bound by `gauss_newton_trace_bound` or `hessian_trace_bound`.
    matrix : str
        What it is the trace of, for the sentence.

    Returns
    -------
    float
        The share of its bound that the modulus of the trace takes, at most 1.

    Raises
    ------
    ArithmeticError
        If the trace is larger.
    """
    if not abs(trace) <= bound * (1.0 + ROUNDING):
        raise ArithmeticError(
            f"the trace of {matrix}, {trace:.12g}, is larger than the trace of the data allows, "
            f"{bound:.12g}. One of the two was not measured on the student and samples of the "
            "other, or a product is wrong."
        )
    return abs(trace) / bound if bound else 0.0


def check_blocks(passed: ForwardPass, start: Tensor) -> list[BlockBound]:
    """Hold every eigenvalue of every layer's block against the same one of its activations.

    Parameters
    ----------
    passed : ForwardPass
        Of n samples.
    start : Tensor, shape (n, rows, outputs)
        Start rows, e.g. `fisher_factor`; the block is the mean of J_i^T J_i of the layer.

    Returns
    -------
    list of BlockBound
        A layer each, from the first to the readout.
    """
    deltas = sensitivities(passed, start)
    bounds = []
    for layer, delta in enumerate(deltas):
        block = product_spectrum(passed, start, 1.0 / passed.n, (layer,))
        activations = row_spectrum(passed.inputs[layer])
        constant = float(torch.linalg.matrix_norm(delta, 2).square().max())
        tightness = hold_block(layer, block.resolved, activations.values, constant, delta.shape[2])
        bounds.append(BlockBound(constant, tightness))
    return bounds


def hold_block(
    layer: int, block: np.ndarray, activations: np.ndarray, constant: float, fan_out: int
) -> float:
    """Hold the eigenvalues of one block, each repeated for every unit of the layer.

    Parameters
    ----------
    layer : int
        For the sentence.
    block, activations : ndarray, shapes (modes,)
        Eigenvalues, descending; those of the block above their floor.
    constant : float
        Times an eigenvalue of the activations bounds the same one of the block.
    fan_out : int
        Units of the layer.

    Returns
    -------
    float
        The largest share of its bound that an eigenvalue takes.

    Raises
    ------
    ArithmeticError
        If one is larger than its bound; the sentence names layer and index.
    """
    places = np.arange(len(block)) // fan_out
    known = places < len(activations)
    bounds = np.zeros(len(block))
    bounds[known] = constant * np.maximum(activations[places[known]], 0.0)
    # A resolved eigenvalue is known to 10 percent of itself at the floor, and far better above.
    slack = ROUNDING * bounds + len(block) * np.finfo(np.float64).eps * block.max(initial=0.0)
    broken = np.flatnonzero(block > bounds + slack)
    if len(broken):
        j = int(broken[0])
        raise ArithmeticError(
            f"eigenvalue {j} of the block of layer {layer}, {block[j]:.12g}, is larger than "
            f"{constant:.6g} times eigenvalue {places[j]} of its activations allows, "
            f"{bounds[j]:.12g}. They are not of one student and sample, or a product is wrong."
        )
    positive = bounds > 0.0
    return float((block[positive] / bounds[positive]).max(initial=0.0))


def _norm(weights: Tensor) -> float:
    return float(torch.linalg.matrix_norm(weights, 2)) if weights.numel() else 0.0


def _data_traces(passed: ForwardPass, activation: Activation) -> list[float]:
    """Bound the trace of the inputs of every layer by that of the data, the ones included."""
    reaches = [float(passed.inputs[0].square().sum()) / passed.n]
    for layer in passed.weights[:-1]:
        size = abs(activation.at_zero) * len(layer) ** 0.5 + activation.steepest * _norm(layer)
        reaches.append((size**2 + 1.0) * reaches[-1])
    return reaches


def _backward_gains(passed: ForwardPass, activation: Activation) -> Sequence[float]:
    """Bound |delta_l|^2 by |delta_L|^2, for every layer."""
    gains = [1.0]
    for layer in passed.weights[:0:-1]:
        gains.append(gains[-1] * (activation.steepest * _norm(layer[:, :-1])) ** 2)
    return gains[::-1]
