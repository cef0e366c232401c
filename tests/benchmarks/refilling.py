"""What it would gain to give the places of students who have finished to others: a simulation.

    python -m tests.benchmarks.refilling [--sets 32 128 512]

Students of width 30, sixteen on a data set, stop at very different times. A thread has seats for
256 at once, and data sets that wait. Those of one data set start together, for they share their
minibatches; the seats of a table are a rectangle, as many for every data set. The cost of a step is
that of `tsframe.training.prices`.
"""

import argparse
from collections.abc import Sequence

import numpy as np

from tsframe.training.prices import StepCost

RATE = 1.65e11  # operations a second of one core of the machine of RESULTS.md
LONGEST, RATIO, EACH, SEATS, LOOK = 1900, 100.0, 16, 256, 50
STEP = StepCost(((30, 200), (10, 30)), batch=128, steps=1)
OWN, OF_SET = STEP.own / RATE, STEP.of_data_set / RATE
OF_TABLE = (STEP.of_stack + STEP.of_shape) / RATE


def stops(sets: int, seed: int = 0) -> np.ndarray:
    """Draw after how many steps students stop, shape (sets, students on each).

    Geometric in the learning rate, with a spread of a quarter from student to student and of a
    seventh from data set to data set; seen at the next look.
    """
    rng = np.random.default_rng(seed)
    law = LONGEST * RATIO ** (-np.arange(EACH) / (EACH - 1))
    spread = 0.25 * rng.standard_normal((sets, EACH)) + 0.15 * rng.standard_normal((sets, 1))
    return np.asarray(np.ceil(law * np.exp(spread) / LOOK).astype(int) * LOOK)


def one_table(counts: Sequence[int]) -> float:
    """Seconds of a step of data sets with so many students each, all at one table."""
    return OF_TABLE + len(counts) * (OF_SET + max(counts) * OWN)


def best_tables(counts: Sequence[int]) -> float:
    """Seconds of a step at as many tables as cost least, data sets in the order of size."""
    ordered, best = sorted(counts, reverse=True), [0.0]
    for stop in range(1, len(ordered) + 1):
        best.append(min(best[k] + one_table(ordered[k:stop]) for k in range(stop)))
    return best[-1]


def seconds(waiting: np.ndarray, tables: bool, refill: bool) -> float:
    """Train data sets on one thread.

    Parameters
    ----------
    waiting : ndarray, shape (sets, students on each)
        Steps after which they stop.
    tables : bool
        Whether they may sit at several tables.
    refill : bool
        Whether a data set is admitted as soon as it has seats, or only when all have finished.
    """
    queue, present, total = list(waiting), list[np.ndarray](), 0.0
    while queue or present:
        empty = not present
        while queue and (refill or empty):
            full = [len(steps) for steps in (*present, queue[0])]
            if (sum(full) if tables else len(full) * max(full)) > SEATS:
                break
            present.append(queue.pop(0))
        counts = [len(steps) for steps in present]
        total += LOOK * (best_tables(counts) if tables else one_table(counts))
        left = (steps[steps > LOOK] - LOOK for steps in present)
        present = [steps for steps in left if len(steps)]
    return total


def main() -> None:
    """Print how long a thread takes, against as many steps shared out evenly."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, nargs="+", default=[32, 128, 512])
    for sets in parser.parse_args().sets:
        waiting = stops(sets)[: sets // 2]  # of one of two threads
        mean = waiting.mean()
        even = mean * len(waiting) * (EACH * OWN + OF_SET + OF_TABLE * EACH / SEATS)
        print(f"{sets} data sets, {mean:.0f} steps in the mean: evenly {even:.1f} s")
        for tables in (False, True):
            for refill in (False, True):
                what = f"{'several tables' if tables else 'one table'}, refill {refill}"
                taken = seconds(waiting, tables, refill)
                print(f"  {what:30} {taken:6.1f} s  {even / taken:.2f}", flush=True)


if __name__ == "__main__":
    main()
