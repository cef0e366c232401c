"""Sensitivities: how some rows of outputs depend on the pre-activations of every layer.

Everything that curvature needs of a network of linear layers is here, in float64: the inputs h of
each layer and the derivatives delta of chosen rows of outputs by its pre-activations z. The
derivative of such a row by the weights of a layer is delta h^T, which is never formed.

One student at a time: on the CPU a batched product may round otherwise than the same product alone,
and the bits of a student must not depend on its mates. Nothing is lost, for what follows takes
longer: the Gram matrix of one student is a large product, and its eigenvalues cost more still.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tsframe.students.activations import Activation

__all__ = ["ForwardPass", "forward", "sensitivities", "students"]


@dataclass(frozen=True, eq=False)
class ForwardPass:
    """What one student computes of some samples, on the way to its outputs.

    Attributes
    ----------
    weights : tuple of Tensor, shapes (fan_out, fan_in + 1)
        A layer each, from input to readout; biases are the last column.
    inputs : tuple of Tensor, shapes (n, fan_in + 1)
        What each layer is given: activations of the one before, and a last column of ones.
    derivatives : tuple of Tensor, shapes (n, width)
        phi'(z) of each hidden layer.
    outputs : Tensor, shape (n, outputs)
        Of the readout: logits, or the predictions of a regression.
    """

    weights: tuple[Tensor, ...]
    inputs: tuple[Tensor, ...]
    derivatives: tuple[Tensor, ...]
    outputs: Tensor

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.outputs)

    @property
    def parameters(self) -> tuple[int, ...]:
        """Number of weights and biases of each layer."""
        return tuple(w.numel() for w in self.weights)


def students(weights: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Take a stack apart, a student after another.

    Parameters
    ----------
    weights : sequence of Tensor, shapes (students, fan_out, fan_in + 1)
        A layer each.

    Yields
    ------
    list of Tensor, shapes (fan_out, fan_in + 1)
        Copies: a slice of a stack may lie elsewhere between two cache lines, and products round
        after where their factors lie.
    """
    for k in range(len(weights[0])):
        yield [layer[k].clone() for layer in weights]


def forward(weights: Sequence[Tensor], activation: Activation, x: Tensor) -> ForwardPass:
    """Pass samples through one student, in float64.

    Parameters
    ----------
    weights : sequence of Tensor, shapes (fan_out, fan_in + 1)
        A layer each, float64; weights trained in float32 are exact numbers in it.
    activation : Activation
        Of the hidden layers.
    x : Tensor, shape (n, dim)
        Samples, float64, on the device of the weights.

    Returns
    -------
    ForwardPass

    Raises
    ------
    ValueError
        If something is not float64, or x does not fit the first layer.
    """
    wrong = {tensor.dtype for tensor in (*weights, x)} - {torch.float64}
    if wrong:
        raise ValueError(
            f"weights and samples must be float64; got {', '.join(map(str, wrong))}. Cast both: "
            "what is computed in float32 keeps the floor of float32."
        )
    if x.ndim != 2 or x.shape[1] + 1 != weights[0].shape[1]:
        raise ValueError(
            f"x must have shape (n, {weights[0].shape[1] - 1}) for these weights; got "
            f"{tuple(x.shape)}."
        )
    inputs, derivatives = [_with_ones(x)], []
    for layer in weights[:-1]:
        z = inputs[-1] @ layer.mT
        value = torch.empty_like(z)
        activation.value(z, value)
        inputs.append(_with_ones(value))
        activation.pullback_(torch.ones_like(z), value, z)
        derivatives.append(z)
    outputs = inputs[-1] @ weights[-1].mT
    return ForwardPass(tuple(weights), tuple(inputs), tuple(derivatives), outputs)


def sensitivities(passed: ForwardPass, start: Tensor) -> list[Tensor]:
    """Pass rows of outputs back to the pre-activations of every layer.

    delta_L = start, and delta_{l-1} = (delta_l W_l) * phi'(z_{l-1}).

    Parameters
    ----------
    passed : ForwardPass
        Of n samples.
    start : Tensor, shape (n, rows, outputs)
        Start rows: so many combinations of the outputs of each sample, whose derivatives are
        wanted; see `tsframe.measures.start_rows`.

    Returns
    -------
    list of Tensor, shapes (n, rows, fan_out)
        A layer each, from the first to the readout.

    Raises
    ------
    ValueError
        If the start rows do not fit the outputs.
    """
    n, outputs = passed.outputs.shape
    if start.ndim != 3 or start.shape[0] != n or start.shape[2] != outputs:
        raise ValueError(
            f"start rows must have shape ({n}, rows, {outputs}) here; got {tuple(start.shape)}."
        )
    deltas = [start]
    later = zip(passed.weights[:0:-1], passed.derivatives[::-1], strict=True)
    for layer, derivative in later:
        back = deltas[-1].reshape(-1, layer.shape[0]) @ layer[:, :-1]
        deltas.append(back.view(n, start.shape[1], -1) * derivative[:, None])
    return deltas[::-1]


def _with_ones(values: Tensor) -> Tensor:
    return torch.cat([values, values.new_ones(len(values), 1)], dim=1)
