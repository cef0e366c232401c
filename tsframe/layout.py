"""What a store is on disk: a zarr group with one array a measure, the ledger and the coordinates.

All arrays share one grid of chunks along the axes, are whole along inner dims, and end their
codecs in crc32c; metadata is never consolidated, since a working store grows. Arrays are made and
enlarged here and never shrunk: no chunk is ever moved or deleted. But for `packing`, this is the
only file that imports zarr.
"""

import contextlib
import functools
import json
import logging
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import zarr
from zarr.abc.buffer import Buffer, BufferPrototype
from zarr.abc.store import ByteRequest
from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec
from zarr.errors import ContainsArrayError, ContainsGroupError
from zarr.storage import MemoryStore, ObjectStore

from tsframe.axes import Value
from tsframe.buckets import client, refusals, Remote, server
from tsframe.forms import attributes, coordinates, differences, Form, FORMAT, forms, metadata, Spec
from tsframe.places import create as create_file, overwrite, Place
from tsframe.provenance import require

__all__ = [
    "Array",
    "draft_in",
    "enlarge",
    "faults",
    "open_arrays",
    "own_pipeline",
    "read_coordinate",
    "rebuild",
    "write_empty",
    "zarr_store",
]

for package, lowest, reason in (
    ("zarr", "3.1.6", "older ones delete data, or write without being atomic"),
    ("xarray", "2026.2", "older ones corrupt sharded stores without an error"),
    ("joblib", "1.5", "older ones ignore the limit that ends a hang"),
):
    require(package, lowest, reason)

LOG = logging.getLogger("tsframe")
PIPELINE = "zarr.core.codec_pipeline.BatchedCodecPipeline"  # zarr's own
Array: TypeAlias = "zarr.Array[Any]"


class Objects(ObjectStore[Any]):
    """The objects of a store in a bucket; what the server refuses is an OSError, never a loss."""

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        with refusals(key):
            return await super().get(key, prototype, byte_range)

    async def get_partial_values(
        self,
        prototype: BufferPrototype,
        key_ranges: Iterable[tuple[str, ByteRequest | None]],
    ) -> list[Buffer | None]:
        with refusals("a shard"):
            return await super().get_partial_values(prototype, key_ranges)

    async def exists(self, key: str) -> bool:
        with refusals(key):
            return await super().exists(key)

    async def set(self, key: str, value: Buffer) -> None:
        with refusals(key):
            await super().set(key, value)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        with refusals(key):
            await super().set_if_not_exists(key, value)

    async def delete(self, key: str) -> None:
        with refusals(key):
            await super().delete(key)

    async def list_dir(self, prefix: str) -> AsyncGenerator[str, None]:
        with refusals(prefix):
            async for key in super().list_dir(prefix):
                yield key


class Draft(Objects):
    """Objects of which the root is kept back until all else is written."""

    text = ""

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        if key != "zarr.json":
            return await super().get(key, prototype, byte_range)
        return prototype.buffer.from_bytes(self.text.encode()) if self.text else None

    async def exists(self, key: str) -> bool:
        return bool(self.text) if key == "zarr.json" else await super().exists(key)

    async def set(self, key: str, value: Buffer) -> None:
        if key == "zarr.json":
            self.text = value.to_bytes().decode()
        else:
            await super().set(key, value)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        if not await self.exists(key):
            await self.set(key, value)


def draft_in(path: Remote) -> Draft:
    """Give what zarr writes a place by that is to have its root last."""
    return Draft(client(path.bucket, path.key, server()))


def zarr_store(path: Place) -> Any:
    """Give what zarr and xarray open a place by; a folder is opened by its path."""
    if not isinstance(path, Remote):
        return path
    return Objects(client(path.bucket, path.key, server()))


@functools.cache
def warn_of(pipeline: str) -> None:
    """Say once that a pipeline of codecs that the user has configured is not used."""
    LOG.warning(
        "zarr is configured to encode by %s, which stores do without: others than zarr's own have "
        "lost data",
        pipeline,
    )


@contextlib.contextmanager
def own_pipeline() -> Iterator[None]:
    """Let arrays that are made or opened meanwhile encode by zarr's own pipeline."""
    chosen = zarr.config.get("codec_pipeline.path")
    if chosen == PIPELINE:
        yield
        return
    warn_of(chosen)
    with zarr.config.set({"codec_pipeline.path": PIPELINE}):
        yield


@own_pipeline()
def open_arrays(path: Place, facts: Mapping[str, Any], write: bool) -> dict[str, Array]:
    """Open the measures, the ledger and the errors of a store, or say what is wrong with one.

    An array may be larger than the attributes say: then the store is being grown. Whole chunks are
    written also when they hold nothing but the fill value; of errors such chunks go away.

    Raises
    ------
    ValueError
        If an array is missing, damaged or too small.
    """
    group = zarr.open_group(zarr_store(path), mode="r+" if write else "r", use_consolidated=False)
    shape = tuple(len(values) for values in facts["spec"]["axes"].values())
    arrays = {}
    for name in (*facts["spec"]["measures"], "ledger", "error"):
        try:
            array = group.get(name)
        except Exception as error:  # whatever a damaged zarr.json makes zarr raise
            file = path / name / "zarr.json"
            raise ValueError(
                f"{file} is not JSON of a zarr array ({error}); tsframe repair rebuilds it."
            ) from None
        if not isinstance(array, zarr.Array):
            raise ValueError(f"{path}: the array '{name}' is missing; tsframe repair rebuilds it.")
        if write and len(array.shape) >= len(shape):  # a process that stalled while it helped the
            stretch(array, (*shape, *array.shape[len(shape) :]))  # store to grow may have shrunk it
        if len(array.shape) < len(shape) or any(np.less(array.shape[: len(shape)], shape)):
            raise ValueError(
                f"{path}: the array '{name}' has shape {array.shape}, smaller than the axes "
                f"{shape}; tsframe repair rebuilds its zarr.json."
            )
        # with_config takes the pipeline of this moment along
        arrays[name] = array.with_config({"write_empty_chunks": name != "error"})
    return arrays


def write_empty(path: Place, name: str, spec: Spec, chunk: Sequence[int]) -> bool:
    """Write all of a store but its results: measures, errors, ledger, coordinates, spec.

    In a bucket the root, by which it is a store, comes last, and comes once.

    Parameters
    ----------
    path : Place
        An empty folder, or where in a bucket this same store may have been begun.
    name : str
        What the store is called.
    spec : mapping
        What `spec_of` gives.
    chunk : sequence of int
        Number of cells of a whole chunk along each axis.

    Returns
    -------
    bool
        Whether this call made it; False if another process was faster.
    """
    target: Any = draft_in(path) if isinstance(path, Remote) else path
    group = zarr.create_group(target, attributes={"tsframe_format": FORMAT, "name": name})
    with contextlib.suppress(ContainsGroupError):  # by somebody else who makes this store
        group.create_group("runs")
    furnish(group, spec, {measure: 1 for measure in spec["measures"]}, chunk)
    return not isinstance(target, Draft) or create_file(path / "zarr.json", target.text)


def enlarge(path: Place, spec: Spec, since: Mapping[str, int]) -> None:
    """Give a store the axes and measures of a larger spec; doing it again changes nothing.

    The coordinates come first, then the measures and the errors, then the ledger, and last the
    attributes of the store: until then it is a store of the smaller spec.

    Parameters
    ----------
    path : Place
        The store.
    spec : mapping
        What `spec_of` gives for the larger sweep, whose axes begin with those of the store.
    since : mapping of str to int
        For each new measure the number of the first run that knows it.
    """
    group = zarr.open_group(zarr_store(path), mode="r+", use_consolidated=False)
    ledger = group["ledger"]
    assert isinstance(ledger, zarr.Array)
    furnish(group, spec, since, ledger.chunks[:-1])


@own_pipeline()
def furnish(group: zarr.Group, spec: Spec, since: Mapping[str, int], chunk: Sequence[int]) -> None:
    """Make or enlarge every array of a store, then write its attributes."""
    values = coordinates(spec)
    for name, form in forms(spec, since, chunk).items():
        array = group.get(name)
        if not isinstance(array, zarr.Array):
            array = create(group, name, form)
        if name in values and array.shape[0] > form.shape[0]:
            continue  # another process went on from here
        stretch(array, form.shape)
        if name in values:
            array[:] = np.array(values[name], object if form.dtype == "string" else form.dtype)
    now = zarr.open_group(group.store_path, mode="r+", use_consolidated=False)
    known: Any = now.attrs.get("spec_version", 0)
    if known < spec["version"]:  # else another process was faster
        now.update_attributes(attributes(spec))


def create(group: zarr.Group, name: str, form: Form) -> Array:
    """Make one array; its zarr.json is written at once or not at all."""
    try:
        return group.create_array(
            name,
            shape=form.shape,
            chunks=form.chunk,
            dtype=form.dtype,
            fill_value=form.empty,
            dimension_names=form.dims,
            serializer="auto" if form.dtype == "string" else BytesCodec(endian="little"),
            compressors=(ZstdCodec(level=1), Crc32cCodec()),
            chunk_key_encoding={"name": "default", "separator": "."},
            attributes=dict(form.attributes),
        )
    except ContainsArrayError:  # another process was faster
        array = group[name]
        assert isinstance(array, zarr.Array)
        return array


def stretch(array: Array, shape: tuple[int, ...]) -> None:
    """Enlarge an array; a length that is larger already stays, so no chunk is ever deleted."""
    larger = tuple(max(old, new) for old, new in zip(array.shape, shape, strict=True))
    if larger != array.shape:
        array.resize(larger)


def faults(path: Place, name: str, form: Form) -> list[str]:
    """Say what the zarr.json of an array has that its form has not; larger shapes are growth.

    Parameters
    ----------
    path : Place
        The store.
    name : str
        The array.
    form : Form
        What it should be like.

    Returns
    -------
    list of str
        Each fault in words; empty if there is none.
    """
    facts = metadata(path, name)
    if not facts:
        return ["it is missing or not JSON of a zarr array"]
    memory: dict[str, Buffer] = {}
    create(zarr.create_group(MemoryStore(memory)), name, form)
    due = json.loads(memory[f"{name}/zarr.json"].to_bytes())
    shape: Any = facts.get("shape")
    if (
        isinstance(shape, list)
        and len(shape) == len(form.shape)
        and all(isinstance(n, int) for n in shape)
        and not np.less(shape, form.shape).any()
    ):
        due["shape"] = shape
    if name in form.dims:  # whose chunks were cut to what it first held
        due["chunk_grid"] = facts.get("chunk_grid", {})
    return differences(facts, due)


def read_coordinate(path: Place, name: str) -> list[Value]:
    """Read the values of one dim, as plain Python values."""
    array = zarr.open_array(zarr_store(path), path=name, mode="r")
    values: list[Value] = np.asarray(array[...]).tolist()
    return [bool(v) for v in values] if array.attrs.get("dtype") == "bool" else values


def rebuild(path: Place, name: str, form: Form, values: Sequence[Value] | None) -> None:
    """Write the zarr.json of an array anew, and the values if it is a coordinate.

    Parameters
    ----------
    path : Place
        The store.
    name : str
        The array.
    form : Form
        What it is like.
    values : sequence, optional
        What a coordinate holds; the chunks of other arrays stay as they are.
    """
    memory: dict[str, Buffer] = {}
    array = create(zarr.create_group(MemoryStore(memory)), name, form)
    if values is not None:
        array[:] = np.array(values, object if form.dtype == "string" else form.dtype)
    (path / name).mkdir(exist_ok=True)
    for key in sorted(key for key in memory if key.startswith(f"{name}/")):  # zarr.json comes last
        overwrite(path / key, memory[key].to_bytes(), path / "runs")
