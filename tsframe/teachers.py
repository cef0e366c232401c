"""Teachers: functions that label the inputs, drawn once from a seed and frozen from then on.

A `Teacher` is a random network whose argmax gives a class; a `LinearTeacher` gives a number. Each
is a spec; its `draw` for given inputs and a seed gives the function itself, a `DrawnTeacher` or a
`DrawnLinearTeacher`, that is called on inputs. Weights are drawn in the eigenbasis of the inputs:
the same seed gives the same teacher at every spectrum, and rotating the inputs rotates it along.

Two confounds of published teacher-student runs are switches. With weights of a fixed scale, the
pre-activations shrink with the trace of the inputs, and a tanh teacher drifts into its linear
regime: `gain` fixes their standard deviation instead. And the classes of a raw argmax become
unequal as few directions of the inputs come to matter: `balance` sets the biases of the readout so
that they are equally likely. Logits are never whitened, for that would make the labels depend on
the flat directions of the inputs.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import erf, expit

from tsframe.balancing import balancing_biases
from tsframe.checks import real_number, whole
from tsframe.inputs import Inputs
from tsframe.kept import Kept
from tsframe.streams import stream

__all__ = [
    "DrawnLinearTeacher",
    "DrawnTeacher",
    "LinearTeacher",
    "Teacher",
    "class_perplexity",
]

Floats: TypeAlias = NDArray[np.float64]

ACTIVATIONS: dict[str, Callable[[Floats], Floats]] = {
    "erf": erf,  # of z, not of z / sqrt(2)
    "identity": lambda z: z,
    "relu": lambda z: np.maximum(z, 0.0),
    "sigmoid": expit,
    "tanh": np.tanh,
}

REFERENCE_ROWS = 4096  # the classes of a balanced teacher are then equal within 5 percent of each
KEPT = 32e6  # bytes of drawn teachers that are kept: 190 of width 100 on inputs of dim 200


@dataclass(frozen=True)
class Teacher:
    """A random network that labels an input by the argmax of its logits.

    Hidden layers have no biases; all weights are standard normal before they are scaled.

    Parameters
    ----------
    width : int
        Hidden units of every hidden layer, >= 1. Has no effect at depth 0.
    depth : int
        Number of hidden layers, >= 0; the readout is not counted. Depth 0 is the linear teacher.
    classes : int
        Number of classes, >= 2.
    activation : str
        One of erf, identity, relu, sigmoid, tanh.
    gain : float, optional
        Standard deviation, > 0, of every hidden pre-activation over the inputs: exact in the first
        layer, measured on a reference sample in the next. Its mean, zero by symmetry for erf,
        identity and tanh, is left as it falls. None leaves all weights at standard deviation
        1 / sqrt(fan-in), as in Yang, Mao & Chaudhari 2022.
    balance : bool
        Whether each logit is standardized and given a bias such that the classes are equally likely
        on a reference sample. Logits that differ in too few ways (those of a width of 1) cannot be
        balanced; the perplexity stored with the samples tells. False takes the argmax of a network
        without biases, as published.

    Raises
    ------
    TypeError, ValueError
        If a value is refused.

    Examples
    --------
    >>> from tsframe.inputs import Gaussian
    >>> from tsframe.spectra import Sloppy
    >>> inputs = Gaussian(dim=200, spectrum=Sloppy(0.1))
    >>> teacher = Teacher(width=100, classes=10).draw(inputs, seed=0)
    >>> labels = teacher(inputs.draw(5000, seed=0, role="test inputs"))
    >>> class_perplexity(labels, classes=10) > 9.9
    True
    """

    width: int
    depth: int = 1
    classes: int = 10
    activation: str = "tanh"
    gain: float | None = 1.0
    balance: bool = True

    def __post_init__(self) -> None:
        for name, low in (("width", 1), ("depth", 0), ("classes", 2)):
            object.__setattr__(self, name, whole(name, getattr(self, name), low))
        if self.activation not in ACTIVATIONS:
            raise ValueError(
                f"activation must be one of {', '.join(ACTIVATIONS)}; "
                f"got activation={self.activation!r}."
            )
        if self.gain is not None:
            advice = "Use None for weights of standard deviation 1 / sqrt(fan-in)."
            object.__setattr__(self, "gain", _real("gain", self.gain, advice, strict=True))
        if not isinstance(self.balance, bool | np.bool_):
            raise TypeError(f"balance must be True or False; got balance={self.balance!r}.")
        object.__setattr__(self, "balance", bool(self.balance))

    @property
    def outputs(self) -> int:
        """Number of outputs of a student of this teacher: the classes."""
        return self.classes

    def draw(self, inputs: Inputs, seed: int) -> "DrawnTeacher":
        """Draw the network.

        Parameters
        ----------
        inputs : Inputs
            Law of the inputs, for which it is calibrated.
        seed : int
            Seed of the trial, >= 0.

        Returns
        -------
        DrawnTeacher
            The function from inputs to labels.
        """
        return _drawn.get((self, inputs.key, seed), lambda kept: kept or self._draw(inputs, seed))

    def _draw(self, inputs: Inputs, seed: int) -> "DrawnTeacher":
        """Draw and calibrate; hidden values have shape (units, rows), where sums are fast."""
        widths = [inputs.dim, *[self.width] * self.depth, self.classes]
        weights = [
            stream(seed, "teacher", layer).standard_normal((fan_out, fan_in)) / math.sqrt(fan_in)
            for layer, (fan_in, fan_out) in enumerate(pairwise(widths))
        ]
        maps, scale = weights[0], np.ones((len(weights[0]), 1))
        if self.gain is not None and self.depth:
            scale[:, 0] = self.gain / np.sqrt(maps**2 @ inputs.eigenvalues)
        weights[0] = maps @ inputs.basis(seed).T * scale
        biases = np.zeros(self.classes)
        if self.balance or (self.gain is not None and self.depth > 1):  # else nothing is measured
            z = inputs.project(maps * scale, REFERENCE_ROWS, seed, "reference inputs")
            for layer, w in enumerate(weights[1:], start=1):
                z = w @ ACTIVATIONS[self.activation](z)
                if self.gain is not None and layer < self.depth:
                    scale = self.gain / z.std(axis=1, keepdims=True)
                    w *= scale
                    z *= scale
        if self.balance:
            mean, deviation = z.mean(axis=1, keepdims=True), z.std(axis=1, keepdims=True)
            weights[-1] /= deviation
            biases = balancing_biases((z - mean) / deviation) - (mean / deviation)[:, 0]
        for w in (*weights, biases):
            w.flags.writeable = False  # all who ask for this teacher get these arrays
        return DrawnTeacher(tuple(weights), biases, self.activation)


@dataclass(frozen=True, eq=False)
class DrawnTeacher:
    """The function of one drawn `Teacher`.

    Parameters
    ----------
    weights : tuple of ndarray, each of shape (fan_out, fan_in)
        From the inputs to the logits.
    biases : ndarray, shape (classes,)
        Of the readout.
    activation : str
        Of the hidden layers.
    """

    weights: tuple[Floats, ...]
    biases: Floats
    activation: str

    def logits(self, x: Floats) -> Floats:
        """Give the logits of the inputs x, shape (n, dim), as shape (n, classes)."""
        *hidden, readout = self.weights
        for w in hidden:
            x = ACTIVATIONS[self.activation](x @ w.T)
        return x @ readout.T + self.biases

    def __call__(self, x: Floats) -> NDArray[np.int64]:
        """Label the inputs x, shape (n, dim), by their classes 0..classes-1, shape (n,)."""
        labels: NDArray[np.int64] = self.logits(x).argmax(axis=1).astype(np.int64)
        return labels


@dataclass(frozen=True)
class LinearTeacher:
    """A linear map to a number, y = x . theta, with theta uniform on a sphere, or of given shape.

    In the eigenbasis of the inputs theta is uniform, so its power is the same on every mode in the
    mean, and y has variance norm^2 * trace / dim in the mean: over seeds, the target of
    `tsframe.theory.ridge` with coefficients norm / sqrt(dim).

    Parameters
    ----------
    norm : float
        Euclidean norm of theta, >= 0.
    noise : float
        Standard deviation (not the variance) of the Gaussian noise added to training labels, >= 0;
        test labels have none.
    coefficients : tuple of float, optional
        Shape of theta in the eigenbasis of the inputs, largest eigenvalue first, one number a mode;
        an array or a list is kept as a tuple. theta has their direction, the same at every seed,
        and the length `norm`. By default it is drawn.

    Raises
    ------
    TypeError, ValueError
        If a value is refused.

    Examples
    --------
    >>> from tsframe.inputs import Gaussian
    >>> from tsframe.spectra import Isotropic
    >>> teacher = LinearTeacher(norm=2.0).draw(Gaussian(dim=50, spectrum=Isotropic()), seed=0)
    >>> float(np.linalg.norm(teacher.theta).round(12))
    2.0
    """

    norm: float = 1.0
    noise: float = 0.0
    coefficients: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "norm", _real("norm", self.norm, "Use 0 for pure noise."))
        object.__setattr__(self, "noise", _real("noise", self.noise, "Use 0 for exact labels."))
        if self.coefficients is None:
            return
        values = np.asarray(self.coefficients)
        if values.ndim != 1 or values.dtype.kind not in "fiu":
            raise TypeError(
                "coefficients must be a tuple of numbers, one a mode of the inputs; got "
                f"coefficients={self.coefficients!r:.80}. Leave them out to draw them."
            )
        if not np.isfinite(values).all() or not values.any():
            raise ValueError(
                "coefficients must be finite and not all zero, for they give the direction of "
                f"theta; got coefficients={self.coefficients!r:.80}. Use norm=0 for pure noise."
            )
        object.__setattr__(self, "coefficients", tuple(values.astype(float).tolist()))

    @property
    def outputs(self) -> int:
        """Number of outputs of a student of this teacher: 1."""
        return 1

    @property
    def classes(self) -> None:
        """No classes: this is regression."""
        return None

    def draw(self, inputs: Inputs, seed: int) -> "DrawnLinearTeacher":
        """Draw the map.

        Parameters
        ----------
        inputs : Inputs
            Law of the inputs; the map is drawn in its eigenbasis.
        seed : int
            Seed of the trial, >= 0.

        Returns
        -------
        DrawnLinearTeacher
            The function from inputs to labels.
        """
        self.check_dim(inputs.dim)
        if self.coefficients is None:
            direction = stream(seed, "teacher").standard_normal(inputs.dim)
        else:
            direction = np.array(self.coefficients)
        theta = self.norm / np.linalg.norm(direction) * direction
        return DrawnLinearTeacher(inputs.basis(seed) @ theta)

    def check_dim(self, dim: int) -> None:
        """Refuse inputs of another dimension than the coefficients, e.g. while a trial is built.

        Raises
        ------
        ValueError
            If there are coefficients, and not one a mode.
        """
        if self.coefficients is not None and len(self.coefficients) != dim:
            raise ValueError(
                f"coefficients must be one a mode of the inputs; got {len(self.coefficients)} "
                f"coefficients with dim={dim}. Leave them out to draw them."
            )


@dataclass(frozen=True, eq=False)
class DrawnLinearTeacher:
    """The function of one drawn `LinearTeacher`.

    Parameters
    ----------
    theta : ndarray, shape (dim,)
        Its gradient, in the coordinates of the inputs.
    """

    theta: Floats

    def __call__(self, x: Floats) -> Floats:
        """Label the inputs x, shape (n, dim), without noise, shape (n,)."""
        return x @ self.theta


def class_perplexity(labels: ArrayLike, classes: int) -> float:
    """Perplexity of class frequencies: the exponential of their entropy in nats.

    It is the number of equally likely classes that would be as hard to guess (Jelinek et al. 1977).

    Parameters
    ----------
    labels : array_like of int, shape (n,)
        Classes 0..classes-1.
    classes : int
        Number of classes.

    Returns
    -------
    float
        In [1, classes]; `classes` where all are equally frequent.

    Examples
    --------
    >>> round(class_perplexity([0, 1, 2, 0, 1, 2], classes=3), 12)
    3.0
    """
    counts = np.bincount(np.asarray(labels), minlength=classes)
    frequencies = counts[counts > 0] / counts.sum()
    return float(np.exp(-(frequencies * np.log(frequencies)).sum()))


_drawn: Kept[DrawnTeacher] = Kept(KEPT, lambda drawn: sum(w.nbytes for w in drawn.weights))


def _real(name: str, value: object, advice: str, strict: bool = False) -> float:
    sentence = (
        f"{name} must be a number {'>' if strict else '>='} 0; got {name}={value!r}. {advice}"
    )
    return real_number(value, sentence, strict)
