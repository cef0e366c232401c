"""Where a measure passes a level: a curve over two axes, or a place along one, with its band.

Both are found on the natural scale of the axes, where the measure is taken as linear between the
values of the sweep (bilinear over two axes). Their bands are the places at which the interval of
the interpolated mean contains the level: the level is not rejected there. A true boundary point
of the interpolated measure lies in the band as often as the interval covers, wherever it is and
however flat the measure; the band is infinite where the seeds cannot say. What a grid is too coarse
to show - curvature between two values - no band knows of.
"""

from itertools import pairwise

import contourpy
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tsframe.phases.scales import natural
from tsframe.phases.seeds import Floats, Labeled, prepare, resampled, spread, student

__all__ = ["boundary", "crossing", "hats"]

FINER = 8  # places looked at between two values of an axis


def boundary(
    data: Labeled,
    x: str,
    y: str,
    value: str = "test_error",
    level: float = 0.1,
    *,
    confidence: float = 0.95,
    resamples: int = 400,
    rng: int = 0,
) -> xr.Dataset:
    """Draw the boundary of a measure over two axes of a sweep as data: curves, and their band.

    Parameters
    ----------
    data : Dataset or DataArray
        Results over the axes of a sweep, with at least two seeds, and at least two values of `x`
        and of `y`; other dims must have one value.
    x, y : str
        Dims of numbers that span the picture.
    value : str
        Variable whose boundary it is.
    level : float
        Mean over seeds at the boundary, in the units of `value`.
    confidence : float
        Coverage of the band at each point of the boundary, in (0, 1).
    resamples : int
        Number of bootstrap resamples of the seeds.
    rng : int
        Seed of the resampling.

    Returns
    -------
    Dataset
        Variables `x` and `y`, of these names, over the dim ``point``: the vertices of the curves in
        the units of the axes, in order; ``curve`` numbers the curve of each. Over the dim
        ``corner``: the band, as polygons with the corners ``x_band`` and ``y_band``, each polygon
        closed and numbered by ``ring``; rings within rings are holes. Attributes tell level,
        measure, confidence and what is missing. Without a boundary ``point`` has length zero.

    Raises
    ------
    ValueError
        If a variable, dim or seed is missing, or another dim has several values.

    Examples
    --------
    >>> slope, width = np.geomspace(0.01, 1.0, 5), np.geomspace(10, 1000, 5)
    >>> rise = np.log(slope)[:, None] + np.log(width) - np.log(10.0)
    >>> error = xr.DataArray(
    ...     np.stack([rise - 0.1, rise + 0.1]),
    ...     dims=["seed", "slope", "width"],
    ...     coords={"slope": slope, "width": width},
    ... )
    >>> found = boundary(error, "slope", "width", level=0.0)
    >>> bool(np.allclose(found.slope * found.width, 10.0))
    True
    """
    dataset = prepare(data, value, (x, y), "boundary")
    array = alone(dataset[value], (x, y), "boundary")
    for dim in (x, y):
        if array.sizes[dim] < 2:
            raise ValueError(
                f"boundary needs at least two values of {dim} to lie between; got "
                f"{array.sizes[dim]}. Add values to the axis."
            )
    scale_x, scale_y = natural(array[x]), natural(array[y])
    nodes_x, nodes_y = scale_x(array[x].values), scale_y(array[y].values)
    fine_x, fine_y = finer(nodes_x), finer(nodes_y)
    hat_x, hat_y = hats(nodes_x, fine_x), hats(nodes_y, fine_y)
    mean, half = field(array.values, hat_y, hat_x, confidence, resamples, rng)

    lines = contourpy.contour_generator(
        fine_x, fine_y, np.ma.masked_invalid(mean), line_type=contourpy.LineType.Separate
    ).lines(level)
    band = contourpy.contour_generator(
        fine_x,
        fine_y,
        np.ma.masked_invalid(in_halves(mean, half, level)),
        fill_type=contourpy.FillType.OuterOffset,
    ).filled(-1.0, 1.0)
    filled, offsets = band[0], band[1]
    points = [np.asarray(line) for line in lines]
    rings = [
        np.asarray(outer)[start:stop]
        for outer, bounds in zip(filled, offsets, strict=True)
        for start, stop in pairwise(np.asarray(bounds).tolist())
    ]
    vertices = np.concatenate([np.empty((0, 2)), *points])
    corners = np.concatenate([np.empty((0, 2)), *rings])
    lost = int((~np.isfinite(array.values)).sum())
    return xr.Dataset(
        {
            x: ("point", scale_x.inverse(vertices[:, 0]), array[x].attrs),
            y: ("point", scale_y.inverse(vertices[:, 1]), array[y].attrs),
            "curve": ("point", np.repeat(np.arange(len(points)), [len(p) for p in points])),
            f"{x}_band": ("corner", scale_x.inverse(corners[:, 0])),
            f"{y}_band": ("corner", scale_y.inverse(corners[:, 1])),
            "ring": ("corner", np.repeat(np.arange(len(rings)), [len(r) for r in rings])),
        },
        attrs={
            "measure": value,
            "level": level,
            "confidence": confidence,
            "seeds": array.sizes["seed"],
            "missing": f"{lost} of {array.size} students have no result",
        },
    )


def crossing(
    data: Labeled,
    along: str,
    value: str = "test_error",
    level: float = 0.1,
    *,
    confidence: float = 0.95,
    resamples: int = 400,
    rng: int = 0,
) -> xr.Dataset:
    """Find where a measure passes a level along one axis, for every value of all others.

    Parameters
    ----------
    data : Dataset or DataArray
        Results over the axes of a sweep, with at least two seeds.
    along : str
        Dim of numbers, at least two of them.
    value : str
        Variable that passes the level.
    level : float
        Mean over seeds at the crossing, in the units of `value`.
    confidence : float
        Coverage of the interval, in (0, 1).
    resamples : int
        Number of bootstrap resamples of the seeds.
    rng : int
        Seed of the resampling.

    Returns
    -------
    Dataset
        Over the dims of `value` but seed and `along`: ``{along}`` where the mean first passes the
        level, in units of the axis, NaN where it does not; ``{along}_low`` and ``{along}_high``,
        the outermost places at which the interval of the mean contains the level: an end of the
        axis, where it contains it there, is given as -inf (0 on a log axis) or inf, for the
        crossing may lie beyond; and ``crossings``, how often the mean passes the level. Missing
        cells are bridged by their neighbors and counted in the attributes.

    Raises
    ------
    ValueError
        If a variable, dim or seed is missing.

    Examples
    --------
    >>> error = xr.DataArray(
    ...     [[0.4, 0.2], [0.38, 0.22]], dims=["seed", "width"], coords={"width": [1.0, 2.0]}
    ... )
    >>> float(crossing(error, "width", level=0.3).width.round(12))
    1.5
    """
    dataset = prepare(data, value, (along,), "crossing")
    cells = [str(dim) for dim in dataset[value].dims if dim not in ("seed", along)]
    array = dataset[value].astype(np.float64).transpose("seed", along, *cells)
    if array.sizes[along] < 2:
        raise ValueError(
            f"crossing needs at least two values of {along} to lie between; got "
            f"{array.sizes[along]}. Add values to the axis."
        )
    scale = natural(array[along])
    nodes = scale(array[along].values)
    shape = array.shape[2:]
    columns = array.values.reshape(*array.shape[:2], -1)
    found = np.full((4, columns.shape[2]), np.nan)
    for column in range(columns.shape[2]):
        values = columns[:, :, column]
        there = np.isfinite(values).any(axis=0)
        if there.sum() < 2:
            found[3, column] = 0
            continue
        fine = finer(nodes[there])
        hat = hats(nodes[there], fine)
        mean, half = field(values[:, there, None], hat, np.ones((1, 1)), confidence, resamples, rng)
        found[:, column] = passages(fine, mean[:, 0], half[:, 0], level)
    place, low, high = (scale.inverse(found[k]).reshape(shape) for k in range(3))
    lost = int((~np.isfinite(array.values)).sum())
    coords = {k: c for k, c in array.coords.items() if not {"seed", along} & {*c.dims, k}}
    return xr.Dataset(
        {
            along: (cells, place, array[along].attrs),
            f"{along}_low": (cells, low),
            f"{along}_high": (cells, high),
            "crossings": (cells, found[3].astype(np.int64).reshape(shape)),
        },
        coords,
        {
            "measure": value,
            "level": level,
            "confidence": confidence,
            "seeds": array.sizes["seed"],
            "missing": f"{lost} of {array.size} students have no result",
        },
    )


def alone(array: xr.DataArray, dims: tuple[str, ...], function: str) -> xr.DataArray:
    """Give an array over (seed, y, x), or refuse one with more dims."""
    x, y = dims
    several = [d for d in array.dims if d not in (*dims, "seed") and array.sizes[d] > 1]
    if several:
        listed = ", ".join(map(str, several))
        first = repr(array[several[0]].values.tolist()[0])
        raise ValueError(
            f"{function} spans {x} and {y}; {array.name} also has {listed}. Select one value of "
            f"each first, e.g. dataset.sel({several[0]}={first})."
        )
    return array.squeeze([d for d in array.dims if d not in (*dims, "seed")], drop=True).transpose(
        "seed", y, x
    )


def finer(nodes: Floats) -> Floats:
    """Give the places of an axis and `FINER` - 1 between any two of them."""
    places = np.arange((len(nodes) - 1) * FINER + 1) / FINER
    return np.interp(places, np.arange(len(nodes)), nodes)


def hats(nodes: Floats, places: Floats) -> Floats:
    """Weights of linear interpolation from the nodes of an axis, shape (places, nodes)."""
    return np.stack([np.interp(places, nodes, row) for row in np.eye(len(nodes))], axis=1)


def field(
    values: Floats, hat_y: Floats, hat_x: Floats, confidence: float, resamples: int, rng: int
) -> tuple[Floats, Floats]:
    """Interpolate the mean over seeds, and half the width of its interval.

    Parameters
    ----------
    values : ndarray, shape (seeds, y, x)
        A NaN is a missing result.
    hat_y, hat_x : ndarray, shapes (fine y, y) and (fine x, x)
        Weights of the interpolation.
    confidence, resamples, rng
        As in `boundary`.

    Returns
    -------
    tuple of ndarray, each of shape (fine y, fine x)
        NaN next to a cell without any result; the half width is infinite next to one with a single
        result.
    """
    seeds, *grid = values.shape
    flat = values.reshape(seeds, -1)
    known = np.isfinite(flat).sum(axis=0)
    with np.errstate(invalid="ignore"):
        mean = (np.nansum(flat, axis=0) / np.where(known, known, np.nan)).reshape(grid)
    fine = (len(hat_y), len(hat_x))

    drawn = np.concatenate(list(resampled(flat, resamples, rng)))
    # A cell that no drawn seed has keeps its mean in that resample.
    drawn = np.where(np.isfinite(drawn), drawn, mean.reshape(-1))
    drawn = np.where(known > 0, drawn, 0.0).reshape(-1, *grid)
    error = np.empty(fine)
    rows = max(1, 4_000_000 // (len(drawn) * fine[1]))
    across = drawn @ hat_x.T
    for start in range(0, fine[0], rows):
        part = np.einsum("fy,byx->bfx", hat_y[start : start + rows], across, optimize=True)
        error[start : start + rows] = spread(
            iter([part.reshape(len(drawn), -1)]), part[0].size
        ).reshape(part.shape[1:])

    def touching(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return np.asarray((hat_y > 0).astype(float) @ cells @ (hat_x > 0).T.astype(float) > 0)

    fewest = np.full(fine, seeds)
    for count in range(seeds - 1, -1, -1):
        fewest[touching(known.reshape(grid) == count)] = count
    center = hat_y @ np.nan_to_num(mean) @ hat_x.T
    with np.errstate(invalid="ignore"):
        half = np.where(fewest >= 2, student(fewest, confidence) * error, np.inf)
    return np.where(fewest > 0, center, np.nan), np.where(fewest > 0, half, np.nan)


def in_halves(mean: Floats, half: Floats, level: float) -> Floats:
    """Distance of a mean from the level in halves of its interval: the band is from -1 to 1."""
    away = mean - level
    largest = np.abs(away[np.isfinite(away)]).max(initial=1e-300)
    return np.asarray(away / np.maximum(half, 1e-9 * largest))  # no band is thinner than its line


def passages(places: Floats, mean: Floats, half: Floats, level: float) -> Floats:
    """First place where a mean passes a level, ends of where it may, and the number of passages."""
    steps = np.diff(places)
    above = mean >= level
    turns = np.flatnonzero(above[1:] != above[:-1])
    rise = np.where(np.diff(mean) == 0, 1.0, np.diff(mean))
    passed = (places[:-1] + steps * (level - mean[:-1]) / rise)[turns]
    away = in_halves(mean, half, level)
    # Along each step `away` is a line: the share of it at which the line enters and leaves +-1.
    change = np.diff(away)
    safe = np.where(change == 0, 1.0, change)
    ends = np.sort([(-1.0 - away[:-1]) / safe, (1.0 - away[:-1]) / safe], axis=0)
    level_inside = np.where(np.abs(away[:-1]) <= 1, np.array([[-1.0], [2.0]]), np.nan)
    enter, leave = np.where(change == 0, level_inside, ends)
    inside = np.flatnonzero((enter <= 1) & (leave >= 0))
    if not len(inside):
        return np.array([np.nan, np.nan, np.nan, 0])
    low = places[inside[0]] + steps[inside[0]] * max(enter[inside[0]], 0.0)
    high = places[inside[-1]] + steps[inside[-1]] * min(leave[inside[-1]], 1.0)
    low = -np.inf if abs(away[0]) <= 1 else min([low, *passed])
    high = np.inf if abs(away[-1]) <= 1 else max([high, *passed])
    return np.array([passed[0] if len(passed) else np.nan, low, high, len(passed)])
