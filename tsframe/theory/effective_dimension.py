"""How many directions of the weights the data decide, and the bound that follows from it.

A curvature h_i of the mean loss along eigendirection i, beside a prior of precision eps and n rows:
directions with n h_i >> eps are decided by the data, all others are left to the prior and cost
nothing. Curvatures lie along the dim "mode"; directions that are not listed have none.
"""

import math

import numpy as np
import xarray as xr

from tsframe.theory.labeled import labeled, Numbers, over_modes

__all__ = ["analytic_posterior", "effective_dimension", "effective_dimensionality"]


def effective_dimensionality(curvature: Numbers, n: Numbers, precision: Numbers) -> xr.DataArray:
    """Count the directions whose curvature the data can tell: p(n, eps) = #{h_i >= eps/(2(n-1))}.

    Source: Yang, Mao & Chaudhari 2022 (arXiv:2110.14163), section 4.

    Parameters
    ----------
    curvature : array or DataArray with the dim "mode"
        Eigenvalues of the Hessian or Fisher matrix of the mean loss, in nats; negative ones count
        as zero.
    n : float, array or DataArray
        Number of training rows, > 1.
    precision : float, array or DataArray
        eps, inverse variance of the prior, > 0.

    Returns
    -------
    DataArray
        In 0..modes.

    Examples
    --------
    >>> effective_dimensionality([1.0, 0.1, 0.01], n=6, precision=1.0).item()
    2.0
    """
    h = over_modes("curvature", curvature)
    n = labeled("n", n, low=1.0, high=math.inf, strict=True, finite=True)
    eps = labeled("precision", precision, low=0.0, high=math.inf, strict=True)
    return (h >= eps / (2.0 * (n - 1.0))).sum("mode").astype(float)


def effective_dimension(
    curvature: Numbers, strength: Numbers, precision: Numbers = 1.0
) -> xr.DataArray:
    """Sum of b h_i / (b h_i + eps): the directions that the data decide, each by its share.

    Source: MacKay 1992, equation 4.9; with b = n and eps = n times the penalty beside the mean it
    is the degrees of freedom of ridge regression.

    Parameters
    ----------
    curvature : array or DataArray with the dim "mode"
        Eigenvalues of the Hessian or Fisher matrix of the mean loss; negative ones count as zero.
    strength : float, array or DataArray
        b, weight of the data against the prior, >= 0; n for a likelihood.
    precision : float, array or DataArray
        eps, inverse variance of the prior, > 0.

    Returns
    -------
    DataArray
        In [0, modes].

    Examples
    --------
    >>> effective_dimension([1.0, 1.0, 0.0], strength=3.0).item()
    1.5
    """
    h = over_modes("curvature", curvature).clip(0.0)
    b = labeled("strength", strength, low=0.0)
    eps = labeled("precision", precision, low=0.0, high=math.inf, strict=True)
    return (b * h / (b * h + eps)).sum("mode")


def analytic_posterior(
    curvature: Numbers,
    distance: Numbers,
    n: Numbers,
    precision: Numbers,
) -> xr.Dataset:
    """Entropy of the Gaussian posterior that the curvature prescribes.

    Prior N(w0, 1/eps), posterior N(w, 1/q_i) along eigendirection i with q_i = 2 (n-1) h_i + eps,
    which minimizes sum h_i/(2 q_i) + KL / (2 (n-1)), the rise of a quadratic loss beside the
    entropy: KL = 1/2 [sum(ln(q_i/eps) + eps/q_i - 1) + eps |w - w0|^2]. Source: Yang, Mao &
    Chaudhari 2022 (arXiv:2110.14163), whose released code has 4 (n-1) h_i instead.

    Parameters
    ----------
    curvature : array or DataArray with the dim "mode"
        Eigenvalues h_i of the Hessian or Fisher matrix of the mean loss, in the unit in which the
        error is bounded (cross-entropy over ln 2 bounds an error rate: divide by ln 2); negative
        ones count as zero.
    distance : float, array or DataArray
        |w - w0| of the trained weights from the initial ones, >= 0.
    n : float, array or DataArray
        Number of training rows, > 1.
    precision : float, array or DataArray
        eps, inverse variance of the prior, > 0.

    Returns
    -------
    Dataset
        `kl` in nats; `rise`, sum h_i / (2 q_i), of the mean loss over the posterior as far as it is
        quadratic; `posterior_precision`, q_i, along "mode".

    Examples
    --------
    >>> analytic_posterior([0.0, 0.0], distance=2.0, n=100, precision=3.0).kl.item()
    6.0
    """
    h = over_modes("curvature", curvature).clip(0.0)
    step, n = labeled("distance", distance, low=0.0), labeled("n", n, low=1.0, strict=True)
    eps = labeled("precision", precision, low=0.0, high=math.inf, strict=True)
    q = 2.0 * (n - 1.0) * h + eps
    ratio = q / eps
    spread = xr.DataArray(np.log(ratio) + 1.0 / ratio - 1.0)
    kl = 0.5 * (spread.sum("mode") + eps * step**2)
    rise = (h / (2.0 * q)).sum("mode")
    return xr.Dataset({"kl": kl, "rise": rise, "posterior_precision": q})
