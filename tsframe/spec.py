"""The spec of a sweep: what a store keeps to recognize it, and how another sweep fits into it.

A spec holds the axes, the measures, a fingerprint of all trials, and the text of the trials at
the corners of the grid, so that a store can refuse another sweep and say what differs: an axis, a
measure, or a constant in the sweep function. A changed comment changes nothing.

A sweep fits into a store if both have the same axes by name and the same trials at the values of
the store. Values and measures that the store lacks are room to be made; values that the sweep
lacks stay as they are. In a store the values of an axis stand in the order of their arrival.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tsframe.axes import axis_values, describe, Value
from tsframe.contract import Measures, told
from tsframe.sweep import Sweep

__all__ = ["Fit", "fit", "spec_of"]

NEW = "use a new store (--store), or give the sweep back what it had."
AXES = (
    "a store cannot gain, lose or reorder axes: use a new store (--store). An axis that may come "
    "later can stand in a sweep from the start with one value."
)


@dataclass(frozen=True, eq=False)
class Fit:
    """How a sweep lies in a store.

    Parameters
    ----------
    whole : Sweep
        The sweep over all values: those of the store, then those that are new. Its cells stand in
        the order of the store as it will be.
    shape : tuple of int
        The number of values on each axis that the store has now.
    values : dict of str to tuple
        The values that the store lacks, by axis; no axis that lacks none.
    measures : dict
        The measures that the store lacks.
    cells : array of int, shape of the sweep
        The number in `whole` of each cell of the sweep.
    """

    whole: Sweep
    shape: tuple[int, ...]
    values: dict[str, tuple[Value, ...]]
    measures: Measures
    cells: npt.NDArray[np.intp]

    @property
    def grows(self) -> bool:
        """Whether the store must grow to hold the sweep."""
        return bool(self.values or self.measures)

    def spread(self, chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Turn a mask over the cells of the sweep into one over the grid of `whole`."""
        mask = np.zeros(self.whole.size, bool)
        mask[self.cells[chosen]] = True
        return mask.reshape(self.whole.shape)

    def embedded(self, rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Put rows of the cells of the store, shape (*store, n), into the grid of `whole`."""
        larger = np.zeros((*self.whole.shape, rows.shape[-1]))
        larger[tuple(slice(0, n) for n in self.shape)] = rows
        return larger

    def __str__(self) -> str:
        values = [f"{name} {brief(new, ())}" for name, new in self.values.items()]
        return ", ".join([*values, *([lengths(self.measures)] if self.measures else [])])


def spec_of(sweep: Sweep, version: int = 1) -> dict[str, Any]:
    """Describe a sweep in plain JSON values; the version counts how often a store has grown."""
    trials = sweep.trials()
    return {
        "version": version,
        "axes": {name: list(values) for name, values in sweep.axes.items()},
        "measures": {
            name: {dim: list(values) for dim, values in inner.items()}
            for name, inner in sweep.measures.items()
        },
        "fingerprint": sweep.fingerprint,
        "corners": [{"number": n, "trial": told(trials[n])} for n in sweep.corners()],
        "source": sweep.source,
    }


def fit(where: str, spec: Mapping[str, Any], sweep: Sweep) -> Fit:
    """Find how a sweep lies in a store, or refuse it, naming what differs.

    Parameters
    ----------
    where : str
        The store, for the message.
    spec : mapping
        What `spec_of` gave when the store was made or last grew.
    sweep : Sweep
        What is to be run now.

    Returns
    -------
    Fit
        The sweep in the order of the store, and what is new.

    Raises
    ------
    ValueError
        If the axes have other names or other kinds of values, if a value of the sweep is too close
        to one of the store, if the sweep lacks a measure of the store or measures it elsewhere, or
        if the trials have changed.
    """
    axes = spec["axes"]
    if list(axes) != list(sweep.axes):
        raise ValueError(
            f"{where} holds another sweep: its axes are {', '.join(axes)}, those of this sweep "
            f"{', '.join(sweep.axes)}; {AXES}"
        )
    union = {name: merged(where, name, values, sweep.axes[name]) for name, values in axes.items()}
    new = {
        name: values[len(axes[name]) :]
        for name, values in union.items()
        if len(values) > len(axes[name])
    }
    whole = sweep if union == sweep.axes else sweep.over(**union)
    shape = tuple(len(values) for values in axes.values())
    measures = new_measures(where, spec["measures"], whole)
    check_trials(where, spec, whole, shape)
    places = [
        [place[value] for value in sweep.axes[name]]
        for name, place in ((n, {v: i for i, v in enumerate(vs)}) for n, vs in union.items())
    ]
    cells = np.ravel_multi_index(np.ix_(*places), whole.shape)
    return Fit(whole, shape, new, measures, cells)


def merged(
    where: str, name: str, known: Sequence[Value], wanted: Sequence[Value]
) -> tuple[Value, ...]:
    """Append to the values of a store those of a sweep that it lacks, in the order of the sweep."""
    if type(known[0]) is not type(wanted[0]):  # 1, 1.0 and True are different
        raise ValueError(
            f"{where} holds another sweep: {name}: store {brief(known, wanted)}, sweep "
            f"{brief(wanted, known)}, of another type; {NEW}"
        )
    there = set(known)
    try:
        return axis_values(name, [*known, *(value for value in wanted if value not in there)])
    except ValueError as error:
        raise ValueError(f"{where} and the sweep together: {error}") from error


def new_measures(where: str, known: Mapping[str, Any], sweep: Sweep) -> Measures:
    """Give the measures that a store lacks; refuse a sweep that lacks or changes one of its own."""
    declared = sweep.measures
    for name, inner in known.items():
        now = {dim: list(values) for dim, values in declared.get(name, {}).items()}
        if name not in declared or now != inner:
            same = lengths(known) == lengths(declared)
            raise ValueError(
                f"{where} holds other measures: store {lengths(known)}, sweep {lengths(declared)}"
                f"{' at other steps' if same else ''}; measures can be added, not left out or "
                f"changed: {NEW}"
            )
    return {name: inner for name, inner in declared.items() if name not in known}


def check_trials(where: str, spec: Mapping[str, Any], whole: Sweep, shape: tuple[int, ...]) -> None:
    """Refuse a sweep whose trials at the values of the store are not those of the store."""
    if spec["fingerprint"] == whole.fingerprint_within(shape):
        return
    for corner in spec.get("corners", ()):
        place = np.unravel_index(corner["number"], shape)
        number = int(np.ravel_multi_index(place, whole.shape))
        now = told(whole.trials()[number])
        if corner["trial"] != now:
            had, has = changed(corner["trial"], now)
            cell = describe(whole.cell(number))
            raise ValueError(f"{where}: the trial of cell {cell} had {had}, has {has}; {NEW}")
    raise ValueError(f"{where}: trials away from the corners of the grid have changed; {NEW}")


def brief(values: Sequence[Value], others: Sequence[Value]) -> str:
    """Show an axis, and of a long one what the other axis lacks.

    Examples
    --------
    >>> brief([0.1, 0.2], [0.1])
    '[0.1, 0.2]'
    >>> brief(range(100), range(99))
    '100 values, of these alone [99]'
    """
    if len(values) <= 8:
        return repr(list(values))
    alone = [value for value in values if value not in others]
    if not alone:
        return f"{len(values)} values"
    more = ", ..." if len(alone) > 4 else ""
    return f"{len(values)} values, of these alone {repr(alone[:4])[:-1]}{more}]"


def lengths(measures: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Name measures with the lengths of their inner dims.

    Examples
    --------
    >>> lengths({"test_error": {}, "curve": {"step": (0.0, 1.0)}})
    'test_error, curve (step 2)'
    """
    return ", ".join(
        name + (f" ({', '.join(f'{d} {len(v)}' for d, v in inner.items())})" if inner else "")
        for name, inner in measures.items()
    )


def changed(had: str, has: str) -> tuple[str, str]:
    """Cut out of two reprs the first argument that differs.

    Examples
    --------
    >>> changed("Trial(n=1, lr=0.1)", "Trial(n=1, lr=0.25)")
    ('lr=0.1', 'lr=0.25')
    """
    one, other = (re.split(r"(?<=[(,])|(?=[),])", text) for text in (had, has))
    for a, b in zip(one, other, strict=False):
        if a != b:
            return a.strip(), b.strip()
    return f"{had:.200}", f"{has:.200}"
