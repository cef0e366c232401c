"""What is laid over a phase diagram: boundaries with their bands, theory beside them, phases."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.patheffects import Normal, Stroke
from numpy.typing import NDArray

from tsframe.phases import boundary as find_boundary, level_curve, Phase
from tsframe.plots.words import plain, short

__all__ = [
    "COLORS",
    "ON_PHASES",
    "Boundaries",
    "draw_boundaries",
    "draw_phases",
    "draw_theory",
    "found_boundaries",
]

Floats: TypeAlias = NDArray[np.float64]
Boundaries: TypeAlias = float | xr.Dataset | Iterable[float | xr.Dataset]

# Lines that part from the blue and green of mako, and from each other, for every kind of eye.
COLORS = ("#d55e00", "#cc78bc", "#f0c000")
ON_PHASES = ("#08306b", "#1a7a3c", "#5a5a5a")  # and from the colors of the phases
DASHES = (0, (3.2, 1.6))
HALO = [Stroke(linewidth=3.2, foreground="white"), Normal()]
# Light to dark from benign to catastrophic, so that the order is seen without colors, too; what
# has no place in the order is gray or white, with a hatching of its own.
PHASES = {
    Phase.UNDERFIT: ("0.82", "\\\\\\\\"),
    Phase.BENIGN: ("#a6d4e8", ""),
    Phase.TEMPERED: ("#e39b2d", ""),
    Phase.CATASTROPHIC: ("#6d1a3a", ""),
    Phase.UNDECIDED: ("1.0", "||||"),
}


def found_boundaries(
    data: xr.Dataset, x: str, y: str, value: str, boundaries: Boundaries
) -> list[xr.Dataset]:
    """Give the boundaries that were asked for as data, finding those given as a level.

    Parameters
    ----------
    data : Dataset
        Results with seeds, over `x` and `y`.
    x, y, value : str
        As in `phase_diagram`.
    boundaries : float, Dataset, or several of them
        Levels, or what `tsframe.phases.boundary` found.

    Returns
    -------
    list of Dataset

    Raises
    ------
    ValueError
        If a Dataset holds no boundary over `x` and `y`.
    """
    one = isinstance(boundaries, int | float | xr.Dataset)
    given: Any = [boundaries] if one else boundaries
    found = []
    for item in given:
        if not isinstance(item, xr.Dataset):
            item = find_boundary(data, x, y, value, float(item))
        if not {x, y, f"{x}_band", f"{y}_band", "ring", "curve"} <= set(item.variables):
            raise ValueError(
                f"boundary must be a level or what tsframe.phases.boundary gives over {x} and {y}; "
                f"got a Dataset of {', '.join(map(str, item.variables))}."
            )
        found.append(item)
    return found


def draw_boundaries(
    ax: Axes, x: str, y: str, found: list[xr.Dataset], colors: tuple[str, ...]
) -> list[Artist]:
    """Draw boundaries, each over its band, and give the entries of the legend."""
    entries: list[Artist] = []
    for place, item in enumerate(found):
        color = colors[place % len(colors)]
        rings = [points for _, points in pieces(item, f"{x}_band", f"{y}_band", "ring")]
        if rings:
            outline = Path.make_compound_path(*(Path(ring, closed=True) for ring in rings))
            for style in (
                {"facecolor": "white", "alpha": 0.3, "linewidth": 0.0},
                {"facecolor": color, "alpha": 0.25, "linewidth": 0.0},
                {"facecolor": "none", "edgecolor": color, "alpha": 0.8, "linewidth": 0.6},
            ):
                ax.add_patch(PathPatch(outline, zorder=2.7, **style))
        for _, points in pieces(item, x, y, "curve"):
            line(ax, points, color, "-")
        measure = str(item.attrs.get("measure", ""))
        words = f"{short(measure)} {plain(item.attrs.get('level'))}"
        if rings:
            words += f", {item.attrs.get('confidence', 0.95):.0%} band"
        entries.append(Line2D([], [], color=color, linewidth=1.8, label=words))
    return entries


def draw_theory(
    ax: Axes,
    x: str,
    y: str,
    theory: xr.DataArray,
    levels: list[float],
    colors: tuple[str, ...],
) -> list[Artist]:
    """Draw where theory has the levels of the boundaries, dashed, and give the legend's entry."""
    for place, level in enumerate(levels):
        for _, points in pieces(level_curve(theory, x, y, level), x, y, "curve"):
            line(ax, points, colors[place % len(colors)], DASHES)
    entries: list[Artist] = [
        Line2D([], [], color="0.25", linewidth=1.8, linestyle=DASHES, label="theory, same level")
    ]
    return entries


def line(ax: Axes, points: Floats, color: str, style: Any) -> None:
    """Draw a line that stands out from any color below it."""
    ax.plot(
        *points.T,
        color=color,
        linewidth=1.8,
        linestyle=style,
        zorder=2.8,
        path_effects=HALO,
        solid_capstyle="round",
        scalex=False,
        scaley=False,
    )


def pieces(data: xr.Dataset, x: str, y: str, number: str) -> Iterator[tuple[int, Floats]]:
    """Go through the pieces of ragged points.

    Yields
    ------
    tuple
        Number of the piece; its points, shape (n, 2).
    """
    points = np.stack([data[x].values, data[y].values], axis=1)
    for piece in np.unique(data[number].values).tolist():
        yield piece, points[data[number].values == piece]


def draw_phases(
    ax: Axes,
    x: str,
    y: str,
    grid_x: Floats,
    grid_y: Floats,
    phases: xr.Dataset | xr.DataArray,
    like: xr.Dataset,
) -> tuple[QuadMesh, list[Artist]]:
    """Color the cells by their phase, and give the entries of the legend.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    x, y : str
        Dims that span the picture.
    grid_x, grid_y : ndarray
        Edges of the cells.
    phases : Dataset or DataArray
        What `tsframe.phases.classify` gives, or its variable `phase`.
    like : Dataset
        Has the values of the axes in the order of the picture.

    Returns
    -------
    tuple
        The mesh, and one entry a phase that occurs.

    Raises
    ------
    ValueError
        If the phases do not lie over `x` and `y` alone, or lack a value of these.
    """
    array = phases["phase"] if isinstance(phases, xr.Dataset) else phases
    several = [dim for dim in array.dims if dim not in (x, y) and array.sizes[dim] > 1]
    missing = [dim for dim in (x, y) if dim not in array.dims]
    if several or missing:
        raise ValueError(
            f"phases must lie over {x} and {y}; got the dims {', '.join(map(str, array.dims))}. "
            "Select one value of each other dim."
        )
    array = array.squeeze([dim for dim in array.dims if dim not in (x, y)])
    try:
        codes = array.sel({x: like[x].values, y: like[y].values}).transpose(y, x).values
    except KeyError as error:
        raise ValueError(
            f"phases must have every value of {x} and {y} that is drawn; got {error}. Classify "
            "the same cells that are drawn."
        ) from error
    cmap = ListedColormap([color for color, _ in PHASES.values()])
    norm = BoundaryNorm(
        [*(int(phase) - 0.5 for phase in PHASES), int(Phase.UNDECIDED) + 0.5], len(PHASES)
    )
    mesh = ax.pcolormesh(
        grid_x, grid_y, np.ma.masked_equal(codes, int(Phase.MISSING)), cmap=cmap, norm=norm
    )
    entries: list[Artist] = []
    for phase, (color, pattern) in PHASES.items():
        rows, columns = np.nonzero(codes == int(phase))
        if not len(rows):
            continue
        style: dict[str, Any] = {"facecolor": color, "edgecolor": "0.6", "hatch": pattern}
        for row, column in zip(rows, columns, strict=True) if pattern else ():
            size = np.diff(grid_x)[column], np.diff(grid_y)[row]
            ax.add_patch(Rectangle((grid_x[column], grid_y[row]), *size, linewidth=0.0, **style))
        entries.append(Patch(label=phase.name.lower(), linewidth=0.4, **style))
    return mesh, entries
