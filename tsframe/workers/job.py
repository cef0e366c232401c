"""A run that holds its store: it trains what is to do and notes how it ended."""

import contextlib
import errno
import os
import socket
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from tsframe.ledger import ENTRIES, State
from tsframe.provenance import stamp
from tsframe.store import Store
from tsframe.watching import watch
from tsframe.workers.chunk import marks_of, Orders
from tsframe.workers.claims import Claim
from tsframe.workers.crew import Crew
from tsframe.workers.shift import BASE, CellFailed, describe_chunk, Shift, Suspects
from tsframe.workers.stop import Halt, listening, Stopped, Wish
from tsframe.workers.watchman import Watchman

__all__ = ["BEAT", "Job", "Terms", "close"]

PASSES = 3  # over what an overlapping writer of a killed run left torn
BEAT = 10.0  # seconds between signs of life


@dataclass(frozen=True)
class Terms:
    """How a run is to go; the arguments of `run` of the same names."""

    limit: float | None
    stall: float
    grace: float | None
    fail_fast: bool
    progress: bool
    mode: str = "strict"


@dataclass(frozen=True)
class Job:
    """A run that holds its store.

    Parameters
    ----------
    trials : sequence
        The trial of every cell, in store order.
    store : Store
        Where the results go.
    crew : Crew
        Who trains.
    held : Claim
        On the store.
    number : int
        Of the run.
    device : str
        Where to train.
    shard : str, optional
        Which part of the chunks it trains.
    mine : array of bool, shape of the grid
        The cells that it may train.
    dead : sequence of int
        Runs that began and can end no more; what they left is checked.
    """

    trials: Sequence[Any]
    store: Store
    crew: Crew
    held: Claim
    number: int
    device: str
    shard: str | None
    mine: npt.NDArray[np.bool_]
    dead: Sequence[int]

    def work(self, todo: npt.NDArray[np.bool_], suspects: Suspects, terms: Terms) -> None:
        """Train what is to do, and note how the run ended.

        Raises
        ------
        RuntimeError
            If it cannot go on.
        Stopped
            If a signal came.
        """
        wish, counts, reason = Wish(), Counter[str](), ""
        try:
            with contextlib.ExitStack() as stack:
                tell = partial(self.held.say, stop=True)
                heard = stack.enter_context(listening(wish, terms.grace, tell))
                watchman = stack.enter_context(self.watchman(todo, wish, terms, heard))
                work = watchman.facts["work"]
                show = stack.enter_context(watch(int(todo.sum()), work, terms.progress))
                orphans = self.crew.backend == "loky"
                shift = Shift(
                    trials=self.trials,
                    store=self.store,
                    crew=self.crew,
                    orders=Orders(
                        str(self.store.path),
                        self.store.grid,
                        self.number,
                        self.held,
                        self.device,
                        self.crew.threads,
                        BEAT,
                        orphans,
                        terms.mode,
                    ),
                    wish=wish,
                    watchman=watchman,
                    show=show,
                    limit=terms.limit,
                    fail_fast=terms.fail_fast,
                    timeout=None if heard else 2 * (terms.limit or BASE) + terms.stall,
                    counts=counts,
                )
                self.passes(shift, todo, suspects)
                if wish.signum is not None:
                    raise Stopped(wish.signum)
            reason = "finished"
        except Halt:
            raise RuntimeError(self.kept(wish.verdict)) from None
        except CellFailed as failed:
            reason = f"{failed}"
            raise
        except KeyboardInterrupt as stopped:
            reason = f"{stopped}" or "interrupted"
            raise
        except TimeoutError as error:
            raise RuntimeError(self.kept(error)) from error
        except RuntimeError as error:
            reason = f"{error}"
            raise RuntimeError(self.kept(error)) from error
        finally:
            self.leave(reason, counts)

    def passes(self, shift: Shift, todo: npt.NDArray[np.bool_], suspects: Suspects) -> None:
        """Go over what is to do; again if dead runs left writers that tore what was committed."""
        for _ in range(PASSES):
            shift.settle(todo, suspects)
            if shift.wish.stop or not self.dead:
                return
            ledger = self.store.load()[0]
            again = ledger[..., ENTRIES.index("run")] != self.number
            todo = self.store.pending(ledger) & again & self.mine
            if not todo.any():
                return

    def watchman(
        self, todo: npt.NDArray[np.bool_], wish: Wish, terms: Terms, heard: bool
    ) -> Watchman:
        """Make the watchman of this run."""
        facts = {
            "run": self.number,
            "cells": int(todo.sum()),
            "work": sum(self.trials[cell].flops for cell in np.flatnonzero(todo).tolist()),
            "workers": self.crew.workers,
            "backend": self.crew.backend,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "shard": self.shard,
        }
        return Watchman(
            claim=self.held,
            marks=marks_of(self.store),
            wish=wish,
            pulse=self.store.path / "runs" / f"{self.number}.pulse.json",
            facts=facts,
            stall=terms.stall,
            beat=BEAT,
            heard=heard,
            describe=partial(describe_chunk, self.store),
        )

    def kept(self, error: Exception | None) -> str:
        """Say why the run ended, what is kept, and what to do."""
        state = self.store.read_all("ledger")[..., 0]
        settled = int((state != State.TODO).sum())
        text = f"{error}".rstrip(". ")
        if os.strerror(errno.ENOSPC) in text:
            inner = sum(array.nbytes for array in self.store.arrays.values())
            text += f"; the rest takes up to {inner * (1 - settled / state.size) / 1e6:.1f} MB"
        return (
            f"{text}. {settled} of {state.size} cells are committed in {self.store.path}; the same "
            "command goes on."
        )

    def leave(self, reason: str, counts: Counter[str]) -> None:
        """Note the end of this run and of those that it checked, if nobody works on for them."""
        if not reason or not (self.crew.local or reason == "finished"):
            return
        marks = marks_of(self.store)
        for mark in [mark for mark in marks if mark.run == self.number]:
            marks.clear(mark.chunk, mark.run)  # who was ended by us is no suspect
        if reason == "finished":
            os.sync()
            close(self.store, self.dead, f"its digests were checked by run {self.number}")
        note = {"end": stamp(), "counts": counts, "reason": reason}
        self.store.runs.note(f"{self.number}.end", note)


def close(store: Store, runs: Sequence[int], reason: str) -> None:
    """Note the end of runs that could not do so themselves."""
    for run in runs:
        store.runs.note(f"{run}.end", {"end": stamp(), "reason": reason})
