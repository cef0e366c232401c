"""What was drawn last, kept for whoever needs it next, up to a number of bytes.

What is drawn twice is the same to the bit, so keeping it changes no number, only how long the
second time takes.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["Kept"]

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """The values used last, by key; for any number of threads.

    A thread that asks for what another one is making waits for it, so that nothing is made twice.
    Threads that ask for different values do not wait for each other.

    Parameters
    ----------
    limit : float
        Bytes that are kept, >= 0.
    size : callable
        Gives the bytes of a value.
    least : int
        Values that are kept however large they are, >= 0.

    Examples
    --------
    >>> kept = Kept(limit=8.0, size=len)
    >>> kept.get("five", lambda last: "*****")
    '*****'
    >>> kept.get("five", lambda last: f"again {last}"), kept.bytes
    ('again *****', 0)
    """

    def __init__(self, limit: float, size: Callable[[Value], int], least: int = 0) -> None:
        self._limit, self._size, self._least = limit, size, least
        self._lock = threading.Lock()
        self._places: OrderedDict[Hashable, _Place[Value]] = OrderedDict()

    @property
    def bytes(self) -> int:
        """Bytes that are kept now."""
        with self._lock:
            return self._bytes()

    def get(self, key: Hashable, make: Callable[[Value | None], Value]) -> Value:
        """Give a value, and keep it if it fits.

        Parameters
        ----------
        key : hashable
            Whose value.
        make : callable
            Gives the value from the one that is kept, which may do as it is, or from None. No two
            threads make the value of one key at a time. What it raises is passed on, and the kept
            value forgotten.

        Returns
        -------
        Value
            What `make` gave; others may hold the same object.
        """
        with self._lock:
            place = self._places.setdefault(key, _Place())
            self._places.move_to_end(key)
        with place.lock:
            try:
                place.value = make(place.value)
            except BaseException:  # what is half made is of no use to anybody
                place.value = None
                raise
            finally:
                with self._lock:
                    place.bytes = 0 if place.value is None else self._size(place.value)
                    while len(self._places) > self._least and self._bytes() > self._limit:
                        self._places.popitem(last=False)
            return place.value

    def _bytes(self) -> int:
        return sum(place.bytes for place in self._places.values())


class _Place(Generic[Value]):
    """Where a value is kept, and the lock of whoever makes it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.value: Value | None = None
        self.bytes = 0
