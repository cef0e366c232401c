"""What the engine may leave to the kernels beside products: all that comes right after them.

It saves a pass over hidden values for each activation and each derivative of one, two over the
weights for each step of SGD, and some twenty calls for the gradient of a cross-entropy.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tsframe.students.activations import Activation, ACTIVATIONS, name_of
from tsframe.students.products import Fusions
from tsframe.training.kernels.losses import gradient_
from tsframe.training.kernels.products import activated_bmm, followed_bmm, pulled_bmm
from tsframe.training.losses import Objective

__all__ = ["KernelFusions", "fault"]


@dataclass(frozen=True)
class KernelFusions:
    """Products with what follows them; see `tsframe.students.products.Fusions`.

    Attributes
    ----------
    precision : str
        Of the products, as `tsframe.training.kernels.products.bmm` takes it.
    """

    precision: str

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
        name = name_of(activation)
        activated_bmm(left, right, out, value, name, precision=self.precision, wide=wide)

    def pull(
        self, left: Tensor, right: Tensor, value: Tensor, z: Tensor, activation: Activation
    ) -> None:
        """Turn z, in place, into (left @ right) * phi'(z)."""
        pulled_bmm(left, right, value, z, name_of(activation), precision=self.precision)

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
        """Take a step of SGD along the gradient left @ right."""
        followed_bmm(
            left,
            right,
            velocity,
            weights,
            rates,
            momenta=momenta,
            decays=decays,
            nesterov=nesterov,
            precision=self.precision,
            wide=wide,
        )

    def descend(self, objective: Objective, logits: Tensor, targets: Tensor) -> None:
        """Turn logits, in place, into the gradient of the mean loss."""
        gradient_(objective, logits, targets)


class _Plain:
    """The same by torch, one after the other: what kernels are compared with, in float64."""

    def activate(
        self,
        left: Tensor,
        right: Tensor,
        out: Tensor,
        value: Tensor,
        activation: Activation,
        wide: bool,
    ) -> None:
        torch.bmm(left, right, out=out)
        activation.value(out.view_as(value), value)

    def pull(
        self, left: Tensor, right: Tensor, value: Tensor, z: Tensor, activation: Activation
    ) -> None:
        activation.pullback_(torch.bmm(left, right).view_as(z), value, z)

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
        gradient = torch.bmm(left, right)
        if decays is not None:
            gradient += decays * weights
        if momenta is None:
            weights -= rates * gradient
            return
        velocity.mul_(momenta).add_(gradient)
        weights -= rates * (gradient + momenta * velocity if nesterov else velocity)

    def descend(self, objective: Objective, logits: Tensor, targets: Tensor) -> None:
        objective.gradient_(logits, targets)


def fault(device: torch.device, precision: str, accuracy: float) -> str | None:
    """Look for a fault: beside float64, and by the bits of the second of two data sets alone."""
    generator = torch.Generator().manual_seed(0)
    # Three students of width 5 on each: inputs, first and last weights, momenta, targets.
    shapes = ((2, 19, 33), (2, 15, 19), (6, 4, 6), (2, 15, 1), (6, 33))
    drawn = [torch.randn(*shape, generator=generator).to(device) for shape in shapes]
    drawn[-1] = (1e6 * drawn[-1].abs()) % 4
    kernels, both, second = KernelFusions(precision), drawn, [t[len(t) // 2 :] for t in drawn]
    for name in ACTIVATIONS:
        exact = _step(_Plain(), name, [t.double() for t in both])
        found, alone = _step(kernels, name, both), _step(kernels, name, second)
        for what, right in exact.items():
            error = float((found[what].double() - right).norm() / right.norm())
            if not error < accuracy:
                return f"the relative error of {what} ({name}, {precision}) is {error:.1e}."
            if not torch.equal(found[what][len(right) // 2 :], alone[what]):
                return f"the bits of {what} ({name}, {precision}) hang on the batch."
        if not torch.equal(found["steps"], found["steps beside others"]):
            return f"the bits of steps ({precision}) hang on the momentum or decay of others."
    return None


def _step(fusions: Fusions, name: str, drawn: list[Tensor]) -> dict[str, Tensor]:
    """Give what one step consists of, for students of depth 1."""
    inputs, first, last, momenta, targets = drawn
    activation, (groups, rows), slots = ACTIVATIONS[name], first.shape[:2], len(last)
    z, hidden = inputs.new_empty(groups, rows, 33), inputs.new_ones(slots, 6, 33)
    value = hidden[:, :5].unflatten(0, (groups, 3))
    fusions.activate(first, inputs, z, value, activation, True)
    result = {"pre-activations": z.clone(), "hidden values": value.flatten(1, 2).clone()}
    logits = torch.zeros_like(hidden[:, :4])
    weights, velocity = last.clone(), torch.ones_like(last)
    fusions.activate(last, hidden, logits, torch.empty_like(logits), activation, False)
    fusions.descend(Objective("cross_entropy", 4), logits, targets.long())
    result["gradients to logits"] = logits
    fusions.pull(last.mT[:, :5], logits, value, z.unflatten(1, (3, 5)), activation)
    result["pulled gradients"] = z
    rates = torch.full_like(last[:, :, :1], 10.0)  # steps are not lost beside weights
    fusions.follow(logits, hidden.mT, velocity, weights, rates, None, None, False, False)
    result["steps"] = weights - last
    weights, none = last.clone(), torch.zeros_like(rates)  # a mate has what this student has not
    fusions.follow(logits, hidden.mT, velocity, weights, rates, none, none, False, False)
    result["steps beside others"] = weights - last
    weights, velocity, rates = first.clone(), torch.ones_like(first), torch.full_like(momenta, 10.0)
    fusions.follow(z, inputs.mT, velocity, weights, rates, momenta, 0.01 * rates, True, True)
    return {**result, "velocities": velocity, "steps with momentum": weights - first}
