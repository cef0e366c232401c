"""Targets of low rank, and the entries of them that are seen."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsframe.checks import real_number, whole, whole_number
from tsframe.streams import stream

__all__ = ["LowRank", "observed_entries"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LowRank:
    """A square matrix of low rank with random singular vectors, whose mean squared entry is one.

    Parameters
    ----------
    dim : int
        Rows and columns, >= 1.
    rank : int
        In [1, dim]. The matrix is U V^T, scaled, of standard normal U and V, as in Arora, Cohen, Hu
        & Luo 2019 (arXiv:1905.13655), appendix D.
    strengths : tuple of float, optional
        Ratios of its singular values, > 0, one a rank; then singular vectors are uniform.

    Raises
    ------
    TypeError, ValueError
        If a value is refused.

    Examples
    --------
    >>> matrix = LowRank(dim=30, rank=2, strengths=(3.0, 1.0)).draw(seed=0)
    >>> values = np.linalg.svd(matrix, compute_uv=False)
    >>> round(float(values[0] / values[1]), 9), round(float((matrix**2).mean()), 9)
    (3.0, 1.0)
    """

    dim: int
    rank: int
    strengths: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "dim", whole("dim", self.dim, 1))
        sentence = f"rank must be a whole number in [1, dim={self.dim}]; got rank={self.rank!r}."
        object.__setattr__(self, "rank", whole_number(self.rank, 1, sentence))
        if self.rank > self.dim:
            raise ValueError(sentence)
        if self.strengths is None:
            return
        sentence = (
            f"strengths must be rank={self.rank} numbers > 0, ratios of the singular values; got "
            f"strengths={self.strengths!r}. Leave them out to draw the factors."
        )
        if not isinstance(self.strengths, tuple | list | np.ndarray):
            raise TypeError(sentence)
        values = tuple(real_number(value, sentence, strict=True) for value in self.strengths)
        if len(values) != self.rank:
            raise ValueError(sentence)
        object.__setattr__(self, "strengths", values)

    def draw(self, seed: int) -> Floats:
        """Draw the matrix, shape (dim, dim), float64."""
        normals = stream(seed, "low-rank target").standard_normal((2, self.dim, self.rank))
        if self.strengths is None:
            matrix = normals[0] @ normals[1].T
        else:
            u, v = (np.linalg.qr(some)[0] for some in normals)
            matrix = (u * np.array(self.strengths)) @ v.T
        return np.asarray(matrix * (self.dim / math.sqrt(float(np.square(matrix).sum()))))


def observed_entries(dim: int, count: int, seed: int) -> NDArray[np.bool_]:
    """Draw which entries of a matrix are seen, uniformly and without replacement.

    Parameters
    ----------
    dim : int
        Rows and columns.
    count : int
        Number of entries seen, in [1, dim^2]. Those of a smaller count are among those of a larger
        one.
    seed : int
        Seed of the trial.

    Returns
    -------
    ndarray of bool, shape (dim, dim)
    """
    seen = np.zeros(dim * dim, dtype=bool)
    seen[stream(seed, "observed entries").permutation(dim * dim)[:count]] = True
    return seen.reshape(dim, dim)
