import errno
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.faults.deadly import Deadly, right
from tests.faults.processes import alive, command, committed, until, write_study
from tsframe.execution import run
from tsframe.opening import open_store
from tsframe.repairing import repair
from tsframe.store import Store
from tsframe.sweep import Sweep
from tsframe.verification import verify
from tsframe.workers.chunk import marks_of

WORDS = ("run", "study", "--jobs", "2", "--no-figures")
MINUTES = float(os.environ.get("CHAOS_MINUTES", "10"))


def sound(path: Path) -> None:
    """A store of a study without faults is whole, and nothing in it is torn."""
    assert set(right(path)) == {"done"}
    assert verify(path, 3).code == 0
    store = Store.open(path)
    assert not list(marks_of(store))
    assert store.runs.unclean() == []


@pytest.mark.slow
def test_runs_that_are_killed_and_resumed_at_once_overlap_without_harm(tmp_path: Path) -> None:
    path = write_study(tmp_path, seconds=0.2, size=40)

    def further(process: "subprocess.Popen[str]", chunks: int) -> bool:
        return committed(path) >= chunks or process.poll() is not None

    with ExitStack() as stack:
        for _ in range(4):
            process = stack.enter_context(command(tmp_path, *WORDS))
            until(partial(further, process, committed(path) + 3))
            assert process.poll() is None
            process.kill()  # its workers train on, and commit what they have
            process.wait()
            assert right(path)["todo"] > 0
        last = stack.enter_context(command(tmp_path, *WORDS))  # at once
        _, err = last.communicate(timeout=120)
        assert last.returncode == 0, err
        sound(path)


def test_workers_leave_after_their_main_process(tmp_path: Path) -> None:
    path = write_study(tmp_path, seconds=0.5)
    with command(tmp_path, *WORDS) as process:
        until(lambda: committed(path) >= 1 or process.poll() is not None)
        process.kill()
        process.wait()
        done = committed(path)
        until(lambda: not alive(process.pid), 60)  # no idle worker waits for what cannot come
        assert committed(path) <= done + 2  # what was in hand was committed, nothing begun
        assert right(path)["todo"] > 0


@pytest.mark.slow
def test_a_second_run_is_refused_and_by_force_takes_over(tmp_path: Path) -> None:
    path = write_study(tmp_path, seconds=0.3, size=400)
    with command(tmp_path, *WORDS) as first:
        until(lambda: committed(path) >= 1 or first.poll() is not None)
        with command(tmp_path, *WORDS) as second:
            _, err = second.communicate(timeout=120)
        assert (second.returncode, first.poll()) == (2, None), err
        assert f"is held by run 1 on host {os.uname().nodename}, pid {first.pid}" in err
        with command(tmp_path, *WORDS, "--force") as third:
            _, early = first.communicate(timeout=120)
            until((path / "runs" / "2.pulse.json").exists)  # it hears signals from here on
            third.send_signal(signal.SIGUSR1)
            _, err = third.communicate(timeout=120)
    assert (first.returncode, third.returncode) == (3, 0), early + err
    assert "another run took this one's place" in early
    assert set(right(path)) == {"done", "todo"}
    assert verify(path, 3).code == 0


@pytest.mark.slow
def test_a_run_that_was_frozen_comes_back_late_without_harm(tmp_path: Path) -> None:
    path = write_study(tmp_path, seconds=0.2, size=16)
    with command(tmp_path, *WORDS) as frozen:
        until(lambda: committed(path) >= 2 or frozen.poll() is not None)
        os.killpg(frozen.pid, signal.SIGSTOP)  # its workers, too, wherever they are in a commit
        with command(tmp_path, *WORDS, "--force") as other:
            _, err = other.communicate(timeout=120)
        assert other.returncode == 0, err
        before = open_store(path)
        os.killpg(frozen.pid, signal.SIGCONT)
        _, err = frozen.communicate(timeout=120)
        until(lambda: not alive(frozen.pid), 60)
    assert frozen.returncode in (0, 3)  # it had nothing left to do, or saw that it was replaced
    after = open_store(path)
    assert after["square"].identical(before["square"])
    assert set(right(path)) == {"done"}


class Full(Deadly):
    """Finds the disk of its worker full from the third cell on."""

    @staticmethod
    def train_together(trials: Any, device: str = "auto", threads: int | None = None) -> Any:
        if any(trial.value >= 3 for trial in trials):

            def write(*_: Any) -> None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            Store.write = write  # type: ignore[assignment,method-assign]  # in this worker
        return Deadly.train_together(trials, device, threads)


def test_a_full_disk_in_a_worker_ends_the_run_with_what_it_needs(tmp_path: Path) -> None:
    sweep = Sweep(lambda seed: Full(seed, seconds=0.05), seed=range(8))
    with pytest.raises(RuntimeError) as caught:
        run(sweep, tmp_path / "s", n_jobs=2, chunk={"seed": 1}, progress=False)
    said = str(caught.value)
    assert "cannot go on: OSError: no space for chunk" in said
    assert "which takes up to" in said
    assert "of 8 cells are committed" in said
    counts = right(tmp_path / "s")
    assert counts["todo"] >= 5
    assert "failed" not in counts  # it is no fault of the cells
    assert not list(marks_of(Store.open(tmp_path / "s")))


def workers(main: int) -> list[int]:
    """List the living processes of the group of a run, but for the main one."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, IndexError):
            state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
            pid = int(stat.parent.name)
            if int(group) == main and pid != main and state != "Z":
                found.append(pid)
    return found


def faults(dice: random.Random) -> Iterator[tuple[str, float]]:
    """Draw what happens to a run, and after how many seconds.

    Yields
    ------
    tuple
        The kind of fault, and the seconds.
    """
    while True:
        kinds = ("worker", "worker", "main", "all", "freeze", *("term", "usr1", "int"))
        yield dice.choice(kinds), dice.uniform(0.3, 4.0)


def strike(kind: str, main: "subprocess.Popen[str]", dice: random.Random) -> None:
    """Let it happen."""
    signals = {"term": signal.SIGTERM, "usr1": signal.SIGUSR1, "int": signal.SIGINT}
    others = workers(main.pid)
    with suppress(ProcessLookupError):
        if kind == "worker" and others:
            os.kill(dice.choice(others), signal.SIGKILL)
        elif kind == "main":
            main.kill()
        elif kind == "all":
            os.killpg(main.pid, signal.SIGKILL)
        elif kind == "freeze":
            os.killpg(main.pid, signal.SIGSTOP)
            time.sleep(dice.uniform(0.0, 2.0))
            os.killpg(main.pid, signal.SIGCONT)
        elif kind in signals:
            main.send_signal(signals[kind])


@pytest.mark.chaos
def test_whatever_happens_to_its_processes_a_sweep_comes_to_the_same_end(tmp_path: Path) -> None:
    seed = int(os.environ.get("CHAOS_SEED", str(time.time_ns() % 10**6)))
    print(f"CHAOS_SEED={seed}")
    dice = random.Random(seed)
    end = time.monotonic() + 60 * MINUTES
    number = 0
    while time.monotonic() < end:
        number += 1
        folder = tmp_path / str(number)
        folder.mkdir()
        path = write_study(folder, seconds=0.1, size=60)
        happens = faults(dice)
        settled = 0
        with ExitStack() as stack:
            while True:
                jobs = dice.choice(("1", "2", "3"))
                main = stack.enter_context(
                    command(folder, "run", "study", "--jobs", jobs, "--no-figures", "--force")
                )
                for kind, wait in happens:
                    with suppress(subprocess.TimeoutExpired):
                        main.wait(wait)
                    if main.poll() is not None:
                        break
                    strike(kind, main, dice)
                main.communicate(timeout=120)
                early = (-signal.SIGINT, -signal.SIGTERM, -signal.SIGUSR1)  # before it could hear
                codes = (0, 1, 3, 130, 143, -signal.SIGKILL, *early)
                assert main.returncode in codes, main.returncode
                if not path.exists():
                    continue
                counts = right(path)  # each done cell is the square of its value
                done = counts.get("done", 0)
                assert done >= settled  # nothing finished is lost
                settled = done
                if settled == 60 or (main.returncode in (0, 1) and "todo" not in counts):
                    break
        # cells that saw their worker killed twice may have failed; on request they are done
        with command(
            folder, "run", "study", "--jobs", "2", "--no-figures", "--retry-failed"
        ) as last:
            last.communicate(timeout=120)
            assert last.returncode == 0
        assert right(path) == {"done": 60}
        found = [finding for finding in verify(path, 3).findings if finding.grade != "note"]
        assert {finding.remedy for finding in found} <= {"remove"}  # half-written files, if any
        repair(path)
        assert verify(path, 3).code == 0
    print(f"{number} sweeps came to their end")
