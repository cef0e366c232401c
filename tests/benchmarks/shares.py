"""Tell what share of a sweep's time goes into drawing data, evaluating and training.

    python -m tests.benchmarks.shares

One thread, whole calls of `tsframe.train`, each in a process of its own that has drawn none of the
data before. Evaluation counts looks of stopping rules, curves and the test error at the end; the
aim is less than a tenth for looks and ends together.

Then the milliseconds that a data set of 500 training and 1000 test rows takes: of a seed that was
never drawn, of a known seed at another slope, and of a known teacher with other label noise.
"""

import multiprocessing
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast
from unittest import mock

from threadpoolctl import threadpool_limits

import tsframe
from tests.benchmarks.cases import CASES, trial
from tsframe.samples import draw_samples
from tsframe.tasks import draw_tasks
from tsframe.training.looking import evaluate, look

__all__ = ["WORKLOADS", "drawing", "shares"]


def stopping(n_train: int, batch_size: int, width: int, **more: Any) -> list[tsframe.Trial]:
    """Build 16 data sets x 4 students that stop when they interpolate."""
    trials = [
        trial(
            tsframe.MLP(width),
            2000,
            "float32",
            seed=seed,
            lr=lr,
            n_train=n_train,
            batch_size=batch_size,
        )
        for seed in range(16)
        for lr in (0.01, 0.02, 0.05, 0.1)
    ]
    stop, teacher = tsframe.ZeroTrainError(), tsframe.Teacher(width=20)
    return [
        replace(one, teacher=teacher, training=replace(cast(Any, one.training), stop=stop), **more)
        for one in trials
    ]


WORKLOADS: dict[str, Callable[[], list[tsframe.Trial]]] = {
    "phase diagram, 500 steps": lambda: CASES["phase_diagram"].build(500, "float32"),
    "until interpolation, n = 500": lambda: stopping(500, 100, 50),
    "until interpolation, n = 1000": lambda: stopping(1000, 100, 50),
    "until interpolation, n = 5000": lambda: stopping(5000, 128, 100),
    "n = 1000, curves at 20 steps": lambda: stopping(
        1000, 100, 50, curve_steps=tuple(range(0, 2000, 100))
    ),
}


def shares(workload: str) -> dict[str, float]:
    """Train, and give the seconds of all and the fractions of drawing and of evaluating."""
    trials = WORKLOADS[workload]()
    tsframe.train([replace(trials[0], seed=10**6)], device="cpu", threads=1)  # wakes the libraries
    spent: dict[str, float] = defaultdict(float)

    def timed(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return work(*args, **options)
            finally:
                spent[name] += time.perf_counter() - start

        return call

    with (
        mock.patch("tsframe.batch.draw_tasks", timed("drawing", draw_tasks)),
        mock.patch("tsframe.training.judging.look", timed("looks", look)),
        mock.patch("tsframe.measures.errors.evaluate", timed("test sets", evaluate)),
    ):
        start = time.perf_counter()
        tsframe.train(trials, device="cpu", threads=1)
        seconds = time.perf_counter() - start
    parts = {name: spent[name] / seconds for name in ("drawing", "looks", "test sets")}
    return {"seconds": seconds} | parts


def drawing(width: int, repeats: int = 20) -> list[float]:
    """Time the drawing of data sets with a teacher of that width; medians in milliseconds."""
    teacher = tsframe.Teacher(width)

    def taken(slope: float, label_noise: float, seed: int) -> float:
        inputs = tsframe.Gaussian(200, tsframe.Sloppy(slope))
        start = time.perf_counter()
        draw_samples(inputs, teacher, 500, 1000, label_noise, seed)
        return 1e3 * (time.perf_counter() - start)

    known = 10**6 + repeats
    taken(0.01, 0.0, known)
    rows = (
        [taken(0.01, 0.0, 10**6 + k) for k in range(repeats)],
        [taken(0.02 + k / 1000, 0.0, known) for k in range(repeats)],
        [taken(0.02, k / 100, known) for k in range(repeats)],
    )
    return [statistics.median(row) for row in rows]


def main() -> None:
    """Print two tables."""
    print("| workload | seconds | drawing | looks | test sets | training and all else |")
    print("|---|---|---|---|---|---|")
    for name in WORKLOADS:
        with multiprocessing.get_context("spawn").Pool(1) as process:
            found = process.apply(shares, (name,))
        parts = [found[part] for part in ("drawing", "looks", "test sets")]
        cells = " | ".join(f"{100 * part:.1f} %" for part in (*parts, 1.0 - sum(parts)))
        print(f"| {name} | {found['seconds']:.1f} | {cells} |", flush=True)
    print("\n| teacher | new seed | another slope | other label noise |\n|---|---|---|---|")
    with threadpool_limits(1, user_api="blas"):
        for width in (20, 100):
            cells = " | ".join(f"{taken:.1f} ms" for taken in drawing(width))
            print(f"| width {width} | {cells} |")


if __name__ == "__main__":
    main()
