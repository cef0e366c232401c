"""A teacher-student framework: when is fitting the training data exactly harmless.

 sweeps/NAME.py          a Python function from axis values to a Trial, and the values of each axis
      |   plan           cells of the grid -> chunks that train well together
      v
 tsframe.run  --joblib-->  train(trials of a chunk): ONE engine call  -->  commit the chunk
      |    spectrum -> inputs -> teacher -> samples -> students -> training -> measures
      v
 stores/NAME.zarr        one array per measure; its dims are the sweep's axes; opens with plain
 xarray
      |
      v
 analysis/NAME.py        reads the store, draws the figures

The science half (spectra, inputs, teachers, samples, students, training, measures, batch, trial)
knows nothing of stores, joblib or grids. The sweep half (sweep, plan, store, execution, plots)
knows nothing of torch or networks. They meet in a Trial, in a sweep file and in the command line.

Names are loaded when they are first used, so that the command line answers at once and the science
half works where zarr and joblib are missing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
