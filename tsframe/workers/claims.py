"""A claim on a store: one run at a time on the whole, or one on each of its parts.

The claim is courtesy: two runs on one store give right results, but do the same work twice. It is
a file that names its owner; the owner touches it as long as he lives. Workers read it before each
chunk, so it also carries the wish to stop.
"""

import contextlib
import json
import logging
import os
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsframe.places import create, inside, look, Place, swap, touch

__all__ = ["Claim", "Owner", "claim", "owners"]

LOG = logging.getLogger("tsframe")
TRIES = 5  # of saying something while somebody else does
MINE: set[str] = set()  # tokens that this process holds


@dataclass(frozen=True)
class Owner:
    """Who holds a store or a part of it.

    Parameters
    ----------
    part : str
        ``"all"``, or ``"i-N"`` for the shard i/N.
    token : str
        Known to the owner and to his workers.
    host : str
        Where he is.
    pid : int
        His process.
    born : str
        When this process began, as the system counts; empty if it is not known.
    job : str
        His job in SLURM, if there is one.
    restarts : int
        How often SLURM had requeued it.
    run : int
        The number of his run; 0 before it has one.
    stop : bool
        Whether his workers are to begin nothing more.
    touched : float
        When he was last heard of, in seconds since 1970.
    """

    part: str
    token: str
    host: str
    pid: int
    born: str
    job: str
    restarts: int
    run: int = 0
    stop: bool = False
    touched: float = 0.0

    def __str__(self) -> str:
        shard = "" if self.part == "all" else f" of shard {self.part.replace('-', '/')}"
        job = f", SLURM job {self.job}" if self.job else ""
        silent = max(0.0, time.time() - self.touched)
        return (
            f"run {self.run or '(just begun)'}{shard} on host {self.host}, pid {self.pid}{job}, "
            f"heard of {silent:.0f} s ago"
        )

    @property
    def gone(self) -> bool:
        """Whether it is certain that he is dead: gone from this host, or his job began anew."""
        if self.job and (self.job, self.restarts) < slurm_job() and self.job == slurm_job()[0]:
            return True  # the same job, which has been requeued since
        if self.host != socket.gethostname():
            return False
        if self.pid == os.getpid():
            return self.token not in MINE
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return bool(self.born) and birth(self.pid) not in ("", self.born)


@dataclass(frozen=True)
class Claim:
    """A claim that this process holds.

    Parameters
    ----------
    path : Place
        Its file.
    token : str
        What the file says as long as the claim is ours.
    """

    path: Place
    token: str

    def say(self, **facts: Any) -> None:
        """Change what the file says, if it is still ours."""
        for _ in range(TRIES):
            seen = look(self.path)
            said = json.loads(seen.text)
            if said["token"] != self.token or swap(self.path, seen, json.dumps({**said, **facts})):
                return

    def touch(self) -> None:
        """Show that the owner lives."""
        with contextlib.suppress(OSError):
            touch(self.path)

    @property
    def over(self) -> bool:
        """Whether nothing more is to be begun: the owner stops, or somebody else took over.

        A file that is not there proves nothing: other hosts may see it late.
        """
        owner = read(self.path)
        return owner is not None and (owner.token != self.token or owner.stop)

    @property
    def taken(self) -> bool:
        """Whether somebody else took over."""
        owner = read(self.path)
        return owner is not None and owner.token != self.token


@contextlib.contextmanager
def claim(folder: Place, part: str, force: bool = False) -> Iterator[Claim]:
    """Hold a store, or a part of it.

    Parameters
    ----------
    folder : Place
        Where the claims of the store are.
    part : str
        ``"all"``, or ``"i-N"`` for the shard i/N.
    force : bool
        Whether to take it from owners who may live.

    Yields
    ------
    Claim
        To be shown to the workers.

    Raises
    ------
    BlockingIOError
        If somebody else holds it.
    RuntimeError
        If the file system does not do as it says.
    """
    token = uuid.uuid4().hex
    facts = {
        "part": part,
        "token": token,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "born": birth(os.getpid()),
        "job": slurm_job()[0],
        "restarts": slurm_job()[1],
    }
    folder.mkdir(exist_ok=True)
    mine, store = Claim(folder / part, token), folder.parent.parent
    for attempt in range(100):
        standing = [owner for owner in owners(folder) if against(part, owner.part)]
        for owner in standing:
            if not (force or owner.gone):
                raise BlockingIOError(
                    f"{store} is held by {owner}. Wait for it; or if it is dead, add "
                    "--force (force=True): two at once do no harm but work twice."
                )
            LOG.warning("taking over from %s%s", owner, ", which is gone" if owner.gone else "")
            (folder / owner.part).unlink(missing_ok=True)
        if create(mine.path, json.dumps(facts)):
            break
        time.sleep(0.01 * attempt)
    else:
        raise RuntimeError(f"cannot write {mine.path}; is the file system in order?")
    MINE.add(token)
    try:
        yield mine
    finally:
        MINE.discard(token)
        standing_now = read(mine.path)
        if standing_now and standing_now.token == token:
            mine.path.unlink(missing_ok=True)


def against(part: str, other: str) -> bool:
    """Tell whether two parts have cells in common.

    Examples
    --------
    >>> against("0-4", "1-4"), against("0-4", "1-2"), against("all", "1-4"), against("1-4", "1-4")
    (False, True, True, True)
    """
    if "all" in (part, other) or part == other:
        return True
    return part.partition("-")[2] != other.partition("-")[2]


def owners(folder: Place) -> list[Owner]:
    """List who holds a store or parts of it."""
    return [owner for owner in map(read, inside(folder, "[!.]*")) if owner]


def read(path: Place) -> Owner | None:
    """Read a claim; None if there is none."""
    try:
        seen = look(path)
        return Owner(**json.loads(seen.text) | {"touched": seen.time})
    except (OSError, ValueError, TypeError):
        return None


def birth(pid: int) -> str:
    """Say when a process began, so that a number given out again is not mistaken for it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[19]}"
    except (OSError, IndexError):
        return ""


def slurm_job() -> tuple[str, int]:
    """Give the SLURM job of this process, empty if none, and how often it was requeued."""
    array, task = (os.environ.get(f"SLURM_ARRAY_{name}_ID", "") for name in ("JOB", "TASK"))
    job = f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")
    restarts = os.environ.get("SLURM_RESTART_COUNT", "0")
    return job, int(restarts) if restarts.isdecimal() else 0
