"""Interpolation threshold and double-descent peak: where students begin to fit, and what it costs.

Belkin, Hsu, Ma & Mandal 2019 (arXiv:1812.11118): along the size of a student the test error falls,
rises to a peak where the student begins to fit all of its training set, and falls again.
"""

import numpy as np
import xarray as xr

from tsframe.phases.scales import natural, Scale
from tsframe.phases.seeds import Floats, interval, Labeled, prepare, resampled, spread, student

__all__ = ["double_descent_peak", "interpolation_threshold"]


def interpolation_threshold(
    data: Labeled,
    along: str = "width",
    *,
    fitted: float = 0.0,
    rising: bool = True,
    confidence: float = 0.95,
    resamples: int = 400,
    rng: int = 0,
) -> xr.Dataset:
    """Find the smallest width that fits the training set, or the largest n that is fitted.

    Each seed has a threshold of its own, which lies between the last value of the axis at which its
    student fails and the first from which on it always fits. The threshold of the Dataset is the
    mean over seeds on the natural scale of the axis. Its interval goes from the low end of the
    interval of the mean of the one to the high end of that of the other, so that it covers both the
    chance of the seeds and the step of the grid (Imbens & Manski 2004, of bounds).

    Parameters
    ----------
    data : Dataset or DataArray
        Results over the axes of a sweep, with at least two seeds; ``train_error`` is read, without
        it ``interpolated``. A DataArray is taken as the train error.
    along : str
        Dim of numbers, at least two.
    fitted : float
        Train error up to which a student fits.
    rising : bool
        Whether large values fit, as along a width; False for small values, as along n_train.
    confidence : float
        Coverage of the interval, in (0, 1).
    resamples : int
        Number of bootstrap resamples of the seeds.
    rng : int
        Seed of the resampling.

    Returns
    -------
    Dataset
        Over all dims but seed and `along`: ``{along}``, the middle of the two means, in units of
        the axis, ``{along}_low`` and ``{along}_high``. Where a seed fits everywhere or nowhere the
        threshold is beyond the axis: the middle is NaN, and the end is -inf (0 on a log axis) or
        inf. A seed with a missing student at or beyond its threshold has none.

    Examples
    --------
    >>> error = xr.DataArray(
    ...     [[0.4, 0.2, 0.0], [0.3, 0.1, 0.0]],
    ...     dims=["seed", "width"],
    ...     coords={"width": [1.0, 2.0, 3.0]},
    ... )
    >>> found = interpolation_threshold(error)
    >>> [float(found[name]) for name in ("width_low", "width", "width_high")]
    [2.0, 2.5, 3.0]
    """
    use = "train_error" if isinstance(data, xr.DataArray) or "train_error" in data else ""
    dataset = prepare(data, use or "interpolated", (along,), "interpolation_threshold")
    train = dataset["train_error"] if use else 1.0 - dataset["interpolated"].astype(np.float64)
    cells = [str(dim) for dim in train.dims if dim not in ("seed", along)]
    train = train.astype(np.float64).transpose("seed", along, *cells)
    scale = natural(train[along])
    places = scale(train[along].values)
    fails = (train.values > fitted).reshape(*train.shape[:2], -1)
    unknown = np.isnan(train.values).reshape(fails.shape)
    if not rising:
        fails, unknown, places = fails[:, ::-1], unknown[:, ::-1], places[::-1]
    # The last failure and the place behind it, with the outside of the axis at both ends.
    steps = len(places)
    last = steps - 1 - fails[:, ::-1].argmax(axis=1)
    last = np.where(fails.any(axis=1), last, -1)
    outside = np.inf if rising else -np.inf
    ends = np.r_[-outside, places, outside]
    one, other = ends[last + 1], ends[last + 2]
    # An unknown student from the threshold on could move it.
    seen = np.arange(steps)[None, :, None] >= last[:, None, :]
    lost = (unknown & seen).any(axis=1)
    low, high = (
        np.where(lost, np.nan, a) for a in (np.minimum(one, other), np.maximum(one, other))
    )
    beyond = ~np.isfinite(np.where(lost, 0.0, low)), ~np.isfinite(np.where(lost, 0.0, high))
    bottom = interval(np.where(beyond[0], np.nan, low), confidence, resamples, rng)
    top = interval(np.where(beyond[1], np.nan, high), confidence, resamples, rng)
    least = np.where(beyond[0].any(axis=0), -np.inf, bottom[1])
    most = np.where(beyond[1].any(axis=0), np.inf, top[2])
    open_ended = beyond[0].any(axis=0) | beyond[1].any(axis=0)
    middle = np.where(open_ended, np.nan, (bottom[0] + top[0]) / 2)
    return in_units(
        train, along, scale, {"": middle, "_low": least, "_high": most}, confidence, lost.sum()
    )


def double_descent_peak(
    data: Labeled,
    along: str = "width",
    value: str = "test_error",
    *,
    confidence: float = 0.95,
    resamples: int = 400,
    rng: int = 0,
) -> xr.Dataset:
    """Find the peak of a measure along one axis: where it is, how high, and whether it is one.

    The peak is where the mean over seeds stands highest above the higher of the two valleys beside
    it; its place is the vertex of the parabola through it and its neighbors on the natural scale of
    the axis, with an interval from the bootstrap. Any noise has such a place. So the height, and
    the prominence above the higher valley, are measured on seeds that did not choose: for each seed
    the peak and its valleys are found from all others. Noise on a flat curve then has a prominence
    of at most zero in the mean.

    Parameters
    ----------
    data : Dataset or DataArray
        Results over the axes of a sweep, with at least three seeds.
    along : str
        Dim of numbers, at least three.
    value : str
        Variable that has the peak.
    confidence : float
        Coverage of the intervals, in (0, 1).
    resamples : int
        Number of bootstrap resamples of the seeds.
    rng : int
        Seed of the resampling.

    Returns
    -------
    Dataset
        Over all dims but seed and `along`: ``{along}``, the place in units of the axis;
        ``height`` and ``prominence`` in the units of `value`, NaN where nothing is inside; each
        with `_low` and `_high`. It is a peak where ``prominence_low`` is above zero. Values of the
        axis where a seed is missing are left out, cell by cell.

    Raises
    ------
    ValueError
        If a variable or dim is missing, or there are too few seeds or values.

    Examples
    --------
    >>> curve = np.array([0.3, 0.2, 0.6, 0.2, 0.1])
    >>> error = xr.DataArray(
    ...     curve + 0.01 * np.array([[1.0], [-1.0], [0.0]]),
    ...     dims=["seed", "width"],
    ...     coords={"width": [10.0, 20.0, 30.0, 40.0, 50.0]},
    ... )
    >>> found = double_descent_peak(error)
    >>> float(found.width), float(found.height.round(12)), bool(found.prominence_low > 0)
    (30.0, 0.6, True)
    """
    dataset = prepare(data, value, (along,), "double_descent_peak")
    cells = [str(dim) for dim in dataset[value].dims if dim not in ("seed", along)]
    array = dataset[value].astype(np.float64).transpose("seed", along, *cells)
    for dim in ("seed", along):
        if array.sizes[dim] < 3:
            raise ValueError(
                f"double_descent_peak needs at least 3 values of {dim}; got {array.sizes[dim]}. "
                "Add values to the axis."
            )
    scale = natural(array[along])
    places = scale(array[along].values)
    columns = array.values.reshape(*array.shape[:2], -1)
    found = np.full((9, columns.shape[2]), np.nan)
    lost = 0
    for column in range(columns.shape[2]):
        whole = np.isfinite(columns[:, :, column]).all(axis=0)
        lost += int((~whole).sum())
        if whole.sum() >= 3:
            found[:, column] = peak(
                columns[:, whole, column], places[whole], confidence, resamples, rng
            )
    names = {"": found[0], "_low": found[1], "_high": found[2]}
    result = in_units(array, along, scale, names, confidence, lost)
    for k, name in ((3, "height"), (6, "prominence")):
        for end, values in zip(("", "_low", "_high"), found[k : k + 3], strict=True):
            result[name + end] = (cells, values.reshape(array.shape[2:]), array.attrs)
    return result


def peak(values: Floats, places: Floats, confidence: float, resamples: int, rng: int) -> Floats:
    """Place, height and prominence of the peak of values, shape (seeds, places), with intervals."""
    mean = values.mean(axis=0)
    seeds = len(values)
    top, _, _ = landmarks(mean)
    if top < 0:
        return np.full(9, np.nan)
    drawn = np.concatenate(list(resampled(values, resamples, rng)))
    tops = [landmarks(row)[0] for row in drawn]
    inside = np.array(
        [[vertex(r, places, t) if t >= 0 else np.nan] for r, t in zip(drawn, tops, strict=True)]
    )
    factor = float(student(np.array(seeds), confidence))
    half = factor * float(spread(iter([inside]), 1)[0]) if np.isfinite(inside).all() else np.inf
    place = vertex(mean, places, top)
    heights, prominences = [], []
    for seed in range(seeds):
        others = np.delete(values, seed, axis=0).mean(axis=0)
        here, left, right = landmarks(others)
        if here < 0:  # the others see no peak
            heights.append(values[seed, top])
            prominences.append(0.0)
            continue
        heights.append(values[seed, here])
        prominences.append(values[seed, here] - max(values[seed, left], values[seed, right]))
    measured = np.stack([heights, prominences], axis=1)
    ends = np.stack(interval(measured, confidence, resamples, rng), axis=1)
    return np.array([place, place - half, place + half, *ends[0], *ends[1]])


def landmarks(mean: Floats) -> tuple[int, int, int]:
    """Positions of the most prominent inner peak and its two valleys; -1 where nothing rises."""
    left = np.minimum.accumulate(mean)
    right = np.minimum.accumulate(mean[::-1])[::-1]
    rise = mean - np.maximum(left, right)
    top = int(rise.argmax())
    if rise[top] <= 0:
        return -1, -1, -1
    return top, int(mean[: top + 1].argmin()), top + int(mean[top:].argmin())


def vertex(mean: Floats, places: Floats, top: int) -> float:
    """Place of the vertex of the parabola through a peak and its neighbors, between these."""
    (a, b, c), (u, v, w) = mean[top - 1 : top + 2], places[top - 1 : top + 2]
    one, two = (b - a) / (v - u), (c - b) / (w - v)
    bend = (two - one) / (w - u)
    if bend >= 0:
        return float(v)
    return float(np.clip((u + v) / 2 - one / (2 * bend), u, w))


def in_units(
    array: xr.DataArray,
    along: str,
    scale: Scale,
    ends: dict[str, Floats],
    confidence: float,
    lost: int,
) -> xr.Dataset:
    """Make a Dataset of places on a natural scale, in units of the axis."""
    cells = [dim for dim in array.dims if dim not in ("seed", along)]
    coords = {k: c for k, c in array.coords.items() if not {"seed", along} & {*c.dims, k}}
    places = {
        along + end: (cells, scale.inverse(a).reshape(array.shape[2:]), array[along].attrs)
        for end, a in ends.items()
    }
    missing = f"{lost} places of {along} left out for want of a student"
    return xr.Dataset(
        places,
        coords,
        {"seeds": array.sizes["seed"], "confidence": confidence, "missing": missing},
    )
