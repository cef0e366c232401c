"""Hessian and Gauss-Newton matrix of the training loss, by products with vectors.

For a stack of students of one shape, all in float64. The product with a vector v is the derivative
along v of the backward pass (Pearlmutter 1994): with z_l = W_l h_{l-1} and delta_l the gradient of
the loss to z_l, and with a dot for the derivative along v,

    forward     z'_l = V_l h_{l-1} + W_l h'_{l-1},          h'_l = phi'(z_l) z'_l
    backward    delta'_{l-1} = phi'(z) (W_l^T delta'_l + V_l^T delta_l)
                               + phi''(z) z'_{l-1} W_l^T delta_l,   z = z_{l-1}
    product     (H v)_l = delta'_l h_{l-1}^T + delta_l h'_{l-1}^T

from delta'_L = A z'_L, A the Hessian of the loss to the logits. The Gauss-Newton matrix J^T A J
keeps what stands in each line first; for cross-entropy it is the Fisher matrix. What is left of the
Hessian are the same lines from delta'_L = 0.

A parameter vector is all layers one after another, each (fan_out, fan_in + 1) row by row.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from tsframe.measures.landscape import flat, layers_of
from tsframe.students.activations import Activation
from tsframe.training.losses import Objective
from tsframe.training.products import slotwise_product

__all__ = ["Curvature", "Operator", "dense"]

Operator: TypeAlias = Callable[[Tensor], Tensor]  # symmetric; (students, vectors, P) to the same
ROOM = 2**22  # numbers in the largest array of one block of columns of a dense matrix, 32 MB


class Curvature:
    """Second derivatives of the mean training loss of a stack of students, at their weights.

    Parameters
    ----------
    weights : list of Tensor, each of shape (students, fan_out, fan_in + 1)
        float64, from the inputs to the logits; the last column holds the biases.
    activation : Activation
        Of the hidden layers.
    inputs : Tensor, shape (students, n, dim)
        float64.
    targets : Tensor, shape (students, n)
        int64 classes, or float64 values.
    objective : Objective
        The loss, whose mean over the n samples is differentiated: softmax cross-entropy in nats, or
        the squared error summed over outputs, without a factor 1/2.

    Attributes
    ----------
    gradient : Tensor, shape (students, P)
        Of the mean loss.
    parameters : int
        P, all weights and biases.

    Examples
    --------
    One linear unit, loss (w x + b - y)^2 at x = 3: the Hessian is 2 (x, 1)^T (x, 1).

    >>> from tsframe.students.activations import ACTIVATIONS
    >>> x, y = torch.full((1, 1, 1), 3.0).double(), torch.zeros(1, 1).double()
    >>> unit = [torch.zeros(1, 1, 2).double()]
    >>> curvature = Curvature(unit, ACTIVATIONS["relu"], x, y, Objective("mse", None))
    >>> dense(curvature.hessian, 1, curvature.parameters, x)[0].tolist()
    [[18.0, 6.0], [6.0, 2.0]]
    """

    def __init__(
        self,
        weights: list[Tensor],
        activation: Activation,
        inputs: Tensor,
        targets: Tensor,
        objective: Objective,
    ) -> None:
        self._weights, self._objective = weights, objective
        self.parameters = sum(w[0].numel() for w in weights)
        self._widest = inputs.shape[1] * max(max(w.shape[1:]) for w in weights)
        ones = inputs.new_ones(*inputs.shape[:2], 1)
        self._hidden = [torch.cat([inputs, ones], 2)]  # (students, n, fan_in + 1)
        self._slopes, bends = [], []
        for layer, w in enumerate(weights):
            z = slotwise_product(self._hidden[-1], w.mT)
            if layer < len(weights) - 1:
                value, slope = torch.empty_like(z), z.clone()
                activation.value(z, value)
                activation.pullback_(torch.ones_like(z), value, slope)
                self._hidden.append(torch.cat([value, ones], 2))
                self._slopes.append(slope)
                bends.append(activation.curvature(value, z))
        self._top = z.argmax(2, keepdim=True)
        self._p = torch.softmax(z, 2) if objective.loss == "cross_entropy" else None
        self._deltas = [self._residuals(z, targets)]
        self._bends: list[Tensor] = []  # phi''(z) times the gradient to phi(z)
        for w, slope, bend in zip(weights[:0:-1], self._slopes[::-1], bends[::-1], strict=True):
            back = slotwise_product(self._deltas[0], w[:, :, :-1])
            self._deltas.insert(0, back * slope)
            self._bends.insert(0, back * bend)
        pairs = zip(self._deltas, self._hidden, strict=True)
        self.gradient = flat([slotwise_product(d.mT, h) for d, h in pairs])

    def hessian(self, vectors: Tensor) -> Tensor:
        """Multiply the Hessian with vectors, shape (students, vectors, P), to the same shape."""
        return self._product(vectors, of_loss=True, of_network=True)

    def gauss_newton(self, vectors: Tensor) -> Tensor:
        """Multiply the Gauss-Newton matrix with vectors, shape (students, vectors, P)."""
        return self._product(vectors, of_loss=True, of_network=False)

    def remainder(self, vectors: Tensor) -> Tensor:
        """Multiply Hessian less Gauss-Newton matrix with vectors, shape (students, vectors, P).

        By its own terms, those that hold the curvature of the network, not as a difference.
        """
        return self._product(vectors, of_loss=False, of_network=True)

    @property
    def columns_at_once(self) -> int:
        """How many vectors of one student fill the room of one block of products."""
        return max(1, ROOM // max(self._widest, self.parameters))

    def _residuals(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Gradient of the mean loss to the logits, shape (students, n, outputs)."""
        n = logits.shape[1]
        if self._objective.classes is None:
            return (logits - targets[:, :, None]) * (2.0 / n)
        chosen = targets[:, :, None]
        if self._p is None:
            return logits.scatter_add(2, chosen, -torch.ones_like(logits)) * (2.0 / n)
        # p - 1 of the label is minus the sum of the others: no digit is lost near interpolation.
        others = self._p.scatter(2, chosen, 0.0)
        return others.scatter(2, chosen, -others.sum(2, keepdim=True)) / n

    def _loss_curvature(self, dots: Tensor) -> Tensor:
        """Apply the Hessian of the mean loss to the logits, shape (students, n, vectors, K)."""
        n = dots.shape[1]
        if self._p is None:
            return dots * (2.0 / n)
        # diag(p) - p p^T ignores a common shift; from the likeliest class on nothing cancels.
        p, top = self._p[:, :, None], self._top[:, :, None].expand(*dots.shape[:3], 1)
        shifted = dots - dots.gather(3, top)
        return p * (shifted - (p * shifted).sum(3, keepdim=True)) / n

    def _product(self, vectors: Tensor, of_loss: bool, of_network: bool) -> Tensor:
        students, count, _ = vectors.shape
        n, last = self._hidden[0].shape[1], len(self._weights) - 1
        along = layers_of(vectors, tuple((w.shape[1], w.shape[2]) for w in self._weights))
        dots: list[Tensor] = []  # z', each of shape (students, n, vectors, fan_out)
        hidden_dots: list[Tensor] = []  # h'
        for layer, (w, v) in enumerate(zip(self._weights, along, strict=True)):
            dot = slotwise_product(self._hidden[layer], v.flatten(1, 2).mT)
            if layer:
                before = hidden_dots[-1].flatten(1, 2)
                dot += slotwise_product(before, w[:, :, :-1].mT).view(dot.shape)
            dots.append(dot.unflatten(2, (count, w.shape[1])))
            if layer < last:
                hidden_dots.append(dots[-1] * self._slopes[layer][:, :, None])
        delta_dot = self._loss_curvature(dots[-1]) if of_loss else torch.zeros_like(dots[-1])
        products = []
        for layer in range(last, -1, -1):
            w, v, delta = self._weights[layer], along[layer], self._deltas[layer]
            product = slotwise_product(delta_dot.flatten(2).mT, self._hidden[layer])
            product = product.unflatten(1, (count, w.shape[1]))
            if layer:
                back = slotwise_product(delta_dot.flatten(1, 2), w[:, :, :-1])
                back = back.view(students, n, count, -1)
                if of_network:
                    turn = slotwise_product(delta.mT, hidden_dots[layer - 1].flatten(2))
                    product[..., :-1] += turn.unflatten(2, (count, -1)).transpose(1, 2)
                    rows = v[..., :-1].transpose(1, 2).flatten(2)  # (students, fan_out, vectors in)
                    back += slotwise_product(delta, rows).view(back.shape)
                delta_dot = back * self._slopes[layer - 1][:, :, None]
                if of_network:
                    delta_dot += dots[layer - 1] * self._bends[layer - 1][:, :, None]
            products.append(product.flatten(2))
        return torch.cat(products[::-1], 2)


def dense(
    apply: Operator, students: int, parameters: int, like: Tensor, columns_at_once: int = 64
) -> Tensor:
    """Write operators as matrices, by their products with the unit vectors.

    Parameters
    ----------
    apply : Operator
        Symmetric, of the shape (students, vectors, P) of its argument.
    students, parameters : int
        Number of matrices and side P of each.
    like : Tensor
        Gives dtype and device.
    columns_at_once : int
        Vectors of one call; bounds memory and enters no result beyond rounding.

    Returns
    -------
    Tensor, shape (students, P, P)
        Exactly symmetric: the mean of what the products give and of its transpose.
    """
    matrix = like.new_empty(students, parameters, parameters)
    for start in range(0, parameters, columns_at_once):
        stop = min(start + columns_at_once, parameters)
        unit = like.new_zeros(students, stop - start, parameters)
        unit[:, torch.arange(stop - start), torch.arange(start, stop)] = 1.0
        matrix[:, start:stop] = apply(unit)
    return (matrix + matrix.mT) / 2
