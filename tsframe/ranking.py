"""Which measure predicts the test error best: rank correlations over a sweep, and where they fail.

Two students are in order if the one with the larger measure has the larger error, too; Kendall's
tau is the share of pairs in order less that of pairs in reverse. Over all pairs of a sweep it
mostly says what moves error and measure together, e.g. the size of the sample. `rank` therefore
also compares students that differ along one axis alone (granulated, Jiang et al. 2020), and looks
for the environment, one axis and two of its values, in which a measure is worst (Dziugaite et al.
2020): a measure that explains generalization must not fail in any. xarray in, xarray out; NaN are
left out.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

__all__ = ["kendall", "rank"]

Floats = NDArray[np.float64]


def kendall(measure: xr.DataArray, error: xr.DataArray, over: Sequence[str]) -> xr.DataArray:
    """Give Kendall's tau-b of a measure and an error, over all pairs of some dims.

    (C - D) / sqrt((C + D + T_measure) (C + D + T_error)), with C pairs in order, D in reverse, and
    T tied in one of the two alone. Source: Kendall 1945.

    Parameters
    ----------
    measure, error : DataArray
        Of the same students.
    over : sequence of str
        Dims along which pairs are formed; tau is given for every place of the others.

    Returns
    -------
    DataArray
        In [-1, 1]; NaN where the measure or the error is the same for all.

    Raises
    ------
    ValueError
        If a dim is not there.

    Examples
    --------
    >>> error = xr.DataArray([0.1, 0.2, 0.3, 0.4], dims="width")
    >>> kendall(xr.DataArray([1.0, 2.0, 4.0, 3.0], dims="width"), error, ["width"]).round(4).item()
    0.6667
    """
    measure, error = xr.broadcast(measure.astype(float), error.astype(float))
    missing = [dim for dim in over if dim not in measure.dims]
    if missing or not over:
        raise ValueError(
            f"over must name dims of the arrays; got {list(over)!r} with dims {measure.dims!r}."
        )
    return xr.DataArray(
        xr.apply_ufunc(
            _tau,
            measure.stack(_pair=list(over)),
            error.stack(_pair=list(over)),
            input_core_dims=[["_pair"], ["_pair"]],
        )
    )


def rank(
    results: xr.Dataset,
    measures: Sequence[str],
    error: str = "test_error",
    axes: Sequence[str] | None = None,
    least: float = 0.0,
    fewest: int = 1,
) -> xr.Dataset:
    """Rank measures by how well each predicts the error of the students of a sweep.

    Parameters
    ----------
    results : Dataset
        Measures and the error over the axes of a sweep; students that are not there are NaN.
    measures : sequence of str
        Their names; a larger one is to mean a larger error: turn the others round, e.g. -margin.
    error : str
        Name of what is to be predicted.
    axes : sequence of str, optional
        Axes along which students are compared; all but ``seed`` by default. Students are only ever
        compared at the same place of all other dims when one axis is meant.
    least : float
        Pairs whose errors differ by no more than this decide nothing about environments: the noise
        of a measured error, >= 0.
    fewest : int
        An environment counts for ``worst`` only if so many pairs decide in it, >= 1.

    Returns
    -------
    Dataset
        Along the dim ``measure``: ``tau`` over all pairs; ``tau_along``, along ``axis``, the mean
        tau of students that differ along that axis alone, where a tied measure counts as zero;
        ``granulated``, its mean over the axes (Psi of Jiang et al. 2020); ``sign_error``, along
        ``environment``, the share of pairs that are in reverse, a tied measure counting half; and
        ``worst``, the largest of these. ``environment_axis``, ``low``, ``high`` and ``pairs`` say
        what an environment is. NaN where no pair decides.

    Raises
    ------
    TypeError
        If `measures` is a text.
    ValueError
        If a name is not there, or an axis has one value.

    Examples
    --------
    >>> width = xr.DataArray([10, 20, 40], dims="width")
    >>> found = rank(xr.Dataset({"test_error": 1 / width, "norm": 2 / width}, {"width": width}),
    ...              ["norm"])
    >>> found.tau.item(), found.granulated.item(), found.worst.item()
    (1.0, 1.0, 0.0)
    """
    if isinstance(measures, str):
        raise TypeError(f"measures must be a list of names; got a text. Write [{measures!r}].")
    absent = [name for name in (*measures, error) if name not in results]
    if absent or not measures:
        raise ValueError(
            f"measures must name arrays of the results; got {', '.join(absent) or 'none'}. Known "
            f"are {', '.join(map(str, results.data_vars))}."
        )
    target = results[error]
    dims = [str(dim) for dim in target.dims]
    chosen = [dim for dim in dims if dim != "seed"] if axes is None else list(axes)
    short = [axis for axis in chosen if axis not in dims or target.sizes[axis] < 2]
    if short or not chosen:
        raise ValueError(
            f"axes must be dims of {error!r} with two values or more; got {chosen!r} with sizes "
            f"{dict(target.sizes)!r}. Leave out what does not vary."
        )
    for name in measures:
        extra = [str(dim) for dim in results[name].dims if dim not in dims]
        if extra:
            raise ValueError(
                f"{name!r} must be one number a student; got the dims {', '.join(extra)}, too. "
                "Select one place of them, e.g. a quantile."
            )
    places = list(_environments(target, chosen))
    rows = []
    for name in measures:
        values = results[name].astype(float).broadcast_like(target)
        known = target.where(values.notnull())
        along = [
            xr.apply_ufunc(_agreement, values, known, input_core_dims=[[axis], [axis]]).mean()
            for axis in chosen
        ]
        wrong = [_sign_error(values, known, axis, pair, least) for axis, pair in places]
        rows.append(
            xr.Dataset(
                {
                    "tau": kendall(values, known, dims),
                    "tau_along": ("axis", np.array([float(tau) for tau in along])),
                    "sign_error": ("environment", np.array([share for share, _ in wrong])),
                    "pairs": ("environment", np.array([count for _, count in wrong])),
                }
            )
        )
    found = xr.concat(rows, xr.DataArray(list(measures), dims="measure", name="measure"))
    found = found.assign(granulated=found.tau_along.mean("axis"))
    found = found.assign(worst=found.sign_error.where(found.pairs >= fewest).max("environment"))
    low, high = ([str(target[axis].values[pair[side]]) for axis, pair in places] for side in (0, 1))
    return found.assign_coords(
        axis=chosen,
        environment_axis=("environment", [axis for axis, _ in places]),
        low=("environment", low),
        high=("environment", high),
    )


def _environments(target: xr.DataArray, axes: list[str]) -> Iterator[tuple[str, tuple[int, int]]]:
    for axis in axes:
        for pair in combinations(range(target.sizes[axis]), 2):
            yield axis, pair


def _sign_error(
    values: xr.DataArray, error: xr.DataArray, axis: str, pair: tuple[int, int], least: float
) -> tuple[float, int]:
    """Give the share of pairs in reverse, and the number of pairs that decide."""
    low, high = ({axis: k} for k in pair)
    rise = (error.isel(high, drop=True) - error.isel(low, drop=True)).values
    step = np.sign((values.isel(high, drop=True) - values.isel(low, drop=True)).values)
    decides = np.abs(rise) > least  # False for NaN
    if not decides.any():
        return np.nan, 0
    agreement = step[decides] * np.sign(rise[decides])
    return float((1.0 - agreement).mean() / 2.0), int(decides.sum())


def _tau(x: Floats, y: Floats) -> Floats:
    """Give Kendall's tau-b along the last axis."""
    excess, x_differs, y_differs = _counts(x, y)
    pairs = np.sqrt(x_differs * y_differs)
    return np.where(pairs > 0.0, excess / np.where(pairs > 0.0, pairs, 1.0), np.nan)


def _agreement(x: Floats, y: Floats) -> Floats:
    """Give pairs in order less pairs in reverse along the last axis, of those where y differs."""
    excess, _, differs = _counts(x, y)
    return np.where(differs > 0.0, excess / np.where(differs > 0.0, differs, 1.0), np.nan)


def _counts(x: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    """Count pairs along the last axis: in order less in reverse, those where x, where y differs."""
    known = ~(np.isnan(x) | np.isnan(y))
    excess = np.zeros(x.shape[:-1])
    x_differs, y_differs = np.zeros_like(excess), np.zeros_like(excess)
    for k in range(x.shape[-1] - 1):
        both = known[..., k : k + 1] & known[..., k + 1 :]
        over, up = (
            np.where(both, np.sign(some[..., k + 1 :] - some[..., k : k + 1]), 0.0)
            for some in (x, y)
        )
        excess += (over * up).sum(-1)
        x_differs += np.abs(over).sum(-1)
        y_differs += np.abs(up).sum(-1)
    return excess, x_differs, y_differs
