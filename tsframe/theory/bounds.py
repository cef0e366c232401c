"""Generalization bounds as the classics state them: reference lines, vacuous for large networks."""

import numpy as np
import xarray as xr
from scipy.special import betainc

from tsframe.theory.labeled import labeled, Numbers

__all__ = [
    "margin_bound",
    "perceptron_bound",
    "rademacher_linear",
    "separable_labelings",
    "vc_bound",
]


def vc_bound(
    train_error: Numbers, n: Numbers, vc_dimension: Numbers, delta: Numbers = 0.05
) -> xr.DataArray:
    """Bound of the classification error by the VC dimension D.

    train_error + sqrt((D (ln(2 n / D) + 1) - ln(delta / 4)) / n), with probability 1 - delta over
    samples, for all functions of the class at once. Source: Vapnik 1995, equations 3.15 and 3.23.

    Parameters
    ----------
    train_error : float, array or DataArray
        Fraction of training labels missed, in [0, 1].
    n : float, array or DataArray
        Number of training rows, >= 1.
    vc_dimension : float, array or DataArray
        D > 0; dim + 1 of linear classifiers with intercept.
    delta : float, array or DataArray
        Chance that the bound fails, in (0, 1).

    Returns
    -------
    DataArray
        Not clipped: a number above 1 says nothing. Inf for n < D, where the formula does not hold.

    Examples
    --------
    >>> vc_bound(0.0, n=100_000, vc_dimension=201).round(4).item()
    0.1262
    """
    train_error = labeled("train_error", train_error, low=0.0, high=1.0)
    n, d = labeled("n", n, low=1.0), labeled("vc_dimension", vc_dimension, low=0.0, strict=True)
    delta = labeled("delta", delta, low=0.0, high=1.0, strict=True)
    radius = np.sqrt((d * (np.log(2.0 * n / d) + 1.0).clip(0.0) - np.log(delta / 4.0)) / n)
    return train_error + xr.DataArray(radius).where(n >= d, np.inf)


def rademacher_linear(norm: Numbers, radius: Numbers, n: Numbers) -> xr.DataArray:
    """Bound of the Rademacher complexity of linear functions of bounded norm.

    E sup_{|w| <= norm} (1/n) sum_i sigma_i w . x_i <= norm radius / sqrt(n), radius^2 the mean of
    |x|^2; for isotropic x it is sharp to order 1/n. Source: Bartlett & Mendelson 2002, Lemma 22.

    Parameters
    ----------
    norm : float, array or DataArray
        Largest Euclidean norm of the weights, >= 0.
    radius : float, array or DataArray
        Root mean square of the norm of the inputs, >= 0: the root of the trace of their covariance.
    n : float, array or DataArray
        Number of rows, >= 1.

    Returns
    -------
    DataArray
        In units of the function's values.

    Examples
    --------
    >>> rademacher_linear(norm=2.0, radius=3.0, n=36).item()
    1.0
    """
    norm, radius = labeled("norm", norm, low=0.0), labeled("radius", radius, low=0.0)
    return norm * radius / labeled("n", n, low=1.0) ** 0.5


def margin_bound(
    margin_error: Numbers,
    margin: Numbers,
    norm: Numbers,
    radius: Numbers,
    n: Numbers,
    delta: Numbers = 0.05,
) -> xr.DataArray:
    """Bound of the classification error of a linear student by its margin: radius over sqrt(n).

    margin_error + 2 norm radius / (margin sqrt(n)) + sqrt(ln(1/delta) / (2 n)), with probability 1
    - delta, at a margin that is fixed before the data are seen. Source: Mohri, Rostamizadeh &
    Talwalkar 2018, Theorem 5.8 and Corollary 5.11; after Bartlett & Mendelson 2002.

    Parameters
    ----------
    margin_error : float, array or DataArray
        Fraction of training rows with y w . x < margin, in [0, 1].
    margin : float, array or DataArray
        In units of w . x, > 0.
    norm, radius
        Norm of w at most, and norm of the inputs at most, >= 0.
    n : float, array or DataArray
        Number of training rows, >= 1.
    delta : float, array or DataArray
        Chance that the bound fails, in (0, 1).

    Returns
    -------
    DataArray
        Not clipped: a number above 1 says nothing.

    Examples
    --------
    >>> margin_bound(0.0, margin=1.0, norm=1.0, radius=1.0, n=10_000).round(4).item()
    0.0322
    """
    error = labeled("margin_error", margin_error, low=0.0, high=1.0)
    margin, n = labeled("margin", margin, low=0.0, strict=True), labeled("n", n, low=1.0)
    delta = labeled("delta", delta, low=0.0, high=1.0, strict=True)
    chance = xr.DataArray(np.sqrt(-np.log(delta) / (2.0 * n)))
    return error + 2.0 * rademacher_linear(norm, radius, n) / margin + chance


def perceptron_bound(radius: Numbers, margin: Numbers, n: Numbers) -> xr.DataArray:
    """Bound of the mean error of a perceptron that is cycled until it makes no mistake.

    (radius / margin)^2 / (n + 1): a row left out is missed only if it was among the mistakes, of
    which there are at most (radius / margin)^2 (Novikoff 1962; Vapnik & Chervonenkis 1974). In the
    mean over samples, where radius / margin holds for every one of them.

    Parameters
    ----------
    radius : float, array or DataArray
        Largest norm of an input, > 0.
    margin : float, array or DataArray
        Smallest distance of an input to the teacher's hyperplane, > 0.
    n : float, array or DataArray
        Number of training rows, >= 1.

    Returns
    -------
    DataArray
        Fraction of test labels missed, not clipped.

    Examples
    --------
    >>> perceptron_bound(radius=3.0, margin=1.0, n=89).item()
    0.1
    """
    radius = labeled("radius", radius, low=0.0, strict=True)
    margin = labeled("margin", margin, low=0.0, strict=True)
    return (radius / margin) ** 2 / (labeled("n", n, low=1.0) + 1.0)


def separable_labelings(n: Numbers, dim: Numbers) -> xr.DataArray:
    """Probability that random labels of n points can be separated by a plane through zero.

    2^{1-n} sum_{k < dim} C(n - 1, k), for points in general position: 1 up to n = dim, 1/2 at n = 2
    dim. Source: Cover 1965, Theorem 1.

    Parameters
    ----------
    n, dim : float, array or DataArray
        Number of points and of dimensions, whole numbers >= 1.

    Returns
    -------
    DataArray
        In [0, 1].

    Examples
    --------
    >>> separable_labelings([8, 6, 3], dim=3).round(4).values.tolist()
    [0.2266, 0.5, 1.0]
    """
    n, dim = labeled("n", n, low=1.0), labeled("dim", dim, low=1.0)
    # The binomial distribution of n - 1 fair coins, as an incomplete beta function.
    some = n > dim
    below = xr.apply_ufunc(betainc, (n - dim).where(some, 1.0), dim, 0.5)
    return xr.DataArray(below).where(some, 1.0)
