"""The progress of a run: a live line on a terminal, else a quiet log line now and then."""

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TypeAlias

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["span", "watch"]

LOG = logging.getLogger("tsframe")
PAUSE = 10.0  # seconds between log lines

Show: TypeAlias = Callable[[Counter[str], float], None]


@contextlib.contextmanager
def watch(cells: int, work: float, progress: bool = True) -> Iterator[Show]:
    """Show how far a run is.

    Parameters
    ----------
    cells : int
        Number of cells to train.
    work : float
        Their predicted work, in floating-point operations; the time left follows from it.
    progress : bool
        Whether to show anything before the end.

    Yields
    ------
    callable
        To be called with the counts by state and the work of each chunk that is finished.
    """
    came: Counter[str] = Counter()
    start = last = time.monotonic()
    done = 0.0

    def line() -> str:
        trained, passed = came.total(), time.monotonic() - start
        text = f"{trained}/{cells} students, {trained / max(passed, 1e-9):.3g}/s"
        kinds = (("failed", came["failed"]), ("diverged", came["diverged"]))
        return text + "".join(f", {count} {kind}" for kind, count in kinds if count)

    console = Console(stderr=True)
    live = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not (progress and console.is_terminal),
    )
    with live:
        task = live.add_task(line(), total=work)

        def show(counts: Counter[str], finished: float) -> None:
            nonlocal last, done
            came.update(counts)
            done += finished
            live.update(task, completed=done, description=line())
            now = time.monotonic()
            if live.disable and progress and now - last > PAUSE:
                last = now
                LOG.info("%s, %s left", line(), span((now - start) * (work - done) / done))

        yield show
    LOG.info("%s in %s", line(), span(time.monotonic() - start))


def span(seconds: float) -> str:
    """Say a duration in words.

    Examples
    --------
    >>> span(3.2), span(250), span(9000), span(1e6), span(-1e-13)
    ('3.2 s', '4.2 min', '2.5 h', '12 d', '0 s')
    """
    seconds = max(0.0, seconds)  # what is left over of a difference of sums
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.2g} {unit}"
    return f"{seconds:.2g} s"
