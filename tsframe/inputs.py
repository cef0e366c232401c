"""Gaussian inputs with a given covariance spectrum, in their eigenbasis or in a random one.

Inputs are x = basis (sqrt(eigenvalues) * z) with standard normal z. The normals hang on the seed
and the role of the sample alone: at every slope the same z are stretched, so neighbors in a phase
diagram are compared in pairs, and a longer sample begins with the rows of a shorter one.

All is drawn on the host, whatever the device that trains, and by NumPy alone: the logarithms and
cosines of another library differ in the last bit, a label near a tie flips with it, and students
would no longer learn the same task on every device.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tsframe.checks import whole
from tsframe.kept import Kept
from tsframe.spectra import Spectrum
from tsframe.streams import stream

__all__ = ["Gaussian", "Inputs"]

KEPT = 96e6  # bytes of standard normals that are kept: 11 seeds of dim 200, test rows and all
LARGEST = 32e6  # bytes of a sample of them above which it is drawn anew each time
ROTATIONS = 32e6  # bytes of bases that are kept, besides the last two: 100 of dim 200


class Inputs(Protocol):
    """What a task asks of its inputs: a value that draws samples by seed and role.

    `Gaussian` draws from a law, `tsframe.arrays.ArrayInputs` from the rows of an array.
    """

    @property
    def dim(self) -> int:
        """Number of input coordinates."""

    @property
    def key(self) -> Hashable:
        """What equal inputs have in common, without their data."""

    @property
    def eigenvalues(self) -> NDArray[np.float64]:
        """Eigenvalues of the second moment, shape (dim,), descending, units of variance."""

    def basis(self, seed: int) -> NDArray[np.float64]:
        """Give its eigenvectors as columns, shape (dim, dim)."""

    def moments(self, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Give mean and variance of every coordinate, shapes (dim,)."""

    def draw(self, n: int, seed: int, role: str) -> NDArray[np.float64]:
        """Draw a sample, shape (n, dim)."""

    def project(
        self, maps: NDArray[np.float64], n: int, seed: int, role: str
    ) -> NDArray[np.float64]:
        """Draw a sample, and give its products with maps in the eigenbasis, shape (maps, n)."""


@dataclass(frozen=True)
class Gaussian:
    """Centered Gaussian inputs whose covariance has the eigenvalues of a spectrum.

    Parameters
    ----------
    dim : int
        Number of input coordinates, >= 1.
    spectrum : Spectrum
        Law of the eigenvalues, e.g. ``Sloppy(0.1)``; called with `dim`.
    rotate : bool
        Whether the eigenvectors are a random orthonormal basis, drawn from the seed, instead of the
        coordinate axes.

    Raises
    ------
    TypeError, ValueError
        If a value is refused, also by the spectrum when it is called with `dim`.

    Examples
    --------
    >>> from tsframe.spectra import Sloppy
    >>> inputs = Gaussian(dim=200, spectrum=Sloppy(0.1))
    >>> inputs.draw(1000, seed=0, role="train inputs").shape
    (1000, 200)
    """

    dim: int
    spectrum: Spectrum
    rotate: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "dim", whole("dim", self.dim, 1))
        if isinstance(self.spectrum, type) or not callable(self.spectrum):
            raise TypeError(
                "spectrum must be a spectrum such as Sloppy(0.1); got "
                f"spectrum={self.spectrum!r}. Call the class with its parameters."
            )
        if not isinstance(self.rotate, bool | np.bool_):
            raise TypeError(f"rotate must be True or False; got rotate={self.rotate!r}.")
        object.__setattr__(self, "rotate", bool(self.rotate))
        self.spectrum(self.dim)  # a spectrum that does not fit the dimension is refused here

    @property
    def key(self) -> Hashable:
        """The inputs themselves: they hold no data."""
        return self

    @property
    def eigenvalues(self) -> NDArray[np.float64]:
        """Eigenvalues of the covariance, shape (dim,), descending, units of variance."""
        return self.spectrum(self.dim)

    def basis(self, seed: int) -> NDArray[np.float64]:
        """Give the eigenvectors of the covariance as columns, orthonormal.

        Parameters
        ----------
        seed : int
            Seed of the trial, >= 0.

        Returns
        -------
        ndarray, shape (dim, dim)
            The identity, or with `rotate` a basis uniform in law (Haar) that is the same at every
            spectrum; read-only.
        """
        return _rotation(self.dim, seed) if self.rotate else np.eye(self.dim)

    def moments(self, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Give mean, zero, and variance of every coordinate.

        Parameters
        ----------
        seed : int
            Seed of the trial, >= 0.

        Returns
        -------
        mean, variance : ndarray, shape (dim,)
            Variance in the units of the eigenvalues, whose sum it has.
        """
        return np.zeros(self.dim), np.square(self.basis(seed)) @ self.eigenvalues

    def draw(self, n: int, seed: int, role: str) -> NDArray[np.float64]:
        """Draw a sample of inputs.

        Parameters
        ----------
        n : int
            Number of rows, >= 1.
        seed : int
            Seed of the trial, >= 0.
        role : str
            What the sample is for, e.g. ``"train inputs"``; samples of different roles are
            independent.

        Returns
        -------
        ndarray, shape (n, dim)
            One input a row. The first rows do not depend on n (with `rotate`: up to rounding).
        """
        x = _standard_normals(whole("n", n, 1), self.dim, seed, role) * np.sqrt(self.eigenvalues)
        return x @ self.basis(seed).T if self.rotate else x

    def project(
        self, maps: NDArray[np.float64], n: int, seed: int, role: str
    ) -> NDArray[np.float64]:
        """Draw a sample of inputs, and give its products with linear maps.

        Parameters
        ----------
        maps : ndarray, shape (maps, dim)
            In the eigenbasis.
        n, seed, role
            As in `draw`.

        Returns
        -------
        ndarray, shape (maps, n)
            maps @ (draw(n, seed, role) @ basis(seed)).T up to rounding, without drawing inputs that
            nobody looks at.
        """
        normals = _standard_normals(whole("n", n, 1), self.dim, seed, role)
        return (maps * np.sqrt(self.eigenvalues)) @ normals.T


class _Normals(NamedTuple):
    """Rows of standard normals, and the generator that draws those that follow."""

    rows: NDArray[np.float64]
    generator: np.random.Generator


_normals: Kept[_Normals] = Kept(KEPT, lambda normals: normals.rows.nbytes)
_rotations: Kept[NDArray[np.float64]] = Kept(ROTATIONS, lambda basis: basis.nbytes, least=2)


def _standard_normals(n: int, dim: int, seed: int, role: str) -> NDArray[np.float64]:
    """Give what all spectra have in common, to be looked at only: others get the same rows."""

    def draw(kept: _Normals | None) -> _Normals:
        if kept is None:
            generator = stream(seed, role)
            return _Normals(generator.standard_normal((n, dim)), generator)
        if (more := n - len(kept.rows)) <= 0:
            return kept
        rows = np.concatenate([kept.rows, kept.generator.standard_normal((more, dim))])
        return _Normals(rows, kept.generator)

    if 8 * n * dim > LARGEST:
        return draw(None).rows
    return _normals.get((dim, seed, role), draw).rows[:n]


def _rotation(dim: int, seed: int) -> NDArray[np.float64]:
    """Draw an orthonormal basis uniformly: QR of a Gaussian matrix, signs fixed (Mezzadri 2007)."""

    def draw(kept: NDArray[np.float64] | None) -> NDArray[np.float64]:
        if kept is not None:
            return kept
        q, r = np.linalg.qr(stream(seed, "rotation").standard_normal((dim, dim)))
        basis = q * np.sign(np.diag(r))
        basis.flags.writeable = False
        return basis

    return _rotations.get((dim, seed), draw)
