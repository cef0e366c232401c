"""The zarr store of a sweep: created whole, committed chunk by chunk, opened by plain xarray.

One directory holds one array a measure, with the axes of the sweep as its dims, and the array
`ledger` with a row a cell. All share one grid of chunks. `Store.commit` writes the measures of a
chunk, then the texts of its errors, then its ledger: a cell is done when the ledger says so and
the digest in its row matches what is stored, and nothing else counts. So a writer may die between
any two writes, and two may write the same chunk: what they leave is either right or known to be
wrong. This is the only file that imports zarr.
"""

import json
import logging
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec

from tsframe.axes import describe, Value
from tsframe.chunks import Grid
from tsframe.ledger import Array, digests, ENTRIES, settled, State
from tsframe.provenance import Runs, stamp
from tsframe.spec import check_same, spec_of
from tsframe.sweep import Sweep

__all__ = ["Rows", "Store"]

FORMAT = 1
LOG = logging.getLogger("tsframe")


@dataclass(frozen=True, eq=False)
class Rows:
    """What one training call gave for some cells of a chunk.

    Parameters
    ----------
    places : array of int, shape (n,)
        Positions of the cells in the flattened chunk.
    measures : dict of str to array, shape (n, *inner)
        Every measure of the store; NaN where a cell failed.
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
class Store:
    """An open store.

    Parameters
    ----------
    path : Path
        Its directory.
    axes : dict of str to tuple
        The values of each axis, in store order.
    measures : dict of str to tuple of str
        The inner dims of each measure.
    inner : dict of str to tuple of float
        The coordinate of each inner dim.
    grid : Grid
        The cells and their chunks.
    arrays : dict of str to zarr.Array
        The measures, the ledger and the errors.
    facts : dict
        The attributes of the store: its name, format and spec.
    """

    path: Path
    axes: dict[str, tuple[Value, ...]]
    measures: dict[str, tuple[str, ...]]
    inner: dict[str, tuple[float, ...]]
    grid: Grid
    arrays: dict[str, "zarr.Array[Any]"]
    facts: dict[str, Any]

    @classmethod
    def create(cls, path: Path, sweep: Sweep, chunk: tuple[int, ...]) -> "Store":
        """Make an empty store, all of it or nothing of it, and open it.

        Raises
        ------
        FileExistsError
            If something stands there already.
        PermissionError
            If the folder cannot be written.
        """
        draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.mkdir()
        except OSError as error:
            raise PermissionError(
                f"cannot write the store {path}: {error.strerror or error}; "
                "choose a folder that you may write, with --store or the store argument."
            ) from error
        try:
            write_empty(draft, path.stem, sweep, Grid(sweep.shape, chunk))
            os.rename(draft, path)
        except OSError as error:
            if path.exists():
                raise FileExistsError(
                    f"{path} was made by another process just now; run the same command again."
                ) from error
            raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path, write: bool = True) -> "Store":
        """Open a store, or say why this is none.

        Raises
        ------
        PermissionError
            If the store is to be written and may not be.
        """
        facts = root_facts(path)
        if write and not os.access(path, os.W_OK):
            raise PermissionError(f"{path} cannot be written; ask its owner, or copy it elsewhere.")
        group = zarr.open_group(path, mode="r+" if write else "r", use_consolidated=False)
        measures = facts["spec"]["measures"]
        arrays = {name: open_array(group, name) for name in (*measures, "ledger", "error")}
        return cls(
            path=path,
            axes={name: tuple(values) for name, values in facts["spec"]["axes"].items()},
            measures={name: tuple(inner) for name, inner in measures.items()},
            inner={dim: tuple(v) for inner in measures.values() for dim, v in inner.items()},
            grid=Grid(arrays["ledger"].shape[:-1], arrays["ledger"].chunks[:-1]),
            arrays=arrays,
            facts=facts,
        )

    @property
    def runs(self) -> Runs:
        """The write-once files that say where the results come from."""
        return Runs(self.path / "runs")

    def check(self, sweep: Sweep) -> None:
        """Refuse a sweep that is not the one of this store, naming what differs."""
        known = self.runs.read("spec-1")
        spec = {**self.facts["spec"], "fingerprint": self.facts["spec_sha256"]}
        check_same(str(self.path), {**spec, "corners": known.get("corners", [])}, sweep)

    def commit(self, number: int, rows: Rows, run: int) -> None:
        """Write what was trained of a chunk: measures, errors, and last the ledger.

        What is settled with a right digest stays as it is; what fails its digest and is not among
        the rows becomes to do again. Whole chunks are written, never parts.
        """
        block, cells = self.grid.block(number), self.grid.cells(number)
        shape = tuple(part.stop - part.start for part in block)
        ledger = self.read("ledger", block).reshape(len(cells), len(ENTRIES))
        measures = {
            name: (values := self.read(name, block)).reshape(
                len(cells), *values.shape[len(shape) :]
            )
            for name in self.measures
        }
        right = ledger[:, ENTRIES.index("digest")] == digests(self.axes, cells, measures)
        attempts = ledger[:, ENTRIES.index("attempts")].copy()
        ledger[~right] = 0
        new = ~(settled(ledger) & right)[rows.places]
        places = rows.places[new]
        for name, values in measures.items():
            values[~right] = np.nan
            values[places] = rows.measures[name][new]
        ledger[places] = np.stack(
            [
                rows.states[new],
                attempts[places] + 1,
                np.full(len(places), run),
                digests(self.axes, cells[places], {n: v[places] for n, v in measures.items()}),
                rows.seconds[new],
                np.full(len(places), rows.peak_bytes),
            ],
            axis=1,
        )
        for name, values in measures.items():
            self.write(name, block, values.reshape(*shape, *values.shape[1:]))
        self.write_errors(
            block, places, [text for text, own in zip(rows.errors, new, strict=True) if own]
        )
        self.write("ledger", block, ledger.reshape(*shape, len(ENTRIES)))

    def read(self, name: str, block: tuple[slice, ...]) -> Array:
        """Read one chunk; what cannot be read is NaN, or no row in the ledger."""
        try:
            values = self.arrays[name][block]
        except Exception as error:  # codecs raise what they like; the digest tells what is lost
            LOG.warning("%s of %s, chunk %s: %s; taken as lost", name, self.path, block, error)
            shape = tuple(part.stop - part.start for part in block)
            array = self.arrays[name]
            return np.full((*shape, *array.shape[len(shape) :]), array.fill_value, np.float64)
        return np.array(values, np.float64)

    def write(self, name: str, block: tuple[slice, ...], values: Array) -> None:
        """Write one whole chunk, also when it holds nothing but the fill value."""
        self.arrays[name].with_config({"write_empty_chunks": True})[block] = values

    def write_errors(
        self, block: tuple[slice, ...], places: npt.NDArray[np.intp], errors: Sequence[str]
    ) -> None:
        """Write the texts of a chunk if it has or had any; without one its object goes away."""
        texts = self.read_errors(block)
        had = any(texts.flat)
        texts.reshape(-1)[places] = np.array(errors, object)
        if had or any(texts.flat):
            self.arrays["error"][block] = texts

    def read_errors(self, block: tuple[slice, ...]) -> npt.NDArray[np.object_]:
        """Read the texts of one chunk; a text that cannot be read is empty."""
        try:
            return np.array(self.arrays["error"][block], object)
        except Exception as error:  # as in read; nothing depends on the texts
            LOG.warning("error of %s, chunk %s: %s; taken as lost", self.path, block, error)
            return np.full(tuple(part.stop - part.start for part in block), "", object)

    def read_all(self, name: str) -> Array:
        """Read a whole array; chunks that cannot be read are taken as lost."""
        array = self.arrays[name]
        try:
            return np.array(array[...], np.float64)
        except Exception:  # find the chunk at fault
            values = np.empty(array.shape)
            for number in range(len(self.grid)):
                block = self.grid.block(number)
                values[block] = self.read(name, block)
            return values

    def load(self) -> tuple[Array, dict[str, Array]]:
        """Read the ledger and all measures; rows that fail their digest become to do.

        Returns
        -------
        tuple
            The ledger, shape (*grid, entry), and each measure, shape (*grid, *inner), NaN where
            no settled row vouches for it.
        """
        ledger = self.read_all("ledger")
        measures = {name: self.read_all(name) for name in self.measures}
        flat = ledger.reshape(-1, len(ENTRIES))
        rows = {
            name: values.reshape(len(flat), *values.shape[len(self.axes) :])
            for name, values in measures.items()
        }
        known = np.flatnonzero(flat[:, 0] != State.TODO)
        wrong = np.zeros(len(flat), bool)
        for some in np.array_split(known, len(known) // 10_000 + 1):  # bounds the memory
            sums = digests(self.axes, some, {name: values[some] for name, values in rows.items()})
            wrong[some] = sums != flat[some, ENTRIES.index("digest")]
        if wrong.any():
            LOG.warning(
                "%d cells of %s say done but their measures differ from the ledger (first: %s); "
                "tsframe run trains them again",
                wrong.sum(),
                self.path,
                describe(self.cell(int(np.flatnonzero(wrong)[0]))),
            )
        flat[wrong] = 0
        for values in rows.values():
            values[~settled(flat)] = np.nan
        return ledger, measures

    def cell(self, number: int) -> dict[str, Value]:
        """Give the cell with this number in store order."""
        index = np.unravel_index(number, self.grid.shape)
        return {name: self.axes[name][i] for name, i in zip(self.axes, index, strict=True)}

    def error(self, number: int) -> str:
        """Give the text of the error of one cell."""
        index = np.unravel_index(number, self.grid.shape)
        return str(self.read_errors(tuple(slice(int(i), int(i) + 1) for i in index)).item())


def root_facts(path: Path) -> dict[str, Any]:
    """Read the attributes of a store, or say why there are none."""
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
        facts = json.loads(root.read_text())["attributes"]
    except (ValueError, KeyError, TypeError):
        size = root.stat().st_size
        raise ValueError(
            f"{root} is not JSON of a zarr group ({size} bytes); restore it."
        ) from None
    if "tsframe_format" not in facts:
        raise ValueError(f"{path} is a zarr group without tsframe_format; open it with xarray.")
    if facts["tsframe_format"] > FORMAT:
        raise ValueError(
            f"{path} has format {facts['tsframe_format']}; this tsframe reads <= {FORMAT}: upgrade."
        )
    return dict(facts)


def open_array(group: zarr.Group, name: str) -> "zarr.Array[Any]":
    """Open an array of a store, or say that it is not there."""
    array = group.get(name)
    if not isinstance(array, zarr.Array):
        raise ValueError(f"{group.store_path}: the array '{name}' is missing; restore it.")
    return array


def write_empty(path: Path, name: str, sweep: Sweep, grid: Grid) -> None:
    """Write all of a store but its results: measures, errors, ledger, coordinates, spec."""
    spec = spec_of(sweep)
    facts = {
        "tsframe_format": FORMAT,
        "name": name,
        "spec": {"axes": spec["axes"], "measures": spec["measures"]},
        "spec_version": spec["version"],
        "spec_sha256": spec["fingerprint"],
    }
    group = zarr.create_group(path, attributes=facts, overwrite=False)
    runs = group.create_group("runs").store_path
    cells = (sweep.dims, grid.shape, grid.chunk)

    def make(
        name: str,
        dtype: str,
        inner: Mapping[str, int],
        fill: object,
        cells: tuple[Sequence[str], Sequence[int], Sequence[int]] = cells,
        attributes: dict[str, Any] | None = None,
    ) -> "zarr.Array[Any]":
        dims, shape, chunk = cells
        return group.create_array(
            name,
            shape=(*shape, *inner.values()),
            chunks=(*chunk, *inner.values()),
            dtype=dtype,
            fill_value=fill,
            dimension_names=(*dims, *inner),
            serializer="auto" if dtype == "string" else BytesCodec(endian="little"),
            compressors=(ZstdCodec(level=1), Crc32cCodec()),
            chunk_key_encoding={"name": "default", "separator": "."},
            attributes=attributes,
        )

    for measure, inner in sweep.measures.items():
        lengths = {dim: len(values) for dim, values in inner.items()}
        make(measure, "float64", lengths, np.nan, attributes={"since_run": 1})
    make("error", "string", {}, "")
    make("ledger", "float64", {"entry": len(ENTRIES)}, 0.0)
    coordinates: dict[str, Sequence[Value]] = {
        **sweep.axes,
        **{dim: values for inner in sweep.measures.values() for dim, values in inner.items()},
        "entry": ENTRIES,
    }
    for dim, values in coordinates.items():
        kind = type(values[0])
        dtype = {float: "float64", int: "int64", bool: "int64", str: "string"}[kind]
        marks = {"dtype": "bool"} if kind is bool else None  # xarray gives back booleans
        fill = "" if kind is str else 0
        array = make(dim, dtype, {}, fill, ((dim,), (len(values),), (1024,)), marks)
        array[:] = np.array(values, object if kind is str else dtype)
    Runs(Path(path) / runs.path).note("spec-1", {"created": stamp(), **spec})
