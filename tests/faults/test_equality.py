"""Stores of one sweep are equal to the bit, whoever trained them, in whatever order."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from distributed import Client

from tests.faults.processes import command, committed, until
from tests.toy import Square
from tsframe.execution import run, Stopped
from tsframe.inputs import Gaussian
from tsframe.ledger import ENTRIES
from tsframe.spectra import Sloppy
from tsframe.store import Store
from tsframe.students.mlp import MLP
from tsframe.sweep import Sweep
from tsframe.teachers import Teacher
from tsframe.training.sgd import SGD
from tsframe.trial import Trial

CHUNK = {"slope": 1, "seed": 2}


def toy() -> Sweep:
    def trial(slope: float, seed: int) -> Square:
        moods = {2: "diverges", 4: "raises"}
        return Square(slope * (seed + 1) / 3, mood=moods.get(seed, "well"), seconds=0.02)

    return Sweep(trial, slope=[0.1, 0.2, 0.3], seed=range(6))


def real() -> Sweep:
    def trial(slope: float, seed: int) -> Trial:
        return Trial(
            inputs=Gaussian(dim=12, spectrum=Sloppy(slope)),
            teacher=Teacher(width=12, classes=3),
            n_train=40,
            n_test=50,
            label_noise=0.2,
            student=MLP(width=10, depth=1 + seed % 2),
            training=SGD(lr=0.05, momentum=0.9, batch_size=10, max_steps=60),
            seed=seed,
        )

    return Sweep(trial, slope=[0.1, 0.2, 0.3], seed=range(6))


def bits(path: Path) -> dict[str, bytes]:
    """All that a store holds, but for times, memory and the history of its runs."""
    store = Store.open(path, write=False)
    ledger = store.read_all("ledger")
    kept = [i for i, entry in enumerate(ENTRIES) if entry in ("state", "digest")]
    errors = store.read_errors(store.grid.everything)
    return {
        **{name: np.asarray(store.arrays[name][...]).tobytes() for name in store.measures},
        "ledger": ledger[..., kept].tobytes(),
        "error": repr([str(text).partition("\n")[0] for text in errors.flat]).encode(),
        "grid": repr((store.axes, store.grid)).encode(),
    }


def by_workers(n_jobs: int, backend: str = "loky") -> Callable[[Sweep, Path], None]:
    def train(sweep: Sweep, path: Path) -> None:
        with joblib.parallel_config(backend):
            run(sweep, path, n_jobs=n_jobs, chunk=CHUNK, progress=False)

    return train


def shuffled(sweep: Sweep, path: Path) -> None:
    store = Store.create(path, sweep, (1, 2))
    for _ in range(7):  # the order of the chunks hangs on the number of the run
        store.runs.begin({})
    run(sweep, path, n_jobs=2, chunk=CHUNK, progress=False)


def by_shards(sweep: Sweep, path: Path) -> None:
    for shard in ("2/3", "0/3", "1/3"):
        run(sweep, path, n_jobs=1, chunk=CHUNK, shard=shard, progress=False)


def by_parts(sweep: Sweep, path: Path) -> None:
    run(sweep, path, n_jobs=1, chunk=CHUNK, only={"seed": [1, 4]}, progress=False)
    run(sweep, path, n_jobs=2, only={"slope": slice(0.15, None)}, progress=False)
    run(sweep, path, n_jobs=1, progress=False)


def interrupted(sweep: Sweep, path: Path) -> None:
    done = threading.Event()

    def stop() -> None:
        until(lambda: committed(path) >= 2 or done.is_set())
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=stop)
    thread.start()
    try:
        with pytest.raises(Stopped):
            run(sweep, path, n_jobs=1, chunk=CHUNK, grace=1e-6, progress=False)
    finally:
        done.set()
        thread.join()
    assert 2 <= committed(path) < 9
    run(sweep, path, n_jobs=2, progress=False)


WAYS: dict[str, Callable[[Sweep, Path], None]] = {
    "two workers": by_workers(2),
    "four workers": by_workers(4),
    "threads": by_workers(2, "threading"),
    "dask": by_workers(2, "dask"),
    "another order": shuffled,
    "shards": by_shards,
    "parts": by_parts,
    "interrupted": interrupted,
}


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[], Sweep]], Any]:
    # what one worker gives, in one go; trained once for each kind of sweep
    known: dict[Any, dict[str, bytes]] = {}

    def give(kind: Callable[[], Sweep]) -> dict[str, bytes]:
        if kind not in known:
            path = tmp_path_factory.mktemp("straight") / "s"
            by_workers(1)(kind(), path)
            known[kind] = bits(path)
        return known[kind]

    return give


@pytest.mark.parametrize("kind", [toy, pytest.param(real, marks=pytest.mark.slow)])
@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_train_a_sweep_gives_the_same_bits(
    tmp_path: Path, cluster: Client, straight: Any, way: str, kind: Callable[[], Sweep]
) -> None:
    WAYS[way](kind(), tmp_path / "s")
    found, expected = bits(tmp_path / "s"), straight(kind)
    assert [name for name in expected if found[name] != expected[name]] == []


def test_the_bits_tell_stores_apart(tmp_path: Path, straight: Any) -> None:
    def other(slope: float, seed: int) -> Square:
        return Square(slope * (seed + 1) / 3 + (1e-15 if (slope, seed) == (0.2, 3) else 0.0))

    run(Sweep(other, slope=[0.1, 0.2, 0.3], seed=range(6)), tmp_path / "s", chunk=CHUNK, n_jobs=1)
    found, expected = bits(tmp_path / "s"), straight(toy)
    assert {"square", "curve", "ledger"} <= {
        name for name in found if found[name] != expected[name]
    }


STUDY = """
from tests.toy import Square
from tsframe.sweep import Sweep

def trial(slope, seed):
    moods = {2: "diverges", 4: "raises"}
    return Square(slope * (seed + 1) / 3, moods.get(seed, "well"), seconds=0.02, work=1e12)

sweep = Sweep(trial, slope=[0.1, 0.2, 0.3], seed=range(6))
"""


def test_shards_started_at_once_make_one_store_and_fill_it(tmp_path: Path) -> None:
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "study.py").write_text(STUDY)
    path = tmp_path / "stores" / "study.zarr"
    words = ("run", "study", "--jobs", "1", "--no-figures", "--shard")
    with (
        command(tmp_path, *words, "0/3") as one,
        command(tmp_path, *words, "1/3") as two,
        command(tmp_path, *words, "2/3") as three,
    ):
        said = [process.communicate(timeout=120)[1] for process in (one, two, three)]
        codes = [process.returncode for process in (one, two, three)]
    assert set(codes) <= {0, 1}, said  # 1 where a cell of the shard failed
    ledger = Store.open(path).read_all("ledger")
    assert (ledger[..., ENTRIES.index("attempts")] == 1).all()  # each cell was trained once
    assert set(np.unique(ledger[..., ENTRIES.index("run")])) == {1.0, 2.0, 3.0}
    assert Store.open(path).runs.unclean() == []
    run(toy(), tmp_path / "t", n_jobs=1, chunk=CHUNK, progress=False)
    found, expected = bits(path), bits(tmp_path / "t")
    assert [name for name in expected if found[name] != expected[name]] == ["grid"]  # its chunks
