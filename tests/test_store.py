import itertools
import json
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

from tests.toy import Square, STEPS
from tsframe.execution import run
from tsframe.ledger import ENTRIES, pending, State
from tsframe.opening import open_store
from tsframe.places import Place
from tsframe.store import Rows, Store
from tsframe.sweep import Sweep


def trial(slope: float, activation: str, seed: int) -> Square:
    moods = {2: "diverges", 4: "raises"}
    return Square(slope + seed, mood=moods.get(seed, "well"))


AXES: dict[str, Any] = {"slope": [0.3, 0.1, 0.2], "activation": ["relu", "tanh"], "seed": range(5)}
CHUNK = {"slope": 2, "activation": 1, "seed": 2}


@pytest.fixture
def sweep() -> Sweep:
    return Sweep(trial, **AXES)


@pytest.fixture
def path(tmp_path: Path, sweep: Sweep) -> Path:
    run(sweep, tmp_path / "s.zarr", n_jobs=1, chunk=CHUNK)
    return tmp_path / "s.zarr"


def objects(path: Place, array: str) -> set[str]:
    return {name for name in os.listdir(path / array) if name != "zarr.json"}


def test_opening_returns_what_was_trained(path: Path) -> None:
    dataset = open_store(path)
    assert dataset["square"].dims == ("slope", "activation", "seed")
    assert dataset["slope"].values.tolist() == [0.1, 0.2, 0.3]  # ascending
    assert dataset["activation"].values.tolist() == ["relu", "tanh"]  # as given
    for slope, seed in itertools.product(AXES["slope"], (0, 1, 3)):
        cell = dataset.sel(slope=slope, activation="tanh", seed=seed)
        assert float(cell["square"]) == (slope + seed) ** 2
        assert cell["curve"].values.tolist() == [(slope + seed) ** 2 / (1 + s) for s in STEPS]
    assert np.isnan(dataset["square"].sel(seed=[2, 4])).all()
    assert (dataset["state"].sel(seed=2) == State.DIVERGED).all()
    assert (dataset["state"].sel(seed=4) == State.FAILED).all()
    assert dataset["state"].attrs["flag_meanings"] == "todo done failed diverged excluded"
    assert "no square of" in dataset["error"].sel(seed=4).values.flat[0]
    assert set(dataset["error"].sel(seed=[0, 1, 2, 3]).values.flat) == {""}
    assert dataset.attrs["device"] == "abacus"


def test_plain_xarray_opens_it_without_a_warning(path: Path) -> None:
    dataset = xr.open_zarr(path, consolidated=False)  # warnings are errors here
    assert dataset["square"].dims == ("slope", "activation", "seed")
    assert dataset["curve"].dims == ("slope", "activation", "seed", "step")
    assert dataset["slope"].values.tolist() == [0.3, 0.1, 0.2]
    assert dataset["step"].values.tolist() == list(STEPS)
    done = dataset["ledger"].sel(entry="state") == State.DONE
    assert int(done.sum()) == 18
    assert np.isfinite(dataset["square"].where(done, 0.0)).all()
    assert (dataset["ledger"].sel(entry="attempts") == 1).all()


def test_axes_of_booleans_come_back_as_booleans(tmp_path: Path) -> None:
    sweep = Sweep(lambda flip: Square(2.0 if flip else 1.0), flip=[False, True])
    run(sweep, tmp_path / "s.zarr", n_jobs=1)
    for dataset in (
        open_store(tmp_path / "s.zarr"),
        xr.open_zarr(tmp_path / "s.zarr", consolidated=False),
    ):
        assert dataset["flip"].dtype == bool
        assert float(dataset["square"].sel(flip=True)) == 4.0
    assert not Store.open(tmp_path / "s.zarr").fit(sweep).grows


def test_the_layout_is_one_array_a_measure_with_one_grid_of_chunks(path: Path) -> None:
    folders = {"slope", "activation", "seed", "step", "entry", "square", "curve", "error", "ledger"}
    assert set(os.listdir(path)) == folders | {"runs", "zarr.json"}
    grid = {"slope": 2, "activation": 1, "seed": 2}
    inner: dict[str, dict[str, int]] = {
        "square": {},
        "error": {},
        "curve": {"step": 3},
        "ledger": {"entry": 6},
    }
    for name, own in inner.items():
        facts = json.loads((path / name / "zarr.json").read_text())
        assert facts["dimension_names"] == [*grid, *own]
        assert facts["chunk_grid"]["configuration"]["chunk_shape"] == [
            *grid.values(),
            *own.values(),
        ]
        assert facts["data_type"] == ("string" if name == "error" else "float64")
    for name in folders:
        facts = json.loads((path / name / "zarr.json").read_text())
        assert facts["chunk_key_encoding"]["configuration"]["separator"] == "."
        codecs = [codec["name"] for codec in facts["codecs"]]
        assert codecs[1:] == ["zstd", "crc32c"]
        assert facts["codecs"][1]["configuration"]["level"] == 1
    keys = {f"c.{i}.{j}.{k}" for i in range(2) for j in range(2) for k in range(3)}
    assert objects(path, "square") == keys
    assert objects(path, "curve") == objects(path, "ledger") == {f"{key}.0" for key in keys}
    assert objects(path, "error") == {key for key in keys if key.endswith(".2")}  # seed 4 failed
    root = json.loads((path / "zarr.json").read_text())
    assert "consolidated_metadata" not in root
    assert root["attributes"]["tsframe_format"] == 1
    assert (path / "runs" / "zarr.json").exists()


def test_a_chunk_of_nothing_but_nan_has_all_its_objects(tmp_path: Path) -> None:
    sweep = Sweep(lambda seed: Square(seed, mood="diverges"), seed=range(4))
    dataset = run(sweep, tmp_path / "s.zarr", n_jobs=1, chunk={"seed": 2})
    assert (dataset["state"] == State.DIVERGED).all()
    assert objects(tmp_path / "s.zarr", "square") == {"c.0", "c.1"}
    assert objects(tmp_path / "s.zarr", "curve") == {"c.0.0", "c.1.0"}
    assert objects(tmp_path / "s.zarr", "error") == set()
    assert not pending(Store.open(tmp_path / "s.zarr").load()[0]).any()


def rows(store: Store, places: list[int], value: float, state: State = State.DONE) -> Rows:
    n = len(places)
    return Rows(
        places=np.array(places),
        measures={"square": np.full(n, value), "curve": np.full((n, 3), value)},
        states=np.full(n, state),
        errors=["why" if state == State.FAILED else ""] * n,
        seconds=np.ones(n),
        peak_bytes=1.0,
    )


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "e.zarr", Sweep(lambda seed: Square(seed), seed=range(5)), (3,))


def test_a_commit_keeps_what_is_settled(empty: Store) -> None:
    empty.commit(1, rows(empty, [0], 1.0), run=1)  # chunk 1 is the smaller one at the edge
    empty.commit(1, rows(empty, [0, 1], 2.0), run=2)
    empty.commit(1, rows(empty, [0, 1], np.nan, State.FAILED), run=3)
    ledger, measures = empty.load()
    assert measures["square"][3:].tolist() == [1.0, 2.0]
    assert ledger[3:, ENTRIES.index("run")].tolist() == [1, 2]
    assert ledger[:3].any() == False  # noqa: E712  # numpy's own False


def test_a_commit_replaces_what_failed_and_counts_attempts(empty: Store) -> None:
    empty.commit(0, rows(empty, [1], np.nan, State.FAILED), run=1)
    assert empty.error(1) == "why"
    assert objects(empty.path, "error") == {"c.0"}
    empty.commit(0, rows(empty, [1], np.nan, State.FAILED), run=2)
    assert not pending(empty.load()[0])[1]  # failed twice
    assert pending(empty.load()[0], retry_failed=True)[1]
    empty.commit(0, rows(empty, [1], 7.0), run=3)
    assert empty.load()[0][1, :3].tolist() == [State.DONE, 3, 3]
    assert objects(empty.path, "error") == set()  # the text went away


def test_a_commit_demotes_what_fails_its_digest(empty: Store) -> None:
    empty.commit(0, rows(empty, [0, 1], 5.0), run=1)
    (empty.path / "square" / "c.0").unlink()
    empty.commit(0, rows(empty, [2], 6.0), run=2)
    assert empty.read_all("ledger")[:3, 0].tolist() == [State.TODO, State.TODO, State.DONE]
    assert np.isnan(empty.read_all("curve")[:2]).all()


def test_half_a_commit_is_not_done(empty: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    write = Store.write

    def until(self: Store, name: str, block: Any, values: Any) -> None:
        order.append(name)
        if len(order) > last:
            raise RuntimeError("crash")
        write(self, name, block, values)

    monkeypatch.setattr(Store, "write", until)
    for writes in range(3):
        last = writes
        order.clear()
        with pytest.raises(RuntimeError, match="crash"):
            empty.commit(0, rows(empty, [0, 1, 2], 5.0), run=1)
        ledger, measures = empty.load()
        assert pending(ledger).all()
        assert np.isnan(measures["square"]).all()
    assert order == ["square", "curve", "ledger"]


def test_a_torn_row_is_found_and_trained_again(path: Path, sweep: Sweep) -> None:
    before = open_store(path)
    (path / "square" / "c.0.1.0").unlink()
    ledger = Store.open(path).load()[0]
    assert pending(ledger).sum() == 4 + 6  # the chunk lost, and the cells that failed once
    after = run(sweep, path, n_jobs=1)
    assert after["square"].identical(before["square"])
    assert after["curve"].identical(before["curve"])
    assert objects(path, "square") >= {"c.0.1.0"}


def test_swapped_chunks_are_found(path: Path, sweep: Sweep) -> None:
    before = open_store(path)
    for name in ("square", "curve", "ledger"):
        tail = "" if name == "square" else ".0"
        one, other = (path / name / f"c.{i}.0.0{tail}" for i in (0, 1))
        spare = path / name / "spare"
        one.rename(spare)
        other.rename(one)
        spare.rename(other)
    assert run(sweep, path, n_jobs=1)["square"].identical(before["square"])


@pytest.mark.parametrize(
    ("name", "lost"), [("square/c.0.0.0", 4), ("ledger/c.0.0.0.0", 4), ("curve/c.1.1.1.0", 1)]
)
@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_object_is_found_and_trained_again(
    path: Path, sweep: Sweep, name: str, lost: int, damage: str
) -> None:
    before = open_store(path)
    raw = bytearray((path / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (path / name).write_bytes(bytes({"flip": raw, "cut": raw[:-5], "empty": b""}[damage]))
    with pytest.raises((ValueError, RuntimeError)):
        zarr.open_group(path, mode="r", use_consolidated=False)[name.partition("/")[0]][...]  # type: ignore[index]  # an array
    # of two cells in that curve chunk one diverged, and NaN is all that was to be kept of it
    assert int((open_store(path)["state"] == State.TODO).sum()) == lost
    after = run(sweep, path, n_jobs=1)
    assert after["square"].identical(before["square"])
    assert after["curve"].identical(before["curve"])


def test_an_unfinished_store_says_so(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (path / "ledger" / "c.0.1.0.0").unlink()
    with caplog.at_level(logging.WARNING, "tsframe"):
        open_store(path)
    assert "20 of 30 done, 4 to do, 6 failed" in caplog.text
    with pytest.raises(ValueError, match="20 of 30 done, 4 to do, 6 failed"):
        open_store(path, strict=True)


def test_creation_has_one_winner(tmp_path: Path) -> None:
    sweep = Sweep(lambda seed: Square(seed), seed=range(5))
    Store.create(tmp_path / "s.zarr", sweep, (2,))
    with pytest.raises(FileExistsError, match="was made by another process just now"):
        Store.create(tmp_path / "s.zarr", sweep, (2,))
    assert os.listdir(tmp_path) == ["s.zarr"]  # no draft is left


def test_run_numbers_are_never_given_twice(empty: Store) -> None:
    assert [empty.runs.begin({}) for _ in range(3)] == [1, 2, 3]
    assert not empty.runs.note("2", {})
    assert empty.runs.unclean() == [1, 2, 3]
    empty.runs.note("2.end", {})
    assert empty.runs.unclean() == [1, 3]


def test_a_run_says_where_it_comes_from(path: Path, sweep: Sweep) -> None:
    runs = Store.open(path).runs
    begun = runs.read("1")
    assert begun["versions"]["zarr"] == zarr.__version__
    assert begun["pid"] == os.getpid()
    assert begun["n_jobs"] == 1
    assert {"host", "argv", "python", "cpu", "git", "start", "threads"} <= set(begun)
    assert runs.read("1.engine")["device"] == "abacus"
    assert runs.read("1.end")["counts"] == {"done": 18, "diverged": 6, "failed": 6}
    spec = runs.read("spec-1")
    assert spec["fingerprint"] == sweep.fingerprint
    assert spec["source"].startswith("def trial(")
    assert spec["corners"][0] == {"number": 0, "trial": repr(sweep.trials()[0])}


def test_a_store_of_two_commits_says_so(empty: Store, caplog: pytest.LogCaptureFixture) -> None:
    trees = [{"commit": "a", "dirty": False}, {"commit": "b", "dirty": True}]
    path, runs = empty.path, empty.runs
    for tree in trees:
        open_store(path)
        assert "its runs come from" not in caplog.text
        runs.begin({"host": "h", "git": tree})
    assert open_store(path).attrs["commits"] == ["a", "b+"]
    assert "its runs come from 2 commits" in caplog.text


def not_a_store(path: Path, case: str) -> Path:
    if case == "file":
        path.write_text("x")
    elif case == "folder":
        path.mkdir()
    elif case == "zarr 2":
        zarr.create_group(path, zarr_format=2)
    elif case == "other zarr":
        zarr.create_group(path)
    elif case == "damaged":
        path.mkdir()
        (path / "zarr.json").write_text("")
    elif case == "newer":
        zarr.create_group(path, attributes={"tsframe_format": 2})
    elif case == "blocked":
        path.write_text("x")
        return path / "s.zarr"
    return path


NOT_STORES = {
    "file": "is a file; a store is a folder, e.g. stores/NAME.zarr",
    "folder": "is a folder without zarr.json, not a store of tsframe",
    "zarr 2": "is zarr of format 2, not a store of tsframe",
    "other zarr": "is a zarr group without tsframe_format; open it with xarray",
    "damaged": "is not JSON of a zarr group (0 bytes)",
    "newer": "has format 2; this tsframe reads <= 1: upgrade",
    "blocked": "cannot write the store",
}


@pytest.mark.parametrize("case", NOT_STORES)
def test_what_is_no_store_is_refused_before_training(tmp_path: Path, case: str) -> None:
    log = tmp_path / "log"
    log.mkdir()
    path = not_a_store(tmp_path / "s.zarr", case)
    sweep = Sweep(lambda seed: Square(seed, folder=str(log)), seed=range(2))
    with pytest.raises((ValueError, OSError)) as caught:
        run(sweep, path, n_jobs=1)
    assert NOT_STORES[case] in str(caught.value)
    assert not any(log.iterdir())


def test_a_missing_store_is_not_made_by_opening_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no store at"):
        open_store(tmp_path / "s.zarr")
    assert not any(tmp_path.iterdir())


def test_a_store_that_may_not_be_written_is_refused(
    path: Path, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everything
    with pytest.raises(PermissionError, match="cannot be written; ask its owner"):
        run(sweep, path, n_jobs=1)
