"""Anything in any order: a machine drives a store, and a dictionary says what must be in it."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings, strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    precondition,
    rule,
    RuleBasedStateMachine,
    run_state_machine_as_test,
)
from zarr.storage import LocalStore

from tests.faults.test_damage import DAMAGES
from tests.faults.truth import untrue
from tests.toy import Asked
from tsframe.axes import Value
from tsframe.execution import run
from tsframe.growth import grow
from tsframe.ledger import State
from tsframe.merging import Rows
from tsframe.opening import open_store
from tsframe.packing import pack
from tsframe.repairing import repair
from tsframe.rows import train_rows
from tsframe.store import Store
from tsframe.sweep import Sweep
from tsframe.verification import verify

SLOPES = (0.3, 0.1, 0.2, 0.7, 0.05, 0.15)
MINUTES = float(os.environ.get("CHAOS_MINUTES", "10"))

Cell = tuple[Value, ...]


class Crash(BaseException):
    """The process dies."""


class Machine(RuleBasedStateMachine):
    """Runs, deaths, growth, damage, repair and packing of one store, in any order."""

    asked: tuple[str, ...] = ()

    @initialize(slopes=st.integers(1, 3), seeds=st.integers(1, 3), chunk=st.integers(1, 3))
    def create(self, slopes: int, seeds: int, chunk: int) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "s.zarr"
        self.axes: dict[str, Any] = {"slope": SLOPES[:slopes], "seed": tuple(range(seeds))}
        self.settled: dict[Cell, State] = {}
        self.damaged = self.torn = False
        self.late: list[tuple[Store, int, Rows]] = []
        Store.create(self.path, self.sweep(), (min(chunk, slopes), min(2, seeds)))
        self.number = Store.open(self.path).runs.begin({})  # of a writer that will stall
        Store.open(self.path).runs.note(f"{self.number}.end", {})

    def sweep(self, **axes: Any) -> Sweep:
        asked = self.asked

        def trial(slope: float, seed: int) -> Asked:
            mood = {1: "diverges", 3: "raises"}.get(seed, "well")
            return Asked(slope * (seed + 1), mood, asked=asked)

        return Sweep(trial, **{**self.axes, **axes})

    def look(self) -> dict[Cell, State]:
        """Note what is settled now; what was must still be."""
        dataset = open_store(self.path)
        now = {
            tuple(cell.values()): State(int(dataset["state"].sel(cell)))
            for cell in self.sweep().cells()
        }
        return {c: s for c, s in now.items() if s in (State.DONE, State.DIVERGED)}

    @rule(data=st.data())
    def run_some(self, data: st.DataObject) -> None:
        some = {
            name: data.draw(st.lists(st.sampled_from(values), min_size=1, unique=True))
            for name, values in self.axes.items()
        }
        run(self.sweep(**some), self.path, n_jobs=1)
        self.settled = self.look()

    @rule()
    def resume(self) -> None:
        run(self.sweep(), self.path, n_jobs=1)
        self.settled = self.look()
        due = [cell for cell in self.sweep().cells() if cell["seed"] != 3]
        assert len(self.settled) == len(due)
        self.torn = self.damaged

    @rule(writes=st.integers(1, 30), after=st.booleans(), larger=st.booleans())
    def crash(self, writes: int, after: bool, larger: bool) -> None:
        if larger and len(self.axes["slope"]) < len(SLOPES):
            self.axes["slope"] = SLOPES[: len(self.axes["slope"]) + 1]
        write, left = LocalStore.set, [writes]

        async def until(store: LocalStore, key: str, value: Any) -> None:
            left[0] -= 1
            if left[0] == 0 and not after:
                raise Crash
            await write(store, key, value)
            if left[0] == 0:
                raise Crash

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LocalStore, "set", until)
            try:
                run(self.sweep(), self.path, n_jobs=1)
            except Crash:
                self.torn = True
        grow(self.path, self.sweep())

    @rule(seed=st.booleans())
    def grow(self, seed: bool) -> None:
        if seed and len(self.axes["seed"]) < 5:
            self.axes["seed"] = tuple(range(len(self.axes["seed"]) + 1))
        elif len(self.axes["slope"]) < len(SLOPES):
            self.axes["slope"] = SLOPES[: len(self.axes["slope"]) + 1]
        grow(self.path, self.sweep())

    @precondition(lambda self: not self.asked)
    @rule()
    def add_measure(self) -> None:
        self.asked = ("cube",)
        grow(self.path, self.sweep())

    @rule(data=st.data(), damage=st.sampled_from(sorted(DAMAGES)))
    def corrupt(self, data: st.DataObject, damage: str) -> None:
        names = sorted(str(f.relative_to(self.path)) for f in self.path.glob("*/c.*"))
        grid = [name for name in names if name.split("/")[0] not in (*self.axes, "step", "entry")]
        if grid:
            DAMAGES[damage](self.path / data.draw(st.sampled_from(grid)))
            self.damaged = True
            self.settled = self.look()

    @rule()
    def stall(self) -> None:
        store = Store.open(self.path)
        trials = self.sweep().over(**store.axes).trials()
        cells = store.grid.cells(0)
        rows, _ = train_rows(store, cells * 0, [trials[cell] for cell in cells], "cpu", 1, run=1)
        rows.places[:] = range(len(cells))
        self.late.append((store, 0, rows))

    @precondition(lambda self: self.late)
    @rule()
    def wake(self) -> None:
        store, chunk, rows = self.late.pop()
        store.commit(chunk, rows, self.number)

    @rule()
    def mend(self) -> None:
        before = self.look()
        repair(self.path)
        assert self.look().items() >= before.items()
        assert verify(self.path, 3).code == 0
        self.damaged = self.torn = False

    @rule()
    def check(self) -> None:
        assert verify(self.path, 3).code <= (1 if self.damaged or self.torn else 0)

    @rule()
    def publish(self) -> None:
        if verify(self.path, 3).code == 0:
            copy = pack(self.path, self.folder / "p.zarr", partial=True).load()
            assert copy["square"].drop_attrs().equals(open_store(self.path)["square"])
            shutil.rmtree(self.folder / "p.zarr")

    @invariant()
    def every_number_is_right_and_nothing_finished_is_lost(self) -> None:
        assert untrue(self.path, self.sweep()) == []
        assert self.look().items() >= self.settled.items()

    def teardown(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


LIMITS: dict[str, Any] = {
    "deadline": None,
    "database": None,
    "suppress_health_check": list(HealthCheck),
    "phases": (Phase.generate,),  # to shrink a failure takes minutes
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("tsframe.provenance.git", lambda folder: None)
    yield


def test_whatever_happens_a_store_tells_the_truth() -> None:
    short = settings(max_examples=6, stateful_step_count=12, derandomize=True, **LIMITS)
    run_state_machine_as_test(Machine, settings=short)


@pytest.mark.chaos
def test_whatever_happens_for_minutes_a_store_tells_the_truth() -> None:
    end = time.monotonic() + 60 * MINUTES
    while time.monotonic() < end:
        long = settings(max_examples=20, stateful_step_count=40, **LIMITS)
        run_state_machine_as_test(Machine, settings=long)
