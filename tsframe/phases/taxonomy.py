"""Benign, tempered, catastrophic: the phase of every cell, with the interval that it stands on."""

import enum
from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tsframe.phases.seeds import Floats, interval, Labeled, prepare, resampled, spread, student

__all__ = ["Phase", "classify", "growth_exponent"]


class Phase(enum.IntEnum):
    """What a cell is called."""

    MISSING = 0
    UNDERFIT = 1
    BENIGN = 2
    TEMPERED = 3
    CATASTROPHIC = 4
    UNDECIDED = 5


def classify(
    data: Labeled,
    value: str = "test_error",
    *,
    n: str | None = None,
    bayes: float | xr.DataArray = 0.0,
    chance: float | xr.DataArray | None = None,
    fitted: float | None = 0.0,
    near: float = 0.1,
    flat: float = 0.1,
    confidence: float = 0.95,
    resamples: int = 400,
    rng: int = 0,
) -> xr.Dataset:
    """Give every cell its phase, or say that the seeds leave it undecided.

    A student that fits noisy labels exactly overfits, and as the number n of samples grows its
    error tends to that of the Bayes predictor (benign), to a constant above it (tempered), or to
    chance, for regression to infinity (catastrophic): Mallinar et al. 2022 (arXiv:2207.06569,
    section 1); the benign case is that of Bartlett et al. 2020 (arXiv:1906.11300). A student that
    does not fit its labels is underfit, also where it fits the clean labels and leaves the
    corrupted ones, which George et al. 2023 (arXiv:2306.09955) call non-overfitting.

    *Along n*, with ``n="n_train"``: the excess over Bayes is taken as a power n^g, and g is the
    exponent whose power law has the same mean of log n, weighted by the excess, as the data: the
    Poisson pseudo-likelihood, which is unbiased under any noise and needs no logarithm of the
    excess (Gourieroux, Monfort & Trognon 1984). Benign is g < -`flat`, tempered lies within
    `flat` of zero, catastrophic is g > `flat`, and also an excess that has come within `near` of
    chance. Only values of n where the students fit are used, three at least, the largest among
    them. A ladder is finite: benign cases that fall as 1/log n have g = -1/log n, and a fall
    towards a constant looks benign until it is reached; read g with its interval.

    *At fixed n*, without `n`: benign is an excess below the fraction `near` of the way from Bayes
    to chance, catastrophic above 1 - `near`, tempered between. This names what a figure shows and
    is no statement on the limit.

    A phase is given where the whole interval lies on one side of its borders, else the cell is
    undecided; so is one with a single seed. Each cell alone is wrong about as often as
    `confidence` allows; over many cells some are.

    Parameters
    ----------
    data : Dataset or DataArray
        Results over the axes of a sweep, with at least two seeds.
    value : str
        The error, against the noise-free teacher or not; `bayes` and `chance` are of its kind.
    n : str, optional
        Dim of the numbers of samples, at least three, along which the excess is followed.
    bayes : float or DataArray
        Error of the Bayes predictor; 0 against a noise-free teacher.
    chance : float or DataArray, optional
        Error of the best constant prediction; by default the variable ``majority_error``. Needed
        at fixed n. For regression the mean squared label.
    fitted : float, optional
        Mean train error up to which students fit; the variable ``train_error`` is read, without
        it ``interpolated``, of which the fraction that fails is taken. None takes all as fitting.
    near : float
        Fraction of the way from Bayes to chance, in (0, 1/2).
    flat : float
        Exponent below which growth counts as none, > 0.
    confidence : float
        Coverage of every interval, in (0, 1).
    resamples : int
        Number of bootstrap resamples of the seeds.
    rng : int
        Seed of the resampling.

    Returns
    -------
    Dataset
        Over the dims of `value` but seed and `n`: `phase`, of the values of `Phase`, named in its
        ``flag_meanings``; `excess` in the units of `value`, along n at its largest value, and with
        `n` also `growth`, the exponent g; each with `_low` and `_high`; `seeds`, the number of
        seeds with a result. The attributes say the rules and how many cells have no result.

    Raises
    ------
    ValueError
        If a variable or a dim is missing, or a number is out of range.

    Examples
    --------
    >>> noise = 0.01 * np.array([1.0, -1.0, 0.5, -0.5])
    >>> error = xr.DataArray(
    ...     np.array([0.01, 0.2, 0.49]) + noise[:, None], dims=["seed", "slope"]
    ... )
    >>> classify(error, chance=0.5, fitted=None).phase.values.tolist()
    [2, 3, 4]
    """
    check(near, flat)
    dataset = prepare(data, value, () if n is None else (n,), "classify")
    cells = [str(dim) for dim in dataset[value].dims if dim not in ("seed", n)]
    order = ("seed", *([] if n is None else [n]), *cells)
    error = dataset[value].astype(np.float64).transpose(*order)
    excess = (error - bayes).transpose(*order)
    rungs = np.empty(0) if n is None else ladder(dataset, n)
    settings = (confidence, resamples, rng)

    shape = error.shape[1:]
    fits = fit(dataset, error, fitted, settings).reshape(shape)
    reach = distance(dataset, error, bayes, chance)
    if reach is None and n is None:
        raise ValueError(
            "classify needs the error of chance at a fixed n; got no chance, and the data have no "
            "majority_error. Pass chance=, for regression the mean squared label, or n= to follow "
            "the growth with n."
        )
    values = excess.values.reshape(error.sizes["seed"], -1)
    ends = [end.reshape(shape) for end in interval(values, *settings)]
    known = np.isfinite(error.values).sum(axis=0)
    if n is None:
        assert reach is not None
        phase = within(ends[1] / reach, ends[2] / reach, near, 1.0 - near)
        found = {}
    else:
        grown = [
            end.reshape(shape[1:]) for end in growth(excess.values, fits == 1, rungs, settings)
        ]
        ends, fits, known = [end[-1] for end in ends], fits[-1], known[-1]
        phase = within(grown[1], grown[2], -flat, flat)
        if reach is not None:
            share_low, share_high = ends[1] / reach[-1], ends[2] / reach[-1]
            phase[(phase == Phase.TEMPERED) & (share_high >= 1.0 - near)] = Phase.UNDECIDED
            phase[share_low >= 1.0 - near] = Phase.CATASTROPHIC
        found = {f"growth{end}": (cells, a) for end, a in zip(ENDS, grown, strict=True)}
    phase[fits == -1] = Phase.UNDECIDED
    phase[fits == 0] = Phase.UNDERFIT
    phase[known == 0] = Phase.MISSING
    found |= {f"excess{end}": (cells, a) for end, a in zip(ENDS, ends, strict=True)}
    coords = {name: c for name, c in error.coords.items() if not {"seed", n} & {*c.dims, name}}
    lost = int((known < error.sizes["seed"]).sum())
    rule = f"growth along {n}, flat={flat:g}" if n else f"excess at fixed n, near={near:g}"
    return xr.Dataset(
        {"phase": (cells, phase, FLAGS), **found, "seeds": (cells, known)},
        coords,
        {
            "measure": value,
            "rule": rule,
            "confidence": confidence,
            "missing": f"{lost} of {known.size} cells lack the result of a seed",
        },
    )


LIMIT = 50.0  # of exponents that are looked for
ENDS = ("", "_low", "_high")
FLAGS = {
    "flag_values": [int(phase) for phase in Phase],
    "flag_meanings": " ".join(phase.name.lower() for phase in Phase),
}


def check(near: float, flat: float) -> None:
    """Refuse borders between phases that are out of order."""
    if not 0.0 < near < 0.5:
        raise ValueError(
            f"near must lie in (0, 1/2), a fraction of the way from Bayes to chance; got {near}."
        )
    if not flat > 0.0:
        raise ValueError(f"flat must be > 0, an exponent of n; got {flat}. Try 0.1.")


def ladder(dataset: xr.Dataset, n: str) -> Floats:
    """Give the logs of the numbers of samples, or refuse a ladder that is too short."""
    rungs = dataset[n].values
    if rungs.dtype.kind not in "iuf" or len(rungs) < 3 or rungs[0] <= 0:
        raise ValueError(
            f"growth along {n} needs at least three positive values of it; got {rungs.tolist()}. "
            "Add values to the axis, or leave n out to classify at each value."
        )
    return np.log(rungs.astype(np.float64))


def distance(
    dataset: xr.Dataset,
    error: xr.DataArray,
    bayes: float | xr.DataArray,
    chance: float | xr.DataArray | None,
) -> Floats | None:
    """Give the way from Bayes to chance for every cell, or None where chance is not known."""
    if chance is None:
        if "majority_error" not in dataset:
            return None
        chance = dataset["majority_error"]
    way = xr.zeros_like(error) + chance - bayes
    return np.asarray(way.transpose(*error.dims).mean("seed").values)


def fit(
    dataset: xr.Dataset,
    error: xr.DataArray,
    fitted: float | None,
    settings: tuple[float, int, int],
) -> NDArray[np.int64]:
    """Tell of every cell, in one row, whether students fit: 1, 0, or -1 where that is open."""
    cells = error[0].size
    if fitted is None:
        return np.ones(cells, np.int64)
    if "train_error" in dataset:
        train = dataset["train_error"].astype(np.float64)
    elif "interpolated" in dataset:
        train = 1.0 - dataset["interpolated"].astype(np.float64)
    else:
        raise ValueError(
            "classify found neither train_error nor interpolated, so it cannot tell who fits. "
            "Add one of them, or pass fitted=None where all students fit their labels."
        )
    aligned = (xr.zeros_like(error) + train).transpose(*error.dims).values
    _, low, high = interval(aligned.reshape(len(aligned), cells), *settings)
    return np.where(low > fitted, 0, np.where(high <= fitted, 1, -1))


def within(low: Floats, high: Floats, first: float, second: float) -> NDArray[np.int64]:
    """Name the phase that an interval lies in, between two borders."""
    phase = np.full(low.shape, int(Phase.UNDECIDED))
    phase[high <= first] = Phase.BENIGN
    phase[(low > first) & (high < second)] = Phase.TEMPERED
    phase[low >= second] = Phase.CATASTROPHIC
    return phase


def growth(
    excess: Floats, fits: NDArray[np.bool_], rungs: Floats, settings: tuple[float, int, int]
) -> tuple[Floats, Floats, Floats]:
    """Exponent of the excess along n for every cell, with its interval.

    Parameters
    ----------
    excess : ndarray, shape (seeds, rungs, ...)
        Excess over Bayes; a NaN is a missing result.
    fits : ndarray of bool, shape (rungs, ...)
        Where the students fit.
    rungs : ndarray, shape (rungs,)
        Logs of the numbers of samples.
    settings : tuple
        Confidence, number of resamples, seed of the resampling.

    Returns
    -------
    tuple of ndarray, each of shape (cells,)
        Exponent, low and high end; the ends are infinite where a resample has no exponent, or
        where too few rungs are fitted.
    """
    confidence, resamples, rng = settings
    seeds, steps = excess.shape[:2]
    flat = excess.reshape(seeds, -1)
    known = np.isfinite(flat).sum(axis=0).reshape(steps, -1)
    used = fits.reshape(steps, -1) & (known > 0)
    with np.errstate(invalid="ignore"):
        mean = (np.nansum(flat, axis=0) / known.reshape(-1)).reshape(steps, -1)
    estimate = growth_exponent(mean, rungs, used)
    open_ended = ~np.isfinite(estimate)

    def exponents() -> Sequence[Floats]:
        blocks = []
        for block in resampled(flat, resamples, rng):
            means = block.reshape(len(block), steps, -1)
            # A rung that no drawn seed has is left out of this resample alone.
            blocks.append(growth_exponent(means, rungs, used & np.isfinite(means)))
        return blocks

    drawn = np.concatenate(exponents())
    open_ended |= ~np.isfinite(drawn).all(axis=0)
    fewest = np.where(used, known, seeds).min(axis=0)
    factor = student(fewest, confidence)
    error = spread(iter([drawn]), drawn.shape[1])
    half = factor * np.where(open_ended | (fewest < 2), np.inf, error)
    enough = (used.sum(axis=0) >= 3) & used[-1]
    estimate = np.where(enough, estimate, np.nan)
    center = np.where(np.isfinite(estimate), estimate, 0.0)
    half = np.where(enough, half, np.inf)
    return estimate, center - half, center + half


def growth_exponent(mean: Floats, rungs: Floats, used: NDArray[np.bool_]) -> Floats:
    """Exponent g of the power law n^g with the mean log n, weighted by the excess, of the data.

    Source: Gourieroux, Monfort & Trognon 1984 (Econometrica 52, 701), Poisson pseudo-likelihood.

    Parameters
    ----------
    mean : ndarray, shape (..., rungs, cells)
        Excess at each n.
    rungs : ndarray, shape (rungs,)
        Logs of n, ascending.
    used : ndarray of bool, of the shape of `mean` or (rungs, cells)
        Which of them enter.

    Returns
    -------
    ndarray, shape (..., cells)
        NaN where the excess sums to nothing or fewer than two rungs are used; -inf and inf where
        the data are steeper than any power.

    Examples
    --------
    >>> n = np.array([100.0, 200.0, 400.0])
    >>> growth_exponent((n**0.5)[:, None], np.log(n), np.ones((3, 1), bool)).round(9).tolist()
    [0.5]
    """
    used = np.broadcast_to(used, mean.shape)
    rungs = rungs - rungs.mean()
    column = rungs[:, None]
    weights = np.where(used, mean, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        wanted = (weights * column).sum(axis=-2) / weights.sum(axis=-2)
    lowest = np.where(used, column, np.inf).min(axis=-2)
    highest = np.where(used, column, -np.inf).max(axis=-2)
    low, high = np.full(wanted.shape, -LIMIT), np.full(wanted.shape, LIMIT)
    g = np.zeros(wanted.shape)
    for _ in range(12):  # Newton's, held in a bracket: the mean log n grows with the exponent
        powers = np.where(used, np.exp(g[..., None, :] * column), 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            total = powers.sum(axis=-2)
            mean_log = (powers * column).sum(axis=-2) / total
            variance = (powers * column**2).sum(axis=-2) / total - mean_log**2
            step = (wanted - mean_log) / variance
        low, high = np.where(mean_log < wanted, g, low), np.where(mean_log < wanted, high, g)
        inside = (g + step >= low) & (g + step <= high)
        g = np.where(inside, g + step, (low + high) / 2)
    found = np.where(wanted <= lowest, -np.inf, np.where(wanted >= highest, np.inf, g))
    return np.where((weights.sum(axis=-2) > 0) & (used.sum(axis=-2) > 1), found, np.nan)
