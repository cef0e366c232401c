"""Measures that are asked for in a Trial: what one is, and what it says of itself beforehand."""

import abc
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np

from tsframe.checks import check_steps_asked
from tsframe.measures.learned import Learned, StudentShape

__all__ = ["Measure", "Names", "check_asked", "counted", "declare"]

Names = Mapping[str, Mapping[str, tuple[float, ...]]]  # measure -> inner dims -> coordinates


class Measure(abc.ABC):
    """A pure function of trained students, asked for in a Trial.

    Derive a frozen dataclass whose fields are the choices of the measure. Numbers of a student must
    not depend on the students it comes with, to the bit on one kind of device.
    """

    @abc.abstractmethod
    def declare(self, shape: StudentShape) -> Names:
        """Name what will be measured, each with its inner dims and their coordinates.

        Vectors of students of other shapes may be shorter; then their coordinates are the first
        ones of the longer.

        Raises
        ------
        ValueError
            If this cannot be measured of such students.
        """

    @abc.abstractmethod
    def flops(self, shape: StudentShape) -> float:
        """Predict the work for one student, in floating-point operations."""

    @abc.abstractmethod
    def bytes(self, shape: StudentShape) -> float:
        """Predict the working memory that one student takes."""

    @abc.abstractmethod
    def __call__(self, learned: Learned) -> Mapping[str, np.ndarray]:
        """Measure students.

        Parameters
        ----------
        learned : Learned
            Students of one shape, all of whose weights are finite.

        Returns
        -------
        dict of ndarray, shapes (students, *inner dims)
            What `declare` named, in real numbers.
        """

    def check(self, trial: object) -> None:  # noqa: B027 - most measures fit any training
        """Refuse a trial whose students it cannot measure for another reason than their shape.

        Parameters
        ----------
        trial : Trial
            The trial that asks for it.
        """

    @property
    def may_lack(self) -> tuple[str, ...]:
        """Names of measures that may honestly be NaN, e.g. a slope where there is nothing to fit.

        Any other that is NaN makes a student fail.
        """
        return ()


@cache
def counted(length: int) -> tuple[float, ...]:
    """Give the coordinates 0, 1, 2, ... of a dim that counts."""
    return tuple(float(i) for i in range(length))


@cache
def declare(
    measures: tuple[Measure, ...], steps: tuple[int, ...], shape: StudentShape
) -> dict[str, dict[str, tuple[float, ...]]]:
    """Name what some measures give together, along their steps too.

    Parameters
    ----------
    measures : tuple of Measure
        What is asked for.
    steps : tuple of int
        Steps at which it is measured besides the end.
    shape : StudentShape
        Of the student.

    Returns
    -------
    dict
        Measures, with their inner dims and coordinates; with `steps` each also as ``NAME_curve``
        whose first inner dim is ``measure_step``.

    Raises
    ------
    ValueError
        If two of the measures give one name, or two lengths to one dim.
    """
    found: dict[str, dict[str, tuple[float, ...]]] = {}
    owner: dict[str, Measure] = {}
    lengths: dict[str, tuple[str, tuple[float, ...]]] = {}
    for measure in measures:
        for name, inner in measure.declare(shape).items():
            if name in owner:
                raise ValueError(
                    f"two of the measures give '{name}': {owner[name]!r} and {measure!r}. "
                    "Leave one out."
                )
            owner[name], found[name] = measure, dict(inner)
            for dim, values in inner.items():
                other, known = lengths.setdefault(dim, (name, values))
                if known != values:
                    raise ValueError(
                        f"'{other}' and '{name}' share the dim '{dim}', but have {len(known)} and "
                        f"{len(values)} values along it, or other coordinates. Measure both in "
                        "the same way."
                    )
    if steps:
        at = {"measure_step": tuple(float(step) for step in steps)}
        found |= {f"{name}_curve": at | inner for name, inner in found.items()}
    return found


def check_asked(measures: object, steps: Sequence[int], budget: int | None) -> tuple[Measure, ...]:
    """Refuse what is not a list of measures, or steps at which none can be taken.

    Parameters
    ----------
    measures : object
        What came.
    steps : sequence of int
        Steps at which they are wanted besides the end.
    budget : int or None
        Steps that training may take; None for students that are solved for.

    Raises
    ------
    TypeError
        If something is no Measure.
    ValueError
        If the steps are not ascending, pass the budget, or nothing is measured at them.
    """
    if isinstance(measures, Measure) or not isinstance(measures, Sequence):
        raise TypeError(
            f"measures must be a list of measures, e.g. [Margins()]; got measures={measures!r}."
        )
    for measure in measures:
        if not isinstance(measure, Measure):
            raise TypeError(
                f"measures must hold specs such as Margins(); got {measure!r}. Errors, losses and "
                "norms need not be asked for."
            )
    if budget is None and measures:
        raise ValueError(
            f"measures are taken of networks that take steps, and students of Ridge take none; got "
            f"measures={list(measures)!r}. Leave them out, or take an MLP."
        )
    check_steps_asked("measure_steps", steps, budget)
    if steps and not measures:
        raise ValueError(
            f"measure_steps={tuple(steps)!r} ask for nothing without measures. Give measures=[...],"
            " or take curve_steps for errors and losses."
        )
    return tuple(measures)
