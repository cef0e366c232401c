"""Eigenvalues of matrices that are known by their products alone, of many students at once.

`lanczos` reduces symmetric matrices to tridiagonal ones. Of these, `ritz` takes the ends of the
spectrum with their residuals, and `quadrature` the nodes and weights of the density (stochastic
Lanczos quadrature: Golub & Meurant 1994; Ubaru, Chen & Saad 2017). `trace` is Hutchinson's estimate
with its standard error. Eigenvectors of every step are kept and made orthogonal twice: without,
copies of the eigenvalues at the ends come out again and again, as if the matrix had them.
"""

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh_tridiagonal
from torch import Tensor

from tsframe.measures.hessian import Operator
from tsframe.training.products import slotwise_product

__all__ = ["Ends", "Tridiagonal", "lanczos", "quadrature", "ritz", "trace"]

Floats: TypeAlias = NDArray[np.float64]

EXHAUSTED = 1e-12  # of the norm of T: what couples to so little is rounding, or far below any floor


@dataclass(frozen=True, eq=False)
class Tridiagonal:
    """Symmetric matrices A reduced to tridiagonal ones, T = Q A Q^T, one for each start vector.

    Attributes
    ----------
    diagonal : ndarray, shape (students, vectors, steps)
        NaN from `size` on.
    off_diagonal : ndarray, shape (students, vectors, steps)
        Entry j couples steps j and j + 1; entry `size` - 1 is the norm of what T leaves over: zero
        to rounding where the start vector was exhausted. NaN from `size` on.
    size : ndarray of int, shape (students, vectors)
        Side of T: less than the steps asked for where the start vector has components along fewer
        distinct eigenvalues.
    basis : Tensor, shape (students, vectors, steps, P)
        Q, orthonormal rows; zero from `size` on.
    """

    diagonal: Floats
    off_diagonal: Floats
    size: NDArray[np.int64]
    basis: Tensor


@dataclass(frozen=True, eq=False)
class Ends:
    """The largest and the smallest eigenvalues, as far as `lanczos` has found them.

    Attributes
    ----------
    largest, smallest : ndarray, shape (students, k)
        Ritz values from the end inwards: descending, and ascending. NaN where there are fewer than
        k.
    largest_residual, smallest_residual : ndarray, shape (students, k)
        |A u - theta u| of each Ritz value theta and its unit vector u: some eigenvalue of A lies so
        near. Never below rounding, eps times the largest |theta| times the root of P.
    vectors : Tensor, shape (students, k, P)
        Unit vectors u of `largest`; zero where there are fewer.
    """

    largest: Floats
    smallest: Floats
    largest_residual: Floats
    smallest_residual: Floats
    vectors: Tensor


def lanczos(apply: Operator, start: Tensor, steps: int) -> Tridiagonal:
    """Reduce symmetric matrices to tridiagonal ones, reorthogonalized fully in two passes.

    Source: Lanczos 1950; twice is enough: Parlett 1980, section 6.9, after Kahan. In a start vector
    every distinct eigenvalue is seen once, whatever its multiplicity.

    Parameters
    ----------
    apply : Operator
        Products of the matrices of all students with vectors, shape (students, vectors, P).
    start : Tensor, shape (students, vectors, P)
        float64 start vectors, of any length but zero; each has a reduction of its own.
    steps : int
        Products to take, >= 1; at most P are.

    Returns
    -------
    Tridiagonal

    Raises
    ------
    ValueError
        If a product is not finite.
    """
    students, vectors, parameters = start.shape
    steps = min(steps, parameters)
    basis = start.new_zeros(students * vectors, steps, parameters)
    diagonal, off_diagonal = start.new_zeros(2, students * vectors, steps)
    q = (start / start.norm(dim=2, keepdim=True)).flatten(0, 1)
    alive = torch.ones_like(diagonal[:, 0], dtype=torch.bool)
    size = torch.zeros_like(alive, dtype=torch.int64)
    scale = torch.zeros_like(diagonal[:, 0])  # of T, from below
    for step in range(steps):
        size += alive
        basis[:, step] = q
        done = basis[:, : step + 1]
        w = apply(q.view(start.shape)).flatten(0, 1)[:, :, None]
        for sweep in range(2):
            along = slotwise_product(done, w)
            w = w - slotwise_product(done.mT, along)
            if sweep == 0:
                diagonal[:, step] = along[:, -1, 0]
        beta = slotwise_product(w.mT, w)[:, 0, 0].sqrt()
        off_diagonal[:, step] = beta
        scale = torch.maximum(scale, diagonal[:, step].abs() + beta)
        alive = alive & (beta > EXHAUSTED * scale)
        q = torch.where(alive[:, None], w[:, :, 0] / beta[:, None], 0.0)
    shape = (students, vectors)
    sizes = size.cpu().numpy().reshape(shape)
    beyond = np.arange(steps) >= sizes[:, :, None]
    alphas, betas = (t.cpu().numpy().reshape(*shape, -1) for t in (diagonal, off_diagonal))
    if not (np.isfinite(alphas).all() and np.isfinite(betas).all()):
        raise ValueError(
            "lanczos needs finite products; got NaN or infinity. Leave out students that diverged."
        )
    return Tridiagonal(
        np.where(beyond, np.nan, alphas),
        np.where(beyond, np.nan, betas),
        sizes,
        basis.view(*shape, steps, parameters),
    )


def ritz(reduced: Tridiagonal, k: int) -> Ends:
    """Take the ends of the spectrum from the first start vector of every student.

    Parameters
    ----------
    reduced : Tridiagonal
        As `lanczos` gives it.
    k : int
        Eigenvalues wanted at each end, >= 1.

    Returns
    -------
    Ends
    """
    students, steps = len(reduced.size), reduced.diagonal.shape[2]
    rounding = np.finfo(float).eps * math.sqrt(reduced.basis.shape[3])
    found = np.full((4, students, k), np.nan)
    combine = np.zeros((students, k, steps))
    for student in range(students):
        size = int(reduced.size[student, 0])
        values, vectors = _diagonalize(reduced, student, 0)
        residuals = np.abs(reduced.off_diagonal[student, 0, size - 1] * vectors[-1])
        residuals = np.maximum(residuals, rounding * np.abs(values).max())
        many = min(k, size)
        found[0, student, :many] = values[::-1][:many]
        found[1, student, :many] = values[:many]
        found[2, student, :many] = residuals[::-1][:many]
        found[3, student, :many] = residuals[:many]
        combine[student, :many, :size] = vectors.T[::-1][:many]
    basis = reduced.basis[:, 0]
    weights = torch.as_tensor(combine, device=basis.device)
    return Ends(found[0], found[1], found[2], found[3], slotwise_product(weights, basis))


def quadrature(reduced: Tridiagonal) -> tuple[Floats, Floats]:
    """Give nodes and weights of the spectral measure that a start vector sees.

    With weights w_j, the squares of the first components of the eigenvectors of T, and nodes
    theta_j, its eigenvalues, sum_j w_j theta_j^i = v^T A^i v / v^T v, exactly for i <= 2 steps - 1
    (Golub & Welsch 1969). The mean over random start vectors estimates the density of the spectrum.

    Parameters
    ----------
    reduced : Tridiagonal
        As `lanczos` gives it.

    Returns
    -------
    nodes, weights : ndarray, shape (students, vectors, steps)
        Nodes ascend, weights sum to one; NaN beyond the size of T.
    """
    nodes, weights = np.full((2, *reduced.diagonal.shape), np.nan)
    for student, vector in np.ndindex(reduced.size.shape):
        size = int(reduced.size[student, vector])
        values, vectors = _diagonalize(reduced, student, vector)
        nodes[student, vector, :size] = values
        weights[student, vector, :size] = vectors[0] ** 2
    return nodes, weights


def trace(apply: Operator, signs: Tensor) -> tuple[Floats, Floats]:
    """Estimate traces, with their standard errors over the probes.

    Source: Hutchinson 1990; with random signs the variance of one probe is 2 (|A|_F^2 - sum_i
    A_ii^2).

    Parameters
    ----------
    apply : Operator
        Products of the matrices of all students with vectors.
    signs : Tensor, shape (students, probes, P)
        Independent entries +1 and -1; or other probes of mean zero and unit covariance.

    Returns
    -------
    mean, standard_error : ndarray, shape (students,)
        The standard error of a single probe is NaN.
    """
    flat = signs.flatten(0, 1)
    products = slotwise_product(flat[:, None], apply(signs).flatten(0, 1)[:, :, None])
    quadratic = products.view(signs.shape[:2]).cpu().numpy()
    return mean_and_error(quadratic)


def mean_and_error(draws: Floats) -> tuple[Floats, Floats]:
    """Give mean and standard error over the last dim; the error of a single draw is NaN."""
    count = draws.shape[-1]
    mean = draws.mean(-1)
    if count == 1:
        return mean, np.full_like(mean, np.nan)
    return mean, draws.std(-1, ddof=1) / math.sqrt(count)


def _diagonalize(reduced: Tridiagonal, student: int, vector: int) -> tuple[Floats, Floats]:
    size = int(reduced.size[student, vector])
    values, vectors = eigh_tridiagonal(
        reduced.diagonal[student, vector, :size], reduced.off_diagonal[student, vector, : size - 1]
    )
    return np.asarray(values), np.asarray(vectors)
