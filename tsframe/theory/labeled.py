"""Arguments with names: what every law of theory makes of numbers, arrays and DataArrays.

A law broadcasts its arguments by the names of their dims. A DataArray brings its names and
coordinates along; a plain list of numbers takes the name of the argument for its dim, and its
values for the coordinate. Modes of the inputs - eigenvalues, and the target's coefficients in the
eigenbasis - lie along the dim "mode", which every law sums over.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "CHUNK",
    "Floats",
    "Numbers",
    "by_cells",
    "check_dims",
    "labeled",
    "log_spectrum",
    "over_modes",
    "power_of",
    "rows_and_labels",
    "target_over",
]

Floats: TypeAlias = NDArray[np.float64]
Numbers: TypeAlias = float | Sequence[float] | NDArray[np.floating | np.integer] | xr.DataArray

CHUNK = 2**18  # numbers of one array in work at once: 2 MB, within the cache of a core


def labeled(
    name: str,
    value: Numbers,
    low: float = -np.inf,
    high: float = np.inf,
    strict: bool = False,
    finite: bool = True,
) -> xr.DataArray:
    """Give an argument its names, and refuse values out of range.

    Parameters
    ----------
    name : str
        Name of the argument, and of its dim where a plain list is given.
    value : float, sequence or DataArray
        One number, a list of numbers, or an array with names.
    low, high : float
        Smallest and largest value allowed.
    strict : bool
        Whether `low` and `high` themselves are refused.
    finite : bool
        Whether infinity is refused even where the range contains it.

    Returns
    -------
    DataArray
        float64, with the dims and coordinates of the argument.

    Raises
    ------
    ValueError
        If a number is out of range or NaN.

    Examples
    --------
    >>> labeled("n", [50, 100]).dims
    ('n',)
    """
    array = _numbers(name, value, dim=name)
    numbers = array.values
    inside = (numbers > low) & (numbers < high) if strict else (numbers >= low) & (numbers <= high)
    wrong = ~(inside & np.isfinite(numbers)) if finite else ~inside
    if np.any(wrong):
        signs = (">", "<") if strict else (">=", "<=")
        limits = [f"{s} {edge:g}" for s, edge in zip(signs, (low, high), strict=True)]
        limits = [limit for limit, edge in zip(limits, (low, high), strict=True) if abs(edge) < 1e9]
        allowed = " and ".join([*limits, *(["finite"] if finite else [])])
        raise ValueError(
            f"{name} must be {allowed}; got {name}={float(numbers[wrong][0])}. "
            "Leave such cells out of the grid."
        )
    return array


def over_modes(name: str, value: Numbers) -> xr.DataArray:
    """Give an array over modes its names.

    Parameters
    ----------
    name : str
        Name of the argument.
    value : float, sequence or DataArray
        A list of numbers, one a mode; or a DataArray with the dim "mode"; or one number for all
        modes.

    Returns
    -------
    DataArray
        float64; a list has the single dim "mode".

    Raises
    ------
    ValueError
        If it contains NaN.
    """
    array = _numbers(name, value, dim="mode")
    if np.isnan(array.values).any():
        raise ValueError(
            f"{name} must be numbers; got NaN at {int(np.isnan(array.values).sum())} places. Where "
            "spectra of different length share one array, fill log eigenvalues with -inf and "
            "coefficients with 0."
        )
    return array


def log_spectrum(eigenvalues: Numbers, log: bool = False) -> xr.DataArray:
    """Take the logarithm of eigenvalues, so that no spectrum is too steep.

    Parameters
    ----------
    eigenvalues : sequence or DataArray, with the dim "mode"
        Positive, in any order, units of variance.
    log : bool
        Whether `eigenvalues` are natural logs already; -inf then stands for a mode that is absent.

    Returns
    -------
    DataArray
        Natural logs of the eigenvalues.

    Raises
    ------
    ValueError
        If there is none, or one is not positive and finite, or so small that float64 has
        rounded it.
    """
    array = over_modes("eigenvalues", eigenvalues)
    if "mode" not in array.dims:
        raise ValueError(
            f'eigenvalues must have the dim "mode"; got dims {array.dims}. Give a list, or rename '
            'the dim: eigenvalues.rename(YOURS="mode").'
        )
    if not array.sizes["mode"]:
        raise ValueError("eigenvalues must have at least one mode; got none.")
    if log:
        if np.any(array.values == np.inf):
            raise ValueError("log eigenvalues must be < inf; got inf. Drop that mode.")
        return array
    low = np.finfo(np.float64).tiny
    wrong = ~((array.values >= low) & np.isfinite(array.values))
    if np.any(wrong):
        raise ValueError(
            f"eigenvalues must be finite and >= {low:.1e}, the smallest normal float64; got "
            f"{float(array.values[wrong][0])}. Give their natural logs with log=True, where -inf "
            "stands for a mode that is absent."
        )
    return array.copy(data=np.log(array.values))


def target_over(log_l: xr.DataArray, coefficients: Numbers) -> xr.DataArray:
    """Give the coefficients of a target over the modes of a spectrum; one number stands for all.

    Parameters
    ----------
    log_l : DataArray with the dim "mode"
        As `log_spectrum` gives it.
    coefficients : float, sequence or DataArray
        As for `over_modes`.

    Returns
    -------
    DataArray
        float64, with the dim "mode".
    """
    c = over_modes("coefficients", coefficients)
    return c if "mode" in c.dims else c.expand_dims(mode=log_l.sizes["mode"])


def power_of(log_l: Floats, coefficients: Floats) -> Floats:
    """Power of the target on every mode, l c^2, from logs: steep spectra have large coefficients.

    Parameters
    ----------
    log_l, coefficients : ndarray, shapes (..., mode) that broadcast
        Natural logs of the eigenvalues, and the target in their eigenbasis.

    Returns
    -------
    ndarray, shape (..., mode)
    """
    with np.errstate(divide="ignore"):
        return np.asarray(np.exp(log_l + 2.0 * np.log(np.abs(coefficients))))


def rows_and_labels(x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    """Give a sample as float64 arrays of shapes (n, dim) and (n,).

    Raises
    ------
    ValueError
        If it has other shapes.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 2 or y.shape != x.shape[:1]:
        raise ValueError(
            f"x must have shape (n, dim) and y shape (n,); got {x.shape} and {y.shape}. Use one "
            "column of labels at a time."
        )
    return x, y


def check_dims(**arrays: xr.DataArray) -> None:
    """Refuse arrays that do not agree along a dim they share; xarray would drop what differs.

    Parameters
    ----------
    **arrays : DataArray
        Arguments by name; one without a dim fits any.

    Raises
    ------
    ValueError
        If the lengths or the coordinates of a dim differ.
    """
    for dim in dict.fromkeys(dim for array in arrays.values() for dim in array.dims):
        over = {name: array for name, array in arrays.items() if dim in array.dims}
        lengths = {name: array.sizes[dim] for name, array in over.items()}
        if len(set(lengths.values())) > 1:
            counts = " and ".join(f"{length} {name}" for name, length in lengths.items())
            raise ValueError(
                f'arguments must have the same length along "{dim}"; got {counts}. Select the same '
                "places of all, or rename the dim of one."
            )
        marks = [array.indexes[dim] for array in over.values() if dim in array.indexes]
        if any(not mark.equals(marks[0]) for mark in marks[1:]):
            raise ValueError(
                f'arguments must have the same places along "{dim}"; the {dim} coordinates of '
                f"{' and '.join(over)} differ. Select the same places of all, or drop a coordinate."
            )


def by_cells(
    law: Callable[..., tuple[Floats, ...]],
    modes: int,
    outputs: int,
    *arrays: Floats,
    copies: int = 1,
) -> tuple[Floats, ...]:
    """Apply a law of arrays to a large grid of cells, a chunk of cells at a time.

    Parameters
    ----------
    law : callable
        From arrays of shapes (cells, mode) or (1, mode), and then (cells,) or (1,), to `outputs`
        arrays of shape (cells,) or (1,).
    modes : int
        Number of leading arrays with modes along their last axis.
    outputs : int
        Number of arrays that the law gives.
    *arrays : ndarray
        Arrays whose shapes, less the modes, broadcast against each other.
    copies : int
        Numbers that the law holds for each number of a chunk.

    Returns
    -------
    tuple of ndarray
        Arrays of the broadcast shape. Memory beside them is a few times `CHUNK` numbers.
    """
    shape = np.broadcast_shapes(*(a.shape[:-1] if i < modes else a.shape for i, a in _list(arrays)))
    width = max([1, *(array.shape[-1] for array in arrays[:modes])])
    cells = int(np.prod(shape, dtype=np.int64))
    results = tuple(np.empty(cells) for _ in range(outputs))
    step = max(1, CHUNK // (width * copies))
    for start in range(0, cells, step):
        index = np.arange(start, min(start + step, cells))
        chunk = [
            _rows(array, shape, index, modes=i < modes) if shape else array[None]
            for i, array in _list(arrays)
        ]
        for result, part in zip(results, law(*chunk), strict=True):
            result[index] = part
    return tuple(result.reshape(shape) for result in results)


def _list(arrays: tuple[Floats, ...]) -> list[tuple[int, Floats]]:
    return list(enumerate(arrays))


def _rows(array: Floats, shape: tuple[int, ...], index: NDArray[np.intp], modes: bool) -> Floats:
    tail = array.shape[-1:] if modes else ()
    lead = array.shape[:-1] if modes else array.shape
    if all(length == 1 for length in lead):  # shared by all cells: nothing is copied
        return array.reshape((1, *tail))
    return np.broadcast_to(array, shape + tail)[np.unravel_index(index, shape)]


def _numbers(name: str, value: Numbers, dim: str) -> xr.DataArray:
    if isinstance(value, xr.DataArray):
        array = value
    else:
        numbers = np.asarray(value)
        if numbers.ndim > 1:
            raise TypeError(
                f"{name} has {numbers.ndim} dims without names. Give a DataArray, or a list along "
                f'"{dim}".'
            )
        coordinate = {dim: numbers} if numbers.ndim and dim == name else None
        array = xr.DataArray(numbers, dims=[dim] if numbers.ndim else [], coords=coordinate)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be real numbers; got dtype {array.dtype}. Give floats.")
    return array.astype(np.float64)
