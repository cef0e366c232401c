"""Exact means at finite n, for Gaussian inputs: where the deterministic equivalent is checked.

All follow from the mean of the inverse Wishart matrix, E tr (X^T X)^-1 = dim / (n - dim - 1) for
inputs of unit variance. Within one row of the interpolation peak, |n - dim| <= 1, the mean is
infinite although every draw is finite: compare medians there.
"""

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from tsframe.theory.labeled import Floats, labeled, Numbers, rows_and_labels

__all__ = [
    "isotropic_min_norm",
    "leave_one_out",
    "ordinary_least_squares",
    "selected_features",
]


def ordinary_least_squares(dim: Numbers, n: Numbers, noise: Numbers = 1.0) -> xr.DataArray:
    """Mean test error of least squares with more rows than modes, at any covariance.

    noise^2 dim / (n - dim - 1), against the noise-free target: bias is zero, and the spectrum of
    the inputs is irrelevant. Exact for Gaussian inputs (Anderson 2003, section 7.7, the mean of the
    inverse Wishart matrix).

    Parameters
    ----------
    dim, n : float, array or DataArray
        Number of modes and of training rows, >= 1.
    noise : float, array or DataArray
        Standard deviation of the noise of the labels, >= 0.

    Returns
    -------
    DataArray
        Mean square, in units of the squared label; inf for |n - dim| <= 1 with noise. NaN where n <
        dim - 1, and without noise where n < dim, for there the spectrum matters: use `ridge`.

    Examples
    --------
    >>> float(ordinary_least_squares(dim=200, n=500, noise=1.0).round(12))
    0.66889632107
    """
    dim, n = labeled("dim", dim, low=1.0), labeled("n", n, low=1.0)
    noise = labeled("noise", noise, low=0.0)
    error = (noise**2 * _inverse_wishart(dim, n)).where(noise > 0.0, 0.0)
    return error.where((n >= dim) | (n >= dim - 1.0) & (noise > 0.0))


def isotropic_min_norm(
    dim: Numbers, n: Numbers, norm: Numbers = 1.0, noise: Numbers = 0.0
) -> xr.Dataset:
    """Mean errors of the least squares solution of least norm, isotropic inputs of unit variance.

    With n < dim: bias norm^2 (1 - n / dim), variance noise^2 n / (dim - n - 1). With n >= dim: no
    bias, variance noise^2 dim / (n - dim - 1). Exact for Gaussian inputs at every n (Belkin, Hsu &
    Xu 2020, Theorem 1, all features selected).

    Parameters
    ----------
    dim, n : float, array or DataArray
        Number of modes and of training rows, >= 1.
    norm : float, array or DataArray
        Euclidean norm of the target, >= 0; only the norm matters.
    noise : float, array or DataArray
        Standard deviation of the noise of the labels, >= 0.

    Returns
    -------
    Dataset
        `test_error` against the noise-free target, `bias` and `variance`; the variance is inf for
        |n - dim| <= 1 with noise.

    Examples
    --------
    >>> law = isotropic_min_norm(dim=120, n=40, noise=1.0)
    >>> float(law.bias.round(12)), float(law.variance.round(12))
    (0.666666666667, 0.506329113924)
    """
    dim, n = labeled("dim", dim, low=1.0), labeled("n", n, low=1.0)
    norm, noise = labeled("norm", norm, low=0.0), labeled("noise", noise, low=0.0)
    bias = norm**2 * np.maximum(1.0 - n / dim, 0.0)
    variance = (noise**2 * _inverse_wishart(dim, n)).where(noise > 0.0, 0.0)
    return xr.Dataset({"test_error": bias + variance, "bias": bias, "variance": variance})


def selected_features(
    n: Numbers,
    features: Numbers,
    norm_inside: Numbers,
    norm_outside: Numbers,
    noise: Numbers = 0.0,
) -> xr.DataArray:
    """Mean test error of the solution of least norm on some of the isotropic features.

    What the target does outside of the selected features acts as noise. With s2 = norm_outside^2 +
    noise^2, the error on noisy labels is s2 (1 + features / (n - features - 1)) for features <= n -
    2, and norm_inside^2 (1 - n / features) + s2 (1 + n / (features - n - 1)) for features >= n + 2:
    double descent in closed form. Exact for Gaussian inputs (Belkin, Hsu & Xu 2020,
    arXiv:1903.07571, Theorem 1).

    Parameters
    ----------
    n, features : float, array or DataArray
        Number of training rows, and of features that the student sees, >= 1.
    norm_inside, norm_outside : float, array or DataArray
        Euclidean norm of the target on the features that the student sees and on all others, >= 0.
    noise : float, array or DataArray
        Standard deviation of the noise of the labels, >= 0.

    Returns
    -------
    DataArray
        Mean square against the noise-free target; noise^2 less than on noisy labels. Infinite for
        |n - features| <= 1, unless nothing is outside and there is no noise.

    Examples
    --------
    >>> law = selected_features(n=12, features=[4, 12, 30], norm_inside=1.0, norm_outside=1.0)
    >>> law.round(6).values.tolist()
    [1.571429, inf, 2.305882]
    """
    n, features = labeled("n", n, low=1.0), labeled("features", features, low=1.0)
    inside = labeled("norm_inside", norm_inside, low=0.0)
    outside = labeled("norm_outside", norm_outside, low=0.0)
    noise = labeled("noise", noise, low=0.0)
    fitted = isotropic_min_norm(features, n, inside, (outside**2 + noise**2) ** 0.5)
    return xr.DataArray(fitted.test_error + outside**2)


def leave_one_out(x: ArrayLike, y: ArrayLike, penalty: float = 0.0) -> Floats:
    """Residuals of every row under the student trained on all others, without training it again.

    e_i / (1 - h_ii) with the residuals e and the hat matrix h of ridge regression without intercept
    (Allen 1974). In the dual, (G y)_i / G_ii with G = (X X^T + penalty)^-1, it holds for
    interpolating students too, whose own residuals are zero. Without penalty a row that alone knows
    a mode, while others are redundant, has 0 / 0 there: its student is solved for.

    Parameters
    ----------
    x : array_like, shape (n, dim)
        Inputs.
    y : array_like, shape (n,)
        Labels.
    penalty : float
        On the squared norm beside the sum of squares, >= 0.

    Returns
    -------
    ndarray, shape (n,)
        Label less prediction of the student that has not seen the row.

    Raises
    ------
    ValueError
        If penalty is negative, or the shapes do not fit.

    Examples
    --------
    The mean of the other rows predicts each row:

    >>> leave_one_out(np.ones((3, 1)), [0.0, 3.0, 6.0]).round(12).tolist()
    [-4.5, 0.0, 4.5]
    """
    x, y = rows_and_labels(x, y)
    if not 0.0 <= penalty < np.inf:
        raise ValueError(f"penalty must be >= 0 and finite; got {penalty}. Use 0 for ridgeless.")
    u, s, _ = np.linalg.svd(x, full_matrices=True)
    power = np.zeros(len(x))
    power[: len(s)] = s**2
    if penalty == 0.0:
        known = power > power.max() * 1e-26
        # With fewer modes than rows the residual operator I - h is what is left of the dual.
        weights = np.where(known, 0.0, 1.0) if not known.all() else 1.0 / power
    else:
        weights = 1.0 / (power + penalty)
    dual = (u * weights) @ u.T
    residuals, own = dual @ y, np.diag(dual).copy()
    alone = np.flatnonzero(own <= 1e-10 * (np.abs(weights).max() if np.size(weights) else 1.0))
    for row in alone:
        others = np.arange(len(x)) != row
        residuals[row] = y[row] - x[row] @ (np.linalg.pinv(x[others]) @ y[others])
        own[row] = 1.0
    return np.asarray(residuals / own)


def _inverse_wishart(dim: xr.DataArray, n: xr.DataArray) -> xr.DataArray:
    """Mean variance at unit noise: small / (large - small - 1)."""
    beyond = abs(dim - n) - 1.0
    return (n.where(n < dim, dim) / beyond.where(beyond > 0.0, 1.0)).where(beyond > 0.0, np.inf)
