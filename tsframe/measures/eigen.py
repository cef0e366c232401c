"""Eigenvalues and singular values: the one place where a matrix is decomposed.

Everything is float64, scaled by a power of two, and checked. Eigenvalues alone come from torch on
the CPU, whose MKL reduces to a band first (2.7 s at side 4500 on one core, scipy 6.3 s); if it
fails or misses the check, from LAPACK through scipy. Eigenvectors always come from scipy: torch's
have failed on matrices of rank one (pytorch issues 145801, 144384). Matrices on a GPU are brought
to the CPU: there torch solves a stack one matrix after another (issue 175585) and has failed on
low ranks (issue 105359).
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Decomposition", "eigenvalues", "eigenvectors", "singular_values"]

EPS = float(np.finfo(np.float64).eps)
TOLERANCE = 32.0  # in units of side * eps, for residuals
ASYMMETRY = 1e-8  # of the largest entry; rounding leaves far less
BLOCK = 256  # rows and columns symmetrized at a time


@dataclass(frozen=True, eq=False)
class Decomposition:
    """Eigenvalues or singular values, and how well they are known.

    Attributes
    ----------
    values : ndarray, shape (k,)
        Descending, in units of the matrix.
    vectors : ndarray, shape (side, k)
        Columns of unit length; no columns where only values were asked for.
    residual : float
        With vectors the largest |A v - value v| over the norm of A; without them the larger of the
        relative deviations of the sum of the values from the trace, and of the sum of their squares
        from the squared entries. For singular values only the latter.
    """

    values: NDArray[np.float64]
    vectors: NDArray[np.float64]
    residual: float


def eigenvalues(matrix: Tensor, overwrite: bool = False) -> Decomposition:
    """Give all eigenvalues of a symmetric matrix.

    Parameters
    ----------
    matrix : Tensor, shape (side, side)
        Symmetric up to rounding, finite, float64; anything else is a ValueError. Side 0 has no
        eigenvalues.
    overwrite : bool
        Whether the matrix may be worked on in its place, which saves a copy; it then holds noise.

    Returns
    -------
    Decomposition
        Without vectors.

    Raises
    ------
    numpy.linalg.LinAlgError
        If no solver gives values that have the trace and the squared entries of the matrix.

    Examples
    --------
    >>> eigenvalues(torch.tensor([[2.0, 1.0], [1.0, 2.0]], dtype=torch.float64)).values.round(12)
    array([3., 1.])
    """
    work, scale = _scaled(matrix, overwrite)
    side = len(work)
    if side == 0:
        return Decomposition(np.zeros(0), np.zeros((0, 0)), 0.0)
    trace, squares = float(work.trace()), float(torch.linalg.vector_norm(work)) ** 2
    residual = math.inf
    for solve in (_by_torch, _by_scipy):
        values = solve(work)
        if values is None:
            continue
        off = abs(values.sum() - trace) / max(float(np.abs(values).sum()), EPS)
        residual = max(off, abs(float(np.square(values).sum()) / squares - 1.0) if squares else 0.0)
        if residual <= TOLERANCE * side * EPS:
            return Decomposition(values[::-1] * scale, np.zeros((side, 0)), residual)
    raise np.linalg.LinAlgError(
        f"no solver found the eigenvalues of this matrix of side {side}: their sums miss its trace "
        f"and squared entries by {residual:.1e}, {TOLERANCE * side * EPS:.1e} is allowed. Look at "
        "the matrix: its entries may differ by too many orders of magnitude."
    )


def eigenvectors(matrix: Tensor, count: int | None = None) -> Decomposition:
    """Give the largest eigenvalues of a symmetric matrix with their vectors.

    Parameters
    ----------
    matrix : Tensor, shape (side, side)
        Symmetric up to rounding, finite, float64; anything else is a ValueError.
    count : int, optional
        How many, the largest first; all by default.

    Returns
    -------
    Decomposition
        With vectors.

    Raises
    ------
    ValueError
        If count is not in [0, side].
    numpy.linalg.LinAlgError
        If the vectors do not solve the equation.
    """
    work, scale = _scaled(matrix)
    side = len(work)
    count = side if count is None else count
    if not 0 <= count <= side:
        raise ValueError(f"count must lie in [0, {side}], the side of the matrix; got {count}.")
    if count == 0:
        return Decomposition(np.zeros(0), np.zeros((side, 0)), 0.0)
    dense = work.numpy()
    if count == side:
        values, vectors = scipy.linalg.eigh(dense, driver="evd", check_finite=False)
    else:
        some = [side - count, side - 1]
        values, vectors = scipy.linalg.eigh(dense, subset_by_index=some, check_finite=False)
    values, vectors = values[::-1], np.ascontiguousarray(vectors[:, ::-1])
    norm = float(np.abs(dense).sum(axis=1).max())  # bounds the largest eigenvalue
    off = np.linalg.norm(dense @ vectors - vectors * values, axis=0).max()
    apart = np.abs(vectors.T @ vectors - np.eye(count)).max()
    residual = float(max(off / norm if norm else 0.0, apart))
    if residual > TOLERANCE * side * EPS:
        raise np.linalg.LinAlgError(
            f"the eigenvectors of this matrix of side {side} miss their equation by "
            f"{residual:.1e}, {TOLERANCE * side * EPS:.1e} is allowed. Ask for all of them, or "
            "look at the matrix."
        )
    return Decomposition(values * scale, vectors, residual)


def singular_values(rows: Tensor) -> Decomposition:
    """Give the singular values of a matrix, known to eps of the largest, not to its root.

    Parameters
    ----------
    rows : Tensor, shape (n, dim)
        Finite, float64; anything else is a ValueError.

    Returns
    -------
    Decomposition
        min(n, dim) values, without vectors.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the values do not have the squared entries of the matrix.
    """
    scale = _scale(rows)
    if 0 in rows.shape:
        return Decomposition(np.zeros(0), np.zeros((0, 0)), 0.0)
    dense = (rows / scale).cpu().numpy()
    values = scipy.linalg.svd(dense, compute_uv=False, check_finite=False)
    squares, side = float(np.square(dense).sum()), max(rows.shape)
    residual = abs(float(np.square(values).sum()) / squares - 1.0) if squares else 0.0
    if residual > TOLERANCE * side * EPS:
        raise np.linalg.LinAlgError(
            f"the singular values of this matrix of shape {tuple(rows.shape)} miss its squared "
            f"entries by {residual:.1e}; {TOLERANCE * side * EPS:.1e} is allowed."
        )
    return Decomposition(values * scale, np.zeros((side, 0)), residual)


def _by_torch(work: Tensor) -> NDArray[np.float64] | None:
    try:
        return np.asarray(torch.linalg.eigvalsh(work).numpy())
    except RuntimeError:  # torch's LinAlgError is one
        return None


def _by_scipy(work: Tensor) -> NDArray[np.float64] | None:
    try:
        return np.asarray(
            scipy.linalg.eigh(work.numpy(), eigvals_only=True, driver="evr", check_finite=False)
        )
    except np.linalg.LinAlgError:
        return None


def _scaled(matrix: Tensor, overwrite: bool = False) -> tuple[Tensor, float]:
    """Symmetrize a copy on the CPU, divided by a power of two near its largest entry."""
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(
            f"only a square matrix has eigenvalues; got shape {tuple(matrix.shape)}. "
            "Take singular_values for rows."
        )
    scale = _scale(matrix)
    work = matrix.cpu()
    work = work.div_(scale) if overwrite else work / scale
    for start in range(0, len(work), BLOCK):
        for other in range(start, len(work), BLOCK):
            upper = work[start : start + BLOCK, other : other + BLOCK]
            lower = work[other : other + BLOCK, start : start + BLOCK]
            mean = (upper + lower.mT) / 2
            low, high = torch.aminmax(upper - mean)
            if max(-float(low), float(high)) > ASYMMETRY:
                raise ValueError(
                    f"the matrix must be symmetric up to rounding; entries differ by more than "
                    f"{ASYMMETRY:g} of the largest. Pass A @ A.T or (A + A.T) / 2."
                )
            upper.copy_(mean)
            lower.copy_(mean.mT)
    return work, scale


def _scale(matrix: Tensor) -> float:
    """Give the power of two near the largest entry, by which division is exact."""
    if matrix.dtype != torch.float64 or matrix.ndim != 2:
        raise ValueError(
            f"a matrix to decompose must be float64; got {matrix.dtype} of shape "
            f"{tuple(matrix.shape)}. In float32 all below 1e-7 of the largest eigenvalue is lost."
        )
    low, high = torch.aminmax(matrix) if matrix.numel() else (matrix.sum(), matrix.sum())
    largest = max(-float(low), float(high))
    if not math.isfinite(largest):
        raise ValueError(
            "a matrix to decompose must be finite; got NaN or infinite entries. Its student has "
            "diverged, or a product has overflowed."
        )
    return 2.0 ** max(math.frexp(largest)[1], -1021) if largest else 1.0
