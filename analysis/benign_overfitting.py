"""The figure of `sweeps/benign_overfitting.py`: where fitting noisy labels does no harm.

Upper rows: test error over slope and width, clean labels above noisy ones; the black line parts the
students that fit every training label from those that cannot. Bottom row: the price of the noise,
for students wide enough to fit it, against slope.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import xarray as xr
from matplotlib.colors import Normalize

from tsframe import open_store
from tsframe.plots import error_against, phase_diagram

STYLE = Path(__file__).with_name("tsframe.mplstyle")


def draw(store: Path, out: Path) -> list[Path]:
    """Draw the figure into the folder `out`."""
    results = open_store(store)
    wide = results.sel(width=results.width.max())
    columns = [(n, depth) for n in results.n_train.values for depth in results.depth.values]
    noises = results.label_noise.values
    errors = results.test_error.mean("seed")
    norm = Normalize(float(errors.min()), float(errors.max()))
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(
            3, len(columns), figsize=(13.0, 9.6), sharex=True, squeeze=False
        )
        for column, (n, depth) in enumerate(columns):
            here = {"n_train": n, "depth": depth}
            for row, noise in enumerate(noises):
                ax = axes[row, column]
                cells = results.sel(here | {"label_noise": noise})
                phase_diagram(
                    cells, "slope", "width", ax=ax, norm=norm, colorbar=False, legend=False
                )
                ax.set_xlabel("")
                ax.set_ylabel("student width (hidden units)" if column == 0 else "")
            ax = axes[2, column]
            error_against(wide.sel(here), hue="label_noise", ax=ax)
            ax.set_ylim(0.0, 1.0)
            ax.set_ylabel("test error" if column == 0 else "")
        bar = figure.colorbar(axes[0, 0].collections[0], ax=axes[:2], aspect=40, pad=0.01)
        bar.set_label("test error (fraction wrong, noise-free teacher)")
        figure.suptitle(title(results))
        path = out / "benign_overfitting.png"
        figure.savefig(path)
        plt.close(figure)
    return [path]


def title(results: xr.Dataset) -> str:
    """Say what was measured and, in numbers from the store, what came out."""
    return (
        "Test error over slope, width and depth of students trained to interpolation "
        f"(dim 200, {results.sizes['seed']} seeds; black line: every training label is fitted)"
    )
