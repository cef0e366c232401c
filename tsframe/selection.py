"""Some cells of a sweep: by values on its axes, or by a mask over its grid."""

import difflib
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import xarray as xr

from tsframe.axes import Value

__all__ = ["Only", "choose", "parse_choice"]

Only: TypeAlias = Mapping[str, Any] | xr.DataArray | npt.NDArray[np.bool_]
Axes: TypeAlias = Mapping[str, Sequence[Value]]
CLOSE = 1e-9  # relative; two values of an axis are farther apart


def choose(axes: Axes, only: Only | None) -> npt.NDArray[np.bool_]:
    """Tell for each cell of a grid whether it is chosen.

    Parameters
    ----------
    axes : mapping of str to values
        The axes, in store order.
    only : mapping, DataArray or array of bool, optional
        A mapping gives for some axes one value, a list of values, or a ``slice(low, high)`` that
        holds both ends; cells are chosen that agree on every axis named. A DataArray of booleans
        has some of the axes as its dims and chooses by their coordinates, whatever their order; a
        plain array has the shape of the grid in store order. None chooses all.

    Returns
    -------
    array of bool, shape of the grid

    Raises
    ------
    ValueError
        If an axis or a value does not exist, a mask does not fit the grid, or nothing is chosen.
    TypeError
        If it is neither a mapping nor a mask of booleans.

    Examples
    --------
    >>> axes = {"slope": (0.1, 0.2, 0.3), "seed": (0, 1)}
    >>> choose(axes, {"slope": slice(0.2, None), "seed": 1}).astype(int).tolist()
    [[0, 0], [0, 1], [0, 1]]
    """
    shape = tuple(len(values) for values in axes.values())
    if only is None:
        return np.ones(shape, bool)
    if isinstance(only, Mapping):
        check_axes(axes, only)
        chosen = np.ones(shape, bool)
        for place, (name, values) in enumerate(axes.items()):
            along = [1] * len(axes)
            along[place] = len(values)
            chosen &= on_axis(name, values, only.get(name)).reshape(along)
    else:
        array = only if isinstance(only, xr.DataArray) else np.asarray(only)
        if array.dtype != bool:
            raise TypeError(
                "only must map axes to values, or be a mask of booleans over the grid; got "
                f"{type(only).__name__} of {array.dtype}."
            )
        chosen = from_mask(axes, array)
    if not chosen.any():
        raise ValueError(f"only chooses none of the {chosen.size} cells; choose at least one.")
    return chosen


def check_axes(axes: Axes, names: Iterable[Any]) -> None:
    """Refuse a name that is no axis, with the nearest that is one."""
    for name in names:
        if name not in axes:
            near = difflib.get_close_matches(str(name), axes, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"the axes are {', '.join(axes)}."
            raise ValueError(f"only names '{name}', which is no axis; {hint}")


def on_axis(name: str, values: Sequence[Value], wanted: Any) -> npt.NDArray[np.bool_]:
    """Tell which values of one axis are wanted."""
    if wanted is None:
        return np.ones(len(values), bool)
    if isinstance(wanted, slice):
        return in_range(name, values, wanted)
    many = isinstance(wanted, Iterable) and not isinstance(wanted, str)
    chosen = np.zeros(len(values), bool)
    chosen[places(name, values, wanted if many else [wanted])] = True
    return chosen


def in_range(name: str, values: Sequence[Value], wanted: slice) -> npt.NDArray[np.bool_]:
    """Tell which values of an axis of numbers lie in a range, both ends included."""
    if isinstance(values[0], str | bool):
        raise ValueError(f"axis '{name}' has no numbers, so no range of them; list its values.")
    if wanted.step is not None:
        raise ValueError(f"only chooses '{name}' by a slice with a step; give low and high alone.")
    try:
        low = -math.inf if wanted.start is None else float(wanted.start)
        high = math.inf if wanted.stop is None else float(wanted.stop)
    except (TypeError, ValueError):
        raise ValueError(
            f"only chooses '{name}' from {wanted.start!r} to {wanted.stop!r}; the ends of a range "
            "are numbers."
        ) from None
    numbers = np.array(values, float)
    slack = CLOSE * abs(numbers)
    chosen = (numbers >= low - slack) & (numbers <= high + slack)
    if not chosen.any():
        raise ValueError(
            f"axis '{name}' has no value from {low:g} to {high:g}; it goes from "
            f"{min(numbers):g} to {max(numbers):g}."
        )
    return chosen


def places(name: str, values: Sequence[Value], wanted: Iterable[Any]) -> list[int]:
    """Find values on their axis; of one that is not there, name the nearest."""
    known = {value: place for place, value in enumerate(values)}
    kind = type(values[0])
    found = []
    for item in wanted:
        value = item.item() if isinstance(item, np.generic) else item
        alike = isinstance(value, bool) == (kind is bool) and isinstance(value, Hashable)
        place = known.get(value) if alike else None
        found.append(nearest(name, values, value) if place is None else place)
    return found


def nearest(name: str, values: Sequence[Value], value: Any) -> int:
    """Find a number that differs from a value of the axis by rounding alone, or refuse it."""
    numbers = not isinstance(values[0], str | bool)
    if numbers and isinstance(value, int | float) and not isinstance(value, bool):
        far = abs(np.array(values, float) - value)
        order = np.argsort(far)[:2].tolist()
        if far[order[0]] <= CLOSE * abs(values[order[0]]):
            return int(order[0])
        hint = " and ".join(repr(values[place]) for place in sorted(order))
    else:
        alike = difflib.get_close_matches(str(value), [str(known) for known in values], 3)
        hint = " or ".join(map(repr, alike or values[:3]))
    raise ValueError(f"axis '{name}' has no value {value!r}; the nearest are {hint}.")


def from_mask(axes: Axes, array: xr.DataArray | npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Bring a mask over some of the axes to the grid in store order."""
    shape = tuple(len(values) for values in axes.values())
    grid = " x ".join(f"{name} {len(values)}" for name, values in axes.items())
    if not isinstance(array, xr.DataArray):
        if array.shape != shape:
            raise ValueError(f"only is a mask of shape {array.shape}; the grid is {grid}.")
        return array.copy()
    check_axes(axes, array.dims)
    array = array.transpose(*(name for name in axes if name in array.dims))
    where = [along_axis(axes, array, str(name), grid) for name in array.dims]
    known = np.zeros(tuple(len(axes[str(name)]) for name in array.dims), bool)
    known[np.ix_(*where)] = array.values  # the cells that the mask does not name stay out
    along = [len(values) if name in array.dims else 1 for name, values in axes.items()]
    return np.broadcast_to(known.reshape(along), shape).copy()


def along_axis(axes: Axes, array: xr.DataArray, name: str, grid: str) -> list[int]:
    """Find where along one axis the cells of a mask stand."""
    if name in array.coords:
        return places(name, axes[name], array[name].values.tolist())
    if array.sizes[name] != len(axes[name]):
        raise ValueError(
            f"only is a mask with {array.sizes[name]} values along '{name}' and no coordinates "
            f"there; the grid is {grid}."
        )
    return list(range(len(axes[name])))


def parse_choice(axes: Axes, words: Sequence[str]) -> dict[str, Any] | None:
    """Read the choices of a command line, e.g. ``width=10,30`` or ``slope=0.1:0.5``.

    Parameters
    ----------
    axes : mapping of str to values
        The axes; they tell how to read a value.
    words : sequence of str
        One choice each; further choices on the same axis add to the first.

    Returns
    -------
    dict or None
        What `choose` takes; None where there is no choice.

    Raises
    ------
    ValueError
        If a choice cannot be read.

    Examples
    --------
    >>> parse_choice({"slope": (0.1, 0.2, 0.3), "seed": (0, 1)}, ["slope=0.2:", "seed=1"])
    {'slope': [0.2, 0.3], 'seed': [1]}
    """
    only: dict[str, list[Value]] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not text:
            raise ValueError(f"--only {word!r}: write axis=value,value or axis=low:high.")
        check_axes(axes, [name])
        values = axes[name]
        chosen = np.zeros(len(values), bool)
        for part in text.split(","):
            if ":" in part and not isinstance(values[0], str):
                low, _, high = part.partition(":")
                ends = slice(low.strip() or None, high.strip() or None)
                chosen |= in_range(name, values, ends)
            else:
                chosen[places(name, values, [read(values, part.strip())])] = True
        only.setdefault(name, []).extend(np.array(values, object)[chosen].tolist())
    return only or None


def read(values: Sequence[Value], text: str) -> Value:
    """Read one value as the values of its axis are; what cannot be read stays a text."""
    if isinstance(values[0], str):
        return text
    if isinstance(values[0], bool):
        return {"true": True, "false": False}.get(text.lower(), text)
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text
