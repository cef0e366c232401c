"""Pack a store: a copy to publish, read fast and never written again.

Measures are masked to what the digests vouch for, axes of numbers ascend, ``state`` stands beside
them; many small objects become few shards of checksummed chunks, and the metadata is consolidated,
so that plain xarray opens it lazily and without a warning. This file imports zarr.
"""

import json
import math
import os
import shutil
import uuid
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec

from tsframe.ledger import sha256_of, State
from tsframe.opening import open_store
from tsframe.provenance import stamp
from tsframe.store import Store
from tsframe.verification import verify

__all__ = ["pack"]

CHUNK_BYTES = 2e6
SHARD_BYTES = 128e6


def pack(path: Path, target: Path, partial: bool = False) -> xr.Dataset:
    """Write a copy of a store to publish, and open it.

    zarr takes a shard that is missing or empty for one of fill values; `verify` of the copy finds
    this by its sums.

    Parameters
    ----------
    path : Path
        The store; `verify` must find nothing to repair in it.
    target : Path
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
    if target.exists():
        raise FileExistsError(f"{target} is there already; a copy is written once, elsewhere.")
    report = verify(path, 3)
    if report.code:
        first = next(f.text for f in report.findings if f.grade != "note")
        raise ValueError(f"{path} is {report.verdict} ({first}); repair and run it, then pack it.")
    unfinished = report.cells["todo"] + report.cells["failed"]
    if unfinished and not partial:
        raise ValueError(
            f"{path}: {unfinished} cells are to do or have failed; run it to the end, or pack what "
            "there is with --partial."
        )
    dataset = open_store(path)
    store = Store.open(path, write=False)
    draft = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        write(draft, dataset, provenance(store, dataset))
        os.rename(draft, target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return open_store(target)


def provenance(store: Store, dataset: xr.Dataset) -> dict[str, Any]:
    """Give all that is known of where the numbers come from, in plain JSON values."""
    runs = store.runs
    known = {
        str(run): {
            "began": runs.read(str(run)),
            "engine": runs.read(f"{run}.engine"),
            "ended": runs.read(f"{run}.end"),
        }
        for run in runs.numbers()
    }
    return {
        "tsframe_packed": 1,
        "name": store.facts["name"],
        "packed": stamp(),
        "spec": runs.read(f"spec-{store.facts['spec_version']}"),
        "runs": known,
        "ledger_sha256": sha256_of(dataset["ledger"].values),
    }


def write(path: Path, dataset: xr.Dataset, attributes: Mapping[str, Any]) -> None:
    """Write a Dataset in few large, checksummed objects."""
    group = zarr.create_group(path, attributes=json.loads(json.dumps(attributes, default=str)))
    state = dataset["state"].astype(np.uint8)
    meanings = dataset["state"].attrs["flag_meanings"]
    state.attrs = {"flag_values": [*map(int, State)], "flag_meanings": meanings}
    kept = dataset.drop_vars(["ledger", "entry", "state"]).assign(state=state)
    for name, variable in kept.variables.items():
        values = np.asarray(variable.values)
        text, flag = values.dtype.kind in "OUT", values.dtype.kind == "b"
        raw = values.astype("int8") if flag else values
        marks = {"dtype": "bool"} if flag else {}  # as xarray gives back booleans
        chunk = lengths(raw.shape, 8 if text else raw.itemsize, CHUNK_BYTES)
        shard = multiple(raw.shape, chunk, 8 if text else raw.itemsize)
        array = group.create_array(
            str(name),
            shape=raw.shape,
            chunks=chunk,
            shards=None if name in kept.coords else shard,
            dtype="string" if text else raw.dtype,
            fill_value="" if text else np.nan if raw.dtype.kind == "f" else 0,
            dimension_names=[str(dim) for dim in variable.dims],
            serializer="auto" if text else BytesCodec(endian="little"),
            compressors=(ZstdCodec(level=5), Crc32cCodec()),
            attributes={**variable.attrs, **marks, "sha256": sha256_of(raw)},
            config={"write_empty_chunks": True},
        )
        array[...] = raw
    with warnings.catch_warnings():  # it is no part of zarr 3 yet, but what xarray reads fastest
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        zarr.consolidate_metadata(group.store)


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
