"""Trajectories: where students are, seen along a few fixed random directions of their weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from tsframe.checks import whole
from tsframe.measures.asking import counted, Measure, Names
from tsframe.measures.landscape import flat
from tsframe.measures.learned import Learned, StudentShape
from tsframe.streams import stream
from tsframe.training.products import slotwise_product

__all__ = ["Trajectory", "directions"]


@lru_cache(maxsize=1024)  # a trajectory asks for them at every one of its steps
def directions(seed: int, count: int, parameters: int) -> NDArray[np.float64]:
    """Draw random directions among the weights, which depend on seed and number of weights alone.

    Parameters
    ----------
    seed : int
        Seed of the trial.
    count : int
        How many; the first ones are the same for a larger count.
    parameters : int
        P, weights and biases.

    Returns
    -------
    ndarray, shape (count, P)
        Independent unit vectors, uniform on the sphere. Not to be written to.
    """
    drawn = stream(seed, "trajectory directions").standard_normal((count, parameters))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    drawn.flags.writeable = False
    return drawn


@dataclass(frozen=True)
class Trajectory(Measure):
    """Where a student is, along fixed random directions of its weights.

    Gives ``weight_projection`` along ``projection``: u . (w - w_0), with w_0 the weights at
    initialization and u random unit vectors drawn from the seed, the same at every step and for
    every way of training. The mean of its square over directions, times P, estimates the squared
    distance from initialization without bias; differences between steps see increments of the
    weights likewise, so that their autocorrelations and power spectra can be had from
    ``weight_projection_curve`` without keeping the weights.

    Parameters
    ----------
    projections : int
        Directions, >= 1.

    Raises
    ------
    TypeError, ValueError
        If the number is refused.
    """

    projections: int = 16

    def __post_init__(self) -> None:
        object.__setattr__(self, "projections", whole("projections", self.projections, 1))

    def declare(self, shape: StudentShape) -> Names:
        """Name the projections; see `Measure.declare`."""
        return {"weight_projection": {"projection": counted(self.projections)}}

    def flops(self, shape: StudentShape) -> float:
        """Count the products with the directions."""
        return 4.0 * self.projections * shape.parameters

    def bytes(self, shape: StudentShape) -> float:
        """Count the directions."""
        return 24.0 * self.projections * shape.parameters

    def __call__(self, learned: Learned) -> Mapping[str, np.ndarray]:
        """Measure students; see `Measure.__call__`."""
        way = flat(learned.weights) - flat(learned.initial)
        some = [directions(t.seed, self.projections, way.shape[1]) for t in learned.tasks]
        rows = torch.as_tensor(np.stack(some), device=way.device)
        return {"weight_projection": slotwise_product(rows, way[:, :, None])[:, :, 0].cpu().numpy()}
