"""Corruptions: what randomization tests do to the inputs, once the teacher has labeled them.

Zhang, Bengio, Hardt, Recht & Vinyals 2017 (arXiv:1611.03530) train the same student on data from
which more and more is taken away, in six settings. Their labels are the business of one number,
``label_noise``: the probability that a training label is replaced by a uniformly random class. At 0
they are true, at 1 they are random, and between they are partly corrupted. Their inputs are the
business of a corruption. The two are fields of a trial and go together in any way;
`RANDOMIZATION_TESTS` names the six.

A corruption acts on training and test inputs alike, after the labels: a corrupted row keeps the
label that the teacher gave to what it was. Label noise acts on training labels alone. So test_error
is measured against true labels in every setting, and chance is 1 - 1 / classes: exactly, in
expectation, for random labels and any student that treats its classes alike; for inputs that tell
nothing, if the classes are equally frequent.

Whatever is drawn hangs on the seed alone: at every slope, the same coordinates change places, and a
longer sample begins with the rows of a shorter one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tsframe.inputs import Inputs
from tsframe.streams import stream

__all__ = [
    "RANDOMIZATION_TESTS",
    "Corruption",
    "MatchedGaussian",
    "ShuffledCoordinates",
    "check_corruption",
]

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class ShuffledCoordinates:
    """The coordinates of every input in another order: shuffled pixels, or random pixels.

    One permutation for all inputs takes the neighborhood of coordinates away and leaves all else: a
    student whose first layer is fully connected, with initial weights of one law at all
    coordinates, cannot tell, and that is what it tests. One permutation for each sample leaves the
    values of an input without their places.

    In their eigenbasis, the coordinates of Gaussian inputs differ in variance and are not
    correlated; a shuffle moves variances. With ``rotate=True`` they have about one variance and the
    spectrum lies in their correlations, as for natural data; one permutation carries the
    correlations along, and one for each sample leaves none.

    Parameters
    ----------
    per_sample : bool
        Whether each sample is shuffled by a permutation of its own ("random pixels") and not all by
        one, of the seed ("shuffled pixels").

    Examples
    --------
    >>> from tsframe.inputs import Gaussian
    >>> from tsframe.spectra import Isotropic
    >>> inputs = Gaussian(dim=3, spectrum=Isotropic())
    >>> x = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    >>> ShuffledCoordinates()(x, inputs, seed=0, role="train inputs")
    array([[2., 1., 3.],
           [5., 4., 6.]])
    """

    per_sample: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "per_sample", _truth("per_sample", self.per_sample))

    def __call__(self, x: Floats, inputs: Inputs, seed: int, role: str) -> Floats:
        """Corrupt a sample.

        Parameters
        ----------
        x : ndarray, shape (n, dim)
            One input a row; not changed.
        inputs : Inputs
            Law of the inputs.
        seed : int
            Seed of the trial, >= 0.
        role : str
            What the sample is for, e.g. ``"train inputs"``.

        Returns
        -------
        ndarray, shape (n, dim)
            The same values, row by row in another order.
        """
        if not self.per_sample:
            return np.ascontiguousarray(x[:, stream(seed, "shuffle").permutation(x.shape[1])])
        order = stream(seed, f"shuffle of {role}").random(x.shape).argsort(axis=1)
        return np.take_along_axis(x, order, axis=1)


@dataclass(frozen=True)
class MatchedGaussian:
    """Independent Gaussian numbers instead of every input, with the mean and variance of the data.

    Parameters
    ----------
    per_coordinate : bool
        Whether each coordinate keeps a mean and variance of its own, and not all have those of all
        coordinates together, as in Zhang et al. 2017. For `Gaussian` inputs in their eigenbasis the
        spectrum is then kept, and only the labels are lost.

    Examples
    --------
    >>> from tsframe.inputs import Gaussian
    >>> from tsframe.spectra import Sloppy
    >>> inputs = Gaussian(dim=50, spectrum=Sloppy(0.5))
    >>> x = inputs.draw(400, seed=0, role="train inputs")
    >>> flat = MatchedGaussian()(x, inputs, seed=0, role="train inputs")
    >>> bool(abs(np.mean(flat**2) / np.mean(inputs.eigenvalues) - 1) < 0.05)
    True
    """

    per_coordinate: bool = False

    def __post_init__(self) -> None:
        name = "per_coordinate"
        object.__setattr__(self, name, _truth(name, self.per_coordinate))

    def __call__(self, x: Floats, inputs: Inputs, seed: int, role: str) -> Floats:
        """Replace a sample.

        Parameters
        ----------
        x : ndarray, shape (n, dim)
            One input a row; only its shape is used.
        inputs : Inputs
            Law of the inputs: it has the mean and variance, not the sample.
        seed : int
            Seed of the trial, >= 0.
        role : str
            What the sample is for, e.g. ``"train inputs"``.

        Returns
        -------
        ndarray, shape (n, dim)
            Independent of `x`.
        """
        mean, variance = inputs.moments(seed)
        if not self.per_coordinate:  # of all coordinates together
            variance = variance.mean(keepdims=True) + mean.var(keepdims=True)
            mean = mean.mean(keepdims=True)
        # Not the stream of the inputs themselves, which would give the data back.
        normals = stream(seed, f"replaced {role}").standard_normal(x.shape)
        return mean + np.sqrt(variance) * normals


Corruption: TypeAlias = ShuffledCoordinates | MatchedGaussian


def check_corruption(corruption: object) -> None:
    """Refuse what is no corruption, e.g. while a trial is built.

    Raises
    ------
    TypeError
        If it is neither a corruption nor None.
    """
    if corruption is not None and not isinstance(corruption, Corruption):
        raise TypeError(
            "corruption must be ShuffledCoordinates(), MatchedGaussian() or None; got "
            f"corruption={corruption!r}. Labels are corrupted by label_noise."
        )


def _truth(name: str, value: object) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False; got {name}={value!r}.")
    return bool(value)


# The six settings of Zhang et al. 2017, each as fields of a trial: its label noise, its corruption.
RANDOMIZATION_TESTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        name: MappingProxyType({"label_noise": label_noise, "corruption": corruption})
        for name, label_noise, corruption in (
            ("true labels", 0.0, None),
            ("half the labels redrawn", 0.5, None),
            ("random labels", 1.0, None),
            ("shuffled coordinates", 0.0, ShuffledCoordinates()),
            ("shuffled sample by sample", 0.0, ShuffledCoordinates(per_sample=True)),
            ("Gaussian inputs", 0.0, MatchedGaussian()),
        )
    }
)
