"""Closed forms of the exponential spectrum l_i = exp(-slope * i), i = 0..dim-1, ridgeless."""

import numpy as np
import xarray as xr

from tsframe.theory.labeled import labeled, Numbers

__all__ = ["exponential_label_regression", "exponential_spectrum", "power_law_limit"]

HALVINGS = 64  # of a bracket of log c, down to rounding


def exponential_spectrum(slope: Numbers, dim: Numbers, n: Numbers) -> xr.Dataset:
    """Overfitting of the exponential spectrum without penalty, in closed form.

    With fewer rows than modes, E0 = slope n (1 - e^{-slope dim}) / ((1 - e^{-slope n}) (1 -
    e^{-slope (dim - n)})), which tends to slope * n: catastrophic overfitting; and kappa = e^{slope
    / 2} (1 - e^{-slope (dim - n)}) / (e^{slope n} - 1). Both replace sums by integrals with
    midpoint ends. With 10 / slope modes or more on either side of n the relative error of E0 is
    below 1e-5 for slope <= 1, 2.1e-3 at slope 2 and 0.3 at slope 5; nearer to the ends of the
    spectrum it is below 1.1e-4 for slope <= 0.1, 1.1e-2 at slope 1 and 1.8e-2 at slope 2. With more
    rows than modes E0 = n / (n - dim) at every slope. The trace, and the rank R_0 = trace^2 / sum
    l_i^2 = coth(slope / 2) tanh(slope dim / 2), are exact.

    Parameters
    ----------
    slope : float, array or DataArray
        Of the eigenvalue, natural log per mode, >= 0; zero is isotropic.
    dim, n : float, array or DataArray
        Number of modes and of training rows, >= 1.

    Returns
    -------
    Dataset
        `overfitting_coefficient`, dimensionless; `log_kappa`, natural log, in units of the leading
        eigenvalue, -inf for n >= dim; `trace`, in the same units; `effective_rank`, R_0.

    Examples
    --------
    >>> law = exponential_spectrum([0.001, 0.1, 0.5], dim=200, n=100)
    >>> law.overfitting_coefficient.round(3).values.tolist()
    [2.002, 10.001, 50.0]
    """
    slope = labeled("slope", slope, low=0.0)
    dim, n = labeled("dim", dim, low=1.0), labeled("n", n, low=1.0)
    flat, beyond = slope == 0.0, n >= dim
    c = slope.where(~flat, 1.0)
    gone = xr.DataArray(-np.expm1(-c * (dim - n).where(~beyond, 1.0)))
    with np.errstate(divide="ignore"):
        under = dim / (dim - n).where(~beyond, 1.0)
        e0 = xr.DataArray(c * n * np.expm1(-c * dim) / np.expm1(-c * n) / gone).where(~flat, under)
        e0 = e0.where(~beyond, n / (n - dim).where(beyond, 1.0))
        log_kappa = xr.DataArray(c / 2.0 + np.log(gone) - c * n - np.log(-np.expm1(-c * n)))
        log_kappa = log_kappa.where(~flat, np.log((dim - n).where(~beyond, 1.0) / n))
        log_kappa = log_kappa.where(~beyond, -np.inf)
    trace = xr.DataArray(np.expm1(-c * dim) / np.expm1(-c)).where(~flat, dim)
    rank = xr.DataArray(np.tanh(c * dim / 2.0) / np.tanh(c / 2.0)).where(~flat, dim)
    return xr.Dataset(
        {
            "overfitting_coefficient": e0,
            "log_kappa": log_kappa,
            "trace": trace,
            "effective_rank": rank,
        }
    )


def exponential_label_regression(
    slope: Numbers, n: Numbers, flip_rate: Numbers = 0.0
) -> xr.DataArray:
    """Classification error of ridgeless regression on +-1 labels, exponential spectrum.

    arctan(sqrt((pi / (2 (1 - 2 flip_rate)^2) - 1) (slope n - 1))) / pi, against clean labels of a
    linear teacher. It tends to 1/2, chance, as n grows even where no label is flipped: signs of a
    linear function are not linear, and the rest acts as noise. Valid where dim is much larger than
    n, slope * n > 3 and the bias is gone; heuristic like `label_regression`.

    Parameters
    ----------
    slope : float, array or DataArray
        Of the eigenvalue, natural log per mode, > 0.
    n : float, array or DataArray
        Number of training rows, with slope * n >= 1.
    flip_rate : float, array or DataArray
        Fraction of training labels of the wrong sign, in [0, 1/2].

    Returns
    -------
    DataArray
        Fraction of clean test labels missed, in [0, 1/2]; NaN where slope * n < 1.

    Examples
    --------
    >>> exponential_label_regression(0.1, [100, 500]).round(3).values.tolist()
    [0.368, 0.441]
    """
    slope, n = labeled("slope", slope, low=0.0, strict=True), labeled("n", n, low=1.0)
    flip_rate = labeled("flip_rate", flip_rate, low=0.0, high=0.5)
    with np.errstate(divide="ignore", invalid="ignore"):
        noise = np.pi / (2.0 * (1.0 - 2.0 * flip_rate) ** 2) - 1.0
        ratio = (noise * (slope * n - 1.0)).where(slope * n >= 1.0)
    return xr.DataArray(np.arctan(np.sqrt(ratio)) / np.pi)


def power_law_limit(exponent: Numbers, scaled_penalty: Numbers = 0.0) -> xr.Dataset:
    """Tempered overfitting of the power law l_i = i^-exponent, i = 1, 2, ..., as n grows.

    With penalty = scaled_penalty * n^{1 - exponent}, kappa n^exponent tends to the c that solves 1
    = nu / c + (pi / a) / sin(pi / a) c^{-1/a}, nu the scaled penalty and a the exponent, and the
    variance to noise^2 (1 - nu / c) (a - 1) / (1 + (nu / c) (a - 1)). Without penalty E0 tends to
    the exponent itself. Source: Cheng & Montanari 2024 (arXiv:2210.08571), section on power laws.

    Parameters
    ----------
    exponent : float, array or DataArray
        Of the eigenvalue, > 1.
    scaled_penalty : float, array or DataArray
        penalty * n^{exponent - 1}, penalty as in `ridge`, >= 0.

    Returns
    -------
    Dataset
        `scaled_kappa`, the limit of kappa n^exponent; `overfitting_coefficient`, the limit of E0.

    Examples
    --------
    >>> power_law_limit([1.5, 2.0, 3.0]).overfitting_coefficient.round(12).values.tolist()
    [1.5, 2.0, 3.0]
    """
    a = labeled("exponent", exponent, low=1.0, strict=True)
    nu = labeled("scaled_penalty", scaled_penalty, low=0.0)
    width = np.pi / a / np.sin(np.pi / a)
    # Each of the two terms alone is at most 1, and the larger of them at least 1/2.
    low = np.maximum(np.log(np.maximum(nu, 1e-300)), a * np.log(width))
    high = np.maximum(np.log(np.maximum(nu, 1e-300)) + np.log(2.0), a * np.log(2.0 * width))
    for _ in range(HALVINGS):
        u = (low + high) / 2.0
        above = nu * np.exp(-u) + width * np.exp(-u / a) > 1.0
        low, high = u.where(above, low), high.where(above, u)
    share = nu * np.exp(-low)
    variance = (1.0 - share) * (a - 1.0) / (1.0 + share * (a - 1.0))
    return xr.Dataset({"scaled_kappa": np.exp(low), "overfitting_coefficient": 1.0 + variance})
