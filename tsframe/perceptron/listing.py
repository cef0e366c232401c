"""All solutions of a binary perceptron, exactly: the list, its neighborhoods and its clusters.

Of the 2^dim students each pattern leaves about half, so that the list costs two looks at every
student, whatever the number of patterns.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tsframe.perceptron.instances import Bits, distances, Instance

__all__ = ["cluster_sizes", "isolated", "local_entropy", "shells", "solutions"]


def solutions(instance: Instance) -> Bits:
    """List the students that fit every pattern.

    Parameters
    ----------
    instance : Instance
        At most 25 weights; 2^25 students take 130 MB.

    Returns
    -------
    ndarray of uint32, shape (solutions,)
        As bits, ascending.
    """
    left = np.arange(2**instance.dim, dtype=np.uint32)
    for pattern in instance.patterns:
        left = left[distances(left, pattern) < instance.dim / 2]
    return left


def shells(listed: Bits, dim: int, radius: int) -> NDArray[np.uint32]:
    """Count the solutions at every distance up to a radius, around every student.

    Weight by weight: who is d away either agrees in this one and is d away in those before, or
    differs and is d - 1 away. No pair is ever looked at.

    Parameters
    ----------
    listed : ndarray of uint32, shape (solutions,)
        As bits.
    dim : int
        Number of weights.
    radius : int
        Largest distance, >= 0.

    Returns
    -------
    ndarray of uint32, shape (radius + 1, 2^dim)
        Solutions at exactly this distance from this student, itself included.
    """
    counts = np.zeros((radius + 1, 2**dim), np.uint32)
    counts[0, listed] = 1
    for j in range(dim):
        pairs = counts.reshape(radius + 1, -1, 2, 2**j)
        for d in range(radius, 0, -1):
            pairs[d] += pairs[d - 1][:, ::-1]
    return counts


def local_entropy(listed: Bits, student: int, dim: int) -> NDArray[np.float64]:
    """Give the local entropy of one student at every distance.

    The logarithm of the number of solutions within this distance, a weight (Baldassi et al. 2015,
    there of those at exactly this distance).

    Parameters
    ----------
    listed : ndarray of uint32, shape (solutions,)
        As bits.
    student : int
        As bits.
    dim : int
        Number of weights.

    Returns
    -------
    ndarray, shape (dim + 1,)
        In nats a weight; NaN where there is none.
    """
    found = np.bincount(distances(listed, np.uint32(student)), minlength=dim + 1).cumsum()
    entropy: NDArray[np.float64] = np.full(dim + 1, np.nan)
    np.log(found, out=entropy, where=found > 0)
    return entropy / dim


def isolated(listed: Bits, dim: int) -> NDArray[np.bool_]:
    """Tell which solutions have no other one at distance 1."""
    return np.asarray(~np.isin(_neighbors(listed, dim), listed).any(axis=0))


def cluster_sizes(listed: Bits, dim: int) -> NDArray[np.int64]:
    """Give the sizes of clusters: solutions that single flips lead to without leaving the list.

    Returns
    -------
    ndarray of int, shape (clusters,)
        Descending.
    """
    neighbors = _neighbors(listed, dim)
    _, one = np.nonzero(joined := np.isin(neighbors, listed))
    other = np.searchsorted(listed, neighbors[joined])
    graph = coo_array((np.ones(len(one)), (one, other)), shape=(len(listed), len(listed)))
    _, names = connected_components(graph, directed=False)
    return np.sort(np.bincount(names))[::-1].astype(np.int64)


def _neighbors(listed: Bits, dim: int) -> NDArray[np.uint32]:
    """Flip every weight of every solution, shape (dim, solutions)."""
    weights = np.left_shift(np.uint32(1), np.arange(dim, dtype=np.uint32))
    neighbors: NDArray[np.uint32] = np.bitwise_xor(listed, weights[:, None])
    return neighbors
