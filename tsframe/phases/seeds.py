"""What seeds tell about a mean: the bootstrap that every interval of this room stands on.

Seeds are resampled whole: one draw takes the same seeds in every cell, because a seed has the same
teacher and the same noise all over the grid, so that errors common to neighbors stay common. Of
each resample the statistic is computed anew, and its standard deviation over resamples is the
standard error (Efron 1979). For few seeds this is too small by sqrt((k - 1) / k) and too sure of
itself; both are set right as Hesterberg 2015 (The American Statistician 69, 371, section 5) says:
the interval is estimate +- t sqrt(k / (k - 1)) times the standard error, with Student's quantile t
of k - 1 degrees of freedom. For a plain mean this is Student's interval. Cells where fewer than
two seeds have a value have no interval.
"""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import stdtrit

__all__ = ["BLOCK", "Floats", "Labeled", "interval", "prepare", "resampled", "student"]

Floats: TypeAlias = NDArray[np.float64]
Labeled: TypeAlias = xr.Dataset | xr.DataArray

BLOCK = 4_000_000  # numbers of one array in work at once


def having(data: Labeled, value: str, dims: Sequence[str], function: str) -> xr.Dataset:
    """Take a Dataset, or an array as one, that has a variable over some dims at least.

    Parameters
    ----------
    data, value, dims, function
        As in `prepare`.

    Returns
    -------
    Dataset
        The data as they are.

    Raises
    ------
    TypeError
        If they are neither a Dataset nor a DataArray.
    ValueError
        If the variable or a dim is missing.
    """
    if not isinstance(data, xr.Dataset | xr.DataArray):
        raise TypeError(
            f"{function} takes an xarray Dataset or DataArray, whose dims have names; got "
            f"{type(data).__name__}. tsframe.open_store(path) gives one, or make "
            "xarray.DataArray(values, coords={...})."
        )
    dataset = data.to_dataset(name=value) if isinstance(data, xr.DataArray) else data
    if value not in dataset:
        have = ", ".join(map(str, dataset.data_vars))
        raise ValueError(f"{function} found no variable {value!r}; got {have}. Name one of these.")
    for dim in dims:
        if dim not in dataset[value].dims:
            have = ", ".join(map(str, dataset[value].dims)) or "none"
            raise ValueError(f"{function} found no dim {dim!r} in {value}; its dims are {have}.")
    return dataset


def prepare(data: Labeled, value: str, dims: Sequence[str], function: str) -> xr.Dataset:
    """Take the variables of a Dataset that have seeds, with numbers along its dims ascending.

    Parameters
    ----------
    data : Dataset or DataArray
        Results over the axes of a sweep; a DataArray is taken as the variable `value`.
    value : str
        Variable that must be there.
    dims : sequence of str
        Dims that it must have.
    function : str
        Name of the caller, for messages.

    Returns
    -------
    Dataset
        With "seed" as the first dim of `value`, in float64.

    Raises
    ------
    ValueError
        If the variable, a dim, or a second seed is missing.
    """
    dataset = having(data, value, (*dims, "seed"), function)
    if dataset.sizes["seed"] < 2:
        raise ValueError(
            f"{function} needs at least 2 seeds to know how sure a result is; {value} has "
            f"{dataset.sizes['seed']}. Add seeds to the sweep."
        )
    numbers = [dim for dim in dataset[value].dims if dataset[dim].dtype.kind in "iuf"]
    return dataset.sortby(numbers).transpose("seed", ..., missing_dims="ignore")


def resampled(values: Floats, resamples: int, rng: int) -> Iterator[Floats]:
    """Go through bootstrap means over seeds, the same seeds in every cell of a resample.

    Parameters
    ----------
    values : ndarray, shape (seeds, cells)
        A NaN is a missing result.
    resamples : int
        Number of resamples.
    rng : int
        Seed of the resampling, so that the same data give the same interval.

    Yields
    ------
    ndarray, shape (block, cells)
        Means over the seeds drawn that have a result; NaN where none of them has.
    """
    seeds, cells = values.shape
    generator = np.random.default_rng(rng)
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0)
    step = max(1, BLOCK // max(cells, 1))
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        counts = generator.multinomial(seeds, np.full(seeds, 1 / seeds), rows).astype(np.float64)
        with np.errstate(invalid="ignore"):
            yield (counts @ filled) / (counts @ known)


def student(known: NDArray[np.integer], confidence: float) -> Floats:
    """Give the factor from a bootstrap standard error to half an interval.

    Parameters
    ----------
    known : ndarray of int
        Number of seeds k with a result.
    confidence : float
        Coverage wanted, in (0, 1).

    Returns
    -------
    ndarray
        t sqrt(k / (k - 1)), and infinity where k < 2.

    Raises
    ------
    ValueError
        If the confidence is out of range.
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie in (0, 1); got confidence={confidence}. Try 0.95.")
    k = np.maximum(known, 2).astype(np.float64)
    factor = stdtrit(k - 1, (1 + confidence) / 2) * np.sqrt(k / (k - 1))
    return np.where(np.asarray(known) >= 2, factor, np.inf)


def interval(
    values: Floats, confidence: float, resamples: int, rng: int
) -> tuple[Floats, Floats, Floats]:
    """Mean over seeds of every cell, and its interval.

    Parameters
    ----------
    values : ndarray, shape (seeds, cells)
        A NaN is a missing result.
    confidence : float
        Coverage wanted, in (0, 1).
    resamples : int
        Number of bootstrap resamples.
    rng : int
        Seed of the resampling.

    Returns
    -------
    tuple of ndarray, each of shape (cells,)
        Estimate, low and high end; NaN where no seed has a result, and without ends (-inf, inf)
        where only one has.
    """
    known = np.isfinite(values).sum(axis=0)
    with np.errstate(invalid="ignore"):
        mean = np.nansum(values, axis=0) / np.where(known, known, np.nan)
    error = spread(resampled(values, resamples, rng), values.shape[1])
    half = np.where(known < 2, np.inf, error) * student(known, confidence)
    return mean, mean - half, mean + half


def spread(blocks: Iterator[Floats], cells: int) -> Floats:
    """Give the standard deviation over resamples in blocks, shape (cells,); NaN are left out."""
    count, total, squares = np.zeros(cells), np.zeros(cells), np.zeros(cells)
    shift: Floats | None = None
    for block in blocks:
        if shift is None:  # so that no digits are lost where the spread is small
            shift = np.where(np.isfinite(block[0]), block[0], 0.0)
        inside = np.isfinite(block)
        away = np.where(inside, block - shift, 0.0)
        count += inside.sum(axis=0)
        total += away.sum(axis=0)
        squares += (away**2).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = (squares - total**2 / count) / count
    return np.sqrt(np.maximum(variance, 0.0))
