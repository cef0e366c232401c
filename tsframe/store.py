"""The zarr store of a sweep: created whole, committed chunk by chunk, opened by plain xarray.

One directory holds one array a measure, with the axes of the sweep as its dims, and the array
`ledger` with a row a cell. All share one grid of chunks. `Store.commit` writes the measures of a
chunk, then the texts of its errors, then its ledger: a cell is done when the ledger says so and
the digest in its row matches what is stored, and nothing else counts. So a writer may die between
any two writes, and two may write the same chunk: what they leave is either right or known to be
wrong. A writer looks at the store anew before each commit, so it may also have grown meanwhile.
"""

import logging
import math
import os
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tsframe.axes import describe, Value
from tsframe.buckets import Remote
from tsframe.chunks import Grid, lengths
from tsframe.disk import check_room, FULL, stubborn
from tsframe.forms import root_facts, root_mark
from tsframe.growth import finish, intent, recall
from tsframe.layout import Array as Stored, open_arrays, write_empty
from tsframe.ledger import Array, ENTRIES, pending, settled, State, vouched
from tsframe.merging import merge, Rows
from tsframe.places import Place
from tsframe.provenance import Runs, stamp
from tsframe.spec import Fit, fit, spec_of
from tsframe.sweep import Sweep

__all__ = ["Rows", "Store"]

LOG = logging.getLogger("tsframe")


@dataclass(frozen=True, eq=False)
class Store:
    """An open store, as it was when it was opened.

    Parameters
    ----------
    path : Place
        Where it is.
    axes : dict of str to tuple
        The values of each axis, in store order: the order of their arrival.
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
    mark : tuple
        What `root_mark` gave before the store was read.
    """

    path: Place
    axes: dict[str, tuple[Value, ...]]
    measures: dict[str, tuple[str, ...]]
    inner: dict[str, tuple[float, ...]]
    grid: Grid
    arrays: dict[str, Stored]
    facts: dict[str, Any]
    mark: tuple[object, ...]

    @classmethod
    def create(cls, path: Place, sweep: Sweep, chunk: tuple[int, ...]) -> "Store":
        """Make an empty store, all of it or nothing of it, and open it.

        Raises
        ------
        FileExistsError
            If something stands there already.
        PermissionError
            If the folder cannot be written.
        """
        grid = Grid(sweep.shape, chunk)
        if isinstance(path, Remote):
            return cls.create_in_bucket(path, sweep, grid)
        vectors = [map(len, inner.values()) for inner in sweep.measures.values()]
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
            check_room(path, grid, [*map(math.prod, vectors), len(ENTRIES)])
            spec = spec_of(sweep)
            write_empty(draft, path.stem, spec, grid.chunk)
            Runs(draft / "runs").note("spec-1", {"created": stamp(), **spec})
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
    def create_in_bucket(cls, path: Remote, sweep: Sweep, grid: Grid) -> "Store":
        """Make an empty store where nothing can be renamed: first its spec, and last its root.

        Who writes the spec decides what is made there; who finds it finished helps along, so a
        creation that died is finished by the next.

        Raises
        ------
        FileExistsError
            If another process made it just now, or began to make another one.
        """
        spec = {**spec_of(sweep), "chunk": list(grid.chunk)}
        runs = Runs(path / "runs")
        runs.note("spec-1", {"created": stamp(), **spec})
        begun = runs.read("spec-1")
        if any(begun.get(key) != spec[key] for key in ("axes", "measures", "fingerprint", "chunk")):
            raise FileExistsError(
                f"{path}: somebody began to make the store of another sweep there; choose another "
                "place, or remove what is there."
            )
        if not write_empty(path, path.stem, spec, grid.chunk):
            raise FileExistsError(
                f"{path} was made by another process just now; run the same command again."
            )
        return cls.open(path)

    @classmethod
    def open(cls, path: Place, write: bool = True) -> "Store":
        """Open a store, or say why this is none.

        A growth that stopped midway is finished by whoever may write; for a reader the store is
        what it was before.

        Raises
        ------
        PermissionError
            If the store is to be written and may not be.
        """
        mark, facts = root_mark(path), root_facts(path)  # in this order
        if write and isinstance(path, Path) and not os.access(path, os.W_OK):
            raise PermissionError(f"{path} cannot be written; ask its owner, or copy it elsewhere.")
        if write and intent(path, facts):
            finish(path)
            mark, facts = root_mark(path), root_facts(path)  # in this order
        arrays = open_arrays(path, facts, write)
        axes, measures = facts["spec"]["axes"], facts["spec"]["measures"]
        return cls(
            path=path,
            axes={name: tuple(values) for name, values in axes.items()},
            measures={name: tuple(inner) for name, inner in measures.items()},
            inner={dim: tuple(v) for inner in measures.values() for dim, v in inner.items()},
            grid=Grid(tuple(len(values) for values in axes.values()), arrays["ledger"].chunks[:-1]),
            arrays=arrays,
            facts=facts,
            mark=mark,
        )

    def current(self) -> "Store":
        """Give the store as it is now: this one, unless it has grown since it was opened."""
        if stubborn(lambda: root_mark(self.path)) == self.mark and not intent(
            self.path, self.facts
        ):
            return self
        return Store.open(self.path)

    @property
    def runs(self) -> Runs:
        """The write-once files that say where the results come from."""
        return Runs(self.path / "runs")

    @property
    def since(self) -> dict[str, int]:
        """The number of the first run that knew each measure."""
        firsts: dict[str, Any] = {
            name: self.arrays[name].attrs["since_run"] for name in self.measures
        }
        return {name: int(first) for name, first in firsts.items()}

    def fit(self, sweep: Sweep) -> Fit:
        """Find how a sweep lies in this store, or refuse it, naming what differs."""
        return fit(str(self.path), recall(self.path, self.facts), sweep)

    def pending(self, ledger: Array, retry_failed: bool = False) -> npt.NDArray[np.bool_]:
        """Tell which cells are to be trained, those that lack a newer measure included."""
        return pending(ledger, retry_failed, max(self.since.values()))

    def commit(self, number: int, rows: Rows, run: int, grid: Grid | None = None) -> None:
        """Write what was trained of a chunk: measures, errors, and last the ledger.

        What is settled with a right digest stays as it is; what fails its digest and is not among
        the rows becomes to do again. Whole chunks are written, never parts.

        Parameters
        ----------
        number : int
            The chunk.
        rows : Rows
            What was trained.
        run : int
            By which run.
        grid : Grid, optional
            The grid that the chunk is one of, by default that of this store; the store may have
            grown since.
        """
        now = self.current()
        number, places = (grid or self.grid).find(now.grid, number, rows.places)
        now.commit_here(number, replace(rows, places=places), run)

    def commit_here(self, number: int, rows: Rows, run: int) -> None:
        """Write a chunk of the grid that this store has now.

        Raises
        ------
        OSError
            If the system refuses to write, repeatedly or because the disk is full.
        """
        block, cells = self.grid.block(number), self.grid.cells(number)
        ledger, measures = self.read_chunk(number)
        merged = merge(self.axes, cells, ledger, measures, self.since, rows, run)
        if len(merged.differing):
            cell = describe(self.cell(int(cells[merged.differing[0]])))
            LOG.warning(
                "%s: %d cells did not come out the same when they were trained again for a new "
                "measure (first: %s); they keep what they had",
                self.path,
                len(merged.differing),
                cell,
            )
        own = zip(rows.errors, merged.taken, strict=True)
        texts = [text for text, taken in own if taken]

        def write() -> None:
            for name, values in merged.measures.items():
                self.write(name, block, values.reshape(*lengths(block), *values.shape[1:]))
            self.write_errors(block, rows.places[merged.taken], texts)
            self.write("ledger", block, merged.ledger.reshape(*lengths(block), len(ENTRIES)))

        try:
            stubborn(write)
        except OSError as error:
            if error.errno not in FULL:
                raise
            need = ledger.nbytes + sum(values.nbytes for values in measures.values())
            full = OSError(
                f"no space for chunk {number} of {self.path}, which takes up to {need:,} bytes; "
                "what was committed is kept. Make space, and run the same command again."
            )
            full.errno = error.errno
            raise full from error

    def file(self, name: str, number: int) -> Place:
        """Give the file that holds one chunk of an array, whether it exists or not."""
        index = [*np.unravel_index(number, self.grid.counts)]
        index += [np.intp(0)] * (len(self.arrays[name].shape) - len(index))
        return self.path / name / "".join(["c", *(f".{i}" for i in index)])

    def exists(self, name: str, block: tuple[slice, ...]) -> bool:
        """Tell whether a block may hold anything but the fill value: asking is fast, zarr is not.

        A block of several chunks may if the array has any.
        """
        if isinstance(self.path, Remote):
            return True  # there asking takes as long as reading
        sizes = zip(block, self.grid.chunk, strict=True)
        if any(part.stop > (part.start // n + 1) * n for part, n in sizes):
            return next((self.path / name).glob("c.*"), None) is not None
        index = [part.start // n for part, n in zip(block, self.grid.chunk, strict=True)]
        return self.file(name, int(np.ravel_multi_index(index, self.grid.counts))).exists()

    def read_chunk(self, number: int) -> tuple[Array, dict[str, Array]]:
        """Read one chunk: its ledger, shape (cells, entry), and measures, shape (cells, *inner)."""
        block = self.grid.block(number)
        arrays = {name: self.read(name, block) for name in (*self.measures, "ledger")}
        flat = {n: v.reshape(-1, *v.shape[len(block) :]) for n, v in arrays.items()}
        return flat.pop("ledger"), flat

    def read(self, name: str, block: tuple[slice, ...]) -> Array:
        """Read one chunk; what cannot be decoded is NaN, or no row in the ledger.

        Raises
        ------
        OSError
            If the system refuses to read, repeatedly: then nothing is known to be lost.
        """
        array = self.arrays[name]
        try:
            if not self.exists(name, block):
                return np.full((*lengths(block), *array.shape[len(block) :]), array.fill_value)
            return np.array(stubborn(lambda: array[block]), np.float64)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # codecs raise what they like; the digest tells what is lost
            LOG.warning("%s of %s, chunk %s: %s; taken as lost", name, self.path, block, error)
            shape = (*lengths(block), *array.shape[len(block) :])
            return np.full(shape, array.fill_value, np.float64)

    def write(self, name: str, block: tuple[slice, ...], values: Array) -> None:
        """Write one whole chunk, also when it holds nothing but the fill value."""
        self.arrays[name][block] = values

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
            if not self.exists("error", block):
                return np.full(lengths(block), "", object)
            return np.array(stubborn(lambda: self.arrays["error"][block]), object)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # as in read; nothing depends on the texts
            LOG.warning("error of %s, chunk %s: %s; taken as lost", self.path, block, error)
            return np.full(lengths(block), "", object)

    def read_all(self, name: str) -> Array:
        """Read a whole array; chunks that cannot be read are taken as lost."""
        array = self.arrays[name]
        try:
            return np.array(array[self.grid.everything], np.float64)
        except Exception:  # find the chunk at fault
            values = np.empty((*self.grid.shape, *array.shape[len(self.grid.shape) :]))
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
        since = self.since
        known = np.flatnonzero(flat[:, 0] != State.TODO)
        wrong = np.zeros(len(flat), bool)
        for some in np.array_split(known, len(known) // 10_000 + 1):  # bounds the memory
            there = {name: values[some] for name, values in rows.items()}
            wrong[some] = ~vouched(self.axes, some, flat[some], there, since)
        if wrong.any():
            LOG.warning(
                "%d cells of %s say done but their measures differ from the ledger (first: %s); "
                "tsframe run trains them again",
                wrong.sum(),
                self.path,
                describe(self.cell(int(np.flatnonzero(wrong)[0]))),
            )
        flat[wrong] = 0
        for name, values in rows.items():
            values[~settled(flat) | (flat[:, ENTRIES.index("run")] < since[name])] = np.nan
        return ledger, measures

    def cell(self, number: int) -> dict[str, Value]:
        """Give the cell with this number in store order."""
        index = np.unravel_index(number, self.grid.shape)
        return {name: self.axes[name][i] for name, i in zip(self.axes, index, strict=True)}

    def error(self, number: int) -> str:
        """Give the text of the error of one cell."""
        index = np.unravel_index(number, self.grid.shape)
        return str(self.read_errors(tuple(slice(int(i), int(i) + 1) for i in index)).item())
