"""Time tsframe against torch and JAX on the same students.

    python -m tests.benchmarks.compare phase_diagram [narrow ...] [--repeats 3] [--engines ...]
    python -m tests.benchmarks.compare --device cuda

Run it from the root of the project. Cases are those of cases.py; without a name all of the device
run, for an hour on two cores. Each run is a process of its own; its time leaves out process start
and imports and includes everything else: drawing data, compiling, training, evaluating. Engines
take turns, so that a load from elsewhere meets all; the table gives medians of cold runs, and the
steady time of a step of one student: the difference between runs of all and of a fifth of the
steps. "of rate" is that step's products at the rate of one plain large product of the same library,
by its time: the fraction of the floor. To see that it runs: `--students 8 --steps 10 --repeats 1`.

The timing counts only if the train losses after 100 steps agree with a float64 run of tsframe
within 1e-4 relative (median over students; the worst student is printed too).

torch comes with tsframe; JAX: pip install "tsframe[bench]", and "jax[cuda13]" for a GPU.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import tsframe
from tests.benchmarks.cases import CASES, flops
from tests.benchmarks.engines import ENGINES, product_rate, run

MODULE = "tests.benchmarks.compare"
GATE = 1e-4
GATE_STEPS = 100


@dataclass(frozen=True)
class Place:
    """Where runs take place, and how much of a case they take.

    Attributes
    ----------
    case : str
        Its name.
    device : str
        Where.
    students : int
        At most so many of it.
    """

    case: str
    device: str
    students: int

    def trials(self, steps: int, precision: str) -> list[tsframe.Trial]:
        """Give the trials of a run."""
        return CASES[self.case].build(steps, precision)[: self.students]

    def run(self, engine: str, steps: int, precision: str = "float32") -> dict[str, Any]:
        """Run one engine in a fresh process and read what it prints."""
        command = [sys.executable, "-m", MODULE, self.case, "--engine", engine]
        command += ["--steps", str(steps), "--precision", precision, "--device", self.device]
        done = subprocess.run(
            [*command, "--students", str(self.students)], capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"{engine} failed:\n{done.stderr[-2000:]}")
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result


def compare(place: Place, engines: list[str], repeats: int, steps: int) -> None:
    """Check that all compute the same, let them take turns, print the table."""
    gate_steps = min(GATE_STEPS, steps)
    oracle = "tsframe" if place.device == "cpu" else "tsframe fast"
    truth = np.array(place.run(oracle, gate_steps, "float64")["train_loss"])
    judged, place = place, replace(place, students=min(place.students, CASES[place.case].timed))
    students = min(len(truth), place.students)
    work = flops(place.trials(steps, "float32"))
    print(
        f"\n{place.case}: {CASES[place.case].what}; {students} students, {steps} steps on "
        f"{place.device}; load {os.getloadavg()[0]:.1f}"
    )
    void = []
    for engine in engines:
        losses = np.array(judged.run(engine, gate_steps)["train_loss"])
        off = np.abs(losses / truth[: len(losses)] - 1)
        if np.median(off) >= GATE:
            void.append(engine)
        verdict = "VOID" if engine in void else "ok"
        print(f"  gate, {engine:14}: median {np.median(off):.1e}, worst {off.max():.1e}  {verdict}")
    cold: dict[str, list[dict[str, Any]]] = {engine: [] for engine in engines}
    short: dict[str, list[float]] = {engine: [] for engine in engines}
    for _ in range(repeats):
        for engine in engines:
            cold[engine].append(place.run(engine, steps))
            short[engine].append(place.run(engine, max(1, steps // 5))["seconds"])
    ours = cold_median(cold["tsframe"]), steady(steps, cold["tsframe"], short["tsframe"])
    print(
        f"  {'engine':15}{'cold s':>8}{'spread':>14}{'ratio':>7}{'us/step':>9}{'ratio':>7}"
        f"{'product GF/s':>14}{'of rate':>9}{'test error':>12}"
    )
    for engine in engines:
        median, step = cold_median(cold[engine]), steady(steps, cold[engine], short[engine])
        times = [r["seconds"] for r in cold[engine]]
        rate = statistics.median(r["rate"] for r in cold[engine])
        error = np.mean(cold[engine][0]["test_error"])
        print(
            f"  {engine:15}{median:8.1f}{min(times):8.1f}-{max(times):<5.1f}{median / ours[0]:7.2f}"
            f"{step / students * 1e6:9.2f}{step / ours[1]:7.2f}{rate:14.0f}"
            f"{1e-9 * work / rate / step:9.0%}{error:12.4f}"
            f"  {cold[engine][0]['note']}{'  VOID' if engine in void else ''}",
            flush=True,
        )


def cold_median(runs: list[dict[str, Any]]) -> float:
    """Median seconds of cold runs."""
    return float(statistics.median(r["seconds"] for r in runs))


def steady(steps: int, runs: list[dict[str, Any]], short: list[float]) -> float:
    """Seconds of one step of all students, from the difference of long and short runs."""
    return (cold_median(runs) - statistics.median(short)) / (steps - max(1, steps // 5))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", help=", ".join(CASES))
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--students", type=int, default=10**9, help="no more than so many")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, help="besides tsframe")
    parser.add_argument("--engine", choices=ENGINES, help="run one engine here; print JSON")
    parser.add_argument("--steps", type=int, help="other than those of the case")
    parser.add_argument("--precision", default="float32")
    options = parser.parse_args()
    if unknown := [name for name in options.cases if name not in CASES]:
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(CASES)}")
    device = options.device
    names = options.cases or [name for name in CASES if CASES[name].device == device]
    if options.engine:
        place = Place(names[0], device, options.students)
        trials = place.trials(options.steps or GATE_STEPS, options.precision)
        result = run(options.engine, trials, device)
        print(json.dumps(result | dict(rate=product_rate(options.engine, device))))
        return
    print(f"{os.cpu_count()} cores, {device}")
    for name in names:
        wanted = options.engines or CASES[name].engines
        if device == "cpu":  # where there is no precision of this name
            wanted = [engine for engine in wanted if engine != "tsframe tf32x3"]
        engines = ["tsframe", *(e for e in wanted if e != "tsframe")]
        steps = options.steps or CASES[name].steps
        compare(Place(name, device, options.students), engines, options.repeats, steps)


if __name__ == "__main__":
    main()
