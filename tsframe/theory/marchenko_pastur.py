"""The Marchenko-Pastur law: what sampling alone does to a covariance that is the identity."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import quad

from tsframe.theory.labeled import Floats

__all__ = ["MarchenkoPastur", "sample_covariance_square"]


@dataclass(frozen=True)
class MarchenkoPastur:
    """Law of the eigenvalues of X^T X / n, with standard normal X and dim / n -> ratio.

    Source: Marchenko & Pastur 1967. The limit is reached to order 1/n.

    Parameters
    ----------
    ratio : float
        dim / n, > 0.

    Raises
    ------
    ValueError
        If the ratio is not positive and finite.

    Examples
    --------
    >>> law = MarchenkoPastur(ratio=4.0)
    >>> law.edges, law.atom, law.moment(2)
    ((1.0, 9.0), 0.75, 5.0)
    """

    ratio: float

    def __post_init__(self) -> None:
        if not 0.0 < self.ratio < math.inf:
            raise ValueError(
                f"ratio must be > 0 and finite; got ratio={self.ratio!r}. Give dim / n."
            )

    @property
    def edges(self) -> tuple[float, float]:
        """Smallest and largest eigenvalue of the bulk, (1 -+ sqrt(ratio))^2."""
        root = math.sqrt(self.ratio)
        return (1.0 - root) ** 2, (1.0 + root) ** 2

    @property
    def atom(self) -> float:
        """Share of eigenvalues that are zero: 1 - 1 / ratio for more modes than rows."""
        return max(0.0, 1.0 - 1.0 / self.ratio)

    def density(self, x: ArrayLike) -> Floats:
        """Density of the bulk; its mass is 1 - atom.

        Parameters
        ----------
        x : array_like
            Eigenvalues, units of the variance of one input.

        Returns
        -------
        ndarray
            sqrt((high - x) (x - low)) / (2 pi ratio x), zero outside of the edges.
        """
        x = np.asarray(x, dtype=np.float64)
        low, high = self.edges
        inside = (x > low) & (x < high)
        at = np.where(inside, x, 1.0)
        bulk = np.sqrt(np.maximum((high - at) * (at - low), 0.0)) / (2.0 * np.pi * self.ratio * at)
        return np.where(inside, bulk, 0.0)

    def cdf(self, x: ArrayLike) -> Floats:
        """Share of eigenvalues <= x, those at zero included.

        Parameters
        ----------
        x : array_like
            Eigenvalues.

        Returns
        -------
        ndarray
            In [0, 1], by quadrature to 1e-8.
        """
        x = np.asarray(x, dtype=np.float64)
        low, high = self.edges
        # x = middle - half cos(phi) makes the density smooth at both edges.
        middle, half = (low + high) / 2.0, (high - low) / 2.0

        def smooth(phi: float) -> float:
            at = middle - half * math.cos(phi)
            return (
                (half * math.sin(phi)) ** 2 / (2.0 * math.pi * self.ratio * at) if at > 0 else 0.0
            )

        ends = np.arccos(np.clip((middle - x) / half, -1.0, 1.0))
        mass = [quad(smooth, 0.0, end, epsabs=1e-9, limit=200)[0] for end in np.ravel(ends)]
        bulk = np.reshape(mass, x.shape)
        return np.where(x < 0.0, 0.0, np.minimum(self.atom + bulk, 1.0))

    def moment(self, order: int) -> float:
        """Mean of the eigenvalue to a power: Narayana's polynomial of the ratio.

        Parameters
        ----------
        order : int
            The power, >= 0.

        Returns
        -------
        float
            1, 1, 1 + g, 1 + 3 g + g^2, 1 + 6 g + 6 g^2 + g^3, ... at the ratio g.
        """
        if order == 0:
            return 1.0
        terms = (math.comb(order, k) * math.comb(order - 1, k) / (k + 1) for k in range(order))
        return float(sum(term * self.ratio**k for k, term in enumerate(terms)))

    def stieltjes(self, shift: ArrayLike) -> Floats:
        """Mean of 1 / (eigenvalue + shift), the Stieltjes transform at -shift.

        Parameters
        ----------
        shift : array_like
            z > 0; of a ridge in convention "mean of squares", penalty / n.

        Returns
        -------
        ndarray
            [-(1 - g + z) + sqrt((1 - g + z)^2 + 4 g z)] / (2 g z).
        """
        z, g = np.asarray(shift, dtype=np.float64), self.ratio
        if not np.all(z > 0.0):
            raise ValueError(f"shift must be > 0; got {float(np.min(z))}. Give penalty / n.")
        s = 1.0 - g + z
        root = np.sqrt(s**2 + 4.0 * g * z)
        # The form that does not cancel: the root minus s, or its conjugate.
        return np.where(s > 0.0, 2.0 / (s + root), (root - s) / (2.0 * g * z))


def sample_covariance_square(dim: int, n: int) -> float:
    """Mean of tr S^2 / dim for S = X^T X / n, X standard normal: 1 + (dim + 1) / n, exactly.

    Sampling alone lowers the participation ratio tr(S)^2 / tr(S^2) of isotropic inputs from dim to
    about dim / (1 + (dim + 1) / n).

    Parameters
    ----------
    dim, n : int
        Number of modes and of rows, >= 1.

    Returns
    -------
    float
        Dimensionless.

    Examples
    --------
    >>> round(sample_covariance_square(dim=12, n=30), 4)
    1.4333
    """
    return 1.0 + (dim + 1.0) / n
