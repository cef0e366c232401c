"""What a worker does: train the cells of a chunk, commit them, and leave a mark while it does.

Nothing that a trial does comes out of here as an exception. A chunk whose worker died is marked
in the store; when it is run alone its cells are trained one by one, each named in the mark, so
that the next start knows which of them to blame.
"""

import contextlib
import json
import os
import pickle
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from tsframe.chunks import Grid
from tsframe.ledger import ENTRIES, State
from tsframe.places import place
from tsframe.rows import failed_rows, joined, train_rows
from tsframe.store import Rows, Store
from tsframe.workers.claims import Claim
from tsframe.workers.gpus import device_for
from tsframe.workers.marks import Mark, Marks
from tsframe.workers.pulse import pulse

__all__ = ["DIED", "Came", "Orders", "Task", "blame", "marks_of", "train_chunk"]

DIED = ("WorkerDied:", "TimeLimit:")  # how the errors of cells begin that end their process
COMMIT = 1.0  # seconds of work that a death may cost where cells are trained one by one


@dataclass(frozen=True)
class Orders:
    """What all workers of a run are told.

    Parameters
    ----------
    path : str
        The store.
    grid : Grid
        Its cells and chunks when the run began; it may grow meanwhile.
    run : int
        Number of the run.
    claim : Claim
        On the store; no chunk is begun once it is over.
    device : str
        Where to train.
    threads : int
        Threads for each worker.
    beat : float
        Seconds between touches of a mark.
    orphans : bool
        Whether the workers are children of the process that gave the orders, and leave after it.
    mode : str
        What the engine promises.
    host, pid : str, int
        Where these orders were given.
    """

    path: str
    grid: Grid
    run: int
    claim: Claim
    device: str
    threads: int
    beat: float
    orphans: bool = False
    mode: str = "strict"
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)

    @property
    def at_home(self) -> bool:
        """Whether this is the process that gave the orders, which must not be ended."""
        return (os.getpid(), socket.gethostname()) == (self.pid, self.host)


@dataclass(frozen=True)
class Task:
    """What one worker is told to do.

    Parameters
    ----------
    chunk : int
        Number of the chunk.
    places : array of int
        Positions of the cells in the flattened chunk.
    trials : sequence or bytes
        Their trials, pickled where they travel to another process.
    limit : float
        Seconds that one call of the engine may take.
    alone : bool
        Whether no other chunk is being trained by this run, so that a death tells.
    apart : bool
        Whether to train the cells one by one.
    """

    chunk: int
    places: npt.NDArray[np.intp]
    trials: Sequence[Any] | bytes
    limit: float
    alone: bool = False
    apart: bool = False


@dataclass(frozen=True)
class Came:
    """What came of a chunk.

    Parameters
    ----------
    chunk : int
        Its number.
    counts : Counter
        How many cells ended in each state.
    flops : float
        Predicted work of these cells.
    engine : dict
        What the engine says of itself, in plain values.
    outcome : str
        ``"done"``; ``"suspect"`` if it has killed workers and is to be run alone; ``"again"`` if
        cells are left; ``"over"`` if the run is over; ``"refused"`` if this worker cannot work.
    reason : str
        Why it cannot.
    """

    chunk: int
    counts: Counter[str] = field(default_factory=Counter)
    flops: float = 0.0
    engine: dict[str, Any] = field(default_factory=dict)
    outcome: str = "done"
    reason: str = ""


def train_chunk(orders: Orders, task: Task) -> Came:
    """Train some cells of one chunk and commit them.

    Parameters
    ----------
    orders : Orders
        What holds for the whole run.
    task : Task
        Which cells.

    Returns
    -------
    Came
        What came of the cells; their results are in the store.
    """
    orphan = orders.orphans and not orders.at_home and os.getppid() != orders.pid
    if orphan or orders.claim.over:
        return Came(task.chunk, outcome="over")
    try:
        trials = pickle.loads(task.trials) if isinstance(task.trials, bytes) else task.trials
        device = device_for(orders.device)
        check: Callable[..., None] | None = getattr(type(trials[0]), "check_device", None)
        if check is not None:
            check(trials, device, orders.mode)
        return begin(orders, task, list(trials), device)
    except Exception as error:  # no module, no GPU, no space: no fault of the trials
        where = f"the worker on host {socket.gethostname()}, pid {os.getpid()}"
        reason = f"{where}, cannot go on: {type(error).__name__}: {error}"
        return Came(task.chunk, outcome="refused", reason=reason)


def begin(orders: Orders, task: Task, trials: list[Any], device: str) -> Came:
    """Look at what became of earlier starts of this chunk, and train what they left."""
    store = opened(orders.path, orders.run, orders.claim.token)
    marks, places = marks_of(store), task.places
    counts: Counter[str] = Counter()
    earlier = marks.of(task.chunk, orders.run)
    if len(earlier) >= 2 and not task.alone:
        return Came(task.chunk, outcome="suspect")
    if earlier and task.alone:
        named = np.flatnonzero(places == earlier[-1].cell)
        if len(named):
            rows = blame(
                store, earlier[-1], [trials[i] for i in named.tolist()], task.limit, orders.run
            )
            store.commit(task.chunk, rows, orders.run, orders.grid)
            counts["failed"] += 1
        places, trials = left(store, orders, task.chunk, places, trials)
        if len(earlier) >= 2:
            marks.clear(task.chunk, orders.run)
            return Came(task.chunk, counts, outcome="again")
    # For good: undoing it in one thread would undo it in all. OpenMP alone counts by thread, so a
    # thread at home has to say it again.
    threadpool_limits(orders.threads, user_api="openmp" if orders.at_home else None)
    if not orders.at_home:
        pulse.parent = orders.pid if orders.orphans else None
    corner = tuple(part.start for part in orders.grid.block(task.chunk))
    mark = marks.begin(task.chunk, orders.run, len(earlier), corner)
    engine: dict[str, Any] = {}
    try:
        with pulse.hold(marks, mark, orders.beat):
            if task.apart or (earlier and task.alone):
                engine = one_by_one(orders, task, store, places, trials, device, counts)
            elif trials:
                with limited(orders, task):
                    rows, engine = train_rows(
                        store, places, trials, device, orders.threads, orders.run, orders.mode
                    )
                store.commit(task.chunk, rows, orders.run, orders.grid)
                counts += tally(rows)
    except Exception:  # it did not kill the worker, so nothing is to be suspected
        marks.clear(task.chunk, orders.run)
        raise
    marks.clear(task.chunk, orders.run)
    return Came(task.chunk, counts, sum(trial.flops for trial in trials), plain(engine))


def one_by_one(
    orders: Orders,
    task: Task,
    store: Store,
    places: npt.NDArray[np.intp],
    trials: Sequence[Any],
    device: str,
    counts: Counter[str],
) -> dict[str, Any]:
    """Train cells one after the other, each named in the mark; commit them every now and then."""
    engine: dict[str, Any] = {}
    ready: list[Rows] = []
    since = time.monotonic()

    def commit() -> None:
        nonlocal since
        if ready:
            rows = joined(ready)
            store.commit(task.chunk, rows, orders.run, orders.grid)
            counts.update(tally(rows))
            ready.clear()
        since = time.monotonic()

    for i in range(len(trials)):
        if orders.claim.over:
            break
        pulse.name(task.chunk, orders.run, int(places[i]))
        with limited(orders, task):
            rows, said = train_rows(
                store,
                places[i : i + 1],
                trials[i : i + 1],
                device,
                orders.threads,
                orders.run,
                orders.mode,
            )
        ready.append(rows)
        engine = engine or said
        if time.monotonic() - since > COMMIT:
            commit()
    pulse.name(task.chunk, orders.run, None)
    commit()
    return engine


@contextlib.contextmanager
def limited(orders: Orders, task: Task) -> Iterator[None]:
    """Keep an engine call within its limit by ending the process, unless others live in it."""
    if orders.at_home:
        yield
    else:
        with pulse.within(task.chunk, orders.run, task.limit):
            yield


def left(
    store: Store,
    orders: Orders,
    chunk: int,
    places: npt.NDArray[np.intp],
    trials: Sequence[Any],
) -> tuple[npt.NDArray[np.intp], list[Any]]:
    """Leave out the cells that an earlier start of this run has committed."""
    now = store.current()
    number, spots = orders.grid.find(now.grid, chunk, places)
    ledger = now.read("ledger", now.grid.block(number)).reshape(-1, len(ENTRIES))[spots]
    open_ = (ledger[:, ENTRIES.index("run")] != orders.run) | (ledger[:, 0] == State.TODO)
    return places[open_], [trials[i] for i in np.flatnonzero(open_).tolist()]


def blame(
    store: Store, mark: Mark, trials: Sequence[Any], limit: float, run: int, how: str = ""
) -> Rows:
    """Give the failed row of a cell whose training, alone, was the last that its worker did."""
    seconds = time.time() - mark.began
    if seconds >= limit:
        text = f"{DIED[1]} training this cell alone took longer than {limit:g} s on {mark.host}."
    else:
        text = (
            f"{DIED[0]} the process that trained this cell alone died{how} on {mark.host} after "
            f"{seconds:.1f} s; it may need more memory, or crash in a library."
        )
    return failed_rows(store, np.array([mark.cell], np.intp), trials, [text], run)


def tally(rows: Rows) -> Counter[str]:
    """Count the rows by state."""
    return Counter(State(state).name.lower() for state in rows.states.tolist())


def plain(engine: dict[str, Any]) -> dict[str, Any]:
    """Make values plain that come from a trial, and that no process might be able to send."""
    return dict(json.loads(json.dumps(engine, default=str)))


def marks_of(store: Store) -> Marks:
    """Give the marks of a store."""
    return Marks(store.path / "runs" / "attempts")


@lru_cache(maxsize=4)
def opened(path: str, run: int, token: str) -> Store:
    """Open a store once in each worker and run: nothing but its chunks changes meanwhile."""
    return Store.open(place(path))
