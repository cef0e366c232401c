"""Exact predictions on the axes of a sweep: ridge and ridgeless regression at any spectrum.

A law takes eigenvalues of the inputs, coefficients of the target in their eigenbasis, and numbers;
it broadcasts over named dims and gives a prediction with the dims and coordinates of the store it
is laid over.
"""

from tsframe.theory.ridge import ridge

__all__ = ["ridge"]
