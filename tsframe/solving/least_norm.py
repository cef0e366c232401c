"""Least squares of least norm, right on data whose scales differ by any factor.

A sloppy sample x = z sqrt(eigenvalues) has columns of very different scales. Normal equations lose
half of the digits, and a singular value decomposition still loses every direction below 1e-16 of
the largest one, though columns hold them to full precision. Here the transposed sample, its rows in
descending order of scale, is factored by Householder reflections with column pivoting, which is
stable row by row (Powell & Reid 1969; Cox & Higham 1998): every coordinate has a rounding error in
proportion to its own scale, and the predictions of the student are right to some 1e-12 even where
eigenvalues fall by a factor of 1e-200. What is lost to rounding in the data themselves, such as the
small modes of rotated inputs, is cut off, and the rank says so.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

__all__ = ["LeastNorm", "column_norms"]

Floats = NDArray[np.float64]
EPS = float(np.finfo(np.float64).eps)
BLOCK = 64  # of the columns that LAPACK treats at once, for the size of its workspace


@dataclass(frozen=True, eq=False)
class LeastNorm:
    """A factored sample, ready for any labels.

    Attributes
    ----------
    rank : int
        Numerical rank of the sample, with penalty that of the sample and the penalty together.
    condition : float
        Ratio of the largest to the smallest pivot that was kept: at most the condition number, and
        as a rule within a factor of ten of it; 1 at rank zero.
    """

    rank: int
    condition: float
    _samples: int
    _features: int
    _rows: NDArray[np.intp]  # features in descending order of scale
    _columns: NDArray[np.intp]  # samples in the order of the pivots
    _reflectors: tuple[Floats, Floats]  # of the rows: a basis of what the samples span
    _triangle: Floats  # R of the samples, rank x rank, or of its transpose where rank < samples
    _overdetermined: tuple[Floats, Floats] | None  # reflectors of that transpose

    @staticmethod
    def factor(x: Floats, penalty: float = 0.0) -> "LeastNorm":
        """Factor a sample.

        Pivot k counts as zero, and with it all that follow, if it is at most eps * max(shape) times
        the norm of the k-th largest feature: eps is the rounding of float64, 2.2e-16, and the
        pivots of sound data are of the order of those norms, however fast they fall.

        Parameters
        ----------
        x : ndarray, shape (n, features)
            Finite.
        penalty : float
            On the squared norm of the weights, beside the sum of squares.

        Returns
        -------
        LeastNorm
            Where there are fewer features than samples the penalty is a further sample for each
            feature, with label zero; else a further feature for each sample.
        """
        n, features = x.shape
        if penalty > 0.0:
            small = min(n, features)
            ridge = np.sqrt(penalty) * np.eye(small)
            x = np.concatenate([x, ridge], axis=0 if features < n else 1)
        norms = column_norms(x)
        rows = np.argsort(-norms, kind="stable")
        work = 2 * len(x) + (len(x) + 1) * BLOCK
        transposed = np.asfortranarray(x[:, rows].T)
        factored, columns, tau, _, _ = lapack.dgeqp3(transposed, work, overwrite_a=True)
        diagonal = np.abs(np.diagonal(factored))
        lost = diagonal <= EPS * max(x.shape) * norms[rows][: len(diagonal)]
        rank = int(lost.argmax()) if lost.any() else len(diagonal)
        triangle = np.triu(factored[:rank])
        overdetermined = None
        if rank and rank < len(columns):
            turned, outer_tau, _, _ = lapack.dgeqrf(np.asfortranarray(triangle.T))
            triangle = np.triu(turned[:rank])
            overdetermined = (turned, outer_tau)
        pivots = np.abs(np.diagonal(triangle))
        return LeastNorm(
            rank=rank,
            condition=float(pivots.max() / pivots.min()) if rank else 1.0,
            _samples=n,
            _features=features,
            _rows=rows,
            _columns=columns - 1,
            _reflectors=(factored[:, :rank], tau[:rank]),
            _triangle=np.asfortranarray(triangle),
            _overdetermined=overdetermined,
        )

    def solve(self, y: Floats) -> Floats:
        """Give the weights.

        Parameters
        ----------
        y : ndarray, shape (n, outputs)
            Labels.

        Returns
        -------
        ndarray, shape (features, outputs)
            Of all weights that minimize the sum of squares, and the penalty, those of least norm.
        """
        outputs = y.shape[1]
        if self.rank == 0:
            return np.zeros((self._features, outputs))
        labels = np.zeros((len(self._columns), outputs), order="F")
        labels[: self._samples] = y
        labels = np.asfortranarray(labels[self._columns])
        if self._overdetermined is None:
            inner, _ = lapack.dtrtrs(self._triangle, labels, trans=1)
        else:
            turned = _reflected(*self._overdetermined, labels, "T")[: self.rank]
            inner, _ = lapack.dtrtrs(self._triangle, np.asfortranarray(turned))
        padded = np.zeros((len(self._rows), outputs), order="F")
        padded[: self.rank] = inner
        weights = np.empty_like(padded)
        weights[self._rows] = _reflected(*self._reflectors, padded, "N")
        return weights[: self._features]


def _reflected(reflectors: Floats, tau: Floats, values: Floats, trans: str) -> Floats:
    """Apply reflections in factored form: their product would lose the scales of the rows."""
    work = BLOCK * max(1, values.shape[1]) + BLOCK * (BLOCK + 1)
    product, _, _ = lapack.dormqr("L", trans, np.asfortranarray(reflectors), tau, values, work)
    return np.asarray(product)


def column_norms(x: Floats) -> Floats:
    """Euclidean norms of the columns of x, shape (n, columns); their squares may overflow."""
    largest = np.abs(x).max(axis=0)
    scaled = x / np.where(largest > 0.0, largest, 1.0)
    return np.asarray(largest * np.sqrt(np.square(scaled).sum(axis=0)))
