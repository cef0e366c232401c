"""A measured spectrum: eigenvalues with everything that is needed to trust them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsframe.slopes import FEWEST, fit_eigenvalues, SlopeFit

__all__ = ["Spectrum", "gram_floor", "rows_floor"]

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False, kw_only=True)
class Spectrum:
    """Eigenvalues of a positive semidefinite matrix, the mean of products of some rows.

    Attributes
    ----------
    values : ndarray, shape (modes,)
        Descending. Those not above the floor are noise and may be negative; they are not clipped.
    floor : float
        Numerical floor. Eigenvalues above it are within 10 percent of the truth, others are known
        to lie at or below it, no better.
    rank_bound : int
        Most eigenvalues that can differ from zero, by the shape of the problem.
    trace, frobenius : float
        Sum of the eigenvalues, and root of the sum of their squares, computed without them: the
        trace from lengths of rows, the other from the entries of the matrix.
    residual : float
        Largest relative deviation of the sums of the values from these two; of a centered trace,
        relative to the trace before.
    decomposed : str
        ``"rows"``: the Gram matrix of the rows. ``"weights"``: the smaller matrix of the weights.
        ``"singular values"``: the rows themselves.
    n : int
        Samples.
    rows : int
        Rows of each sample.
    labels : str or None
        Of the Fisher information: ``"exact"``, or ``"given"`` if drawn or of the data.
    scale : float
        What the sum over rows of their products is multiplied by, e.g. 1 / n.
    centered : bool
        Whether the mean of the rows is taken off.
    """

    values: NDArray[np.float64]
    floor: float
    rank_bound: int
    trace: float
    frobenius: float
    residual: float
    decomposed: str
    n: int
    rows: int
    scale: float
    labels: str | None = None
    centered: bool = False

    @property
    def resolved(self) -> NDArray[np.float64]:
        """The eigenvalues above the floor."""
        some = self.values[: self.rank_bound]
        return some[some > self.floor]

    @property
    def norm(self) -> float:
        """The largest eigenvalue."""
        return float(self.values[0]) if len(self.values) else 0.0

    @property
    def participation_ratio(self) -> float:
        """Equally large eigenvalues of the same trace and Frobenius norm, trace^2 / frobenius^2.

        R_0 of Bartlett, Long, Lugosi & Tsigler 2020. NaN for a matrix of zeros.
        """
        return (self.trace / self.frobenius) ** 2 if self.frobenius else float("nan")

    @property
    def effective_rank(self) -> float:
        """Equally large eigenvalues of the same trace and norm, trace / norm.

        r_0 of Bartlett, Long, Lugosi & Tsigler 2020. NaN for a matrix of zeros.
        """
        return self.trace / self.norm if self.norm > 0.0 else float("nan")

    def tail(self, modes: tuple[int, int] | None = None) -> SlopeFit | None:
        """Fit the straight piece of the resolved eigenvalues on a log axis.

        Parameters
        ----------
        modes : tuple of int, optional
            First mode of the piece and the mode behind its last; by default the longest of the
            three pieces of `tsframe.slopes.fit_eigenvalues`.

        Returns
        -------
        SlopeFit or None
            None if too few eigenvalues stand above the floor: 15, or 5 with modes named.
        """
        resolved = self.resolved
        if len(resolved) < 3 * FEWEST and modes is None:
            return None
        if modes is not None:
            modes = (modes[0], min(modes[1], len(resolved)))
            if modes[1] - modes[0] < FEWEST:
                return None
        return fit_eigenvalues(resolved, modes=modes)

    def head_drop(self, tail: SlopeFit | None) -> float:
        """Tell how far the largest eigenvalue stands above the line of the tail, in natural logs.

        Parameters
        ----------
        tail : SlopeFit or None
            Of this spectrum.

        Returns
        -------
        float
            0 for an exponential, NaN without a tail.
        """
        return float(np.log(self.norm)) - tail.height if tail is not None else float("nan")


def gram_floor(side: int, norm: float) -> float:
    """Give the numerical floor of eigenvalues of a product of rows, side * eps * norm."""
    return side * EPS * norm


def rows_floor(shape: tuple[int, ...], norm: float) -> float:
    """Give the numerical floor of squared singular values, (longer side * eps)^2 * norm."""
    return (max(shape, default=0) * EPS) ** 2 * norm
