"""A sweep is a function and its labeled domain.

A `Sweep` is a function from axis values to a trial, and the axes: the
parameters of the function are the axes, and a point of their grid is a *cell*. The order of cells
is the store order: the last axis runs fastest.
"""

import difflib
import hashlib
import html
import inspect
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from tsframe.axes import axis_values, describe, Value
from tsframe.contract import check_trials, Measures, told

__all__ = ["Sweep"]

CELLS = 10_000_000  # some 10 GB of trials


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
        self._optional: list[str] = []
        self._fingerprints: dict[tuple[int, ...], str] = {}

    def __repr__(self) -> str:
        lengths = " x ".join(f"{name} {len(values)}" for name, values in self.axes.items())
        name = getattr(self.function, "__name__", "function")
        return f"Sweep({name}: {lengths} = {self.size} cells)"

    def _repr_html_(self) -> str:
        name = html.escape(getattr(self.function, "__name__", "function"))
        coordinates = xr.Dataset(coords={axis: list(values) for axis, values in self.axes.items()})
        head = f"<div><strong>Sweep</strong> of <code>{name}</code>: {self.size:,} cells</div>"
        return head + str(coordinates._repr_html_())

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
            self._measures, self._optional = check_trials(trials, self)
            self._trials = trials
        return self._trials

    @property
    def measures(self) -> Measures:
        """What trials return: measure -> inner dim -> coordinate values."""
        self.trials()
        return self._measures

    @property
    def optional(self) -> list[str]:
        """The measures that some trials do not return, or may lack; there the store has NaN."""
        self.trials()
        return self._optional

    @property
    def fingerprint(self) -> str:
        """The fingerprint of all cells; see `fingerprint_within`."""
        return self.fingerprint_within(self.shape)

    def fingerprint_within(self, shape: tuple[int, ...]) -> str:
        """sha256 over the axis values and the repr of the trial of every cell, in store order.

        Of a trial only what `told` tells counts, so that measures can be added to a store.

        Parameters
        ----------
        shape : tuple of int
            Number of values on each axis, from its first one on, whose cells are taken.

        Returns
        -------
        str
            Hexadecimal.
        """
        if shape not in self._fingerprints:
            trials = self.trials()
            numbers = np.ravel_multi_index(np.ix_(*map(np.arange, shape)), self.shape)
            words = [  # of the repr of a cell; joined for each, as this is done a million times
                [f"{name!r}: {value!r}" for value in values[:n]]
                for (name, values), n in zip(self.axes.items(), shape, strict=True)
            ]
            digest = hashlib.sha256()
            for cell, number in zip(itertools.product(*words), numbers.flat, strict=True):
                digest.update(f"{{{', '.join(cell)}}}\0{told(trials[number])}\0".encode())
            self._fingerprints[shape] = digest.hexdigest()
        return self._fingerprints[shape]

    def over(self, **axes: Iterable[Any]) -> "Sweep":
        """Give the same function over other values of some axes.

        Parameters
        ----------
        **axes : sequence
            The values of the axes that change.

        Returns
        -------
        Sweep
            A part, an extension or a neighbor of this one: run into the same store, the values
            that the store lacks are added to it, and only the cells of this sweep are trained.

        Raises
        ------
        ValueError
            If the sweep has no such axis.

        Examples
        --------
        >>> sweep = Sweep(lambda slope, seed: None, slope=[0.1, 0.2], seed=range(3))
        >>> sweep.over(slope=[0.15]).axes
        {'slope': (0.15,), 'seed': (0, 1, 2)}
        """
        for name in axes:
            if name not in self.axes:
                close = difflib.get_close_matches(name, self.axes, 1)
                hint = f"did you mean '{close[0]}'?" if close else f"it has {', '.join(self.axes)}."
                raise ValueError(f"the sweep has no axis '{name}'; {hint}")
        return Sweep(self.function, **{**self.axes, **axes})

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
