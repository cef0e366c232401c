"""Kernel ridge regression from the eigenvalues of the kernel matrix of a training sample."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

__all__ = ["Gram"]

Floats = NDArray[np.float64]
EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Gram:
    """A decomposed kernel matrix, ready for any penalty and any labels.

    A kernel is known through the numbers of its matrix alone, in which a direction below some 1e-16
    of the largest is lost: eigenvalues at or below eps * n times the largest are rounding and count
    as zero. A linear kernel therefore keeps half as many modes of a sloppy spectrum as `LeastNorm`.

    Attributes
    ----------
    eigenvalues : ndarray, shape (n,)
        Ascending.
    vectors : ndarray, shape (n, n)
        Eigenvectors as columns.
    """

    eigenvalues: Floats
    vectors: Floats

    @staticmethod
    def decompose(matrix: Floats) -> "Gram":
        """Decompose a kernel matrix.

        Parameters
        ----------
        matrix : ndarray, shape (n, n)
            Symmetric, positive semidefinite up to rounding.

        Returns
        -------
        Gram
            Its eigenvalues and eigenvectors.

        Raises
        ------
        ValueError
            If it is not finite, or has a negative eigenvalue that no rounding explains.
        """
        if not np.isfinite(matrix).all():
            raise ValueError(
                "kernel must give finite numbers; got "
                f"{np.count_nonzero(~np.isfinite(matrix))} others among {matrix.size} pairs of "
                "inputs. Use another kernel, or inputs of another scale."
            )
        eigenvalues, vectors, failed = lapack.dsyevd(np.asfortranarray(matrix))
        if failed:
            raise ValueError(
                f"the kernel matrix of {len(matrix)} inputs has no eigenvalues that LAPACK can "
                f"find (dsyevd: {failed}). Use another kernel, or inputs of another scale."
            )
        floor = 10.0 * EPS * len(matrix) * np.abs(eigenvalues).max()
        if eigenvalues[0] < -floor:
            raise ValueError(
                "kernel must be positive semidefinite; got a kernel matrix with the eigenvalue "
                f"{eigenvalues[0]:.2g} beside {eigenvalues[-1]:.2g}. Use another kernel."
            )
        return Gram(eigenvalues, vectors)

    @property
    def cutoff(self) -> float:
        """The eigenvalue at or below which a direction is left out, with or without penalty."""
        return EPS * len(self.eigenvalues) * float(np.abs(self.eigenvalues).max())

    @property
    def rank(self) -> int:
        """Numerical rank of the kernel matrix: directions that are kept."""
        return int(np.count_nonzero(self.eigenvalues > self.cutoff))

    def condition(self, penalty: float) -> float:
        """Ratio of the largest to the smallest eigenvalue that is kept, penalty included."""
        kept = self.eigenvalues[self.eigenvalues > self.cutoff] + penalty
        return float(kept[-1] / kept[0]) if len(kept) else 1.0

    def solve(self, y: Floats, penalty: float) -> tuple[Floats, float]:
        """Give the coefficients of the training inputs.

        Parameters
        ----------
        y : ndarray, shape (n, outputs)
            Labels.
        penalty : float
            On the squared norm of the function, beside the sum of squares.

        Returns
        -------
        coefficients : ndarray, shape (n, outputs)
            a of f(x) = sum_i a_i kernel(x, x_i).
        norm : float
            Norm of f in the space of the kernel, over all outputs: sqrt(sum a^T K a).
        """
        keep = self.eigenvalues > self.cutoff
        values, vectors = self.eigenvalues[keep], self.vectors[:, keep]
        inner = (vectors.T @ y) / (values + penalty)[:, None]
        norm = float(np.sqrt((values[:, None] * inner**2).sum()))
        return vectors @ inner, norm
