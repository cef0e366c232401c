"""Activation functions with their derivatives, written into buffers that already exist."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["ACTIVATIONS", "Activation", "name_of"]


@dataclass(frozen=True)
class Activation:
    """One elementwise function of a hidden layer.

    Attributes
    ----------
    value : callable (z, out)
        Write phi(z) into `out`.
    pullback_ : callable (gradient, value, z)
        Turn z, in place, into gradient * phi'(z); `value` is phi(z).
    curvature : callable (value, z)
        Give phi''(z), a new tensor; at the kink of a ReLU it is 0.
    at_zero, steepest, most_curved : float
        phi(0), and the largest |phi'| and |phi''| of all z, that of a kink left out.
    """

    value: Callable[[Tensor, Tensor], object]
    pullback_: Callable[[Tensor, Tensor, Tensor], object]
    curvature: Callable[[Tensor, Tensor], Tensor]
    at_zero: float
    steepest: float
    most_curved: float


def _sigmoid(z: Tensor, out: Tensor) -> None:
    # Through tanh: torch.sigmoid rounds differently at the end of a block, so bits would depend on
    # the batch.
    torch.tanh(z * 0.5, out=out)
    out.add_(1.0).mul_(0.5)


def _erf_pullback(gradient: Tensor, value: Tensor, z: Tensor) -> None:
    torch.mul(gradient, torch.exp(-z * z) * (2.0 / math.sqrt(math.pi)), out=z)


_aten = torch.ops.aten

ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation(
        lambda z, out: torch.clamp_min(z, 0.0, out=out),
        lambda g, v, z: _aten.threshold_backward.grad_input(g, z, 0.0, grad_input=z),
        lambda v, z: torch.zeros_like(z),
        at_zero=0.0,
        steepest=1.0,
        most_curved=0.0,
    ),
    "tanh": Activation(
        lambda z, out: torch.tanh(z, out=out),
        lambda g, v, z: _aten.tanh_backward.grad_input(g, v, grad_input=z),
        lambda v, z: -2.0 * v * (1.0 - v * v),
        at_zero=0.0,
        steepest=1.0,
        most_curved=4.0 / math.sqrt(27.0),  # where v^2 = 1/3
    ),
    "sigmoid": Activation(
        _sigmoid,
        lambda g, v, z: _aten.sigmoid_backward.grad_input(g, v, grad_input=z),
        lambda v, z: v * (1.0 - v) * (1.0 - 2.0 * v),
        at_zero=0.5,
        steepest=0.25,
        most_curved=1.0 / math.sqrt(108.0),  # tanh(z / 2) / 2 but for a constant
    ),
    "erf": Activation(
        lambda z, out: torch.erf(z, out=out),
        _erf_pullback,
        lambda v, z: torch.exp(-z * z) * z * (-4.0 / math.sqrt(math.pi)),
        at_zero=0.0,
        steepest=2.0 / math.sqrt(math.pi),
        most_curved=math.sqrt(8.0 / (math.pi * math.e)),  # where z^2 = 1/2
    ),
    "identity": Activation(
        lambda z, out: out.copy_(z),
        lambda g, v, z: z.copy_(g),
        lambda v, z: torch.zeros_like(z),
        at_zero=0.0,
        steepest=1.0,
        most_curved=0.0,
    ),
}


def name_of(activation: Activation) -> str:
    """Give the name of a known activation."""
    return next(name for name, known in ACTIVATIONS.items() if known is activation)
