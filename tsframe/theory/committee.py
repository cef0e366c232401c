"""Soft committee machines: teacher and student are sums of erf units."""

import numpy as np
from numpy.typing import ArrayLike

from tsframe.theory.kernels import erf_product

__all__ = ["committee_error"]


def committee_error(q: ArrayLike, r: ArrayLike, t: ArrayLike) -> float:
    """Mean test error of a committee of erf units against a teacher committee, from overlaps.

    Half the mean square difference of sum_i erf(u_i / sqrt 2) and sum_m erf(v_m / sqrt 2), jointly
    Gaussian fields with covariances q = E u u^T, r = E u v^T, t = E v v^T: (1/pi) [sum asin(q_ij /
    sqrt((1 + q_ii) (1 + q_jj))) + the same of t - 2 sum asin(r_im / sqrt((1 + q_ii) (1 + t_mm)))].
    Source: Saad & Solla 1995, equation 3, with readout weights of one.

    Parameters
    ----------
    q : array_like, shape (units, units)
        Overlaps of the student's units; of weights w_i and input covariance Sigma, w_i^T Sigma w_j.
    r : array_like, shape (units, teacher_units)
        Overlaps of the student with the teacher.
    t : array_like, shape (teacher_units, teacher_units)
        Overlaps of the teacher's units.

    Returns
    -------
    float
        Half the mean square error, with the factor 1/2.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> round(committee_error([[1.3]], [[0.4]], [[0.8]]), 4)
    0.2118
    """
    q, r, t = (np.asarray(value, dtype=np.float64) for value in (q, r, t))
    if q.ndim != 2 or t.ndim != 2 or r.shape != (len(q), len(t)):
        raise ValueError(
            "q, r and t must have shapes (k, k), (k, m) and (m, m); got "
            f"{q.shape}, {r.shape} and {t.shape}. Transpose r if it has the teacher first."
        )
    a, b = np.diag(q) / 2.0, np.diag(t) / 2.0  # erf(u / sqrt 2) is erf at half the variance
    students = erf_product(a[:, None], q / 2.0, a).sum()
    teachers = erf_product(b[:, None], t / 2.0, b).sum()
    return float(0.5 * (students + teachers) - erf_product(a[:, None], r / 2.0, b).sum())
