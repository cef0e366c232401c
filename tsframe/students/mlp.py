"""Multilayer perceptrons: the family of students that training is about."""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from tsframe.checks import later, real_number, repr_of
from tsframe.streams import stream
from tsframe.students.activations import ACTIVATIONS
from tsframe.students.initializations import He2015, Initialization
from tsframe.students.jacot2018 import Jacot2018

__all__ = ["MLP"]


@dataclass(frozen=True, repr=False)
class MLP:
    """A fully connected network with biases, f(x) = W_out phi(... phi(W_1 x + b_1)) + b_out.

    Parameters
    ----------
    width : int
        Hidden units of every hidden layer, >= 1. Has no effect at depth 0.
    depth : int
        Number of hidden layers, >= 0; the readout is not counted. Depth 0 is the linear model.
    activation : str
        One of relu, tanh, sigmoid, erf, identity.
    initialization : Initialization
        Law of the initial weights, e.g. ``He2015()``; ``Jacot2018()`` also sets the learning rate
        of each layer.
    dropout : float
        Probability in [0, 1) that a hidden unit is silent for one sample of a minibatch in training
        (Srivastava et al. 2014); the others are 1 / (1 - dropout) times themselves. At evaluation
        all units speak. Training error and loss are those of all units, too.
    batch_norm : bool
        Whether every hidden layer is normalized (Ioffe & Szegedy 2015): it computes
        phi((W h - mean) / sqrt(var + 1e-5) + b) with mean and variance of each unit over the
        samples of the minibatch. There is no scale gamma: to a ReLU or the identity the next layer
        supplies it; the others see pre-activations of unit variance around b. What is evaluated,
        measured and returned, initial weights included, is the plain network with the statistics
        of the whole training set, without augmentation and dropout, folded into W and b:
        `weight_norm` and `distance_from_init` are of folded weights, weight decay and noise act on
        those in training. Has no effect at depth 0.

    Examples
    --------
    >>> MLP(width=3, depth=2).layer_shapes(dim=5, outputs=2)
    ((3, 5), (3, 3), (2, 3))
    >>> MLP(width=3, depth=0).layer_shapes(dim=5, outputs=2)
    ((2, 5),)
    """

    width: int
    depth: int = 1
    activation: str = "relu"
    initialization: Initialization = field(default_factory=He2015)
    dropout: float = later(0.0)
    batch_norm: bool = later(False)

    def __post_init__(self) -> None:
        for name, low in (("width", 1), ("depth", 0)):
            value = getattr(self, name)
            if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
                raise TypeError(f"{name} must be an integer >= {low}; got {name}={value!r}.")
            if value < low:
                hint = " Depth 0 is the linear model." if name == "depth" else ""
                raise ValueError(f"{name} must be an integer >= {low}; got {name}={value}.{hint}")
            object.__setattr__(self, name, int(value))
        if self.activation not in ACTIVATIONS:
            raise ValueError(
                f"activation must be one of {', '.join(ACTIVATIONS)}; got {self.activation!r}."
            )
        if not isinstance(self.initialization, Initialization):
            raise TypeError(
                "initialization must be a law such as He2015() or LeCun1998(); "
                f"got {self.initialization!r}."
            )
        if isinstance(self.initialization, Jacot2018):
            self.initialization.check_shape(self.width, self.depth)
        sentence = (
            "dropout must be a number in [0, 1), the probability that a hidden unit is silent; "
            f"got dropout={self.dropout!r}."
        )
        object.__setattr__(self, "dropout", real_number(self.dropout, sentence))
        if self.dropout >= 1.0:
            raise ValueError(sentence)
        if not isinstance(self.batch_norm, bool | np.bool_):
            raise TypeError(
                f"batch_norm must be True or False; got batch_norm={self.batch_norm!r}."
            )
        object.__setattr__(self, "batch_norm", bool(self.batch_norm))
        if self.batch_norm and isinstance(self.initialization, Jacot2018):
            raise ValueError(
                "batch_norm=True undoes the scales of weights that Jacot2018() is about; take "
                "another initialization, e.g. He2015(), or leave batch_norm out."
            )

    __repr__ = repr_of

    @property
    def normalized(self) -> bool:
        """Whether there are hidden layers, and they are normalized."""
        return self.batch_norm and self.depth > 0

    def layer_shapes(self, dim: int, outputs: int) -> tuple[tuple[int, int], ...]:
        """Give (fan_out, fan_in) of every layer, biases not counted, from input to readout."""
        sizes = (dim, *([self.width] * self.depth), outputs)
        return tuple((after, before) for before, after in pairwise(sizes))

    def initial_weights(self, dim: int, outputs: int, seed: int) -> list[np.ndarray]:
        """Draw the initial weights of every layer.

        Parameters
        ----------
        dim, outputs : int
            Dimension of the inputs and number of outputs.
        seed : int
            Seed of the trial.

        Returns
        -------
        list of ndarray, shapes (fan_out, fan_in + 1)
            float64, biases in the last column.
        """
        law = self.initialization
        weights = [
            law(fan_in, fan_out, stream(seed, "initialization", layer))
            for layer, (fan_out, fan_in) in enumerate(self.layer_shapes(dim, outputs))
        ]
        return law.joined(weights) if isinstance(law, Jacot2018) else weights

    def rates(self, dim: int, outputs: int) -> tuple[tuple[float, float], ...] | None:
        """Give factors on the learning rate, of the weights and the biases of every layer.

        Parameters
        ----------
        dim, outputs : int
            Dimension of the inputs and number of outputs.

        Returns
        -------
        tuple of (float, float), or None
            From the first layer to the readout; None where all are one.
        """
        if not isinstance(self.initialization, Jacot2018):
            return None
        fans = [fan_in for _, fan_in in self.layer_shapes(dim, outputs)]
        return self.initialization.rates(fans)
