"""The products of matrices that a stack consists of, and who computes them.

On the CPU there are two ways. The first layers of a data set, and large layers, are torch's batched
products. A small product behind the first layer - the readout, narrow hidden layers - would cost
there more for the call than for its arithmetic (20 us against 1 us for a readout of width 30); it
goes to NumPy, which calls its BLAS once for every matrix. Which way is taken depends on the shape
of a student's own matrices only, never on how many there are: both ways compute a student alone as
they compute it among others.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from tsframe.students.activations import Activation

__all__ = ["Fusions", "Product", "Products", "quiet"]

Product = Callable[[Tensor, Tensor, Tensor], Tensor]

# Multiply-adds of one matrix up to which NumPy is faster on 64 students, and much faster on one.
# Measured at widths 10 to 1000 and 32 to 512 samples.
SMALL = 2**19
SMALL_TRANSPOSED = 2**17  # where the right factor is transposed, as in gradients


def _wide(left: Tensor, right: Tensor, out: Tensor) -> Tensor:
    return torch.bmm(left, right, out=out)


def _slotwise(left: Tensor, right: Tensor, out: Tensor) -> Tensor:
    if not _is_small(left, right):
        return torch.bmm(left, right, out=out)
    np.matmul(left.numpy(), right.numpy(), out=out.numpy())
    return out


def _is_small(left: Tensor, right: Tensor) -> bool:
    limit = SMALL if right.stride(2) == 1 else SMALL_TRANSPOSED
    return not left.is_cuda and left.shape[1] * left.shape[2] * right.shape[2] <= limit


def quiet() -> np.errstate:
    """Let NumPy multiply infinite numbers without a word: that students diverge is a result."""
    return np.errstate(over="ignore", invalid="ignore")


class Fusions(Protocol):
    """What some routes compute in one pass with a product; none of it hangs on the batch.

    `wide` tells products of first layers, whose rows belong to several students.
    """

    def activate(
        self,
        left: Tensor,
        right: Tensor,
        out: Tensor,
        value: Tensor,
        activation: Activation,
        wide: bool,
    ) -> None:
        """Write left @ right into `out`, and what the activation makes of it into `value`."""

    def pull(
        self, left: Tensor, right: Tensor, value: Tensor, z: Tensor, activation: Activation
    ) -> None:
        """Turn z, in place, into (left @ right) * phi'(z), where `value` is phi(z)."""

    def follow(
        self,
        left: Tensor,
        right: Tensor,
        velocity: Tensor,
        weights: Tensor,
        rates: Tensor,
        momenta: Tensor | None,
        decays: Tensor | None,
        nesterov: bool,
        wide: bool,
    ) -> None:
        """Take a step of SGD along the gradient left @ right; without momenta, no velocity."""

    def descend(self, objective: Any, logits: Tensor, targets: Tensor) -> None:
        """Turn logits, in place, into the gradient of the mean loss of an objective."""


@dataclass(frozen=True)
class Products:
    """How the products of a stack are computed.

    Attributes
    ----------
    first : callable (left, right, out)
        Of shapes (groups, a, b), (groups, b, c) and (groups, a, c); gives `out`. For first layers,
        whose rows belong to several students.
    behind : callable (left, right, out)
        The same for all layers behind it, of shapes (slots, ...): every matrix is a student's own.
    fused_sums : bool
        Whether torch adds a product of first layers to a multiple of what is there in one call: if
        that has the bits of two calls, or bits do not matter. So momentum that all students of a
        stack share rides in the product.
    threads_free : bool
        Whether all this has the same bits on any number of threads.
    fusions : Fusions or None
        What comes right after products, where the route has that.
    """

    first: Product = _wide
    behind: Product = _slotwise
    fused_sums: bool = False
    threads_free: bool = False
    fusions: Fusions | None = None

    def ready(self, left: Tensor, right: Tensor, out: Tensor) -> Callable[[], object]:
        """Give what computes left @ right into `out`, behind first layers, at every call."""
        if self.behind is _slotwise and _is_small(left, right):
            return partial(np.matmul, left.numpy(), right.numpy(), out.numpy())
        return partial(self.behind, left, right, out)

    def of_weights(self, index: int) -> Product:
        """Give the product that weight tensor `index` of a stack takes part in."""
        return self.behind if index else self.first
