"""Phase diagrams: a measure over two axes of a sweep."""

from typing import Any, TypeAlias

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap, Normalize
from matplotlib.lines import Line2D
from matplotlib.markers import TICKDOWN, TICKLEFT, TICKRIGHT, TICKUP
from matplotlib.patches import Patch, Rectangle
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray

from tsframe.phases.fields import bridges
from tsframe.phases.scales import natural
from tsframe.plots.canvas import canvas
from tsframe.plots.overlays import (
    Boundaries,
    COLORS,
    draw_boundaries,
    draw_phases,
    draw_theory,
    found_boundaries,
    ON_PHASES,
)
from tsframe.plots.scales import edges, middles, prepare
from tsframe.plots.selecting import DIVERGED, EXCLUDED, FAILED, Labeled, select, tally, TODO
from tsframe.plots.words import head, selection, wrapped

__all__ = ["phase_diagram"]

# Why a cell has no value: its hatching, on gray, and the words of the legend.
NO_STATE = 5
EMPTY = {
    TODO: ("////", "not run yet"),
    FAILED: ("....", "failed"),
    DIVERGED: ("xxxx", "diverged"),
    EXCLUDED: ("", "excluded"),
    NO_STATE: ("////", "no result"),
}
DOT: dict[str, Any] = {"marker": "o", "markersize": 4, "linestyle": "", "color": "white"}
DOT["markeredgecolor"] = "black"
SPECK = DOT | {"markersize": 1.8, "markeredgewidth": 0.4}
LINE: dict[str, Any] = {"color": "black", "linewidth": 1.6, "marker": TICKUP, "markersize": 5}

Floats: TypeAlias = NDArray[np.float64]


def phase_diagram(
    data: Labeled,
    x: str,
    y: str,
    value: str = "test_error",
    ax: Axes | None = None,
    *,
    contour: float | None = 0.0,
    boundary: Boundaries | None = None,
    theory: xr.DataArray | None = None,
    phases: xr.Dataset | xr.DataArray | None = None,
    bridged: bool = False,
    cmap: str | Colormap = "mako_r",
    norm: Normalize | None = None,
    colorbar: bool = True,
    legend: bool = True,
) -> Axes:
    """Draw a measure over two axes of a sweep, averaged over seeds.

    One cell of the sweep is one cell of the picture. Axes are logarithmic where the sweep's are. A
    black line, ticked inwards, parts the cells where students interpolate from those where they do
    not: at least half of the seeds by the variable ``interpolated`` or, without one, a mean
    ``train_error`` of at most `contour`. A cell without any value is hatched in gray and says why
    in the legend; a dot marks a cell whose mean is over fewer seeds than the others'.

    With `boundary` the curve on which the measure has a level is laid over the cells, with the band
    in which its seeds place it; with `theory` the curve on which a prediction has the same level,
    dashed. With `phases` the cells show their phase instead of the measure, from light (benign) to
    dark (catastrophic), so that the order is seen without colors, too, and the black line is left
    out.

    Parameters
    ----------
    data : Dataset or DataArray
        Results over the axes of a sweep, with at most `x`, `y` and seed of several values.
    x, y : str
        Dims that span the picture.
    value : str
        Variable to draw.
    ax : Axes, optional
        Where to draw; by default the current Axes, in a new figure with a tight layout.
    contour : float, optional
        Train error up to which a student counts as interpolating; None draws no line.
    boundary : float, Dataset, or several of them, optional
        Levels of `value`, whose boundaries are then found over the seeds, at least two; or what
        `tsframe.phases.boundary` found.
    theory : DataArray, optional
        Prediction of `value` over `x` and `y`, on any grid of them, e.g. of `tsframe.theory`; it is
        drawn at the levels of `boundary`.
    phases : Dataset or DataArray, optional
        What `tsframe.phases.classify` gives for these cells.
    bridged : bool
        Whether cells that were not run, between ones that were, show what these interpolate to;
        dots then mark the cells that have a result. For stores that `tsframe refine` has grown.
    cmap : str or Colormap
        Perceptually uniform and safe for the color-blind; by default seaborn's mako
        reversed, light where the error is low.
    norm : Normalize, optional
        From values to colors; share one among panels. By default from 0, or the smallest value if
        that is negative, to the largest.
    colorbar, legend : bool
        Whether to draw them; panels with a common norm need one.

    Returns
    -------
    Axes
        The Axes drawn on.

    Raises
    ------
    ValueError
        If a variable or dim is missing, another dim has several values, or theory is given
        without a boundary.

    Examples
    --------
    >>> errors = xr.DataArray(
    ...     [[0.5, 0.4], [0.3, 0.1]], coords={"width": [10, 100], "slope": [0.01, 0.1]}
    ... )
    >>> phase_diagram(errors, x="slope", y="width").get_xscale()
    'log'
    """
    ax = canvas(ax)
    dataset = select(data, value, (x, y), "phase_diagram").transpose(y, x, ...)
    array = dataset[value]
    known = array.notnull().sum("seed").values
    with np.errstate(invalid="ignore"):
        mean = array.sum("seed").values / np.where(known, known, np.nan)

    filled = np.zeros(mean.shape, bool)
    if bridged:
        mean, filled = bridge(dataset, mean, x, y)

    places = {"x": prepare(ax, "x", dataset[x]), "y": prepare(ax, "y", dataset[y])}
    grid_x, grid_y = edges(ax.xaxis, places["x"]), edges(ax.yaxis, places["y"])
    if norm is None:
        finite = mean[np.isfinite(mean)]
        norm = Normalize(min(0.0, *finite, 0.0), max(finite, default=1.0))
    entries: list[Artist] = []
    if phases is None:
        cells = np.ma.masked_invalid(mean)
        mesh = ax.pcolormesh(grid_x, grid_y, cells, cmap=colors(cmap), norm=norm)
    else:
        mesh, entries = draw_phases(ax, x, y, grid_x, grid_y, phases, dataset)

    entries += hatch(ax, grid_x, grid_y, np.where(filled, -1, reasons(dataset, known)))
    fewer = (known > 0) & (known < known.max())
    marked, words, style = (fewer, "fewer seeds", DOT)
    if bridged:
        marked, words, style = (known > 0, "trained; the rest is interpolated", SPECK)
    if marked.any():
        rows, columns = np.nonzero(marked)
        ax.plot(places["x"][columns], places["y"][rows], **style)
        entries.append(Line2D([], [], label=words, **style))
    bare = contour is None or phases is not None  # phases say themselves who fits
    inside = None if bare else interpolating(dataset, contour or 0.0)
    if inside is not None and {0, 1} <= set(inside.flat):
        border(ax, grid_x, grid_y, inside)
        entries.append(Line2D([], [], label="interpolating (ticked side)", **LINE))
    if theory is not None and boundary is None:
        raise ValueError("theory is drawn at the levels of boundary; pass boundary=, e.g. 0.1.")
    if boundary is not None:
        found = found_boundaries(dataset, x, y, value, boundary)
        lines = COLORS if phases is None else ON_PHASES
        entries += draw_boundaries(ax, x, y, found, lines)
        if theory is not None:
            levels = [item.attrs["level"] for item in found]
            entries += draw_theory(ax, x, y, theory, levels, lines)

    ax.set_xlim(grid_x[0], grid_x[-1])
    ax.set_ylim(grid_y[0], grid_y[-1])
    ax.grid(False)
    ax.tick_params(which="both", length=2.5)
    ax.spines[:].set_visible(False)
    head(ax, selection(array), tally(dataset))
    if colorbar and phases is None:
        bar = ax.figure.colorbar(mesh, ax=ax, pad=0.02, aspect=25)
        bar.set_label(wrapped(value, array))
        bar.outline.set_visible(False)
    if legend and entries:
        below = ax.transAxes + ScaledTranslation(0, -44 / 72, ax.figure.dpi_scale_trans)
        ax.legend(
            handles=entries,
            loc="upper left",
            bbox_to_anchor=(0.0, 0.0),
            bbox_transform=below,
            borderpad=0.0,
            ncols=1 if ax.bbox.width < 2.6 * ax.figure.dpi else 2,
            frameon=False,
            fontsize="small",
        )
    return ax


def bridge(dataset: xr.Dataset, mean: Floats, x: str, y: str) -> tuple[Floats, NDArray[np.bool_]]:
    """Fill cells of a mean, shape (y, x), that were not run; tell which were filled."""
    todo = np.ones(mean.shape, bool)
    if "state" in dataset:
        todo &= (dataset["state"] == TODO).all("seed").values
    scales = [natural(dataset[dim])(dataset[dim].values) for dim in (y, x)]
    blank = ~np.isfinite(mean)
    flat = mean.flatten()
    for cells, one, other, weight in bridges(~blank, (scales[0], scales[1])):
        flat[cells] = (1 - weight) * flat[one] + weight * flat[other]
    # What failed is not made up.
    filled = np.where(blank & ~todo, np.nan, flat.reshape(mean.shape))
    return filled, np.asarray(blank & np.isfinite(filled))


def colors(cmap: str | Colormap) -> Colormap:
    """Give a colormap by its name in matplotlib, where seaborn adds its own, or as it is."""
    return sns.color_palette(cmap, as_cmap=True) if isinstance(cmap, str) else cmap


def interpolating(dataset: xr.Dataset, level: float) -> NDArray[np.int64] | None:
    """Tell in which cells students interpolate, shape (y, x): 1, 0, or -1 where nothing is known.

    None where the data do not say at all.
    """
    if "interpolated" in dataset:
        mean = dataset["interpolated"].astype(np.float64).mean("seed")
        return np.where(mean.isnull(), -1, mean >= 0.5)
    if "train_error" in dataset:
        mean = dataset["train_error"].mean("seed")
        return np.where(mean.isnull(), -1, mean <= level)
    return None


def border(ax: Axes, grid_x: Floats, grid_y: Floats, inside: NDArray[np.int64]) -> None:
    """Draw the edges between cells inside (1) and outside (0), with ticks that point inside."""

    def apart(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.asarray((np.minimum(a, b) == 0) & (np.maximum(a, b) == 1))

    middle_x, middle_y = middles(ax.xaxis, grid_x), middles(ax.yaxis, grid_y)
    lines, ticks = [], []
    for row, column in zip(*np.nonzero(apart(inside[:, 1:], inside[:, :-1])), strict=True):
        lines.append([(grid_x[column + 1], grid_y[row + k]) for k in (0, 1)])
        side = TICKLEFT if inside[row, column] == 1 else TICKRIGHT
        ticks.append((grid_x[column + 1], middle_y[row], side))
    for row, column in zip(*np.nonzero(apart(inside[1:], inside[:-1])), strict=True):
        lines.append([(grid_x[column + k], grid_y[row + 1]) for k in (0, 1)])
        side = TICKDOWN if inside[row, column] == 1 else TICKUP
        ticks.append((middle_x[column], grid_y[row + 1], side))
    for color, width, size, order in (("white", 3.4, 6.0, 2.5), ("black", 1.6, 5.0, 2.6)):
        style: dict[str, Any] = {"capstyle": "projecting", "colors": color, "linewidths": width}
        ax.add_collection(LineCollection(lines, zorder=order, **style), autolim=False)
        for place_x, place_y, side in ticks:
            mark: dict[str, Any] = {"marker": side, "markersize": size, "markeredgewidth": width}
            ax.plot(place_x, place_y, color=color, zorder=order, **mark)


def reasons(dataset: xr.Dataset, known: NDArray[np.int64]) -> NDArray[np.int64]:
    """Say of every cell why it has no value: a key of `EMPTY`, or -1 where it has one."""
    why = np.where(known == 0, NO_STATE, -1)
    if "state" in dataset:
        for code in (EXCLUDED, TODO, FAILED, DIVERGED):  # the last to hold for a seed has the word
            why[(known == 0) & (dataset["state"] == code).any("seed").values] = code
    return why


def hatch(ax: Axes, grid_x: Floats, grid_y: Floats, why: NDArray[np.int64]) -> list[Artist]:
    """Fill empty cells with gray, hatched after the reason, and give the entries of the legend."""
    entries: list[Artist] = []
    for reason, (pattern, words) in EMPTY.items():
        style: dict[str, Any] = {"facecolor": "0.93", "edgecolor": "0.6", "hatch": pattern}
        cells = list(zip(*np.nonzero(why == reason), strict=True))
        for row, column in cells:
            width, height = np.diff(grid_x)[column], np.diff(grid_y)[row]
            corner = grid_x[column], grid_y[row]
            ax.add_patch(Rectangle(corner, width, height, linewidth=0.0, **style))
        if cells:
            entries.append(Patch(label=words, linewidth=0.0, **style))
    return entries
