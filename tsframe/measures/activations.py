"""Spectra of inputs, activations and activation gradients, always by their singular values.

A Gram matrix of rows would lose all eigenvalues below eps of the largest; their singular values
lose only those below eps^2.
"""

from collections.abc import Sequence

from torch import Tensor

from tsframe.measures.eigen import singular_values
from tsframe.measures.sensitivities import ForwardPass
from tsframe.measures.spectrum import rows_floor, Spectrum

__all__ = [
    "activation_gradient_spectra",
    "activation_spectra",
    "row_spectrum",
]


def row_spectrum(rows: Tensor, centered: bool = False) -> Spectrum:
    """Measure the spectrum of the second moment of some rows, rows^T rows / n.

    Of inputs it is their correlation E[x x^T] (Yang, Mao & Chaudhari 2022).

    Parameters
    ----------
    rows : Tensor, shape (n, dim)
        Float64, one sample a row.
    centered : bool
        Whether their mean is taken off first, for the covariance.

    Returns
    -------
    Spectrum
        min(n, dim) eigenvalues.
    """
    n = len(rows)
    largest = float(rows.abs().max()) if rows.numel() else 0.0
    if centered:
        rows = rows - rows.mean(0)
    found = singular_values(rows)
    values = found.values**2 / n
    small = rows.mT @ rows if rows.shape[1] <= n else rows @ rows.mT
    norm = float(values[0]) if len(values) else 0.0
    floor = rows_floor(tuple(rows.shape), norm)
    if centered:  # the mean is known to eps of itself
        floor = max(floor, rows_floor(tuple(rows.shape), largest**2))
    return Spectrum(
        values=values,
        floor=floor,
        rank_bound=max(0, min(n - centered, rows.shape[1])),
        trace=float(rows.square().sum()) / n,
        frobenius=float(small.norm()) / n,
        residual=found.residual,
        decomposed="singular values",
        n=n,
        rows=1,
        scale=1.0 / n,
        centered=centered,
    )


def activation_spectra(passed: ForwardPass, centered: bool = False) -> list[Spectrum]:
    """Measure the spectrum of the activations of each hidden layer, h^T h / n.

    Parameters
    ----------
    passed : ForwardPass
        Of n samples.
    centered : bool
        Whether their mean is taken off first.

    Returns
    -------
    list of Spectrum
        From the first hidden layer to the last.
    """
    return [row_spectrum(h[:, :-1], centered) for h in passed.inputs[1:]]


def activation_gradient_spectra(
    passed: ForwardPass, deltas: Sequence[Tensor], before: bool = True, centered: bool = False
) -> list[Spectrum]:
    """Measure the spectrum of gradients of the loss by the activations of each hidden layer.

    Parameters
    ----------
    passed : ForwardPass
        Of n samples.
    deltas : sequence of Tensor, shapes (n, rows, fan_out)
        Its `sensitivities` to `loss_gradients`, or to any start rows.
    before : bool
        Gradients by what enters the activation function, delta_l; otherwise by what leaves it,
        delta_{l+1} W_{l+1}.
    centered : bool
        Whether their mean is taken off first.

    Returns
    -------
    list of Spectrum
        From the first hidden layer to the last; means over samples and rows.
    """
    if before:
        rows = [delta.flatten(0, 1) for delta in deltas[:-1]]
    else:
        later = zip(deltas[1:], passed.weights[1:], strict=True)
        rows = [delta.flatten(0, 1) @ layer[:, :-1] for delta, layer in later]
    return [row_spectrum(some.contiguous(), centered) for some in rows]
