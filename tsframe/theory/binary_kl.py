"""The relative entropy of two coins and its inverses: the exact way to bound a rate by counts.

A bound that says "kl(measured || true) <= c" is turned into one of the true rate by the inverses
below. They are exact where nothing was missed, give the safe end of their bracket, so that rounding
cannot turn a certificate into a guess, and keep their relative precision however small rates are.
"""

import numpy as np
import xarray as xr
from scipy.special import rel_entr
from scipy.stats import beta

from tsframe.theory.labeled import Floats, labeled, Numbers

__all__ = ["binary_kl", "clopper_pearson", "kl_lower", "kl_upper"]

HALVINGS = 110  # of the bracket: from 1 down to a relative precision of 1e-16 at rates of 1e-17
SLACK = 8.0 * np.finfo(np.float64).eps  # rounding of the two terms of kl, relative to their size

BELOW_ONE = np.nextafter(1.0, 0.0)


def binary_kl(q: Numbers, p: Numbers) -> xr.DataArray:
    """Relative entropy kl(q || p) of two coins, in nats.

    q ln(q/p) + (1-q) ln((1-q)/(1-p)), with 0 ln 0 = 0; inf where p excludes what q allows.

    Parameters
    ----------
    q, p : float, array or DataArray
        Probabilities in [0, 1].

    Returns
    -------
    DataArray
        >= 0, zero only at q = p.

    Examples
    --------
    >>> binary_kl(0.0, 0.5).round(6).item()
    0.693147
    """
    q, p = labeled("q", q, low=0.0, high=1.0), labeled("p", p, low=0.0, high=1.0)
    return xr.DataArray(
        xr.apply_ufunc(lambda a, b: rel_entr(a, b) + rel_entr(1.0 - a, 1.0 - b), q, p)
    )


def kl_upper(q: Numbers, c: Numbers) -> xr.DataArray:
    """Largest p with kl(q || p) <= c: the upper bound of a rate that was measured as q.

    At q = 0 it is 1 - exp(-c) exactly. Elsewhere the root is bracketed, and the upper end of the
    bracket is given. Source: Langford & Seeger 2001; Dziugaite & Roy 2017, section 3.

    Parameters
    ----------
    q : float, array or DataArray
        Measured rate in [0, 1].
    c : float, array or DataArray
        Nats per trial, >= 0; inf is allowed.

    Returns
    -------
    DataArray
        In [q, 1].

    Examples
    --------
    >>> kl_upper([0.0, 0.1, 0.5], 0.1).round(6).values.tolist()
    [0.095163, 0.282379, 0.712879]
    """
    q = labeled("q", q, low=0.0, high=1.0)
    c = labeled("c", c, low=0.0, finite=False)
    return xr.DataArray(xr.apply_ufunc(_upper, q, c))


def kl_lower(q: Numbers, c: Numbers) -> xr.DataArray:
    """Smallest p with kl(q || p) <= c: the lower bound of a rate that was measured as q.

    At q = 1 it is exp(-c) exactly. Elsewhere the lower end of the bracket is given.

    Parameters
    ----------
    q : float, array or DataArray
        Measured rate in [0, 1].
    c : float, array or DataArray
        Nats per trial, >= 0; inf is allowed.

    Returns
    -------
    DataArray
        In [0, q].

    Examples
    --------
    >>> kl_lower([0.0, 0.1, 1.0], 0.05).round(6).values.tolist()
    [0.0, 0.031278, 0.951229]
    """
    q = labeled("q", q, low=0.0, high=1.0)
    c = labeled("c", c, low=0.0, finite=False)
    return xr.DataArray(xr.apply_ufunc(_lower, q, c))


def clopper_pearson(errors: Numbers, n: Numbers, delta: Numbers = 0.05) -> xr.DataArray:
    """Exact upper bound of a rate of which `errors` of n independent trials gave a sample.

    One-sided: it fails with probability delta at most. Source: Clopper & Pearson 1934; Langford
    2005, Theorem 3.3.

    Parameters
    ----------
    errors : float, array or DataArray
        Number of errors, 0 <= errors <= n.
    n : float, array or DataArray
        Number of trials, >= 1.
    delta : float, array or DataArray
        Chance that the bound fails, in (0, 1).

    Returns
    -------
    DataArray
        In (0, 1]; 1 where every trial was an error.

    Raises
    ------
    ValueError
        If there are more errors than trials.

    Examples
    --------
    >>> clopper_pearson(0, n=100).round(10).item()
    0.0295130496
    """
    errors, n = labeled("errors", errors, low=0.0), labeled("n", n, low=1.0)
    delta = labeled("delta", delta, low=0.0, high=1.0, strict=True)
    if bool((errors > n).any()):
        raise ValueError(
            f"errors must be at most n; got errors={float(errors.max())} with n={float(n.min())}. "
            "Give counts, not rates."
        )

    def upper(k: Floats, n: Floats, delta: Floats) -> Floats:
        some = k < n
        return np.where(some, beta.ppf(1.0 - delta, k + 1.0, np.where(some, n - k, 1.0)), 1.0)

    return xr.DataArray(xr.apply_ufunc(upper, errors, n, delta))


def _upper(q: Floats, c: Floats) -> Floats:
    q, c = np.broadcast_arrays(q, c)
    p = np.minimum(np.nextafter(q + _distance(q, 1.0 - q, c), np.inf), 1.0)
    return np.where(q == 0.0, -np.expm1(-c), np.where(c == 0.0, q, p))


def _lower(q: Floats, c: Floats) -> Floats:
    q, c = np.broadcast_arrays(q, c)
    p = np.maximum(np.nextafter(q - _distance(1.0 - q, q, c), -np.inf), 0.0)
    return np.where(q == 1.0, np.exp(-c), np.where(c == 0.0, q, p))


def _distance(q: Floats, rest: Floats, c: Floats) -> Floats:
    """Find t in [0, rest] with kl(q || q + t) = c, rounded up; `rest` is 1 - q."""
    low, high = np.zeros_like(q), np.array(rest)
    inside = (q > 0.0) & (rest > 0.0)
    a, b = np.where(inside, q, 0.5), np.where(inside, rest, 0.5)
    for _ in range(HALVINGS):
        t = 0.5 * (low + high)
        share = np.minimum(t / b, BELOW_ONE)
        one, other = a * np.log1p(t / a), b * np.log1p(-share)
        # In t both terms keep their relative precision until little is left of the rest; what
        # rounding may do to them counts against the certificate.
        rounding = SLACK * (one - other + b * share / (1.0 - share))
        above = -one - other - rounding >= c
        low, high = np.where(above, low, t), np.where(above, t, high)
    return np.where(inside, high, rest)
