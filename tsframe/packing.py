"""Pack a store: a copy to publish, read fast and never written again.

Measures are masked to what the digests vouch for, axes of numbers ascend, ``state`` stands beside
them; many small objects become few shards of checksummed chunks, and the metadata is consolidated,
so that plain xarray opens it lazily and without a warning. One shard is in memory at a time. This
file imports zarr.
"""

import contextlib
import functools
import hashlib
import itertools
import json
import math
import os
import shutil
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec

from tsframe.buckets import Remote
from tsframe.layout import draft_in, own_pipeline
from tsframe.ledger import ENTRIES, feed, settled, State
from tsframe.opening import open_store
from tsframe.places import create, Place, place
from tsframe.provenance import stamp
from tsframe.store import Store
from tsframe.verification import verify

__all__ = ["pack"]

CHUNK_BYTES = 2e6
SHARD_BYTES = 128e6
Slab = tuple[slice, ...]


def pack(
    path: str | os.PathLike[str], target: str | os.PathLike[str], partial: bool = False
) -> xr.Dataset:
    """Write a copy of a store to publish, and open it.

    zarr takes a shard that is missing or empty for one of fill values; `verify` of the copy finds
    this by its sums.

    Parameters
    ----------
    path : path
        The store; `verify` must find nothing to repair in it.
    target : path
        Where the copy goes, e.g. ``phases.packed.zarr``; nothing may stand there.
    partial : bool
        Whether cells may still be to do or have failed.

    Returns
    -------
    xarray.Dataset
        The copy, read as it is used. Its attributes hold the spec and the runs; each variable has
        its ``sha256``.

    Raises
    ------
    FileExistsError
        If something stands at `target`.
    ValueError
        If the store is not clean, or cells are unfinished and this is not allowed.
    """
    origin, copy = place(path), place(target)
    if copy.exists():
        raise FileExistsError(f"{copy} is there already; a copy is written once, elsewhere.")
    source = Source(Store.open(origin, write=False))
    known = source.ledger_sum()
    report = verify(origin, 3)
    if report.code:
        first = next(f.text for f in report.findings if f.grade != "note")
        raise ValueError(
            f"{origin} is {report.verdict} ({first}); repair and run it, then pack it."
        )
    unfinished = report.cells["todo"] + report.cells["failed"]
    if unfinished and not partial:
        raise ValueError(
            f"{origin}: {unfinished} cells are to do or have failed; run it to the end, or pack "
            "what there is with --partial."
        )
    with drafted(copy) as draft:
        write(draft, source)
        if source.ledger_sum() != known:
            raise ValueError(f"{origin} changed while it was packed; wait for its runs to end.")
    return open_store(copy)


@contextlib.contextmanager
def drafted(copy: Place) -> Iterator[Any]:
    """Let a copy be written that appears as a whole, or not at all.

    Yields
    ------
    object
        What zarr is to write to.

    Raises
    ------
    FileExistsError
        If another process has written there meanwhile.
    """
    if isinstance(copy, Remote):
        kept = draft_in(copy)  # all but the root
        try:
            yield kept
        except BaseException:
            for item in copy.objects():
                (Remote(copy.bucket, item["path"])).unlink()
            raise
        if not create(copy / "zarr.json", kept.text):
            raise FileExistsError(
                f"{copy} was written by another process at the same time; tsframe verify tells "
                "whether what is there is whole."
            )
        return
    draft = copy.with_name(f".{copy.name}.{uuid.uuid4().hex}")
    try:
        yield draft
        os.rename(draft, copy)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@dataclass(frozen=True, eq=False)
class Source:
    """A store as it is to be published: axes of numbers ascend, measures are masked.

    Parameters
    ----------
    store : Store
        The store.
    """

    store: Store

    @functools.cached_property
    def orders(self) -> list[npt.NDArray[np.intp]]:
        """For each axis the places in the store of its values, in the order of the copy."""
        return [
            np.arange(len(values))
            if type(values[0]) is str
            else np.array(sorted(range(len(values)), key=values.__getitem__))
            for values in self.store.axes.values()
        ]

    def ledger_sum(self) -> str:
        """Give the sha256 of the ledger in the order of the copy; empty if it is damaged."""
        shape, digest = self.store.arrays["ledger"].shape, hashlib.sha256()
        try:
            for slab in slabs(shape, shards(shape, 8)):
                feed(digest, self.part("ledger", slab))
        except OSError:
            raise
        except Exception:  # codecs raise what they like, and verify says what it is
            return ""
        return digest.hexdigest()

    @functools.cached_property
    def rows(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
        """The state of every cell, and its run, 0 if no right row settles it, as in the copy."""
        shape = self.store.arrays["ledger"].shape
        state, run = np.zeros(shape[:-1], np.uint8), np.zeros(shape[:-1], np.int32)
        for slab in slabs(shape, shards(shape, 8)):
            ledger = self.part("ledger", slab)
            state[slab[:-1]] = ledger[..., 0]
            run[slab[:-1]] = np.where(settled(ledger), ledger[..., ENTRIES.index("run")], 0)
        return state, run

    def part(self, name: str, slab: Slab) -> npt.NDArray[Any]:
        """Read a part of an array, given by the order of the copy."""
        array = self.store.arrays[name]
        axes = zip(self.orders, slab[: len(self.orders)], strict=True)
        chosen = tuple(order[along] for order, along in axes)
        return np.asarray(array.oindex[(*chosen, *slab[len(self.orders) :])])

    def masked(self, name: str, slab: Slab) -> npt.NDArray[np.float64]:
        """Read a part of a measure: NaN where no settled row of a run that knew it vouches."""
        cells, values = slab[: len(self.orders)], self.part(name, slab)  # which is ours to change
        right = self.rows[1][cells] >= self.store.since[name]
        values[~right] = np.nan
        return values

    def texts(self, slab: Slab) -> npt.NDArray[np.object_]:
        """Read a part of the errors, which count where a cell failed or diverged."""
        said = np.isin(self.rows[0][slab], (State.FAILED, State.DIVERGED))
        return np.where(said, self.part("error", slab), "").astype(object)

    def attributes(self) -> dict[str, Any]:
        """Give all that is known of where the numbers come from, in plain JSON values."""
        runs = self.store.runs
        known = {
            str(run): {"began": began, "engine": engine, "ended": runs.read(f"{run}.end")}
            for run, (began, engine) in runs.history().items()
        }
        facts = {
            "tsframe_packed": 1,
            "name": self.store.facts["name"],
            "packed": stamp(),
            "spec": runs.read(f"spec-{self.store.facts['spec_version']}"),
            "runs": known,
            "ledger_sha256": self.ledger_sum(),
        }
        return dict(json.loads(json.dumps(facts, default=str)))


@own_pipeline()
def write(target: Any, source: Source) -> None:
    """Write a store in few large, checksummed objects."""
    store = source.store
    group = zarr.create_group(target, attributes=source.attributes())
    axes = tuple(store.axes)
    for name, inner in store.measures.items():
        array = publish(group, name, store.arrays[name].shape, "float64", (*axes, *inner))
        fill(array, functools.partial(source.masked, name))
    shape = store.grid.shape
    fill(publish(group, "error", shape, "string", axes), source.texts)
    meanings = " ".join(kind.name.lower() for kind in State)
    flags = {"flag_values": [*map(int, State)], "flag_meanings": meanings}
    fill(publish(group, "state", shape, "uint8", axes, flags), source.rows[0].__getitem__)
    ordered = {
        name: [values[i] for i in order]
        for (name, values), order in zip(store.axes.items(), source.orders, strict=True)
    }
    for name, values in {**ordered, **store.inner}.items():
        kind = type(values[0])
        dtype = {float: "float64", int: "int64", bool: "int8", str: "string"}[kind]
        marks = {"dtype": "bool"} if kind is bool else {}  # xarray gives back booleans
        raw = np.array(values, object if kind is str else dtype)
        fill(publish(group, name, raw.shape, dtype, (name,), marks), raw.__getitem__)
    with warnings.catch_warnings():  # it is no part of zarr 3 yet, but what xarray reads fastest
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        zarr.consolidate_metadata(group.store)


def publish(
    group: zarr.Group,
    name: str,
    shape: tuple[int, ...],
    dtype: str,
    dims: tuple[str, ...],
    attributes: Mapping[str, Any] | None = None,
) -> "zarr.Array[Any]":
    """Make an array of a copy; a coordinate has no shards."""
    size = 8 if dtype == "string" else np.dtype(dtype).itemsize
    return group.create_array(
        name,
        shape=shape,
        chunks=lengths(shape, size, CHUNK_BYTES),
        shards=None if dims == (name,) else shards(shape, size),
        dtype=dtype,
        fill_value={"string": "", "float64": np.nan}.get(dtype, 0),
        dimension_names=dims,
        serializer="auto" if dtype == "string" else BytesCodec(endian="little"),
        compressors=(ZstdCodec(level=5), Crc32cCodec()),
        attributes=dict(attributes or {}),
        config={"write_empty_chunks": True},
    )


def fill(array: "zarr.Array[Any]", part: Any) -> None:
    """Write an array shard by shard, then into its attributes the sha256 of all in C order."""
    digest = hashlib.sha256()
    for slab in slabs(array.shape, array.shards or array.chunks):
        values = part(slab)
        feed(digest, values)
        array[slab] = values
    array.update_attributes({"sha256": digest.hexdigest()})


def slabs(shape: Sequence[int], shard: Sequence[int]) -> Iterator[Slab]:
    """Go through the shards of an array; one after the other they are all of it in C order.

    Yields
    ------
    tuple of slice
        A shard, cut at the end of each axis.
    """
    starts = [range(0, n, length) for n, length in zip(shape, shard, strict=True)]
    for corner in itertools.product(*starts):
        yield tuple(
            slice(start, min(start + length, n))
            for start, length, n in zip(corner, shard, shape, strict=True)
        )


def shards(shape: Sequence[int], size: int) -> tuple[int, ...]:
    """Choose the shape of a shard for numbers of this size."""
    return multiple(shape, lengths(shape, size, CHUNK_BYTES), size)


def lengths(shape: Sequence[int], size: int, most: float) -> tuple[int, ...]:
    """Choose the shape of a chunk: whole along the last dims, cut along the first."""
    chunk = [max(n, 1) for n in shape]
    for axis in range(len(chunk)):
        rest = size * math.prod(chunk[axis + 1 :])
        chunk[axis] = min(chunk[axis], max(1, int(most // rest)))
    return tuple(chunk)


def multiple(shape: Sequence[int], chunk: Sequence[int], size: int) -> tuple[int, ...]:
    """Choose the shape of a shard: chunks side by side, first along the last dims."""
    shard = list(chunk)
    for axis in reversed(range(len(shard))):
        room = int(SHARD_BYTES // (size * math.prod(shard)))
        shard[axis] *= max(1, min(room, -(-shape[axis] // chunk[axis])))
    return tuple(shard)
