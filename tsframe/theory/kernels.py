"""Kernels of infinitely wide networks: arc-cosine, erf, and the tangent kernel of any depth."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tsframe.theory.labeled import Floats

__all__ = [
    "WideKernels",
    "arc_cosine",
    "erf_ntk",
    "erf_product",
    "erf_slope_product",
    "relu_ntk",
]


class WideKernels(NamedTuple):
    """Kernels of an infinitely wide network.

    Attributes
    ----------
    nngp : ndarray, shape (n1, n2)
        Covariance of its outputs at initialization.
    ntk : ndarray, shape (n1, n2)
        Neural tangent kernel: scalar product of the gradients of an output.
    """

    nngp: Floats
    ntk: Floats


def arc_cosine(correlation: ArrayLike, order: int) -> Floats:
    """Arc-cosine kernel of order 0 or 1, twice the mean of products of steps or of ReLUs.

    k0(r) = (pi - arccos r) / pi and k1(r) = [r (pi - arccos r) + sqrt(1 - r^2)] / pi. For standard
    normal u, v of correlation r: k0 = 2 E step(u) step(v), k1 = 2 E relu(u) relu(v). Source: Cho &
    Saul 2009, equation 1.

    Parameters
    ----------
    correlation : array_like
        r in [-1, 1]; rounding beyond is clipped.
    order : int
        0 or 1.

    Returns
    -------
    ndarray
        In [0, 1]; 1 at r = 1.

    Raises
    ------
    ValueError
        If the order is neither.

    Examples
    --------
    >>> arc_cosine([-1.0, 0.0, 1.0], order=0).tolist()
    [0.0, 0.5, 1.0]
    """
    r = np.clip(np.asarray(correlation, dtype=np.float64), -1.0, 1.0)
    angle = np.pi - np.arccos(r)
    if order == 0:
        return np.asarray(angle / np.pi)
    if order == 1:
        return np.asarray((r * angle + np.sqrt(1.0 - r**2)) / np.pi)
    raise ValueError(f"order must be 0 (steps) or 1 (ReLUs); got order={order!r}.")


def erf_product(c11: ArrayLike, c12: ArrayLike, c22: ArrayLike) -> Floats:
    """Mean of erf(u) erf(v): (2/pi) arcsin(2 c12 / sqrt((1 + 2 c11) (1 + 2 c22))).

    Source: Williams 1997, equation 11. For erf(u / sqrt 2) halve all three arguments.

    Parameters
    ----------
    c11, c12, c22 : array_like
        Variance of u, covariance, and variance of v, jointly Gaussian with mean zero.

    Returns
    -------
    ndarray
        In [-1, 1].

    Examples
    --------
    >>> erf_product(1.0, 0.3, 1.0).round(6).item()
    0.128188
    """
    a, b, c = (np.asarray(value, dtype=np.float64) for value in (c11, c12, c22))
    return np.asarray(2.0 / np.pi * np.arcsin(2.0 * b / np.sqrt((1 + 2 * a) * (1 + 2 * c))))


def erf_slope_product(c11: ArrayLike, c12: ArrayLike, c22: ArrayLike) -> Floats:
    """Mean of erf'(u) erf'(v): (4/pi) / sqrt((1 + 2 c11) (1 + 2 c22) - 4 c12^2).

    Parameters
    ----------
    c11, c12, c22 : array_like
        Variance of u, covariance, and variance of v, jointly Gaussian with mean zero.

    Returns
    -------
    ndarray
        Positive.

    Examples
    --------
    >>> erf_slope_product(1.0, 0.3, 1.0).round(6).item()
    0.433165
    """
    a, b, c = (np.asarray(value, dtype=np.float64) for value in (c11, c12, c22))
    return np.asarray(4.0 / np.pi / np.sqrt((1 + 2 * a) * (1 + 2 * c) - 4 * b**2))


def relu_ntk(
    x1: ArrayLike,
    x2: ArrayLike,
    depth: int,
    weight_variance: float = 2.0,
    bias_variance: float = 0.0,
) -> WideKernels:
    """Kernels of an infinitely wide ReLU network, any depth.

    S^0 = weight_variance x1 . x2 / dim + bias_variance, S^l = (weight_variance / 2) |.| |.|
    k1(r) + bias_variance, T^0 = S^0, T^l = S^l + (weight_variance / 2) k0(r) T^{l-1}, r the
    correlation in S^{l-1} and |.| its standard deviations. Source: Jacot, Gabriel & Hongler 2018,
    Theorem 1; for ReLUs Lee et al. 2019. The readout layer has the weights' variance as well: at
    `weight_variance` 2, S on the diagonal stays 2 |x|^2 / dim and T is (depth + 1) times as large.

    Parameters
    ----------
    x1 : array_like, shape (n1, dim)
        Inputs.
    x2 : array_like, shape (n2, dim)
        Inputs.
    depth : int
        Hidden layers, >= 0; the readout is not counted. Zero is a linear student.
    weight_variance, bias_variance : float
        Variance of the weights of a unit times its number of inputs, > 0, and of its bias, >= 0, in
        the parametrization z = sqrt(weight_variance / fan_in) W h + sqrt(bias_variance) b.

    Returns
    -------
    WideKernels
        `nngp` and `ntk`, shape (n1, n2).

    Examples
    --------
    >>> x = np.array([[1.0, 1.0], [1.0, -1.0]])
    >>> relu_ntk(x, x, depth=3, weight_variance=2.0).ntk.diagonal().round(12).tolist()
    [8.0, 8.0]
    """
    a, s, b, t = _start(x1, x2, depth, weight_variance, bias_variance)
    half, same = weight_variance / 2.0, _equal_rows(x1, x2, a, s, b)
    for _ in range(depth):
        scale = np.sqrt(a[:, None] * b)
        with np.errstate(invalid="ignore", divide="ignore"):
            r = np.where(scale > 0.0, s / scale, 0.0)
        r[same] = np.where(scale[same] > 0.0, 1.0, 0.0)
        s = half * scale * arc_cosine(r, 1) + bias_variance
        t = s + half * arc_cosine(r, 0) * t
        a, b = half * a + bias_variance, half * b + bias_variance
    return WideKernels(s, t)


def erf_ntk(
    x1: ArrayLike,
    x2: ArrayLike,
    depth: int,
    weight_variance: float = 1.0,
    bias_variance: float = 0.0,
) -> WideKernels:
    """Kernels of an infinitely wide network of erf units, any depth.

    As `relu_ntk`, with S^l = weight_variance E erf erf + bias_variance and T^l = S^l +
    weight_variance E erf' erf' T^{l-1}. The units are erf(z), not erf(z / sqrt 2).

    Parameters
    ----------
    x1 : array_like, shape (n1, dim)
        Inputs.
    x2 : array_like, shape (n2, dim)
        Inputs.
    depth : int
        Hidden layers, >= 0; the readout is not counted. Zero is a linear student.
    weight_variance, bias_variance : float
        As in `relu_ntk`.

    Returns
    -------
    WideKernels
        `nngp` and `ntk`, shape (n1, n2).

    Examples
    --------
    >>> erf_ntk([[1.0]], [[1.0]], depth=1).nngp.round(6).item()
    0.464559
    """
    a, s, b, t = _start(x1, x2, depth, weight_variance, bias_variance)
    for _ in range(depth):
        slope = erf_slope_product(a[:, None], s, b)
        s = weight_variance * erf_product(a[:, None], s, b) + bias_variance
        t = s + weight_variance * slope * t
        a = weight_variance * erf_product(a, a, a) + bias_variance
        b = weight_variance * erf_product(b, b, b) + bias_variance
    return WideKernels(s, t)


def _equal_rows(
    x1: ArrayLike, x2: ArrayLike, a: Floats, s: Floats, b: Floats
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Find the pairs of equal inputs: an angle of zero is lost to rounding of a correlation."""
    first, second = np.nonzero(s * np.abs(s) >= (1.0 - 1e-9) * a[:, None] * b)
    equal = np.all(np.asarray(x1)[first] == np.asarray(x2)[second], axis=1)
    return first[equal], second[equal]


def _start(
    x1: ArrayLike, x2: ArrayLike, depth: int, weight_variance: float, bias_variance: float
) -> tuple[Floats, Floats, Floats, Floats]:
    a, b = np.asarray(x1, dtype=np.float64), np.asarray(x2, dtype=np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(
            f"x1 and x2 must have shape (n, dim) with one dim; got {a.shape} and {b.shape}. Give "
            "one input a row."
        )
    if isinstance(depth, bool) or not isinstance(depth, int | np.integer) or depth < 0:
        raise ValueError(f"depth must be a whole number >= 0; got depth={depth!r}. Use 0 for none.")
    if not (weight_variance > 0.0 and bias_variance >= 0.0):
        raise ValueError(
            "weight_variance must be > 0 and bias_variance >= 0; got "
            f"{weight_variance} and {bias_variance}."
        )
    scale = weight_variance / a.shape[1]
    s = scale * a @ b.T + bias_variance
    squares = (scale * np.sum(x**2, axis=1) + bias_variance for x in (a, b))
    return next(squares), s, next(squares), s
