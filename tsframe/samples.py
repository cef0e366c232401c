"""Samples: the train and test arrays of one task, label noise included.

Only training labels are ever noisy. The test labels are the teacher's own, so that the best test
error is zero and excess error is read off directly.
"""

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tsframe.arrays import OwnLabels
from tsframe.corruptions import Corruption
from tsframe.inputs import Inputs
from tsframe.streams import stream
from tsframe.teachers import class_perplexity, LinearTeacher, Teacher

__all__ = ["AnyTeacher", "Labels", "Samples", "check_label_noise", "draw_samples"]

AnyTeacher: TypeAlias = Teacher | LinearTeacher | OwnLabels
Labels: TypeAlias = NDArray[np.int64] | NDArray[np.float64]  # of classes, or of numbers


@dataclass(frozen=True, eq=False)
class Samples:
    """The train and test arrays of one task.

    Attributes
    ----------
    x_train : ndarray, shape (n_train, dim)
        Training inputs, float64; corrupted, if the task has a corruption.
    y_train : ndarray, shape (n_train,)
        Training labels with their noise: int64 classes 0..outputs-1, or float64 numbers.
    y_train_clean : ndarray, shape (n_train,)
        The teacher's labels of the training inputs, before any corruption.
    x_test : ndarray, shape (n_test, dim)
        Test inputs, float64; corrupted like the training inputs.
    y_test : ndarray, shape (n_test,)
        The teacher's labels of the test inputs, never noisy.
    outputs : int
        Outputs of a student of this task: the number of classes, or 1 for regression.
    perplexity : float
        Perplexity of the classes among the noise-free train and test labels, see
        `class_perplexity`; NaN for regression.
    """

    x_train: NDArray[np.float64]
    y_train: Labels
    y_train_clean: Labels
    x_test: NDArray[np.float64]
    y_test: Labels
    outputs: int
    perplexity: float


def draw_samples(
    inputs: Inputs,
    teacher: AnyTeacher,
    n_train: int,
    n_test: int,
    label_noise: float,
    seed: int,
    corruption: Corruption | None = None,
) -> Samples:
    """Draw the samples of one task.

    Label noise uses common random numbers: the labels replaced at one noise are among those
    replaced at a higher one, by the same classes, and a larger training sample begins with the
    smaller one.

    Parameters
    ----------
    inputs : Inputs
        Law of the inputs.
    teacher : Teacher, LinearTeacher or OwnLabels
        What labels them.
    n_train, n_test : int
        Number of training and test rows, >= 1.
    label_noise : float
        Probability in [0, 1] that a training label is replaced by a class drawn uniformly from
        all, so that only a fraction label_noise * (classes - 1) / classes of the labels is wrong.
        Must be 0 without classes; a `LinearTeacher` has a noise of its own.
    seed : int
        Seed of the trial, >= 0.
    corruption : Corruption, optional
        What is done to training and test inputs once they are labeled; see
        `tsframe.corruptions`.

    Returns
    -------
    Samples
        Arrays that no other call shares.

    Examples
    --------
    >>> from tsframe.spectra import Sloppy
    >>> from tsframe.inputs import Gaussian
    >>> inputs = Gaussian(dim=20, spectrum=Sloppy(0.1))
    >>> samples = draw_samples(inputs, Teacher(width=50), 100, 1000, label_noise=0.2, seed=0)
    >>> samples.x_train.shape, samples.y_test.shape, samples.outputs
    ((100, 20), (1000,), 10)
    """
    check_label_noise(label_noise, teacher)
    x_train = inputs.draw(n_train, seed, "train inputs")
    x_test = inputs.draw(n_test, seed, "test inputs")
    noise = stream(seed, "label noise")
    clean: Labels
    y_test: Labels
    if isinstance(teacher, OwnLabels):
        rows = teacher.check_inputs(inputs)
        clean = rows.labels(n_train, seed, "train inputs")
        y_test = rows.labels(n_test, seed, "test inputs")
    else:
        drawn = teacher.draw(inputs, seed)
        clean, y_test = drawn(x_train), drawn(x_test)
    if corruption is not None:  # the labels stay those of what the inputs were
        x_train = corruption(x_train, inputs, seed, "train inputs")
        x_test = corruption(x_test, inputs, seed, "test inputs")
    if teacher.classes is None:
        y = clean
        if isinstance(teacher, LinearTeacher):
            y = clean + teacher.noise * noise.standard_normal(n_train)
        return Samples(x_train, y, clean, x_test, y_test, outputs=1, perplexity=math.nan)
    classes = teacher.outputs
    chance, choice = noise.random((n_train, 2)).T
    uniform = (choice * classes).astype(np.int64)
    return Samples(
        x_train,
        np.where(chance < label_noise, uniform, clean),
        clean,
        x_test,
        y_test,
        outputs=classes,
        perplexity=class_perplexity(np.concatenate([clean, y_test]), classes),
    )


def check_label_noise(label_noise: float, teacher: AnyTeacher) -> None:
    """Refuse a label noise that its teacher does not take, e.g. while a trial is built.

    Parameters
    ----------
    label_noise : float
        Probability in [0, 1]; 0 without classes.
    teacher : Teacher, LinearTeacher or OwnLabels
        What labels the inputs.

    Raises
    ------
    TypeError
        If it is no number.
    ValueError
        If it lies outside of [0, 1], or above 0 without classes.
    """
    sentence = (
        f"label_noise must be a number in [0, 1]; got label_noise={label_noise!r}. "
        "It is the probability that a training label is replaced by a uniformly random class."
    )
    if isinstance(label_noise, bool) or not isinstance(
        label_noise, int | float | np.integer | np.floating
    ):
        raise TypeError(sentence)
    if not 0.0 <= label_noise <= 1.0:
        raise ValueError(sentence)
    if label_noise > 0.0 and teacher.classes is None:
        raise ValueError(
            f"label_noise must be 0 for a {type(teacher).__name__} without classes; got "
            f"label_noise={label_noise!r}. Use LinearTeacher(noise=...), the standard deviation of "
            "its noise."
        )
