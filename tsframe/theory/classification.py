"""Classification by a linear student: errors from overlaps, and of regression on labels."""

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from tsframe.theory.kappa import learnability
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
from tsframe.theory.ridge import ridge

__all__ = ["argmax_disagreement", "label_regression", "sign_disagreement"]


def sign_disagreement(correlation: Numbers, flip_rate: Numbers = 0.0) -> xr.DataArray:
    """Probability that two jointly Gaussian numbers, the second flipped at times, differ in sign.

    f + (1 - 2 f) arccos(rho) / pi with the flip rate f. For Gaussian inputs of covariance Sigma, a
    linear student w and a linear teacher c the correlation is w^T Sigma c / sqrt(w^T Sigma w c^T
    Sigma c). Exact (Sheppard 1899).

    Parameters
    ----------
    correlation : float, array or DataArray
        In [-1, 1].
    flip_rate : float, array or DataArray
        Fraction of the teacher's labels that are of the wrong sign, in [0, 1]; zero for the error
        against clean labels.

    Returns
    -------
    DataArray
        In [0, 1].

    Examples
    --------
    >>> sign_disagreement(0.3).round(5).item()
    0.40301
    """
    rho = labeled("correlation", correlation, low=-1.0, high=1.0)
    flip_rate = labeled("flip_rate", flip_rate, low=0.0, high=1.0)
    return flip_rate + (1.0 - 2.0 * flip_rate) * xr.DataArray(np.arccos(rho) / np.pi)


def label_regression(
    eigenvalues: Numbers,
    coefficients: Numbers,
    n: Numbers,
    penalty: Numbers = 0.0,
    flip_rate: Numbers = 0.0,
    *,
    log: bool = False,
) -> xr.Dataset:
    """Classification error of ridge regression on the labels +-1 of a linear teacher.

    A sign holds a linear signal: the target of the regression is (1 - 2 f) sqrt(2 / (pi rho)) c
    with rho = sum l c^2, and the rest of the label acts as noise of variance 1 - (1 - 2 f)^2 2/pi,
    present without any flip. With `ridge` on this target, m = sum l c^2 L and the power q of the
    student, the error against clean labels is arccos(m / sqrt(q r)) / pi, r = (1 - 2 f)^2 2/pi.

    A heuristic: the rest is uncorrelated with the inputs, but not independent of them. At n = 100,
    dim = 400 it agrees with simulation to 0.006 over twenty cases; check it again where the
    effective rank R_0 is below about 5.

    Parameters
    ----------
    eigenvalues, coefficients, n, penalty, log
        As in `ridge`; only the direction of the coefficients matters. A penalty must be finite.
    flip_rate : float, array or DataArray
        Fraction of the training labels that are of the wrong sign, in [0, 1/2].

    Returns
    -------
    Dataset
        `test_error`, the fraction of clean test labels missed, in [0, 1]; `square_error`, the mean
        square distance of the student from the noise-free linear signal; `correlation` of student
        and teacher; `overfitting_coefficient`, and `kappa` and `log_kappa` of `ridge`.

    Examples
    --------
    >>> law = label_regression(np.ones(400), 1.0, n=100, flip_rate=[0.0, 0.1])
    >>> law.test_error.round(3).values.tolist()
    [0.377, 0.406]
    """
    log_l = log_spectrum(eigenvalues, log)
    c = target_over(log_l, coefficients)
    n, penalty = labeled("n", n, low=0.0, strict=True), labeled("penalty", penalty, low=0.0)
    flip_rate = labeled("flip_rate", flip_rate, low=0.0, high=0.5)
    check_dims(eigenvalues=log_l, coefficients=c, n=n, penalty=penalty, flip_rate=flip_rate)
    signal = (1.0 - 2.0 * flip_rate) ** 2 * 2.0 / np.pi  # r, the power of the linear target
    with np.errstate(divide="ignore"):
        log_power = xr.DataArray(log_l + 2.0 * np.log(np.abs(c)))  # steep spectra underflow
    largest = log_power.max("mode")
    if bool((largest == -np.inf).any()):
        raise ValueError(
            "coefficients must give the teacher power on some mode; got a teacher that is zero. "
            "Leave it out: its labels are coin flips."
        )
    total = largest + np.log(xr.DataArray(np.exp(log_power - largest)).sum("mode"))
    unit = xr.DataArray(np.exp((log_power - total - log_l) / 2.0)).where(log_power > -np.inf, 0.0)
    law = ridge(log_l, unit, n, penalty, 0.0, log=True)
    noise = 1.0 - signal
    learned = xr.apply_ufunc(
        lambda *arrays: by_cells(_learned_power, 2, 1, *arrays)[0],
        log_l,
        unit,
        law.log_kappa,
        input_core_dims=[["mode"], ["mode"], []],
    )
    e0 = law.overfitting_coefficient
    square_error = signal * law.bias + noise * (e0 - 1.0)
    # q r - m^2 with q = square_error - r + 2 m, in units where the target has power r.
    m = signal * learned
    beside = np.maximum(square_error * signal - (signal - m) ** 2, 0.0)
    angle = xr.DataArray(np.arctan2(np.sqrt(beside), m))
    angle = angle.where((signal > 0.0) & np.isfinite(e0), np.pi / 2.0)  # nothing but noise
    return xr.Dataset(
        {
            "test_error": angle / np.pi,
            "square_error": square_error,
            "correlation": xr.DataArray(np.cos(angle)),
            "overfitting_coefficient": e0,
            "kappa": law.kappa,
            "log_kappa": law.log_kappa,
        }
    )


def argmax_disagreement(
    teacher: ArrayLike,
    student: ArrayLike,
    covariance: ArrayLike,
    rng: np.random.Generator,
    draws: int = 100_000,
    replaced: float = 0.0,
) -> tuple[float, float]:
    """Probability that the argmax of two linear maps of Gaussian inputs differs, by sampling.

    The logits of both are jointly Gaussian in 2 * classes dimensions, whatever the dimension of the
    inputs. With labels replaced by a uniform class at rate p, the error on noisy labels is p (1 -
    1/classes) + (1 - p) times the disagreement.

    Parameters
    ----------
    teacher, student : array_like, shape (classes, dim)
        Linear maps from inputs to logits, without bias.
    covariance : array_like, shape (dim,) or (dim, dim)
        Of the inputs; one dim for eigenvalues along the coordinates.
    rng : Generator
        Source of the random numbers.
    draws : int
        Number of draws, >= 2.
    replaced : float
        Rate p at which a test label is replaced by a uniform class, in [0, 1].

    Returns
    -------
    tuple of two float
        The probability and its standard error.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> teacher = np.eye(3, 5)
    >>> argmax_disagreement(teacher, 2 * teacher, np.ones(5), np.random.default_rng(0))
    (0.0, 0.0)
    """
    a, b = np.asarray(teacher, dtype=np.float64), np.asarray(student, dtype=np.float64)
    sigma = np.asarray(covariance, dtype=np.float64)
    if a.ndim != 2 or a.shape != b.shape or sigma.shape not in {a.shape[1:], a.shape[1:] * 2}:
        raise ValueError(
            "teacher and student must have shape (classes, dim) and covariance (dim,) or (dim, "
            f"dim); got {a.shape}, {b.shape} and {sigma.shape}. Transpose what is turned."
        )
    both = np.concatenate([a, b])
    spread = both * sigma if sigma.ndim == 1 else both @ sigma
    values, vectors = np.linalg.eigh(spread @ both.T)
    values[values < values.max() * 1e-14] = 0.0  # so that equal maps have exactly equal logits
    root = vectors * np.sqrt(values)
    classes, wrong = len(a), 0
    for start in range(0, draws, 10_000):
        logits = rng.standard_normal((min(10_000, draws - start), 2 * classes)) @ root.T
        differ = np.argmax(logits[:, :classes], axis=1) != np.argmax(logits[:, classes:], axis=1)
        wrong += int(np.count_nonzero(differ))
    share = wrong / draws
    error = float(np.sqrt(share * (1.0 - share) / draws)) * (1.0 - replaced)
    return replaced * (1.0 - 1.0 / classes) + (1.0 - replaced) * share, error


def _learned_power(log_l: Floats, c: Floats, log_kappa: Floats) -> tuple[Floats]:
    return ((power_of(log_l, c) * learnability(log_l, log_kappa)[0]).sum(axis=-1),)
