"""Kinds of figures: xarray in, matplotlib Axes out; no store is known here.

Every function draws on one Axes, the one given or the current one, and returns it; a study in
``analysis/`` composes them into its figure. Legends and units may stand outside of the Axes: give
panels of your own room for them by ``plt.subplots(..., layout="constrained")``; a title of your own
takes the place of theirs by ``ax.set_title(text, loc="left")``. Seeds are the only dim that is
averaged over: any other is to be selected first, so that no figure mixes what a sweep kept apart.
`phase_diagram` draws a measure over two axes, `error_against` over one, `learning_curves` over the
steps of training, and `spectrum` eigenvalues with their floor and slope; `overlap_curves` lays
overlaps of subspaces beside those of random ones, and `spectral_density` shows spectra of both
signs over many decades.
"""

from tsframe.plots.densities import spectral_density
from tsframe.plots.diagrams import phase_diagram
from tsframe.plots.eigenvalues import spectrum
from tsframe.plots.lines import error_against, learning_curves
from tsframe.plots.overlaps import overlap_curves

__all__ = [
    "error_against",
    "learning_curves",
    "overlap_curves",
    "phase_diagram",
    "spectral_density",
    "spectrum",
]
