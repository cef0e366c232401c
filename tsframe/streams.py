"""Random numbers keyed by a seed and a role, never by a place.

A trial owns one seed. Every random thing in it - inputs, teacher, label noise, initialization,
minibatches - draws from a stream of its own, derived from that seed and the name of its role.
Nothing is derived from a position in a grid, a batch or a worker, so a trial gives the same numbers
alone, in a batch, and on another worker, and the same seed gives the same standard normals and the
same teacher at every slope and every width (paired comparison).
"""

import zlib

import numpy as np

__all__ = ["stream"]


def stream(seed: int, role: str, *keys: int) -> np.random.Generator:
    """Give the generator of one role of one trial.

    The bits come from Philox, a counter-based generator (Salmon, Moraes, Dror & Shaw 2011), keyed
    through NumPy's SeedSequence by (seed, crc32 of the role, keys).

    Parameters
    ----------
    seed : int
        Seed of the trial, >= 0.
    role : str
        What is drawn, e.g. ``"train inputs"`` or ``"initialization"``.
    *keys : int
        Further indices >= 0 that tell streams of one role apart, e.g. the layer.

    Returns
    -------
    numpy.random.Generator
        A fresh generator: two calls with equal arguments give equal numbers.

    Examples
    --------
    >>> bool(stream(0, "teacher").random() == stream(0, "teacher").random())
    True
    """
    words = (seed, zlib.crc32(role.encode()), *keys)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(words)))
