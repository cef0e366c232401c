"""Dropout: hidden units that are silent for the samples of one minibatch.

Source: Srivastava, Hinton, Krizhevsky, Sutskever & Salakhutdinov 2014; inverted, so that the
student without masks is the one to evaluate.
"""

from collections.abc import Sequence

import numpy as np
import torch

from tsframe.streams import stream
from tsframe.students.stack import Masks
from tsframe.training.cohort import Cohort
from tsframe.training.devices import upload

__all__ = ["Dropout"]


class Dropout:
    """Masks for the hidden units of every student, minibatch after minibatch.

    A unit of a student of rate p is silent for a sample with probability p, and 1 / (1 - p) times
    itself otherwise. Each student draws from a stream of its own, keyed by its seed.

    Parameters
    ----------
    rates : sequence of float
        Of every student, in [0, 1).
    """

    def __init__(self, rates: Sequence[float]) -> None:
        self._rates = np.array(rates)
        self._streams: dict[int, np.random.Generator] = {}
        self._minibatch = -1
        self._masks: Masks | None = None

    def masks(self, cohort: Cohort, samples: int, minibatch: int) -> Masks | None:
        """Give the masks of a minibatch; they are drawn when it is first asked for.

        Returns
        -------
        list of list of (Tensor, Tensor), or None
            For each bucket and hidden layer the mask, shape (groups, places, width, samples), and
            the probability to be kept, shape (groups, places, 1, 1). None where nobody has any.
        """
        if minibatch != self._minibatch:
            self._minibatch, self._masks = minibatch, None
            if self._rates[cohort.layout.students].any():
                self._masks = self._draw(cohort, samples)
        return self._masks

    def _draw(self, cohort: Cohort, samples: int) -> Masks:
        like, masks = cohort.weights[0], list[list[tuple[torch.Tensor, torch.Tensor]]]()
        for bucket, seats in zip(cohort.layout.buckets, cohort.seats, strict=True):
            keep = np.ones((*bucket.slots.shape, 1, 1))
            for group, place, student, _ in seats:
                keep[group, place] = 1.0 - self._rates[student]
            kept = upload(torch.as_tensor(keep, dtype=like.dtype), like.device)
            layers = []
            for _ in range(bucket.depth):
                mask = np.ones((*bucket.slots.shape, bucket.width, samples), dtype=np.float32)
                for group, place, student, seed in seats:
                    if self._rates[student]:
                        if student not in self._streams:
                            self._streams[student] = stream(seed, "dropout")
                        drawn = self._streams[student].random(mask.shape[2:], dtype=np.float32)
                        mask[group, place] = drawn < keep[group, place]
                here = upload(torch.from_numpy(mask), like.device).to(like.dtype)
                layers.append((here.div_(kept), kept))
            masks.append(layers)
        return masks
