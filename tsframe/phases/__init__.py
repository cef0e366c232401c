"""Phases and phase boundaries from the results of a sweep: xarray in, xarray out.

`classify` names the phase of every cell: underfit, benign, tempered, catastrophic, or undecided.
`boundary` gives the curve at which a measure has a level, over two axes; `level_curve` that of a
prediction; `crossing` the place along one axis, for every value of the others.
`interpolation_threshold` tells where students begin to fit, `double_descent_peak` what stands
there. Every number comes with its interval over seeds, and what the seeds leave open is said to be
open.

`tsframe.plots.phase_diagram` draws them. `propose` says which students to train next to know a
boundary better; ``tsframe refine`` trains them.
"""

from tsframe.phases.boundaries import boundary, crossing, level_curve
from tsframe.phases.peaks import double_descent_peak, interpolation_threshold
from tsframe.phases.refinement import propose
from tsframe.phases.taxonomy import classify, Phase

__all__ = [
    "Phase",
    "boundary",
    "classify",
    "crossing",
    "double_descent_peak",
    "interpolation_threshold",
    "level_curve",
    "propose",
]
