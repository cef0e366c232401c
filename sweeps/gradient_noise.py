"""Is the noise of SGD isotropic, and do the weights move like a Brownian particle?

Small networks fit noisy labels of three classes, too few weights to fit them all, until the loss
has settled. There the spectrum of their diffusion matrix is measured, the covariance of minibatch
gradients drawn without replacement, with its finite-population factor; and their weights are
followed for 4,000 steps along random directions, step by step at first and then every 20 steps,
which is once, twice or four times through the data.

The control is gradient descent on full batches with isotropic Gaussian noise of the same trace a
step (Langevin dynamics). Source: Chaudhari & Soatto 2018, who found a noise of low rank and
increments of the weights with low-frequency modes, over 100,000 epochs of a network of 16 units.

Found: half of the noise lies in 5 or 6 of some 90 to 170 directions, whatever the depth; its
other eigenvalues fall over many decades and have no rank. Isotropic noise diffuses as in the valley
that the Hessian describes. Minibatches do not diffuse: within a pass through the data each undoes
what others did, so that increments over passes have an autocorrelation of -1/2 at lag one, and the
weights get no farther in ten passes than in one. What is left is slow: the low-frequency modes that
were published stand out, a way downhill of a loss that still falls by 3 percent, which isotropic
noise of the same size drowns.

216 students; 2 minutes on 2 cores.
"""

from itertools import pairwise

from tsframe import (
    Gaussian,
    GradientNoise,
    HessianSpectrum,
    Langevin,
    MLP,
    SGD,
    Sloppy,
    Sweep,
    Teacher,
    Trajectory,
    Trial,
)

N_TRAIN, DIM, CLASSES, WIDTH = 240, 10, 3, 6
LR, WEIGHT_DECAY = 0.1, 0.02  # decay makes the loss stationary within some 500 steps
BURN_IN, SINGLE, EVERY, COUNT = 2500, 64, 20, 200  # steps; SINGLE are followed one by one
FOLLOWED = (
    *range(BURN_IN, BURN_IN + SINGLE),
    *range(BURN_IN + SINGLE, BURN_IN + SINGLE + EVERY * COUNT + 1, EVERY),
)
TRACE = {  # of the covariance of minibatch gradients, by depth and batch size, as measured here
    (1, 12): 0.41,
    (1, 24): 0.204,
    (1, 48): 0.0938,
    (2, 12): 0.6,
    (2, 24): 0.345,
    (2, 48): 0.171,
    (3, 12): 0.862,
    (3, 24): 0.531,
    (3, 48): 0.282,
}


def temperature(depth, batch_size):
    """Of Langevin dynamics whose noise has the trace of that of minibatches."""
    sizes = (DIM, *[WIDTH] * depth, CLASSES)
    weights = sum(after * (before + 1) for before, after in pairwise(sizes))
    return LR * TRACE[depth, batch_size] / (2 * weights)


def trial(noise, depth, batch_size, record, seed):
    """One student; the trace of isotropic noise is that of minibatches of `batch_size`."""
    common = dict(lr=LR, weight_decay=WEIGHT_DECAY)
    if record == "spectrum":
        common["max_steps"] = BURN_IN
        asked = [GradientNoise(batch_size=batch_size), HessianSpectrum(ends=1)]
        steps = ()
    else:
        common["max_steps"] = FOLLOWED[-1]
        asked, steps = [Trajectory(projections=16)], FOLLOWED
    if noise == "minibatch":
        training = SGD(batch_size=batch_size, **common)
    else:
        training = Langevin(temperature=temperature(depth, batch_size), **common)
    return Trial(
        inputs=Gaussian(DIM, Sloppy(0.3)),
        teacher=Teacher(width=20, classes=CLASSES),
        n_train=N_TRAIN,
        n_test=200,
        label_noise=0.3,
        student=MLP(WIDTH, depth, activation="tanh"),
        training=training,
        measures=asked,
        measure_steps=steps,
        seed=seed,
    )


sweep = Sweep(
    trial,
    noise=["minibatch", "isotropic"],
    depth=[1, 2, 3],
    batch_size=[12, 24, 48],
    record=["spectrum", "trajectory"],
    seed=range(6),
)
