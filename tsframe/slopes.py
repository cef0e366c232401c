"""The slope of measured spectra: how sloppy are natural data?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from tsframe.spectra import Measured

__all__ = ["SlopeFit", "fit_eigenvalues", "fit_slope"]

GROUPS = 20  # of rows, or of modes, left out in turn
FEWEST = 5  # modes of a straight piece
BORDERS = 100  # places tried for a border between two pieces


@dataclass(frozen=True)
class SlopeFit:
    """The straight piece of a spectrum on a log axis: log eigenvalue_i = height - slope * i.

    Parameters
    ----------
    slope, low, high : float
        Slope in natural log per mode, and its interval.
    height : float
        Natural log of the eigenvalue at which the line meets mode 0.
    first, last : int
        First mode of the piece, and the mode behind its last.
    residual : float
        Root mean square distance of its log eigenvalues from the line, in natural logs.
    """

    slope: float
    low: float
    high: float
    height: float
    first: int
    last: int
    residual: float

    def __call__(self, modes: ArrayLike) -> NDArray[np.float64]:
        """Give the eigenvalues of the line at these modes."""
        return np.exp(self.height - self.slope * np.asarray(modes, np.float64))


def fit_slope(
    x: ArrayLike,
    centered: bool = False,
    modes: tuple[int, int] | None = None,
    confidence: float = 0.95,
) -> SlopeFit:
    """Fit the slope of the spectrum of data, with its interval over rows.

    Spectra of natural data fall fast at first, then in a straight line on a log axis over most
    modes, and at the end break off to what hardly varies. So the modes above the numerical floor
    are cut into three pieces of at least five, each fitted by a line, by least squares of log
    eigenvalues on their number; the borders are where the squares of all sum to the least. The
    slope is that of the longest piece, which is said with it. The interval is that of a grouped
    jackknife: 20 random groups of rows are left out in turn, the spectrum is measured anew and the
    slope of the same modes fitted, and is known to t sqrt(19/20 sum (slope_j - mean)^2), with
    Student's t of 19 degrees of freedom (Efron & Tibshirani 1993, section 11.5). Sample spectra are
    steeper than their law by about 1 / rows a mode; the jackknife takes this off, 20 slope - 19
    mean (section 10.6). The interval says how exactly the rows tell the slope, not how straight the
    piece is; that is `residual`.

    Parameters
    ----------
    x : array_like, shape (rows, dim)
        One input a row, at least 40 of them.
    centered : bool
        Whether the mean of the rows is taken off.
    modes : tuple of int, optional
        First mode of the piece and the mode behind its last, instead of the longest.
    confidence : float
        Coverage of the interval, in (0, 1).

    Returns
    -------
    SlopeFit

    Raises
    ------
    ValueError
        If there are too few rows, or fewer than 15 modes above the floor, or the modes asked for
        are not among them.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((5000, 30)) * np.exp(-0.1 * np.arange(30))
    >>> found = fit_slope(x, modes=(0, 30))
    >>> found.low < 0.2 < found.high
    True
    """
    rows = np.asarray(x, np.float64)
    if rows.ndim != 2 or len(rows) < 2 * GROUPS:
        raise ValueError(
            f"x must have shape (rows, dim) with at least {2 * GROUPS} rows, for an interval over "
            f"them; got {rows.shape}. Pass more rows."
        )
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie in (0, 1); got confidence={confidence}. Try 0.95.")
    log = log_spectrum(rows, centered)
    first, last = longest_piece(log) if modes is None else modes
    check_piece(first, last, len(log))
    plain, height, squares = least_squares(log, first, last)
    group = np.random.default_rng(0).permutation(len(rows)) % GROUPS
    spectra = [log_spectrum(rows[group != k], centered) for k in range(GROUPS)]
    slopes = np.array([least_squares(one, first, min(last, len(one)))[0] for one in spectra])
    error = np.sqrt((GROUPS - 1) / GROUPS * np.square(slopes - slopes.mean()).sum())
    slope = float(GROUPS * plain - (GROUPS - 1) * slopes.mean())
    height += (slope - plain) * (first + last - 1) / 2  # the line turns about its middle
    half = float(stdtrit(GROUPS - 1, (1 + confidence) / 2) * error)
    residual = float(np.sqrt(squares / (last - first)))
    return SlopeFit(slope, slope - half, slope + half, height, first, last, residual)


def fit_eigenvalues(
    eigenvalues: ArrayLike,
    floor: float = 0.0,
    modes: tuple[int, int] | None = None,
    confidence: float = 0.95,
) -> SlopeFit:
    """Fit the slope of a spectrum that is given by its eigenvalues alone.

    Modes above the floor are cut into three pieces and the longest is fitted, as by `fit_slope`.
    Without rows there is no error of sampling to be told: the interval says how much the slope
    depends on where along the piece it is taken. At most 20 neighboring groups of its modes are
    left out in turn, and the jackknife over these gives the interval, t sqrt((g - 1) / g sum
    (slope_j - mean)^2) with Student's t of g - 1 degrees of freedom (Efron & Tibshirani 1993,
    section 11.5). It is zero for an exact exponential and wide for a bent spectrum.

    Parameters
    ----------
    eigenvalues : array_like, shape (modes,)
        Descending. What is not above the floor is left out, whatever its sign.
    floor : float
        Numerical floor of the spectrum, >= 0: nothing at or below it enters a slope.
    modes : tuple of int, optional
        First mode of the piece and the mode behind its last, instead of the longest.
    confidence : float
        Of the interval, in (0, 1).

    Returns
    -------
    SlopeFit

    Raises
    ------
    ValueError
        If eigenvalues do not descend, or fewer than 15 stand above the floor, or the modes asked
        for are not among them.

    Examples
    --------
    >>> found = fit_eigenvalues(np.exp(-0.3 * np.arange(200)), floor=1e-12)
    >>> round(found.slope, 12), found.last <= 93
    (0.3, True)
    """
    values = np.asarray(eigenvalues, np.float64)
    if values.ndim != 1 or not np.all(np.diff(values) <= 0.0):
        raise ValueError(
            f"eigenvalues must be numbers in one dimension that descend; got shape {values.shape}. "
            "Sort them, the largest first."
        )
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie in (0, 1); got confidence={confidence}. Try 0.95.")
    log = np.log(values[values > max(floor, 0.0)])
    first, last = longest_piece(log) if modes is None else modes
    check_piece(first, last, len(log))
    slope, height, squares = least_squares(log, first, last)
    groups = np.array_split(np.arange(first, last), min(GROUPS, last - first))
    slopes = np.array([_without(log, first, last, group) for group in groups])
    g = len(groups)
    error = np.sqrt((g - 1) / g * np.square(slopes - slopes.mean()).sum())
    half = float(stdtrit(g - 1, (1 + confidence) / 2) * error)
    residual = float(np.sqrt(squares / (last - first)))
    return SlopeFit(slope, slope - half, slope + half, height, first, last, residual)


def check_piece(first: int, last: int, modes: int) -> None:
    """Refuse a piece that is too short or not above the floor.

    Raises
    ------
    ValueError
        If it is.
    """
    if not (0 <= first and first + FEWEST <= last <= modes):
        raise ValueError(
            f"modes must be at least {FEWEST} of the {modes} above the numerical floor; got "
            f"modes={(first, last)}. Leave them out to take the longest straight piece."
        )


def log_spectrum(rows: NDArray[np.float64], centered: bool) -> NDArray[np.float64]:
    """Give the natural logs of the eigenvalues above the numerical floor, descending."""
    eigenvalues = np.array(Measured.from_data(rows, centered).eigenvalues)
    relative = (max(rows.shape) * np.finfo(np.float64).eps) ** 2
    return np.asarray(np.log(eigenvalues[eigenvalues > 2 * relative * eigenvalues[0]]))


def longest_piece(log: NDArray[np.float64]) -> tuple[int, int]:
    """Cut a spectrum into the three straight pieces that fit it best; give the longest.

    Of a long spectrum, borders are tried at 100 places evenly spread.

    Raises
    ------
    ValueError
        If there are too few modes.
    """
    n = len(log)
    if n < 3 * FEWEST:
        raise ValueError(
            f"x must have at least {3 * FEWEST} modes above the numerical floor, for three pieces "
            f"of {FEWEST}; got {n}. Name the modes of the straight piece instead."
        )
    starts, ends = _places(FEWEST, n - 2 * FEWEST), _places(2 * FEWEST, n - FEWEST)
    first, last = starts[:, None], ends[None]
    left = _squares(log, np.array(0), first) + _squares(log, last, np.array(n))
    left = left + _squares(log, first, last)
    left[last - first < FEWEST] = np.inf
    i, j = np.unravel_index(np.argmin(left), left.shape)  # of equally good ones the first
    a, b = int(starts[i]), int(ends[j])
    return max(((0, a), (a, b), (b, n)), key=lambda piece: piece[1] - piece[0])


def least_squares(log: NDArray[np.float64], first: int, last: int) -> tuple[float, float, float]:
    """Fit a falling line to some modes; gives slope, height and the sum of squares left."""
    modes, values = np.arange(first, last), log[first:last]
    away = modes - modes.mean()
    slope = -float(away @ values) / float(away @ away)
    height = float(values.mean() + slope * modes.mean())
    return slope, height, float(np.square(values - height + slope * modes).sum())


def _places(low: int, high: int) -> NDArray[np.int64]:
    places = np.linspace(low, high, min(high - low + 1, BORDERS))
    return np.rint(places).astype(np.int64)


def _squares(
    log: NDArray[np.float64], first: NDArray[np.int64], last: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Sum the squares that lines leave on many pieces, 0 where rounding leaves them."""
    modes = np.arange(len(log), dtype=np.float64) - (len(log) - 1) / 2
    values = log - log.mean()

    def between(terms: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = np.r_[0.0, np.cumsum(terms)]
        return np.asarray(sums[last] - sums[first])

    count, x, y = np.maximum(last - first, 2), between(modes), between(values)
    xx = between(modes * modes) - x * x / count
    xy = between(modes * values) - x * y / count
    yy = between(values * values) - y * y / count
    squares = yy - xy * xy / np.maximum(xx, 0.5)
    rounding = 1e-14 * len(log) * float(values @ values)
    return np.where(squares > rounding, squares, 0.0)


def _without(log: NDArray[np.float64], first: int, last: int, group: NDArray[np.int64]) -> float:
    modes = np.setdiff1d(np.arange(first, last), group)
    away = modes - modes.mean()
    return -float(away @ log[modes]) / float(away @ away)
