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

from tsframe.phases.fields import field, finer, hats, in_halves
from tsframe.phases.scales import natural
from tsframe.phases.seeds import Floats, Labeled, prepare

__all__ = ["alone", "boundary", "crossing", "level_curve"]


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
    array = alone(dataset[value], ("seed", y, x), "boundary")
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
    mean, half = field(array.values, (nodes_y, nodes_x), (hat_y, hat_x), confidence, resamples, rng)
    band = contourpy.contour_generator(
        fine_x,
        fine_y,
        np.ma.masked_invalid(in_halves(mean, half, level)),
        fill_type=contourpy.FillType.OuterOffset,
    ).filled(-1.0, 1.0)
    rings = [
        np.asarray(outer)[start:stop]
        for outer, bounds in zip(band[0], band[1], strict=True)
        for start, stop in pairwise(np.asarray(bounds).tolist())
    ]
    corners = np.concatenate([np.empty((0, 2)), *rings])
    lost = int((~np.isfinite(array.values)).sum())
    return xr.Dataset(
        {
            **curves(array, x, y, (fine_x, fine_y), mean, level),
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


def level_curve(array: xr.DataArray, x: str, y: str, level: float) -> xr.Dataset:
    """Draw where an array without seeds has a level, e.g. a prediction of theory, as data.

    Parameters
    ----------
    array : DataArray
        Over `x` and `y`, ascending or not; other dims must have one value.
    x, y : str
        Dims of numbers that span the picture.
    level : float
        In the units of the array.

    Returns
    -------
    Dataset
        `x`, `y` and ``curve`` over the dim ``point``, as in `boundary`.

    Raises
    ------
    ValueError
        If a dim is missing, or another one has several values.

    Examples
    --------
    >>> place = np.linspace(-2.0, 2.0, 5)
    >>> array = xr.DataArray(place + place[:, None], coords={"b": place, "a": place})
    >>> found = level_curve(array, "a", "b", 0.5)
    >>> bool(np.allclose(found.a + found.b, 0.5))
    True
    """
    for dim in (x, y):
        if dim not in array.dims:
            have = ", ".join(map(str, array.dims)) or "none"
            raise ValueError(f"level_curve found no dim {dim!r}; the array has the dims {have}.")
    array = alone(array, (y, x), "level_curve").sortby([x, y])
    places = natural(array[x])(array[x].values), natural(array[y])(array[y].values)
    lines = curves(array, x, y, places, array.values.astype(np.float64), level)
    return xr.Dataset(lines, attrs={"measure": str(array.name or ""), "level": level})


def curves(
    array: xr.DataArray, x: str, y: str, places: tuple[Floats, Floats], mean: Floats, level: float
) -> dict[str, tuple[str, NDArray[np.float64] | NDArray[np.int64], dict[str, str]]]:
    """Give the variables of the curves on which a mean, over natural places, has a level."""
    lines = [
        np.asarray(line)
        for line in contourpy.contour_generator(
            *places, np.ma.masked_invalid(mean), line_type=contourpy.LineType.Separate
        ).lines(level)
    ]
    vertices = np.concatenate([np.empty((0, 2)), *lines])
    count = np.repeat(np.arange(len(lines)), [len(line) for line in lines])
    return {
        x: ("point", natural(array[x]).inverse(vertices[:, 0]), array[x].attrs),
        y: ("point", natural(array[y]).inverse(vertices[:, 1]), array[y].attrs),
        "curve": ("point", count, {}),
    }


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
        there = np.isfinite(columns[:, :, column]).any(axis=0)
        if there.sum() < 2:
            found[3, column] = 0
            continue
        ends = np.flatnonzero(there)[[0, -1]]
        fine = finer(nodes[ends[0] : ends[1] + 1])
        mean, half = field(
            columns[:, :, column, None],
            (nodes, np.zeros(1)),
            (hats(nodes, fine), np.ones((1, 1))),
            confidence,
            resamples,
            rng,
        )
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
    """Give an array over these dims, in this order, or refuse one with several values of more."""
    others = [dim for dim in array.dims if dim not in dims]
    several = [dim for dim in others if array.sizes[dim] > 1]
    if several:
        first = repr(array[several[0]].values.tolist()[0])
        raise ValueError(
            f"{function} spans {' and '.join(dims[:-3:-1])}; {array.name or 'the array'} also has "
            f"{', '.join(map(str, several))}. Select one value of each first, e.g. "
            f"dataset.sel({several[0]}={first})."
        )
    return array.squeeze(others, drop=True).transpose(*dims)


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
