import os
import re
import signal
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import pytest

from tests.faults.deadly import Deadly, right
from tsframe.execution import run
from tsframe.opening import open_store
from tsframe.store import Store
from tsframe.sweep import Sweep
from tsframe.workers.chunk import marks_of
from tsframe.workers.claims import claim
from tsframe.workers.shift import describe_chunk
from tsframe.workers.stop import Wish
from tsframe.workers.watchman import Watchman

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def lively(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsframe.workers.job.BEAT", 0.5)


def sweep(folder: Path, mood: str, bad: set[int], size: int = 12) -> Sweep:
    return Sweep(
        lambda seed: Deadly(seed, mood if seed in bad else "well", folder=str(folder)),
        seed=range(size),
    )


def trained(folder: Path) -> set[str]:
    """The trainings of each cell that came to their end, as the trials themselves noted them."""
    return {path.name for path in folder.iterdir()}


def test_a_worker_that_is_killed_costs_no_cell(tmp_path: Path) -> None:
    dataset = run(
        sweep(tmp_path, "kills once", {1, 8}), tmp_path / "s", n_jobs=2, chunk={"seed": 2}
    )
    assert right(tmp_path / "s") == {"done": 12}
    assert (dataset["ledger"].sel(entry="attempts") == 1).all()
    store = Store.open(tmp_path / "s")
    assert not list(marks_of(store))
    assert store.runs.unclean() == []
    assert store.runs.read("1.end")["counts"] == {"done": 12}


KILLERS = {
    "kills": r"WorkerDied: the process that trained this cell alone died \(SIGKILL\(-9\)\)",
    "sticks": "TimeLimit: training this cell alone took longer than 4 s",
    "crashes": r"WorkerDied: .* died \(SIGSEGV\(-11\)\)",
    "leaves": r"WorkerDied: .* died \(EXIT\(7\)\)",
    "hangs": "TimeLimit: training this cell alone took longer than 4 s",
}
LONGER = {"crashes", "leaves", "hangs", "sticks"}


@pytest.mark.parametrize(
    "mood", [pytest.param(m, marks=[pytest.mark.slow] if m in LONGER else []) for m in KILLERS]
)
def test_a_cell_that_ends_its_worker_fails_alone_and_all_others_go_on(
    tmp_path: Path, mood: str
) -> None:
    study = sweep(tmp_path, mood, {3}, 8)
    dataset = run(study, tmp_path / "s", n_jobs=2, chunk={"seed": 2}, limit=4.0)
    assert right(tmp_path / "s") == {"done": 7, "failed": 1}
    assert re.match(KILLERS[mood], str(dataset["error"].sel(seed=3).item()))
    # the next run takes it apart from the first, and it is done with after that
    again = run(study, tmp_path / "s", n_jobs=2, limit=4.0)
    assert right(tmp_path / "s") == {"done": 7, "failed": 1}
    assert again["ledger"].sel(entry="attempts").values.tolist() == [1, 1, 1, 2, 1, 1, 1, 1]
    assert run(study, tmp_path / "s", n_jobs=2).identical(again)


@pytest.mark.slow
def test_of_many_cells_those_that_kill_fail_and_no_other(tmp_path: Path) -> None:
    bad = {3, 17, 18, 40, 80}
    dataset = run(sweep(tmp_path, "kills", bad, 96), tmp_path / "s", n_jobs=2, chunk={"seed": 4})
    assert right(tmp_path / "s") == {"done": 91, "failed": 5}
    assert set(dataset["seed"].values[dataset["state"].values == 2].tolist()) == bad


FAULTS = {
    "exits": "SystemExit: no square of 3",
    "keeps a lock": "Keeper: no square of 3",
    "is short of memory": "MemoryError: no room for 3",
    "nan": "ValueError: measure 'square' is NaN, though the student did not diverge.",
}


@pytest.mark.parametrize("mood", FAULTS)
def test_what_a_trial_raises_or_forgets_stays_with_its_cell(tmp_path: Path, mood: str) -> None:
    dataset = run(sweep(tmp_path, mood, {3}), tmp_path / "s", n_jobs=2, chunk={"seed": 4})
    assert right(tmp_path / "s") == {"done": 11, "failed": 1}
    assert str(dataset["error"].sel(seed=3).item()).startswith(FAULTS[mood])


def test_what_the_engine_says_need_not_travel(tmp_path: Path) -> None:
    dataset = run(sweep(tmp_path, "keeps", {3}), tmp_path / "s", n_jobs=2, chunk={"seed": 12})
    assert right(tmp_path / "s") == {"done": 12}
    assert dataset.attrs["lock"].startswith("<unlocked _thread.lock")


def test_a_sweep_of_nothing_but_divergence_is_settled(tmp_path: Path) -> None:
    from tests.toy import Square

    study = Sweep(lambda seed: Square(seed, "diverges"), seed=range(6))
    run(study, tmp_path / "s", n_jobs=2, chunk={"seed": 2})
    assert right(tmp_path / "s") == {"diverged": 6}
    keys = {path.name for path in (tmp_path / "s" / "square").glob("c.*")}
    assert keys == {"c.0", "c.1", "c.2"}  # a chunk of nothing but NaN is there all the same
    assert set(run(study, tmp_path / "s")["ledger"].sel(entry="attempts").values) == {1.0}


class Foreign:
    """Pickles, and cannot be read again."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (__import__, ("no_such_module",))


class Abroad(Deadly):
    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "foreign": Foreign()}


def test_a_worker_that_lacks_a_module_ends_the_run_and_blames_no_cell(tmp_path: Path) -> None:
    study = Sweep(lambda seed: Abroad(seed), seed=range(6))
    with pytest.raises(RuntimeError) as caught:
        run(study, tmp_path / "s", n_jobs=2, chunk={"seed": 2})
    assert "cannot go on: ModuleNotFoundError: No module named 'no_such_module'" in str(
        caught.value
    )
    assert "0 of 6 cells are committed" in str(caught.value)
    assert right(tmp_path / "s") == {"todo": 6}


SCRIPT = """
from pathlib import Path
import joblib
from tests.faults.deadly import Deadly
from tsframe.execution import run
from tsframe.sweep import Sweep

def trial(seed):
    return Deadly(seed, {mood!r} if seed == 3 else "well")

sweep = Sweep(trial, seed=range(8))
if __name__ == "__main__":
    with joblib.parallel_config({backend!r}):
        run(sweep, {path!r}, n_jobs={n_jobs}, chunk=dict(seed=2), progress=False, {how})
"""


def script(tmp_path: Path, how: str = "", **values: Any) -> "subprocess.CompletedProcess[str]":
    """Run the sweep as a script of its own."""
    file = tmp_path / "study.py"
    file.write_text(SCRIPT.format(path=str(tmp_path / "s"), how=how, **values))
    return subprocess.run(
        [sys.executable, str(file)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("backend", "n_jobs"), [("loky", 1), pytest.param("threading", 2, marks=pytest.mark.slow)]
)
def test_a_cell_that_kills_the_main_process_is_taken_apart_by_the_next_run(
    tmp_path: Path, backend: str, n_jobs: int
) -> None:
    first = script(tmp_path, mood="kills", backend=backend, n_jobs=n_jobs)
    assert first.returncode == -signal.SIGKILL
    before = right(tmp_path / "s")
    assert before["todo"] >= 2
    second = script(tmp_path, mood="kills", backend=backend, n_jobs=n_jobs)
    assert second.returncode == 0, second.stderr
    assert right(tmp_path / "s") == {"done": 7, "failed": 1}
    assert "WorkerDied" in str(open_store(tmp_path / "s")["error"].sel(seed=3).item())


@pytest.mark.slow
def test_a_hang_in_the_main_process_ends_with_a_sentence(tmp_path: Path) -> None:
    first = script(tmp_path, mood="hangs", backend="loky", n_jobs=1, how="limit=4.0")
    assert first.returncode == 1
    assert (
        "chunk (seed=2..3) takes longer than its limit of 4 s in the main process" in first.stderr
    )
    second = script(tmp_path, mood="hangs", backend="loky", n_jobs=1, how="limit=4.0")
    assert second.returncode == 0, second.stderr
    assert right(tmp_path / "s") == {"done": 7, "failed": 1}
    assert "TimeLimit" in str(open_store(tmp_path / "s")["error"].sel(seed=3).item())


def test_a_backend_that_tells_of_no_death_is_refused(tmp_path: Path) -> None:
    with (
        joblib.parallel_config("multiprocessing"),
        pytest.raises(ValueError, match="waits for ever for a task whose worker died; use 'loky'"),
    ):
        run(sweep(tmp_path, "well", set()), tmp_path / "s", n_jobs=2)


def test_a_run_without_a_sign_of_life_is_judged(tmp_path: Path) -> None:
    run(sweep(tmp_path, "well", set()), tmp_path / "s", n_jobs=1, chunk={"seed": 3})
    store = Store.open(tmp_path / "s")
    marks, wish = marks_of(store), Wish()
    with claim(tmp_path / "lock", "all") as held:
        watchman = Watchman(
            claim=held,
            marks=marks,
            wish=wish,
            pulse=tmp_path / "pulse.json",
            facts={},
            stall=5.0,
            beat=1.0,
            heard=False,
            describe=partial(describe_chunk, store),
        )
        now = watchman.alive
        assert watchman.judge(now + 4.9) == ""
        nobody = watchman.judge(now + 5.1)
        assert nobody.startswith("no worker has begun anything, no sign of life for 5 s.")
        marks.begin(1, 7, 0, (3,))
        lost = watchman.judge(now + 94.0)
        assert lost.startswith("chunk (seed=3..5) on host ")
        assert lost.endswith("started 1 time(s), worker gone or stuck, no sign of life for 94 s")
        watchman.came(Counter(done=3), 3.0)
        assert watchman.judge(watchman.alive + 4.9) == ""
