"""One run at work: pass after pass over what is missing, until nothing is.

A pass sends the chunks to the crew. A chunk that was in hand when a worker died becomes a suspect
and waits until all others are done; then it is run alone, first in one call, then cell by cell,
and the cell that was in hand when its worker died fails with the reason. So each death settles
something, and the run ends.
"""

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tsframe.axes import describe
from tsframe.chunks import Grid
from tsframe.ledger import ENTRIES, State
from tsframe.store import Store
from tsframe.watching import Show
from tsframe.workers.chunk import blame, Came, DIED, marks_of, Orders, Task
from tsframe.workers.crew import Call, Crew, CrewBroken
from tsframe.workers.stop import Wish
from tsframe.workers.watchman import Watchman

__all__ = ["BASE", "CellFailed", "Shift", "Suspects", "describe_chunk"]

BASE, SLOW = 1800.0, 1e9  # seconds, and operations a second, of a chunk that surely hangs


class CellFailed(RuntimeError):
    """A cell failed in a run that was told to end then."""


@dataclass
class Suspects:
    """What earlier runs say of chunks that end their process.

    Parameters
    ----------
    chunks : set of int
        Chunks that were in hand when their worker died.
    cells : array of bool, shape of the grid
        Cells that have failed because they ended their process.
    """

    chunks: set[int]
    cells: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, store: Store, todo: npt.NDArray[np.bool_], live: Sequence[int]) -> "Suspects":
        """Find them by the marks that dead runs have left, which go, and by the texts of errors."""
        marks, mine = marks_of(store), set(np.unique(store.grid.of_cells()[todo]).tolist())
        chunks = set()
        for mark in [mark for mark in marks if mark.run not in live]:
            chunk = chunk_at(store.grid, mark.corner)
            if chunk is not None and chunk in mine:
                chunks.add(chunk)
                marks.clear(mark.chunk, mark.run)
        cells = np.zeros(todo.shape, bool)
        failed = todo & (store.read_all("ledger")[..., 0] == State.FAILED)
        for chunk in np.unique(store.grid.of_cells()[failed]).tolist():
            block = store.grid.block(chunk)
            texts = store.read_errors(block)
            died = [str(text).startswith(DIED) for text in texts.reshape(-1)]
            cells[block] = np.reshape(died, texts.shape)
        return cls(chunks, cells & failed)


@dataclass
class Shift:
    """A run at work.

    Parameters
    ----------
    trials : sequence
        The trial of every cell, in store order.
    store : Store
        Where the results go.
    crew : Crew
        Who trains.
    orders : Orders
        What they are told.
    wish : Wish
        Whether the run is to end.
    watchman : Watchman
        Is told of every chunk that came back.
    show : callable
        Likewise, for display.
    limit : float, optional
        Seconds that one call of the engine may take.
    fail_fast : bool
        Whether to end at the first cell that fails.
    timeout : float, optional
        For joblib, where nobody else can end a wait.
    """

    trials: Sequence[Any]
    store: Store
    crew: Crew
    orders: Orders
    wish: Wish
    watchman: Watchman
    show: Show
    limit: float | None = None
    fail_fast: bool = False
    timeout: float | None = None
    counts: Counter[str] = field(default_factory=Counter)
    told: set[tuple[str, str]] = field(default_factory=set)

    def settle(self, todo: npt.NDArray[np.bool_], suspects: Suspects) -> None:
        """Train all cells that are to do, those last that may end their process."""
        left = self.by_chunk(todo & ~suspects.cells)
        deaths = dict.fromkeys(suspects.chunks & left.keys(), 1)
        order = np.random.default_rng(self.orders.run).permutation(sorted(left)).tolist()
        barren = 0
        while not self.wish.stop:
            ordinary = [chunk for chunk in order if chunk in left and chunk not in deaths]
            if not ordinary:
                break
            before = len(ordinary)
            try:
                self.together(ordinary, left, deaths)
            except CrewBroken as error:
                self.bury(left, deaths)
                alive = [chunk for chunk in ordinary if chunk in left and chunk not in deaths]
                barren = barren + 1 if len(alive) == before else 0
                if barren > 1:
                    raise RuntimeError(f"workers die before they begin: {error}") from error
        for chunk, number in sorted(deaths.items()):
            if chunk in left and not self.wish.stop:
                self.alone(chunk, left[chunk], apart=number > 1)
        for chunk, places in self.by_chunk(todo & suspects.cells).items():
            if not self.wish.stop:
                self.alone(chunk, places, apart=True)

    def by_chunk(self, todo: npt.NDArray[np.bool_]) -> dict[int, npt.NDArray[np.intp]]:
        """Give the chunks with cells to do, and where these are in their chunk."""
        wanted = todo.reshape(-1)
        chunks = np.unique(self.store.grid.of_cells()[todo]).tolist()
        return {chunk: np.flatnonzero(wanted[self.store.grid.cells(chunk)]) for chunk in chunks}

    def together(
        self, chunks: list[int], left: dict[int, npt.NDArray[np.intp]], deaths: dict[int, int]
    ) -> None:
        """Send chunks to the crew, and strike off what comes back."""

        def tasks() -> Iterator[Task]:
            for chunk in chunks:
                if self.wish.stop:
                    return
                yield self.task(chunk, left[chunk])

        def came(result: Came) -> None:
            if result.outcome == "suspect":
                deaths[result.chunk] = 2
                marks_of(self.store).clear(result.chunk, self.orders.run)
            elif result.outcome == "done":
                left.pop(result.chunk)

        self.run(self.crew.at_work(self.orders, self.timeout), tasks(), came)

    def alone(self, chunk: int, places: npt.NDArray[np.intp], apart: bool) -> None:
        """Run one chunk in a process of its own, again and again until it is settled."""
        crew, barren = self.crew.apart, 0
        while not self.wish.stop and barren < 3:
            remaining = self.remaining(chunk, places)
            if not len(remaining):
                return
            barren = barren + 1 if len(remaining) == len(places) else 0
            places = remaining
            task = self.task(chunk, places, alone=True, apart=apart)
            try:
                self.run(crew.at_work(self.orders, self.timeout), iter([task]), lambda came: None)
            except CrewBroken as error:
                codes = re.search(r"exit codes of the workers are \{(.*?)\}", str(error))
                self.charge(chunk, task, f" ({codes[1]})" if codes else "")
            apart = True
        if barren >= 3:
            raise RuntimeError(f"{self.describe(chunk)} ends its worker before any cell is begun")

    def run(
        self,
        crew: AbstractContextManager[Call],
        tasks: Iterator[Task],
        came: Callable[[Came], None],
    ) -> None:
        """Have tasks done, and look at what comes back."""
        with crew as call:
            results = call(tasks)
            try:
                for result in results:
                    self.count(result.counts, result.flops)
                    self.note(result)
                    came(result)
            finally:
                with warnings.catch_warnings():  # joblib finds an early end worth a warning
                    warnings.simplefilter("ignore")
                    results.close()  # type: ignore[attr-defined]  # it is a generator

    def note(self, came: Came) -> None:
        """Keep what the engine says of itself, and end the run if a worker says it must.

        Raises
        ------
        CellFailed
            If a cell failed and the run is to end then.
        RuntimeError
            If a worker cannot work, or another run took over.
        """
        if came.engine:
            self.store.runs.tell(self.orders.run, came.engine, self.told)
        if came.outcome == "refused":
            raise RuntimeError(came.reason)
        if came.outcome == "over" and not self.wish.stop:
            raise RuntimeError("another run took this one's place")
        if self.fail_fast and came.counts["failed"]:
            raise CellFailed(self.failure(came.chunk))

    def count(self, counts: Counter[str], flops: float) -> None:
        """Count what came of a chunk."""
        self.counts.update(counts)
        self.watchman.came(counts, flops)
        self.show(counts, flops)

    def task(
        self, chunk: int, places: npt.NDArray[np.intp], alone: bool = False, apart: bool = False
    ) -> Task:
        """Make the task of training some cells of a chunk."""
        cells = self.store.grid.cells(chunk)[places]
        trials = [self.trials[cell] for cell in cells]
        limit = self.limit or BASE + sum(trial.flops for trial in trials) / SLOW
        if self.crew.inside and not alone:
            self.watchman.limits[chunk] = limit
        return Task(chunk, places, trials, limit, alone, apart)

    def bury(self, left: dict[int, npt.NDArray[np.intp]], deaths: dict[int, int]) -> None:
        """After the death of a pool: suspect the chunks in hand, strike off what is committed.

        A broken pool takes healthy workers along, so that the marks tell only who may be guilty.
        """
        marks = marks_of(self.store)
        for mark in [mark for mark in marks if mark.run == self.orders.run]:
            deaths[mark.chunk] = deaths.get(mark.chunk, 0) + 1
            marks.clear(mark.chunk, mark.run)
        for chunk in list(left):
            remaining = self.remaining(chunk, left[chunk])
            settled = np.setdiff1d(left[chunk], remaining)
            if len(settled):  # committed, but what came of it was lost with the pool
                ledger = self.store.read("ledger", self.store.grid.block(chunk))
                states = ledger.reshape(-1, len(ENTRIES))[settled, 0]
                cells = self.store.grid.cells(chunk)[settled].tolist()
                counts = Counter(State(state).name.lower() for state in states.tolist())
                self.count(counts, sum(self.trials[cell].flops for cell in cells))
            left[chunk] = remaining
            if not len(remaining):
                left.pop(chunk)

    def charge(self, chunk: int, task: Task, how: str) -> None:
        """After the death of a worker with one chunk alone: fail the cell that it had in hand."""
        marks = marks_of(self.store)
        found = marks.of(chunk, self.orders.run)
        if found and found[-1].cell is not None:
            mark = found[-1]
            number = int(self.store.grid.cells(chunk)[mark.cell])
            rows = blame(self.store, mark, [self.trials[number]], task.limit, self.orders.run, how)
            self.store.commit(chunk, rows, self.orders.run, self.store.grid)
            self.count(Counter(failed=1), self.trials[number].flops)
            if self.fail_fast:
                raise CellFailed(self.failure(chunk))
        marks.clear(chunk, self.orders.run)

    def remaining(self, chunk: int, places: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """Leave out the cells that have been committed since, by this run or an orphan."""
        block = self.store.grid.block(chunk)
        ledger = self.store.read("ledger", block).reshape(-1, len(ENTRIES))[places]
        again = self.store.pending(ledger, retry_failed=True) & (
            (ledger[:, ENTRIES.index("run")] != self.orders.run) | (ledger[:, 0] == State.TODO)
        )
        return np.asarray(places[again])

    def failure(self, chunk: int) -> str:
        """Say which cell of a chunk failed first, and why."""
        ledger = self.store.read("ledger", self.store.grid.block(chunk)).reshape(-1, len(ENTRIES))
        number = int(self.store.grid.cells(chunk)[ledger[:, 0] == State.FAILED][0])
        return (
            f"the cell {describe(self.store.cell(number))} failed, and this run ends at the first "
            f"that does; what was finished is kept. {self.store.error(number)}"
        )

    def describe(self, chunk: int) -> str:
        """Say in words which cells a chunk holds."""
        return describe_chunk(self.store, chunk)


def chunk_at(grid: Grid, corner: Sequence[int]) -> int | None:
    """Find the chunk that begins at a cell, also after the grid has grown."""
    if len(corner) != len(grid.chunk) or any(
        i >= length for i, length in zip(corner, grid.shape, strict=True)
    ):
        return None
    index = [i // length for i, length in zip(corner, grid.chunk, strict=True)]
    return int(np.ravel_multi_index(index, grid.counts))


def describe_chunk(store: Store, chunk: int) -> str:
    """Say in words which cells a chunk holds, e.g. ``chunk (slope=0.1..0.4, width=64)``."""
    parts = []
    for (name, values), part in zip(store.axes.items(), store.grid.block(chunk), strict=True):
        first, last = values[part.start], values[part.stop - 1]
        parts.append(f"{name}={first!r}" + ("" if first == last else f"..{last!r}"))
    return f"chunk ({', '.join(parts)})"
