"""Margins: by how much the right label wins, sample by sample."""

import torch
from torch import Tensor

__all__ = ["margins"]


def margins(outputs: Tensor, labels: Tensor) -> Tensor:
    """Give the output of the label less the largest other output.

    Positive where the sample is classified right. Source: Bartlett, Foster & Telgarsky 2017.

    Parameters
    ----------
    outputs : Tensor, shape (..., classes, n)
        Logits.
    labels : Tensor of int64, shape (..., n)
        Classes 0..classes-1.

    Returns
    -------
    Tensor, shape (..., n)
        In units of the logits.

    Examples
    --------
    >>> margins(torch.tensor([[3.0], [1.0], [5.0]]), torch.tensor([0])).item()
    -2.0
    """
    chosen = labels.unsqueeze(-2)
    others = outputs.scatter(-2, chosen, -torch.inf).amax(-2)
    return outputs.gather(-2, chosen).squeeze(-2) - others
