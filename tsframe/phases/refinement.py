"""What to train next to know a boundary better: values of axes, seeds, and cells, in one batch.

The quads between neighboring values of the axes are looked at. Where the boundary passes a quad,
its corners are to be trained; where the quad is longer along an axis than the width asked for, the
axis is split in its middle and the children that the boundary passes are to be trained; where the
seeds place the boundary less exactly than asked, the corners are to have more seeds. Nothing else
is asked for, so a round costs a strip along the boundary and not a grid. Rounds follow each other
until none asks for anything.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tsframe.phases.fields import field
from tsframe.phases.scales import natural, Scale
from tsframe.phases.seeds import Floats, prepare

__all__ = ["propose"]

TODO = 0  # state of a cell that waits
FASTEST = 4  # times more seeds in one round


def propose(
    data: xr.Dataset,
    axes: Sequence[str],
    value: str = "test_error",
    level: float = 0.1,
    *,
    band: float = 0.1,
    most_seeds: int = 30,
    budget: int | None = None,
    confidence: float = 0.95,
    resamples: int = 400,
    rng: int = 0,
) -> xr.Dataset:
    """Propose which students to train next, to know where a measure has a level.

    Parameters
    ----------
    data : Dataset
        Results over the axes of a sweep, with at least two seeds where there are any. Cells whose
        ``state`` is settled or failed are not asked for again.
    axes : sequence of str
        One or two dims of numbers that are refined; every combination of the other dims has a
        boundary of its own.
    value : str
        Variable whose boundary is sought.
    level : float
        Mean over seeds at the boundary.
    band : float
        Width asked for, in (0, 1), as a fraction of each axis on its natural scale: of the quads
        that the boundary passes, and of the band in which the seeds place it, across the boundary.
    most_seeds : int
        Number of seeds beyond which no cell gets more, >= 2.
    budget : int, optional
        Largest number of students to ask for; those where the boundary is least known come first.
    confidence : float
        Coverage of the band, in (0, 1).
    resamples, rng : int
        Number of bootstrap resamples of the seeds, and their seed.

    Returns
    -------
    Dataset
        `wanted`, booleans over the dims of `value`, with the new values among its coordinates:
        what to train, by ``run(sweep.over(**axes), store, only=wanted)``. Attributes: ``band``, the
        width now, the largest over the boundary as a fraction of an axis, inf where it is not
        known, 0 without a boundary; ``students``, the number wanted; ``left``, the number of those
        that the budget left out.

    Raises
    ------
    ValueError
        If a variable, dim or seed is missing, or a number is out of range.

    Examples
    --------
    >>> slope = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    >>> error = xr.DataArray(
    ...     slope + np.array([[-0.01], [0.01]]),
    ...     dims=["seed", "slope"],
    ...     coords={"seed": [0, 1], "slope": slope},
    ... )
    >>> found = propose(error.to_dataset(name="test_error"), ["slope"], level=1.3)
    >>> found.slope.values.tolist(), found.students
    ([0.0, 1.0, 1.5, 2.0, 3.0, 4.0], 2)
    """
    axes = list(axes)
    check(axes, band, most_seeds, budget)
    dataset = prepare(data, value, axes, "propose")
    array = dataset[value].astype(np.float64)
    others = [str(dim) for dim in array.dims if dim not in ("seed", *axes)]
    array = array.transpose("seed", *others, *axes)
    for dim in axes:
        if array.sizes[dim] < 2:
            raise ValueError(
                f"propose needs at least two values of {dim} to lie between; got "
                f"{array.sizes[dim]}. Add values to the axis."
            )
    settings = (confidence, resamples, rng)
    asks = [
        (place, ask)
        for place in itertools.product(*(range(array.sizes[dim]) for dim in others))
        for ask in strip(array[(slice(None), *place)], axes, level, band, most_seeds, settings)
    ]
    return batch(dataset, array, axes, others, asks, budget)


def check(axes: list[str], band: float, most_seeds: int, budget: int | None) -> None:
    """Refuse numbers that make no proposal."""
    if not 1 <= len(axes) <= 2 or len(set(axes)) < len(axes) or "seed" in axes:
        raise ValueError(
            f"axes must be one or two different dims of numbers, seed not among them; got {axes}."
        )
    if not 0.0 < band < 1.0:
        raise ValueError(f"band must lie in (0, 1), a fraction of an axis; got {band}. Try 0.1.")
    if most_seeds < 2:
        raise ValueError(f"most_seeds must be at least 2; got {most_seeds}.")
    if budget is not None and budget < 1:
        raise ValueError(f"budget must be at least 1 student, or None; got {budget}.")


@dataclass(frozen=True)
class Ask:
    """One place whose students are asked for.

    Parameters
    ----------
    at : tuple of float
        Values of the refined axes.
    seeds : int
        How many seeds it is to have.
    width : float
        How far the boundary is from known there, as a fraction of an axis.
    """

    at: tuple[float, ...]
    seeds: int
    width: float


def strip(
    slab: xr.DataArray,
    axes: list[str],
    level: float,
    band: float,
    most_seeds: int,
    settings: tuple[float, int, int],
) -> list[Ask]:
    """Ask for the strip along the boundary of one slab, of dims (seed, *axes)."""
    grids = [slab[dim].values for dim in axes]
    scales = [natural(slab[dim]) for dim in axes]
    whole = [dim.dtype.kind in "iu" for dim in grids]
    values = slab.values if len(axes) == 2 else slab.values[:, None, :]
    natural_places = [scale(grid) for scale, grid in zip(scales, grids, strict=True)]
    units = [(at - at[0]) / (at[-1] - at[0]) for at in natural_places]  # fractions of an axis
    padded = units if len(axes) == 2 else [np.zeros(1), units[0]]
    hats = (np.eye(len(padded[0])), np.eye(len(padded[1])))
    mean, half = field(values, (padded[0], padded[1]), hats, *settings)
    known = np.isfinite(values).sum(axis=0)
    basis = int(known[known > 0].min()) if (known > 0).any() else 2
    asks: list[Ask] = []
    for quad in passed(mean, level):
        corners = list(itertools.product(*[sorted({*side}) for side in quad]))
        extent = [float(at[side[1]] - at[side[0]]) for at, side in zip(padded, quad, strict=True)]
        thick = thickness(mean, half, corners, extent)
        width = max([thick, *extent])
        have = min(int(known[corner]) for corner in corners)
        seeds = basis
        if thick > band and have >= 2:
            growth = FASTEST if not math.isfinite(thick) else min(FASTEST, (thick / band) ** 2)
            seeds = max(basis, min(most_seeds, math.ceil(have * growth)))
        places = children(mean, quad, extent, band, level)
        for at in places:
            spot = [
                between(grid, scale, side, share, kind)
                for grid, scale, side, share, kind in zip(
                    grids, scales, quad[-len(axes) :], at[-len(axes) :], whole, strict=True
                )
            ]
            if None not in spot:
                asks.append(Ask(tuple(float(v) for v in spot if v is not None), seeds, width))
    return asks


def passed(mean: Floats, level: float) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """List the quads whose corners lie at both sides of a level, as pairs of rows and columns."""
    rows, columns = mean.shape
    row_sides = [(k, k + 1) for k in range(rows - 1)] or [(0, 0)]
    found = []
    for row in row_sides:
        for column in ((k, k + 1) for k in range(columns - 1)):
            corners = mean[np.ix_(sorted({*row}), column)]
            if np.isfinite(corners).all() and corners.min() < level <= corners.max():
                found.append((row, column))
    return found


def thickness(
    mean: Floats, half: Floats, corners: list[tuple[int, ...]], extent: list[float]
) -> float:
    """Width of the band across the boundary in a quad, as a fraction of an axis."""
    rows, columns = sorted({c[0] for c in corners}), sorted({c[1] for c in corners})
    block = mean[np.ix_(rows, columns)]
    slopes = [
        float(np.diff(block, axis=axis).mean()) / length
        for axis, length in enumerate(extent)
        if length > 0
    ]
    steepness = math.hypot(*slopes)
    most = float(half[np.ix_(rows, columns)].mean())
    return 2 * most / steepness if steepness > 0 else (math.inf if most > 0 else 0.0)


def children(
    mean: Floats,
    quad: tuple[tuple[int, int], tuple[int, int]],
    extent: list[float],
    band: float,
    level: float,
) -> set[tuple[float, ...]]:
    """Give the corners to train in a quad, as shares of its sides: 0, 1/2 or 1.

    A side longer than the band is split. The mean is bilinear in the quad; the corners of the
    children that the boundary passes are wanted.
    """
    shares = [
        [0.0]
        if side[0] == side[1]
        else [0.0, 0.5, 1.0]
        if length > band * (1 + 1e-9)
        else [0.0, 1.0]
        for side, length in zip(quad, extent, strict=True)
    ]
    (r0, r1), (c0, c1) = quad
    row, column = np.array(shares[0])[:, None], np.array(shares[1])
    inside = (1 - row) * ((1 - column) * mean[r0, c0] + column * mean[r0, c1]) + row * (
        (1 - column) * mean[r1, c0] + column * mean[r1, c1]
    )
    wanted: set[tuple[float, ...]] = set()
    for rows, columns in passed(inside, level):
        wanted |= {(shares[0][r], shares[1][c]) for r in rows for c in columns}
    return wanted


def between(
    grid: NDArray[np.float64] | NDArray[np.int64],
    scale: Scale,
    side: tuple[int, int],
    share: float,
    whole: bool,
) -> float | None:
    """Give a value of an axis at a share of a side: an end, or a short number near the middle."""
    low, high = float(grid[side[0]]), float(grid[side[1]])
    if share in (0.0, 1.0):
        return high if share else low
    ends = scale(np.array([low, high]))
    middle = float(scale.inverse(ends.mean()))
    if whole:
        return float(round(middle)) if low < round(middle) < high else None
    first, last = scale.inverse(ends[0] + (ends[1] - ends[0]) * np.array([0.4, 0.6]))
    for digits in range(1, 17):
        short = float(f"{middle:.{digits}g}")
        if first <= short <= last:
            return short
    return middle


def batch(
    dataset: xr.Dataset,
    array: xr.DataArray,
    axes: list[str],
    others: list[str],
    asks: list[tuple[tuple[int, ...], Ask]],
    budget: int | None,
) -> xr.Dataset:
    """Turn what was asked for into a mask over the grown grid, less what is there."""
    values = {dim: set(array[dim].values.tolist()) for dim in axes}
    whole = {dim: array[dim].dtype.kind in "iu" for dim in axes}
    for _, ask in asks:
        for dim, v in zip(axes, ask.at, strict=True):
            values[dim].add(int(v) if whole[dim] else v)
    old = sorted(array["seed"].values.tolist())
    more = max([len(old), *(ask.seeds for _, ask in asks)]) - len(old)
    seeds = [*old, *range(old[-1] + 1, old[-1] + 1 + more)]
    coords: dict[str, list[Any]] = {"seed": seeds}
    coords |= {dim: array[dim].values.tolist() for dim in others}
    coords |= {dim: sorted(values[dim]) for dim in axes}
    shape = [len(along) for along in coords.values()]
    urgency = np.zeros(shape)
    index = {dim: {v: k for k, v in enumerate(coords[dim])} for dim in axes}
    for place, ask in asks:
        spot = (*place, *(index[dim][v] for dim, v in zip(axes, ask.at, strict=True)))
        for seed in range(ask.seeds):
            urgency[(seed, *spot)] = max(urgency[(seed, *spot)], ask.width)
    there = array.notnull()
    if "state" in dataset:  # what diverged or failed is not asked for again
        there |= (dataset["state"] != TODO).transpose(*array.dims)
    old_places = [np.searchsorted(along, array[dim].values) for dim, along in coords.items()]
    grid = np.ix_(*old_places)
    urgency[grid] = np.where(there.values, 0.0, urgency[grid])
    wanted = urgency > 0
    asked = int(wanted.sum())
    if budget is not None and asked > budget:
        order = np.argsort(-urgency, axis=None, kind="stable")[:budget]
        wanted = np.zeros(urgency.size, bool)
        wanted[order] = True
        wanted = wanted.reshape(shape)
    dims = tuple(coords)
    mask = xr.DataArray(wanted, dims=dims, coords=coords)
    for name in (*axes, "seed"):  # values that nobody asks for any more
        used = wanted.any(axis=tuple(k for k, dim in enumerate(dims) if dim != name))
        mask = mask.isel({name: used | np.isin(coords[name], array[name].values)})
    return xr.Dataset(
        {"wanted": mask},
        attrs={
            "band": max([0.0, *(ask.width for _, ask in asks)]),
            "students": int(wanted.sum()),
            "left": asked - int(wanted.sum()),
        },
    )
