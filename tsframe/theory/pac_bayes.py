"""PAC-Bayes bounds of a randomized classifier, in numbers: forms, penalties, Gaussian entropies.

A prior over weights is fixed before the data are seen, a posterior is chosen after; the error of a
classifier drawn from the posterior is then bounded for all posteriors at once by its error on the n
training rows and the relative entropy KL of posterior to prior. What was tuned on the same rows
(the scale of the prior, say) pays a `union_penalty`; training errors that were estimated by draws
pay once more, see `pac_bayes_certificate`. Errors and losses lie in [0, 1].

Two generations of the logarithm are in use and are never mixed here: Maurer 2004 has (KL + ln(2
sqrt(n)/delta)) / n; Langford & Seeger 2001, in the form of Dziugaite & Roy 2017, has (KL +
ln(n/delta)) / (n - 1). Every function says which one it takes.
"""

import math

import numpy as np
import xarray as xr

from tsframe.theory.binary_kl import clopper_pearson, kl_upper
from tsframe.theory.labeled import Floats, labeled, Numbers

__all__ = [
    "catoni_bound",
    "coverage",
    "gaussian_kl",
    "maurer_bound",
    "mcallester_bound",
    "pac_bayes_certificate",
    "quadratic_bound",
    "seeger_bound",
    "thiemann_bound",
    "union_penalty",
]


def maurer_bound(
    train_error: Numbers, kl: Numbers, n: Numbers, delta: Numbers = 0.05
) -> xr.DataArray:
    """Bound of the error by inversion of kl(train || true) <= (KL + ln(2 sqrt(n)/delta)) / n.

    Source: Maurer 2004, Theorem 5, for n >= 8; see `kl_upper`.

    Parameters
    ----------
    train_error : float, array or DataArray
        Mean error of the posterior on the training rows, in [0, 1].
    kl : float, array or DataArray
        Relative entropy of posterior to prior in nats, >= 0, with what was paid for tuning.
    n : float, array or DataArray
        Number of training rows, >= 8.
    delta : float, array or DataArray
        Chance that the bound fails, in (0, 1).

    Returns
    -------
    DataArray
        In [0, 1]; 1 says nothing.

    Examples
    --------
    >>> maurer_bound(0.02, kl=50, n=5000).round(10).item()
    0.0491180261
    """
    e, b, n = _maurer(train_error, kl, n, delta)
    return kl_upper(e, b / n)


def mcallester_bound(
    train_error: Numbers, kl: Numbers, n: Numbers, delta: Numbers = 0.05
) -> xr.DataArray:
    """Bound of the error by train_error + sqrt((KL + ln(2 sqrt(n)/delta)) / (2 n)).

    The form of McAllester 1999 with Maurer's logarithm: Pinsker's inequality applied to
    `maurer_bound`, so never below that.

    Parameters
    ----------
    train_error, kl, n, delta
        As for `maurer_bound`.

    Returns
    -------
    DataArray
        Not clipped: a number above 1 says nothing.

    Examples
    --------
    >>> mcallester_bound(0.02, kl=50, n=5000).round(10).item()
    0.0961232396
    """
    e, b, n = _maurer(train_error, kl, n, delta)
    return e + (b / (2.0 * n)) ** 0.5


def quadratic_bound(
    train_error: Numbers, kl: Numbers, n: Numbers, delta: Numbers = 0.05
) -> xr.DataArray:
    """Bound of the error by (sqrt(train_error + r) + sqrt(r))^2, r = (KL + ln(2 sqrt(n)/delta))/2n.

    Smooth in both arguments and tight at small errors: what is minimized to find a posterior.
    Source: Rivasplata, Tankasali & Szepesvari 2019; Perez-Ortiz et al. 2021, equation 6.

    Parameters
    ----------
    train_error, kl, n, delta
        As for `maurer_bound`.

    Returns
    -------
    DataArray
        Not clipped: a number above 1 says nothing.

    Examples
    --------
    >>> quadratic_bound(0.02, kl=50, n=5000).round(10).item()
    0.0560414114
    """
    e, b, n = _maurer(train_error, kl, n, delta)
    r = b / (2.0 * n)
    return ((e + r) ** 0.5 + r**0.5) ** 2


def thiemann_bound(
    train_error: Numbers,
    kl: Numbers,
    n: Numbers,
    delta: Numbers = 0.05,
    trade: Numbers | None = None,
) -> xr.DataArray:
    """Bound of the error by e/(1 - t/2) + (KL + ln(2 sqrt(n)/delta)) / (n t (1 - t/2)).

    It holds for all t in (0, 2) at once, so that choosing the best one costs nothing; at the best,
    t = 2 / (1 + sqrt(1 + 2 n e / B)), it is `quadratic_bound` exactly. Source: Thiemann, Igel,
    Wintenberger & Seldin 2017, Theorem 3.

    Parameters
    ----------
    train_error, kl, n, delta
        As for `maurer_bound`.
    trade : float, array or DataArray, optional
        t in (0, 2); the best one by default.

    Returns
    -------
    DataArray
        Not clipped: a number above 1 says nothing.

    Examples
    --------
    >>> thiemann_bound(0.02, kl=50, n=5000).round(10).item()
    0.0560414114
    """
    e, b, n = _maurer(train_error, kl, n, delta)
    if trade is None:
        t = 2.0 / (1.0 + (1.0 + 2.0 * n * e / b) ** 0.5)
    else:
        t = labeled("trade", trade, low=0.0, high=2.0, strict=True)
    return e / (1.0 - t / 2.0) + b / (n * t * (1.0 - t / 2.0))


def catoni_bound(
    train_error: Numbers, kl: Numbers, n: Numbers, delta: Numbers = 0.05, *, constant: Numbers
) -> xr.DataArray:
    """Bound of the error by (1 - exp(-C e - (KL + ln(1/delta))/n)) / (1 - exp(-C)).

    It holds for a C that was fixed before the data were seen; the best of many needs a union bound,
    `union_penalty`. Source: Catoni 2007, Theorem 1.2.6.

    Parameters
    ----------
    train_error, kl, n, delta
        As for `maurer_bound`, n >= 1.
    constant : float, array or DataArray
        C > 0.

    Returns
    -------
    DataArray
        Not clipped: a number above 1 says nothing.

    Examples
    --------
    >>> catoni_bound(0.02, kl=50, n=5000, constant=0.893674).round(10).item()
    0.0475096729
    """
    e, kl = labeled("train_error", train_error, low=0.0, high=1.0), labeled("kl", kl, low=0.0)
    n, c = labeled("n", n, low=1.0), labeled("constant", constant, low=0.0, strict=True)
    delta = labeled("delta", delta, low=0.0, high=1.0, strict=True)
    exponent = xr.DataArray(c * e + (kl - np.log(delta)) / n)
    return xr.DataArray(np.expm1(-exponent) / np.expm1(-c))


def union_penalty(index: Numbers, n: Numbers, delta: Numbers = 0.025) -> xr.DataArray:
    """Nats paid for the choice of prior number j among infinitely many: 2 ln j + ln(pi^2 n/6delta).

    Prior j has the share 6 / (pi^2 j^2) of delta; ln(n/delta) of the bound itself is contained, so
    that the sum of KL and penalty is what `seeger_bound` divides by n - 1. Source: Dziugaite & Roy
    2017, Theorem 4.1.

    Parameters
    ----------
    index : float, array or DataArray
        j, a whole number >= 1; a prior between two of the list is none of it, so round, and compute
        KL from the prior that was rounded to.
    n : float, array or DataArray
        Number of training rows, >= 3.
    delta : float, array or DataArray
        Chance that the bound fails, in (0, 1).

    Returns
    -------
    DataArray
        In nats.

    Raises
    ------
    ValueError
        If an index is not whole.

    Examples
    --------
    >>> union_penalty(37, n=55_000).round(6).item()
    22.323504
    """
    j, n = labeled("index", index, low=1.0), labeled("n", n, low=3.0)
    delta = labeled("delta", delta, low=0.0, high=1.0, strict=True)
    if bool((j != np.rint(j)).any()):
        wrong = float(j.values[j.values != np.rint(j.values)][0])
        raise ValueError(f"index must be whole; got {wrong}. Round it, and recompute KL with it.")
    return xr.DataArray(2.0 * np.log(j) + np.log(math.pi**2 * n / (6.0 * delta)))


def seeger_bound(train_error: Numbers, kl: Numbers, penalty: Numbers, n: Numbers) -> xr.DataArray:
    """Bound of the error by inversion of kl(train || true) <= (KL + penalty) / (n - 1).

    Source: Langford & Seeger 2001, as in Dziugaite & Roy 2017, Theorem 2.1, with the penalty ln(n/
    delta), or `union_penalty`.

    Parameters
    ----------
    train_error, kl, n
        As for `maurer_bound`, n >= 3.
    penalty : float, array or DataArray
        In nats, >= 0.

    Returns
    -------
    DataArray
        In [0, 1]; 1 says nothing.

    Examples
    --------
    >>> seeger_bound(0.0878836, 26160.28, union_penalty(37, 55_000), 55_000).round(6).item()
    0.546123
    """
    e, kl = labeled("train_error", train_error, low=0.0, high=1.0), labeled("kl", kl, low=0.0)
    n, penalty = labeled("n", n, low=3.0), labeled("penalty", penalty, low=0.0)
    return kl_upper(e, (kl + penalty) / (n - 1.0))


def pac_bayes_certificate(
    sampled_error: Numbers,
    draws: Numbers,
    kl: Numbers,
    penalty: Numbers,
    n: Numbers,
    delta_draws: Numbers = 0.01,
) -> xr.DataArray:
    """Bound of the error of a posterior whose training error is known from draws only.

    First kl(sampled || train) <= ln(2/delta_draws) / draws, then `seeger_bound`: the certificate
    holds with probability 1 - delta_draws - delta, delta as in the penalty. Where no draw was wrong
    there still is something to pay. Source: Langford & Caruana 2002; Dziugaite & Roy 2017, eq. 3.

    Parameters
    ----------
    sampled_error : float, array or DataArray
        Mean error of the draws, in [0, 1].
    draws : float, array or DataArray
        Number of independent draws of weights, >= 1.
    kl, penalty, n
        As for `seeger_bound`.
    delta_draws : float, array or DataArray
        Chance that the draws mislead, in (0, 1).

    Returns
    -------
    DataArray
        In [0, 1]; 1 says nothing.

    Examples
    --------
    >>> pac_bayes_certificate(0.0, 1000, kl=0.0, penalty=0.0, n=100).round(6).item()
    0.005284
    """
    e = labeled("sampled_error", sampled_error, low=0.0, high=1.0)
    draws = labeled("draws", draws, low=1.0)
    chance = labeled("delta_draws", delta_draws, low=0.0, high=1.0, strict=True)
    return seeger_bound(kl_upper(e, np.log(2.0 / chance) / draws), kl, penalty, n)


def gaussian_kl(
    mean: Floats, covariance: Floats, prior_mean: Floats, prior_covariance: Floats
) -> float:
    """Relative entropy of two Gaussians, by dense matrices: the plain road, for small examples.

    1/2 [tr(S0^-1 S) + (m - m0)^T S0^-1 (m - m0) - P + ln det S0 - ln det S].

    Parameters
    ----------
    mean, prior_mean : ndarray, shape (P,)
        m and m0.
    covariance, prior_covariance : ndarray, shape (P, P)
        S and S0, positive definite.

    Returns
    -------
    float
        In nats, >= 0.

    Examples
    --------
    >>> gaussian_kl(np.ones(3), np.eye(3), np.zeros(3), np.eye(3))
    1.5
    """
    step = np.asarray(mean) - prior_mean
    inside = np.trace(np.linalg.solve(prior_covariance, covariance)) - len(step)
    inside += step @ np.linalg.solve(prior_covariance, step)
    volumes = np.linalg.slogdet(prior_covariance)[1] - np.linalg.slogdet(covariance)[1]
    return float(0.5 * (inside + volumes))


def coverage(
    certificate: xr.DataArray, risk: xr.DataArray, over: str = "seed", delta: float = 0.05
) -> xr.Dataset:
    """Count how often a certificate held, over independent data sets.

    Parameters
    ----------
    certificate, risk : DataArray
        Bound and true error of the same students; NaN where there is none. Where the risk is itself
        measured, on test rows, it must be known much better than the bound is tight.
    over : str
        Dim of the independent data sets.
    delta : float
        Chance, in (0, 1), that an end of the interval of the coverage lies on the wrong side.

    Returns
    -------
    Dataset
        `share` of data sets whose risk is not above the certificate, with `low` and `high`, the
        ends of its exact interval (Clopper & Pearson 1934), each wrong with probability `delta`;
        `data_sets`, their number. NaN where there are none.

    Examples
    --------
    >>> seeds = {"seed": range(4)}
    >>> bound = xr.DataArray([0.3, 0.2, 0.2, 0.3], seeds)
    >>> coverage(bound, xr.DataArray([0.1, 0.1, 0.4, 0.1], seeds)).share.item()
    0.75
    """
    known = certificate.notnull() & risk.notnull()
    count = known.sum(over).astype(float)
    held = ((risk <= certificate) & known).sum(over).astype(float)
    some, one = count > 0, count.clip(1.0)
    ends = {
        "share": held / one,
        "low": 1.0 - clopper_pearson(one - held.where(some, 0.0), one, delta),
        "high": clopper_pearson(held, one, delta),
    }
    found = xr.Dataset({name: end.where(some) for name, end in ends.items()})
    return found.assign(data_sets=count)


def _maurer(
    train_error: Numbers, kl: Numbers, n: Numbers, delta: Numbers
) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Give the error, KL + ln(2 sqrt(n)/delta), and n."""
    e, kl = labeled("train_error", train_error, low=0.0, high=1.0), labeled("kl", kl, low=0.0)
    n = labeled("n", n, low=8.0)
    delta = labeled("delta", delta, low=0.0, high=1.0, strict=True)
    return e, xr.DataArray(kl + np.log(2.0 * n**0.5 / delta)), n
