"""Rows of the table of a device about residents: the engine with them and without.

Many students fill a device, one alone leaves most of it idle: there products have the advantage.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from unittest import mock

import torch

import tsframe
from tests.benchmarks.cases import CLASSES, DIM, trial
from tests.benchmarks.kernels import BATCH, Row, SHAPES
from tsframe.training.kernels.rehearsal import refusal_of_residents, Rehearsal
from tsframe.training.losses import Objective
from tsframe.training.residing import SWITCH

__all__ = ["resident_rows"]

REPEATS = 3
STEPS = 100, 1100  # of a short and a long training; what the long one takes more is told


def resident_rows(device: torch.device, size: Callable[[int], int]) -> Iterator[Row]:
    """List what is measured of residents.

    Parameters
    ----------
    device : torch.device
        Where.
    size : callable (full)
        Cuts a full size down to the share of it that is wanted.

    Yields
    ------
    Row
        What is measured, its unit, and the measurement, NaN where there is no GPU or, of residents,
        where they are refused.
    """
    for width, depth in SHAPES:
        for students in (size(1024), 1):
            what = f"{students} students of width {width}, depth {depth}, batch {BATCH}, engine"
            for name, switch in (("with residents", "1"), ("without", "0")):
                measure = partial(_engine, device, students, width, depth, switch)
                yield f"{what} {name}", "us a student-step", measure


def _engine(device: torch.device, students: int, width: int, depth: int, switch: str) -> float:
    """Time steps of the engine, looks at the end and drawing not included."""
    if device.type != "cuda":
        return float("nan")
    objective = Objective("cross_entropy", CLASSES)
    rehearsal = Rehearsal(width, depth, DIM, CLASSES, "relu", objective, batch=BATCH)
    if switch == "1" and (reason := refusal_of_residents(device, rehearsal)):
        print(f"{rehearsal}: {reason}", file=sys.stderr)
        return float("nan")

    def trials(steps: int) -> list[tsframe.Trial]:
        student = tsframe.MLP(width, depth)
        return [
            trial(student, steps, "float32", seed=k // 16, lr=0.005 * (1 + k % 16))
            for k in range(students)
        ]

    with mock.patch.dict(os.environ, {SWITCH: switch}):
        taken(trials(STEPS[0]), device)  # compiles
        short, long = (min(taken(trials(steps), device) for _ in range(REPEATS)) for steps in STEPS)
    return 1e6 * (long - short) / (STEPS[1] - STEPS[0]) / students


def taken(trials: list[tsframe.Trial], device: torch.device) -> float:
    """Train and give the seconds."""
    start = time.perf_counter()
    tsframe.train(trials, device=str(device))
    return time.perf_counter() - start
