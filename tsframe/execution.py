"""Run what is missing of a sweep, through joblib.

`run` finds the cells that the store does not vouch for and sends their chunks to workers. A
worker trains a chunk in one call and commits it itself, so a finished chunk is never lost,
whatever happens to the main process; the same command goes on where the last one stopped. This is
the only file that imports joblib.
"""

import contextlib
import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import numpy.typing as npt
import xarray as xr
from joblib.parallel import get_active_backend
from threadpoolctl import threadpool_limits

from tsframe.axes import describe
from tsframe.chunks import Grid
from tsframe.growth import grow
from tsframe.ledger import ENTRIES, State
from tsframe.opening import open_store
from tsframe.plan import plan
from tsframe.provenance import facts, stamp
from tsframe.rows import train_rows
from tsframe.selection import Only
from tsframe.store import Store
from tsframe.sweep import Sweep
from tsframe.watching import watch

__all__ = ["CellFailed", "run"]

LOG = logging.getLogger("tsframe")
IDLE = 30  # seconds after which a worker without work leaves
PASSES = 3  # over what an overlapping writer of a killed run left torn


@dataclass(frozen=True)
class Crew:
    """Who does the work.

    Parameters
    ----------
    backend : str
        Name of joblib's backend.
    workers : int
        How many train at once.
    threads : int
        How many threads each of them uses.
    """

    backend: str
    workers: int
    threads: int


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
        What the engine says of itself.
    """

    chunk: int
    counts: Counter[str]
    flops: float
    engine: dict[str, Any]


class CellFailed(RuntimeError):
    """A cell failed in a run that was told to end then."""


def run(
    sweep: Sweep,
    store: str | os.PathLike[str],
    *,
    n_jobs: int | None = None,
    device: str = "auto",
    chunk: Mapping[str, int] | None = None,
    only: Only | None = None,
    retry_failed: bool = False,
    fail_fast: bool = False,
    progress: bool = True,
) -> xr.Dataset:
    """Train what is missing of a sweep, commit it chunk by chunk, and open the results.

    Running it again trains only what is still missing. A store grows by the values and measures
    that the sweep has and it lacks; what it holds stays to the bit, and values that the sweep
    lacks stay as they are. Under ``joblib.parallel_config`` the
    backend and the number of workers given there are used.

    Parameters
    ----------
    sweep : Sweep
        What is to be run.
    store : path
        The store, e.g. ``"stores/NAME.zarr"``; it is made if it does not exist.
    n_jobs : int, optional
        Number of workers; -1 means one a CPU core, which is the default unless a GPU is at work.
        The cores are shared out among the workers.
    device : str
        Where to train, as the trials understand it: ``"auto"``, ``"cpu"`` or ``"cuda"``.
    chunk : mapping of str to int, optional
        Length of a chunk along some axes, for a new store.
    only : mapping, DataArray or array of bool, optional
        Which cells to train; the others stay as they are. ``{"width": [10, 30], "slope":
        slice(0.1, 0.5)}`` gives values of some axes, a list, one, or a range with both ends; a
        DataArray of booleans chooses by its coordinates, a plain array by the store order.
    retry_failed : bool
        Whether to train failed cells again even if they have failed twice.
    fail_fast : bool
        Whether to end the run with `CellFailed` at the first cell that fails; else the failed
        cells are kept as such and all others trained.
    progress : bool
        Whether to show a live display when stderr is a terminal, and log lines when it is not.

    Returns
    -------
    xarray.Dataset
        What `open_store` gives.
    """
    crew = muster(n_jobs, device)
    path = Path(store)
    planned = plan(sweep, path, chunk=chunk, n_jobs=crew.workers, only=only)
    chosen = planned.chosen.reshape(sweep.shape)
    if path.exists():
        fit = grow(path, sweep)
        opened, sweep, mine = Store.open(path), fit.whole, fit.spread(chosen)
    else:
        opened = Store.create(path, sweep, planned.grid.chunk)
        mine = chosen
    ledger = opened.load()[0]
    todo = opened.pending(ledger, retry_failed) & mine
    unclean = opened.runs.unclean()
    if not todo.any():
        LOG.info("%s: nothing to train", path)
        close(opened, unclean, "checked by a run that found nothing to train")
        return open_store(path)
    number = opened.runs.begin(
        {
            **facts(sweep.file),
            "spec_version": opened.facts["spec_version"],
            "backend": crew.backend,
            "n_jobs": crew.workers,
            "threads": crew.threads,
            "device": device,
            "source": sweep.source,
        }
    )
    counts: Counter[str] = Counter()
    for _ in range(PASSES):
        counts += one_pass(sweep, opened, todo, number, crew, device, progress, fail_fast)
        if not unclean:
            break
        ledger = opened.load()[0]
        todo = opened.pending(ledger) & mine & (ledger[..., 2] != number)
        if not todo.any():
            break
    os.sync()
    close(opened, unclean, f"its digests were checked by run {number}")
    opened.runs.note(f"{number}.end", {"end": stamp(), "counts": counts, "reason": "finished"})
    return open_store(path)


def close(store: Store, runs: Sequence[int], reason: str) -> None:
    """Note the end of runs that could not do so themselves."""
    for run in runs:
        store.runs.note(f"{run}.end", {"end": stamp(), "reason": reason})


def one_pass(
    sweep: Sweep,
    store: Store,
    todo: npt.NDArray[np.bool_],
    number: int,
    crew: Crew,
    device: str,
    progress: bool,
    fail_fast: bool,
) -> Counter[str]:
    """Send the chunks of all cells that are to do to the workers, and count what came of them."""
    trials = sweep.trials()
    chunks = np.unique(store.grid.of_cells()[todo])
    order = np.random.default_rng(number).permutation(chunks)  # not all in one bad corner
    wanted = todo.reshape(-1)

    def tasks() -> Iterator[Any]:
        for chunk in order.tolist():
            cells = store.grid.cells(chunk)
            places = np.flatnonzero(wanted[cells])
            members = [trials[cell] for cell in cells[places]]
            yield joblib.delayed(train_chunk)(
                str(store.path), store.grid, chunk, places, members, number, device, crew.threads
            )

    counts: Counter[str] = Counter()
    work = sum(trials[cell].flops for cell in np.flatnonzero(wanted))
    known = False
    with watch(int(wanted.sum()), work, progress) as show, workers(crew) as call:
        try:
            for came in call(tasks()):
                if came.engine and not known:
                    known = store.runs.note(f"{number}.engine", came.engine)
                counts.update(came.counts)
                show(came.counts, came.flops)
                if fail_fast and came.counts["failed"]:
                    raise CellFailed(failure(store, came.chunk))
        except BrokenProcessPool as error:
            raise RuntimeError(
                f"a worker died while training (out of memory?): {error}. What was finished is in "
                f"{store.path}; the same command goes on, fewer workers need less memory."
            ) from error
    return counts


def failure(store: Store, chunk: int) -> str:
    """Say which cell of a chunk failed first, and why."""
    ledger = store.read("ledger", store.grid.block(chunk)).reshape(-1, len(ENTRIES))
    number = int(store.grid.cells(chunk)[ledger[:, 0] == State.FAILED][0])
    return (
        f"the cell {describe(store.cell(number))} failed, and this run ends at the first that "
        f"does; what was finished is kept. {store.error(number)}"
    )


def muster(n_jobs: int | None, device: str) -> Crew:
    """Settle the number of workers and of threads of each.

    Raises
    ------
    ValueError
        If the number of workers is neither positive nor -1, or the device has no known name.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        raise ValueError(f"device must be auto, cpu, cuda, cuda:N or mps; got {device!r}.")
    backend, given = get_active_backend()
    configured: int | None = given  # None unless joblib.parallel_config says otherwise
    name = type(backend).__name__.removesuffix("Backend").lower()
    wanted = configured if n_jobs is None else n_jobs
    if wanted is not None and (type(wanted) is not int or (wanted < 1 and wanted != -1)):
        raise ValueError(
            f"n_jobs must be an integer >= 1, or -1 for one worker a core; got {wanted!r}."
        )
    if wanted is None:
        wanted = 1 if name == "loky" and on_gpu(device) else -1
    count = joblib.effective_n_jobs(wanted)
    local = name in ("loky", "threading", "sequential", "multiprocessing")
    return Crew(name, count, max(1, joblib.cpu_count() // count) if local else 1)


def on_gpu(device: str) -> bool:
    """Tell whether training will happen on a GPU of NVIDIA, as far as can be told without torch."""
    if device != "auto":
        return device.startswith("cuda")
    return Path("/dev/nvidiactl").exists() and os.environ.get("CUDA_VISIBLE_DEVICES", "0") != ""


@contextlib.contextmanager
def workers(crew: Crew) -> Iterator["joblib.Parallel[Any]"]:
    """Hold the workers.

    Yields
    ------
    joblib.Parallel
        To be called with the tasks; gives what they return as they finish.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(threadpool_limits(crew.threads))  # undoes it for workers in here
        if crew.backend == "loky":
            stack.enter_context(
                joblib.parallel_config(
                    "loky", inner_max_num_threads=crew.threads, idle_worker_timeout=IDLE
                )
            )
        yield joblib.Parallel(
            n_jobs=crew.workers,
            return_as="generator_unordered",
            batch_size=1,
            pre_dispatch="2*n_jobs",
            max_nbytes=None,
        )


def train_chunk(
    path: str,
    grid: Grid,
    chunk: int,
    places: npt.NDArray[np.intp],
    trials: Sequence[Any],
    number: int,
    device: str,
    threads: int,
) -> Came:
    """Train some cells of one chunk and commit them; what the worker does.

    Parameters
    ----------
    path : str
        The store.
    grid : Grid
        What its grid was when the run began; it may have grown since.
    chunk : int
        Number of the chunk in that grid.
    places : array of int
        Positions of the cells in the flattened chunk.
    trials : sequence
        Their trials.
    number : int
        Number of the run.
    device : str
        Where to train.
    threads : int
        Threads to use.

    Returns
    -------
    Came
        What came of the cells; their results are in the store.
    """
    store = Store.open(Path(path))
    threadpool_limits(threads)  # for good: its undoing in one thread would undo it in all
    rows, engine = train_rows(store, places, trials, device, threads)
    store.commit(chunk, rows, number, grid)
    states = Counter(State(state).name.lower() for state in rows.states.tolist())
    return Came(chunk, states, sum(trial.flops for trial in trials), engine)
