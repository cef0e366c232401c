"""The ledger of a sweep: one row a cell that says what became of it.

A row has the entries of `ENTRIES`; its `State` says whether the cell is to be trained. The
*digest* of a row vouches for its measures: it covers the axis values, which make a record out of
place visible, and the bytes of every measure, which make a half-written one visible. A row counts
as *settled* only with a right digest. Everything here is a pure function of arrays.
"""

import enum
import hashlib
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tsframe.axes import Value

__all__ = [
    "ATTEMPTS",
    "ENTRIES",
    "Array",
    "State",
    "digests",
    "feed",
    "pending",
    "settled",
    "sha256_of",
    "trained",
    "vouched",
]

Array: TypeAlias = npt.NDArray[np.float64]

ENTRIES = ("state", "attempts", "run", "digest", "seconds", "peak_bytes")
SHORT = 64  # bytes
TABLE = np.array([~zlib.crc32(bytes([i]), 0xFFFFFFFF) & 0xFFFFFFFF for i in range(256)], np.uint32)
ATTEMPTS = 2  # a failed cell is trained again until it has begun this often


class State(enum.IntEnum):
    """What became of a cell."""

    TODO = 0
    DONE = 1
    FAILED = 2
    DIVERGED = 3
    EXCLUDED = 4


def settled(rows: Array) -> npt.NDArray[np.bool_]:
    """Tell which ledger rows, shape (..., entry), stay for good if their digest is right."""
    stays = np.isin(rows[..., 0], (State.DONE, State.DIVERGED, State.EXCLUDED))
    return np.asarray(stays, bool)


def pending(rows: Array, retry_failed: bool = False, since: float = 0) -> npt.NDArray[np.bool_]:
    """Tell which ledger rows, shape (..., entry), name a cell that is to be trained.

    Parameters
    ----------
    rows : array, shape (..., entry)
        The ledger.
    retry_failed : bool
        Whether failed cells are trained again however often they have failed.
    since : float
        The first run that knew all measures; a cell that an older run finished lacks some of them.

    Returns
    -------
    array of bool, shape (...)
        True where there is something to do.

    Examples
    --------
    >>> rows = np.zeros((3, 6))
    >>> rows[:, 0] = State.TODO, State.DONE, State.FAILED
    >>> rows[:, 1] = 0, 1, 2
    >>> pending(rows).tolist()
    [True, False, False]
    """
    failed = rows[..., 0] == State.FAILED
    again = failed if retry_failed else failed & (rows[..., 1] < ATTEMPTS)
    ended = (rows[..., 0] == State.DONE) | (rows[..., 0] == State.DIVERGED)
    lacking = ended & (rows[..., ENTRIES.index("run")] < since)
    return np.asarray((rows[..., 0] == State.TODO) | again | lacking, bool)


def digests(
    axes: Mapping[str, Sequence[Value]], cells: npt.NDArray[np.intp], measures: Mapping[str, Array]
) -> Array:
    """Digest of each cell's axis values and measures.

    crc32 over the axis names and values (names sorted; floats as f8, integers and booleans as i8,
    little endian; strings as utf-8), then, for each measure sorted by name, its name and its bytes
    as stored, every NaN in one bit pattern. A zero byte ends each name and each string.

    Parameters
    ----------
    axes : mapping of str to values
        The axes, in store order.
    cells : array of int, shape (n,)
        Numbers of the cells in store order.
    measures : mapping of str to array, shape (n, ...)
        The measures of each cell, in the order of `cells`.

    Returns
    -------
    array, shape (n,)
        Whole numbers below 2**32, exact in float64.

    Examples
    --------
    >>> one, other = digests({"seed": (0, 1)}, np.arange(2), {"error": np.zeros(2)})
    >>> bool(one != other)
    True
    """
    places = np.unravel_index(cells, tuple(len(values) for values in axes.values()))
    sums = np.zeros(len(cells), np.uint32)
    for name, place in sorted(zip(axes, places, strict=True), key=lambda pair: pair[0]):
        used, back = np.unique(place, return_inverse=True)
        words = [name.encode() + b"\0" + encoded(axes[name][i]) for i in used.tolist()]
        for size in sorted(set(map(len, words))):  # texts differ in length
            these = np.array([len(word) == size for word in words])[back]
            padded = b"".join(word.ljust(size)[:size] for word in words)
            alike = np.frombuffer(padded, np.uint8)
            sums[these] = extended(sums[these], alike.reshape(len(words), size)[back[these]])
    for name in sorted(measures):
        values = measures[name]
        bits = np.where(np.isnan(values), np.nan, values).astype("<f8")
        flat = bits.reshape(len(cells), math.prod(bits.shape[1:]))
        label = np.frombuffer(name.encode() + b"\0", np.uint8)
        sums = extended(sums, np.broadcast_to(label, (len(cells), len(label))))
        sums = extended(sums, np.ascontiguousarray(flat).view(np.uint8))
    return sums.astype(np.float64)


def extended(sums: npt.NDArray[np.uint32], rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """Go on with the crc32 of each of many rows, shape (n, bytes), as `zlib.crc32` would.

    Short rows go byte by byte through all of them at once, long ones row by row.
    """
    if rows.shape[1] > SHORT:
        pairs = zip(rows, sums.tolist(), strict=True)
        return np.fromiter((zlib.crc32(row.data, start) for row, start in pairs), np.uint32)
    sums = ~sums
    for column in np.ascontiguousarray(rows.T):
        sums = TABLE[(sums ^ column) & 255] ^ (sums >> np.uint32(8))
    return ~sums


def trained(rows: Array) -> npt.NDArray[np.bool_]:
    """Tell which cells have been trained to the end, diverged ones included.

    Parameters
    ----------
    rows : ndarray, shape (..., entries)
        Of the ledger.
    """
    return np.isin(rows[..., 0], (State.DONE, State.DIVERGED))


def vouched(
    axes: Mapping[str, Sequence[Value]],
    cells: npt.NDArray[np.intp],
    rows: Array,
    measures: Mapping[str, Array],
    since: Mapping[str, int],
) -> npt.NDArray[np.bool_]:
    """Tell whose digest fits the measures that its run knew.

    Parameters
    ----------
    axes, cells, measures
        As for `digests`.
    rows : array, shape (n, entry)
        The ledger rows of the cells.
    since : mapping of str to int
        For each measure the number of the first run that knew it.

    Returns
    -------
    array of bool, shape (n,)
        False for a row that is still to do.
    """
    run, digest = (rows[:, ENTRIES.index(name)] for name in ("run", "digest"))
    right = np.zeros(len(cells), bool)
    for known in np.unique([*since.values()]):  # runs between two measures knew the same ones
        later = [first for first in since.values() if first > known]
        these = (run >= known) & (run < min(later, default=np.inf)) & (rows[:, 0] != State.TODO)
        if these.any():
            covered = {m: values[these] for m, values in measures.items() if since[m] <= known}
            right[these] = digests(axes, cells[these], covered) == digest[these]
    return right


def encoded(value: Value) -> bytes:
    """Give the bytes of an axis value that go into a digest."""
    if isinstance(value, str):
        return value.encode() + b"\0"
    return struct.pack("<d" if isinstance(value, float) else "<q", value)


def sha256_of(values: npt.NDArray[Any]) -> str:
    """sha256 of an array in C order, little endian; of strings in utf-8, each ended by NUL."""
    digest = hashlib.sha256()
    feed(digest, values)
    return digest.hexdigest()


def feed(digest: Any, values: npt.NDArray[Any]) -> None:
    """Feed a sha256 with the next part of an array, so that all of it need not be in memory."""
    if values.dtype.kind in "OUT":
        digest.update(b"".join(str(value).encode() + b"\0" for value in values.reshape(-1)))
    else:
        digest.update(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).data)
