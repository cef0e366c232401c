"""How wide the region around a solution is: by volume along random directions, and by its worst.

A `loss` is a function of places of shape (students, k, weights) that gives shape (students, k),
such as `Landscape.losses`. Distances are in units of the weights: a ReLU network can be rescaled
without changing what it computes, and these measures change (Dinh et al. 2017).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["ascent_sharpness", "sam_sharpness", "sublevel_log_volume", "sublevel_radii"]

HALVINGS = 12  # of a bracket whose ends differ by STRIDE: radii to 1e-4 of their size
STRIDE = 2.0**0.5  # from one radius that is looked at to the next: a region is left at the first


def sublevel_radii(
    loss: Callable[[Tensor], Tensor],
    center: Tensor,
    directions: Tensor,
    rise: Tensor | float,
    low: float = 1e-2,
    high: float = 1e2,
) -> Tensor:
    """Find how far one can go along directions before the loss has risen by so much.

    Radii are looked at in steps of a factor sqrt(2) from `low` on; between the last one below the
    level and the first above it the radius is halved down to 1e-4 of itself.

    Parameters
    ----------
    loss : callable
        From places to losses; see the head of this module.
    center : Tensor, shape (students, weights)
        Where to start: a solution.
    directions : Tensor, shape (students, k, weights)
        Of unit length.
    rise : Tensor, shape (students,), or float
        By how much the loss may rise, > 0.
    low, high : float
        Where to begin and where to give up, in units of the weights.

    Returns
    -------
    Tensor, shape (students, k)
        `high` where the level was not reached, at most `low` where it was reached at once.
    """
    here = center[:, None]
    level = loss(here) + torch.as_tensor(rise).reshape(-1, 1).to(center)

    def is_above(radii: Tensor) -> Tensor:
        # A loss that overflows to NaN is above any level.
        return ~(loss(here + radii[:, :, None] * directions) <= level)

    inner = torch.zeros(directions.shape[:2], dtype=center.dtype, device=center.device)
    outer = torch.full_like(inner, high)
    radius = low
    while radius < high:
        out = is_above(torch.full_like(inner, radius))
        open_ = outer == high
        outer = torch.where(open_ & out, radius, outer)
        inner = torch.where(open_ & ~out, radius, inner)
        if bool((outer < high).all()):
            break
        radius *= STRIDE
    found = outer < high
    for _ in range(HALVINGS):
        middle = 0.5 * (inner + outer)
        out = is_above(middle)
        inner, outer = torch.where(out, inner, middle), torch.where(out, middle, outer)
    return torch.where(found, outer, high)


def sublevel_log_volume(radii: Tensor, weights: int) -> Tensor:
    """Give the logarithm of the volume of the region whose radii along random directions are known.

    ln of pi^{P/2} / Gamma(P/2 + 1) * mean(r^P) for a region that is seen whole from its center. In
    many dimensions the mean hangs on its largest radius: as an estimate of the volume it is then
    far too small, as a measure of flatness it is that of the widest direction found. Source: Huang
    et al. 2020 (arXiv:1906.03291), section 4.

    Parameters
    ----------
    radii : Tensor, shape (..., k)
        Along directions drawn uniformly from the sphere.
    weights : int
        P, number of weights.

    Returns
    -------
    Tensor, shape (...)
        In nats.

    Examples
    --------
    >>> round(sublevel_log_volume(torch.ones(7, dtype=torch.float64), 2).exp().item(), 6)
    3.141593
    """
    ball = 0.5 * weights * math.log(math.pi) - math.lgamma(0.5 * weights + 1.0)
    powers = weights * radii.log()
    return ball + torch.logsumexp(powers, dim=-1) - math.log(radii.shape[-1])


def sam_sharpness(
    gradients: Callable[[Tensor], tuple[Tensor, Tensor]],
    loss: Callable[[Tensor], Tensor],
    center: Tensor,
    radius: float,
) -> Tensor:
    """Give the rise of the loss by one step up its gradient to the border of a ball.

    L(w + radius g / |g|) - L(w): what sharpness-aware minimization takes for the worst of the ball.
    Source: Foret et al. 2021, equation 2. Zero where the gradient is zero.

    Parameters
    ----------
    gradients : callable
        From places to losses and gradients, such as `Landscape.gradients`.
    loss : callable
        From places to losses.
    center : Tensor, shape (students, weights)
        Where to start.
    radius : float
        Of the ball, in units of the weights.

    Returns
    -------
    Tensor, shape (students,)
    """
    before, gradient = gradients(center[:, None])
    after = loss(center[:, None] + radius * _unit(gradient))
    return (after - before)[:, 0]


def ascent_sharpness(
    gradients: Callable[[Tensor], tuple[Tensor, Tensor]],
    center: Tensor,
    radius: float,
    start: Tensor,
    steps: int = 20,
) -> Tensor:
    """Give the largest rise of the loss found in a ball, by ascent from some places.

    Each step goes to the place of the ball that the gradient says is highest, center + radius
    g/|g|: on a convex quadratic the rise grows with every step and converges to its maximum in the
    ball, as power iteration does. From `start` and from the center itself; the best ever seen.

    Parameters
    ----------
    gradients : callable
        From places to losses and gradients, such as `Landscape.gradients`.
    center : Tensor, shape (students, weights)
        Where the ball lies.
    radius : float
        Of the ball, in units of the weights.
    start : Tensor, shape (students, k, weights)
        Directions of unit length to start from, too.
    steps : int
        Steps of ascent, >= 1.

    Returns
    -------
    Tensor, shape (students,)
        Never below the `sam_sharpness` of the same ball, nor below zero.
    """
    here = center[:, None]
    places = torch.cat([here, here + radius * start], dim=1)
    losses, gradient = gradients(places)
    level = losses[:, :1].clone()
    best = losses.amax(1)
    for _ in range(steps):
        losses, gradient = gradients(here + radius * _unit(gradient))
        best = torch.maximum(best, losses.amax(1))
    return best - level[:, 0]


def _unit(vectors: Tensor) -> Tensor:
    length = vectors.square().sum(-1, keepdim=True).sqrt()
    return vectors / torch.where(length > 0.0, length, 1.0)
