"""Damage to every kind of object is named, repaired and trained again; nothing else is lost."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.faults.truth import CHUNK, finished, settled, toy, untrue
from tsframe.execution import run
from tsframe.ledger import digests, ENTRIES, State
from tsframe.opening import open_store
from tsframe.repairing import repair
from tsframe.store import Store
from tsframe.verification import verify
from tsframe.workers.claims import claim


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "s.zarr"
    run(toy(), path, n_jobs=1, chunk=CHUNK)
    run(toy(), path, n_jobs=1)  # what fails has failed twice
    return path


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsframe.provenance.git", lambda folder: None)


@pytest.fixture
def path(tmp_path: Path, whole: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "s.zarr"))


def flip(file: Path) -> None:
    raw = bytearray(file.read_bytes())
    if raw:  # else something else has emptied it
        raw[len(raw) // 2] ^= 4
    file.write_bytes(raw)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-3])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def delete(file: Path) -> None:
    file.unlink()


def swap(file: Path) -> None:
    other = sorted(f for f in file.parent.iterdir() if f.name != "zarr.json" and f != file)[-1]
    one, two = file.read_bytes(), other.read_bytes()
    file.write_bytes(two)
    other.write_bytes(one)


# the object, how many cells it can cost, and the level at which its loss shows
OBJECTS = {
    "square/c.0.0": 4,
    "curve/c.1.2.0": 2,
    "ledger/c.0.1.0": 4,
    "error/c.0.2": 0,  # the texts of failed cells; nothing depends on them
    "slope/c.0": 0,
    "entry/c.0": 0,
    "square/zarr.json": 0,
    "ledger/zarr.json": 0,
    "error/zarr.json": 0,
    "seed/zarr.json": 0,
    "zarr.json": 0,
}
DAMAGES: dict[str, Callable[[Path], None]] = {
    "flip": flip,
    "cut": cut,
    "empty": empty,
    "delete": delete,
}


def nothing_is_untrue(path: Path) -> bool:
    """Opening gives the truth, or refuses; never anything else."""
    try:
        return not untrue(path, toy())
    except (ValueError, FileNotFoundError) as error:
        return "tsframe" in str(error) or "zarr" in str(error)


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named_repaired_and_trained_again(path: Path, name: str, damage: str) -> None:
    before = settled(path)
    DAMAGES[damage](path / name)
    assert nothing_is_untrue(path)
    report = verify(path, 3)
    if name == "zarr.json" and damage == "delete":
        assert report.code == 1
    silent = damage == "delete" and name.startswith(("error/c", "ledger/c"))
    if not silent:  # an error that is gone, or a ledger, looks as if it had never been written
        assert report.code == 1, report
        key = name.removesuffix("/c.0")
        assert any(key in f"{f.text} {f.where}" or f.remedy == "demote" for f in report.findings)
    repair(path)
    assert verify(path, 3).code == 0
    after = settled(path)
    assert int((before & ~after).sum()) <= OBJECTS[name]
    assert untrue(path, toy()) == []
    run(toy(), path, n_jobs=1)
    assert finished(path, toy())


@pytest.mark.parametrize("name", ["square/c.0.0", "curve/c.0.1.0", "ledger/c.1.0.0"])
def test_swapped_objects_are_found_by_the_axis_values_in_the_digest(path: Path, name: str) -> None:
    swap(path / name)
    assert untrue(path, toy()) == []
    assert verify(path, 2).code in (0, 1)  # of other lengths they cannot even be decoded
    assert verify(path, 3).code == 1
    repair(path)
    assert verify(path, 3).code == 0
    assert untrue(path, toy()) == []
    run(toy(), path, n_jobs=1)
    assert finished(path, toy())


def test_a_chunk_that_is_swapped_in_all_arrays_is_found(path: Path) -> None:
    for name in ("square/c.0.0", "curve/c.0.0.0", "ledger/c.0.0.0"):
        other = path / name.replace("c.0.0", "c.0.1")
        spare = path / "spare"
        (path / name).rename(spare)
        other.rename(path / name)
        spare.rename(other)
    assert verify(path, 2).code == 0  # every object is whole
    assert verify(path, 3).code == 1
    assert untrue(path, toy()) == []
    assert int(settled(path).sum()) == 15 - 8
    repair(path)
    run(toy(), path, n_jobs=1)
    assert finished(path, toy())


def test_litter_and_foreign_objects_are_reported_and_set_aside(path: Path) -> None:
    (path / "square" / "c.0.abc.partial").write_text("half")
    (path / "zarr.abc.partial").write_text("half")
    (path / "runs" / ".7.0123456789abcdef").write_text("half")
    shutil.copy(path / "square" / "c.0.0", path / "square" / "c.9.9")
    (path / "notes.txt").write_text("mine")
    report = verify(path, 3)
    assert report.code == 1
    assert "notes.txt is no part of a store" in str(report)
    done = repair(path)
    assert len(done) == 4
    assert (path / "runs" / "quarantine" / "square-c.9.9").exists()
    assert (path / "notes.txt").exists()
    assert verify(path, 3).code == 0
    (path / "notes.txt").unlink()
    assert finished(path, toy())


def test_consolidated_metadata_is_taken_out(path: Path) -> None:
    root = json.loads((path / "zarr.json").read_text())
    root["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": {}}
    (path / "zarr.json").write_text(json.dumps(root))
    assert "goes stale" in str(verify(path, 0))
    repair(path)
    assert "consolidated_metadata" not in json.loads((path / "zarr.json").read_text())
    assert finished(path, toy())


def test_repair_never_touches_a_row_whose_digest_is_right(path: Path) -> None:
    before = open_store(path)
    (path / "square" / "c.0.0").unlink()
    repair(path)
    after = open_store(path)
    kept = after["state"] != State.TODO
    assert int(kept.sum()) == 18 - 4
    assert after["ledger"].where(kept).identical(before["ledger"].where(kept))
    assert (after["ledger"].where(~kept, 0) == 0).all()


def test_what_no_repair_can_bring_back_is_called_damaged(path: Path) -> None:
    store = Store.open(path)
    block = store.grid.block(0)
    ledger = store.read("ledger", block)
    ledger[0, 0, ENTRIES.index("run")] = 77  # the digest does not cover it
    store.write("ledger", block, ledger)
    report = verify(path, 3)
    assert report.code == 2
    assert "come from a run that is not known (first: (slope=0.3, seed=0))" in str(report)
    assert repair(path) == []


def test_a_cell_that_does_not_come_out_the_same_is_found_by_training_it(path: Path) -> None:
    store = Store.open(path)
    ledger, measures = store.read_chunk(0)
    measures["square"][0] += 1e-12
    cells = store.grid.cells(0)
    ledger[:, ENTRIES.index("digest")] = digests(store.axes, cells, measures)
    block = store.grid.block(0)
    store.write("square", block, measures["square"].reshape(2, 2))
    store.write("ledger", block, ledger.reshape(2, 2, -1))  # right by all that is written
    assert verify(path, 3).code == 0
    report = verify(path, 4, toy(), repeats=100)
    assert report.code == 2
    assert "1 of 15 cells of run 1 that were trained again differ" in str(report)
    assert "most the cell (slope=0.3, seed=0), where square was" in str(report)
    assert report.repeated == 15


def test_a_live_run_keeps_repair_away(path: Path) -> None:
    (path / "square" / "c.0.0").unlink()
    with claim(path / "runs" / "lock", "all"):
        with pytest.raises(BlockingIOError, match=r"is held by run .* add --force"):
            repair(path)
        assert len(repair(path, force=True)) == 1
    assert np.isnan(open_store(path)["square"].sel(slope=0.3, seed=0))
    assert repair(path) == []
