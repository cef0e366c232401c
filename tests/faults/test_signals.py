import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.faults.deadly import Deadly, right
from tests.faults.processes import alive, command, committed, ROOT, until, write_study
from tsframe.execution import run, Stopped
from tsframe.store import Store
from tsframe.sweep import Sweep
from tsframe.workers.chunk import marks_of

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 0}
SAID = {signal.SIGINT: "interrupted", signal.SIGTERM: "SIGTERM", signal.SIGUSR1: "SIGUSR1"}


def in_hand(path: Path) -> bool:
    return any((path / "runs" / "attempts").glob("[0-9]*"))


@pytest.mark.parametrize(
    ("signum", "to"),
    [
        (signal.SIGINT, "group"),
        (signal.SIGTERM, "main"),
        pytest.param(signal.SIGUSR1, "main", marks=pytest.mark.slow),  # as in the SLURM array
        pytest.param(signal.SIGINT, "main", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, "group", marks=pytest.mark.slow),
        pytest.param(signal.SIGUSR1, "group", marks=pytest.mark.slow),
    ],
)
def test_a_signal_lets_chunks_in_hand_finish_and_leaves_no_process(
    tmp_path: Path, signum: signal.Signals, to: str
) -> None:
    path = write_study(tmp_path)
    words = ("run", "study", "--jobs", "2", "--no-figures")
    with command(tmp_path, *words) as process:
        until(lambda: committed(path) >= 1 or process.poll() is not None)
        if to == "main":
            process.send_signal(signum)
        else:  # as a terminal or a scheduler does
            os.killpg(process.pid, signum)
        _, err = process.communicate(timeout=120)
        until(lambda: not alive(process.pid), 60)
    assert process.returncode == CODES[signum]
    assert f"tsframe: {SAID[signum]}; what was finished is kept, the same command" in err
    assert "Traceback" not in err
    counts = right(path)
    assert counts["todo"] > 0
    store = Store.open(path)
    assert not list(marks_of(store))
    end = store.runs.read("1.end")
    assert signum.name in end["reason"]
    assert end["counts"] == {"done": counts["done"]}  # so what was in hand came back, too


@pytest.mark.parametrize("jobs", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_a_second_signal_drops_what_is_in_hand(tmp_path: Path, jobs: str) -> None:
    path = write_study(tmp_path, seconds=1.0)
    with command(tmp_path, "run", "study", "--jobs", jobs, "--no-figures") as process:
        until(lambda: in_hand(path) or process.poll() is not None)
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
        assert time.monotonic() - start < 10  # the chunks in hand would take longer
        until(lambda: not alive(process.pid), 60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert right(path) == {"todo": 24}
    assert not list(marks_of(Store.open(path)))


@pytest.mark.slow
def test_what_is_in_hand_is_dropped_when_the_time_is_up(tmp_path: Path) -> None:
    path = write_study(tmp_path, seconds=2.0)
    words = ("run", "study", "--jobs", "2", "--no-figures", "--grace", "0.5")
    with command(tmp_path, *words) as process:
        until(lambda: in_hand(path) or process.poll() is not None)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)
        until(lambda: not alive(process.pid), 60)
    assert process.returncode == 143
    assert right(path) == {"todo": 24}


FAKES = {
    "tsframe": """#!/bin/bash
exec {python} -m tsframe.cli "$@"
""",
    "scontrol": """#!/bin/bash
echo "$@" >> {folder}/asked
""",
}


def test_a_slurm_array_stops_in_time_is_requeued_and_goes_on(tmp_path: Path) -> None:
    path = write_study(tmp_path, size=12)
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in FAKES.items():
        (folder / name).write_text(text.format(python=sys.executable, folder=tmp_path))
        (folder / name).chmod(0o755)
    slurm = {"ARRAY_JOB": "88", "ARRAY_TASK": "1", "JOB": "90"}
    environment = {
        **os.environ,
        **{f"SLURM_{name}_ID": number for name, number in slurm.items()},
        "SLURM_ARRAY_TASK_MIN": "0",
        "SLURM_ARRAY_TASK_COUNT": "2",
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    script = ["bash", str(ROOT / "examples" / "slurm_array.sh"), "study", "--jobs", "1"]

    def submit(restarts: str) -> "subprocess.Popen[str]":
        again = {**environment, "SLURM_RESTART_COUNT": restarts}
        return subprocess.Popen(
            script,
            cwd=tmp_path,
            env=again,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    first = submit("0")
    try:
        until(lambda: committed(path) >= 1 or first.poll() is not None)
        first.send_signal(signal.SIGUSR1)  # --signal=B: goes to the shell alone
        _, err = first.communicate(timeout=120)
        until(lambda: not alive(first.pid), 60)
    finally:
        if alive(first.pid):
            os.killpg(first.pid, signal.SIGKILL)
    assert first.returncode == 0, err
    assert "SIGUSR1; what was finished is kept" in err
    assert (tmp_path / "asked").read_text() == "requeue 88_1\n"
    done = right(path)["done"]
    assert 1 <= done < 6
    second = submit("1")
    _, err = second.communicate(timeout=120)
    assert second.returncode == 0, err
    assert right(path) == {"todo": 6, "done": 6}  # this shard is half of the chunks
    assert (tmp_path / "asked").read_text() == "requeue 88_1\n"


def test_python_hears_of_it_as_an_interrupt(tmp_path: Path) -> None:
    sweep = Sweep(lambda seed: Deadly(seed, seconds=0.2), seed=range(20))
    before = [signal.getsignal(number) for number in CODES]
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    with pytest.raises(KeyboardInterrupt) as caught:
        run(sweep, tmp_path / "s", n_jobs=1, chunk={"seed": 1})
    assert isinstance(caught.value, Stopped)
    assert caught.value.signum == signal.SIGTERM
    assert "stopped by SIGTERM; what was finished is kept" in str(caught.value)
    assert [signal.getsignal(number) for number in CODES] == before
    counts = right(tmp_path / "s")
    assert counts["done"] > 0
    assert counts["todo"] > 0


def test_a_run_outside_of_the_main_thread_hears_no_signals_and_runs(tmp_path: Path) -> None:
    sweep = Sweep(lambda seed: Deadly(seed), seed=range(4))
    thread = threading.Thread(target=run, args=(sweep, tmp_path / "s"), kwargs={"n_jobs": 2})
    thread.start()
    thread.join(60)
    assert right(tmp_path / "s") == {"done": 4}
