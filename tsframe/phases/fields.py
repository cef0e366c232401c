"""A mean over seeds between the cells of a grid: interpolated on natural scales, with its interval.

Between the values of the axes the mean is taken as linear, over two axes as bilinear, and its
interval is that of the interpolated mean, not an interpolated interval. Cells without a result are
bridged by their neighbors.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tsframe.phases.seeds import BLOCK, Floats, resampled, spread, student

__all__ = ["bridges", "field", "finer", "hats", "in_halves"]

FINER = 8  # places looked at between two values of an axis


def field(
    values: Floats,
    places: tuple[Floats, Floats],
    hats: tuple[Floats, Floats],
    confidence: float,
    resamples: int,
    rng: int,
) -> tuple[Floats, Floats]:
    """Interpolate the mean over seeds, and half the width of its interval.

    Parameters
    ----------
    values : ndarray, shape (seeds, y, x)
        A NaN is a missing result.
    places : tuple of ndarray, shapes (y,) and (x,)
        Of the axes, on their natural scales.
    hats : tuple of ndarray, shapes (fine y, y) and (fine x, x)
        Weights of the interpolation.
    confidence, resamples, rng
        As in `boundary`.

    Returns
    -------
    tuple of ndarray, each of shape (fine y, fine x)
        NaN next to a cell that has no result and none at both sides; the half width is infinite
        next to one with a single result.
    """
    seeds, *grid = values.shape
    hat_y, hat_x = hats
    flat = values.reshape(seeds, -1)
    known = np.isfinite(flat).sum(axis=0)
    with np.errstate(invalid="ignore"):
        mean = np.nansum(flat, axis=0) / np.where(known, known, np.nan)
    drawn = np.concatenate(list(resampled(flat, resamples, rng)))
    # A cell that no drawn seed has keeps its mean in that resample.
    drawn = np.where(np.isfinite(drawn), drawn, mean)
    for cells, one, other, weight in bridges(known.reshape(grid) > 0, places):
        for rows in (mean, drawn):
            rows[..., cells] = (1 - weight) * rows[..., one] + weight * rows[..., other]
        known[cells] = np.minimum(known[one], known[other])
    drawn = np.where(known > 0, drawn, 0.0).reshape(-1, *grid)

    fine = (len(hat_y), len(hat_x))
    error = np.empty(fine)
    step = max(1, BLOCK // (len(drawn) * fine[1]))
    across = drawn @ hat_x.T
    for start in range(0, fine[0], step):
        part = np.einsum("fy,byx->bfx", hat_y[start : start + step], across, optimize=True)
        deviation = spread(iter([part.reshape(len(drawn), -1)]), part[0].size)
        error[start : start + step] = deviation.reshape(part.shape[1:])

    fewest = np.full(fine, seeds)
    for count in range(seeds - 1, -1, -1):
        cells = (known.reshape(grid) == count).astype(np.float64)
        fewest[(hat_y > 0) @ cells @ (hat_x > 0).T > 0] = count
    center = hat_y @ np.nan_to_num(mean).reshape(grid) @ hat_x.T
    with np.errstate(invalid="ignore"):
        half = np.where(fewest >= 2, student(fewest, confidence) * error, np.inf)
    return np.where(fewest > 0, center, np.nan), np.where(fewest > 0, half, np.nan)


def bridges(
    known: NDArray[np.bool_], places: tuple[Floats, Floats]
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp], Floats]]:
    """Find how to interpolate cells without a result between two that have one.

    A cell is bridged along the axis on which its neighbors are nearer, as a fraction of the axis;
    what was bridged serves the next pass.

    Parameters
    ----------
    known : ndarray of bool, shape (y, x)
        Which cells have a result.
    places : tuple of ndarray, shapes (y,) and (x,)
        Of the axes, on their natural scales.

    Yields
    ------
    tuple of ndarray, each of shape (cells,)
        Numbers of the cells in the flattened grid, of the two cells that they lie between, and the
        weight of the second.
    """
    known = known.copy()
    numbers = np.arange(known.size).reshape(known.shape)
    while not known.all():
        best = np.full(known.shape, np.inf)
        ends = np.zeros((2, *known.shape), np.intp)
        weight = np.zeros(known.shape)
        for axis in (0, 1):
            steps = np.arange(known.shape[axis])
            steps = steps[:, None] if axis == 0 else steps
            before = np.maximum.accumulate(np.where(known, steps, -1), axis=axis)
            behind = np.flip(
                np.minimum.accumulate(
                    np.flip(np.where(known, steps, known.shape[axis]), axis), axis=axis
                ),
                axis,
            )
            between = (before >= 0) & (behind < known.shape[axis]) & ~known
            low, high = np.where(between, before, 0), np.where(between, behind, 0)
            at = places[axis]
            length = max(at[-1] - at[0], 1e-300)
            span = np.where(between, (at[high] - at[low]) / length, np.inf)
            nearer = span < best
            best = np.where(nearer, span, best)
            gap = np.where(between, at[high] - at[low], 1.0)
            weight = np.where(nearer, (at[steps] - at[low]) / gap, weight)
            for k, end in enumerate((low, high)):
                ends[k] = np.where(nearer, np.take_along_axis(numbers, end, axis), ends[k])
        found = np.isfinite(best)
        if not found.any():
            return
        yield numbers[found], ends[0][found], ends[1][found], weight[found]
        known |= found


def finer(nodes: Floats) -> Floats:
    """Give the places of an axis and `FINER` - 1 between any two of them."""
    places = np.arange((len(nodes) - 1) * FINER + 1) / FINER
    return np.interp(places, np.arange(len(nodes)), nodes)


def hats(nodes: Floats, places: Floats) -> Floats:
    """Weights of linear interpolation from the nodes of an axis, shape (places, nodes)."""
    return np.stack([np.interp(places, nodes, row) for row in np.eye(len(nodes))], axis=1)


def in_halves(mean: Floats, half: Floats, level: float) -> Floats:
    """Distance of a mean from the level in halves of its interval: the band is from -1 to 1."""
    away = mean - level
    largest = np.abs(away[np.isfinite(away)]).max(initial=1e-300)
    return np.asarray(away / np.maximum(half, 1e-9 * largest))  # no band is thinner than its line
