"""What a store is on disk: a zarr group with one array a measure, the ledger and the coordinates.

All arrays share one grid of chunks along the axes, are whole along inner dims, and end their
codecs in crc32c; metadata is never consolidated, since a working store grows. Arrays are made and
enlarged here and never shrunk: no chunk is ever moved or deleted. But for `packing`, this is the
only file that imports zarr.
"""

import json
import math
import os
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import zarr
from zarr.abc.buffer import Buffer
from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec
from zarr.errors import ContainsArrayError
from zarr.storage import MemoryStore

from tsframe.axes import Value
from tsframe.ledger import ENTRIES
from tsframe.provenance import require

__all__ = [
    "FORMAT",
    "Array",
    "Form",
    "coordinates",
    "enlarge",
    "faults",
    "forms",
    "metadata",
    "open_arrays",
    "read_coordinate",
    "rebuild",
    "rebuild_root",
    "root_facts",
    "root_mark",
    "write_empty",
]

for package, lowest, reason in (
    ("zarr", "3.1.6", "older ones delete data, or write without being atomic"),
    ("xarray", "2026.2", "older ones corrupt sharded stores without an error"),
    ("joblib", "1.5", "older ones ignore the limit that ends a hang"),
):
    require(package, lowest, reason)

FORMAT = 1
COORDINATES = 1024  # values in a chunk of a coordinate, or all it has at creation

Array: TypeAlias = "zarr.Array[Any]"
Spec: TypeAlias = Mapping[str, Any]


def root_facts(path: Path) -> dict[str, Any]:
    """Read the attributes of a store, or say why there are none.

    Raises
    ------
    FileNotFoundError
        If nothing stands there.
    ValueError
        If what stands there is no store that this version reads.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no store at {path}; tsframe run makes one.")
    if path.is_file():
        raise ValueError(f"{path} is a file; a store is a folder, e.g. stores/NAME.zarr.")
    root = path / "zarr.json"
    if not root.exists():
        old = (path / ".zgroup").exists() or (path / ".zarray").exists()
        kind = "zarr of format 2" if old else "a folder without zarr.json"
        raise ValueError(f"{path} is {kind}, not a store of tsframe; choose another path.")
    try:
        facts = dict(json.loads(root.read_text())["attributes"])
    except (ValueError, KeyError, TypeError):
        size = root.stat().st_size
        raise ValueError(
            f"{root} is not JSON of a zarr group ({size} bytes); tsframe repair rebuilds it."
        ) from None
    if "tsframe_format" not in facts:
        raise ValueError(f"{path} is a zarr group without tsframe_format; open it with xarray.")
    if facts["tsframe_format"] > FORMAT:
        raise ValueError(
            f"{path} has format {facts['tsframe_format']}; this tsframe reads <= {FORMAT}: upgrade."
        )
    return facts


def root_mark(path: Path) -> tuple[int, int, int]:
    """Give what changes whenever the attributes of a store are written; zeros if there are none."""
    try:
        facts = os.stat(path / "zarr.json")
    except OSError:
        return 0, 0, 0
    return facts.st_ino, facts.st_mtime_ns, facts.st_size


def open_arrays(path: Path, facts: Mapping[str, Any], write: bool) -> dict[str, Array]:
    """Open the measures, the ledger and the errors of a store, or say what is wrong with one.

    An array may be larger than the attributes say: then the store is being grown.

    Raises
    ------
    ValueError
        If an array is missing, damaged or too small.
    """
    group = zarr.open_group(path, mode="r+" if write else "r", use_consolidated=False)
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
        arrays[name] = array
    return arrays


def write_empty(path: Path, name: str, spec: Spec, chunk: Sequence[int]) -> None:
    """Write all of a store but its results: measures, errors, ledger, coordinates, spec.

    Parameters
    ----------
    path : Path
        An empty folder.
    name : str
        What the store is called.
    spec : mapping
        What `spec_of` gives.
    chunk : sequence of int
        Number of cells of a whole chunk along each axis.
    """
    group = zarr.create_group(path, attributes={"tsframe_format": FORMAT, "name": name})
    group.create_group("runs")
    furnish(group, spec, {measure: 1 for measure in spec["measures"]}, chunk)


def enlarge(path: Path, spec: Spec, since: Mapping[str, int]) -> None:
    """Give a store the axes and measures of a larger spec; doing it again changes nothing.

    The coordinates come first, then the measures and the errors, then the ledger, and last the
    attributes of the store: until then it is a store of the smaller spec.

    Parameters
    ----------
    path : Path
        The store.
    spec : mapping
        What `spec_of` gives for the larger sweep, whose axes begin with those of the store.
    since : mapping of str to int
        For each new measure the number of the first run that knows it.
    """
    group = zarr.open_group(path, mode="r+", use_consolidated=False)
    ledger = group["ledger"]
    assert isinstance(ledger, zarr.Array)
    furnish(group, spec, since, ledger.chunks[:-1])


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


def attributes(spec: Spec) -> dict[str, Any]:
    """Give the attributes of a store that come from its spec."""
    return {
        "spec": {"axes": spec["axes"], "measures": spec["measures"]},
        "spec_version": spec["version"],
        "spec_sha256": spec["fingerprint"],
    }


def coordinates(spec: Spec) -> dict[str, Sequence[Value]]:
    """Give the values of every dim: the axes, the inner dims, the entries of the ledger."""
    inner = {dim: values for dims in spec["measures"].values() for dim, values in dims.items()}
    return {**spec["axes"], **inner, "entry": ENTRIES}


@dataclass(frozen=True)
class Form:
    """What one array of a store is like.

    Parameters
    ----------
    shape, chunk : tuple of int
        Its lengths, and those of a whole chunk.
    dtype : str
        As zarr names it.
    empty : object
        Its fill value.
    dims : tuple of str
        Their names.
    attributes : dict
        What else it says of itself.
    """

    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    dtype: str
    empty: Any
    dims: tuple[str, ...]
    attributes: Mapping[str, Any]


def forms(spec: Spec, since: Mapping[str, int], chunk: Sequence[int]) -> dict[str, Form]:
    """Give the form of every array of a store, in the order in which they are written."""
    axes = tuple(spec["axes"])
    shape = tuple(len(values) for values in spec["axes"].values())
    found = {}
    for dim, values in coordinates(spec).items():
        kind = type(values[0])
        dtype = {float: "float64", int: "int64", bool: "int64", str: "string"}[kind]
        marks = {"dtype": "bool"} if kind is bool else {}  # xarray gives back booleans
        length = (max(len(values), COORDINATES),)
        empty = "" if kind is str else 0
        found[dim] = Form((len(values),), length, dtype, empty, (dim,), marks)
    lengths = {
        name: {dim: len(values) for dim, values in dims.items()}
        for name, dims in spec["measures"].items()
    }
    for name, inner in {**lengths, "error": {}, "ledger": {"entry": len(ENTRIES)}}.items():
        found[name] = Form(
            (*shape, *inner.values()),
            (*chunk, *inner.values()),
            "string" if name == "error" else "float64",
            {"error": "", "ledger": 0.0}.get(name, math.nan),
            (*axes, *inner),
            {"since_run": since.get(name, 1)} if name in lengths else {},
        )
    return found


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


def faults(path: Path, name: str, form: Form) -> list[str]:
    """Say what the zarr.json of an array has that its form has not; larger shapes are growth.

    Parameters
    ----------
    path : Path
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


def differences(there: Any, due: Any, where: str = "") -> list[str]:
    """Say where JSON differs from what is due; keys that only one version of zarr writes may."""
    if isinstance(there, dict) and isinstance(due, dict):
        both = [key for key in due if key in there]
        found = [
            text for key in both for text in differences(there[key], due[key], f"{where} {key}")
        ]
        lacks, has = sorted(set(due) - set(there)), sorted(set(there) - set(due))
        return found + ([f"{where[1:]} has {has}, not {lacks}"] if lacks and has else [])
    if isinstance(there, list) and isinstance(due, list) and len(there) == len(due):
        pairs = zip(there, due, strict=True)
        return [text for one, other in pairs for text in differences(one, other, where)]
    same = type(there) is type(due) and there == due
    return [] if same else [f"{where[1:]} is {there!r}, not {due!r}"]


def metadata(path: Path, name: str) -> dict[str, Any]:
    """Read the zarr.json of an array; empty if there is none that is JSON of an array."""
    try:
        facts = json.loads((path / name / "zarr.json").read_text())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) and facts.get("node_type") == "array" else {}


def read_coordinate(path: Path, name: str) -> list[Value]:
    """Read the values of one dim, as plain Python values."""
    array = zarr.open_array(path / name, mode="r")
    values: list[Value] = np.asarray(array[...]).tolist()
    return [bool(v) for v in values] if array.attrs.get("dtype") == "bool" else values


def rebuild(path: Path, name: str, form: Form, values: Sequence[Value] | None) -> None:
    """Write the zarr.json of an array anew, and the values if it is a coordinate.

    Parameters
    ----------
    path : Path
        The store.
    name : str
        The array.
    form : Form
        What it is like.
    values : sequence, optional
        What a coordinate holds; the chunks of other arrays stay as they are.
    """
    with tempfile.TemporaryDirectory(prefix=".", dir=path / "runs") as draft:
        array = create(zarr.create_group(draft), name, form)
        if values is not None:
            array[:] = np.array(values, object if form.dtype == "string" else form.dtype)
        (path / name).mkdir(exist_ok=True)
        for file in sorted((Path(draft) / name).iterdir()):  # c.0 comes before zarr.json
            file.replace(path / name / file.name)


def rebuild_root(path: Path, name: str, spec: Spec) -> None:
    """Write the attributes of a store anew, and nothing but these."""
    facts = {"tsframe_format": FORMAT, "name": name, **attributes(spec)}
    text = json.dumps({"attributes": facts, "zarr_format": 3, "node_type": "group"}, indent=2)
    draft = path / "runs" / f".zarr.json.{uuid.uuid4().hex}"
    draft.write_text(text)
    draft.replace(path / "zarr.json")
