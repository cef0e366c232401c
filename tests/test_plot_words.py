"""Labels tell the units that the data tell, and stand inside of the figure."""

from collections.abc import Iterator

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from tsframe.plots import error_against, phase_diagram


@pytest.fixture(autouse=True)
def _plain_figures() -> Iterator[None]:
    mpl.use("Agg")
    with plt.style.context("default"):
        yield
    plt.close("all")


def results() -> xr.Dataset:
    dims = ("slope", "width", "seed")
    slope, width, seed = np.meshgrid(range(8), range(5), range(3), indexing="ij")
    return xr.Dataset(
        {
            "test_error": (dims, 0.1 * width + 0.01 * slope + 0.001 * seed),
            "train_error": (dims, np.where(width + slope >= 6, 0.0, 0.3)),
        },
        coords={"slope": np.geomspace(0.005, 0.5, 8), "width": [5, 10, 30, 100, 300]},
    )


def squared(dataset: xr.Dataset) -> xr.Dataset:
    """Students of regression: their error is their loss."""
    return dataset.assign(test_loss=dataset.test_error, train_loss=dataset.train_error)


@pytest.mark.parametrize(
    ("dataset", "units"),
    [
        (results().assign(majority_error=results().test_error), "fraction wrong, "),
        (results().assign(test_loss=4.0 * results().test_error), ""),
        (squared(results()), "mean square, "),
        (squared(results().where(results().width > 5)), "mean square, "),
        (squared(results().assign(majority_error=np.nan * results().test_error)), "mean square, "),
        (results() * 30.0, "mean square, "),
        (results()[["test_error"]], ""),
    ],
    ids="classes losses regression holes mixed large alone".split(),
)
def test_errors_have_the_units_that_the_data_tell(dataset: xr.Dataset, units: str) -> None:
    ax = error_against(dataset.sel(width=30))
    words = ax.get_ylabel().replace("\n", " ")
    assert words == f"test error ({units}noise-free teacher)"
    named = dataset.assign(test_error=dataset.test_error.assign_attrs(units="nats"))
    ax = error_against(named.sel(width=30), ax=plt.figure().subplots())
    assert ax.get_ylabel() == "test error\n(nats, noise-free teacher)"


def test_a_new_figure_has_room_for_its_words_and_others_are_left_alone() -> None:
    ax = phase_diagram(results(), "slope", "width", boundary=[0.1, 0.2, 0.3])
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.canvas.draw()
    legend = ax.get_legend()
    assert legend is not None
    for artist in (legend, ax.xaxis.label, figure.axes[1].yaxis.label):
        corners = artist.get_window_extent()
        inside = figure.bbox.padded(1.0)
        assert inside.contains(corners.x0, corners.y0), artist
        assert inside.contains(corners.x1, corners.y1), artist
    begun = plt.figure()
    begun.subplots(1, 2)
    error_against(results().sel(width=30))
    assert begun.get_layout_engine() is None
