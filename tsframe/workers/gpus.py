"""One GPU a worker, never two workers on one.

A worker takes the first GPU of its host that is free and keeps it until it dies. The lock is held
by the kernel on a file, one a GPU, so it goes with the process, however that ends.
"""

import os
import sys
import tempfile
import threading
import time
from pathlib import Path

if os.name == "posix":
    import fcntl

__all__ = ["device_for", "gpus", "let_go"]

PATIENCE = 120.0  # seconds to wait for the GPU of a worker that is dying
_taken: dict[int, tuple[int, int]] = {}  # thread -> GPU and file of its lock
_lock = threading.Lock()


def gpus() -> list[str]:
    """List the NVIDIA GPUs that this process may use, as far as can be told without CUDA."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = [name.strip() for name in visible.split(",")]
        last = next((i for i, name in enumerate(names) if name in ("", "-1")), len(names))
        return names[:last]  # CUDA, too, stops reading at the first that is none
    devices = Path("/dev").glob("nvidia[0-9]*")
    return sorted((device.name.removeprefix("nvidia") for device in devices), key=int)


def device_for(device: str, patience: float = PATIENCE) -> str:
    """Give the device on which this worker is to train.

    Parameters
    ----------
    device : str
        What the user asked for: ``"auto"`` and ``"cuda"`` are given a GPU of their own where
        there is one; everything else stays.
    patience : float
        Seconds to wait for a GPU that is taken.

    Returns
    -------
    str
        E.g. ``"cuda:1"``.

    Raises
    ------
    RuntimeError
        If all GPUs are taken.
    """
    known = gpus()
    if device not in ("auto", "cuda") or not known or os.name != "posix":
        return device
    torch = sys.modules.get("torch")  # there if the trials brought it along
    if device == "auto" and torch is not None and not torch.cuda.is_available():
        return device
    end = time.monotonic() + patience
    while True:
        with _lock:
            drop_dead()
            place = take(known)
        if place is not None:
            return f"cuda:{place}"
        if time.monotonic() > end:
            raise RuntimeError(
                f"no GPU is free for this worker: {len(known)} on this host, each with a worker. "
                "Use fewer workers (n_jobs, --jobs), or wait for the other run."
            )
        time.sleep(0.2)


def take(known: list[str]) -> int | None:
    """Take a GPU for this thread, the one that it has already if it has one."""
    me = threading.get_ident()
    if me in _taken:
        return _taken[me][0]
    folder = Path(tempfile.gettempdir()) / f"tsframe-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    job = os.environ.get("SLURM_JOB_ID", "")  # two jobs may each call their own GPU 0
    for place, name in enumerate(known):
        safe = "".join(letter if letter.isalnum() else "-" for letter in name)
        file = os.open(folder / f"{job}.{safe}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            continue
        _taken[me] = (place, file)
        return place
    return None


def drop_dead() -> None:
    """Give back the GPUs of threads that have ended."""
    living = {thread.ident for thread in threading.enumerate()}
    for ident in [ident for ident in _taken if ident not in living]:
        os.close(_taken.pop(ident)[1])


def let_go() -> None:
    """Give back all GPUs that this process holds, so that workers may take them."""
    with _lock:
        for _, file in _taken.values():
            os.close(file)
        _taken.clear()
