"""Random features: a network of one hidden layer whose first layer stays as it was drawn."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsframe.checks import real_number, whole
from tsframe.streams import stream
from tsframe.teachers import ACTIVATIONS

__all__ = ["RandomFeatures"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RandomFeatures:
    """A student that is linear in random features of the inputs, without intercept.

    f(x) = W phi(x) with the features phi_k(x) = sqrt(weight_variance / width) activation(z_k), z_k
    = sqrt(weight_variance / dim) v_k . x + sqrt(bias_variance) b_k; v and b are standard normal and
    frozen (Rahimi & Recht 2007). As the width grows, phi(x) . phi(x') tends to the kernel of the
    infinitely wide network: ``NNGP(depth=1)`` of the same activation and weight variance where
    there are no biases. With the activation "identity" and a weight variance of one it is the
    student of `tsframe.theory.random_features` on eigenvalues divided by dim.

    The features hang on the seed alone: they are the same at every spectrum, and those of a wider
    student begin with those of a narrower one, but for the scale.

    Parameters
    ----------
    width : int
        Number of features, >= 1.
    activation : str
        One of erf, identity, relu, sigmoid, tanh.
    weight_variance : float
        Variance of the frozen weights of a feature times dim, > 0, and scale of the features.
    bias_variance : float
        Variance of the frozen biases, >= 0.

    Raises
    ------
    TypeError, ValueError
        If a value is refused.

    Examples
    --------
    >>> RandomFeatures(width=3).features(np.ones((5, 2)), seed=0).shape
    (5, 3)
    """

    width: int
    activation: str = "relu"
    weight_variance: float = 1.0
    bias_variance: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "width", whole("width", self.width, 1))
        if self.activation not in ACTIVATIONS:
            raise ValueError(
                f"activation must be one of {', '.join(ACTIVATIONS)}; "
                f"got activation={self.activation!r}."
            )
        for name, strict in (("weight_variance", True), ("bias_variance", False)):
            object.__setattr__(self, name, variance(name, getattr(self, name), strict))

    def features(self, x: Floats, seed: int) -> Floats:
        """Compute the features of inputs.

        Parameters
        ----------
        x : ndarray, shape (n, dim)
            Inputs.
        seed : int
            Seed of the trial, >= 0.

        Returns
        -------
        ndarray, shape (n, width)
            float64.
        """
        dim = x.shape[1]
        weights = stream(seed, "random features").standard_normal((self.width, dim))
        z = x @ (math.sqrt(self.weight_variance / dim) * weights).T
        if self.bias_variance:
            biases = stream(seed, "biases of random features").standard_normal(self.width)
            z += math.sqrt(self.bias_variance) * biases
        return math.sqrt(self.weight_variance / self.width) * ACTIVATIONS[self.activation](z)


def variance(name: str, value: object, strict: bool) -> float:
    """Give a variance as a float, or refuse it by name.

    What is refused, and how, `tsframe.checks.real_number` says.
    """
    sentence = f"{name} must be a finite number {'>' if strict else '>='} 0; got {name}={value!r}."
    return real_number(value, sentence, strict)
