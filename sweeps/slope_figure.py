"""Test error against slope, every dot a student: the published picture without its confounds.

The claim is that networks generalize where the input spectrum is sloppy. The released recipe moves
more than the slope: each setting below removes one confound and keeps what was removed before, so
that the last one says what the slope alone does. A tanh teacher of 100 units labels by argmax;
students have 10 or 100 hidden units. Slopes are those of eigenvalues throughout.

Source: Yang, Mao & Chaudhari 2022 (arXiv:2110.14163) and its released code. Samples are 1,000, for
the loader of that code used 1,049 of its 50,000; steps are 2,500 of Adam as there, on batches of
200 instead of 1,000.

288 students; 2 minutes on 2 cores.
"""

import numpy as np

from tsframe import (
    Adam,
    Cosine,
    Gaussian,
    MLP,
    Sloppy,
    SloppyAsCleaned2024,
    SloppyAsReleased2022,
    Sweep,
    Teacher,
    TorchDefault,
    Trial,
    ZeroTrainError,
)

AS_RELEASED = "1 as released in 2022"  # slope on standard deviations, trace grows with the slope
AS_CLEANED = "2 as cleaned up in 2024"  # slope on eigenvalues, trace still moves
TRACE_FIXED = "3 trace fixed"  # average input variance one at every slope
GAIN_FIXED = "4 and teacher's gain fixed"  # its pre-activations have standard deviation one
BALANCED = "5 and classes balanced"  # equally likely at every slope
INTERPOLATING = "6 and trained to interpolation"  # not for a fixed budget: the slope alone


def trial(setting, slope, width, seed):
    """One student of one setting; the later the setting, the fewer the confounds."""
    spectrum = {
        AS_RELEASED: SloppyAsReleased2022(rate=slope / 2),
        AS_CLEANED: SloppyAsCleaned2024(slope),
    }.get(setting, Sloppy(slope))
    return Trial(
        inputs=Gaussian(dim=200, spectrum=spectrum),
        teacher=Teacher(
            width=100,
            classes=10,
            gain=1.0 if setting in (GAIN_FIXED, BALANCED, INTERPOLATING) else None,
            balance=setting in (BALANCED, INTERPOLATING),
        ),
        n_train=1000,
        n_test=2000,
        student=MLP(width, activation="sigmoid", initialization=TorchDefault()),
        training=Adam(lr=1e-2, batch_size=200, max_steps=5000, stop=ZeroTrainError())
        if setting == INTERPOLATING
        else Adam(lr=1e-3, batch_size=200, max_steps=2500, schedule=Cosine(final=0.01)),
        seed=seed,
    )


sweep = Sweep(
    trial,
    setting=[AS_RELEASED, AS_CLEANED, TRACE_FIXED, GAIN_FIXED, BALANCED, INTERPOLATING],
    slope=np.geomspace(0.002, 1.0, 8),
    width=[10, 100],
    seed=range(3),
)
