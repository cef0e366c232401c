"""The penalty with the least test error, and the noise at which overfitting begins to pay."""

import numpy as np
import xarray as xr

from tsframe.theory.kappa import learnability, solve
from tsframe.theory.labeled import (
    by_cells,
    check_dims,
    Floats,
    labeled,
    log_spectrum,
    Numbers,
    power_of,
    target_over,
)
from tsframe.theory.ridge import ridge

__all__ = ["crossover_noise", "optimal_ridge"]

HALVINGS = 60  # of the bracket, down to rounding of log kappa


def optimal_ridge(
    eigenvalues: Numbers,
    coefficients: Numbers,
    n: Numbers,
    noise: Numbers = 0.0,
    *,
    log: bool = False,
) -> xr.Dataset:
    """Ridge regression at the penalty >= 0 that minimizes the test error.

    Test error as a function of kappa is stationary where n - df2 times sum l c^2 (1 - L)^2 L equals
    noise^2 + sum l c^2 (1 - L)^2 times sum L^2 (1 - L); the minimum is looked for over the whole
    range of kappa, for it need not be the only one, and it may lie at penalty 0, where a negative
    penalty would do better still (Tsigler & Bartlett 2023). For a target of equal power on every
    coordinate, c_i = t, the best penalty is noise^2 / t^2 at every n and every spectrum (Dobriban &
    Wager 2018), and the test error there is t^2 n kappa - noise^2.

    Parameters
    ----------
    eigenvalues, coefficients, n, noise, log
        As in `ridge`.

    Returns
    -------
    Dataset
        As from `ridge`, and `penalty`; it is inf where the zero student is best.

    Examples
    --------
    >>> law = optimal_ridge(np.ones(300), 0.1, n=[100, 1000], noise=0.5)
    >>> law.penalty.round(9).values.tolist()
    [25.0, 25.0]
    """
    log_l = log_spectrum(eigenvalues, log)
    c = target_over(log_l, coefficients)
    n, noise = labeled("n", n, low=0.0, strict=True), labeled("noise", noise, low=0.0)
    check_dims(eigenvalues=log_l, coefficients=c, n=n, noise=noise)
    penalty = xr.apply_ufunc(
        lambda *arrays: by_cells(_best_penalty, 2, 1, *arrays)[0],
        log_l,
        c,
        n,
        noise,
        input_core_dims=[["mode"], ["mode"], [], []],
    )
    return ridge(log_l, c, n, penalty, noise, log=True).assign(penalty=penalty)


def crossover_noise(
    eigenvalues: Numbers,
    coefficients: Numbers,
    n: Numbers,
    penalty: Numbers = 0.0,
    *,
    log: bool = False,
) -> xr.DataArray:
    """Give the noise at which the variance of ridge regression equals its bias.

    A boundary to draw on a plane of spectrum and noise: below it, what harms is what the student
    has not learned; above it, the noise that it has. For a target of equal power t on every
    coordinate and no penalty it is sqrt(t^2 n kappa / (E0 - 1)).

    Parameters
    ----------
    eigenvalues, coefficients, n, penalty, log
        As in `ridge`.

    Returns
    -------
    DataArray
        Standard deviation of the noise, in units of the label; zero where nothing is missed.

    Examples
    --------
    Isotropic inputs, dim / n = 3: bias 2/3 equals the variance noise^2 / 2.

    >>> noise = crossover_noise(np.ones(120), 1 / np.sqrt(120), n=40)
    >>> float((noise**2).round(12))
    1.333333333333
    """
    law = ridge(eigenvalues, coefficients, n, penalty, 1.0, log=log)
    with np.errstate(divide="ignore", invalid="ignore"):
        noise = xr.DataArray(np.sqrt(law.bias / law.variance))
    return noise.where(law.bias > 0.0, 0.0)


def _best_penalty(log_l: Floats, c: Floats, n: Floats, noise: Floats) -> tuple[Floats]:
    """Minimize over kappa: penalty = kappa (n - df1) needs no equation to be solved."""
    shape = np.broadcast_shapes(log_l.shape[:-1], c.shape[:-1], n.shape, noise.shape)
    log_l = np.broadcast_to(log_l, (*shape, log_l.shape[-1]))
    v = power_of(log_l, c)
    n, s2 = np.broadcast_to(n, shape), np.broadcast_to(noise, shape) ** 2
    start = solve(log_l, n, np.zeros(1)).log_kappa
    smallest = np.min(np.where(np.isfinite(log_l), log_l, np.inf), axis=-1)
    top = np.max(log_l, axis=-1)
    # Beyond `end` the error only rises: there both sums are at their leading power of 1 / kappa.
    power, reach = v.sum(axis=-1), (v * np.exp(log_l - top[:, None])).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        crowd = np.exp(2.0 * (log_l - top[:, None])).sum(axis=-1)
        end = top + np.log((s2 + power) * crowd / (n * reach))
    end = np.maximum(np.where(np.isfinite(end), end, top), top + np.log(log_l.shape[-1])) + 10.0
    low = np.maximum(start, smallest - 40.0)
    points = (
        int(np.clip(2.0 * np.max(end - low), 64, 2048)) + 1
    )  # features have width 1 in log kappa
    grid = low + (end - low) * np.linspace(0.0, 1.0, points)[:, None]
    best = np.argmin([_error_and_slope(log_l, v, n, s2, u)[0] for u in grid], axis=0)
    cells = np.arange(len(best))
    left, right = (
        grid[np.maximum(best - 1, 0), cells],
        grid[np.minimum(best + 1, points - 1), cells],
    )
    for _ in range(HALVINGS):
        u = (left + right) / 2.0
        falls = _error_and_slope(log_l, v, n, s2, u)[1] < 0.0
        left, right = np.where(falls, u, left), np.where(falls, right, u)
    learned = learnability(log_l, left)[0]
    penalty = np.exp(left) * np.maximum(n - learned.sum(axis=-1), 0.0)
    rises = _error_and_slope(log_l, v, n, s2, low)[1] >= 0.0
    penalty = np.where((best == 0) & rises | (start == -np.inf) & (s2 == 0.0), 0.0, penalty)
    return (np.where(power == 0.0, np.where(s2 > 0.0, np.inf, 0.0), penalty),)


def _error_and_slope(
    log_l: Floats, v: Floats, n: Floats, s2: Floats, log_kappa: Floats
) -> tuple[Floats, Floats]:
    """Test error as a function of kappa, and a number with the sign of its derivative."""
    learned, missed = learnability(log_l, log_kappa)
    rank = np.isfinite(log_l).sum(axis=-1)
    lacked = np.where(np.isfinite(log_l), missed * (1.0 + learned), 0.0).sum(axis=-1)
    spread = (learned * missed).sum(axis=-1)
    left = np.maximum(n - learned.sum(axis=-1), 0.0)
    slack = np.where(n >= rank, n - rank + lacked, left + spread)  # n - df2, without cancellation
    bias = (v * missed**2).sum(axis=-1)
    error = (n * bias + s2 * (learned**2).sum(axis=-1)) / slack
    slope = (v * missed**2 * learned).sum(axis=-1) * slack
    return error, slope - (s2 + bias) * (learned**2 * missed).sum(axis=-1)
