import importlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import xarray as xr
from threadpoolctl import threadpool_info

from tests.faults.processes import alive, until
from tests.toy import Square
from tsframe.execution import run
from tsframe.ledger import ENTRIES, State
from tsframe.opening import open_store
from tsframe.rows import TEXT
from tsframe.store import Store
from tsframe.sweep import Sweep
from tsframe.watching import watch
from tsframe.workers.crew import muster

ROOT = Path(__file__).parents[1]


def trial(slope: float, seed: int) -> Square:
    return Square(slope * (seed + 1) / 3, mood="diverges" if seed == 2 else "well")


def small() -> Sweep:
    return Sweep(trial, slope=[0.1, 0.2, 0.3], seed=range(5))


def values(path: Path) -> xr.Dataset:
    """What must not depend on order, workers or interruptions."""
    keep = ["state", "digest"]
    dataset = open_store(path)
    ledger = dataset["ledger"].sel(entry=keep)
    return dataset[["square", "curve", "state", "error"]].assign(ledger=ledger).drop_attrs()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    path = tmp_path_factory.mktemp("undisturbed") / "s.zarr"
    run(small(), path, n_jobs=1)
    return values(path)


@pytest.mark.parametrize("chunk", [{"slope": 1, "seed": 1}, {"slope": 2, "seed": 3}])
@pytest.mark.parametrize(("backend", "n_jobs"), [("loky", 2), ("loky", 1), ("threading", 2)])
def test_workers_backends_and_chunks_do_not_matter(
    tmp_path: Path, undisturbed: xr.Dataset, backend: str, n_jobs: int, chunk: dict[str, int]
) -> None:
    with joblib.parallel_config(backend):
        run(small(), tmp_path / "s.zarr", n_jobs=n_jobs, chunk=chunk)
    assert values(tmp_path / "s.zarr").identical(undisturbed)


def test_the_order_of_chunks_changes_from_run_to_run_and_does_not_matter(
    tmp_path: Path, undisturbed: xr.Dataset
) -> None:
    orders = []
    for earlier in (0, 3):
        path, log = tmp_path / f"{earlier}.zarr", tmp_path / str(earlier)
        log.mkdir()

        def logged(slope: float, seed: int, log: Path = log) -> Square:
            old = trial(slope, seed)
            return Square(old.value, old.mood, folder=str(log))

        sweep = Sweep(logged, slope=[0.1, 0.2, 0.3], seed=range(5))
        store = Store.create(path, sweep, (1, 1))
        for _ in range(earlier):
            store.runs.begin({})
        run(sweep, path, n_jobs=1)
        assert values(path).identical(undisturbed)
        files = sorted(log.iterdir(), key=lambda file: int(file.name.split("-")[1]))
        orders.append([file.name.split("-")[0] for file in files])
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])


def test_a_finished_sweep_is_not_trained_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.mkdir()
    sweep = Sweep(
        lambda seed: Square(seed, "diverges" if seed == 1 else "well", folder=str(log)),
        seed=range(6),
    )
    first = run(sweep, tmp_path / "s.zarr", n_jobs=1, chunk={"seed": 2})
    assert len(list(log.iterdir())) == 6
    second = run(sweep, tmp_path / "s.zarr", n_jobs=1)
    assert len(list(log.iterdir())) == 6
    assert second.identical(first)


def test_only_what_is_missing_is_trained(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.mkdir()
    sweep = Sweep(lambda seed: Square(seed, folder=str(log)), seed=range(6))
    run(sweep, tmp_path / "s.zarr", n_jobs=1, chunk={"seed": 2})
    (tmp_path / "s.zarr" / "ledger" / "c.1.0").unlink()
    run(sweep, tmp_path / "s.zarr", n_jobs=1)
    times = Counter(file.name.split("-")[0] for file in log.iterdir())
    assert times == {"0": 1, "1": 1, "2": 2, "3": 2, "4": 1, "5": 1}


def faulty(mood: str, bad: int = 2, **others: Any) -> Sweep:
    return Sweep(
        lambda seed: Square(float(seed), mood if seed == bad else "well", **others), seed=range(5)
    )


FAULTS = {
    "raises": "ValueError: no square of 2.0",
    "shouts": "RuntimeError: \\ud800xxx",
    "nan": "is NaN, though the student did not diverge",
    "hole": "measure 'square' is NaN, though the student did not diverge",
    "missing": "measure 'curve' is declared but not returned; got square, diverged",
    "shape": "measure 'curve': declared dims ('student', 'step') of lengths (1, 3), got",
    "complex": "measure 'square': declared real numbers, got complex128",
    "short": "measure 'square': declared dims ('student',) of lengths (1,), got",
}


@pytest.mark.parametrize("mood", FAULTS)
def test_a_bad_trial_fails_alone_and_says_why(tmp_path: Path, mood: str) -> None:
    dataset = run(faulty(mood), tmp_path / "s.zarr", n_jobs=1)
    assert dataset["state"].values.tolist() == [1, 1, 2, 1, 1]
    assert dataset["square"].values[[0, 1, 3, 4]].tolist() == [0.0, 1.0, 9.0, 16.0]
    assert np.isnan(dataset["square"][2])
    assert np.isnan(Store.open(tmp_path / "s.zarr").read_all("curve")[2]).all()
    text = dataset["error"].values[2]
    assert FAULTS[mood] in text
    assert len(text.encode()) <= TEXT


def test_trials_that_fail_only_together_are_trained_alone(tmp_path: Path) -> None:
    sweep = Sweep(lambda seed: Square(float(seed), together="raises"), seed=range(5))
    dataset = run(sweep, tmp_path / "s.zarr", n_jobs=1)
    assert (dataset["state"] == State.DONE).all()
    assert dataset["square"].values.tolist() == [0.0, 1.0, 4.0, 9.0, 16.0]


def test_a_failed_cell_is_tried_twice_and_then_on_request(tmp_path: Path) -> None:
    def attempts(**how: Any) -> float:
        dataset = run(faulty("raises"), tmp_path / "s.zarr", n_jobs=1, **how)
        return float(dataset["ledger"].sel(entry="attempts", seed=2))

    assert [attempts(), attempts(), attempts(), attempts(retry_failed=True)] == [1, 2, 2, 3]


def test_a_cell_that_recovers_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(faulty("raises"), tmp_path / "s.zarr", n_jobs=1)
    train = Square.train_together
    monkeypatch.setattr(
        Square,
        "train_together",
        staticmethod(lambda trials, **how: train([Square(t.value) for t in trials], **how)),
    )
    dataset = run(faulty("raises"), tmp_path / "s.zarr", n_jobs=1)
    assert dataset["state"].values.tolist() == [1] * 5
    assert dataset["square"].values[2] == 4.0
    assert set(dataset["error"].values) == {""}


def test_the_seconds_of_the_cells_are_the_time_of_the_call(tmp_path: Path) -> None:
    sweep = Sweep(lambda seed: Square(seed, seconds=0.05, work=1.0 + seed), seed=range(4))
    start = time.perf_counter()
    dataset = run(sweep, tmp_path / "s.zarr", n_jobs=1)
    passed = time.perf_counter() - start
    seconds = dataset["ledger"].sel(entry="seconds").values
    assert 0.2 <= seconds.sum() <= passed
    assert np.allclose(seconds / seconds.sum(), np.arange(1, 5) / 10)
    assert (dataset["ledger"].sel(entry="peak_bytes") > 1e6).all()


def test_the_cores_are_shared_out() -> None:
    cores = joblib.cpu_count()
    assert muster(None, "cpu").workers == cores
    assert muster(None, "cpu").threads == 1
    assert muster(1, "cpu").threads == cores
    assert muster(4 * cores, "cpu").threads == 1
    assert muster(None, "cuda").workers == 1
    assert muster(-1, "cuda").workers == cores
    with joblib.parallel_config("threading", n_jobs=3):
        crew = muster(None, "cpu")
        assert (crew.backend, crew.workers) == ("threading", 3)


class Threaded(Square):
    """Measures how many threads the libraries of its worker may use."""

    @staticmethod
    def train_together(trials: Any, device: str = "auto", threads: int | None = None) -> xr.Dataset:
        most = max(library["num_threads"] for library in threadpool_info())
        return Square.train_together([Square(most**0.5) for _ in trials], device, threads)


@pytest.mark.parametrize(("backend", "n_jobs"), [("loky", 1), ("loky", 2), ("threading", 2)])
def test_a_worker_uses_no_more_threads_than_its_share(
    tmp_path: Path, backend: str, n_jobs: int
) -> None:
    importlib.import_module("torch")  # brings OpenMP, whose threads are counted thread by thread
    sweep = Sweep(lambda seed: Threaded(seed), seed=range(4))
    with joblib.parallel_config(backend):
        dataset = run(sweep, tmp_path / "s.zarr", n_jobs=n_jobs, chunk={"seed": 1})
    share = max(1, joblib.cpu_count() // n_jobs)
    assert (dataset["square"].round() <= share).all()
    assert dataset.attrs["threads"] == share


@pytest.mark.parametrize("n_jobs", [0, -2, 1.5, "two", True])
def test_a_bad_number_of_workers_is_refused(tmp_path: Path, n_jobs: Any) -> None:
    with pytest.raises(ValueError, match=r"n_jobs \(--jobs\) must be an integer >= 1, or -1"):
        run(small(), tmp_path / "s.zarr", n_jobs=n_jobs)
    assert not any(tmp_path.iterdir())


def test_a_bad_device_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"device must be auto, cpu, cuda or cuda:N; got 'gp"):
        run(small(), tmp_path / "s.zarr", device="gpu")
    assert not any(tmp_path.iterdir())


def test_a_run_without_terminal_is_quiet_but_for_its_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "tsframe"):
        run(faulty("raises"), tmp_path / "s.zarr", n_jobs=1, chunk={"seed": 1})
    lines = [record.message for record in caplog.records if "students" in record.message]
    assert len(lines) == 1
    assert "5/5 students" in lines[0]
    assert "1 failed" in lines[0]


def test_a_long_run_says_now_and_then_how_far_it_is(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tsframe.watching.PAUSE", -1.0)
    with caplog.at_level(logging.INFO, "tsframe"), watch(4, 8.0) as show:
        show(Counter(done=1), 2.0)
    assert "1/4 students" in caplog.messages[0]
    assert "left" in caplog.messages[0]


SCRIPT = """
from tests.faults.processes import alive, until
from tests.toy import Square
from tsframe.sweep import Sweep

def trial(slope, seed):
    return Square(slope * (seed + 1) / 3, "diverges" if seed == 2 else "well", seconds={seconds})

sweep = Sweep(trial, slope=[0.1, 0.2, 0.3], seed=range(5))

if __name__ == "__main__":
    from tsframe.execution import run
    run(sweep, {path!r}, n_jobs={n_jobs}, chunk=dict(slope=1, seed=1))
"""


def start(tmp_path: Path, seconds: float, n_jobs: int) -> "subprocess.Popen[bytes]":
    file = tmp_path / "study.py"
    file.write_text(SCRIPT.format(path=str(tmp_path / "s.zarr"), n_jobs=n_jobs, seconds=seconds))
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, str(file)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
        start_new_session=True,  # a process group of its own, to find what is left of it
    )


def committed(tmp_path: Path) -> int:
    folder = tmp_path / "s.zarr" / "ledger"
    return len(list(folder.glob("c.*.0"))) if folder.is_dir() else 0


@pytest.fixture
def disturbed(tmp_path: Path) -> Any:
    # starts a slow sweep; what is left of it is ended with the test
    started: list[subprocess.Popen[bytes]] = []

    def begin(n_jobs: int) -> "subprocess.Popen[bytes]":
        started.append(start(tmp_path, 0.15, n_jobs))
        until(lambda: committed(tmp_path) >= 3 or started[-1].poll() is not None, 30)
        return started[-1]

    yield begin
    for process in started:
        if alive(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)


def finish(tmp_path: Path) -> None:
    def slow(slope: float, seed: int) -> Square:
        return Square(slope * (seed + 1) / 3, "diverges" if seed == 2 else "well", seconds=0.15)

    run(Sweep(slow, slope=[0.1, 0.2, 0.3], seed=range(5)), tmp_path / "s.zarr", n_jobs=2)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_killed_run_goes_on_to_the_same_bits(
    tmp_path: Path, undisturbed: xr.Dataset, disturbed: Any, n_jobs: int
) -> None:
    process = disturbed(n_jobs)
    process.kill()  # SIGKILL of the main process; its workers may still be committing
    process.wait()
    before = committed(tmp_path)
    assert 3 <= before < 15
    early = open_store(tmp_path / "s.zarr")
    finish(tmp_path)
    assert values(tmp_path / "s.zarr").identical(undisturbed)
    late = open_store(tmp_path / "s.zarr")
    kept = early["state"] != State.TODO
    assert (late["ledger"].where(kept) == early["ledger"].where(kept)).where(kept, True).all()
    assert Store.open(tmp_path / "s.zarr").runs.unclean() == []


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_interrupted_run_keeps_what_is_finished_and_leaves_no_worker(
    tmp_path: Path, undisturbed: xr.Dataset, disturbed: Any, n_jobs: int
) -> None:
    process = disturbed(n_jobs)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
    process.wait(timeout=20)
    until(lambda: not alive(process.pid), 10)
    early = open_store(tmp_path / "s.zarr")
    done = int((early["state"] != State.TODO).sum())
    assert 3 <= done < 15
    finish(tmp_path)
    assert values(tmp_path / "s.zarr").identical(undisturbed)
    runs = open_store(tmp_path / "s.zarr")["ledger"].values[..., ENTRIES.index("run")]
    assert (runs == 1).sum() >= done
