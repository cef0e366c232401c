"""Exact predictions on the axes of a sweep: ridge and ridgeless regression at any spectrum.

A law takes eigenvalues of the inputs, coefficients of the target in their eigenbasis, and numbers;
it broadcasts over named dims and gives a prediction with the dims and coordinates of the store it
is laid over.
"""

from tsframe.theory.exponential import (
    exponential_label_regression,
    exponential_spectrum,
    power_law_limit,
)
from tsframe.theory.finite_samples import (
    isotropic_min_norm,
    leave_one_out,
    ordinary_least_squares,
    selected_features,
)
from tsframe.theory.optimal_ridge import crossover_noise, optimal_ridge
from tsframe.theory.ridge import ridge

__all__ = [
    "crossover_noise",
    "exponential_label_regression",
    "exponential_spectrum",
    "isotropic_min_norm",
    "leave_one_out",
    "optimal_ridge",
    "ordinary_least_squares",
    "power_law_limit",
    "ridge",
    "selected_features",
]
