"""Biases that make classes equally likely."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["balancing_biases"]

Floats: TypeAlias = NDArray[np.float64]


def balancing_biases(logits: Floats) -> Floats:
    """Find biases that make the argmax of logits equally likely to be any class.

    They minimize the convex function mean(max(logits + biases)) - mean(biases), the dual of an
    optimal transport from inputs to classes (Genevay et al. 2016). The maximum is softened by a
    temperature that falls in steps, and each step takes a few damped Newton iterations.

    Parameters
    ----------
    logits : ndarray, shape (classes, n)
        Standardized, each class to mean 0 and standard deviation 1.

    Returns
    -------
    ndarray, shape (classes,)
        In standard deviations of a logit, each in (-6, 6).
    """
    classes, n = logits.shape
    biases = np.zeros(classes)
    below = logits - logits.max(axis=0)
    weights, shares = np.empty_like(below), np.empty_like(below)
    for temperature in (0.5, 0.25, 0.12, 0.06, 0.03):  # in standard deviations of a logit
        np.exp(np.divide(below, temperature, out=weights), out=weights)
        for _ in range(3):
            # p = factors * shares is the softmax. Nothing here can overflow: a step moves a bias by
            # at most twice the temperature, all steps by less than 6.
            factors = np.exp(biases / temperature)
            inverse = 1.0 / (factors @ weights)
            np.multiply(weights, inverse, out=shares)
            mean = factors * (weights @ inverse) / n
            moments = np.outer(factors, factors) * (shares @ shares.T) / n
            hessian = (np.diag(mean) - moments) / temperature
            hessian += 1.0 / classes + 1e-6 * np.eye(classes)
            step = np.linalg.solve(hessian, mean - 1.0 / classes)
            biases -= step * min(1.0, 2.0 * temperature / max(np.abs(step).max(), 1e-300))
    return biases
