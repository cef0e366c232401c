"""Draw how the time of a student's step grows with everything it may depend on.

    python -m tests.benchmarks.growth [--repeats 3] [--figure growth.png]

Width 30, depth 2, dim 200, batches of 128, 16 students a data set and 256 in all, one of these
changed at a time. A point is the slope of the time of a call between few and many steps, so that
drawing and evaluating do not count; lines are the prediction of `tsframe.costs`, at the speed that
fits all points best.
"""

import argparse
import statistics
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import LogLocator

import tsframe
from tsframe.samples import Samples
from tsframe.tasks import draw_tasks, Each
from tsframe.training.calibration import predicted_work

AXES = {
    "students": (16, 64, 256, 1024, 4096),
    "width": (5, 10, 30, 100, 300),
    "depth": (0, 1, 2, 4, 6),
    "batch": (16, 32, 128, 512, 1024),
    "dim": (25, 50, 200, 800),
    "shared": (1, 2, 4, 16, 64),  # students a data set
    "steps": (50, 100, 200, 400),
}


@dataclass(frozen=True)
class Point:
    """A stack to be timed."""

    students: int = 256
    width: int = 30
    depth: int = 2
    batch: int = 128
    dim: int = 200
    shared: int = 16
    steps: int = 0

    def trials(self, steps: int) -> list[tsframe.Trial]:
        """Make its students, to be trained for so many steps."""
        each = min(self.shared, self.students)
        return [
            tsframe.Trial(
                inputs=tsframe.Gaussian(dim=self.dim, spectrum=tsframe.Sloppy(0.05)),
                teacher=tsframe.Teacher(width=10),
                student=tsframe.MLP(self.width, self.depth),
                training=tsframe.SGD(
                    0.001 * (k + 1), momentum=0.9, batch_size=self.batch, max_steps=steps
                ),
                n_train=max(512, self.batch),
                n_test=128,
                seed=seed,
            )
            for seed in range(self.students // each)
            for k in range(each)
        ]

    def seconds(self) -> float:
        """Time a step of all students, or with `steps` given so many of them."""
        cost = sum(trial.flops for trial in self.trials(1)) / 2e11
        few, many = (0, self.steps) if self.steps else (4, 4 + max(24, round(1.2 / cost)))
        drawn: dict[Hashable, list[Samples]] = {}

        def draw(tasks: Sequence[Any], each: Each) -> list[Samples]:
            key = tuple(task.sharing_key for task in tasks)
            return drawn[key] if key in drawn else drawn.setdefault(key, draw_tasks(tasks, each))

        taken = []
        with mock.patch("tsframe.batch.draw_tasks", draw):
            for steps in (1, max(1, few), many):  # the first time data are drawn
                trials = self.trials(steps)
                start = time.perf_counter()
                tsframe.train(trials, device="cpu")
                taken.append(time.perf_counter() - start)
        return (taken[2] - taken[1]) / (many - max(1, few)) * (self.steps or 1)

    def predicted(self) -> float:
        """Predict it, in floating-point operations."""
        few, many = (predicted_work(self.trials(steps)) for steps in (100, 200))
        return (many - few) / 100 * (self.steps or 1)


def main() -> None:
    """Measure, print a table and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--figure", default="growth.png")
    options = parser.parse_args()
    points = [(axis, v, replace(Point(), **{axis: v})) for axis in AXES for v in AXES[axis]]
    rounds = [[point.seconds() for *_, point in points] for _ in range(options.repeats)]
    taken = np.array([statistics.median(times) for times in zip(*rounds, strict=True)])
    works = np.array([point.predicted() for *_, point in points])
    speed = float(np.exp(np.log(works / taken).mean()))
    students = np.array([1 if axis == "steps" else point.students for axis, _, point in points])
    each, expected = 1e6 * taken / students, 1e6 * works / speed / students
    for (axis, value, _), us, model in zip(points, each, expected, strict=True):
        print(f"{axis:9}{value:6}{us:12.1f} us{model:12.1f} us predicted")
    figure, panels = plt.subplots(2, 4, figsize=(12, 5.4), layout="constrained")
    for axis, panel in zip(AXES, panels.flat, strict=False):
        mine = [k for k, (name, *_) in enumerate(points) if name == axis]
        scale = 1e3 if axis == "steps" else 1.0
        panel.plot(AXES[axis], each[mine] / scale, "o", color="C0", label="measured")
        model = expected[mine] / scale
        panel.plot(AXES[axis], model, color="0.4", lw=1, label="predicted from the work")
        scales = dict(xscale="symlog" if axis == "depth" else "log", yscale="log")
        panel.set(**scales, xlabel="students a data set" if axis == "shared" else axis)
        panel.set_xticks(AXES[axis], [str(v) for v in AXES[axis]], minor=False)
        low, high = panel.get_ylim()
        panel.set_ylim(min(low, high / 8), high)
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.minorticks_off()
    panels[0, 0].set_ylabel("us a student and step")
    panels[1, 0].set_ylabel("us a student and step")
    panels[1, 2].set_ylabel("ms, all students and steps")
    panels[1, 3].axis("off")
    panels[1, 3].legend(*panels[0, 0].get_legend_handles_labels(), loc="center", frameon=False)
    figure.suptitle("What a step of a student costs, and what it depends on")
    figure.savefig(options.figure, dpi=110)


if __name__ == "__main__":
    main()
