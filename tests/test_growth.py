import json
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from zarr.storage import LocalStore

from tests.toy import Asked, Square
from tsframe.execution import run
from tsframe.growth import grow
from tsframe.ledger import State
from tsframe.merging import Rows
from tsframe.opening import open_store
from tsframe.places import Place
from tsframe.plan import plan
from tsframe.provenance import Runs
from tsframe.rows import train_rows
from tsframe.store import Store
from tsframe.sweep import Sweep

CHUNK = {"slope": 2, "seed": 2}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "log").mkdir()
    return tmp_path / "log"


@pytest.fixture
def sweep(log: Path) -> Sweep:
    def trial(slope: float, seed: int) -> Asked:
        return Asked(slope * (seed + 1), "diverges" if seed == 2 else "well", folder=str(log))

    return Sweep(trial, slope=[0.3, 0.1, 0.2], seed=range(3))


@pytest.fixture
def path(tmp_path: Path, sweep: Sweep, log: Path) -> Path:
    run(sweep, tmp_path / "s.zarr", n_jobs=1, chunk=CHUNK)
    for file in log.iterdir():
        file.unlink()
    return tmp_path / "s.zarr"


def asked(sweep: Sweep, drift: float = 0.0) -> Sweep:
    def trial(slope: float, seed: int) -> Asked:
        old = sweep.function(slope, seed)
        return Asked(old.value, old.mood, folder=old.folder, asked=("cube",), drift=drift)

    return Sweep(trial, **sweep.axes)


def trained(log: Path) -> Counter[float]:
    return Counter(float(file.name.split("-")[0]) for file in log.iterdir())


def right(path: Place, sweep: Sweep) -> bool:
    """Whether every cell of the sweep holds what the pure function gives."""
    dataset = open_store(path)
    for cell in sweep.cells():
        trial, row = sweep.trial(**cell), dataset.sel(cell)
        if trial.mood == "diverges":
            if row["state"] != State.DIVERGED or not np.isnan(row["square"]):
                return False
        elif row["state"] != State.DONE or float(row["square"]) != trial.value**2:
            return False
    return True


def kept(before: xr.Dataset, after: xr.Dataset) -> bool:
    """Whether all that was settled is there to the bit, its times and its run included."""
    names = [name for name in before.variables if name not in before.attrs]
    there = after.sel({dim: before[dim].values for dim in ("slope", "seed")})[names]
    settled = before["state"] != State.TODO
    return there.drop_attrs().where(settled).identical(before.drop_attrs().where(settled))


GROWTHS: dict[str, dict[str, Any]] = {
    "seeds": {"seed": range(5)},
    "between": {"slope": [0.1, 0.15, 0.2, 0.3]},
    "below and above": {"slope": [0.3, 0.1, 0.2, 0.5, 0.01]},
    "both": {"slope": [0.25, 0.3, 0.1, 0.2], "seed": [0, 1, 2, 9]},
    "elsewhere": {"slope": [7.0], "seed": [1, 8]},
}


@pytest.mark.parametrize("case", GROWTHS)
def test_only_what_is_new_is_trained_and_what_is_old_stays(
    path: Path, sweep: Sweep, log: Path, case: str
) -> None:
    before, larger = open_store(path), sweep.over(**GROWTHS[case])
    known = {tuple(cell.values()) for cell in sweep.cells()}
    new = [cell for cell in larger.cells() if tuple(cell.values()) not in known]
    assert plan(larger, path).pending == len(new)
    assert "grows by" in str(plan(larger, path))
    after = run(larger, path, n_jobs=1)
    assert trained(log) == Counter(larger.trial(**cell).value for cell in new)
    assert right(path, larger) and right(path, sweep)
    assert kept(before, after)
    assert after["slope"].values.tolist() == sorted({*sweep.axes["slope"], *larger.axes["slope"]})
    assert plan(larger, path).pending == plan(sweep, path).pending == 0
    assert run(larger, path, n_jobs=1).identical(after)
    assert xr.open_zarr(path, consolidated=False).sizes == after.sizes  # no warning


def test_no_object_of_a_full_chunk_changes_and_new_ones_lie_behind(
    path: Path, sweep: Sweep
) -> None:
    for length in (5, 6, 7):  # on chunks of 2
        names = ("square", "curve", "ledger")
        whole = {name: (path / name).glob("c.0.*") for name in names}
        old = {f: (f.stat().st_mtime_ns, f.read_bytes()) for fs in whole.values() for f in fs}
        more = [0.3, 0.1, 0.2, 0.05, 0.4, 0.6, 0.7]
        run(sweep.over(slope=more[:length]), path, n_jobs=1)
        assert all((f.stat().st_mtime_ns, f.read_bytes()) == was for f, was in old.items())
        assert right(path, sweep.over(slope=more[:length]))
        stored = xr.open_zarr(path, consolidated=False)["slope"].values.tolist()
        assert stored == more[:length]  # in order of arrival


def test_a_sweep_with_fewer_values_works_on_its_part(path: Path, sweep: Sweep, log: Path) -> None:
    larger = sweep.over(slope=[0.3, 0.1, 0.2, 0.4], seed=range(4))
    grow(path, larger)
    run(sweep.over(slope=[0.4], seed=[1, 3]), path, n_jobs=1)
    assert trained(log) == {0.8: 1, 1.6: 1}
    assert plan(sweep, path).pending == 0
    assert plan(larger, path).pending == 4 + 3 - 2
    assert open_store(path).sizes["slope"] == 4
    assert right(path, sweep)
    run(larger, path, n_jobs=1)
    assert right(path, larger)


def test_growing_trains_nothing(path: Path, sweep: Sweep, log: Path) -> None:
    before = open_store(path)
    found = grow(path, sweep.over(slope=[0.15]))
    assert found.whole.axes["slope"] == (0.3, 0.1, 0.2, 0.15)
    assert not trained(log)
    assert kept(before, open_store(path))
    assert int((open_store(path)["state"] == State.TODO).sum()) == 3
    assert Runs(path / "runs").read("spec-2")["axes"]["slope"] == [0.3, 0.1, 0.2, 0.15]


def test_a_new_measure_trains_again_and_leaves_the_old_ones(
    path: Path, sweep: Sweep, log: Path
) -> None:
    before, wider = open_store(path), asked(sweep)
    grow(path, wider)
    halfway = open_store(path)
    assert kept(before, halfway)
    assert np.isnan(halfway["cube"]).all()
    assert plan(wider, path).pending == 9
    after = run(wider, path, n_jobs=1)
    assert sum(trained(log).values()) == 9
    for name in ("square", "curve", "state"):
        assert after[name].identical(before[name])
    assert float(after["cube"].sel(slope=0.2, seed=1)) == 0.4**3
    assert plan(wider, path).pending == 0
    assert run(wider, path, n_jobs=1).identical(after)
    with pytest.raises(ValueError, match="measures can be added, not left out"):
        run(sweep, path, n_jobs=1)


def test_a_measure_that_does_not_come_out_the_same_keeps_what_it_was(
    path: Path, sweep: Sweep, caplog: pytest.LogCaptureFixture
) -> None:
    before = open_store(path)
    after = run(asked(sweep, drift=1e-3), path, n_jobs=1)
    assert kept(before.sel(seed=[0, 1]), after)
    assert np.isnan(after["cube"].sel(seed=[0, 1])).all()
    assert "did not come out the same when they were trained again" in caplog.text
    after = run(asked(sweep, drift=1e-9), path, n_jobs=1)  # as another device may do
    assert after["square"].identical(before["square"])
    assert float(after["cube"].sel(slope=0.2, seed=1)) == 0.4**3


class Crash(BaseException):
    pass


@pytest.fixture
def crashing(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    # after that many writes the process is taken to die, before or after a write takes place
    count = [0, 0]

    def dying(write: Callable[..., Any]) -> Callable[..., Any]:
        def until(*args: Any, **kwargs: Any) -> Any:
            count[0] += 1
            if count[0] == count[1]:
                raise Crash
            return write(*args, **kwargs)

        return until

    store_set = LocalStore.set

    async def until(self: LocalStore, key: str, value: Any) -> None:
        count[0] += 1
        if count[0] == count[1]:
            raise Crash
        await store_set(self, key, value)

    monkeypatch.setattr(LocalStore, "set", until)
    for name in ("link", "unlink"):
        monkeypatch.setattr(os, name, dying(getattr(os, name)))

    def arm(writes: int) -> None:
        count[:] = [0, writes]

    return arm


@pytest.mark.parametrize("new", ["values", "measure"])
def test_a_growth_that_dies_at_any_write_leaves_a_store_that_goes_on(
    tmp_path: Path, crashing: Callable[[int], None], new: str
) -> None:
    def trial(slope: float, seed: int) -> Asked:
        return Asked(slope * (seed + 1))

    sweep = Sweep(trial, slope=[0.3, 0.1, 0.2], seed=range(3))
    larger = asked(sweep) if new == "measure" else sweep.over(slope=[0.25, 0.1], seed=[5, 1])
    before = run(sweep, tmp_path / "s.zarr", n_jobs=1, chunk=CHUNK)
    seen = set()
    for number in range(1, 100):
        path = tmp_path / f"{number}.zarr"
        shutil.copytree(tmp_path / "s.zarr", path)
        crashing(number)
        try:
            grow(path, larger)
        except Crash:
            crashing(0)
        else:
            break
        seen.add((path / "runs" / "spec-2.json").exists())
        assert kept(before, open_store(path))  # old or new, never half
        if number % 2 and new == "values":  # whoever comes next finishes it
            run(sweep, path, n_jobs=1)
            assert kept(before, open_store(path))
        after = run(larger, path, n_jobs=1)
        assert right(path, larger)
        if new == "values":
            assert kept(before, after)
        else:
            assert after[["square", "curve", "state"]].equals(before[["square", "curve", "state"]])
            assert (after["cube"].sel(seed=[0, 1]) > 0).all()
    assert number > 10
    assert seen == {False, True}


def training(store: Store, sweep: Sweep, number: int) -> Rows:
    """What a writer holds that opened a store, trained a chunk of it and then stalls."""
    cells = store.grid.cells(number)
    trials = [sweep.trials()[cell] for cell in cells]
    return train_rows(store, np.arange(len(cells)), trials, "cpu", 1, run=1)[0]


@pytest.mark.parametrize("number", range(4))
def test_a_stalled_writer_returns_after_growth_and_harms_nothing(
    path: Path, sweep: Sweep, number: int
) -> None:
    late = Store.open(path)
    rows = training(late, sweep, number)
    larger = sweep.over(slope=[0.3, 0.1, 0.2, 0.4, 0.6], seed=range(6))
    after = run(larger, path, n_jobs=1)
    late.commit(number, rows, run=1)
    assert open_store(path).identical(after)


@pytest.mark.parametrize("number", range(4))
def test_a_stalled_writer_gives_what_it_has_to_a_store_that_has_grown(
    tmp_path: Path, path: Path, sweep: Sweep, number: int
) -> None:
    late = Store.create(tmp_path / "late.zarr", sweep, (2, 2))
    rows = training(late, sweep, number)
    larger = sweep.over(slope=[0.3, 0.1, 0.2, 0.4, 0.6], seed=range(6))
    grow(late.path, larger)
    late.commit(number, rows, run=1)
    after = open_store(late.path)
    assert int((after["state"] != State.TODO).sum()) == len(rows.places)
    given, held = rows.measures["square"], after["square"].values.reshape(-1)
    assert sorted(held[~np.isnan(held)]) == sorted(given[~np.isnan(given)])
    run(larger, late.path, n_jobs=1)
    assert right(late.path, larger)


def test_a_store_that_grows_during_a_run_gets_its_results_in_the_right_places(
    tmp_path: Path,
) -> None:
    path = tmp_path / "s.zarr"

    def trial(slope: float, seed: int) -> Square:
        return Growing(slope * (seed + 1), folder=str(path))

    Growing.into = Sweep(trial, slope=[0.3, 0.1, 0.2, 0.4, 0.6], seed=range(5))
    sweep = Growing.into.over(slope=[0.3, 0.1, 0.2], seed=range(3))
    run(sweep, path, n_jobs=1, chunk=CHUNK)
    assert open_store(path).sizes["slope"] == 5
    assert right(path, sweep)
    assert plan(Growing.into, path).pending == 25 - 9


class Growing(Square):
    into: Sweep  # what the store grows to in the first training, under the feet of its run

    @staticmethod
    def train_together(trials: Any, device: str = "auto", threads: int | None = None) -> xr.Dataset:
        grow(Path(trials[0].folder), Growing.into)
        return Square.train_together([Square(t.value) for t in trials], device, threads)


def test_a_stalled_writer_that_does_not_know_a_new_measure_harms_nothing(
    tmp_path: Path, path: Path, sweep: Sweep
) -> None:
    late = Store.open(path)
    rows = training(late, sweep, 0)
    after = run(asked(sweep), path, n_jobs=1)
    late.commit(0, rows, run=1)
    assert open_store(path).identical(after)
    with pytest.raises(ValueError, match="knows nothing of the measure 'cube'"):
        late.commit(0, rows, run=9)
    assert open_store(path).identical(after)

    half = tmp_path / "half.zarr"  # here the old run is the first to commit after the growth
    late = Store.create(half, sweep, (2, 2))
    run_number = late.runs.begin({})
    grow(half, asked(sweep))
    late.commit(0, training(late, sweep, 0), run_number)
    late.commit(1, training(Store.open(half), sweep, 1), run_number)  # its worker opens it anew
    early = open_store(half)
    assert (early["state"] != State.TODO).sum() == 4 + 2
    assert (early["state"] == State.FAILED).sum() == 0
    assert np.isnan(early["cube"]).all()
    after = run(asked(sweep), half, n_jobs=1)
    assert after["square"].where(early["state"] != State.TODO).identical(early["square"])
    assert right(half, asked(sweep))


def test_what_a_torn_row_holds_of_a_new_measure_does_not_count(path: Path, sweep: Sweep) -> None:
    grow(path, asked(sweep))
    store = Store.open(path)
    block = store.grid.block(0)
    store.write("cube", block, np.full((2, 2), 5.0))  # a writer died before its ledger
    assert np.isnan(open_store(path)["cube"]).all()
    run(asked(sweep), path, n_jobs=1)
    assert right(path, sweep.over(slope=[0.3, 0.1]))
    assert float(open_store(path)["cube"].sel(slope=0.3, seed=0)) == 0.3**3


def test_two_who_grow_at_once_agree(path: Path, sweep: Sweep) -> None:
    before = open_store(path)
    sweeps = [asked(sweep.over(slope=[0.01 * i])) for i in (40, 41, 42)]
    barrier = threading.Barrier(len(sweeps))

    def one(own: Sweep) -> None:
        barrier.wait()
        grow(path, own)

    threads = [threading.Thread(target=one, args=(own,)) for own in sweeps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = open_store(path)
    assert after.sizes["slope"] == 6 and "cube" in after
    assert kept(before, after)
    everything = asked(sweep).over(slope=after["slope"].values)
    run(everything, path, n_jobs=1)
    assert right(path, everything)


def test_a_damaged_intent_is_named(path: Path, sweep: Sweep) -> None:
    (path / "runs" / "spec-2.json").write_text("{")
    assert right(path, sweep)  # a reader needs it not
    with pytest.raises(ValueError, match=r"spec-2.json is damaged, so the growth of .* cannot go"):
        run(sweep, path, n_jobs=1)


def test_attributes_that_fell_behind_are_brought_up(path: Path, sweep: Sweep) -> None:
    old = (path / "zarr.json").read_bytes()
    larger = sweep.over(slope=[0.4])
    after = run(larger, path, n_jobs=1)
    (path / "zarr.json").write_bytes(old)  # as by a process that stalled while it helped growing
    assert right(path, sweep)
    assert run(larger, path, n_jobs=1).identical(after)
    array = json.loads((path / "ledger" / "zarr.json").read_text())
    array["shape"][0] = 3
    (path / "ledger" / "zarr.json").write_text(json.dumps(array))
    with pytest.raises(ValueError, match=r"'ledger' has shape \(3, 3, 6\), smaller than the axes"):
        open_store(path)
    Store.open(path)
    assert open_store(path).identical(after)
