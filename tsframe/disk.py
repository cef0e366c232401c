"""What a disk may refuse: a store too large for it, now and then a write, in the end all."""

import errno
import logging
import math
import os
import random
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from tsframe.buckets import Remote
from tsframe.chunks import Grid
from tsframe.places import Place

__all__ = ["FULL", "check_room", "stubborn"]

FULL = (errno.ENOSPC, errno.EDQUOT)
TRIES = 3  # of a read or write that the system refuses
PAUSE = 0.2  # seconds before the second of them
BLOCK = 4096  # bytes that a file takes at least
SYNCED = ("dropbox", "google drive", "googledrive", "icloud", "nextcloud", "onedrive", "owncloud")
LOG = logging.getLogger("tsframe")
Given = TypeVar("Given")


def check_room(path: Place, grid: Grid, sizes: Sequence[int]) -> None:
    """Refuse a store that its disk cannot hold, and warn where it is close, or a synced folder.

    Parameters
    ----------
    path : Place
        The store; a bucket has always room.
    grid : Grid
        Its cells and chunks.
    sizes : sequence of int
        How many numbers each of its arrays has for a cell.

    Raises
    ------
    OSError
        If there is less space, or are fewer files, than a full store takes at most.
    """
    if isinstance(path, Remote):
        return
    synced = [part for part in path.absolute().parts if part.casefold().startswith(SYNCED)]
    if synced:
        LOG.warning(
            "%s is in '%s', which is kept in step with other machines, and may bring back old "
            "files; choose a folder of this machine alone",
            path,
            synced[0],
        )
    cells = math.prod(grid.chunk)
    need = len(grid) * sum(-(-8 * cells * size // BLOCK) * BLOCK for size in sizes)
    disk = os.statvfs(path.parent)
    files, free = len(grid) * len(sizes), disk.f_bavail * disk.f_frsize
    left = disk.f_favail if disk.f_files else files * 2  # some file systems do not count them
    text = (
        f"{path} takes up to {need / 1e6:,.1f} MB in {files:,} files, and there are "
        f"{free / 1e6:,.1f} MB and {left:,} files left"
    )
    if need > free or files > left:
        raise OSError(f"{text}; make space, enlarge the chunk, or choose another folder.")
    if 2 * need > free or 2 * files > left:
        LOG.warning("%s; what is finished is kept if it runs out", text)


def stubborn(action: Callable[[], Given]) -> Given:
    """Repeat what the system refuses, for network file systems do so now and then.

    Raises
    ------
    OSError
        If it refuses again and again, or for want of space.
    """
    for attempt in range(1, TRIES):
        try:
            return action()
        except OSError as error:
            if error.errno in FULL:
                raise
            LOG.warning("%s; tried again", error)
            time.sleep(PAUSE * attempt * random.uniform(0.5, 1.5))
    return action()
