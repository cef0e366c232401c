"""Gaussian inputs with a given covariance spectrum, in their eigenbasis or in a random one.

Inputs are x = basis (sqrt(eigenvalues) * z) with standard normal z. The normals hang on the seed
and the role of the sample alone: at every slope the same z are stretched, so neighbors in a phase
diagram are compared in pairs, and a longer sample begins with the rows of a shorter one.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tsframe.checks import whole_number
from tsframe.spectra import Spectrum
from tsframe.streams import stream

__all__ = ["Gaussian", "Inputs", "whole"]

KEPT = 32e6  # bytes of a sample of standard normals above which it is drawn anew each time


class Inputs(Protocol):
    """What a task asks of its inputs: a value that draws samples by seed and role.

    `Gaussian` draws from a law, `tsframe.arrays.ArrayInputs` from the rows of an array.
    """

    @property
    def dim(self) -> int:
        """Number of input coordinates."""

    @property
    def eigenvalues(self) -> NDArray[np.float64]:
        """Eigenvalues of the second moment, shape (dim,), descending, units of variance."""

    def basis(self, seed: int) -> NDArray[np.float64]:
        """Give its eigenvectors as columns, shape (dim, dim)."""

    def moments(self, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Give mean and variance of every coordinate, shapes (dim,)."""

    def draw(self, n: int, seed: int, role: str) -> NDArray[np.float64]:
        """Draw a sample, shape (n, dim)."""


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
        n = whole("n", n, 1)
        draw = _standard_normals if 8 * n * self.dim > KEPT else _kept_standard_normals
        x = draw(n, self.dim, seed, role) * np.sqrt(self.eigenvalues)
        return x @ self.basis(seed).T if self.rotate else x


def _standard_normals(n: int, dim: int, seed: int, role: str) -> NDArray[np.float64]:
    """Draw what all spectra have in common."""
    return stream(seed, role).standard_normal((n, dim))


@lru_cache(maxsize=3)  # the train, test and reference samples of one seed, for spectrum on spectrum
def _kept_standard_normals(n: int, dim: int, seed: int, role: str) -> NDArray[np.float64]:
    return _standard_normals(n, dim, seed, role)


@lru_cache(maxsize=2)  # the train, test and reference samples of a trial share one basis
def _rotation(dim: int, seed: int) -> NDArray[np.float64]:
    """Draw an orthonormal basis uniformly: QR of a Gaussian matrix, signs fixed (Mezzadri 2007)."""
    q, r = np.linalg.qr(stream(seed, "rotation").standard_normal((dim, dim)))
    basis = q * np.sign(np.diag(r))
    basis.flags.writeable = False
    return basis


def whole(name: str, value: object, low: int) -> int:
    """Give a whole number of at least `low` as an int, or refuse it by name.

    What is refused, and how, `tsframe.checks.whole_number` says.
    """
    sentence = f"{name} must be a whole number >= {low}; got {name}={value!r}."
    return whole_number(value, low, sentence)
