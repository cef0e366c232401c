"""Runs in processes of their own, to be stopped and killed, and what they leave."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]

STUDY = """
from tests.faults.deadly import Deadly
from tsframe.sweep import Sweep

sweep = Sweep(lambda seed: Deadly(seed, seconds={seconds}, work=1e12), seed=range({size}))
"""  # so much work makes chunks of one cell


def write_study(folder: Path, seconds: float = 0.2, size: int = 24) -> Path:
    """Write a sweep of so many cells, each of which takes so many seconds."""
    (folder / "sweeps").mkdir(exist_ok=True)
    (folder / "sweeps" / "study.py").write_text(STUDY.format(seconds=seconds, size=size))
    return folder / "stores" / "study.zarr"


@contextmanager
def command(folder: Path, *words: str) -> Iterator["subprocess.Popen[str]"]:
    """Start a command of tsframe in a session of its own, of which nothing is left at the end.

    Yields
    ------
    Popen
        The process.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "tsframe.cli", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )
    try:
        yield process
    finally:
        if alive(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)


def committed(store: Path) -> int:
    """Count the chunks that are committed."""
    return len(list((store / "ledger").glob("c.*"))) if store.is_dir() else 0


def until(happens: Callable[[], bool], limit: float = 120.0) -> None:
    """Wait until something happens, but no longer than the limit in seconds."""
    end = time.monotonic() + limit
    while not happens():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def alive(group: int) -> bool:
    """Tell whether a process of this group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
