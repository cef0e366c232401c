"""Kernel students, and the kernels they take: RBF, Laplace, and those of infinitely wide networks.

A kernel is a value; called with two samples it gives the kernel of every pair. Whatever maps two
arrays of inputs to the positive semidefinite kernel between them, and is hashable, will do; its
repr is what a store remembers of it, so give it one that tells.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tsframe.checks import whole
from tsframe.students.random_features import variance
from tsframe.theory.kernels import erf_ntk, relu_ntk, WideKernels

__all__ = ["NNGP", "NTK", "RBF", "Kernel", "Laplace", "PairKernel"]

Floats = NDArray[np.float64]
PairKernel: TypeAlias = Callable[[Floats, Floats], Floats]  # (n1, dim), (n2, dim) -> (n1, n2)

WIDE = {"erf": erf_ntk, "relu": relu_ntk}


@dataclass(frozen=True)
class _OfDistance:
    bandwidth: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "bandwidth", variance("bandwidth", self.bandwidth, strict=True))


@dataclass(frozen=True)
class RBF(_OfDistance):
    """The Gaussian kernel exp(-|x - x'|^2 / (2 bandwidth^2)).

    Parameters
    ----------
    bandwidth : float
        In units of the inputs, > 0. Two Gaussian inputs are sqrt(2 * trace) apart, in the root mean
        square.

    Examples
    --------
    >>> RBF(bandwidth=1.0)(np.zeros((1, 2)), np.array([[0.0, 2.0]])).round(6).item()
    0.135335
    """

    def __call__(self, x1: Floats, x2: Floats) -> Floats:
        """Give the kernel of all pairs, shape (n1, n2), of inputs of shapes (n, dim)."""
        return np.exp(squared_distances(x1, x2) / (-2.0 * self.bandwidth**2))


@dataclass(frozen=True)
class Laplace(_OfDistance):
    """The Laplace kernel exp(-|x - x'| / bandwidth), with the Euclidean distance.

    Parameters
    ----------
    bandwidth : float
        In units of the inputs, > 0.

    Examples
    --------
    >>> Laplace(bandwidth=1.0)(np.zeros((1, 2)), np.array([[0.0, 2.0]])).round(6).item()
    0.135335
    """

    def __call__(self, x1: Floats, x2: Floats) -> Floats:
        """Give the kernel of all pairs, shape (n1, n2), of inputs of shapes (n, dim)."""
        return np.exp(np.sqrt(squared_distances(x1, x2)) / -self.bandwidth)


@dataclass(frozen=True)
class _Wide:
    depth: int
    activation: str = "relu"
    weight_variance: float = 2.0
    bias_variance: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "depth", whole("depth", self.depth, 0))
        if self.activation not in WIDE:
            raise ValueError(
                f"activation must be one of {', '.join(WIDE)}, whose kernels are known in closed "
                f"form; got activation={self.activation!r}."
            )
        for name, strict in (("weight_variance", True), ("bias_variance", False)):
            object.__setattr__(self, name, variance(name, getattr(self, name), strict))

    def _kernels(self, x1: Floats, x2: Floats) -> WideKernels:
        function = WIDE[self.activation]
        return function(x1, x2, self.depth, self.weight_variance, self.bias_variance)


@dataclass(frozen=True)
class NTK(_Wide):
    """The neural tangent kernel of an infinitely wide network; see `tsframe.theory.relu_ntk`.

    A student with this kernel and no penalty is the network itself, trained to the end by gradient
    flow in the limit of infinite width (Jacot, Gabriel & Hongler 2018), its initial function
    subtracted.

    Parameters
    ----------
    depth : int
        Number of hidden layers, >= 0; the readout is not counted. Depth 0 is the linear kernel.
    activation : str
        relu or erf.
    weight_variance, bias_variance : float
        Variance of the weights of a unit times its number of inputs, > 0, and of its bias, >= 0.

    Examples
    --------
    >>> x = np.array([[1.0, 1.0], [1.0, -1.0]])
    >>> NTK(depth=3)(x, x).diagonal().round(12).tolist()
    [8.0, 8.0]
    """

    def __call__(self, x1: Floats, x2: Floats) -> Floats:
        """Give the kernel of all pairs, shape (n1, n2), of inputs of shapes (n, dim)."""
        return self._kernels(x1, x2).ntk


@dataclass(frozen=True)
class NNGP(_Wide):
    """Covariance of the outputs of an infinitely wide network at initialization.

    A student with this kernel trains the readout only; with penalty s2 it is the posterior mean of
    a Bayesian network with noise of variance s2 (Neal 1996; Lee et al. 2018).

    Parameters
    ----------
    depth, activation, weight_variance, bias_variance
        As in `NTK`.

    Examples
    --------
    >>> x = np.array([[1.0, 1.0], [1.0, -1.0]])
    >>> NNGP(depth=3)(x, x).diagonal().round(12).tolist()
    [2.0, 2.0]
    """

    def __call__(self, x1: Floats, x2: Floats) -> Floats:
        """Give the kernel of all pairs, shape (n1, n2), of inputs of shapes (n, dim)."""
        return self._kernels(x1, x2).nngp


@dataclass(frozen=True)
class Kernel:
    """A student f(x) = sum_i a_i kernel(x, x_i) over the training inputs, trained by `Ridge`.

    Parameters
    ----------
    kernel : PairKernel
        ``RBF(bandwidth)``, ``Laplace(bandwidth)``, ``NTK(depth)``, ``NNGP(depth)``, or a hashable
        function of two samples.

    Raises
    ------
    TypeError
        If it is none.

    Examples
    --------
    >>> Kernel(RBF(bandwidth=20.0))
    Kernel(kernel=RBF(bandwidth=20.0))
    """

    kernel: PairKernel

    def __post_init__(self) -> None:
        kernel = self.kernel
        if isinstance(kernel, type) or not callable(kernel) or type(kernel).__hash__ is None:
            raise TypeError(
                "kernel must be RBF(bandwidth), Laplace(bandwidth), NTK(depth), NNGP(depth) or a "
                f"hashable function of two samples; got kernel={kernel!r}."
            )


def squared_distances(x1: Floats, x2: Floats) -> Floats:
    """Squared Euclidean distances of all pairs, shape (n1, n2); zero between equal rows.

    |a|^2 + |b|^2 - 2 a . b is one product, wrong by some 1e-16 (|a|^2 + |b|^2): to a kernel of
    near-by inputs as much as its own rounding. Equal samples are given the diagonal they have.
    """
    sums = np.add.outer((x1**2).sum(axis=1), (x2**2).sum(axis=1))
    squares: Floats = sums - 2.0 * (x1 @ x2.T)
    np.maximum(squares, 0.0, out=squares)
    if x1 is x2:
        np.fill_diagonal(squares, 0.0)
    return squares
