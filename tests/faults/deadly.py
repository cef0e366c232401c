"""Trials that end or hold up their process, and the verdict on what is left of a sweep."""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from tests.toy import Square
from tsframe.opening import open_store


class Keeper(RuntimeError):
    """An exception that no process can send."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class Deadly(Square):
    """Squares its value, or does what its mood says."""

    @staticmethod
    def train_together(
        trials: Sequence[Square], device: str = "auto", threads: int | None = None
    ) -> xr.Dataset:
        for trial in trials:
            if trial.mood == "kills once":
                flag = Path(trial.folder) / f"died-{trial.value}"
                if not flag.exists():
                    flag.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
            act(trial.mood, trial.value)
        dataset = Square.train_together(
            [Square(t.value, folder=t.folder, seconds=t.seconds) for t in trials], device, threads
        )
        if any(trial.mood == "nan" for trial in trials):
            dataset["square"][[trial.mood == "nan" for trial in trials]] = np.nan
        if any(trial.mood == "keeps" for trial in trials):
            dataset.attrs["lock"] = threading.Lock()
        return dataset


def act(mood: str, value: float) -> None:
    """Do to this process what the mood says."""
    if mood == "kills":
        os.kill(os.getpid(), signal.SIGKILL)
    elif mood == "crashes":
        ctypes.string_at(0)
    elif mood == "leaves":
        os._exit(7)
    elif mood == "exits":
        sys.exit(f"no square of {value}")
    elif mood == "hangs":
        time.sleep(1000)
    elif mood == "sticks":  # in a library, with Python's lock
        ctypes.PyDLL(None).sleep(1000)
    elif mood == "keeps a lock":
        raise Keeper(f"no square of {value}")
    elif mood == "is short of memory":
        raise MemoryError(f"no room for {value}")


def right(path: Path) -> dict[str, int]:
    """Count the cells by state, after a check that each done one is the square of its value.

    `open_store` gives no number whose digest is wrong; the value of a cell is its seed.
    """
    dataset = open_store(path)
    done = dataset["state"].values == 1
    assert (dataset["square"].values[done] == dataset["seed"].values[done] ** 2.0).all()
    assert np.isnan(dataset["square"].values[~done]).all()
    names = ("todo", "done", "failed", "diverged")
    return {
        name: count
        for kind, name in enumerate(names)
        if (count := int((dataset["state"] == kind).sum()))
    }
