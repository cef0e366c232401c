"""Effective ranks of a spectrum, and what they say of benign overfitting up to constants."""

import numpy as np
import xarray as xr

from tsframe.theory.labeled import (
    by_cells,
    check_dims,
    Floats,
    labeled,
    log_spectrum,
    Numbers,
    target_over,
)

__all__ = ["benign_overfitting", "effective_ranks", "split_ridge"]


def effective_ranks(eigenvalues: Numbers, *, log: bool = False) -> xr.Dataset:
    """Effective ranks of the spectrum that is left after its k largest eigenvalues, for every k.

    r_k = sum_{i > k} l_i / l_{k+1} and R_k = (sum_{i > k} l_i)^2 / sum_{i > k} l_i^2, so that 1 <=
    r_k <= R_k <= r_k^2 and R_k <= dim - k; both are dim - k where the rest is isotropic. Source:
    Bartlett, Long, Lugosi & Tsigler 2020 (arXiv:1906.11300), Definition 3.

    Parameters
    ----------
    eigenvalues : array or DataArray with the dim "mode"
        Positive, in any order, units of variance; a common scale cancels.
    log : bool
        Whether `eigenvalues` are given as natural logs; -inf then stands for a mode that is absent.

    Returns
    -------
    Dataset
        `r` and `R`, dimensionless, along the dim "k" = 0..dim-1; NaN where no mode is left.

    Examples
    --------
    >>> effective_ranks(np.ones(10)).r.sel(k=4).item()
    6.0
    """
    log_l = log_spectrum(eigenvalues, log)
    small, large = xr.apply_ufunc(
        _ranks, log_l, input_core_dims=[["mode"]], output_core_dims=[["k"], ["k"]]
    )
    ranks = xr.Dataset({"r": small, "R": large})
    return ranks.assign_coords(k=np.arange(log_l.sizes["mode"]))


def benign_overfitting(
    eigenvalues: Numbers, n: Numbers, b: Numbers = 1.0, *, log: bool = False
) -> xr.Dataset:
    """Say what decides whether interpolating noise is harmless, by Bartlett's criterion.

    k* = min{k >= 0: r_k >= b n}. The excess error of the interpolant of least norm is at least
    noise^2 (k*/n + n/R_{k*}) / c, and at most ||target||^2 ||Sigma|| max(sqrt(r_0/n), r_0/n) c +
    noise^2 (k*/n + n/R_{k*}) c, with a constant c that nobody has computed: these are rates, not
    certificates. Overfitting is benign where r_0/n, k*/n and n/R_{k*} all tend to zero as n grows.
    Source: Bartlett, Long, Lugosi & Tsigler 2020 (arXiv:1906.11300), Theorem 4.

    Parameters
    ----------
    eigenvalues : array or DataArray with the dim "mode"
        Positive, in any order, units of variance; a common scale cancels.
    n : float, array or DataArray
        Number of training rows, > 0.
    b : float, array or DataArray
        The constant in the definition of k*, > 0; the theorem asks for some b > 1 without naming
        it.
    log : bool
        Whether `eigenvalues` are given as natural logs; -inf then stands for a mode that is absent.

    Returns
    -------
    Dataset
        `k_star`, inf where no k fulfills the condition, as for a pure exponential at large n;
        `r_0_over_n`, `k_star_over_n`, `n_over_R`; and `variance_rate`, the sum of the last two, to
        be compared with variance / noise^2 up to a constant. All dimensionless.

    Examples
    --------
    >>> law = benign_overfitting(np.append(np.full(5, 100.0), np.ones(2000)), n=100)
    >>> float(law.k_star), float(law.variance_rate.round(12))
    (5.0, 0.1)
    """
    log_l = log_spectrum(eigenvalues, log)
    n, b = labeled("n", n, low=0.0, strict=True), labeled("b", b, low=0.0, strict=True)
    check_dims(eigenvalues=log_l, n=n, b=b)
    k_star, large, r_0 = xr.apply_ufunc(
        lambda *arrays: by_cells(_k_star, 1, 3, *arrays),
        log_l,
        b * n,
        input_core_dims=[["mode"], []],
        output_core_dims=[[], [], []],
    )
    return xr.Dataset(
        {
            "k_star": k_star,
            "r_0_over_n": r_0 / n,
            "k_star_over_n": k_star / n,
            "n_over_R": n / large,
            "variance_rate": k_star / n + n / large,
        }
    )


def split_ridge(
    eigenvalues: Numbers,
    coefficients: Numbers,
    n: Numbers,
    penalty: Numbers = 0.0,
    noise: Numbers = 0.0,
    b: Numbers = 1.0,
    *,
    log: bool = False,
) -> xr.Dataset:
    """Rates of bias and variance of ridge regression, sharp up to constants.

    The tail of the spectrum acts as a ridge on its head: with the implicit penalty D = penalty +
    sum_{i > k} l_i and k = min{k: D / l_{k+1} > b n}, the bias is of the order sum_{i > k} l_i
    c_i^2 + (D / n)^2 sum_{i <= k} c_i^2 / l_i and the variance of noise^2 (k/n + n sum_{i > k}
    l_i^2 / D^2). Only orders, up to constants that are not known: compare how they scale, never
    their values. Source: Tsigler & Bartlett 2023 (arXiv:2009.14286), Theorem 1.

    Parameters
    ----------
    eigenvalues, coefficients, n, penalty, noise, log
        As in `ridge`; the eigenvalues in any order, each with its coefficient. A penalty must be
        finite here.
    b : float, array or DataArray
        The constant in the definition of k, > 0.

    Returns
    -------
    Dataset
        `k`, inf where no k fulfills the condition, and `bias_rate` and `variance_rate`, NaN there.

    Examples
    --------
    >>> law = split_ridge(np.append([100.0], np.ones(1000)), 0.1, n=100, noise=1.0)
    >>> float(law.k), float(law.variance_rate.round(12))
    (1.0, 0.11)
    """
    log_l = log_spectrum(eigenvalues, log)
    c = target_over(log_l, coefficients)
    n, b = labeled("n", n, low=0.0, strict=True), labeled("b", b, low=0.0, strict=True)
    penalty, noise = labeled("penalty", penalty, low=0.0), labeled("noise", noise, low=0.0)
    check_dims(eigenvalues=log_l, coefficients=c, n=n, penalty=penalty, noise=noise, b=b)
    k, bias, variance = xr.apply_ufunc(
        lambda *arrays: by_cells(_split, 2, 3, *arrays),
        log_l,
        c,
        n,
        penalty,
        b,
        input_core_dims=[["mode"], ["mode"], [], [], []],
        output_core_dims=[[], [], []],
    )
    return xr.Dataset({"k": k, "bias_rate": bias, "variance_rate": noise**2 * variance})


def _tails(log_l: Floats) -> Floats:
    """Give the logs of the sums over i > k, k = 0..dim-1, along the last axis."""
    return np.logaddexp.accumulate(log_l[..., ::-1], axis=-1)[..., ::-1]


def _ranks(log_l: Floats) -> tuple[Floats, Floats]:
    log_l = -np.sort(-log_l, axis=-1)
    with np.errstate(invalid="ignore"):
        log_r = _tails(log_l) - log_l
        return np.exp(log_r), np.exp(2.0 * (_tails(log_l)) - _tails(2.0 * log_l))


def _k_star(log_l: Floats, rows: Floats) -> tuple[Floats, Floats, Floats]:
    small, large = _ranks(log_l)
    enough = small >= rows[:, None] * (1.0 - 1e-12)  # r_k = b n counts, up to rounding
    first = np.argmax(enough, axis=-1)[:, None]
    exists = enough.any(axis=-1)
    large = np.take_along_axis(np.broadcast_to(large, enough.shape), first, axis=-1)[:, 0]
    k_star = np.where(exists, first[:, 0], np.inf)
    return k_star, np.where(exists, large, np.nan), np.broadcast_to(small[:, 0], k_star.shape)


def _split(
    log_l: Floats, c: Floats, n: Floats, penalty: Floats, b: Floats
) -> tuple[Floats, Floats, Floats]:
    cells = np.broadcast_shapes(log_l.shape[:-1], c.shape[:-1], n.shape, penalty.shape, b.shape)
    shape = (*cells, log_l.shape[-1])
    order = np.argsort(-np.broadcast_to(log_l, shape), axis=-1, kind="stable")
    log_l = np.take_along_axis(np.broadcast_to(log_l, shape), order, axis=-1)
    with np.errstate(divide="ignore"):
        log_c2 = 2.0 * np.log(np.abs(np.take_along_axis(np.broadcast_to(c, shape), order, axis=-1)))
        log_d = np.logaddexp(np.log(penalty)[:, None], _tails(log_l))
    with np.errstate(invalid="ignore"):
        enough = log_d - log_l > np.log(b * n)[:, None]
    first, exists = np.argmax(enough, axis=-1)[:, None], enough.any(axis=-1)
    implicit = np.take_along_axis(log_d, first, axis=-1) - np.log(n)[:, None]  # of D / n
    tail = np.arange(shape[-1]) >= first
    with np.errstate(invalid="ignore"):
        bias = np.exp(log_c2 + np.where(tail, log_l, 2.0 * implicit - log_l)).sum(axis=-1)
    crowd = np.where(tail, np.exp(2.0 * (log_l - implicit)), 0.0).sum(axis=-1) / n
    k = np.where(exists, first[:, 0], np.inf)
    return k, np.where(exists, bias, np.nan), np.where(exists, first[:, 0] / n + crowd, np.nan)
