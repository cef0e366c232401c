"""Ridge and ridgeless regression for any spectrum and any target: the deterministic equivalent."""

import numpy as np
import xarray as xr

from tsframe.theory.kappa import learnability, Solution, solve
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

__all__ = ["ridge"]

LOG_TINY = float(np.log(np.finfo(np.float64).tiny))


def ridge(
    eigenvalues: Numbers,
    coefficients: Numbers,
    n: Numbers,
    penalty: Numbers = 0.0,
    noise: Numbers = 0.0,
    *,
    log: bool = False,
) -> xr.Dataset:
    """Errors of ridge regression on a linear target with noise, at any spectrum.

    The student minimizes sum_j (y_j - x_j . w)^2 + penalty * ||w||^2 over n rows; at penalty 0 it
    is the solution of least norm, without intercept. With L_i = l_i / (l_i + kappa), where kappa
    solves sum_i L_i + penalty / kappa = n: df1 = sum L_i, df2 = sum L_i^2, overfitting coefficient
    E0 = n / (n - df2), bias = E0 sum_i l_i c_i^2 (1 - L_i)^2, variance = noise^2 (E0 - 1), and the
    train error is (1 - df1 / n)^2 times the test error on noisy labels.

    This is the deterministic equivalent: the limit of large n and dim, with relative errors of
    order 1/n in the mean over Gaussian inputs (Cheng & Montanari 2024, arXiv:2210.08571). Without
    penalty and with n > dim it gives noise^2 dim / (n - dim), where the exact mean is
    `ordinary_least_squares`; at n = dim the variance is infinite. Source of this form: Simon et al.
    2023 (arXiv:2110.03922), equations of the eigenframework.

    Parameters
    ----------
    eigenvalues : array or DataArray with the dim "mode"
        Of the covariance of the inputs, positive, in any order, units of variance. Values held at
        the smallest float64 are refused where the answer would hang on them: see `log`.
    coefficients : float, array or DataArray with the dim "mode"
        Of the target in the eigenbasis of the inputs, in the order of `eigenvalues`. One number
        stands for a target of equal power on every coordinate.
    n : float, array or DataArray
        Number of training rows, > 0.
    penalty : float, array or DataArray
        On the squared norm of the weights, beside the sum of squares that is *not* divided by n;
        >= 0, and inf for the student that stays at zero.
    noise : float, array or DataArray
        Standard deviation (not the variance) of the noise of the training labels, >= 0.
    log : bool
        Whether `eigenvalues` are given as natural logs; -inf then stands for a mode that is absent.
        Needed where eigenvalues fall below 2.2e-308.

    Returns
    -------
    Dataset
        Over the joint dims and coordinates of the arguments, "mode" summed over: `test_error`
        against the noise-free target, bias + variance; `train_error` on the noisy labels; `bias`;
        `variance`, all mean squares without a factor 1/2; `kappa`, units of variance, zero where it
        is below float64, and `log_kappa`; `df1`, `df2`; `overfitting_coefficient`, E0. A list given
        for n, penalty or noise becomes a dim of that name.

    Examples
    --------
    Isotropic inputs, dim / n = 3: kappa = 2, bias 1 - n/dim = 2/3, and E0 = 3/2.

    >>> law = ridge(np.ones(120), 1 / np.sqrt(120), n=40, noise=1.0)
    >>> [float(law[name].round(12)) for name in ("kappa", "bias", "variance")]
    [2.0, 0.666666666667, 0.5]

    An exponential spectrum is catastrophic, E0 = slope * n.

    >>> law = ridge(-0.5 * np.arange(4000), 1.0, n=[100, 2000], log=True)
    >>> law.overfitting_coefficient.round(0).values.tolist()
    [50.0, 1000.0]
    """
    log_l = log_spectrum(eigenvalues, log)
    coefficients = target_over(log_l, coefficients)
    n = labeled("n", n, low=0.0, strict=True)
    penalty = labeled("penalty", penalty, low=0.0, finite=False)
    noise = labeled("noise", noise, low=0.0)
    check_dims(eigenvalues=log_l, coefficients=coefficients, n=n, penalty=penalty, noise=noise)
    solved = xr.apply_ufunc(
        lambda *arrays: by_cells(solve, 1, len(Solution._fields), *arrays),
        log_l,
        n,
        penalty,
        input_core_dims=[["mode"], [], []],
        output_core_dims=[[] for _ in Solution._fields],
    )
    log_kappa, df1, df2, rest, slack = solved
    if not log:
        _refuse_rounded(log_l, log_kappa)
    missed_power = xr.apply_ufunc(
        lambda *arrays: by_cells(_missed_power, 2, 1, *arrays)[0],
        log_l,
        coefficients,
        log_kappa,
        input_core_dims=[["mode"], ["mode"], []],
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        e0 = n / slack
        # At n = dim E0 is infinite, but infinitely much of nothing is nothing.
        bias = (e0 * missed_power).where(missed_power > 0.0, 0.0)
        variance = (noise**2 * df2 / slack).where(noise > 0.0, 0.0)
        share = (rest / slack).where(rest > 0.0, 0.0)
    return xr.Dataset(
        {
            "test_error": bias + variance,
            "train_error": rest / n * share * (missed_power + noise**2),
            "bias": bias,
            "variance": variance,
            "kappa": np.exp(log_kappa),
            "log_kappa": log_kappa,
            "df1": df1,
            "df2": df2,
            "overfitting_coefficient": e0,
        }
    )


def _missed_power(log_l: Floats, coefficients: Floats, log_kappa: Floats) -> tuple[Floats]:
    """Sum l c^2 (1 - L)^2."""
    missed = learnability(log_l, log_kappa)[1]
    missed = np.where(log_kappa[:, None] == -np.inf, 0.0, missed)
    return ((power_of(log_l, coefficients) * missed**2).sum(axis=-1),)


def _refuse_rounded(log_l: xr.DataArray, log_kappa: xr.DataArray) -> None:
    held = (log_l <= LOG_TINY).sum("mode")
    share = np.log(np.maximum(held, 1)) + LOG_TINY - log_kappa  # log of what they add to df1
    wrong = (held > 1) & (share > np.log(1e-9)) & (log_kappa > -np.inf)
    if wrong.any():
        raise ValueError(
            f"eigenvalues must not be held at {np.finfo(np.float64).tiny:.1e}, the smallest normal "
            f"float64, where kappa comes near it; got {int(held.max())} such values. Give natural "
            "logs of the exact eigenvalues with log=True, such as -slope * np.arange(dim)."
        )
