import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import joblib
import pytest
from distributed import Client

from tests.faults.deadly import Deadly, right
from tests.faults.processes import alive, ROOT, until
from tests.toy import Square
from tsframe.execution import run
from tsframe.store import Store
from tsframe.sweep import Sweep
from tsframe.workers.chunk import marks_of


@pytest.fixture(autouse=True)
def lively(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsframe.workers.job.BEAT", 0.5)


def on_dask(sweep: Sweep, path: Path, **how: Any) -> Any:
    with joblib.parallel_config("dask"):
        return run(sweep, path, progress=False, **how)


def test_the_workers_of_a_cluster_do_the_same(cluster: Client, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    sweep = Sweep(lambda seed: Square(seed, folder=str(tmp_path / "log")), seed=range(8))
    dataset = on_dask(sweep, tmp_path / "s", chunk={"seed": 2})
    assert right(tmp_path / "s") == {"done": 8}
    facts = Store.open(tmp_path / "s").runs.read("1")
    assert (facts["backend"], facts["n_jobs"], facts["threads"]) == ("daskdistributed", 2, 1)
    pids = {int(path.name.split("-")[2]) for path in (tmp_path / "log").iterdir()}
    assert os.getpid() not in pids
    assert not list(marks_of(Store.open(tmp_path / "s")))
    plain = run(Sweep(lambda seed: Square(seed), seed=range(8)), tmp_path / "t", n_jobs=1)
    assert dataset["square"].identical(plain["square"])


def test_cells_that_kill_their_workers_fail_on_a_cluster_and_no_other(
    cluster: Client, tmp_path: Path
) -> None:
    bad = {3, 5}
    sweep = Sweep(lambda seed: Deadly(seed, "kills" if seed in bad else "well"), seed=range(12))
    dataset = on_dask(sweep, tmp_path / "s", chunk={"seed": 3}, stall=120)
    assert right(tmp_path / "s") == {"done": 10, "failed": 2}
    assert set(dataset["seed"].values[dataset["state"].values == 2].tolist()) == bad
    assert "WorkerDied" in str(dataset["error"].sel(seed=3).item())
    assert not list(marks_of(Store.open(tmp_path / "s")))


SCRIPT = """
import joblib
from distributed import Client
from tests.faults.deadly import Deadly
from tsframe.execution import run
from tsframe.sweep import Sweep
import tsframe.workers.job

tsframe.workers.job.BEAT = 0.5
sweep = Sweep(lambda seed: Deadly(seed, "kills" if seed == 5 else "well"), seed=range(8))
if __name__ == "__main__":
    with Client({address!r}), joblib.parallel_config("dask"):
        run(sweep, {path!r}, chunk=dict(seed=2), stall=4.0, progress=False)
"""


@contextmanager
def process(*words: str) -> Iterator["subprocess.Popen[str]"]:
    """Run Python in a session of its own, of which nothing is left at the end.

    Yields
    ------
    Popen
        The process.
    """
    started = subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield started
    finally:
        if alive(started.pid):
            os.killpg(started.pid, signal.SIGKILL)
        started.communicate(timeout=20)


@pytest.mark.slow
def test_a_cluster_that_lost_its_workers_ends_the_run_with_a_sentence(tmp_path: Path) -> None:
    # dask keeps the task for workers to come, and joblib would wait for it for ever
    file, script = tmp_path / "scheduler.json", tmp_path / "study.py"
    common = ("--scheduler-file", str(file), "--no-dashboard")
    scheduler = ("-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0")
    worker = ("-m", "distributed.cli.dask_worker", "--no-nanny", "--nthreads", "1")
    with process(*scheduler, *common):
        until(file.exists)
        with process(*worker, *common) as mortal:
            address = json.loads(file.read_text())["address"]
            script.write_text(SCRIPT.format(address=address, path=str(tmp_path / "s")))
            with process(str(script)) as main:
                _, err = main.communicate(timeout=60)
            assert mortal.wait(10) == -signal.SIGKILL
    assert main.returncode == 1
    assert "RuntimeError: chunk (seed=4..5) on host" in err
    assert f"pid {mortal.pid}: started 1 time(s), worker gone or stuck, no sign of life for" in err
    assert "of 8 cells are committed in" in err
    assert right(tmp_path / "s")["todo"] >= 2
    # here and now it goes on, and the chunk that was in hand then is run apart
    study = Sweep(lambda seed: Deadly(seed, "kills" if seed == 5 else "well"), seed=range(8))
    run(study, tmp_path / "s", n_jobs=2, progress=False)
    assert right(tmp_path / "s") == {"done": 7, "failed": 1}
