"""Start marks: what a worker leaves in the store before it trains a chunk, and takes away after.

A mark says where a chunk is being trained and, when its cells are trained one by one, which cell
is in hand. Its worker touches it every few seconds, so a mark that is not touched any more tells
of a worker that is dead or stuck, and a mark that is still there when its worker is gone names a
chunk that may have killed it.
"""

import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from tsframe.places import look, overwrite, Place, stamps, touch

__all__ = ["SILENT", "Mark", "Marks"]

SILENT = 60.0  # seconds without a touch after which a worker counts as silent


@dataclass(frozen=True)
class Mark:
    """A chunk that somebody trains, or was training when he died.

    Parameters
    ----------
    chunk, run, start : int
        Its number, the run, and how often this run had started it before.
    corner : tuple of int
        Where on each axis its cells begin, in store order; known also after the grid has grown.
    host : str
        Where it is trained.
    pid : int
        By which process.
    began : float
        When, or when the cell in hand was begun; seconds since 1970.
    cell : int, optional
        Position in the chunk of the cell in hand, if cells are trained one by one.
    shared : bool
        Whether the process was training other chunks, too, so that its death tells less.
    touched : float
        When the mark was last touched; seconds since 1970.
    """

    chunk: int
    run: int
    start: int
    corner: tuple[int, ...] = ()
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    began: float = field(default_factory=time.time)
    cell: int | None = None
    shared: bool = False
    touched: float = 0.0

    @property
    def silent(self) -> float:
        """Seconds since it was last touched."""
        return max(0.0, time.time() - self.touched)


@dataclass(frozen=True)
class Marks:
    """The folder of the marks of a store.

    Parameters
    ----------
    folder : Place
        Where they are; made when the first is written.
    """

    folder: Place

    def __iter__(self) -> Iterator[Mark]:
        """Go through all marks, in the order of their chunks, runs and starts.

        Yields
        ------
        Mark
            One after the other; those that go away meanwhile are left out.
        """
        try:
            names = [file.name for file in self.folder.iterdir()]
        except FileNotFoundError:
            return
        found = (tuple(map(int, name.split("."))) for name in names if self.known(name))
        for chunk, run, start in sorted(found):
            mark = self.read(chunk, run, start)
            if mark:
                yield mark

    def of(self, chunk: int, run: int) -> list[Mark]:
        """Give the marks of one chunk and run, in the order of their starts."""
        marks: list[Mark] = []
        while mark := self.read(chunk, run, len(marks)):
            marks.append(mark)
        return marks

    def begin(self, chunk: int, run: int, start: int, corner: tuple[int, ...]) -> Mark:
        """Leave the mark of a chunk that is to be trained now."""
        mark = Mark(chunk, run, start, corner)
        self.folder.mkdir(exist_ok=True)
        self.write(mark)
        return mark

    def write(self, mark: Mark) -> None:
        """Write a mark whole, over what it said before."""
        facts = asdict(mark)
        del facts["touched"]
        overwrite(self.path(mark), json.dumps(facts))

    def change(self, mark: Mark, **facts: Any) -> Mark:
        """Let a mark say something else."""
        changed = replace(mark, **facts)
        self.write(changed)
        return changed

    def touch(self, mark: Mark) -> None:
        """Show that the worker lives."""
        try:
            touch(self.path(mark))
        except FileNotFoundError:
            return  # taken away by somebody who runs the chunk again

    def read(self, chunk: int, run: int, start: int) -> Mark | None:
        """Read a mark; one that cannot be read names no cell."""
        path = self.folder / f"{chunk}.{run}.{start}"
        now = time.time()
        try:
            seen = look(path)
            now, facts = seen.time, json.loads(seen.text)
            return Mark(**{**facts, "corner": tuple(facts["corner"])}, touched=now)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError):
            return Mark(chunk, run, start, (), "?", 0, now, touched=now)

    def clear(self, chunk: int, run: int) -> None:
        """Take the marks of one chunk and run away."""
        for mark in reversed(self.of(chunk, run)):  # the last first, so that none is overlooked
            self.path(mark).unlink(missing_ok=True)

    def path(self, mark: Mark) -> Place:
        """Give the file of a mark."""
        return self.folder / f"{mark.chunk}.{mark.run}.{mark.start}"

    @staticmethod
    def known(name: str) -> bool:
        """Tell whether a file is a mark, and not a draft that somebody left."""
        parts = name.split(".")
        return len(parts) == 3 and all(part.isdecimal() for part in parts)

    def signature(self) -> frozenset[tuple[str, float]]:
        """Say in what the marks differ from a moment ago: their names and times."""
        try:
            return stamps(self.folder)
        except OSError:  # none yet, or one went away while we looked
            return frozenset()
