"""Whether several threads take a step faster than one: tried, and tried again.

On cores of their own they do. Where somebody else works on these cores, too, a thread that has to
wait for its core keeps the others waiting at every operation, and steps take several times as long.
The number of threads changes no bit, so that a clock may decide on it.
"""

import time
from collections.abc import Callable

__all__ = ["Choice"]

TRIED = 4  # steps of either kind that are compared
KEPT, LONGEST = 100, 3200  # steps until they are compared again; doubled while one thread is better


class Choice:
    """Chooses between one thread and several for each step.

    Parameters
    ----------
    clock : callable () -> float
        Seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._stamps: list[float] = []
        self._left, self._kept, self._several = 0, KEPT, False

    def threads(self, most: int) -> int:
        """Give the number of threads for the step that comes now; `most` could share it."""
        if most == 1:
            self._stamps, self._left = [], 0
            return 1
        if self._left:
            self._left -= 1
            return most if self._several else 1
        stamps = self._stamps
        stamps.append(self._clock())
        if len(stamps) <= TRIED:
            return 1
        if len(stamps) <= 2 * TRIED:
            return most
        self._several = stamps[-1] - stamps[TRIED] < stamps[TRIED] - stamps[0]
        self._kept = KEPT if self._several else min(2 * self._kept, LONGEST)
        self._stamps, self._left = [], self._kept - 1
        return most if self._several else 1
