"""Vectors that differ in length between the cells of a sweep."""

from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes

from tests.toy import Ragged, STEPS
from tsframe.contract import fits, joint, Measures
from tsframe.execution import run
from tsframe.opening import open_store
from tsframe.packing import pack
from tsframe.sweep import Sweep
from tsframe.verification import verify


def trial(width: int, seed: int) -> Ragged:
    return Ragged(1.0 + seed, width=width)


def spectra() -> Sweep:
    return Sweep(trial, width=[2, 5, 3], seed=range(2))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    run(spectra(), tmp_path / "s.zarr", n_jobs=1, chunk={"width": 2, "seed": 1})
    return tmp_path / "s.zarr"


@pytest.fixture
def axes() -> Iterator[Axes]:
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def test_vectors_are_padded_to_the_longest_and_their_lengths_are_kept(path: Path) -> None:
    for dataset in (open_store(path), xr.open_zarr(path, consolidated=False)):
        assert dataset["spectrum"].dims == ("width", "seed", "rank")
        assert dataset.sizes["rank"] == 5
        for width in (2, 3, 5):
            for seed in (0, 1):
                cell = dataset.sel(width=width, seed=seed)
                assert int(cell["rank_length"]) == width
                due = (1.0 + seed) / np.arange(1, width + 1)
                assert cell["spectrum"].values[:width].tolist() == due.tolist()
                assert np.isnan(cell["spectrum"][width:]).all()
                assert np.isnan(cell["overlap"].values[width:]).all()
                overlap = cell["overlap"].values[:width]
                assert np.array_equal(overlap, due[:, None] * np.array(STEPS))
    assert verify(path, 4, spectra()).code == 0
    assert "step_length" not in open_store(path)  # all of that length


def test_a_padded_vector_is_plotted_by_plain_xarray(path: Path, axes: Axes) -> None:
    dataset = xr.open_zarr(path, consolidated=False)
    dataset["spectrum"].sel(seed=0).plot.line(x="rank", hue="width", ax=axes)
    drawn = [np.asarray(line.get_ydata()) for line in axes.lines]
    assert [int(np.isfinite(line).sum()) for line in drawn] == [2, 5, 3]


def test_a_store_of_vectors_resumes_grows_and_is_packed(path: Path, tmp_path: Path) -> None:
    before = open_store(path)
    (path / "spectrum" / "c.0.0.0").unlink()
    assert run(spectra(), path, n_jobs=1)["spectrum"].identical(before["spectrum"])
    after = run(spectra().over(width=[4]), path, n_jobs=1)
    assert after["spectrum"].sel(width=[2, 3, 5]).identical(before["spectrum"])
    assert int(after["rank_length"].sel(width=4, seed=1)) == 4
    with pytest.raises(ValueError, match=r"spectrum \(rank 5\).*spectrum \(rank 9\)"):
        run(spectra().over(width=[9]), path, n_jobs=1)  # longer than its chunks can become
    packed = pack(path, tmp_path / "p.zarr")
    assert packed["spectrum"].drop_attrs().equals(after["spectrum"])


def test_only_the_end_of_a_vector_may_be_missing() -> None:
    short: Measures = {"s": {"rank": (0.0,)}}
    long: Measures = {"s": {"rank": (0.0, 1.0)}}
    others: list[Measures] = [{"s": {"rank": (1.0,)}}, {"s": {}}, {**short, "t": {}}]
    whole = joint([short, long])
    assert whole == {"s": {"rank": (0.0, 1.0)}, "rank_length": {}}
    assert fits(short, whole) and fits(long, whole) and fits({}, whole)
    for other in others:
        assert not fits(other, whole)
    assert joint([long, long]) == long


def test_a_sweep_that_has_only_the_short_vectors_works_on_its_part(path: Path) -> None:
    part = spectra().over(width=[2, 3], seed=[0, 1, 2])
    after = run(part, path, n_jobs=1)
    assert float(after["spectrum"].sel(width=3, seed=2, rank=2)) == 1.0
    assert np.isnan(after["spectrum"].sel(width=3, seed=2, rank=[3, 4])).all()
