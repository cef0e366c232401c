"""What a commit writes: rows that were trained, merged into what a chunk holds by now.

What is settled with a right digest stays. A settled row of a run that did not know the newest
measures is *completed*: the cell was trained again, its old measures must have come out the same,
and only the new ones are added. Everything here is a pure function of arrays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tsframe.axes import Value
from tsframe.ledger import Array, digests, ENTRIES, settled, vouched

__all__ = ["Merged", "Rows", "merge"]

SAME = 1e-6  # relative: what kinds of device may differ by
STATE, ATTEMPTS, RUN = (ENTRIES.index(name) for name in ("state", "attempts", "run"))


@dataclass(frozen=True, eq=False)
class Rows:
    """What one training call gave for some cells of a chunk.

    Parameters
    ----------
    places : array of int, shape (n,)
        Positions of the cells in the flattened chunk.
    measures : dict of str to array, shape (n, *inner)
        Every measure that the store had when it was opened; NaN where a cell failed.
    states : array, shape (n,)
        A `State` each.
    errors : sequence of n str
        Why a cell failed; empty where it did not.
    seconds : array, shape (n,)
        The share of each cell in the wall time of the call.
    peak_bytes : float
        Memory high-water mark of the call.
    """

    places: npt.NDArray[np.intp]
    measures: Mapping[str, Array]
    states: npt.NDArray[np.int_]
    errors: Sequence[str]
    seconds: Array
    peak_bytes: float


@dataclass(frozen=True, eq=False)
class Merged:
    """What is to be written of a chunk.

    Parameters
    ----------
    ledger : array, shape (cells, entry)
        Its ledger.
    measures : dict of str to array, shape (cells, *inner)
        Its measures.
    taken : array of bool, shape (n,)
        Which of the rows are in it.
    differing : array of int
        Positions of cells that did not come out the same when they were trained again.
    """

    ledger: Array
    measures: dict[str, Array]
    taken: npt.NDArray[np.bool_]
    differing: npt.NDArray[np.intp]


def merge(
    axes: Mapping[str, Sequence[Value]],
    cells: npt.NDArray[np.intp],
    ledger: Array,
    measures: Mapping[str, Array],
    since: Mapping[str, int],
    rows: Rows,
    run: int,
) -> Merged:
    """Merge rows into a chunk as it is.

    Parameters
    ----------
    axes : mapping of str to values
        The axes of the store.
    cells : array of int, shape (cells,)
        The numbers of the cells of the chunk.
    ledger, measures : array, mapping of str to array
        What is stored; rows that fail their digest become to do.
    since : mapping of str to int
        For each measure the number of the first run that knew it.
    rows : Rows
        What was trained.
    run : int
        By which run.

    Returns
    -------
    Merged
        New arrays; those given stay as they are.

    Raises
    ------
    ValueError
        If the rows lack a measure that their run must know.
    """
    known = [name for name in measures if since[name] <= run]
    if missing := [name for name in known if name not in rows.measures]:
        raise ValueError(
            f"run {run} knows nothing of the measure '{missing[0]}', which the store has gained "
            "meanwhile; start it again."
        )
    right = vouched(axes, cells, ledger, measures, since)
    attempts = ledger[:, ATTEMPTS]
    ledger = np.where(right[:, None], ledger, 0.0)
    merged = {
        name: np.where(ranked(ledger[:, RUN] >= since[name], values), values, np.nan)
        for name, values in measures.items()
    }
    kept = settled(ledger)[rows.places]
    before = ledger[rows.places]
    lacks = kept & (before[:, RUN] < max((since[name] for name in known), default=0))
    same = lacks & (before[:, STATE] == rows.states)
    for name in known:  # only now, as all of a cell is taken or nothing
        old, new = merged[name][rows.places], rows.measures[name]
        had = before[:, RUN] >= since[name]
        near = np.isclose(old, new, rtol=SAME, atol=0.0, equal_nan=True)
        same &= ~had | near.reshape(len(near), -1).all(axis=1)
    taken = ~kept | same
    places = rows.places[taken]
    for name in known:
        old, new = merged[name][places], rows.measures[name][taken]
        stays = (lacks & (before[:, RUN] >= since[name]))[taken]
        merged[name][places] = np.where(ranked(stays, new), old, new)
    ledger[places] = np.stack(
        [
            rows.states[taken],
            attempts[places] + 1,
            np.full(len(places), run),
            digests(axes, cells[places], {name: merged[name][places] for name in known}),
            rows.seconds[taken],
            np.full(len(places), rows.peak_bytes),
        ],
        axis=1,
    )
    return Merged(ledger, merged, taken, rows.places[lacks & ~same])


def ranked(mask: npt.NDArray[np.bool_], values: Array) -> npt.NDArray[np.bool_]:
    """Give a mask over rows as many dims as the values have."""
    return mask.reshape(len(mask), *(1,) * (values.ndim - 1))
