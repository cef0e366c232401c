"""Densities of spectra of both signs, on an axis that is logarithmic away from zero."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from tsframe.plots.canvas import canvas
from tsframe.plots.lines import by_hue
from tsframe.plots.scales import power
from tsframe.plots.selecting import Labeled, select, tally
from tsframe.plots.words import head, selection, short, wrapped

__all__ = ["decades", "density_per_decade", "spectral_density"]

SMOOTH = math.log10(math.e)  # linear and logarithmic parts meet with one slope, 1 / ln 10 a unit
PER_WIDTH = 8  # places of the curve within a standard deviation of its kernel


def spectral_density(
    data: Labeled,
    hue: str | None = None,
    value: str = "hessian_node",
    weight: str = "hessian_weight",
    inner: tuple[str, str] = ("hessian_probe", "hessian_step"),
    linear: float | None = None,
    width: float = 0.2,
    ax: Axes | None = None,
) -> Axes:
    """Draw the density of a spectrum from quadrature nodes and their weights.

    The axis of the eigenvalues is logarithmic on both sides of zero, and linear within `linear` of
    it. Each node is spread by a Gaussian whose width is the same in decades everywhere, so that a
    tail over many decades and a bulk at zero are seen side by side. The density is the share of all
    eigenvalues per decade; it is averaged over probes and seeds.

    Parameters
    ----------
    data : Dataset
        Results with nodes and weights over a probe and a step dim, e.g. of `HessianDensity`.
    hue : str, optional
        Dim with one curve a value.
    value, weight : str
        Variables of the nodes and of their weights.
    inner : tuple of str
        Their dims of probes and of nodes.
    linear : float, optional
        Modulus, > 0, below which the axis is linear: there eigenvalues count as zero. By default
        1e-5 of the largest.
    width : float
        Standard deviation of the kernel, in decades; linearly, `linear` is 0.43 decades wide.
    ax : Axes, optional
        Where to draw; by default the current Axes, in a new figure with a tight layout.

    Returns
    -------
    Axes
        The Axes drawn on.

    Raises
    ------
    ValueError
        If a variable is missing, or `linear` or `width` is not positive.

    Examples
    --------
    >>> import xarray as xr
    >>> dims = ("seed", "hessian_probe", "hessian_step")
    >>> nodes = xr.DataArray([[[-0.1, 0.0, 2.0]]], dims=dims)
    >>> shares = xr.DataArray([[[0.1, 0.8, 0.1]]], dims=dims)
    >>> found = xr.Dataset({"hessian_node": nodes, "hessian_weight": shares})
    >>> spectral_density(found).get_xscale()
    'symlog'
    """
    ax = canvas(ax)
    dims = inner if hue is None else (hue, *inner)
    dataset = select(data, value, dims, "spectral_density")
    if weight not in dataset:
        raise ValueError(
            f"spectral_density found no weights {weight!r} over the dims of {value}. Ask for "
            "HessianDensity(), which gives both."
        )
    largest = float(np.nanmax(np.abs(dataset[value].values)))
    linear = linear if linear is not None else 1e-5 * largest or 1.0
    if not (linear > 0.0 and width > 0.0):
        raise ValueError(
            f"linear and width must be > 0; got linear={linear!r}, width={width!r}. Leave linear "
            "out for 1e-5 of the largest eigenvalue."
        )
    # Before anything is drawn: the scale decides where ticks and curves lie.
    ax.set_xscale("symlog", linthresh=linear, linscale=0.9 * SMOOTH)
    ax.set_yscale("log")
    reach = decades(dataset[value].values, linear)
    low, high = np.nanmin(reach) - 5 * width, np.nanmax(reach) + 5 * width
    grid = np.linspace(low, high, math.ceil((high - low) / width) * PER_WIDTH)
    places, top = eigenvalue_at(grid, linear), 0.0
    for color, name, array in by_hue(dataset[value], hue):
        shares = dataset[weight].sel({hue: array[hue]}) if hue is not None else dataset[weight]
        points = array.transpose("seed", *inner).values
        masses = shares.transpose("seed", *inner).values
        curve = density_per_decade(points, masses, grid, linear, width)
        ax.plot(places, curve, color=color, label=name, linewidth=1.2)
        top = max(top, float(curve.max()))
    ax.set_ylim(1e-5 * top, 2.0 * top)
    ax.set_xlim(places[0], places[-1])
    ax.axvline(0.0, color="0.8", linewidth=0.8, zorder=0)
    ax.xaxis.set_major_locator(FixedLocator(_ticks(places[0], places[-1], linear)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: signed_power(tick)))
    ax.set_xlabel(wrapped(value, dataset[value]))
    ax.set_ylabel("share of eigenvalues per decade")
    head(ax, selection(dataset[value]), tally(dataset))
    if hue is not None:
        ax.legend(title=short(hue), frameon=False)
    return ax


def decades(values: NDArray[np.float64], linear: float) -> NDArray[np.float64]:
    """Place values on the symmetric-log axis, in decades, with one slope where its parts meet.

    Examples
    --------
    >>> decades(np.array([-10.0, 0.0, 1.0, 10.0]), linear=1.0).round(3).tolist()
    [-1.434, 0.0, 0.434, 1.434]
    """
    size = np.abs(values) / linear
    outside = SMOOTH + np.log10(np.maximum(size, 1.0))
    return np.asarray(np.sign(values) * np.where(size > 1.0, outside, SMOOTH * size))


def eigenvalue_at(places: NDArray[np.float64], linear: float) -> NDArray[np.float64]:
    """Invert `decades`."""
    size = np.abs(places)
    outside = 10.0 ** np.maximum(size - SMOOTH, 0.0)
    return np.asarray(np.sign(places) * linear * np.where(size > SMOOTH, outside, size / SMOOTH))


def density_per_decade(
    nodes: NDArray[np.float64],
    weights: NDArray[np.float64],
    grid: NDArray[np.float64],
    linear: float,
    width: float,
) -> NDArray[np.float64]:
    """Smooth a quadrature to a density on the symmetric-log axis.

    Parameters
    ----------
    nodes, weights : ndarray, shape (seeds, probes, steps)
        NaN where a probe took fewer steps, or a seed is missing; weights of a probe sum to one.
    grid : ndarray, shape (places,)
        In decades, as `decades` gives them.
    linear, width : float
        See `spectral_density`.

    Returns
    -------
    ndarray, shape (places,)
        Share per decade; its integral over all decades is one.
    """
    known = np.isfinite(nodes) & np.isfinite(weights)
    probes = max(int(known.any(axis=-1).sum()), 1)
    reach, mass = decades(nodes[known], linear), weights[known] / probes
    kernel = np.exp(-0.5 * ((grid[:, None] - reach) / width) ** 2)
    return np.asarray(kernel @ mass / (width * math.sqrt(2.0 * math.pi)))


def signed_power(value: float) -> str:
    """Write a tick of either sign: plain, or as a power of ten where that is shorter.

    Examples
    --------
    >>> signed_power(-1e-5), signed_power(0.0), signed_power(0.1)
    ('-$10^{-5}$', '0', '0.1')
    """
    return f"-{power(-value)}" if value < 0.0 else power(value)


def _ticks(low: float, high: float, linear: float) -> list[float]:
    """Give zero and decades on both sides of it, so many that they do not crowd."""
    first, last = math.ceil(math.log10(3.0 * linear)), math.log10(max(-low, high))
    every = max(1, round((last - first) / 3))
    powers = np.arange(math.floor(last), first - 1, -every)[::-1]
    sides = [sign * 10.0 ** float(power) for sign in (-1.0, 1.0) for power in powers]
    return sorted([0.0, *(tick for tick in sides if low <= tick <= high)])
