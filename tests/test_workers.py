import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from tests.toy import Square
from tsframe.chunks import Grid
from tsframe.execution import in_shard, run
from tsframe.opening import open_store
from tsframe.places import overwrite
from tsframe.store import Store
from tsframe.sweep import Sweep
from tsframe.workers.claims import claim, owners
from tsframe.workers.crew import muster
from tsframe.workers.gpus import device_for, gpus, let_go
from tsframe.workers.marks import Marks
from tsframe.workers.shift import chunk_at


def squares(**how: Any) -> Sweep:
    return Sweep(lambda slope, seed: Square(slope * seed, **how), slope=[0.1, 0.2], seed=range(6))


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
@pytest.mark.parametrize("shape", [(13,), (4, 6), (2, 3, 5)])
def test_shards_share_the_chunks_out(shape: tuple[int, ...], parts: int) -> None:
    grid = Grid(shape, tuple(min(2, n) for n in shape))
    masks = [in_shard(grid, (i, parts)) for i in range(parts)]
    assert (np.sum(masks, axis=0) == 1).all()  # each cell in one of them
    owners = [np.unique(grid.of_cells()[mask]) for mask in masks]
    sizes = [len(chunks) for chunks in owners]
    assert sum(sizes) == len(grid)  # no chunk in two
    assert max(sizes) - min(sizes) <= 1


def test_a_shard_has_its_share_of_every_corner() -> None:
    grid = Grid((40, 10), (1, 1))
    for axis in (0, 1):
        shares = in_shard(grid, (0, 10)).sum(axis=axis)
        assert shares.max() < shares.size  # a part that is one value of an axis has all or none
        assert (shares > 0).mean() > 0.5


def test_shards_together_train_each_cell_once(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    sweep = squares(folder=str(tmp_path / "log"))
    whole = run(squares(), tmp_path / "whole", n_jobs=1)
    for i in range(3):
        part = run(sweep, tmp_path / "s", n_jobs=1, shard=f"{i}/3", chunk={"slope": 1, "seed": 2})
        assert (part["state"] == 1).sum() == 4 * (i + 1)
    assert part["square"].identical(whole["square"])
    assert len(list((tmp_path / "log").iterdir())) == 12
    assert Store.open(tmp_path / "s").runs.unclean() == []


@pytest.mark.parametrize("shard", ["3/3", "1", "-1/3", "0/0", "a/b", 3])
def test_a_shard_that_is_none_is_refused(tmp_path: Path, shard: Any) -> None:
    with pytest.raises(ValueError, match=r"shard must be 'i/N' with 0 <= i < N"):
        run(squares(), tmp_path / "s", shard=shard)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["limit", "stall", "grace"])
@pytest.mark.parametrize("seconds", [0, -1, float("nan"), "1"])
def test_a_time_that_is_none_is_refused(tmp_path: Path, name: str, seconds: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a number of seconds > 0; got"):
        run(squares(), tmp_path / "s", **{name: seconds})
    assert not any(tmp_path.iterdir())


def forge(folder: Path, **facts: Any) -> None:
    """Leave a claim of somebody else."""
    folder.mkdir(parents=True, exist_ok=True)
    own = {"part": "all", "token": "x", "host": "n12", "pid": 4411, "born": "", "job": ""}
    (folder / "all").write_text(json.dumps({**own, "restarts": 0, "run": 7, **facts}))


def test_a_store_that_a_live_run_holds_is_refused_with_its_owner(tmp_path: Path) -> None:
    run(squares(), tmp_path / "s", n_jobs=1, only={"seed": 0})
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        host = os.uname().nodename
        forge(tmp_path / "s" / "runs" / "lock", host=host, pid=sleeper.pid)
        with pytest.raises(BlockingIOError) as caught:
            run(squares(), tmp_path / "s", n_jobs=1)
        assert f"is held by run 7 on host {host}, pid {sleeper.pid}, heard of" in str(caught.value)
        assert "add --force (force=True)" in str(caught.value)
        with pytest.raises(BlockingIOError, match="is held by"):
            run(squares(), tmp_path / "s", n_jobs=1, shard="0/2")
    finally:
        sleeper.kill()
        sleeper.wait()
    dataset = run(squares(), tmp_path / "s", n_jobs=1)  # its owner is gone
    assert (dataset["state"] == 1).all()
    assert owners(tmp_path / "s" / "runs" / "lock") == []


def test_a_run_on_another_host_is_believed_to_live_unless_told_otherwise(tmp_path: Path) -> None:
    run(squares(), tmp_path / "s", n_jobs=1, only={"seed": 0})
    forge(tmp_path / "s" / "runs" / "lock", job="88123")
    with pytest.raises(BlockingIOError, match="host n12, pid 4411, SLURM job 88123, heard of"):
        run(squares(), tmp_path / "s", n_jobs=1)
    assert (run(squares(), tmp_path / "s", n_jobs=1, force=True)["state"] == 1).all()


def test_a_job_that_slurm_has_requeued_takes_its_own_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(squares(), tmp_path / "s", n_jobs=1, only={"seed": 0})
    forge(tmp_path / "s" / "runs" / "lock", job="88_3")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "88")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    with pytest.raises(BlockingIOError, match="is held by"):
        run(squares(), tmp_path / "s", n_jobs=1)  # another process of the same job
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert (run(squares(), tmp_path / "s", n_jobs=1)["state"] == 1).all()


def test_parts_may_be_held_at_once_and_the_whole_with_none_of_them(tmp_path: Path) -> None:
    with claim(tmp_path / "lock", "0-2"), claim(tmp_path / "lock", "1-2"):
        for other in ("0-2", "all", "0-3"):
            with (
                pytest.raises(BlockingIOError, match="of shard 0/2"),
                claim(tmp_path / "lock", other),
            ):
                pass
        assert [owner.part for owner in owners(tmp_path / "lock")] == ["0-2", "1-2"]
    assert owners(tmp_path / "lock") == []


def test_who_lost_a_claim_knows_it_and_leaves_it_to_the_other(tmp_path: Path) -> None:
    with claim(tmp_path / "lock", "all") as mine:
        assert (mine.over, mine.taken) == (False, False)
        with claim(tmp_path / "lock", "all", force=True) as other:
            assert (mine.over, mine.taken) == (True, True)
            mine.say(stop=True)  # changes nothing any more
            assert (other.over, other.taken) == (False, False)
            other.say(stop=True)
            assert (other.over, other.taken) == (True, False)


def test_a_chunk_is_found_by_its_corner_after_growth() -> None:
    small, large = Grid((5, 4), (2, 4)), Grid((7, 9), (2, 4))
    for chunk in range(len(small)):
        corner = [part.start for part in small.block(chunk)]
        assert chunk_at(small, corner) == chunk
        assert chunk_at(large, corner) == small.find(large, chunk, np.zeros(0, int))[0]
    assert chunk_at(small, [6, 0]) is None
    assert chunk_at(small, []) is None


def test_marks_tell_what_was_said_and_go(tmp_path: Path) -> None:
    marks = Marks(tmp_path / "attempts")
    assert list(marks) == []
    first = marks.begin(7, 2, 0, (4, 0))
    second = marks.change(marks.begin(7, 2, 1, (4, 0)), cell=3, shared=True)
    other = marks.begin(11, 2, 0, (6, 0))
    assert [mark.chunk for mark in marks] == [7, 7, 11]
    read = marks.of(7, 2)
    assert [(mark.start, mark.cell, mark.shared) for mark in read] == [
        (0, None, False),
        (1, 3, True),
    ]
    assert (read[0].pid, read[0].corner) == (os.getpid(), (4, 0))
    assert read[1].silent < 10
    os.utime(marks.path(first), (0, 0))
    assert marks.of(7, 2)[0].silent > 1e9
    before = marks.signature()
    marks.touch(first)
    assert marks.signature() != before
    overwrite(marks.path(second), "{")  # a disk that was full
    assert marks.of(7, 2)[1].cell is None
    marks.clear(7, 2)
    assert [mark.chunk for mark in marks] == [11]
    marks.touch(first)  # nobody minds
    assert marks.of(11, 2)[0].began == other.began


class Placed(Square):
    """Its square is the GPU that it was given."""

    @staticmethod
    def train_together(trials: Any, device: str = "auto", threads: int | None = None) -> xr.Dataset:
        time.sleep(0.2)
        number = float(device.partition(":")[2])
        return Square.train_together([Square(number**0.5) for _ in trials], device, threads)


@pytest.fixture
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,GPU-8f3a")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    yield tmp_path
    let_go()


def test_gpus_are_counted_as_cuda_counts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, known in {"": 0, "2": 1, "0,1": 2, "0, GPU-8f3a": 2, "1,-1,2": 1}.items():
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", text)
        assert len(gpus()) == known


def test_each_worker_has_a_gpu_of_its_own(two_gpus: Path) -> None:
    sweep = Sweep(lambda seed: Placed(seed), seed=range(8))
    dataset = run(sweep, two_gpus / "s", n_jobs=2, device="cuda", chunk={"seed": 1})
    assert (dataset["state"] == 1).all()
    assert set(dataset["square"].values.round().tolist()) == {0.0, 1.0}


def test_no_two_threads_are_given_one_gpu(two_gpus: Path) -> None:
    given: list[str] = []
    all_have = threading.Barrier(3)

    def worker() -> None:
        given.append(device_for("cuda", patience=0.0))
        assert device_for("cuda", patience=0.0) == given[-1] or len(given) > 1  # and keeps it
        all_have.wait(10)

    threads = [threading.Thread(target=worker) for _ in range(2)]
    for thread in threads:
        thread.start()
    while len(given) < 2:
        time.sleep(0.01)
    with pytest.raises(RuntimeError, match="no GPU is free for this worker: 2 on this host"):
        device_for("cuda", patience=0.1)
    all_have.wait(10)
    for thread in threads:
        thread.join()
    assert sorted(given) == ["cuda:0", "cuda:1"]
    assert device_for("cuda", patience=5.0).startswith("cuda:")  # a thread that ended gave it back


def test_the_gpu_of_a_dead_worker_is_free_again(two_gpus: Path) -> None:
    program = (
        "import os, time; from tsframe.workers.gpus import device_for;"
        "print(device_for('cuda'), flush=True); time.sleep(60)"
    )
    holders = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        given = [holder.stdout.readline().strip() for holder in holders if holder.stdout]
        assert sorted(given) == ["cuda:0", "cuda:1"]
        holders[0].send_signal(signal.SIGKILL)
        assert device_for("cuda", patience=10.0) == given[0]
    finally:
        for holder in holders:
            holder.kill()
            holder.communicate()


def test_devices_that_need_no_sharing_are_left_as_they_are(
    two_gpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert device_for("cpu") == "cpu"
    assert device_for("cuda:1") == "cuda:1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert device_for("auto") == "auto"


def test_more_workers_than_gpus_are_refused(two_gpus: Path) -> None:
    assert muster(None, "cuda").workers == 2
    assert muster(None, "cpu").workers >= 1
    with pytest.raises(ValueError, match=r"4 workers asked, 2 GPU\(s\) found, and no two"):
        muster(4, "cuda")
    with pytest.raises(ValueError, match=r"2 workers asked, .* no two workers share one"):
        muster(2, "cuda:0")


def test_a_run_with_litter_of_a_dead_one_goes_on(tmp_path: Path) -> None:
    # a main process that was killed leaves its claim, its pulse and the marks of its workers
    path = tmp_path / "s"
    run(squares(), path, n_jobs=1, only={"seed": 0}, chunk={"slope": 1, "seed": 2})
    store = Store.open(path)
    store.runs.begin({})
    forge(path / "runs" / "lock", host=os.uname().nodename, pid=2**22 + 1, run=2)
    Marks(path / "runs" / "attempts").begin(1, 2, 0, (0, 2))
    (path / "runs" / "2.pulse.json").write_text("{}")
    dataset = run(squares(), path, n_jobs=2)
    assert (dataset["state"] == 1).all()
    assert list(Marks(path / "runs" / "attempts")) == []
    assert store.runs.unclean() == []
    xr.open_zarr(path, consolidated=False)  # without a warning
    assert open_store(path).identical(dataset)
