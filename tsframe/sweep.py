"""A sweep is a function and its labeled domain.

A *trial* (`TrialLike`) is a value that knows its cost, its measures and how a list of its kind is
trained together. A `Sweep` is a function from axis values to a trial, and the axes: the
parameters of the function are the axes, and a point of their grid is a *cell*. The order of cells
is the store order: the last axis runs fastest.
"""

import difflib
import hashlib
import inspect
import itertools
import math
import pickle
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import xarray as xr

from tsframe.axes import axis_values, check_name, describe, Value

__all__ = ["Measures", "Sweep", "TrialLike"]

Measures: TypeAlias = dict[str, dict[str, tuple[float, ...]]]

CELLS = 10_000_000  # some 10 GB of trials


class TrialLike(Protocol):
    """What a sweep asks of a trial: a picklable value whose repr is its provenance."""

    @property
    def sharing_key(self) -> Hashable:
        """Trials with equal keys use one data set and are cheap to train together."""

    @property
    def shape_key(self) -> Hashable:
        """Trials with equal keys step in one batched product."""

    @property
    def flops(self) -> float:
        """Predicted work in floating-point operations, > 0, overheads included."""

    @property
    def measures(self) -> Mapping[str, Mapping[str, tuple[float, ...]]]:
        """Each measure and the coordinates of its inner dims; a scalar measure has none."""

    @staticmethod
    def train_together(
        trials: Sequence[Any], device: str = "auto", threads: int | None = None
    ) -> xr.Dataset:
        """Train a list of trials: one row of dim ``student`` a trial, in order."""


class Sweep:
    """A function from axis values to a trial, and the values of each axis.

    Parameters
    ----------
    function : callable
        Takes the axes by name, as plain Python values, and returns a trial. A parameter with a
        default need not be an axis.
    **axes : sequence
        The values of each axis, in the order that they shall have in the store.

    Attributes
    ----------
    axes : dict of str to tuple
        The values of each axis, as Python floats, integers, booleans or strings.
    dims : tuple of str
        The names of the axes.
    shape : tuple of int
        The number of values on each axis.
    size : int
        The number of cells.

    Raises
    ------
    TypeError
        If an axis is not an ordered list of plain values of one kind.
    ValueError
        If an axis is empty or repeats itself, or if function and axes disagree.

    Examples
    --------
    >>> sweep = Sweep(lambda slope, seed: None, slope=[0.1, 0.2], seed=range(3))
    >>> sweep.shape
    (2, 3)
    >>> next(sweep.cells())
    {'slope': 0.1, 'seed': 0}
    """

    def __init__(self, function: Callable[..., Any], /, **axes: Iterable[Any]) -> None:
        if not callable(function):
            raise TypeError(
                f"a sweep needs a function from axis values to a trial; got {function!r}. "
                "Pass the function first, then the axes by name."
            )
        if not axes:
            raise ValueError(
                "a sweep needs at least one axis; pass one by name, e.g. seed=range(3)."
            )
        check_parameters(function, axes)
        self.function = function
        self.axes: dict[str, tuple[Value, ...]] = {
            name: axis_values(name, values) for name, values in axes.items()
        }
        self._trials: tuple[Any, ...] | None = None
        self._measures: Measures = {}
        self._fingerprint: str | None = None

    def __repr__(self) -> str:
        lengths = " x ".join(f"{name} {len(values)}" for name, values in self.axes.items())
        name = getattr(self.function, "__name__", "function")
        return f"Sweep({name}: {lengths} = {self.size} cells)"

    @property
    def dims(self) -> tuple[str, ...]:
        """The names of the axes, in store order."""
        return tuple(self.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of values on each axis."""
        return tuple(len(values) for values in self.axes.values())

    @property
    def size(self) -> int:
        """The number of cells."""
        return math.prod(self.shape)

    @property
    def source(self) -> str | None:
        """The source text of the function, if Python can find it."""
        try:
            return inspect.getsource(self.function)
        except (OSError, TypeError):
            return None

    @property
    def file(self) -> Path | None:
        """The file that defines the function, if there is one."""
        try:
            found = inspect.getsourcefile(self.function)
        except TypeError:
            return None
        return Path(found) if found and Path(found).is_file() else None

    def cells(self) -> Iterator[dict[str, Value]]:
        """Go through the cells in store order, the last axis fastest.

        Yields
        ------
        dict of str to value
            The value of each axis.
        """
        for values in itertools.product(*self.axes.values()):
            yield dict(zip(self.axes, values, strict=True))

    def cell(self, number: int) -> dict[str, Value]:
        """Give the cell with this number in store order."""
        index = np.unravel_index(number, self.shape)
        return {name: self.axes[name][i] for name, i in zip(self.axes, index, strict=True)}

    def trial(self, **values: Value) -> Any:
        """Build the trial of one cell; an error of the function names the cell.

        Raises
        ------
        ValueError
            If the function raises.
        """
        try:
            return self.function(**values)
        except Exception as error:  # whatever the user's function raises, say where
            raise ValueError(
                f"the sweep function fails at cell {describe(values)}: "
                f"{type(error).__name__}: {error}"
            ) from error

    def trials(self) -> tuple[Any, ...]:
        """Build and check all trials, in store order; later calls give the same tuple.

        A function that raises, something else than a trial, a trial that cannot be pickled or
        trials that disagree in their measures are refused with the name of the cell.
        """
        if self.size > CELLS:
            lengths = " x ".join(f"{name} {len(values)}" for name, values in self.axes.items())
            raise ValueError(
                f"{self.size:.2g} cells ({lengths}), limit {CELLS:.0e}: all trials are built while "
                "planning. Cut an axis, or split the sweep into several."
            )
        if self._trials is None:
            trials = tuple(self.trial(**cell) for cell in self.cells())
            self._measures = check_trials(self, trials)
            self._trials = trials
        return self._trials

    @property
    def measures(self) -> Measures:
        """What every trial returns: measure -> inner dim -> coordinate values."""
        self.trials()
        return self._measures

    @property
    def fingerprint(self) -> str:
        """sha256 over the axis values and the repr of the trial of every cell, in store order."""
        if self._fingerprint is None:
            digest = hashlib.sha256()
            for cell, trial in zip(self.cells(), self.trials(), strict=True):
                digest.update(f"{cell!r}\0{trial!r}\0".encode())
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    def corners(self) -> list[int]:
        """Give the numbers of the first and last cell and of the ends of each axis."""
        last = np.array(self.shape) - 1
        ends = [np.zeros_like(last), last, *np.diag(last)]
        return sorted({int(np.ravel_multi_index(tuple(end), self.shape)) for end in ends})


def check_parameters(function: Callable[..., Any], axes: Mapping[str, Any]) -> None:
    """Refuse axes that the function does not take, and parameters that no axis fills."""
    name = getattr(function, "__name__", repr(function))
    parameters = inspect.signature(function).parameters
    named = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    for parameter in parameters.values():
        if parameter.kind not in named:
            raise TypeError(
                f"{name} takes '{parameter}'; the parameters of a sweep function are its axes. "
                "Name each of them, none positional-only."
            )
    for axis in axes:
        if axis not in parameters:
            close = difflib.get_close_matches(axis, parameters, 1)
            hint = f"did you mean '{close[0]}'?" if close else f"it takes {', '.join(parameters)}."
            raise ValueError(f"{name} has no parameter '{axis}'; {hint}")
    for parameter in parameters.values():
        if parameter.default is parameter.empty and parameter.name not in axes:
            raise ValueError(
                f"{name} needs '{parameter.name}', which is not an axis; add the axis "
                f"{parameter.name}=[...] or give the parameter a default."
            )


def check_trials(sweep: Sweep, trials: Sequence[Any]) -> Measures:
    """Refuse what is no trial, cannot travel to a worker or measures something else."""
    first = sweep.cell(0)
    for number, trial in enumerate(trials):
        if type(trial) is not type(trials[0]) or number == 0:
            needed = ("sharing_key", "shape_key", "flops", "measures", "train_together")
            missing = [name for name in needed if not hasattr(trial, name)]
            if missing:
                hint = " Did you forget `return`?" if trial is None else ""
                raise TypeError(
                    f"the sweep function returned {trial!r:.80} for cell "
                    f"{describe(sweep.cell(number))}; it must return a Trial "
                    f"(missing: {', '.join(missing)}).{hint}"
                )
            if number:
                raise TypeError(
                    f"the trial of cell {describe(first)} is a {type(trials[0]).__name__}, that of "
                    f"{describe(sweep.cell(number))} a {type(trial).__name__}; one sweep trains "
                    "one kind of trial."
                )
    measures = plain_measures(trials[0].measures)
    check_measures(sweep, measures)
    for number, trial in enumerate(trials):
        if trial.measures != measures and plain_measures(trial.measures) != measures:
            raise ValueError(
                f"the trials of cells {describe(first)} and {describe(sweep.cell(number))} declare "
                "different measures: "
                + difference(measures, plain_measures(trial.measures))
                + ". Let all cells of a sweep measure the same, at the same steps."
            )
        if not (math.isfinite(trial.flops) and trial.flops > 0):
            raise ValueError(
                f"the trial of cell {describe(sweep.cell(number))} gives flops={trial.flops!r}; "
                "its cost must be finite and > 0."
            )
    for number in sweep.corners():
        check_picklable(sweep, number, trials[number])
    return measures


def plain_measures(measures: Mapping[str, Mapping[str, tuple[float, ...]]]) -> Measures:
    """Copy declared measures into plain dictionaries of tuples of floats."""
    return {
        name: {dim: tuple(float(value) for value in values) for dim, values in inner.items()}
        for name, inner in measures.items()
    }


def difference(one: Measures, other: Measures) -> str:
    """Say where two sets of declared measures differ first."""
    for name in [*one, *other]:
        if name not in one or name not in other:
            return f"only one has '{name}'"
        if one[name] != other[name]:
            lengths = [{dim: len(values) for dim, values in m[name].items()} for m in (one, other)]
            if lengths[0] != lengths[1]:
                return f"'{name}' has inner lengths {lengths[0]} and {lengths[1]}"
            return f"'{name}' has other coordinates along {', '.join(one[name])}"
    return "they stand in another order"


def check_measures(sweep: Sweep, measures: Measures) -> None:
    """Refuse measures whose names or inner dims clash with axes, each other or the store."""
    if not measures:
        raise ValueError("the trials declare no measures; there would be nothing to store.")
    inner: dict[str, tuple[str, tuple[float, ...]]] = {}
    for name, dims in measures.items():
        check_name("measure", name)
        if name in sweep.axes:
            raise ValueError(f"measure '{name}' is also an axis; rename one.")
        for dim, values in dims.items():
            check_name("inner dim", dim)
            if dim in sweep.axes or dim in measures:
                other = "an axis" if dim in sweep.axes else "a measure"
                raise ValueError(f"inner dim '{dim}' of '{name}' is also {other}; rename one.")
            if not values:
                raise ValueError(f"inner dim '{dim}' of '{name}' has no values; give it some.")
            owner, known = inner.setdefault(dim, (name, values))
            if known != values:
                raise ValueError(
                    f"measures '{owner}' and '{name}' give '{dim}' lengths {len(known)} and "
                    f"{len(values)}, or other values; name them apart."
                )


def check_picklable(sweep: Sweep, number: int, trial: Any) -> None:
    """Refuse a trial that holds what no process can send: locks, files, generators."""
    try:
        pickle.dumps(trial)
    except TypeError as error:
        raise TypeError(
            f"the trial of cell {describe(sweep.cell(number))} cannot be sent to workers: {error}; "
            "let it hold plain values only."
        ) from error
    except (pickle.PicklingError, AttributeError):
        return  # a class or function without an importable name: joblib sends those by value
