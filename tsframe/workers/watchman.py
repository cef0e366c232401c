"""The watchman of a run: a thread of the main process that tells how the run is, and ends a hang.

It keeps the claim alive, writes for `tsframe status` how far the run is, and watches for signs of
life: results, and the touches of the marks. When there are none, or a chunk in this very process
is over its limit, it takes the main thread out of its wait.
"""

import contextlib
import faulthandler
import json
import logging
import math
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any

from tsframe.places import overwrite, Place
from tsframe.workers.claims import Claim
from tsframe.workers.marks import Mark, Marks
from tsframe.workers.stop import Stopped, Wish

__all__ = ["Watchman"]

LOG = logging.getLogger("tsframe")
TELL = 2.0  # seconds between two looks at the marks, and two words on how the run is
AGAIN = 6.0  # seconds between two calls to the main thread
LAST = 60.0  # seconds that it has to come out of a library before the process ends


class Watchman:
    """Watches a run from a thread of its own; a context manager.

    Parameters
    ----------
    claim : Claim
        On the store, kept alive.
    marks : Marks
        What the workers leave.
    wish : Wish
        Is told why the run has to end.
    pulse : Place
        Where to say how the run is.
    facts : dict
        What to say there besides.
    stall : float
        Seconds without any sign of life after which the run ends.
    beat : float
        Seconds between signs of life.
    heard : bool
        Whether the main thread of this process runs the run and hears signals.
    describe : callable
        Says in words which chunk a mark is of.
    """

    def __init__(
        self,
        claim: Claim,
        marks: Marks,
        wish: Wish,
        pulse: Place,
        facts: dict[str, Any],
        stall: float,
        beat: float,
        heard: bool,
        describe: Callable[[int], str],
    ) -> None:
        self.claim, self.marks, self.wish, self.pulse = claim, marks, wish, pulse
        self.facts, self.stall, self.beat, self.heard = facts, stall, beat, heard
        self.describe = describe
        self.counts: Counter[str] = Counter()
        self.work = 0.0
        self.limits: dict[int, float] = {}  # seconds that a chunk in this process may take
        self.begun = self.alive = time.monotonic()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.watch, name="tsframe watchman", daemon=True)

    def __enter__(self) -> "Watchman":
        self.tell()
        self.thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.over.set()
        self.thread.join()
        with contextlib.suppress(OSError):
            self.pulse.unlink(missing_ok=True)

    def came(self, counts: Counter[str], work: float) -> None:
        """Count what came of a chunk, which is a sign of life."""
        self.counts.update(counts)
        self.work += work
        self.alive = time.monotonic()

    def watch(self) -> None:
        """Look, tell, wait; what the thread does."""
        told = touched = time.monotonic()
        seen = self.marks.signature()
        while not self.over.wait(min(0.25, self.beat)):
            now = time.monotonic()
            if now - touched >= self.beat:
                touched = now
                self.claim.touch()
            if now - told >= min(TELL, self.beat / 2):
                told = now
                self.tell()
                signature = self.marks.signature()
                if signature != seen:
                    seen, self.alive = signature, now
            if self.wish.signum is not None and now > self.wish.deadline:
                self.interrupt(None)
                return
            verdict = self.judge(now)
            if verdict and not self.wish.stop:
                self.interrupt(RuntimeError(verdict))
                return

    def judge(self, now: float) -> str:
        """Say why the run has to end, if it has to."""
        if now - self.alive > self.stall:
            marks = list(self.marks)
            silent = f"no sign of life for {now - self.alive:.0f} s"
            if not marks:
                return (
                    f"no worker has begun anything, {silent}. Is the cluster up, and can its "
                    "workers import tsframe? --stall (stall=) waits longer."
                )
            last = max(marks, key=lambda mark: mark.touched)
            return (
                f"{self.describe(last.chunk)} on host {last.host}, pid {last.pid}: started "
                f"{last.start + 1} time(s), worker gone or stuck, {silent}"
            )
        if self.limits:
            for mark in self.marks:
                limit = self.limits.get(mark.chunk, math.inf)
                if mark.pid == os.getpid() and time.time() - mark.began > limit:
                    return self.late(mark, limit)
        return ""

    def late(self, mark: Mark, limit: float) -> str:
        """Say that a chunk in this process is over its limit."""
        return (
            f"{self.describe(mark.chunk)} takes longer than its limit of {limit:g} s in the main "
            "process, where no worker can be ended. The next run gives it a process of its own"
        )

    def interrupt(self, verdict: Exception | None) -> None:
        """Take the main thread out of its wait; or if it does not come, end the process."""
        self.wish.verdict = verdict
        if not self.heard:
            return  # joblib's own timeout has to do
        if verdict is None and self.wish.signum is not None:
            LOG.warning("%s", Stopped(self.wish.signum))
        for _ in range(round(LAST / AGAIN)):  # raised in a finalizer it would not be heard
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            if self.over.wait(AGAIN):
                return
        if hasattr(sys, "ps1") or "ipykernel" in sys.modules:
            return
        print(f"tsframe: {verdict or 'stopped'}; leaving by force.", file=sys.stderr, flush=True)
        faulthandler.dump_traceback()
        os._exit(3)

    def tell(self) -> None:
        """Say how the run is, whole and at once, for `tsframe status`."""
        facts = {
            **self.facts,
            "counts": self.counts,
            "work_done": self.work,
            "seconds": time.monotonic() - self.begun,
            "beat": self.beat,
        }
        try:
            overwrite(self.pulse, json.dumps(facts))
        except OSError as error:  # a full disk is said by the workers, with what it means
            LOG.debug("cannot write %s: %s", self.pulse, error)
