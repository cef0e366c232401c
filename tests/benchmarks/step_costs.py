"""Fit the constants of `tsframe.training.prices` to steps of many stacks, one thread.

    python -m tests.benchmarks.step_costs

Each stack is trained for some steps; the median time of a step counts. Constants are those that
make the worst ratios of predicted to measured time smallest, by a robust fit of their logarithms.
"""

import time
from itertools import pairwise
from typing import Any
from unittest import mock

import numpy as np
from scipy.optimize import least_squares, nnls

import tsframe
from tests.benchmarks.growth import Point
from tsframe.students.stack import Stack

__all__ = ["STACKS", "fit", "parts", "stack", "step_seconds"]

STEPS = 30


def stack(
    width: int, depth: int = 2, batch: int = 128, dim: int = 200, sets: int = 4, each: int = 4
) -> Point:
    """Describe students of one shape, some on each data set."""
    return Point(sets * each, width, depth, batch, dim, shared=each)


def step_seconds(point: Point) -> float:
    """Measure the median time of a step of all students, one thread."""
    stamps: list[float] = []
    forward = Stack.forward

    def stamped(*args: Any) -> Any:
        stamps.append(time.perf_counter())
        return forward(*args)

    with mock.patch.object(Stack, "forward", stamped):
        tsframe.train(point.trials(STEPS), device="cpu", threads=1)
    return float(np.median(np.diff(stamps)[3 : STEPS - 2]))


def parts(point: Point) -> list[float]:
    """Give what constants multiply: steps, products, numbers of minibatches, units, FLOPs."""
    students, outputs = point.students, 10
    sizes = [point.dim, *[point.width] * point.depth, outputs]
    first = sizes[1] * (sizes[0] + 1)
    behind = sum(after * (before + 1) for before, after in pairwise(sizes[1:]))
    return [
        1.0,
        len(sizes) - 1.0,
        float(students // point.shared * point.batch * point.dim),
        float(students * point.batch * (point.width * point.depth + outputs)),
        2.0 * students * point.batch * (2 * first + 3 * behind),
    ]


NAMES = ("STEP", "LAYER", "INPUT", "UNIT", "seconds a FLOP")
STACKS = [
    *(
        stack(w, sets=s, each=e)
        for w in (5, 10, 30, 100, 300)
        for s, e in ((16, 1), (4, 8), (1, 16))
    ),
    *(stack(30, depth=depth) for depth in (0, 1, 4)),
    *(stack(30, batch=b, sets=s, each=e) for b in (32, 512) for s, e in ((4, 4), (16, 1))),
    *(stack(30, dim=d, sets=s, each=e) for d in (50, 1000) for s, e in ((4, 4), (16, 1))),
    stack(500, sets=1, each=2),
    stack(500, sets=2, each=1),
    stack(100, 1, batch=64, dim=400, sets=2, each=8),
    stack(60, 3, batch=256, dim=100, sets=8, each=4),
    stack(8, batch=64, dim=100, sets=8, each=32),
]


def fit(points: list[Point], seconds: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Fit constants in seconds; give them and the ratios of predicted to measured times."""
    scaled = np.array([parts(point) for point in points]) / np.array(seconds)[:, None]
    start = np.log(np.maximum(nnls(scaled, np.ones(len(points)))[0], 1e-13))

    def off(logs: np.ndarray) -> np.ndarray:
        return np.asarray(np.log(scaled @ np.exp(logs)))

    found = least_squares(off, start, loss="soft_l1", f_scale=0.08)
    constants = np.exp(found.x)
    return constants, scaled @ constants


def main() -> None:
    """Measure, fit and print the constants in the units of `tsframe.training.prices`."""
    seconds = []
    for point in STACKS:
        seconds.append(step_seconds(point))
        print(point, f"{1e6 * seconds[-1]:.0f} us a step", flush=True)
    constants, ratios = fit(STACKS, seconds)
    print(f"\n{1e-9 / constants[-1]:.0f} GFLOP/s; a step takes, in operations at that rate,")
    for name, value in zip(NAMES[:-1], constants[:-1] / constants[-1], strict=True):
        print(f"  {name:6} {value:10.3g}   ({1e6 * value * constants[-1]:.3g} us)")
    off = np.abs(np.log(ratios))
    print(
        f"half of {len(off)} stacks within {100 * np.expm1(np.median(off)):.0f} percent, nine "
        f"tenths within {100 * np.expm1(np.quantile(off, 0.9)):.0f}"
    )


if __name__ == "__main__":
    main()
