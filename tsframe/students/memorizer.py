"""A network built to fit any labels: two layers of ReLU, 2 n + dim weights (Zhang et al. 2017).

Zhang, Bengio, Hardt, Recht & Vinyals 2017 (arXiv:1611.03530), Theorem 1: project the n inputs on
one direction a, put a unit just below each projection, and the readout solves a triangular system.
No solver is needed: sorted by their projections z_1 < ... < z_n, the labels are the corners of a
piecewise linear function, and the weight of a unit is the change of slope at its corner,

    c(x) = sum_j w_j max(a.x - b_j, 0),  b_1 = z_1 - 1,  b_j = z_{j-1},
    w_j = s_j - s_{j-1},  s_j = (y_j - y_{j-1}) / (z_j - z_{j-1}),  s_1 = y_1.

It says what a network of so many units can do, not what training finds: it has learned nothing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tsframe.arrays import checked
from tsframe.checks import whole
from tsframe.streams import stream

__all__ = ["Memorizer", "memorize"]

Floats = NDArray[np.float64]
DIRECTIONS = 16  # are tried, and the one taken that keeps the inputs farthest apart


@dataclass(frozen=True, eq=False)
class Memorizer:
    """A network that fits its labels; see `memorize`.

    Attributes
    ----------
    direction : ndarray, shape (dim,)
        a, of unit length: the incoming weights of every hidden unit.
    knots : ndarray, shape (n,)
        b, ascending: where the hidden units begin.
    readout : ndarray, shape (n,)
        w, the outgoing weights.
    """

    direction: Floats
    knots: Floats
    readout: Floats

    @property
    def parameters(self) -> int:
        """Number of weights that were chosen: 2 n + dim."""
        return self.direction.size + self.knots.size + self.readout.size

    def __call__(self, x: ArrayLike) -> Floats:
        """Compute the output.

        Parameters
        ----------
        x : array_like, shape (rows, dim)
            One input a row.

        Returns
        -------
        ndarray, shape (rows,)
            In units of the labels; the number of the class, for classes.
        """
        z = np.asarray(x, np.float64) @ self.direction
        return np.asarray(np.maximum(z[:, None] - self.knots, 0.0) @ self.readout)

    def weights(self, classes: int | None = None) -> list[Floats]:
        """Give the network as the weights of ``MLP(width=n, depth=1)``, e.g. for `Stack.seat`.

        For classes, the logits are -(c - k)^2 but for what they have in common, 2 k c - k^2: that
        of the class nearest to c is the largest, by 1 at the inputs that were memorized. So any
        number of classes costs no more weights to be chosen.

        Parameters
        ----------
        classes : int, optional
            Number of classes, >= 2; None for regression.

        Returns
        -------
        list of ndarray, shapes (n, dim + 1) and (outputs, n + 1)
            Biases in the last column. They need float64: slopes are as steep as the inputs are
            close to each other.
        """
        first = np.column_stack([np.tile(self.direction, (self.knots.size, 1)), -self.knots])
        if classes is None:
            return [first, np.append(self.readout, 0.0)[None]]
        k = np.arange(float(whole("classes", classes, 2)))[:, None]
        return [first, np.hstack([2.0 * k * self.readout, -(k**2)])]


def memorize(x: ArrayLike, y: ArrayLike, seed: int = 0) -> Memorizer:
    """Build a network of n hidden units that fits n labels.

    Parameters
    ----------
    x : array_like, shape (n, dim)
        One input a row, no two of them equal.
    y : array_like, shape (n,)
        Labels: numbers, or classes 0, 1, ...
    seed : int
        Of the directions that are tried, >= 0.

    Returns
    -------
    Memorizer
        Whose output at `x` is `y` but for rounding, about the machine's precision times the spread
        of the projections over their smallest gap.

    Raises
    ------
    ValueError
        If the arrays do not fit, or inputs fall together.

    Examples
    --------
    >>> network = memorize([[0.0, 1.0], [2.0, 0.0], [3.0, 3.0]], [5.0, -1.0, 2.0])
    >>> network([[0.0, 1.0], [2.0, 0.0], [3.0, 3.0]]).round(12)
    array([ 5., -1.,  2.])
    >>> network.parameters
    8
    """
    rows = checked("x", x, 2).astype(np.float64)
    labels = checked("y", y, 1).astype(np.float64)
    if len(rows) != len(labels):
        raise ValueError(
            f"x and y must have the same number of rows; got {len(rows)} and {len(labels)}."
        )
    tried = stream(seed, "direction").standard_normal((DIRECTIONS, rows.shape[1]))
    tried /= np.linalg.norm(tried, axis=1, keepdims=True)
    projections = np.sort(rows @ tried.T, axis=0)
    gaps = np.diff(projections, axis=0).min(axis=0, initial=np.inf)
    gaps = gaps / np.maximum(np.ptp(projections, axis=0), np.finfo(np.float64).tiny)
    best = int(np.argmax(gaps))
    direction = tried[best]
    z = rows @ direction
    order = np.argsort(z, kind="stable")
    z, targets = z[order], labels[order]
    if not gaps[best] > 0.0:
        one, other = order[np.argmin(np.diff(z)) + np.arange(2)]
        raise ValueError(
            f"inputs must differ from each other; got rows {one} and {other} that fall together. "
            "Leave one of them out."
        )
    slopes = np.diff(targets, prepend=0.0) / np.diff(z, prepend=z[0] - 1.0)
    knots = np.concatenate([[z[0] - 1.0], z[:-1]])
    return Memorizer(direction, knots, np.diff(slopes, prepend=0.0))
