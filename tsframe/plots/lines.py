"""Lines: a measure over one axis of a sweep, or over the steps of training."""

from collections.abc import Iterator

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from numpy.typing import NDArray
from scipy.special import stdtrit

from tsframe.plots.canvas import canvas
from tsframe.plots.scales import prepare
from tsframe.plots.selecting import Labeled, select, tally
from tsframe.plots.words import head, plain, selection, short, wrapped

__all__ = ["error_against", "learning_curves", "t_interval"]


def error_against(
    data: Labeled,
    x: str = "slope",
    hue: str | None = None,
    value: str = "test_error",
    ax: Axes | None = None,
) -> Axes:
    """Draw a measure over one axis of a sweep: its mean over seeds and how well that is known.

    Every student is a dot, the line is the mean over seeds, the band its 95 percent confidence
    interval by Student's t at each point alone. With two or three seeds such bands are wide, and
    the axis, which follows the dots, may cut them. One seed gives no band.

    Parameters
    ----------
    data : Dataset or DataArray
        Results over the axes of a sweep, with at most `x`, `hue` and seed of several values.
    x : str
        Dim along the axis, logarithmic where the sweep's is.
    hue : str, optional
        Dim with one line a value.
    value : str
        Variable to draw.
    ax : Axes, optional
        Where to draw; by default the current Axes, in a new figure with a tight layout.

    Returns
    -------
    Axes
        The Axes drawn on.

    Examples
    --------
    >>> errors = xr.DataArray(
    ...     [[0.5, 0.52], [0.3, 0.33]], coords={"slope": [0.01, 0.1], "seed": [0, 1]}
    ... )
    >>> error_against(errors).get_xscale()
    'log'
    """
    ax = canvas(ax)
    dataset = select(data, value, (x,) if hue is None else (x, hue), "error_against")
    places = prepare(ax, "x", dataset[x])
    for color, name, array in by_hue(dataset[value], hue):
        students = array.transpose(x, "seed").values
        mean, half = t_interval(students)
        ax.fill_between(places, mean - half, mean + half, color=color, alpha=0.14, linewidth=0)
        ax.plot(places, mean, color=color, marker="o", markersize=3.5, label=name)
        dots = np.broadcast_to(places[:, None], students.shape)
        ax.plot(dots, students, ".", color=color, alpha=0.6, markersize=5, markeredgewidth=0)
    seeds = dataset.sizes["seed"] > 1
    finish(ax, dataset, value, hue, "mean and 95% confidence of" if seeds else "")
    return ax


def learning_curves(
    data: Labeled,
    value: str = "train_error_curve",
    hue: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a measure over the steps of training: its mean over seeds, and every student faintly.

    Parameters
    ----------
    data : Dataset or DataArray
        Results over the axes of a sweep, with at most step, `hue` and seed of several values.
    value : str
        Variable over the dim step. A loss has a log axis where all of it is positive.
    hue : str, optional
        Dim with one line a value.
    ax : Axes, optional
        Where to draw; by default the current Axes, in a new figure with a tight layout.

    Returns
    -------
    Axes
        The Axes drawn on; log-spaced steps are drawn so, with step 0 at the left.

    Examples
    --------
    >>> curve = xr.DataArray([0.9, 0.8, 0.3, 0.0], coords={"step": [0, 1, 10, 100]})
    >>> learning_curves(curve).get_xscale()
    'symlog'
    """
    ax = canvas(ax)
    dims = ("step",) if hue is None else ("step", hue)
    dataset = select(data, value, dims, "learning_curves")
    places = prepare(ax, "x", dataset["step"])
    for color, name, array in by_hue(dataset[value], hue):
        students = array.transpose("step", "seed").values
        if students.shape[1] > 1:
            ax.plot(places, students, color=color, alpha=0.3, linewidth=0.7)
        ax.plot(places, t_interval(students)[0], color=color, label=name)
    finish(ax, dataset, value, hue, "mean of")
    return ax


def t_interval(students: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean over seeds, and half the width of its 95 percent confidence interval by Student's t.

    Source: Student 1908. For independent Gaussian students it covers the true mean in 95 percent
    of all samples.

    Parameters
    ----------
    students : ndarray, shape (n, seeds)
        A NaN is a missing seed.

    Returns
    -------
    tuple of ndarray, each of shape (n,)
        NaN where no seed is left; the half width is NaN where fewer than two are.
    """
    n = np.isfinite(students).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(students, axis=1) / n
        variance = np.nansum((students - mean[:, None]) ** 2, axis=1) / (n - 1)
        half = stdtrit(n - 1, 0.975) * np.sqrt(variance / n)
    return mean, np.where(n > 1, half, np.nan)


def by_hue(
    array: xr.DataArray, hue: str | None
) -> Iterator[tuple[tuple[float, ...], str | None, xr.DataArray]]:
    """Go through the lines of a figure.

    Yields
    ------
    tuple
        Color, name in the legend, data.
    """
    if hue is None:
        yield to_rgba("C0"), None, array
        return
    numeric = array[hue].dtype.kind in "iuf"
    # An order of values is an order of lightness; names are as far apart as can be.
    palette = sns.color_palette("crest" if numeric else "colorblind", array.sizes[hue])
    for color, value in zip(palette, array[hue].values.tolist(), strict=True):
        yield to_rgba(color), plain(value), array.sel({hue: value})


def finish(ax: Axes, dataset: xr.Dataset, value: str, hue: str | None, of: str) -> None:
    """Set the value axis after the data alone, the words, and the legend."""
    array = dataset[value]
    data = array.values[np.isfinite(array.values)]
    if data.size and "loss" in value and data.min() > 0:
        ax.set_yscale("log")
    else:
        ax.set_yscale("linear")
        low, high = (data.min(), data.max()) if data.size else (0.0, 1.0)
        low = min(low, 0.0) if "error" in value else low
        margin = 0.05 * max(high - low, 1e-3)
        ax.set_ylim(low - margin / 2, high + margin)
    ax.set_ylabel(wrapped(value, array))
    head(ax, selection(array), tally(dataset, of))
    if hue is not None:
        ax.legend(title=short(hue), frameon=False)
