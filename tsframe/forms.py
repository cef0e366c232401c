"""What a store is like, in plain JSON: its attributes, the form of each array, its coordinates.

All arrays share one grid of chunks along the axes and are whole along inner dims. What zarr has to
do with it is in `layout`.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from tsframe.axes import Value
from tsframe.ledger import ENTRIES
from tsframe.places import overwrite, Place

__all__ = [
    "FORMAT",
    "Form",
    "Spec",
    "attributes",
    "coordinates",
    "differences",
    "forms",
    "metadata",
    "rebuild_root",
    "root_facts",
    "root_mark",
]

FORMAT = 1
COORDINATES = 1024  # values in a chunk of a coordinate, or all it has at creation
Spec: TypeAlias = Mapping[str, Any]


def root_facts(path: Place) -> dict[str, Any]:
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
        if (path / "runs" / "spec-1.json").exists():
            raise ValueError(f"{root} is missing; tsframe repair rebuilds it.")
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


def root_mark(path: Place) -> tuple[object, ...]:
    """Give what changes whenever the attributes of a store are written; empty if there are none."""
    try:
        facts = (path / "zarr.json").stat()
    except (FileNotFoundError, NotADirectoryError):
        return ()
    if isinstance(facts, os.stat_result):
        return facts.st_ino, facts.st_mtime_ns, facts.st_size
    return facts.tag, facts.st_mtime


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


def metadata(path: Place, name: str) -> dict[str, Any]:
    """Read the zarr.json of an array; empty if there is none that is JSON of an array."""
    try:
        facts = json.loads((path / name / "zarr.json").read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return facts if isinstance(facts, dict) and facts.get("node_type") == "array" else {}


def rebuild_root(path: Place, name: str, spec: Spec) -> None:
    """Write the attributes of a store anew, and nothing but these."""
    facts = {"tsframe_format": FORMAT, "name": name, **attributes(spec)}
    text = json.dumps({"attributes": facts, "zarr_format": 3, "node_type": "group"}, indent=2)
    overwrite(path / "zarr.json", text, path / "runs")
