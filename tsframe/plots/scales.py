"""Scales of an axis that follow its coordinates: linear, logarithmic, logarithmic with zero, words.

Coordinates that are nearly geometric get a log axis. Where a zero stands before them - slope 0,
step 0 - the axis is linear from zero to the next value ("symlog"), which takes about one step of
the log part.
"""

from typing import Literal, TypeAlias

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import (
    FixedFormatter,
    FixedLocator,
    FuncFormatter,
    Locator,
    MaxNLocator,
    NullLocator,
)
from numpy.typing import NDArray

from tsframe.phases.scales import is_geometric, starts_at_zero
from tsframe.plots.words import plain, wrapped

__all__ = ["edges", "middles", "prepare"]

Floats: TypeAlias = NDArray[np.float64]


def prepare(ax: Axes, which: Literal["x", "y"], coordinate: xr.DataArray) -> Floats:
    """Set scale, ticks and label of one axis after a coordinate, and place its values.

    Parameters
    ----------
    ax : Axes
        One of its axes is set.
    which : "x" or "y"
        Which one.
    coordinate : DataArray, shape (n,)
        Ascending numbers, or anything else, which is then placed at 0..n-1.

    Returns
    -------
    ndarray, shape (n,)
        Where the values stand, in data coordinates of the axis.
    """
    axis: Axis = ax.xaxis if which == "x" else ax.yaxis
    set_scale = ax.set_xscale if which == "x" else ax.set_yscale
    axis.set_label_text(wrapped(coordinate.name or "", coordinate))
    set_scale("linear")  # also sets the ticks of the axis anew
    if coordinate.dtype.kind not in "iuf":
        names = [plain(value) for value in coordinate.values.tolist()]
        axis.set_major_locator(FixedLocator(range(len(names))))
        axis.set_major_formatter(FixedFormatter(names))
        return np.arange(float(len(names)))
    values = coordinate.values.astype(np.float64)
    positive = values[values > 0]
    zero = starts_at_zero(values)
    locator: Locator = FixedLocator(values.tolist()) if len(values) <= 8 else MaxNLocator(6)
    if zero or is_geometric(values):
        if zero:
            decades = float(np.log10(positive[-1] / positive[0]))
            step = decades / min(len(positive) - 1, 12)  # room for the tick at zero
            # Zero and linthresh lie linscale / (1 - 1/10) decades apart: make that one step.
            set_scale("symlog", linthresh=positive[0], linscale=0.9 * step)
        else:
            set_scale("log")
        locator = FixedLocator([0.0] * zero + round_values(positive))
        axis.set_minor_locator(NullLocator())
    axis.set_major_locator(locator)
    axis.set_major_formatter(FuncFormatter(lambda value, _: power(value)))
    return values


def edges(axis: Axis, places: Floats) -> Floats:
    """Give the edges of cells centered at places on the scale of an axis, shape (n + 1,)."""
    transform = axis.get_transform()
    centers = transform.transform(places)
    if len(centers) == 1:
        return np.asarray(transform.inverted().transform(centers + np.array([-0.5, 0.5])))
    middles = (centers[1:] + centers[:-1]) / 2
    ends = 2 * centers[[0, -1]] - middles[[0, -1]]
    return np.asarray(transform.inverted().transform(np.r_[ends[0], middles, ends[1]]))


def middles(axis: Axis, borders: Floats) -> Floats:
    """Give the middles between the borders of cells on the scale of an axis, shape (n - 1,)."""
    transform = axis.get_transform()
    places = transform.transform(borders)
    return np.asarray(transform.inverted().transform((places[1:] + places[:-1]) / 2))


def round_values(positive: Floats) -> list[float]:
    """Give ticks of a log axis: the values if few and round, else 1 2 5, 1 3 or decades among them.

    Examples
    --------
    >>> round_values(np.array([5.0, 10.0, 30.0, 100.0, 300.0]))
    [5.0, 10.0, 30.0, 100.0, 300.0]
    >>> round_values(np.geomspace(0.005, 0.5, 8))
    [0.01, 0.03, 0.1, 0.3]
    """
    if len(positive) <= 8 and all(value == float(f"{value:.2g}") for value in positive):
        return [float(value) for value in positive]
    low, high = positive[0] * 0.999, positive[-1] * 1.001
    decades = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    leading = (1, 2, 5) if high / low < 30 else (1, 3) if high / low < 1000 else (1,)
    ticks = [float(f"{k}e{int(decade)}") for decade in decades for k in leading]
    return [tick for tick in ticks if low <= tick <= high]


def power(value: float) -> str:
    """Write a tick: plain, or as a power of ten where that is shorter.

    Examples
    --------
    >>> power(0.005), power(1000.0), power(1e-5)
    ('0.005', '1000', '$10^{-5}$')
    """
    exponent = np.log10(value) if value > 0 else 0.0
    if abs(exponent) > 3.5 and np.isclose(exponent, round(exponent)):
        return f"$10^{{{round(exponent)}}}$"
    return plain(float(f"{value:.6g}"))
