"""Time students that stop at very different times, against as many steps shared out evenly.

    python -m tests.benchmarks.stopping [--repeats 3] [--students 512] [--width 30]

512 students of width 30, or as asked, sixteen on a data set, whose learning rates span a factor of
100, stop when they interpolate. The same number of student-steps is then done by as many students
that all train equally long. If students that have finished left no room to the others, the first
would be slower by the ratio of the longest to the mean time.
"""

import argparse
import statistics
import time

import numpy as np

import tsframe
from tests.benchmarks.cases import DIM

LONGEST = 4000


def trials(
    max_steps: int, stop: tsframe.ZeroTrainError | None, students: int = 512, width: int = 30
) -> list[tsframe.Trial]:
    """Build 16 learning rates on each of so many data sets."""
    return [
        tsframe.Trial(
            inputs=tsframe.Gaussian(dim=DIM, spectrum=tsframe.Sloppy(0.05)),
            teacher=tsframe.Teacher(width=100),
            student=tsframe.MLP(width),
            training=tsframe.SGD(lr, momentum=0.9, batch_size=128, max_steps=max_steps, stop=stop),
            n_train=512,
            n_test=500,
            seed=seed,
        )
        for seed in range(students // 16)
        for lr in np.geomspace(0.003, 0.3, 16).tolist()
    ]


def timed(students: list[tsframe.Trial]) -> tuple[float, np.ndarray]:
    """Train, and give the seconds and the steps that each student did."""
    start = time.perf_counter()
    result = tsframe.train(students, device="cpu")
    return time.perf_counter() - start, result["steps"].values


def main() -> None:
    """Let the two take turns and print how their rates compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--students", type=int, default=512, help="a multiple of 16")
    parser.add_argument("--width", type=int, default=30)
    asked = parser.parse_args()
    staggered = trials(LONGEST, tsframe.ZeroTrainError(), asked.students, asked.width)
    steps = timed(staggered)[1]
    even = trials(round(steps.mean()), None, asked.students, asked.width)
    print(
        f"steps: mean {steps.mean():.0f}, median {np.median(steps):.0f}, longest {steps.max():.0f}"
    )
    rates: list[list[float]] = [[], []]
    for _ in range(asked.repeats):
        for mine, students in zip(rates, (staggered, even), strict=True):
            seconds, done = timed(students)
            mine.append(done.sum() / seconds)
            print(f"  {done.sum():.0f} student-steps in {seconds:.1f} s")
    ratio = statistics.median(rates[0]) / statistics.median(rates[1])
    print(f"student-steps a second, stopping at different times against even: {ratio:.2f}")


if __name__ == "__main__":
    main()
