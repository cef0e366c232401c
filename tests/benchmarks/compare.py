"""Time tsframe against torch and JAX on the same students.

    python -m tests.benchmarks.compare phase_diagram [narrow ...] [--repeats 3] [--engines ...]

Run it from the root of the project. Cases are those of cases.py; without a name all run, for an
hour on two cores. Each run is a process of its own; its time leaves out process start and imports
and includes everything else: drawing data, compiling, training, evaluating. Engines take turns, so
that a load from elsewhere meets all; the table gives medians of cold runs, and the steady time of a
step of one student: the difference between runs of all and of a fifth of the steps.

The timing counts only if the train losses after 100 steps agree with a float64 run of tsframe
within 1e-4 relative (median over students; the worst student is printed too).

torch comes with tsframe; JAX: pip install "tsframe[bench]".
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from typing import Any

import numpy as np

from tests.benchmarks.cases import CASES
from tests.benchmarks.engines import ENGINES, product_rate, run

MODULE = "tests.benchmarks.compare"
GATE = 1e-4
GATE_STEPS = 100


def in_a_process(engine: str, case: str, steps: int, precision: str = "float32") -> dict[str, Any]:
    """Run one engine in a fresh process and read what it prints."""
    command = [sys.executable, "-m", MODULE, case, "--engine", engine, "--steps", str(steps)]
    out = subprocess.run(
        [*command, "--precision", precision], check=True, capture_output=True, text=True
    )
    result: dict[str, Any] = json.loads(out.stdout.splitlines()[-1])
    return result


def compare(name: str, engines: list[str], repeats: int) -> None:
    """Check that all compute the same, let them take turns, print the table."""
    case = CASES[name]
    truth = np.array(in_a_process("tsframe", name, GATE_STEPS, "float64")["train_loss"])
    print(f"\n{name}: {case.what}; {case.steps} steps; load {os.getloadavg()[0]:.1f}")
    void = []
    for engine in engines:
        off = np.abs(np.array(in_a_process(engine, name, GATE_STEPS)["train_loss"]) / truth - 1)
        if np.median(off) >= GATE:
            void.append(engine)
        verdict = "VOID" if engine in void else "ok"
        print(f"  gate, {engine:10}: median {np.median(off):.1e}, worst {off.max():.1e}  {verdict}")
    cold: dict[str, list[dict[str, Any]]] = {engine: [] for engine in engines}
    short: dict[str, list[float]] = {engine: [] for engine in engines}
    for _ in range(repeats):
        for engine in engines:
            cold[engine].append(in_a_process(engine, name, case.steps))
            short[engine].append(in_a_process(engine, name, case.steps // 5)["seconds"])
    ours = cold_median(cold["tsframe"]), steady(case.steps, cold["tsframe"], short["tsframe"])
    print(
        f"  {'engine':12}{'cold s':>8}{'spread':>14}{'ratio':>7}{'us/step':>9}{'ratio':>7}"
        f"{'product GF/s':>14}{'test error':>12}"
    )
    for engine in engines:
        median, step = cold_median(cold[engine]), steady(case.steps, cold[engine], short[engine])
        times = [r["seconds"] for r in cold[engine]]
        rate = statistics.median(r["rate"] for r in cold[engine])
        error = np.mean(cold[engine][0]["test_error"])
        print(
            f"  {engine:12}{median:8.1f}{min(times):8.1f}-{max(times):<5.1f}{median / ours[0]:7.2f}"
            f"{step / len(truth) * 1e6:9.1f}{step / ours[1]:7.2f}{rate:14.0f}{error:12.4f}"
            f"  {cold[engine][0]['note']}{'  VOID' if engine in void else ''}",
            flush=True,
        )


def cold_median(runs: list[dict[str, Any]]) -> float:
    """Median seconds of cold runs."""
    return float(statistics.median(r["seconds"] for r in runs))


def steady(steps: int, runs: list[dict[str, Any]], short: list[float]) -> float:
    """Seconds of one step of all students, from the difference of long and short runs."""
    return (cold_median(runs) - statistics.median(short)) / (steps - steps // 5)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", default=list(CASES), help=", ".join(CASES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, help="besides tsframe")
    parser.add_argument("--engine", choices=ENGINES, help="run one engine here; print JSON")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--precision", default="float32")
    options = parser.parse_args()
    if unknown := [name for name in options.cases if name not in CASES]:
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(CASES)}")
    if options.engine:
        trials = CASES[options.cases[0]].build(options.steps, options.precision)
        result = run(options.engine, trials)
        print(json.dumps(result | dict(rate=product_rate(options.engine))))
        return
    print(f"{os.cpu_count()} cores")
    for name in options.cases:
        wanted = options.engines or CASES[name].engines
        compare(name, ["tsframe", *(e for e in wanted if e != "tsframe")], options.repeats)


if __name__ == "__main__":
    main()
