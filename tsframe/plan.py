"""From cells to chunks, by cost and memory; and what a run will take, before it runs.

The shape of a chunk follows from the trials alone, never from a clock or the number of workers,
so the same sweep gives the same store everywhere. A chunk grows along axes whose neighbors share
a data set, then along axes that keep the shape of the student, until it holds about `CHUNK_FLOPS`
of work.
"""

import json
import logging
import math
import os
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tsframe.chunks import Grid
from tsframe.forecast import forecast_memory, forecast_seconds
from tsframe.ledger import Array, pending, State, trained
from tsframe.places import place, stands
from tsframe.selection import choose, Only
from tsframe.store import Store
from tsframe.sweep import Sweep
from tsframe.watching import span

__all__ = ["Plan", "plan"]

CHUNK_FLOPS = 1e12  # about 10 s of one core
CHUNK_BYTES = 64_000_000  # of any one array
CHUNK_CELLS = 10_000  # what a crash may cost, when trials are cheap
OBJECTS_NOTED, OBJECTS_REFUSED = 1e6, 1e7
LOG = logging.getLogger("tsframe")


@dataclass(frozen=True, eq=False)
class Plan:
    """What a sweep will take; ``print`` it, or read its parts.

    Parameters
    ----------
    sweep : Sweep
        What is planned.
    grid : Grid
        Its cells and chunks.
    flops : array, shape (cells,)
        Predicted work of each cell, in floating-point operations.
    ledger : array, shape (cells, entry)
        What the store says of each cell; zeros where there is none.
    workers : int
        How many workers share the work.
    chosen : array of bool, shape (cells,)
        Which cells may be trained; the others are left as they are.
    chunk_of : array of int, shape (cells,)
        In which chunk each lies.
    since : float
        The first run that knows all measures; infinite if some are new.
    grows : str
        What the store is to grow by; empty if it need not.
    """

    sweep: Sweep
    grid: Grid
    flops: Array
    ledger: Array
    workers: int
    chosen: npt.NDArray[np.bool_]
    chunk_of: npt.NDArray[np.intp]
    since: float = 0
    grows: str = ""

    @property
    def cells(self) -> int:
        """Number of cells of the sweep."""
        return self.sweep.size

    @property
    def chunks(self) -> int:
        """Number of chunks of the sweep."""
        return len(self.grid)

    @property
    def done(self) -> int:
        """Number of cells that are done, diverged ones included."""
        return int(trained(self.ledger).sum())

    @property
    def failed(self) -> int:
        """Number of cells that failed, whether or not they are to be trained again."""
        return int((self.ledger[:, 0] == State.FAILED).sum())

    @property
    def pending(self) -> int:
        """Number of cells that the next run trains."""
        return int(self.wanted.sum())

    @property
    def wanted(self) -> npt.NDArray[np.bool_]:
        """Which cells the next run trains, shape (cells,)."""
        return pending(self.ledger, since=self.since) & self.chosen

    @property
    def objects(self) -> int:
        """Number of files of a full store: one a chunk for each measure and for the ledger."""
        return (len(self.sweep.measures) + 1) * self.chunks

    @property
    def bytes(self) -> int:
        """Space that a full store takes, in blocks of 4 KiB, without compression."""
        inner = [*self.sweep.measures.values(), {"entry": (0.0,) * self.ledger.shape[1]}]
        numbers = (math.prod(len(values) for values in dims.values()) for dims in inner)
        cells = math.prod(self.grid.chunk)
        return self.chunks * sum(-(-8 * cells * number // 4096) * 4096 for number in numbers)

    @cached_property
    def estimate(self) -> tuple[float, float, str]:
        """Seconds that the next run takes at least and at most, and what this rests on.

        An estimate, not a bound; see `tsframe.forecast.forecast_seconds`.
        """
        return forecast_seconds(
            self.sweep.trials(), self.flops, self.ledger, self.wanted, self.chunk_of, self.workers
        )

    @cached_property
    def memory(self) -> float | None:
        """Bytes that one worker takes at most, if the trials can tell."""
        return forecast_memory(self.sweep.trials(), self.wanted, self.chunk_of, self.workers)

    def rows(self) -> list[tuple[str, str]]:
        """Say it in words, for a table."""
        axes = " x ".join(f"{name} {len(values)}" for name, values in self.sweep.axes.items())
        chunk = " x ".join(
            f"{name} {length}"
            for name, length in zip(self.sweep.axes, self.grid.chunk, strict=True)
        )
        low, high, basis = self.estimate
        wait = f"{span(low)} to {span(high)} on {self.workers} worker(s), {basis}"
        return [
            ("cells", f"{self.cells:,} = {axes}"),
            ("chunks", f"{self.chunks:,} of {chunk}"),
            *([("grows by", self.grows)] if self.grows else []),
            ("done", f"{self.done:,}"),
            ("failed", f"{self.failed:,}"),
            ("to train", f"{self.pending:,}"),
            ("measures", ", ".join(self.sweep.measures)),
            ("disk", f"{self.bytes / 1e6:,.2f} MB in {self.objects:,} files"),
            *([("memory", f"{self.memory / 1e9:.2f} GB a worker")] if self.memory else []),
            ("time", wait if self.pending else "nothing to train"),
        ]

    def __str__(self) -> str:
        return "\n".join(f"{name:9}{text}" for name, text in self.rows())

    def to_json(self) -> str:
        """Say it in JSON, for scripts."""
        low, high, basis = self.estimate
        return json.dumps(
            {
                "cells": self.cells,
                "axes": {name: list(values) for name, values in self.sweep.axes.items()},
                "chunk": dict(zip(self.sweep.axes, self.grid.chunk, strict=True)),
                "chunks": self.chunks,
                "done": self.done,
                "failed": self.failed,
                "pending": self.pending,
                "grows": self.grows,
                "measures": list(self.sweep.measures),
                "objects": self.objects,
                "bytes": self.bytes,
                "flops": float(self.flops.sum()),
                "workers": self.workers,
                "memory": self.memory,
                "seconds": [low, high],
                "basis": basis,
            }
        )


def plan(
    sweep: Sweep,
    store: str | os.PathLike[str] | None = None,
    *,
    chunk: Mapping[str, int] | None = None,
    n_jobs: int | None = None,
    only: Only | None = None,
) -> Plan:
    """Plan a sweep: build and check all its trials, cut the grid into chunks, count what is done.

    Parameters
    ----------
    sweep : Sweep
        What is to be run.
    store : path, optional
        The store; where it exists the sweep must fit into it, which may grow, and its chunks are
        kept.
    chunk : mapping of str to int, optional
        Length of a chunk along the axes named; the others are chosen.
    n_jobs : int, optional
        Number of workers to predict the time for; by default one a CPU core.
    only : mapping, DataArray or array of bool, optional
        Which cells to train, as in `run`.

    Returns
    -------
    Plan
        The chunks, what is done, and what the rest will take.

    Raises
    ------
    TypeError
        If `sweep` is no Sweep.
    ValueError
        If the store holds another sweep, the chunk cannot be or is not the one of the store, the
        store would have more than 1e7 files, or `only` does not fit the grid.
    """
    if not isinstance(sweep, Sweep):
        raise TypeError(f"a sweep is made by Sweep(function, axis=values, ...); got {sweep!r:.80}.")
    chosen = choose(sweep.axes, only).reshape(-1)
    path = None if store is None else place(store)
    workers = n_jobs or os.cpu_count() or 1
    if path is not None and stands(path):
        opened = Store.open(path, write=False)
        made = resumed(sweep, opened, chunk or {}, workers, chosen)
    else:
        flops = costs_of(sweep)
        grid = Grid(sweep.shape, chunk_shape(sweep, flops, chunk or {}))
        blank = np.zeros((sweep.size, 6))
        made = Plan(sweep, grid, flops, blank, workers, chosen, grid.of_cells().reshape(-1))
    if made.objects > OBJECTS_NOTED:
        text = (
            f"{sweep.size:.2g} cells in chunks of {math.prod(made.grid.chunk)} make "
            f"{made.objects:.2g} files, limit {OBJECTS_REFUSED:.0e}; enlarge the chunk or cut an "
            "axis."
        )
        if made.objects > OBJECTS_REFUSED:
            raise ValueError(text)
        LOG.warning(text)
    return made


def costs_of(sweep: Sweep) -> Array:
    """Give the predicted work of each cell."""
    return np.array([trial.flops for trial in sweep.trials()], np.float64)


def resumed(
    sweep: Sweep,
    store: Store,
    chunk: Mapping[str, int],
    workers: int,
    chosen: npt.NDArray[np.bool_],
) -> Plan:
    """Plan what a store lacks of a sweep; its chunks are kept."""
    fit = store.fit(sweep)
    kept = dict(zip(sweep.dims, store.grid.chunk, strict=True))
    first = store.runs.read("spec-1").get("axes", store.axes)  # what the chunk was cut to
    fixed = {axis: min(n, len(first[axis])) for axis, n in fixed_lengths(sweep, chunk).items()}
    if fixed.items() - kept.items():
        raise ValueError(
            f"{store.path} has chunks of {kept}, which stay for its life; got chunk={dict(chunk)}. "
            "Leave the chunk out, or use a new store."
        )
    rows = fit.embedded(store.read_all("ledger")).reshape(fit.whole.size, -1)
    grid, cells = Grid(fit.whole.shape, store.grid.chunk), fit.cells.reshape(-1)
    return Plan(
        sweep,
        grid,
        costs_of(fit.whole)[cells],
        rows[cells],
        workers,
        chosen,
        grid.of_cells().reshape(-1)[cells],
        math.inf if fit.measures else max(store.since.values()),
        str(fit) if fit.grows else "",
    )


def chunk_shape(sweep: Sweep, flops: Array, fixed: Mapping[str, int]) -> tuple[int, ...]:
    """Choose how many cells a chunk holds along each axis; some lengths may be fixed."""
    widest = max(math.prod(len(v) for v in inner.values()) for inner in sweep.measures.values())
    block = dict.fromkeys(sweep.axes, 1) | fixed_lengths(sweep, fixed)
    megabytes = math.prod(block.values()) * widest * 8 / 1e6
    if megabytes > CHUNK_BYTES / 1e6:
        raise ValueError(
            f"a chunk of {dict(fixed)} is {megabytes:.0f} MB (limit {CHUNK_BYTES / 1e6:.0f} MB); "
            "make it shorter along some axis."
        )
    costs = flops.reshape(sweep.shape)
    target = min(CHUNK_FLOPS, max(CHUNK_FLOPS / 10, float(costs.sum()) / 16))
    most: int = min(CHUNK_CELLS, CHUNK_BYTES // (8 * widest))
    least = 500 if sweep.size > 1e6 else 1  # else a large sweep makes too many small files

    def fits(shape: tuple[int, ...]) -> bool:
        cells = math.prod(shape)
        if cells > most or cells <= least:
            return cells <= most
        works = block_sums(costs, shape)
        largest = max(3 * target, 1.5 * float(costs.max()))  # else one chunk outlasts all others
        return float(works.mean()) <= target and float(works.max()) <= largest

    for axis in growth_order(sweep):
        if axis in fixed:
            continue
        length = len(sweep.axes[axis])
        for parts in range(1, length + 1):
            block[axis] = -(-length // parts)
            if fits(tuple(block.values())):
                break
        if block[axis] < length:
            break
    return tuple(block.values())


def fixed_lengths(sweep: Sweep, chunk: Mapping[str, int]) -> dict[str, int]:
    """Check the lengths of a chunk that the user fixed, and cut them to the axes."""
    for axis, length in chunk.items():
        if axis not in sweep.axes:
            axes = ", ".join(sweep.axes)
            raise ValueError(f"chunk names '{axis}', which is no axis; the axes are {axes}.")
        if type(length) is not int or length < 1:
            raise ValueError(f"chunk of '{axis}' is {length!r}; it must be an integer >= 1.")
    return {axis: min(length, len(sweep.axes[axis])) for axis, length in chunk.items()}


def block_sums(costs: Array, shape: tuple[int, ...]) -> Array:
    """Sum costs over the blocks of this shape."""
    for axis, length in enumerate(shape):
        costs = np.add.reduceat(costs, np.arange(0, costs.shape[axis], length), axis=axis)
    return costs


def growth_order(sweep: Sweep) -> list[str]:
    """Order the axes: those that keep the data set first, then those that keep the shape."""
    trials = sweep.trials()
    shared = alike(numbered(trial.sharing_key for trial in trials).reshape(sweep.shape))
    shaped = alike(numbered(trial.shape_key for trial in trials).reshape(sweep.shape))
    places = range(len(sweep.dims))
    order = sorted(places, key=lambda i: (not shared[i], not shaped[i], -i))
    return [sweep.dims[i] for i in order]


def numbered(keys: Iterable[Hashable]) -> npt.NDArray[np.intp]:
    """Give equal keys equal numbers."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.intp)


def alike(numbers: npt.NDArray[np.intp]) -> list[bool]:
    """Tell for each axis whether most neighbors along it have equal numbers."""
    return [
        length == 1 or bool(np.count_nonzero(np.diff(numbers, axis=axis)) * 2 < numbers.size)
        for axis, length in enumerate(numbers.shape)
    ]
