"""Learning dynamics of deep linear networks: each mode of the target on its own (Saxe et al.)."""

import numpy as np
import xarray as xr

from tsframe.theory.labeled import Floats, labeled, Numbers

__all__ = ["deep_linear", "deep_linear_time"]

HALVINGS = 60  # of the bracket of x = log(u / (s - u)), down to rounding
NODES = 128  # of the quadrature in x, over which the law is smooth on a scale of 1
LEARNED = 45.0  # the x from which on u is s to rounding


def deep_linear(strength: Numbers, time: Numbers, start: Numbers, layers: int = 2) -> xr.DataArray:
    """Strength that a deep linear network has learned of one mode, after gradient flow.

    Inputs are white, weights start small, balanced and aligned with the mode; the loss is half the
    sum of squares, and every matrix follows its gradient. With N matrices, u' = N u^{2 - 2/N} (s -
    u): one layer gives u = s (1 - e^{-t}) + u0 e^{-t}, two give u = s e^{2 s t} / (e^{2 s t} - 1 +
    s / u0), a sigmoid in time. Source: Saxe, McClelland & Ganguli 2014 (arXiv:1312.6120), equations
    6 to 11.

    Parameters
    ----------
    strength : float, array or DataArray
        Singular value s of the target on the mode, > 0.
    time : float, array or DataArray
        Time of the flow: learning rate times steps, >= 0.
    start : float, array or DataArray
        Strength u0 of the product of all matrices at time zero, 0 < u0 <= s.
    layers : int
        Number of matrices, >= 1, readout included.

    Returns
    -------
    DataArray
        u, between `start` and `strength`.

    Examples
    --------
    >>> deep_linear(2.0, [0.0, 4.0], start=1e-3).round(8).values.tolist()
    [0.001, 1.99955019]
    """
    s, t, u0 = _checked(strength, start, layers, time=time)
    if layers == 1:
        return xr.DataArray(s - (s - u0) * np.exp(-t))
    if layers == 2:
        return xr.DataArray(s / (1.0 + (s / u0 - 1.0) * np.exp(-2.0 * s * t)))
    # In x = log(u / (s - u)) the law is x' = N s u^{1 - 2/N}: find the x that takes the time t.
    beginning = xr.DataArray(np.log(u0) - np.log((s - u0).where(u0 < s, np.nan)))
    low = beginning
    high = beginning + layers * s * t * s ** (1.0 - 2.0 / layers)
    high = high.where(high < LEARNED, np.maximum(beginning, LEARNED))
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        early = _time(s, beginning, middle, layers) < t
        low, high = middle.where(early, low), high.where(early, middle)
    return xr.DataArray(s / (1.0 + np.exp(-low))).where(u0 < s, s)


def deep_linear_time(
    strength: Numbers, start: Numbers, end: Numbers, layers: int = 2
) -> xr.DataArray:
    """Time that a deep linear network needs to learn one mode from one strength to another.

    Two matrices: ln[uf (s - u0) / (u0 (s - uf))] / (2 s), so that strong modes are learned first.

    Parameters
    ----------
    strength, start, layers
        As in `deep_linear`.
    end : float, array or DataArray
        Strength to be reached, `start` <= end < `strength`.

    Returns
    -------
    DataArray
        Time of the flow: learning rate times steps.

    Raises
    ------
    ValueError
        If the end does not lie between start and strength.

    Examples
    --------
    >>> deep_linear_time(2.0, start=1e-3, end=1.9).round(5).item()
    2.63621
    """
    s, uf, u0 = _checked(strength, start, layers, end=end)
    if bool(((uf >= s) | (uf < u0)).any()):
        raise ValueError("end must satisfy start <= end < strength. Strength itself takes forever.")
    if layers == 1:
        return xr.DataArray(np.log((s - u0) / (s - uf)))
    begin, finish = np.log(u0 / (s - u0)), np.log(uf / (s - uf))
    if layers == 2:
        return xr.DataArray((finish - begin) / (2.0 * s))
    return _time(s, xr.DataArray(begin), xr.DataArray(finish), layers)


def _time(s: xr.DataArray, begin: xr.DataArray, end: xr.DataArray, layers: int) -> xr.DataArray:
    """Integrate dx / (N s u^{1 - 2/N}) by Gauss-Legendre quadrature on pieces."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)

    def integral(s: Floats, begin: Floats, end: Floats) -> Floats:
        half = (end - begin)[..., None] / 2.0
        x = begin[..., None] + half * (nodes + 1.0)
        u = s[..., None] / (1.0 + np.exp(-x))
        rate = layers * s[..., None] * u ** (1.0 - 2.0 / layers)
        return np.asarray(np.sum(weights * half / rate, axis=-1), dtype=np.float64)

    return xr.DataArray(xr.apply_ufunc(integral, *xr.broadcast(s, begin, end)))


def _checked(
    strength: Numbers, start: Numbers, layers: int, **other: Numbers
) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    if isinstance(layers, bool) or not isinstance(layers, int | np.integer) or layers < 1:
        raise ValueError(f"layers must be a whole number >= 1; got layers={layers!r}.")
    s = labeled("strength", strength, low=0.0, strict=True)
    u0 = labeled("start", start, low=0.0, strict=True)
    if bool((u0 > s).any()):
        raise ValueError("start must be <= strength; larger weights than the target's only shrink.")
    ((name, value),) = other.items()
    return s, labeled(name, value, low=0.0), u0
