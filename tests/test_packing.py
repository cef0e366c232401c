import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from tests.faults.truth import CHUNK, toy
from tests.toy import Square
from tsframe.execution import run
from tsframe.ledger import sha256_of, State
from tsframe.opening import open_store
from tsframe.packing import lengths, multiple, pack
from tsframe.store import Store
from tsframe.sweep import Sweep
from tsframe.verification import verify

AXES: dict[str, Any] = {"slope": [0.3, 0.1], "flip": [True, False], "kind": ["b", "a"]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    run(mixed(), tmp_path / "s.zarr", n_jobs=1, chunk={"slope": 1})
    return tmp_path / "s.zarr"


def mixed() -> Sweep:
    def trial(slope: float, flip: bool, kind: str, seed: int) -> Square:
        return Square(slope * (seed + 1) + flip, "diverges" if seed == 1 else "well")

    return Sweep(trial, **AXES, seed=range(3))


def test_a_packed_copy_holds_what_the_store_vouches_for(path: Path, tmp_path: Path) -> None:
    before = open_store(path)
    pack(path, tmp_path / "p.zarr")
    packed = xr.open_zarr(tmp_path / "p.zarr")  # warnings are errors here
    for name in ("square", "curve"):
        assert packed[name].drop_attrs().identical(before[name])
    assert packed["state"].values.tolist() == before["state"].values.tolist()
    assert packed["state"].dtype == np.uint8
    for axis in before["square"].dims:
        assert packed[axis].values.tolist() == before[axis].values.tolist()
    assert packed["slope"].values.tolist() == [0.1, 0.3]
    assert packed["flip"].dtype == bool
    assert packed.attrs["runs"]["1"]["ended"]["counts"] == {"done": 16, "diverged": 8}
    assert packed.attrs["spec"]["fingerprint"] == mixed().fingerprint
    assert open_store(tmp_path / "p.zarr").identical(packed)


def test_results_go_to_netcdf_and_pandas(path: Path, tmp_path: Path) -> None:
    results = open_store(path)
    packed = pack(path, tmp_path / "p.zarr").load().drop_attrs()
    for name, dataset in {"store": results, "packed": packed}.items():
        dataset.to_netcdf(tmp_path / f"{name}.nc", engine="netcdf4")
        with xr.open_dataset(tmp_path / f"{name}.nc", engine="netcdf4") as read:
            for variable, array in dataset.variables.items():
                same = str(read[variable].values.tolist()) == str(array.values.tolist())
                assert same, (name, variable)
    table = results[["square", "state"]].to_dataframe().reset_index()
    assert len(table) == results.state.size
    row = table[(table.slope == 0.3) & table.flip & (table.kind == "a") & (table.seed == 0)]
    assert row.square.tolist() == [1.3**2] and row.state.tolist() == [State.DONE]


def test_a_packed_copy_is_opened_lazily_and_verified_by_its_sums(
    path: Path, tmp_path: Path
) -> None:
    packed = pack(path, tmp_path / "p.zarr")
    assert verify(tmp_path / "p.zarr").code == 0
    for file in (tmp_path / "p.zarr" / "curve" / "c").rglob("*"):
        if file.is_file():
            file.unlink()  # nobody minds before it is read, and zarr not even then
    assert float(packed["square"].sel(slope=0.3, flip=True, kind="a", seed=0)) == 1.3**2
    report = verify(tmp_path / "p.zarr")
    assert report.code == 2
    assert [finding.where for finding in report.findings] == [str(tmp_path / "p.zarr" / "curve")]


def test_every_object_and_every_array_of_a_packed_copy_has_its_checksum(
    path: Path, tmp_path: Path
) -> None:
    packed = pack(path, tmp_path / "p.zarr")
    for name in ("square", "curve", "slope", "state", "kind", "error"):
        assert sha256_of(np.asarray(packed[name].values)) == packed[name].attrs["sha256"]
    raw = np.ascontiguousarray(packed["square"].values).tobytes()
    assert hashlib.sha256(raw).hexdigest() == packed["square"].attrs["sha256"]
    facts = json.loads((tmp_path / "p.zarr" / "square" / "zarr.json").read_text())
    (shard,) = facts["codecs"]
    assert shard["name"] == "sharding_indexed"
    assert [codec["name"] for codec in shard["configuration"]["codecs"]][-1] == "crc32c"
    assert [codec["name"] for codec in shard["configuration"]["index_codecs"]][-1] == "crc32c"
    files = [file for file in (tmp_path / "p.zarr" / "square").rglob("*") if file.name != "c"]
    for file in (file for file in files if file.is_file() and file.name != "zarr.json"):
        raw_file = bytearray(file.read_bytes())
        for place in range(0, len(raw_file), 7):
            raw_file[place] ^= 1
            file.write_bytes(raw_file)
            with pytest.raises((ValueError, RuntimeError, OSError)):
                xr.open_zarr(tmp_path / "p.zarr")["square"].load()
            raw_file[place] ^= 1


def test_only_a_finished_and_clean_store_is_packed_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    run(toy(), path, n_jobs=1, chunk=CHUNK)
    with pytest.raises(ValueError, match="3 cells are to do or have failed; run it to the end"):
        pack(path, tmp_path / "p.zarr")
    packed = pack(path, tmp_path / "p.zarr", partial=True)
    assert int((packed["state"] == State.FAILED).sum()) == 3
    assert np.isnan(packed["square"].where(packed["state"] != State.DONE)).all()
    assert "no square of" in str(packed["error"].sel(seed=4).values[0])
    with pytest.raises(FileExistsError, match="is there already; a copy is written once"):
        pack(path, tmp_path / "p.zarr", partial=True)
    Store.open(path).file("square", 0).unlink()
    with pytest.raises(ValueError, match=r"s.zarr is repairable \(square, chunk 0 .* is missing"):
        pack(path, tmp_path / "q.zarr", partial=True)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["p.zarr", "s.zarr"]


def test_a_copy_of_many_shards_is_the_same_as_one_of_few(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pack(path, tmp_path / "p.zarr").load()
    monkeypatch.setattr("tsframe.packing.CHUNK_BYTES", 40.0)
    monkeypatch.setattr("tsframe.packing.SHARD_BYTES", 100.0)
    monkeypatch.setattr("tsframe.verification.ROWS_BYTES", 100.0)
    cut = pack(path, tmp_path / "q.zarr").load()
    assert cut.drop_attrs().identical(whole.drop_attrs())
    assert cut.attrs["ledger_sha256"] == whole.attrs["ledger_sha256"]
    for name in whole.variables:  # shard by shard, and yet of the whole in C order
        assert cut[name].attrs == whole[name].attrs
    assert len(list((tmp_path / "q.zarr" / "curve" / "c").rglob("*"))) > 12
    assert verify(tmp_path / "q.zarr").code == 0


def test_a_store_that_changes_while_it_is_packed_is_not_published(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(target: Any, source: Any) -> None:
        run(mixed().over(slope=[0.3]), path, n_jobs=1, progress=False)

    (Store.open(path).path / "ledger" / "c.0.0.0.0.0").unlink()
    monkeypatch.setattr("tsframe.packing.write", write)
    with pytest.raises(ValueError, match=r"changed while it was packed; wait for its runs to end"):
        pack(path, tmp_path / "p.zarr", partial=True)
    assert not (tmp_path / "p.zarr").exists()


def test_chunks_and_shards_have_the_size_that_reads_fast() -> None:
    shape = (1000, 1000, 100)
    chunk = lengths(shape, 8, 2e6)
    assert chunk == (2, 1000, 100)
    shard = multiple(shape, chunk, 8)
    assert shard == (160, 1000, 100)
    assert 64e6 <= 8 * np.prod(shard) <= 256e6
    assert lengths((3, 2), 8, 2e6) == multiple((3, 2), (3, 2), 8) == (3, 2)
    assert lengths((10**7,), 8, 2e6) == (250_000,)
