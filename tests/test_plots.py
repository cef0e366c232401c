from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import FillBetweenPolyCollection, LineCollection, QuadMesh
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from scipy import stats

from tsframe.plots import error_against, learning_curves, phase_diagram

Floats: TypeAlias = NDArray[np.float64]

SLOPES = np.geomspace(0.005, 0.5, 8)
WIDTHS = np.array([5, 10, 30, 100, 300])
SEEDS = 3
DONE, TODO, FAILED, DIVERGED, EXCLUDED = 1, 0, 2, 3, 4


@pytest.fixture(autouse=True)
def _clean_figures() -> Iterator[None]:
    mpl.use("Agg")
    with plt.style.context(Path(__file__).parents[1] / "analysis" / "tsframe.mplstyle"):
        yield
    plt.close("all")


def results() -> xr.Dataset:
    """Make a Dataset like that of a store: test error 0.1 * width index + 0.01 * slope index."""
    dims = ("slope", "width", "seed")
    slope, width, seed = np.meshgrid(range(8), range(5), range(SEEDS), indexing="ij")
    return xr.Dataset(
        {
            "test_error": (dims, 0.1 * width + 0.01 * slope + 0.001 * seed),
            "train_error": (dims, np.where(width + slope >= 6, 0.0, 0.3)),
            "state": (dims, np.ones(slope.shape, np.int8)),
        },
        coords={"slope": SLOPES, "width": WIDTHS, "seed": range(SEEDS)},
    )


def mesh(ax: Axes) -> QuadMesh:
    *_, found = (artist for artist in ax.collections if isinstance(artist, QuadMesh))
    return found


def grid(ax: Axes) -> tuple[Floats, Floats]:
    """Give the edges of the cells along x and y."""
    coordinates = np.asarray(mesh(ax).get_coordinates())
    return coordinates[0, :, 0], coordinates[:, 0, 1]


def drawn(ax: Axes) -> Floats:
    """Give the values of the cells, shape (y, x)."""
    x, y = grid(ax)
    return np.asarray(mesh(ax).get_array()).reshape(len(y) - 1, len(x) - 1)


def band(ax: Axes) -> Floats:
    """Give the outline of a confidence band, shape (points, 2)."""
    (found,) = (a for a in ax.collections if isinstance(a, FillBetweenPolyCollection))
    return np.concatenate(
        [np.empty((0, 2)), *(np.asarray(path.vertices) for path in found.get_paths())]
    )


def hatched(ax: Axes) -> dict[str, int]:
    """Count the hatched cells by the words of the legend."""
    patches = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    legend = ax.get_legend()
    if legend is None:
        assert not patches
        return {}
    words = {
        handle.get_hatch(): text.get_text()
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True)
        if isinstance(handle, Rectangle)
    }
    counted: dict[str, int] = {}
    for patch in patches:
        word = words[patch.get_hatch()]
        counted[word] = counted.get(word, 0) + 1
    return counted


def texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


def border(ax: Axes) -> set[tuple[int, int, int, int]]:
    """Give the segments (x, y, x, y) of the border, in cells: edge k lies before cell k."""
    x, y = grid(ax)
    return {
        (place(x, start[0]), place(y, start[1]), place(x, end[0]), place(y, end[1]))
        for collection in ax.collections
        if isinstance(collection, LineCollection)
        for start, end in map(np.asarray, collection.get_segments())
    }


def place(edges: Floats, value: float) -> int:
    return int(np.abs(np.log(edges / value)).argmin())


def test_one_cell_of_the_sweep_is_one_cell_of_the_picture() -> None:
    ax = phase_diagram(results(), "slope", "width")
    expected = results()["test_error"].mean("seed").transpose("width", "slope")
    np.testing.assert_allclose(drawn(ax), expected.values, rtol=1e-12)


def test_edges_of_cells_are_geometric_means_on_a_log_axis() -> None:
    ax = phase_diagram(results(), "slope", "width")
    x, y = grid(ax)
    np.testing.assert_allclose(x[1:-1], np.sqrt(SLOPES[1:] * SLOPES[:-1]), rtol=1e-9)
    np.testing.assert_allclose(y[1:-1], np.sqrt(WIDTHS[1:] * WIDTHS[:-1]), rtol=1e-9)
    np.testing.assert_allclose((x[0], y[0]), (SLOPES[0] ** 1.5 / SLOPES[1] ** 0.5, 5 / 2**0.5))
    assert ax.get_xlim() == (x[0], x[-1]) and ax.get_ylim() == (y[0], y[-1])


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        (SLOPES, "log"),
        (WIDTHS, "log"),
        (np.array([100, 1000]), "log"),
        (np.r_[0.0, SLOPES], "symlog"),
        (np.array([0.0, 0.1, 0.2]), "linear"),
        (np.array([1, 2, 3]), "linear"),
        (np.array([1, 2]), "linear"),
        (np.array([-1.0, 1.0, 10.0, 100.0]), "linear"),
        (np.array([7]), "linear"),
        (np.array(["he", "lecun"]), "linear"),
    ],
    ids=str,
)
def test_axes_are_logarithmic_exactly_where_the_values_are(values: Floats, scale: str) -> None:
    data = xr.DataArray(
        np.arange(2.0 * len(values)).reshape(2, -1), coords={"depth": [1, 2], "slope": values}
    )
    ax = phase_diagram(data, "slope", "depth")
    assert ax.get_xscale() == scale
    assert ax.get_yscale() == "linear"
    error_against(data, hue="depth", ax=plt.figure().subplots())
    assert plt.gca().get_xscale() == scale
    plt.gcf().canvas.draw()


def test_words_stand_at_the_places_of_a_named_axis() -> None:
    data = xr.DataArray(np.eye(3), coords={"recipe": ["a", "c", "b"], "slope": [0.1, 0.2, 0.3]})
    ax = phase_diagram(data, "slope", "recipe")
    ax.figure.canvas.draw()
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["a", "c", "b"]
    assert ax.get_ylim() == (-0.5, 2.5)


def test_values_in_any_order_are_drawn_in_ascending_order() -> None:
    shuffled = results().isel(slope=[3, 1, 0, 2, 7, 6, 5, 4], width=slice(None, None, -1))
    first = drawn(phase_diagram(shuffled, "slope", "width"))
    second = drawn(phase_diagram(results(), "slope", "width", ax=plt.figure().subplots()))
    np.testing.assert_array_equal(first, second)


def test_an_empty_cell_is_hatched_and_says_why() -> None:
    dataset = results()
    for place, state in ((0, TODO), (1, FAILED), (2, DIVERGED), (3, EXCLUDED)):
        dataset["state"][place, 0] = state
        dataset["test_error"][place, 0] = np.nan
    dataset["state"][7, 0] = TODO
    dataset["test_error"][7, 0] = np.nan
    assert hatched(phase_diagram(dataset, "slope", "width")) == {
        "not run yet": 2,
        "failed": 1,
        "diverged": 1,
        "excluded": 1,
    }


def test_divergence_of_one_seed_is_told_of_an_empty_cell() -> None:
    dataset = results()
    dataset["state"][0, 0] = [TODO, DIVERGED, TODO]
    dataset["test_error"][0, 0] = np.nan
    assert hatched(phase_diagram(dataset, "slope", "width")) == {"diverged": 1}


def test_without_states_an_empty_cell_has_no_result() -> None:
    errors = results()["test_error"]
    errors[0, 0] = np.nan
    assert hatched(phase_diagram(errors, "slope", "width")) == {"no result": 1}


def test_a_full_picture_has_no_hatching() -> None:
    assert hatched(phase_diagram(results(), "slope", "width", contour=None)) == {}


def test_a_cell_with_fewer_seeds_has_a_dot() -> None:
    dataset = results()
    dataset["test_error"][2, 1, 0] = np.nan
    dataset["state"][2, 1, 0] = DIVERGED
    ax = phase_diagram(dataset, "slope", "width", contour=None)
    (dots,) = ax.lines
    np.testing.assert_allclose(np.asarray(dots.get_xydata()), [[SLOPES[2], 10]])
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["fewer seeds"]
    assert drawn(ax)[1, 2] == pytest.approx(0.1 + 0.02 + 0.0015)  # of the other two


STAIRS = {  # between the cells with slope index + width index >= 6 and the others
    *((k, 6 - k, k + 1, 6 - k) for k in range(2, 6)),
    *((k + 1, 5 - k, k + 1, 6 - k) for k in range(1, 6)),
}


def test_the_interpolation_border_lies_where_train_error_vanishes() -> None:
    assert border(phase_diagram(results(), "slope", "width")) == STAIRS
    plt.figure()
    assert border(phase_diagram(results(), "slope", "width", contour=0.5)) == set()
    plt.figure()
    assert border(phase_diagram(results(), "slope", "width", contour=None)) == set()


def test_half_of_the_seeds_decide_where_a_store_says_who_interpolated() -> None:
    dataset = results()
    flags = (dataset["train_error"] == 0).transpose("slope", "width", "seed")
    flags[0, 0] = [True, False, False]
    flags[7, 4] = [True, True, False]
    dataset["interpolated"] = flags.astype(np.float64)
    dataset["train_error"] += 0.1  # not asked
    assert border(phase_diagram(dataset, "slope", "width")) == STAIRS


def test_no_border_is_drawn_towards_a_cell_that_was_not_run() -> None:
    dataset = results()
    for name in ("test_error", "train_error"):
        dataset[name][7, 4] = np.nan  # the corner, inside
    assert border(phase_diagram(dataset, "slope", "width")) == STAIRS


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_the_caption_counts_the_seeds(seeds: int) -> None:
    dataset = results().isel(seed=slice(seeds))
    expected = {1: "1 seed", 2: "mean of 2 seeds", 3: "mean of 3 seeds"}[seeds]
    assert texts(phase_diagram(dataset, "slope", "width")) == [expected]
    expected = expected.replace("mean of", "mean and 95% confidence of")
    ax = error_against(dataset.sel(width=5), ax=plt.figure().subplots())
    assert texts(ax) == [expected]


def test_the_caption_counts_what_is_missing() -> None:
    dataset = results()
    dataset["state"][0, 0] = [TODO, FAILED, DIVERGED]
    dataset["state"][1, 0] = DIVERGED
    assert texts(phase_diagram(dataset, "slope", "width")) == [
        "mean of 3 seeds, 4 students diverged, 1 student failed, 1 student not run"
    ]


def test_the_title_says_where_the_data_were_selected() -> None:
    dataset = results().expand_dims(depth=[2], label_noise=[0.2])
    assert phase_diagram(dataset, "slope", "width").get_title("left") == "depth 2, label noise 0.2"


def test_labels_are_words_with_units() -> None:
    ax = phase_diagram(results(), "slope", "width")
    assert ax.get_xlabel() == "slope c of the input spectrum\n(natural log per mode)"
    assert ax.get_ylabel() == "student width (hidden units)"
    assert ax.figure.axes[1].get_ylabel() == "test error (noise-free teacher)"
    named = results().rename(test_error="rank").assign_coords(slope=SLOPES)
    named["rank"].attrs = {"long_name": "effective rank", "units": "directions"}
    ax = phase_diagram(named, "slope", "width", "rank", ax=plt.figure().subplots())
    assert ax.figure.axes[1].get_ylabel() == "effective rank (directions)"


def test_colors_begin_at_zero_unless_a_norm_is_shared() -> None:
    assert mesh(phase_diagram(results(), "slope", "width")).norm.vmin == 0.0
    norm = mpl.colors.Normalize(0.2, 0.9)
    ax = phase_diagram(results(), "slope", "width", norm=norm, ax=plt.figure().subplots())
    assert mesh(ax).norm is norm and (norm.vmin, norm.vmax) == (0.2, 0.9)


@pytest.mark.parametrize(
    ("draw", "sentence"),
    [
        (
            lambda d: phase_diagram(d.expand_dims(depth=[1, 2]), "slope", "width"),
            "phase_diagram draws slope and width and averages over seed only; test_error also has "
            "depth (1, 2). Select one value of each first, e.g. dataset.sel(depth=1).",
        ),
        (
            lambda d: error_against(d),
            "error_against draws slope and averages over seed only; test_error also has width "
            "(5, 10, 30, 100, 300). Select one value of each first, e.g. dataset.sel(width=5).",
        ),
        (
            lambda d: phase_diagram(d, "slope", "depth"),
            "found no dim 'depth' in test_error; its dims are slope, width, seed.",
        ),
        (
            lambda d: phase_diagram(d, "slope", "width", "accuracy"),
            "found no variable 'accuracy'; got test_error, train_error, state. Name one of these.",
        ),
        (lambda d: learning_curves(d), "found no variable 'train_error_curve'"),
    ],
    ids=range(5),
)
def test_what_a_figure_would_mix_is_refused(
    draw: Callable[[xr.Dataset], object], sentence: str
) -> None:
    with pytest.raises(ValueError) as refusal:
        draw(results())
    assert sentence in str(refusal.value)


@pytest.mark.parametrize("missing", [0, 1])
def test_bands_are_the_t_interval_of_scipy(missing: int) -> None:
    rng = np.random.default_rng(0)
    errors = 0.4 + 0.05 * rng.standard_normal((8, 5))
    errors[3, :missing] = np.nan
    ax = error_against(xr.DataArray(errors, coords={"slope": SLOPES, "seed": range(5)}))
    vertices = band(ax)
    for slope, students in zip(SLOPES, errors, strict=True):
        kept = students[np.isfinite(students)]
        expected = stats.t.interval(0.95, len(kept) - 1, kept.mean(), stats.sem(kept))
        heights = vertices[np.isclose(vertices[:, 0], slope), 1]
        np.testing.assert_allclose((heights.min(), heights.max()), expected, rtol=1e-9)


def test_bands_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    draws = 4000
    coordinates = {"slope": np.arange(draws), "seed": range(3)}
    ax = error_against(xr.DataArray(rng.standard_normal((draws, 3)), coords=coordinates))
    outline = band(ax)
    one, other = outline[1 : draws + 1, 1], outline[draws + 2 : -1, 1][::-1]
    covered = (one * other < 0).mean()
    assert abs(covered - 0.95) < 5 * np.sqrt(0.95 * 0.05 / draws)


def test_every_student_is_a_dot_and_one_seed_has_no_band() -> None:
    ax = error_against(results().sel(width=[5, 10]), hue="width")
    dots = [line for line in ax.lines if line.get_linestyle() == "None"]
    assert sum(np.size(line.get_ydata()) for line in dots) == 2 * 8 * SEEDS
    ax = error_against(results().sel(width=5, seed=0), ax=plt.figure().subplots())
    assert not np.isfinite(band(ax)[:, 1]).any()


def test_a_legend_names_its_values() -> None:
    legend = error_against(results(), hue="width").get_legend()
    assert legend is not None
    assert legend.get_title().get_text() == "student width"
    assert [text.get_text() for text in legend.get_texts()] == ["5", "10", "30", "100", "300"]


def test_learning_curves_show_step_zero_and_the_mean_over_seeds() -> None:
    steps = np.r_[0, 1, 3, 10, 30, 100, 300]
    rng = np.random.default_rng(0)
    curves = xr.Dataset(
        {"train_loss_curve": (("seed", "step"), rng.random((4, 7)) + 0.1)},
        coords={"seed": range(4), "step": steps},
    )
    ax = learning_curves(curves, "train_loss_curve")
    assert (ax.get_xscale(), ax.get_yscale()) == ("symlog", "log")
    assert ax.get_xlim()[0] < 0
    assert ax.get_ylabel() == "training loss (labels as trained)"
    np.testing.assert_allclose(
        np.asarray(ax.lines[-1].get_ydata()), curves["train_loss_curve"].mean("seed"), rtol=1e-12
    )
    ax.figure.canvas.draw()
    assert "0" in [tick.get_text() for tick in ax.get_xticklabels()]


@pytest.mark.parametrize("panels", [1, 4])
def test_ticks_of_a_log_axis_do_not_crowd(panels: int) -> None:
    figure, axes = plt.subplots(1, panels, figsize=(2.4 * panels, 2.6), squeeze=False)
    for ax in axes.flat:
        phase_diagram(results(), "slope", "width", ax=ax, colorbar=False)
    figure.canvas.draw()
    for ax in axes.flat:
        boxes = [tick.get_window_extent() for tick in ax.get_xticklabels() if tick.get_text()]
        assert len(boxes) >= 3
        assert all(first.x1 < second.x0 for first, second in pairwise(boxes))


def test_a_figure_leaves_its_data_as_they_are() -> None:
    dataset = results()
    phase_diagram(dataset, "slope", "width")
    error_against(dataset, hue="width", ax=plt.figure().subplots())
    assert dataset.identical(results())
