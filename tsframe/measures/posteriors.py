"""Gaussian posteriors over weights, and the search for the one with the smallest bound.

A posterior is N(mean, covariance) with a covariance that is diagonal in a `Frame`: along some
orthonormal axes a variance each, and one variance for all directions of the rest. A prior is N(w0,
covariance) of the same form in the same frame, so that their relative entropy is a sum. Everything
is float64 and stacked over students.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Frame", "Posterior", "Prior", "minimize", "relative_entropy", "turned"]

Gradients = Callable[[Tensor], tuple[Tensor, Tensor]]  # places -> losses, gradients
Noise = Callable[[int], Tensor]  # step -> standard normals (students, draws, weights)
Prior = Callable[[Tensor], tuple[Tensor, Tensor]]  # scales -> log variances of axes, of the rest
Objective = Callable[[Tensor, Tensor, Tensor], Tensor]  # risk, entropy, scales -> what is minimized


@dataclass(frozen=True, eq=False)
class Frame:
    """Orthonormal directions among the weights.

    Attributes
    ----------
    weights : int
        P, number of weights of a student.
    axes : Tensor, shape (students, P, r), or None
        Orthonormal columns; None for the weights themselves, r = P.
    """

    weights: int
    axes: Tensor | None = None

    @property
    def count(self) -> int:
        """Number r of axes."""
        return self.weights if self.axes is None else self.axes.shape[2]

    def along(self, vectors: Tensor) -> Tensor:
        """Give the coordinates of vectors, shape (students, k, P), as shape (students, k, r)."""
        return vectors if self.axes is None else torch.bmm(vectors, self.axes)

    def back(self, coordinates: Tensor) -> Tensor:
        """Give the vectors of coordinates, shape (students, k, r), as shape (students, k, P)."""
        return coordinates if self.axes is None else torch.bmm(coordinates, self.axes.mT)


@dataclass(frozen=True, eq=False)
class Posterior:
    """A Gaussian for each student.

    Attributes
    ----------
    frame : Frame
        In which its covariance is diagonal.
    mean : Tensor, shape (students, P)
        Of the weights.
    log_variance : Tensor, shape (students, r)
        Along the axes, natural logs.
    log_rest : Tensor, shape (students,)
        Of every direction of the rest; of no meaning where r = P.
    """

    frame: Frame
    mean: Tensor
    log_variance: Tensor
    log_rest: Tensor

    def places(self, noise: Tensor) -> Tensor:
        """Turn standard normals, shape (students, k, P), into draws of the same shape."""
        along = self.frame.along(noise)
        deviation = (0.5 * self.log_variance).exp()[:, None]
        if self.frame.count == self.frame.weights:
            return self.mean[:, None] + self.frame.back(along * deviation)
        rest = (0.5 * self.log_rest).exp()[:, None, None]
        return self.mean[:, None] + rest * noise + self.frame.back(along * (deviation - rest))


def relative_entropy(posterior: Posterior, center: Tensor, prior: tuple[Tensor, Tensor]) -> Tensor:
    """Give KL(posterior || prior) for a prior N(center, covariance) in the same frame.

    1/2 sum over directions of (v + d^2) / u - 1 - ln(v / u), with variances v and u and d the
    distance of the means along it.

    Parameters
    ----------
    posterior : Posterior
        Of some students.
    center : Tensor, shape (students, P)
        Mean of the prior.
    prior : (Tensor, Tensor), shapes (students, r) and (students,)
        Log variances of the prior, along the axes and of the rest.

    Returns
    -------
    Tensor, shape (students,)
        In nats.
    """
    frame, step = posterior.frame, posterior.mean - center
    along = frame.along(step[:, None])[:, 0]
    excess = posterior.log_variance - prior[0]
    total = (excess.exp() - 1.0 - excess + along.square() * (-prior[0]).exp()).sum(1)
    others = frame.weights - frame.count
    if others:
        wide = posterior.log_rest - prior[1]
        outside = (step.square().sum(1) - along.square().sum(1)).clamp_min(0.0)
        total = total + others * (wide.exp() - 1.0 - wide) + outside * (-prior[1]).exp()
    return 0.5 * total


def turned(posterior: Posterior, axes: Tensor) -> Posterior:
    """Give the Gaussian with the variances of another one along new axes, and none across them.

    Parameters
    ----------
    posterior : Posterior
        Along some axes; those of the weights themselves will not do.
    axes : Tensor, shape (students, P, r)
        Orthonormal columns.

    Returns
    -------
    Posterior
        Of the same mean, and the same total variance.
    """
    old, frame = posterior.frame, Frame(posterior.frame.weights, axes)
    assert old.axes is not None
    rest = posterior.log_rest.exp()[:, None]
    excess = posterior.log_variance.exp() - rest
    shared = torch.bmm(axes.mT, old.axes).square()
    along = rest + torch.bmm(shared, excess[:, :, None])[:, :, 0]
    if frame.count == frame.weights:
        return Posterior(frame, posterior.mean, along.log(), posterior.log_rest)
    left = rest[:, 0] * frame.weights + excess.sum(1) - along.sum(1)
    wide = left / (frame.weights - frame.count)
    return Posterior(frame, posterior.mean, along.log(), wide.log())


def minimize(
    gradients: Gradients,
    start: Posterior,
    center: Tensor,
    prior: Prior,
    scales: Tensor,
    objective: Objective,
    noise: Noise,
    steps: int,
    rates: tuple[float, float, float] = (0.1, 0.1, 0.1),
) -> tuple[Posterior, Tensor]:
    """Search mean, variances and scales of the prior for the smallest bound.

    Adam (Kingma & Ba 2015) on the mean, on the log variances and on the scales, with step sizes
    that fall to zero along half a cosine. The risk is that of draws of the posterior, by the
    gradient of the loss at each draw.

    Parameters
    ----------
    gradients : callable
        From places (students, k, P) to the losses and their gradients, e.g. `Landscape.gradients`.
    start : Posterior
        Where to begin.
    center : Tensor, shape (students, P)
        Mean of the prior.
    prior : callable
        From scales to the log variances of the prior, along the axes and of the rest.
    scales : Tensor, shape (students, m)
        Where to begin with what the prior is tuned by.
    objective : callable
        From risk, entropy (students,) and scales to what is minimized, shape (students,).
    noise : callable
        From the number of a step to standard normals, shape (students, k, P).
    steps : int
        Of Adam.
    rates : (float, float, float)
        First step sizes: of the mean in units of the weights, of log variances, of scales.

    Returns
    -------
    Posterior
        In the frame of `start`.
    Tensor, shape (students, m)
        Its scales.
    """
    free = [
        tensor.detach().clone().requires_grad_()
        for tensor in (start.mean, start.log_variance, start.log_rest, scales)
    ]
    first = [torch.zeros_like(tensor) for tensor in free]
    second = [torch.zeros_like(tensor) for tensor in free]
    each = (rates[0], rates[1], rates[1], rates[2])
    for step in range(steps):
        mean, log_variance, log_rest, tuned = free
        posterior = Posterior(start.frame, mean, log_variance, log_rest)
        places = posterior.places(noise(step))
        losses, slopes = gradients(places.detach())
        # The linear function of the draws that has the loss as its value and its gradient.
        linear = losses + (slopes * (places - places.detach())).sum(2)
        entropy = relative_entropy(posterior, center, prior(tuned))
        total = objective(linear.mean(1), entropy, tuned).sum()
        unused = 0.0 * (log_rest.sum() + tuned.sum())  # where there is no rest, or nothing is tuned
        found = torch.autograd.grad(total + unused, free)
        falling = 0.5 * (1.0 + math.cos(math.pi * step / steps))
        with torch.no_grad():
            for place, gradient, m, v, rate in zip(free, found, first, second, each, strict=True):
                m.mul_(0.9).add_(gradient, alpha=0.1)
                v.mul_(0.99).addcmul_(gradient, gradient, value=0.01)
                size = (
                    rate * falling * math.sqrt(1.0 - 0.99 ** (step + 1)) / (1.0 - 0.9 ** (step + 1))
                )
                place.addcdiv_(m, v.sqrt().add_(1e-12), value=-size)
    mean, log_variance, log_rest, tuned = (tensor.detach() for tensor in free)
    return Posterior(start.frame, mean, log_variance, log_rest), tuned
