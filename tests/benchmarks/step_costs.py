"""Fit the constants of `tsframe.costs` to steps of many stacks, one thread.

    python -m tests.benchmarks.step_costs

Each stack is trained for some steps; the median time of a step counts. Constants are those that
make the worst ratios of predicted to measured time smallest, by a robust fit of their logarithms.
"""

import json
import time
from dataclasses import astuple, dataclass
from itertools import pairwise
from typing import Any
from unittest import mock

import numpy as np
from scipy.optimize import least_squares, nnls

import tsframe
from tsframe.students.stack import Stack

__all__ = ["STACKS", "StackOf", "fit"]

STEPS = 30


@dataclass(frozen=True)
class StackOf:
    """Students of one shape, some on each data set."""

    width: int
    depth: int = 2
    batch: int = 128
    dim: int = 200
    sets: int = 4
    each: int = 4

    def seconds(self) -> float:
        """Measure the median time of a step."""
        trials = [
            tsframe.Trial(
                inputs=tsframe.Gaussian(dim=self.dim, spectrum=tsframe.Sloppy(0.05)),
                teacher=tsframe.Teacher(width=20),
                student=tsframe.MLP(self.width, self.depth),
                training=tsframe.SGD(
                    0.01 * (1.0 + 0.01 * k),
                    momentum=0.9,
                    batch_size=self.batch,
                    max_steps=STEPS,
                ),
                n_train=max(600, self.batch),
                n_test=64,
                seed=seed,
            )
            for seed in range(self.sets)
            for k in range(self.each)
        ]
        stamps: list[float] = []
        forward = Stack.forward

        def stamped(*args: Any) -> Any:
            stamps.append(time.perf_counter())
            return forward(*args)

        with mock.patch.object(Stack, "forward", stamped):
            tsframe.train(trials, device="cpu", threads=1)
        return float(np.median(np.diff(stamps)[3 : STEPS - 2]))

    @property
    def parts(self) -> list[float]:
        """What the constants multiply: steps, products, numbers of minibatches, units, FLOPs."""
        students, outputs = self.sets * self.each, 10
        sizes = [self.dim, *[self.width] * self.depth, outputs]
        first = sizes[1] * (sizes[0] + 1)
        behind = sum(after * (before + 1) for before, after in pairwise(sizes[1:]))
        return [
            1.0,
            len(sizes) - 1.0,
            float(self.sets * self.batch * self.dim),
            float(students * self.batch * (self.width * self.depth + outputs)),
            2.0 * students * self.batch * (2 * first + 3 * behind),
        ]


NAMES = ("STEP", "LAYER", "INPUT", "UNIT", "seconds a FLOP")
STACKS = [
    *(
        StackOf(w, sets=s, each=e)
        for w in (5, 10, 30, 100, 300)
        for s, e in ((16, 1), (4, 8), (1, 16))
    ),
    *(StackOf(30, depth=depth) for depth in (0, 1, 4)),
    *(StackOf(30, batch=b, sets=s, each=e) for b in (32, 512) for s, e in ((4, 4), (16, 1))),
    *(StackOf(30, dim=d, sets=s, each=e) for d in (50, 1000) for s, e in ((4, 4), (16, 1))),
    StackOf(500, sets=1, each=2),
    StackOf(500, sets=2, each=1),
    StackOf(100, 1, batch=64, dim=400, sets=2, each=8),
    StackOf(60, 3, batch=256, dim=100, sets=8, each=4),
    StackOf(8, batch=64, dim=100, sets=8, each=32),
]


def fit(stacks: list[StackOf], seconds: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Fit constants in seconds; give them and the ratios of predicted to measured times."""
    scaled = np.array([stack.parts for stack in stacks]) / np.array(seconds)[:, None]
    start = np.log(np.maximum(nnls(scaled, np.ones(len(stacks)))[0], 1e-13))

    def off(logs: np.ndarray) -> np.ndarray:
        return np.asarray(np.log(scaled @ np.exp(logs)))

    found = least_squares(off, start, loss="soft_l1", f_scale=0.08)
    constants = np.exp(found.x)
    return constants, scaled @ constants


def main() -> None:
    """Measure, fit and print the constants in the units of `tsframe.costs`."""
    seconds = []
    for stack in STACKS:
        seconds.append(stack.seconds())
        print(json.dumps(astuple(stack)), f"{1e6 * seconds[-1]:.0f} us a step", flush=True)
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
