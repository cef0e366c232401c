"""Run what is missing of a sweep, through joblib.

`run` finds the cells that the store does not vouch for and sends their chunks to workers. A
worker trains a chunk in one call and commits it itself, so a finished chunk is never lost,
whatever happens to the main process; the same command goes on where the last one stopped.
"""

import contextlib
import logging
import os
import re
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

from tsframe.axes import describe
from tsframe.chunks import Grid
from tsframe.contract import check_mode
from tsframe.growth import grow
from tsframe.ledger import State
from tsframe.opening import open_store, view
from tsframe.places import Place, place, stands
from tsframe.plan import Plan, plan
from tsframe.provenance import facts
from tsframe.selection import Only
from tsframe.store import Store
from tsframe.sweep import Sweep
from tsframe.workers.claims import claim, owners
from tsframe.workers.crew import Crew, dismiss, muster
from tsframe.workers.job import close, Job, Terms
from tsframe.workers.shift import CellFailed, Suspects
from tsframe.workers.stop import Stopped

__all__ = ["STALL", "CellFailed", "Stopped", "in_shard", "read_shard", "run"]

LOG = logging.getLogger("tsframe")
STALL = 600.0  # seconds without one after which a run ends


def run(
    sweep: Sweep,
    store: str | os.PathLike[str],
    *,
    n_jobs: int | None = None,
    device: str = "auto",
    mode: str = "strict",
    chunk: Mapping[str, int] | None = None,
    only: Only | None = None,
    shard: str | None = None,
    retry_failed: bool = False,
    fail_fast: bool = False,
    check_first: bool = False,
    limit: float | None = None,
    stall: float = STALL,
    grace: float | None = None,
    force: bool = False,
    progress: bool = True,
) -> xr.Dataset:
    """Train what is missing of a sweep, commit it chunk by chunk, and open the results.

    Running it again trains only what is still missing. A store grows by the values and measures
    that the sweep has and it lacks; what it holds stays to the bit, and values that the sweep
    lacks stay as they are. Under ``joblib.parallel_config`` the backend and the number of workers
    given there are used. The first Ctrl-C, SIGTERM or SIGUSR1
    lets the chunks in hand finish, the second drops them; both end in `Stopped`.

    Parameters
    ----------
    sweep : Sweep
        What is to be run.
    store : path
        The store, e.g. ``"stores/NAME.zarr"`` or ``"s3://BUCKET/NAME.zarr"``; it is made if it
        does not exist.
    n_jobs : int, optional
        Number of workers; -1 means one a CPU core, which is the default unless GPUs are at work,
        each of which has one. The cores are shared out among the workers.
    device : str
        Where to train, as the trials understand it: ``"auto"``, ``"cpu"`` or ``"cuda"``.
    mode : str
        ``"strict"``: a student has the same bits in any batch. ``"fast"``: on a GPU, the same to
        rounding only; see `tsframe.train`.
    chunk : mapping of str to int, optional
        Length of a chunk along some axes, for a new store.
    only : mapping, DataArray or array of bool, optional
        Which cells to train; the others stay as they are. ``{"width": [10, 30], "slope":
        slice(0.1, 0.5)}`` gives values of some axes, a list, one, or a range with both ends; a
        DataArray of booleans chooses by its coordinates, a plain array by the store order.
    shard : str, optional
        ``"i/N"`` with 0 <= i < N trains one of N parts of the chunks, so that N processes, each
        with its own shard, share the work on one store.
    retry_failed : bool
        Whether to train failed cells again even if they have failed twice.
    fail_fast : bool
        Whether to end the run with `CellFailed` at the first cell that fails; else the failed
        cells are kept as such and all others trained.
    check_first : bool
        Whether to train the cheapest cell twice before all others, in two processes of this
        machine and beside the store, and to refuse the sweep if it fails or comes out otherwise
        the second time.
    limit : float, optional
        Seconds that one call of the engine may take, by default half an hour and more for costly
        chunks. A chunk over its limit is trained again cell by cell; a cell over it fails.
    stall : float
        Seconds without any sign of life from a worker after which the run ends with an error.
    grace : float, optional
        Seconds that chunks in hand have to finish after a signal; by default 20, or 100 after
        SIGUSR1.
    force : bool
        Whether to run even though another run holds the store; its workers then stop.
    progress : bool
        Whether to show a live display when stderr is a terminal, and log lines when it is not.

    Returns
    -------
    xarray.Dataset
        What `open_store` gives.

    """
    crew = muster(n_jobs, device)
    read_shard(shard)
    check_seconds(limit=limit, stall=stall, grace=grace)
    path = place(store)
    planned = plan(sweep, path, chunk=chunk, n_jobs=crew.workers, only=only)
    check_mode(sweep.trials(), mode)
    terms = Terms(limit, stall, grace, fail_fast, progress, mode)
    if check_first and planned.pending:
        rehearse(planned, crew, device, terms)
    make(path, sweep, planned)
    return carry_out(planned, path, crew, device, shard, terms, retry_failed, force)


def carry_out(
    planned: Plan,
    path: Place,
    crew: Crew,
    device: str,
    shard: str | None,
    terms: Terms,
    retry_failed: bool = False,
    force: bool = False,
) -> xr.Dataset:
    """Train what is missing in a store that stands; the arguments are those of `run`."""
    sweep, part = planned.sweep, read_shard(shard)
    name = f"{part[0]}-{part[1]}" if part else "all"
    with claim(path / "runs" / "lock", name, force) as held:
        fit, opened = grow(path, sweep), Store.open(path)
        while fit.whole.shape != opened.grid.shape:  # another shard has just let it grow
            fit, opened = grow(path, sweep), Store.open(path)
        chosen = fit.spread(planned.chosen.reshape(sweep.shape))
        mine = chosen & in_shard(opened.grid, part)
        ledger, measures = opened.load()
        todo = opened.pending(ledger, retry_failed) & mine
        dead, live = roll_call(opened, shard)
        if not todo.any():
            LOG.info("%s: nothing to train", path)
            close(opened, dead, "checked by a run that found nothing to train")
            return view(opened, ledger, measures)
        number = opened.runs.begin(
            {
                **facts(sweep.file),
                "spec_version": opened.facts["spec_version"],
                "backend": crew.backend,
                "n_jobs": crew.workers,
                "threads": crew.threads,
                "device": device,
                "mode": terms.mode,
                "shard": shard,
                "source": sweep.source,
                "optional": fit.whole.optional,
            }
        )
        held.say(run=number)
        job = Job(fit.whole.trials(), opened, crew, held, number, device, shard, mine, dead)
        suspects = Suspects.of(opened, todo, [*live, number])
        job.work(todo, suspects, terms)
    return open_store(path)


def rehearse(planned: Plan, crew: Crew, device: str, terms: Terms) -> None:
    """Train the cheapest cell that is to be trained twice, each time into a store of its own.

    Raises
    ------
    ValueError
        If it fails, or does not come out the same.
    """
    sweep = planned.sweep
    cell = sweep.cell(int(np.where(planned.wanted, planned.flops, np.inf).argmin()))
    one = sweep.over(**{name: [value] for name, value in cell.items()})
    apart = Crew("loky", 2, crew.threads)
    came = []
    for _ in range(2):
        with tempfile.TemporaryDirectory(prefix="tsframe-") as folder:
            path = Path(folder) / "first.zarr"
            alone = plan(one, path)
            make(path, one, alone)
            came.append(carry_out(alone, path, apart, device, None, replace(terms, progress=False)))
        dismiss()  # the second time in another process
    first, second = (dataset.squeeze() for dataset in came)
    if first["state"] == State.FAILED:
        raise ValueError(
            f"the cell {describe(cell)}, which was trained before all others, fails: "
            f"{str(first['error'].item()).partition(chr(10))[0]} Nothing else was trained."
        )
    names = [str(name) for name in first.data_vars if name in one.measures]
    told = [
        f"{name} {float(old.flat[at])!r}, {float(new.flat[at])!r}"
        for name in names
        for old, new in [(np.atleast_1d(first[name].values), np.atleast_1d(second[name].values))]
        for at in np.flatnonzero(~((old == new) | (np.isnan(old) & np.isnan(new))))[:1]
    ]
    if told or first["state"] != second["state"]:
        raise ValueError(
            f"two trainings of the cell {describe(cell)} differ: {'; '.join(told) or 'its state'}. "
            "Resuming would mix them, so nothing else was trained; let the trial alone decide all "
            "random numbers."
        )


def make(path: Place, sweep: Sweep, planned: Plan) -> None:
    """Make the store if there is none; of several processes that try, one makes it for all."""
    with contextlib.suppress(FileExistsError):
        if stands(path):
            Store.open(path)  # or say why that cannot be
        else:
            Store.create(path, sweep, planned.grid.chunk)


def roll_call(store: Store, shard: str | None) -> tuple[list[int], list[int]]:
    """Tell which runs have died without an end, and which live.

    A shard looks only after earlier runs of the same shard.
    """
    folder = store.path / "runs" / "lock"
    live = [owner.run for owner in owners(folder) if owner.run and not owner.gone]
    dead = [run for run in store.runs.unclean() if run not in live]
    if shard:
        dead = [run for run in dead if store.runs.read(str(run)).get("shard") == shard]
    return dead, live


def read_shard(shard: str | None) -> tuple[int, int] | None:
    """Read ``i/N``.

    Raises
    ------
    ValueError
        If it is something else.

    Examples
    --------
    >>> read_shard("3/10")
    (3, 10)
    """
    if shard is None:
        return None
    found = re.fullmatch(r"(\d+)/(\d+)", shard) if isinstance(shard, str) else None
    if not found or int(found[1]) >= int(found[2]):
        raise ValueError(
            f"shard must be 'i/N' with 0 <= i < N, e.g. '0/4' to '3/4'; got {shard!r}."
        )
    return int(found[1]), int(found[2])


def in_shard(grid: Grid, part: tuple[int, int] | None) -> npt.NDArray[np.bool_]:
    """Tell for each cell whether its chunk is of this part, whatever is to do.

    The chunks are dealt out in an order that looks random, so that each part has its share of
    every corner of the grid, and that is the same on every machine.
    """
    if part is None:
        return np.ones(grid.shape, bool)
    sums = np.array([zlib.crc32(b"%d" % chunk) for chunk in range(len(grid))])
    rank = np.argsort(np.argsort(sums, kind="stable"), kind="stable")
    return np.asarray((rank % part[1] == part[0])[grid.of_cells()], bool)


def check_seconds(**waits: float | None) -> None:
    """Refuse a time that is none.

    Raises
    ------
    ValueError
        If it is not positive.
    """
    for name, seconds in waits.items():
        if seconds is not None and not (isinstance(seconds, int | float) and seconds > 0):
            raise ValueError(f"{name} must be a number of seconds > 0; got {seconds!r}.")
