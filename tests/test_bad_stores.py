"""What is wrong with a store, or with where it stands, is said in a sentence."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.core.codec_pipeline import BatchedCodecPipeline
from zarr.registry import register_pipeline

from tests.faults.truth import CHUNK, finished, toy, untrue
from tsframe.execution import run
from tsframe.forms import FORMAT
from tsframe.layout import warn_of
from tsframe.opening import open_store
from tsframe.provenance import require
from tsframe.store import Store
from tsframe.verification import verify


@pytest.fixture
def path(tmp_path: Path) -> Path:
    run(toy(), tmp_path / "s.zarr", n_jobs=1, chunk=CHUNK)
    return tmp_path / "s.zarr"


def change_root(path: Path, **facts: Any) -> None:
    root = json.loads((path / "zarr.json").read_text())
    root["attributes"].update(facts)
    (path / "zarr.json").write_text(json.dumps(root))


def test_a_newer_format_is_refused(path: Path) -> None:
    change_root(path, tsframe_format=FORMAT + 1)
    with pytest.raises(
        ValueError, match=rf"has format {FORMAT + 1}; this tsframe reads <= {FORMAT}"
    ):
        open_store(path)


def test_a_store_without_a_root_is_told_from_another_folder(path: Path, tmp_path: Path) -> None:
    (path / "zarr.json").unlink()
    with pytest.raises(ValueError, match=r"zarr.json is missing; tsframe repair rebuilds it."):
        open_store(path)
    with pytest.raises(ValueError, match=r"a folder without zarr.json, not a store of tsframe"):
        open_store(tmp_path)


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"attributes": 3}'])
def test_a_damaged_root_is_named_with_its_size_and_its_cure(path: Path, damage: str) -> None:
    (path / "zarr.json").write_text(damage)
    sentence = rf"s.zarr/zarr.json is not JSON of a zarr group \({len(damage)} bytes\); tsframe rep"
    with pytest.raises(ValueError, match=sentence):
        open_store(path)


def test_a_damaged_array_is_named_with_its_cure(path: Path) -> None:
    (path / "square" / "zarr.json").write_text("{")
    with pytest.raises(ValueError, match=r"square/zarr.json is not JSON of a zarr array .* repair"):
        open_store(path)
    (path / "square" / "zarr.json").unlink()
    with pytest.raises(ValueError, match=r"the array 'square' is missing; tsframe repair rebuilds"):
        open_store(path)


def test_cells_that_fail_their_digest_are_counted_and_the_first_is_named(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (path / "square" / "c.0.0").unlink()
    open_store(path)
    assert (
        "4 cells of" in caplog.text
        and "say done but their measures differ from the ledger (first: (slope=0.3, seed=0)); "
        "tsframe run trains them again"
        in caplog.text
    )


def test_an_object_that_fails_its_checksum_is_named_with_the_cells_that_it_costs(
    path: Path,
) -> None:
    file = path / "square" / "c.0.0"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    report = str(verify(path, 2))
    assert "square, chunk 0 (slope 0.3..0.1, seed 0..1): " in report
    assert "checksum" in report
    assert f"file {file}; tsframe repair sets up to 4 cells to do" in report


def test_consolidated_metadata_of_somebody_else_is_not_read(path: Path) -> None:
    root = json.loads((path / "zarr.json").read_text())
    square = json.loads((path / "square" / "zarr.json").read_text())
    stale = {"square": {**square, "shape": [1, 1]}}
    root["consolidated_metadata"] = {
        "kind": "inline",
        "must_understand": False,
        "metadata": stale,
    }
    (path / "zarr.json").write_text(json.dumps(root))
    assert finished(path, toy())
    run(toy(), path, n_jobs=1)
    assert finished(path, toy())


class Lossy(BatchedCodecPipeline):
    """A pipeline of codecs that somebody else wrote."""

    async def write(self, *args: Any, **kwargs: Any) -> None:
        raise AssertionError("this one must not be used")


def test_a_pipeline_of_codecs_that_the_user_configured_is_not_used_and_this_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    register_pipeline(Lossy)
    warn_of.cache_clear()
    with zarr.config.set({"codec_pipeline.path": f"{__name__}.Lossy"}):
        with pytest.raises(AssertionError, match="must not be used"):
            zarr.create_array(tmp_path / "a", shape=2, dtype="f8")[:] = 1
        run(toy(), tmp_path / "s.zarr", n_jobs=1, chunk=CHUNK)
        run(toy().over(slope=[0.5]), tmp_path / "s.zarr", n_jobs=1)
        assert untrue(tmp_path / "s.zarr", toy()) == []
    assert caplog.text.count("Lossy, which stores do without") == 1


class Disk:
    """A disk that is nearly full."""

    f_frsize, f_files = 4096, 10_000

    def __init__(self, blocks: int, files: int) -> None:
        self.f_bavail, self.f_favail = blocks, files


@pytest.mark.parametrize(("blocks", "files"), [(26, 1000), (1000, 26)])
def test_a_disk_that_cannot_hold_the_store_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: int, files: int
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda path: Disk(blocks, files))
    text = r"takes up to 0.1 MB in 27 files, and there are .* MB and [\d,]+ files left; make space"
    with pytest.raises(OSError, match=text):  # nine chunks of two measures and a ledger
        run(toy(), tmp_path / "s.zarr", n_jobs=1, chunk={"slope": 1, "seed": 2})
    assert os.listdir(tmp_path) == []


def test_a_disk_that_is_nearly_full_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda path: Disk(40, 10_000))
    Store.create(tmp_path / "s.zarr", toy(), (1, 2))
    assert "what is finished is kept if it runs out" in caplog.text


def test_a_folder_that_is_kept_in_step_with_other_machines_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Store.create(tmp_path / "s.zarr", toy(), (1, 2))
    assert not caplog.text
    Store.create(tmp_path / "Dropbox (mine)" / "s.zarr", toy(), (1, 2))
    assert "s.zarr is in 'Dropbox (mine)', which is kept in step with other mach" in caplog.text


def test_a_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"cannot write the store .*: File name too long; choose a"):
        run(toy(), tmp_path / f"{'x' * 240}.zarr", n_jobs=1)


def test_a_version_that_loses_data_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsframe.provenance.version", lambda package: "3.0.7")
    sentence = r"tsframe needs zarr >= 3.1.6 \(older ones delete data\); here is 3.0.7: pip install"
    with pytest.raises(ImportError, match=sentence):
        require("zarr", "3.1.6", "older ones delete data")
    require("zarr", "3.0.7", "")
    monkeypatch.setattr("tsframe.provenance.version", lambda package: "3.10.0rc1")
    require("zarr", "3.1.6", "")


def test_a_nan_that_no_digest_vouches_for_is_not_taken_for_a_result(path: Path) -> None:
    store = Store.open(path)
    store.write("square", store.grid.block(0), np.full((2, 2), np.nan))
    assert int((open_store(path)["state"] == 0).sum()) == 4
