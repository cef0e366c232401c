"""The pulse of a worker: it touches its marks, keeps to time limits and notices its own orphanage.

One thread a process does all three. What has to work even while a library holds Python's lock, the
end of a process that is over its time, is left to `faulthandler`, which needs no lock.
"""

import contextlib
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from tsframe.workers.marks import Mark, Marks

__all__ = ["Pulse", "pulse"]

PAUSE = 0.5  # seconds between two looks


@dataclass
class Pulse:
    """What the thread knows; there is one a process, `pulse`.

    Parameters
    ----------
    held : dict of Mark to (Marks, float, float)
        The marks in hand, where they are, the seconds between touches, and when they are over
        their limit, on the monotonic clock; infinite if there is none.
    parent : int, optional
        The process that this one should not outlive for long.
    """

    held: dict[tuple[int, int], tuple[Mark, Marks, float]] = field(default_factory=dict)
    limits: dict[tuple[int, int], float] = field(default_factory=dict)
    parent: int | None = None
    pid: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)

    @contextlib.contextmanager
    def hold(self, marks: Marks, mark: Mark, beat: float) -> Iterator[None]:
        """Touch a mark every `beat` seconds for as long as its chunk is in hand."""
        key = (mark.chunk, mark.run)
        with self.lock:
            self.start()
            others = [other for other in self.held if other != key]
            for other in others:
                known, where, pause = self.held[other]
                if not known.shared:
                    self.held[other] = (where.change(known, shared=True), where, pause)
            self.held[key] = (marks.change(mark, shared=True) if others else mark, marks, beat)
        try:
            yield
        finally:
            with self.lock:
                del self.held[key]

    def name(self, chunk: int, run: int, cell: int | None) -> None:
        """Say in the mark which cell is in hand."""
        with self.lock:
            mark, marks, beat = self.held[chunk, run]
            changed = marks.change(mark, cell=cell, began=time.time())
            self.held[chunk, run] = (changed, marks, beat)

    @contextlib.contextmanager
    def within(self, chunk: int, run: int, seconds: float) -> Iterator[None]:
        """End this process, whatever it does, if the block takes longer than so many seconds."""
        with self.lock:
            self.limits[chunk, run] = time.monotonic() + seconds
            self.arm()
        try:
            yield
        finally:
            with self.lock:
                del self.limits[chunk, run]
                self.arm()

    def arm(self) -> None:
        """Set the one timer of the process to the limit that comes first."""
        faulthandler.cancel_dump_traceback_later()
        if self.limits:
            left = max(0.001, min(self.limits.values()) - time.monotonic())
            faulthandler.dump_traceback_later(left, exit=True, file=sys.__stderr__ or 2)

    def start(self) -> None:
        """Start the thread, again in a process that was forked."""
        if self.pid != os.getpid():
            self.pid = os.getpid()
            threading.Thread(target=self.beat, name="tsframe pulse", daemon=True).start()

    def beat(self) -> None:
        """Touch, look for the parent, wait; what the thread does."""
        touched: dict[tuple[int, int], float] = {}
        while True:
            time.sleep(PAUSE)
            now = time.monotonic()
            with self.lock:
                held = dict(self.held)
                if self.parent and os.getppid() != self.parent and not held:
                    os._exit(0)  # an orphan whose last chunk is committed
            for key, (mark, marks, pause) in held.items():
                if now - touched.get(key, now - pause) >= pause - PAUSE / 2:
                    with contextlib.suppress(OSError):  # a file system that is away for a moment
                        marks.touch(mark)
                    touched[key] = now


pulse = Pulse()
