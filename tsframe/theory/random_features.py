"""Ridge regression on random features: a student with a frozen first layer."""

from typing import NamedTuple

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

__all__ = ["random_features"]

HALVINGS = 80  # of the bracket of log gamma, in the steps that Newton's method does not take
NEWTON = 40


class _Solution(NamedTuple):
    log_gamma: Floats
    log_kappa: Floats
    z: Floats  # sum of L_i = l_i / (l_i + gamma)
    spread: Floats  # sum of L_i (1 - L_i) = z - q
    rows_left: Floats  # n - z = penalty / kappa
    width_left: Floats  # width - z


def random_features(
    eigenvalues: Numbers,
    coefficients: Numbers,
    n: Numbers,
    width: Numbers,
    penalty: Numbers = 0.0,
    noise: Numbers = 0.0,
    *,
    log: bool = False,
) -> xr.Dataset:
    """Errors of ridge regression on random linear features of the inputs, at any spectrum.

    The student sees features f = F x / sqrt(width) with `width` rows of independent standard normal
    entries F, in the space of the eigenmodes: of the inputs, or of a kernel. It minimizes the sum
    of squares + penalty * ||w||^2, w the weights of the features. With L_i = l_i / (l_i + gamma), z
    = sum L_i and q = sum L_i^2, two equations fix kappa and gamma: n = z + penalty / kappa and
    width = z + width kappa / gamma. As the width grows, gamma -> kappa and `ridge` returns.
    Deterministic equivalent, with relative errors of order 1/n and 1/width. Source: Simon et al.
    2024 (arXiv:2311.14646), the random-feature eigenframework.

    Parameters
    ----------
    eigenvalues, coefficients, n, penalty, noise, log
        As in `ridge`; a penalty must be finite here.
    width : float, array or DataArray
        Number of random features, > 0.

    Returns
    -------
    Dataset
        `test_error` against the noise-free target, `train_error` on the noisy labels, `bias`,
        `variance`, `overfitting_coefficient`, `log_kappa`, `log_gamma`. The variance is inf at the
        interpolation peak, width = n without penalty.

    Examples
    --------
    Without penalty on isotropic inputs the errors peak where width = n:

    >>> law = random_features(np.ones(400), 0.05, n=100, width=[50, 99, 101, 1000], noise=0.1)
    >>> law.test_error.round(2).values.tolist()
    [1.76, 76.24, 76.75, 0.84]
    """
    log_l = log_spectrum(eigenvalues, log)
    c = target_over(log_l, coefficients)
    n, width = labeled("n", n, low=0.0, strict=True), labeled("width", width, low=0.0, strict=True)
    penalty, noise = labeled("penalty", penalty, low=0.0), labeled("noise", noise, low=0.0)
    check_dims(eigenvalues=log_l, coefficients=c, n=n, width=width, penalty=penalty, noise=noise)
    solved = xr.apply_ufunc(
        lambda *arrays: by_cells(_solve, 1, len(_Solution._fields), *arrays),
        log_l,
        n,
        width,
        penalty,
        input_core_dims=[["mode"], [], [], []],
        output_core_dims=[[] for _ in _Solution._fields],
    )
    log_gamma, log_kappa, z, spread, rows_left, width_left = solved
    # With a = z - q: n (width - q) - q (width - z) - (z - q) z = (n - q) (width - q) - a^2.
    slack = rows_left * width_left + spread * (rows_left + width_left)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (spread / (width_left + spread)).where(spread > 0.0, 0.0)
        e0 = n * (width_left + spread) / slack
        e0 = e0.where((spread > 0.0) | (width_left > 0.0), n / rows_left)
        missed_power = xr.apply_ufunc(
            lambda *arrays: by_cells(_missed_power, 2, 1, *arrays)[0],
            log_l,
            c,
            log_gamma,
            share,
            input_core_dims=[["mode"], ["mode"], [], []],
        )
        bias = (e0 * missed_power).where(missed_power > 0.0, 0.0)
        # E0 - 1, without cancellation.
        amplified = (z - spread) * width_left + spread * z
        amplified = (amplified / slack).where((spread > 0.0) | (width_left > 0.0), z / rows_left)
        variance = (noise**2 * amplified).where(noise > 0.0, 0.0)
        rest = (rows_left / n) ** 2 * e0
    train = (rest * (missed_power + noise**2)).where(rows_left > 0.0, 0.0)
    return xr.Dataset(
        {
            "test_error": bias + variance,
            "train_error": train,
            "bias": bias,
            "variance": variance,
            "log_kappa": log_kappa,
            "log_gamma": log_gamma,
            "overfitting_coefficient": e0,
        }
    )


def _missed_power(log_l: Floats, c: Floats, log_gamma: Floats, share: Floats) -> tuple[Floats]:
    """Sum l c^2 [(1 - L)^2 + L (1 - L) (z - q) / (width - q)], free of cancellation."""
    learned, missed = learnability(log_l, log_gamma)
    missed = np.where(log_gamma[:, None] == -np.inf, 0.0, missed)
    power = power_of(log_l, c)
    return ((power * missed * (missed + learned * share[:, None])).sum(axis=-1),)


def _solve(log_l: Floats, n: Floats, width: Floats, penalty: Floats) -> _Solution:
    """Solve for log gamma: z + penalty width / (gamma (width - z)) = n.

    Without penalty the smaller of n and width decides: z is equal to it, and the other is what is
    left. With penalty, gamma lies above the solution for infinite width, and above that of width
    rows without penalty.
    """
    log_l = -np.sort(-log_l, axis=-1)
    cells = np.broadcast_shapes(log_l.shape[:-1], n.shape, width.shape, penalty.shape)
    log_l = np.broadcast_to(log_l, (*cells, log_l.shape[-1]))
    n, width, penalty = (np.broadcast_to(array, cells) for array in (n, width, penalty))
    narrow = solve(log_l, np.minimum(n, width), np.zeros(1))
    u, z, spread = narrow.log_kappa.copy(), narrow.df1.copy(), narrow.df1 - narrow.df2
    rows_left, width_left = n - np.minimum(n, width), width - np.minimum(n, width)
    rows_left, width_left = rows_left + narrow.rest, width_left + narrow.rest
    at = penalty > 0.0
    if at.any():
        parts = _root(log_l[at], n[at], width[at], np.log(penalty[at]))
        u[at], z[at], spread[at], rows_left[at], width_left[at] = parts
    with np.errstate(divide="ignore"):
        log_kappa = u + np.log(width_left) - np.log(width)
    return _Solution(u, log_kappa, z, spread, rows_left, width_left)


def _root(log_l: Floats, n: Floats, width: Floats, log_penalty: Floats) -> tuple[Floats, ...]:
    # Where z <= min(n, width) / 2 and penalty / gamma <= n / 4, z + penalty / kappa < n.
    narrow, top = np.minimum(n, width), log_l[:, :1]
    low = solve(log_l, n, np.exp(log_penalty)).log_kappa
    low = np.maximum(low, solve(log_l, width, np.zeros(1)).log_kappa)
    trace = np.log(np.exp(log_l - top).sum(axis=-1)) + top[:, 0]
    high = np.maximum(trace - np.log(narrow / 2.0), log_penalty - np.log(n / 4.0))
    low, high = low - 1e-9, np.maximum(high, low) + 1e-9
    u = (low + high) / 2.0
    for step in range(NEWTON + HALVINGS):
        learned, missed = learnability(log_l, u)
        z, spread = learned.sum(axis=-1), (learned * missed).sum(axis=-1)
        left = width - z
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            rest = np.exp(log_penalty - u) * width / left
            excess = np.where(left > 0.0, np.log(z + rest) - np.log(n), np.inf)
            fall = (spread + rest * (1.0 + spread / left)) / (z + rest)
            new = u + excess / fall
        low, high = np.where(excess > 0.0, u, low), np.where(excess > 0.0, high, u)
        inside = (new >= low) & (new <= high) & (step < NEWTON)
        moved, u = u, np.where(inside, new, (low + high) / 2.0)
        if np.all(np.abs(u - moved) <= 4e-16 * (4.0 + np.abs(u))):
            break
    # Both are left over in the ratio penalty width / gamma = rows_left * width_left; the larger is
    # known by difference, the smaller by this product.
    learned, missed = learnability(log_l, u)
    z, spread = learned.sum(axis=-1), (learned * missed).sum(axis=-1)
    product = np.exp(log_penalty - u) * width
    larger = (np.abs(n - width) + np.sqrt((n - width) ** 2 + 4.0 * product)) / 2.0
    rows_left = np.where(n > width, larger, product / larger)
    return u, z, spread, rows_left, np.where(n > width, product / larger, larger)
