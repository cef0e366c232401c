"""Stores in a bucket, on a server that speaks S3, refuses, and loses its answers."""

import functools
import json
import os
import sys
import threading
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from joblib.externals.loky import get_reusable_executor  # type: ignore[import-untyped]
from zarr.storage import ObjectStore

from tests.faults.buckets import once, Server, serving, well, writes_from
from tests.faults.deadly import Deadly
from tests.faults.processes import write_study
from tests.faults.truth import CHUNK, finished, settled, toy, untrue
from tsframe.buckets import client, Remote
from tsframe.commands import run as run_command, status as status_command
from tsframe.execution import run
from tsframe.growth import grow
from tsframe.ledger import ENTRIES, State
from tsframe.opening import open_store
from tsframe.packing import pack
from tsframe.places import create, look, move, overwrite, Place, place, sizes, stands, swap, touch
from tsframe.provenance import Runs
from tsframe.repairing import repair
from tsframe.standing import status
from tsframe.store import Store
from tsframe.sweep import Sweep
from tsframe.upkeep import pack as pack_command, verify as verify_command
from tsframe.verification import verify
from tsframe.workers.chunk import marks_of
from tsframe.workers.claims import claim, owners


@pytest.fixture(scope="module")
def served() -> Iterator[Server]:
    with serving() as server:
        os.environ.update(server.settings)
        get_reusable_executor().shutdown()  # of tests before, whose workers do not know the server
        request = urllib.request.Request(f"{server.address}/bucket", method="PUT")
        urllib.request.urlopen(request).close()
        yield server
        get_reusable_executor().shutdown()
        for name in server.settings:
            del os.environ[name]


@pytest.fixture
def server(served: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr("tsframe.provenance.git", lambda folder: None)
    yield served
    served.fault = well


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Try everything once."""
    monkeypatch.setattr("tsframe.buckets.RETRIES", 0)
    monkeypatch.setattr("tsframe.disk.PAUSE", 0.0)
    client.cache_clear()
    yield
    client.cache_clear()


@pytest.fixture
def path(server: Server) -> Remote:
    """Where nothing is yet."""
    found = place(f"s3://bucket/{uuid.uuid4().hex}/s.zarr")
    assert isinstance(found, Remote)
    return found


@pytest.fixture
def whole(path: Remote) -> Remote:
    run(toy(), path, n_jobs=1, chunk=CHUNK)
    return path


def test_a_store_in_a_bucket_holds_the_same_as_one_on_a_disk(path: Remote, tmp_path: Path) -> None:
    larger = toy().over(slope=[0.3, 0.1, 0.2, 0.7])
    for where, n_jobs in ((path, 2), (tmp_path / "s.zarr", 1)):  # two are other processes
        run(toy(), where, n_jobs=1, chunk=CHUNK)
        run(larger, str(where), n_jobs=n_jobs, progress=False)
    here, there = open_store(tmp_path / "s.zarr"), open_store(str(path))
    kept = [name for name in ENTRIES if name not in ("seconds", "peak_bytes")]
    assert there.drop_vars("ledger").drop_attrs().equals(here.drop_vars("ledger").drop_attrs())
    assert there["ledger"].sel(entry=kept).equals(here["ledger"].sel(entry=kept))
    assert finished(path, larger)
    assert verify(path, 4, larger).code == 0
    before = [item["e_tag"] for item in path.objects()]
    run(larger, path, n_jobs=1)  # the failed ones failed twice before
    run(larger, path, n_jobs=1)
    assert status(path).counts == {"todo": 0, "done": 16, "failed": 4, "diverged": 4, "excluded": 0}
    assert "24: 16 done" in str(status(path)) and str(path) in status(path)._repr_html_()
    assert Store.open(path).runs.unclean() == []
    names = {item["path"].removeprefix(path.key) for item in path.objects()}
    assert not any("/lock/" in name or "/attempts/" in name or "pulse" in name for name in names)
    assert len(before) < len(names)
    server = client("bucket", path.key, os.environ["AWS_ENDPOINT_URL"])
    plain = xr.open_zarr(ObjectStore(server, read_only=True), consolidated=False)
    assert plain["square"].sortby("slope").drop_attrs().equals(there["square"])


def test_of_two_creations_at_once_one_wins_and_one_is_told(server: Server) -> None:
    for number in range(3):
        path, barrier = place(f"s3://bucket/{uuid.uuid4().hex}/{number}.zarr"), threading.Barrier(2)
        won: list[str] = []

        def make(path: Place = path, won: list[str] = won, barrier: Any = barrier) -> None:
            barrier.wait()
            try:
                Store.create(path, toy(), (2, 2))
                won.append("won")
            except FileExistsError as error:
                won.append(str(error))

        threads = [threading.Thread(target=make) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(text == "won" for text in won) == [False, True]
        assert any("was made by another process just now" in text for text in won)
        assert verify(path, 3).code == 0


def test_a_creation_that_died_at_any_write_is_finished_by_the_next(
    server: Server, brisk: None
) -> None:
    writes = 1 + 1 + 8 + 4 + 1  # spec, runs, arrays, coordinates, root
    for number in (1, 2, 3, 8, writes):
        path = place(f"s3://bucket/{uuid.uuid4().hex}/s.zarr")
        server.fault = writes_from(number)
        with pytest.raises(OSError, match="503"):
            Store.create(path, toy(), (2, 2))
        server.fault = well
        assert not stands(path)
        if number > 1:
            with pytest.raises(FileExistsError, match="somebody began to make the store of anot"):
                Store.create(path, toy().over(slope=[0.5]), (1, 2))
        Store.create(path, toy(), (2, 2))
        assert verify(path, 3).code == 0
    server.fault = writes_from(writes + 1)
    Store.create(place(f"s3://bucket/{uuid.uuid4().hex}/s.zarr"), toy(), (2, 2))


def test_a_run_whose_every_answer_is_lost_does_nothing_twice(server: Server, path: Remote) -> None:
    lost: set[str] = set()

    def fault(method: str, key: str) -> str:
        if method != "PUT" or key in lost or "/attempts/" in key:  # which come and go
            return ""
        lost.add(key)
        return "after"

    server.fault = fault
    run(toy(), path, n_jobs=1, chunk=CHUNK)
    server.fault = well
    assert len(lost) >= 40
    assert any(key.endswith("runs/lock/all") for key in lost)
    assert Runs(path / "runs").numbers() == [1]  # and took neither a second number nor its own lock
    assert finished(path, toy())
    assert verify(path, 3).code == 0


@pytest.mark.parametrize(
    "number", [24, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 9, 19, 30, 38, 45))]
)
def test_a_run_that_is_refused_its_writes_from_one_on_is_resumed(
    server: Server, path: Remote, brisk: None, number: int
) -> None:
    server.fault = writes_from(number)
    with pytest.raises((OSError, RuntimeError), match="503"):
        run(toy(), path, n_jobs=1, chunk=CHUNK)
    server.fault = well
    before = None
    if stands(path):
        assert untrue(path, toy()) == []
        before = settled(path)
    run(toy(), path, n_jobs=1, chunk=CHUNK)
    assert finished(path, toy())
    assert before is None or (settled(path) | ~before).all()
    repair(path)
    assert verify(path, 3).code == 0


def withhold(what: str, method: str, key: str) -> str:
    """Refuse to give some objects."""
    return "before" if method in ("GET", "HEAD") and what in key else ""


def test_what_the_server_refuses_to_give_is_not_lost(
    server: Server, whole: Remote, brisk: None
) -> None:
    before = {item["path"]: item["e_tag"] for item in whole.objects() if "/c." in item["path"]}
    for what in ("square/c.", "ledger/c.", "error/c.", "runs/spec-1.json", "s.zarr/zarr.json"):
        server.fault = functools.partial(withhold, what)
        with pytest.raises((OSError, RuntimeError), match="503"):
            run(toy(), whole, n_jobs=1)
        if "runs" not in what:
            with pytest.raises(OSError, match="503"):
                open_store(whole)
        server.fault = well
    server.fault = functools.partial(withhold, "runs/")
    with pytest.raises(OSError, match="503"):
        Runs(whole / "runs").read("since-2")  # of which "missing" would mean something else
    server.fault = well
    assert Runs(whole / "runs").read("since-2") == {}
    after = {item["path"]: item["e_tag"] for item in whole.objects() if "/c." in item["path"]}
    assert after == before
    assert finished(whole, toy())


def test_a_writer_that_opened_the_store_before_it_grew_commits_into_what_it_is_now(
    whole: Remote,
) -> None:
    early = Store.open(whole)
    grow(whole, toy().over(seed=[7]))
    assert early.current().grid.shape == (3, 7)
    assert verify(whole, 3).code == 0


def test_a_claim_in_a_bucket_is_held_shown_and_taken_over(whole: Remote) -> None:
    folder = whole / "runs" / "lock"
    with claim(folder, "all") as mine:
        mine.say(run=7)
        mine.touch()
        (owner,) = owners(folder)
        assert (owner.run, owner.gone) == (7, False)
        with pytest.raises(BlockingIOError, match=r"s.zarr is held by run 7 on host"):
            run(toy(), whole, n_jobs=1)
        assert (mine.taken, mine.over) == (False, False)
        with claim(folder, "all", force=True) as other:
            assert (mine.taken, mine.over, other.over) == (True, True, False)
            mine.say(stop=True)
            mine.touch()
            assert (mine.over, other.over) == (True, False)  # what is said now is said to nobody
        assert owners(folder) == []


def test_who_lost_an_object_does_not_write_over_the_new_one(server: Server, path: Remote) -> None:
    file = path / "note"
    assert create(file, "one") and not create(file, "two")
    seen = look(file)
    overwrite(file, "three")
    assert not swap(file, seen, "four")
    assert look(file).text == "three"
    server.fault = once("PUT", "after")
    assert swap(file, look(file), "five")  # it was done, and the answer lost
    server.fault = well
    touch(file)
    assert look(file).text == "five"
    move(file, path / "other")
    assert not file.exists() and (path / "other").read_text() == "five"
    assert sizes(path) == [4]
    file.unlink()


def flip(file: Place) -> None:
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 4
    overwrite(file, bytes(raw))


@pytest.mark.parametrize(
    "name",
    [
        "slope/c.0",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("square/c.0.0", "ledger/c.0.1.0", "square/zarr.json", "zarr.json")
        ),
    ],
)
def test_damage_in_a_bucket_is_named_repaired_and_trained_again(whole: Remote, name: str) -> None:
    if name.endswith("json"):
        overwrite(whole / name, "{")
    else:
        flip(whole / name)
    report = verify(whole, 3)
    assert report.code == 1
    assert "s3://bucket" in str(report)
    repair(whole)
    assert verify(whole, 3).code == 0
    assert (whole / "runs" / "quarantine").is_dir() == ("/c." in name)
    run(toy(), whole, n_jobs=1)
    assert finished(whole, toy())


def test_a_copy_is_packed_into_and_out_of_a_bucket(
    server: Server, whole: Remote, tmp_path: Path, brisk: None
) -> None:
    copy = place(str(whole).replace("s.zarr", "p.zarr"))
    server.fault = writes_from(5, 5)
    with pytest.raises(OSError, match="503"):
        pack(whole, copy, partial=True)
    server.fault = well
    assert not copy.exists()  # all or nothing
    here = pack(whole, tmp_path / "p.zarr", partial=True).load()
    there = pack(whole, copy, partial=True).load()
    assert there.drop_attrs().equals(here.drop_attrs())
    assert verify(copy).code == 0
    with pytest.raises(FileExistsError, match="is there already; a copy is"):
        pack(whole, copy, partial=True)
    (copy / "square" / "c" / "0" / "0").unlink()
    assert [finding.where for finding in verify(copy).findings] == [f"{copy}/square"]


def test_the_command_line_takes_a_store_in_a_bucket(
    whole: Remote, path: Remote, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(tmp_path, seconds=0.0, size=2)
    study, there = str(tmp_path / "sweeps" / "study.py"), Path(str(path)[:-6] + "c.zarr")
    assert run_command(study, store=there, jobs=1, figures=False) == 0
    assert status_command(study, store=there) == status_command(str(path)[:-6] + "c.zarr") == 0
    assert verify_command(str(whole)) == 0
    pack_command(str(whole), Path(str(whole).replace("s.zarr", "q.zarr")), partial=True)
    out = capsys.readouterr().out
    assert f"{whole}: clean" in out
    assert "q.zarr, 1" in out and "MB" in out


@pytest.mark.slow
def test_a_cell_that_kills_its_worker_fails_alone_in_a_bucket(path: Remote) -> None:
    sweep = Sweep(lambda seed: Deadly(seed, "kills" if seed == 3 else "well"), seed=range(4))
    dataset = run(sweep, path, n_jobs=2, chunk={"seed": 2}, progress=False)
    assert dataset["state"].values.tolist() == [State.DONE] * 3 + [State.FAILED]
    assert "WorkerDied" in str(dataset["error"].sel(seed=3).item())
    assert np.array_equal(dataset["square"].values[:3], [0.0, 1.0, 4.0])
    assert not list(marks_of(Store.open(path)))


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        ("gs://bucket/s.zarr", "a store is in a folder, or at s3://BUCKET/NAME.zarr"),
        ("https://host/s.zarr", "a store is in a folder, or at s3://BUCKET/NAME.zarr"),
        ("s3://bucket", "names no place in the bucket"),
        ("s3://", "names no place in the bucket"),
        ("s3://no-such-bucket/s.zarr", "there is no such bucket; make it, or set AWS_ENDPOINT_URL"),
    ],
)
def test_a_place_that_is_none_is_refused_before_training(
    server: Server, where: str, sentence: str
) -> None:
    with pytest.raises((ValueError, OSError)) as caught:
        run(toy(), where, n_jobs=1)
    assert sentence in str(caught.value)


def test_what_is_not_for_this_user_is_said(server: Server, whole: Remote, brisk: None) -> None:
    server.fault = lambda method, key: "deny"
    with pytest.raises(PermissionError, match=r"is not for this user.*AWS_ACCESS_KEY_ID"):
        open_store(whole)
    server.fault = lambda method, key: "deny" if method == "PUT" else ""
    with pytest.raises(PermissionError, match="is not for this user"):
        run(toy().over(slope=[0.9]), whole, n_jobs=1)


def test_without_credentials_it_is_said_where_they_are_taken_from(
    whole: Remote, brisk: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(PermissionError, match=r"needs credentials, and there are none.*AWS_ACC"):
        open_store(whole)


def test_without_its_package_a_bucket_is_refused(
    path: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ImportError, match=r'not installed: pip install "tsframe\[s3\]"'):
        run(toy(), str(path), n_jobs=1)


def test_a_path_of_a_bucket_survives_being_taken_for_a_file() -> None:
    found = place(Path("s3://bucket/stores/s.zarr"))
    assert found == place("s3://bucket/stores/s.zarr/") == place(found)
    assert isinstance(found, Remote)
    assert (found.name, found.stem, str(found.parent)) == ("s.zarr", "s", "s3://bucket/stores")
    assert place("stores/s.zarr") == Path("stores/s.zarr")


def test_a_bucket_that_holds_something_else_is_not_written_to(path: Remote) -> None:
    overwrite(path / "notes.txt", "mine")
    with pytest.raises(ValueError, match=r"is a folder without zarr.json, not a store of tsframe"):
        run(toy(), path, n_jobs=1)
    overwrite(path / "zarr.json", json.dumps({"zarr_format": 3, "node_type": "group"}))
    with pytest.raises(ValueError, match="is not JSON of a zarr group"):
        run(toy(), path, n_jobs=1)
    assert len(path.objects()) == 2
