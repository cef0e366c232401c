"""Augmentations: training inputs varied at every step in ways that their law does not notice.

Gaussian inputs are independent normals in the eigenbasis of their covariance. So two things leave
their law exactly as it is: to flip the sign of a coordinate, and to draw a part of it anew. The
label of a varied input stays that of the original. That is right where the teacher does not look:
exactly where its coefficients are zero, nearly where the eigenvalues are small; an augmentation
therefore leaves the stiff directions before `first` alone.

What is drawn hangs on the seed and how many minibatches the data set has given, so students of one
seed see the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tsframe.checks import real_number, whole_number
from tsframe.inputs import Gaussian, Inputs
from tsframe.samples import AnyTeacher
from tsframe.teachers import LinearTeacher

__all__ = ["Augmentation", "FlatNoise", "SignFlips", "check_augmentation"]

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class FlatNoise:
    """Noise in the flat directions, as much of each as its law allows.

    x_i <- sqrt(1 - strength^2) x_i + strength sqrt(eigenvalue_i) normal for every coordinate i >=
    first of the eigenbasis, anew for each sample of each minibatch. The law of the inputs stays.

    Parameters
    ----------
    first : int
        How many directions are left alone, those of the largest eigenvalues, >= 0.
    strength : float
        In (0, 1]; at 1 the flat coordinates are drawn anew and tell nothing of the sample.
    """

    first: int
    strength: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "first", _directions(self.first))
        sentence = f"strength must be a number in (0, 1]; got strength={self.strength!r}."
        object.__setattr__(self, "strength", real_number(self.strength, sentence, strict=True))
        if self.strength > 1.0:
            raise ValueError(sentence)

    def __call__(self, x: Floats, inputs: Inputs, seed: int, draws: np.random.Generator) -> Floats:
        """Vary some inputs, shape (n, dim)."""
        scale = np.sqrt(inputs.eigenvalues[self.first :])
        noise = draws.standard_normal((len(x), len(scale))) * scale
        keep = np.sqrt(1.0 - self.strength**2) - 1.0
        return _moved(x, inputs, seed, self.first, lambda z: keep * z + self.strength * noise)


@dataclass(frozen=True)
class SignFlips:
    """Every flat coordinate with a random sign, each sample of each minibatch anew.

    The law of the inputs stays. Labels do only where the teacher declares that it does not look: a
    `LinearTeacher` whose `coefficients` are zero from `first` on. Others are refused.

    Parameters
    ----------
    first : int
        How many directions are left alone, those of the largest eigenvalues, >= 0.
    """

    first: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "first", _directions(self.first))

    def __call__(self, x: Floats, inputs: Inputs, seed: int, draws: np.random.Generator) -> Floats:
        """Vary some inputs, shape (n, dim)."""
        flips = -2.0 * draws.integers(0, 2, (len(x), x.shape[1] - self.first))
        return _moved(x, inputs, seed, self.first, lambda z: flips * z)


Augmentation: TypeAlias = FlatNoise | SignFlips


def check_augmentation(
    augmentation: object, inputs: object, teacher: AnyTeacher, corruption: object, exact: bool
) -> None:
    """Refuse an augmentation that the law of the inputs or the labels would notice.

    It also needs a student that takes steps, is not `exact`, and inputs without `corruption`.

    Raises
    ------
    TypeError
        If it is none, or the law of the inputs is not known.
    ValueError
        If it leaves nothing to vary, or labels would change.
    """
    if augmentation is None:
        return
    if not isinstance(augmentation, FlatNoise | SignFlips):
        raise TypeError(
            "augmentation must be FlatNoise(first), SignFlips(first) or None; got "
            f"augmentation={augmentation!r}."
        )
    if not isinstance(inputs, Gaussian):
        raise TypeError(
            f"an augmentation needs inputs whose law is known, Gaussian(...); got {inputs!r}."
        )
    if corruption is not None or exact:
        raise ValueError(
            "augmentation varies the inputs of a student that takes steps and whose inputs are not "
            f"corrupted; got corruption={corruption!r}, solved exactly={exact}."
        )
    if augmentation.first >= inputs.dim:
        raise ValueError(
            f"first must leave a direction to vary, first < dim={inputs.dim}; got "
            f"first={augmentation.first}."
        )
    if isinstance(augmentation, SignFlips):
        known = isinstance(teacher, LinearTeacher) and teacher.coefficients is not None
        shape = teacher.coefficients if isinstance(teacher, LinearTeacher) else None
        if not known or any((shape or ())[augmentation.first :]):
            raise ValueError(
                "SignFlips keeps labels only if the teacher declares that it does not look: "
                f"LinearTeacher(coefficients=...) that are zero from {augmentation.first} on; got "
                f"teacher={teacher!r:.80}. Use FlatNoise, or another first."
            )


def _moved(
    x: Floats, inputs: Inputs, seed: int, first: int, change: Callable[[Floats], Floats]
) -> Floats:
    """Add a change of the flat coordinates, a function of them."""
    if isinstance(inputs, Gaussian) and not inputs.rotate:  # the basis is the coordinate axes
        moved = x.copy()
        moved[:, first:] += change(x[:, first:])
        return moved
    flat = inputs.basis(seed)[:, first:]
    return np.asarray(x + change(x @ flat) @ flat.T)


def _directions(first: object) -> int:
    sentence = f"first must be a whole number >= 0 (directions left alone); got first={first!r}."
    return whole_number(first, 0, sentence)
