"""Losses and errors of a bucket of students, from logits of shape (slots, outputs, samples).

Targets have shape (slots, samples): class indices for classification, values for regression.
"""

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tsframe.students.sums import log_total_exp, softmax_, total

__all__ = ["LOSSES", "Objective"]

LOSSES = ("cross_entropy", "mse")


@dataclass(frozen=True)
class Objective:
    """What is minimized, and what counts as an error.

    Attributes
    ----------
    loss : str
        ``"cross_entropy"``: softmax cross-entropy in nats. ``"mse"``: squared error summed over
        outputs, with no factor 1/2; classes are coded one-hot. Both are averaged over samples.
    classes : int or None
        Number of classes; None for regression, where the error is the squared error.
    """

    loss: str
    classes: int | None

    def gradient_(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Turn logits, in place, into the gradient of the mean loss with respect to them."""
        samples = logits.shape[-1]
        if self.loss == "cross_entropy":
            softmax_(logits)
            scale = 1.0 / samples
        else:
            scale = 2.0 / samples
        self._subtract_targets(logits, targets)
        return logits.mul_(scale)

    def sample_losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Loss of every sample, shape (slots, samples), float64."""
        logits = logits.double()
        if self.loss == "cross_entropy":
            picked = logits.gather(1, targets[:, None])[:, 0]
            return log_total_exp(logits) - picked
        return total(self._subtract_targets(logits.clone(), targets).square_(), 1)

    def sample_errors(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Error of every sample, shape (slots, samples), float64: 0 or 1, or the squared error.

        A class is named only if its logit is above all others: a tie counts as an error, so does a
        NaN.
        """
        if self.classes is None:
            return (logits[:, 0].double() - targets).square_()
        chosen = targets[:, None]
        others = logits.scatter(1, chosen, -math.inf).amax(1)
        return torch.logical_not(logits.gather(1, chosen)[:, 0] > others).double()

    def chance_loss(self, targets: Tensor) -> float:
        """Mean loss of a student whose outputs are all zero: the natural unit of the loss."""
        if self.classes is None:
            return float(targets.double().square().mean())
        return (
            float(torch.log(torch.tensor(float(self.classes)))) if self.loss == LOSSES[0] else 1.0
        )

    def _subtract_targets(self, values: Tensor, targets: Tensor) -> Tensor:
        if self.classes is None:
            return values.sub_(targets[:, None])
        chosen = targets[:, None]
        return values.scatter_add_(
            1, chosen, _minus_ones(values.dtype, values.device, chosen.shape)
        )


@functools.lru_cache(maxsize=64)
def _minus_ones(dtype: torch.dtype, device: torch.device, shape: tuple[int, ...]) -> Tensor:
    return torch.full((), -1.0, dtype=dtype, device=device).expand(shape)
