"""Activation functions with their derivatives, written into buffers that already exist."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["ACTIVATIONS", "Activation"]


@dataclass(frozen=True)
class Activation:
    """One elementwise function of a hidden layer.

    Attributes
    ----------
    value : callable (z, out)
        Write phi(z) into `out`.
    pullback : callable (gradient, z, value, out)
        Write gradient * phi'(z) into `out`; `value` is phi(z).
    """

    value: Callable[[Tensor, Tensor], object]
    pullback: Callable[[Tensor, Tensor, Tensor, Tensor], object]


def _sigmoid(z: Tensor, out: Tensor) -> None:
    # Through tanh: torch.sigmoid rounds differently at the end of a block, so bits would depend on
    # the batch.
    torch.tanh(z * 0.5, out=out)
    out.add_(1.0).mul_(0.5)


def _erf_pullback(gradient: Tensor, z: Tensor, value: Tensor, out: Tensor) -> None:
    torch.mul(gradient, torch.exp(-z * z) * (2.0 / math.sqrt(math.pi)), out=out)


_aten = torch.ops.aten

ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation(
        lambda z, out: torch.clamp_min(z, 0.0, out=out),
        lambda g, z, v, out: _aten.threshold_backward.grad_input(g, v, 0.0, grad_input=out),
    ),
    "tanh": Activation(
        lambda z, out: torch.tanh(z, out=out),
        lambda g, z, v, out: _aten.tanh_backward.grad_input(g, v, grad_input=out),
    ),
    "sigmoid": Activation(
        _sigmoid,
        lambda g, z, v, out: _aten.sigmoid_backward.grad_input(g, v, grad_input=out),
    ),
    "erf": Activation(lambda z, out: torch.erf(z, out=out), _erf_pullback),
    "identity": Activation(lambda z, out: out.copy_(z), lambda g, z, v, out: out.copy_(g)),
}
