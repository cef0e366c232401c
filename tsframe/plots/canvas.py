"""Where a figure is drawn."""

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

__all__ = ["canvas"]


def canvas(ax: Axes | None) -> Axes:
    """Give the Axes to draw on: the one given, or the current one.

    A figure that is new then, without panels and without a layout, gets the tight layout: legends
    below the axes and labels of two lines would be cut off by matplotlib's own. Figures that
    somebody has begun are left as they are.

    Parameters
    ----------
    ax : Axes or None
        What the caller was given.

    Returns
    -------
    Axes
    """
    if ax is not None:
        return ax
    figure = plt.gcf()
    if not figure.axes and figure.get_layout_engine() is None:
        figure.set_layout_engine("tight")
    return plt.gca()
