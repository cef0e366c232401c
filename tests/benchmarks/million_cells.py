"""A sweep of a million cells whose function squares a number: planned, run, opened, resumed.

What is measured is all that is not training: the store, its ledger, the workers. It prints one line
of JSON for each size of chunk: seconds to plan, to run (the CPU time of all processes beside it,
which tells more on a machine that others use; and the cells a second from the first commit to the
last), to open the store, to open it with plain xarray, to read and check all of it,
and to find that nothing is left to train: in the process that ran it, and in a new one, which
builds and compares all trials.

    python tests/benchmarks/million_cells.py [--cells 1000000] [--chunk 1000 100] [--jobs 2]

It takes 3 minutes on 2 cores.
"""

import argparse
import json
import logging
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from joblib.externals.loky import get_reusable_executor  # type: ignore[import-untyped]  # theirs

from tsframe.execution import run
from tsframe.opening import open_store
from tsframe.plan import plan
from tsframe.store import Store
from tsframe.sweep import Sweep

MEASURES: dict[str, dict[str, tuple[float, ...]]] = {"square": {}}


@dataclass(frozen=True)
class Number:
    """Squares itself."""

    value: float

    sharing_key = 0
    shape_key = 0
    flops = 1.0

    @property
    def declared(self) -> Mapping[str, Mapping[str, tuple[float, ...]]]:
        return MEASURES

    @staticmethod
    def train_together(
        trials: Sequence["Number"], device: str = "auto", threads: int | None = None
    ) -> xr.Dataset:
        square = np.array([trial.value for trial in trials]) ** 2
        diverged = np.zeros(len(trials), bool)
        return xr.Dataset({"square": ("student", square), "diverged": ("student", diverged)})


def number(x: int, y: int) -> Number:
    return Number(1000.0 * x + y)


def cpu_seconds() -> float:
    """CPU time of this process and of all workers that have left."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(own.ru_utime + own.ru_stime for own in usage)


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    """Give the seconds that an action takes, and what it gives."""
    start = time.perf_counter()
    result = action()
    return time.perf_counter() - start, result


def measure(cells: int, chunk: int, jobs: int) -> dict[str, Any]:
    """Plan, run, open and resume one sweep."""
    side = round(cells**0.5)
    sweep = Sweep(number, x=range(side), y=range(side))
    folder = Path(tempfile.mkdtemp())
    path = folder / "million.zarr"
    shape = {"x": max(1, chunk // side), "y": min(chunk, side)}
    started = cpu_seconds()
    planning, _ = timed(lambda: plan(sweep, path, chunk=shape))
    before = cpu_seconds()
    planning_cpu = before - started
    running, _ = timed(lambda: run(sweep, path, n_jobs=jobs, chunk=shape, progress=False))
    get_reusable_executor().shutdown()
    spent = cpu_seconds() - before
    written = sorted(file.stat().st_mtime for file in (path / "ledger").glob("c.*"))
    ledger, plain = (
        timed(lambda: Store.open(path, write=False))[0],
        timed(lambda: xr.open_zarr(path, consolidated=False, chunks=None))[0],
    )
    whole, dataset = timed(lambda: open_store(path))
    before = cpu_seconds()
    again, _ = timed(lambda: run(sweep, path, n_jobs=jobs, progress=False))
    fresh = Sweep(number, x=range(side), y=range(side))
    scan_cpu = cpu_seconds() - before
    before = cpu_seconds()
    resuming, _ = timed(lambda: run(fresh, path, n_jobs=jobs, progress=False))
    resume_cpu = cpu_seconds() - before
    truth = (1000.0 * np.arange(side)[:, None] + np.arange(side)) ** 2
    assert np.array_equal(dataset["square"].values, truth)
    shutil.rmtree(folder)
    return {
        "cells": side**2,
        "chunk": chunk,
        "jobs": jobs,
        "planning_s": round(planning, 2),
        "planning_cpu_s": round(planning_cpu, 2),
        "run_s": round(running, 2),
        "run_cpu_s": round(spent, 2),
        "cells_per_s": round(side**2 * (1 - 1 / len(written)) / (written[-1] - written[0])),
        "open_s": round(ledger, 3),
        "open_zarr_s": round(plain, 3),
        "open_store_s": round(whole, 2),
        "scan_s": round(again, 2),
        "scan_cpu_s": round(scan_cpu, 2),
        "resume_s": round(resuming, 2),
        "resume_cpu_s": round(resume_cpu, 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--chunk", type=int, nargs="+", default=[1000, 100])
    parser.add_argument("--jobs", type=int, default=2)
    words = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    for chunk in words.chunk:
        print(json.dumps(measure(words.cells, chunk, words.jobs)), flush=True)


if __name__ == "__main__":
    main()
