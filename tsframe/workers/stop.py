"""How a run is stopped: by a signal, which lets chunks in hand finish, or by its watchman.

The first SIGINT (Ctrl-C), SIGTERM or SIGUSR1 lets the workers begin nothing more and waits a while
for what they have in hand; the second, or the end of that while, drops it. Nothing that is
committed is lost either way.
"""

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from types import FrameType
from typing import Any

__all__ = ["GRACE", "Halt", "Stopped", "Wish", "deferred", "listening"]

LOG = logging.getLogger("tsframe")
SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)
]
GRACE = 20.0  # seconds for chunks in hand; SLURM's KillWait is 30 s by default
NOTICE = 100.0  # the same after SIGUSR1, which announces the end of the allotted time


class Stopped(KeyboardInterrupt):
    """The run was stopped by a signal; what was finished is kept.

    Parameters
    ----------
    signum : int
        The signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}; what was finished is kept")
        self.signum = signum


class Halt(BaseException):
    """Takes the main thread out of its wait; no `except Exception` of a trial may hold it."""


@dataclass
class Wish:
    """Whether the run is to end, and why.

    Parameters
    ----------
    signum : int, optional
        The signal that asked for it.
    deadline : float
        When to wait for chunks in hand no longer, on the monotonic clock.
    verdict : Exception, optional
        Why the watchman ends the run.
    """

    signum: int | None = None
    deadline: float = float("inf")
    verdict: Exception | None = None

    @property
    def stop(self) -> bool:
        """Whether nothing more is to be begun."""
        return self.signum is not None or self.verdict is not None


@contextlib.contextmanager
def listening(wish: Wish, grace: float | None, told: Callable[[], None]) -> Iterator[bool]:
    """Turn signals into a wish to stop, and the second one into an end at once.

    Parameters
    ----------
    wish : Wish
        Is told.
    grace : float, optional
        Seconds that chunks in hand have to finish.
    told : callable
        Called once, at the first signal.

    Yields
    ------
    bool
        Whether signals are heard: only the main thread of a process hears them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield False
        return

    def hear(signum: int, frame: FrameType | None) -> None:
        if wish.verdict is not None:
            raise Halt
        if wish.signum is not None:
            raise Stopped(wish.signum)
        usual = GRACE if signum != getattr(signal, "SIGUSR1", None) else NOTICE
        wait = usual if grace is None else grace
        wish.deadline = time.monotonic() + wait
        wish.signum = signum
        LOG.warning(
            "%s: no chunk is begun any more; those in hand have %.0f s (again: drop them)",
            signal.Signals(signum).name,
            wait,
        )
        told()

    before: dict[int, Any] = {}
    try:
        for number in SIGNALS:
            before[number] = signal.signal(number, hear)
        yield True
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Hold signals back while workers are started.

    They inherit it and so outlive a Ctrl-C on a terminal or the SIGTERM of a scheduler, which go
    to all processes; the main process, which hears them, lets them finish or ends them.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # started later it would, up to Python 3.11, let them through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
