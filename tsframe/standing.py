"""How a store stands, seen from outside: what is settled, who is at work, when it will be done.

Nothing is asked of the processes at work. All of it is read from the store: its ledger, the marks
of chunks in hand and the small files by which runs tell that they live. What has not been touched
for a while is said to be silent, not taken for dead.
"""

import html
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import xarray as xr

from tsframe.axes import describe
from tsframe.layout import zarr_store
from tsframe.ledger import ENTRIES, State
from tsframe.origins import mixture, Written, written
from tsframe.places import place
from tsframe.store import Store
from tsframe.watching import span
from tsframe.workers.chunk import marks_of
from tsframe.workers.claims import Owner, owners
from tsframe.workers.marks import SILENT
from tsframe.workers.shift import chunk_at, describe_chunk

__all__ = ["Status", "status"]

SHOWN = 8  # chunks in hand, and origins, that are listed
FIRST = 300  # letters of an error that are shown in one line


@dataclass(frozen=True)
class AtWork:
    """A run that has begun and not ended.

    Parameters
    ----------
    run : int
        Its number.
    host, pid : str, int
        Where its main process is.
    backend, workers, shard : str, int, str or None
        Who works for it, and on which part.
    cells, came : int
        How many cells it has to train, and how many of them it has.
    rate : float
        Cells a second so far.
    left : float or None
        Predicted seconds to its end, once something has come.
    silent : float
        Seconds since it was last heard of.
    lives : bool
        Whether it is thought to live: heard of lately, and its process is not known to be gone.
    """

    run: int
    host: str
    pid: int
    backend: str
    workers: int
    shard: str | None
    cells: int
    came: int
    rate: float
    left: float | None
    silent: float
    lives: bool

    def __str__(self) -> str:
        shard = f", shard {self.shard}" if self.shard else ""
        where = f"run {self.run}{shard} on {self.host}, pid {self.pid}"
        if not self.lives:
            return f"{where}: not heard of for {span(self.silent)}, after {self.came} cells"
        left = f", {span(self.left)} left" if self.left is not None else ""
        who = f"{self.workers} worker(s), {self.backend}"
        return f"{where}, {who}: {self.came}/{self.cells} cells, {self.rate:.3g}/s{left}"


@dataclass(frozen=True)
class InHand:
    """A chunk that is being trained.

    Parameters
    ----------
    chunk : str
        Its cells, in words.
    run, host, pid : int, str, int
        By which run, and where.
    seconds : float
        For how long.
    silent : float
        Seconds since its worker was last heard of.
    """

    chunk: str
    run: int
    host: str
    pid: int
    seconds: float
    silent: float

    def __str__(self) -> str:
        silent = f", silent for {span(self.silent)}" if self.silent > SILENT else ""
        return f"{self.chunk} on {self.host}, pid {self.pid}, for {span(self.seconds)}{silent}"


@dataclass(frozen=True)
class Status:
    """How a store stands; ``print`` it, show it in a notebook, or read its parts.

    Parameters
    ----------
    path : str
        The store.
    axes : dict of str to int
        Its axes and their lengths.
    counts : dict of str to int
        How many cells are in each state.
    error : dict or None
        The failed cell of the latest run, its text, and how many have failed.
    runs : tuple of AtWork
        Runs that have begun and not ended.
    hands : tuple of InHand
        Chunks that are being trained.
    origins : tuple of Written
        By what the numbers were made - device, mode, precision, products, versions - and how many
        cells by each.
    """

    path: str
    axes: dict[str, int]
    counts: dict[str, int]
    error: dict[str, Any] | None
    runs: tuple[AtWork, ...]
    hands: tuple[InHand, ...]
    origins: tuple[Written, ...] = ()

    @property
    def cells(self) -> int:
        """Number of cells."""
        return sum(self.counts.values())

    @property
    def running(self) -> bool:
        """Whether a run is at work."""
        return any(run.lives for run in self.runs)

    @property
    def left(self) -> float | None:
        """Predicted seconds until all runs at work are done; None if that is not known."""
        waits = [run.left for run in self.runs if run.lives]
        known = [wait for wait in waits if wait is not None]
        return max(known) if known and len(known) == len(waits) else None

    @property
    def mixture(self) -> str:
        """A warning, if cells may differ in bits for where they come from; else empty."""
        return mixture(group.origin for group in self.origins)

    @property
    def code(self) -> int:
        """Exit code: 0 all cells settled, 1 some failed, 3 some to do."""
        return 3 if self.counts["todo"] else 1 if self.counts["failed"] else 0

    def to_json(self) -> str:
        """Say it in one line of JSON, for scripts."""
        facts = {
            "store": self.path,
            "cells": self.cells,
            **self.counts,
            "error": self.error,
            "running": self.running,
            "rate": sum(run.rate for run in self.runs if run.lives),
            "left": self.left,
            "runs": [asdict(run) for run in self.runs],
            "hands": [asdict(hand) for hand in self.hands],
            "origins": [asdict(group) for group in self.origins],
            "mixture": self.mixture,
        }
        return json.dumps(facts)

    def rows(self) -> list[tuple[str, str]]:
        """Say it in words, for a table; the first row is a summary."""
        named = ", ".join(f"{count} {kind}" for kind, count in self.counts.items() if count)
        rows = [("cells", f"{self.cells:,}: {named}")]
        rows += [("origin", str(group)) for group in self.origins[:SHOWN]]
        if len(self.origins) > SHOWN:
            rows.append(("origin", f"and {len(self.origins) - SHOWN} more origins"))
        rows += [("mixed", self.mixture)] if self.mixture else []
        rows += [("run" if run.lives else "gone", str(run)) for run in self.runs]
        rows += [("in hand", str(hand)) for hand in self.hands[:SHOWN]]
        if len(self.hands) > SHOWN:
            rows.append(("in hand", f"and {len(self.hands) - SHOWN} more chunks"))
        if self.error:
            reason = self.error["text"].partition("\n")[0][:FIRST]
            count, cell = self.error["count"], self.error["cell"]
            rows.append(("failed", f"{count} failed, the last the cell {cell}: {reason}"))
        return rows

    def __str__(self) -> str:
        (_, summary), *rest = self.rows()
        lines = [f"{self.path}: {summary}", *(f"  {name:8}{text}" for name, text in rest)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        settled = self.cells - self.counts["todo"]
        cells = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
            for name, text in self.rows()
        )
        try:
            store = zarr_store(place(self.path))
            shown = xr.open_zarr(store, chunks=None, consolidated=False)._repr_html_()
        except (OSError, ValueError):  # it grows this very moment, or is gone
            shown = ""
        return (
            f"<div><strong>{html.escape(self.path)}</strong> "
            f"<progress value='{settled}' max='{self.cells}'></progress> "
            f"{settled / max(1, self.cells):.0%} settled"
            f"<table>{cells}</table></div>{shown}"
        )


def status(path: str | os.PathLike[str]) -> Status:
    """Look how a store stands; safe while runs are at work on it.

    Parameters
    ----------
    path : path
        The store, e.g. ``stores/NAME.zarr``.

    Returns
    -------
    Status
        What is settled and by what, who is at work, and what failed last.
    """
    store = Store.open(place(path), write=False)
    ledger = store.read_all("ledger").reshape(-1, len(ENTRIES))
    counts = {kind.name.lower(): int((ledger[:, 0] == kind).sum()) for kind in State}
    held = owners(store.path / "runs" / "lock")
    return Status(
        path=str(store.path),
        axes={name: len(values) for name, values in store.axes.items()},
        counts=counts,
        error=last_error(store, ledger),
        runs=tuple(at_work(store, run, held) for run in store.runs.unclean()),
        hands=tuple(in_hand(store)),
        origins=written(ledger, store.runs.origins()),
    )


def last_error(store: Store, ledger: np.ndarray[Any, Any]) -> dict[str, Any] | None:
    """Give the failed cell of the latest run that has one, and why it failed."""
    failed = np.flatnonzero(ledger[:, 0] == State.FAILED)
    if not len(failed):
        return None
    runs = ledger[failed, ENTRIES.index("run")]
    number = int(failed[np.flatnonzero(runs == runs.max())[-1]])
    return {"cell": describe(store.cell(number)), "text": store.error(number), "count": len(failed)}


def at_work(store: Store, number: int, held: list[Owner]) -> AtWork:
    """Read how a run is, from what it says of itself."""
    pulse = store.path / "runs" / f"{number}.pulse.json"
    said: Mapping[str, Any] = store.runs.read(f"{number}.pulse") or store.runs.read(str(number))
    owner = next((owner for owner in held if owner.run == number), None)
    try:
        silent = max(0.0, time.time() - pulse.stat().st_mtime)
    except OSError:
        begun = owner.touched if owner else (pulse.parent / f"{number}.json").stat().st_mtime
        silent = max(0.0, time.time() - begun)
    came = sum(said.get("counts", {}).values())
    seconds, work = float(said.get("seconds", 0.0)), float(said.get("work_done", 0.0))
    left = seconds * (float(said["work"]) - work) / work if work and "work" in said else None
    patience = max(SILENT, 6 * float(said.get("beat", 0.0)))
    return AtWork(
        run=number,
        host=str(said.get("host", "?")),
        pid=int(said.get("pid", 0)),
        backend=str(said.get("backend", "?")),
        workers=int(said.get("workers", said.get("n_jobs", 0))),
        shard=said.get("shard"),
        cells=int(said.get("cells", 0)),
        came=came,
        rate=came / seconds if seconds else 0.0,
        left=left,
        silent=silent,
        lives=silent < patience and not (owner and owner.gone),
    )


def in_hand(store: Store) -> list[InHand]:
    """List the chunks that are being trained, the longest in hand first."""
    hands, now = [], time.time()
    for mark in marks_of(store):
        chunk = chunk_at(store.grid, mark.corner)
        name = "a chunk" if chunk is None else describe_chunk(store, chunk)
        seconds = max(0.0, now - mark.began)
        hands.append(InHand(name, mark.run, mark.host, mark.pid, seconds, mark.silent))
    return sorted(hands, key=lambda hand: -hand.seconds)
