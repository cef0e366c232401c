"""Learning dynamics of deep linear networks: each mode of the target on its own (Saxe et al.)."""

import numpy as np
import xarray as xr

from tsframe.theory.labeled import Floats, labeled, Numbers

__all__ = ["deep_linear", "deep_linear_time"]

STEPS = 50  # of Newton's method, at most; it takes 5 to 10
LEARNED = 45.0  # the x = log(u / (s - u)) from which on u is s to rounding


def deep_linear(strength: Numbers, time: Numbers, start: Numbers, layers: int = 2) -> xr.DataArray:
    """Strength that a deep linear network has learned of one mode, after gradient flow.

    Inputs are white, weights start small, balanced and aligned with the mode; the loss is half the
    sum of squares, and every matrix follows its gradient. With N matrices, u' = N u^{2 - 2/N} (s -
    u): one layer gives u = s (1 - e^{-t}) + u0 e^{-t}, two give u = s e^{2 s t} / (e^{2 s t} - 1 +
    s / u0), a sigmoid in time; from three on the time is a closed function of u, see `_passed`, and
    solved for u by Newton's method. Source: Saxe, McClelland & Ganguli 2014 (arXiv:1312.6120),
    equations 6 to 11.

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
    s, t, u0 = xr.broadcast(s, t, u0)
    sharp = (u0 == s).values
    begin = np.log(u0.values) - np.log(np.where(sharp, 1.0, (s - u0).values))
    x = _reached(begin, t.values * s.values ** (2.0 - 2.0 / layers), layers)
    return xr.DataArray(s / (1.0 + np.exp(-x))).where(~sharp, s)


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
    passed = xr.apply_ufunc(_passed, finish, layers) - xr.apply_ufunc(_passed, begin, layers)
    return xr.DataArray(passed / s ** (2.0 - 2.0 / layers))


def _passed(x: Floats, layers: int) -> Floats:
    """Time at x = log(v / (1 - v)), v = u / s, in units of s^{2/N - 2}, but for a constant.

    With w = v^{1/N} it is the integral of w^{1 - N} / (1 - w^N) = w^{1 - N} + w / (1 - w^N), whose
    second part falls into fractions with the N roots of one as poles.
    """
    w, ones = _root(x, layers), 2.0 * np.pi / layers
    whole = (
        -(w ** (2.0 - layers)) / (layers - 2.0) - np.log(-np.expm1(_log_root(x, layers))) / layers
    )
    for j in range(1, layers // 2 + 1):  # poles come in pairs, but for -1
        pole, pair = np.exp(1j * ones * j), 1.0 if 2 * j == layers else 2.0
        whole = whole - pair / layers * (pole**2 * np.log(1.0 - w * pole.conjugate())).real
    return np.asarray(whole)


def _reached(begin: Floats, time: Floats, layers: int) -> Floats:
    """Find the x after a time in units of s^{2/N - 2}, by Newton's method.

    The time is a concave function of x, so that from the second step on all come from below and
    none goes too far.
    """
    # The first guess neglects that v comes to an end, or begins where that is felt.
    early = np.exp((2.0 - layers) * _log_root(begin, layers)) - (layers - 2.0) * time
    felt = np.maximum(early, 2.0) ** (-layers / (layers - 2.0))
    x: Floats = np.clip(np.log(felt) - np.log1p(-felt), begin, LEARNED)
    wanted = _passed(begin, layers) + time
    x = np.where(wanted < _passed(np.full_like(x, LEARNED), layers), x, np.maximum(begin, LEARNED))
    for _ in range(STEPS):
        step = (wanted - _passed(x, layers)) * layers * _root(x, layers) ** (layers - 2.0)
        after: Floats = np.clip(x + step, begin, np.maximum(begin, LEARNED))
        if np.allclose(after, x, rtol=1e-15, atol=1e-14):
            return after
        x = after
    return x


def _log_root(x: Floats, layers: int) -> Floats:
    """Give log w of x."""
    return np.asarray(-np.logaddexp(0.0, -x) / layers)


def _root(x: Floats, layers: int) -> Floats:
    """Give w of x."""
    return np.asarray(np.exp(_log_root(x, layers)))


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
