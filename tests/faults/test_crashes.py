"""Death between any two writes, two writers on one chunk, a full disk, a file system that lies."""

import contextlib
import errno
import itertools
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from zarr.storage import LocalStore

from tests.faults.truth import CHUNK, finished, settled, toy, untrue
from tests.toy import Square
from tsframe.execution import run
from tsframe.ledger import State
from tsframe.merging import Rows
from tsframe.opening import open_store
from tsframe.store import Store
from tsframe.sweep import Sweep
from tsframe.verification import verify

SMALL: dict[str, Any] = {"slope": [0.3], "seed": [0, 2, 4]}  # done, diverges, fails


class Crash(BaseException):
    """The process dies."""


Arm = Callable[..., None]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsframe.provenance.git", lambda folder: None)
    monkeypatch.setattr("tsframe.disk.PAUSE", 0.0)


@pytest.fixture
def arm(monkeypatch: pytest.MonkeyPatch) -> Arm:
    """Let the n-th write of the store raise: once, or from there on; before it or after it."""
    state: dict[str, Any] = {"left": 0}
    write = LocalStore.set

    async def until(self: LocalStore, key: str, value: Any) -> None:
        state["left"] -= 1
        struck = state["left"] == 0 or (state["left"] < 0 and state["lasting"])
        if struck and state["raises"] and not state["after"]:
            raise state["raises"]
        await write(self, key, value)
        if struck and state["raises"]:
            raise state["raises"]

    def set_to(n: int, raises: BaseException | None, after: bool = False, lasting: bool = False):
        state.update(left=n, raises=raises, after=after, lasting=lasting)

    set_to(0, None)
    monkeypatch.setattr(LocalStore, "set", until)
    return set_to


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_run_that_dies_at_any_write_goes_on(tmp_path: Path, arm: Arm, after: bool) -> None:
    sweep = toy().over(**SMALL)
    kept = []
    for number in range(1, 100):
        path = tmp_path / f"{number}.zarr"
        Store.create(path, sweep, (1, 2))
        arm(number, Crash(), after)
        try:
            run(sweep, path, n_jobs=1)
        except Crash:
            arm(0, None)
        else:
            break
        assert untrue(path, sweep) == []
        before = settled(path)
        kept.append(int(before.sum()))
        assert verify(path, 3).code in (0, 1)
        run(sweep, path, n_jobs=1)
        assert finished(path, sweep)
        assert (settled(path) | ~before).all()
        assert verify(path, 3).code == 0
    assert number == 3 + 4 + 1  # two measures and a ledger, for the second chunk also texts
    assert max(kept) == 2  # of the two that can be settled; the order of chunks is random


def commit_rows(store: Store, states: list[State], run_number: int) -> Callable[[], None]:
    """Prepare the commit of chunk 0 of two cells: what is done has its right value."""
    values = np.array([float(cell + 1) ** 2 for cell in range(2)])
    done = np.array(states) == State.DONE
    square = np.where(done, values, np.nan)
    curve = square[:, None] / (1 + np.array([0.0, 1.0, 10.0]))
    texts = ["" if state == State.DONE else "ValueError: no" for state in states]
    rows = Rows(
        np.arange(2), {"square": square, "curve": curve}, np.array(states), texts, np.ones(2), 1.0
    )
    return lambda: store.commit(0, rows, run_number)


class Duel:
    """One writer stalls before a write; meanwhile another commits, and dies before one of its own.

    Parameters
    ----------
    slow, fast : callable
        The two commits.
    stall, death : int
        How many writes each has done by then.
    """

    def __init__(
        self, slow: Callable[[], None], fast: Callable[[], None], stall: int, death: int
    ) -> None:
        self.slow, self.fast, self.stall, self.death = slow, fast, stall, death
        self.write = Store.write
        self.done = {"slow": 0, "fast": 0}
        self.turn = "slow"

    def fight(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Store, "write", lambda *args: self.step(*args))
        self.slow()
        monkeypatch.setattr(Store, "write", self.write)

    def step(self, *args: Any) -> None:
        if self.turn == "slow" and self.done["slow"] == self.stall and not self.done["fast"]:
            self.turn = "fast"
            with contextlib.suppress(Crash):
                self.fast()
            self.turn = "slow"
        self.done[self.turn] += 1
        if self.turn == "fast" and self.done["fast"] > self.death:
            raise Crash
        self.write(*args)


@pytest.mark.parametrize("late", ["fails", "does the same"])
def test_two_writers_on_one_chunk_are_right_or_known_to_be_torn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: str
) -> None:
    sweep = Sweep(lambda slope, seed: Square(slope * (seed + 1)), slope=[1.0], seed=[0, 1])
    torn = 0
    for stall, death in itertools.product(range(4), range(4)):
        path = tmp_path / f"{stall}-{death}.zarr"
        store = Store.create(path, sweep, (1, 2))
        for _ in range(2):
            store.runs.begin({})
        second = State.FAILED if late == "fails" else State.DONE
        slow = commit_rows(store, [State.DONE, second], 1)
        fast = commit_rows(store, [State.DONE, State.DONE], 2)
        Duel(slow, fast, stall, death).fight(monkeypatch)
        assert untrue(path, sweep, may_fail=True) == []
        torn += int((open_store(path)["state"] == State.TODO).sum())
        run(sweep, path, n_jobs=1)
        assert finished(path, sweep)
        assert verify(path, 3).code == 0
    assert (torn > 0) == (late == "fails")


def test_a_full_disk_is_named_and_loses_nothing_that_was_committed(
    tmp_path: Path, arm: Arm
) -> None:
    sweep = toy()
    for number in (1, 3, 5, 9):
        path = tmp_path / f"{number}.zarr"
        Store.create(path, sweep, tuple(CHUNK.values()))
        arm(number, OSError(errno.ENOSPC, "No space left on device"), lasting=True)
        with pytest.raises(
            RuntimeError, match=r"no space for chunk \d+ of .* takes up to [\d,]+ bytes"
        ):
            run(sweep, path, n_jobs=1)
        arm(0, None)
        assert untrue(path, sweep) == []
        before = settled(path)
        assert int(before.sum()) >= {1: 0, 3: 0, 5: 2, 9: 4}[number]
        run(sweep, path, n_jobs=1)
        assert finished(path, sweep)
        assert verify(path, 3).code == 0


def test_a_refusal_that_passes_is_outlasted_and_one_that_stays_is_raised(
    tmp_path: Path, arm: Arm, caplog: pytest.LogCaptureFixture
) -> None:
    sweep, path = toy().over(**SMALL), tmp_path / "s.zarr"
    Store.create(path, sweep, (1, 2))
    arm(2, OSError(errno.ESTALE, "Stale file handle"))
    run(sweep, path, n_jobs=1)
    assert "Stale file handle; tried again" in caplog.text
    assert finished(path, sweep)
    other = tmp_path / "o.zarr"
    Store.create(other, sweep, (1, 2))
    arm(2, OSError(errno.EIO, "Input/output error"), lasting=True)
    with pytest.raises(RuntimeError, match="Input/output error"):
        run(sweep, other, n_jobs=1)
    arm(0, None)
    run(sweep, other, n_jobs=1)
    assert finished(other, sweep)


def test_a_read_that_the_system_refuses_is_no_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, path = toy(), tmp_path / "s.zarr"
    run(sweep, path, n_jobs=1, chunk=CHUNK)
    before = {file: file.read_bytes() for file in path.rglob("c.*")}
    read = LocalStore.get

    async def refuse(self: LocalStore, key: str, *args: Any, **kwargs: Any) -> Any:
        if key.startswith("square/c"):
            raise OSError(errno.EIO, "Input/output error")
        return await read(self, key, *args, **kwargs)

    monkeypatch.setattr(LocalStore, "get", refuse)
    for action in (lambda: open_store(path), lambda: run(sweep, path, n_jobs=1)):
        with pytest.raises(OSError, match="Input/output error"):
            action()
    monkeypatch.setattr(LocalStore, "get", read)
    assert {file: file.read_bytes() for file in path.rglob("c.*")} == before


def test_two_creations_at_once_have_one_winner(tmp_path: Path) -> None:
    for number in range(25):
        path, barrier = tmp_path / f"{number}.zarr", threading.Barrier(2)
        won: list[str] = []

        def create(path: Path = path, won: list[str] = won, barrier: Any = barrier) -> None:
            barrier.wait()
            try:
                Store.create(path, toy(), (2, 2))
                won.append("won")
            except FileExistsError as error:
                won.append(str(error))

        threads = [threading.Thread(target=create) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted("won" == text for text in won) == [False, True]
        assert any("was made by another process just now" in text for text in won)
        assert verify(path, 3).code == 0
    assert len(os.listdir(tmp_path)) == 25


def test_power_loss_empties_the_newest_files_and_is_found(tmp_path: Path) -> None:
    sweep, path = toy(), tmp_path / "s.zarr"
    run(sweep, path, n_jobs=1, chunk=CHUNK)
    files = sorted(path.rglob("c.*.*"), key=lambda file: file.stat().st_mtime_ns)
    for file in files[-5:]:
        file.write_bytes(b"")
    (path / "runs" / "1.end.json").unlink()
    assert untrue(path, sweep) == []
    run(sweep, path, n_jobs=1)
    assert finished(path, sweep)
    assert verify(path, 3).code == 0
    assert Store.open(path).runs.unclean() == []
