"""The natural scale of an axis: logarithmic where its values are geometric, linear elsewhere.

Boundaries are interpolated on this scale and figures are drawn on it, so that a straight piece of a
boundary is a straight line in the figure. Where a zero stands before geometric values - slope 0,
step 0 - the scale is linear from zero to the next value, which takes one step of the log part.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

__all__ = ["Scale", "is_geometric", "natural", "starts_at_zero"]

Floats: TypeAlias = NDArray[np.float64]


def is_geometric(values: Floats) -> bool:
    """Tell whether ascending positive values are spread evenly on a log axis rather than a linear.

    Examples
    --------
    >>> is_geometric(np.array([5.0, 10.0, 30.0, 100.0, 300.0]))
    True
    >>> is_geometric(np.array([100.0, 200.0, 300.0]))
    False
    """
    if len(values) < 2 or values[0] <= 0 or values[-1] / values[0] < 4:
        return False

    def unevenness(steps: Floats) -> float:
        return float(steps.std() / steps.mean())

    if len(values) == 2:
        return bool(values[1] / values[0] >= 10)
    return unevenness(np.diff(np.log(values))) < unevenness(np.diff(values))


def starts_at_zero(values: Floats) -> bool:
    """Tell whether ascending values are a zero before at least three geometric ones."""
    return len(values) > 3 and bool(values[0] == 0) and is_geometric(values[1:])


@dataclass(frozen=True)
class Scale:
    """A map from the units of an axis to its natural scale, and back.

    Parameters
    ----------
    log : bool
        Whether the scale is logarithmic.
    least : float
        Smallest positive value of an axis with a zero, below which a log scale is linear; 0 for a
        plain log scale, which ends at 0.
    step : float
        Length in natural logs of the linear part, from zero to `least`.

    Examples
    --------
    >>> Scale(log=True)(np.array([1.0, np.e])).tolist()
    [0.0, 1.0]
    >>> Scale(log=True, least=1.0, step=2.0)(np.array([0.0, 0.5, 1.0])).tolist()
    [-2.0, -1.0, 0.0]
    """

    log: bool
    least: float = 0.0
    step: float = 1.0

    def __call__(self, values: ArrayLike) -> Floats:
        """Give the places of values on the natural scale, of their shape."""
        values = np.asarray(values, np.float64)
        if not self.log:
            return values
        with np.errstate(divide="ignore"):
            if not self.least:
                return np.asarray(np.log(values))
            below = np.log(self.least) + self.step * (values / self.least - 1.0)
            above = np.log(np.maximum(values, self.least))
            return np.asarray(np.where(values < self.least, below, above))

    def inverse(self, places: ArrayLike) -> Floats:
        """Give the values at places of the natural scale, of their shape."""
        places = np.asarray(places, np.float64)
        if not self.log:
            return places
        if not self.least:
            return np.asarray(np.exp(places))
        edge = np.log(self.least)
        below = self.least * (1.0 + (places - edge) / self.step)
        return np.asarray(np.where(places < edge, below, np.exp(np.maximum(places, edge))))


def natural(coordinate: xr.DataArray) -> Scale:
    """Find the natural scale of an axis from its ascending values.

    Parameters
    ----------
    coordinate : DataArray, shape (n,)
        Ascending numbers.

    Returns
    -------
    Scale
        Logarithmic where the values are geometric, with or without a zero before them.

    Raises
    ------
    TypeError
        If the values are no numbers.
    """
    if coordinate.dtype.kind not in "iuf":
        raise TypeError(
            f"the axis {coordinate.name} holds {coordinate.dtype} and not numbers, so nothing lies "
            "between its values. Select one of them, and name an axis of numbers."
        )
    values = coordinate.values.astype(np.float64)
    if is_geometric(values):
        return Scale(log=True)
    if starts_at_zero(values):
        span = float(np.log(values[-1] / values[1]))
        return Scale(log=True, least=float(values[1]), step=span / min(len(values) - 2, 12))
    return Scale(log=False)
