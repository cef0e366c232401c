"""The data of stack after stack: drawn side by side by threads that have nothing else to do.

Data are drawn on the host whatever the device, so that a task is the same to the bit on all of
them; see `tsframe.inputs`. On the CPU a thread that trains a stack draws its data, and threads
without a stack help. While a GPU trains, all cores of its host but one have nothing to do: they
draw the data of the stack that comes next, and of no other, so that the host never holds more than
the data of two stacks.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from tsframe.batch import draw_batch, Drawn, StepTask
from tsframe.samples import Samples
from tsframe.tasks import Task
from tsframe.training.devices import claim_thread

__all__ = ["Ahead", "draw_side_by_side"]


def draw_side_by_side(
    tasks: Sequence[StepTask], threads: Callable[[], int], interrupted: Callable[[], bool]
) -> Drawn:
    """Draw the data sets of a stack by several threads.

    Parameters
    ----------
    tasks : sequence of StepTask
        Those of the stack.
    threads : callable
        Tells how many threads may draw now.
    interrupted : callable
        Asked before every data set; drawing ends with InterruptedError once it says so.

    Returns
    -------
    Drawn
        The same bits for any number of threads.
    """

    def each(draw: Callable[[Task], Samples], some: Iterable[Task]) -> Iterable[Samples]:
        def unless_interrupted(task: Task) -> Samples:
            if interrupted():
                raise InterruptedError("drawing was interrupted before all data sets were drawn")
            return draw(task)

        some = list(some)
        if (count := min(threads(), len(some))) == 1:
            return map(unless_interrupted, some)
        with ThreadPoolExecutor(count, "tsframe-drawing", initializer=claim_thread) as pool:
            return list(pool.map(unless_interrupted, some))

    return draw_batch(tasks, each)


class Ahead:
    """Draws for the stack that comes next while one is trained, and for no other.

    What fails is raised where the data are asked for.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[_Drawing] = deque()
        self._thread = ThreadPoolExecutor(1, "tsframe-ahead", initializer=claim_thread)

    def later(self, draw: Callable[[], Drawn]) -> Callable[[], Drawn]:
        """Put the drawing of a stack behind those that wait.

        Parameters
        ----------
        draw : callable
            Draws the data.

        Returns
        -------
        callable
            Gives them, once; drawing for the next stack begins then. To be called stack by stack
            in the order in which they were put here.
        """
        drawing = _Drawing(draw)
        with self._lock:
            self._waiting.append(drawing)
        return partial(self._take, drawing)

    def close(self) -> None:
        """Wait for what is being drawn, and begin nothing more."""
        self._thread.shutdown(cancel_futures=True)

    def _take(self, drawing: "_Drawing") -> Drawn:
        with self._lock:
            self._waiting.remove(drawing)
            drawn = self._begun(drawing)
        try:
            return drawn.result()
        finally:
            drawing.drawn = None
            with self._lock:
                if self._waiting:
                    self._begun(self._waiting[0])

    def _begun(self, drawing: "_Drawing") -> Future[Drawn]:
        if drawing.drawn is None:
            drawing.drawn = self._thread.submit(drawing.draw)
        return drawing.drawn


class _Drawing:
    """One stack's, begun or not."""

    def __init__(self, draw: Callable[[], Drawn]) -> None:
        self.draw = draw
        self.drawn: Future[Drawn] | None = None
