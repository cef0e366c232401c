"""Patterns to be learned by a binary perceptron, as bits.

A vector of signs is an integer whose bit j is 1 where the sign is +1. A pattern is kept times its
label, so that w fits it if and only if w.x > 0, that is, if w differs from it in fewer than half of
the dim places; dim is odd, and no product is zero.
"""

from dataclasses import dataclass
from functools import cache
from math import comb

import numpy as np
from numpy.typing import NDArray

from tsframe.streams import stream

__all__ = ["Bits", "Instance", "distances", "draw_instance", "error_at", "pack", "signs"]

Bits = NDArray[np.uint32]


@dataclass(frozen=True, eq=False)
class Instance:
    """The training patterns of one trial.

    Attributes
    ----------
    dim : int
        Number of weights, odd.
    teacher : int
        Its weights, as bits.
    patterns : ndarray of uint32, shape (n_train,)
        Patterns times their labels, as bits.
    """

    dim: int
    teacher: int
    patterns: Bits


def draw_instance(dim: int, n_train: int, label_noise: float, seed: int) -> Instance:
    """Draw a teacher and labeled patterns; a longer sample begins with the shorter one.

    Parameters
    ----------
    dim : int
        Number of weights, odd.
    n_train : int
        Number of patterns.
    label_noise : float
        Probability that a label is redrawn, as in `tsframe.trial.Trial`: 0 leaves those of the
        teacher, 1 makes all random.
    seed : int
        Seed of the trial, >= 0.
    """
    teacher = pack(stream(seed, "teacher").integers(2, size=dim))
    patterns = pack(stream(seed, "patterns").integers(2, size=(n_train, dim)))
    chance, choice = stream(seed, "label noise").random((n_train, 2)).T
    positive = distances(patterns, teacher) < dim / 2
    positive = np.where(chance < label_noise, choice < 0.5, positive)
    ones = np.uint32(2**dim - 1)
    return Instance(dim, int(teacher), np.where(positive, patterns, patterns ^ ones))


def pack(bits: NDArray[np.int64]) -> Bits:
    """Make integers of bits, shape (..., dim)."""
    packed = bits @ (1 << np.arange(bits.shape[-1], dtype=np.int64))
    return np.asarray(packed, np.uint32)


def signs(packed: Bits, dim: int) -> NDArray[np.int8]:
    """Make signs, shape (..., dim), of integers."""
    bits = np.asarray(packed)[..., None] >> np.arange(dim, dtype=np.uint32) & np.uint32(1)
    return np.where(bits, 1, -1).astype(np.int8)


def distances(one: Bits | np.uint32, other: Bits | np.uint32) -> NDArray[np.uint8]:
    """Give the number of places in which vectors differ (Hamming), broadcast."""
    return np.bitwise_count(np.bitwise_xor(one, other))


@cache
def error_at(dim: int) -> NDArray[np.float64]:
    """Give the test error of students at every distance from their teacher.

    The probability that two vectors of signs that differ in h of dim places (odd) disagree on a
    random pattern: that, of its dim terms, the h that differ outweigh the others. For large dim it
    is arccos(1 - 2 h / dim) / pi.

    Parameters
    ----------
    dim : int
        Number of weights.

    Returns
    -------
    ndarray, shape (dim + 1,)
        Exact, by counting all patterns; read-only.

    Examples
    --------
    >>> error_at(3).tolist()
    [0.0, 0.5, 0.5, 1.0]
    """
    found = [
        sum(
            comb(h, i) * comb(dim - h, j)
            for i in range(h + 1)
            for j in range(dim - h + 1)
            if abs(2 * i - h) > abs(2 * j - (dim - h))
        )
        / 2**dim
        for h in range(dim + 1)
    ]
    errors = np.array(found)
    errors.flags.writeable = False
    return errors
